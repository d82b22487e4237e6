//! One file per kernel: its parameters, the checks of its buffers' sizes, and its dispatch.
//!
//! The shader of the same name states what each binding holds. Lengths of rows are rounded up to whole blocks of 32, and
//! what lies past a row's last column is zero.

mod add;
mod argmax;
mod attention;
mod embed;
mod matmul;
mod matvec;
mod rmsnorm;
mod rope;
mod swiglu;

pub use add::add;
pub use argmax::{NONE, argmax};
pub use attention::{Attention, attention, attention_merge};
pub use embed::embed;
pub use matmul::{TOKEN_TILE, matmul};
pub use matvec::{Variant, matvec};
pub use rmsnorm::{RmsNorm, rmsnorm};
pub use rope::{Rope, rope};
pub use swiglu::swiglu;

use crate::error::{Error, Result};
use crate::gpu::kernel::Size;
use crate::gpu::pack::{BLOCK, blocks};
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::{Slab, Weight};
use crate::model::kv_cache::KvFormat;
use crate::weights::Format;

const WEIGHTS8: &str = include_str!("../../shaders/common/weights8.wgsl");
const STEP: &str = include_str!("../../shaders/common/step.wgsl");

/// Length of a row of `columns` values as the kernels keep it: whole blocks of 32.
pub fn stride(columns: usize) -> usize {
    blocks(columns) * BLOCK
}

/// The heads of an attention layer and the cache that they share.
#[derive(Debug, Clone, Copy)]
pub struct HeadShape {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Length of a head's vectors; even.
    pub head_dim: usize,
    /// Positions that the cache holds.
    pub context: usize,
    /// Format of the cache.
    pub kv: KvFormat,
}

impl HeadShape {
    /// Dimension pairs in a head.
    pub fn pairs(&self) -> usize {
        self.head_dim / 2
    }

    /// Length of a token's row of queries.
    pub fn query_stride(&self) -> usize {
        stride(self.heads * self.head_dim)
    }

    /// Length of a token's row of keys or values before they are cached.
    pub fn kv_stride(&self) -> usize {
        stride(self.kv_heads * self.head_dim)
    }

    /// Bytes of one layer's keys (or values) in the cache.
    pub fn cache_bytes(&self) -> u64 {
        (self.kv_heads * self.context * self.pairs()) as u64 * self.kv.pair_bytes()
    }

    fn kv_part(&self) -> &'static str {
        match self.kv {
            KvFormat::F16 => include_str!("../../shaders/common/kv_f16.wgsl"),
            KvFormat::F32 => include_str!("../../shaders/common/kv_f32.wgsl"),
        }
    }
}

/// The helper files that read a format, in the order in which they are joined.
fn weight_parts(format: Format) -> Vec<&'static str> {
    const UNSCALED: &str = include_str!("../../shaders/common/unscaled.wgsl");
    const HALVES: &str = include_str!("../../shaders/common/halves.wgsl");
    const NIBBLES: &str = include_str!("../../shaders/common/nibbles.wgsl");
    match format {
        Format::F32 => vec![UNSCALED, include_str!("../../shaders/common/weights_f32.wgsl")],
        Format::F16 => vec![UNSCALED, include_str!("../../shaders/common/weights_f16.wgsl")],
        Format::BF16 => vec![UNSCALED, include_str!("../../shaders/common/weights_bf16.wgsl")],
        Format::Q8_0 => vec![HALVES, include_str!("../../shaders/common/weights_q8_0.wgsl")],
        Format::Q4_0 => vec![HALVES, NIBBLES, include_str!("../../shaders/common/weights_q4_0.wgsl")],
        Format::Q4_1 => vec![NIBBLES, include_str!("../../shaders/common/weights_q4_1.wgsl")],
        Format::Q6K => vec![HALVES, include_str!("../../shaders/common/weights_q6_k.wgsl")],
    }
}

/// The constants of a slab that every reader of weights has.
fn slab_sizes(weight: &Weight, slab: &Slab) -> [(&'static str, Size); 3] {
    [
        ("ROWS", Size::Count(slab.rows)),
        ("FIRST_ROW", Size::Count(slab.first_row)),
        ("BLOCKS", Size::Count(blocks(weight.columns))),
    ]
}

/// Errors unless `buffer` has room for `values` 32-bit values.
fn expect_room(kernel: &str, binding: &str, buffer: &Buffer, values: usize) -> Result<()> {
    if buffer.bytes() >= 4 * values as u64 {
        return Ok(());
    }
    let detail = format!("{kernel}: {binding} has {} bytes and needs {}", buffer.bytes(), 4 * values);
    Err(Error::Gpu { detail })
}
