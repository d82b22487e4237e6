// The scales of the vectors of positions p + 16j + (0, 1, 2, 3), a column for each j in 0..4, for kernels whose `keys` and `values` are
// fours of words. Joined in front: kv_q8.wgsl.

fn key_scales(kv_head: u32, position: u32) -> mat4x4f {
    let at = scale_at(kv_head, position) / 4u;
    return mat4x4f(bitcast<vec4f>(keys[at]), bitcast<vec4f>(keys[at + 4u]), bitcast<vec4f>(keys[at + 8u]), bitcast<vec4f>(keys[at + 12u]));
}

fn value_scales(kv_head: u32, position: u32) -> mat4x4f {
    let at = scale_at(kv_head, position) / 4u;
    return mat4x4f(bitcast<vec4f>(values[at]), bitcast<vec4f>(values[at + 4u]), bitcast<vec4f>(values[at + 8u]), bitcast<vec4f>(values[at + 12u]));
}
