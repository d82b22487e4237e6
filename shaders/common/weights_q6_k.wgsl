// Q6_K: weight = d * s * (q - 32), q of six bits, s a signed byte for 16 weights, d an f16 for 256. Joined after halves.wgsl.
//
// Tile: for each run of 8 blocks of 32 weights (one block of the file): for each of the 8, 4 words x 32 rows of low nibbles
// (nibble n of word w is weight 8 w + n), 2 words x 32 rows of high bits (bits 2n of word w belong to weight 16 w + n) and the
// rows' two scales as halves; then the rows' d as halves.
const BLOCK_WORDS: u32 = 6u * 32u + HALVES_WORDS;
const RUN_WORDS: u32 = 8u * BLOCK_WORDS + HALVES_WORDS;
const TILE_WORDS: u32 = BLOCKS / 8u * RUN_WORDS;

fn block_at(base: u32, block: u32) -> u32 {
    return base + (block >> 3u) * RUN_WORDS + (block & 7u) * BLOCK_WORDS;
}

const PLACES: mat2x4f = mat2x4f(vec4f(1.0), vec4f(1.0));

fn block_scale(base: u32, block: u32, row: u32) -> vec3f {
    let d = unpack2x16float(half_bits(base + (block >> 3u) * RUN_WORDS + 8u * BLOCK_WORDS, row)).x;
    let pair = half_bits(block_at(base, block) + 192u, row);
    return vec3f(d * vec2f(vec2i(vec2u(pair) << vec2u(24u, 16u)) >> vec2u(24u)), 0.0);
}

fn six_bits(low: u32, high: u32) -> vec4f {
    let lows = (vec4u(low) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u);
    let highs = (vec4u(high) >> vec4u(0u, 2u, 4u, 6u)) & vec4u(3u);
    return vec4f(vec4i(lows | (highs << vec4u(4u))) - 32);
}

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let at = block_at(base, block) + row;
    let low = weights[at + octet * 32u];
    let high = weights[at + 128u + (octet >> 1u) * 32u] >> (16u * (octet & 1u));
    return mat2x4f(six_bits(low, high), six_bits(low >> 16u, high >> 8u));
}
