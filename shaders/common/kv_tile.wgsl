// The tiles of the KV cache. Joined with kv_cache.wgsl, and with attention_merge.wgsl, which must know how many parts
// attention.wgsl has used.

// Positions that lie together: `KV_TILE` in src/ops/mod.rs.
const KV_TILE: u32 = 64u;

// How many of a token's parts have something to do: a tile has work for eight. One part, or a multiple of eight.
fn parts_used(parts: u32, visible: u32) -> u32 {
    return min(parts, (visible + KV_TILE - 1u) / KV_TILE * 8u);
}
