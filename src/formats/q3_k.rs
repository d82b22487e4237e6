//! Q3_K: weight = d * (scale - 32) * (q - 4), of three bits, with a scale of six bits for 16 weights.
//!
//! A block of 256 is 32 bytes of third bits, 64 bytes of the lower two, 12 bytes of scales, d as f16.

use std::array::from_fn;

use super::fields::{Whole, bit_of_256, bits_of_256_at, byte_of, half_at, numbers, pair_of_256, pairs_of_256_at};
use super::shaders::{BYTES_QUANTS, FIELDS, HALVES as HALVES_WGSL, MASKED, NIBBLES, RUNS, SIXES as SIXES_WGSL};
use super::tile::{HALVES, SIXES, each_unit, put_bits, put_half, put_pairs, put_sixes};
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::Constants;
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;
use crate::weights::ROW_GROUP;

const BYTES: usize = 110;
/// Where a block's f16s are.
const F16S: [usize; 1] = [108];
const BLOCK_WORDS: usize = 3 * ROW_GROUP;
const WORDS: usize = 8 * BLOCK_WORDS + SIXES + HALVES;

pub(super) const Q3_K: Layout = Layout {
    name: "Q3_K",
    gguf_type: 11,
    block_len: 256,
    block_bytes: BYTES,
    dequantise: |bytes, weights| each_block::<BYTES, 256>(bytes, weights, dequantise),
    product: product!(BYTES, 0, 8, 2, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[MASKED, HALVES_WGSL, NIBBLES, FIELDS, SIXES_WGSL, RUNS, wgsl!("common/weights_q3_k.wgsl")],
    bytes_shader: Some(BYTES_QUANTS),
};

/// Scale `s` of 16: its low four bits are a nibble of the first 8 bytes, its high two in the last 4.
#[inline(always)]
fn scale<N: Whole>(byte: impl Fn(usize) -> N, s: usize) -> N {
    let [low, high] = [byte(s % 8) >> (s / 8 * 4) as u32, byte(8 + s % 4) >> (s / 4 * 2) as u32];
    low & 15 | (high & 3) << 4
}

fn dequantise(block: &[u8; BYTES], weights: &mut [f32; 256]) {
    let d = half_at(block, 108);
    for (i, weight) in weights.iter_mut().enumerate() {
        let q = pair_of_256(&block[32..], i) | bit_of_256(block, i) << 2;
        *weight = d * (scale(byte_of(&block[96..]), i / 16) as f32 - 32.0) * (f32::from(q) - 4.0);
    }
}

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, b: usize, constants: &Constants<H>) -> Run<2> {
    let d = constants.halves.lower(quad.half_piece(108));
    let (pairs, thirds) = (pairs_of_256_at(quad, 32, b), bits_of_256_at(quad, 0, b));
    let scales = [2 * b, 2 * b + 1].map(|s| d * (numbers(scale(|at| quad.byte(96 + at), s)) - 32.0));
    let quants = from_fn(|four| pairs[four] | thirds[four].raised(2));
    Run { quants, scales, offsets: Some(scales.map(|scale| scale * -4.0)) }
}

fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    let (blocks, rest) = unit.split_at_mut(8 * BLOCK_WORDS);
    for (b, words) in blocks.chunks_exact_mut(BLOCK_WORDS).enumerate() {
        put_pairs(&block[32..], b, r, words);
        put_bits(block, b, r, &mut words[2 * ROW_GROUP..]);
    }
    let (sixes, ds) = rest.split_at_mut(SIXES);
    put_sixes(sixes, r, |b| [2 * b, 2 * b + 1].map(|s| scale(byte_of(&block[96..]), s)));
    put_half(ds, r, [block[108], block[109]]);
}
