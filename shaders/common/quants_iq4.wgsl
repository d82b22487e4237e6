// Quants that are nibbles numbering the values of a table, for IQ4_NL and IQ4_XS. Joined before blocks.wgsl or runs.wgsl.
//
// Block: 4 words x 32 rows (nibble n of word w is weight 8 w + n), then what the format adds.
const QUANTS_WORDS: u32 = 4u * 32u;

// A value comes out 2^24 times too large.
const PLACES: mat2x4f = mat2x4f(vec4f(5.9604644775390625e-8), vec4f(5.9604644775390625e-8));

// The table's sixteen signed bytes: -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113.
const VALUES: vec4u = vec4u(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);

// `ones`: the lowest bit of each of four nibbles.
fn values4(word: u32, ones: vec4u) -> vec4f {
    let bits = vec4u(word);
    let b0 = (bits & ones) != vec4u(0u);
    let b1 = (bits & (ones * 2u)) != vec4u(0u);
    let b2 = (bits & (ones * 4u)) != vec4u(0u);
    let b3 = (bits & (ones * 8u)) != vec4u(0u);
    let low = select(vec4u(VALUES.x), vec4u(VALUES.y), b2);
    let high = select(vec4u(VALUES.z), vec4u(VALUES.w), b2);
    // The byte in the highest place, by a product: vectors are shifted lane by lane on processors.
    let factor = select(select(vec4u(0x1000000u), vec4u(0x10000u), b0), select(vec4u(0x100u), vec4u(1u), b0), b1);
    return vec4f(bitcast<vec4i>((select(low, high, b3) * factor) & vec4u(0xff000000u)));
}

fn quants8(base: u32, block: u32, row: u32, octet: u32) -> mat2x4f {
    let word = weights[block_at(base, block) + octet * 32u + row];
    return mat2x4f(
        values4(word, vec4u(1u, 0x10u, 0x100u, 0x1000u)),
        values4(word, vec4u(0x10000u, 0x100000u, 0x1000000u, 0x10000000u)),
    );
}
