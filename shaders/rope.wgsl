// Rotary position embedding: turns each pair of dimensions (2i, 2i + 1) of a head by position * frequency[i].
//
// Source: Su et al. 2021, "RoFormer". The pairing is by neighbours, as in the paper and in GGUF's llama files; the loader
// reorders the query and key rows of Hugging Face files (which pair halves) to it.
// Queries are turned in place; keys are turned, and values copied, on their way into the cache.
// Joined in front: HEADS, KV_HEADS, PAIRS (head_dim / 2), Q_STRIDE and KV_STRIDE (pairs from a token to the next), CONTEXT
// (positions in the cache), step.wgsl, a kv_*.wgsl file.
//
// angles         [CONTEXT][PAIRS] (cosine, sine)
// k, v           [tokens][KV_STRIDE] pairs
// q              [tokens][Q_STRIDE] pairs
// keys, values   [KV_HEADS][CONTEXT][PAIRS] Pair
//
// An invocation turns one pair of one query head, or one pair of a key head with the value beside it.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> angles: array<vec2f>;
@group(0) @binding(2) var<storage, read> k: array<vec2f>;
@group(0) @binding(3) var<storage, read> v: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> q: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> keys: array<Pair>;
@group(0) @binding(6) var<storage, read_write> values: array<Pair>;

fn turn(pair: vec2f, angle: vec2f) -> vec2f {
    return vec2f(pair.x * angle.x - pair.y * angle.y, pair.x * angle.y + pair.y * angle.x);
}

@compute @workgroup_size(64)
fn rope(@builtin(global_invocation_id) id: vec3u) {
    let head = id.x / PAIRS;
    let token = id.y;
    let position = step.position + token;
    if (head >= HEADS + KV_HEADS || position >= CONTEXT) {
        return;
    }
    let angle = angles[position * PAIRS + id.x % PAIRS];
    if (head < HEADS) {
        let at = token * Q_STRIDE + id.x;
        q[at] = turn(q[at], angle);
        return;
    }
    let from_at = token * KV_STRIDE + id.x - HEADS * PAIRS;
    let to_at = ((head - HEADS) * CONTEXT + position) * PAIRS + id.x % PAIRS;
    keys[to_at] = pack_pair(turn(k[from_at], angle));
    values[to_at] = pack_pair(v[from_at]);
}
