//! The kernels on this machine's graphics adapter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[macro_use]
mod common;
#[path = "common/kernels.rs"]
mod kernels;
#[path = "common/sampling.rs"]
mod sampling;
