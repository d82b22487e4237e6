// Sample: best[0] = a token drawn by softmax(logits / temperature) after top-k, top-p and min-p, as src/reference/sampler.rs
// does it, or NONE when any logit is not a finite number. Its bit in `seen` is set.
//
// The draw's number depends on the seed and the position of the token being chosen alone. Nothing is sorted: a filter is a
// least score, found by quartering the range of scores. Sums are taken in a fixed order, so the same inputs give the same token.
//
// Joined in front: COLUMNS, LANES, step.wgsl, sampling.wgsl, splitmix64.wgsl.
//
// step      position and number of this run's tokens
// sampling  the request's settings
// maxima    [BLOCKS] the largest score of each block of 32 tokens
// scores    [COLUMNS]; becomes the candidates' scores
// ids       [COLUMNS]; becomes their ids
// seen      [BLOCKS] a bit for each token of prompt and answer
// best      [1]
//
// One workgroup does it all; its size LANES is a power of two from 16. A lane has a stretch of blocks and keeps its
// candidates, in order of ids, where its stretch starts in `scores` and `ids`: no lane reads what another wrote there.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> sampling: Sampling;
@group(0) @binding(2) var<storage, read> maxima: array<u32>;
@group(0) @binding(3) var<storage, read_write> scores: array<u32>;
@group(0) @binding(4) var<storage, read_write> ids: array<u32>;
@group(0) @binding(5) var<storage, read_write> seen: array<u32>;
@group(0) @binding(6) var<storage, read_write> best: array<u32>;

const BLOCKS: u32 = (COLUMNS + 31u) / 32u;
const STRETCH: u32 = (BLOCKS + LANES - 1u) / LANES;
// What a search adds up: blocks, candidates, or their weights. Searched in this order.
const MAXIMA: u32 = 0u;
const COUNT: u32 = 1u;
const WEIGHT: u32 = 2u;
// Each leaves a quarter of the range: 16 find a score exactly, 8 to within 1 %.
const EXACT: u32 = 16u;
const ROUGH: u32 = 8u;

const GROUPS: u32 = 16u;
// Two of each, in turns: a lane may write to one while others still read the one before.
var<workgroup> partials: array<array<vec3f, LANES>, 2>;
var<workgroup> grouped: array<array<vec3f, GROUPS>, 2>;
var<workgroup> top: atomic<u32>;

var<private> lane: u32;
// This lane's candidates in `scores` and `ids`.
var<private> first: u32;
var<private> count: u32;
// The largest score of all.
var<private> highest: u32;
var<private> turn: u32;

// Probability as a fraction of the best token's.
fn weight(score: u32) -> f32 {
    return exp((logit_of(score) - logit_of(highest)) * sampling.scale);
}

// Sums over the lanes; every lane gets them.
fn sum(part: vec3f) -> vec3f {
    turn = 1u - turn;
    partials[turn][lane] = part;
    workgroupBarrier();
    if (lane < GROUPS) {
        var some = vec3f();
        for (var i = 0u; i < LANES / GROUPS; i++) {
            some += partials[turn][lane * (LANES / GROUPS) + i];
        }
        grouped[turn][lane] = some;
    }
    workgroupBarrier();
    var whole = vec3f();
    for (var i = 0u; i < GROUPS; i++) {
        whole += grouped[turn][i];
    }
    return whole;
}

// How many of this lane's maxima reach each of three marks.
fn maxima_from(marks: vec3u) -> vec3f {
    var reached = vec3u();
    for (var block = lane * STRETCH; block < min(lane * STRETCH + STRETCH, BLOCKS); block++) {
        reached += select(vec3u(0u), vec3u(1u), vec3u(maxima[block]) >= marks);
    }
    return vec3f(reached);
}

// How many of this lane's candidates, or how much weight of them, reach each of three marks. Those below `low` are dropped.
fn candidates_from(low: u32, marks: vec3u, what: u32) -> vec3f {
    var reached = vec3f();
    var kept = 0u;
    for (var i = 0u; i < count; i++) {
        let score = scores[first + i];
        if (score >= low) {
            if (kept < i) {
                scores[first + kept] = score;
                ids[first + kept] = ids[first + i];
            }
            kept++;
            var value = 1.0;
            if (what == WEIGHT) {
                value = weight(score);
            }
            reached += select(vec3f(0.0), vec3f(value), vec3u(score) >= marks);
        }
    }
    count = kept;
    return reached;
}

// The largest score such that what lies at or above it comes to `wanted`, or a lower one within what ROUGH leaves; `lowest` where
// what lies above that comes to less.
fn search(what: u32, wanted: f32, lowest: u32, passes: u32) -> u32 {
    var low = lowest;
    var end = max(highest, lowest) + 1u;
    for (var i = 0u; i < passes; i++) {
        let range = end - low;
        let marks = vec3u(low) + vec3u(1u, 2u, 3u) * (range / 4u) + vec3u(1u, 2u, 3u) * (range % 4u) / 4u;
        var part = vec3f();
        if (what == MAXIMA) {
            part = maxima_from(marks);
        } else {
            part = candidates_from(low, marks, what);
        }
        let reached = sum(part);
        if (reached.z >= wanted) {
            low = marks.z;
        } else if (reached.y >= wanted) {
            low = marks.y;
            end = marks.z;
        } else if (reached.x >= wanted) {
            low = marks.x;
            end = marks.y;
        } else {
            end = max(marks.x, low + 1u);
        }
    }
    return low;
}

// Makes this lane's tokens from a score on its candidates.
fn gather(low: u32) {
    first = lane * STRETCH * 32u;
    count = 0u;
    for (var block = lane * STRETCH; block < min(lane * STRETCH + STRETCH, BLOCKS); block++) {
        if (maxima[block] >= low) {
            for (var i = block * 32u; i < min(block * 32u + 32u, COLUMNS); i++) {
                let score = scores[i];
                if (score >= low) {
                    scores[first + count] = score;
                    ids[first + count] = i;
                    count++;
                }
            }
        }
    }
}

// What the filters keep: scores above `border`, the first `ties` of those equal to it, none below `floor`.
struct Kept {
    border: u32,
    ties: u32,
    floor: u32,
}

// The weight of a candidate after the filters; `tie` counts those equal to the border.
fn kept_weight(score: u32, kept: Kept, tie: ptr<function, u32>) -> f32 {
    if (score < kept.border || score < kept.floor) {
        return 0.0;
    }
    if (score == kept.border) {
        *tie += 1u;
        if (*tie > kept.ties) {
            return 0.0;
        }
    }
    return weight(score);
}

@compute @workgroup_size(LANES)
fn sample(@builtin(local_invocation_index) index: u32) {
    lane = index;
    var most = 0u;
    for (var block = lane * STRETCH; block < min(lane * STRETCH + STRETCH, BLOCKS); block++) {
        most = max(most, maxima[block]);
    }
    atomicMax(&top, most);
    workgroupBarrier();
    highest = atomicLoad(&top);

    var low = score_of(logit_of(highest) - sampling.reach);
    let some = sampling.top_k > 0u;
    let filtered = sampling.top_p < 1.0;
    var wanted = f32(sampling.top_k);
    // One place that searches, for a compiler copies what it calls. Where a filter is not wanted there are no passes.
    for (var what = MAXIMA; what <= WEIGHT; what++) {
        var passes = 0u;
        if (what == MAXIMA && some && sampling.top_k <= BLOCKS) {
            // Any k tokens, such as blocks' largest, are a lower bound for the k largest: few candidates remain.
            passes = ROUGH;
        } else if (what == COUNT) {
            gather(low);
            passes = select(0u, EXACT, some);
        } else if (what == WEIGHT && filtered) {
            wanted = sampling.top_p * sum(candidates_from(low, vec3u(low), WEIGHT)).x;
            passes = EXACT;
        }
        low = search(what, wanted, low, passes);
    }
    var kept = Kept(low, COLUMNS, score_of(logit_of(highest) - sampling.floor));
    if (filtered) {
        // Of those at the border, as many as are missing, and the most likely token always.
        let above = sum(candidates_from(low, vec3u(low + 1u), WEIGHT)).x;
        kept.ties = u32(clamp(ceil((wanted - above) / weight(low)), 1.0, f32(COLUMNS)));
    }

    // The draw: through the lanes' sums to one lane, through its candidates to one of them.
    var ties = 0u;
    for (var i = 0u; i < count; i++) {
        ties += select(0u, 1u, scores[first + i] == kept.border);
    }
    sum(vec3f(f32(ties), 0.0, 0.0));
    var ties_before = 0u;
    for (var i = 0u; i < lane; i++) {
        ties_before += u32(partials[turn][i].x);
    }
    var own = 0.0;
    var tie = ties_before;
    for (var i = 0u; i < count; i++) {
        own += kept_weight(scores[first + i], kept, &tie);
    }
    var left = uniform24(sampling.seed, step.position + step.tokens) * sum(vec3f(own, 0.0, 0.0)).x;
    if (sampling.scale == 0.0) {
        // The first of the candidates, all of which are equal to the best.
        left = 0.0;
    }
    var drawn = 0u;
    var drawn_left = left;
    for (var i = 0u; i < LANES; i++) {
        let part = partials[turn][i].x;
        if (part > 0.0) {
            drawn = i;
            drawn_left = left;
            if (left < part) {
                break;
            }
        }
        left -= part;
    }
    if (highest == NONE) {
        if (lane == 0u) {
            best[0] = NONE;
        }
    } else if (lane == drawn) {
        var chosen = 0u;
        tie = ties_before;
        for (var i = 0u; i < count; i++) {
            let part = kept_weight(scores[first + i], kept, &tie);
            if (part > 0.0) {
                chosen = ids[first + i];
                if (drawn_left < part) {
                    break;
                }
            }
            drawn_left -= part;
        }
        best[0] = chosen;
        seen[chosen / 32u] |= 1u << (chosen & 31u);
    }
}
