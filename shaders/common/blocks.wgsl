// A tile whose blocks follow one another, BLOCK_WORDS each.
fn tile_words(blocks: u32) -> u32 {
    return blocks * BLOCK_WORDS;
}

// The first word of a block.
fn block_at(base: u32, block: u32) -> u32 {
    return base + block * BLOCK_WORDS;
}
