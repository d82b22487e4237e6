//! The processor as a device: it holds weights in the bytes that they are published in, and computes what the WebGPU device does, step by
//! step.
//!
//! Products with quantised weights take vectors in 8 bits, or as they are: see [`ExecutorOptions::activations`]. All the rest is f32.

mod attention;
mod cache;
mod deltas;
mod executor;
pub(crate) mod lanes;
mod ops;
mod pass;
pub(crate) mod products;
pub(crate) mod quads;
pub(crate) mod rounded;
mod team;
#[cfg(test)]
mod tests;
mod weights;

pub use executor::{Executor, ExecutorOptions, memory, seconds};
#[cfg(all(feature = "cpu", target_arch = "wasm32"))]
pub(crate) use team::{Board, serve};
pub use team::{Helpers, Team};
pub use weights::Weights;

use crate::error::{Error, Result};

#[cfg(all(feature = "cpu", target_arch = "wasm32"))]
mod web {
    use wasm_bindgen::prelude::wasm_bindgen;

    #[wasm_bindgen(module = "/src/cpu/breath.js")]
    extern "C" {
        pub async fn breath();
    }
}

/// Lets the browser see to what has come meanwhile, such as a stop: what is computed here holds up everything else in its thread.
#[cfg(all(feature = "cpu", target_arch = "wasm32"))]
pub(crate) use web::breath;

/// Natively others have threads of their own.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn breath() {}

/// So many zeros; `what` they are for is named in the error.
///
/// Errors: `OutOfMemory`.
fn zeros<T: Clone + Default>(what: &str, count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    reserve(&mut values, what, count)?;
    values.resize(count, T::default());
    Ok(values)
}

/// Makes room for `count` values more, and no more than that.
fn reserve<T>(values: &mut Vec<T>, what: &str, count: usize) -> Result<()> {
    values.try_reserve_exact(count).map_err(|_| {
        let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
        Error::OutOfMemory { detail: format!("{what}, {bytes} bytes of main memory") }
    })
}
