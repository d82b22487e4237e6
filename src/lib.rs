//! Llama 2 in a web page: one crate for the page and for native use.

pub mod config;
pub mod error;
pub mod gpu;
pub mod model;
pub mod ops;
pub mod weights;

pub use error::{Error, Result};
