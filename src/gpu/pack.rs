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

/// Bytes that one row of `columns` weights has of a tile.
pub fn row_bytes(format: Format, columns: usize) -> u64 {
    4 * tile_words(format, columns) as u64 / ROW_GROUP as u64
}

/// Packs at most 32 rows into one tile. `rows` holds whole rows of `columns` weights; `tile` has `tile_words` words.
pub fn pack_tile(format: Format, columns: usize, rows: &[u8], tile: &mut [u32]) {
    const HALVES: usize = ROW_GROUP / 2;
    let row_bytes = format.row_bytes(columns);
    match format {
        // Words in the order of the file: one block of f32 is two of these.
        Format::F32 | Format::F16 | Format::BF16 => {
            each_block::<64, { 16 * ROW_GROUP }>(rows, row_bytes, tile, |row, r, block| pack_words(row, r, block));
        }
        Format::Q8_0 => each_block::<34, { 8 * ROW_GROUP + HALVES }>(rows, row_bytes, tile, pack_q8_0),
        Format::Q4_0 => each_block::<18, { 4 * ROW_GROUP + HALVES }>(rows, row_bytes, tile, pack_q4_0),
        Format::Q4_1 => each_block::<20, { 5 * ROW_GROUP }>(rows, row_bytes, tile, pack_q4_1),
        Format::Q6K => each_block::<210, { 8 * Q6_K_WORDS + HALVES }>(rows, row_bytes, tile, pack_q6_k),
    }
}

/// Packs the tile's blocks one after another, each from all rows, so that what is written stays in the processor's cache.
///
/// `BYTES` of a row become its part of `WORDS`; where the rows end within a block, zeros follow.
fn each_block<const BYTES: usize, const WORDS: usize>(
    rows: &[u8],
    row_bytes: usize,
    tile: &mut [u32],
    pack: impl Fn(&[u8; BYTES], usize, &mut [u32; WORDS]),
) {
    for (b, block) in tile.as_chunks_mut::<WORDS>().0.iter_mut().enumerate() {
        block.fill(0);
        for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
            let rest = row.get(b * BYTES..).unwrap_or_default();
            let mut padded = [0; BYTES];
            let bytes = rest.first_chunk().unwrap_or_else(|| {
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            });
            pack(bytes, r, block);
        }
    }
}

/// Little-endian bytes, four to a word.
fn pack_words(bytes: &[u8], r: usize, words: &mut [u32]) {
    for (words, bytes) in words.chunks_exact_mut(ROW_GROUP).zip(bytes.as_chunks().0) {
        words[r] = u32::from_le_bytes(*bytes);
    }
}

/// Puts row `r`'s 16 bits where `half_bits` in `halves.wgsl` looks for them.
fn put_half(halves: &mut [u32], r: usize, bits: [u8; 2]) {
    halves[r % 8 + 8 * (r / 16)] |= u32::from(u16::from_le_bytes(bits)) << (2 * (r & 8));
}

fn pack_q8_0(row: &[u8; 34], r: usize, block: &mut [u32; 8 * ROW_GROUP + ROW_GROUP / 2]) {
    let [low, high, quants @ ..] = row;
    let (words, halves) = block.split_at_mut(8 * ROW_GROUP);
    pack_words(quants, r, words);
    put_half(halves, r, [*low, *high]);
}

/// ggml keeps weight j in the low and weight j + 16 in the high nibble of byte j; the shaders want nibbles in order.
fn pack_nibbles(quants: &[u8; 16], r: usize, words: &mut [u32]) {
    let all = u128::from_le_bytes(*quants);
    let (first, second) = (all as u64, (all >> 64) as u64);
    for (w, bytes) in [first, second, first >> 4, second >> 4].into_iter().enumerate() {
        words[w * ROW_GROUP + r] = nibbles(bytes);
    }
}

/// The low nibbles of eight bytes, in order.
fn nibbles(bytes: u64) -> u32 {
    let bytes = bytes & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (bytes | bytes >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    (fours | fours >> 16) as u32
}

/// The low two bits of eight bytes, in order.
fn bit_pairs(bytes: u64) -> u32 {
    let bytes = bytes & 0x0303_0303_0303_0303;
    let pairs = (bytes | bytes >> 6) & 0x000f_000f_000f_000f;
    let fours = (pairs | pairs >> 12) & 0x0000_00ff_0000_00ff;
    (fours | fours >> 24) as u32 & 0xffff
}

fn pack_q4_0(row: &[u8; 18], r: usize, block: &mut [u32; 4 * ROW_GROUP + ROW_GROUP / 2]) {
    let [low, high, quants @ ..] = row;
    let (words, halves) = block.split_at_mut(4 * ROW_GROUP);
    pack_nibbles(quants, r, words);
    put_half(halves, r, [*low, *high]);
}

fn pack_q4_1(row: &[u8; 20], r: usize, block: &mut [u32; 5 * ROW_GROUP]) {
    let [a, b, c, d, quants @ ..] = row;
    pack_nibbles(quants, r, block);
    block[4 * ROW_GROUP + r] = u32::from_le_bytes([*a, *b, *c, *d]);
}

/// Words of 32 weights of each row in Q6_K, with their two scales.
const Q6_K_WORDS: usize = 6 * ROW_GROUP + ROW_GROUP / 2;

/// ggml's block of 256: 128 bytes of low nibbles, 64 of high bits, 16 scales, d. Within each half of 128 weights, weight
/// 32 q + l (q in 0..4) has its low bits in byte 32 (q % 2) + l, nibble q / 2, and its high bits in byte l, bits 2 q.
fn pack_q6_k(row: &[u8; 210], r: usize, run: &mut [u32; 8 * Q6_K_WORDS + ROW_GROUP / 2]) {
    let (bits, rest) = row.split_at(192);
    let (low, high) = bits.as_chunks::<8>().0.split_at(16);
    let (scales, d) = rest.as_chunks::<2>().0.split_at(8);
    for (b, block) in run.chunks_exact_mut(Q6_K_WORDS).enumerate() {
        let (half, q) = (b / 4, b % 4);
        for w in 0..4 {
            let bytes = u64::from_le_bytes(low[8 * half + 4 * (q % 2) + w]);
            block[w * ROW_GROUP + r] = nibbles(bytes >> (q / 2 * 4));
        }
        for w in 0..2 {
            let [first, second] = [0, 1].map(|at| u64::from_le_bytes(high[4 * half + 2 * w + at]));
            block[(4 + w) * ROW_GROUP + r] = bit_pairs(first >> (2 * q)) | bit_pairs(second >> (2 * q)) << 16;
        }
        put_half(&mut block[6 * ROW_GROUP..], r, scales[b]);
    }
    put_half(&mut run[8 * Q6_K_WORDS..], r, d[0]);
}
