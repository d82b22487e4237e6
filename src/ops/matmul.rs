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
pub const TOKEN_TILE: usize = 4;
/// Tokens of one workgroup, whichever the kernel.
const TOKENS_PER_GROUP: usize = 32;

/// Kernels for the product with several vectors; their names are those of their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Matmul {
    /// A tile of rows and tokens in registers; no barriers. The portable one, which the other is checked against.
    #[serde(rename = "matmul")]
    Registers,
    /// Tiles of weights and tokens in workgroup memory besides.
    #[serde(rename = "matmul_shared")]
    Shared,
}

impl Matmul {
    /// All that a device can run, the one that is known to be fast somewhere first.
    pub const CANDIDATES: [Self; 2] = [Matmul::Registers, Matmul::Shared];

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Matmul::Registers => "matmul",
            Matmul::Shared => "matmul_shared",
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Matmul::Registers => include_str!("../../shaders/matmul.wgsl"),
            Matmul::Shared => include_str!("../../shaders/matmul_shared.wgsl"),
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
        parts.push(variant.text());
        let mut sizes = vec![("BLOCKS", Size::Count(blocks(weight.columns)))];
        sizes.extend(finish.sizes(slab));
        let kernel = Kernel { name: variant.name(), parts: &parts, sizes: &sizes };
        let mut bindings = vec![step, x, &slab.buffer];
        bindings.extend(finish.bindings());
        let rows = Extent::fixed(slab.rows, finish.rows_per_group());
        let cost = finish.cost(slab, weight.columns);
        let tokens = Extent::per_token(1, TOKENS_PER_GROUP);
        gpu.dispatch(&kernel, &bindings, rows, tokens).costing(move |run| cost(run.tokens))
    });
    Ok(dispatches.collect())
}
