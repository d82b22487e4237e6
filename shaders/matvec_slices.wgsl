// Matrix-vector product, the columns shared out over SLICES: y[r] = sum over k of W[r][k] x[k].
//
// For real GPUs: 8 lanes x SLICES keep enough reads in flight. Joined in front: as for matvec.wgsl.
//
// x        [BLOCKS * 8] vec4, zero past the last column
// weights  ceil(ROWS / 32) tiles of 32 rows, as in weights_*.wgsl
// y        [>= FIRST_ROW + ROWS]
//
// A workgroup produces the 32 rows of one tile; slice s takes the blocks s, s + SLICES, ...
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const SLICES: u32 = 16u;
var<workgroup> partial: array<vec4f, 8u * SLICES>;

@compute @workgroup_size(128)
fn matvec_slices(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
    let lane = index & 7u;
    var sums = vec4f();
    for (var block = index >> 3u; block < BLOCKS; block += SLICES) {
        sums += row_dots(group.x * TILE_WORDS, block, lane);
    }
    partial[index] = sums;
    workgroupBarrier();
    for (var half = SLICES / 2u; half > 0u; half /= 2u) {
        if (index < half * 8u) {
            partial[index] += partial[index + half * 8u];
        }
        workgroupBarrier();
    }
    if (index < 8u) {
        store_rows(group.x, lane, partial[index]);
    }
}
