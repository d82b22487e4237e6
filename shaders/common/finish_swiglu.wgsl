// The end of the gate and up projections: inner[token][row] = silu(s gate) * s up, silu(z) = z / (1 + e^-z), with RMSNorm's
// factor s. Gate rows are the low ones, up rows the high ones. Joined after rms_scale.wgsl and silu.wgsl.
//
// Joined in front: ROWS (of each of the two, in this slab), FIRST_ROW (their place in inner), ROW_STRIDE (length of a token's row).
//
// squares  [tokens][SQUARES] vec4, partial sums of the stream's squares
// inner    [tokens][ROW_STRIDE]
@group(0) @binding(3) var<storage, read> squares: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> inner: array<f32>;

// `first`: the first of the four rows, in its tile.
fn finish(token: u32, group: u32, first: u32, rows: EightRows) {
    let scale = rms_scale(token);
    let products = silu(rows.low * scale) * (rows.high * scale);
    for (var j = 0u; j < 4u; j++) {
        let row = 32u * group + first + ROWS_APART * j;
        if (row < ROWS) {
            inner[token * ROW_STRIDE + FIRST_ROW + row] = products[j];
        }
    }
}
