//! From a file's list of tensors to the model's: name to role, place in the file, format and shape, all checked.

use std::collections::HashSet;

use super::{LayerRole, Role, TensorSpec};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::formats::Format;

/// A tensor's number format as its file gives it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Dtype {
    /// One that the engine reads.
    Known(Format),
    /// The name of another one.
    Other(String),
}

impl Dtype {
    /// Its name in files.
    pub fn name(&self) -> &str {
        match self {
            Dtype::Known(format) => format.name(),
            Dtype::Other(name) => name,
        }
    }
}

/// A tensor as a file's header lists it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub name: String,
    pub dtype: Dtype,
    /// Outermost dimension first.
    pub shape: Vec<u64>,
    /// Its first byte in the file.
    pub start: u64,
}

impl Stored {
    /// Rows and columns; a vector is one row.
    fn matrix(&self) -> Option<[u64; 2]> {
        match *self.shape.as_slice() {
            [columns] => Some([1, columns]),
            [rows, columns] => Some([rows, columns]),
            _ => None,
        }
    }

    /// Its length in the file, `None` for formats whose size is not known here.
    pub fn bytes(&self) -> Result<Option<u64>> {
        let Dtype::Known(format) = self.dtype else { return Ok(None) };
        let (block, bytes) = (format.block_len() as u64, format.block_bytes() as u64);
        let columns = self.shape.last().copied().unwrap_or(1);
        if !columns.is_multiple_of(block) {
            return Err(broken(format!("the rows of {} do not end with a block", self.name)));
        }
        let elements = self.shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
        let length = elements.and_then(|elements| (elements / block).checked_mul(bytes));
        length.map(Some).ok_or_else(|| broken(format!("tensor {} is too large", self.name)))
    }
}

fn broken(detail: impl Into<String>) -> Error {
    Error::BadHeader { detail: detail.into() }
}

/// The two ways of naming a Llama's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// `blk.0.attn_q.weight`; query and key rows already in neighbour-pair RoPE order.
    Gguf,
    /// `model.layers.0.self_attn.q_proj.weight`; query and key rows in half-split RoPE order.
    HuggingFace,
}

/// Each role of a layer: GGUF's name and Hugging Face's.
const LAYER_NAMES: [(LayerRole, &str, &str); 9] = [
    (LayerRole::AttentionNorm, "attn_norm", "input_layernorm"),
    (LayerRole::Query, "attn_q", "self_attn.q_proj"),
    (LayerRole::Key, "attn_k", "self_attn.k_proj"),
    (LayerRole::Value, "attn_v", "self_attn.v_proj"),
    (LayerRole::AttentionOutput, "attn_output", "self_attn.o_proj"),
    (LayerRole::MlpNorm, "ffn_norm", "post_attention_layernorm"),
    (LayerRole::Gate, "ffn_gate", "mlp.gate_proj"),
    (LayerRole::Up, "ffn_up", "mlp.up_proj"),
    (LayerRole::Down, "ffn_down", "mlp.down_proj"),
];

/// Roles outside the layers, likewise.
const MODEL_NAMES: [(Role, &str, &str); 3] = [
    (Role::Embedding, "token_embd.weight", "model.embed_tokens.weight"),
    (Role::FinalNorm, "output_norm.weight", "model.norm.weight"),
    (Role::Head, "output.weight", "lm_head.weight"),
];

/// GGUF's tensor of RoPE divisors, one for each dimension pair.
pub(super) const ROPE_DIVISORS: &str = "rope_freqs.weight";

impl Naming {
    /// What a tensor's name means; `None` for tensors that the model does not use.
    pub fn role(self, name: &str) -> Option<Role> {
        if let Some((role, ..)) = MODEL_NAMES.iter().find(|(_, gguf, face)| self.pick(gguf, face) == name) {
            return Some(*role);
        }
        let (number, rest) = name.strip_prefix(self.pick("blk.", "model.layers."))?.split_once('.')?;
        let rest = rest.strip_suffix(".weight")?;
        let (role, ..) = LAYER_NAMES.iter().find(|(_, gguf, face)| self.pick(gguf, face) == rest)?;
        let layer: usize = number.parse().ok()?;
        // "+1" and "01" are other tensors than "1".
        (layer.to_string() == number).then_some(Role::Layer(layer, *role))
    }

    /// The name under which a role is stored.
    pub fn name(self, role: Role) -> String {
        match role {
            Role::Layer(layer, role) => {
                let names = LAYER_NAMES.iter().find(|(named, ..)| *named == role);
                let name = names.map_or("", |(_, gguf, face)| self.pick(gguf, face));
                format!("{}{layer}.{name}.weight", self.pick("blk.", "model.layers."))
            }
            role => {
                let names = MODEL_NAMES.iter().find(|(named, ..)| *named == role);
                names.map_or("", |(_, gguf, face)| self.pick(gguf, face)).to_owned()
            }
        }
    }

    fn pick<'a>(self, gguf: &'a str, hugging_face: &'a str) -> &'a str {
        match self {
            Naming::Gguf => gguf,
            Naming::HuggingFace => hugging_face,
        }
    }
}

/// What a part of a file is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Content {
    /// A weight for the sink.
    Weight(TensorSpec),
    /// This many `f32` divisors of RoPE's frequencies.
    RopeDivisors(usize),
}

/// A part of a file that the model needs.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The tensor's name in the file, for messages.
    pub name: String,
    pub content: Content,
    /// Its first byte in the file.
    pub start: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The parts of one file that the model needs, in the file's order.
#[derive(Debug)]
pub(super) struct Manifest {
    pub naming: Naming,
    pub parts: Vec<Part>,
}

impl Manifest {
    /// Checks a file's tensors against each other, the file's length and the configuration.
    ///
    /// `file` and `length` are the file's name and size; `data` is where its header ends.
    pub fn new(
        naming: Naming,
        config: &ModelConfig,
        tensors: &[Stored],
        (file, data, length): (&str, u64, u64),
    ) -> Result<Self> {
        let mut parts = Vec::new();
        for tensor in in_order(tensors, file, data, length)? {
            if let Some(content) = content(naming, config, tensor)? {
                let bytes = tensor.bytes()?.unwrap_or(0);
                parts.push(Part { name: tensor.name.clone(), content, start: tensor.start, bytes });
            }
        }
        Ok(Self { naming, parts })
    }

    /// The weights in this file.
    pub fn specs(&self) -> Vec<TensorSpec> {
        let weights = self.parts.iter().filter_map(|part| match part.content {
            Content::Weight(spec) => Some(spec),
            Content::RopeDivisors(_) => None,
        });
        weights.collect()
    }
}

/// The tensors as they lie in the file: names stand once, tensors lie behind the header, within the file and not over each other.
pub(super) fn in_order<'a>(tensors: &'a [Stored], file: &str, data: u64, length: u64) -> Result<Vec<&'a Stored>> {
    let mut names = HashSet::new();
    if let Some(twice) = tensors.iter().find(|tensor| !names.insert(tensor.name.as_str())) {
        return Err(broken(format!("tensor {} is listed twice", twice.name)));
    }
    let mut sorted: Vec<&Stored> = tensors.iter().collect();
    sorted.sort_by_key(|tensor| tensor.start);
    let mut free = data;
    for tensor in &sorted {
        if tensor.start < free {
            return Err(broken(format!("tensor {} lies over what comes before it", tensor.name)));
        }
        let end = tensor.start.checked_add(tensor.bytes()?.unwrap_or(0));
        free = end.ok_or_else(|| broken(format!("tensor {} is too large", tensor.name)))?;
        if free > length {
            return Err(Error::Truncated { name: file.to_owned(), expected: free, got: length });
        }
    }
    Ok(sorted)
}

/// What the model uses a tensor for, if anything.
fn content(naming: Naming, config: &ModelConfig, tensor: &Stored) -> Result<Option<Content>> {
    if naming == Naming::Gguf && tensor.name == ROPE_DIVISORS {
        return rope_divisors(config, tensor).map(Some);
    }
    // Leaving a bias out would give wrong answers without a word.
    if tensor.name.ends_with(".bias") {
        return Err(Error::BadConfig { detail: format!("{}: biases are not supported", tensor.name) });
    }
    match naming.role(&tensor.name) {
        Some(Role::Head) if config.tied_embeddings => Ok(None),
        Some(Role::Layer(layer, _)) if layer >= config.layers => Ok(None),
        Some(role) => spec(config, role, tensor).map(|spec| Some(Content::Weight(spec))),
        None => Ok(None),
    }
}

fn rope_divisors(config: &ModelConfig, tensor: &Stored) -> Result<Content> {
    let pairs = config.head_dim / 2;
    check_shape(tensor, [1, pairs])?;
    match &tensor.dtype {
        Dtype::Known(Format::F32) => Ok(Content::RopeDivisors(pairs)),
        other => Err(unsupported(tensor, other)),
    }
}

fn spec(config: &ModelConfig, role: Role, tensor: &Stored) -> Result<TensorSpec> {
    let [rows, columns] = role.shape(config);
    check_shape(tensor, [rows, columns])?;
    match tensor.dtype {
        // No file quantises norms, so that kernels may read them as plain numbers.
        Dtype::Known(format) if role.is_norm() && format.block_len() > 1 => Err(unsupported(tensor, &tensor.dtype)),
        Dtype::Known(format) => Ok(TensorSpec { role, format, rows, columns }),
        Dtype::Other(_) => Err(unsupported(tensor, &tensor.dtype)),
    }
}

fn check_shape(tensor: &Stored, expected: [usize; 2]) -> Result<()> {
    if tensor.matrix() == Some(expected.map(|size| size as u64)) {
        return Ok(());
    }
    let got = tensor.shape.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect();
    Err(Error::TensorShape { tensor: tensor.name.clone(), expected: expected.to_vec(), got })
}

fn unsupported(tensor: &Stored, dtype: &Dtype) -> Error {
    Error::TensorType { tensor: tensor.name.clone(), dtype: dtype.name().to_owned() }
}
