//! The only exports to JS: converts, decides nothing.

mod abort;
pub mod engine;
#[cfg(feature = "cpu")]
mod helper;
pub mod manage;
mod opening;
mod progress;
mod request;
pub mod source;

use js_sys::Reflect;
use serde::Serialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::Error;
use crate::weights::repository::Offer;

/// What JS is given of a failed call.
type JsResult<T> = std::result::Result<T, JsValue>;

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// Size of the wasm heap in bytes; it never shrinks, so this is also its peak.
#[wasm_bindgen]
pub fn heap_bytes() -> f64 {
    crate::generate::host_bytes().map_or(0.0, |bytes| bytes as f64)
}

/// An `Error` object with `code`, `message` and `advice`.
fn js_error(error: Error) -> JsValue {
    let object = js_sys::Error::new(&sentence(&error));
    let set = |name: &str, value: JsValue| {
        // A new object takes any property.
        drop(Reflect::set(&object, &name.into(), &value));
    };
    set("code", error.code().into());
    set("advice", error.advice().into());
    if let Some(choices) = Choice::all(&error) {
        set("choices", to_js(&choices).unwrap_or_default());
    }
    object.into()
}

/// A model of a repository, to be asked for in the place of the repository.
#[derive(Serialize)]
struct Choice {
    hub: String,
    revision: String,
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

impl Choice {
    /// What there is to choose from, if that is what the error asks for.
    fn all(error: &Error) -> Option<Vec<Self>> {
        let Error::HubSeveral { host, repository, revision, offers } = error else { return None };
        let choice = |offer: &Offer| Self {
            hub: format!("{repository}/{}", offer.gguf.as_deref().unwrap_or("")),
            revision: revision.clone(),
            host: host.clone(),
            bytes: offer.bytes,
        };
        Some(offers.iter().map(choice).collect())
    }
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
