//! Plays the forward pass on the device: records each step's kernels once, then runs the recording for every chunk.

use super::Gpu;
use super::kernel::Dispatch;
use super::tensor::Buffer;
use super::weights::WeightStore;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::kv_cache::KvFormat;
use crate::model::llama::{self, Steps};
use crate::ops::{self, Attention, HeadShape, RmsNorm, Variant, stride};
use crate::weights::{LayerRole, Role};

/// Parts that the positions are cut into when a single token attends to them.
const DECODE_SPLITS: usize = 16;

/// Choices that hold for the life of an executor.
#[derive(Debug, Clone, Copy)]
pub struct ExecutorOptions {
    /// Positions that the KV cache holds.
    pub context: usize,
    /// Format of the KV cache.
    pub kv: KvFormat,
    /// Most tokens of a prompt that are processed in one run.
    pub chunk: usize,
    /// Which matrix-vector kernel.
    pub variant: Variant,
}

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
}

/// A forward pass over weights that have their place but need not be there yet.
pub struct Recorded {
    prefill: Program,
    decode: Program,
    activations: Activations,
    cache: Vec<LayerCache>,
    options: ExecutorOptions,
}

/// Dispatches in order: the layers, the head, and the choice of the most probable token.
struct Program {
    layers: Vec<Dispatch>,
    head: Vec<Dispatch>,
    argmax: Dispatch,
}

/// One layer's keys and values.
struct LayerCache {
    keys: Buffer,
    values: Buffer,
}

/// Buffers that a chunk passes through; shapes as `[rows][stride]`, T the largest chunk.
struct Activations {
    /// Position and number of tokens.
    step: Buffer,
    /// `[T]` token ids.
    ids: Buffer,
    /// `[context][head_dim / 2]` (cosine, sine).
    angles: Buffer,
    /// `[T][hidden]` the residual stream.
    x: Buffer,
    /// `[T][hidden]` a norm's output, then a projection's on its way back into x.
    normed: Buffer,
    /// `[T][hidden]`
    projected: Buffer,
    /// `[T][heads * head_dim]`
    q: Buffer,
    /// `[T][kv_heads * head_dim]`
    k: Buffer,
    /// `[T][kv_heads * head_dim]`
    v: Buffer,
    /// `[T * splits][heads * head_dim]`
    mixed: Buffer,
    /// `[T * splits][heads]` (maximum, sum)
    stats: Buffer,
    /// `[T][heads * head_dim]`
    attended: Buffer,
    /// `[T][intermediate]`
    gate: Buffer,
    /// `[T][intermediate]`
    up: Buffer,
    /// `[vocab]`
    logits: Buffer,
    /// `[1]` the most probable token.
    best: Buffer,
    /// Read-back of `logits` or `best`.
    staging: Buffer,
}

impl Recorded {
    /// Allocates the cache and the buffers, and records the forward pass. [`Gpu::compile`] compiles what it is made of.
    ///
    /// Errors: `OutOfMemory`, `AdapterLimit`, `Gpu` when a shader or binding is refused.
    pub async fn new(gpu: &Gpu, config: &ModelConfig, weights: &WeightStore, options: ExecutorOptions) -> Result<Self> {
        let shape = HeadShape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            context: options.context,
            kv: options.kv,
        };
        let options = ExecutorOptions { chunk: options.chunk.next_multiple_of(ops::TOKEN_TILE), ..options };
        let activations =
            gpu.checked("activations", || Activations::allocate(gpu, config, &shape, options.chunk)).await?;
        let cache = gpu.checked("KV cache", || allocate_cache(gpu, config.layers, &shape)).await?;
        let program = |single| {
            let recorder = Recorder {
                gpu,
                config,
                shape,
                weights,
                cache: &cache,
                buffers: &activations,
                options,
                single,
                recorded: Vec::new(),
            };
            recorder.program()
        };
        let (prefill, decode) = gpu.checked("kernels", || Ok((program(false)?, program(true)?))).await?;
        Ok(Self { prefill, decode, activations, cache, options })
    }

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
        let program = if ids.len() == 1 { &self.decode } else { &self.prefill };
        self.gpu.upload(&self.activations.step, 0, bytemuck::cast_slice(&[position as u32, ids.len() as u32]))?;
        self.gpu.upload(&self.activations.ids, 0, bytemuck::cast_slice(ids))?;
        let mut dispatches: Vec<&Dispatch> = program.layers.iter().collect();
        if want != Want::Nothing {
            dispatches.extend(&program.head);
        }
        let result = match want {
            Want::Nothing => None,
            Want::Argmax => {
                dispatches.push(&program.argmax);
                Some((&self.activations.best, 4))
            }
            Want::Logits => Some((&self.activations.logits, 4 * self.vocab_size as u64)),
        };
        self.work.dispatches += dispatches.len() as u64;
        self.work.submits += 1;
        self.gpu.submit(
            &dispatches,
            ids.len(),
            result.map(|(buffer, bytes)| (buffer, &self.activations.staging, bytes)),
        );
        let Some((_, bytes)) = result else {
            // Waited for, so that a stop between the chunks of a prompt takes effect.
            self.gpu.finished().await?;
            return Ok(Output::Nothing);
        };
        self.work.readbacks += 1;
        let values: Vec<u32> = self.gpu.map(&self.activations.staging, bytes, bytemuck::pod_collect_to_vec).await?;
        match (want, values.as_slice()) {
            (Want::Argmax, [ops::NONE, ..]) => Err(Error::OutputNotFinite),
            (Want::Argmax, [best, ..]) => Ok(Output::Argmax(*best)),
            _ => Ok(Output::Logits(bytemuck::cast_vec(values))),
        }
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

fn allocate_cache(gpu: &Gpu, layers: usize, shape: &HeadShape) -> Result<Vec<LayerCache>> {
    let bytes = shape.cache_bytes();
    (0..layers)
        .map(|_| Ok(LayerCache { keys: gpu.storage("keys", bytes)?, values: gpu.storage("values", bytes)? }))
        .collect()
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

impl Activations {
    fn allocate(gpu: &Gpu, config: &ModelConfig, shape: &HeadShape, chunk: usize) -> Result<Self> {
        let floats = |label: &str, count: usize| gpu.storage(label, 4 * count as u64);
        let parts = chunk.max(DECODE_SPLITS);
        let hidden = chunk * stride(config.hidden_size);
        let intermediate = chunk * stride(config.intermediate_size);
        Ok(Self {
            step: gpu.uniform("step", 16),
            ids: floats("ids", chunk)?,
            angles: floats("angles", shape.context * 2 * shape.pairs())?,
            x: floats("x", hidden)?,
            normed: floats("normed", hidden)?,
            projected: floats("projected", hidden)?,
            q: floats("q", chunk * shape.query_stride())?,
            k: floats("k", chunk * shape.kv_stride())?,
            v: floats("v", chunk * shape.kv_stride())?,
            mixed: floats("mixed", parts * shape.heads * shape.head_dim)?,
            stats: floats("stats", parts * shape.heads * 2)?,
            attended: floats("attended", chunk * shape.query_stride())?,
            gate: floats("gate", intermediate)?,
            up: floats("up", intermediate)?,
            logits: floats("logits", config.vocab_size)?,
            best: floats("best", 1)?,
            staging: gpu.staging("read-back", 4 * config.vocab_size as u64),
        })
    }
}

/// Turns the steps of the forward pass into dispatches, for single tokens or for chunks.
struct Recorder<'a> {
    gpu: &'a Gpu,
    config: &'a ModelConfig,
    shape: HeadShape,
    weights: &'a WeightStore,
    cache: &'a [LayerCache],
    buffers: &'a Activations,
    options: ExecutorOptions,
    single: bool,
    recorded: Vec<Dispatch>,
}

impl Recorder<'_> {
    fn program(mut self) -> Result<Program> {
        llama::layers(self.config.layers, &mut self)?;
        let layers = std::mem::take(&mut self.recorded);
        self.logits()?;
        let argmax = ops::argmax(self.gpu, self.config.vocab_size, &self.buffers.logits, &self.buffers.best)?;
        Ok(Program { layers, head: self.recorded, argmax })
    }

    fn norm(&mut self, role: Role, last_only: bool) -> Result<()> {
        let buffers = self.buffers;
        let norm = RmsNorm { columns: self.config.hidden_size, eps: self.config.rms_norm_eps, last_only };
        let weight = self.weights.norm(role)?;
        self.recorded.push(ops::rmsnorm(self.gpu, &norm, &buffers.step, &buffers.x, weight, &buffers.normed)?);
        Ok(())
    }

    fn project(&mut self, role: Role, x: &Buffer, y: &Buffer) -> Result<()> {
        let weight = self.weights.matrix(role)?;
        let dispatches = if self.single {
            ops::matvec(self.gpu, self.options.variant, weight, x, y)?
        } else {
            ops::matmul(self.gpu, weight, &self.buffers.step, x, y)?
        };
        self.recorded.extend(dispatches);
        Ok(())
    }

    /// x += projection of `input`.
    fn project_add(&mut self, role: Role, input: &Buffer) -> Result<()> {
        let buffers = self.buffers;
        self.project(role, input, &buffers.projected)?;
        let columns = self.config.hidden_size;
        self.recorded.push(ops::add(self.gpu, columns, &buffers.step, &buffers.projected, &buffers.x)?);
        Ok(())
    }
}

impl Steps for Recorder<'_> {
    fn embed(&mut self) -> Result<()> {
        let table = self.weights.matrix(Role::Embedding)?;
        self.recorded.extend(ops::embed(self.gpu, table, &self.buffers.ids, &self.buffers.x)?);
        Ok(())
    }

    fn attention_input(&mut self, layer: usize) -> Result<()> {
        let buffers = self.buffers;
        self.norm(Role::Layer(layer, LayerRole::AttentionNorm), false)?;
        self.project(Role::Layer(layer, LayerRole::Query), &buffers.normed, &buffers.q)?;
        self.project(Role::Layer(layer, LayerRole::Key), &buffers.normed, &buffers.k)?;
        self.project(Role::Layer(layer, LayerRole::Value), &buffers.normed, &buffers.v)?;
        let LayerCache { keys, values } = &self.cache[layer];
        let Activations { angles, k, v, q, .. } = buffers;
        let rope = ops::Rope { angles, k, v, q, keys, values };
        self.recorded.push(ops::rope(self.gpu, &self.shape, &buffers.step, &rope)?);
        Ok(())
    }

    fn attention(&mut self, layer: usize) -> Result<()> {
        let LayerCache { keys, values } = &self.cache[layer];
        let Activations { q, mixed, stats, step, attended, .. } = self.buffers;
        let splits = if self.single { DECODE_SPLITS } else { 1 };
        let attention = Attention { q, keys, values, mixed, stats, splits };
        self.recorded.push(ops::attention(self.gpu, &self.shape, step, &attention)?);
        self.recorded.push(ops::attention_merge(self.gpu, &self.shape, &attention, attended)?);
        Ok(())
    }

    fn attention_output(&mut self, layer: usize) -> Result<()> {
        self.project_add(Role::Layer(layer, LayerRole::AttentionOutput), &self.buffers.attended)
    }

    fn mlp_input(&mut self, layer: usize) -> Result<()> {
        let buffers = self.buffers;
        self.norm(Role::Layer(layer, LayerRole::MlpNorm), false)?;
        self.project(Role::Layer(layer, LayerRole::Gate), &buffers.normed, &buffers.gate)?;
        self.project(Role::Layer(layer, LayerRole::Up), &buffers.normed, &buffers.up)?;
        let columns = self.config.intermediate_size;
        self.recorded.push(ops::swiglu(self.gpu, columns, &buffers.step, &buffers.up, &buffers.gate)?);
        Ok(())
    }

    fn mlp_output(&mut self, layer: usize) -> Result<()> {
        self.project_add(Role::Layer(layer, LayerRole::Down), &self.buffers.gate)
    }

    fn logits(&mut self) -> Result<()> {
        let buffers = self.buffers;
        self.norm(Role::FinalNorm, true)?;
        let head = if self.config.tied_embeddings { Role::Embedding } else { Role::Head };
        let dispatches =
            ops::matvec(self.gpu, self.options.variant, self.weights.matrix(head)?, &buffers.normed, &buffers.logits)?;
        self.recorded.extend(dispatches);
        Ok(())
    }
}
