// Keys and values in 8 bits: two pairs of neighbouring dimensions in a word, the first in its low half. A head's vector has one
// scale, its largest absolute value over 127; the scales of all vectors follow the words, [KV_HEADS][CONTEXT].
// Joined in front: KV_HEADS, CONTEXT, PAIRS. Joined behind: kv_cache.wgsl, and what attention kernels read scales with,
// kv_q8_scale.wgsl or kv_q8_scales.wgsl.
alias Word = u32;
// The same word of four neighbouring positions.
alias Four = vec4u;

const WORD_PAIRS: u32 = 2u;

// What unpacked pairs are to be multiplied by, besides their vector's scale.
const PAIR_SCALE: f32 = 1.0;

// Pair i of a vector, from the word that holds it.
fn unpack_pair(word: Word, i: u32) -> vec2f {
    let upper = bitcast<i32>(word << (16u - 16u * (i % WORD_PAIRS)));
    return vec2f(f32((upper << 8u) >> 24u), f32(upper >> 24u));
}

fn scale_at(kv_head: u32, position: u32) -> u32 {
    return KV_HEADS * CONTEXT * WORDS + kv_head * CONTEXT + position;
}
