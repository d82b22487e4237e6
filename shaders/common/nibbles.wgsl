// Blocks of 4-bit weights: weight = scale.x * q + scale.y, q in 0..15. Joined before weights_q4_0.wgsl and weights_q4_1.wgsl.
//
// Tile: for each block, 4 words x 32 rows (nibble n of word w is weight 8 w + n), then what the format adds.
const NIBBLES_WORDS: u32 = 4u * 32u;

fn nibbles(word: u32) -> vec4f {
    return vec4f((vec4u(word) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u));
}

fn weights8(base: u32, block: u32, row: u32, octet: u32, scale: vec2f) -> mat2x4f {
    let word = weights[base + block * BLOCK_WORDS + octet * 32u + row];
    return mat2x4f(scale.x * nibbles(word) + scale.y, scale.x * nibbles(word >> 16u) + scale.y);
}
