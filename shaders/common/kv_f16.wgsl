// Keys and values in half precision: a pair of neighbouring dimensions in a word.
alias Pair = u32;

fn pack_pair(pair: vec2f) -> Pair {
    // Beyond the largest half a conversion's result is indeterminate in WGSL.
    return pack2x16float(clamp(pair, vec2f(-65504.0), vec2f(65504.0)));
}

// What unpacked pairs are to be multiplied by: 2^112, the distance between the exponents' biases of halves and floats.
const PAIR_SCALE: f32 = 5.192296858534828e33;

// By shifting a half's bits to a float's places, sign and all, which takes a software adapter five instructions where
// unpack2x16float takes dozens. Halves below 2^-14 may count as zero, as WGSL lets a device treat denormal floats.
fn unpack_pair(pair: Pair) -> vec2f {
    let bits = (vec2i(vec2u(pair << 16u, pair)) >> vec2u(3u)) & vec2i(-1879056384);
    return bitcast<vec2f>(bits);
}
