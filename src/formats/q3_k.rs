//! Q3_K: weight = d * (scale - 32) * (q - 4), of three bits, with a scale of six bits for 16 weights.
//!
//! A block of 256 is 32 bytes of third bits, 64 bytes of the lower two, 12 bytes of scales, d as f16.

use super::fields::{bit_of_256, half_at, pair_bytes_of_256, pair_of_256};
use super::shaders::{BYTES_QUANTS, FIELDS, HALVES as HALVES_WGSL, MASKED, NIBBLES, RUNS, SIXES as SIXES_WGSL};
use super::tile::{HALVES, SIXES, each_unit, put_bits, put_half, put_pairs, put_sixes};
use super::{Layout, each_block, finite_halves};
use crate::cpu::lanes::Bytes;
use crate::cpu::products::{Run, product};
use crate::cpu::scale::Scale;
use crate::weights::ROW_GROUP;

const BYTES: usize = 110;
const BLOCK_WORDS: usize = 3 * ROW_GROUP;
const WORDS: usize = 8 * BLOCK_WORDS + SIXES + HALVES;

pub(super) const Q3_K: Layout = Layout {
    name: "Q3_K",
    gguf_type: 11,
    block_len: 256,
    block_bytes: BYTES,
    dequantise: |bytes, weights| each_block::<BYTES, 256>(bytes, weights, dequantise),
    product: product!(BYTES, 8, 2, run),
    finite: |bytes| finite_halves::<BYTES, 1>(bytes, [108]),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[MASKED, HALVES_WGSL, NIBBLES, FIELDS, SIXES_WGSL, RUNS, wgsl!("common/weights_q3_k.wgsl")],
    bytes_shader: Some(BYTES_QUANTS),
};

/// Scale `s` of 16: its low four bits are a nibble of the first 8 bytes, its high two in the last 4.
fn scale(bytes: &[u8], s: usize) -> u8 {
    bytes[s % 8] >> (s / 8 * 4) & 15 | (bytes[8 + s % 4] >> (s / 4 * 2) & 3) << 4
}

fn dequantise(block: &[u8; BYTES], weights: &mut [f32; 256]) {
    let d = half_at(block, 108);
    for (i, weight) in weights.iter_mut().enumerate() {
        let q = pair_of_256(&block[32..], i) | bit_of_256(block, i) << 2;
        *weight = d * (f32::from(scale(&block[96..], i / 16)) - 32.0) * (f32::from(q) - 4.0);
    }
}

#[inline(always)]
fn run(block: &[u8; BYTES], b: usize) -> Run<2> {
    let d = Scale::at(block, 108);
    let [low, high] = pair_bytes_of_256(block, 32, b);
    let [low_thirds, high_thirds] = [0, 16].map(|at| Bytes::at(block, at).field(b as u32, 1).raised(2));
    let scales = [2 * b, 2 * b + 1].map(|s| d.times(f32::from(scale(&block[96..], s)) - 32.0));
    Run { quants: [low | low_thirds, high | high_thirds], scales, offsets: Some(scales.map(|scale| scale.times(-4.0))) }
}

fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    let (blocks, rest) = unit.split_at_mut(8 * BLOCK_WORDS);
    for (b, words) in blocks.chunks_exact_mut(BLOCK_WORDS).enumerate() {
        put_pairs(&block[32..], b, r, words);
        put_bits(block, b, r, &mut words[2 * ROW_GROUP..]);
    }
    let (sixes, ds) = rest.split_at_mut(SIXES);
    put_sixes(sixes, r, |b| [2 * b, 2 * b + 1].map(|s| scale(&block[96..], s)));
    put_half(ds, r, [block[108], block[109]]);
}
