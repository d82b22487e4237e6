// Part of a matrix-vector product: one block of 32 columns times eight rows, four in each of two tiles. Joined after a
// weights_*.wgsl file and tiles.wgsl, and before matvec.wgsl or matvec_slices.wgsl, which bind `x` and `weights`.
//
// Scales and offsets are applied once a block: sum of (scale q + offset) x = scale * sum of q x + offset * sum of x.

fn dot8(quants: mat2x4f, low: vec4f, high: vec4f) -> f32 {
    return dot(quants[0], low) + dot(quants[1], high);
}

// Eight columns of the rows lane, lane + 8, lane + 16 and lane + 24 of the tile at `base`.
fn octet_dots(base: u32, block: u32, lane: u32, octet: u32, low: vec4f, high: vec4f) -> vec4f {
    return vec4f(
        dot8(quants8(base, block, lane, octet), low, high),
        dot8(quants8(base, block, lane + 8u, octet), low, high),
        dot8(quants8(base, block, lane + 16u, octet), low, high),
        dot8(quants8(base, block, lane + 24u, octet), low, high),
    );
}

// The sums of the block's first and second 16 columns, scaled; `sum` is that of x.
fn scaled(base: u32, block: u32, lane: u32, first: vec4f, second: vec4f, sum: f32) -> vec4f {
    let scale0 = block_scale(base, block, lane);
    let scale1 = block_scale(base, block, lane + 8u);
    let scale2 = block_scale(base, block, lane + 16u);
    let scale3 = block_scale(base, block, lane + 24u);
    return first * vec4f(scale0.x, scale1.x, scale2.x, scale3.x)
        + second * vec4f(scale0.y, scale1.y, scale2.y, scale3.y)
        + sum * vec4f(scale0.z, scale1.z, scale2.z, scale3.z);
}

// The block's part of the products of a lane's rows; x is read once for all eight. `x_row` is where x starts.
fn row_dots(tiles: Tiles, block: u32, lane: u32, x_row: u32) -> EightRows {
    // Written out, for not every compiler unrolls a loop.
    let at = x_row + block * 8u;
    let x0 = x[at];
    let x1 = x[at + 1u];
    let x2 = x[at + 2u];
    let x3 = x[at + 3u];
    let x4 = x[at + 4u];
    let x5 = x[at + 5u];
    let x6 = x[at + 6u];
    let x7 = x[at + 7u];
    let sum = dot(((x0 + x1) + (x2 + x3)) + ((x4 + x5) + (x6 + x7)), vec4f(1.0));
    let low_first = octet_dots(tiles.low, block, lane, 0u, x0 * PLACES, x1 * PLACES)
        + octet_dots(tiles.low, block, lane, 1u, x2 * PLACES, x3 * PLACES);
    let high_first = octet_dots(tiles.high, block, lane, 0u, x0 * PLACES, x1 * PLACES)
        + octet_dots(tiles.high, block, lane, 1u, x2 * PLACES, x3 * PLACES);
    let low_second = octet_dots(tiles.low, block, lane, 2u, x4 * PLACES, x5 * PLACES)
        + octet_dots(tiles.low, block, lane, 3u, x6 * PLACES, x7 * PLACES);
    let high_second = octet_dots(tiles.high, block, lane, 2u, x4 * PLACES, x5 * PLACES)
        + octet_dots(tiles.high, block, lane, 3u, x6 * PLACES, x7 * PLACES);
    return EightRows(
        scaled(tiles.low, block, lane, low_first, low_second, sum),
        scaled(tiles.high, block, lane, high_first, high_second, sum),
    );
}
