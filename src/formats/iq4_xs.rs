//! IQ4_XS: weight = d * (scale - 32) * VALUES[nibble], with a scale of six bits for 32 weights.
//!
//! A block of 256 is d as f16, the scales' high bit pairs in two bytes and their low nibbles in four, 128 bytes of nibbles.

use super::fields::{Whole, byte_of, half_at, nibble, nibbles_at, numbers};
use super::iq4_nl::VALUES;
use super::shaders::{BYTES_QUANTS, QUANTS_IQ4, RUNS};
use super::tile::{each_unit, put_nibbles, put_words};
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::{Constants, Signed};
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;
use crate::weights::ROW_GROUP;

const BYTES: usize = 136;
/// Where a block's f16s are.
const F16S: [usize; 1] = [0];
const BLOCK_WORDS: usize = 4 * ROW_GROUP;
const WORDS: usize = 8 * BLOCK_WORDS + 2 * ROW_GROUP;

pub(super) const IQ4_XS: Layout = Layout {
    name: "IQ4_XS",
    gguf_type: 23,
    block_len: 256,
    block_bytes: BYTES,
    dequantise: |bytes, weights| each_block::<BYTES, 256>(bytes, weights, dequantise),
    product: product!(BYTES, 0, 8, 1, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[QUANTS_IQ4, RUNS, wgsl!("common/weights_iq4_xs.wgsl")],
    bytes_shader: Some(BYTES_QUANTS),
};

/// The scale of 32 weights.
#[inline(always)]
fn scale<N: Whole>(byte: impl Fn(usize) -> N, b: usize) -> N {
    let [low, high] = [byte(4 + b / 2) >> (b % 2 * 4) as u32, byte(2 + b / 4) >> (b % 4 * 2) as u32];
    low & 15 | (high & 3) << 4
}

fn dequantise(block: &[u8; BYTES], weights: &mut [f32; 256]) {
    for (b, weights) in weights.chunks_exact_mut(32).enumerate() {
        let scale = half_at(block, 0) * (scale(byte_of(block), b) as f32 - 32.0);
        for (i, weight) in weights.iter_mut().enumerate() {
            *weight = scale * f32::from(VALUES[usize::from(nibble(&block[8 + 16 * b..], i))]);
        }
    }
}

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, b: usize, constants: &Constants<H>) -> Run<1, Signed> {
    let d = constants.halves.lower(bytemuck::cast(quad.piece(0).0));
    let quants = nibbles_at(quad, 8 + 16 * b, constants).map(|places| places.numbers(&VALUES));
    Run { quants, scales: [d * (numbers(scale(|at| quad.byte(at), b)) - 32.0)], offsets: None }
}

fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    let (blocks, rest) = unit.split_at_mut(8 * BLOCK_WORDS);
    for (b, words) in blocks.chunks_exact_mut(BLOCK_WORDS).enumerate() {
        put_nibbles(&block[8 + 16 * b..], r, words);
    }
    put_words(&block[..8], r, rest);
}
