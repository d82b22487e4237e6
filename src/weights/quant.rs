//! The number formats in plain Rust: what a block's bytes mean.
//!
//! Source: `ggml-common.h` (layouts) and `ggml-quants.c` (meaning) of ggml. Products are rounded to `f32` as there.

use half::{bf16, f16};

use super::Format;
use crate::error::{Error, Result};

/// The weights of a row, or of any whole number of blocks, as `f32`.
///
/// `bytes` and `out` must be `out.len() / block_len` blocks long.
pub fn dequantise(format: Format, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let (len, size) = (format.block_len(), format.block_bytes());
    if !out.len().is_multiple_of(len) || bytes.len() != out.len() / len * size {
        let detail = format!("{} bytes of {} are not {} weights", bytes.len(), format.name(), out.len());
        return Err(Error::BadHeader { detail });
    }
    for (block, weights) in bytes.chunks_exact(size).zip(out.chunks_exact_mut(len)) {
        match format {
            Format::F32 => weights[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
            Format::F16 => weights[0] = half_at(block, 0),
            Format::BF16 => weights[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
            Format::Q8_0 => q8_0(block, weights),
            Format::Q4_0 => q4_0(block, weights),
            Format::Q4_1 => q4_1(block, weights),
            Format::Q6K => q6_k(block, weights),
        }
    }
    Ok(())
}

/// The f16 number at a byte offset of a block.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// `weight = scale * byte`; the scale stands before the 32 bytes.
fn q8_0(block: &[u8], weights: &mut [f32]) {
    let scale = half_at(block, 0);
    for (weight, byte) in weights.iter_mut().zip(&block[2..]) {
        *weight = scale * f32::from(*byte as i8);
    }
}

/// `weight = scale * (nibble - 8)`; byte `i` holds weight `i` below and weight `i + 16` above.
fn q4_0(block: &[u8], weights: &mut [f32]) {
    let scale = half_at(block, 0);
    for (i, byte) in block[2..].iter().enumerate() {
        weights[i] = scale * (f32::from(byte & 15) - 8.0);
        weights[i + 16] = scale * (f32::from(byte >> 4) - 8.0);
    }
}

/// `weight = scale * nibble + minimum`; nibbles as in `q4_0`.
fn q4_1(block: &[u8], weights: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (i, byte) in block[4..].iter().enumerate() {
        weights[i] = scale * f32::from(byte & 15) + minimum;
        weights[i + 16] = scale * f32::from(byte >> 4) + minimum;
    }
}

/// `weight = scale * sub_scale * (six bits - 32)`.
///
/// A block is 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 sub-scales (one for each 16 weights) and the
/// scale. Each half of it holds four runs of 32 weights: run `r` has its nibbles in bytes `32 * (r % 2)..`, low ones
/// for runs 0 and 1, and its high bits in bits `2r` of the half's 32 bytes.
fn q6_k(block: &[u8], weights: &mut [f32]) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (sub_scales, scale) = rest.split_at(16);
    let scale = half_at(scale, 0);
    for (at, weight) in weights.iter_mut().enumerate() {
        let (half, run, i) = (at / 128, at % 128 / 32, at % 32);
        let nibble = low[64 * half + 32 * (run % 2) + i] >> (run / 2 * 4) & 15;
        let pair = high[32 * half + i] >> (2 * run) & 3;
        let bits = f32::from(nibble | pair << 4) - 32.0;
        *weight = scale * f32::from(sub_scales[at / 16] as i8) * bits;
    }
}

/// Whether all weights in whole blocks are finite, looking at scales alone where the format has them.
pub fn all_finite(format: Format, bytes: &[u8]) -> bool {
    let blocks = bytes.chunks_exact(format.block_bytes());
    // An exponent of all ones is an infinity or NaN.
    let half_ok = |block: &[u8], at: usize| block[at + 1] & 0x7c != 0x7c;
    match format {
        Format::F32 => each(blocks, |block| u16::from_le_bytes([block[2], block[3]]) & 0x7f80 != 0x7f80),
        Format::BF16 => each(blocks, |block| u16::from_le_bytes([block[0], block[1]]) & 0x7f80 != 0x7f80),
        Format::F16 | Format::Q8_0 | Format::Q4_0 => each(blocks, |block| half_ok(block, 0)),
        Format::Q4_1 => each(blocks, |block| half_ok(block, 0) & half_ok(block, 2)),
        Format::Q6K => each(blocks, |block| half_ok(block, 208)),
    }
}

/// Whether a test holds for each block, without a branch for each so that the loop can be vectorised.
fn each<'a>(blocks: impl Iterator<Item = &'a [u8]>, test: impl Fn(&[u8]) -> bool) -> bool {
    blocks.fold(true, |all, block| all & test(block))
}
