// The two tiles of 32 rows that a workgroup of a product works on. Lanes take rows in fours that are ROWS_APART apart, the same
// ones of both tiles, so that neighbouring lanes read neighbouring words.
//
// Joined in front: TILES_APART. 1: the tiles follow each other, and group g has the rows from 64 g on. More: the second tile
// is that many tiles further, as an up projection lies behind its gate projection; g is the first tile's number.
// The kernel defines ROWS_APART: how many lanes there are side by side, 4 or 8.
struct Tiles {
    // Where their words start.
    low: u32,
    high: u32,
}

// The products of four rows of each tile with one token.
struct EightRows {
    low: vec4f,
    high: vec4f,
}

fn tiles_of(group: u32) -> Tiles {
    let low = select(group, 2u * group, TILES_APART == 1u) * TILE_WORDS;
    return Tiles(low, low + TILES_APART * TILE_WORDS);
}
