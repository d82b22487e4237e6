//! Will a model run here? From its header and a rehearsal on this device, before it is downloaded.

use serde::Serialize;

use super::open::not_here;
use super::{Device, OpenOptions};
use crate::error::Result;
use crate::ops::KV_TILE;
use crate::weights::source::Source;

/// Less context than this is no conversation.
const LEAST_CONTEXT: usize = 256;

/// What is to be expected of a model on this device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preflight {
    /// Whether it will run.
    pub verdict: Verdict,
    /// Tokens that the context has: as asked, or as many as there is room for.
    pub context: usize,
    /// Bytes on the device, where the model can run at all.
    pub memory: Memory,
    /// Where it was timed.
    pub speed: Option<Speed>,
    /// Bytes of the model's files, as they are stored.
    pub stored_bytes: u64,
    /// The graphics adapter's name, or what stands for it.
    pub adapter: String,
}

/// Whether a model will run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Verdict {
    /// There is room for it now.
    LikelyFits,
    /// With a shorter context than was asked for, which [`Preflight::context`] names.
    FitsWithContext,
    /// It will not.
    WontFit {
        /// The reason, a sentence for people.
        because: String,
    },
}

/// Bytes on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Weights, as they lie there.
    pub weights: u64,
    /// Keys and values of the context.
    pub cache: u64,
    /// What else runs need.
    pub activations: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.cache + self.activations
    }
}

/// Tokens a second, as predicted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// Of a prompt.
    pub prefill: f64,
    /// Written, after some hundred others.
    pub decode: f64,
}

impl Preflight {
    /// Reads a checkpoint's header, and rehearses it on the device. Takes a second or two, and the memory for a moment.
    ///
    /// Errors: what is wrong with the checkpoint; `NoWebGpu`, `NoAdapter`; `BadRequest` for a context that the model does not have.
    pub async fn of<S: Source>(source: &mut S, options: &OpenOptions) -> Result<Self> {
        match options.device.settled().await {
            #[cfg(feature = "webgpu")]
            Device::WebGpu => Self::on_webgpu(source, options).await,
            #[cfg(feature = "cpu")]
            Device::Cpu => Self::on_cpu(source, options).await,
            other => Err(not_here(other)),
        }
    }

    pub(super) fn new(adapter: &str, stored_bytes: u64) -> Self {
        let (verdict, memory, adapter) = (Verdict::LikelyFits, Memory::default(), adapter.to_owned());
        Self { verdict, context: 0, memory, speed: None, stored_bytes, adapter }
    }
}

/// A context's length, and shorter ones, down to the least that is of use.
pub(super) fn shorter(context: usize) -> impl Iterator<Item = usize> {
    let halves = std::iter::successors(Some(context), |context| Some((context / 2).next_multiple_of(KV_TILE)));
    halves
        .enumerate()
        .map_while(|(halved, shorter)| (halved == 0 || shorter >= LEAST_CONTEXT).then_some(shorter))
        .take(20)
}
