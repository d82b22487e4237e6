// Argmax: best[0] = the lowest index of the largest value, or NONE when any value is not a finite number.
//
// Joined in front: COLUMNS.
//
// x       [COLUMNS]
// best    [1]
//
// One workgroup does it all.
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> best: array<u32>;

const LANES: u32 = 256u;
const NONE: u32 = 0xffffffffu;
const LOWEST: f32 = -3.4e38;
const HIGHEST: f32 = 3.4028234e38;
var<workgroup> values: array<f32, LANES>;
var<workgroup> indices: array<u32, LANES>;

@compute @workgroup_size(256)
fn argmax(@builtin(local_invocation_index) lane: u32) {
    var value = LOWEST;
    var index = NONE;
    for (var i = lane; i < COLUMNS; i += LANES) {
        // By its bits: a compiler may assume that floats are never NaN or infinite.
        if ((bitcast<u32>(x[i]) & 0x7f800000u) == 0x7f800000u) {
            value = HIGHEST;
            index = NONE;
            break;
        }
        if (x[i] > value) {
            value = x[i];
            index = i;
        }
    }
    values[lane] = value;
    indices[lane] = index;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            let other = lane + half;
            if (values[other] > values[lane] || (values[other] == values[lane] && indices[other] < indices[lane])) {
                values[lane] = values[other];
                indices[lane] = indices[other];
            }
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        best[0] = indices[0];
    }
}
