//! Hugging Face folders: `config.json`, the list of shards, and the header of a safetensors file.
//!
//! Sources: `LlamaConfig` of transformers; the safetensors format's description. Its own crate is not used here: it
//! counts bytes and bits in `usize`, which on wasm32 is too small for shards above 4 GiB and large embeddings.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::cursor::Cursor;
use super::manifest::{Dtype, Stored};
use super::source::Source;
use crate::config::{ModelConfig, Rope, RopeScaling};
use crate::error::{Error, Result};
use crate::formats::Format;

/// A longer header is taken for damage: Llama-2 70B's takes less than 1 MiB.
pub(super) const MAX_HEADER: u64 = 64 << 20;

fn bad(detail: impl Into<String>) -> Error {
    Error::BadConfig { detail: detail.into() }
}

fn broken(detail: impl Into<String>) -> Error {
    Error::BadHeader { detail: detail.into() }
}

/// Fields that say whether this is Llama at all; read before the others, which may be missing elsewhere.
#[derive(Deserialize)]
struct Identity {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
}

/// The fields of `LlamaConfig` that change the computation; defaults are its own.
#[derive(Deserialize)]
struct LlamaConfig {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f32>,
    rope_theta: Option<f32>,
    rope_scaling: Option<RopeConfig>,
    /// Newer name of `rope_scaling`, with `rope_theta` inside.
    rope_parameters: Option<RopeConfig>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    partial_rotary_factor: Option<f32>,
    quantization_config: Option<IgnoredAny>,
}

/// RoPE's scaling; its kind is named by `rope_type` or, in older files, by `type`.
#[derive(Deserialize)]
struct RopeConfig {
    rope_type: Option<String>,
    r#type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<f32>,
}

/// The configuration in a `config.json`.
pub(super) fn config(json: &[u8]) -> Result<ModelConfig> {
    let identity: Identity = parse("config.json", json)?;
    check_architecture(&identity)?;
    let raw: LlamaConfig = parse("config.json", json)?;
    check_variants(&raw)?;
    let scaling = raw.rope_parameters.as_ref().or(raw.rope_scaling.as_ref());
    let config = ModelConfig {
        vocab_size: raw.vocab_size,
        hidden_size: raw.hidden_size,
        intermediate_size: raw.intermediate_size,
        layers: raw.num_hidden_layers,
        heads: raw.num_attention_heads,
        kv_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
        head_dim: raw.head_dim.unwrap_or(raw.hidden_size.checked_div(raw.num_attention_heads).unwrap_or(0)),
        max_positions: raw.max_position_embeddings.unwrap_or(2048),
        rms_norm_eps: raw.rms_norm_eps.unwrap_or(1e-6),
        rope: Rope {
            theta: raw.rope_theta.or(scaling.and_then(|rope| rope.rope_theta)).unwrap_or(10_000.0),
            scaling: scaling.map_or(Ok(RopeScaling::None), rope_scaling)?,
        },
        tied_embeddings: raw.tie_word_embeddings.unwrap_or(false),
    };
    config.validate()?;
    Ok(config)
}

fn parse<'a, T: Deserialize<'a>>(name: &str, json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| bad(format!("{name}: {error}")))
}

fn check_architecture(identity: &Identity) -> Result<()> {
    let class = identity.architectures.as_ref().and_then(|names| names.first());
    match (class, &identity.model_type) {
        (Some(name), _) if name != "LlamaForCausalLM" => Err(Error::Architecture { name: name.clone() }),
        (_, Some(name)) if name != "llama" => Err(Error::Architecture { name: name.clone() }),
        (None, None) => Err(bad("config.json names no architecture")),
        _ => Ok(()),
    }
}

/// Refuses what would change the computation in a way that the engine does not know.
fn check_variants(raw: &LlamaConfig) -> Result<()> {
    if raw.attention_bias == Some(true) || raw.mlp_bias == Some(true) {
        return Err(bad("projections with biases are not supported"));
    }
    if raw.partial_rotary_factor.is_some_and(|factor| factor != 1.0) {
        return Err(bad("partial rotary embeddings are not supported"));
    }
    if raw.quantization_config.is_some() {
        return Err(bad("quantised safetensors are not supported; take the original or a GGUF file"));
    }
    match raw.hidden_act.as_deref() {
        None | Some("silu") => Ok(()),
        Some(other) => Err(bad(format!("the activation {other:?} is not supported"))),
    }
}

fn rope_scaling(rope: &RopeConfig) -> Result<RopeScaling> {
    let need = |name: &str, value: Option<f32>| value.ok_or_else(|| bad(format!("rope_scaling has no {name}")));
    match rope.rope_type.as_deref().or(rope.r#type.as_deref()) {
        None | Some("default") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear { factor: need("factor", rope.factor)? }),
        Some("llama3") => Ok(RopeScaling::Llama3 {
            factor: need("factor", rope.factor)?,
            low_freq_factor: need("low_freq_factor", rope.low_freq_factor)?,
            high_freq_factor: need("high_freq_factor", rope.high_freq_factor)?,
            original_max_positions: need("original_max_position_embeddings", rope.original_max_position_embeddings)?,
        }),
        Some(other) => Err(bad(format!("rope_scaling of type {other:?} is not supported"))),
    }
}

/// Which files hold the weights.
#[derive(Debug)]
pub(super) struct Shards {
    /// File names, in the order in which they are read.
    pub files: Vec<String>,
    /// Names of all tensors, when an index lists them.
    pub tensors: Option<HashSet<String>>,
    /// Bytes of all tensors, when an index says so.
    pub total_bytes: u64,
}

impl Shards {
    /// The file of a checkpoint that has no index.
    pub fn single() -> Self {
        Self { files: vec!["model.safetensors".to_owned()], tensors: None, total_bytes: 0 }
    }

    /// Reads a `model.safetensors.index.json`.
    pub fn from_index(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Index {
            #[serde(default)]
            metadata: BTreeMap<String, serde_json::Value>,
            weight_map: BTreeMap<String, String>,
        }
        let index: Index = parse("model.safetensors.index.json", json)?;
        let files: BTreeSet<&String> = index.weight_map.values().collect();
        // A shard lies next to its index; its name must not lead anywhere else.
        let plain = |name: &str| name.ends_with(".safetensors") && !name.contains(['/', '\\', ':']);
        if let Some(name) = files.iter().find(|name| !plain(name)) {
            return Err(broken(format!("the index names {name:?}, which is not a shard")));
        }
        if files.is_empty() {
            return Err(broken("the index names no shard"));
        }
        let total = index.metadata.get("total_size").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        let files = files.into_iter().cloned().collect();
        Ok(Self { files, tensors: Some(index.weight_map.into_keys().collect()), total_bytes: total as u64 })
    }
}

/// Reads the header at the start of a safetensors file and leaves the cursor behind it.
pub(super) async fn read_header<S: Source>(cursor: &mut Cursor, source: &mut S) -> Result<Vec<Stored>> {
    let length = u64::from_le_bytes(cursor.array(source).await?);
    if length > MAX_HEADER {
        return Err(broken(format!("a safetensors header of {length} bytes")));
    }
    let mut json = Vec::new();
    cursor.take(source, length, &mut json).await?;
    parse_header(&json, cursor.position())
}

/// The tensors in a safetensors header; `data` is where it ends.
pub(super) fn parse_header(json: &[u8], data: u64) -> Result<Vec<Stored>> {
    let header: Header = serde_json::from_slice(json).map_err(|error| broken(format!("safetensors: {error}")))?;
    header.0.into_iter().map(|(name, entry)| entry.stored(name, data)).collect()
}

/// The header's entries in its own order; `__metadata__` is left out.
struct Header(Vec<(String, Entry)>);

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    /// First byte and byte after the last one, counted from the end of the header.
    data_offsets: (u64, u64),
}

impl Entry {
    fn stored(self, name: String, data: u64) -> Result<Stored> {
        let dtype = match self.dtype.as_str() {
            "F32" => Dtype::Known(Format::F32),
            "F16" => Dtype::Known(Format::F16),
            "BF16" => Dtype::Known(Format::BF16),
            // In copies that were quantised while they streamed.
            "Q8_0" => Dtype::Known(Format::Q8_0),
            "Q4_0" => Dtype::Known(Format::Q4_0),
            _ => Dtype::Other(self.dtype),
        };
        let (first, last) = self.data_offsets;
        let start = data.checked_add(first).ok_or_else(|| broken(format!("the offset of {name} is too large")))?;
        let tensor = Stored { name, dtype, shape: self.shape, start };
        match tensor.bytes()? {
            Some(bytes) if last.checked_sub(first) != Some(bytes) => {
                Err(broken(format!("the offsets of {} do not agree with its shape", tensor.name)))
            }
            _ => Ok(tensor),
        }
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                entries.push((name, map.next_value()?));
            }
        }
        Ok(Header(entries))
    }
}
