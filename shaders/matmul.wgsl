// Matrix-matrix product for a chunk of tokens: the products of all rows with each token's x, handed to a finish_*.wgsl.
//
// Each invocation holds a tile of 8 rows x 4 tokens in registers, so that a weight is read and dequantised once for 4 tokens
// and x once for 8 rows; no barriers, no workgroup memory.
// Joined in front: BLOCKS (columns / 32, rounded up), step.wgsl, a weights_*.wgsl file, weights8.wgsl, tiles.wgsl, a
// finish_*.wgsl file.
//
// x        [tokens, rounded up to 4][BLOCKS * 8] vec4, zero past the last column
// weights  tiles of 32 rows, as in weights_*.wgsl
// and what finish_*.wgsl binds
//
// A workgroup produces 64 rows, those of two tiles, for 16 tokens.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<u32>;

const ROWS_APART: u32 = 8u;
const STRIDE: u32 = BLOCKS * 8u;

// A quad for each of a lane's rows, lane, lane + 8, ... of the low and of the high tile: its products with four tokens. Named
// one by one, for an array would not be kept in registers everywhere.
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

// What block_scale gives for each of a lane's rows.
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

// Adds the products of eight columns, of which `at` is the place in the first token's row of x.
fn add_octet(
    sums: ptr<function, EightQuads>,
    scales: EightScales,
    tiles: Tiles,
    block: u32,
    lane: u32,
    octet: u32,
    at: u32,
) {
    let low = mat4x4f(x[at], x[at + STRIDE], x[at + 2u * STRIDE], x[at + 3u * STRIDE]);
    let high = mat4x4f(x[at + 1u], x[at + STRIDE + 1u], x[at + 2u * STRIDE + 1u], x[at + 3u * STRIDE + 1u]);
    (*sums).low0 += product(weights8(tiles.low, block, lane, octet, scales.low0), low, high);
    (*sums).low1 += product(weights8(tiles.low, block, lane + 8u, octet, scales.low1), low, high);
    (*sums).low2 += product(weights8(tiles.low, block, lane + 16u, octet, scales.low2), low, high);
    (*sums).low3 += product(weights8(tiles.low, block, lane + 24u, octet, scales.low3), low, high);
    (*sums).high0 += product(weights8(tiles.high, block, lane, octet, scales.high0), low, high);
    (*sums).high1 += product(weights8(tiles.high, block, lane + 8u, octet, scales.high1), low, high);
    (*sums).high2 += product(weights8(tiles.high, block, lane + 16u, octet, scales.high2), low, high);
    (*sums).high3 += product(weights8(tiles.high, block, lane + 24u, octet, scales.high3), low, high);
}

@compute @workgroup_size(8, 4)
fn matmul(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let first_token = (group.y * 4u + local.y) * 4u;
    if (first_token >= step.tokens) {
        return;
    }
    let tiles = tiles_of(group.x);
    let lane = local.x;
    var sums = EightQuads();
    for (var block = 0u; block < BLOCKS; block++) {
        let scales = EightScales(
            block_scale(tiles.low, block, lane),
            block_scale(tiles.low, block, lane + 8u),
            block_scale(tiles.low, block, lane + 16u),
            block_scale(tiles.low, block, lane + 24u),
            block_scale(tiles.high, block, lane),
            block_scale(tiles.high, block, lane + 8u),
            block_scale(tiles.high, block, lane + 16u),
            block_scale(tiles.high, block, lane + 24u),
        );
        // Written out, for not every compiler unrolls a loop.
        let at = first_token * STRIDE + block * 8u;
        add_octet(&sums, scales, tiles, block, lane, 0u, at);
        add_octet(&sums, scales, tiles, block, lane, 1u, at + 2u);
        add_octet(&sums, scales, tiles, block, lane, 2u, at + 4u);
        add_octet(&sums, scales, tiles, block, lane, 3u, at + 6u);
    }
    for (var t = 0u; t < min(4u, step.tokens - first_token); t++) {
        let low = vec4f(sums.low0[t], sums.low1[t], sums.low2[t], sums.low3[t]);
        let high = vec4f(sums.high0[t], sums.high1[t], sums.high2[t], sums.high3[t]);
        finish(first_token + t, group.x, lane, EightRows(low, high));
    }
}
