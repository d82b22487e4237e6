//! F32, F16 and BF16: each weight as it is.

use super::halves::read_halves;
use super::shaders::{BLOCKS, UNSCALED};
use super::tile::{each_unit, put_words};
use super::{Layout, each_block, finite_halves, finite_upper_halves};
use crate::weights::ROW_GROUP;

pub(super) const F32: Layout = Layout {
    name: "F32",
    gguf_type: 0,
    block_len: 1,
    block_bytes: 4,
    dequantise: |bytes, weights| each_block(bytes, weights, |block, [weight]| *weight = f32::from_le_bytes(*block)),
    product: None,
    finite: |bytes| finite_upper_halves::<4>(bytes, 2),
    unit_words: 32 * ROW_GROUP,
    pack,
    shader: &[UNSCALED, BLOCKS, wgsl!("common/weights_f32.wgsl")],
    bytes_shader: None,
};

pub(super) const F16: Layout = Layout {
    name: "F16",
    gguf_type: 1,
    block_len: 1,
    block_bytes: 2,
    dequantise: read_halves,
    product: None,
    finite: |bytes| finite_halves::<2, 1>(bytes, [0]),
    unit_words: 16 * ROW_GROUP,
    pack,
    shader: &[UNSCALED, BLOCKS, wgsl!("common/weights_f16.wgsl")],
    bytes_shader: None,
};

pub(super) const BF16: Layout = Layout {
    name: "BF16",
    gguf_type: 30,
    block_len: 1,
    block_bytes: 2,
    dequantise: |bytes, weights| each_block(bytes, weights, |block, [weight]| *weight = bf16_at(*block)),
    product: None,
    finite: |bytes| finite_upper_halves::<2>(bytes, 0),
    unit_words: 16 * ROW_GROUP,
    pack,
    shader: &[UNSCALED, BLOCKS, wgsl!("common/weights_bf16.wgsl")],
    bytes_shader: None,
};

fn bf16_at(upper: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(upper)) << 16)
}

/// Words in the order of the file: 32 columns of f32 are two of these units.
fn pack(rows: &[u8], row_bytes: usize, tile: &mut [u32]) {
    each_unit::<64, { 16 * ROW_GROUP }>(rows, row_bytes, tile, |row, r, unit| put_words(row, r, unit));
}
