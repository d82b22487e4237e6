// Q4_K and Q5_K: weight = d * s * q - d_min * m, q of four or five bits, s and m of six bits for 32 weights, d and d_min f16 for 256.
// Joined after quants4.wgsl or quants5.wgsl, and sixes.wgsl.
//
// Tile: runs of blocks. Block: the quants. Behind a run: the sixes (a block's s and m), then a word for each row with d (low half)
// and d_min.
const BLOCK_WORDS: u32 = QUANTS_WORDS;
const RUN_WORDS: u32 = 8u * BLOCK_WORDS + SIXES_WORDS + 32u;

fn block_scale(base: u32, block: u32, row: u32) -> vec4f {
    let at = run_end(base, block);
    let d = unpack_halves(weights[at + SIXES_WORDS + row]);
    let products = d * six_bits(at, block, row);
    return vec4f(products.xx, -products.yy);
}
