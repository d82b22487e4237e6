// Joins the parts of attention.wgsl: out = sum over s of e^(m[s] - m) mixed[s] / sum over s of e^(m[s] - m) sum[s],
// with m the largest m[s].
//
// Joined in front: HEADS, PAIRS (head_dim / 2), PARTS, OUT_STRIDE (pairs from a token to the next in out), PARTS_OF_TILE, step.wgsl,
// kv_tile.wgsl, which says how many parts are used. All tokens lie within the context.
//
// mixed   [tokens][HEADS][PAIRS][PARTS] pairs, those of the parts used
// stats   [tokens][HEADS][PARTS] (maximum, sum), the same
// out     [tokens][OUT_STRIDE] pairs
//
// An invocation produces one pair of one head of one token.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> mixed: array<vec2f>;
@group(0) @binding(2) var<storage, read> stats: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec2f>;

@compute @workgroup_size(8)
fn attention_merge(@builtin(global_invocation_id) id: vec3u) {
    let head = id.x / PAIRS;
    let token = id.y;
    if (head >= HEADS) {
        return;
    }
    let used = parts_used(PARTS, step.position + token + 1u, PARTS_OF_TILE);
    let slot = (token * HEADS + head) * PARTS;
    var maximum = stats[slot].x;
    for (var s = 1u; s < used; s++) {
        maximum = max(maximum, stats[slot + s].x);
    }
    let mixed_at = (token * HEADS * PAIRS + id.x) * PARTS;
    var sum = 0.0;
    var pair = vec2f();
    for (var s = 0u; s < used; s++) {
        let weight = exp(stats[slot + s].x - maximum);
        sum += weight * stats[slot + s].y;
        pair += weight * mixed[mixed_at + s];
    }
    out[token * OUT_STRIDE + id.x] = pair / sum;
}
