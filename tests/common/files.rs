//! Checkpoints that tests make up: a GGUF writer, and a source that streams from memory in pieces of any size.

use std::collections::HashMap;
use std::path::Path;

use pagellama::error::{Error, Result};
use pagellama::weights::source::{Kind, Source};

use super::Random;

/// Files in memory as a source.
#[derive(Debug, Clone)]
pub struct MemorySource {
    pub kind: Kind,
    pub files: HashMap<String, Vec<u8>>,
    /// Largest chunk; each chunk has a random size up to this.
    pub largest_chunk: usize,
    /// Bytes that the stream of a file gives before it ends early, whatever length it announced.
    pub ends_after: usize,
    random: Random,
    current: (String, usize),
}

impl MemorySource {
    /// Files by name.
    pub fn new(kind: Kind, files: HashMap<String, Vec<u8>>) -> Self {
        let (random, current) = (Random::new(1), Default::default());
        Self { kind, files, largest_chunk: 4 << 20, ends_after: usize::MAX, random, current }
    }

    /// One GGUF file.
    pub fn gguf(bytes: Vec<u8>) -> Self {
        let name = "model.gguf".to_owned();
        Self::new(Kind::Gguf(name.clone()), HashMap::from([(name, bytes)]))
    }

    /// A Hugging Face folder as it is on disk.
    pub fn folder(path: &Path) -> Self {
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        };
        Self::new(Kind::HuggingFace, std::fs::read_dir(path).unwrap().map(read).collect())
    }

    /// The same files in chunks of random sizes up to `largest`.
    pub fn chunked(mut self, largest: usize, seed: u64) -> Self {
        self.largest_chunk = largest;
        self.random = Random::new(seed);
        self
    }

    /// The bytes of a file, to be changed.
    pub fn file(&mut self, name: &str) -> &mut Vec<u8> {
        self.files.get_mut(name).unwrap_or_else(|| panic!("no {name}"))
    }
}

impl Source for MemorySource {
    fn kind(&self) -> Kind {
        self.kind.clone()
    }

    async fn small_file(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.files.get(name).cloned())
    }

    async fn open(&mut self, name: &str) -> Result<u64> {
        let file = self.files.get(name).ok_or_else(|| Error::MissingFile { name: name.to_owned() })?;
        self.current = (name.to_owned(), 0);
        Ok(file.len() as u64)
    }

    async fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool> {
        chunk.clear();
        let (name, at) = &mut self.current;
        let file = &self.files[name.as_str()];
        let end = file.len().min(self.ends_after).min(*at + 1 + self.random.below(self.largest_chunk));
        chunk.extend_from_slice(file.get(*at..end).unwrap_or_default());
        *at += chunk.len();
        Ok(!chunk.is_empty())
    }
}

/// Writes GGUF files, broken ones included: nothing is checked.
#[derive(Debug, Clone)]
pub struct GgufFile {
    pub version: u32,
    /// Key, type number, value's bytes.
    pub pairs: Vec<(String, u32, Vec<u8>)>,
    pub tensors: Vec<GgufTensor>,
    pub alignment: usize,
}

/// A tensor of a `GgufFile`.
#[derive(Debug, Clone)]
pub struct GgufTensor {
    pub name: String,
    /// Innermost dimension first, as in the file.
    pub dimensions: Vec<u64>,
    pub dtype: u32,
    pub data: Vec<u8>,
}

/// A string as GGUF stores it.
pub fn gguf_string(text: impl AsRef<[u8]>) -> Vec<u8> {
    [&(text.as_ref().len() as u64).to_le_bytes(), text.as_ref()].concat()
}

impl GgufFile {
    /// A valid Llama with one layer and untied F32 weights: vocab 40, hidden 32, intermediate 64, 2 heads of 16 on one
    /// key/value head.
    pub fn llama() -> Self {
        let mut file = Self { version: 3, pairs: Vec::new(), tensors: Vec::new(), alignment: 32 };
        file.set_string("general.architecture", "llama");
        for (key, value) in [
            ("vocab_size", 40),
            ("embedding_length", 32),
            ("feed_forward_length", 64),
            ("block_count", 1),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
            ("context_length", 128),
        ] {
            file.set_u32(&format!("llama.{key}"), value);
        }
        file.set_f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
        let mut random = Random::new(7);
        for (name, columns, rows) in [
            ("token_embd", 32, 40),
            ("blk.0.attn_norm", 32, 0),
            ("blk.0.attn_q", 32, 32),
            ("blk.0.attn_k", 32, 16),
            ("blk.0.attn_v", 32, 16),
            ("blk.0.attn_output", 32, 32),
            ("blk.0.ffn_norm", 32, 0),
            ("blk.0.ffn_gate", 32, 64),
            ("blk.0.ffn_up", 32, 64),
            ("blk.0.ffn_down", 64, 32),
            ("output_norm", 32, 0),
            ("output", 32, 40),
        ] {
            let dimensions = if rows == 0 { vec![columns] } else { vec![columns, rows] };
            let data = random.spiky((columns * rows.max(1)) as usize);
            file.add(&format!("{name}.weight"), dimensions, &data);
        }
        file
    }

    /// Sets a key, replacing what was there.
    pub fn set(&mut self, key: &str, kind: u32, value: Vec<u8>) {
        self.pairs.retain(|(other, ..)| other != key);
        self.pairs.push((key.to_owned(), kind, value));
    }

    pub fn set_u32(&mut self, key: &str, value: u32) {
        self.set(key, 4, value.to_le_bytes().to_vec());
    }

    pub fn set_f32(&mut self, key: &str, value: f32) {
        self.set(key, 6, value.to_le_bytes().to_vec());
    }

    pub fn set_string(&mut self, key: &str, value: &str) {
        self.set(key, 8, gguf_string(value));
    }

    /// Removes a key.
    pub fn unset(&mut self, key: &str) {
        self.pairs.retain(|(other, ..)| other != key);
    }

    /// Adds an F32 tensor.
    pub fn add(&mut self, name: &str, dimensions: Vec<u64>, values: &[f32]) {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push(GgufTensor { name: name.to_owned(), dimensions, dtype: 0, data });
    }

    /// A tensor, to be changed.
    pub fn tensor(&mut self, name: &str) -> &mut GgufTensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Removes a tensor.
    pub fn remove(&mut self, name: &str) {
        self.tensors.retain(|tensor| tensor.name != name);
    }

    /// The file; tensors lie in the order of the table.
    pub fn bytes(&self) -> Vec<u8> {
        let mut offset = 0;
        let place = |tensor: &GgufTensor| {
            let start = offset;
            offset = (offset + tensor.data.len()).next_multiple_of(self.alignment);
            start as u64
        };
        let offsets: Vec<u64> = self.tensors.iter().map(place).collect();
        self.bytes_at(&offsets)
    }

    /// The file with the given offsets in its table (data is laid out in order whatever they say).
    pub fn bytes_at(&self, offsets: &[u64]) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.pairs {
            out.extend(gguf_string(key));
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        for (tensor, offset) in self.tensors.iter().zip(offsets) {
            out.extend(gguf_string(&tensor.name));
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            out.extend(tensor.dimensions.iter().flat_map(|size| size.to_le_bytes()));
            out.extend(tensor.dtype.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend(&tensor.data);
        }
        out
    }
}
