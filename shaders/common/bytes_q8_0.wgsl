// The quants of Q8_0 as bytes, for matmul_bytes.wgsl. Joined after weights_q8_0.wgsl, which reads them 128 higher.
const BYTES_BELOW: f32 = 128.0;

fn bytes_of_weights(base: u32, block: u32, row: u32, octet: u32) -> vec2u {
    let at = block_at(base, block) + octet * 64u + row;
    return vec2u(weights[at], weights[at + 32u]);
}

fn bytes_of_x(low: vec4i, high: vec4i) -> vec2u {
    return vec2u(pack4xI8(low), pack4xI8(high));
}
