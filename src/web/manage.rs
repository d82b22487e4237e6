//! What is stored, as JS sees it: list, verify, export, delete.

use std::rc::Rc;

use js_sys::{Array, Function, Uint8Array};
use serde::Serialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::{AbortSignal, Blob, File};

use super::source::DATABASE;
use super::{JsResult, js_error, request, to_js};
use crate::error::{Error, Result};
use crate::store::indexed_db::IndexedDb;
use crate::store::{Manifest, Store, StoredFile};
use crate::weights::recipe::Recipe;

/// The models in the store: `{id, name, bytes, total?, complete, last_used, url?, recipe?}[]`.
#[wasm_bindgen]
pub async fn stored_models() -> JsResult<JsValue> {
    let models = async {
        let store = IndexedDb::open(DATABASE).await?;
        store.sweep().await?;
        store.list().await
    };
    let models = models.await.map_err(js_error)?;
    to_js(&models.iter().map(StoredModel::from).collect::<Vec<_>>())
}

/// Deletes a stored model and frees its space.
#[wasm_bindgen]
pub async fn delete_model(id: String) -> JsResult<()> {
    let deleted = async { IndexedDb::open(DATABASE).await?.delete(&id).await };
    deleted.await.map_err(js_error)
}

/// One text for a model, whoever asks for it and however.
#[wasm_bindgen]
pub fn model_key(model: JsValue) -> JsResult<String> {
    request::key(&model).map_err(js_error)
}

/// Checks every stored part of a model and fetches damaged ones again, with a token for its own server if there is one:
/// `{chunks, damaged, repaired}`.
#[wasm_bindgen]
pub async fn verify_model(
    id: String,
    token: Option<String>,
    progress: Function,
    signal: AbortSignal,
) -> JsResult<JsValue> {
    let verified = async {
        let mut source = request::stored(&id, token.as_deref(), &signal, Rc::default()).await?;
        let mut go_on = |done, total| {
            tell(&progress, done, total);
            !signal.aborted()
        };
        source.verify(&mut go_on).await
    };
    to_js(&verified.await.map_err(js_error)?)
}

/// The files of a stored model, each checked on the way, and what is damaged fetched again likewise: `File[]`.
#[wasm_bindgen]
pub async fn export_model(
    id: String,
    token: Option<String>,
    progress: Function,
    signal: AbortSignal,
) -> JsResult<Array> {
    exported(&id, token.as_deref(), &progress, &signal).await.map_err(js_error)
}

async fn exported(id: &str, token: Option<&str>, progress: &Function, signal: &AbortSignal) -> Result<Array> {
    let mut source = request::stored(id, token, signal, Rc::default()).await?;
    let names: Vec<String> = source.manifest().files.iter().map(|file| file.name.clone()).collect();
    let (total, mut done) = (source.manifest().bytes(), 0);
    let files = Array::new();
    for name in names {
        let parts = Array::new();
        let mut made = true;
        let mut each = |bytes: Uint8Array| {
            // Each on its own, so that the browser can move it out of this process's memory at once.
            let blob = Blob::new_with_u8_array_sequence(&Array::of1(&bytes));
            made = made && blob.is_ok_and(|blob| parts.push(&blob) > 0);
            done += u64::from(bytes.length());
            tell(progress, done, total);
            made && !signal.aborted()
        };
        let copied = source.copy_out(&name, &mut each).await;
        let refused = |_| Error::StoreUnavailable { detail: format!("the browser could not make a file of {name}") };
        if !made {
            return Err(refused(JsValue::NULL));
        }
        copied?;
        files.push(&File::new_with_blob_sequence(&parts, &name).map_err(refused)?.into());
    }
    Ok(files)
}

#[derive(Serialize)]
struct Bytewise {
    done: u64,
    total: u64,
}

fn tell(progress: &Function, done: u64, total: u64) {
    // What the page does with it is no reason to stop.
    drop(to_js(&Bytewise { done, total }).and_then(|told| progress.call1(&JsValue::NULL, &told)));
}

/// What JS sees of a stored model.
#[derive(Serialize)]
struct StoredModel<'a> {
    id: &'a str,
    name: &'a str,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    complete: bool,
    last_used: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe: Option<Recipe>,
}

impl<'a> From<&'a Manifest> for StoredModel<'a> {
    fn from(manifest: &'a Manifest) -> Self {
        let Manifest { id, name, complete, last_used, address, recipe, .. } = manifest;
        let url = manifest.files.iter().any(|file: &StoredFile| file.url.is_some()).then_some(address.as_str());
        let total = manifest.total().filter(|_| *complete || manifest.gguf.is_some());
        Self {
            id,
            name,
            bytes: manifest.bytes(),
            total,
            complete: *complete,
            last_used: *last_used,
            url,
            recipe: *recipe,
        }
    }
}
