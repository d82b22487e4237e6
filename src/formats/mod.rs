//! The number formats of weights, one file for each: what a block's bytes mean, where they go in a tile, which shader reads it, and
//! which bytes the processor multiplies.
//!
//! Source: `ggml-common.h` (layouts of blocks) and `ggml-quants.c` (meaning) of ggml. Products are rounded to `f32` as there.

mod fields;
mod halves;
mod iq4_nl;
mod iq4_xs;
mod plain;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod shaders;
pub mod tile;

use crate::cpu::products::Product;
use crate::error::{Error, Result};
pub(crate) use halves::{FiniteHalves, Halves, HalvesInPairs, NormalHalves};

/// Number format of a tensor as its file stores it.
///
/// A block of `block_len` consecutive weights of a row takes `block_bytes` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a single-precision number.
    BF16,
    /// 32 signed bytes and one f16 scale.
    Q8_0,
    /// 32 nibbles, offset by 8, and one f16 scale.
    Q4_0,
    /// 32 nibbles, one f16 scale and one f16 minimum.
    Q4_1,
    /// 32 weights of 5 bits, offset by 16, and one f16 scale.
    Q5_0,
    /// 32 weights of 5 bits, one f16 scale and one f16 minimum.
    Q5_1,
    /// 256 weights of 2 bits, with 16 scales and minima of 4 bits and an f16 over each kind.
    Q2K,
    /// 256 weights of 3 bits, offset by 4, with 16 scales of 6 bits and one f16 scale over them.
    Q3K,
    /// 256 nibbles, with 8 scales and minima of 6 bits and an f16 over each kind.
    Q4K,
    /// 256 weights of 5 bits, with 8 scales and minima of 6 bits and an f16 over each kind.
    Q5K,
    /// 256 weights of 6 bits, offset by 32, with 16 signed 8-bit scales and one f16 scale over them.
    Q6K,
    /// 32 nibbles that number the values of a table, and one f16 scale.
    Iq4Nl,
    /// 256 nibbles that number the values of a table, with 8 scales of 6 bits and one f16 scale over them.
    Iq4Xs,
}

/// Bytes of the longest block of any format.
pub(crate) const MOST_BLOCK_BYTES: usize = {
    let (mut most, mut at) = (0, 0);
    while at < Format::ALL.len() {
        let bytes = Format::ALL[at].layout().block_bytes;
        most = if bytes > most { bytes } else { most };
        at += 1;
    }
    most
};

/// All that is to be known of a format.
struct Layout {
    /// The name that files use.
    name: &'static str,
    /// Its number in GGUF files.
    gguf_type: u32,
    /// Weights in one block.
    block_len: usize,
    /// Bytes in one block.
    block_bytes: usize,
    /// The weights of whole blocks.
    dequantise: fn(&[u8], &mut [f32]),
    /// How the processor multiplies vectors in 8 bits; none where weights have no fewer bits than that.
    product: Option<Product>,
    /// Whether all weights of whole blocks are finite, looking at scales alone where there are some.
    finite: fn(&[u8]) -> bool,
    /// Words of a tile for 32 columns, or for those of a block where it has more.
    unit_words: usize,
    /// Packs at most 32 rows, each of so many bytes, into a tile.
    pack: fn(&[u8], usize, &mut [u32]),
    /// The shader files that read a tile, in the order in which they are joined.
    shader: &'static [&'static str],
    /// The file that reads the quants as bytes; none where bytes are no smaller.
    bytes_shader: Option<&'static str>,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 15] = [
        Format::F32,
        Format::F16,
        Format::BF16,
        Format::Q8_0,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q2K,
        Format::Q3K,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
        Format::Iq4Nl,
        Format::Iq4Xs,
    ];

    const fn layout(self) -> &'static Layout {
        match self {
            Format::F32 => &plain::F32,
            Format::F16 => &plain::F16,
            Format::BF16 => &plain::BF16,
            Format::Q8_0 => &q8_0::Q8_0,
            Format::Q4_0 => &q4_0::Q4_0,
            Format::Q4_1 => &q4_1::Q4_1,
            Format::Q5_0 => &q5_0::Q5_0,
            Format::Q5_1 => &q5_1::Q5_1,
            Format::Q2K => &q2_k::Q2_K,
            Format::Q3K => &q3_k::Q3_K,
            Format::Q4K => &q4_k::Q4_K,
            Format::Q5K => &q5_k::Q5_K,
            Format::Q6K => &q6_k::Q6_K,
            Format::Iq4Nl => &iq4_nl::IQ4_NL,
            Format::Iq4Xs => &iq4_xs::IQ4_XS,
        }
    }

    /// The format with a number in GGUF files.
    pub fn of_gguf_type(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.layout().gguf_type == number)
    }

    /// The name that files use.
    pub fn name(self) -> &'static str {
        self.layout().name
    }

    /// Weights in one block.
    pub fn block_len(self) -> usize {
        self.layout().block_len
    }

    /// Bytes in one block.
    pub fn block_bytes(self) -> usize {
        self.layout().block_bytes
    }

    /// Bytes of a row of `columns` weights; `columns` is a multiple of `block_len`.
    pub fn row_bytes(self, columns: usize) -> usize {
        columns / self.block_len() * self.block_bytes()
    }

    /// The weights of whole blocks, as [`dequantise`] gives them, of which there are as many as there is room for.
    pub(crate) fn widen(self) -> fn(&[u8], &mut [f32]) {
        self.layout().dequantise
    }

    /// How the processor multiplies vectors in 8 bits; none where weights have no fewer bits than that.
    pub(crate) fn rounded_product(self) -> Option<&'static Product> {
        self.layout().product.as_ref()
    }

    /// The shader files that read a tile, in the order in which they are joined.
    pub fn shader(self) -> &'static [&'static str] {
        self.layout().shader
    }

    /// The shader file that reads the quants as bytes, which goes behind the others; none where bytes are no smaller.
    pub fn bytes_shader(self) -> Option<&'static str> {
        self.layout().bytes_shader
    }
}

/// The weights of a row, or of any whole number of blocks, as `f32`.
///
/// `bytes` and `out` must be `out.len() / block_len` blocks long.
pub fn dequantise(format: Format, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let (len, size) = (format.block_len(), format.block_bytes());
    if !out.len().is_multiple_of(len) || bytes.len() != out.len() / len * size {
        let detail = format!("{} bytes of {} are not {} weights", bytes.len(), format.name(), out.len());
        return Err(Error::BadHeader { detail });
    }
    (format.layout().dequantise)(bytes, out);
    Ok(())
}

/// Reads blocks of `LENGTH` weights one after the other.
fn each_block<const BYTES: usize, const LENGTH: usize>(
    bytes: &[u8],
    weights: &mut [f32],
    read: impl Fn(&[u8; BYTES], &mut [f32; LENGTH]),
) {
    let blocks = bytes.as_chunks().0.iter().zip(weights.as_chunks_mut().0);
    blocks.for_each(|(block, weights)| read(block, weights));
}

/// Appends whole blocks of weights in a format that can be written: Q8_0 or Q4_0.
///
/// A block with a weight that is not finite gets a scale that is none either, which [`all_finite`] finds.
pub fn quantise(format: Format, weights: &[f32], out: &mut Vec<u8>) -> Result<()> {
    let quantise = match format {
        Format::Q8_0 => q8_0::quantise,
        Format::Q4_0 => q4_0::quantise,
        other => return Err(Error::BadRequest { detail: format!("{} is read, not written", other.name()) }),
    };
    let (blocks, rest) = weights.as_chunks();
    if !rest.is_empty() {
        return Err(Error::BadHeader { detail: format!("{} weights are not whole blocks", weights.len()) });
    }
    blocks.iter().for_each(|block| quantise(block, out));
    Ok(())
}

/// Whether all weights in whole blocks are finite, looking at scales alone where the format has them.
pub fn all_finite(format: Format, bytes: &[u8]) -> bool {
    (format.layout().finite)(bytes)
}

/// Whether the upper halves of f32 numbers, at `at` in each block, are those of finite ones.
fn finite_upper_halves<const BYTES: usize>(bytes: &[u8], at: usize) -> bool {
    // An exponent of all ones is an infinity or NaN.
    each(bytes, |block: &[u8; BYTES]| u16::from_le_bytes([block[at], block[at + 1]]) & 0x7f80 != 0x7f80)
}

/// Whether the f16 numbers at the given places of each block are finite.
fn finite_halves<const BYTES: usize, const N: usize>(bytes: &[u8], places: [usize; N]) -> bool {
    each(bytes, |block: &[u8; BYTES]| places.iter().all(|at| block[at + 1] & 0x7c != 0x7c))
}

/// Whether the f16 numbers at the given places of each block, which are finite, are neither zero nor too small to be normal.
pub(crate) fn normal_halves<const BYTES: usize, const N: usize>(bytes: &[u8], places: [usize; N]) -> bool {
    each(bytes, |block: &[u8; BYTES]| places.iter().all(|at| block[at + 1] & 0x7c != 0))
}

/// Whether a test holds for each block, without a branch for each so that the loop can be vectorised.
fn each<const BYTES: usize>(bytes: &[u8], test: impl Fn(&[u8; BYTES]) -> bool) -> bool {
    bytes.as_chunks().0.iter().fold(true, |all, block| all & test(block))
}
