//! Q5_1: weight = scale * q + minimum; a block is the f16 scale, the f16 minimum, 32 fifth bits and 32 nibbles.

use super::fields::{half_at, nibble, spread_bits};
use super::q5_0::{fifth_bits, five_bits};
use super::shaders::{BLOCKS, BYTES_QUANTS, FIELDS, MASKED, NIBBLES, QUANTS5, SCALE_MINIMUM};
use super::tile::{each_unit, put_nibbles, put_words};
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::Constants;
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;
use crate::weights::ROW_GROUP;

const BYTES: usize = 24;
/// Where a block's f16s are.
const F16S: [usize; 2] = [0, 2];
const WORDS: usize = 6 * ROW_GROUP;

pub(super) const Q5_1: Layout = Layout {
    name: "Q5_1",
    gguf_type: 7,
    block_len: 32,
    block_bytes: BYTES,
    dequantise: |bytes, weights| each_block::<BYTES, 32>(bytes, weights, dequantise),
    product: product!(BYTES, 0, 1, 1, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[MASKED, NIBBLES, FIELDS, QUANTS5, BLOCKS, SCALE_MINIMUM],
    bytes_shader: Some(BYTES_QUANTS),
};

fn dequantise(block: &[u8; BYTES], weights: &mut [f32; 32]) {
    let (scale, minimum, fifths) = (half_at(block, 0), half_at(block, 2), fifth_bits(&block[4..]));
    for (i, weight) in weights.iter_mut().enumerate() {
        let q = nibble(&block[8..], i) | ((fifths >> i & 1) as u8) << 4;
        *weight = scale * f32::from(q) + minimum;
    }
}

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, _: usize, constants: &Constants<H>) -> Run<1> {
    let [scale, minimum] = constants.halves.both(quad.piece(0));
    Run { quants: five_bits(quad, 4, constants), scales: [scale], offsets: Some([minimum]) }
}

fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    put_nibbles(&block[8..], r, unit);
    unit[4 * ROW_GROUP + r] = spread_bits(fifth_bits(&block[4..]));
    put_words(&block[..4], r, &mut unit[5 * ROW_GROUP..]);
}
