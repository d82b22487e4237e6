use super::{HeadShape, STEP, expect_cache, expect_room};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::cost::Cost;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// What `rope` reads and writes.
pub struct Rope<'a> {
    /// (cosine, sine) of each position and dimension pair.
    pub angles: &'a Buffer,
    /// Queries, turned in place, keys and values, as projected.
    pub qkv: &'a Buffer,
    /// The layer's key cache.
    pub keys: &'a Buffer,
    /// The layer's value cache.
    pub values: &'a Buffer,
}

/// Turns queries in place, and keys on their way into the cache, where the values go too.
pub fn rope(gpu: &Gpu, shape: &HeadShape, step: &Buffer, buffers: &Rope<'_>) -> Result<Dispatch> {
    expect_room("rope", "angles", buffers.angles, shape.angles())?;
    expect_room("rope", "qkv", buffers.qkv, shape.qkv_stride())?;
    expect_cache("rope", shape, buffers.keys, buffers.values)?;
    let [_, keys_at, values_at] = shape.qkv_starts();
    let mut sizes = shape.cache_sizes().to_vec();
    sizes.extend([
        ("QKV_STRIDE", Size::Count(shape.qkv_stride() / 2)),
        ("KEYS_AT", Size::Count(keys_at / 2)),
        ("VALUES_AT", Size::Count(values_at / 2)),
    ]);
    let parts = [vec![STEP], shape.cache_parts(), vec![shape.store_part(), wgsl!("rope.wgsl")]].concat();
    let kernel = Kernel { name: "rope", parts: &parts, sizes: &sizes };
    let bindings = [step, buffers.angles, buffers.qkv, buffers.keys, buffers.values];
    let pairs = (shape.heads + shape.kv_heads) * shape.pairs();
    let dispatch = gpu.dispatch(&kernel, &bindings, Extent::fixed(pairs, 64), Extent::per_token(1, 1));
    let (queries, kv) = (shape.queries(), shape.kv_heads * shape.head_dim);
    // Angles, queries in and out, keys and values in.
    let values = shape.head_dim + 2 * queries + 2 * kv;
    let cached = shape.position_bytes();
    Ok(dispatch.costing(move |run| Cost::values(run.tokens * values) + Cost::moved(run.tokens as u64 * cached)))
}
