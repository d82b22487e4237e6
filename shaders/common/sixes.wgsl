// Two numbers of six bits for each of the eight blocks of a run.
//
// 3 words x 32 rows: byte b % 4 of word b / 4 has the first number of block b and, above it, the lower two bits of the second one;
// nibble b of the third word has the other four.
const SIXES_WORDS: u32 = 3u * 32u;

fn six_bits(at: u32, block: u32, row: u32) -> vec2f {
    let b = block & 7u;
    let byte = extractBits(weights[at + select(0u, 32u, b >= 4u) + row], 8u * (b & 3u), 8u);
    let high = extractBits(weights[at + 64u + row], 4u * b, 4u);
    return vec2f(f32(i32(byte & 63u)), f32(i32(byte & 192u)) * 0.015625 + f32(i32(high)) * 4.0);
}
