use super::{UNPACK_HALVES, WEIGHTS8, expect_room, squares_quads, stride};
use crate::error::Result;
use crate::formats::tile::{blocks, row_bytes};
use crate::gpu::Gpu;
use crate::gpu::cost::Cost;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;

/// What `embed` reads and writes.
pub struct Embed<'a> {
    /// Token ids.
    pub ids: &'a Buffer,
    /// The first norm's weights.
    pub gains: &'a Buffer,
    /// The residual stream.
    pub stream: &'a Buffer,
    /// The stream times `gains`.
    pub weighted: &'a Buffer,
    /// Partial sums of its squares.
    pub squares: &'a Buffer,
}

/// Starts the residual stream with the rows of `table` that the ids name, one dispatch for each slab.
pub fn embed(gpu: &Gpu, table: &Weight, buffers: &Embed<'_>) -> Result<Vec<Dispatch>> {
    let columns = table.columns;
    let quads = squares_quads(columns);
    expect_room("embed", "gains", buffers.gains, columns)?;
    expect_room("embed", "stream", buffers.stream, stride(columns))?;
    expect_room("embed", "weighted", buffers.weighted, stride(columns))?;
    expect_room("embed", "squares", buffers.squares, 4 * quads)?;
    let dispatches = table.slabs.iter().map(|slab| {
        let mut parts = slab.format.shader().to_vec();
        parts.extend([UNPACK_HALVES, WEIGHTS8, wgsl!("embed.wgsl")]);
        let sizes = [
            ("ROWS", Size::Count(slab.rows)),
            ("FIRST_ROW", Size::Count(slab.first_row)),
            ("BLOCKS", Size::Count(blocks(columns))),
            ("COLUMNS", Size::Count(columns)),
            ("SQUARES", Size::Count(quads)),
        ];
        let kernel = Kernel { name: "embed", parts: &parts, sizes: &sizes };
        let Embed { ids, gains, stream, weighted, squares } = *buffers;
        let bindings = [ids, &slab.buffer, gains, stream, weighted, squares];
        let dispatch = gpu.dispatch(&kernel, &bindings, Extent::fixed(quads, 32), Extent::per_token(1, 1));
        // Each token is in one slab; which, only its id tells.
        let (weights, others) =
            if slab.first_row == 0 { (row_bytes(slab.format, columns), 1 + 2 * columns + 4 * quads) } else { (0, 0) };
        dispatch.costing(move |run| {
            Cost::weights(run.tokens as u64 * weights) + Cost::values(columns + run.tokens * others)
        })
    });
    Ok(dispatches.collect())
}
