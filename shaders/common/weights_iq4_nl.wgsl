// IQ4_NL: weight = scale * VALUES[q], one f16 scale for a row's block of 32. Joined after halves.wgsl and quants_iq4.wgsl.
//
// Tile: for each block, the quants, then the rows' scales as halves.
const BLOCK_WORDS: u32 = QUANTS_WORDS + HALVES_WORDS;

fn block_scale(base: u32, block: u32, row: u32) -> vec4f {
    let scale = half_of_row(block_at(base, block) + QUANTS_WORDS, row);
    return vec4f(vec2f(scale), vec2f(0.0));
}
