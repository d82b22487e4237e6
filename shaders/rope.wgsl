// Rotary position embedding: turns each pair of dimensions (2i, 2i + 1) of a head by position * frequency[i].
//
// Source: Su et al. 2021, "RoFormer". The pairing is by neighbours, as in the paper and in GGUF's llama files; the loader
// reorders the query and key rows of Hugging Face files (which pair halves) to it.
// Queries are turned in place; keys are turned, and values copied, on their way into the cache.
// Joined in front: HEADS, KV_HEADS, PAIRS (head_dim / 2), QKV_STRIDE (pairs from a token to the next), KEYS_AT and VALUES_AT
// (pairs from a token's queries to its keys and values), CONTEXT (positions in the cache), step.wgsl, a kv_*.wgsl file,
// kv_cache.wgsl.
//
// angles         [positions in use, at most CONTEXT][PAIRS] (cosine, sine)
// qkv            [tokens][QKV_STRIDE] pairs
// keys, values   the cache, as in kv_cache.wgsl
//
// An invocation turns one pair of one query head, or one pair of a key head with the value beside it.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> angles: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> qkv: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> keys: array<Pair>;
@group(0) @binding(4) var<storage, read_write> values: array<Pair>;

fn turn(pair: vec2f, angle: vec2f) -> vec2f {
    return vec2f(pair.x * angle.x - pair.y * angle.y, pair.x * angle.y + pair.y * angle.x);
}

@compute @workgroup_size(64)
fn rope(@builtin(global_invocation_id) id: vec3u) {
    let head = id.x / PAIRS;
    let pair = id.x % PAIRS;
    let position = step.position + id.y;
    if (head >= HEADS + KV_HEADS || position >= CONTEXT) {
        return;
    }
    let angle = angles[position * PAIRS + pair];
    let row = id.y * QKV_STRIDE;
    if (head < HEADS) {
        qkv[row + id.x] = turn(qkv[row + id.x], angle);
        return;
    }
    let kv_head = head - HEADS;
    let at = cache_at(kv_head, position) + pair * KV_TILE;
    keys[at] = pack_pair(turn(qkv[row + KEYS_AT + kv_head * PAIRS + pair], angle));
    values[at] = pack_pair(qkv[row + VALUES_AT + kv_head * PAIRS + pair]);
}
