// A product's end: y[token][row] = W x, or with ADD += W x.
//
// Joined in front: ROWS (of this slab), FIRST_ROW (its place in y), ROW_STRIDE (length of a token's row in y), ONE_ROW (y has a
// row for the last token alone), ADD.
//
// y        [tokens][ROW_STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn finish_row(start: u32, row: u32, product: f32) {
    if (row < ROWS) {
        y[start + row] = select(0.0, y[start + row], ADD) + product;
    }
}

// `first`: the first of the four rows, in its tile.
fn finish(token: u32, group: u32, first: u32, rows: EightRows) {
    let start = select(token, 0u, ONE_ROW) * ROW_STRIDE + FIRST_ROW;
    for (var j = 0u; j < 4u; j++) {
        let row = 64u * group + first + ROWS_APART * j;
        finish_row(start, row, rows.low[j]);
        finish_row(start, row + 32u, rows.high[j]);
    }
}
