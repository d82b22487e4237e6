use super::{UNPACK_HALVES, WEIGHTS8, expect_room, stride};
use crate::error::Result;
use crate::formats::tile::{blocks, row_bytes};
use crate::gpu::Gpu;
use crate::gpu::cost::Cost;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;

/// `y = table[ids]`, one dispatch for each slab.
pub fn gather(gpu: &Gpu, table: &Weight, ids: &Buffer, y: &Buffer) -> Result<Vec<Dispatch>> {
    let columns = table.columns;
    expect_room("gather", "y", y, stride(columns))?;
    let dispatches = table.slabs.iter().map(|slab| {
        let mut parts = slab.format.shader().to_vec();
        parts.extend([UNPACK_HALVES, WEIGHTS8, wgsl!("gather.wgsl")]);
        let sizes = [
            ("ROWS", Size::Count(slab.rows)),
            ("FIRST_ROW", Size::Count(slab.first_row)),
            ("BLOCKS", Size::Count(blocks(columns))),
        ];
        let kernel = Kernel { name: "gather", parts: &parts, sizes: &sizes };
        let extent = (Extent::fixed(blocks(columns), 32), Extent::per_token(1, 1));
        let dispatch = gpu.dispatch(&kernel, &[ids, &slab.buffer, y], extent.0, extent.1);
        // Each token is in one slab; which, only its id tells.
        let (weights, others) =
            if slab.first_row == 0 { (row_bytes(slab.format, columns), 1 + columns) } else { (0, 0) };
        dispatch.costing(move |run| Cost::weights(run.tokens as u64 * weights) + Cost::values(run.tokens * others))
    });
    Ok(dispatches.collect())
}
