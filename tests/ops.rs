//! The kernels on this machine's graphics adapter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[macro_use]
mod common;
#[path = "common/attention.rs"]
mod attention;
#[path = "common/kernels.rs"]
mod kernels;
#[path = "common/products.rs"]
mod products;
#[path = "common/sampling.rs"]
mod sampling;
#[path = "common/tuning.rs"]
mod tuning;
