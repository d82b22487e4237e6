//! Llama 2 in a web page: one crate for the page and for native use.
//!
//! ```text
//! data   bytes > chunks > rows of tensors > GPU buffers > logits          > token   > text      > page
//! room   net     store    weights           gpu, ops      model, shaders    sampling  tokenizer   generate, web
//!                                           or cpu
//! ```
//!
//! - [`error`]: every error, with its code and what to do about it
//! - [`config`]: the sizes that make one Llama differ from another
//! - [`mod@digest`]: SHA-256 of chunks and files
//! - `net`, [`store`]: fetching in chunks, with patience; hashed chunks at rest (IndexedDB in the page, memory in tests)
//! - [`weights`]: GGUF files and Hugging Face folders become rows of named weights, chunk by chunk; LoRA adapters
//! - [`formats`]: the number formats of weights, one file for each: meaning, place in a tile, shader
//! - [`gpu`]: the WebGPU device: memory, layout of weights, recording, running, measuring and choosing kernels
//! - [`ops`]: one file per kernel: parameters, checks, dispatch; the shaders lie in `shaders/`, and come in by the macro in `wgsl.rs`
//! - [`model`]: the forward pass, told once, and the KV cache's bookkeeping
//! - [`cpu`]: the processor as a device: weights in quads, products, attention; [`executor`]: both devices behind one face
//! - [`mod@reference`]: the whole model in plain Rust: the oracle of the tests
//! - [`tokenizer`], [`chat`], [`sampling`]: text to tokens and back, turns to a prompt, how a token is chosen from logits
//! - [`generate`]: the loop: prefill, decode, stream, stop
//! - `web`: the exports to JavaScript
//!
//! Invariants, mostly absences: after `weights`, nothing knows where bytes came from. On the GPU road the whole model never
//! sits in the host's memory. `model` and `ops` name no browser type. No caller passes a position: only the KV cache holds
//! it. The engine never calls `reference`. Tokenizer, sampling, chat and reference run without a GPU and without a browser. A
//! chunk counts as stored only once its record is written.

#[macro_use]
mod wgsl;

pub mod chat;
pub mod config;
pub mod cpu;
pub mod digest;
pub mod error;
pub mod executor;
pub mod formats;
pub mod generate;
pub mod gpu;
pub mod model;
#[cfg(target_arch = "wasm32")]
pub mod net;
pub mod ops;
pub mod reference;
pub mod sampling;
pub mod store;
pub mod tokenizer;
#[cfg(target_arch = "wasm32")]
pub mod web;
pub mod weights;

pub use error::{Error, Result};
