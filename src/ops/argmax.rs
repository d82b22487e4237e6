use super::expect_room;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::cost::Cost;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// What `argmax` writes when a value is NaN or infinite.
pub const NONE: u32 = u32::MAX;

/// Writes the index of the largest of `columns` values to `best`, the lowest one of several.
pub fn argmax(gpu: &Gpu, columns: usize, x: &Buffer, best: &Buffer) -> Result<Dispatch> {
    expect_room("argmax", "x", x, columns)?;
    expect_room("argmax", "best", best, 1)?;
    let kernel = Kernel {
        name: "argmax",
        parts: &[include_str!("../../shaders/argmax.wgsl")],
        sizes: &[("COLUMNS", Size::Count(columns))],
    };
    let dispatch = gpu.dispatch(&kernel, &[x, best], Extent::fixed(1, 1), Extent::fixed(1, 1));
    Ok(dispatch.costing(move |_| Cost::values(columns + 1)))
}
