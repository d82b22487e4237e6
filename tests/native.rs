//! What runs natively, in one program, which is linked once. Apart from it: `ops.rs`, the kernels alone, and those that measure the
//! memory of their process: `fuzz.rs`, `text_hostile.rs`, `weights_hostile.rs`.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[macro_use]
mod common;
#[path = "common/executor.rs"]
mod executor;
#[path = "common/lora.rs"]
mod lora;
mod native {
    mod adapters;
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
    mod threads;
    mod tokenizer;
    mod weights;
}
