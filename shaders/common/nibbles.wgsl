// Blocks of 4-bit weights: weight = scale * q + offset, q in 0..15. Joined after masked.wgsl and before weights_q4_0.wgsl or
// weights_q4_1.wgsl.
//
// Tile: for each block, 4 words x 32 rows (nibble n of word w is weight 8 w + n), then what the format adds.
const NIBBLES_WORDS: u32 = 4u * 32u;

// Nibble n comes out 16^n times too large.
const PLACES: mat2x4f = mat2x4f(
    1.0, 0.0625, 0.00390625, 0.000244140625,
    0.0000152587890625, 9.5367431640625e-7, 5.9604644775390625e-8, 3.725290298461914e-9,
);

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let word = weights[base + block * BLOCK_WORDS + octet * 32u + row];
    return mat2x4f(
        masked(word, vec4u(0xfu, 0xf0u, 0xf00u, 0xf000u)),
        masked(word, vec4u(0xf0000u, 0xf00000u, 0xf000000u, 0xf0000000u)),
    );
}
