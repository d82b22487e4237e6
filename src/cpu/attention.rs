//! Attention in tiles of positions, whose keys and values are unpacked once for all who look at them.
//!
//! Source: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax".

use std::array::from_fn;

use wide::{f32x4, i32x4};

use super::cache::Cached;
use super::lanes::hidden;
use super::products::dots;
use super::zeros;
use crate::error::Result;

/// Positions in a tile.
const TILE: usize = 64;
/// Numbers of a vector that are mixed at a time.
const PART: usize = 16;

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
    let (of_fours, of_rest) = keys.split_at(fours.len() * 4 * query.len());
    for (four, keys) in fours.iter_mut().zip(of_fours.chunks_exact(4 * query.len())) {
        *four = dots(query, from_fn(|key| &keys[key * query.len()..(key + 1) * query.len()]));
    }
    rest.iter_mut().zip(of_rest.chunks_exact(query.len())).for_each(|(score, key)| [*score] = dots(query, [key]));
    let most = weights[..count].iter().fold(*largest, |most, score| most.max(score * scale));
    if most > *largest {
        // What was weighed against a smaller one.
        let less = (*largest - most).exp();
        out.iter_mut().for_each(|value| *value *= less);
        *sum *= less;
        *largest = most;
    }
    let constants = hidden(Exponential::new());
    for four in weights.as_chunks_mut::<4>().0.iter_mut().take(count.div_ceil(4)) {
        *four = constants.of(f32x4::new(*four) * f32x4::splat(scale) - f32x4::splat(most)).to_array();
    }
    let weights = &weights[..count];
    *sum += weights.iter().sum::<f32>();
    mix(weights, values, out);
}

/// The powers of e of numbers that are not positive; of others they mean nothing. It is made of what that needs.
///
/// Source: Cephes' `expf.c` (the remainder, whose ln 2 comes in two parts), and Taylor's polynomial of the remainder of degree 7.
#[derive(Clone, Copy)]
struct Exponential {
    least: f32x4,
    log2_e: f32x4,
    ln_2: [f32x4; 2],
    factors: [f32x4; 6],
    bias: f32x4,
}

impl Exponential {
    fn new() -> Self {
        // 1 / 2! to 1 / 7!
        let factors = [2.0, 6.0, 24.0, 120.0, 720.0, 5040.0].map(|factorial: f32| f32x4::splat(factorial.recip()));
        Self {
            // It stands for all that is less: as good as nothing beside the 1 of the largest, and times a value still a normal number.
            least: f32x4::splat(-64.0),
            log2_e: f32x4::LOG2_E,
            ln_2: [0.693_359_4, -2.121_944_4e-4].map(f32x4::splat),
            factors,
            // The last bits of such a number count wholes: they become an exponent.
            bias: f32x4::splat(8_388_608.0 + 127.0),
        }
    }

    #[inline(always)]
    fn of(self, x: f32x4) -> f32x4 {
        let Self { least, log2_e, ln_2: [ln_2, more], factors: [c0, c1, c2, c3, c4, c5], bias } = self;
        // What is no number stays none.
        let x = x.simd_lt(least).select(least, x);
        let wholes = (x * log2_e).round_ties_even();
        let x = x - wholes * ln_2 - wholes * more;
        let (x2, x4) = (x * x, x * x * (x * x));
        let rest = (c3 * x + c2) * x2 + ((c5 * x + c4) * x4 + (c1 * x + c0));
        let power: i32x4 = bytemuck::cast(wholes + bias);
        (rest * x2 + x + f32x4::ONE) * bytemuck::cast::<i32x4, f32x4>(power << 23)
    }
}

/// Adds vectors to `out`, each times its weight.
fn mix(weights: &[f32], vectors: &[f32], out: &mut [f32]) {
    let length = out.len();
    let (parts, rest) = out.as_chunks_mut::<PART>();
    let start_of_rest = PART * parts.len();
    for (part, start) in parts.iter_mut().zip((0..).step_by(PART)) {
        mix_part(weights, vectors, length, start, part);
    }
    for (out, start) in rest.iter_mut().zip(start_of_rest..) {
        mix_part(weights, vectors, length, start, std::array::from_mut(out));
    }
}

/// The same for `N` numbers of each vector, from `start` on, which stay in registers meanwhile. Four vectors are added up first.
#[inline(always)]
fn mix_part<const N: usize>(weights: &[f32], vectors: &[f32], length: usize, start: usize, out: &mut [f32; N]) {
    let part =
        |vectors: &[f32], n: usize| vectors.get(n * length + start..).and_then(<[f32]>::first_chunk::<N>).copied();
    let mut sums = *out;
    let (fours, rest) = weights.as_chunks::<4>();
    let (of_fours, of_rest) = vectors.split_at(fours.len() * 4 * length);
    for (weights, vectors) in fours.iter().zip(of_fours.chunks_exact(4 * length)) {
        let [Some(a), Some(b), Some(c), Some(d)] = from_fn(|n| part(vectors, n)) else { break };
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += weights[0] * a[i] + weights[1] * b[i] + weights[2] * c[i] + weights[3] * d[i];
        }
    }
    for (weight, vector) in rest.iter().zip(of_rest.chunks_exact(length)) {
        let Some(part) = part(vector, 0) else { break };
        sums.iter_mut().zip(part).for_each(|(sum, number)| *sum += weight * number);
    }
    *out = sums;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_as_near_as_floats_are() {
        for hundredth in 0..6_400 {
            let x = hundredth as f32 / -100.0;
            let [got, ..] = Exponential::new().of(f32x4::splat(x)).to_array();
            let expected = f64::from(x).exp();
            assert!((f64::from(got) - expected).abs() <= 2e-7 * expected, "e to the {x}: {got} instead of {expected}");
        }
        let far = Exponential::new().of(f32x4::new([-65.0, -1e30, f32::NEG_INFINITY, f32::NAN])).to_array();
        assert!(far[..3].iter().all(|power| (0.0..1e-27).contains(power)) && far[3].is_nan(), "{far:?}");
    }
}
