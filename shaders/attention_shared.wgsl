// Causal attention of query heads over their part of the KV cache, a tile of 64 positions at a time by way of workgroup memory:
// what attention.wgsl computes, which gives the formula and the sources.
//
// For real GPUs: the lanes of a workgroup share a tile, so that neighbouring lanes read neighbouring words, and each key and value
// is read and unpacked once for up to eight rows, the query heads that share it times neighbouring tokens. Joined in front: as for
// attention.wgsl, but PARTS_OF_TILE is 1 and kv_q8_scale.wgsl reads the scales; and TOKENS (a workgroup's; TOGETHER * TOKENS is at
// most 8).
//
// parts          1, or any number of parts
// q              [tokens][Q_STRIDE] pairs, turned by rope
// keys, values   the cache, as in kv_cache.wgsl
// out            of one part: [tokens][OUT_STRIDE] pairs, the mixed values over the sum
//                else [tokens][HEADS][parts][PAIRS] pairs, the mixed values of each part used, for attention_merge_shared.wgsl
// stats          [tokens][HEADS][parts] (maximum, sum) of the same; not set by one part
//
// A workgroup does one part, every (parts used)-th tile, for TOKENS tokens and TOGETHER heads. A tile takes three steps: scores,
// each lane one position and a quarter of the dimensions; weights, each lane one position and four rows; and the mix of values,
// each lane four positions and a sixteenth of the dimensions. Positions l + 16 j (j in 0..4) have a running maximum in common, and
// are brought to that of all in the end. 8 KiB of workgroup memory, and 512 bytes for each 32 dimensions of four rows.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> parts: u32;
@group(0) @binding(2) var<storage, read> q: array<vec2f>;
@group(0) @binding(3) var<storage, read> keys: array<Word>;
@group(0) @binding(4) var<storage, read> values: array<Word>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2f>;

const LOWEST: f32 = -3.0e38;
// Rows come in fours: row r is head r % TOGETHER of the group's, and its token r / TOGETHER.
const ROWS: u32 = TOGETHER * TOKENS;
const FOURS: u32 = (ROWS + 3u) / 4u;
// Pairs of dimensions of a lane: when scores are computed, and when values are mixed.
const QUARTER: u32 = (PAIRS + 4u * WORD_PAIRS - 1u) / (4u * WORD_PAIRS) * WORD_PAIRS;
const SIXTEENTH: u32 = (PAIRS + 15u) / 16u;

// [FOURS][PAIRS][2]: the first, then the second of a pair's dimensions, of four rows.
var<workgroup> queries: array<vec4f, 2u * PAIRS * FOURS>;
// [FOURS][256]: a quarter's part of the scores, [4][64]; then the scores, the weights and 16 shrinks, at SCORES, WEIGHTS, SHRINKS.
// In the end, a dimension in each half.
var<workgroup> shared_rows: array<vec4f, 512>;
const SCORES: u32 = 0u;
const WEIGHTS: u32 = 64u;
const SHRINKS: u32 = 128u;

// Positions that four rows see: none where there is no such row.
fn visible_to(first_token: u32, four: u32) -> vec4u {
    let rows = 4u * four + vec4u(0u, 1u, 2u, 3u);
    let tokens = first_token + rows / TOGETHER;
    let seen = min(step.position + tokens + 1u, vec4u(CONTEXT));
    return select(vec4u(), seen, (rows < vec4u(ROWS)) & (tokens < vec4u(step.tokens)));
}

// A query's pair; zero where there is no such row.
fn query(first_token: u32, first_head: u32, row: u32, pair: u32) -> vec2f {
    let token = first_token + row / TOGETHER;
    if (row >= ROWS || token >= step.tokens) {
        return vec2f();
    }
    return q[token * Q_STRIDE + (first_head + row % TOGETHER) * PAIRS + pair] * (SCALE * PAIR_SCALE);
}

fn share_queries(first_token: u32, first_head: u32, index: u32) {
    for (var i = index; i < PAIRS * FOURS; i += 256u) {
        let row = i / PAIRS * 4u;
        let pair = i % PAIRS;
        let a = query(first_token, first_head, row, pair);
        let b = query(first_token, first_head, row + 1u, pair);
        let c = query(first_token, first_head, row + 2u, pair);
        let d = query(first_token, first_head, row + 3u, pair);
        queries[2u * i] = vec4f(a.x, b.x, c.x, d.x);
        queries[2u * i + 1u] = vec4f(a.y, b.y, c.y, d.y);
    }
}

// A lane's quarter of the scores of a position.
fn share_scores(first: u32, quarter: u32, place: u32) {
    var scores: array<vec4f, FOURS>;
    for (var c = 0u; c < QUARTER; c++) {
        let i = quarter * QUARTER + c;
        if (PAIRS % (4u * WORD_PAIRS) == 0u || i < PAIRS) {
            let key = unpack_pair(keys[first + i / WORD_PAIRS * KV_TILE], i);
            for (var f = 0u; f < FOURS; f++) {
                let at = 2u * (f * PAIRS + i);
                scores[f] += queries[at] * key.x + queries[at + 1u] * key.y;
            }
        }
    }
    for (var f = 0u; f < FOURS; f++) {
        shared_rows[256u * f + place] = scores[f];
    }
}

// Adds up the four quarters of the scores of four rows at a place in a tile; `by`: the key's scale, `seen`: whether they see it.
fn share_sum(base: u32, place: u32, by: f32, seen: vec4<bool>) {
    let low = shared_rows[base + place] + shared_rows[base + 64u + place];
    let score = low + (shared_rows[base + 128u + place] + shared_rows[base + 192u + place]);
    shared_rows[base + SCORES + place] = select(vec4f(LOWEST), score * by, seen);
}

// What a lane knows of the positions whose weights it computes, for four rows.
struct Softmax {
    // Of the positions l + 16 j.
    maximum: vec4f,
    // Of one of them.
    sum: vec4f,
}

// Turns the scores of four rows at a place in a tile to weights, those of values with the scale `by`, and tells by what the sums of
// the tiles before shrink.
fn share_weights(softmax: ptr<function, Softmax>, base: u32, place: u32, by: f32, seen: vec4<bool>) {
    let at = base + SCORES + place % 16u;
    let four = max(max(shared_rows[at], shared_rows[at + 16u]), max(shared_rows[at + 32u], shared_rows[at + 48u]));
    let score = shared_rows[base + SCORES + place];
    let maximum = max((*softmax).maximum, four);
    let shrink = exp((*softmax).maximum - maximum);
    let weight = select(vec4f(), exp(score - maximum), seen);
    (*softmax).maximum = maximum;
    (*softmax).sum = (*softmax).sum * shrink + weight;
    // The scale of a position that nobody sees may be anything.
    shared_rows[base + WEIGHTS + place] = select(vec4f(), weight * (PAIR_SCALE * by), seen);
    if (place < 16u) {
        shared_rows[base + SHRINKS + place] = shrink;
    }
}

fn maximum_of_sixteen(first: u32) -> vec4f {
    var maximum = shared_rows[first];
    for (var i = first + 1u; i < first + 16u; i++) {
        maximum = max(maximum, shared_rows[i]);
    }
    return maximum;
}

fn sum_of(first: u32, count: u32) -> vec4f {
    var sum = vec4f();
    for (var i = first; i < first + count; i++) {
        sum += shared_rows[i];
    }
    return sum;
}

// Sums of values stay in registers: what works on them is not cut into functions.
@compute @workgroup_size(256)
fn attention_shared(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
    let first_token = group.x / parts * TOKENS;
    let part = group.x % parts;
    let first_head = group.y * TOGETHER;
    let kv_head = first_head / (HEADS / KV_HEADS);
    let last = min(first_token + TOKENS, step.tokens);
    let visible = min(step.position + last, CONTEXT);
    let used = parts_used(parts, visible, PARTS_OF_TILE);
    if (part >= used) {
        return;
    }
    let place = index % 64u;
    let quarter = index / 64u;
    let sixteenth = index / 16u;
    let visible_rows = visible_to(first_token, quarter);
    share_queries(first_token, first_head, index);
    var softmax = Softmax(vec4f(LOWEST), vec4f());
    // [SIXTEENTH][FOURS]
    var mixed_x: array<vec4f, SIXTEENTH * FOURS>;
    var mixed_y: array<vec4f, SIXTEENTH * FOURS>;
    for (var tile = part; tile * KV_TILE < visible; tile += used) {
        let position = tile * KV_TILE + place;
        let base = 256u * quarter;
        let seen = vec4u(position) < visible_rows;
        workgroupBarrier();
        share_scores(cache_at(kv_head, position), quarter, index);
        workgroupBarrier();
        if (quarter < FOURS) {
            share_sum(base, place, key_scale(kv_head, position), seen);
        }
        workgroupBarrier();
        if (quarter < FOURS) {
            share_weights(&softmax, base, place, value_scale(kv_head, position), seen);
        }
        workgroupBarrier();
        let first = cache_at(kv_head, tile * KV_TILE + index % 16u);
        for (var k = 0u; k < SIXTEENTH; k++) {
            let i = min(sixteenth * SIXTEENTH + k, PAIRS - 1u);
            let at = first + i / WORD_PAIRS * KV_TILE;
            let a = unpack_pair(values[at], i);
            let b = unpack_pair(values[at + 16u], i);
            let c = unpack_pair(values[at + 32u], i);
            let d = unpack_pair(values[at + 48u], i);
            for (var f = 0u; f < FOURS; f++) {
                let own = 256u * f + index % 16u;
                let shrink = shared_rows[own + SHRINKS];
                let w0 = shared_rows[own + WEIGHTS];
                let w1 = shared_rows[own + WEIGHTS + 16u];
                let w2 = shared_rows[own + WEIGHTS + 32u];
                let w3 = shared_rows[own + WEIGHTS + 48u];
                let m = k * FOURS + f;
                mixed_x[m] = mixed_x[m] * shrink + ((w0 * a.x + w1 * b.x) + (w2 * c.x + w3 * d.x));
                mixed_y[m] = mixed_y[m] * shrink + ((w0 * a.y + w1 * b.y) + (w2 * c.y + w3 * d.y));
            }
        }
    }
    // Maxima of the sixteen, for what they are to be multiplied by; then sums.
    workgroupBarrier();
    if (quarter < FOURS) {
        shared_rows[256u * quarter + place] = softmax.maximum;
    }
    workgroupBarrier();
    var maximum: array<vec4f, FOURS>;
    var factor: array<vec4f, FOURS>;
    for (var f = 0u; f < FOURS; f++) {
        maximum[f] = maximum_of_sixteen(256u * f);
        factor[f] = exp(shared_rows[256u * f + index % 16u] - maximum[f]);
    }
    workgroupBarrier();
    for (var f = 0u; f < FOURS; f++) {
        if (quarter == f) {
            shared_rows[256u * f + place] = softmax.sum * exp(softmax.maximum - maximum[f]);
        }
    }
    workgroupBarrier();
    var total: array<vec4f, FOURS>;
    for (var f = 0u; f < FOURS; f++) {
        total[f] = sum_of(256u * f, 64u);
    }
    for (var f = 0u; f < FOURS; f++) {
        for (var k = 0u; k < SIXTEENTH; k++) {
            let m = k * FOURS + f;
            workgroupBarrier();
            shared_rows[index] = mixed_x[m] * factor[f];
            shared_rows[256u + index] = mixed_y[m] * factor[f];
            workgroupBarrier();
            let pair = index % 16u * SIXTEENTH + k;
            if (index < 32u && pair < PAIRS) {
                write(first_token, first_head, part, f, 2u * pair + index / 16u, sum_of(16u * index, 16u), total[f]);
            }
        }
        if (index == 0u && parts > 1u) {
            write_stats(first_token, first_head, part, f, maximum[f], total[f]);
        }
    }
}

fn write(first_token: u32, first_head: u32, part: u32, four: u32, dimension: u32, mixed: vec4f, sum: vec4f) {
    for (var c = 0u; c < 4u; c++) {
        let row = 4u * four + c;
        let token = first_token + row / TOGETHER;
        let head = first_head + row % TOGETHER;
        if (row < ROWS && token < step.tokens) {
            if (parts > 1u) {
                out[((token * HEADS + head) * parts + part) * 2u * PAIRS + dimension] = mixed[c];
            } else {
                out[2u * (token * OUT_STRIDE + head * PAIRS) + dimension] = mixed[c] / sum[c];
            }
        }
    }
}

fn write_stats(first_token: u32, first_head: u32, part: u32, four: u32, maximum: vec4f, sum: vec4f) {
    for (var c = 0u; c < 4u; c++) {
        let row = 4u * four + c;
        let token = first_token + row / TOGETHER;
        let head = first_head + row % TOGETHER;
        if (row < ROWS && token < step.tokens) {
            stats[(token * HEADS + head) * parts + part] = vec2f(maximum[c], sum[c]);
        }
    }
}
