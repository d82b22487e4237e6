//! Q8_0: weight = scale * byte; a block is the f16 scale and 32 signed bytes.

use std::array::from_fn;

use half::f16;

use super::fields::half_at;
use super::shaders::{BLOCKS, HALVES as HALVES_WGSL, MASKED};
use super::tile::{HALVES, each_unit, put_half, put_words};
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::{Constants, Signed};
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;
use crate::weights::ROW_GROUP;

const BYTES: usize = 34;
/// Where a block's f16s are.
const F16S: [usize; 1] = [0];
const WORDS: usize = 8 * ROW_GROUP + HALVES;

pub(super) const Q8_0: Layout = Layout {
    name: "Q8_0",
    gguf_type: 8,
    block_len: 32,
    block_bytes: BYTES,
    dequantise: |bytes, weights| each_block::<BYTES, 32>(bytes, weights, dequantise),
    product: product!(BYTES, 2, 1, 1, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[MASKED, HALVES_WGSL, BLOCKS, wgsl!("common/weights_q8_0.wgsl")],
    bytes_shader: Some(wgsl!("common/bytes_q8_0.wgsl")),
};

fn dequantise(block: &[u8; BYTES], weights: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for (weight, byte) in weights.iter_mut().zip(&block[2..]) {
        *weight = scale * f32::from(*byte as i8);
    }
}

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, _: usize, constants: &Constants<H>) -> Run<1, Signed> {
    let scale = constants.halves.lower(quad.half_piece(0));
    Run { quants: from_fn(|four| quad.piece(2 + 4 * four).signed()), scales: [scale], offsets: None }
}

/// The largest magnitude becomes 127; halves are rounded away from zero.
pub(super) fn quantise(weights: &[f32; 32], out: &mut Vec<u8>) {
    let scale = largest(weights) / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(f16::from_f32(scale).to_le_bytes());
    out.extend(weights.map(|weight| (weight * inverse).round() as i8 as u8));
}

/// The largest magnitude; not a number where one of them is none.
fn largest(weights: &[f32; 32]) -> f32 {
    weights
        .iter()
        .fold(0.0, |most: f32, weight| if weight.abs() > most || weight.is_nan() { weight.abs() } else { most })
}

fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    let (words, halves) = unit.split_at_mut(8 * ROW_GROUP);
    put_words(&block[2..], r, words);
    put_half(halves, r, [block[0], block[1]]);
}
