// Of cached pairs that have a word each and no scale.
const WORD_PAIRS: u32 = 1u;

fn key_scale(kv_head: u32, position: u32) -> f32 {
    return 1.0;
}

fn value_scale(kv_head: u32, position: u32) -> f32 {
    return 1.0;
}
