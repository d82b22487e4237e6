use super::PRODUCT;
use super::attention::AttentionKernel;
use super::matmul::Matmul;
use super::matvec::Matvec;
use crate::digest::Digest;
use crate::formats::Format;
use crate::gpu::Gpu;

/// Which of the kernels are used that there are several of. Each of them gives the same but for rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variants {
    /// For single tokens.
    pub matvec: Matvec,
    /// For the tokens of a prompt.
    pub matmul: Matmul,
    /// For both. It is not tried: nothing is known to be faster elsewhere.
    pub attention: AttentionKernel,
}

impl Variants {
    /// The ones that are likely to be the fastest on an adapter.
    pub fn for_adapter(gpu: &Gpu) -> Self {
        let (matvec, matmul) = (Matvec::candidates(gpu)[0], Matmul::candidates(gpu)[0]);
        Self { matvec, matmul, attention: AttentionKernel::for_adapter(gpu) }
    }

    /// Whether the device can run them.
    pub fn run_on(self, gpu: &Gpu) -> bool {
        self.matvec.runs_on(gpu) && self.matmul.runs_on(gpu)
    }

    /// The names of those for products.
    pub fn names(self) -> Vec<&'static str> {
        vec![self.matvec.name(), self.matmul.name()]
    }

    /// SHA-256 of the texts that all variants are made of for weights of a format: when one changes, another may be the fastest.
    pub fn digest(format: Format) -> Digest {
        let mut texts = format.shader().to_vec();
        texts.extend(PRODUCT);
        texts.extend(Matvec::ALL.iter().flat_map(|variant| variant.texts()));
        texts.extend(Matmul::ALL.iter().flat_map(|variant| variant.texts()));
        Digest::of(texts.concat().as_bytes())
    }
}
