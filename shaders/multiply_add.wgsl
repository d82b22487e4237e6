// Multiply-adds in registers, to measure how fast the adapter computes: a = a * factors[lane] + addends[lane], ROUNDS times from
// eight starts s = 0 ... 7 each; sums[i] = sum over s of a.
//
// Joined in front: ROUNDS.
//
// factors   [LANES] vec4
// addends   [LANES] vec4
// sums      [workgroups * LANES] vec4
//
// An invocation does ROUNDS * 32 multiply-adds between reading two vec4s and writing one; no barriers.
@group(0) @binding(0) var<storage, read> factors: array<vec4f>;
@group(0) @binding(1) var<storage, read> addends: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4f>;

const LANES: u32 = 64u;

@compute @workgroup_size(64)
fn multiply_add(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
    let factor = factors[lane];
    let addend = addends[lane];
    // Written out: eight chains, so that none waits for the one before.
    var a0 = vec4f(0.0);
    var a1 = vec4f(1.0);
    var a2 = vec4f(2.0);
    var a3 = vec4f(3.0);
    var a4 = vec4f(4.0);
    var a5 = vec4f(5.0);
    var a6 = vec4f(6.0);
    var a7 = vec4f(7.0);
    for (var round = 0u; round < ROUNDS; round++) {
        a0 = a0 * factor + addend;
        a1 = a1 * factor + addend;
        a2 = a2 * factor + addend;
        a3 = a3 * factor + addend;
        a4 = a4 * factor + addend;
        a5 = a5 * factor + addend;
        a6 = a6 * factor + addend;
        a7 = a7 * factor + addend;
    }
    sums[id.x] = ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7));
}
