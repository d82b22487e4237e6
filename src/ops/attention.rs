use super::{HeadShape, STEP, expect_room};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// What `attention` reads and writes, and what `attention_merge` reads.
pub struct Attention<'a> {
    /// Turned queries.
    pub q: &'a Buffer,
    /// The layer's key cache.
    pub keys: &'a Buffer,
    /// The layer's value cache.
    pub values: &'a Buffer,
    /// Weighted sums of values, one for each token, head and split.
    pub mixed: &'a Buffer,
    /// (maximum, sum) of each token, head and split.
    pub stats: &'a Buffer,
    /// Parts that the visible positions are cut into.
    pub splits: usize,
}

/// Attention of each query over each split of the positions that it sees.
pub fn attention(gpu: &Gpu, shape: &HeadShape, step: &Buffer, args: &Attention<'_>) -> Result<Dispatch> {
    expect_room("attention", "q", args.q, shape.query_stride())?;
    expect_room("attention", "mixed", args.mixed, args.splits * shape.heads * shape.head_dim)?;
    expect_room("attention", "stats", args.stats, args.splits * shape.heads * 2)?;
    let kernel = Kernel {
        name: "attention",
        parts: &[STEP, shape.kv_part(), include_str!("../../shaders/attention.wgsl")],
        sizes: &[
            ("HEADS", Size::Count(shape.heads)),
            ("KV_HEADS", Size::Count(shape.kv_heads)),
            ("PAIRS", Size::Count(shape.pairs())),
            ("Q_STRIDE", Size::Count(shape.query_stride() / 2)),
            ("CONTEXT", Size::Count(shape.context)),
            ("SPLITS", Size::Count(args.splits)),
            ("SCALE", Size::Number((shape.head_dim as f32).sqrt().recip())),
        ],
    };
    let bindings = [step, args.q, args.keys, args.values, args.mixed, args.stats];
    Ok(gpu.dispatch(&kernel, &bindings, Extent::per_token(args.splits, 32), Extent::fixed(shape.heads, 1)))
}

/// Joins the splits of `attention` into one vector for each head.
pub fn attention_merge(gpu: &Gpu, shape: &HeadShape, args: &Attention<'_>, out: &Buffer) -> Result<Dispatch> {
    expect_room("attention_merge", "out", out, shape.query_stride())?;
    let kernel = Kernel {
        name: "attention_merge",
        parts: &[include_str!("../../shaders/attention_merge.wgsl")],
        sizes: &[
            ("HEADS", Size::Count(shape.heads)),
            ("PAIRS", Size::Count(shape.pairs())),
            ("SPLITS", Size::Count(args.splits)),
            ("ROW_STRIDE", Size::Count(shape.query_stride() / 2)),
        ],
    };
    let pairs = Extent::fixed(shape.heads * shape.pairs(), 64);
    Ok(gpu.dispatch(&kernel, &[args.mixed, args.stats, out], pairs, Extent::per_token(1, 1)))
}
