//! The only exports to JS: converts, decides nothing.

mod abort;
pub mod engine;
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
