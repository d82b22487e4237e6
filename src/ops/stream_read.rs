use super::expect_room;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::cost::Cost;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// Bytes that a workgroup reads.
pub const STREAM_BYTES: usize = 32 << 10;

/// Bytes of the sum that an invocation writes.
pub const STREAM_SUM_BYTES: usize = 16;

/// How many invocations of a workgroup suit a device. A processor runs a few of them to their end before the next: with more,
/// the reads of these few would lie a KiB apart, which it does not fetch ahead.
pub fn stream_lanes(gpu: &Gpu) -> usize {
    if gpu.adapter().software { 8 } else { 64 }
}

/// Reads `groups` times [`STREAM_BYTES`] of `words`; each of a group's `lanes`, a divisor of 512, leaves a sum in
/// `sums`.
pub fn stream_read(gpu: &Gpu, lanes: usize, groups: usize, words: &Buffer, sums: &Buffer) -> Result<Dispatch> {
    let (read, written) = (groups * STREAM_BYTES, groups * lanes * STREAM_SUM_BYTES);
    expect_room("stream_read", "words", words, read / 4)?;
    expect_room("stream_read", "sums", sums, written / 4)?;
    let sizes = [("LANES", Size::Count(lanes)), ("READS", Size::Count(STREAM_BYTES / 16 / lanes))];
    let kernel = Kernel { name: "stream_read", parts: &[wgsl!("stream_read.wgsl")], sizes: &sizes };
    let dispatch = gpu.dispatch(&kernel, &[words, sums], Extent::fixed(groups, 1), Extent::fixed(1, 1));
    Ok(dispatch.costing(move |_| Cost::moved((read + written) as u64)))
}
