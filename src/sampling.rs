//! How the next token is chosen from the logits: a request's settings, and a checkpoint's own. [`sampler`] acts on them, or
//! `ops::sample` on a WebGPU device.

pub mod sampler;

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
