use serde::{Deserialize, Serialize};

use super::finish::Finish;
use super::{ROW_DOTS, STEP, TILES, expect_room, stride, weight_parts};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::pack::blocks;
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;

/// Kernels for the product with one vector; their names are those of their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Matvec {
    /// A lane keeps its rows to itself; no barriers. The portable one, which the others are checked against.
    #[serde(rename = "matvec")]
    Rows,
    /// The columns of a row are shared out over 16 lanes.
    #[serde(rename = "matvec_slices")]
    Slices,
    /// The same, the lanes' sums added up by subgroups.
    #[serde(rename = "matvec_subgroups")]
    Subgroups,
}

impl Matvec {
    /// All that the device can run, the one that is likely to be the fastest first: software adapters pay dearly for barriers,
    /// real ones need many reads in flight.
    pub fn candidates(gpu: &Gpu) -> Vec<Self> {
        let mut candidates = if gpu.adapter().software {
            vec![Matvec::Rows, Matvec::Slices]
        } else {
            vec![Matvec::Slices, Matvec::Rows]
        };
        candidates.extend(gpu.has_subgroups().then_some(Matvec::Subgroups));
        candidates
    }

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Matvec::Rows => "matvec",
            Matvec::Slices => "matvec_slices",
            Matvec::Subgroups => "matvec_subgroups",
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Matvec::Rows => include_str!("../../shaders/matvec.wgsl"),
            Matvec::Slices => include_str!("../../shaders/matvec_slices.wgsl"),
            Matvec::Subgroups => include_str!("../../shaders/matvec_subgroups.wgsl"),
        }
    }
}

/// The products of `weight` with the last token's row of `x`, one dispatch for each slab.
pub fn matvec(
    gpu: &Gpu,
    variant: Matvec,
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
