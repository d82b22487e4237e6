// Keys and values in 8 bits: two pairs of neighbouring dimensions in a word, the first in its low half. A head's vector has one
// scale, its largest absolute value over 127; the scales of all vectors follow the words, [KV_HEADS][CONTEXT].
// Joined in front: KV_HEADS, CONTEXT, PAIRS. Joined behind: kv_cache.wgsl, and what attention kernels read scales with,
// kv_q8_scale.wgsl or kv_q8_scales.wgsl.
alias Word = u32;
// The same word of four neighbouring positions.
alias Four = vec4u;

const WORD_PAIRS: u32 = 2u;

// What unpacked pairs are to be multiplied by, besides their vector's scale: 2^-24.
const PAIR_SCALE: f32 = 5.9604644775390625e-8;

// Pair i of a vector, from the word that holds it. Each byte is moved to the highest bits, sign and all, and stays there: by
// multiplying, for vectors are shifted lane by lane on processors.
fn unpack_pair(word: Word, i: u32) -> vec2f {
    let upper = select(word, word * 65536u, i % WORD_PAIRS == 0u);
    return vec2f(bitcast<vec2i>(vec2u(upper * 256u, upper) & vec2u(0xff000000u)));
}

fn scale_at(kv_head: u32, position: u32) -> u32 {
    return KV_HEADS * CONTEXT * WORDS + kv_head * CONTEXT + position;
}
