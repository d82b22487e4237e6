// Blocks of 4-bit weights: weight = scale * q + offset, q in 0..15. Joined before weights_q4_0.wgsl and weights_q4_1.wgsl.
//
// Tile: for each block, 4 words x 32 rows (nibble n of word w is weight 8 w + n), then what the format adds.
const NIBBLES_WORDS: u32 = 4u * 32u;

// Nibbles are masked where they stand, which saves a shift for each: nibble n comes out 16^n times too large.
const PLACES: vec4f = vec4f(1.0, 0.0625, 0.00390625, 0.000244140625);

fn nibbles(word: u32) -> vec4f {
    // By way of i32: converting u32 takes several instructions on processors.
    return vec4f(vec4i(vec4u(word) & vec4u(0xfu, 0xf0u, 0xf00u, 0xf000u)));
}

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let word = weights[base + block * BLOCK_WORDS + octet * 32u + row];
    return mat2x4f(nibbles(word), nibbles(word >> 16u));
}
