//! A checkpoint in fewer bits than it was published in: the layout of the copy, and how its bytes come from the source's.
//!
//! The copy of a safetensors file is one again, with the same tensors in the same order, some of them in a format of ggml's
//! under its name there. Any run of its bytes can be made from a run of the source's and the source's header alone, so that it
//! is downloaded, kept, resumed and repaired in chunks as the source would be.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Role;
use super::hugging_face::{self, MAX_HEADER};
use super::manifest::{Dtype, Naming, Stored};
use crate::error::{Error, Result};
use crate::formats::{self, Format};

/// Which formats matrices are turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// All of them Q8_0: 8.5 bits a weight.
    Q8_0,
    /// The layers' Q4_0, 4.5 bits a weight; the embedding and the head, which suffer more, Q8_0.
    Q4_0,
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Recipe::Q8_0 => "q8_0",
            Recipe::Q4_0 => "q4_0",
        })
    }
}

impl Recipe {
    /// The recipe of a name.
    pub fn named(name: &str) -> Option<Self> {
        [Recipe::Q8_0, Recipe::Q4_0].into_iter().find(|recipe| recipe.to_string() == name)
    }

    /// Whether it changes a file of a checkpoint.
    pub fn changes(self, file: &str) -> bool {
        file.ends_with(".safetensors")
    }

    /// What a tensor is turned into; none where it stays as it is, as norms and what the model does not use.
    fn target(self, tensor: &Stored, from: Format) -> Option<Format> {
        let role = Naming::HuggingFace.role(&tensor.name).filter(|role| !role.is_norm())?;
        let [_, columns] = *tensor.shape.as_slice() else { return None };
        let target = match (self, role) {
            (Recipe::Q4_0, Role::Layer(..)) => Format::Q4_0,
            _ => Format::Q8_0,
        };
        (from.block_len() == 1 && columns.is_multiple_of(target.block_len() as u64)).then_some(target)
    }
}

/// A multiple of both formats' bytes in a block: chunks that are a multiple of it long cut no block.
const ALIGNMENT: u64 = 612;
/// Length of the copy's chunks: made from at most 9 MB of the source.
pub const CHUNK_BYTES: u32 = 2048 * ALIGNMENT as u32;

/// The layout of a file's copy.
#[derive(Debug)]
pub struct Plan {
    header: Vec<u8>,
    parts: Vec<Part>,
    length: u64,
    source_length: u64,
}

/// A tensor in both files.
#[derive(Debug)]
struct Part {
    /// Its bytes in the copy.
    copy: Range<u64>,
    /// Its first byte in the source.
    source: u64,
    from: Format,
    /// Its format in the copy.
    to: Format,
}

/// No file is as long: JavaScript counts no further.
const LARGEST: u64 = 1 << 53;
/// Bytes in front of a safetensors header: its length.
const LENGTH_BYTES: u64 = 8;

/// How many bytes of a file its header takes, by the file's first eight.
pub fn header_end(start: &[u8]) -> Result<u64> {
    let length = start.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    match length {
        Some(length) if length <= MAX_HEADER => Ok(LENGTH_BYTES + length),
        _ => Err(broken("it does not begin with the length of a header")),
    }
}

fn broken(detail: &str) -> Error {
    Error::BadHeader { detail: format!("safetensors: {detail}") }
}

impl Plan {
    /// Plans the copy of the file that begins with `head`, which holds its header.
    ///
    /// Errors: `BadHeader`, and `TensorType` for numbers that cannot be read.
    pub fn new(recipe: Recipe, head: &[u8]) -> Result<Self> {
        let data = header_end(head)?;
        let json = head.get(LENGTH_BYTES as usize..data as usize).ok_or_else(|| broken("its header is cut off"))?;
        let mut tensors = hugging_face::parse_header(json, data)?;
        tensors.sort_by_key(|tensor| tensor.start);
        let mut parts = Vec::new();
        let (mut source, mut at) = (data, 0);
        for tensor in &tensors {
            // Copies of our own are aligned.
            if tensor.start.checked_sub(source).is_none_or(|gap| gap >= ALIGNMENT) {
                return Err(broken(&format!("{} does not follow what comes before it", tensor.name)));
            }
            let (part, bytes) = Part::new(recipe, tensor, at)?;
            at = part.copy.end.next_multiple_of(ALIGNMENT);
            source = tensor.start.checked_add(bytes).ok_or_else(|| broken("it is too large"))?;
            parts.push(part);
        }
        let header = header(recipe, &tensors, &parts)?;
        let front = header.len() as u64;
        for part in &mut parts {
            part.copy = part.copy.start + front..part.copy.end + front;
        }
        let length = parts.last().map_or(front, |part| part.copy.end);
        Ok(Self { header, parts, length, source_length: source })
    }

    /// Length of the source in bytes, as its header says.
    pub fn source_length(&self) -> u64 {
        self.source_length
    }

    /// Length of the copy in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Which bytes of the source those of the copy from `start` on are made from.
    pub fn source_of(&self, start: u64, length: u32) -> Range<u64> {
        let wanted = start..start.saturating_add(u64::from(length));
        let mut ranges = self.parts.iter().filter_map(|part| part.source_of(&wanted));
        let Some(first) = ranges.next() else { return 0..0 };
        first.start..ranges.next_back().map_or(first.end, |last| last.end)
    }

    /// The copy's bytes from `start` on, from those of the source that `source_of` names.
    pub fn make(&self, start: u64, length: u32, source: &[u8]) -> Result<Vec<u8>> {
        let end = start.saturating_add(u64::from(length)).min(self.length);
        let wanted = start..end;
        let first = self.source_of(start, length).start;
        let mut bytes = Vec::with_capacity(end.saturating_sub(start) as usize);
        if let Some(header) = usize::try_from(start).ok().and_then(|start| self.header.get(start..)) {
            bytes.extend_from_slice(header.get(..length as usize).unwrap_or(header));
        }
        for part in &self.parts {
            let Some(range) = part.source_of(&wanted) else { continue };
            let rows = source.get((range.start - first) as usize..(range.end - first) as usize);
            let rows = rows.ok_or_else(|| broken("it is shorter than its header says"))?;
            // Tensors are aligned: between them there is nothing.
            let from = part.copy.start.max(start);
            bytes.resize((from - start) as usize, 0);
            let made = part.convert(rows)?;
            let skip = (from - part.copy.start) % part.to.block_bytes() as u64;
            let most = (part.copy.end.min(end) - from) as usize;
            bytes.extend(made.iter().skip(skip as usize).take(most));
        }
        bytes.resize(end.saturating_sub(start) as usize, 0);
        Ok(bytes)
    }
}

impl Part {
    /// A tensor that is to start at `at` behind the copy's header, and its length in the source.
    fn new(recipe: Recipe, tensor: &Stored, at: u64) -> Result<(Self, u64)> {
        let (Dtype::Known(from), Some(bytes)) = (&tensor.dtype, tensor.bytes()?) else {
            let dtype = tensor.dtype.name().to_owned();
            return Err(Error::TensorType { tensor: tensor.name.clone(), dtype });
        };
        let to = recipe.target(tensor, *from).unwrap_or(*from);
        let weights = bytes / from.block_bytes() as u64 * from.block_len() as u64;
        let length = weights / to.block_len() as u64 * to.block_bytes() as u64;
        let end = at.checked_add(length).filter(|end| *end < LARGEST).ok_or_else(|| broken("it is too large"))?;
        Ok((Self { copy: at..end, source: tensor.start, from: *from, to }, bytes))
    }

    /// The source's bytes of whole blocks for what of the copy's bytes is this tensor's.
    fn source_of(&self, wanted: &Range<u64>) -> Option<Range<u64>> {
        let (from, to) = (self.copy.start.max(wanted.start), self.copy.end.min(wanted.end));
        if from >= to {
            return None;
        }
        let block = self.to.block_bytes() as u64;
        let (first, end) = ((from - self.copy.start) / block, (to - self.copy.start).div_ceil(block));
        // Either the same blocks, or of plain numbers, whose blocks are one weight each.
        let block_in_source = (self.to.block_len() / self.from.block_len() * self.from.block_bytes()) as u64;
        Some(self.source + first * block_in_source..self.source + end * block_in_source)
    }

    fn convert(&self, rows: &[u8]) -> Result<Vec<u8>> {
        if self.from == self.to {
            return Ok(rows.to_vec());
        }
        let mut weights = vec![0.0; rows.len() / self.from.block_bytes()];
        formats::dequantise(self.from, rows, &mut weights)?;
        let mut made = Vec::with_capacity(weights.len() / self.to.block_len() * self.to.block_bytes());
        formats::quantise(self.to, &weights, &mut made)?;
        Ok(made)
    }
}

/// The copy's header with its length in front, filled up with spaces to the alignment.
fn header(recipe: Recipe, tensors: &[Stored], parts: &[Part]) -> Result<Vec<u8>> {
    let entry = |(tensor, part): (&Stored, &Part)| {
        let offsets = [part.copy.start, part.copy.end];
        let entry = serde_json::json!({ "dtype": part.to.name(), "shape": tensor.shape, "data_offsets": offsets });
        (tensor.name.clone(), entry)
    };
    let mut entries: serde_json::Map<_, _> = tensors.iter().zip(parts).map(entry).collect();
    entries.insert("__metadata__".to_owned(), serde_json::json!({ "quantised": recipe }));
    let mut json = serde_json::to_vec(&entries).map_err(|error| broken(&error.to_string()))?;
    let whole = (LENGTH_BYTES + json.len() as u64).next_multiple_of(ALIGNMENT);
    json.resize((whole - LENGTH_BYTES) as usize, b' ');
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}
