// Causal attention of query heads over their part of the KV cache, sixteen positions at a time with a running maximum and sum:
// for the positions p of a part, w[p] = exp(q . k[p] / sqrt(head_dim) - m); sum = sum of w; mixed = sum of w[p] v[p].
//
// Source: Vaswani et al. 2017 (attention); Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"; Dao et
// al. 2022, "FlashAttention"; Ainslie et al. 2023 (heads that share keys and values). No barriers: an invocation does one token,
// one part of the positions that it sees, and up to four query heads that share their keys, so that these are read once.
// Joined in front: HEADS, KV_HEADS, PAIRS (head_dim / 2), Q_STRIDE (pairs from a token to the next), OUT_STRIDE (the same, in
// out), CONTEXT, TOGETHER (1 to 4, a divisor of HEADS / KV_HEADS), SCALE (1 / sqrt(head_dim)), step.wgsl, kv_tile.wgsl, the
// cache's format, kv_cache.wgsl, which says what formats there are, kv_q8_scales.wgsl for one with scales, and PARTS_OF_TILE: 4,
// for a lane has a fourth of a tile.
//
// parts          1, or a multiple of 4
// q              [tokens][Q_STRIDE] pairs, turned by rope
// keys, values   the cache, as in kv_cache.wgsl, four words at a time: the same one of neighbouring positions
// out            of one part: [tokens][OUT_STRIDE] pairs, the mixed values over the sum
//                else [tokens][HEADS][PAIRS][parts] pairs, the mixed values of each part used, for attention_merge.wgsl
// stats          [tokens][HEADS][parts] (maximum m, sum) of the same; sum is 0 for a part without positions; not set by one part
//
// A lane of a tile of 64 has its positions 4l + 16c + (0, 1, 2, 3), c in 0..4. With several parts, part p has l = p % 4 in every
// (parts used / 4)-th tile, so that four neighbours read a tile without a gap. With one, they do neighbouring tokens over the same
// words. Four words at once take a software adapter one check of the bounds, and each is read once for all the pairs that it holds.
// PAIRS is at most 128, for the sums of four heads are an invocation's own, which WGSL promises 8 KiB.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> parts: u32;
@group(0) @binding(2) var<storage, read> q: array<vec2f>;
@group(0) @binding(3) var<storage, read> keys: array<Four>;
@group(0) @binding(4) var<storage, read> values: array<Four>;
@group(0) @binding(5) var<storage, read_write> out: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2f>;

const LOWEST: f32 = -3.0e38;
// Fours of neighbouring positions in a tile.
const FOURS: u32 = KV_TILE / 4u;

// A pair of dimensions of the keys or values of a lane's positions: a column has four neighbours. Here as below there is one of each
// column, not a loop: numbers that are reached by a variable would not be kept in registers everywhere.
struct Pairs {
    x: mat4x4f,
    y: mat4x4f,
}

// A lane's positions and the scales of their keys and values.
struct Positions {
    first: u32,
    visible: u32,
    key_scales: mat4x4f,
    value_scales: mat4x4f,
}

// What an invocation knows of one query head.
struct Head {
    maximum: f32,
    sum: f32,
    // By what the sums of the positions before shrink, as the maximum grows.
    shrink: f32,
    // Scores, then weights, of a lane's positions.
    sixteen: mat4x4f,
    // The weighted sums of the values, in whole words.
    mixed: array<vec2f, WORDS * WORD_PAIRS>,
}

// The same word of the keys or values of a lane's positions, or their scales: fours that are sixteen positions apart.
struct Words {
    a: Four,
    b: Four,
    c: Four,
    d: Four,
}

fn key_words(at: u32) -> Words {
    return Words(keys[at], keys[at + 4u], keys[at + 8u], keys[at + 12u]);
}

fn value_words(at: u32) -> Words {
    return Words(values[at], values[at + 4u], values[at + 8u], values[at + 12u]);
}

// Pair i of four neighbours: the first dimension of each, then the second.
fn unpack_four(four: Four, i: u32) -> mat2x4f {
    let a = unpack_pair(four[0], i);
    let b = unpack_pair(four[1], i);
    let c = unpack_pair(four[2], i);
    let d = unpack_pair(four[3], i);
    return transpose(mat4x2f(a, b, c, d));
}

// Pair i of the positions, from the words that hold it.
fn unpack(words: Words, i: u32) -> Pairs {
    let a = unpack_four(words.a, i);
    let b = unpack_four(words.b, i);
    let c = unpack_four(words.c, i);
    let d = unpack_four(words.d, i);
    return Pairs(mat4x4f(a[0], b[0], c[0], d[0]), mat4x4f(a[1], b[1], c[1], d[1]));
}

// Adds one pair's part of the scores; `at` is where the query's pair lies.
fn score(head: ptr<function, Head>, at: u32, key: Pairs) {
    let query = q[at] * (SCALE * PAIR_SCALE);
    (*head).sixteen += query.x * key.x + query.y * key.y;
}

fn score_all(head0: ptr<function, Head>, head1: ptr<function, Head>, head2: ptr<function, Head>, head3: ptr<function, Head>, at: u32, key: Pairs) {
    score(head0, at, key);
    if (TOGETHER > 1u) {
        score(head1, at + PAIRS, key);
    }
    if (TOGETHER > 2u) {
        score(head2, at + 2u * PAIRS, key);
    }
    if (TOGETHER > 3u) {
        score(head3, at + 3u * PAIRS, key);
    }
}

fn largest(four: vec4f) -> f32 {
    return max(max(four.x, four.y), max(four.z, four.w));
}

// Which of four neighbours are seen.
fn seen(first: u32, visible: u32) -> vec4<bool> {
    return first + vec4u(0u, 1u, 2u, 3u) < vec4u(visible);
}

// Turns scores to weights, those of vectors with scales.
fn weigh(head: ptr<function, Head>, positions: Positions) {
    let keys_by = positions.key_scales;
    let values_by = positions.value_scales;
    let seen0 = seen(positions.first, positions.visible);
    let seen1 = seen(positions.first + 16u, positions.visible);
    let seen2 = seen(positions.first + 32u, positions.visible);
    let seen3 = seen(positions.first + 48u, positions.visible);
    let scores0 = select(vec4f(LOWEST), (*head).sixteen[0] * keys_by[0], seen0);
    let scores1 = select(vec4f(LOWEST), (*head).sixteen[1] * keys_by[1], seen1);
    let scores2 = select(vec4f(LOWEST), (*head).sixteen[2] * keys_by[2], seen2);
    let scores3 = select(vec4f(LOWEST), (*head).sixteen[3] * keys_by[3], seen3);
    let maximum = max((*head).maximum, largest(max(max(scores0, scores1), max(scores2, scores3))));
    (*head).shrink = exp((*head).maximum - maximum);
    (*head).maximum = maximum;
    let weights0 = select(vec4f(), exp(scores0 - maximum), seen0);
    let weights1 = select(vec4f(), exp(scores1 - maximum), seen1);
    let weights2 = select(vec4f(), exp(scores2 - maximum), seen2);
    let weights3 = select(vec4f(), exp(scores3 - maximum), seen3);
    (*head).sum = (*head).sum * (*head).shrink + dot((weights0 + weights1) + (weights2 + weights3), vec4f(1.0));
    // The scale of a position that is not visible may be anything.
    (*head).sixteen = mat4x4f(
        select(vec4f(), weights0 * PAIR_SCALE * values_by[0], seen0),
        select(vec4f(), weights1 * PAIR_SCALE * values_by[1], seen1),
        select(vec4f(), weights2 * PAIR_SCALE * values_by[2], seen2),
        select(vec4f(), weights3 * PAIR_SCALE * values_by[3], seen3),
    );
}

fn weighted_sum(weights: mat4x4f, numbers: mat4x4f) -> f32 {
    let low = weights[0] * numbers[0] + weights[1] * numbers[1];
    let high = weights[2] * numbers[2] + weights[3] * numbers[3];
    return dot(low + high, vec4f(1.0));
}

// Adds the weighted sum of pair i of the values to that of the positions before.
fn mix(head: ptr<function, Head>, i: u32, value: Pairs) {
    let mixed = vec2f(weighted_sum((*head).sixteen, value.x), weighted_sum((*head).sixteen, value.y));
    (*head).mixed[i] = (*head).mixed[i] * (*head).shrink + mixed;
}

fn mix_all(head0: ptr<function, Head>, head1: ptr<function, Head>, head2: ptr<function, Head>, head3: ptr<function, Head>, i: u32, value: Pairs) {
    mix(head0, i, value);
    if (TOGETHER > 1u) {
        mix(head1, i, value);
    }
    if (TOGETHER > 2u) {
        mix(head2, i, value);
    }
    if (TOGETHER > 3u) {
        mix(head3, i, value);
    }
}

// Writes what a part makes of a query head.
fn write(token: u32, head: u32, part: u32, state: ptr<function, Head>) {
    // One place to write to, for processors run both sides of an `if`.
    let several = parts > 1u;
    let row = (token * HEADS + head) * parts;
    let joined = token * OUT_STRIDE + head * PAIRS;
    let divisor = select((*state).sum, 1.0, several);
    for (var i = 0u; i < PAIRS; i++) {
        out[select(joined + i, row * PAIRS + i * parts + part, several)] = (*state).mixed[i] / divisor;
    }
    if (several) {
        stats[row + part] = vec2f((*state).maximum, (*state).sum);
    }
}

@compute @workgroup_size(8)
fn attention(@builtin(global_invocation_id) id: vec3u) {
    let token = id.x / parts;
    let part = id.x % parts;
    let head = id.y * TOGETHER;
    let visible = min(step.position + token + 1u, CONTEXT);
    let used = parts_used(parts, visible, PARTS_OF_TILE);
    if (token >= step.tokens || part >= used) {
        return;
    }
    let q_at = token * Q_STRIDE + head * PAIRS;
    let kv_head = head / (HEADS / KV_HEADS);

    // Written out for four heads, for an array of them would not be kept in registers everywhere.
    var head0: Head;
    head0.maximum = LOWEST;
    var head1 = head0;
    var head2 = head0;
    var head3 = head0;
    for (var quarter = part; quarter / PARTS_OF_TILE * KV_TILE < visible; quarter += used) {
        let position = quarter / PARTS_OF_TILE * KV_TILE + quarter % PARTS_OF_TILE * 4u;
        let first = cache_at(kv_head, position) / 4u;
        head0.sixteen = mat4x4f();
        head1.sixteen = mat4x4f();
        head2.sixteen = mat4x4f();
        head3.sixteen = mat4x4f();
        // Where a head's last word is half full, q's next pair is taken too, which is another head's: times zero.
        for (var word = 0u; word < WORDS; word++) {
            let words = key_words(first + word * FOURS);
            let i = word * WORD_PAIRS;
            score_all(&head0, &head1, &head2, &head3, q_at + i, unpack(words, 0u));
            if (WORD_PAIRS > 1u) {
                score_all(&head0, &head1, &head2, &head3, q_at + i + 1u, unpack(words, 1u));
            }
        }
        let positions = Positions(position, visible, key_scales(kv_head, position), value_scales(kv_head, position));
        weigh(&head0, positions);
        if (TOGETHER > 1u) {
            weigh(&head1, positions);
        }
        if (TOGETHER > 2u) {
            weigh(&head2, positions);
        }
        if (TOGETHER > 3u) {
            weigh(&head3, positions);
        }
        for (var word = 0u; word < WORDS; word++) {
            let words = value_words(first + word * FOURS);
            let i = word * WORD_PAIRS;
            mix_all(&head0, &head1, &head2, &head3, i, unpack(words, 0u));
            if (WORD_PAIRS > 1u) {
                mix_all(&head0, &head1, &head2, &head3, i + 1u, unpack(words, 1u));
            }
        }
    }
    write(token, head, part, &head0);
    if (TOGETHER > 1u) {
        write(token, head + 1u, part, &head1);
    }
    if (TOGETHER > 2u) {
        write(token, head + 2u, part, &head2);
    }
    if (TOGETHER > 3u) {
        write(token, head + 3u, part, &head3);
    }
}
