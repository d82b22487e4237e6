// Keys and values in half precision: a pair of neighbouring dimensions in a word. Joined with move_halves.wgsl, kv_unscaled.wgsl,
// kv_cache.wgsl.
alias Word = u32;
// The same word of four neighbouring positions.
alias Four = vec4u;

fn pack_pair(pair: vec2f) -> Word {
    // Beyond the largest half a conversion's result is indeterminate in WGSL.
    return pack2x16float(clamp(pair, vec2f(-65504.0), vec2f(65504.0)));
}

// What unpacked pairs are to be multiplied by: 2^112, the distance between the exponents' biases of halves and floats.
const PAIR_SCALE: f32 = 5.192296858534828e33;

// By moving a half's bits to a float's places, sign and all, which takes processors a fraction of what unpack2x16float does. `i`:
// which pair of its vector it is, all the same here. Halves below 2^-14 may count as zero, as WGSL lets a device treat denormal floats.
fn unpack_pair(word: Word, i: u32) -> vec2f {
    let low = (word & 0x7fffu) * 8192u + (word & 0x8000u) * 65536u;
    return bitcast<vec2f>(vec2u(low, higher_moved(word) + (word & 0x80000000u)));
}
