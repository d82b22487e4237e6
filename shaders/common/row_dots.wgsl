// Part of a matrix-vector product: one block of 32 columns times four rows of a tile. Joined after a weights_*.wgsl file and
// before matvec.wgsl or matvec_slices.wgsl, which bind `x` and `weights`.
//
// Scales and offsets are applied once a block: sum of (scale q + offset) x = scale * sum of q x + offset * sum of x.

fn dot8(quants: mat2x4f, low: vec4f, high: vec4f) -> f32 {
    return dot(quants[0], low) + dot(quants[1], high);
}

// Eight columns of rows lane, lane + 8, lane + 16, lane + 24: x is read once for the four. Adds up x in `sum`.
fn octet_dots(base: u32, block: u32, lane: u32, octet: u32, sum: ptr<function, vec4f>) -> vec4f {
    let x_low = x[block * 8u + 2u * octet];
    let x_high = x[block * 8u + 2u * octet + 1u];
    *sum += x_low + x_high;
    let low = x_low * PLACES;
    let high = x_high * PLACES;
    return vec4f(
        dot8(quants8(base, block, lane, octet), low, high),
        dot8(quants8(base, block, lane + 8u, octet), low, high),
        dot8(quants8(base, block, lane + 16u, octet), low, high),
        dot8(quants8(base, block, lane + 24u, octet), low, high),
    );
}

// The block's part of the products of rows lane, lane + 8, lane + 16 and lane + 24 of the tile at `base`.
fn row_dots(base: u32, block: u32, lane: u32) -> vec4f {
    var sum = vec4f();
    // Written out, for not every compiler unrolls a loop.
    var first = octet_dots(base, block, lane, 0u, &sum);
    first += octet_dots(base, block, lane, 1u, &sum);
    var second = octet_dots(base, block, lane, 2u, &sum);
    second += octet_dots(base, block, lane, 3u, &sum);
    let scale0 = block_scale(base, block, lane);
    let scale1 = block_scale(base, block, lane + 8u);
    let scale2 = block_scale(base, block, lane + 16u);
    let scale3 = block_scale(base, block, lane + 24u);
    return first * vec4f(scale0.x, scale1.x, scale2.x, scale3.x)
        + second * vec4f(scale0.y, scale1.y, scale2.y, scale3.y)
        + dot(sum, vec4f(1.0)) * vec4f(scale0.z, scale1.z, scale2.z, scale3.z);
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
