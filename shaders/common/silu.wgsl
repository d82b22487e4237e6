// silu(z) = z / (1 + e^-z). Source: Shazeer 2020, "GLU Variants Improve Transformer".
fn silu(z: f32) -> f32 {
    // Capped, for beyond f32 a result is indeterminate in WGSL.
    return z / (1.0 + exp(min(-z, 80.0)));
}
