//! The only exports to JS: converts, decides nothing.

pub mod engine;
mod request;
pub mod source;

use js_sys::Reflect;
use serde::Serialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::Error;
use crate::store::indexed_db::IndexedDb;
use crate::store::{Manifest, Store};

/// What JS is given of a failed call.
type JsResult<T> = std::result::Result<T, JsValue>;

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// The models in the store: `{id, name, bytes, complete, last_used}[]`.
#[wasm_bindgen]
pub async fn stored_models() -> JsResult<JsValue> {
    let models = async { IndexedDb::open(source::DATABASE).await?.list().await };
    let models = models.await.map_err(js_error)?;
    to_js(&models.iter().map(StoredModel::from).collect::<Vec<_>>())
}

/// Deletes a stored model and frees its space.
#[wasm_bindgen]
pub async fn delete_model(id: String) -> JsResult<()> {
    let deleted = async { IndexedDb::open(source::DATABASE).await?.delete(&id).await };
    deleted.await.map_err(js_error)
}

/// Size of the wasm heap in bytes; it never shrinks, so this is also its peak.
#[wasm_bindgen]
pub fn heap_bytes() -> f64 {
    crate::generate::host_bytes().map_or(0.0, |bytes| bytes as f64)
}

/// What JS sees of a stored model.
#[derive(Serialize)]
struct StoredModel<'a> {
    id: &'a str,
    name: &'a str,
    bytes: u64,
    complete: bool,
    last_used: f64,
}

impl<'a> From<&'a Manifest> for StoredModel<'a> {
    fn from(manifest: &'a Manifest) -> Self {
        let Manifest { id, name, complete, last_used, .. } = manifest;
        Self { id, name, bytes: manifest.bytes(), complete: *complete, last_used: *last_used }
    }
}

/// An `Error` object with `code`, `message` and `advice`.
fn js_error(error: Error) -> JsValue {
    let object = js_sys::Error::new(&sentence(&error));
    for (name, value) in [("code", error.code()), ("advice", error.advice())] {
        // A new object takes any property.
        drop(Reflect::set(&object, &name.into(), &value.into()));
    }
    object.into()
}

/// What an error says, as a sentence for people: errors within errors read better without its capital and full stop.
fn sentence(error: &Error) -> String {
    let mut text = error.to_string();
    // Not if it is an address or the name of a file.
    if text.split(' ').next().is_some_and(|first| first.chars().all(char::is_alphabetic))
        && let Some(first) = text.get_mut(..1)
    {
        first.make_ascii_uppercase();
    }
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

fn to_js<T: Serialize>(value: &T) -> JsResult<JsValue> {
    value.serialize(&serde_wasm_bindgen::Serializer::json_compatible()).map_err(JsValue::from)
}
