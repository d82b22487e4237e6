//! The browser's side, in a dedicated worker of a real browser: IndexedDB, `fetch`, and reading through both.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod web {
    mod store;
}

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
