// Q6_K: weight = d * s * (q - 32), q of six bits, s a signed byte for 16 weights, d an f16 for 256. Joined after halves.wgsl and
// masked.wgsl.
//
// Tile: for each run of 8 blocks of 32 weights (one block of the file): for each of the 8, 4 words x 32 rows of low nibbles
// (nibble n of word w is weight 8 w + n), 2 words x 32 rows of high bits (bits 2n of word w belong to weight 16 w + n) and the
// rows' two scales as halves; then the rows' d as halves.
const BLOCK_WORDS: u32 = 6u * 32u + HALVES_WORDS;
const RUN_WORDS: u32 = 8u * BLOCK_WORDS + HALVES_WORDS;
const TILE_WORDS: u32 = BLOCKS / 8u * RUN_WORDS;

const PLACES: mat2x4f = mat2x4f(vec4f(1.0), vec4f(1.0));

// By way of a float, for vectors are shifted lane by lane on processors, and this is done for every word.
fn run_of(block: u32) -> u32 {
    return u32(f32(block) * 0.125);
}

fn block_at(base: u32, block: u32) -> u32 {
    return base + run_of(block) * RUN_WORDS + (block & 7u) * BLOCK_WORDS;
}

fn block_scale(base: u32, block: u32, row: u32) -> vec3f {
    let d = unpack2x16float(half_bits(base + run_of(block) * RUN_WORDS + 8u * BLOCK_WORDS, row)).y;
    // Two signed bytes, each 2^24 times too large.
    let pair = half_bits(block_at(base, block) + 192u, row);
    let scales = vec2f(vec2i(vec2u(pair * 256u, pair) & vec2u(0xff000000u)));
    return vec3f(d * 5.9604644775390625e-8 * scales, 0.0);
}

// What masked nibbles of a word's lower half are to be multiplied by, and 2^4 times the same of pairs of bits in the higher half.
const NIBBLES: vec4f = vec4f(1.0, 0.0625, 0.00390625, 0.000244140625);
const PAIRS: vec4f = vec4f(0.000244140625, 0.00006103515625, 0.0000152587890625, 0.000003814697265625);

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let at = block_at(base, block) + row;
    let low = weights[at + octet * 32u];
    let word = weights[at + 128u + select(0u, 32u, octet >= 2u)];
    let high = select(word * 65536u, word, (octet & 1u) != 0u);
    let first = masked(low, vec4u(0xfu, 0xf0u, 0xf00u, 0xf000u)) * NIBBLES
        + masked(high, vec4u(0x30000u, 0xc0000u, 0x300000u, 0xc00000u)) * PAIRS;
    let last = masked(low, vec4u(0xf0000u, 0xf00000u, 0xf000000u, 0xf0000000u)) * (NIBBLES * 0.0000152587890625)
        + masked(high, vec4u(0x3000000u, 0xc000000u, 0x30000000u, 0xc0000000u)) * (PAIRS * 0.00390625);
    return mat2x4f(first - 32.0, last - 32.0);
}
