//! The browser's side, in a dedicated worker of a real browser: kernels and engine on its WebGPU, IndexedDB, `fetch`.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[macro_use]
mod common;
#[path = "common/attention.rs"]
mod attention;
#[path = "common/executor.rs"]
mod executor;
#[path = "common/kernels.rs"]
mod kernels;
#[path = "common/lora.rs"]
mod lora;
#[path = "common/products.rs"]
mod products;
#[path = "common/sampling.rs"]
mod sampling;
#[path = "common/tuning.rs"]
mod tuning;
mod web {
    mod engine;
    mod golden;
    mod hub;
    mod lost;
    mod net;
    mod preflight;
    mod store;
}

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
