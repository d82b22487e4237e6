// How a lane reads four vec4s of x: by itself. Joined before row_dots.wgsl and kernels of products, which bind `x`.
//
// four_of_x gives a column for each of the vec4s at `at`, `at + apart`, `at + 2 apart` and `at + 3 apart`. Lanes come in quads that
// ask for the same; this is number `member` of its quad.
fn four_of_x(at: u32, apart: u32, member: u32) -> mat4x4f {
    return mat4x4f(x[at], x[at + apart], x[at + 2u * apart], x[at + 3u * apart]);
}
