// The factor of RMSNorm: 1 / sqrt(mean over i of x[i]^2 + EPS). It commutes with a product, W (g x s) = s W (g x), so that
// products take the residual stream times the norm's weights, and scale their sums.
//
// Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization".
// Joined in front: COLUMNS (of a row of the stream), SQUARES (vec4s in which whoever wrote the row left partial sums of its
// squares), EPS. The kernel binds `squares`, [tokens][SQUARES].
fn rms_scale(token: u32) -> f32 {
    var sum = vec4f();
    for (var i = 0u; i < SQUARES; i++) {
        sum += squares[token * SQUARES + i];
    }
    return 1.0 / sqrt(dot(sum, vec4f(1.0)) / f32(COLUMNS) + EPS);
}
