// Matrix-matrix product for a chunk of tokens: y[t][r] = sum over k of W[r][k] x[t][k].
//
// Each invocation holds a tile of 8 rows x 4 tokens in registers, so that a weight is read and dequantised once for 4 tokens
// and x once for 8 rows; no barriers, no workgroup memory.
// Joined in front: ROWS (rows of this slab), FIRST_ROW (its place in y), BLOCKS (columns / 32, rounded up), ROW_STRIDE (length
// of a token's row in y), step.wgsl, a weights_*.wgsl file, weights8.wgsl.
//
// x        [tokens, rounded up to 4][BLOCKS * 8] vec4, zero past the last column
// weights  ceil(ROWS / 32) tiles of 32 rows, as in weights_*.wgsl
// y        [tokens][ROW_STRIDE]
//
// A workgroup produces 32 rows for 32 tokens.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// One row for four tokens: component t is the product with token t, column t of `low` and `high`.
fn product(w: mat2x4f, low: mat4x4f, high: mat4x4f) -> vec4f {
    return w[0] * low + w[1] * high;
}

fn store(row: u32, first_token: u32, sum: vec4f) {
    if (row >= ROWS) {
        return;
    }
    for (var t = 0u; t < min(4u, step.tokens - first_token); t++) {
        y[(first_token + t) * ROW_STRIDE + FIRST_ROW + row] = sum[t];
    }
}

@compute @workgroup_size(4, 8)
fn matmul(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let first_token = (group.y * 8u + local.y) * 4u;
    if (first_token >= step.tokens) {
        return;
    }
    let base = group.x * TILE_WORDS;
    let row = local.x;
    const STRIDE = BLOCKS * 8u;
    var at = first_token * STRIDE;
    // The rows row, row + 4, ..., written out: an array would not be kept in registers everywhere.
    var sum0 = vec4f();
    var sum1 = vec4f();
    var sum2 = vec4f();
    var sum3 = vec4f();
    var sum4 = vec4f();
    var sum5 = vec4f();
    var sum6 = vec4f();
    var sum7 = vec4f();
    for (var block = 0u; block < BLOCKS; block++) {
        let scale0 = block_scale(base, block, row);
        let scale1 = block_scale(base, block, row + 4u);
        let scale2 = block_scale(base, block, row + 8u);
        let scale3 = block_scale(base, block, row + 12u);
        let scale4 = block_scale(base, block, row + 16u);
        let scale5 = block_scale(base, block, row + 20u);
        let scale6 = block_scale(base, block, row + 24u);
        let scale7 = block_scale(base, block, row + 28u);
        for (var octet = 0u; octet < 4u; octet++) {
            let low = mat4x4f(x[at], x[at + STRIDE], x[at + 2u * STRIDE], x[at + 3u * STRIDE]);
            at++;
            let high = mat4x4f(x[at], x[at + STRIDE], x[at + 2u * STRIDE], x[at + 3u * STRIDE]);
            at++;
            sum0 += product(weights8(base, block, row, octet, scale0), low, high);
            sum1 += product(weights8(base, block, row + 4u, octet, scale1), low, high);
            sum2 += product(weights8(base, block, row + 8u, octet, scale2), low, high);
            sum3 += product(weights8(base, block, row + 12u, octet, scale3), low, high);
            sum4 += product(weights8(base, block, row + 16u, octet, scale4), low, high);
            sum5 += product(weights8(base, block, row + 20u, octet, scale5), low, high);
            sum6 += product(weights8(base, block, row + 24u, octet, scale6), low, high);
            sum7 += product(weights8(base, block, row + 28u, octet, scale7), low, high);
        }
    }
    store(group.x * 32u + row, first_token, sum0);
    store(group.x * 32u + row + 4u, first_token, sum1);
    store(group.x * 32u + row + 8u, first_token, sum2);
    store(group.x * 32u + row + 12u, first_token, sum3);
    store(group.x * 32u + row + 16u, first_token, sum4);
    store(group.x * 32u + row + 20u, first_token, sum5);
    store(group.x * 32u + row + 24u, first_token, sum6);
    store(group.x * 32u + row + 28u, first_token, sum7);
}
