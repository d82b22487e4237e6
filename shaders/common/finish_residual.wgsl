// A product's end: stream[token][row] += W x, and what the next norm wants of it: its product with the norm's weights, and
// partial sums of its squares.
//
// Joined in front: ROWS (of this slab), FIRST_ROW (its place in the stream), ROW_STRIDE (length of a token's row), SQUARES.
//
// gains     [rows of all slabs], the next norm's weights
// stream    [tokens][ROW_STRIDE], the residual stream
// weighted  [tokens][ROW_STRIDE], stream x gains
// squares   [tokens][4 SQUARES], a sum for each eight rows of a group of 64
@group(0) @binding(3) var<storage, read> gains: array<f32>;
@group(0) @binding(4) var<storage, read_write> stream: array<f32>;
@group(0) @binding(5) var<storage, read_write> weighted: array<f32>;
@group(0) @binding(6) var<storage, read_write> squares: array<f32>;

// Returns the square of the row's new value.
fn add_row(token: u32, row: u32, product: f32) -> f32 {
    if (row >= ROWS) {
        return 0.0;
    }
    let at = token * ROW_STRIDE + FIRST_ROW + row;
    let value = stream[at] + product;
    stream[at] = value;
    weighted[at] = value * gains[FIRST_ROW + row];
    return value * value;
}

// `first`: the first of the four rows, in its tile.
fn finish(token: u32, group: u32, first: u32, rows: EightRows) {
    var sum = 0.0;
    for (var j = 0u; j < 4u; j++) {
        let row = 64u * group + first + ROWS_APART * j;
        sum += add_row(token, row, rows.low[j]) + add_row(token, row + 32u, rows.high[j]);
    }
    // With lanes four apart, the second fours start at row 16.
    squares[token * 4u * SQUARES + FIRST_ROW / 8u + 8u * group + first % 16u + first / 16u * 4u] = sum;
}
