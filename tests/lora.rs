//! LoRA adapters on this machine's graphics adapter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[macro_use]
mod common;
#[path = "common/lora.rs"]
mod lora;
