//! LoRA adapters that tests make up: nothing is checked.

use std::collections::HashMap;

use pagellama::config::ModelConfig;
use pagellama::weights::source::Kind;
use serde_json::{Value, json};

use super::Random;
use super::files::MemorySource;

/// An adapter's folder.
#[derive(Debug, Clone)]
pub struct AdapterFiles {
    /// `adapter_config.json`.
    pub config: Value,
    pub tensors: Vec<AdapterTensor>,
}

/// A tensor of an adapter.
#[derive(Debug, Clone)]
pub struct AdapterTensor {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

pub const PROJECTIONS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

impl AdapterFiles {
    /// One that changes nothing yet.
    pub fn new(rank: usize, alpha: f64) -> Self {
        Self { config: json!({ "peft_type": "LORA", "r": rank, "lora_alpha": alpha }), tensors: Vec::new() }
    }

    /// A random pair of factors for a module such as `model.layers.0.mlp.up_proj`, `model.embed_tokens` or `lm_head`.
    pub fn add(&mut self, model: &ModelConfig, module: &str, rank: usize, random: &mut Random) {
        let (hidden, inner) = (model.hidden_size, model.intermediate_size);
        let (queries, kv) = (model.heads * model.head_dim, model.kv_heads * model.head_dim);
        let [rows, columns] = match module.rsplit('.').next().unwrap() {
            "q_proj" => [queries, hidden],
            "k_proj" | "v_proj" => [kv, hidden],
            "o_proj" => [hidden, queries],
            "gate_proj" | "up_proj" => [inner, hidden],
            "down_proj" => [hidden, inner],
            // Its table is looked up with what others give.
            "embed_tokens" => [hidden, model.vocab_size],
            _ => [model.vocab_size, hidden],
        };
        let [a, b] = if module.ends_with("embed_tokens") {
            ["lora_embedding_A", "lora_embedding_B"]
        } else {
            ["lora_A.weight", "lora_B.weight"]
        };
        for (half, shape) in [(a, [rank, columns]), (b, [rows, rank])] {
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| 0.2 * random.unit()).collect();
            let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let name = format!("base_model.model.{module}.{half}");
            self.tensors.push(AdapterTensor { name, dtype: "F32", shape: shape.to_vec(), data });
        }
    }

    /// A tensor, to be changed.
    pub fn tensor(&mut self, end: &str) -> &mut AdapterTensor {
        self.tensors.iter_mut().find(|tensor| tensor.name.ends_with(end)).unwrap_or_else(|| panic!("no {end}"))
    }

    /// All numbers in half precision.
    pub fn halved(mut self) -> Self {
        for tensor in &mut self.tensors {
            let values = tensor.data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            tensor.data = values.flat_map(|value| half::f16::from_f32(value).to_le_bytes()).collect();
            tensor.dtype = "F16";
        }
        self
    }

    pub fn source(&self) -> MemorySource {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for tensor in &self.tensors {
            let offsets = [data.len(), data.len() + tensor.data.len()];
            data.extend(&tensor.data);
            let entry = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets });
            header.insert(tensor.name.clone(), entry);
        }
        let header = Value::Object(header).to_string().into_bytes();
        let weights = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
        folder(self.config.to_string().into_bytes(), weights)
    }
}

/// An adapter's folder as a source, in chunks that end within a row.
pub fn folder(config: Vec<u8>, weights: Vec<u8>) -> MemorySource {
    let files =
        HashMap::from([("adapter_config.json".to_owned(), config), ("adapter_model.safetensors".to_owned(), weights)]);
    MemorySource::new(Kind::HuggingFace, files).chunked(5000, 9)
}
