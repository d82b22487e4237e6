// Part of a matrix-vector product: one block of 32 columns times four rows of a tile. Joined after a weights_*.wgsl file and
// before matvec.wgsl or matvec_slices.wgsl, which bind `x` and `weights`.

fn dot8(w: mat2x4f, low: vec4f, high: vec4f) -> f32 {
    return dot(w[0], low) + dot(w[1], high);
}

// Rows lane, lane + 8, lane + 16, lane + 24 of the tile at `base`: x is read once for the four.
fn row_dots(base: u32, block: u32, lane: u32) -> vec4f {
    let scale0 = block_scale(base, block, lane);
    let scale1 = block_scale(base, block, lane + 8u);
    let scale2 = block_scale(base, block, lane + 16u);
    let scale3 = block_scale(base, block, lane + 24u);
    var dots = vec4f();
    for (var octet = 0u; octet < 4u; octet++) {
        let low = x[block * 8u + 2u * octet];
        let high = x[block * 8u + 2u * octet + 1u];
        dots += vec4f(
            dot8(weights8(base, block, lane, octet, scale0), low, high),
            dot8(weights8(base, block, lane + 8u, octet, scale1), low, high),
            dot8(weights8(base, block, lane + 16u, octet, scale2), low, high),
            dot8(weights8(base, block, lane + 24u, octet, scale3), low, high),
        );
    }
    return dots;
}

// Writes the sums of rows lane, lane + 8, lane + 16 and lane + 24 of a tile, as far as the matrix has them.
fn store_rows(tile: u32, lane: u32, sums: vec4f) {
    for (var j = 0u; j < 4u; j++) {
        let row = tile * 32u + lane + 8u * j;
        if (row < ROWS) {
            y[FIRST_ROW + row] = sums[j];
        }
    }
}
