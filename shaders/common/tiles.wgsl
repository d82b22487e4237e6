// The two tiles of 32 rows that a workgroup of a product works on, eight lanes side by side: lane l has the rows l, l + 8,
// l + 16 and l + 24 of each, so that neighbouring lanes read neighbouring words.
//
// Joined in front: TILES_APART. 1: the tiles follow each other, and group g has the rows from 64 g on. More: the second tile
// is that many tiles further, as an up projection lies behind its gate projection; g is the first tile's number.
struct Tiles {
    // Where their words start.
    low: u32,
    high: u32,
}

// The products of a lane's rows with one token.
struct EightRows {
    low: vec4f,
    high: vec4f,
}

fn tiles_of(group: u32) -> Tiles {
    let low = select(group, 2u * group, TILES_APART == 1u) * TILE_WORDS;
    return Tiles(low, low + TILES_APART * TILE_WORDS);
}
