//! Q5_K: weight = d * scale * q - d_min * minimum, of five bits, with a scale and a minimum of six bits for 32 weights.
//!
//! A block of 256 is d and d_min as f16, 12 bytes of scales and minima, 32 bytes of fifth bits, 128 bytes of nibbles.

use std::array::from_fn;

use super::fields::{bit_of_256, bits_of_256_at, nibble_of_256, nibbles_of_256_at};
use super::q4_k::{dequantise, put_scales, scaled_run};
use super::shaders::{BYTES_QUANTS, FIELDS, MASKED, NIBBLES, QUANTS5, RUNS, SCALES_MINIMA, SIXES as SIXES_WGSL};
use super::tile::{SIXES, each_unit, put_bits, put_nibbles_of_256};
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::Constants;
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;
use crate::weights::ROW_GROUP;

const BYTES: usize = 176;
/// Where a block's f16s are.
const F16S: [usize; 2] = [0, 2];
const BLOCK_WORDS: usize = 5 * ROW_GROUP;
const WORDS: usize = 8 * BLOCK_WORDS + SIXES + ROW_GROUP;

pub(super) const Q5_K: Layout = Layout {
    name: "Q5_K",
    gguf_type: 13,
    block_len: 256,
    block_bytes: BYTES,
    dequantise: |bytes, weights| {
        each_block::<BYTES, 256>(bytes, weights, |block, weights| {
            dequantise(block, weights, |i| nibble_of_256(&block[48..], i) | bit_of_256(&block[16..], i) << 4);
        });
    },
    product: product!(BYTES, 0, 8, 1, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[MASKED, NIBBLES, FIELDS, QUANTS5, SIXES_WGSL, RUNS, SCALES_MINIMA],
    bytes_shader: Some(BYTES_QUANTS),
};

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, b: usize, constants: &Constants<H>) -> Run<1> {
    let (nibbles, fifths) = (nibbles_of_256_at(quad, 48, b, constants), bits_of_256_at(quad, 16, b));
    scaled_run(quad, b, constants, from_fn(|four| nibbles[four] | fifths[four].raised(4)))
}

fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    let (blocks, rest) = unit.split_at_mut(8 * BLOCK_WORDS);
    for (b, words) in blocks.chunks_exact_mut(BLOCK_WORDS).enumerate() {
        put_nibbles_of_256(&block[48..], b, r, words);
        put_bits(&block[16..], b, r, &mut words[4 * ROW_GROUP..]);
    }
    put_scales(block, r, rest);
}
