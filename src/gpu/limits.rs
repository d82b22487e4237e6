//! How fast the adapter is at its best: reading memory, and multiplying and adding. What kernels are measured against.

use std::slice;

use serde::Serialize;
use web_time::Instant;

use super::Gpu;
use super::cost::{Cost, Run};
use super::kernel::Dispatch;
use super::tensor::Buffer;
use crate::error::{Error, Result};
use crate::ops::{self, MultiplyAdd, STREAM_BYTES, STREAM_SUM_BYTES};

/// Bytes to read: more than any cache holds, and on a software adapter, where shaders are what bounds, little enough.
const BYTES: u64 = 256 << 20;
const SOFTWARE_BYTES: u64 = 64 << 20;
/// Less would measure a cache. Where memory is short, half is tried until this is reached.
const LEAST_BYTES: u64 = 32 << 20;
/// How long one of the two is run, in seconds: for clocks to rise, and for readings in steps of [`CLOCK_STEP`].
const LONG_ENOUGH: f64 = 0.15;
/// What browsers may round a clock's reading to, in seconds.
const CLOCK_STEP: f64 = 1e-4;
/// Multiply-adds of a number in one dispatch, and workgroups: enough to fill large adapters, yet short on software.
const ROUNDS: usize = 256;
const GROUPS: usize = 4096;
const SOFTWARE_GROUPS: usize = 64;
/// Most repeats of what is measured in one submission.
pub(super) const MOST_OFTEN: usize = 4096;

/// What the adapter did at its best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SpeedLimits {
    /// Bytes of memory read each second by neighbouring invocations.
    pub bytes_per_second: f64,
    /// Multiplications and additions of f32 each second, in registers.
    pub flops_per_second: f64,
}

impl Gpu {
    /// The adapter's limits, measured the first time, in less than a second. Errors: those of [`Gpu::measure_limits`].
    pub async fn speed_limits(&self) -> Result<SpeedLimits> {
        match self.limits.get() {
            Some(limits) => Ok(limits),
            None => self.measure_limits().await,
        }
    }

    /// Measures the adapter's limits anew.
    ///
    /// Errors: `OutOfMemory` when there is no room for anything that would not fit a cache; what the device reports.
    pub async fn measure_limits(&self) -> Result<SpeedLimits> {
        let mut best = [0.0; 2];
        for (best, arithmetic) in best.iter_mut().zip([false, true]) {
            let (dispatch, _buffers) = if arithmetic { self.computing().await? } else { self.reading().await? };
            let Cost { bytes, flops, .. } = dispatch.cost(Run { position: 0, tokens: 1 });
            let seconds = self.least(slice::from_ref(&dispatch), 1).await?;
            *best = if arithmetic { flops } else { bytes } as f64 / seconds;
        }
        let [bytes_per_second, flops_per_second] = best;
        let limits = SpeedLimits { bytes_per_second, flops_per_second };
        self.limits.set(Some(limits));
        Ok(limits)
    }

    /// Reads much memory; the buffers live as long as it is run.
    async fn reading(&self) -> Result<(Dispatch, Vec<Buffer>)> {
        let wanted = if self.adapter.software { SOFTWARE_BYTES } else { BYTES };
        let mut bytes = wanted.min(self.max_binding_bytes());
        loop {
            let (groups, lanes) = (bytes as usize / STREAM_BYTES, ops::stream_lanes(self));
            let made = self.checked("bandwidth", || {
                let words = self.storage("words", bytes)?;
                let sums = self.storage("sums", (groups * lanes * STREAM_SUM_BYTES) as u64)?;
                Ok((ops::stream_read(self, lanes, groups, &words, &sums)?, vec![words, sums]))
            });
            match made.await {
                Err(Error::OutOfMemory { .. }) if bytes / 2 >= LEAST_BYTES => bytes /= 2,
                made => return made,
            }
        }
    }

    /// Computes much with little memory.
    async fn computing(&self) -> Result<(Dispatch, Vec<Buffer>)> {
        let groups = if self.adapter.software { SOFTWARE_GROUPS } else { GROUPS };
        let made = self.checked("arithmetic", || {
            // Tends to 2: far from what is slow or infinite.
            let (factors, addends) = (vec![0.5_f32; 256], vec![1.0_f32; 256]);
            let factors = self.storage_with("factors", &factors)?;
            let addends = self.storage_with("addends", &addends)?;
            let sums = self.storage("sums", groups as u64 * 64 * 16)?;
            let buffers = MultiplyAdd { factors: &factors, addends: &addends, sums: &sums };
            Ok((ops::multiply_add(self, groups, ROUNDS, &buffers)?, vec![factors, addends, sums]))
        });
        made.await
    }

    /// The least that dispatches for `tokens` tokens take, in seconds.
    pub(super) async fn least(&self, dispatches: &[Dispatch], tokens: usize) -> Result<f64> {
        let all: Vec<&Dispatch> = dispatches.iter().collect();
        // The first has to compile the kernels and to clear their memory.
        self.seconds(&all, tokens).await?;
        least_seconds(async |count| self.seconds(&all.repeat(count), tokens).await).await
    }

    /// How long the device is at dispatches for `tokens` tokens, by its own clock or else by ours.
    pub(super) async fn seconds(&self, dispatches: &[&Dispatch], tokens: usize) -> Result<f64> {
        if let Some(times) = self.timed(&[dispatches.to_vec()], tokens).await? {
            return Ok(times.iter().sum::<f64>() / 1e6);
        }
        let started = Instant::now();
        self.submit(dispatches.iter().copied(), tokens, None);
        self.finished().await?;
        Ok(started.elapsed().as_secs_f64())
    }
}

/// The least that something takes, done more and more often in a row: `time` does it so many times.
async fn least_seconds(time: impl AsyncFn(usize) -> Result<f64>) -> Result<f64> {
    let (mut count, mut least) = (1, f64::INFINITY);
    loop {
        // By a coarser clock than that it may take no time at all, and its rate must not be infinite.
        let seconds = time(count).await?.max(CLOCK_STEP);
        let last = seconds >= LONG_ENOUGH || count >= MOST_OFTEN;
        // What is short is too coarse by a browser's clock.
        if last || seconds >= LONG_ENOUGH / 8.0 {
            least = least.min(seconds / count as f64);
        }
        if last {
            return Ok(least);
        }
        count = more_often(count, seconds, LONG_ENOUGH);
    }
}

/// How often to do next what took `seconds` when done `count` times, for it to take `long_enough`: not by too bold a guess.
pub(super) fn more_often(count: usize, seconds: f64, long_enough: f64) -> usize {
    let wanted = (1.2 * long_enough / seconds.max(1e-6)) as usize;
    (count * wanted.clamp(2, 8)).min(MOST_OFTEN)
}

#[cfg(test)]
mod tests {
    use pollster::block_on;

    use super::*;

    #[test]
    fn what_is_short_is_done_more_often() {
        let most = std::cell::Cell::new(0);
        let time = async |count: usize| {
            most.set(count);
            Ok(1e-3 * count as f64)
        };
        let least = block_on(least_seconds(time)).unwrap();
        assert!((least - 1e-3).abs() < 1e-12, "{least}");
        assert!((150..1500).contains(&most.get()), "{most:?} times a millisecond");
    }

    #[test]
    fn by_a_clock_that_stands_still_it_takes_some_time_all_the_same() {
        let least = block_on(least_seconds(async |_| Ok(0.0))).unwrap();
        assert!(least > 0.0 && least.is_finite(), "{least}");
    }
}
