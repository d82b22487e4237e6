// The columns of a product shared out over SLICES, by 8 lanes each: slice s takes the blocks s, s + SLICES, ... Joined after
// row_dots.wgsl, before matvec_slices.wgsl and matvec_subgroups.wgsl.
const ROWS_APART: u32 = 8u;
const SLICES: u32 = 16u;
// Sums that are still to be added up.
var<workgroup> partial: array<EightRows, 8u * SLICES>;

// A slice's part of the products of a lane's eight rows; the invocation is number `index` of the workgroup's 8 SLICES.
fn slice_rows(tiles: Tiles, token: u32, index: u32) -> EightRows {
    let lane = index & 7u;
    var rows = EightRows();
    for (var block = index >> 3u; block < product.blocks; block += SLICES) {
        let b = block_of_x((token * product.blocks + block) * 8u, lane);
        rows.low += row_dots(tiles.low, block, lane, b);
        rows.high += row_dots(tiles.high, block, lane, b);
    }
    return rows;
}
