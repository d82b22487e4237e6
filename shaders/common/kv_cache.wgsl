// Where the cache holds keys and values: [KV_HEADS][CONTEXT / KV_TILE][WORDS][KV_TILE], so that invocations which take
// neighbouring positions read neighbouring words; behind the words, what kv_q8.wgsl says. Joined in front: CONTEXT (a multiple of
// KV_TILE), PAIRS (head_dim / 2), kv_tile.wgsl, the format: kv_f16.wgsl or kv_f32.wgsl with kv_unscaled.wgsl, or kv_q8.wgsl.

// Words of a head's vector: several pairs may share one.
const WORDS: u32 = (PAIRS + WORD_PAIRS - 1u) / WORD_PAIRS;

// The first word of a position; pair i is in the one i / WORD_PAIRS * KV_TILE further.
fn cache_at(kv_head: u32, position: u32) -> u32 {
    return (kv_head * CONTEXT + position / KV_TILE * KV_TILE) * WORDS + position % KV_TILE;
}
