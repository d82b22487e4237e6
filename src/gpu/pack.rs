//! Rows as published become tiles as the shaders read them: as many bits per weight, in another order.
//!
//! A tile holds 32 rows with all their columns. Its layout is stated in each `shaders/common/weights_*.wgsl`; the kernel tests
//! compare what the shaders make of it with the plain reading of the same rows in `weights::quant`.

use crate::weights::{Format, ROW_GROUP};

/// Weights in a block of the shaders' layout.
pub const BLOCK: usize = 32;

/// Blocks in a row of `columns` weights; the last one is filled up with zeros.
pub fn blocks(columns: usize) -> usize {
    columns.div_ceil(BLOCK)
}

/// 32-bit words in a tile of 32 rows of `columns` weights.
pub fn tile_words(format: Format, columns: usize) -> usize {
    let halves = ROW_GROUP / 2;
    let blocks = blocks(columns);
    match format {
        Format::F32 => blocks * 32 * ROW_GROUP,
        Format::F16 | Format::BF16 => blocks * 16 * ROW_GROUP,
        Format::Q8_0 => blocks * (8 * ROW_GROUP + halves),
        Format::Q4_0 => blocks * (4 * ROW_GROUP + halves),
        Format::Q4_1 => blocks * 5 * ROW_GROUP,
        Format::Q6K => blocks / 8 * (8 * (6 * ROW_GROUP + halves) + halves),
    }
}

/// Packs at most 32 rows into one tile. `rows` holds whole rows of `columns` weights; `tile` has `tile_words` zeroed words.
pub fn pack_tile(format: Format, columns: usize, rows: &[u8], tile: &mut [u32]) {
    let row_bytes = format.row_bytes(columns);
    for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
        match format {
            Format::F32 | Format::F16 | Format::BF16 => pack_words(row, r, tile),
            Format::Q8_0 => pack_q8_0(row, r, tile),
            Format::Q4_0 => pack_q4_0(row, r, tile),
            Format::Q4_1 => pack_q4_1(row, r, tile),
            Format::Q6K => pack_q6_k(row, r, tile),
        }
    }
}

/// Little-endian bytes, four to a word; an odd half at the end gets a zero beside it.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

fn pack_words(row: &[u8], r: usize, tile: &mut [u32]) {
    for (words, bytes) in tile.chunks_exact_mut(ROW_GROUP).zip(row.chunks(4)) {
        words[r] = word(bytes);
    }
}

/// Puts row `r`'s 16 bits where `half_bits` in `halves.wgsl` looks for them.
fn put_half(halves: &mut [u32], r: usize, bytes: &[u8]) {
    halves[r % 8 + 8 * (r / 16)] |= word(bytes) << (2 * (r & 8));
}

fn pack_q8_0(row: &[u8], r: usize, tile: &mut [u32]) {
    const WORDS: usize = 8 * ROW_GROUP;
    for (block, bytes) in tile.chunks_exact_mut(WORDS + ROW_GROUP / 2).zip(row.chunks_exact(34)) {
        let (quants, halves) = block.split_at_mut(WORDS);
        pack_words(&bytes[2..], r, quants);
        put_half(halves, r, &bytes[..2]);
    }
}

/// ggml keeps weight j in the low and weight j + 16 in the high nibble of byte j; the shaders want nibbles in order.
fn pack_nibbles(quants: &[u8], r: usize, words: &mut [u32]) {
    for (w, words) in words.chunks_exact_mut(ROW_GROUP).enumerate() {
        let bytes = &quants[w % 2 * 8..][..8];
        let shift = w / 2 * 4;
        words[r] = bytes.iter().rev().fold(0, |word, &byte| word << 4 | u32::from(byte >> shift & 15));
    }
}

fn pack_q4_0(row: &[u8], r: usize, tile: &mut [u32]) {
    const WORDS: usize = 4 * ROW_GROUP;
    for (block, bytes) in tile.chunks_exact_mut(WORDS + ROW_GROUP / 2).zip(row.chunks_exact(18)) {
        let (words, halves) = block.split_at_mut(WORDS);
        pack_nibbles(&bytes[2..], r, words);
        put_half(halves, r, &bytes[..2]);
    }
}

fn pack_q4_1(row: &[u8], r: usize, tile: &mut [u32]) {
    const WORDS: usize = 4 * ROW_GROUP;
    for (block, bytes) in tile.chunks_exact_mut(WORDS + ROW_GROUP).zip(row.chunks_exact(20)) {
        let (words, scales) = block.split_at_mut(WORDS);
        pack_nibbles(&bytes[4..], r, words);
        scales[r] = word(&bytes[..4]);
    }
}

/// ggml's block of 256: 128 bytes of low nibbles, 64 of high bits, 16 scales, d. Within each half of 128 weights, weight
/// 32 q + l (q in 0..4) has its low bits in byte 32 (q % 2) + l, nibble q / 2, and its high bits in byte l, bits 2 q.
fn pack_q6_k(row: &[u8], r: usize, tile: &mut [u32]) {
    const BLOCK_WORDS: usize = 6 * ROW_GROUP + ROW_GROUP / 2;
    const RUN_WORDS: usize = 8 * BLOCK_WORDS + ROW_GROUP / 2;
    for (run, bytes) in tile.chunks_exact_mut(RUN_WORDS).zip(row.chunks_exact(210)) {
        let (low, rest) = bytes.split_at(128);
        let (high, rest) = rest.split_at(64);
        let (scales, d) = rest.split_at(16);
        for (b, block) in run.chunks_exact_mut(BLOCK_WORDS).take(8).enumerate() {
            let (half, q) = (b / 4, b % 4);
            let (low_words, block) = block.split_at_mut(4 * ROW_GROUP);
            let (high_words, halves) = block.split_at_mut(2 * ROW_GROUP);
            let low = &low[64 * half + 32 * (q % 2)..][..32];
            let high = &high[32 * half..][..32];
            for (w, words) in low_words.chunks_exact_mut(ROW_GROUP).enumerate() {
                words[r] =
                    low[8 * w..][..8].iter().rev().fold(0, |word, &x| word << 4 | u32::from(x >> (q / 2 * 4) & 15));
            }
            for (w, words) in high_words.chunks_exact_mut(ROW_GROUP).enumerate() {
                words[r] =
                    high[16 * w..][..16].iter().rev().fold(0, |word, &x| word << 2 | u32::from(x >> (2 * q) & 3));
            }
            put_half(halves, r, &scales[2 * b..][..2]);
        }
        put_half(&mut run[8 * BLOCK_WORDS..], r, d);
    }
}
