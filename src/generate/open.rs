//! Opening, on whichever device.

use super::{Device, DeviceInfo, Engine, Info, Model, OpenOptions, Progress, Stats};
use crate::chat::ChatFormat;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::model::kv_cache::KvCache;
use crate::ops::KV_TILE;
use crate::sampling::Sampling;
use crate::tokenizer::Tokenizer;
use crate::weights::Role;
use crate::weights::loader::Checkpoint;
use crate::weights::source::Source;

/// The context when the caller names none, unless the model's own or the adapter's memory is smaller.
const DEFAULT_CONTEXT: usize = 4096;

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
    /// Opens a checkpoint: reads its header, streams its weights onto the device, and prepares what it will compute with.
    ///
    /// `progress` is called for each chunk; when it returns false the opening ends with `Aborted`.
    pub async fn open<S: Source>(
        source: &mut S,
        options: OpenOptions,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Self> {
        match options.device.settled().await {
            #[cfg(feature = "webgpu")]
            Device::WebGpu => Self::open_on(crate::gpu::Gpu::open(), source, options, progress).await,
            #[cfg(feature = "cpu")]
            Device::Cpu => Self::open_on_cpu(source, options, progress).await,
            other => Err(not_here(other)),
        }
    }
}

/// Of a device that this build has no road for.
pub(super) fn not_here(device: Device) -> Error {
    Error::BadRequest { detail: format!("this build of the engine does not run models on {device:?}") }
}

/// Positions of the KV cache: as asked, unless the model has fewer or fewer fit the device.
pub(super) fn context(asked: Option<usize>, most: usize, fitting: usize) -> Result<usize> {
    match asked {
        _ if fitting == 0 => {
            let detail = format!("not even {KV_TILE} tokens fit a binding, the least that a context takes");
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

pub(super) fn parameters(config: &ModelConfig) -> u64 {
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
