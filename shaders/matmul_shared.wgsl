// Matrix-matrix product for a chunk of tokens by way of workgroup memory: the products of all rows with each token's x, handed
// to finish.wgsl.
//
// For real GPUs: a weight is read and dequantised once for 32 tokens, and a value of x read once for 64 rows; each invocation
// then holds a tile of 8 rows x 4 tokens in registers. 12 KiB of workgroup memory, two barriers a block.
// Joined in front: as for matmul.wgsl. x has rows for tokens rounded up to 4.
//
// A workgroup produces 64 rows, those of two tiles, for 32 tokens.
const ROWS_APART: u32 = 8u;

// [32 columns][2 tiles][8 lanes]: a lane's four rows of a tile.
var<workgroup> shared_weights: array<vec4f, 512>;
// [32 columns][8 fours of tokens]: four neighbouring tokens.
var<workgroup> shared_x: array<vec4f, 256>;

// Dequantises eight columns of four rows of the tile at `base`, into `column` and those after it.
fn share_weights(base: u32, block: u32, lane: u32, octet: u32, column: u32) {
    let w0 = weights8(base, block, lane, octet, block_scale(base, block, lane));
    let w1 = weights8(base, block, lane + 8u, octet, block_scale(base, block, lane + 8u));
    let w2 = weights8(base, block, lane + 16u, octet, block_scale(base, block, lane + 16u));
    let w3 = weights8(base, block, lane + 24u, octet, block_scale(base, block, lane + 24u));
    let first = transpose(mat4x4f(w0[0], w1[0], w2[0], w3[0]));
    let second = transpose(mat4x4f(w0[1], w1[1], w2[1], w3[1]));
    shared_weights[column] = first[0];
    shared_weights[column + 16u] = first[1];
    shared_weights[column + 32u] = first[2];
    shared_weights[column + 48u] = first[3];
    shared_weights[column + 64u] = second[0];
    shared_weights[column + 80u] = second[1];
    shared_weights[column + 96u] = second[2];
    shared_weights[column + 112u] = second[3];
}

// Reads four columns, of which `at` is the place in the first token's row of x, for four tokens.
fn share_x(at: u32, column: u32) {
    let stride = product.blocks * 8u;
    let values = transpose(mat4x4f(x[at], x[at + stride], x[at + 2u * stride], x[at + 3u * stride]));
    shared_x[column] = values[0];
    shared_x[column + 8u] = values[1];
    shared_x[column + 16u] = values[2];
    shared_x[column + 24u] = values[3];
}

@compute @workgroup_size(64)
fn matmul_shared(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
    let tiles = tiles_of(group.x);
    let lane = index & 7u;
    let octet = (index >> 3u) & 3u;
    let base = select(tiles.low, tiles.high, index >= 32u);
    let column = octet * 128u + (index >> 5u) * 8u + lane;
    let four = index >> 3u;
    let first_token = (group.y * 8u + four) * 4u;
    // A column for each of the four rows, with a value for each of the four tokens.
    var low = mat4x4f();
    var high = mat4x4f();
    for (var block = 0u; block < product.blocks; block++) {
        share_weights(base, block, lane, octet, column);
        // Past the last token there need not be any x.
        if (first_token < step.tokens) {
            share_x(first_token * product.blocks * 8u + block * 8u + lane, lane * 32u + four);
        }
        workgroupBarrier();
        for (var k = 0u; k < 32u; k++) {
            let values = shared_x[k * 8u + four];
            let w = shared_weights[k * 16u + lane];
            let v = shared_weights[k * 16u + 8u + lane];
            low += mat4x4f(w.x * values, w.y * values, w.z * values, w.w * values);
            high += mat4x4f(v.x * values, v.y * values, v.z * values, v.w * values);
        }
        workgroupBarrier();
    }
    for (var t = 0u; t < 4u; t++) {
        if (first_token + t < step.tokens) {
            let rows = EightRows(
                vec4f(low[0][t], low[1][t], low[2][t], low[3][t]),
                vec4f(high[0][t], high[1][t], high[2][t], high[3][t]),
            );
            finish_token(first_token + t, group.x, lane, rows);
        }
    }
}
