use super::finish::Finish;
use super::{STEP, TILES, WEIGHTS8, expect_room, stride, weight_parts};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::pack::blocks;
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;

/// Tokens whose products one invocation computes: rows of `x` come in multiples of it.
pub const TOKEN_TILE: usize = 4;
/// Tokens of one workgroup.
const TOKENS_PER_GROUP: usize = 32;

/// The products of `weight` with each token's row of `x`, one dispatch for each slab.
pub fn matmul(gpu: &Gpu, weight: &Weight, step: &Buffer, x: &Buffer, finish: &Finish<'_>) -> Result<Vec<Dispatch>> {
    expect_room("matmul", "x", x, TOKEN_TILE * stride(weight.columns))?;
    finish.check("matmul")?;
    let dispatches = weight.slabs.iter().map(|slab| {
        let mut parts = vec![STEP];
        parts.extend(weight_parts(slab.format));
        parts.extend([WEIGHTS8, TILES]);
        parts.extend(finish.parts());
        parts.push(include_str!("../../shaders/matmul.wgsl"));
        let mut sizes = vec![("BLOCKS", Size::Count(blocks(weight.columns)))];
        sizes.extend(finish.sizes(slab));
        let kernel = Kernel { name: "matmul", parts: &parts, sizes: &sizes };
        let mut bindings = vec![step, x, &slab.buffer];
        bindings.extend(finish.bindings());
        let rows = Extent::fixed(slab.rows, finish.rows_per_group());
        let cost = finish.cost(slab, weight.columns);
        gpu.dispatch(&kernel, &bindings, rows, Extent::per_token(1, TOKENS_PER_GROUP))
            .costing(move |run| cost(run.tokens))
    });
    Ok(dispatches.collect())
}
