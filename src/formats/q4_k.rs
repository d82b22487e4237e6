//! Q4_K: weight = d * scale * nibble - d_min * minimum, with a scale and a minimum of six bits for 32 weights.
//!
//! A block of 256 is d and d_min as f16, 12 bytes of scales and minima, 128 bytes of nibbles.

use super::fields::{byte_of, half_at, nibble_of_256, nibbles_of_256_at, numbers, scale_and_minimum};
use super::shaders::{BYTES_NIBBLES, MASKED, NIBBLES, QUANTS4, RUNS, SCALES_MINIMA, SIXES as SIXES_WGSL};
use super::tile::{SIXES, each_unit, put_nibbles_of_256, put_sixes, put_words};
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::{Bytes, Constants};
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;
use crate::weights::ROW_GROUP;

const BYTES: usize = 144;
/// Where a block's f16s are.
const F16S: [usize; 2] = [0, 2];
const BLOCK_WORDS: usize = 4 * ROW_GROUP;
const WORDS: usize = 8 * BLOCK_WORDS + SIXES + ROW_GROUP;

pub(super) const Q4_K: Layout = Layout {
    name: "Q4_K",
    gguf_type: 12,
    block_len: 256,
    block_bytes: BYTES,
    dequantise: |bytes, weights| {
        each_block::<BYTES, 256>(bytes, weights, |block, weights| {
            dequantise(block, weights, |i| nibble_of_256(&block[16..], i));
        });
    },
    product: product!(BYTES, 0, 8, 1, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[MASKED, NIBBLES, QUANTS4, SIXES_WGSL, RUNS, SCALES_MINIMA],
    bytes_shader: Some(BYTES_NIBBLES),
};

/// The weights of a block of Q4_K or Q5_K with such quants.
pub(super) fn dequantise(block: &[u8], weights: &mut [f32; 256], quant: impl Fn(usize) -> u8) {
    let (d, d_min) = (half_at(block, 0), half_at(block, 2));
    for (i, weight) in weights.iter_mut().enumerate() {
        let [scale, minimum] = scale_and_minimum(byte_of(&block[4..]), i / 32).map(|number| number as f32);
        *weight = d * scale * f32::from(quant(i)) - d_min * minimum;
    }
}

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, b: usize, constants: &Constants<H>) -> Run<1> {
    scaled_run(quad, b, constants, nibbles_of_256_at(quad, 16, b, constants))
}

/// A run of a block of Q4_K or Q5_K with such quants.
#[inline(always)]
pub(super) fn scaled_run<const BYTES: usize, H: Halves>(
    quad: Quad<'_, BYTES>,
    b: usize,
    constants: &Constants<H>,
    quants: [Bytes; 8],
) -> Run<1> {
    let [d, d_min] = constants.halves.both(quad.piece(0));
    let [scale, minimum] = scale_and_minimum(|at| quad.byte(4 + at), b).map(numbers);
    Run { quants, scales: [d * scale], offsets: Some([d_min * -minimum]) }
}

fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    let (blocks, rest) = unit.split_at_mut(8 * BLOCK_WORDS);
    for (b, words) in blocks.chunks_exact_mut(BLOCK_WORDS).enumerate() {
        put_nibbles_of_256(&block[16..], b, r, words);
    }
    put_scales(block, r, rest);
}

/// Puts the scales and minima of a block of Q4_K or Q5_K, and the numbers over them, behind the quants.
pub(super) fn put_scales(block: &[u8], r: usize, words: &mut [u32]) {
    let (sixes, ds) = words.split_at_mut(SIXES);
    put_sixes(sixes, r, |b| scale_and_minimum(byte_of(&block[4..]), b));
    put_words(&block[..4], r, ds);
}
