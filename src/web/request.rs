//! What JS asks for, as Rust types.

use std::collections::BTreeMap;
use std::rc::Rc;

use js_sys::{Array, Object, Reflect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{AbortSignal, File};

use super::source::{CONNECTIONS, DATABASE, Local, Server, WebSource, WebUpstream};
use crate::cpu::Helpers;
use crate::digest::FileDigests;
use crate::error::{Error, Result};
use crate::generate::{Device, OpenOptions};
use crate::gpu::tune::{Choice, Tuning};
use crate::model::kv_cache::KvFormat;
use crate::ops::ActivationFormat;
use crate::store::Store;
use crate::store::indexed_db::IndexedDb;
use crate::store::quantised::Quantised;
use crate::store::traffic::Traffic;
use crate::store::upstream::Upstream;
use crate::weights::recipe::Recipe;

/// Where a model is to come from: one of `url`, `hub`, `stored` and, outside serde's reach, `files`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Model {
    url: Option<String>,
    hub: Option<String>,
    revision: Option<String>,
    host: Option<String>,
    stored: Option<String>,
    /// Shown to the server of the model's address alone.
    token: Option<String>,
    /// What the files must hash to, by name.
    digests: BTreeMap<String, FileDigests>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(default)]
struct Options {
    context: Option<usize>,
    kv: KvFormat,
    device: Device,
    store: bool,
    connections: usize,
    tune: bool,
    activations: Option<ActivationFormat>,
    quantise: Option<Recipe>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            context: None,
            kv: KvFormat::default(),
            device: Device::Auto,
            store: true,
            connections: CONNECTIONS,
            tune: true,
            activations: None,
            quantise: None,
        }
    }
}

/// Opens the source that `{model, options}` asks for.
pub async fn open(request: &JsValue, signal: &AbortSignal) -> Result<(WebSource, OpenOptions)> {
    let options: Options = from_js(&property(request, "options"))?;
    let source = source(&property(request, "model"), &options, signal).await?;
    let tuning = match (options.tune, options.store) {
        (false, _) => Tuning::Off,
        (true, false) => Tuning::On(Vec::new()),
        (true, true) => Tuning::On(choices().await.unwrap_or_default()),
    };
    Ok((source, options.of_engine(tuning, helpers(request))))
}

/// The same to look at its header alone: nothing is stored, and no more is asked for than is wanted next.
pub async fn look_at(request: &JsValue, signal: &AbortSignal) -> Result<(WebSource, OpenOptions)> {
    let options: Options = from_js(&property(request, "options"))?;
    let model = property(request, "model");
    let stored = unsettled(&model, &options, signal).await?;
    let source = if stored.is_stored() {
        stored
    } else {
        source(&model, &Options { store: false, connections: 1, ..options }, signal).await?
    };
    Ok((source, options.of_engine(Tuning::Off, helpers(request))))
}

impl Options {
    fn of_engine(&self, tuning: Tuning, helpers: Helpers) -> OpenOptions {
        let Self { context, kv, activations, device, .. } = *self;
        OpenOptions { context, kv, tuning, activations, device, helpers }
    }
}

/// The workers that wait to compute with the model.
fn helpers(request: &JsValue) -> Helpers {
    let workers = property(request, "helpers").dyn_into::<Array>().unwrap_or_default();
    Helpers::workers(workers.iter().map(JsCast::unchecked_into).collect())
}

/// What an earlier load measured; where that cannot be read, it is measured again.
async fn choices() -> Result<Vec<Choice>> {
    IndexedDb::open(DATABASE).await?.choices().await
}

/// Keeps what was measured for the next load, where a store is wanted.
pub async fn keep_choice(request: &JsValue, choice: &Choice) -> Result<()> {
    let options: Options = from_js(&property(request, "options"))?;
    if options.store { IndexedDb::open(DATABASE).await?.keep_choice(choice).await } else { Ok(()) }
}

async fn source(request: &JsValue, options: &Options, signal: &AbortSignal) -> Result<WebSource> {
    let mut source = unsettled(request, options, signal).await?;
    source.settle().await?;
    Ok(source)
}

/// A source that may still have to find out which checkpoint is meant.
async fn unsettled(request: &JsValue, options: &Options, signal: &AbortSignal) -> Result<WebSource> {
    let traffic = Rc::default();
    match upstream(request, options.connections, signal, &traffic)? {
        Asked::Stored { id, token } => stored(&id, token.as_deref(), signal, traffic).await,
        Asked::Anew(upstream) => {
            let store = if options.store { Some(IndexedDb::open(DATABASE).await) } else { None };
            let upstream = Quantised::new(upstream, options.quantise, traffic.clone());
            Ok(WebSource::open(store, upstream, traffic).await)
        }
    }
}

/// Opens the source of an adapter, which comes from where models come from, and of which no copy is kept.
pub async fn adapter(request: &JsValue, signal: &AbortSignal) -> Result<WebSource> {
    let traffic = Rc::default();
    match upstream(request, CONNECTIONS, signal, &traffic)? {
        Asked::Stored { .. } => Err(Error::BadRequest { detail: "adapters are not stored".into() }),
        Asked::Anew(upstream) => {
            let upstream = Quantised::new(upstream, None, traffic.clone());
            Ok(WebSource::open(None, upstream, traffic).await)
        }
    }
}

/// What is stored of a model, which is repaired from where it came from.
pub async fn stored(id: &str, token: Option<&str>, signal: &AbortSignal, traffic: Rc<Traffic>) -> Result<WebSource> {
    let store = IndexedDb::open(DATABASE).await?;
    let manifest = store.list().await?.into_iter().find(|model| model.id == id);
    let manifest = manifest.ok_or_else(|| Error::StoreCorrupt { detail: format!("{id} is not stored") })?;
    let from_server = manifest.files.iter().any(|file| file.url.is_some());
    let server =
        from_server.then(|| Server::new(&manifest.address, signal, &traffic)?.with_token(token)).transpose()?;
    let recipe = manifest.recipe;
    let upstream = server.map(|server| Quantised::new(WebUpstream::Server(server), recipe, traffic.clone()));
    Ok(WebSource::stored(store, manifest, upstream, traffic))
}

/// One text for a model, however it is asked for.
pub fn key(request: &JsValue) -> Result<String> {
    let signal = AbortSignal::abort();
    match upstream(request, CONNECTIONS, &signal, &Rc::default())? {
        Asked::Stored { id, .. } => Ok(id),
        Asked::Anew(upstream) => Ok(upstream.address().to_owned()),
    }
}

enum Asked {
    /// By its id in the store, and what its server wants to see if it has to be repaired.
    Stored {
        id: String,
        token: Option<String>,
    },
    Anew(WebUpstream),
}

fn upstream(request: &JsValue, connections: usize, signal: &AbortSignal, traffic: &Rc<Traffic>) -> Result<Asked> {
    let model: Model = from_js(request)?;
    let server = match (&model.url, &model.hub, model.stored, files(request)) {
        (Some(url), None, None, None) => Server::new(url, signal, traffic)?,
        (None, Some(hub), None, None) => {
            Server::hub(hub, model.revision.as_deref(), model.host.as_deref(), signal, traffic)?
        }
        (None, None, Some(id), None) => return Ok(Asked::Stored { id, token: model.token }),
        (None, None, None, Some(files)) => return Ok(Asked::Anew(WebUpstream::Local(Local::new(files, signal)?))),
        _ => return Err(Error::BadRequest { detail: "a model is one of url, hub, files and stored".into() }),
    };
    let server = server.with_token(model.token.as_deref())?.with_digests(model.digests).with_connections(connections);
    Ok(Asked::Anew(WebUpstream::Server(server)))
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
