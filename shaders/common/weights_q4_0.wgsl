// Q4_0: weight = scale * (q - 8), one f16 scale for a row's block of 32. Joined after halves.wgsl and nibbles.wgsl.
//
// Tile: for each block, the nibbles, then the rows' scales as halves.
const BLOCK_WORDS: u32 = NIBBLES_WORDS + HALVES_WORDS;
const TILE_WORDS: u32 = BLOCKS * BLOCK_WORDS;

fn block_scale(base: u32, block: u32, row: u32) -> vec3f {
    let scale = unpack2x16float(half_bits(base + block * BLOCK_WORDS + NIBBLES_WORDS, row)).y;
    return vec3f(scale, scale, -8.0 * scale);
}
