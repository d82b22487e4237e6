// Rows of a table by token: y[t] = table[ids[t]], dequantised.
//
// Joined in front: ROWS (rows of this slab), FIRST_ROW (its first token id), BLOCKS (columns / 32, rounded up),
// unpack_halves.wgsl, a weights_*.wgsl file, weights8.wgsl.
//
// ids      [tokens], each below the vocabulary's size
// weights  the table's slab: tiles of 32 rows, as in weights_*.wgsl
// y        [tokens][BLOCKS * 8] vec4
//
// An invocation produces one block of 32 values of one token; ids outside this slab are left to the others.
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(32)
fn gather(@builtin(global_invocation_id) id: vec3u) {
    let block = id.x;
    let token = id.y;
    if (block >= BLOCKS || ids[token] < FIRST_ROW || ids[token] >= FIRST_ROW + ROWS) {
        return;
    }
    let row = ids[token] - FIRST_ROW;
    let base = (row / 32u) * tile_words(BLOCKS);
    let scale = block_scale(base, block, row % 32u);
    for (var octet = 0u; octet < 4u; octet++) {
        let w = weights8(base, block, row % 32u, octet, scale);
        let at = (token * BLOCKS + block) * 8u + 2u * octet;
        y[at] = w[0];
        y[at + 1u] = w[1];
    }
}
