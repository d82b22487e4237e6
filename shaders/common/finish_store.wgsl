// A product's end: y[token][row] = s W (g x), with RMSNorm's factor s. Joined after rms_scale.wgsl.
//
// Joined in front: ROWS (of this slab), FIRST_ROW (its place in y), ROW_STRIDE (length of a token's row in y), ONE_ROW (y has a
// row for the last token alone).
//
// squares  [tokens][SQUARES] vec4, partial sums of the stream's squares
// y        [tokens][ROW_STRIDE]
@group(0) @binding(3) var<storage, read> squares: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// `first`: the first of the four rows, in its tile.
fn finish(token: u32, group: u32, first: u32, rows: EightRows) {
    let scale = rms_scale(token);
    let start = select(token, 0u, ONE_ROW) * ROW_STRIDE + FIRST_ROW;
    for (var j = 0u; j < 4u; j++) {
        let row = 64u * group + first + ROWS_APART * j;
        if (row < ROWS) {
            y[start + row] = rows.low[j] * scale;
        }
        if (row + 32u < ROWS) {
            y[start + row + 32u] = rows.high[j] * scale;
        }
    }
}
