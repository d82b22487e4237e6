//! Logits to the next token: pure and seeded.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::weights::loader::TextFiles;

/// How the next token is chosen, in the order in which the steps act (that of Hugging Face's `generate`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// Above 1, tokens of prompt and answer become less likely: positive logits are divided by it, others multiplied.
    pub repetition_penalty: f32,
    /// Divides the logits; 0 takes the most likely token always (greedy), and the rest has no effect.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens (and those equal to the last of them); `None` or 0 keeps all.
    pub top_k: Option<u32>,
    /// Keeps the most likely tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least this fraction as likely as the most likely one; 0 keeps all.
    pub min_p: f32,
    /// The same seed gives the same choices.
    pub seed: u64,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Self {
        Self { repetition_penalty: 1.0, temperature: 0.0, top_k: None, top_p: 1.0, min_p: 0.0, seed: 0 }
    }
}

impl Sampling {
    /// What a checkpoint asks for.
    ///
    /// A Hugging Face folder does in `generation_config.json`, read as `transformers` reads it: greedy unless `do_sample`
    /// is set, then temperature 1, top-k 50 and top-p 1 where it does not say otherwise. A GGUF file
    /// says nothing; it gets temperature 0.8, top-k 40, top-p 0.95 and min-p 0.05, as llama.cpp has accustomed its users.
    pub fn defaults(files: &TextFiles) -> Result<Self> {
        let sampling = match files {
            TextFiles::Gguf(_) => {
                Self { temperature: 0.8, top_k: Some(40), top_p: 0.95, min_p: 0.05, ..Self::default() }
            }
            TextFiles::HuggingFace { generation_config: Some(bytes), .. } => {
                let config: Value = serde_json::from_slice(bytes)
                    .map_err(|e| Error::BadConfig { detail: format!("generation_config.json: {e}") })?;
                Self::from_generation_config(&config)
            }
            TextFiles::HuggingFace { .. } => Self::default(),
        };
        sampling.check().map_err(|e| Error::BadConfig { detail: format!("generation_config.json: {e}") })?;
        Ok(sampling)
    }

    fn from_generation_config(config: &Value) -> Self {
        let number = |key, default| config.get(key).and_then(Value::as_f64).map_or(default, |n| n as f32);
        let greedy = Self { repetition_penalty: number("repetition_penalty", 1.0), ..Self::default() };
        if config.get("do_sample").and_then(Value::as_bool) != Some(true) {
            return greedy;
        }
        let top_k = config.get("top_k").and_then(Value::as_u64).unwrap_or(50);
        Self {
            temperature: number("temperature", 1.0),
            top_k: u32::try_from(top_k).ok().filter(|&k| k > 0),
            top_p: number("top_p", 1.0),
            min_p: number("min_p", 0.0),
            ..greedy
        }
    }

    /// Refuses values that mean nothing.
    pub fn check(&self) -> Result<()> {
        let bad = |name: &str, value: f32, range: &str| {
            Err(Error::BadRequest { detail: format!("{name} is {value}, and must be {range}") })
        };
        if !(0.0..=100.0).contains(&self.temperature) {
            return bad("temperature", self.temperature, "from 0 to 100");
        }
        if !(0.0..=1.0).contains(&self.top_p) {
            return bad("top_p", self.top_p, "from 0 to 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return bad("min_p", self.min_p, "from 0 to 1");
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty <= 100.0) {
            return bad("repetition_penalty", self.repetition_penalty, "above 0 and at most 100");
        }
        Ok(())
    }
}

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

    /// Whether the choice is the largest logit as it is, which a device can find by itself.
    pub fn is_argmax(&self) -> bool {
        self.sampling.temperature == 0.0 && self.sampling.repetition_penalty == 1.0
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
