//! Plays the forward pass on the device: records each step's kernels once, then runs the recording for every chunk.

use super::Gpu;
use super::kernel::Dispatch;
use super::profile::{self, KernelTime};
use super::tensor::Buffer;
use super::weights::{Product, WeightStore};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::kv_cache::KvFormat;
use crate::model::llama::{self, Steps};
use crate::ops::{self, Attention, Finish, HeadShape, RmsNorm, Variant, stride};
use crate::weights::{LayerRole, Role};

/// Parts that the positions are cut into when a single token attends to them: enough invocations for a device's units. A
/// software adapter has few, and each part is one more to be joined.
const DECODE_PARTS: usize = 128;
const SOFTWARE_DECODE_PARTS: usize = 32;

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
    stream: Buffer,
    /// `[T][hidden]` the residual stream times the next norm's weights.
    weighted: Buffer,
    /// `[T][squares]` partial sums of the stream's squares.
    squares: Buffer,
    /// `[T][heads * head_dim + 2 * kv_heads * head_dim]`
    qkv: Buffer,
    /// `[parts][heads * head_dim]` of a single token.
    mixed: Buffer,
    /// `[parts][heads]` (maximum, sum) of a single token.
    stats: Buffer,
    /// `[T][heads * head_dim]`
    attended: Buffer,
    /// `[T][2][intermediate]`, where gate and up cannot be computed together.
    gate_up: Option<Buffer>,
    /// `[T][intermediate]`
    inner: Buffer,
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
            gpu.checked("activations", || Activations::allocate(gpu, config, weights, &shape, options.chunk)).await?;
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

    /// Runs the forward pass with its head as [`Executor::run`] does, and tells how long each kernel took; none on an adapter
    /// without timestamp queries.
    pub async fn profile(&mut self, ids: &[u32], position: usize) -> Result<Option<Vec<KernelTime>>> {
        self.expect_fit(ids, position)?;
        let program = if ids.len() == 1 { &self.decode } else { &self.prefill };
        self.gpu.upload(&self.activations.step, 0, bytemuck::cast_slice(&[position as u32, ids.len() as u32]))?;
        self.gpu.upload(&self.activations.ids, 0, bytemuck::cast_slice(ids))?;
        let dispatches: Vec<&Dispatch> = program.layers.iter().chain(&program.head).chain([&program.argmax]).collect();
        let times = self.gpu.timed(&dispatches, ids.len()).await?;
        Ok(times.map(|times| profile::by_kernel(&dispatches, &times)))
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
    fn allocate(
        gpu: &Gpu,
        config: &ModelConfig,
        weights: &WeightStore,
        shape: &HeadShape,
        chunk: usize,
    ) -> Result<Self> {
        let floats = |label: &str, count: usize| gpu.storage(label, 4 * count as u64);
        let parts = decode_parts(gpu);
        let hidden = chunk * stride(config.hidden_size);
        let inner = chunk * stride(config.intermediate_size);
        let paired = (0..config.layers).map(|layer| Ok(weights.product(Product::GateUp(layer))?.is_paired()));
        let gate_up = paired.collect::<Result<Vec<bool>>>()?.contains(&false);
        Ok(Self {
            step: gpu.uniform("step", 16),
            ids: floats("ids", chunk)?,
            angles: floats("angles", shape.context * 2 * shape.pairs())?,
            stream: floats("stream", hidden)?,
            weighted: floats("weighted", hidden)?,
            squares: floats("squares", chunk * 4 * ops::squares_quads(config.hidden_size))?,
            qkv: floats("qkv", chunk * shape.qkv_stride())?,
            mixed: floats("mixed", parts * shape.heads * shape.head_dim)?,
            stats: floats("stats", parts * shape.heads * 2)?,
            attended: floats("attended", chunk * shape.query_stride())?,
            gate_up: gate_up.then(|| floats("gate and up", 2 * inner)).transpose()?,
            inner: floats("inner", inner)?,
            logits: floats("logits", config.vocab_size)?,
            best: floats("best", 1)?,
            staging: gpu.staging("read-back", 4 * config.vocab_size as u64),
        })
    }
}

fn decode_parts(gpu: &Gpu) -> usize {
    if gpu.adapter().software { SOFTWARE_DECODE_PARTS } else { DECODE_PARTS }
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

    /// The norm before a product.
    fn norm(&self) -> RmsNorm {
        RmsNorm { columns: self.config.hidden_size, eps: self.config.rms_norm_eps }
    }

    fn product(&mut self, product: Product, x: &Buffer, finish: &Finish<'_>) -> Result<()> {
        let Self { gpu, weights, buffers, options, .. } = *self;
        let weight = weights.product(product)?;
        self.recorded.extend(if self.single {
            ops::matvec(gpu, options.variant, weight, &buffers.step, x, finish)?
        } else {
            ops::matmul(gpu, weight, &buffers.step, x, finish)?
        });
        Ok(())
    }

    /// Adds a product to the residual stream, which the norm `next` follows.
    fn add_product(&mut self, product: Product, x: &Buffer, next: Role) -> Result<()> {
        let Activations { stream, weighted, squares, .. } = self.buffers;
        let gains = self.weights.norm(next)?;
        let columns = self.config.hidden_size;
        self.product(product, x, &Finish::Residual { columns, gains, stream, weighted, squares })
    }

    /// The norm at the start of a layer, or before the head.
    fn norm_of(&self, layer: usize) -> Role {
        if layer < self.config.layers { Role::Layer(layer, LayerRole::AttentionNorm) } else { Role::FinalNorm }
    }
}

impl Steps for Recorder<'_> {
    fn embed(&mut self) -> Result<()> {
        let table = self.weights.product(Product::Embedding)?;
        let gains = self.weights.norm(self.norm_of(0))?;
        let Activations { ids, stream, weighted, squares, .. } = self.buffers;
        let buffers = ops::Embed { ids, gains, stream, weighted, squares };
        self.recorded.extend(ops::embed(self.gpu, table, &buffers)?);
        Ok(())
    }

    fn attention_input(&mut self, layer: usize) -> Result<()> {
        let Activations { weighted, squares, qkv, angles, step, .. } = self.buffers;
        let finish = Finish::Store {
            norm: self.norm(),
            squares,
            y: qkv,
            stride: self.shape.qkv_stride(),
            starts: &self.shape.qkv_starts(),
            one_row: false,
        };
        self.product(Product::Qkv(layer), weighted, &finish)?;
        let LayerCache { keys, values } = &self.cache[layer];
        let rope = ops::Rope { angles, qkv, keys, values };
        self.recorded.push(ops::rope(self.gpu, &self.shape, step, &rope)?);
        Ok(())
    }

    fn attention(&mut self, layer: usize) -> Result<()> {
        let LayerCache { keys, values } = &self.cache[layer];
        let Activations { qkv, mixed, stats, step, attended, .. } = self.buffers;
        let (parts, out) = if self.single { (decode_parts(self.gpu), mixed) } else { (1, attended) };
        let attention = Attention { qkv, keys, values, out, stats, parts };
        self.recorded.push(ops::attention(self.gpu, &self.shape, step, &attention)?);
        if self.single {
            self.recorded.push(ops::attention_merge(self.gpu, &self.shape, &attention, attended)?);
        }
        Ok(())
    }

    fn attention_output(&mut self, layer: usize) -> Result<()> {
        let next = Role::Layer(layer, LayerRole::MlpNorm);
        self.add_product(Product::AttentionOutput(layer), &self.buffers.attended, next)
    }

    fn mlp_input(&mut self, layer: usize) -> Result<()> {
        let Activations { weighted, squares, inner, gate_up, step, .. } = self.buffers;
        let columns = self.config.intermediate_size;
        let norm = self.norm();
        let product = Product::GateUp(layer);
        let paired = self.weights.product(product)?.is_paired();
        let (false, Some(gate_up)) = (paired, gate_up) else {
            return self.product(product, weighted, &Finish::SwiGlu { norm, squares, inner, columns });
        };
        let starts = &[0, stride(columns)];
        let finish = Finish::Store { norm, squares, y: gate_up, stride: 2 * stride(columns), starts, one_row: false };
        self.product(product, weighted, &finish)?;
        self.recorded.push(ops::swiglu(self.gpu, columns, step, gate_up, inner)?);
        Ok(())
    }

    fn mlp_output(&mut self, layer: usize) -> Result<()> {
        self.add_product(Product::Down(layer), &self.buffers.inner, self.norm_of(layer + 1))
    }

    fn logits(&mut self) -> Result<()> {
        let Activations { weighted, squares, logits, step, .. } = self.buffers;
        let head = if self.config.tied_embeddings { Product::Embedding } else { Product::Head };
        let weight = self.weights.product(head)?;
        let stride = self.config.vocab_size;
        let finish = Finish::Store { norm: self.norm(), squares, y: logits, stride, starts: &[0], one_row: true };
        self.recorded.extend(ops::matvec(self.gpu, self.options.variant, weight, step, weighted, &finish)?);
        Ok(())
    }
}
