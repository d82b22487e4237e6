// Keys and values in single precision: a "word" is a pair of neighbouring dimensions. Joined behind: kv_unscaled.wgsl,
// kv_cache.wgsl.
alias Word = vec2f;
// The same word of four neighbouring positions, a column for each.
alias Four = mat4x2f;

fn pack_pair(pair: vec2f) -> Word {
    return pair;
}

// What unpacked pairs are to be multiplied by.
const PAIR_SCALE: f32 = 1.0;

// `i`: which pair of its vector it is, all the same here.
fn unpack_pair(word: Word, i: u32) -> vec2f {
    return word;
}
