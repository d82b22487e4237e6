// finish.wgsl's ends for a lane that finishes one row of each of a workgroup's two tiles. For kernels of real GPUs, where as many
// lanes as there are rows share that work: finish.wgsl's own have eight each, and how these are written matters to processors.
// Joined after finish.wgsl.

// `row`: the row's place in its tile; `low` and `high`: its products in both tiles. Returns the sum of the squares of the rows' new
// values, where the next norm wants it.
fn finish_pair(p: Product, scale: f32, token: u32, group: u32, row: u32, low: f32, high: f32) -> f32 {
    let start = select(token, 0u, p.one_row != 0u) * p.row_stride + p.first_row;
    let low_row = select(64u, 32u, p.end == GATED) * group + row;
    if (p.end == JOINED) {
        return join_row(p, start, low_row, low * scale) + join_row(p, start, low_row + 32u, high * scale);
    }
    if (p.end == GATED) {
        if (low_row < p.rows) {
            write_row(start + low_row, gate(p, token, low_row, vec2f(low, high) * scale), false);
        }
        return 0.0;
    }
    if (low_row < p.rows) {
        write_row(start + low_row, low * scale, ADDS);
    }
    if (low_row + 32u < p.rows) {
        write_row(start + low_row + 32u, high * scale, ADDS);
    }
    return 0.0;
}
