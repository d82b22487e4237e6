//! How long each kernel takes on the device, by timestamp queries around every dispatch.

use serde::Serialize;

use super::Gpu;
use super::kernel::Dispatch;
use crate::error::Result;

/// What one kernel took in all dispatches of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelTime {
    /// The kernel's name.
    pub kernel: &'static str,
    /// How often it was started.
    pub dispatches: usize,
    /// Time on the device, in microseconds.
    pub microseconds: f64,
}

/// Most queries in one set, by WebGPU's rules.
const MOST_QUERIES: u32 = 4096;

impl Gpu {
    /// Runs dispatches for `tokens` tokens, each in a pass of its own, and returns the microseconds that each took; none on an
    /// adapter without timestamp queries. Browsers may round them to a tenth of a millisecond.
    pub async fn timed(&self, dispatches: &[&Dispatch], tokens: usize) -> Result<Option<Vec<f64>>> {
        if !self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let mut times = Vec::with_capacity(dispatches.len());
        for some in dispatches.chunks(MOST_QUERIES as usize / 2) {
            times.extend(self.timed_set(some, tokens).await?);
        }
        Ok(Some(times))
    }

    async fn timed_set(&self, dispatches: &[&Dispatch], tokens: usize) -> Result<Vec<f64>> {
        let count = 2 * dispatches.len() as u32;
        let queries = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let resolved = self.resolve_target("profile", 8 * u64::from(count));
        let mut encoder = self.device.create_command_encoder(&Default::default());
        for (dispatch, first) in dispatches.iter().zip((0..).step_by(2)) {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(first),
                    end_of_pass_write_index: Some(first + 1),
                }),
            });
            dispatch.encode(&self.device, &mut pass, tokens);
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved.raw, 0);
        self.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = self.read(&resolved).await?;
        let microseconds = f64::from(self.queue.get_timestamp_period()) / 1e3;
        Ok(ticks.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * microseconds).collect())
    }
}

/// Times added up for each kernel, the longest first.
pub fn by_kernel(dispatches: &[&Dispatch], microseconds: &[f64]) -> Vec<KernelTime> {
    let mut kernels: Vec<KernelTime> = Vec::new();
    for (dispatch, time) in dispatches.iter().zip(microseconds) {
        let kernel = dispatch.name();
        match kernels.iter_mut().find(|known| known.kernel == kernel) {
            Some(known) => {
                known.dispatches += 1;
                known.microseconds += time;
            }
            None => kernels.push(KernelTime { kernel, dispatches: 1, microseconds: *time }),
        }
    }
    // There are few; a sort would be two more kilobytes of the page.
    let mut sorted: Vec<KernelTime> = Vec::with_capacity(kernels.len());
    for kernel in kernels {
        let place = sorted.partition_point(|before| before.microseconds >= kernel.microseconds);
        sorted.insert(place, kernel);
    }
    sorted
}
