use super::expect_room;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::cost::Cost;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// Bytes that a workgroup reads.
pub const STREAM_BYTES: usize = 32 << 10;

/// Invocations of a workgroup. A processor runs a few of them to their end before the next: were there more, each would read far
/// places, which it does not fetch ahead.
fn lanes(gpu: &Gpu) -> usize {
    if gpu.adapter().software { 8 } else { 64 }
}

/// Bytes of sums that a workgroup writes.
pub fn stream_sums_bytes(gpu: &Gpu) -> usize {
    lanes(gpu) * 16
}

/// Reads `groups` times [`STREAM_BYTES`] of `words`; each invocation leaves a sum in `sums`, [`stream_sums_bytes`] a group.
pub fn stream_read(gpu: &Gpu, groups: usize, words: &Buffer, sums: &Buffer) -> Result<Dispatch> {
    let lanes = lanes(gpu);
    let (read, written) = (groups * STREAM_BYTES, groups * stream_sums_bytes(gpu));
    expect_room("stream_read", "words", words, read / 4)?;
    expect_room("stream_read", "sums", sums, written / 4)?;
    let sizes = [("LANES", Size::Count(lanes)), ("READS", Size::Count(STREAM_BYTES / 16 / lanes))];
    let kernel = Kernel { name: "stream_read", parts: &[wgsl!("stream_read.wgsl")], sizes: &sizes };
    let dispatch = gpu.dispatch(&kernel, &[words, sums], Extent::fixed(groups, 1), Extent::fixed(1, 1));
    Ok(dispatch.costing(move |_| Cost::moved((read + written) as u64)))
}
