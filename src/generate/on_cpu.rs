//! On the processor: weights stream into main memory, and are ready as they are.

use super::open::{Text, context, parameters};
use super::preflight::{Memory, Preflight, Speed, Verdict, shorter};
use super::{DeviceInfo, Engine, OpenOptions, Progress};
use crate::config::ModelConfig;
use crate::cpu::{self, ExecutorOptions, Team, Weights};
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::ops::ActivationFormat;
use crate::weights::TensorSpec;
use crate::weights::loader;
use crate::weights::outline::{Outline, outline};
use crate::weights::source::Source;

/// Tokens of a prompt in one run, and multiply-adds in one of more than the fewest tokens: a stop waits for no more, which takes less
/// than a second.
const CHUNK: usize = 32;
const FEWEST: usize = 8;
const WORK: u64 = 5_000_000_000;

/// What stands for an adapter's name.
const DEVICE: &str = "processor";

/// The choices of a load. Rounded activations are several times as fast here, and lose little: `tests/native/cpu.rs` says how much.
fn executor_options(config: &ModelConfig, options: &OpenOptions) -> Result<ExecutorOptions> {
    let context = context(options.context, config.max_positions, usize::MAX)?;
    let activations = options.activations.unwrap_or(ActivationFormat::Int8);
    let chunk = ((WORK / parameters(config).max(1)) as usize).clamp(FEWEST, CHUNK);
    Ok(ExecutorOptions { context, kv: options.kv, chunk, activations })
}

impl Engine {
    pub(super) async fn open_on_cpu<S: Source>(
        source: &mut S,
        options: OpenOptions,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Self> {
        let opened = loader::open(source).await?;
        let checkpoint = opened.checkpoint();
        let text = Text::read(checkpoint)?;
        let name = checkpoint.name.clone();
        // Before the weights, which may take an hour to come.
        let helpers = options.helpers.clone();
        let options = executor_options(&checkpoint.config, &options)?;
        source.reserve(checkpoint.total_bytes).await?;
        let mut weights = Weights::of_team(Team::gather(&helpers, &checkpoint.config, &options)?);
        opened.allocate(&mut weights).await?;
        let mut report = |done, total| progress(Progress::Weights { done, total });
        let config = opened.load(source, &mut weights, &mut report).await?;
        if !progress(Progress::Kernels) {
            return Err(Error::Aborted);
        }
        let weight_bytes = weights.bytes();
        let threads = weights.threads();
        let executor = Executor::Cpu(Box::new(cpu::Executor::new(&config, weights, options)?));
        let device = DeviceInfo {
            kind: "cpu",
            adapter: DEVICE.to_owned(),
            software: true,
            variants: vec![options.activations.name()],
            threads: Some(threads),
            tuning_ms: None,
        };
        Ok(text.engine(name, executor, options.context, weight_bytes, device))
    }
}

/// Bytes of weights and KV cache at least.
fn least_bytes(config: &ModelConfig, tensors: &[TensorSpec], context: usize, options: &OpenOptions) -> u64 {
    let weights = tensors.iter().map(|spec| spec.rows as u64 * spec.format.row_bytes(spec.columns) as u64);
    let vectors = 2 * config.layers as u64 * config.kv_heads as u64 * context as u64;
    weights.sum::<u64>() + vectors * options.kv.vector_bytes(config.head_dim)
}

impl Preflight {
    pub(super) async fn on_cpu<S: Source>(source: &mut S, options: &OpenOptions) -> Result<Self> {
        let Outline { config, tensors, total_bytes, .. } = outline(source).await?;
        let wanted = executor_options(&config, options)?;
        let mut preflight = Self::new(DEVICE, total_bytes);
        for context in shorter(wanted.context) {
            preflight.context = context;
            match cpu::memory(&config, &tensors, cpu::ExecutorOptions { context, ..wanted }, &options.helpers).await {
                Ok([weights, cache, activations]) => {
                    preflight.memory = Memory { weights, cache, activations };
                    let timed = cpu::ExecutorOptions { context, ..wanted };
                    let [token, chunk] = cpu::seconds(&config, &tensors, timed, &options.helpers).await?;
                    let tokens = wanted.chunk.min(context) as f64;
                    preflight.speed = Some(Speed { prefill: tokens / chunk, decode: 1.0 / token });
                    let whole = context == wanted.context;
                    preflight.verdict = if whole { Verdict::LikelyFits } else { Verdict::FitsWithContext };
                    return Ok(preflight);
                }
                Err(Error::OutOfMemory { .. }) => {
                    let needed = least_bytes(&config, &tensors, context, options) >> 20;
                    let because = format!(
                        "it needs {needed} MiB of main memory with a context of {context} tokens, and there is less: \
                         WebAssembly has 4096 MiB for each thread at most"
                    );
                    preflight.verdict = Verdict::WontFit { because };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(preflight)
    }
}
