// IQ4_XS: weight = d * (s - 32) * VALUES[q], s of six bits for 32 weights, d an f16 for 256. Joined after quants_iq4.wgsl.
//
// Tile: runs of blocks. Block: the quants. Behind a run: a word for each row with d (low half) and the higher two bits of each s
// (pair b is block b's), and a word with the lower four (nibble b).
const BLOCK_WORDS: u32 = QUANTS_WORDS;
const RUN_WORDS: u32 = 8u * BLOCK_WORDS + 2u * 32u;

fn block_scale(base: u32, block: u32, row: u32) -> vec4f {
    let b = block & 7u;
    let at = run_end(base, block) + row;
    let word = weights[at];
    let high = extractBits(word, 16u + 2u * b, 2u);
    let low = extractBits(weights[at + 32u], 4u * b, 4u);
    let scale = unpack_halves(word).x * (f32(i32(16u * high + low)) - 32.0);
    return vec4f(vec2f(scale), vec2f(0.0));
}
