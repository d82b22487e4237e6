//! Q2_K: weight = d * scale * q - d_min * minimum, of two bits, with a scale and a minimum of four bits for 16 weights.
//!
//! A block of 256 is 16 bytes of scales (low nibbles) and minima, 64 bytes of quants, d and d_min as f16.

use super::fields::{half_at, numbers, pair_of_256, pairs_of_256_at};
use super::shaders::{BYTES_QUANTS, FIELDS, HALVES as HALVES_WGSL, MASKED, NIBBLES, RUNS};
use super::tile::{HALVES, each_unit, put_half, put_pairs, put_words};
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::Constants;
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;
use crate::weights::ROW_GROUP;

const BYTES: usize = 84;
/// Where a block's f16s are.
const F16S: [usize; 2] = [80, 82];
const BLOCK_WORDS: usize = 2 * ROW_GROUP + HALVES;
const WORDS: usize = 8 * BLOCK_WORDS + ROW_GROUP;

pub(super) const Q2_K: Layout = Layout {
    name: "Q2_K",
    gguf_type: 10,
    block_len: 256,
    block_bytes: BYTES,
    dequantise: |bytes, weights| each_block::<BYTES, 256>(bytes, weights, dequantise),
    product: product!(BYTES, 0, 8, 2, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[MASKED, HALVES_WGSL, NIBBLES, FIELDS, RUNS, wgsl!("common/weights_q2_k.wgsl")],
    bytes_shader: Some(BYTES_QUANTS),
};

fn dequantise(block: &[u8; BYTES], weights: &mut [f32; 256]) {
    let (d, d_min) = (half_at(block, 80), half_at(block, 82));
    for (i, weight) in weights.iter_mut().enumerate() {
        let sub = block[i / 16];
        let (scale, minimum) = (d * f32::from(sub & 15), d_min * f32::from(sub >> 4));
        *weight = scale * f32::from(pair_of_256(&block[16..], i)) - minimum;
    }
}

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, b: usize, constants: &Constants<H>) -> Run<2> {
    let [d, d_min] = constants.halves.both(quad.piece(80));
    let subs = [0, 1].map(|part| quad.byte(2 * b + part));
    let scales = subs.map(|sub| d * numbers(sub & 15));
    let offsets = Some(subs.map(|sub| d_min * -numbers(sub >> 4)));
    Run { quants: pairs_of_256_at(quad, 16, b), scales, offsets }
}

fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    let (blocks, ds) = unit.split_at_mut(8 * BLOCK_WORDS);
    for (b, words) in blocks.chunks_exact_mut(BLOCK_WORDS).enumerate() {
        put_pairs(&block[16..], b, r, words);
        put_half(&mut words[2 * ROW_GROUP..], r, [block[2 * b], block[2 * b + 1]]);
    }
    put_words(&block[80..], r, ds);
}
