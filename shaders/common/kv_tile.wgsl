// The tiles of the KV cache. Joined with kv_cache.wgsl, and with attention_merge*.wgsl, which must know how many parts
// were used.

// Positions that lie together: `KV_TILE` in src/ops/mod.rs.
const KV_TILE: u32 = 64u;

// How many of a token's parts have something to do, where a tile has work for `of_tile`. One part, or a multiple of that.
fn parts_used(parts: u32, visible: u32, of_tile: u32) -> u32 {
    return min(parts, (visible + KV_TILE - 1u) / KV_TILE * of_tile);
}
