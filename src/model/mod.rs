//! The model: one description of the forward pass, and the cache that owns positions.

pub mod kv_cache;
pub mod llama;
