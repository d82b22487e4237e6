// RMSNorm: out[t][i] = x[t][i] * weight[i] / sqrt(mean over i of x[t][i]^2 + EPS).
//
// Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization".
// Joined in front: COLUMNS, ROW_STRIDE (length of a token's row, COLUMNS rounded up), EPS, LAST_ONLY (only the chunk's last
// token, written as the first row of out), step.wgsl.
//
// x        [tokens][ROW_STRIDE]
// weight   [COLUMNS]
// out      [tokens][ROW_STRIDE]
//
// A workgroup produces one token's row.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

const LANES: u32 = 64u;
var<workgroup> partial: array<f32, LANES>;

@compute @workgroup_size(64)
fn rmsnorm(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let source = select(group.x, step.tokens - 1u, LAST_ONLY) * ROW_STRIDE;
    var sum = 0.0;
    for (var i = lane; i < COLUMNS; i += LANES) {
        sum += x[source + i] * x[source + i];
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    let scale = 1.0 / sqrt(partial[0] / f32(COLUMNS) + EPS);
    for (var i = lane; i < COLUMNS; i += LANES) {
        out[group.x * ROW_STRIDE + i] = x[source + i] * scale * weight[i];
    }
}
