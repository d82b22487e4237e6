// Matrix-vector product without barriers: the products of all rows with the last token's x, handed to a finish_*.wgsl.
//
// For software adapters, where a barrier costs more than the product itself: a lane keeps its eight rows to itself.
// Joined in front: BLOCKS (columns / 32, rounded up), step.wgsl, a weights_*.wgsl file, tiles.wgsl, a finish_*.wgsl file, an
// x_*.wgsl file, row_dots.wgsl.
//
// x        [tokens][BLOCKS * 8] vec4, zero past the last column
// weights  tiles of 32 rows, as in weights_*.wgsl
// and what finish_*.wgsl binds
//
// A workgroup produces 64 rows: those of two tiles.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<u32>;

const ROWS_APART: u32 = 8u;

@compute @workgroup_size(8)
fn matvec(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let token = step.tokens - 1u;
    let tiles = tiles_of(group.x);
    var rows = EightRows();
    for (var block = 0u; block < BLOCKS; block++) {
        let b = block_of_x((token * BLOCKS + block) * 8u, lane);
        rows.low += row_dots(tiles.low, block, lane, b);
        rows.high += row_dots(tiles.high, block, lane, b);
    }
    finish(token, group.x, lane, rows);
}
