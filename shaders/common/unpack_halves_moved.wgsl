// The f16s of a word, the lower bits' first, by moving bits: the same numbers as in unpack_halves.wgsl, whose built-in function
// takes software adapters more than twice as many instructions. Only for f16s that are finite, as all of a model's are known to be.
//
// Moved to a float's places and with the exponents' biases made equal, a magnitude is m. Where it is below c = 2^-14, the float
// has one bit too many in front, and 2 m - c is meant: in general m + (t - |t|) / 2 with t = m - c. No float here is denormal.
// Joined with move_halves.wgsl and the files of a format (weights_*.wgsl and the like).
const BIASES_APART: u32 = 0x38000000u;

fn corrected(moved: u32) -> u32 {
    let m = bitcast<f32>(moved + BIASES_APART);
    let t = m - 0.00006103515625;
    return bitcast<u32>(m + (t - abs(t)) * 0.5);
}

fn unpack_halves(word: u32) -> vec2f {
    let lower = corrected((word & 0x7fffu) * 8192u) | ((word & 0x8000u) * 65536u);
    return bitcast<vec2f>(vec2u(lower, corrected(higher_moved(word)) | (word & 0x80000000u)));
}

// The one in the higher bits.
fn unpack_higher_half(word: u32) -> f32 {
    return bitcast<f32>(corrected(higher_moved(word)) | (word & 0x80000000u));
}
