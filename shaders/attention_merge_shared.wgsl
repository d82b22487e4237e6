// Joins the parts of attention_shared.wgsl: out = sum over s of e^(m[s] - m) mixed[s] / sum over s of e^(m[s] - m) sum[s],
// with m the largest m[s].
//
// For real GPUs: the lanes of a workgroup share the parts. Joined in front: HEADS, PAIRS (head_dim / 2, at most 256), PARTS (at most
// 128), OUT_STRIDE (pairs from a token to the next in out), PARTS_OF_TILE, step.wgsl, kv_tile.wgsl. All tokens lie within the context.
//
// mixed   [tokens][HEADS][PARTS][PAIRS] pairs, those of the parts used
// stats   [tokens][HEADS][PARTS] (maximum, sum), the same
// out     [tokens][OUT_STRIDE] pairs
//
// A workgroup produces one head of one token; a lane one pair of every SHARES-th part, which the first ones add up.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> mixed: array<vec2f>;
@group(0) @binding(2) var<storage, read> stats: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec2f>;

const SHARES: u32 = 256u / PAIRS;

var<workgroup> maxima: array<f32, PARTS>;
// A pair, and the sum of its weights.
var<workgroup> sums: array<vec3f, 256>;

@compute @workgroup_size(256)
fn attention_merge_shared(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
    let token = group.y;
    let head = group.x;
    let used = parts_used(PARTS, step.position + token + 1u, PARTS_OF_TILE);
    let first = (token * HEADS + head) * PARTS;
    if (index < used) {
        maxima[index] = stats[first + index].x;
    }
    workgroupBarrier();
    var maximum = maxima[0];
    for (var s = 1u; s < used; s++) {
        maximum = max(maximum, maxima[s]);
    }
    let pair = index % PAIRS;
    var sum = vec3f();
    for (var s = index / PAIRS; s < used; s += SHARES) {
        let weight = exp(maxima[s] - maximum);
        sum += weight * vec3f(mixed[(first + s) * PAIRS + pair], stats[first + s].y);
    }
    sums[index] = sum;
    workgroupBarrier();
    if (index < PAIRS) {
        for (var share = 1u; share < SHARES; share++) {
            sum += sums[share * PAIRS + pair];
        }
        out[token * OUT_STRIDE + head * PAIRS + pair] = sum.xy / sum.z;
    }
}
