// Causal attention of query heads over their part of the KV cache, eight positions at a time with a running maximum and sum:
// for the positions p of a part, w[p] = exp(q . k[p] / sqrt(head_dim) - m); sum = sum of w; mixed = sum of w[p] v[p].
//
// Source: Vaswani et al. 2017 (attention); Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"; Dao et
// al. 2022, "FlashAttention"; Ainslie et al. 2023 (heads that share keys and values). No barriers: an invocation does one token,
// one part of the positions that it sees, and up to four query heads that share their keys, so that these are read once.
// Joined in front: HEADS, KV_HEADS, PAIRS (head_dim / 2), Q_STRIDE (pairs from a token to the next), OUT_STRIDE (the same, in
// out), CONTEXT, TOGETHER (1 to 4, a divisor of HEADS / KV_HEADS), SCALE (1 / sqrt(head_dim)), step.wgsl, kv_tile.wgsl, the
// cache's format and kv_cache.wgsl, which says what formats there are.
//
// parts          1, or a multiple of 8
// q              [tokens][Q_STRIDE] pairs, turned by rope
// keys, values   the cache, as in kv_cache.wgsl
// out            of one part: [tokens][OUT_STRIDE] pairs, the mixed values over the sum
//                else [tokens][HEADS][PAIRS][parts] pairs, the mixed values of each part used, for attention_merge.wgsl
// stats          [tokens][HEADS][parts] (maximum m, sum) of the same; sum is 0 for a part without positions; not set by one part
//
// The positions l + 8c of each tile of 64 (c in 0..8) are read together. With several parts, part p has l = p % 8 in every
// (parts used / 8)-th tile: neighbouring invocations read neighbouring words. With one, they do neighbouring tokens over the
// same words.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> parts: u32;
@group(0) @binding(2) var<storage, read> q: array<vec2f>;
@group(0) @binding(3) var<storage, read> keys: array<Word>;
@group(0) @binding(4) var<storage, read> values: array<Word>;
@group(0) @binding(5) var<storage, read_write> out: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2f>;

const LOWEST: f32 = -3.0e38;

// One number for each of eight positions: the first four of l + 8c, and the last.
struct Eight {
    low: vec4f,
    high: vec4f,
}

// A pair of dimensions of eight keys or values.
struct EightPairs {
    x: Eight,
    y: Eight,
}

// What an invocation knows of one query head.
struct Head {
    maximum: f32,
    sum: f32,
    // By what the sums of the positions before shrink, as the maximum grows.
    shrink: f32,
    // Scores, then weights.
    eight: Eight,
}

fn eight_pairs(p0: vec2f, p1: vec2f, p2: vec2f, p3: vec2f, p4: vec2f, p5: vec2f, p6: vec2f, p7: vec2f) -> EightPairs {
    return EightPairs(
        Eight(vec4f(p0.x, p1.x, p2.x, p3.x), vec4f(p4.x, p5.x, p6.x, p7.x)),
        Eight(vec4f(p0.y, p1.y, p2.y, p3.y), vec4f(p4.y, p5.y, p6.y, p7.y)),
    );
}

// Pair i of eight keys, the first of which lies at `first`.
fn eight_keys(first: u32, i: u32) -> EightPairs {
    let at = first + i / WORD_PAIRS * KV_TILE;
    return eight_pairs(
        unpack_pair(keys[at], i), unpack_pair(keys[at + 8u], i), unpack_pair(keys[at + 16u], i), unpack_pair(keys[at + 24u], i),
        unpack_pair(keys[at + 32u], i), unpack_pair(keys[at + 40u], i), unpack_pair(keys[at + 48u], i), unpack_pair(keys[at + 56u], i),
    );
}

fn eight_values(first: u32, i: u32) -> EightPairs {
    let at = first + i / WORD_PAIRS * KV_TILE;
    return eight_pairs(
        unpack_pair(values[at], i), unpack_pair(values[at + 8u], i), unpack_pair(values[at + 16u], i), unpack_pair(values[at + 24u], i),
        unpack_pair(values[at + 32u], i), unpack_pair(values[at + 40u], i), unpack_pair(values[at + 48u], i), unpack_pair(values[at + 56u], i),
    );
}

fn key_scales(kv_head: u32, position: u32) -> Eight {
    return Eight(
        vec4f(key_scale(kv_head, position), key_scale(kv_head, position + 8u), key_scale(kv_head, position + 16u), key_scale(kv_head, position + 24u)),
        vec4f(key_scale(kv_head, position + 32u), key_scale(kv_head, position + 40u), key_scale(kv_head, position + 48u), key_scale(kv_head, position + 56u)),
    );
}

fn value_scales(kv_head: u32, position: u32) -> Eight {
    return Eight(
        vec4f(value_scale(kv_head, position), value_scale(kv_head, position + 8u), value_scale(kv_head, position + 16u), value_scale(kv_head, position + 24u)),
        vec4f(value_scale(kv_head, position + 32u), value_scale(kv_head, position + 40u), value_scale(kv_head, position + 48u), value_scale(kv_head, position + 56u)),
    );
}

// Adds one pair's part of the scores; `at` is where the query's pair lies.
fn add_scores(head: ptr<function, Head>, at: u32, key: EightPairs) {
    let query = q[at] * (SCALE * PAIR_SCALE);
    (*head).eight.low += query.x * key.x.low + query.y * key.y.low;
    (*head).eight.high += query.x * key.x.high + query.y * key.y.high;
}

// Turns scores to weights, those of vectors with scales; `positions` are those of the first four, of which there are `visible`.
fn weigh(head: ptr<function, Head>, positions: vec4u, visible: u32, keys_by: Eight, values_by: Eight) {
    let lows = positions < vec4u(visible);
    let highs = positions + 32u < vec4u(visible);
    let low = select(vec4f(LOWEST), (*head).eight.low * keys_by.low, lows);
    let high = select(vec4f(LOWEST), (*head).eight.high * keys_by.high, highs);
    let four = max(low, high);
    let maximum = max((*head).maximum, max(max(four.x, four.y), max(four.z, four.w)));
    (*head).shrink = exp((*head).maximum - maximum);
    (*head).maximum = maximum;
    let low_weights = select(vec4f(), exp(low - maximum), lows);
    let high_weights = select(vec4f(), exp(high - maximum), highs);
    (*head).sum = (*head).sum * (*head).shrink + dot(low_weights + high_weights, vec4f(1.0));
    // The scale of a position that is not visible may be anything.
    let low_scaled = select(vec4f(), low_weights * PAIR_SCALE * values_by.low, lows);
    let high_scaled = select(vec4f(), high_weights * PAIR_SCALE * values_by.high, highs);
    (*head).eight = Eight(low_scaled, high_scaled);
}

// The weighted sum of one pair of the values, added to that of the positions before.
fn mix(before: vec2f, head: Head, value: EightPairs) -> vec2f {
    let x = dot(head.eight.low, value.x.low) + dot(head.eight.high, value.x.high);
    let y = dot(head.eight.low, value.y.low) + dot(head.eight.high, value.y.high);
    return before * head.shrink + vec2f(x, y);
}

fn write(token: u32, head: u32, part: u32, pair: u32, sums: vec2f, sum: f32) {
    // One place to write to, for processors run both sides of an `if`.
    let several = parts > 1u;
    let joined = token * OUT_STRIDE + head * PAIRS + pair;
    let apart = ((token * HEADS + head) * PAIRS + pair) * parts + part;
    out[select(joined, apart, several)] = sums / select(sum, 1.0, several);
}

fn write_stats(token: u32, head: u32, part: u32, state: Head) {
    if (parts > 1u) {
        stats[(token * HEADS + head) * parts + part] = vec2f(state.maximum, state.sum);
    }
}

@compute @workgroup_size(8)
fn attention(@builtin(global_invocation_id) id: vec3u) {
    let token = id.x / parts;
    let part = id.x % parts;
    let head = id.y * TOGETHER;
    let visible = min(step.position + token + 1u, CONTEXT);
    let used = parts_used(parts, visible, 8u);
    if (token >= step.tokens || part >= used) {
        return;
    }
    let q_at = token * Q_STRIDE + head * PAIRS;
    let kv_head = head / (HEADS / KV_HEADS);

    // Written out for four heads, for an array of them would not be kept in registers everywhere.
    var head0 = Head(LOWEST, 0.0, 0.0, Eight());
    var head1 = head0;
    var head2 = head0;
    var head3 = head0;
    var sums0: array<vec2f, PAIRS>;
    var sums1: array<vec2f, PAIRS>;
    var sums2: array<vec2f, PAIRS>;
    var sums3: array<vec2f, PAIRS>;
    for (var eighth = part; eighth / 8u * KV_TILE < visible; eighth += used) {
        let position = eighth / 8u * KV_TILE + eighth % 8u;
        let first = cache_at(kv_head, position);
        head0.eight = Eight();
        head1.eight = Eight();
        head2.eight = Eight();
        head3.eight = Eight();
        for (var i = 0u; i < PAIRS; i++) {
            let key = eight_keys(first, i);
            add_scores(&head0, q_at + i, key);
            if (TOGETHER > 1u) {
                add_scores(&head1, q_at + PAIRS + i, key);
            }
            if (TOGETHER > 2u) {
                add_scores(&head2, q_at + 2u * PAIRS + i, key);
            }
            if (TOGETHER > 3u) {
                add_scores(&head3, q_at + 3u * PAIRS + i, key);
            }
        }
        let positions = position + vec4u(0u, 8u, 16u, 24u);
        let keys_by = key_scales(kv_head, position);
        let values_by = value_scales(kv_head, position);
        weigh(&head0, positions, visible, keys_by, values_by);
        if (TOGETHER > 1u) {
            weigh(&head1, positions, visible, keys_by, values_by);
        }
        if (TOGETHER > 2u) {
            weigh(&head2, positions, visible, keys_by, values_by);
        }
        if (TOGETHER > 3u) {
            weigh(&head3, positions, visible, keys_by, values_by);
        }
        for (var i = 0u; i < PAIRS; i++) {
            let value = eight_values(first, i);
            sums0[i] = mix(sums0[i], head0, value);
            if (TOGETHER > 1u) {
                sums1[i] = mix(sums1[i], head1, value);
            }
            if (TOGETHER > 2u) {
                sums2[i] = mix(sums2[i], head2, value);
            }
            if (TOGETHER > 3u) {
                sums3[i] = mix(sums3[i], head3, value);
            }
        }
    }
    write_stats(token, head, part, head0);
    for (var i = 0u; i < PAIRS; i++) {
        write(token, head, part, i, sums0[i], head0.sum);
    }
    if (TOGETHER > 1u) {
        write_stats(token, head + 1u, part, head1);
        for (var i = 0u; i < PAIRS; i++) {
            write(token, head + 1u, part, i, sums1[i], head1.sum);
        }
    }
    if (TOGETHER > 2u) {
        write_stats(token, head + 2u, part, head2);
        for (var i = 0u; i < PAIRS; i++) {
            write(token, head + 2u, part, i, sums2[i], head2.sum);
        }
    }
    if (TOGETHER > 3u) {
        write_stats(token, head + 3u, part, head3);
        for (var i = 0u; i < PAIRS; i++) {
            write(token, head + 3u, part, i, sums3[i], head3.sum);
        }
    }
}
