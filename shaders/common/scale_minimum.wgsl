// Q4_1 and Q5_1: weight = scale * q + minimum, both f16, for a row's block of 32. Joined after quants4.wgsl or quants5.wgsl.
//
// Tile: for each block, the quants, then for each row a word with its scale (low half) and minimum (high half).
const BLOCK_WORDS: u32 = QUANTS_WORDS + 32u;

fn block_scale(base: u32, block: u32, row: u32) -> vec4f {
    return unpack_halves(weights[block_at(base, block) + QUANTS_WORDS + row]).xxyy;
}
