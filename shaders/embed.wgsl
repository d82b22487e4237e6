// Embedding: stream[t] = table[ids[t]], dequantised, and what the first norm wants of it: its product with the norm's weights,
// and partial sums of its squares.
//
// Joined in front: ROWS (rows of this slab), FIRST_ROW (its first token id), BLOCKS (columns / 32, rounded up), COLUMNS, SQUARES
// (vec4s of partial sums for a token, at least BLOCKS), unpack_halves.wgsl, a weights_*.wgsl file, weights8.wgsl.
//
// ids       [tokens], each below the vocabulary's size
// weights   the table's slab: tiles of 32 rows, as in weights_*.wgsl
// gains     [COLUMNS], the first norm's weights
// stream    [tokens][BLOCKS * 8] vec4, the residual stream
// weighted  [tokens][BLOCKS * 8] vec4, stream x gains
// squares   [tokens][SQUARES] vec4
//
// An invocation produces one block of 32 values of one token; ids outside this slab are left to the others.
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read> gains: array<f32>;
@group(0) @binding(3) var<storage, read_write> stream: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> weighted: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> squares: array<vec4f>;

fn gains4(column: u32) -> vec4f {
    var four = vec4f();
    for (var i = 0u; i < 4u; i++) {
        if (column + i < COLUMNS) {
            four[i] = gains[column + i];
        }
    }
    return four;
}

@compute @workgroup_size(32)
fn embed(@builtin(global_invocation_id) id: vec3u) {
    let block = id.x;
    let token = id.y;
    if (block >= SQUARES || ids[token] < FIRST_ROW || ids[token] >= FIRST_ROW + ROWS) {
        return;
    }
    var sum = vec4f();
    if (block < BLOCKS) {
        let row = ids[token] - FIRST_ROW;
        let base = (row / 32u) * tile_words(BLOCKS);
        let scale = block_scale(base, block, row % 32u);
        for (var octet = 0u; octet < 4u; octet++) {
            let w = weights8(base, block, row % 32u, octet, scale);
            let at = block * 8u + 2u * octet;
            for (var half = 0u; half < 2u; half++) {
                stream[token * BLOCKS * 8u + at + half] = w[half];
                weighted[token * BLOCKS * 8u + at + half] = w[half] * gains4(4u * (at + half));
                sum += w[half] * w[half];
            }
        }
    }
    squares[token * SQUARES + block] = sum;
}
