//! The whole model in plain Rust, told in order: the oracle of every test, never called by the engine.
//!
//! Read it from top to bottom like the paper (Touvron et al. 2023, "Llama 2"): a token becomes a vector (`embed`);
//! each layer adds to it what `attention` finds in earlier tokens, then what a gated feed-forward net (`swiglu`)
//! makes of it, each time after `rmsnorm`; the last vector times the output head gives one logit per token of the
//! vocabulary. Every kernel of the engine has its plain twin here, of the same name.
//!
//! Matrices are flat and row-major, their shapes in brackets: `[rows, columns]`. Values are stored as `f32` and summed
//! up in `f64`, so that the oracle's own rounding is far below what is measured against it.

pub mod lora;

use std::collections::HashMap;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::formats;
use crate::weights::loader;
use crate::weights::source::Source;
use crate::weights::{LayerRole, Role, Sink, TensorSpec};

/// Looks up the tokens' rows: `table [vocab, hidden]` to `[tokens, hidden]`. Unknown tokens are an error.
pub fn embed(table: &[f32], hidden: usize, tokens: &[u32]) -> Result<Vec<f32>> {
    let mut out = Vec::with_capacity(tokens.len() * hidden);
    for token in tokens {
        let row = table.chunks_exact(hidden).nth(*token as usize);
        let detail = || format!("token {token} is not in the vocabulary");
        out.extend_from_slice(row.ok_or_else(|| Error::BadRequest { detail: detail() })?);
    }
    Ok(out)
}

/// Scales each row of `x [tokens, hidden]` to a root mean square of one, then by `weight [hidden]`:
/// `x / sqrt(mean(x^2) + eps) * weight`.
///
/// Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization".
pub fn rmsnorm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let hidden = weight.len();
    let rows = x.chunks_exact(hidden).flat_map(|row| {
        let square: f64 = row.iter().map(|value| f64::from(*value).powi(2)).sum();
        let scale = 1.0 / (square / hidden as f64 + f64::from(eps)).sqrt();
        row.iter().zip(weight).map(move |(value, weight)| (f64::from(*value) * scale * f64::from(*weight)) as f32)
    });
    rows.collect()
}

/// `weight [rows, columns]` times the vector `x [columns]`: `[rows]`.
pub fn matvec(weight: &[f32], x: &[f32]) -> Vec<f32> {
    weight.chunks_exact(x.len()).map(|row| dot(row, x) as f32).collect()
}

/// `matvec` for each row of `x [tokens, columns]`: `[tokens, rows]`.
pub fn matmul(weight: &[f32], x: &[f32], columns: usize) -> Vec<f32> {
    x.chunks_exact(columns).flat_map(|row| matvec(weight, row)).collect()
}

/// `x` rounded as `matmul_bytes.wgsl` does it: of each 16 neighbours, to whole multiples of the largest magnitude over 127.
pub fn round_to_bytes(x: &[f32]) -> Vec<f32> {
    let rounded = x.chunks(16).flat_map(|run| {
        let most = run.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let inverse = if most > 1e-30 { 127.0 / most } else { 0.0 };
        run.iter().map(move |value| (value * inverse).round_ties_even() * (most / 127.0))
    });
    rounded.collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Turns each neighbouring pair of each head of `x [tokens, heads * head_dim]` by the angle
/// `position * frequencies[pair]`, the first row standing at `first_position`.
///
/// `frequencies` has `head_dim / 2` values: `config::Rope::inverse_frequencies`. Source: Su et al. 2021, "RoFormer".
pub fn rope(x: &[f32], frequencies: &[f32], heads: usize, first_position: usize) -> Vec<f32> {
    let head_dim = 2 * frequencies.len();
    let mut out = Vec::with_capacity(x.len());
    for (token, row) in x.chunks_exact(heads * head_dim).enumerate() {
        let position = (first_position + token) as f64;
        for head in row.chunks_exact(head_dim) {
            for (pair, frequency) in head.chunks_exact(2).zip(frequencies) {
                let (sin, cos) = (position * f64::from(*frequency)).sin_cos();
                let (a, b) = (f64::from(pair[0]), f64::from(pair[1]));
                out.push((a * cos - b * sin) as f32);
                out.push((a * sin + b * cos) as f32);
            }
        }
    }
    out
}

/// The heads of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key/value heads; each serves `queries / keys` query heads in a row.
    pub keys: usize,
    /// Length of one head's vectors.
    pub head_dim: usize,
}

/// Causal attention: each token's query heads look at the keys of all positions up to the token's own and mix the
/// values there, `softmax(q . k / sqrt(head_dim)) v`.
///
/// `queries [tokens, heads * head_dim]` stand at the last positions of `keys` and `values`
/// `[positions, kv_heads * head_dim]`, which hold all positions so far. Gives `[tokens, heads * head_dim]`.
///
/// Sources: Vaswani et al. 2017, "Attention Is All You Need"; Ainslie et al. 2023, "GQA".
pub fn attention(queries: &[f32], keys: &[f32], values: &[f32], heads: Heads) -> Vec<f32> {
    let Heads { head_dim, .. } = heads;
    let (query_size, kv_size) = (heads.queries * head_dim, heads.keys * head_dim);
    let tokens = queries.len() / query_size;
    let first_position = (keys.len() / kv_size).saturating_sub(tokens);
    let mut out = Vec::with_capacity(queries.len());
    for (token, row) in queries.chunks_exact(query_size).enumerate() {
        let visible = first_position + token + 1;
        for (head, query) in row.chunks_exact(head_dim).enumerate() {
            let at = head / (heads.queries / heads.keys) * head_dim;
            let scores = keys.chunks_exact(kv_size).take(visible).map(|key| {
                let product = dot(query, &key[at..at + head_dim]);
                product / (head_dim as f64).sqrt()
            });
            let mut mix = vec![0.0_f64; head_dim];
            for (probability, value) in softmax(scores.collect()).into_iter().zip(values.chunks_exact(kv_size)) {
                for (mix, value) in mix.iter_mut().zip(&value[at..at + head_dim]) {
                    *mix += probability * f64::from(*value);
                }
            }
            out.extend(mix.into_iter().map(|value| value as f32));
        }
    }
    out
}

/// Exponentials that sum up to one; the largest score is taken off first, so that none overflows.
fn softmax(scores: Vec<f64>) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = scores.into_iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}

/// `silu(gate) * up`, where `silu(x) = x / (1 + e^-x)`.
///
/// Source: Shazeer 2020, "GLU Variants Improve Transformer".
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    gate.iter().zip(up).map(|(gate, up)| (silu(f64::from(*gate)) * f64::from(*up)) as f32).collect()
}

/// The sum of two vectors.
pub fn add(x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

/// Index of the largest value, the first one of equals; `None` of nothing.
pub fn argmax(values: &[f32]) -> Option<u32> {
    let better = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
    let (index, _) = values.iter().copied().enumerate().reduce(better)?;
    u32::try_from(index).ok()
}

/// A checkpoint's weights as `f32`: the sink that holds them in plain memory.
#[derive(Debug, Default)]
pub struct Weights {
    tensors: HashMap<Role, (TensorSpec, Vec<f32>)>,
}

impl Weights {
    /// A tensor's weights, `[rows, columns]`.
    pub fn get(&self, role: Role) -> Result<&[f32]> {
        let tensor = self.tensors.get(&role).map(|(_, values)| values.as_slice());
        tensor.ok_or_else(|| Error::MissingTensor { tensor: format!("{role:?}") })
    }

    /// What arrived under a role: format and shape.
    pub fn spec(&self, role: Role) -> Option<TensorSpec> {
        self.tensors.get(&role).map(|(spec, _)| *spec)
    }
}

impl Sink for Weights {
    async fn allocate(&mut self, tensors: &[TensorSpec]) -> Result<()> {
        self.tensors.extend(tensors.iter().map(|spec| (spec.role, (*spec, Vec::new()))));
        Ok(())
    }

    fn write_rows(&mut self, role: Role, first_row: usize, bytes: &[u8]) -> Result<()> {
        let missing = || Error::MissingTensor { tensor: format!("{role:?}") };
        let (spec, values) = self.tensors.get_mut(&role).ok_or_else(missing)?;
        let start = first_row * spec.columns;
        let rows = bytes.len() / spec.format.row_bytes(spec.columns);
        values.resize(start + rows * spec.columns, 0.0);
        formats::dequantise(spec.format, bytes, &mut values[start..])
    }
}

/// A model with the keys and values of all tokens that it has seen.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    weights: Weights,
    /// Radians per position of each pair of a head's dimensions.
    frequencies: Vec<f32>,
    /// Each layer's keys and values, `[positions, kv_heads * head_dim]`.
    cache: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Model {
    /// Reads a whole checkpoint.
    pub async fn open<S: Source>(source: &mut S) -> Result<Self> {
        let mut weights = Weights::default();
        let config = loader::open(source).await?.load(source, &mut weights, &mut |_, _| true).await?;
        Ok(Self::new(config, weights))
    }

    /// A model that has seen nothing yet.
    pub fn new(config: ModelConfig, weights: Weights) -> Self {
        let frequencies = config.rope.inverse_frequencies(config.head_dim);
        let cache = vec![Default::default(); config.layers];
        Self { config, weights, frequencies, cache }
    }

    /// The model's sizes.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The model's weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Tokens seen so far.
    pub fn position(&self) -> usize {
        self.cache.first().map_or(0, |(keys, _)| keys.len() / self.config.kv_size())
    }

    /// Forgets all tokens.
    pub fn reset(&mut self) {
        self.cache.fill(Default::default());
    }

    /// Goes on with `tokens`, of which there is at least one; gives the last one's logits, `[vocab]`.
    pub fn forward(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let logits = self.forward_traced(tokens, &mut |_, _| ())?;
        let last = logits.len().saturating_sub(self.config.vocab_size);
        Ok(logits[last..].to_vec())
    }

    /// As `forward`, for every token, `[tokens, vocab]`, showing the values on the way by name.
    ///
    /// Names and shapes: `embed`, and for each layer `layers.N.` with `attn_norm`, `q`, `k`, `v`, `q_rope`, `k_rope`,
    /// `attn_mix` (probabilities times values), `attn_out`, `mlp_norm`, `gate`, `up`, `mlp_out` and `out` (the
    /// residual stream); then `final_norm` and `logits`. Each is `[tokens, size]`.
    pub fn forward_traced(&mut self, tokens: &[u32], trace: &mut dyn FnMut(&str, &[f32])) -> Result<Vec<f32>> {
        let room = self.config.max_positions.saturating_sub(self.position());
        if tokens.is_empty() || tokens.len() > room {
            let detail = format!("{} tokens do not fit the {room} positions that are left", tokens.len());
            return Err(Error::BadRequest { detail });
        }
        let table = self.weights.get(Role::Embedding)?;
        let mut x = embed(table, self.config.hidden_size, tokens)?;
        trace("embed", &x);
        for layer in 0..self.config.layers {
            x = self.layer(layer, &x, &mut |part, values| trace(&format!("layers.{layer}.{part}"), values))?;
        }
        let x = rmsnorm(&x, self.weights.get(Role::FinalNorm)?, self.config.rms_norm_eps);
        trace("final_norm", &x);
        let head = if self.config.tied_embeddings { Role::Embedding } else { Role::Head };
        let logits = matmul(self.weights.get(head)?, &x, self.config.hidden_size);
        trace("logits", &logits);
        Ok(logits)
    }

    /// What a layer makes of the residual stream `x [tokens, hidden]`; its cache grows by the tokens.
    pub fn layer(&mut self, layer: usize, x: &[f32], trace: &mut dyn FnMut(&str, &[f32])) -> Result<Vec<f32>> {
        let mixed = self.attend(layer, x, trace)?;
        let x = add(x, &mixed);
        let fed = self.feed_forward(layer, &x, trace)?;
        let x = add(&x, &fed);
        trace("out", &x);
        Ok(x)
    }

    /// What a layer's attention adds to the residual stream `x [tokens, hidden]`; the cache grows by the tokens.
    fn attend(&mut self, layer: usize, x: &[f32], trace: &mut dyn FnMut(&str, &[f32])) -> Result<Vec<f32>> {
        let config = &self.config;
        let weight = |role| self.weights.get(Role::Layer(layer, role));
        let (keys, values) = &mut self.cache[layer];
        let first_position = keys.len() / config.kv_size();

        let x = rmsnorm(x, weight(LayerRole::AttentionNorm)?, config.rms_norm_eps);
        trace("attn_norm", &x);
        let q = matmul(weight(LayerRole::Query)?, &x, config.hidden_size);
        let k = matmul(weight(LayerRole::Key)?, &x, config.hidden_size);
        let v = matmul(weight(LayerRole::Value)?, &x, config.hidden_size);
        trace("q", &q);
        trace("k", &k);
        trace("v", &v);
        let q = rope(&q, &self.frequencies, config.heads, first_position);
        let k = rope(&k, &self.frequencies, config.kv_heads, first_position);
        trace("q_rope", &q);
        trace("k_rope", &k);
        keys.extend(k);
        values.extend(v);
        let heads = Heads { queries: config.heads, keys: config.kv_heads, head_dim: config.head_dim };
        let mix = attention(&q, keys, values, heads);
        trace("attn_mix", &mix);
        let out = matmul(weight(LayerRole::AttentionOutput)?, &mix, config.query_size());
        trace("attn_out", &out);
        Ok(out)
    }

    /// What a layer's feed-forward net adds to the residual stream `x [tokens, hidden]`.
    fn feed_forward(&self, layer: usize, x: &[f32], trace: &mut dyn FnMut(&str, &[f32])) -> Result<Vec<f32>> {
        let config = &self.config;
        let weight = |role| self.weights.get(Role::Layer(layer, role));

        let x = rmsnorm(x, weight(LayerRole::MlpNorm)?, config.rms_norm_eps);
        trace("mlp_norm", &x);
        let gate = matmul(weight(LayerRole::Gate)?, &x, config.hidden_size);
        let up = matmul(weight(LayerRole::Up)?, &x, config.hidden_size);
        trace("gate", &gate);
        trace("up", &up);
        let out = matmul(weight(LayerRole::Down)?, &swiglu(&gate, &up), config.intermediate_size);
        trace("mlp_out", &out);
        Ok(out)
    }
}
