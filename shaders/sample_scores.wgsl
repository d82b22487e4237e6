// Scores for sampling: scores[i] = the score of logits[i] under the repetition penalty, and each block's largest.
//
// Joined in front: COLUMNS, sampling.wgsl.
//
// sampling  the request's settings
// logits    [COLUMNS]
// seen      [BLOCKS] a bit for each token of prompt and answer
// scores    [COLUMNS]
// maxima    [BLOCKS], NONE where a logit of the block is not a finite number
//
// A lane makes a block of 32 tokens, those of one word of `seen`; a workgroup makes 64 blocks. No lane waits for another.
@group(0) @binding(0) var<uniform> sampling: Sampling;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> seen: array<u32>;
@group(0) @binding(3) var<storage, read_write> scores: array<u32>;
@group(0) @binding(4) var<storage, read_write> maxima: array<u32>;

const BLOCKS: u32 = (COLUMNS + 31u) / 32u;
// Close to the largest number, and far enough from it for what rounding adds.
const LARGE: f32 = 3.4e38;

fn penalised(x: f32) -> f32 {
    // A finite logit stays finite.
    if (x > 0.0) {
        return min(x, LARGE * min(sampling.penalty, 1.0)) / sampling.penalty;
    }
    return max(x, -LARGE / max(sampling.penalty, 1.0)) * sampling.penalty;
}

@compute @workgroup_size(64)
fn sample_scores(@builtin(global_invocation_id) id: vec3u) {
    let block = id.x;
    if (block >= BLOCKS) {
        return;
    }
    // Division by 1 need not be exact.
    let bits = select(seen[block], 0u, sampling.penalty == 1.0);
    var most = 0u;
    for (var i = block * 32u; i < min(block * 32u + 32u, COLUMNS); i++) {
        let x = logits[i];
        var score = NONE;
        // By its bits: a compiler may assume that floats are never NaN or infinite.
        if ((bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u) {
            score = score_of(x);
            if (((bits >> (i & 31u)) & 1u) == 1u) {
                score = score_of(penalised(x));
            }
        }
        scores[i] = score;
        most = max(most, score);
    }
    maxima[block] = most;
}
