//! Adapters that are broken, made for another model, or ask for what is not supported: each ends in the right typed error.

use crate::common::Random;
use crate::common::adapters::AdapterFiles;
use crate::common::files::{GgufFile, MemorySource};
use pagellama::Result;
use pagellama::config::ModelConfig;
use pagellama::weights::loader;
use pagellama::weights::lora::Adapter;
use pagellama::weights::source::Kind;
use pollster::block_on;
use serde_json::{Value, json};

fn model() -> ModelConfig {
    let opened = block_on(loader::open(&mut MemorySource::gguf(GgufFile::llama().bytes()))).unwrap();
    opened.checkpoint().config.clone()
}

/// A small adapter of rank 2 for three matrices.
fn files() -> AdapterFiles {
    let mut files = AdapterFiles::new(2, 4.0);
    for module in ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj", "model.embed_tokens"] {
        files.add(&model(), module, 2, &mut Random::new(1));
    }
    files
}

fn read(mut source: MemorySource) -> Result<Adapter> {
    block_on(Adapter::read(&mut source, &model()))
}

#[track_caller]
fn expect(read: Result<Adapter>, code: &str, words: &str) {
    let error = read.expect_err("a refusal");
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(words), "{words:?} is not in: {error}");
    assert!(!error.advice().is_empty());
}

/// The error after a change.
#[track_caller]
fn changed(change: impl FnOnce(&mut AdapterFiles), code: &str, words: &str) {
    let mut files = files();
    change(&mut files);
    expect(read(files.source()), code, words);
}

#[test]
fn the_unchanged_adapter_is_read() {
    let adapter = read(files().source()).unwrap();
    assert_eq!(adapter.parts.len(), 3);
    assert!(adapter.parts.iter().all(|part| (part.rank, part.scale) == (2, 2.0)));
}

#[test]
fn a_setting_that_is_not_supported_is_named() {
    for (name, value) in [
        ("use_dora", json!(true)),
        ("use_qalora", json!(true)),
        ("use_something_new", json!(true)),
        ("lora_bias", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("layer_replication", json!([[0, 1]])),
        ("target_parameters", json!(["mlp.experts"])),
        ("trainable_token_indices", json!([1])),
        ("alora_invocation_tokens", json!([1, 2])),
    ] {
        changed(|files| files.config[name] = value, "weights/adapter", name);
    }
    let refused = |name: &str, value: Value, words: &str| {
        changed(|files| files.config[name] = value, "weights/adapter", words);
    };
    refused("peft_type", json!("IA3"), "\"IA3\"");
    refused("peft_type", Value::Null, "unknown");
    refused("bias", json!("all"), "biases");
    refused("init_lora_weights", json!("pissa_niter_16"), "pissa_niter_16");
    refused("rank_pattern", json!({ "layers\\.[01]": 4 }), "layers");
    refused("alpha_pattern", json!({ "q_proj|k_proj": 4 }), "q_proj|k_proj");
    // What PEFT writes of what is off.
    let mut files = files();
    for name in ["modules_to_save", "layer_replication", "target_parameters", "rank_pattern", "alpha_pattern"] {
        files.config[name] = Value::Null;
    }
    files.config["init_lora_weights"] = json!("gaussian");
    files.config["loftq_config"] = json!({});
    files.config["bias"] = json!("none");
    files.config["use_dora"] = json!(false);
    read(files.source()).unwrap();
}

#[test]
fn ranks_and_scales() {
    let refused = |name: &str, value: Value, words: &str| {
        changed(|files| files.config[name] = value, "weights/adapter", words);
    };
    refused("r", json!(0), "rank 0");
    refused("r", json!(1u64 << 40), "rank 1099511627776");
    refused("r", json!(-1), "invalid value");
    refused("r", json!("2"), "invalid type");
    refused("lora_alpha", json!(1e300), "lora_alpha");
    refused("lora_alpha", Value::Null, "adapter_config.json");
    // The factors have rank 2.
    refused("r", json!(3), "has shape [2, 32]");
    refused("rank_pattern", json!({ "mlp.down_proj": 1 }), "down_proj.lora_A.weight has shape");
    // The first pattern that fits counts, and only where a part of the name begins.
    let mut files = files();
    files.config["alpha_pattern"] = json!({ "own_proj": 1, "^layers.0.self_attn.q_proj": 1, "down_proj": 8 });
    let scales: Vec<f32> = read(files.source()).unwrap().parts.iter().map(|part| part.scale).collect();
    assert_eq!(scales.iter().filter(|scale| **scale == 4.0).count(), 1, "{scales:?}");
    assert_eq!(scales.iter().filter(|scale| **scale == 2.0).count(), 2, "{scales:?}");
    files.config = json!({ "peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": true });
    let scales: Vec<f32> = read(files.source()).unwrap().parts.iter().map(|part| part.scale).collect();
    assert_eq!(scales, [8f32.sqrt(); 3]);
}

#[test]
fn tensors_that_are_not_this_models() {
    let renamed = |from: &str, to: &str, words: &str| {
        let rename = |files: &mut AdapterFiles| {
            for tensor in &mut files.tensors {
                tensor.name = tensor.name.replace(from, to);
            }
        };
        changed(rename, "weights/adapter", words);
    };
    renamed("layers.0", "layers.1", "only 1 layers");
    renamed("layers.0", "layers.00", "layers.00.self_attn");
    renamed("layers.0", "layers.18446744073709551616", "not a factor");
    renamed("self_attn.q_proj", "self_attn.qkv_proj", "qkv_proj");
    renamed("self_attn.q_proj", "input_layernorm", "input_layernorm");
    renamed("base_model.model.", "", "model.layers.0");
    renamed("q_proj.lora_B", "q_proj.lora_magnitude_vector", "lora_magnitude_vector");
    renamed("lora_embedding_A", "lora_A.weight", "embed_tokens.lora_A");
    renamed("q_proj.lora_A", "q_proj.base_layer", "would replace");
    changed(|files| files.tensors.clear(), "weights/adapter", "changes nothing");
    changed(|files| files.tensor("q_proj.lora_B.weight").shape = vec![2, 32], "weights/adapter", "[2, 32]");
    changed(|files| files.tensor("q_proj.lora_B.weight").shape = vec![64], "weights/adapter", "[64]");
    changed(|files| drop(files.tensors.remove(0)), "weights/missing-tensor", "q_proj.lora_A.weight");
    changed(|files| drop(files.tensors.remove(3)), "weights/missing-tensor", "down_proj.lora_B.weight");
}

#[test]
fn a_copy_of_the_embeddings_is_left_out_unless_the_vocabulary_changed() {
    let mut files = files();
    let mut copy = files.tensor("embed_tokens.lora_embedding_B").clone();
    copy.name = "base_model.model.model.embed_tokens.base_layer.weight".to_owned();
    copy.shape = vec![40, 32];
    copy.data = vec![0; 4 * 40 * 32];
    files.tensors.insert(0, copy.clone());
    assert_eq!(read(files.source()).unwrap().parts.len(), 3);
    files.tensors[0].shape = vec![41, 32];
    files.tensors[0].data = vec![0; 4 * 41 * 32];
    expect(read(files.source()), "weights/adapter", "[41, 32]");
    files.tensors[0] = copy;
    files.tensors[0].name = "base_model.model.model.embed_tokens.weight".to_owned();
    expect(read(files.source()), "weights/adapter", "embed_tokens.weight");
}

#[test]
fn numbers_that_are_none() {
    for bad in [f32::NAN, f32::INFINITY] {
        let put = |files: &mut AdapterFiles| {
            files.tensor("down_proj.lora_B.weight").data[..4].copy_from_slice(&bad.to_le_bytes())
        };
        changed(put, "weights/not-finite", "down_proj.lora_B.weight");
    }
    let quantised = |files: &mut AdapterFiles| {
        let tensor = files.tensor("q_proj.lora_A.weight");
        (tensor.dtype, tensor.data) = ("I8", vec![0; 64]);
    };
    changed(quantised, "weights/tensor-type", "I8");
}

#[test]
fn files_that_are_missing_or_broken() {
    let without = |name: &str| {
        let mut source = files().source();
        source.files.remove(name);
        read(source)
    };
    expect(without("adapter_config.json"), "weights/missing-file", "adapter_config.json");
    expect(without("adapter_model.safetensors"), "weights/missing-file", "adapter_model.safetensors");
    expect(read(MemorySource::gguf(Vec::new())), "weights/adapter", "model.gguf");
    let mut source = files().source();
    source.kind = Kind::HuggingFace;
    *source.file("adapter_config.json") = b"{".to_vec();
    expect(read(source), "weights/adapter", "adapter_config.json");
    let mut source = files().source();
    source.file("adapter_model.safetensors")[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    expect(read(source), "weights/bad-header", "header");
    // A shape that its offsets agree with and no file has: nothing is allocated for it.
    let mut source = files().source();
    let text = br#"{"base_model.model.lm_head.lora_A.weight":{"dtype":"F32","shape":[2,32],"data_offsets":[0,256]}}"#;
    *source.file("adapter_model.safetensors") = [&(text.len() as u64).to_le_bytes()[..], text].concat();
    expect(read(source), "net/truncated", "adapter_model.safetensors");
}

#[test]
fn an_adapter_that_is_cut_off_or_changed_anywhere_never_panics() {
    let whole = files().source();
    let length = whole.files["adapter_model.safetensors"].len();
    for end in (0..length).step_by(7) {
        let mut source = whole.clone();
        source.file("adapter_model.safetensors").truncate(end);
        read(source).unwrap_err();
        let mut source = whole.clone();
        source.ends_after = end;
        read(source).unwrap_err();
    }
    let mut random = Random::new(2);
    for _ in 0..2000 {
        let mut source = whole.clone();
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            let file = source.file(name);
            let at = random.below(file.len());
            file[at] = random.bits() as u8;
        }
        // Either is right, as long as it is typed.
        if let Err(error) = read(source) {
            assert!(error.code().contains('/'), "{error}");
        }
    }
}
