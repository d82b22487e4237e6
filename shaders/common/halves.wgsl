// One 16-bit value for each of a tile's 32 rows, in 16 words: rows r and r + 8 (r + 16 and r + 24) share a word, so that
// 8 neighbouring lanes read 8 neighbouring words.
const HALVES_WORDS: u32 = 16u;

// The bits of `row`'s value, in the higher 16.
fn half_bits(at: u32, row: u32) -> u32 {
    let word = weights[at + (row & 7u) + select(0u, 8u, row >= 16u)];
    // Not shifted, for that is done lane by lane on processors.
    return select(word * 65536u, word & 0xffff0000u, (row & 8u) != 0u);
}

// The value of `row` as an f16. unpack_halves.wgsl or its twin is joined to the kernel.
fn half_of_row(at: u32, row: u32) -> f32 {
    return unpack_higher_half(half_bits(at, row));
}
