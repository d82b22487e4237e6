// What kv_f16.wgsl and kv_f32.wgsl share: pairs have a word each and no scale. Joined behind: kv_cache.wgsl.
const WORD_PAIRS: u32 = 1u;

fn key_scale(kv_head: u32, position: u32) -> f32 {
    return 1.0;
}

fn value_scale(kv_head: u32, position: u32) -> f32 {
    return 1.0;
}

fn key_scales(kv_head: u32, position: u32) -> mat4x4f {
    let one = vec4f(1.0);
    return mat4x4f(one, one, one, one);
}

fn value_scales(kv_head: u32, position: u32) -> mat4x4f {
    return key_scales(kv_head, position);
}
