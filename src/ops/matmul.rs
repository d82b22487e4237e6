use super::{STEP, WEIGHTS8, expect_room, slab_sizes, stride, weight_parts};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;
use crate::weights::ROW_GROUP;

/// Tokens that an invocation takes together: the buffer of x has room for a multiple of them.
pub const TOKEN_TILE: usize = 4;
const TOKENS_PER_GROUP: usize = 8 * TOKEN_TILE;

/// `y[t] = W x[t]` for a chunk of tokens, one dispatch for each slab.
pub fn matmul(gpu: &Gpu, weight: &Weight, step: &Buffer, x: &Buffer, y: &Buffer) -> Result<Vec<Dispatch>> {
    expect_room("matmul", "x", x, TOKEN_TILE * stride(weight.columns))?;
    expect_room("matmul", "y", y, stride(weight.rows))?;
    let mut parts = vec![STEP];
    parts.extend(weight_parts(weight.format));
    parts.extend([WEIGHTS8, include_str!("../../shaders/matmul.wgsl")]);
    let dispatches = weight.slabs.iter().map(|slab| {
        let mut sizes = slab_sizes(weight, slab).to_vec();
        sizes.push(("ROW_STRIDE", Size::Count(stride(weight.rows))));
        let kernel = Kernel { name: "matmul", parts: &parts, sizes: &sizes };
        let rows = Extent::fixed(slab.rows, ROW_GROUP);
        gpu.dispatch(&kernel, &[step, x, &slab.buffer, y], rows, Extent::per_token(1, TOKENS_PER_GROUP))
    });
    Ok(dispatches.collect())
}
