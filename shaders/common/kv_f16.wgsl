// Keys and values in half precision: a pair of neighbouring dimensions in a word.
alias Pair = u32;

fn pack_pair(pair: vec2f) -> Pair {
    // Beyond the largest half a conversion's result is indeterminate in WGSL.
    return pack2x16float(clamp(pair, vec2f(-65504.0), vec2f(65504.0)));
}

fn unpack_pair(pair: Pair) -> vec2f {
    return unpack2x16float(pair);
}
