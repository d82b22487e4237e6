// One or two bits of each of a word's eight nibbles as numbers, each 16^n times too large, as those of nibbles.wgsl are.
// Joined after masked.wgsl.

// `field`: which bits of the lowest nibble.
fn fields8(word: u32, field: u32) -> mat2x4f {
    let fields = vec4u(1u, 0x10u, 0x100u, 0x1000u) * field;
    return mat2x4f(masked(word, fields), masked(word, fields * 0x10000u));
}

// A word for two octets of pairs of bits: the first one's are the lower ones.
fn pairs8(word: u32, octet: u32) -> mat2x4f {
    let second = (octet & 1u) != 0u;
    return fields8(word, select(3u, 12u, second)) * select(1.0, 0.25, second);
}

// A word for the four octets of a block, a bit of each nibble for each.
fn bits8(word: u32, octet: u32) -> mat2x4f {
    let odd = (octet & 1u) != 0u;
    let high = octet >= 2u;
    return fields8(word, select(select(1u, 2u, odd), select(4u, 8u, odd), high))
        * select(select(1.0, 0.5, odd), select(0.25, 0.125, odd), high);
}
