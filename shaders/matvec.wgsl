// Matrix-vector product without barriers: the products of all rows with the last token's x, handed to a finish_*.wgsl.
//
// For software adapters, where a barrier costs more than the product itself: a lane keeps its rows to itself, as many as spread
// the cost of reading x.
// Joined in front: BLOCKS (columns / 32, rounded up), step.wgsl, a weights_*.wgsl file, tiles.wgsl, row_dots.wgsl, a
// finish_*.wgsl file.
//
// x        [tokens][BLOCKS * 8] vec4, zero past the last column
// weights  tiles of 32 rows, as in weights_*.wgsl
// and what finish_*.wgsl binds
//
// A workgroup produces 64 rows: those of two tiles.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<u32>;

const ROWS_APART: u32 = 4u;

@compute @workgroup_size(4)
fn matvec(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let token = step.tokens - 1u;
    let tiles = tiles_of(group.x);
    // A lane's sixteen rows: two fours in each tile.
    var first = EightRows();
    var second = EightRows();
    for (var block = 0u; block < BLOCKS; block++) {
        let b = block_of_x((token * BLOCKS + block) * 8u);
        first.low += row_dots(tiles.low, block, lane, b);
        second.low += row_dots(tiles.low, block, lane + 16u, b);
        first.high += row_dots(tiles.high, block, lane, b);
        second.high += row_dots(tiles.high, block, lane + 16u, b);
    }
    finish(token, group.x, lane, first);
    finish(token, group.x, lane + 16u, second);
}
