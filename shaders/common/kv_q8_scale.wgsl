// The scale of a position's vector, for kernels whose `keys` and `values` are words. Joined in front: kv_q8.wgsl.

fn key_scale(kv_head: u32, position: u32) -> f32 {
    return bitcast<f32>(keys[scale_at(kv_head, position)]);
}

fn value_scale(kv_head: u32, position: u32) -> f32 {
    return bitcast<f32>(values[scale_at(kv_head, position)]);
}
