//! The sizes and constants that make one Llama model differ from another.

use std::ops::Range;

use crate::error::{Error, Result};

/// Longest vectors of a head. Attention keeps four heads' sums in an invocation's own memory, of which WGSL promises 8 KiB, or
/// the queries of eight in a workgroup's, of which WebGPU promises 16.
pub const MOST_HEAD_DIM: usize = 1 << 8;

/// Hyper-parameters of a Llama-2-style model, named as in the field.
///
/// Source: Touvron et al. 2023, "Llama 2"; the fields of Hugging Face's `LlamaConfig` and of GGUF's `llama.*` keys.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Rows of the embedding table and of the output head.
    pub vocab_size: usize,
    /// Length of the residual stream's vector for one token.
    pub hidden_size: usize,
    /// Length of the gate and up projections' outputs.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key/value heads; a divisor of `heads` (equal to it for multi-head attention).
    pub kv_heads: usize,
    /// Length of one head's query, key and value vectors; even.
    pub head_dim: usize,
    /// Longest context that the model was made for, in tokens.
    pub max_positions: usize,
    /// Added to the mean square inside RMSNorm.
    pub rms_norm_eps: f32,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Whether the output head is the embedding table.
    pub tied_embeddings: bool,
}

impl ModelConfig {
    /// Length of all query heads together.
    pub fn query_size(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Length of all key (or value) heads together.
    pub fn kv_size(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Checks what a file gave: every later size computation relies on these bounds.
    ///
    /// The bounds are far above any published model's sizes, and keep a row's length in bytes within 32 bits.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocabulary size", self.vocab_size, 1 << 22),
            ("hidden size", self.hidden_size, 1 << 17),
            ("intermediate size", self.intermediate_size, 1 << 19),
            ("number of layers", self.layers, 1 << 10),
            ("number of heads", self.heads, 1 << 12),
            ("number of key/value heads", self.kv_heads, 1 << 12),
            ("head dimension", self.head_dim, MOST_HEAD_DIM),
            ("context length", self.max_positions, 1 << 26),
        ];
        for (name, size, most) in sizes {
            check(size >= 1 && size <= most, || format!("the {name} is {size}, not between 1 and {most}"))?;
        }
        let (heads, kv_heads, head_dim) = (self.heads, self.kv_heads, self.head_dim);
        check(heads.is_multiple_of(kv_heads), || format!("{kv_heads} key/value heads do not divide {heads} heads"))?;
        check(head_dim.is_multiple_of(2), || format!("the head dimension {head_dim} is odd"))?;
        let eps = self.rms_norm_eps;
        check((0.0..1.0).contains(&eps), || format!("RMSNorm's epsilon is {eps}"))?;
        self.rope.validate()
    }
}

/// RoPE's (cosine, sine) at some positions, `[positions][frequencies]`, computed in double precision.
pub fn angles(frequencies: &[f32], positions: Range<usize>) -> impl Iterator<Item = [f32; 2]> {
    let angles = positions.flat_map(|at| frequencies.iter().map(move |frequency| at as f64 * f64::from(*frequency)));
    angles.map(|angle| [angle.cos() as f32, angle.sin() as f32])
}

/// An error unless `holds`.
fn check(holds: bool, detail: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::BadConfig { detail: detail() }) }
}

/// Rotary position embedding: dimension pair `i` of a head turns by `position * theta^(-2i / head_dim)`, scaled.
///
/// Source: Su et al. 2021, "RoFormer"; scaling as in Hugging Face's `modeling_rope_utils.py`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f32,
    /// How frequencies are changed for contexts longer than those trained on.
    pub scaling: RopeScaling,
}

/// Ways of stretching RoPE's frequencies.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Llama 3.1's: high frequencies kept, low ones divided, a smooth ramp between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: f32,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f32,
        /// Context that the model was first trained with.
        original_max_positions: f32,
    },
    /// One divisor for each dimension pair, as GGUF's `rope_freqs.weight` stores them (`head_dim / 2` values).
    Divisors(Vec<f32>),
}

impl Rope {
    /// Checks that every frequency is a positive, finite number.
    fn validate(&self) -> Result<()> {
        let positive =
            |name: &str, value: f32| check(value.is_finite() && value > 0.0, || format!("RoPE's {name} is {value}"));
        positive("theta", self.theta)?;
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("factor", *factor),
            RopeScaling::Divisors(divisors) => divisors.iter().try_for_each(|divisor| positive("divisor", *divisor)),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
                positive("factor", *factor)?;
                positive("low frequency factor", *low_freq_factor)?;
                positive("original context", *original_max_positions)?;
                // The ramp between the two has this width, and is divided by it.
                positive("high frequency factor less the low one", high_freq_factor - low_freq_factor)
            }
        }
    }

    /// Radians per position of each of the `head_dim / 2` dimension pairs.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let half = head_dim / 2;
        let plain = (0..half).map(|i| 1.0 / f64::from(self.theta).powf(2.0 * i as f64 / head_dim as f64));
        let scaled = plain.enumerate().map(|(i, frequency)| match &self.scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / f64::from(*factor),
            RopeScaling::Divisors(divisors) => frequency / f64::from(divisors.get(i).copied().unwrap_or(1.0)),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
                let wavelength = std::f64::consts::TAU / frequency;
                let turns = f64::from(*original_max_positions) / wavelength;
                let (low, high) = (f64::from(*low_freq_factor), f64::from(*high_freq_factor));
                let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (keep + (1.0 - keep) / f64::from(*factor))
            }
        });
        scaled.map(|frequency| frequency as f32).collect()
    }
}
