// Matrix-vector product, the columns shared out over SLICES: the products of all rows with the last token's x, handed to a
// finish_*.wgsl.
//
// For real GPUs: 8 lanes x SLICES keep enough reads in flight. Joined in front: as for matvec.wgsl,
// and slices.wgsl.
//
// x        [tokens][BLOCKS * 8] vec4, zero past the last column
// weights  tiles of 32 rows, as in weights_*.wgsl
// and what finish_*.wgsl binds
//
// A workgroup produces 64 rows: those of two tiles.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<u32>;

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
        finish(token, group.x, lane, partial[index]);
    }
}
