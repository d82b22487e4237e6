//! Will a model run here? From its header and a rehearsal on this device, before it is downloaded.

use futures_util::future::join;
use serde::Serialize;

use super::OpenOptions;
use super::open::{executor_options, fitting_context};
#[cfg(not(target_arch = "wasm32"))]
use super::{Device, open_cpu};
#[cfg(not(target_arch = "wasm32"))]
use crate::cpu;
use crate::error::{Error, Result};
use crate::gpu::rehearsal::{Rehearsal, cache_bytes};
use crate::gpu::{ExecutorOptions, Gpu};
use crate::ops::KV_TILE;
use crate::weights::outline::{Outline, outline};
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
        #[cfg(not(target_arch = "wasm32"))]
        if options.device == Device::Cpu {
            return Self::on_cpu(&outline(source).await?, options).await;
        }
        let (looked_at, gpu) = join(outline(source), Gpu::open()).await;
        Self::on(&gpu?, &looked_at?, options).await
    }

    /// The same of a checkpoint that was looked at, on the processor: nothing is timed.
    #[cfg(not(target_arch = "wasm32"))]
    async fn on_cpu(outline: &Outline, options: &OpenOptions) -> Result<Self> {
        let Outline { config, tensors, total_bytes, .. } = outline;
        let wanted = open_cpu::executor_options(config, options)?;
        let mut preflight = Self::new(open_cpu::DEVICE, *total_bytes);
        for context in shorter(wanted.context) {
            preflight.context = context;
            match cpu::memory(config, tensors, cpu::ExecutorOptions { context, ..wanted }).await {
                Ok([weights, cache, activations]) => {
                    preflight.memory = Memory { weights, cache, activations };
                    let whole = context == wanted.context;
                    preflight.verdict = if whole { Verdict::LikelyFits } else { Verdict::FitsWithContext };
                    return Ok(preflight);
                }
                Err(Error::OutOfMemory { detail }) => {
                    preflight.verdict = Verdict::WontFit { because: format!("there is no room for {detail}") };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(preflight)
    }

    fn new(adapter: &str, stored_bytes: u64) -> Self {
        let (verdict, memory, adapter) = (Verdict::LikelyFits, Memory::default(), adapter.to_owned());
        Self { verdict, context: 0, memory, speed: None, stored_bytes, adapter }
    }

    /// The same of a checkpoint that was looked at, on an open device.
    pub async fn on(gpu: &Gpu, outline: &Outline, options: &OpenOptions) -> Result<Self> {
        let mut preflight = Self::new(&gpu.adapter().name, outline.total_bytes);
        match preflight.examine(gpu, outline, options).await {
            Ok(()) => {}
            Err(Error::AdapterLimit { detail }) => {
                preflight.verdict =
                    Verdict::WontFit { because: format!("the graphics adapter's limits are too low: {detail}") };
            }
            Err(Error::OutOfMemory { .. }) => {
                let because = format!("there is no room for even one of its {} layers", outline.config.layers);
                preflight.verdict = Verdict::WontFit { because };
            }
            Err(error) => return Err(error),
        }
        Ok(preflight)
    }

    async fn examine(&mut self, gpu: &Gpu, outline: &Outline, options: &OpenOptions) -> Result<()> {
        let Outline { config, tensors, .. } = outline;
        let wanted = wanted(gpu, outline, options)?;
        self.memory.weights = gpu.weight_bytes(tensors)?;
        let Rehearsal { activation_bytes, token_seconds, chunk_seconds } =
            gpu.rehearse(config, tensors, wanted).await?;
        self.memory.activations = activation_bytes;
        let chunk = wanted.chunk.min(wanted.context) as f64;
        self.speed = Some(Speed { prefill: chunk / chunk_seconds, decode: 1.0 / token_seconds });
        for context in shorter(wanted.context) {
            // Without the weights there is no use in a shorter one.
            if context < wanted.context && !gpu.has_room(self.memory.weights + self.memory.activations).await? {
                break;
            }
            self.context = context;
            self.memory.cache = cache_bytes(config, ExecutorOptions { context, ..wanted });
            if gpu.has_room(self.memory.total()).await? {
                let asked = options.context.is_none_or(|asked| asked == context);
                let whole = asked && context == wanted.context;
                self.verdict = if whole { Verdict::LikelyFits } else { Verdict::FitsWithContext };
                return Ok(());
            }
        }
        let needed = self.memory.total() >> 20;
        let because = format!(
            "it needs {needed} MiB of graphics memory with a context of {} tokens, and there is less",
            self.context
        );
        self.verdict = Verdict::WontFit { because };
        Ok(())
    }
}

/// The options of a load, with the longest context up to the asked one whose cache fits the adapter's bindings.
fn wanted(gpu: &Gpu, outline: &Outline, options: &OpenOptions) -> Result<ExecutorOptions> {
    let fitting = fitting_context(gpu, &outline.config, options);
    let context = options.context.filter(|asked| *asked <= outline.config.max_positions && fitting > 0);
    let context = context.map_or(options.context, |asked| Some(asked.min(fitting)));
    executor_options(gpu, &outline.config, &OpenOptions { context, ..options.clone() })
}

/// A context's length, and shorter ones, down to the least that is of use.
fn shorter(context: usize) -> impl Iterator<Item = usize> {
    let halves = std::iter::successors(Some(context), |context| Some((context / 2).next_multiple_of(KV_TILE)));
    halves
        .enumerate()
        .map_while(|(halved, shorter)| (halved == 0 || shorter >= LEAST_CONTEXT).then_some(shorter))
        .take(20)
}
