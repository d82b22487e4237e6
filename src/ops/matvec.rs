use super::{expect_room, slab_sizes, stride, weight_parts};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel};
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;
use crate::weights::ROW_GROUP;

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

/// `y = W x` for one token, one dispatch for each slab.
pub fn matvec(gpu: &Gpu, variant: Variant, weight: &Weight, x: &Buffer, y: &Buffer) -> Result<Vec<Dispatch>> {
    expect_room(variant.name(), "x", x, stride(weight.columns))?;
    expect_room(variant.name(), "y", y, weight.rows)?;
    let mut parts = weight_parts(weight.format);
    parts.extend([include_str!("../../shaders/common/row_dots.wgsl"), variant.text()]);
    let dispatches = weight.slabs.iter().map(|slab| {
        let kernel = Kernel { name: variant.name(), parts: &parts, sizes: &slab_sizes(weight, slab) };
        let x_groups = Extent::fixed(slab.rows, ROW_GROUP);
        gpu.dispatch(&kernel, &[x, &slab.buffer, y], x_groups, Extent::fixed(1, 1))
    });
    Ok(dispatches.collect())
}
