// Rounds a position's keys and values to 8 bits, into the cache. Every invocation finds the vectors' largest values for itself,
// which takes no barrier, and the first WORDS of a head write a word of each. Past the last pair of a head its last word is zero, on
// which attention.wgsl relies. What becomes of a number that is not finite depends on the device; it reaches the logits by the
// residual stream.
// Joined in front: kv_q8.wgsl, kv_cache.wgsl. Joined behind: rope.wgsl, with `keys`, `values`, `key_pair` and `value_pair`.

// What a vector of zeros is divided by.
const LEAST_SCALE: f32 = 1.2e-38;

fn largest(pair: vec2f) -> f32 {
    return max(abs(pair.x), abs(pair.y));
}

// A pair in the bits that unpack_pair takes it from.
fn pack_bytes(pair: vec2f, i: u32) -> u32 {
    let bytes = bitcast<vec2u>(vec2i(round(pair))) & vec2u(0xffu);
    return (bytes.x | (bytes.y << 8u)) << (16u * (i % WORD_PAIRS));
}

fn store(token: u32, kv_head: u32, position: u32, word: u32) {
    if (word >= WORDS) {
        return;
    }
    var key_most = 0.0;
    var value_most = 0.0;
    for (var i = 0u; i < PAIRS; i++) {
        key_most = max(key_most, largest(key_pair(token, kv_head, position, i)));
        value_most = max(value_most, largest(value_pair(token, kv_head, i)));
    }
    let key_step = key_most / 127.0;
    let value_step = value_most / 127.0;
    var key_word = 0u;
    var value_word = 0u;
    for (var i = word * WORD_PAIRS; i < min((word + 1u) * WORD_PAIRS, PAIRS); i++) {
        key_word |= pack_bytes(key_pair(token, kv_head, position, i) / max(key_step, LEAST_SCALE), i);
        value_word |= pack_bytes(value_pair(token, kv_head, i) / max(value_step, LEAST_SCALE), i);
    }
    let at = cache_at(kv_head, position) + word * KV_TILE;
    keys[at] = key_word;
    values[at] = value_word;
    if (word == 0u) {
        keys[scale_at(kv_head, position)] = bitcast<u32>(key_step);
        values[scale_at(kv_head, position)] = bitcast<u32>(value_step);
    }
}
