//! How long each kernel takes on the device, by timestamp queries, and how that compares with what the adapter can do at best.

use serde::Serialize;

use super::Gpu;
use super::cost::{Cost, Run};
use super::kernel::Dispatch;
use super::limits::SpeedLimits;
use crate::error::Result;

/// Device time to spend at least, in microseconds, and the most rounds: browsers may round each reading to a tenth of a millisecond.
const LONG_ENOUGH: f64 = 50_000.0;
const MOST_ROUNDS: usize = 16;

/// What the kernels of one run of the forward pass take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Tokens computed.
    pub tokens: usize,
    /// Tokens in the cache before.
    pub position: usize,
    /// What the adapter did at its best.
    pub limits: SpeedLimits,
    /// Those that take longest first.
    pub kernels: Vec<KernelProfile>,
}

/// What one kernel took in all dispatches of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelProfile {
    /// The kernel's name.
    pub kernel: &'static str,
    /// How often it was started.
    pub dispatches: usize,
    /// Time on the device; none on an adapter without timestamp queries.
    pub microseconds: Option<f64>,
    /// The least that it moves and computes.
    #[serde(flatten)]
    pub cost: Cost,
    /// Which of the adapter's limits it would reach first.
    pub bound: Bound,
    /// How much of that limit it reached, where the time is known.
    pub fraction: Option<f64>,
}

/// What a kernel could not be faster than.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Reading memory.
    Bandwidth,
    /// Multiplying and adding.
    Arithmetic,
}

impl Gpu {
    /// Runs dispatches, kernel by kernel and several times over, and tells what each kernel took. Errors: those of
    /// [`Gpu::speed_limits`].
    pub async fn profile(&self, dispatches: &[&Dispatch], run: Run) -> Result<Profile> {
        let limits = self.speed_limits().await?;
        let kernels = by_kernel(dispatches);
        // Some drivers compile a kernel when it first runs, and clocks have to rise.
        self.submit(dispatches.iter().copied(), run.tokens, None);
        self.finished().await?;
        let mut times: Option<Vec<f64>> = None;
        let mut rounds = 0;
        while rounds < MOST_ROUNDS {
            let Some(round) = self.timed(&kernels, run.tokens).await? else { break };
            rounds += 1;
            let sums = times.get_or_insert_with(|| vec![0.0; round.len()]);
            sums.iter_mut().zip(round).for_each(|(sum, time)| *sum += time);
            if sums.iter().sum::<f64>() >= LONG_ENOUGH {
                break;
            }
        }
        let time = |index: usize| times.as_ref().map(|times| times[index] / rounds as f64);
        let mut kernels: Vec<_> =
            kernels.iter().enumerate().map(|(index, kernel)| summary(kernel, time(index), run, &limits)).collect();
        kernels.sort_by(|one, other| other.microseconds.unwrap_or(0.0).total_cmp(&one.microseconds.unwrap_or(0.0)));
        Ok(Profile { tokens: run.tokens, position: run.position, limits, kernels })
    }

    /// Runs groups of dispatches for `tokens` tokens, each group in a pass of its own, and returns the microseconds that each
    /// took; none on an adapter without timestamp queries. Errors: what the device reports.
    pub async fn timed(&self, groups: &[Vec<&Dispatch>], tokens: usize) -> Result<Option<Vec<f64>>> {
        if !self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let count = 2 * groups.len() as u32;
        let queries = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let resolved = self.resolve_target("profile", 8 * u64::from(count));
        let mut encoder = self.device.create_command_encoder(&Default::default());
        for (group, first) in groups.iter().zip((0..).step_by(2)) {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(first),
                    end_of_pass_write_index: Some(first + 1),
                }),
            });
            for dispatch in group {
                dispatch.encode(&self.device, &mut pass, tokens);
            }
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved.raw, 0);
        self.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = self.read(&resolved).await?;
        let microseconds = f64::from(self.queue.get_timestamp_period()) / 1e3;
        Ok(Some(ticks.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * microseconds).collect()))
    }
}

/// Dispatches of the same kernel together, in the order in which each comes first.
fn by_kernel<'a>(dispatches: &[&'a Dispatch]) -> Vec<Vec<&'a Dispatch>> {
    let mut kernels: Vec<Vec<&Dispatch>> = Vec::new();
    for dispatch in dispatches {
        match kernels.iter_mut().find(|known| known[0].name() == dispatch.name()) {
            Some(known) => known.push(dispatch),
            None => kernels.push(vec![dispatch]),
        }
    }
    kernels
}

fn summary(kernel: &[&Dispatch], microseconds: Option<f64>, run: Run, limits: &SpeedLimits) -> KernelProfile {
    let cost: Cost = kernel.iter().map(|dispatch| dispatch.cost(run)).sum();
    let (bound, least) = bound_of(&cost, limits);
    let fraction = microseconds.filter(|time| *time > 0.0).map(|time| least * 1e6 / time);
    KernelProfile { kernel: kernel[0].name(), dispatches: kernel.len(), microseconds, cost, bound, fraction }
}

/// What the adapter would need at its best, and for what.
fn bound_of(cost: &Cost, limits: &SpeedLimits) -> (Bound, f64) {
    let reading = cost.bytes as f64 / limits.bytes_per_second;
    let computing = cost.flops as f64 / limits.flops_per_second;
    if computing > reading { (Bound::Arithmetic, computing) } else { (Bound::Bandwidth, reading) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_that_takes_longer_binds() {
        let limits = SpeedLimits { bytes_per_second: 10.0, flops_per_second: 100.0 };
        let cost = |bytes, flops| Cost { weight_bytes: 0, bytes, flops };
        assert_eq!(bound_of(&cost(20, 100), &limits), (Bound::Bandwidth, 2.0));
        assert_eq!(bound_of(&cost(20, 300), &limits), (Bound::Arithmetic, 3.0));
    }
}
