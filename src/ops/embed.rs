use super::{WEIGHTS8, expect_room, slab_sizes, stride, weight_parts};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel};
use crate::gpu::pack::blocks;
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;

/// Looks up the rows of `table` that `ids` names, one dispatch for each slab.
pub fn embed(gpu: &Gpu, table: &Weight, ids: &Buffer, out: &Buffer) -> Result<Vec<Dispatch>> {
    expect_room("embed", "out", out, stride(table.columns))?;
    let mut parts = weight_parts(table.format);
    parts.extend([WEIGHTS8, include_str!("../../shaders/embed.wgsl")]);
    let dispatches = table.slabs.iter().map(|slab| {
        let kernel = Kernel { name: "embed", parts: &parts, sizes: &slab_sizes(table, slab) };
        let (x, y) = (Extent::fixed(blocks(table.columns), 32), Extent::per_token(1, 1));
        gpu.dispatch(&kernel, &[ids, &slab.buffer, out], x, y)
    });
    Ok(dispatches.collect())
}
