//! Plays the forward pass on the device: the recording is run for every chunk, and for every token.

use std::collections::VecDeque;

use super::Gpu;
use super::cost::Run;
use super::kernel::Dispatch;
use super::profile::Profile;
use super::recorder::{Activations, LayerCache, Program, Recorded};
use super::tensor::{Buffer, Mapping};
use super::weights::WeightStore;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::kv_cache::KvFormat;
use crate::ops::{self, Variants};

/// Choices that hold for the life of an executor.
#[derive(Debug, Clone, Copy)]
pub struct ExecutorOptions {
    /// Positions that the KV cache holds.
    pub context: usize,
    /// Format of the KV cache.
    pub kv: KvFormat,
    /// Most tokens of a prompt that are processed in one run.
    pub chunk: usize,
    /// Which kernels, where there are several.
    pub variants: Variants,
}

/// Most tokens that can be on their way at once.
pub const MOST_AHEAD: usize = 16;

/// What a run is to give back, about its last token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Nothing: more of the prompt follows.
    Nothing,
    /// The most probable next token.
    Argmax,
    /// The logits of all tokens.
    Logits,
}

/// What a run gave back.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// As wanted.
    Nothing,
    /// The most probable next token's id.
    Argmax(u32),
    /// One logit for each token of the vocabulary.
    Logits(Vec<f32>),
}

/// Commands given to the device so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Kernels started.
    pub dispatches: u64,
    /// Command buffers submitted.
    pub submits: u64,
    /// Buffers mapped and read.
    pub readbacks: u64,
}

impl Work {
    fn submitted(&mut self, dispatches: u64) {
        self.dispatches += dispatches;
        self.submits += 1;
    }
}

/// A model on a device.
pub struct Executor {
    // Buffers come before the device: fields are dropped in order.
    prefill: Program,
    decode: Program,
    activations: Activations,
    _weights: WeightStore,
    _cache: Vec<LayerCache>,
    gpu: Gpu,
    options: ExecutorOptions,
    vocab_size: usize,
    work: Work,
    /// Tokens that the device was asked for and that were not read yet, oldest first: their staging buffer, and its mapping.
    ahead: VecDeque<(usize, Mapping)>,
    next_slot: usize,
}

impl Recorded {
    /// Ready to run, now that all weights are there; with them, RoPE's constants are known.
    pub fn complete(self, gpu: Gpu, config: &ModelConfig, weights: WeightStore) -> Result<Executor> {
        let Self { prefill, decode, activations, cache, options } = self;
        fill_angles(&gpu, config, options.context, &activations.angles)?;
        Ok(Executor {
            prefill,
            decode,
            activations,
            _weights: weights,
            _cache: cache,
            gpu,
            options,
            vocab_size: config.vocab_size,
            work: Work::default(),
            ahead: VecDeque::with_capacity(MOST_AHEAD),
            next_slot: 0,
        })
    }
}

impl Executor {
    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The choices that it was made with.
    pub fn options(&self) -> &ExecutorOptions {
        &self.options
    }

    /// Commands given to the device so far.
    pub fn work(&self) -> Work {
        self.work
    }

    /// Runs the forward pass over at most a chunk of tokens, the first of which is at `position`.
    ///
    /// Their keys and values are in the cache afterwards. Errors: `BadRequest` for an id outside the vocabulary or more
    /// tokens than a chunk or the context has room for; `OutputNotFinite`; what the device reports.
    pub async fn run(&mut self, ids: &[u32], position: usize, want: Want) -> Result<Output> {
        self.expect_fit(ids, position)?;
        self.forget_ahead().await?;
        self.gpu.upload(&self.activations.ids, 0, bytemuck::cast_slice(ids))?;
        if want == Want::Argmax {
            self.choose(position, ids.len())?;
            return self.chosen().await.map(Output::Argmax);
        }
        self.at(position, ids.len())?;
        let dispatches = self.dispatches(ids.len(), want);
        if want == Want::Nothing {
            let count = self.gpu.submit(dispatches, ids.len(), None);
            self.work.submitted(count);
            // Waited for, so that a stop between the chunks of a prompt takes effect.
            self.gpu.finished().await?;
            return Ok(Output::Nothing);
        }
        let Activations { logits, staging, .. } = &self.activations;
        let bytes = 4 * self.vocab_size as u64;
        let count = self.gpu.submit(dispatches, ids.len(), Some((logits, staging, bytes)));
        self.work.submitted(count);
        self.work.readbacks += 1;
        let logits = self.gpu.map(staging, bytes, bytemuck::pod_collect_to_vec).await?;
        Ok(Output::Logits(logits))
    }

    /// Has the device compute the token that it chose last, at `position`, and choose the next, which is read back later by
    /// [`Executor::chosen`]. At most [`MOST_AHEAD`] can be on their way.
    pub fn go_on(&mut self, position: usize) -> Result<()> {
        if position >= self.options.context || self.ahead.len() >= MOST_AHEAD {
            let detail = format!("position {position} with {} tokens on their way", self.ahead.len());
            return Err(Error::BadRequest { detail });
        }
        self.choose(position, 1)
    }

    /// The oldest of the tokens that the device has chosen and that were not read yet.
    ///
    /// Errors: `OutputNotFinite`, `BadRequest` when there is none; what the device reports.
    pub async fn chosen(&mut self) -> Result<u32> {
        let Some((slot, mapping)) = self.ahead.pop_front() else {
            return Err(Error::BadRequest { detail: "no token is on its way".to_owned() });
        };
        self.work.readbacks += 1;
        let staging = &self.activations.chosen[slot];
        match self.gpu.mapped(staging, mapping, bytemuck::pod_read_unaligned).await? {
            ops::NONE => Err(Error::OutputNotFinite),
            id => Ok(id),
        }
    }

    /// How many tokens are on their way.
    pub fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// Tells the kernels where they are.
    fn at(&self, position: usize, tokens: usize) -> Result<()> {
        self.gpu.upload(&self.activations.step, 0, bytemuck::cast_slice(&[position as u32, tokens as u32]))
    }

    /// Waits for the tokens on their way, which nobody wants any more.
    async fn forget_ahead(&mut self) -> Result<()> {
        while let Some((slot, mapping)) = self.ahead.pop_front() {
            self.gpu.mapped(&self.activations.chosen[slot], mapping, |_| ()).await?;
        }
        Ok(())
    }

    /// Runs the tokens in `ids` and has the device choose the next.
    fn choose(&mut self, position: usize, tokens: usize) -> Result<()> {
        let slot = self.next_slot;
        self.next_slot = (slot + 1) % MOST_AHEAD;
        self.at(position, tokens)?;
        let chosen = &self.activations.chosen[slot];
        let dispatches = self.dispatches(tokens, Want::Argmax);
        let count = self.gpu.submit(dispatches, tokens, Some((&self.activations.ids, chosen, 4)));
        self.ahead.push_back((slot, chosen.begin_map(4)));
        self.work.submitted(count);
        Ok(())
    }

    fn dispatches(&self, tokens: usize, want: Want) -> impl Iterator<Item = &Dispatch> {
        let program = if tokens == 1 { &self.decode } else { &self.prefill };
        let head = if want == Want::Nothing { &[][..] } else { &program.head };
        let argmax = (want == Want::Argmax).then_some(&program.argmax);
        program.layers.iter().chain(head).chain(argmax)
    }

    /// Runs the kernels of [`Executor::run`] with its head, and tells what each took. What they compute is of no use.
    pub async fn profile(&mut self, ids: &[u32], position: usize) -> Result<Profile> {
        self.expect_fit(ids, position)?;
        self.forget_ahead().await?;
        self.at(position, ids.len())?;
        self.gpu.upload(&self.activations.ids, 0, bytemuck::cast_slice(ids))?;
        let dispatches: Vec<&Dispatch> = self.dispatches(ids.len(), Want::Argmax).collect();
        self.gpu.profile(&dispatches, Run { position, tokens: ids.len() }).await
    }

    fn expect_fit(&self, ids: &[u32], position: usize) -> Result<()> {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            return Err(Error::BadRequest {
                detail: format!("token {id} is outside the vocabulary of {}", self.vocab_size),
            });
        }
        let most = self.options.chunk.min(self.options.context.saturating_sub(position));
        if ids.is_empty() || ids.len() > most {
            return Err(Error::BadRequest { detail: format!("{} tokens at once where 1 to {most} fit", ids.len()) });
        }
        Ok(())
    }
}

/// (cosine, sine) of every position and dimension pair, computed in double precision, some positions at a time: a long
/// context's would be a burden for the host's memory.
fn fill_angles(gpu: &Gpu, config: &ModelConfig, context: usize, angles: &Buffer) -> Result<()> {
    const POSITIONS: usize = 1024;
    let frequencies = config.rope.inverse_frequencies(config.head_dim);
    let row_bytes = 8 * frequencies.len() as u64;
    for first in (0..context).step_by(POSITIONS) {
        let positions = first..context.min(first + POSITIONS);
        let pairs: Vec<[f32; 2]> = positions
            .flat_map(|position| frequencies.iter().map(move |&frequency| position as f64 * f64::from(frequency)))
            .map(|angle| [angle.cos() as f32, angle.sin() as f32])
            .collect();
        gpu.upload(angles, first as u64 * row_bytes, bytemuck::cast_slice(&pairs))?;
    }
    Ok(())
}
