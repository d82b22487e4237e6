// How a lane reads what the others of its quad read, too: a quarter of it, and the rest it has from them. Joined in the place of
// x_alone.wgsl. For processors, where reading takes more time than the arithmetic.
//
// Four lanes that follow each other in a workgroup must be a quad of a subgroup. WebGPU does not promise that. It holds on Mesa's
// lavapipe and on SwiftShader, as the tests know; elsewhere a trial finds out whether it does, but for a caller that wants none on a
// software adapter.
enable subgroups;
// The lanes of a quad that leave early do so together.
diagnostic(off, subgroup_uniformity);

fn four_of_x(at: u32, apart: u32, member: u32) -> mat4x4f {
    let own = x[at + member * apart];
    return mat4x4f(quadBroadcast(own, 0u), quadBroadcast(own, 1u), quadBroadcast(own, 2u), quadBroadcast(own, 3u));
}

fn sum_of_squares(at: u32, count: u32, member: u32) -> vec4f {
    var own = vec4f();
    // As many turns for each lane, so that all of them come to the broadcasts together.
    for (var i = 0u; i < count; i += 4u) {
        let place = min(i + member, count - 1u);
        own += select(vec4f(), squares[at + place], i + member < count);
    }
    return (quadBroadcast(own, 0u) + quadBroadcast(own, 1u)) + (quadBroadcast(own, 2u) + quadBroadcast(own, 3u));
}
