use serde::{Deserialize, Serialize};

use super::finish::Finish;
use super::product::ProductKernel;
use super::{MOVE_HALVES, ROW_DOTS, UNPACK_HALVES, UNPACK_HALVES_MOVED, X_ALONE, X_QUADS};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent};
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;

/// Kernels for the product with one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Matvec {
    /// A lane keeps its rows to itself; no barriers. The portable one, which the others are checked against.
    #[serde(rename = "matvec")]
    Rows,
    /// The same, the lanes of a quad reading `x` for each other.
    #[serde(rename = "matvec_quads")]
    Quads,
    /// The columns of a row are shared out over 64 lanes.
    #[serde(rename = "matvec_slices")]
    Slices,
}

impl Matvec {
    /// All that there are.
    pub const ALL: [Self; 3] = [Matvec::Rows, Matvec::Quads, Matvec::Slices];

    /// Those that may be the fastest on a device, the likeliest first: software adapters pay dearly for barriers, real ones need
    /// many reads in flight.
    pub fn candidates(gpu: &Gpu) -> Vec<Self> {
        let all: &[Self] = if gpu.adapter().software {
            &[Matvec::Quads, Matvec::Rows]
        } else {
            &[Matvec::Slices, Matvec::Rows, Matvec::Quads]
        };
        all.iter().copied().filter(|variant| variant.runs_on(gpu)).collect()
    }

    /// The likeliest to be the fastest of those that take nothing for granted but what WebGPU promises, which a quad is not.
    pub fn untried(gpu: &Gpu) -> Self {
        if gpu.adapter().software { Matvec::Rows } else { Matvec::Slices }
    }

    /// Whether the device can run it.
    pub fn runs_on(self, gpu: &Gpu) -> bool {
        match self {
            Matvec::Rows | Matvec::Slices => true,
            Matvec::Quads => gpu.has_subgroups(),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Matvec::Rows => "matvec",
            Matvec::Quads => "matvec_quads",
            Matvec::Slices => "matvec_slices",
        }
    }

    /// The name of its file, and of what it starts with.
    fn entry_point(self) -> &'static str {
        if self == Matvec::Quads { Matvec::Rows.name() } else { self.name() }
    }

    /// The files that it is made of, besides those that every product has in front.
    pub(super) fn texts(self) -> &'static [&'static str] {
        const ROWS: &str = wgsl!("matvec.wgsl");
        match self {
            Matvec::Rows => &[MOVE_HALVES, UNPACK_HALVES_MOVED, X_ALONE, ROW_DOTS, ROWS],
            Matvec::Quads => &[MOVE_HALVES, UNPACK_HALVES_MOVED, X_QUADS, ROW_DOTS, ROWS],
            Matvec::Slices => &[UNPACK_HALVES, X_ALONE, wgsl!("common/finish_pair.wgsl"), wgsl!("matvec_slices.wgsl")],
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
    let kernel = ProductKernel {
        name: variant.entry_point(),
        texts: variant.texts(),
        token_tile: 1,
        split: if variant == Matvec::Slices { 2 } else { 1 },
        tokens: Extent::fixed(1, 1),
        computed: |_| 1,
    };
    kernel.record(gpu, weight, [step, x], finish)
}
