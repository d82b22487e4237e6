// Matrix-matrix product for a chunk of tokens: the products of all rows with each token's x, handed to a finish_*.wgsl.
//
// Each invocation holds a tile of 16 rows x 4 tokens in registers, so that a weight is read and dequantised once for 4 tokens
// and x once for 16 rows; no barriers, no workgroup memory. On processors, reading x takes more time than the arithmetic: one
// number serves 4 tokens' sums, a word of weights 32.
// Joined in front: BLOCKS (columns / 32, rounded up), step.wgsl, a weights_*.wgsl file, weights8.wgsl, tiles.wgsl, a
// finish_*.wgsl file.
//
// x        [tokens, rounded up to 4][BLOCKS * 8] vec4, zero past the last column
// weights  tiles of 32 rows, as in weights_*.wgsl
// and what finish_*.wgsl binds
//
// A workgroup produces 64 rows, those of two tiles, for 32 tokens.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<u32>;

const ROWS_APART: u32 = 4u;
const STRIDE: u32 = BLOCKS * 8u;

// A quad for each of eight rows, four of the low and of the high tile that are ROWS_APART apart: its products with four tokens.
// Named one by one, for an array would not be kept in registers everywhere.
struct EightQuads {
    low0: vec4f,
    low1: vec4f,
    low2: vec4f,
    low3: vec4f,
    high0: vec4f,
    high1: vec4f,
    high2: vec4f,
    high3: vec4f,
}

// What block_scale gives for each of those rows.
struct EightScales {
    low0: vec3f,
    low1: vec3f,
    low2: vec3f,
    low3: vec3f,
    high0: vec3f,
    high1: vec3f,
    high2: vec3f,
    high3: vec3f,
}

// One row for four tokens: component t is the product with token t.
fn product(w: mat2x4f, low: mat4x4f, high: mat4x4f) -> vec4f {
    return vec4f(
        dot(w[0], low[0]) + dot(w[1], high[0]),
        dot(w[0], low[1]) + dot(w[1], high[1]),
        dot(w[0], low[2]) + dot(w[1], high[2]),
        dot(w[0], low[3]) + dot(w[1], high[3]),
    );
}

// Eight columns of x for four tokens, one in each column of a matrix.
struct FourOctets {
    low: mat4x4f,
    high: mat4x4f,
}

// `at`: their place in the first token's row of x.
fn octets_of_x(at: u32) -> FourOctets {
    return FourOctets(
        mat4x4f(x[at], x[at + STRIDE], x[at + 2u * STRIDE], x[at + 3u * STRIDE]),
        mat4x4f(x[at + 1u], x[at + STRIDE + 1u], x[at + 2u * STRIDE + 1u], x[at + 3u * STRIDE + 1u]),
    );
}

// `row`: the first of four, in its tile.
fn scales_of(tiles: Tiles, block: u32, row: u32) -> EightScales {
    return EightScales(
        block_scale(tiles.low, block, row),
        block_scale(tiles.low, block, row + ROWS_APART),
        block_scale(tiles.low, block, row + 2u * ROWS_APART),
        block_scale(tiles.low, block, row + 3u * ROWS_APART),
        block_scale(tiles.high, block, row),
        block_scale(tiles.high, block, row + ROWS_APART),
        block_scale(tiles.high, block, row + 2u * ROWS_APART),
        block_scale(tiles.high, block, row + 3u * ROWS_APART),
    );
}

// Adds the products of eight columns.
fn add_octet(
    sums: ptr<function, EightQuads>,
    scales: EightScales,
    tiles: Tiles,
    block: u32,
    row: u32,
    octet: u32,
    x8: FourOctets,
) {
    (*sums).low0 += product(weights8(tiles.low, block, row, octet, scales.low0), x8.low, x8.high);
    (*sums).low1 += product(weights8(tiles.low, block, row + ROWS_APART, octet, scales.low1), x8.low, x8.high);
    (*sums).low2 += product(weights8(tiles.low, block, row + 2u * ROWS_APART, octet, scales.low2), x8.low, x8.high);
    (*sums).low3 += product(weights8(tiles.low, block, row + 3u * ROWS_APART, octet, scales.low3), x8.low, x8.high);
    (*sums).high0 += product(weights8(tiles.high, block, row, octet, scales.high0), x8.low, x8.high);
    (*sums).high1 += product(weights8(tiles.high, block, row + ROWS_APART, octet, scales.high1), x8.low, x8.high);
    (*sums).high2 += product(weights8(tiles.high, block, row + 2u * ROWS_APART, octet, scales.high2), x8.low, x8.high);
    (*sums).high3 += product(weights8(tiles.high, block, row + 3u * ROWS_APART, octet, scales.high3), x8.low, x8.high);
}

fn finish_token(token: u32, group: u32, row: u32, sums: EightQuads, t: u32) {
    let low = vec4f(sums.low0[t], sums.low1[t], sums.low2[t], sums.low3[t]);
    let high = vec4f(sums.high0[t], sums.high1[t], sums.high2[t], sums.high3[t]);
    finish(token, group, row, EightRows(low, high));
}

@compute @workgroup_size(4, 8)
fn matmul(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let first_token = (group.y * 8u + local.y) * 4u;
    if (first_token >= step.tokens) {
        return;
    }
    let tiles = tiles_of(group.x);
    // A lane's sixteen rows: two fours in each tile.
    let row = local.x;
    let next = row + 16u;
    var first = EightQuads();
    var second = EightQuads();
    for (var block = 0u; block < BLOCKS; block++) {
        let first_scales = scales_of(tiles, block, row);
        let second_scales = scales_of(tiles, block, next);
        // Written out, for not every compiler unrolls a loop.
        let at = first_token * STRIDE + block * 8u;
        let x0 = octets_of_x(at);
        add_octet(&first, first_scales, tiles, block, row, 0u, x0);
        add_octet(&second, second_scales, tiles, block, next, 0u, x0);
        let x1 = octets_of_x(at + 2u);
        add_octet(&first, first_scales, tiles, block, row, 1u, x1);
        add_octet(&second, second_scales, tiles, block, next, 1u, x1);
        let x2 = octets_of_x(at + 4u);
        add_octet(&first, first_scales, tiles, block, row, 2u, x2);
        add_octet(&second, second_scales, tiles, block, next, 2u, x2);
        let x3 = octets_of_x(at + 6u);
        add_octet(&first, first_scales, tiles, block, row, 3u, x3);
        add_octet(&second, second_scales, tiles, block, next, 3u, x3);
    }
    for (var t = 0u; t < min(4u, step.tokens - first_token); t++) {
        finish_token(first_token + t, group.x, row, first, t);
        finish_token(first_token + t, group.x, next, second, t);
    }
}
