// Matrix-vector product, the columns shared out over SLICES: the products of all rows with the last token's x, handed to a
// finish.wgsl.
//
// For real GPUs: 8 lanes x SLICES keep enough reads in flight. Joined in front: as for matvec.wgsl,
// and slices.wgsl.
//
// A workgroup produces 64 rows: those of two tiles.
@compute @workgroup_size(128)
fn matvec_slices(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
    let token = step.tokens - 1u;
    let lane = index & 7u;
    partial[index] = slice_rows(tiles_of(group.x), token, index);
    workgroupBarrier();
    for (var half = SLICES / 2u; half > 0u; half /= 2u) {
        if (index < half * 8u) {
            partial[index].low += partial[index + half * 8u].low;
            partial[index].high += partial[index + half * 8u].high;
        }
        workgroupBarrier();
    }
    if (index < 8u) {
        finish_token(token, group.x, lane, partial[index]);
    }
}
