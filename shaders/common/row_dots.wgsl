// Part of a matrix-vector product: one block of 32 columns times rows of a tile. Joined after a weights_*.wgsl file,
// product.wgsl and an x_*.wgsl file, and before matvec.wgsl.
//
// Scales and offsets are applied once for 16 columns: sum of (scale q + offset) x = scale * sum of q x + offset * sum of x.

// A block of x, times PLACES, and the sums of its halves: read once for all rows of a lane. Named one by one, for an array would not be kept in
// registers everywhere.
struct Block {
    x0: vec4f,
    x1: vec4f,
    x2: vec4f,
    x3: vec4f,
    x4: vec4f,
    x5: vec4f,
    x6: vec4f,
    x7: vec4f,
    sums: vec2f,
}

fn block_of_x(at: u32, lane: u32) -> Block {
    let low = four_of_x(at, 1u, lane & 3u);
    let high = four_of_x(at + 4u, 1u, lane & 3u);
    let first = dot((low[0] + low[1]) + (low[2] + low[3]), vec4f(1.0));
    let second = dot((high[0] + high[1]) + (high[2] + high[3]), vec4f(1.0));
    return Block(
        low[0] * PLACES[0], low[1] * PLACES[1], low[2] * PLACES[0], low[3] * PLACES[1],
        high[0] * PLACES[0], high[1] * PLACES[1], high[2] * PLACES[0], high[3] * PLACES[1], vec2f(first, second),
    );
}

fn dot8(quants: mat2x4f, low: vec4f, high: vec4f) -> f32 {
    return dot(quants[0], low) + dot(quants[1], high);
}

fn row_dot(base: u32, block: u32, row: u32, b: Block) -> f32 {
    let first = dot8(quants8(base, block, row, 0u), b.x0, b.x1) + dot8(quants8(base, block, row, 1u), b.x2, b.x3);
    let second = dot8(quants8(base, block, row, 2u), b.x4, b.x5) + dot8(quants8(base, block, row, 3u), b.x6, b.x7);
    let scale = block_scale(base, block, row);
    return first * scale.x + second * scale.y + dot(b.sums, scale.zw);
}

// The block's part of the products of four rows of the tile at `base`, from `row` on.
fn row_dots(base: u32, block: u32, row: u32, b: Block) -> vec4f {
    return vec4f(
        row_dot(base, block, row, b),
        row_dot(base, block, row + ROWS_APART, b),
        row_dot(base, block, row + 2u * ROWS_APART, b),
        row_dot(base, block, row + 3u * ROWS_APART, b),
    );
}
