// Q8_0: weight = scale * q, q a signed byte, one f16 scale for a row's block of 32. Joined after halves.wgsl.
//
// Tile: for each block, 8 words x 32 rows (byte n of word w is weight 4 w + n), then the rows' scales as halves.
const BLOCK_WORDS: u32 = 8u * 32u + HALVES_WORDS;
const TILE_WORDS: u32 = BLOCKS * BLOCK_WORDS;

const PLACES: vec4f = vec4f(1.0);

fn block_scale(base: u32, block: u32, row: u32) -> vec3f {
    let scale = unpack2x16float(half_bits(base + block * BLOCK_WORDS + 256u, row)).x;
    return vec3f(scale, scale, 0.0);
}

fn signed_bytes(word: u32) -> vec4f {
    return vec4f(vec4i(vec4u(word) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let at = base + block * BLOCK_WORDS + octet * 64u + row;
    return mat2x4f(signed_bytes(weights[at]), signed_bytes(weights[at + 32u]));
}
