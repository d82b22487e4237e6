use super::{STEP, expect_room, stride};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// `x += y` for rows of `columns` values.
pub fn add(gpu: &Gpu, columns: usize, step: &Buffer, y: &Buffer, x: &Buffer) -> Result<Dispatch> {
    expect_room("add", "y", y, stride(columns))?;
    expect_room("add", "x", x, stride(columns))?;
    let quads = stride(columns) / 4;
    let kernel = Kernel {
        name: "add",
        parts: &[STEP, include_str!("../../shaders/add.wgsl")],
        sizes: &[("QUADS", Size::Count(quads))],
    };
    Ok(gpu.dispatch(&kernel, &[step, y, x], Extent::per_token(quads, 64), Extent::fixed(1, 1)))
}
