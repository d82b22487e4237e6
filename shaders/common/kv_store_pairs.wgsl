// Puts a pair of a position's keys, and the same of its values, into the cache. Joined in front: kv_f16.wgsl or kv_f32.wgsl, and
// kv_cache.wgsl. Joined behind: rope.wgsl, with `keys`, `values`, `key_pair` and `value_pair`.
fn store(token: u32, kv_head: u32, position: u32, pair: u32) {
    let at = cache_at(kv_head, position) + pair * KV_TILE;
    keys[at] = pack_pair(key_pair(token, kv_head, position, pair));
    values[at] = pack_pair(value_pair(token, kv_head, pair));
}
