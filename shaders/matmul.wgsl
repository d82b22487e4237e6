// Matrix-matrix product for a chunk of tokens: the products of all rows with each token's x, handed to a finish_*.wgsl.
//
// Each invocation holds a tile of 16 rows x 8 tokens in registers, so that a weight is read and dequantised once for 8 tokens
// and x once for 16 rows; no barriers, no workgroup memory. On processors, reading takes more time than the arithmetic: one
// number of x serves 16 rows, a word of weights 64 products.
// Joined in front: BLOCKS (columns / 32, rounded up), step.wgsl, a weights_*.wgsl file, tiles.wgsl, a finish_*.wgsl file,
// weights8.wgsl, an x_*.wgsl file.
//
// x        [tokens, rounded up to 8][BLOCKS * 8] vec4, zero past the last column
// weights  tiles of 32 rows, as in weights_*.wgsl
// and what finish_*.wgsl binds
//
// A workgroup produces 64 rows, those of two tiles, for 16 tokens.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<u32>;

const ROWS_APART: u32 = 4u;
const STRIDE: u32 = BLOCKS * 8u;

// Sixteen columns of x for eight tokens: for each quad of columns, the first four tokens' and the last four's.
struct HalfBlock {
    first: array<mat4x4f, 4>,
    last: array<mat4x4f, 4>,
}

// `at`: their place in the first token's row of x.
fn half_block_of_x(at: u32, lane: u32) -> HalfBlock {
    let last = at + 4u * STRIDE;
    return HalfBlock(
        array(
            four_of_x(at, STRIDE, lane),
            four_of_x(at + 1u, STRIDE, lane),
            four_of_x(at + 2u, STRIDE, lane),
            four_of_x(at + 3u, STRIDE, lane),
        ),
        array(
            four_of_x(last, STRIDE, lane),
            four_of_x(last + 1u, STRIDE, lane),
            four_of_x(last + 2u, STRIDE, lane),
            four_of_x(last + 3u, STRIDE, lane),
        ),
    );
}

// One row's products with eight tokens: a column for the first four, and one for the last.
fn row_products(base: u32, block: u32, row: u32, half: u32, columns: HalfBlock) -> mat2x4f {
    let scale = block_scale(base, block, row);
    let w = weights8(base, block, row, 2u * half, scale);
    let v = weights8(base, block, row, 2u * half + 1u, scale);
    return mat2x4f(
        w[0] * columns.first[0] + w[1] * columns.first[1] + v[0] * columns.first[2] + v[1] * columns.first[3],
        w[0] * columns.last[0] + w[1] * columns.last[1] + v[0] * columns.last[2] + v[1] * columns.last[3],
    );
}

// Adds half a block's products of a lane's eight rows of a tile. Written out, for not every compiler unrolls a loop.
fn add_half_block(sums: ptr<function, array<mat2x4f, 8>>, base: u32, block: u32, row: u32, half: u32, columns: HalfBlock) {
    (*sums)[0] += row_products(base, block, row, half, columns);
    (*sums)[1] += row_products(base, block, row + ROWS_APART, half, columns);
    (*sums)[2] += row_products(base, block, row + 2u * ROWS_APART, half, columns);
    (*sums)[3] += row_products(base, block, row + 3u * ROWS_APART, half, columns);
    (*sums)[4] += row_products(base, block, row + 4u * ROWS_APART, half, columns);
    (*sums)[5] += row_products(base, block, row + 5u * ROWS_APART, half, columns);
    (*sums)[6] += row_products(base, block, row + 6u * ROWS_APART, half, columns);
    (*sums)[7] += row_products(base, block, row + 7u * ROWS_APART, half, columns);
}

// `low`, `high`: a column for each of four rows of a tile, with its products with four tokens, of which this is number t.
fn finish_token(token: u32, group: u32, row: u32, low: mat4x4f, high: mat4x4f, t: u32) {
    if (token < step.tokens) {
        let rows = EightRows(
            vec4f(low[0][t], low[1][t], low[2][t], low[3][t]),
            vec4f(high[0][t], high[1][t], high[2][t], high[3][t]),
        );
        finish(token, group, row, rows);
    }
}

// Four rows' products with four tokens.
fn four(sums: array<mat2x4f, 8>, row: u32, tokens: u32) -> mat4x4f {
    return mat4x4f(sums[row][tokens], sums[row + 1u][tokens], sums[row + 2u][tokens], sums[row + 3u][tokens]);
}

@compute @workgroup_size(4, 2)
fn matmul(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let first_token = (group.y * 2u + local.y) * 8u;
    if (first_token >= step.tokens) {
        return;
    }
    let tiles = tiles_of(group.x);
    let lane = local.x;
    var low: array<mat2x4f, 8>;
    var high: array<mat2x4f, 8>;
    // One loop and not two, for each costs some compilers a copy of all sums.
    for (var turn = 0u; turn < 2u * BLOCKS; turn++) {
        let half = half_block_of_x(first_token * STRIDE + turn * 4u, lane);
        add_half_block(&low, tiles.low, turn / 2u, lane, turn % 2u, half);
        add_half_block(&high, tiles.high, turn / 2u, lane, turn % 2u, half);
    }
    for (var t = 0u; t < 4u; t++) {
        finish_token(first_token + t, group.x, lane, four(low, 0u, 0u), four(high, 0u, 0u), t);
        finish_token(first_token + t, group.x, lane + 16u, four(low, 4u, 0u), four(high, 4u, 0u), t);
        finish_token(first_token + 4u + t, group.x, lane, four(low, 0u, 1u), four(high, 0u, 1u), t);
        finish_token(first_token + 4u + t, group.x, lane + 16u, four(low, 4u, 1u), four(high, 4u, 1u), t);
    }
}
