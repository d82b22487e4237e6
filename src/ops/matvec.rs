use super::finish::Finish;
use super::{ROW_DOTS, STEP, TILES, expect_room, stride, weight_parts};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::pack::blocks;
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;

/// Kernels for the same product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// `matvec.wgsl`: a lane keeps its rows to itself; no barriers.
    Rows,
    /// `matvec_slices.wgsl`: the columns of a row are shared out over 16 lanes.
    Slices,
}

impl Variant {
    /// The variant for an adapter: software ones pay dearly for barriers, real ones need many reads in flight.
    pub fn for_adapter(gpu: &Gpu) -> Self {
        if gpu.adapter().software { Variant::Rows } else { Variant::Slices }
    }

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Rows => "matvec",
            Variant::Slices => "matvec_slices",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Variant::Rows => include_str!("../../shaders/matvec.wgsl"),
            Variant::Slices => include_str!("../../shaders/matvec_slices.wgsl"),
        }
    }
}

/// The products of `weight` with the last token's row of `x`, one dispatch for each slab.
pub fn matvec(
    gpu: &Gpu,
    variant: Variant,
    weight: &Weight,
    step: &Buffer,
    x: &Buffer,
    finish: &Finish<'_>,
) -> Result<Vec<Dispatch>> {
    expect_room(variant.name(), "x", x, stride(weight.columns))?;
    finish.check(variant.name())?;
    let dispatches = weight.slabs.iter().map(|slab| {
        let mut parts = vec![STEP];
        parts.extend(weight_parts(slab.format));
        parts.extend([TILES, ROW_DOTS]);
        parts.extend(finish.parts());
        parts.push(variant.text());
        let mut sizes = vec![("BLOCKS", Size::Count(blocks(weight.columns)))];
        sizes.extend(finish.sizes(slab));
        let kernel = Kernel { name: variant.name(), parts: &parts, sizes: &sizes };
        let mut bindings = vec![step, x, &slab.buffer];
        bindings.extend(finish.bindings());
        let rows = Extent::fixed(slab.rows, finish.rows_per_group());
        let cost = finish.cost(slab, weight.columns);
        gpu.dispatch(&kernel, &bindings, rows, Extent::fixed(1, 1)).costing(move |_| cost(1))
    });
    Ok(dispatches.collect())
}
