// What kv_f16.wgsl and kv_f32.wgsl share: pairs have a word each and no scale. Joined behind: kv_cache.wgsl.
const WORD_PAIRS: u32 = 1u;

fn key_scale(kv_head: u32, position: u32) -> f32 {
    return 1.0;
}

fn value_scale(kv_head: u32, position: u32) -> f32 {
    return 1.0;
}
