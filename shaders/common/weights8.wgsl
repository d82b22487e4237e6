// Eight neighbouring weights of a row, dequantised. Joined after the files of a format (weights_*.wgsl and the like), which define
//
// BLOCK_WORDS                          words of a block of 32 columns x 32 rows
// tile_words(blocks)                   words of a tile of 32 rows of so many blocks
// PLACES                               what the quants are to be multiplied by besides the scale
// block_scale(base, block, row)        scales of the block's first and second 16 weights, and their offsets
// quants8(base, block, row, octet)     8 quants: weight = scale * PLACES * quant + offset
//
// where `base` is the tile's first word, `row` is in 0..32 and `octet` in 0..4.
fn weights8(base: u32, block: u32, row: u32, octet: u32, scale: vec4f) -> mat2x4f {
    let quants = quants8(base, block, row, octet);
    let second = octet >= 2u;
    let factor = select(scale.x, scale.y, second) * PLACES;
    let offset = select(scale.z, scale.w, second);
    return mat2x4f(quants[0] * factor[0] + offset, quants[1] * factor[1] + offset);
}
