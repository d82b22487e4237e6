// The f16s of a word, the lower bits' first. Joined with the files of a format (weights_*.wgsl and the like).
fn unpack_halves(word: u32) -> vec2f {
    return unpack2x16float(word);
}

// The one in the higher bits.
fn unpack_higher_half(word: u32) -> f32 {
    return unpack2x16float(word).y;
}
