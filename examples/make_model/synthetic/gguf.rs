//! GGUF version 3: header, key/value part, tensor list, then the tensors, each at a multiple of 32 bytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::Value;

use super::tensors::{self, Encoding, Tensor};
use super::tokenizer::Vocabulary;
use super::{RMS_NORM_EPS, ROPE_THETA, Result, Shape};

const ALIGNMENT: u64 = 32;

/// Writes the model as one file with matrices in `encoding`.
pub fn write(shape: &Shape, tokenizer: &Path, encoding: Encoding, out: &Path) -> Result<()> {
    let vocabulary = Vocabulary::read(tokenizer)?;
    let tensors = tensors::all(shape, vocabulary.pieces.len());
    let pairs = key_values(shape, &vocabulary, tokenizer)?;
    let mut header = Bytes(b"GGUF".to_vec());
    header.u32(3).u64(tensors.len() as u64).u64(pairs.count).raw(&pairs.bytes.0);
    list_tensors(&tensors, encoding, &mut header);
    header.0.resize(header.0.len().next_multiple_of(ALIGNMENT as usize), 0);

    let mut file = BufWriter::with_capacity(1 << 20, File::create(out)?);
    file.write_all(&header.0)?;
    let mut row_bytes = Vec::new();
    for tensor in &tensors {
        let stored = stored(tensor, encoding);
        for row in 0..tensor.rows {
            row_bytes.clear();
            tensor.write_row(hugging_face_row(tensor, row), stored, &mut row_bytes)?;
            file.write_all(&row_bytes)?;
        }
        file.write_all(&[0; ALIGNMENT as usize][..(aligned(tensor, stored) - size(tensor, stored)) as usize])?;
    }
    file.flush()?;
    Ok(())
}

fn stored(tensor: &Tensor, encoding: Encoding) -> Encoding {
    if tensor.is_norm() { Encoding::F32 } else { encoding }
}

fn size(tensor: &Tensor, stored: Encoding) -> u64 {
    tensor.rows as u64 * stored.row_bytes(tensor.columns) as u64
}

fn aligned(tensor: &Tensor, stored: Encoding) -> u64 {
    size(tensor, stored).next_multiple_of(ALIGNMENT)
}

/// GGUF has rows 2i and 2i+1 of a head turn together, Hugging Face rows i and i + head_dim/2.
fn hugging_face_row(tensor: &Tensor, row: usize) -> usize {
    let Some(head_dim) = tensor.rows.checked_div(tensor.rotary_heads) else { return row };
    let (head, within) = (row / head_dim, row % head_dim);
    head * head_dim + within / 2 + within % 2 * (head_dim / 2)
}

fn list_tensors(tensors: &[Tensor], encoding: Encoding, header: &mut Bytes) {
    let mut offset = 0;
    for tensor in tensors {
        let stored = stored(tensor, encoding);
        let kind = match stored {
            Encoding::F32 => 0,
            Encoding::F16 => 1,
            Encoding::Q8_0 => 8,
            Encoding::Q4_0 => 2,
        };
        header.string(&tensor.gguf);
        // Fastest dimension first.
        if tensor.is_norm() {
            header.u32(1).u64(tensor.columns as u64);
        } else {
            header.u32(2).u64(tensor.columns as u64).u64(tensor.rows as u64);
        }
        header.u32(kind).u64(offset);
        offset += aligned(tensor, stored);
    }
}

fn key_values(shape: &Shape, vocabulary: &Vocabulary, tokenizer: &Path) -> Result<Pairs> {
    let config: Value = serde_json::from_slice(&std::fs::read(tokenizer.join("tokenizer_config.json"))?)?;
    let mut pairs = Pairs::default();
    pairs.string("general.architecture", "llama");
    pairs.string("general.name", shape.name);
    pairs.u32("llama.context_length", shape.max_positions);
    pairs.u32("llama.embedding_length", shape.hidden);
    pairs.u32("llama.block_count", shape.layers);
    pairs.u32("llama.feed_forward_length", shape.intermediate);
    pairs.u32("llama.attention.head_count", shape.heads);
    pairs.u32("llama.attention.head_count_kv", shape.kv_heads);
    pairs.u32("llama.rope.dimension_count", shape.hidden / shape.heads);
    pairs.u32("llama.vocab_size", vocabulary.pieces.len());
    pairs.key("llama.rope.freq_base", 6).raw(&(ROPE_THETA as f32).to_le_bytes());
    pairs.key("llama.attention.layer_norm_rms_epsilon", 6).raw(&(RMS_NORM_EPS as f32).to_le_bytes());
    pairs.string("tokenizer.ggml.model", "llama");
    let pieces = pairs.array("tokenizer.ggml.tokens", 8, vocabulary.pieces.len());
    vocabulary.pieces.iter().for_each(|piece| pieces.string(piece));
    let scores = pairs.array("tokenizer.ggml.scores", 6, vocabulary.scores.len());
    scores.raw(bytemuck::cast_slice(&vocabulary.scores));
    let kinds = pairs.array("tokenizer.ggml.token_type", 5, vocabulary.kinds.len());
    kinds.raw(bytemuck::cast_slice(&vocabulary.kinds));
    pairs.u32("tokenizer.ggml.unknown_token_id", 0);
    pairs.u32("tokenizer.ggml.bos_token_id", 1);
    pairs.u32("tokenizer.ggml.eos_token_id", 2);
    pairs.key("tokenizer.ggml.add_bos_token", 7).raw(&[1]);
    if let Some(template) = config["chat_template"].as_str() {
        pairs.string("tokenizer.chat_template", template);
    }
    Ok(pairs)
}

/// The key/value part as it grows.
#[derive(Default)]
struct Pairs {
    count: u64,
    bytes: Bytes,
}

impl Pairs {
    fn key(&mut self, key: &str, kind: u32) -> &mut Bytes {
        self.count += 1;
        self.bytes.string(key);
        self.bytes.u32(kind)
    }

    fn string(&mut self, key: &str, value: &str) {
        self.key(key, 8).string(value);
    }

    fn u32(&mut self, key: &str, value: usize) {
        self.key(key, 4).u32(value as u32);
    }

    fn array(&mut self, key: &str, kind: u32, length: usize) -> &mut Bytes {
        self.key(key, 9).u32(kind).u64(length as u64)
    }
}

/// Little-endian numbers and strings with their length in front.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u64(&mut self, number: u64) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn string(&mut self, text: &str) {
        self.u64(text.len() as u64).raw(text.as_bytes());
    }
}
