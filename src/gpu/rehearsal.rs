//! One synthetic layer of a model and a part of its head, run on the device before the model itself is there: what the model
//! needs besides its weights, and how fast it will be.

use super::executor::ExecutorOptions;
use super::recorder::Recorded;
use super::trial::fill;
use super::weights::Weights;
use super::{Gpu, weights};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::ops::HeadShape;
use crate::sampling::Sampling;
use crate::weights::{Role, Sink, TensorSpec};

/// Rows of the embedding table and the head that are rehearsed, a part of a vocabulary.
const ROWS: usize = 4096;
/// The position that a token is timed at, where the context has as many.
const POSITION: usize = 256;

/// What was found out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rehearsal {
    /// Bytes of buffers that are neither weights nor KV cache.
    pub activation_bytes: u64,
    /// Seconds to write a token.
    pub token_seconds: f64,
    /// Seconds to read a chunk of a prompt.
    pub chunk_seconds: f64,
}

impl Gpu {
    /// Runs a layer like the first one of `tensors`, all of the model's.
    ///
    /// Errors: `OutOfMemory`, `AdapterLimit`, what the device reports.
    pub async fn rehearse(
        &self,
        config: &ModelConfig,
        tensors: &[TensorSpec],
        options: ExecutorOptions,
    ) -> Result<Rehearsal> {
        let specs: Vec<TensorSpec> = tensors.iter().copied().filter_map(rehearsed).collect();
        let mut weights = Weights::new(self);
        weights.allocate(&specs).await?;
        let store = weights.finish();
        fill(self, store.slabs())?;
        let single = ModelConfig { layers: 1, ..config.clone() };
        let before = self.allocated_bytes();
        let recorded = Recorded::new(self, &single, &store, options).await?;
        let cache = cache_bytes(config, options) / config.layers as u64;
        let activation_bytes = (self.allocated_bytes() - before).saturating_sub(cache);
        recorded.activations.sampling.begin(self, &Sampling::default(), &[])?;
        self.compile().await?;

        let (prefill, decode) = (&recorded.prefill, &recorded.decode);
        let vocabulary = config.vocab_size as f64 / config.vocab_size.min(ROWS) as f64;
        let layers = config.layers as f64;
        self.upload(
            &recorded.activations.step,
            0,
            bytemuck::cast_slice(&[POSITION.min(options.context - 1) as u32, 1]),
        )?;
        let layer = self.least(&decode.layers, 1).await?;
        let head = self.least(&decode.head, 1).await?;
        let choice = self.least(&decode.choice, 1).await?;
        let chunk = recorded.options.chunk.min(options.context);
        self.upload(&recorded.activations.step, 0, bytemuck::cast_slice(&[0, chunk as u32]))?;
        let chunk_layer = self.least(&prefill.layers, chunk).await?;
        self.check()?;
        Ok(Rehearsal {
            activation_bytes,
            token_seconds: layers * layer + vocabulary * head + choice,
            chunk_seconds: layers * chunk_layer,
        })
    }

    /// Whether there is room for so many bytes more, in buffers of the size that weights come in. Errors: what the device reports.
    pub async fn has_room(&self, bytes: u64) -> Result<bool> {
        /// As large as many a slab.
        const PIECE: u64 = 64 << 20;
        const AT_ONCE: usize = 8;
        let most = PIECE.min(self.max_binding_bytes() & !3).max(4);
        let pieces: Vec<u64> =
            (0..bytes.div_ceil(most)).map(|piece| most.min(bytes - piece * most).next_multiple_of(4)).collect();
        let mut held = Vec::new();
        // A few at a time: no more is asked for than once too much.
        for some in pieces.chunks(AT_ONCE) {
            let made = || some.iter().map(|piece| self.storage("room", *piece)).collect::<Result<Vec<_>>>();
            match self.checked("room", made).await {
                Ok(made) => held.push(made),
                Err(Error::OutOfMemory { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Bytes that weights take on this device. Errors: as those of [`weights::bytes_on_device`].
    pub fn weight_bytes(&self, tensors: &[TensorSpec]) -> Result<u64> {
        weights::bytes_on_device(tensors, self.max_binding_bytes())
    }
}

/// Bytes of the keys and values of all layers.
pub fn cache_bytes(config: &ModelConfig, options: ExecutorOptions) -> u64 {
    let shape = HeadShape::new(config, options.context, options.kv);
    2 * config.layers as u64 * shape.cache_bytes()
}

/// The part of a tensor that is rehearsed, if any.
fn rehearsed(spec: TensorSpec) -> Option<TensorSpec> {
    match spec.role {
        Role::Layer(0, _) | Role::FinalNorm => Some(spec),
        Role::Embedding | Role::Head => Some(TensorSpec { rows: spec.rows.min(ROWS), ..spec }),
        Role::Layer(..) => None,
    }
}
