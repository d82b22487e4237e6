// Weights stored as f32: 32 words for a row's block of 32 weights. Joined after unscaled.wgsl.
//
// Tile: for each block, 32 words x 32 rows, the rows neighbouring.
const BLOCK_WORDS: u32 = 32u * 32u;

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let at = block_at(base, block) + octet * 256u + row;
    return mat2x4f(
        bitcast<f32>(weights[at]),
        bitcast<f32>(weights[at + 32u]),
        bitcast<f32>(weights[at + 64u]),
        bitcast<f32>(weights[at + 96u]),
        bitcast<f32>(weights[at + 128u]),
        bitcast<f32>(weights[at + 160u]),
        bitcast<f32>(weights[at + 192u]),
        bitcast<f32>(weights[at + 224u]),
    );
}
