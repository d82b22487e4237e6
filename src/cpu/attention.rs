//! Attention in tiles of positions, whose keys and values are unpacked once for all who look at them.
//!
//! Source: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax".

use wide::f32x8;

use super::cache::Cached;
use super::products::dots;
use super::zeros;
use crate::error::Result;

/// Positions in a tile.
const TILE: usize = 64;

/// One layer's cache.
pub(super) struct LayerCache {
    pub keys: Cached,
    pub values: Cached,
}

/// The heads of an attention layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key/value heads; each serves `queries / keys` query heads in a row.
    pub keys: usize,
    /// Length of a head's vectors.
    pub head_dim: usize,
}

/// What attention works with.
pub(super) struct Attention {
    heads: Heads,
    /// `[TILE][head_dim]`
    keys: Vec<f32>,
    /// `[TILE][head_dim]`
    values: Vec<f32>,
    /// Of the scores so far, for each token and query head of a group: the largest, and the sum of their exponentials.
    stats: Vec<[f32; 2]>,
}

impl Attention {
    /// For at most `tokens` tokens at a time.
    ///
    /// Errors: `OutOfMemory`.
    pub fn new(heads: Heads, tokens: usize) -> Result<Self> {
        let tile = || zeros("attention", TILE * heads.head_dim);
        let stats = zeros("attention", tokens * heads.queries / heads.keys)?;
        Ok(Self { heads, keys: tile()?, values: tile()?, stats })
    }

    /// Each token's query heads look at the keys of all positions up to the token's own, and mix the values there.
    ///
    /// `queries` and `out` are `[tokens][queries * head_dim]`; the first token is at `position`, and `cache` has them all.
    pub fn run(&mut self, queries: &[f32], position: usize, cache: &LayerCache, out: &mut [f32]) {
        let Heads { queries: query_heads, keys, head_dim } = self.heads;
        let tokens = queries.len() / (query_heads * head_dim);
        out.fill(0.0);
        for kv_head in 0..keys {
            self.stats.fill([f32::NEG_INFINITY, 0.0]);
            for first in (0..position + tokens).step_by(TILE) {
                let count = TILE.min(position + tokens - first);
                cache.keys.read(kv_head, first, &mut self.keys[..count * head_dim]);
                cache.values.read(kv_head, first, &mut self.values[..count * head_dim]);
                self.tile(queries, kv_head, position, first, count, out);
            }
            self.divide(kv_head, out);
        }
    }

    /// Adds the tile's part to what each token and query head of a group mixes.
    fn tile(&mut self, queries: &[f32], kv_head: usize, position: usize, first: usize, count: usize, out: &mut [f32]) {
        let Self { heads: Heads { queries: query_heads, keys: kv_heads, head_dim }, keys, values, stats } = self;
        let (head_dim, group) = (*head_dim, *query_heads / *kv_heads);
        let scale = (head_dim as f32).sqrt().recip();
        let rows = queries.chunks_exact(*query_heads * head_dim).zip(out.chunks_exact_mut(*query_heads * head_dim));
        let part = kv_head * group * head_dim..(kv_head + 1) * group * head_dim;
        for (((queries, out), stats), position) in rows.zip(stats.chunks_exact_mut(group)).zip(position..) {
            let Some(visible) = (position + 1).checked_sub(first).filter(|visible| *visible > 0) else { continue };
            let seen = count.min(visible) * head_dim;
            let heads = queries[part.clone()].chunks_exact(head_dim).zip(out[part.clone()].chunks_exact_mut(head_dim));
            for ((query, out), stats) in heads.zip(stats) {
                look(query, &keys[..seen], &values[..seen], scale, stats, out);
            }
        }
    }

    /// Divides what was mixed by the sums of its weights.
    fn divide(&self, kv_head: usize, out: &mut [f32]) {
        let Heads { queries, keys, head_dim } = self.heads;
        let group = queries / keys;
        for (out, stats) in out.chunks_exact_mut(queries * head_dim).zip(self.stats.chunks_exact(group)) {
            let heads = out[kv_head * group * head_dim..].chunks_exact_mut(head_dim).zip(stats);
            heads.for_each(|(out, [_, sum])| out.iter_mut().for_each(|value| *value /= sum));
        }
    }
}

/// One query among some positions: adds their values to `out`, each times the exponential of its score less the largest so far.
fn look(query: &[f32], keys: &[f32], values: &[f32], scale: f32, [largest, sum]: &mut [f32; 2], out: &mut [f32]) {
    // Scores first.
    let mut weights = [0.0; TILE];
    let count = keys.len() / query.len();
    let (fours, rest) = weights[..count].as_chunks_mut::<4>();
    let mut left = keys.chunks_exact(query.len());
    for four in fours {
        let keys = std::array::from_fn(|_| left.next().unwrap_or_default());
        *four = dots(query, keys);
    }
    rest.iter_mut().zip(left).for_each(|(score, key)| [*score] = dots(query, [key]));
    let most = weights[..count].iter().fold(*largest, |most, score| most.max(score * scale));
    if most > *largest {
        // What was weighed against a smaller one.
        let less = (*largest - most).exp();
        out.iter_mut().for_each(|value| *value *= less);
        *sum *= less;
        *largest = most;
    }
    for eight in weights.as_chunks_mut::<8>().0.iter_mut().take(count.div_ceil(8)) {
        *eight = (f32x8::new(*eight) * f32x8::splat(scale) - f32x8::splat(most)).exp().to_array();
    }
    let weights = &weights[..count];
    *sum += weights.iter().sum::<f32>();
    let (fours, rest) = weights.as_chunks::<4>();
    let (of_fours, of_rest) = values.split_at(fours.len() * 4 * query.len());
    for (four, values) in fours.iter().zip(of_fours.chunks_exact(4 * query.len())) {
        mix(*four, values, out);
    }
    for (weight, value) in rest.iter().zip(of_rest.chunks_exact(query.len())) {
        mix([*weight], value, out);
    }
}

/// Adds vectors to `out`, each times its weight.
fn mix<const N: usize>(weights: [f32; N], vectors: &[f32], out: &mut [f32]) {
    let mut left = vectors.chunks_exact(out.len());
    let vectors: [&[f32]; N] = std::array::from_fn(|_| left.next().unwrap_or_default());
    let length = vectors.iter().map(|vector| vector.len()).fold(out.len(), usize::min);
    let vectors = vectors.map(|vector| &vector[..length]);
    for (i, out) in out[..length].iter_mut().enumerate() {
        *out += (0..N).map(|n| weights[n] * vectors[n][i]).sum::<f32>();
    }
}
