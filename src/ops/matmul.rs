use serde::{Deserialize, Serialize};

use super::finish::Finish;
use super::product::ProductKernel;
use super::{MOVE_HALVES, UNPACK_HALVES, UNPACK_HALVES_MOVED, WEIGHTS8, X_ALONE, X_QUADS};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent};
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;

/// Tokens whose products one invocation computes: rows of `x` come in multiples of it.
pub const TOKEN_TILE: usize = 8;

/// Number format of what products take, on GPUs those of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationFormat {
    /// As it is.
    #[default]
    F32,
    /// Rounded to bytes, where device and weights allow it, on GPUs for attention's output, gates and up projections: not exact,
    /// and faster on what multiplies bytes.
    Int8,
}

impl ActivationFormat {
    /// The name that it is asked for by.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }

    /// The format that is called `name`: `f32` or `int8`.
    pub fn named(name: &str) -> Option<Self> {
        [Self::F32, Self::Int8].into_iter().find(|format| format.name() == name)
    }
}

/// The name of the kernel for products with vectors that are rounded to bytes.
pub const MATMUL_BYTES: &str = "matmul_bytes";

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

    /// The likeliest to be the fastest of those that take nothing for granted but what WebGPU promises, which a quad is not.
    pub fn untried(gpu: &Gpu) -> Self {
        if gpu.adapter().software { Matmul::Registers } else { Matmul::Shared }
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

    /// The name of its file, and of what it starts with.
    fn entry_point(self) -> &'static str {
        if self == Matmul::Quads { Matmul::Registers.name() } else { self.name() }
    }

    /// The files that it is made of, besides those that every product has in front.
    pub(super) fn texts(self) -> &'static [&'static str] {
        const REGISTERS: &str = wgsl!("matmul.wgsl");
        match self {
            Matmul::Registers => &[MOVE_HALVES, UNPACK_HALVES_MOVED, WEIGHTS8, X_ALONE, REGISTERS],
            Matmul::Quads => &[MOVE_HALVES, UNPACK_HALVES_MOVED, WEIGHTS8, X_QUADS, REGISTERS],
            Matmul::Shared => &[UNPACK_HALVES, WEIGHTS8, X_ALONE, wgsl!("matmul_shared.wgsl")],
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
    let tokens = if variant == Matmul::Shared { 64 } else { 16 };
    let kernel = ProductKernel {
        name: variant.entry_point(),
        texts: variant.texts(),
        token_tile: TOKEN_TILE,
        split: 1,
        tokens: Extent::per_token(1, tokens),
        computed: |run| run.tokens,
    };
    kernel.record(gpu, weight, [step, x], finish)
}

/// The products of `weight` with each token's row of `x` rounded to bytes; none where the device or the format of a slab
/// has no use for it. Not exact.
pub fn matmul_bytes(
    gpu: &Gpu,
    weight: &Weight,
    step: &Buffer,
    x: &Buffer,
    finish: &Finish<'_>,
) -> Result<Option<Vec<Dispatch>>> {
    let mut texts = weight.slabs.iter().map(|slab| slab.format.bytes_shader());
    let first = texts.next().flatten().filter(|first| texts.all(|text| text == Some(first)));
    let Some(text) = first.filter(|_| gpu.has_packed_dot()) else { return Ok(None) };
    let kernel = ProductKernel {
        name: MATMUL_BYTES,
        texts: &[UNPACK_HALVES, X_ALONE, text, wgsl!("matmul_bytes.wgsl")],
        token_tile: 1,
        split: 1,
        tokens: Extent::per_token(1, 32),
        computed: |run| run.tokens,
    };
    kernel.record(gpu, weight, [step, x], finish).map(Some)
}
