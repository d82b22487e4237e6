// Where the cache holds keys and values: [KV_HEADS][CONTEXT / KV_TILE][PAIRS][KV_TILE], so that invocations which take
// neighbouring positions read neighbouring words. Joined in front: CONTEXT (a multiple of KV_TILE), PAIRS (head_dim / 2).
const KV_TILE: u32 = 64u;

// The first pair of a position; pair i is i * KV_TILE further.
fn cache_at(kv_head: u32, position: u32) -> u32 {
    return (kv_head * CONTEXT + position / KV_TILE * KV_TILE) * PAIRS + position % KV_TILE;
}
