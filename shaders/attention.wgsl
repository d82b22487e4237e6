// Causal attention of each query over its part of the KV cache, tile by tile with a running maximum and sum:
// for positions p of a split, w[p] = exp(q . k[p] / sqrt(head_dim) - m); sum = sum of w; mixed = sum of w[p] v[p].
//
// Source: Vaswani et al. 2017 (attention); Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"; Dao et
// al. 2022, "FlashAttention". No barriers: an invocation does one query head, one token, one split of the positions that the
// token sees, and attention_merge.wgsl joins the splits.
// Joined in front: HEADS, KV_HEADS, PAIRS (head_dim / 2), Q_STRIDE (pairs from a token to the next), CONTEXT, SPLITS, SCALE
// (1 / sqrt(head_dim)), step.wgsl, a kv_*.wgsl file.
//
// q              [tokens][Q_STRIDE] pairs, turned by rope
// keys, values   [KV_HEADS][CONTEXT][PAIRS] Pair
// mixed          [tokens][HEADS][SPLITS][PAIRS] pairs: the weighted sum of values
// stats          [tokens][HEADS][SPLITS] (maximum m, sum); sum is 0 for a split without positions
//
// Neighbouring invocations do neighbouring tokens, which read the same keys.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> q: array<vec2f>;
@group(0) @binding(2) var<storage, read> keys: array<Pair>;
@group(0) @binding(3) var<storage, read> values: array<Pair>;
@group(0) @binding(4) var<storage, read_write> mixed: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> stats: array<vec2f>;

// Positions whose scores are taken together, so that the running sums are rescaled once for them all.
const TILE: u32 = 8u;
const LOWEST: f32 = -3.0e38;

@compute @workgroup_size(32)
fn attention(@builtin(global_invocation_id) id: vec3u) {
    let token = id.x % step.tokens;
    let split = id.x / step.tokens;
    let head = id.y;
    if (split >= SPLITS) {
        return;
    }
    let visible = min(step.position + token + 1u, CONTEXT);
    let length = (visible + SPLITS - 1u) / SPLITS;
    let end = min(visible, (split + 1u) * length);
    let cache = (head / (HEADS / KV_HEADS)) * CONTEXT * PAIRS;

    var query: array<vec2f, PAIRS>;
    var sums: array<vec2f, PAIRS>;
    for (var i = 0u; i < PAIRS; i++) {
        query[i] = q[token * Q_STRIDE + head * PAIRS + i] * SCALE;
    }
    var maximum = LOWEST;
    var sum = 0.0;
    for (var first = split * length; first < end; first += TILE) {
        let count = min(TILE, end - first);
        var scores: array<f32, TILE>;
        var tile_maximum = maximum;
        for (var p = 0u; p < count; p++) {
            let at = cache + (first + p) * PAIRS;
            var score = 0.0;
            for (var i = 0u; i < PAIRS; i++) {
                score += dot(query[i], unpack_pair(keys[at + i]));
            }
            scores[p] = score;
            tile_maximum = max(tile_maximum, score);
        }
        let shrink = exp(maximum - tile_maximum);
        maximum = tile_maximum;
        sum *= shrink;
        for (var i = 0u; i < PAIRS; i++) {
            sums[i] *= shrink;
        }
        for (var p = 0u; p < count; p++) {
            let weight = exp(scores[p] - maximum);
            let at = cache + (first + p) * PAIRS;
            sum += weight;
            for (var i = 0u; i < PAIRS; i++) {
                sums[i] += weight * unpack_pair(values[at + i]);
            }
        }
    }
    let slot = (token * HEADS + head) * SPLITS + split;
    stats[slot] = vec2f(maximum, sum);
    for (var i = 0u; i < PAIRS; i++) {
        mixed[slot * PAIRS + i] = sums[i];
    }
}
