// Blocks of 4-bit weights: weight = scale * q + offset, q in 0..15. Joined before weights_q4_0.wgsl and weights_q4_1.wgsl.
//
// Tile: for each block, 4 words x 32 rows (nibble n of word w is weight 8 w + n), then what the format adds.
const NIBBLES_WORDS: u32 = 4u * 32u;

// Nibbles are masked where they stand, for shifting a vector is dear on processors: nibble n comes out 16^n times too large.
const PLACES: mat2x4f = mat2x4f(
    1.0, 0.0625, 0.00390625, 0.000244140625,
    0.0000152587890625, 9.5367431640625e-7, 5.9604644775390625e-8, 3.725290298461914e-9,
);

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let word = weights[base + block * BLOCK_WORDS + octet * 32u + row];
    // By way of i32: converting u32 takes several instructions on processors. The last one's highest bit would be its sign.
    let last = f32(i32((word ^ 0x80000000u) & 0xf0000000u)) + 2147483648.0;
    return mat2x4f(
        vec4f(vec4i(vec4u(word) & vec4u(0xfu, 0xf0u, 0xf00u, 0xf000u))),
        vec4f(vec3f(vec3i(vec3u(word) & vec3u(0xf0000u, 0xf00000u, 0xf000000u))), last),
    );
}
