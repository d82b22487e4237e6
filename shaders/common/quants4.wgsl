// Quants of four bits. Joined after nibbles.wgsl, before blocks.wgsl or runs.wgsl.
//
// Block: 4 words x 32 rows (nibble n of word w is weight 8 w + n), then what the format adds.
const QUANTS_WORDS: u32 = 4u * 32u;

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    return nibbles8(weights[block_at(base, block) + octet * 32u + row]);
}
