// Q4_1: weight = scale * q + minimum, both f16, for a row's block of 32. Joined after nibbles.wgsl.
//
// Tile: for each block, the nibbles, then for each row a word with its scale (low half) and minimum (high half).
const BLOCK_WORDS: u32 = NIBBLES_WORDS + 32u;
const TILE_WORDS: u32 = BLOCKS * BLOCK_WORDS;

fn block_scale(base: u32, block: u32, row: u32) -> vec3f {
    return unpack2x16float(weights[base + block * BLOCK_WORDS + NIBBLES_WORDS + row]).xxy;
}
