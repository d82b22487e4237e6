// Q2_K: weight = d * s * q - d_min * m, q of two bits, s and m of four bits for 16 weights, d and d_min f16 for 256. Joined after
// halves.wgsl, nibbles.wgsl and fields.wgsl.
//
// Tile: runs of blocks. Block: 2 words x 32 rows (octet o in word o / 2: the lower or the higher pairs of its nibbles), then for
// each row two bytes as a half, each s (low nibble) and m of 16 weights. Behind a run: a word for each row with d (low half)
// and d_min.
const BLOCK_WORDS: u32 = 2u * 32u + HALVES_WORDS;
const RUN_WORDS: u32 = 8u * BLOCK_WORDS + 32u;

fn block_scale(base: u32, block: u32, row: u32) -> vec4f {
    let d = unpack_halves(weights[run_end(base, block) + row]);
    // Nibbles of the higher half, 2^16, 2^24, 2^20 and 2^28 times too large.
    let sub = masked(half_bits(block_at(base, block) + 64u, row), vec4u(0xf0000u, 0xf000000u, 0xf00000u, 0xf0000000u));
    let numbers = sub * vec4f(0.0000152587890625, 5.9604644775390625e-8, 9.5367431640625e-7, 3.725290298461914e-9);
    return vec4f(d.x * numbers.xy, -d.y * numbers.zw);
}

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    return pairs8(weights[block_at(base, block) + select(0u, 32u, octet >= 2u) + row], octet);
}
