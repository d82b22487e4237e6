//! What runs natively, in one program, which is linked once. Kernels alone are in `ops.rs`, damaged files in `fuzz.rs`.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[macro_use]
mod common;
#[path = "common/executor.rs"]
mod executor;
#[path = "common/lora.rs"]
mod lora;
mod native {
    mod byte_level;
    mod chat;
    mod cpu;
    mod forward;
    mod generate;
    mod injection;
    mod large;
    mod lora_hostile;
    mod lost;
    mod preflight;
    mod profile;
    mod quantised;
    mod reference;
    mod repair;
    mod sampler;
    mod sentence_piece;
    mod store;
    mod text_hostile;
    mod tokenizer;
    mod weights;
    mod weights_hostile;
}
