// Rounds a position's keys and values to 8 bits, into the cache. Every invocation finds the vectors' largest values for itself,
// which takes no barrier, and the first WORDS of a head write a word of each.
fn largest(pair: vec2f) -> f32 {
    return max(abs(pair.x), abs(pair.y));
}

// A pair in the bits that unpack_pair takes it from.
fn pack_bytes(pair: vec2f, i: u32) -> u32 {
    let bytes = bitcast<vec2u>(vec2i(round(pair))) & vec2u(0xffu);
    return (bytes.x | (bytes.y << 8u)) << (16u * (i % WORD_PAIRS));
}

fn store(token: u32, kv_head: u32, position: u32, pair: u32) {
    if (pair >= WORDS) {
        return;
    }
    var key_scale = 0.0;
    var value_scale = 0.0;
    for (var i = 0u; i < PAIRS; i++) {
        key_scale = max(key_scale, largest(key_pair(token, kv_head, position, i)));
        value_scale = max(value_scale, largest(value_pair(token, kv_head, i)));
    }
    key_scale /= 127.0;
    value_scale /= 127.0;
    var key_word = 0u;
    var value_word = 0u;
    for (var i = pair * WORD_PAIRS; i < min((pair + 1u) * WORD_PAIRS, PAIRS); i++) {
        // A vector of zeros has the scale 0.
        key_word |= pack_bytes(key_pair(token, kv_head, position, i) / max(key_scale, LEAST_SCALE), i);
        value_word |= pack_bytes(value_pair(token, kv_head, i) / max(value_scale, LEAST_SCALE), i);
    }
    let at = cache_at(kv_head, position) + pair * KV_TILE;
    keys[at] = key_word;
    values[at] = value_word;
    if (pair == 0u) {
        keys[scale_at(kv_head, position)] = bitcast<u32>(key_scale);
        values[scale_at(kv_head, position)] = bitcast<u32>(value_scale);
    }
}

// The least scale that is a normal float.
const LEAST_SCALE: f32 = 1.2e-38;
