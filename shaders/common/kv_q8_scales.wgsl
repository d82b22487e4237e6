// The scales of the vectors of positions `position` + 16j + (0, 1, 2, 3), a column for each j in 0..4, for kernels whose `keys` and
// `values` are fours of words. `position` is a multiple of 4 in the first sixteen of a tile; CONTEXT is a multiple of KV_TILE, so that
// the scales begin with a whole four. Joined in front: kv_q8.wgsl. Joined behind: attention.wgsl, with `Words`, `key_words` and
// `value_words`.

fn as_scales(words: Words) -> mat4x4f {
    return mat4x4f(bitcast<vec4f>(words.a), bitcast<vec4f>(words.b), bitcast<vec4f>(words.c), bitcast<vec4f>(words.d));
}

fn key_scales(kv_head: u32, position: u32) -> mat4x4f {
    return as_scales(key_words(scale_at(kv_head, position) / 4u));
}

fn value_scales(kv_head: u32, position: u32) -> mat4x4f {
    return as_scales(value_words(scale_at(kv_head, position) / 4u));
}
