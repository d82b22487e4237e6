//! Hyper-parameters from a GGUF header's `llama.*` keys.

use super::LayerRole;
use super::gguf::Metadata;
use super::manifest::{ROPE_DIVISORS, Stored};
use super::split::Split;
use crate::config::{ModelConfig, Rope, RopeScaling};
use crate::error::{Error, Result};

/// The configuration of a GGUF file.
///
/// Where the file has a `rope_freqs.weight` tensor, RoPE's scaling is known only when that tensor has been read.
pub(super) fn config(metadata: &Metadata, tensors: &[Stored]) -> Result<ModelConfig> {
    check_kind(metadata)?;
    let keys = Keys { metadata };
    let hidden_size = keys.size("llama.embedding_length")?;
    let heads = keys.size("llama.attention.head_count")?;
    let head_dim = match keys.optional_size("llama.attention.key_length")? {
        Some(length) => length,
        None => hidden_size.checked_div(heads).unwrap_or(0),
    };
    keys.must_be("llama.attention.value_length", head_dim)?;
    keys.must_be("llama.rope.dimension_count", head_dim)?;
    keys.must_be("llama.expert_count", 0)?;
    let layers = keys.size("llama.block_count")?;
    let config = ModelConfig {
        vocab_size: keys.vocab_size()?,
        hidden_size,
        intermediate_size: keys.size("llama.feed_forward_length")?,
        layers,
        heads,
        kv_heads: keys.optional_size("llama.attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        max_positions: keys.size("llama.context_length")?,
        rms_norm_eps: keys.float("llama.attention.layer_norm_rms_epsilon")?,
        rope: Rope {
            theta: keys.optional_float("llama.rope.freq_base")?.unwrap_or(10_000.0),
            scaling: keys.scaling()?,
        },
        tied_embeddings: is_tied(metadata, tensors, layers),
    };
    config.validate()?;
    Ok(config)
}

/// Refuses other architectures.
fn check_kind(metadata: &Metadata) -> Result<()> {
    match metadata.string("general.architecture") {
        Some("llama") => Ok(()),
        Some(name) => Err(Error::Architecture { name: name.to_owned() }),
        None => Err(bad("general.architecture", "is missing")),
    }
}

/// Whether the head is the embedding table: there is no other. Of a model in parts, whose first alone is known yet, the number of
/// tensors tells it.
fn is_tied(metadata: &Metadata, tensors: &[Stored], layers: usize) -> bool {
    const HEAD: &str = "output.weight";
    let has = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
    match Split::of(metadata).and_then(|split| split.tensors) {
        Some(count) if !has(HEAD) => {
            // Each layer's, the embedding and the last norm. Divisors of RoPE's frequencies stand in front.
            let others = LayerRole::ALL.len() * layers + 2 + usize::from(has(ROPE_DIVISORS));
            count as usize <= others
        }
        _ => !has(HEAD),
    }
}

fn bad(key: &str, why: &str) -> Error {
    Error::BadConfig { detail: format!("{key} {why}") }
}

/// Keys that are there but of another type are an error, never a default.
struct Keys<'a> {
    metadata: &'a Metadata,
}

impl Keys<'_> {
    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| bad(key, "is missing"))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        if self.metadata.get(key).is_none() {
            return Ok(None);
        }
        // Some writers give one for each layer.
        let for_layers = || match self.metadata.integers(key)? {
            [first, rest @ ..] if rest.iter().all(|size| size == first) => u32::try_from(*first).ok(),
            _ => None,
        };
        let size = self.metadata.u32(key).or_else(for_layers).and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| bad(key, "is not a single number"))
    }

    fn must_be(&self, key: &str, expected: usize) -> Result<()> {
        match self.optional_size(key)? {
            Some(size) if size != expected => Err(bad(key, &format!("is {size}; only {expected} is supported here"))),
            _ => Ok(()),
        }
    }

    fn float(&self, key: &str) -> Result<f32> {
        self.optional_float(key)?.ok_or_else(|| bad(key, "is missing"))
    }

    fn optional_float(&self, key: &str) -> Result<Option<f32>> {
        if self.metadata.get(key).is_none() {
            return Ok(None);
        }
        self.metadata.f32(key).map(Some).ok_or_else(|| bad(key, "is not a number"))
    }

    fn vocab_size(&self) -> Result<usize> {
        if let Some(size) = self.optional_size("llama.vocab_size")? {
            return Ok(size);
        }
        let tokens = self.metadata.strings("tokenizer.ggml.tokens");
        tokens.map(<[String]>::len).ok_or_else(|| bad("llama.vocab_size", "is missing"))
    }

    fn scaling(&self) -> Result<RopeScaling> {
        // Files from before `rope.scaling.*` name a linear factor alone.
        let old = self.optional_float("llama.rope.scale_linear")?;
        let factor = self.optional_float("llama.rope.scaling.factor")?.or(old).unwrap_or(1.0);
        match self.metadata.string("llama.rope.scaling.type").unwrap_or("linear") {
            "none" => Ok(RopeScaling::None),
            "linear" if factor == 1.0 || factor == 0.0 => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor }),
            other => Err(bad("llama.rope.scaling.type", &format!("is {other:?}, which is not supported"))),
        }
    }
}
