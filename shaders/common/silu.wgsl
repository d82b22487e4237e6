// silu(z) = z / (1 + e^-z). Source: Shazeer 2020, "GLU Variants Improve Transformer".
fn silu(z: vec4f) -> vec4f {
    // Capped, for beyond f32 a result is indeterminate in WGSL.
    return z / (1.0 + exp(min(-z, vec4f(80.0))));
}
