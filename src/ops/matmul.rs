use serde::{Deserialize, Serialize};

use super::finish::Finish;
use super::product::ProductKernel;
use super::{WEIGHTS8, X_ALONE, X_QUADS};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent};
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

    /// Those that may be the fastest on a device, the likeliest first: software adapters pay dearly for barriers.
    pub fn candidates(gpu: &Gpu) -> Vec<Self> {
        let all: &[Self] = if gpu.adapter().software {
            &[Matmul::Quads, Matmul::Registers]
        } else {
            &[Matmul::Shared, Matmul::Registers, Matmul::Quads]
        };
        all.iter().copied().filter(|variant| variant.runs_on(gpu)).collect()
    }

    /// Whether the device can run it.
    pub fn runs_on(self, gpu: &Gpu) -> bool {
        gpu.has_subgroups() || self != Matmul::Quads
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Matmul::Registers => "matmul",
            Matmul::Quads => "matmul_quads",
            Matmul::Shared => "matmul_shared",
        }
    }

    /// The files that it is made of, besides those that every product has in front.
    pub(super) fn texts(self) -> &'static [&'static str] {
        const REGISTERS: &str = include_str!("../../shaders/matmul.wgsl");
        match self {
            Matmul::Registers => &[WEIGHTS8, X_ALONE, REGISTERS],
            Matmul::Quads => &[WEIGHTS8, X_QUADS, REGISTERS],
            Matmul::Shared => &[WEIGHTS8, include_str!("../../shaders/matmul_shared.wgsl")],
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
    // The file's name, and tokens of a workgroup.
    let (name, tokens) = match variant {
        Matmul::Registers | Matmul::Quads => ("matmul", 16),
        Matmul::Shared => ("matmul_shared", 32),
    };
    let kernel = ProductKernel {
        name,
        texts: variant.texts(),
        token_tile: TOKEN_TILE,
        tokens: Extent::per_token(1, tokens),
        computed: |run| run.tokens,
    };
    kernel.record(gpu, weight, [step, x], finish)
}
