//! One file per kernel: its parameters, the checks of its buffers' sizes, and its dispatch.
//!
//! The shader of the same name states what each binding holds. Lengths of rows are rounded up to whole blocks of 32, and
//! what lies past a row's last column is zero. Each function that makes dispatches fails with `Gpu` where a buffer has less room
//! than its sizes need or a size is none that the kernel is made for, and with `AdapterLimit` where a device's bindings have no room
//! for its constants.

mod attention;
mod embed;
mod finish;
mod gather;
mod matmul;
mod matvec;
mod multiply_add;
mod product;
mod rope;
mod sample;
mod stream_read;
mod swiglu;
mod variants;

pub use attention::{Attention, AttentionKernel, attention, attention_merge};
pub use embed::{Embed, embed};
pub use finish::{Finish, RmsNorm};
pub use gather::gather;
pub use matmul::{ActivationFormat, MATMUL_BYTES, Matmul, TOKEN_TILE, matmul, matmul_bytes};
pub use matvec::{Matvec, matvec};
pub use multiply_add::{MultiplyAdd, multiply_add};
pub use rope::{Rope, rope};
pub use sample::{NONE, SampleBuffers, SampleShape, sample};
pub use stream_read::{STREAM_BYTES, STREAM_SUM_BYTES, stream_lanes, stream_read};
pub use swiglu::swiglu;
pub use variants::Variants;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::formats::tile::{BLOCK, blocks};
use crate::gpu::kernel::Size;
use crate::gpu::tensor::Buffer;
use crate::model::kv_cache::KvFormat;

const UNPACK_HALVES: &str = wgsl!("common/unpack_halves.wgsl");
/// The same for kernels that software adapters are likely to use.
const UNPACK_HALVES_MOVED: &str = wgsl!("common/unpack_halves_moved.wgsl");
const MOVE_HALVES: &str = wgsl!("common/move_halves.wgsl");
const WEIGHTS8: &str = wgsl!("common/weights8.wgsl");
const STEP: &str = wgsl!("common/step.wgsl");
/// What every kernel for products is made of, besides its own files and those of a format.
const PRODUCT: [&str; 4] = [STEP, wgsl!("common/product.wgsl"), SILU, wgsl!("common/finish.wgsl")];
const X_ALONE: &str = wgsl!("common/x_alone.wgsl");
const X_QUADS: &str = wgsl!("common/x_quads.wgsl");
const ROW_DOTS: &str = wgsl!("common/row_dots.wgsl");
const SILU: &str = wgsl!("common/silu.wgsl");
/// Positions that lie together in the KV cache: `KV_TILE` in `kv_tile.wgsl`.
pub const KV_TILE: usize = 64;

/// Length of a row of `columns` values as the kernels keep it: whole blocks of 32.
pub fn stride(columns: usize) -> usize {
    blocks(columns) * BLOCK
}

/// Quads of numbers in which a token's squares are summed up in part: each eight rows of a product have one number.
pub fn squares_quads(columns: usize) -> usize {
    2 * columns.div_ceil(64)
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
    /// That of a model's layers.
    pub fn new(config: &ModelConfig, context: usize, kv: KvFormat) -> Self {
        let &ModelConfig { heads, kv_heads, head_dim, .. } = config;
        Self { heads, kv_heads, head_dim, context, kv }
    }

    /// Dimension pairs in a head.
    pub fn pairs(&self) -> usize {
        self.head_dim / 2
    }

    /// Length of a token's row of queries.
    pub fn query_stride(&self) -> usize {
        stride(self.heads * self.head_dim)
    }

    /// Where a token's queries, keys and values start in its row of projections: each fills whole tiles of 32 rows.
    pub fn qkv_starts(&self) -> [usize; 3] {
        let kv = stride(self.kv_heads * self.head_dim);
        [0, self.query_stride(), self.query_stride() + kv]
    }

    /// Length of a token's row of queries, keys and values as they are projected.
    pub fn qkv_stride(&self) -> usize {
        self.query_stride() + 2 * stride(self.kv_heads * self.head_dim)
    }

    /// Positions that the cache has room for.
    fn cache_positions(&self) -> usize {
        self.context.next_multiple_of(KV_TILE)
    }

    /// Bytes of one layer's keys (or values) in the cache.
    pub fn cache_bytes(&self) -> u64 {
        (self.kv_heads * self.cache_positions()) as u64 * self.kv.vector_bytes(self.head_dim)
    }

    /// Bytes of one layer's keys and values of one position.
    fn position_bytes(&self) -> u64 {
        2 * self.kv_heads as u64 * self.kv.vector_bytes(self.head_dim)
    }

    /// Numbers of RoPE's angles of a position: a cosine and a sine for each pair of dimensions.
    fn position_angles(&self) -> usize {
        2 * self.pairs()
    }

    /// Numbers of RoPE's angles of all positions.
    pub fn angles(&self) -> usize {
        self.context * self.position_angles()
    }

    /// The most positions, in whole tiles, for which no buffer has more than `bytes`: neither a layer's keys nor RoPE's angles.
    /// How many it has itself does not matter.
    pub fn most_positions(&self, bytes: u64) -> usize {
        let position = (self.position_bytes() / 2).max(4 * self.position_angles() as u64);
        (bytes / position.max(1)) as usize / KV_TILE * KV_TILE
    }

    /// The constants of kernels that use the cache.
    fn cache_sizes(&self) -> [(&'static str, Size); 4] {
        [
            ("HEADS", Size::Count(self.heads)),
            ("KV_HEADS", Size::Count(self.kv_heads)),
            ("PAIRS", Size::Count(self.pairs())),
            ("CONTEXT", Size::Count(self.cache_positions())),
        ]
    }

    /// The helper files of kernels that use the cache: its format and its layout.
    fn cache_parts(&self) -> Vec<&'static str> {
        const UNSCALED: &str = wgsl!("common/kv_unscaled.wgsl");
        let mut parts = match self.kv {
            KvFormat::F16 => vec![MOVE_HALVES, wgsl!("common/kv_f16.wgsl"), UNSCALED],
            KvFormat::F32 => vec![wgsl!("common/kv_f32.wgsl"), UNSCALED],
            KvFormat::Q8 => vec![wgsl!("common/kv_q8.wgsl")],
        };
        parts.extend([wgsl!("common/kv_tile.wgsl"), wgsl!("common/kv_cache.wgsl")]);
        parts
    }

    /// How a position's keys and values are put into the cache.
    fn store_part(&self) -> &'static str {
        match self.kv {
            KvFormat::F16 | KvFormat::F32 => wgsl!("common/kv_store_pairs.wgsl"),
            KvFormat::Q8 => wgsl!("common/kv_store_q8.wgsl"),
        }
    }
}

/// Errors unless both halves of a layer's cache have the shape's size.
fn expect_cache(kernel: &str, shape: &HeadShape, keys: &Buffer, values: &Buffer) -> Result<()> {
    let words = shape.cache_bytes() as usize / 4;
    expect_room(kernel, "keys", keys, words)?;
    expect_room(kernel, "values", values, words)
}

/// Errors unless `buffer` has room for `values` 32-bit values.
fn expect_room(kernel: &str, binding: &str, buffer: &Buffer, values: usize) -> Result<()> {
    if buffer.bytes() >= 4 * values as u64 {
        return Ok(());
    }
    let detail = format!("{kernel}: {binding} has {} bytes and needs {}", buffer.bytes(), 4 * values);
    Err(Error::Gpu { detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_keys_nor_angles_take_more_than_a_binding() {
        // 32 numbers of angles; of a head's keys, 32 of four bytes, two bytes, or one byte and a scale.
        for (kv_heads, kv, position) in [
            (1, KvFormat::F32, 128),
            (1, KvFormat::F16, 128),
            (1, KvFormat::Q8, 128),
            (4, KvFormat::F32, 512),
            (4, KvFormat::F16, 256),
            (4, KvFormat::Q8, 144),
        ] {
            let shape = HeadShape { heads: 4, kv_heads, head_dim: 32, context: 0, kv };
            assert_eq!(shape.most_positions(128 * position), 128, "{kv:?} of {kv_heads} heads");
            assert_eq!(shape.most_positions(128 * position - 1), 64, "{kv:?} of {kv_heads} heads");
            let full = HeadShape { context: 128, ..shape };
            assert_eq!(full.cache_bytes().max(4 * full.angles() as u64), 128 * position);
        }
    }
}
