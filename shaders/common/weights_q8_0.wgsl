// Q8_0: weight = scale * q, q a signed byte, one f16 scale for a row's block of 32. Joined after halves.wgsl.
//
// Tile: for each block, 8 words x 32 rows (byte n of word w is weight 4 w + n), then the rows' scales as halves.
const BLOCK_WORDS: u32 = 8u * 32u + HALVES_WORDS;
const TILE_WORDS: u32 = BLOCKS * BLOCK_WORDS;

// Bytes are read as q + 128, and masked where they stand, for shifting a vector is dear on processors: byte n comes out 256^n
// times too large.
const PLACES: mat2x4f = mat2x4f(BYTES, BYTES);
const BYTES: vec4f = vec4f(1.0, 0.00390625, 0.0000152587890625, 5.9604644775390625e-8);

fn block_scale(base: u32, block: u32, row: u32) -> vec3f {
    let scale = unpack2x16float(half_bits(base + block * BLOCK_WORDS + 256u, row)).x;
    return vec3f(scale, scale, -128.0 * scale);
}

fn offset_bytes(word: u32) -> vec4f {
    let bytes = word ^ 0x808080u;
    // By way of i32: converting u32 takes several instructions on processors. The last one is signed as it stands.
    let last = f32(i32(bytes & 0xff000000u)) + 2147483648.0;
    return vec4f(vec3f(vec3i(vec3u(bytes) & vec3u(0xffu, 0xff00u, 0xff0000u))), last);
}

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let at = base + block * BLOCK_WORDS + octet * 64u + row;
    return mat2x4f(offset_bytes(weights[at]), offset_bytes(weights[at + 32u]));
}
