// Keys and values in single precision: a pair of neighbouring dimensions.
alias Pair = vec2f;

fn pack_pair(pair: vec2f) -> Pair {
    return pair;
}

// What unpacked pairs are to be multiplied by.
const PAIR_SCALE: f32 = 1.0;

fn unpack_pair(pair: Pair, i: u32) -> vec2f {
    return pair;
}
