use super::{STEP, expect_room, stride};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// `gate = silu(gate) * up` for rows of `columns` values.
pub fn swiglu(gpu: &Gpu, columns: usize, step: &Buffer, up: &Buffer, gate: &Buffer) -> Result<Dispatch> {
    expect_room("swiglu", "up", up, stride(columns))?;
    expect_room("swiglu", "gate", gate, stride(columns))?;
    let quads = stride(columns) / 4;
    let kernel = Kernel {
        name: "swiglu",
        parts: &[STEP, include_str!("../../shaders/swiglu.wgsl")],
        sizes: &[("QUADS", Size::Count(quads))],
    };
    Ok(gpu.dispatch(&kernel, &[step, up, gate], Extent::per_token(quads, 64), Extent::fixed(1, 1)))
}
