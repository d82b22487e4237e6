// Part of a matrix-vector product: one block of 32 columns times rows of a tile. Joined after a weights_*.wgsl file and
// tiles.wgsl, and before matvec.wgsl or matvec_slices.wgsl, which bind `x` and `weights`.
//
// Scales and offsets are applied once a block: sum of (scale q + offset) x = scale * sum of q x + offset * sum of x.

// A block of x, times PLACES, and its sum: read once for all rows of a lane. Named one by one, for an array would not be kept in
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
    sum: f32,
}

fn block_of_x(at: u32) -> Block {
    let x0 = x[at];
    let x1 = x[at + 1u];
    let x2 = x[at + 2u];
    let x3 = x[at + 3u];
    let x4 = x[at + 4u];
    let x5 = x[at + 5u];
    let x6 = x[at + 6u];
    let x7 = x[at + 7u];
    let sum = dot(((x0 + x1) + (x2 + x3)) + ((x4 + x5) + (x6 + x7)), vec4f(1.0));
    return Block(
        x0 * PLACES[0], x1 * PLACES[1], x2 * PLACES[0], x3 * PLACES[1],
        x4 * PLACES[0], x5 * PLACES[1], x6 * PLACES[0], x7 * PLACES[1], sum,
    );
}

fn dot8(quants: mat2x4f, low: vec4f, high: vec4f) -> f32 {
    return dot(quants[0], low) + dot(quants[1], high);
}

fn row_dot(base: u32, block: u32, row: u32, b: Block) -> f32 {
    let first = dot8(quants8(base, block, row, 0u), b.x0, b.x1) + dot8(quants8(base, block, row, 1u), b.x2, b.x3);
    let second = dot8(quants8(base, block, row, 2u), b.x4, b.x5) + dot8(quants8(base, block, row, 3u), b.x6, b.x7);
    let scale = block_scale(base, block, row);
    return first * scale.x + second * scale.y + b.sum * scale.z;
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
