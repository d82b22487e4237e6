use serde::{Deserialize, Serialize};

use super::finish::Finish;
use super::{STEP, TILES, WEIGHTS8, expect_room, stride, weight_parts};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::pack::blocks;
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;

/// Tokens whose products one invocation computes: rows of `x` come in multiples of it.
pub const TOKEN_TILE: usize = 8;

/// Kernels for the product with several vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Matmul {
    /// A tile of rows and tokens in registers; no barriers. The portable one, which the others are checked against.
    #[serde(rename = "matmul")]
    Registers,
    /// The same, the lanes of a quad reading tokens for each other.
    #[serde(rename = "matmul_quads")]
    Quads,
    /// Tiles of weights and tokens in workgroup memory besides.
    #[serde(rename = "matmul_shared")]
    Shared,
}

impl Matmul {
    /// All that there are.
    pub const ALL: [Self; 3] = [Matmul::Registers, Matmul::Quads, Matmul::Shared];

    /// All that the device can run, the one that is likely to be the fastest first.
    pub fn candidates(gpu: &Gpu) -> Vec<Self> {
        let quads = gpu.has_subgroups().then_some(Matmul::Quads);
        if gpu.adapter().software {
            quads.into_iter().chain([Matmul::Registers, Matmul::Shared]).collect()
        } else {
            [Matmul::Shared, Matmul::Registers].into_iter().chain(quads).collect()
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Matmul::Registers => "matmul",
            Matmul::Quads => "matmul_quads",
            Matmul::Shared => "matmul_shared",
        }
    }

    /// The file it is in, and its entry point.
    fn kernel(self) -> &'static str {
        match self {
            Matmul::Registers | Matmul::Quads => "matmul",
            Matmul::Shared => "matmul_shared",
        }
    }

    /// The files that it is made of besides those that read weights and those that end it.
    pub(super) fn texts(self) -> Vec<&'static str> {
        const REGISTERS: &str = include_str!("../../shaders/matmul.wgsl");
        match self {
            Matmul::Registers => vec![include_str!("../../shaders/common/x_alone.wgsl"), REGISTERS],
            Matmul::Quads => vec![include_str!("../../shaders/common/x_quads.wgsl"), REGISTERS],
            Matmul::Shared => vec![include_str!("../../shaders/matmul_shared.wgsl")],
        }
    }

    fn tokens_per_group(self) -> usize {
        match self {
            Matmul::Registers | Matmul::Quads => 16,
            Matmul::Shared => 32,
        }
    }
}

/// The products of `weight` with each token's row of `x`, one dispatch for each slab.
pub fn matmul(
    gpu: &Gpu,
    variant: Matmul,
    weight: &Weight,
    step: &Buffer,
    x: &Buffer,
    finish: &Finish<'_>,
) -> Result<Vec<Dispatch>> {
    expect_room(variant.name(), "x", x, TOKEN_TILE * stride(weight.columns))?;
    finish.check(variant.name())?;
    let dispatches = weight.slabs.iter().map(|slab| {
        let mut parts = vec![STEP];
        parts.extend(weight_parts(slab.format));
        parts.extend([WEIGHTS8, TILES]);
        parts.extend(finish.parts());
        parts.extend(variant.texts());
        let mut sizes = vec![("BLOCKS", Size::Count(blocks(weight.columns)))];
        sizes.extend(finish.sizes(slab));
        let kernel = Kernel { name: variant.kernel(), parts: &parts, sizes: &sizes };
        let mut bindings = vec![step, x, &slab.buffer];
        bindings.extend(finish.bindings());
        let rows = Extent::fixed(slab.rows, finish.rows_per_group());
        let cost = finish.cost(slab, weight.columns);
        let tokens = Extent::per_token(1, variant.tokens_per_group());
        gpu.dispatch(&kernel, &bindings, rows, tokens).costing(move |run| cost(run.tokens))
    });
    Ok(dispatches.collect())
}
