//! A folder as on the Hugging Face hub: configuration, tokenizer, safetensors in shards and their index.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::tensors::{self, Encoding, Tensor};
use super::tokenizer::Vocabulary;
use super::{RMS_NORM_EPS, ROPE_THETA, Result, Shape};

/// With 9 tensors a layer, four shards never end where a layer does.
const SHARDS: usize = 4;

/// Writes the model as a folder with f16 weights.
pub fn write(shape: &Shape, tokenizer: &Path, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out)?;
    let vocab = Vocabulary::read(tokenizer)?.pieces.len();
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        std::fs::write(out.join(name), std::fs::read(tokenizer.join(name))?)?;
    }
    write_json(&out.join("config.json"), &config(shape, vocab))?;
    write_json(&out.join("generation_config.json"), &generation_config(shape))?;

    let tensors = tensors::all(shape, vocab);
    let mut weight_map = Map::new();
    for (index, shard) in tensors.chunks(tensors.len().div_ceil(SHARDS)).enumerate() {
        let name = format!("model-{:05}-of-{SHARDS:05}.safetensors", index + 1);
        weight_map.extend(shard.iter().map(|tensor| (tensor.hugging_face.clone(), json!(name))));
        write_shard(shard, &out.join(name))?;
    }
    let total: usize = tensors.iter().map(size).sum();
    write_json(
        &out.join("model.safetensors.index.json"),
        &json!({ "metadata": { "total_size": total }, "weight_map": weight_map }),
    )
}

fn size(tensor: &Tensor) -> usize {
    tensor.rows * Encoding::F16.row_bytes(tensor.columns)
}

/// Eight bytes of header length, the header in JSON, then the tensors without a gap.
fn write_shard(tensors: &[Tensor], path: &Path) -> Result<()> {
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut offset = 0;
    for tensor in tensors {
        let shape = if tensor.is_norm() { json!([tensor.columns]) } else { json!([tensor.rows, tensor.columns]) };
        let end = offset + size(tensor);
        header.insert(
            tensor.hugging_face.clone(),
            json!({ "dtype": "F16", "shape": shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let mut row_bytes = Vec::new();
    for tensor in tensors {
        for row in 0..tensor.rows {
            row_bytes.clear();
            tensor.write_row(row, Encoding::F16, &mut row_bytes)?;
            file.write_all(&row_bytes)?;
        }
    }
    file.flush()?;
    Ok(())
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(std::fs::write(path, text)?)
}

/// The fields of Llama-2-7b-chat's own file.
fn config(shape: &Shape, vocab: usize) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.max_positions,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "pretraining_tp": 1,
        "rms_norm_eps": RMS_NORM_EPS,
        "rope_scaling": null,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": false,
        "torch_dtype": "float16",
        "transformers_version": "4.32.0",
        "use_cache": true,
        "vocab_size": vocab,
    })
}

/// The fields of Llama-2-7b-chat's own file: it asks for sampling.
fn generation_config(shape: &Shape) -> Value {
    json!({
        "bos_token_id": 1,
        "do_sample": true,
        "eos_token_id": 2,
        "max_length": shape.max_positions,
        "pad_token_id": 0,
        "temperature": 0.6,
        "top_p": 0.9,
        "transformers_version": "4.32.0",
    })
}
