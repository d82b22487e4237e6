//! Llama 2 in a web page: one crate for the page and for native use.

pub mod config;
pub mod error;
pub mod gpu;
pub mod model;
#[cfg(target_arch = "wasm32")]
pub mod net;
pub mod ops;
pub mod store;
#[cfg(target_arch = "wasm32")]
pub mod web;
pub mod weights;

pub use error::{Error, Result};
