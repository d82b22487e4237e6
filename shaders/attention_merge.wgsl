// Joins the splits of attention.wgsl: out = sum over s of e^(m[s] - m) mixed[s] / sum over s of e^(m[s] - m) sum[s],
// with m the largest m[s].
//
// Joined in front: HEADS, PAIRS (head_dim / 2), SPLITS, ROW_STRIDE (pairs from a token to the next in out).
//
// mixed   [tokens][HEADS][SPLITS][PAIRS] pairs
// stats   [tokens][HEADS][SPLITS] (maximum, sum)
// out     [tokens][ROW_STRIDE] pairs
//
// An invocation produces one pair of one head of one token.
@group(0) @binding(0) var<storage, read> mixed: array<vec2f>;
@group(0) @binding(1) var<storage, read> stats: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec2f>;

@compute @workgroup_size(64)
fn attention_merge(@builtin(global_invocation_id) id: vec3u) {
    let head = id.x / PAIRS;
    let token = id.y;
    if (head >= HEADS) {
        return;
    }
    let slot = (token * HEADS + head) * SPLITS;
    var maximum = stats[slot].x;
    for (var s = 1u; s < SPLITS; s++) {
        maximum = max(maximum, stats[slot + s].x);
    }
    var sum = 0.0;
    var pair = vec2f();
    for (var s = 0u; s < SPLITS; s++) {
        let weight = exp(stats[slot + s].x - maximum);
        sum += weight * stats[slot + s].y;
        pair += weight * mixed[(slot + s) * PAIRS + id.x % PAIRS];
    }
    out[token * ROW_STRIDE + id.x] = pair / sum;
}
