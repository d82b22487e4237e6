use super::{HeadShape, KV_TILE, STEP, expect_cache, expect_room};
use crate::config::MOST_HEAD_DIM;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::gpu::cost::{Cost, Run};
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;
use crate::model::kv_cache::KvFormat;

/// Invocations of a workgroup of [`AttentionKernel::Lanes`], and how many of them share a tile of positions.
const LANES: usize = 8;
const LANES_OF_TILE: usize = 4;
/// Query heads that are done together.
const MOST_TOGETHER: usize = 4;
/// Most query heads, each of so many tokens, that a workgroup of [`AttentionKernel::Shared`] does together: with the longest
/// heads, their queries take half of the 16 KiB of workgroup memory that WebGPU promises.
const MOST_ROWS: usize = 8;
/// Workgroups of [`AttentionKernel::Shared`] that keep a GPU's units busy.
const GROUPS: usize = 512;
/// Most parts that `attention_merge_shared.wgsl` joins.
const MOST_SHARED_PARTS: usize = 128;

/// Kernels for attention, with one of its own each to join parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionKernel {
    /// A lane has its positions to itself; no barriers. For software adapters.
    Lanes,
    /// A workgroup shares tiles of positions. For real GPUs.
    Shared,
}

impl AttentionKernel {
    /// Both.
    pub const ALL: [Self; 2] = [AttentionKernel::Lanes, AttentionKernel::Shared];

    /// The one that is likely to be the faster on a device.
    pub fn for_adapter(gpu: &Gpu) -> Self {
        if gpu.adapter().software { AttentionKernel::Lanes } else { AttentionKernel::Shared }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            AttentionKernel::Lanes => "attention",
            AttentionKernel::Shared => "attention_shared",
        }
    }

    /// Most parts that the positions are best cut into when a single token attends to them: enough work for a device's units. Each
    /// part is one more to be joined, and a software adapter has few units.
    pub fn decode_parts(self, shape: &HeadShape) -> usize {
        match self {
            AttentionKernel::Lanes => 16,
            AttentionKernel::Shared => (GROUPS * shape.together() / shape.heads).clamp(8, 64),
        }
    }

    /// Of how many parts each tile of positions has some.
    fn parts_of_tile(self) -> usize {
        match self {
            AttentionKernel::Lanes => LANES_OF_TILE,
            AttentionKernel::Shared => 1,
        }
    }

    /// How many of a token's parts have something to do in a run.
    fn parts_used(self, parts: usize, run: Run) -> usize {
        parts.min(self.parts_of_tile() * run.positions().div_ceil(KV_TILE))
    }
}

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
    /// Parts that the visible positions are cut into: 1; or a multiple of 4, or anything up to 128 for [`AttentionKernel::Shared`].
    pub parts: usize,
    /// Which kernels do it.
    pub kernel: AttentionKernel,
}

impl Attention<'_> {
    /// Errors unless the kernel can cut such heads into so many parts.
    fn check(&self, shape: &HeadShape) -> Result<()> {
        let fits = match self.kernel {
            AttentionKernel::Lanes => self.parts == 1 || self.parts.is_multiple_of(LANES_OF_TILE),
            AttentionKernel::Shared => self.parts <= MOST_SHARED_PARTS,
        };
        if fits && shape.head_dim <= MOST_HEAD_DIM {
            return Ok(());
        }
        Err(Error::Gpu { detail: format!("attention: {} parts of {} dimensions", self.parts, shape.head_dim) })
    }
}

impl HeadShape {
    /// Query heads that an invocation does together: they share keys.
    fn together(&self) -> usize {
        let group = self.heads / self.kv_heads;
        (1..=MOST_TOGETHER).rev().find(|&count| group.is_multiple_of(count)).unwrap_or(1)
    }

    /// How a kernel reads the scales of keys and values, where they have some.
    fn scales_part(&self, kernel: AttentionKernel) -> Option<&'static str> {
        match (self.kv, kernel) {
            (KvFormat::F16 | KvFormat::F32, _) => None,
            (KvFormat::Q8, AttentionKernel::Lanes) => Some(wgsl!("common/kv_q8_scales.wgsl")),
            (KvFormat::Q8, AttentionKernel::Shared) => Some(wgsl!("common/kv_q8_scale.wgsl")),
        }
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
    args.check(shape)?;
    let together = shape.together();
    let mut sizes = shape.cache_sizes().to_vec();
    sizes.extend([
        ("Q_STRIDE", Size::Count(shape.qkv_stride() / 2)),
        ("OUT_STRIDE", Size::Count(shape.query_stride() / 2)),
        ("TOGETHER", Size::Count(together)),
        ("SCALE", Size::Number((shape.head_dim as f32).sqrt().recip())),
        ("PARTS_OF_TILE", Size::Count(args.kernel.parts_of_tile())),
    ]);
    let (text, groups) = match args.kernel {
        AttentionKernel::Lanes => (wgsl!("attention.wgsl"), Extent::per_token(args.parts, LANES)),
        AttentionKernel::Shared => {
            // Several parts are for single tokens.
            let tokens = if args.parts == 1 { MOST_ROWS / together } else { 1 };
            sizes.push(("TOKENS", Size::Count(tokens)));
            (wgsl!("attention_shared.wgsl"), Extent::per_token(args.parts, tokens))
        }
    };
    let mut parts = [vec![STEP], shape.cache_parts()].concat();
    parts.extend(shape.scales_part(args.kernel));
    parts.push(text);
    let kernel = Kernel { name: args.kernel.name(), parts: &parts, sizes: &sizes };
    // Not a constant, so that single tokens and chunks can share a pipeline, as they do where lanes are on their own.
    let cut = gpu.constants("parts", &(args.parts as u32))?;
    let bindings = [step, &*cut, args.qkv, args.keys, args.values, args.out, args.stats];
    let heads = Extent::fixed(shape.heads / together, 1);
    let dispatch = gpu.dispatch(&kernel, &bindings, groups, heads).keeping(cut);
    let (shape, parts, variant) = (*shape, args.parts, args.kernel);
    let (queries, cached) = (shape.queries(), shape.position_bytes());
    Ok(dispatch.costing(move |run| {
        let out = if parts == 1 { queries } else { shape.left_by(variant.parts_used(parts, run)) };
        Cost::values(run.tokens * (queries + out))
            + Cost::moved(run.positions() as u64 * cached)
            + Cost::multiply_adds(2 * queries as u64 * run.attended() as u64)
    }))
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
    args.check(shape)?;
    let sizes = [
        ("HEADS", Size::Count(shape.heads)),
        ("PAIRS", Size::Count(shape.pairs())),
        ("PARTS", Size::Count(args.parts)),
        ("OUT_STRIDE", Size::Count(shape.query_stride() / 2)),
        ("PARTS_OF_TILE", Size::Count(args.kernel.parts_of_tile())),
    ];
    let (name, text, groups) = match args.kernel {
        AttentionKernel::Lanes => {
            let pairs = Extent::fixed(shape.heads * shape.pairs(), LANES);
            ("attention_merge", wgsl!("attention_merge.wgsl"), pairs)
        }
        AttentionKernel::Shared => {
            ("attention_merge_shared", wgsl!("attention_merge_shared.wgsl"), Extent::fixed(shape.heads, 1))
        }
    };
    let kernel = Kernel { name, parts: &[STEP, wgsl!("common/kv_tile.wgsl"), text], sizes: &sizes };
    let dispatch = gpu.dispatch(&kernel, &[step, args.out, args.stats, out], groups, Extent::per_token(1, 1));
    let (shape, parts, variant) = (*shape, args.parts, args.kernel);
    Ok(dispatch.costing(move |run| {
        let (queries, used) = (shape.queries(), variant.parts_used(parts, run));
        Cost::values(run.tokens * (shape.left_by(used) + queries))
            + Cost::multiply_adds(run.tokens as u64 * (used * queries) as u64)
    }))
}
