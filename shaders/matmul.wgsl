// Matrix-matrix product for a chunk of tokens: y[t][r] = sum over k of W[r][k] x[t][k].
//
// Each invocation holds a tile of 4 rows x 8 tokens in registers, so that a weight is read and dequantised once for 8 tokens
// and x once for 4 rows; no barriers, no workgroup memory.
// Joined in front: ROWS (rows of this slab), FIRST_ROW (its place in y), BLOCKS (columns / 32, rounded up), ROW_STRIDE (length
// of a token's row in y), step.wgsl, a weights_*.wgsl file.
//
// x        [tokens, rounded up to 8][BLOCKS * 8] vec4, zero past the last column
// weights  ceil(ROWS / 32) tiles of 32 rows, as in weights_*.wgsl
// y        [tokens][ROW_STRIDE]
//
// A workgroup produces 32 rows for 32 tokens.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const TOKENS: u32 = 8u;

@compute @workgroup_size(8, 4)
fn matmul(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let first_token = (group.y * 4u + local.y) * TOKENS;
    if (first_token >= step.tokens) {
        return;
    }
    let base = group.x * TILE_WORDS;
    let lane = local.x;
    var sums = array<vec4f, TOKENS>();
    for (var block = 0u; block < BLOCKS; block++) {
        let scale0 = block_scale(base, block, lane);
        let scale1 = block_scale(base, block, lane + 8u);
        let scale2 = block_scale(base, block, lane + 16u);
        let scale3 = block_scale(base, block, lane + 24u);
        for (var octet = 0u; octet < 4u; octet++) {
            let w0 = weights8(base, block, lane, octet, scale0);
            let w1 = weights8(base, block, lane + 8u, octet, scale1);
            let w2 = weights8(base, block, lane + 16u, octet, scale2);
            let w3 = weights8(base, block, lane + 24u, octet, scale3);
            var at = first_token * BLOCKS * 8u + block * 8u + 2u * octet;
            for (var t = 0u; t < TOKENS; t++) {
                let low = x[at];
                let high = x[at + 1u];
                sums[t] += vec4f(dot(w0[0], low), dot(w1[0], low), dot(w2[0], low), dot(w3[0], low));
                sums[t] += vec4f(dot(w0[1], high), dot(w1[1], high), dot(w2[1], high), dot(w3[1], high));
                at += BLOCKS * 8u;
            }
        }
    }
    for (var t = 0u; t < min(TOKENS, step.tokens - first_token); t++) {
        for (var j = 0u; j < 4u; j++) {
            let row = group.x * 32u + lane + 8u * j;
            if (row < ROWS) {
                y[(first_token + t) * ROW_STRIDE + FIRST_ROW + row] = sums[t][j];
            }
        }
    }
}
