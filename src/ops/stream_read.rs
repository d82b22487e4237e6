use super::expect_room;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::cost::Cost;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// Quads of words that an invocation reads.
const READS: usize = 32;
/// Invocations of a workgroup.
const LANES: usize = 64;
/// Bytes that a workgroup reads.
pub const STREAM_BYTES: usize = READS * LANES * 16;
/// Bytes of sums that a workgroup writes.
pub const STREAM_SUMS_BYTES: usize = LANES * 16;

/// Reads `groups` times [`STREAM_BYTES`] of `words`; each invocation leaves a sum in `sums`.
pub fn stream_read(gpu: &Gpu, groups: usize, words: &Buffer, sums: &Buffer) -> Result<Dispatch> {
    expect_room("stream_read", "words", words, groups * STREAM_BYTES / 4)?;
    expect_room("stream_read", "sums", sums, groups * STREAM_SUMS_BYTES / 4)?;
    let kernel =
        Kernel { name: "stream_read", parts: &[wgsl!("stream_read.wgsl")], sizes: &[("READS", Size::Count(READS))] };
    let dispatch = gpu.dispatch(&kernel, &[words, sums], Extent::fixed(groups, 1), Extent::fixed(1, 1));
    Ok(dispatch.costing(move |_| Cost::moved((groups * (STREAM_BYTES + STREAM_SUMS_BYTES)) as u64)))
}
