// Q6_K: weight = d * s * (q - 32), q of six bits, s a signed byte for 16 weights, d an f16 for 256. Joined after halves.wgsl,
// nibbles.wgsl and fields.wgsl.
//
// Tile: runs of blocks. Block: 4 words x 32 rows of the lower four bits (nibble n of word w is weight 8 w + n), 2 words x 32 rows of
// the higher two (octet o in word o / 2: the lower or the higher pairs of its nibbles), the rows' two s as halves. Behind a run: the
// rows' d as halves.
const BLOCK_WORDS: u32 = 6u * 32u + HALVES_WORDS;
const RUN_WORDS: u32 = 8u * BLOCK_WORDS + HALVES_WORDS;

fn block_scale(base: u32, block: u32, row: u32) -> vec4f {
    let d = half_of_row(run_end(base, block), row);
    // Two signed bytes, each 2^24 times too large.
    let pair = half_bits(block_at(base, block) + 192u, row);
    let scales = d * 5.9604644775390625e-8 * vec2f(vec2i(vec2u(pair * 256u, pair) & vec2u(0xff000000u)));
    return vec4f(scales, -32.0 * scales);
}

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let at = block_at(base, block) + row;
    return nibbles8(weights[at + octet * 32u]) + pairs8(weights[at + 128u + select(0u, 32u, octet >= 2u)], octet) * 16.0;
}
