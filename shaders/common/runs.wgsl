// A tile of runs of eight blocks, which are one block of 256 weights in the file: RUN_WORDS each, the eight blocks of BLOCK_WORDS,
// then what they have in common.
fn tile_words(blocks: u32) -> u32 {
    return blocks / 8u * RUN_WORDS;
}

// The first word of a block's run.
fn run_at(base: u32, block: u32) -> u32 {
    // By way of a float, for vectors are shifted lane by lane on processors, and this is done for every word.
    return base + u32(f32(block) * 0.125) * RUN_WORDS;
}

// The first word of what the blocks of a run have in common.
fn run_end(base: u32, block: u32) -> u32 {
    return run_at(base, block) + 8u * BLOCK_WORDS;
}

// The first word of a block.
fn block_at(base: u32, block: u32) -> u32 {
    return run_at(base, block) + (block & 7u) * BLOCK_WORDS;
}
