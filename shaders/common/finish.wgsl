// What becomes of a product's rows p = W x, or p = s W (g x) after a norm, with RMSNorm's factor s and its weights g, which are in
// x already. Joined with product.wgsl, which says what is bound, silu.wgsl and an x_*.wgsl file.
//
// written:  y[token][row] = p, or with ADDS += p
// joined:   y[token][row] += p, weighted[token][row] = y[token][row] * g of the next norm, and sums of the squares of y[token]
// gated:    y[token][row] = silu(p of the gate) * p of the up projection, or with ADDS silu(p + a) * (p + b)
//
// Which of the three is said by `product`. Joined in front: ADDS (what only adapters need: another pipeline). There is little
// here, and loops without turns in the place of an `if`, for processors run both sides of that, and what the loop of the product
// keeps in registers depends on what follows it.

// The factor of a token's products: s, or 1 where no norm comes before. `member`: the lane's number in its quad.
//
// s = 1 / sqrt(mean over i of stream[i]^2 + eps) commutes with a product, W (g x s) = s W (g x), so that no kernel needs to wait
// for it before the product. Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization".
fn scale_of(p: Product, token: u32, member: u32) -> f32 {
    let sum = sum_of_squares(token * p.squares, select(0u, p.squares, p.normed != 0u), member);
    return scale_from(p, dot(sum, vec4f(1.0)));
}

// The same from the sum of the stream's squares.
fn scale_from(p: Product, squares: f32) -> f32 {
    return select(1.0, 1.0 / sqrt(squares / f32(p.columns) + p.eps), p.normed != 0u);
}

fn gate(p: Product, token: u32, row: u32, products: vec2f) -> f32 {
    var both = products;
    if (ADDS && row < p.rows) {
        let at = 2u * token * p.row_stride + p.first_row + row;
        both += vec2f(extra[at], extra[at + p.row_stride]);
    }
    return silu(both.x) * both.y;
}

// `adds`: to what is there.
fn write_row(at: u32, product: f32, adds: bool) {
    if (adds) {
        y[at] += product;
    } else {
        y[at] = product;
    }
}

// Returns the square of the row's new value.
fn join_row(p: Product, start: u32, row: u32, product: f32) -> f32 {
    if (row >= p.rows) {
        return 0.0;
    }
    let value = y[start + row] + product;
    y[start + row] = value;
    weighted[start + row] = value * extra[p.first_row + row];
    return value * value;
}

// `p` is `product`, read once; `scale` that of the token; `first` the first of the four rows, in its tile.
fn finish(p: Product, scale: f32, token: u32, group: u32, first: u32, rows: EightRows) {
    let start = select(token, 0u, p.one_row != 0u) * p.row_stride + p.first_row;
    let low = rows.low * scale;
    let high = rows.high * scale;
    let joined = p.end == JOINED;
    let gated = p.end == GATED;
    for (var j = 0u; j < select(4u, 0u, joined); j++) {
        let row = select(64u, 32u, gated) * group + first + ROWS_APART * j;
        var value = low[j];
        if (gated) {
            value = gate(p, token, row, vec2f(low[j], high[j]));
        }
        if (row < p.rows) {
            write_row(start + row, value, ADDS && !gated);
        }
        if (row + 32u < p.rows && !gated) {
            write_row(start + row + 32u, high[j], ADDS);
        }
    }
    var sum = 0.0;
    for (var j = 0u; j < select(0u, 4u, joined); j++) {
        let row = 64u * group + first + ROWS_APART * j;
        sum += join_row(p, start, row, low[j]) + join_row(p, start, row + 32u, high[j]);
    }
    if (joined) {
        // With lanes four apart, the second fours start at row 16.
        let eighth = p.first_row / 8u + 8u * group + first % 16u + first / 16u * 4u;
        sums[token * 4u * p.squares + eighth] = sum;
    }
}

// The same where a lane finishes rows of a token once.
fn finish_token(token: u32, group: u32, lane: u32, rows: EightRows) {
    let p = product;
    finish(p, scale_of(p, token, lane & 3u), token, group, lane, rows);
}
