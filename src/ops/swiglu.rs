use super::{SILU, expect_room, stride};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::cost::Cost;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// `inner = silu(gate) * up` for rows of `columns` values, each row of `gate_up` a gate's and then an up projection's.
pub fn swiglu(gpu: &Gpu, columns: usize, gate_up: &Buffer, inner: &Buffer) -> Result<Dispatch> {
    expect_room("swiglu", "gate_up", gate_up, 2 * stride(columns))?;
    expect_room("swiglu", "inner", inner, stride(columns))?;
    let quads = stride(columns) / 4;
    let kernel =
        Kernel { name: "swiglu", parts: &[SILU, wgsl!("swiglu.wgsl")], sizes: &[("QUADS", Size::Count(quads))] };
    let dispatch = gpu.dispatch(&kernel, &[gate_up, inner], Extent::fixed(quads, 64), Extent::per_token(1, 1));
    Ok(dispatch.costing(move |run| Cost::values(run.tokens * 3 * columns)))
}
