// Matrix-vector product, the columns shared out over SLICES, whose sums subgroups add up: the products of all rows with the last
// token's x, handed to finish.wgsl.
//
// For real GPUs with subgroups: one barrier, where matvec_slices.wgsl has five. Subgroups may have any power of two of lanes up
// to the workgroup's 128, as long as all are full. Joined in front: as for matvec.wgsl, and
// slices.wgsl, whose `partial` has a place for each subgroup, or each slice where a subgroup is none larger than that.
//
// A workgroup produces 64 rows: those of two tiles.
enable subgroups;
requires subgroup_id;

@compute @workgroup_size(128)
fn matvec_subgroups(
    @builtin(workgroup_id) group: vec3u,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_invocation_id) member: u32,
) {
    let token = step.tokens - 1u;
    // Not the local index: how that is spread over subgroups is not laid down.
    let index = subgroup * size + member;
    let lane = index & 7u;
    var rows = slice_rows(tiles_of(group.x), token, index);
    for (var apart = 8u; apart < size; apart *= 2u) {
        rows.low += subgroupShuffleXor(rows.low, apart);
        rows.high += subgroupShuffleXor(rows.high, apart);
    }
    let width = max(size, 8u);
    if (index % width < 8u) {
        partial[index / width * 8u + lane] = rows;
    }
    workgroupBarrier();
    if (index < 8u) {
        for (var other = 1u; other < 128u / width; other++) {
            rows.low += partial[other * 8u + lane].low;
            rows.high += partial[other * 8u + lane].high;
        }
        finish_token(token, group.x, lane, rows);
    }
}
