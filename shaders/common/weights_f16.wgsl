// Weights stored as f16, two in a word: 16 words for a row's block of 32 weights. Joined after unscaled.wgsl.
//
// Tile: for each block, 16 words x 32 rows, the rows neighbouring.
const BLOCK_WORDS: u32 = 16u * 32u;

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let at = block_at(base, block) + octet * 128u + row;
    return mat2x4f(
        vec4f(unpack_halves(weights[at]), unpack_halves(weights[at + 32u])),
        vec4f(unpack_halves(weights[at + 64u]), unpack_halves(weights[at + 96u])),
    );
}
