//! Rows as published become tiles as the shaders read them: as many bits per weight, in another order.
//!
//! A tile holds 32 rows with all their columns. Its layout is stated in the last of the shader files that a format names; the kernel tests
//! compare what the shaders make of it with the plain reading of the same rows.

use super::Format;
use super::fields::{bits, eight, nibbles, pairs};
use crate::weights::ROW_GROUP;

/// Weights in a block of the shaders' layout.
pub const BLOCK: usize = 32;
/// Words with one 16-bit number for each row: `HALVES_WORDS` in `halves.wgsl`.
pub(super) const HALVES: usize = ROW_GROUP / 2;
/// Words with eight times two numbers of 6 bits for each row: `SIXES_WORDS` in `sixes.wgsl`.
pub(super) const SIXES: usize = 3 * ROW_GROUP;

/// Blocks in a row of `columns` weights; the last one is filled up with zeros.
pub fn blocks(columns: usize) -> usize {
    columns.div_ceil(BLOCK)
}

/// 32-bit words in a tile of 32 rows of `columns` weights.
pub fn tile_words(format: Format, columns: usize) -> usize {
    let layout = format.layout();
    columns.div_ceil(layout.block_len.max(BLOCK)) * layout.unit_words
}

/// Bytes that one row of `columns` weights has of a tile.
pub fn row_bytes(format: Format, columns: usize) -> u64 {
    4 * tile_words(format, columns) as u64 / ROW_GROUP as u64
}

/// Packs at most 32 rows into one tile. `rows` holds whole rows of `columns` weights; `tile` has `tile_words` words.
pub fn pack_tile(format: Format, columns: usize, rows: &[u8], tile: &mut [u32]) {
    (format.layout().pack)(rows, format.row_bytes(columns), tile);
}

/// Packs the tile's units one after another, each from all rows, so that what is written stays in the processor's cache.
///
/// `BYTES` of a row become its part of `WORDS`; where the rows end within a unit, zeros follow.
pub(super) fn each_unit<const BYTES: usize, const WORDS: usize>(
    rows: &[u8],
    row_bytes: usize,
    tile: &mut [u32],
    pack: impl Fn(&[u8; BYTES], usize, &mut [u32; WORDS]),
) {
    for (u, unit) in tile.as_chunks_mut::<WORDS>().0.iter_mut().enumerate() {
        unit.fill(0);
        for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
            let rest = row.get(u * BYTES..).unwrap_or_default();
            let mut padded = [0; BYTES];
            let bytes = rest.first_chunk().unwrap_or_else(|| {
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            });
            pack(bytes, r, unit);
        }
    }
}

/// Little-endian bytes, four to a word.
pub(super) fn put_words(bytes: &[u8], r: usize, words: &mut [u32]) {
    for (words, bytes) in words.chunks_exact_mut(ROW_GROUP).zip(bytes.as_chunks().0) {
        words[r] = u32::from_le_bytes(*bytes);
    }
}

/// Puts row `r`'s 16 bits where `half_bits` in `halves.wgsl` looks for them.
pub(super) fn put_half(halves: &mut [u32], r: usize, bits: [u8; 2]) {
    halves[r % 8 + 8 * (r / 16)] |= u32::from(u16::from_le_bytes(bits)) << (2 * (r & 8));
}

/// Puts 32 nibbles, of which weight j is in the low and weight j + 16 in the high nibble of byte j, in order into four words.
pub(super) fn put_nibbles(quants: &[u8], r: usize, words: &mut [u32]) {
    let [first, last] = [0, 8].map(|at| eight(quants, at));
    for (w, bytes) in [first, last, first >> 4, last >> 4].into_iter().enumerate() {
        words[w * ROW_GROUP + r] = nibbles(bytes);
    }
}

/// Puts block `b`'s 32 of 256 nibbles in order into four words.
pub(super) fn put_nibbles_of_256(bytes: &[u8], b: usize, r: usize, words: &mut [u32]) {
    for w in 0..4 {
        words[w * ROW_GROUP + r] = nibbles(eight(bytes, b / 2 * 32 + 8 * w) >> (b % 2 * 4));
    }
}

/// Puts block `b`'s 32 of 256 pairs of bits into two words.
pub(super) fn put_pairs(bytes: &[u8], b: usize, r: usize, words: &mut [u32]) {
    for w in 0..2 {
        let [first, last] = [0, 8].map(|at| eight(bytes, b / 4 * 32 + 16 * w + at) >> (b % 4 * 2));
        words[w * ROW_GROUP + r] = pairs(first, last);
    }
}

/// Puts block `b`'s 32 of 256 single bits into a word.
pub(super) fn put_bits(bytes: &[u8], b: usize, r: usize, words: &mut [u32]) {
    words[r] = bits([0, 8, 16, 24].map(|at| eight(bytes, at) >> b));
}

/// Puts eight times two numbers of 6 bits where `six_bits` in `sixes.wgsl` looks for them.
pub(super) fn put_sixes(sixes: &mut [u32], r: usize, numbers: impl Fn(usize) -> [u32; 2]) {
    for b in 0..8 {
        let [first, second] = numbers(b);
        sixes[b / 4 * ROW_GROUP + r] |= (first | (second & 3) << 6) << (8 * (b % 4));
        sixes[2 * ROW_GROUP + r] |= second >> 2 << (4 * b);
    }
}
