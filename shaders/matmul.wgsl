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

// One row for four tokens: component t is the product with token t.
fn product(w: mat2x4f, low: mat4x4f, high: mat4x4f) -> vec4f {
    return vec4f(
        dot(w[0], low[0]) + dot(w[1], high[0]),
        dot(w[0], low[1]) + dot(w[1], high[1]),
        dot(w[0], low[2]) + dot(w[1], high[2]),
        dot(w[0], low[3]) + dot(w[1], high[3]),
    );
}

@compute @workgroup_size(8, 4)
fn matmul(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let first_token = (group.y * 4u + local.y) * 4u;
    if (first_token >= step.tokens) {
        return;
    }
    let tiles = tiles_of(group.x);
    let lane = local.x;
    const STRIDE = BLOCKS * 8u;
    var at = first_token * STRIDE;
    // The rows lane, lane + 8, ... of the low and the high tile, written out: an array would not be kept in registers everywhere.
    var low0 = vec4f();
    var low1 = vec4f();
    var low2 = vec4f();
    var low3 = vec4f();
    var high0 = vec4f();
    var high1 = vec4f();
    var high2 = vec4f();
    var high3 = vec4f();
    for (var block = 0u; block < BLOCKS; block++) {
        let low_scale0 = block_scale(tiles.low, block, lane);
        let low_scale1 = block_scale(tiles.low, block, lane + 8u);
        let low_scale2 = block_scale(tiles.low, block, lane + 16u);
        let low_scale3 = block_scale(tiles.low, block, lane + 24u);
        let high_scale0 = block_scale(tiles.high, block, lane);
        let high_scale1 = block_scale(tiles.high, block, lane + 8u);
        let high_scale2 = block_scale(tiles.high, block, lane + 16u);
        let high_scale3 = block_scale(tiles.high, block, lane + 24u);
        for (var octet = 0u; octet < 4u; octet++) {
            let low = mat4x4f(x[at], x[at + STRIDE], x[at + 2u * STRIDE], x[at + 3u * STRIDE]);
            at++;
            let high = mat4x4f(x[at], x[at + STRIDE], x[at + 2u * STRIDE], x[at + 3u * STRIDE]);
            at++;
            low0 += product(weights8(tiles.low, block, lane, octet, low_scale0), low, high);
            low1 += product(weights8(tiles.low, block, lane + 8u, octet, low_scale1), low, high);
            low2 += product(weights8(tiles.low, block, lane + 16u, octet, low_scale2), low, high);
            low3 += product(weights8(tiles.low, block, lane + 24u, octet, low_scale3), low, high);
            high0 += product(weights8(tiles.high, block, lane, octet, high_scale0), low, high);
            high1 += product(weights8(tiles.high, block, lane + 8u, octet, high_scale1), low, high);
            high2 += product(weights8(tiles.high, block, lane + 16u, octet, high_scale2), low, high);
            high3 += product(weights8(tiles.high, block, lane + 24u, octet, high_scale3), low, high);
        }
    }
    for (var t = 0u; t < min(4u, step.tokens - first_token); t++) {
        let low = vec4f(low0[t], low1[t], low2[t], low3[t]);
        let high = vec4f(high0[t], high1[t], high2[t], high3[t]);
        finish(first_token + t, group.x, lane, EightRows(low, high));
    }
}
