// Q8_0: weight = scale * q, q a signed byte, one f16 scale for a row's block of 32. Joined after halves.wgsl and masked.wgsl.
//
// Tile: for each block, 8 words x 32 rows (byte n of word w is weight 4 w + n), then the rows' scales as halves.
const BLOCK_WORDS: u32 = 8u * 32u + HALVES_WORDS;

// Bytes are read as q + 128, and byte n comes out 256^n times too large.
const BYTES: vec4f = vec4f(1.0, 0.00390625, 0.0000152587890625, 5.9604644775390625e-8);
const PLACES: mat2x4f = mat2x4f(BYTES, BYTES);

fn block_scale(base: u32, block: u32, row: u32) -> vec4f {
    let scale = half_of_row(block_at(base, block) + 256u, row);
    return vec4f(vec2f(scale), vec2f(-128.0 * scale));
}

fn offset_bytes(word: u32) -> vec4f {
    return masked(word ^ 0x80808080u, vec4u(0xffu, 0xff00u, 0xff0000u, 0xff000000u));
}

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let at = block_at(base, block) + octet * 64u + row;
    return mat2x4f(offset_bytes(weights[at]), offset_bytes(weights[at + 32u]));
}
