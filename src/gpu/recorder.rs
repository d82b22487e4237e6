//! Records the forward pass: what each step of it is in kernels, over buffers that every run uses again.

use super::Gpu;
use super::deltas::Deltas;
use super::executor::{ExecutorOptions, MOST_AHEAD};
use super::kernel::Dispatch;
use super::tensor::Buffer;
use super::weights::{Product, Weight, WeightStore};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::model::llama::{self, Steps};
use crate::ops::{self, ActivationFormat, Attention, Finish, HeadShape, RmsNorm, SampleBuffers, SampleShape, stride};
use crate::weights::{LayerRole, Role};

/// A forward pass over weights that have their place but need not be there yet.
pub struct Recorded {
    pub(super) prefill: Program,
    pub(super) decode: Program,
    pub(super) activations: Activations,
    pub(super) cache: Vec<LayerCache>,
    pub(super) options: ExecutorOptions,
}

/// Dispatches in order: the layers, the head, and the choice of a token.
pub(super) struct Program {
    pub(super) layers: Vec<Dispatch>,
    pub(super) head: Vec<Dispatch>,
    pub(super) choice: Vec<Dispatch>,
}

/// One layer's keys and values.
pub(super) struct LayerCache {
    pub(super) keys: Buffer,
    pub(super) values: Buffer,
}

/// Buffers that a chunk passes through; shapes as `[rows][stride]`, T the largest chunk.
pub(super) struct Activations {
    /// Position and number of tokens.
    pub(super) step: Buffer,
    /// `[T]` token ids; the first is the token that the device chose last.
    pub(super) ids: Buffer,
    /// `[context][head_dim / 2]` (cosine, sine).
    pub(super) angles: Buffer,
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
    pub(super) logits: Buffer,
    /// The request's settings, and what the choice of a token works with.
    pub(super) sampling: SampleBuffers,
    /// Read-backs of chosen tokens, each for one that is on its way.
    pub(super) chosen: Vec<Buffer>,
}

impl Recorded {
    /// Allocates the cache and the buffers, and records the forward pass. [`Gpu::compile`] compiles what it is made of.
    ///
    /// Errors: `OutOfMemory`, `AdapterLimit`, `Gpu` when a shader or binding is refused.
    pub async fn new(gpu: &Gpu, config: &ModelConfig, weights: &WeightStore, options: ExecutorOptions) -> Result<Self> {
        let shape = HeadShape::new(config, options.context, options.kv);
        let options = ExecutorOptions { chunk: options.chunk.next_multiple_of(ops::TOKEN_TILE), ..options };
        let activations =
            gpu.checked("activations", || Activations::allocate(gpu, config, weights, &shape, options)).await?;
        let cache = gpu.checked("KV cache", || allocate_cache(gpu, config.layers, &shape)).await?;
        let parts = Parts { weights, deltas: None, cache: &cache, buffers: &activations };
        let (prefill, decode) = record(gpu, config, options, parts).await?;
        Ok(Self { prefill, decode, activations, cache, options })
    }

    /// Whether any product of a prompt rounds what it takes.
    pub fn rounds(&self) -> bool {
        self.prefill.layers.iter().any(|dispatch| dispatch.name() == ops::MATMUL_BYTES)
    }
}

/// What a recording binds.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub weights: &'a WeightStore,
    /// What adapters add, where there are any.
    pub deltas: Option<&'a Deltas>,
    pub cache: &'a [LayerCache],
    pub buffers: &'a Activations,
}

/// The programs for chunks of a prompt and for single tokens.
pub(super) async fn record(
    gpu: &Gpu,
    config: &ModelConfig,
    options: ExecutorOptions,
    parts: Parts<'_>,
) -> Result<(Program, Program)> {
    let program = |single| {
        let Parts { weights, deltas, cache, buffers } = parts;
        let shape = HeadShape::new(config, options.context, options.kv);
        let recorded = Vec::new();
        Recorder { gpu, config, shape, weights, deltas, cache, buffers, options, single, recorded }.program()
    };
    gpu.checked("kernels", || Ok((program(false)?, program(true)?))).await
}

fn allocate_cache(gpu: &Gpu, layers: usize, shape: &HeadShape) -> Result<Vec<LayerCache>> {
    let bytes = shape.cache_bytes();
    (0..layers)
        .map(|_| Ok(LayerCache { keys: gpu.storage("keys", bytes)?, values: gpu.storage("values", bytes)? }))
        .collect()
}

impl Activations {
    fn allocate(
        gpu: &Gpu,
        config: &ModelConfig,
        weights: &WeightStore,
        shape: &HeadShape,
        ExecutorOptions { chunk, variants, .. }: ExecutorOptions,
    ) -> Result<Self> {
        let floats = |label: &str, count: usize| gpu.storage(label, 4 * count as u64);
        let parts = variants.attention.decode_parts(shape);
        let hidden = chunk * stride(config.hidden_size);
        let inner = chunk * stride(config.intermediate_size);
        let paired = (0..config.layers).map(|layer| Ok(weights.product(Product::GateUp(layer))?.is_paired()));
        let gate_up = paired.collect::<Result<Vec<bool>>>()?.contains(&false);
        Ok(Self {
            step: gpu.uniform("step", 16),
            ids: floats("ids", chunk)?,
            angles: floats("angles", shape.angles())?,
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
            sampling: SampleBuffers::allocate(gpu, SampleShape::new(gpu, config.vocab_size))?,
            chosen: (0..MOST_AHEAD).map(|_| gpu.staging("token", 4)).collect(),
        })
    }
}

/// Turns the steps of the forward pass into dispatches, for single tokens or for chunks.
struct Recorder<'a> {
    gpu: &'a Gpu,
    config: &'a ModelConfig,
    shape: HeadShape,
    weights: &'a WeightStore,
    deltas: Option<&'a Deltas>,
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
        let Activations { step, ids, logits, sampling, .. } = self.buffers;
        // Chosen where the next run reads its token.
        let choice = ops::sample(self.gpu, step, logits, sampling, ids)?;
        Ok(Program { layers, head: self.recorded, choice })
    }

    /// The norm before a product.
    fn norm(&self) -> RmsNorm {
        RmsNorm { columns: self.config.hidden_size, eps: self.config.rms_norm_eps }
    }

    fn product(&mut self, product: Product, x: &Buffer, finish: &Finish<'_>) -> Result<()> {
        let Self { gpu, weights, buffers, options, .. } = *self;
        let (weight, step) = (weights.product(product)?, &buffers.step);
        // What the down projection takes has the largest outliers, and what is wrong with queries and keys decides where all later
        // tokens look: rounding these costs the most accuracy.
        let robust = matches!(product, Product::AttentionOutput(_) | Product::GateUp(_));
        let round = options.activations == ActivationFormat::Int8 && robust;
        let rounded = if round && !self.single { ops::matmul_bytes(gpu, weight, step, x, finish)? } else { None };
        match rounded {
            Some(rounded) => self.recorded.extend(rounded),
            None => self.multiply(weight, x, finish, self.single)?,
        }
        Ok(())
    }

    /// The exact product with the last token's x or with all tokens'.
    fn multiply(&mut self, weight: &Weight, x: &Buffer, finish: &Finish<'_>, single: bool) -> Result<()> {
        let Self { gpu, buffers: Activations { step, .. }, options: ExecutorOptions { variants, .. }, .. } = *self;
        self.recorded.extend(match single {
            true => ops::matvec(gpu, variants.matvec, weight, step, x, finish)?,
            false => ops::matmul(gpu, variants.matmul, weight, step, x, finish)?,
        });
        Ok(())
    }

    /// What adapters add to a product, if anything, ends in `finish`. `norm`: the norm before the product.
    fn delta(&mut self, product: Product, x: &Buffer, norm: Option<RmsNorm>, finish: &Finish<'_>) -> Result<bool> {
        let Some(deltas) = self.deltas else { return Ok(false) };
        let Some((down, up)) = deltas.of(product)? else { return Ok(false) };
        let (y, squares, stride, starts) = (&deltas.low, &self.buffers.squares, up.columns, &[0][..]);
        let between = match norm {
            Some(norm) => Finish::Store { norm, squares, y, stride, starts, one_row: false },
            None => Finish::Plain { y, stride, starts, one_row: false, add: false },
        };
        // The head is for the last token alone.
        let single = self.single || product == Product::Head;
        self.multiply(down, x, &between, single)?;
        self.multiply(up, y, finish, single)?;
        Ok(true)
    }

    /// Adds a product to the residual stream, which the norm `next` follows.
    fn add_product(&mut self, product: Product, x: &Buffer, next: Role) -> Result<()> {
        let Activations { stream, weighted, squares, .. } = self.buffers;
        let gains = self.weights.norm(next)?;
        let columns = self.config.hidden_size;
        // Before the product, so that what the norm wants of the stream comes of both.
        let added = Finish::Plain { y: stream, stride: stride(columns), starts: &[0], one_row: false, add: true };
        self.delta(product, x, None, &added)?;
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
        let Some(deltas) = self.deltas else { return Ok(()) };
        let Some((down, up)) = deltas.of(Product::Embedding)? else { return Ok(()) };
        self.recorded.extend(ops::gather(self.gpu, down, ids, &deltas.low)?);
        let columns = self.config.hidden_size;
        self.multiply(up, &deltas.low, &Finish::Residual { columns, gains, stream, weighted, squares }, self.single)
    }

    fn attention_input(&mut self, layer: usize) -> Result<()> {
        let Activations { weighted, squares, qkv, angles, step, .. } = self.buffers;
        let (y, stride, starts) = (qkv, self.shape.qkv_stride(), &self.shape.qkv_starts()[..]);
        let (norm, product) = (self.norm(), Product::Qkv(layer));
        self.product(product, weighted, &Finish::Store { norm, squares, y, stride, starts, one_row: false })?;
        self.delta(product, weighted, Some(norm), &Finish::Plain { y, stride, starts, one_row: false, add: true })?;
        let LayerCache { keys, values } = &self.cache[layer];
        let rope = ops::Rope { angles, qkv, keys, values };
        self.recorded.push(ops::rope(self.gpu, &self.shape, step, &rope)?);
        Ok(())
    }

    fn attention(&mut self, layer: usize) -> Result<()> {
        let LayerCache { keys, values } = &self.cache[layer];
        let Activations { qkv, mixed, stats, step, attended, .. } = self.buffers;
        let kernel = self.options.variants.attention;
        let (parts, out) = if self.single { (kernel.decode_parts(&self.shape), mixed) } else { (1, attended) };
        let attention = Attention { qkv, keys, values, out, stats, parts, kernel };
        self.recorded.push(ops::attention(self.gpu, &self.shape, step, &attention)?);
        if self.single {
            self.recorded.push(ops::attention_merge(self.gpu, &self.shape, step, &attention, attended)?);
        }
        Ok(())
    }

    fn attention_output(&mut self, layer: usize) -> Result<()> {
        let next = Role::Layer(layer, LayerRole::MlpNorm);
        self.add_product(Product::AttentionOutput(layer), &self.buffers.attended, next)
    }

    fn mlp_input(&mut self, layer: usize) -> Result<()> {
        let Activations { weighted, squares, inner, gate_up, .. } = self.buffers;
        let columns = self.config.intermediate_size;
        let norm = self.norm();
        let product = Product::GateUp(layer);
        let paired = self.weights.product(product)?.is_paired();
        let (row, starts) = (2 * stride(columns), &[0, stride(columns)][..]);
        let (false, Some(gate_up)) = (paired, gate_up) else {
            let mut added = self.deltas.and_then(|deltas| deltas.gate_up.as_ref());
            if let Some(y) = added {
                let alone = Finish::Plain { y, stride: row, starts, one_row: false, add: false };
                let any = self.delta(product, weighted, Some(norm), &alone)?;
                added = added.filter(|_| any);
            }
            return self.product(product, weighted, &Finish::SwiGlu { norm, squares, inner, columns, added });
        };
        let (y, stride) = (gate_up, row);
        self.product(product, weighted, &Finish::Store { norm, squares, y, stride, starts, one_row: false })?;
        self.delta(product, weighted, Some(norm), &Finish::Plain { y, stride, starts, one_row: false, add: true })?;
        self.recorded.push(ops::swiglu(self.gpu, columns, gate_up, inner)?);
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
        let variant = self.options.variants.matvec;
        self.recorded.extend(ops::matvec(self.gpu, variant, weight, step, weighted, &finish)?);
        let added = Finish::Plain { y: logits, stride, starts: &[0], one_row: true, add: true };
        self.delta(Product::Head, weighted, Some(self.norm()), &added)?;
        Ok(())
    }
}
