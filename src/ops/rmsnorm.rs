use super::{STEP, expect_room, stride};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// Parameters of an RMSNorm.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    /// Length of a row.
    pub columns: usize,
    /// Added to the mean square.
    pub eps: f32,
    /// Only the chunk's last token, written as the first row of `out`.
    pub last_only: bool,
}

/// `out = x / rms(x) * weight` for each token, or for the last one alone.
pub fn rmsnorm(
    gpu: &Gpu,
    norm: &RmsNorm,
    step: &Buffer,
    x: &Buffer,
    weight: &Buffer,
    out: &Buffer,
) -> Result<Dispatch> {
    expect_room("rmsnorm", "x", x, stride(norm.columns))?;
    expect_room("rmsnorm", "weight", weight, norm.columns)?;
    expect_room("rmsnorm", "out", out, stride(norm.columns))?;
    let kernel = Kernel {
        name: "rmsnorm",
        parts: &[STEP, include_str!("../../shaders/rmsnorm.wgsl")],
        sizes: &[
            ("COLUMNS", Size::Count(norm.columns)),
            ("ROW_STRIDE", Size::Count(stride(norm.columns))),
            ("EPS", Size::Number(norm.eps)),
            ("LAST_ONLY", Size::Flag(norm.last_only)),
        ],
    };
    let rows = if norm.last_only { Extent::fixed(1, 1) } else { Extent::per_token(1, 1) };
    Ok(gpu.dispatch(&kernel, &[step, x, weight, out], rows, Extent::fixed(1, 1)))
}
