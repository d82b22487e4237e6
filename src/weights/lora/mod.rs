//! LoRA adapters as PEFT saves them: a folder of `adapter_config.json` and `adapter_model.safetensors`.
//!
//! An adapter adds to some of a model's matrices W a product of two narrow ones: `W + scale B A`. They are read whole, for they are
//! small, and kept as they are stored. Source: Hu et al. 2021, "LoRA"; Kalajdzievski 2023 for rank-stabilised scaling.

mod config;

use std::collections::HashMap;

use self::config::{LoraConfig, Size};
use super::cursor::Cursor;
use super::hugging_face;
use super::manifest::{Dtype, Naming, Stored, in_order};
use super::rows::to_neighbour_pairs;
use super::source::{Kind, Source};
use super::{LayerRole, Role};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::formats::{self, Format};

const CONFIG: &str = "adapter_config.json";
const FACTORS: &str = "adapter_model.safetensors";
/// What PEFT puts in front of a module's name.
const PREFIX: &str = "base_model.model.";
/// An adapter is held in the host's memory, which a page has no more of than 4 GiB.
const MOST_BYTES: u64 = 1 << 30;

fn refused(detail: impl Into<String>) -> Error {
    Error::Adapter { detail: detail.into() }
}

/// An adapter that fits a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// What it adds to each matrix that it changes, in the order of its file.
    pub parts: Vec<LowRank>,
}

/// What an adapter adds to one matrix W: `scale B A`; to the embedding table, whose rows are looked up, its transpose.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// The matrix.
    pub role: Role,
    /// The factors' common size.
    pub rank: usize,
    /// How much the product counts.
    pub scale: f32,
    /// `[rank, columns of W]`; for the embedding `[rank, vocab]`.
    pub a: Factor,
    /// `[rows of W, rank]`, query and key rows in neighbour-pair RoPE order; for the embedding `[hidden, rank]`.
    pub b: Factor,
}

/// A matrix in the bits of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Factor {
    format: Format,
    bytes: Vec<u8>,
}

impl Factor {
    /// Its numbers, row by row.
    pub fn values(&self) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.count()];
        formats::dequantise(self.format, &self.bytes, &mut values)?;
        Ok(values)
    }

    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.format.block_bytes() * self.format.block_len()
    }
}

impl Adapter {
    /// Reads an adapter for a model of this configuration.
    ///
    /// Errors: `Adapter` for all that it asks for and that is not supported, or that is not this model's; `MissingFile`,
    /// `MissingTensor` for half of a pair, `TensorType`, `NotFinite`, and those of a safetensors file that is broken.
    pub async fn read<S: Source>(source: &mut S, model: &ModelConfig) -> Result<Self> {
        if let Kind::Gguf(name) = source.kind() {
            return Err(refused(format!("{name} is not a folder with {CONFIG} and {FACTORS}")));
        }
        let missing = || Error::MissingFile { name: CONFIG.to_owned() };
        let config = LoraConfig::parse(&source.small_file(CONFIG).await?.ok_or_else(missing)?)?;
        let mut cursor = Cursor::open(source, FACTORS).await?;
        let tensors = hugging_face::read_header(&mut cursor, source).await?;
        let tensors = in_order(&tensors, FACTORS, cursor.position(), cursor.length())?;
        let wanted = wanted(&config, model, &tensors)?;
        let mut pairs = Pairs::default();
        for (stored, place) in wanted {
            cursor.skip_to(source, stored.start).await?;
            pairs.put(place, read_factor(&mut cursor, source, stored, place, model.head_dim).await?);
        }
        cursor.drain(source).await?;
        Ok(Self { parts: pairs.whole })
    }

    /// How many numbers it has.
    pub fn parameters(&self) -> u64 {
        self.parts.iter().map(|part| (part.a.count() + part.b.count()) as u64).sum()
    }
}

/// What a tensor of an adapter is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    role: Role,
    size: Size,
    /// Which of the two factors.
    is_b: bool,
}

/// The tensors that are factors, all checked.
fn wanted<'a>(config: &LoraConfig, model: &ModelConfig, tensors: &[&'a Stored]) -> Result<Vec<(&'a Stored, Place)>> {
    let mut wanted = Vec::new();
    for stored in tensors {
        if let Some(place) = place(config, model, stored)? {
            wanted.push((*stored, place));
        }
    }
    let mut halves: HashMap<Role, &(&Stored, Place)> = HashMap::new();
    for tensor in &wanted {
        if halves.remove(&tensor.1.role).is_none() {
            halves.insert(tensor.1.role, tensor);
        }
    }
    if let Some((stored, place)) = wanted.iter().find(|(_, place)| halves.contains_key(&place.role)) {
        let [has, lacks] = if place.is_b { ["_B", "_A"] } else { ["_A", "_B"] };
        return Err(Error::MissingTensor { tensor: stored.name.replace(has, lacks) });
    }
    if wanted.is_empty() {
        return Err(refused("it changes nothing"));
    }
    let bytes: u64 = wanted.iter().filter_map(|(stored, _)| stored.bytes().ok().flatten()).sum();
    if bytes > MOST_BYTES {
        return Err(refused(format!("its {bytes} bytes are more than an adapter has")));
    }
    Ok(wanted)
}

/// What a tensor is for; none for the copies of the model's own embeddings that PEFT saves beside their factors.
fn place(config: &LoraConfig, model: &ModelConfig, stored: &Stored) -> Result<Option<Place>> {
    let name = &stored.name;
    let unknown = || refused(format!("{name} is not a factor of one of this model's matrices"));
    let inner = name.strip_prefix(PREFIX).ok_or_else(unknown)?;
    let ends = [
        (".lora_A.weight", Some(false)),
        (".lora_B.weight", Some(true)),
        (".lora_embedding_A", Some(false)),
        (".lora_embedding_B", Some(true)),
        (".base_layer.weight", None),
    ];
    let found = ends.iter().find_map(|(end, half)| inner.strip_suffix(end).map(|module| (*end, module, *half)));
    let (end, module, half) = found.ok_or_else(unknown)?;
    let role = Naming::HuggingFace.role(&format!("{module}.weight")).filter(|role| !role.is_norm());
    let role = role.ok_or_else(unknown)?;
    if let Role::Layer(layer, _) = role
        && layer >= model.layers
    {
        return Err(refused(format!("{name}: the model has only {} layers", model.layers)));
    }
    let Some(is_b) = half else {
        check_copy(model, stored, role)?;
        return Ok(None);
    };
    if (role == Role::Embedding) != end.starts_with(".lora_embedding") {
        return Err(unknown());
    }
    let size = config.size(module)?;
    check_shape(stored, factor_shape(model, role, size.rank, is_b))?;
    Ok(Some(Place { role, size, is_b }))
}

fn factor_shape(model: &ModelConfig, role: Role, rank: usize, is_b: bool) -> [usize; 2] {
    let [rows, columns] = role.shape(model);
    // A table is looked up with what other matrices give.
    let [rows, columns] = if role == Role::Embedding { [columns, rows] } else { [rows, columns] };
    if is_b { [rows, rank] } else { [rank, columns] }
}

fn check_shape(stored: &Stored, expected: [usize; 2]) -> Result<()> {
    if stored.shape == expected.map(|size| size as u64) {
        return Ok(());
    }
    let Stored { name, shape, .. } = stored;
    Err(refused(format!("{name} has shape {shape:?}, where model and rank ask for {expected:?}")))
}

/// A copy of the model's own embeddings is left out. With another shape the adapter was made for a changed vocabulary.
fn check_copy(model: &ModelConfig, stored: &Stored, role: Role) -> Result<()> {
    match role {
        Role::Embedding | Role::Head => check_shape(stored, role.shape(model)),
        _ => Err(refused(format!("{} would replace one of the model's own matrices", stored.name))),
    }
}

async fn read_factor<S: Source>(
    cursor: &mut Cursor,
    source: &mut S,
    stored: &Stored,
    place: Place,
    head_dim: usize,
) -> Result<Factor> {
    let format = match &stored.dtype {
        Dtype::Known(format) => *format,
        Dtype::Other(dtype) => {
            return Err(Error::TensorType { tensor: stored.name.clone(), dtype: dtype.clone() });
        }
    };
    let mut bytes = Vec::new();
    cursor.take(source, stored.bytes()?.unwrap_or(0), &mut bytes).await?;
    if !formats::all_finite(format, &bytes) {
        return Err(Error::NotFinite { tensor: stored.name.clone() });
    }
    if place.is_b && matches!(place.role, Role::Layer(_, LayerRole::Query | LayerRole::Key)) {
        let mut reordered = Vec::new();
        to_neighbour_pairs(&bytes, format.row_bytes(place.size.rank), head_dim, &mut reordered);
        bytes = reordered;
    }
    Ok(Factor { format, bytes })
}

/// Factors, one after the other, until both of a matrix are there.
#[derive(Default)]
struct Pairs {
    halves: HashMap<Role, Factor>,
    whole: Vec<LowRank>,
}

impl Pairs {
    fn put(&mut self, Place { role, size: Size { rank, scale }, is_b }: Place, factor: Factor) {
        match self.halves.remove(&role) {
            None => drop(self.halves.insert(role, factor)),
            Some(first) => {
                let (a, b) = if is_b { (first, factor) } else { (factor, first) };
                self.whole.push(LowRank { role, rank, scale, a, b });
            }
        }
    }
}
