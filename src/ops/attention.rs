use super::{HeadShape, KV_TILE, STEP, expect_cache, expect_room};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::gpu::cost::{Cost, Run};
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// Invocations of a workgroup, and the least number of parts but one.
const LANES: usize = 8;
/// Query heads that one invocation can do.
const MOST_TOGETHER: usize = 4;

/// What `attention` reads and writes, and what `attention_merge` reads.
pub struct Attention<'a> {
    /// Turned queries, at the start of each token's row.
    pub qkv: &'a Buffer,
    /// The layer's key cache.
    pub keys: &'a Buffer,
    /// The layer's value cache.
    pub values: &'a Buffer,
    /// Where one part writes its result, or several their weighted sums of values.
    pub out: &'a Buffer,
    /// (maximum, sum) of each token, head and part.
    pub stats: &'a Buffer,
    /// Parts that the visible positions are cut into: 1, or a multiple of 8.
    pub parts: usize,
}

impl HeadShape {
    /// Query heads that an invocation does together: they share keys.
    fn together(&self) -> usize {
        let group = self.heads / self.kv_heads;
        (1..=MOST_TOGETHER).rev().find(|&count| group.is_multiple_of(count)).unwrap_or(1)
    }

    /// Numbers in a token's queries, or in what is mixed for them.
    pub(super) fn queries(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Numbers that several parts leave for `attention_merge` of one token: mixed values, maxima and sums.
    fn left_by(&self, parts: usize) -> usize {
        parts * (self.queries() + 2 * self.heads)
    }
}

/// Attention of each query over each part of the positions that it sees; with one part, all of it.
pub fn attention(gpu: &Gpu, shape: &HeadShape, step: &Buffer, args: &Attention<'_>) -> Result<Dispatch> {
    expect_room("attention", "qkv", args.qkv, shape.qkv_stride())?;
    let out = if args.parts == 1 { shape.query_stride() } else { args.parts * shape.heads * shape.head_dim };
    expect_room("attention", "out", args.out, out)?;
    expect_room("attention", "stats", args.stats, if args.parts == 1 { 2 } else { args.parts * shape.heads * 2 })?;
    expect_cache("attention", shape, args.keys, args.values)?;
    if args.parts != 1 && !args.parts.is_multiple_of(LANES) {
        return Err(Error::Gpu { detail: format!("attention: {} parts", args.parts) });
    }
    let together = shape.together();
    let mut sizes = shape.cache_sizes().to_vec();
    sizes.extend([
        ("Q_STRIDE", Size::Count(shape.qkv_stride() / 2)),
        ("OUT_STRIDE", Size::Count(shape.query_stride() / 2)),
        ("TOGETHER", Size::Count(together)),
        ("SCALE", Size::Number((shape.head_dim as f32).sqrt().recip())),
    ]);
    let parts = [vec![STEP], shape.cache_parts(), vec![wgsl!("attention.wgsl")]].concat();
    let kernel = Kernel { name: "attention", parts: &parts, sizes: &sizes };
    // Not a constant, so that single tokens and chunks share a pipeline.
    let cut = gpu.constants("parts", &(args.parts as u32))?;
    let bindings = [step, &*cut, args.qkv, args.keys, args.values, args.out, args.stats];
    let heads = Extent::fixed(shape.heads / together, 1);
    let dispatch = gpu.dispatch(&kernel, &bindings, Extent::per_token(args.parts, LANES), heads).keeping(cut);
    let (shape, parts) = (*shape, args.parts);
    let (queries, cached) = (shape.queries(), shape.position_bytes());
    Ok(dispatch.costing(move |run| {
        let out = if parts == 1 { queries } else { shape.left_by(parts_used(parts, run)) };
        Cost::values(run.tokens * (queries + out))
            + Cost::moved(run.positions() as u64 * cached)
            + Cost::multiply_adds(2 * queries * run.attended())
    }))
}

/// How many of a token's parts have something to do in a run: `parts_used` of `kv_tile.wgsl`.
fn parts_used(parts: usize, run: Run) -> usize {
    parts.min(LANES * run.positions().div_ceil(KV_TILE))
}

/// Joins the parts of `attention` into one vector for each head.
pub fn attention_merge(
    gpu: &Gpu,
    shape: &HeadShape,
    step: &Buffer,
    args: &Attention<'_>,
    out: &Buffer,
) -> Result<Dispatch> {
    expect_room("attention_merge", "out", out, shape.query_stride())?;
    let kernel = Kernel {
        name: "attention_merge",
        parts: &[STEP, wgsl!("common/kv_tile.wgsl"), wgsl!("attention_merge.wgsl")],
        sizes: &[
            ("HEADS", Size::Count(shape.heads)),
            ("PAIRS", Size::Count(shape.pairs())),
            ("PARTS", Size::Count(args.parts)),
            ("OUT_STRIDE", Size::Count(shape.query_stride() / 2)),
        ],
    };
    let pairs = Extent::fixed(shape.heads * shape.pairs(), LANES);
    let dispatch = gpu.dispatch(&kernel, &[step, args.out, args.stats, out], pairs, Extent::per_token(1, 1));
    let (shape, parts) = (*shape, args.parts);
    Ok(dispatch.costing(move |run| {
        let (queries, used) = (shape.queries(), parts_used(parts, run));
        Cost::values(run.tokens * (shape.left_by(used) + queries)) + Cost::multiply_adds(run.tokens * used * queries)
    }))
}
