// The end of the gate and up projections where adapters add to both: as finish_swiglu.wgsl, of s gate + a and s up + b.
//
// Joined in front: as there.
//
// squares  [tokens][SQUARES] vec4, partial sums of the stream's squares
// inner    [tokens][ROW_STRIDE]
// added    [tokens][2][ROW_STRIDE], a and b
@group(0) @binding(3) var<storage, read> squares: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> inner: array<f32>;
@group(0) @binding(5) var<storage, read> added: array<f32>;

// `first`: the first of the four rows, in its tile.
fn finish(token: u32, group: u32, first: u32, rows: EightRows) {
    let scale = rms_scale(token);
    for (var j = 0u; j < 4u; j++) {
        let row = 32u * group + first + ROWS_APART * j;
        if (row < ROWS) {
            let at = FIRST_ROW + row;
            let gate = rows.low[j] * scale + added[2u * token * ROW_STRIDE + at];
            let up = rows.high[j] * scale + added[(2u * token + 1u) * ROW_STRIDE + at];
            inner[token * ROW_STRIDE + at] = silu(vec4f(gate)).x * up;
        }
    }
}
