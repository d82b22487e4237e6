// Q3_K: weight = d * (s - 32) * (q - 4), q of three bits, s of six bits for 16 weights, d an f16 for 256. Joined after halves.wgsl,
// nibbles.wgsl, fields.wgsl and sixes.wgsl.
//
// Tile: runs of blocks. Block: 2 words x 32 rows of the lower two bits (octet o in word o / 2: the lower or the higher pairs of its
// nibbles), 1 word x 32 rows of third bits (bit o of nibble n is that of weight 8 o + n). Behind a run: the sixes (a block's two s),
// then the rows' d as halves.
const BLOCK_WORDS: u32 = 3u * 32u;
const RUN_WORDS: u32 = 8u * BLOCK_WORDS + SIXES_WORDS + HALVES_WORDS;

fn block_scale(base: u32, block: u32, row: u32) -> vec4f {
    let at = run_end(base, block);
    let d = half_of_row(at + SIXES_WORDS, row);
    let scales = d * (six_bits(at, block, row) - 32.0);
    return vec4f(scales, -4.0 * scales);
}

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let at = block_at(base, block) + row;
    return pairs8(weights[at + select(0u, 32u, octet >= 2u)], octet) + bits8(weights[at + 64u], octet) * 4.0;
}
