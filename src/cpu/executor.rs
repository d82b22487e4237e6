//! Plays the forward pass on the processor: each call computes what it gives.

use std::collections::VecDeque;

use web_time::Instant;

use super::attention::LayerCache;
use super::cache::Cached;
use super::deltas::Deltas;
use super::pass::{Buffers, Pass, Products};
use super::team::{Helpers, Team};
use super::weights::{Input, Weights, longest};
use super::zeros;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::kv_cache::KvFormat;
use crate::model::llama::{self, Steps};
use crate::ops::ActivationFormat;
use crate::sampling::Sampling;
use crate::sampling::sampler::Sampler;
use crate::weights::lora::Adapter;
use crate::weights::{Role, Sink, TensorSpec};

/// Positions at the end of which a token is timed.
const OTHERS: usize = 128;
/// How often each run is timed.
const TIMES: usize = 3;

/// Choices that hold for the life of an executor.
#[derive(Debug, Clone, Copy)]
pub struct ExecutorOptions {
    /// Positions that the KV cache holds.
    pub context: usize,
    /// Format of the KV cache.
    pub kv: KvFormat,
    /// Most tokens of a prompt that are processed in one run.
    pub chunk: usize,
    /// What products with quantised weights take.
    pub activations: ActivationFormat,
}

/// A model on the processor.
pub struct Executor {
    config: ModelConfig,
    options: ExecutorOptions,
    weights: Weights,
    /// What adapters add to it.
    deltas: Option<Deltas>,
    cache: Vec<LayerCache>,
    x: Input,
    buffers: Buffers,
    choice: Choice,
    /// Positions of the tokens that were asked for and are still to be computed, in order. Nothing is computed ahead: it would not
    /// be there any sooner, and may never be wanted.
    ahead: VecDeque<usize>,
}

/// How tokens are chosen, and those before the next one.
struct Choice {
    sampler: Sampler,
    ids: Vec<u32>,
}

/// What [`Executor::bytes`] gives once a model of these tensors is there. Takes that memory for a moment.
///
/// Errors: `OutOfMemory`, `HelperLost`.
pub async fn memory(
    config: &ModelConfig,
    tensors: &[TensorSpec],
    options: ExecutorOptions,
    helpers: &Helpers,
) -> Result<[u64; 3]> {
    let mut weights = Weights::of_team(Team::gather(helpers, config, &options)?);
    weights.allocate(tensors).await?;
    Ok(Executor::new(config, weights, options)?.bytes())
}

/// Seconds that a token after some hundred others takes, and a whole chunk, in a model of these tensors: as one of its layers and its
/// head tell, on weights that are all alike.
///
/// Errors: `OutOfMemory`, `HelperLost`.
pub async fn seconds(
    config: &ModelConfig,
    tensors: &[TensorSpec],
    options: ExecutorOptions,
    helpers: &Helpers,
) -> Result<[f64; 2]> {
    let mut weights = Weights::of_team(Team::gather(helpers, config, &options)?);
    for spec in tensors.iter().filter(|spec| !matches!(spec.role, Role::Layer(layer, _) if layer > 0)) {
        weights.allocate(std::slice::from_ref(spec)).await?;
        let row_bytes = spec.format.row_bytes(spec.columns);
        let mut rows: Vec<u8> = zeros("a layer", spec.rows.saturating_mul(row_bytes))?;
        // Normal numbers in every format: small ones, and gains near 1.
        rows.fill(if spec.role.is_norm() { 0x3f } else { 0x11 });
        weights.write_rows(spec.role, 0, &rows)?;
    }
    let context = options.context.min(OTHERS);
    let layer = ModelConfig { layers: 1, ..config.clone() };
    let mut executor = Executor::new(&layer, weights, ExecutorOptions { context, ..options })?;
    let chunk = vec![0; options.chunk.min(context)];
    let of_chunk = least_seconds(|| executor.run(&chunk, 0))?;
    let of_token = least_seconds(|| executor.run(&[0], context - 1))?;
    let with_head = least_seconds(|| executor.choose(&[0], context - 1).map(drop))?;
    let (layers, head) = (config.layers as f64, (with_head - of_token).max(0.0));
    Ok([layers * of_token + head, layers * of_chunk + head])
}

/// Of a few times.
fn least_seconds(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..TIMES {
        let started = Instant::now();
        run()?;
        least = least.min(started.elapsed().as_secs_f64());
    }
    Ok(least)
}

impl Executor {
    /// A model whose weights are all there.
    ///
    /// Errors: `OutOfMemory`.
    pub fn new(config: &ModelConfig, weights: Weights, options: ExecutorOptions) -> Result<Self> {
        let ExecutorOptions { context, kv, chunk, activations } = options;
        let cached = || Cached::new(kv, config.kv_heads, context, config.head_dim);
        let layer = |_| Ok(LayerCache { keys: cached()?, values: cached()? });
        Ok(Self {
            cache: (0..config.layers).map(layer).collect::<Result<_>>()?,
            x: Input::new(chunk, longest(config), activations == ActivationFormat::Int8)?,
            buffers: Buffers::new(config, chunk)?,
            choice: Choice { sampler: Sampler::new(Sampling::default())?, ids: Vec::new() },
            ahead: VecDeque::new(),
            config: config.clone(),
            options,
            weights,
            deltas: None,
        })
    }

    /// The choices that it was made with.
    pub fn options(&self) -> &ExecutorOptions {
        &self.options
    }

    /// The model's sizes.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Bytes of weights that helpers have.
    pub fn helpers_bytes(&self) -> u64 {
        self.weights.helpers_bytes()
    }

    /// Bytes of main memory that it takes: weights, KV cache, and what else runs need.
    pub fn bytes(&self) -> [u64; 3] {
        let cache: usize = self.cache.iter().map(|layer| layer.keys.bytes() + layer.values.bytes()).sum();
        [self.weights.bytes(), cache as u64, (self.x.bytes() + self.buffers.bytes() + self.weights.team_bytes()) as u64]
    }

    /// Has the model computed with these adapters, each times its weight, and with no others. What the cache holds was computed
    /// with those before. When it fails, all is as it was.
    ///
    /// Errors: `OutOfMemory`.
    pub fn adapt(&mut self, adapters: &[(&Adapter, f32)]) -> Result<()> {
        self.forget_ahead();
        self.deltas = match adapters {
            [] => None,
            some => Some(Deltas::new(&self.config, some, self.options.chunk)?),
        };
        Ok(())
    }

    /// Starts a request: tokens are chosen by `sampling` from now on, after a prompt of these tokens.
    ///
    /// Errors: `BadRequest` for settings that mean nothing.
    pub fn begin(&mut self, sampling: &Sampling, prompt: &[u32]) -> Result<()> {
        self.choice = Choice { sampler: Sampler::new(sampling.clone())?, ids: prompt.to_vec() };
        Ok(())
    }

    /// Runs the forward pass over at most a chunk of tokens, the first of which is at `position`: their keys and values are in
    /// the cache afterwards.
    ///
    /// Errors: `BadRequest` for an id outside the vocabulary or more tokens than a chunk or the context has room for.
    pub fn run(&mut self, ids: &[u32], position: usize) -> Result<()> {
        self.forget_ahead();
        self.pass(ids, position).map(drop)
    }

    /// As [`Executor::run`], and gives one logit for each token of the vocabulary, after the last of `ids`.
    ///
    /// Errors: those of `run`, and `OutputNotFinite`.
    pub fn logits(&mut self, ids: &[u32], position: usize) -> Result<Vec<f32>> {
        self.forget_ahead();
        self.pass(ids, position)?.logits()?;
        let logits = &self.buffers.logits;
        if logits.iter().all(|logit| logit.is_finite()) { Ok(logits.clone()) } else { Err(Error::OutputNotFinite) }
    }

    /// As [`Executor::run`], and gives the token that is chosen to follow the last of `ids`.
    ///
    /// Errors: those of `run`, and `OutputNotFinite`.
    pub fn choose(&mut self, ids: &[u32], position: usize) -> Result<u32> {
        self.forget_ahead();
        self.next(ids, position)
    }

    /// Asks for the token after the one that is chosen last, which is at `position`. [`Executor::chosen`] computes it.
    ///
    /// Errors: `BadRequest` where the context ends.
    pub fn go_on(&mut self, position: usize) -> Result<()> {
        if position >= self.options.context {
            let detail = format!("position {position} of a context of {} tokens", self.options.context);
            return Err(Error::BadRequest { detail });
        }
        self.ahead.push_back(position);
        Ok(())
    }

    /// The first of the tokens that were asked for and are not there yet.
    ///
    /// Errors: `OutputNotFinite`, with which none is asked for any more; `BadRequest` when none was.
    pub fn chosen(&mut self) -> Result<u32> {
        let (Some(position), Some(last)) = (self.ahead.pop_front(), self.choice.ids.last().copied()) else {
            return Err(Error::BadRequest { detail: "no token is on its way".to_owned() });
        };
        let next = self.next(&[last], position);
        if next.is_err() {
            self.forget_ahead();
        }
        next
    }

    /// Nobody wants the tokens any more that were asked for. Every run forgets them.
    pub fn forget_ahead(&mut self) {
        self.ahead.clear();
    }

    /// How many tokens are asked for.
    pub fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// Runs tokens, and chooses the next.
    fn next(&mut self, ids: &[u32], position: usize) -> Result<u32> {
        self.pass(ids, position)?.logits()?;
        let Choice { sampler, ids: before } = &mut self.choice;
        let next = sampler.sample(&mut self.buffers.logits, before, position + ids.len())?;
        before.push(next);
        Ok(next)
    }

    /// Runs the layers.
    fn pass<'a>(&'a mut self, ids: &'a [u32], position: usize) -> Result<Pass<'a>> {
        let ExecutorOptions { chunk, context, .. } = self.options;
        llama::expect_fit(&self.config, ids, position, chunk, context)?;
        let Self { config, weights, deltas, cache, x, buffers, .. } = self;
        let products = Products { weights, deltas: deltas.as_mut(), x };
        let mut pass = Pass { config, products, cache, buffers, ids, position };
        llama::layers(config.layers, &mut pass)?;
        Ok(pass)
    }
}
