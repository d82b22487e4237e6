//! Opening: while weights stream onto a WebGPU device, it compiles the kernels that will read them.

use futures_util::future::{LocalBoxFuture, join, try_join};

use super::{Device, DeviceInfo, Engine, Info, Model, OpenOptions, Progress, Stats};
use crate::chat::ChatFormat;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::gpu::trial::Shape;
use crate::gpu::tune::{Tuned, Tuning};
use crate::gpu::weights::{WeightStore, Weights};
use crate::gpu::{ExecutorOptions, Gpu, Recorded};
use crate::model::kv_cache::KvCache;
use crate::ops::{KV_TILE, MATMUL_BYTES, Variants};
use crate::sampling::Sampling;
use crate::tokenizer::Tokenizer;
use crate::weights::Role;
use crate::weights::loader::{self, Checkpoint};
use crate::weights::source::Source;

/// The context when the caller names none, unless the model's own or the adapter's memory is smaller.
const DEFAULT_CONTEXT: usize = 4096;
/// Tokens of a prompt in one run: software adapters stay answerable with less.
const CHUNK: usize = 128;
const SOFTWARE_CHUNK: usize = 32;

/// What a checkpoint says of text.
pub(super) struct Text {
    tokenizer: Tokenizer,
    chat: Option<ChatFormat>,
    sampling: Sampling,
}

impl Text {
    pub(super) fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let tokenizer = Tokenizer::from_text_files(&checkpoint.text)?;
        let chat = ChatFormat::from_text_files(&checkpoint.text, &tokenizer)?;
        let sampling = Sampling::defaults(&checkpoint.text)?;
        Ok(Self { tokenizer, chat, sampling })
    }

    /// An engine around an executor whose cache is empty.
    pub(super) fn engine(
        self,
        name: Option<String>,
        executor: Executor,
        context: usize,
        weight_bytes: u64,
        device: DeviceInfo,
    ) -> Engine {
        let Self { tokenizer, chat, sampling } = self;
        let config = executor.config();
        let info = Info {
            name,
            architecture: "llama",
            parameters: parameters(config),
            weight_bytes,
            context,
            chat: chat.is_some(),
            vocab_size: config.vocab_size,
            device,
            sampling,
        };
        let (stats, cache) = (Stats::of(&executor), KvCache::new(context));
        let model = Model { executor, cache };
        Engine { model, tokenizer, chat, info, stats, choice: None, adapters: Vec::new() }
    }
}

impl Engine {
    /// Opens a checkpoint: reads its header, streams its weights onto the device, and prepares the kernels meanwhile.
    ///
    /// `progress` is called for each chunk; when it returns false the opening ends with `Aborted`.
    pub async fn open<S: Source>(
        source: &mut S,
        options: OpenOptions,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Self> {
        match options.device {
            Device::Auto | Device::WebGpu => Self::open_on(Gpu::open(), source, options, progress).await,
            #[cfg(not(target_arch = "wasm32"))]
            Device::Cpu => Self::open_on_cpu(source, options, progress).await,
            #[cfg(target_arch = "wasm32")]
            Device::Cpu => Err(Error::BadRequest { detail: "in a page, models run on WebGPU alone".to_owned() }),
        }
    }

    /// The same on a WebGPU device of the caller's.
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

pub(super) fn executor_options(gpu: &Gpu, config: &ModelConfig, options: &OpenOptions) -> Result<ExecutorOptions> {
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

/// The most positions whose keys fit a binding, whole tiles of them.
pub(super) fn fitting_context(gpu: &Gpu, config: &ModelConfig, options: &OpenOptions) -> usize {
    let position_bytes = config.kv_heads as u64 * options.kv.vector_bytes(config.head_dim);
    (gpu.max_binding_bytes() / position_bytes.max(1)) as usize / KV_TILE * KV_TILE
}

/// Positions of the KV cache: as asked, unless the model has fewer or fewer fit the device.
pub(super) fn context(asked: Option<usize>, most: usize, fitting: usize) -> Result<usize> {
    match asked {
        _ if fitting == 0 => {
            let detail =
                format!("not even {KV_TILE} tokens of a layer's keys fit a binding, the least that a context takes");
            Err(Error::AdapterLimit { detail })
        }
        Some(0) => Err(Error::BadRequest { detail: "a context of 0 tokens".to_owned() }),
        Some(context) if context > most => {
            let detail = format!("a context of {context} tokens where the model was made for {most}");
            Err(Error::BadRequest { detail })
        }
        Some(context) if context > fitting => {
            Err(Error::AdapterLimit { detail: format!("a context of {context} tokens where {fitting} fit") })
        }
        Some(context) => Ok(context),
        None => Ok(DEFAULT_CONTEXT.min(most).min(fitting)),
    }
}

fn parameters(config: &ModelConfig) -> u64 {
    let sizes = Role::all(config).into_iter().map(|role| role.shape(config));
    sizes.map(|[rows, columns]| rows as u64 * columns as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::context;

    #[test]
    fn a_context_fits_model_and_device_or_is_refused() {
        let code = |asked, fitting| context(asked, 8192, fitting).unwrap_err().code();
        assert_eq!(context(None, 8192, 1 << 20).unwrap(), 4096);
        assert_eq!(context(None, 256, 1 << 20).unwrap(), 256);
        assert_eq!(context(None, 8192, 640).unwrap(), 640);
        assert_eq!(context(Some(640), 8192, 640).unwrap(), 640);
        assert_eq!((code(Some(0), 640), code(Some(8193), 1 << 20)), ("generate/bad-request", "generate/bad-request"));
        let limit = context(None, 8192, 0).unwrap_err();
        assert_eq!([code(Some(641), 640), code(Some(1), 0)], [limit.code(); 2]);
        assert!(limit.to_string().contains("not even 64 tokens"), "{limit}");
    }
}
