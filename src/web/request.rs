//! What JS asks for, as Rust types.

use js_sys::{Array, Object, Reflect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{AbortSignal, File};

use super::source::{DATABASE, Local, Server, WebSource, WebUpstream};
use crate::error::{Error, Result};
use crate::generate::OpenOptions;
use crate::model::kv_cache::KvFormat;
use crate::store::indexed_db::IndexedDb;

/// Where a model is to come from: one of `url`, `hub`, `stored` and, outside serde's reach, `files`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Model {
    url: Option<String>,
    hub: Option<String>,
    revision: Option<String>,
    host: Option<String>,
    stored: Option<String>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Options {
    context: Option<usize>,
    kv: Kv,
    device: Device,
    store: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { context: None, kv: Kv::F16, device: Device::Auto, store: true }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kv {
    F16,
    F32,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Device {
    Auto,
    WebGpu,
}

/// Opens the source that `{model, options}` asks for.
pub async fn open(request: &JsValue, signal: &AbortSignal) -> Result<(WebSource, OpenOptions)> {
    let options: Options = from_js(&property(request, "options"))?;
    let kv = match options.kv {
        Kv::F16 => KvFormat::F16,
        Kv::F32 => KvFormat::F32,
    };
    // Both mean the only device there is.
    let (Device::Auto | Device::WebGpu) = options.device;
    let source = source(&property(request, "model"), options.store, signal).await?;
    Ok((source, OpenOptions { context: options.context, kv, matvec: None }))
}

async fn source(request: &JsValue, store: bool, signal: &AbortSignal) -> Result<WebSource> {
    let model: Model = from_js(request)?;
    let upstream = match (&model.url, &model.hub, &model.stored, files(request)) {
        (Some(url), None, None, None) => WebUpstream::Server(Server::new(url, signal)?),
        (None, Some(hub), None, None) => {
            WebUpstream::Server(Server::hub(hub, model.revision.as_deref(), model.host.as_deref(), signal)?)
        }
        (None, None, Some(id), None) => return WebSource::stored(IndexedDb::open(DATABASE).await?, id).await,
        (None, None, None, Some(files)) => WebUpstream::Local(Local::new(files, signal)?),
        _ => return Err(Error::BadRequest { detail: "a model is one of url, hub, files and stored".into() }),
    };
    let store = if store { Some(IndexedDb::open(DATABASE).await) } else { None };
    Ok(WebSource::open(store, upstream).await)
}

fn files(request: &JsValue) -> Option<Vec<File>> {
    let files = property(request, "files");
    files.is_object().then(|| Array::from(&files).iter().filter_map(|file| file.dyn_into().ok()).collect())
}

/// A value of JS; a property that is `undefined` is an absent one, and so are all of `undefined` itself.
pub fn from_js<T: DeserializeOwned>(value: &JsValue) -> Result<T> {
    let value = match value.dyn_ref::<Object>() {
        Some(object) => {
            let given = |entry: JsValue, _, _: Array| !Array::from(&entry).get(1).is_undefined();
            Object::from_entries(&Object::entries(object).filter(&mut { given }))
                .map_or_else(|error| error, JsValue::from)
        }
        None if value.is_undefined() || value.is_null() => Object::new().into(),
        None => value.clone(),
    };
    serde_wasm_bindgen::from_value(value).map_err(|error| Error::BadRequest { detail: error.to_string() })
}

fn property(of: &JsValue, name: &str) -> JsValue {
    Reflect::get(of, &name.into()).unwrap_or(JsValue::UNDEFINED)
}
