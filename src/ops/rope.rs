use super::{HeadShape, STEP, expect_room};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// What `rope` reads and writes.
pub struct Rope<'a> {
    /// (cosine, sine) of each position and dimension pair.
    pub angles: &'a Buffer,
    /// Keys as projected.
    pub k: &'a Buffer,
    /// Values as projected.
    pub v: &'a Buffer,
    /// Queries, turned in place.
    pub q: &'a Buffer,
    /// The layer's key cache.
    pub keys: &'a Buffer,
    /// The layer's value cache.
    pub values: &'a Buffer,
}

/// Turns queries in place, and keys on their way into the cache, where the values go too.
pub fn rope(gpu: &Gpu, shape: &HeadShape, step: &Buffer, buffers: &Rope<'_>) -> Result<Dispatch> {
    expect_room("rope", "angles", buffers.angles, shape.context * shape.head_dim)?;
    expect_room("rope", "q", buffers.q, shape.query_stride())?;
    expect_room("rope", "k", buffers.k, shape.kv_stride())?;
    expect_room("rope", "v", buffers.v, shape.kv_stride())?;
    let kernel = Kernel {
        name: "rope",
        parts: &[STEP, shape.kv_part(), include_str!("../../shaders/rope.wgsl")],
        sizes: &[
            ("HEADS", Size::Count(shape.heads)),
            ("KV_HEADS", Size::Count(shape.kv_heads)),
            ("PAIRS", Size::Count(shape.pairs())),
            ("Q_STRIDE", Size::Count(shape.query_stride() / 2)),
            ("KV_STRIDE", Size::Count(shape.kv_stride() / 2)),
            ("CONTEXT", Size::Count(shape.context)),
        ],
    };
    let bindings = [step, buffers.angles, buffers.k, buffers.v, buffers.q, buffers.keys, buffers.values];
    let pairs = (shape.heads + shape.kv_heads) * shape.pairs();
    Ok(gpu.dispatch(&kernel, &bindings, Extent::fixed(pairs, 64), Extent::per_token(1, 1)))
}
