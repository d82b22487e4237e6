//! Plays the forward pass on the device: the recording is run for every chunk, and for every token.

use std::collections::VecDeque;

use super::Gpu;
use super::cost::Run;
use super::deltas::Deltas;
use super::kernel::Dispatch;
use super::profile::Profile;
use super::recorder::{Activations, LayerCache, Parts, Program, Recorded, record};
use super::tensor::{Buffer, Mapping};
use super::weights::WeightStore;
use crate::config::{ModelConfig, angles};
use crate::error::{Error, Result};
use crate::model::kv_cache::KvFormat;
use crate::model::llama;
use crate::ops::{self, ActivationFormat, Variants};
use crate::sampling::Sampling;
use crate::weights::lora::Adapter;

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
    /// What the products of a prompt take.
    pub activations: ActivationFormat,
}

/// Most tokens that can be on their way at once.
pub const MOST_AHEAD: usize = 16;

/// What a run computes of its last token, besides keys and values of them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Nothing: more of the prompt follows.
    Cache,
    /// The logits of all tokens.
    Logits,
    /// The token that the request's settings choose from them.
    Token,
}

/// Commands that runs gave to the device so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Kernels started.
    pub dispatches: u64,
    /// Command buffers submitted.
    pub submits: u64,
    /// Chosen tokens read back.
    pub readbacks: u64,
}

/// A model on a device.
pub struct Executor {
    // Buffers come before the device: fields are dropped in order.
    prefill: Program,
    decode: Program,
    activations: Activations,
    weights: WeightStore,
    /// What adapters add to it.
    deltas: Option<Deltas>,
    cache: Vec<LayerCache>,
    gpu: Gpu,
    options: ExecutorOptions,
    config: ModelConfig,
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
        activations.sampling.begin(&gpu, &Sampling::default(), &[])?;
        Ok(Executor {
            prefill,
            decode,
            activations,
            weights,
            deltas: None,
            cache,
            gpu,
            options,
            config: config.clone(),
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

    /// The model's sizes.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Commands that runs gave to the device so far.
    pub fn work(&self) -> Work {
        self.work
    }

    /// Has the model computed with these adapters, each times its weight, and with no others. What the cache holds was computed
    /// with those before. When it fails, all is as it was.
    ///
    /// Errors: `OutOfMemory`, `AdapterLimit`, `OutputNotFinite` of what was on its way; what the device reports.
    pub async fn adapt(&mut self, adapters: &[(&Adapter, f32)]) -> Result<()> {
        self.forget_ahead().await?;
        let Self { gpu, config, options, .. } = self;
        let deltas = match adapters {
            [] => None,
            some => Some(Deltas::new(gpu, config, some, options.chunk).await?),
        };
        let Self { weights, cache, activations: buffers, .. } = self;
        let parts = Parts { weights, deltas: deltas.as_ref(), cache, buffers };
        let programs = record(gpu, config, *options, parts).await?;
        gpu.compile().await?;
        (self.prefill, self.decode) = programs;
        self.deltas = deltas;
        Ok(())
    }

    /// Starts a request: tokens are chosen by `sampling` from now on, after a prompt of these tokens.
    ///
    /// Errors: `BadRequest` for settings that mean nothing.
    pub fn begin(&self, sampling: &Sampling, prompt: &[u32]) -> Result<()> {
        self.activations.sampling.begin(&self.gpu, sampling, prompt)
    }

    /// Runs the forward pass over at most a chunk of tokens, the first of which is at `position`: their keys and values are in
    /// the cache afterwards.
    ///
    /// Errors: `BadRequest` for an id outside the vocabulary or more tokens than a chunk or the context has room for; what
    /// the device reports.
    pub async fn run(&mut self, ids: &[u32], position: usize) -> Result<()> {
        self.start(ids, position, Until::Cache).await?;
        // Waited for, so that a stop between the chunks of a prompt takes effect.
        self.gpu.finished().await
    }

    /// As [`Executor::run`], and gives one logit for each token of the vocabulary, after the last of `ids`.
    ///
    /// Errors: those of `run`, and `OutputNotFinite`, with which the cache is empty.
    pub async fn logits(&mut self, ids: &[u32], position: usize) -> Result<Vec<f32>> {
        self.start(ids, position, Until::Logits).await?;
        let logits: Vec<f32> = self.gpu.read(&self.activations.logits).await?;
        if logits.iter().all(|logit| logit.is_finite()) { Ok(logits) } else { Err(self.not_finite()) }
    }

    /// As [`Executor::run`], and gives the token that is chosen to follow the last of `ids`.
    ///
    /// Errors: those of `run`, and `OutputNotFinite`, with which the cache is empty.
    pub async fn choose(&mut self, ids: &[u32], position: usize) -> Result<u32> {
        self.start(ids, position, Until::Token).await?;
        self.chosen().await
    }

    /// Has the device compute the token that it chose last, at `position`, and choose the next, which is read back later by
    /// [`Executor::chosen`]. At most [`MOST_AHEAD`] can be on their way.
    pub fn go_on(&mut self, position: usize) -> Result<()> {
        if position >= self.options.context || self.ahead.len() >= MOST_AHEAD {
            let detail = format!("position {position} with {} tokens on their way", self.ahead.len());
            return Err(Error::BadRequest { detail });
        }
        self.submit(position, 1, Until::Token)
    }

    /// The oldest of the tokens that the device has chosen and that were not read yet. Nothing is lost when the wait for it is
    /// given up.
    ///
    /// Errors: `OutputNotFinite`, with which the cache is empty and nothing on its way; `BadRequest` when there is no token;
    /// what the device reports.
    pub async fn chosen(&mut self) -> Result<u32> {
        match self.arrived().await? {
            Some(ops::NONE) => {
                self.forget_ahead().await?;
                Err(self.not_finite())
            }
            Some(id) => Ok(id),
            None => Err(Error::BadRequest { detail: "no token is on its way".to_owned() }),
        }
    }

    /// Waits for the tokens on their way, which nobody wants any more. Every run does.
    ///
    /// Errors: `OutputNotFinite`, with which the cache is empty; what the device reports.
    pub async fn forget_ahead(&mut self) -> Result<()> {
        let mut finite = true;
        while let Some(id) = self.arrived().await? {
            finite &= id != ops::NONE;
        }
        if finite { Ok(()) } else { Err(self.not_finite()) }
    }

    /// How many tokens are on their way.
    pub fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// Runs the kernels of [`Executor::choose`], and tells what each took. What they compute is of no use. Errors: those of
    /// [`Executor::run`] and [`Gpu::profile`].
    pub async fn profile(&mut self, ids: &[u32], position: usize) -> Result<Profile> {
        self.prepare(ids, position).await?;
        self.at(position, ids.len())?;
        let dispatches: Vec<&Dispatch> = self.dispatches(ids.len(), Until::Token).collect();
        self.gpu.profile(&dispatches, Run { position, tokens: ids.len() }).await
    }

    async fn start(&mut self, ids: &[u32], position: usize, until: Until) -> Result<()> {
        self.prepare(ids, position).await?;
        self.submit(position, ids.len(), until)
    }

    /// Hands the device the tokens of a run, once nothing is on its way.
    async fn prepare(&mut self, ids: &[u32], position: usize) -> Result<()> {
        let ExecutorOptions { chunk, context, .. } = self.options;
        llama::expect_fit(&self.config, ids, position, chunk, context)?;
        self.forget_ahead().await?;
        self.gpu.upload(&self.activations.ids, 0, bytemuck::cast_slice(ids))
    }

    /// What the device wrote for the oldest token on its way.
    async fn arrived(&mut self) -> Result<Option<u32>> {
        // It stays in front until its buffer is free again, so that whoever gives up waiting leaves it to the next.
        let Some((slot, mapping)) = self.ahead.front_mut() else { return Ok(None) };
        let staging = &self.activations.chosen[*slot];
        let arrived = self.gpu.mapped(staging, mapping, bytemuck::pod_read_unaligned).await;
        self.ahead.pop_front();
        self.work.readbacks += 1;
        arrived.map(Some)
    }

    /// Runs the tokens in `ids`.
    fn submit(&mut self, position: usize, tokens: usize, until: Until) -> Result<()> {
        self.at(position, tokens)?;
        let Activations { ids, chosen, .. } = &self.activations;
        let slot = (until == Until::Token).then_some(self.next_slot);
        let result = slot.map(|slot| (ids, &chosen[slot], 4));
        self.work.dispatches += self.gpu.submit(self.dispatches(tokens, until), tokens, result);
        self.work.submits += 1;
        if let Some(slot) = slot {
            self.next_slot = (slot + 1) % MOST_AHEAD;
            self.ahead.push_back((slot, self.gpu.begin_map(&chosen[slot], 4)));
        }
        Ok(())
    }

    /// Empties the cache: attention weighs what lies past a request's last position with 0, which makes nothing of a number, but
    /// not of a NaN.
    fn not_finite(&self) -> Error {
        self.gpu.clear(self.cache.iter().flat_map(|LayerCache { keys, values }| [keys, values]));
        Error::OutputNotFinite
    }

    /// Tells the kernels where they are.
    fn at(&self, position: usize, tokens: usize) -> Result<()> {
        self.gpu.upload(&self.activations.step, 0, bytemuck::cast_slice(&[position as u32, tokens as u32]))
    }

    fn dispatches(&self, tokens: usize, until: Until) -> impl Iterator<Item = &Dispatch> {
        let Program { layers, head, choice } = if tokens == 1 { &self.decode } else { &self.prefill };
        let (head, choice) = match until {
            Until::Cache => (&[][..], &[][..]),
            Until::Logits => (&head[..], &[][..]),
            Until::Token => (&head[..], &choice[..]),
        };
        layers.iter().chain(head).chain(choice)
    }
}

/// (cosine, sine) of every position and dimension pair, some positions at a time: a long context's would be a burden for the
/// host's memory.
fn fill_angles(gpu: &Gpu, config: &ModelConfig, context: usize, buffer: &Buffer) -> Result<()> {
    const POSITIONS: usize = 1024;
    let frequencies = config.rope.inverse_frequencies(config.head_dim);
    let row_bytes = 8 * frequencies.len() as u64;
    for first in (0..context).step_by(POSITIONS) {
        let positions = first..context.min(first + POSITIONS);
        let pairs: Vec<[f32; 2]> = angles(&frequencies, positions).collect();
        gpu.upload(buffer, first as u64 * row_bytes, bytemuck::cast_slice(&pairs))?;
    }
    Ok(())
}
