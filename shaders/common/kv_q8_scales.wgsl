// The scales of the vectors of positions `position` + 16j + (0, 1, 2, 3), a column for each j in 0..4, for kernels whose `keys` and
// `values` are fours of words. `position` is a multiple of 4 in the first sixteen of a tile; CONTEXT is a multiple of KV_TILE, so that
// the scales begin with a whole four. Joined in front: kv_q8.wgsl.

fn key_scales(kv_head: u32, position: u32) -> mat4x4f {
    let at = scale_at(kv_head, position) / 4u;
    let a = bitcast<vec4f>(keys[at]);
    let b = bitcast<vec4f>(keys[at + 4u]);
    let c = bitcast<vec4f>(keys[at + 8u]);
    let d = bitcast<vec4f>(keys[at + 12u]);
    return mat4x4f(a, b, c, d);
}

fn value_scales(kv_head: u32, position: u32) -> mat4x4f {
    let at = scale_at(kv_head, position) / 4u;
    let a = bitcast<vec4f>(values[at]);
    let b = bitcast<vec4f>(values[at + 4u]);
    let c = bitcast<vec4f>(values[at + 8u]);
    let d = bitcast<vec4f>(values[at + 12u]);
    return mat4x4f(a, b, c, d);
}
