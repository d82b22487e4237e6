//! The steps of the forward pass on the processor, over buffers that every run uses again.

use super::attention::{Attention, Heads, LayerCache};
use super::deltas::Deltas;
use super::ops;
use super::weights::{Input, Weights};
use super::zeros;
use crate::config::{self, ModelConfig};
use crate::error::Result;
use crate::model::llama::Steps;
use crate::weights::{LayerRole, Role};

/// What a chunk passes through between products; T is the largest chunk.
pub(super) struct Buffers {
    /// `[T][hidden]` the residual stream.
    stream: Vec<f32>,
    /// `[T][heads * head_dim]`
    queries: Vec<f32>,
    /// `[T][kv_heads * head_dim]`
    keys: Vec<f32>,
    /// `[T][kv_heads * head_dim]`
    values: Vec<f32>,
    /// `[T][intermediate]`
    gate: Vec<f32>,
    /// `[T][intermediate]`
    up: Vec<f32>,
    /// `[T][hidden]` what is to be added to the stream.
    added: Vec<f32>,
    /// `[vocab]`
    pub logits: Vec<f32>,
    /// `[T][head_dim / 2]` (cosine, sine)
    angles: Vec<[f32; 2]>,
    attention: Attention,
    /// Radians per position of each pair of a head's dimensions.
    frequencies: Vec<f32>,
}

impl Buffers {
    /// For chunks of at most `tokens`.
    ///
    /// Errors: `OutOfMemory`.
    pub fn new(config: &ModelConfig, tokens: usize) -> Result<Self> {
        let floats = |length: usize| zeros("activations", tokens.saturating_mul(length));
        let (queries, kv, inner) = (config.query_size(), config.kv_size(), config.intermediate_size);
        let heads = Heads { queries: config.heads, keys: config.kv_heads, head_dim: config.head_dim };
        Ok(Self {
            stream: floats(config.hidden_size)?,
            queries: floats(queries)?,
            keys: floats(kv)?,
            values: floats(kv)?,
            gate: floats(inner)?,
            up: floats(inner)?,
            added: floats(config.hidden_size)?,
            logits: zeros("activations", config.vocab_size)?,
            angles: Vec::new(),
            attention: Attention::new(heads, tokens)?,
            frequencies: config.rope.inverse_frequencies(config.head_dim),
        })
    }

    /// Bytes that they take, but for what is small.
    pub fn bytes(&self) -> usize {
        let Self { stream, queries, keys, values, gate, up, added, logits, .. } = self;
        [stream, queries, keys, values, gate, up, added, logits].map(|floats| size_of_val(&floats[..])).iter().sum()
    }
}

/// The weights, and the vectors that they are multiplied with next.
pub(super) struct Products<'a> {
    pub weights: &'a Weights,
    /// What adapters add.
    pub deltas: Option<&'a mut Deltas>,
    /// `[T][]`
    pub x: &'a mut Input,
}

impl Products<'_> {
    /// Matrices' products with the first `count` vectors, each in its `[count][rows]`.
    fn of(&mut self, roles: &[Role], count: usize, outs: &mut [&mut [f32]]) -> Result<()> {
        self.weights.multiply(roles, self.x, count, outs)?;
        if let Some(deltas) = &mut self.deltas {
            for (role, out) in roles.iter().zip(outs) {
                deltas.add(*role, self.x, count, &mut out[..count * self.weights.rows(*role)?]);
            }
        }
        Ok(())
    }
}

/// One run over a chunk of tokens.
pub(super) struct Pass<'a> {
    pub config: &'a ModelConfig,
    pub products: Products<'a>,
    pub cache: &'a mut [LayerCache],
    pub buffers: &'a mut Buffers,
    pub ids: &'a [u32],
    /// The first token's.
    pub position: usize,
}

impl Pass<'_> {
    /// x = the norm of the residual stream from token `first` on.
    fn norm(&mut self, role: Role, first: usize) -> Result<()> {
        let (hidden, count) = (self.config.hidden_size, self.ids.len());
        let Products { weights, x, .. } = &mut self.products;
        let stream = &self.buffers.stream[first * hidden..count * hidden];
        ops::rmsnorm(stream, weights.norm(role)?, self.config.rms_norm_eps, &mut x.values);
        x.round(count - first, hidden);
        Ok(())
    }

    /// Adds a product to the residual stream.
    fn add_product(&mut self, role: Role) -> Result<()> {
        let (count, Buffers { stream, added, .. }) = (self.ids.len(), &mut *self.buffers);
        self.products.of(&[role], count, &mut [added])?;
        ops::add(&mut stream[..count * self.config.hidden_size], added);
        Ok(())
    }
}

impl Steps for Pass<'_> {
    fn embed(&mut self) -> Result<()> {
        let hidden = self.config.hidden_size;
        let Buffers { stream, frequencies, angles, .. } = &mut *self.buffers;
        let stream = &mut stream[..self.ids.len() * hidden];
        for (id, row) in self.ids.iter().zip(stream.chunks_exact_mut(hidden)) {
            self.products.weights.row(Role::Embedding, *id as usize, row)?;
        }
        if let Some(deltas) = &mut self.products.deltas {
            deltas.add_embeddings(self.ids, stream);
        }
        angles.clear();
        angles.extend(config::angles(frequencies, self.position..self.position + self.ids.len()));
        Ok(())
    }

    fn attention_input(&mut self, layer: usize) -> Result<()> {
        self.norm(Role::Layer(layer, LayerRole::AttentionNorm), 0)?;
        let (tokens, Buffers { queries, keys, values, angles, .. }) = (self.ids.len(), &mut *self.buffers);
        let roles = [LayerRole::Query, LayerRole::Key, LayerRole::Value].map(|role| Role::Layer(layer, role));
        self.products.of(&roles, tokens, &mut [queries, keys, values])?;
        let (query, kv) = (self.config.query_size(), self.config.kv_size());
        let rows = queries.chunks_exact_mut(query).zip(keys.chunks_exact_mut(kv)).zip(values.chunks_exact(kv));
        let angles = angles.chunks_exact(self.config.head_dim / 2).zip(self.position..);
        let cache = &mut self.cache[layer];
        for (((queries, keys), values), (angles, position)) in rows.zip(angles) {
            ops::rope(queries, angles);
            ops::rope(keys, angles);
            cache.keys.write(position, keys);
            cache.values.write(position, values);
        }
        Ok(())
    }

    fn attention(&mut self, layer: usize) -> Result<()> {
        let (tokens, length) = (self.ids.len(), self.config.query_size());
        let (x, Buffers { queries, attention, .. }) = (&mut *self.products.x, &mut *self.buffers);
        let (queries, out) = (&queries[..tokens * length], &mut x.values[..tokens * length]);
        attention.run(queries, self.position, &self.cache[layer], out);
        x.round(tokens, length);
        Ok(())
    }

    fn attention_output(&mut self, layer: usize) -> Result<()> {
        self.add_product(Role::Layer(layer, LayerRole::AttentionOutput))
    }

    fn mlp_input(&mut self, layer: usize) -> Result<()> {
        self.norm(Role::Layer(layer, LayerRole::MlpNorm), 0)?;
        let (tokens, length) = (self.ids.len(), self.config.intermediate_size);
        let Buffers { gate, up, .. } = &mut *self.buffers;
        let roles = [LayerRole::Gate, LayerRole::Up].map(|role| Role::Layer(layer, role));
        self.products.of(&roles, tokens, &mut [gate, up])?;
        ops::swiglu(&gate[..tokens * length], up, &mut self.products.x.values);
        self.products.x.round(tokens, length);
        Ok(())
    }

    fn mlp_output(&mut self, layer: usize) -> Result<()> {
        self.add_product(Role::Layer(layer, LayerRole::Down))
    }

    fn logits(&mut self) -> Result<()> {
        self.norm(Role::FinalNorm, self.ids.len() - 1)?;
        let head = if self.config.tied_embeddings { Role::Embedding } else { Role::Head };
        let Products { weights, deltas, x } = &mut self.products;
        weights.multiply(&[head], x, 1, &mut [&mut self.buffers.logits])?;
        if let Some(deltas) = deltas {
            deltas.add(Role::Head, x, 1, &mut self.buffers.logits);
        }
        Ok(())
    }
}
