//! Numbers of a few bits: as ggml stores them, as a tile's words hold them, and as the processor multiplies them.

use std::array::from_fn;
use std::ops::{BitAnd, BitOr, Shl, Shr};

use wide::{f32x4, u32x4};

use crate::cpu::lanes::{Bytes, Constants, Mask};
use crate::cpu::quads::Quad;

/// The f16 number at a byte offset of a block.
#[inline(always)]
pub(super) fn half_at(block: &[u8], at: usize) -> f32 {
    half_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// The number that an f16's bits stand for: without a branch or a call, and without arithmetic on numbers that are too small to be
/// normal, which is slow.
#[inline(always)]
pub(super) fn half_to_f32(bits: u16) -> f32 {
    /// What lies between the two formats' exponents.
    const BIAS: u32 = (127 - 15) << 23;
    const LEAST_NORMAL: u32 = BIAS + (1 << 23);
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let small = f32::from_bits(magnitude | LEAST_NORMAL) - f32::from_bits(LEAST_NORMAL);
    let other = if magnitude < 31 << 23 { magnitude + BIAS } else { magnitude + 2 * BIAS };
    let number = if magnitude < 1 << 23 { small.to_bits() } else { other };
    f32::from_bits(number | u32::from(bits & 0x8000) << 16)
}

/// Nibble `i` of 32 in 16 bytes: weight `j` is in the low and weight `j + 16` in the high nibble of byte `j`.
pub(super) fn nibble(bytes: &[u8], i: usize) -> u8 {
    bytes[i % 16] >> (i / 16 * 4) & 15
}

/// Nibble `i` of 256 in 128 bytes: 64 weights share 32 bytes, the first 32 of them in the low nibbles.
pub(super) fn nibble_of_256(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15
}

/// Two bits `i` of 256 in 64 bytes: 128 weights share 32 bytes, each 32 of them two bits further up.
pub(super) fn pair_of_256(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3
}

/// Bit `i` of 256 in 32 bytes, which all 32 weights of a block share, each block one bit further up.
pub(super) fn bit_of_256(bytes: &[u8], i: usize) -> u8 {
    bytes[i % 32] >> (i / 32) & 1
}

/// A whole number, or one of each of four rows.
pub(super) trait Whole:
    Copy + BitAnd<u32, Output = Self> + BitOr<Output = Self> + Shl<u32, Output = Self> + Shr<u32, Output = Self>
{
}

impl Whole for u32 {}
impl Whole for u32x4 {}

/// A row's bytes, each as a number.
pub(super) fn byte_of(bytes: &[u8]) -> impl Fn(usize) -> u32 {
    |at| bytes[at].into()
}

/// Numbers below 2^31 as floats.
#[inline(always)]
pub(super) fn numbers(whole: u32x4) -> f32x4 {
    f32x4::from_i32x4(bytemuck::cast(whole))
}

/// Scale and minimum of block `b` of 8 among the 12 bytes of Q4_K and Q5_K, each of 6 bits.
#[inline(always)]
pub(super) fn scale_and_minimum<N: Whole>(byte: impl Fn(usize) -> N, b: usize) -> [N; 2] {
    if b < 4 {
        return [byte(b), byte(b + 4)].map(|six| six & 63);
    }
    let (low, [scale, minimum]) = (byte(b + 4), [byte(b - 4), byte(b)].map(|high| high >> 6 << 4));
    [low & 15 | scale, low >> 4 | minimum]
}

/// Nibbles of the 16 bytes at a place, as [`nibble`] reads them.
#[inline(always)]
pub(super) fn nibbles_at<const BYTES: usize, H>(
    quad: Quad<'_, BYTES>,
    at: usize,
    constants: &Constants<H>,
) -> [Bytes; 8] {
    from_fn(|four| quad.piece(at + 4 * (four % 4)).field(four as u32 / 4 * 4, constants.nibble))
}

/// Block `b`'s 32 of the 256 nibbles at a place, as [`nibble_of_256`] reads them.
#[inline(always)]
pub(super) fn nibbles_of_256_at<const BYTES: usize, H>(
    quad: Quad<'_, BYTES>,
    at: usize,
    b: usize,
    constants: &Constants<H>,
) -> [Bytes; 8] {
    from_fn(|four| quad.piece(at + b / 2 * 32 + 4 * four).field(b as u32 % 2 * 4, constants.nibble))
}

/// Block `b`'s 32 of the 256 pairs of bits at a place, as [`pair_of_256`] reads them.
#[inline(always)]
pub(super) fn pairs_of_256_at<const BYTES: usize>(quad: Quad<'_, BYTES>, at: usize, b: usize) -> [Bytes; 8] {
    from_fn(|four| quad.piece(at + b / 4 * 32 + 4 * four).field(b as u32 % 4 * 2, Mask::of(3)))
}

/// Block `b`'s 32 of the 256 bits at a place, as [`bit_of_256`] reads them.
#[inline(always)]
pub(super) fn bits_of_256_at<const BYTES: usize>(quad: Quad<'_, BYTES>, at: usize, b: usize) -> [Bytes; 8] {
    from_fn(|four| quad.piece(at + 4 * four).field(b as u32, Mask::of(1)))
}

/// Eight bytes at a place, as a number.
pub(super) fn eight(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).unwrap_or_default();
    u64::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())
}

/// The low nibbles of eight bytes, in order.
pub(super) fn nibbles(bytes: u64) -> u32 {
    let bytes = bytes & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (bytes | bytes >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    (fours | fours >> 16) as u32
}

/// The low two bits of twice eight bytes: in each nibble, the first eight's below the last eight's. `fields.wgsl` reads it.
pub(super) fn pairs(first: u64, last: u64) -> u32 {
    const LOW: u64 = 0x0303_0303_0303_0303;
    nibbles(first & LOW) | nibbles(last & LOW) << 2
}

/// The lowest bits of four times eight bytes: in each nibble, one of each eight. `fields.wgsl` reads it.
pub(super) fn bits(bytes: [u64; 4]) -> u32 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    bytes.iter().rev().fold(0, |word, eight| word << 1 | nibbles(eight & LOW))
}

/// The same of 32 bits in a row.
pub(super) fn spread_bits(bits: u32) -> u32 {
    let spread = |byte: u8| {
        let fours = (u32::from(byte) | u32::from(byte) << 12) & 0x000f_000f;
        let pairs = (fours | fours << 6) & 0x0303_0303;
        (pairs | pairs << 3) & 0x1111_1111
    };
    bits.to_be_bytes().iter().fold(0, |word, byte| word << 1 | spread(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_read() {
        for bits in 0..=u16::MAX {
            let (got, expected) = (half_to_f32(bits), half::f16::from_bits(bits).to_f32());
            assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(), "{bits:#x}: {got}");
        }
    }

    #[test]
    fn fields_of_a_word() {
        let byte = |i: u64, value: u64| value << (8 * i);
        assert_eq!(nibbles(byte(0, 0xf1) | byte(3, 0x0e) | byte(7, 0x9a)), 0xa000_e001);
        assert_eq!(pairs(byte(1, 3), byte(1, 0xfd) | byte(7, 2)), 0x8000_0070);
        assert_eq!(bits([byte(0, 1), byte(0, 1), byte(2, 3), byte(7, 1)]), 0x8000_0403);
        assert_eq!(spread_bits(1 | 1 << 8 | 1 << 18 | 1 << 31), 0x8000_0403);
    }
}
