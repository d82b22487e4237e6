//! Q4_0: weight = scale * (nibble - 8); a block is the f16 scale and 32 nibbles.

use half::f16;

use super::fields::{half_at, nibble, nibbles_at};
use super::shaders::{BLOCKS, BYTES_NIBBLES, HALVES as HALVES_WGSL, MASKED, NIBBLES, QUANTS4};
use super::tile::{HALVES, each_unit, put_half, put_nibbles};
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::Constants;
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;
use crate::weights::ROW_GROUP;

pub(super) const BYTES: usize = 18;
/// Where a block's f16s are.
const F16S: [usize; 1] = [0];
pub(super) const WORDS: usize = 4 * ROW_GROUP + HALVES;

pub(super) const Q4_0: Layout = Layout {
    name: "Q4_0",
    gguf_type: 2,
    block_len: 32,
    block_bytes: BYTES,
    dequantise: |bytes, weights| each_block::<BYTES, 32>(bytes, weights, dequantise),
    product: product!(BYTES, 2, 1, 1, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[MASKED, HALVES_WGSL, NIBBLES, QUANTS4, BLOCKS, wgsl!("common/weights_q4_0.wgsl")],
    bytes_shader: Some(BYTES_NIBBLES),
};

fn dequantise(block: &[u8; BYTES], weights: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for (i, weight) in weights.iter_mut().enumerate() {
        *weight = scale * (f32::from(nibble(&block[2..], i)) - 8.0);
    }
}

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, _: usize, constants: &Constants<H>) -> Run<1> {
    let scale = constants.halves.lower(quad.half_piece(0));
    Run { quants: nibbles_at(quad, 2, constants), scales: [scale], offsets: Some([scale * -8.0]) }
}

/// The weight of the largest magnitude, the first of equals, becomes -8.
pub(super) fn quantise(weights: &[f32; 32], out: &mut Vec<u8>) {
    let further = |most: f32, weight: &f32| if weight.abs() > most.abs() || weight.is_nan() { *weight } else { most };
    let scale = weights.iter().fold(0.0, further) / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(f16::from_f32(scale).to_le_bytes());
    // In double precision, so that the sum is rounded once, as ggml's is where it is fused.
    let quant = |i: usize| (f64::from(weights[i]) * f64::from(inverse) + 8.5).clamp(0.0, 15.0) as u8;
    out.extend((0..16).map(|i| quant(i) | quant(i + 16) << 4));
}

/// Puts the scale behind the nibbles.
pub(super) fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    let (words, halves) = unit.split_at_mut(4 * ROW_GROUP);
    put_nibbles(&block[2..], r, words);
    put_half(halves, r, [block[0], block[1]]);
}
