// What the kernels that choose a token share: the request's settings, and scores. A score is a logit as an integer that is
// ordered as logits are, so that comparing is exact and a threshold can be searched for by halving.

struct Sampling {
    // Low word first.
    seed: vec2u,
    // How many of the most likely tokens to keep; 0 keeps all.
    top_k: u32,
    // Probability to reach; 1 or more keeps all.
    top_p: f32,
    // Repetition penalty.
    penalty: f32,
    // 1 / temperature; 0 takes the best token, and the filters are to keep all.
    scale: f32,
    // How far below the largest logit a token may be: below, all together weigh nothing.
    reach: f32,
    // How far below it may be for min-p; at most `reach`.
    floor: f32,
}

// The score of a logit that is NaN or infinite; above all others.
const NONE: u32 = 0xffffffffu;
const SIGN: u32 = 0x80000000u;

// -0 and 0 have the same.
fn score_of(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    return select(bits | SIGN, ~bits, bits > SIGN);
}

fn logit_of(score: u32) -> f32 {
    return bitcast<f32>(select(~score, score ^ SIGN, score >= SIGN));
}
