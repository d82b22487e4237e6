// The quants of any format as bytes, for matmul_bytes.wgsl. Joined after its weights_*.wgsl; its PLACES make them whole numbers.
const BYTES_BELOW: f32 = 0.0;

fn bytes_of_weights(base: u32, block: u32, row: u32, octet: u32) -> vec2u {
    let q = quants8(base, block, row, octet);
    return vec2u(pack4xI8(vec4i(q[0] * PLACES[0])), pack4xI8(vec4i(q[1] * PLACES[1])));
}

fn bytes_of_x(low: vec4i, high: vec4i) -> vec2u {
    return vec2u(pack4xI8(low), pack4xI8(high));
}
