// Matrix-vector product without barriers: the products of all rows with the last token's x, handed to finish.wgsl.
//
// For software adapters, where a barrier costs more than the product itself: a lane keeps its eight rows to itself.
// Joined in front: step.wgsl, an unpack_halves*.wgsl file, a weights_*.wgsl file, product.wgsl, which says what is bound,
// silu.wgsl, finish.wgsl, an x_*.wgsl file, row_dots.wgsl.
//
// A workgroup produces 64 rows: those of two tiles.
const ROWS_APART: u32 = 8u;

@compute @workgroup_size(8)
fn matvec(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let token = step.tokens - 1u;
    let tiles = tiles_of(group.x);
    let blocks = product.blocks;
    var rows = EightRows();
    for (var block = 0u; block < blocks; block++) {
        let b = block_of_x((token * blocks + block) * 8u, lane);
        rows.low += row_dots(tiles.low, block, lane, b);
        rows.high += row_dots(tiles.high, block, lane, b);
    }
    finish_token(token, group.x, lane, rows);
}
