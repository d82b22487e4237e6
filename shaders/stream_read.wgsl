// Streaming read, to measure how fast the adapter reads memory: sums[i] = sum over k < READS of words[first + k LANES], with
// wrapping addition, so that nothing of it can be left out.
//
// Joined in front: LANES (of a workgroup), READS (vec4s that an invocation adds up, a multiple of 4).
//
// words   [workgroups * LANES * READS] vec4
// sums    [workgroups * LANES] vec4
//
// A workgroup reads a run of READS * LANES vec4s, neighbouring invocations neighbouring ones; no barriers, and a sum of 16
// bytes is written for READS * 16 that are read.
@group(0) @binding(0) var<storage, read> words: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> sums: array<vec4u>;

@compute @workgroup_size(LANES)
fn stream_read(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * READS * LANES + lane;
    var sum0 = vec4u();
    var sum1 = vec4u();
    var sum2 = vec4u();
    var sum3 = vec4u();
    // Four at a time, each with a sum of its own: none waits for another.
    for (var k = 0u; k < READS; k += 4u) {
        let at = first + k * LANES;
        sum0 += words[at];
        sum1 += words[at + LANES];
        sum2 += words[at + 2u * LANES];
        sum3 += words[at + 3u * LANES];
    }
    sums[group.x * LANES + lane] = (sum0 + sum1) + (sum2 + sum3);
}
