// The quants of 4-bit weights as bytes, for matmul_bytes.wgsl. Joined after nibbles.wgsl: eight in two words, first those of even
// columns, then those of odd ones, and so is x.
const BYTES_BELOW: f32 = 0.0;

fn bytes_of_weights(base: u32, block: u32, row: u32, octet: u32) -> vec2u {
    let word = weights[block_at(base, block) + octet * 32u + row];
    return vec2u(word, word >> 4u) & vec2u(0x0f0f0f0fu);
}

fn bytes_of_x(low: vec4i, high: vec4i) -> vec2u {
    return vec2u(pack4xI8(vec4i(low.xz, high.xz)), pack4xI8(vec4i(low.yw, high.yw)));
}
