// Matrix-vector product without barriers: y[r] = sum over k of W[r][k] x[k].
//
// For software adapters, where a barrier costs more than the product itself: a lane keeps four rows to itself.
// Joined in front: ROWS (rows of this slab), FIRST_ROW (its place in y), BLOCKS (columns / 32, rounded up), a weights_*.wgsl
// file, row_dots.wgsl.
//
// x        [BLOCKS * 8] vec4, zero past the last column
// weights  ceil(ROWS / 32) tiles of 32 rows, as in weights_*.wgsl
// y        [>= FIRST_ROW + ROWS]
//
// A workgroup produces the 32 rows of one tile.
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(8)
fn matvec(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    var sums = vec4f();
    for (var block = 0u; block < BLOCKS; block++) {
        sums += row_dots(group.x * TILE_WORDS, block, lane);
    }
    store_rows(group.x, lane, sums);
}
