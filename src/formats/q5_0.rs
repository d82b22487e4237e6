//! Q5_0: weight = scale * (q - 16); a block is the f16 scale, 32 fifth bits and 32 nibbles.

use std::array::from_fn;

use super::fields::{half_at, nibble, nibbles_at, spread_bits};
use super::shaders::{BLOCKS, BYTES_QUANTS, FIELDS, HALVES as HALVES_WGSL, MASKED, NIBBLES, QUANTS5};
use super::tile::{HALVES, each_unit, put_half, put_nibbles};
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::{Bytes, Constants};
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;
use crate::weights::ROW_GROUP;

const BYTES: usize = 22;
/// Where a block's f16s are.
const F16S: [usize; 1] = [0];
const WORDS: usize = 5 * ROW_GROUP + HALVES;

pub(super) const Q5_0: Layout = Layout {
    name: "Q5_0",
    gguf_type: 6,
    block_len: 32,
    block_bytes: BYTES,
    dequantise: |bytes, weights| each_block::<BYTES, 32>(bytes, weights, dequantise),
    product: product!(BYTES, 2, 1, 1, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[MASKED, HALVES_WGSL, NIBBLES, FIELDS, QUANTS5, BLOCKS, wgsl!("common/weights_q5_0.wgsl")],
    bytes_shader: Some(BYTES_QUANTS),
};

/// The fifth bits, as they stand in the four bytes before the nibbles of Q5_0 and Q5_1.
pub(super) fn fifth_bits(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())
}

fn dequantise(block: &[u8; BYTES], weights: &mut [f32; 32]) {
    let (scale, fifths) = (half_at(block, 0), fifth_bits(&block[2..]));
    for (i, weight) in weights.iter_mut().enumerate() {
        let q = nibble(&block[6..], i) | ((fifths >> i & 1) as u8) << 4;
        *weight = scale * (f32::from(q) - 16.0);
    }
}

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, _: usize, constants: &Constants<H>) -> Run<1> {
    let scale = constants.halves.lower(quad.half_piece(0));
    Run { quants: five_bits(quad, 2, constants), scales: [scale], offsets: Some([scale * -16.0]) }
}

/// Quants of the fifth bits at `at` and the nibbles behind them.
#[inline(always)]
pub(super) fn five_bits<const BYTES: usize, H>(
    quad: Quad<'_, BYTES>,
    at: usize,
    constants: &Constants<H>,
) -> [Bytes; 8] {
    let (nibbles, fifths) = (nibbles_at(quad, at + 4, constants), quad.piece(at));
    from_fn(|four| nibbles[four] | fifths.spread(4 * four as u32).raised(4))
}

fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    put_nibbles(&block[6..], r, unit);
    unit[4 * ROW_GROUP + r] = spread_bits(fifth_bits(&block[2..]));
    put_half(&mut unit[5 * ROW_GROUP..], r, [block[0], block[1]]);
}
