use super::expect_room;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::cost::Cost;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;

/// Invocations of a workgroup.
const LANES: usize = 64;
/// Numbers that an invocation works on.
const NUMBERS: usize = 32;

/// What `multiply_add` reads and writes.
pub struct MultiplyAdd<'a> {
    /// What each lane multiplies with.
    pub factors: &'a Buffer,
    /// What each lane adds.
    pub addends: &'a Buffer,
    /// A sum of each invocation.
    pub sums: &'a Buffer,
}

/// `rounds` multiply-adds of each of the numbers that the invocations of `groups` workgroups hold.
pub fn multiply_add(gpu: &Gpu, groups: usize, rounds: usize, buffers: &MultiplyAdd<'_>) -> Result<Dispatch> {
    let MultiplyAdd { factors, addends, sums } = *buffers;
    expect_room("multiply_add", "factors", factors, LANES * 4)?;
    expect_room("multiply_add", "addends", addends, LANES * 4)?;
    expect_room("multiply_add", "sums", sums, groups * LANES * 4)?;
    let kernel = Kernel {
        name: "multiply_add",
        parts: &[wgsl!("multiply_add.wgsl")],
        sizes: &[("ROUNDS", Size::Count(rounds))],
    };
    let bindings = [factors, addends, sums];
    let dispatch = gpu.dispatch(&kernel, &bindings, Extent::fixed(groups, 1), Extent::fixed(1, 1));
    let invocations = groups * LANES;
    Ok(dispatch.costing(move |_| {
        Cost::values(8 * LANES + 4 * invocations) + Cost::multiply_adds(invocations as u64 * (NUMBERS * rounds) as u64)
    }))
}
