// Quants of five bits. Joined after nibbles.wgsl and fields.wgsl, before blocks.wgsl or runs.wgsl.
//
// Block: 4 words x 32 rows (nibble n of word w has the lower bits of weight 8 w + n), 1 word x 32 rows of fifth bits (bit o of
// nibble n is that of weight 8 o + n), then what the format adds.
const QUANTS_WORDS: u32 = 5u * 32u;

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let at = block_at(base, block) + row;
    return nibbles8(weights[at + octet * 32u]) + bits8(weights[at + 128u], octet) * 16.0;
}
