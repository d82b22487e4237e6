//! Q4_1: weight = scale * nibble + minimum; a block is the f16 scale, the f16 minimum and 32 nibbles.

use super::fields::{half_at, nibble, nibbles_at};
use super::shaders::{BLOCKS, BYTES_NIBBLES, MASKED, NIBBLES, QUANTS4, SCALE_MINIMUM};
use super::tile::{each_unit, put_nibbles, put_words};
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::Constants;
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;
use crate::weights::ROW_GROUP;

const BYTES: usize = 20;
/// Where a block's f16s are.
const F16S: [usize; 2] = [0, 2];
const WORDS: usize = 5 * ROW_GROUP;

pub(super) const Q4_1: Layout = Layout {
    name: "Q4_1",
    gguf_type: 3,
    block_len: 32,
    block_bytes: BYTES,
    dequantise: |bytes, weights| each_block::<BYTES, 32>(bytes, weights, dequantise),
    product: product!(BYTES, 0, 1, 1, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[MASKED, NIBBLES, QUANTS4, BLOCKS, SCALE_MINIMUM],
    bytes_shader: Some(BYTES_NIBBLES),
};

fn dequantise(block: &[u8; BYTES], weights: &mut [f32; 32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (i, weight) in weights.iter_mut().enumerate() {
        *weight = scale * f32::from(nibble(&block[4..], i)) + minimum;
    }
}

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, _: usize, constants: &Constants<H>) -> Run<1> {
    let [scale, minimum] = constants.halves.both(quad.piece(0));
    Run { quants: nibbles_at(quad, 4, constants), scales: [scale], offsets: Some([minimum]) }
}

fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    let (words, scales) = unit.split_at_mut(4 * ROW_GROUP);
    put_nibbles(&block[4..], r, words);
    put_words(&block[..4], r, scales);
}
