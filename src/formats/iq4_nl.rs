//! IQ4_NL: weight = scale * VALUES[nibble]; a block is the f16 scale and 32 nibbles.

use super::fields::{half_at, nibble, nibbles_at};
use super::q4_0::{BYTES, WORDS};
use super::shaders::{BLOCKS, BYTES_QUANTS, HALVES as HALVES_WGSL, QUANTS_IQ4};
use super::tile::each_unit;
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::{Constants, Signed};
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;

/// What nibbles stand for in IQ4_NL and IQ4_XS: denser around zero, as weights are.
/// Where a block's f16s are.
const F16S: [usize; 1] = [0];

pub(super) const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

pub(super) const IQ4_NL: Layout = Layout {
    name: "IQ4_NL",
    gguf_type: 20,
    block_len: 32,
    block_bytes: BYTES,
    dequantise: |bytes, weights| each_block::<BYTES, 32>(bytes, weights, dequantise),
    product: product!(BYTES, 2, 1, 1, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, super::q4_0::pack),
    shader: &[HALVES_WGSL, QUANTS_IQ4, BLOCKS, wgsl!("common/weights_iq4_nl.wgsl")],
    bytes_shader: Some(BYTES_QUANTS),
};

fn dequantise(block: &[u8; BYTES], weights: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for (i, weight) in weights.iter_mut().enumerate() {
        *weight = scale * f32::from(VALUES[usize::from(nibble(&block[2..], i))]);
    }
}

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, _: usize, constants: &Constants<H>) -> Run<1, Signed> {
    let quants = nibbles_at(quad, 2, constants).map(|places| places.numbers(&VALUES));
    Run { quants, scales: [constants.halves.lower(quad.half_piece(0))], offsets: None }
}
