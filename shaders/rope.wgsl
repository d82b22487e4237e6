// Rotary position embedding: turns each pair of dimensions (2i, 2i + 1) of a head by position * frequency[i].
//
// Source: Su et al. 2021, "RoFormer". The pairing is by neighbours, as in the paper and in GGUF's llama files; the loader
// reorders the query and key rows of Hugging Face files (which pair halves) to it.
// Queries are turned in place; keys are turned, and values copied, on their way into the cache.
// Joined in front: HEADS, KV_HEADS, PAIRS (head_dim / 2), QKV_STRIDE (pairs from a token to the next), KEYS_AT and VALUES_AT
// (pairs from a token's queries to its keys and values), CONTEXT (positions in the cache), step.wgsl, the cache's
// format and kv_cache.wgsl, which says what formats there are, and the format's kv_store_pairs.wgsl or kv_store_q8.wgsl.
//
// angles         [positions in use, at most CONTEXT][PAIRS] (cosine, sine)
// qkv            [tokens][QKV_STRIDE] pairs
// keys, values   the cache, as in kv_cache.wgsl
//
// An invocation turns one pair of one query head, or stores one pair (or word) of a key head with the value beside it.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> angles: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> qkv: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> keys: array<Word>;
@group(0) @binding(4) var<storage, read_write> values: array<Word>;

fn turn(pair: vec2f, angle: vec2f) -> vec2f {
    return vec2f(pair.x * angle.x - pair.y * angle.y, pair.x * angle.y + pair.y * angle.x);
}

fn key_pair(token: u32, kv_head: u32, position: u32, pair: u32) -> vec2f {
    let key = qkv[token * QKV_STRIDE + KEYS_AT + kv_head * PAIRS + pair];
    return turn(key, angles[position * PAIRS + pair]);
}

fn value_pair(token: u32, kv_head: u32, pair: u32) -> vec2f {
    return qkv[token * QKV_STRIDE + VALUES_AT + kv_head * PAIRS + pair];
}

@compute @workgroup_size(64)
fn rope(@builtin(global_invocation_id) id: vec3u) {
    let head = id.x / PAIRS;
    let pair = id.x % PAIRS;
    let position = step.position + id.y;
    if (head >= HEADS + KV_HEADS || position >= CONTEXT) {
        return;
    }
    if (head < HEADS) {
        let at = id.y * QKV_STRIDE + id.x;
        qkv[at] = turn(qkv[at], angles[position * PAIRS + pair]);
    } else {
        store(id.y, head - HEADS, position, pair);
    }
}
