//! Q6_K: weight = d * scale * (q - 32), of six bits, with a signed byte as scale for 16 weights.
//!
//! A block of 256 is 128 bytes of low nibbles, 64 of high bit pairs, 16 scales, d as f16. Each half of it holds four runs of 32
//! weights: run `q` has its nibbles in bytes `32 * (q % 2)..`, low ones for runs 0 and 1, and its high bits in bits `2q` of the
//! half's 32 bytes.

use std::array::from_fn;

use wide::f32x4;

use super::fields::{eight, half_at, nibbles, pair_of_256, pairs_of_256_at};
use super::shaders::{BYTES_QUANTS, FIELDS, HALVES as HALVES_WGSL, MASKED, NIBBLES, RUNS};
use super::tile::{HALVES, each_unit, put_half, put_pairs};
use super::{Halves, Layout, each_block, finite_halves};
use crate::cpu::lanes::Constants;
use crate::cpu::products::{Run, product};
use crate::cpu::quads::Quad;
use crate::weights::ROW_GROUP;

const BYTES: usize = 210;
/// Where a block's f16s are.
const F16S: [usize; 1] = [208];
const BLOCK_WORDS: usize = 6 * ROW_GROUP + HALVES;
const WORDS: usize = 8 * BLOCK_WORDS + HALVES;

pub(super) const Q6_K: Layout = Layout {
    name: "Q6_K",
    gguf_type: 14,
    block_len: 256,
    block_bytes: BYTES,
    dequantise: |bytes, weights| each_block::<BYTES, 256>(bytes, weights, dequantise),
    product: product!(BYTES, 0, 8, 2, run, F16S),
    finite: |bytes| finite_halves::<BYTES, _>(bytes, F16S),
    unit_words: WORDS,
    pack: |rows, row_bytes, tile| each_unit(rows, row_bytes, tile, pack),
    shader: &[MASKED, HALVES_WGSL, NIBBLES, FIELDS, RUNS, wgsl!("common/weights_q6_k.wgsl")],
    bytes_shader: Some(BYTES_QUANTS),
};

fn dequantise(block: &[u8; BYTES], weights: &mut [f32; 256]) {
    let d = half_at(block, 208);
    for (i, weight) in weights.iter_mut().enumerate() {
        let (half, run, at) = (i / 128, i % 128 / 32, i % 32);
        let nibble = block[64 * half + 32 * (run % 2) + at] >> (run / 2 * 4) & 15;
        let q = nibble | pair_of_256(&block[128..], i) << 4;
        *weight = d * f32::from(block[192 + i / 16] as i8) * (f32::from(q) - 32.0);
    }
}

#[inline(always)]
fn run<H: Halves>(quad: Quad<'_, BYTES>, b: usize, constants: &Constants<H>) -> Run<2> {
    let (d, half, run) = (constants.halves.lower(quad.half_piece(208)), b / 4, b % 4);
    let pairs = pairs_of_256_at(quad, 128, b);
    let quants = from_fn(|four| {
        let nibbles = quad.piece(64 * half + 32 * (run % 2) + 4 * four);
        nibbles.field(run as u32 / 2 * 4, constants.nibble) | pairs[four].raised(4)
    });
    let scales = [0, 1].map(|part| d * f32x4::from_i32x4(quad.signed_byte(192 + 2 * b + part)));
    Run { quants, scales, offsets: Some(scales.map(|scale| scale * -32.0)) }
}

fn pack(block: &[u8; BYTES], r: usize, unit: &mut [u32; WORDS]) {
    let (blocks, ds) = unit.split_at_mut(8 * BLOCK_WORDS);
    for (b, words) in blocks.chunks_exact_mut(BLOCK_WORDS).enumerate() {
        let (half, run) = (b / 4, b % 4);
        for w in 0..4 {
            words[w * ROW_GROUP + r] = nibbles(eight(block, 64 * half + 32 * (run % 2) + 8 * w) >> (run / 2 * 4));
        }
        put_pairs(&block[128..], b, r, &mut words[4 * ROW_GROUP..]);
        put_half(&mut words[6 * ROW_GROUP..], r, [block[192 + 2 * b], block[193 + 2 * b]]);
    }
    put_half(ds, r, [block[208], block[209]]);
}
