//! Logits to the next token: pure and seeded. What the processor chooses with, and the plain twin of `ops::sample`.

use crate::error::{Error, Result};
use crate::sampling::Sampling;

/// Chooses tokens by one [`Sampling`]; keeps nothing between calls.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
}

/// A token that may be chosen: its id and its logit.
type Candidate = (u32, f32);

impl Sampler {
    /// Fails on values that mean nothing.
    pub fn new(sampling: Sampling) -> Result<Self> {
        sampling.check()?;
        Ok(Self { sampling })
    }

    /// Chooses the token at `position` of the sequence, given `logits` (one for each token, changed by the penalty) and the
    /// ids before it. The choice depends on these and the seed alone.
    pub fn sample(&self, logits: &mut [f32], history: &[u32], position: usize) -> Result<u32> {
        self.sample_with(logits, history, uniform(self.sampling.seed, position))
    }

    /// As [`Sampler::sample`], with a number in `[0, 1)` in place of the one that seed and position give.
    pub fn sample_with(&self, logits: &mut [f32], history: &[u32], uniform: f64) -> Result<u32> {
        if logits.is_empty() || logits.iter().any(|logit| !logit.is_finite()) {
            return Err(Error::OutputNotFinite);
        }
        self.penalise(logits, history);
        let candidates = logits.iter().copied().zip(0..).map(|(logit, id)| (id, logit));
        if self.sampling.temperature == 0.0 {
            return candidates
                .reduce(|best, next| if next.1 > best.1 { next } else { best })
                .map_or(Err(Error::OutputNotFinite), |(id, _)| Ok(id));
        }
        let kept = self.filter(candidates.collect());
        Ok(draw(&kept, self.sampling.temperature, uniform))
    }

    fn penalise(&self, logits: &mut [f32], history: &[u32]) {
        let penalty = self.sampling.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let mut seen = history.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for id in seen {
            if let Some(logit) = logits.get_mut(id as usize) {
                let scaled = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                *logit = scaled.clamp(f32::MIN, f32::MAX); // finite logits stay finite
            }
        }
    }

    /// Top-k, top-p, min-p. Temperature keeps the order, so the logits can stay as they are until weights are needed.
    fn filter(&self, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        if let Some(k) = top_k.map(|k| k as usize).filter(|&k| k > 0 && k < candidates.len()) {
            let (_, last, _) = candidates.select_nth_unstable_by(k - 1, |a, b| b.1.total_cmp(&a.1));
            let least = last.1;
            candidates.retain(|candidate| candidate.1 >= least);
        }
        let best = candidates.iter().map(|c| c.1).fold(f32::NEG_INFINITY, f32::max);
        if top_p < 1.0 {
            keep_nucleus(&mut candidates, top_p, |logit| weight(logit, best, temperature));
        }
        if min_p > 0.0 {
            candidates.retain(|&(_, logit)| weight(logit, best, temperature) >= f64::from(min_p));
        }
        // The filters leave an order that depends on how they work; ids do not.
        candidates.sort_unstable_by_key(|candidate| candidate.0);
        candidates
    }
}

/// Keeps the most likely candidates until their probability reaches `top_p`, at least one; of equals the lowest ids.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f32, weight: impl Fn(f32) -> f64) {
    candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let wanted = f64::from(top_p) * candidates.iter().map(|c| weight(c.1)).sum::<f64>();
    let mut reached = 0.0;
    let mut count = 0;
    for candidate in candidates.iter() {
        if count > 0 && reached >= wanted {
            break;
        }
        reached += weight(candidate.1);
        count += 1;
    }
    candidates.truncate(count);
}

/// Probability as a fraction of the best candidate's.
fn weight(logit: f32, best: f32, temperature: f32) -> f64 {
    ((f64::from(logit) - f64::from(best)) / f64::from(temperature)).exp()
}

/// The candidate at which the running sum of probabilities passes `uniform`.
fn draw(candidates: &[Candidate], temperature: f32, uniform: f64) -> u32 {
    let best = candidates.iter().map(|c| c.1).fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = candidates.iter().map(|c| weight(c.1, best, temperature)).sum();
    let mut left = uniform * total;
    let mut chosen = 0;
    for &(id, logit) in candidates {
        let weight = weight(logit, best, temperature);
        if weight > 0.0 {
            chosen = id;
            if left < weight {
                break;
            }
        }
        left -= weight;
    }
    chosen
}

/// A number in `[0, 1)`: output number `position` of SplitMix64 seeded with `seed` (Steele, Lea, Flood 2014, "Fast
/// splittable pseudorandom number generators"), its upper 53 bits.
pub fn uniform(seed: u64, position: usize) -> f64 {
    (splitmix64(seed, position as u64) >> 11) as f64 / (1u64 << 53) as f64
}

/// Output `index`, counted from 0, of SplitMix64.
pub fn splitmix64(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::splitmix64;

    /// The published test values for seed 1234567.
    #[test]
    fn splitmix64_gives_its_published_values() {
        let values = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431];
        assert_eq!([0, 1, 2, 3].map(|i| splitmix64(1_234_567, i)), values);
    }
}
