//! On a WebGPU device: while weights stream there, it compiles the kernels that will read them.

use futures_util::future::{LocalBoxFuture, join, try_join};

use super::open::{Text, context};
use super::preflight::{Preflight, Speed, Verdict, shorter};
use super::{DeviceInfo, Engine, OpenOptions, Progress};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::gpu::rehearsal::{Rehearsal, cache_bytes};
use crate::gpu::trial::Shape;
use crate::gpu::tune::{Tuned, Tuning};
use crate::gpu::weights::{WeightStore, Weights};
use crate::gpu::{ExecutorOptions, Gpu, Recorded};
use crate::ops::{HeadShape, MATMUL_BYTES, Variants};
use crate::weights::loader::{self, Checkpoint};
use crate::weights::outline::{Outline, outline};
use crate::weights::source::Source;

/// Tokens of a prompt in one run: software adapters stay answerable with less.
const CHUNK: usize = 128;
const SOFTWARE_CHUNK: usize = 32;

impl Engine {
    /// As [`Engine::open`], on a WebGPU device of the caller's.
    pub async fn open_on<S: Source>(
        gpu: impl Future<Output = Result<Gpu>>,
        source: &mut S,
        options: OpenOptions,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Self> {
        let (opened, gpu) = join(loader::open(source), gpu).await;
        let opened = opened?;
        let gpu = match gpu {
            Ok(gpu) => gpu,
            // What is wrong with the checkpoint comes first.
            Err(error) => return Text::read(opened.checkpoint()).and(Err(error)),
        };
        let Checkpoint { config, total_bytes, name, .. } = opened.checkpoint();
        let (config, name) = (config.clone(), name.clone());
        // Before the weights, which may take an hour to come.
        let tuning = options.tuning.clone();
        let options = executor_options(&gpu, &config, &options)?;
        source.reserve(*total_bytes).await?;

        let mut weights = Weights::new(&gpu);
        let early = async {
            // What a file's header does not list yet cannot be recorded.
            Ok(match opened.allocate(&mut weights).await? {
                true => Some(record(&gpu, &config, weights.store(), options, &tuning).await?),
                false => None,
            })
        };
        // The vocabulary is read while the device finds room.
        let (early, text) = join(early, async { Text::read(opened.checkpoint()) }).await;
        let (text, early) = (text?, early?);
        let loading = async {
            let mut report = |done, total| progress(Progress::Weights { done, total });
            let config = opened.load(source, &mut weights, &mut report).await?;
            if progress(Progress::Kernels) { Ok(config) } else { Err(Error::Aborted) }
        };
        // A kernel that the device refuses is told at once: no need to wait for an hour's download.
        let (config, ()) = try_join(loading, gpu.compile()).await?;
        let weights = weights.finish();
        let Prepared { recorded, weight_bytes, variants, tuned } = match early {
            Some(recorded) => recorded,
            None => {
                let recorded = record(&gpu, &config, &weights, options, &tuning).await?;
                gpu.compile().await?;
                recorded
            }
        };
        gpu.finished().await?;

        let adapter = gpu.adapter().clone();
        let mut names = variants.names();
        names.extend(recorded.rounds().then_some(MATMUL_BYTES));
        let executor = Executor::WebGpu(Box::new(recorded.complete(gpu, &config, weights)?));
        let device = DeviceInfo {
            kind: "webgpu",
            adapter: adapter.name,
            software: adapter.software,
            variants: names,
            tuning_ms: tuned.as_ref().map(|tuned| tuned.milliseconds),
            threads: None,
        };
        let engine = text.engine(name, executor, options.context, weight_bytes, device);
        Ok(Self { choice: tuned.map(|tuned| tuned.choice), ..engine })
    }
}

/// The forward pass, and what it was made with.
struct Prepared {
    recorded: Recorded,
    weight_bytes: u64,
    variants: Variants,
    tuned: Option<Tuned>,
}

/// Chooses kernels and records the forward pass. The weights are alone on the device until then.
fn record<'a>(
    gpu: &'a Gpu,
    config: &'a ModelConfig,
    weights: &'a WeightStore,
    options: ExecutorOptions,
    tuning: &'a Tuning,
) -> LocalBoxFuture<'a, Result<Prepared>> {
    let weight_bytes = gpu.allocated_bytes();
    Box::pin(async move {
        let (variants, tuned) = gpu.tune(tuning, Shape::largest(weights)?, options.chunk).await?;
        let recorded = Recorded::new(gpu, config, weights, ExecutorOptions { variants, ..options }).await?;
        Ok(Prepared { recorded, weight_bytes, variants, tuned })
    })
}

fn executor_options(gpu: &Gpu, config: &ModelConfig, options: &OpenOptions) -> Result<ExecutorOptions> {
    let context = context(options.context, config.max_positions, fitting_context(gpu, config, options))?;
    let chunk = if gpu.adapter().software { SOFTWARE_CHUNK } else { CHUNK };
    Ok(ExecutorOptions {
        context,
        kv: options.kv,
        chunk,
        variants: Variants::for_adapter(gpu),
        activations: options.activations.unwrap_or_default(),
    })
}

/// The most positions that an adapter's bindings have room for.
fn fitting_context(gpu: &Gpu, config: &ModelConfig, options: &OpenOptions) -> usize {
    HeadShape::new(config, 0, options.kv).most_positions(gpu.max_binding_bytes())
}

impl Preflight {
    pub(super) async fn on_webgpu<S: Source>(source: &mut S, options: &OpenOptions) -> Result<Self> {
        let (looked_at, gpu) = join(outline(source), Gpu::open()).await;
        Self::on(&gpu?, &looked_at?, options).await
    }

    /// As [`Preflight::of`], of a checkpoint that was looked at, on an open device.
    ///
    /// Errors: `BadRequest` for a context that the model does not have; what the device reports. That it has too little memory, or too
    /// low limits, is none.
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

/// The options of a load, with the longest context up to the asked one that fits the adapter's bindings.
fn wanted(gpu: &Gpu, outline: &Outline, options: &OpenOptions) -> Result<ExecutorOptions> {
    let fitting = fitting_context(gpu, &outline.config, options);
    let context = options.context.filter(|asked| *asked <= outline.config.max_positions && fitting > 0);
    let context = context.map_or(options.context, |asked| Some(asked.min(fitting)));
    executor_options(gpu, &outline.config, &OpenOptions { context, ..options.clone() })
}
