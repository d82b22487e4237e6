// How a lane reads what the others of its quad read, too: by itself. Joined with product.wgsl, which binds that.
//
// four_of_x gives a column for each of the vec4s at `at`, `at + apart`, `at + 2 apart` and `at + 3 apart`. Lanes come in quads that
// ask for the same; this is number `member` of its quad.
fn four_of_x(at: u32, apart: u32, member: u32) -> mat4x4f {
    return mat4x4f(x[at], x[at + apart], x[at + 2u * apart], x[at + 3u * apart]);
}

// The sum of `count` vec4s of squares, the first at `at`.
fn sum_of_squares(at: u32, count: u32, member: u32) -> vec4f {
    var sum = vec4f();
    for (var i = 0u; i < count; i++) {
        sum += squares[at + i];
    }
    return sum;
}
