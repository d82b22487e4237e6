//! Files that are broken, cut off, or not what they claim: each ends in the right typed error, never in a panic or in
//! an allocation that the file's size does not justify.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::files::{GgufFile, MemorySource, gguf_string};
use common::{Random, data};
use pagellama::config::{ModelConfig, RopeScaling};
use pagellama::formats::Format;
use pagellama::reference::Weights;
use pagellama::weights::loader;
use pagellama::weights::source::Kind;
use pagellama::{Error, Result};
use serde_json::{Value, json};

fn load(source: &mut MemorySource) -> Result<ModelConfig> {
    let sink = &mut Weights::default();
    pollster::block_on(async { loader::open(source).await?.load(source, sink, &mut |_, _| true).await })
}

/// The error of a GGUF file.
#[track_caller]
fn refused(bytes: Vec<u8>) -> Error {
    load(&mut MemorySource::gguf(bytes)).expect_err("a refusal")
}

/// Checks the error's code, and that its message has `words`.
#[track_caller]
fn expect(error: &Error, code: &str, words: &str) {
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(words), "{words:?} is not in: {error}");
}

/// The error of a valid small GGUF after a change.
#[track_caller]
fn expect_gguf(change: impl FnOnce(&mut GgufFile), code: &str, words: &str) {
    let mut file = GgufFile::llama();
    change(&mut file);
    expect(&refused(file.bytes()), code, words);
}

#[test]
fn the_unchanged_file_loads() {
    load(&mut MemorySource::gguf(GgufFile::llama().bytes())).unwrap();
}

#[test]
fn not_a_gguf_file() {
    expect(&refused(Vec::new()), "weights/not-a-model", "model.gguf");
    expect(&refused(b"<!DOCTYPE html><html><head></head></html>".to_vec()), "weights/not-a-model", "model.gguf");
    expect_gguf(|file| file.version = 1, "weights/bad-header", "version 1");
    expect_gguf(|file| file.version = 3_u32.swap_bytes(), "weights/bad-header", "version");
}

#[test]
fn parts_that_do_not_belong_together() {
    let opened = |change: &dyn Fn(&mut MemorySource)| {
        let whole = std::fs::read_dir(data("gguf/split")).unwrap().map(|entry| entry.unwrap().path());
        let parts = whole.filter(|path| path.to_str().unwrap().contains("tiny-llama2.Q4_0"));
        let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let files = parts.map(|path| (name(&path), std::fs::read(path).unwrap())).collect();
        let mut source = MemorySource::new(Kind::Gguf(part_of_q4_0(1)), files);
        change(&mut source);
        load(&mut source)
    };
    opened(&|_| {}).unwrap();
    let refused = |change: &dyn Fn(&mut MemorySource), code: &str, words: &str| {
        expect(&opened(change).unwrap_err(), code, words);
    };
    refused(&|source| source.kind = Kind::Gguf(part_of_q4_0(2)), "weights/not-a-model", "open tiny-llama2.Q4_0-00001");
    refused(&|source| drop(source.files.remove(&part_of_q4_0(3))), "weights/missing-file", "-00003-of-00003");
    let second = |source: &mut MemorySource, number| {
        let other = source.files[&part_of_q4_0(number)].clone();
        source.files.insert(part_of_q4_0(2), other);
    };
    refused(&|source| second(source, 3), "weights/bad-header", "is not part 2 of 3");
    refused(&|source| second(source, 1), "weights/bad-header", "is not part 2 of 3");
    let renamed = |source: &mut MemorySource| {
        let first = source.files.remove(&part_of_q4_0(1)).unwrap();
        source.files.insert("model.gguf".to_owned(), first);
        source.kind = Kind::Gguf("model.gguf".to_owned());
    };
    refused(&renamed, "weights/not-a-model", "-00001-of-00003.gguf");
    expect_gguf(|file| file.set_u32("split.count", 3), "weights/not-a-model", "3 files");
}

fn part_of_q4_0(number: u32) -> String {
    format!("tiny-llama2.Q4_0-{number:05}-of-00003.gguf")
}

#[test]
fn other_architectures_are_named() {
    expect_gguf(|file| file.set_string("general.architecture", "gemma2"), "weights/architecture", "gemma2");
    expect_gguf(|file| file.unset("general.architecture"), "weights/bad-config", "general.architecture");
}

#[test]
fn gguf_hyper_parameters_out_of_range() {
    let cases: [(&str, u32, &str); 12] = [
        ("embedding_length", 0, "hidden size"),
        ("embedding_length", 1 << 30, "hidden size"),
        ("vocab_size", 0, "vocabulary"),
        ("vocab_size", u32::MAX, "vocabulary"),
        ("block_count", 0, "layers"),
        ("block_count", u32::MAX, "layers"),
        ("attention.head_count", 0, "heads"),
        ("attention.head_count_kv", 0, "heads"),
        ("attention.head_count_kv", 3, "do not divide"),
        ("attention.key_length", 15, "odd"),
        ("rope.dimension_count", 8, "rope.dimension_count"),
        ("expert_count", 8, "expert_count"),
    ];
    for (key, value, words) in cases {
        expect_gguf(|file| file.set_u32(&format!("llama.{key}"), value), "weights/bad-config", words);
    }
    for key in ["embedding_length", "vocab_size", "context_length", "attention.layer_norm_rms_epsilon"] {
        let key = format!("llama.{key}");
        expect_gguf(|file| file.unset(&key), "weights/bad-config", &key);
        expect_gguf(|file| file.set_string(&key, "many"), "weights/bad-config", &key);
    }
    for (key, value) in [
        ("attention.layer_norm_rms_epsilon", f32::NAN),
        ("attention.layer_norm_rms_epsilon", -1.0),
        ("rope.freq_base", f32::INFINITY),
        ("rope.freq_base", 0.0),
        ("rope.scaling.factor", f32::NAN),
        ("rope.scaling.factor", -2.0),
    ] {
        expect_gguf(|file| file.set_f32(&format!("llama.{key}"), value), "weights/bad-config", "is ");
    }
    expect_gguf(|file| file.set_string("llama.rope.scaling.type", "yarn"), "weights/bad-config", "yarn");
    expect_gguf(|file| file.add("rope_freqs.weight", vec![8], &[0.0; 8]), "weights/bad-config", "divisor");
}

#[test]
fn broken_key_value_parts() {
    let array = |kind: u32, count: u64, bytes: &[u8]| [&kind.to_le_bytes()[..], &count.to_le_bytes(), bytes].concat();
    let cases: [(&str, u32, Vec<u8>, &str); 8] = [
        ("bad.type", 13, Vec::new(), "metadata type"),
        ("bad.bool", 7, vec![2], "truth value"),
        ("bad.string", 8, gguf_string([0xff, 0xfe]), "UTF-8"),
        ("bad.length", 8, u64::MAX.to_le_bytes().to_vec(), "more than a header holds"),
        ("bad.count", 9, array(6, u64::MAX, &[]), "more than a header holds"),
        ("bad.strings", 9, array(8, u64::MAX / 8, &[]), "more than a header holds"),
        ("bad.elements", 9, array(99, 1, &[]), "metadata type"),
        ("bad.depth", 9, (0..9).fold(array(0, 0, &[]), |inner, _| array(9, 1, &inner)), "deeply"),
    ];
    for (key, kind, value, words) in cases {
        expect_gguf(|file| file.set(key, kind, value), "weights/bad-header", words);
    }
    expect_gguf(|file| file.pairs.push(file.pairs[0].clone()), "weights/bad-header", "twice");
    for alignment in [0, 24, 33] {
        expect_gguf(|file| file.set_u32("general.alignment", alignment), "weights/bad-header", "power of two");
    }
    // Counts of tensors and of metadata entries.
    for at in [8, 16] {
        let mut bytes = GgufFile::llama().bytes();
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        expect(&refused(bytes), "weights/bad-header", "more than a header holds");
    }
}

#[test]
fn broken_tensor_tables() {
    const NAME: &str = "blk.0.ffn_up.weight";
    expect_gguf(|file| file.tensor(NAME).dtype = 16, "weights/tensor-type", "IQ2");
    expect_gguf(|file| file.tensor(NAME).dtype = 4000, "weights/tensor-type", "4000");
    expect_gguf(|file| file.tensor(NAME).dimensions = vec![64, 32], "weights/tensor-shape", "[32, 64] instead of");
    expect_gguf(|file| file.tensor(NAME).dimensions = vec![32, 32, 2], "weights/tensor-shape", NAME);
    expect_gguf(|file| file.tensor(NAME).dimensions = vec![1; 5], "weights/bad-header", "5 dimensions");
    expect_gguf(|file| file.tensor(NAME).dimensions = vec![1 << 40, 1 << 40], "weights/bad-header", "too large");
    expect_gguf(|file| file.tensor(NAME).name = "blk.0.ffn_gate.weight".into(), "weights/bad-header", "listed twice");
    expect_gguf(|file| file.tensor(NAME).name = "blk.00.ffn_up.weight".into(), "weights/missing-tensor", NAME);
    expect_gguf(|file| file.remove(NAME), "weights/missing-tensor", NAME);
    expect_gguf(|file| file.add("blk.0.attn_q.bias", vec![32], &[0.5; 32]), "weights/bad-config", "biases");
    expect_gguf(|file| file.tensor("output_norm.weight").dtype = 8, "weights/tensor-type", "Q8_0");
    expect_gguf(|file| file.tensor(NAME).dimensions = vec![31, 64], "weights/tensor-shape", NAME);

    let file = GgufFile::llama();
    let offsets = |change: fn(&mut Vec<u64>)| {
        let sizes = file.tensors.iter().map(|tensor| tensor.data.len() as u64);
        let mut offsets: Vec<u64> = sizes
            .scan(0, |at, size| {
                *at += size;
                Some(*at - size)
            })
            .collect();
        change(&mut offsets);
        refused(file.bytes_at(&offsets))
    };
    expect(&offsets(|offsets| offsets[5] = offsets[4]), "weights/bad-header", "lies over");
    expect(&offsets(|offsets| offsets[5] -= 32), "weights/bad-header", "lies over");
    expect(&offsets(|offsets| offsets[5] += 1), "weights/bad-header", "aligned");
    expect(&offsets(|offsets| offsets[5] = u64::MAX - 31), "weights/bad-header", "too large");
    expect(&offsets(|offsets| offsets[11] = 1 << 40), "net/truncated", "");
}

#[test]
fn truncated_files_say_how_much_is_missing() {
    let bytes = GgufFile::llama().bytes();
    for length in (24..bytes.len()).step_by(97) {
        let error = refused(bytes[..length].to_vec());
        let Error::Truncated { got, expected, .. } = error else { panic!("{length}: {error}") };
        assert!(got == length as u64 && expected > got, "{got} of {expected}");
    }
    // A connection that ends early, after the length was announced.
    for ends_after in (0..bytes.len()).step_by(97) {
        let mut source = MemorySource::gguf(bytes.clone()).chunked(1000, 1);
        source.ends_after = ends_after;
        let error = load(&mut source).unwrap_err();
        let Error::Truncated { got, expected, .. } = error else { panic!("{ends_after}: {error}") };
        assert!(got == ends_after as u64 && expected == bytes.len() as u64, "{got} of {expected}");
    }
}

#[test]
fn weights_that_are_not_finite_are_found_in_every_format() {
    // An infinity or NaN in each format's number or scale, by its place in a block.
    for (file, format, columns, at, bits) in [
        ("tiny-llama2.F32", Format::F32, 64, 2, 0x7f80_u16),
        ("tiny-llama2.F16", Format::F16, 64, 0, 0xfc00),
        ("tiny-llama2.BF16", Format::BF16, 64, 0, 0xff81),
        ("tiny-llama2.Q8_0", Format::Q8_0, 64, 0, 0x7c00),
        ("tiny-llama2.Q4_0", Format::Q4_0, 64, 0, 0x7e01),
        ("tiny-llama2.Q4_1", Format::Q4_1, 64, 2, 0x7c00),
        ("tiny-llama2.Q5_0", Format::Q5_0, 64, 0, 0x7c00),
        ("tiny-llama2.Q5_1", Format::Q5_1, 64, 2, 0xfc00),
        ("tiny-llama2-256.Q2_K", Format::Q2K, 256, 82, 0x7c00),
        ("tiny-llama2-256.Q3_K", Format::Q3K, 256, 108, 0x7e00),
        ("tiny-llama2-256.Q4_K", Format::Q4K, 256, 2, 0x7c00),
        ("tiny-llama2-256.Q5_K", Format::Q5K, 256, 0, 0x7c00),
        ("tiny-llama2-256.Q6_K", Format::Q6K, 256, 208, 0x7c00),
    ] {
        let bytes = std::fs::read(data(&format!("gguf/{file}.gguf"))).unwrap();
        // The output head is the last tensor; its 512 rows end the file but for padding.
        let head = 512 * format.row_bytes(columns);
        let start = bytes.len() - head.next_multiple_of(32);
        for block in [start, start + head - format.block_bytes()] {
            let mut bytes = bytes.clone();
            bytes[block + at..block + at + 2].copy_from_slice(&bits.to_le_bytes());
            assert_eq!(refused(bytes), Error::NotFinite { tensor: "output.weight".to_owned() }, "{file}");
        }
    }
    let mut source = MemorySource::folder(&data("tiny-llama2"));
    let shard = source.file("model-00002-of-00003.safetensors");
    let end = shard.len();
    shard[end - 2..].copy_from_slice(&[0, 0x7c]);
    assert!(matches!(load(&mut source), Err(Error::NotFinite { .. })));
}

/// The error of `tiny-llama2` with fields of its `config.json` changed; null removes one.
fn folder_error(change: Value) -> Error {
    load(&mut changed_folder(change)).expect_err("a refusal")
}

fn changed_folder(change: Value) -> MemorySource {
    let mut source = MemorySource::folder(&data("tiny-llama2"));
    let mut config: Value = serde_json::from_slice(source.file("config.json")).unwrap();
    for (key, value) in change.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    *source.file("config.json") = config.to_string().into_bytes();
    source
}

#[test]
fn hugging_face_configurations_that_are_refused() {
    for (change, code, words) in [
        (json!({"architectures": ["MistralForCausalLM"]}), "weights/architecture", "MistralForCausalLM"),
        (json!({"architectures": null, "model_type": "qwen2"}), "weights/architecture", "qwen2"),
        (json!({"architectures": null, "model_type": null}), "weights/bad-config", "no architecture"),
        (json!({"attention_bias": true}), "weights/bad-config", "biases"),
        (json!({"mlp_bias": true}), "weights/bad-config", "biases"),
        (json!({"hidden_act": "gelu"}), "weights/bad-config", "gelu"),
        (json!({"partial_rotary_factor": 0.5}), "weights/bad-config", "partial"),
        (json!({"quantization_config": {"quant_method": "gptq"}}), "weights/bad-config", "quantised"),
        (json!({"hidden_size": null}), "weights/bad-config", "hidden_size"),
        (json!({"hidden_size": -1}), "weights/bad-config", "config.json"),
        (json!({"num_attention_heads": 0}), "weights/bad-config", "heads"),
        (json!({"num_key_value_heads": 3}), "weights/bad-config", "do not divide"),
        (json!({"head_dim": 258}), "weights/bad-config", "head dimension is 258, not between 1 and 256"),
        (json!({"rms_norm_eps": 1e39}), "weights/bad-config", "epsilon"),
        (json!({"rope_theta": 0}), "weights/bad-config", "theta"),
        (json!({"rope_scaling": {"type": "yarn", "factor": 2}}), "weights/bad-config", "yarn"),
        (json!({"rope_scaling": {"type": "linear"}}), "weights/bad-config", "factor"),
        (json!({"rope_scaling": {"rope_type": "llama3", "factor": 8}}), "weights/bad-config", "low_freq_factor"),
        (json!({"num_hidden_layers": 4}), "weights/missing-tensor", "model.layers.3.input_layernorm.weight"),
        (json!({"vocab_size": 513}), "weights/tensor-shape", "[512, 64] instead of [513, 64]"),
    ] {
        expect(&folder_error(change), code, words);
    }
    let mut source = changed_folder(json!({}));
    *source.file("config.json") = b"{".to_vec();
    expect(&load(&mut source).unwrap_err(), "weights/bad-config", "config.json");
}

#[test]
fn hugging_face_configurations_that_differ_in_form_only() {
    let llama3 = json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
        "original_max_position_embeddings": 64, "rope_theta": 5e5});
    let expected =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_positions: 64.0 };
    let config = load(&mut changed_folder(json!({"rope_theta": null, "rope_parameters": llama3}))).unwrap();
    assert_eq!((config.rope.theta, config.rope.scaling), (5e5, expected));
    for scaling in [json!(null), json!({}), json!({"type": "default"}), json!({"rope_type": "default"})] {
        let config = load(&mut changed_folder(json!({"rope_scaling": scaling}))).unwrap();
        assert_eq!(config.rope.scaling, RopeScaling::None);
    }
    let config = load(&mut changed_folder(json!({"architectures": null, "eos_token_id": [2, 3], "head_dim": 16})));
    assert_eq!(config.unwrap().head_dim, 16);
    // As many key/value heads as query heads where the file does not say: here that contradicts the tensors.
    expect(&folder_error(json!({"num_key_value_heads": null})), "weights/tensor-shape", "k_proj");
    // A tied model's own head is left out, as transformers does.
    assert!(load(&mut changed_folder(json!({"tie_word_embeddings": true}))).unwrap().tied_embeddings);
}

#[test]
fn missing_or_strange_files_of_a_folder() {
    let error = |change: fn(&mut MemorySource)| {
        let mut source = MemorySource::folder(&data("tiny-llama2"));
        change(&mut source);
        load(&mut source).unwrap_err()
    };
    for (name, code) in [
        ("config.json", "weights/missing-file"),
        ("tokenizer.json", "weights/missing-file"),
        ("model-00002-of-00003.safetensors", "weights/missing-file"),
        ("model.safetensors.index.json", "weights/missing-file"),
    ] {
        let mut source = MemorySource::folder(&data("tiny-llama2"));
        source.files.remove(name);
        assert_eq!(load(&mut source).unwrap_err().code(), code, "without {name}");
    }
    let index = |text: &str| {
        let mut source = MemorySource::folder(&data("tiny-llama2"));
        *source.file("model.safetensors.index.json") = text.as_bytes().to_vec();
        load(&mut source).unwrap_err()
    };
    expect(&index("{}"), "weights/bad-config", "weight_map");
    expect(&index(r#"{"weight_map": {}}"#), "weights/bad-header", "no shard");
    for name in ["../secret.safetensors", "/etc/passwd", "a\\b.safetensors", "model.bin"] {
        let text = json!({"weight_map": {"lm_head.weight": name}}).to_string();
        expect(&index(&text), "weights/bad-header", "not a shard");
    }
    let text = r#"{"weight_map": {"lm_head.weight": "model-00003-of-00003.safetensors"}}"#;
    expect(&index(text), "weights/missing-tensor", "model.embed_tokens.weight");
    // The same shard under two names: its tensors would come twice.
    let twice = error(|source| {
        let first = source.file("model-00001-of-00003.safetensors").clone();
        *source.file("model-00002-of-00003.safetensors") = first;
    });
    expect(&twice, "weights/bad-header", "in two files");
}

#[test]
fn broken_safetensors_headers() {
    let header = |text: &str| {
        let mut source = MemorySource::folder(&data("stories260k"));
        let file = [(text.len() as u64).to_le_bytes().to_vec(), text.as_bytes().to_vec(), vec![0; 4096]].concat();
        *source.file("model.safetensors") = file;
        load(&mut source).unwrap_err()
    };
    let tensor = |shape: Value, offsets: Value| {
        header(&json!({"model.norm.weight": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).to_string())
    };
    expect(&header("{"), "weights/bad-header", "safetensors");
    expect(&header("[]"), "weights/bad-header", "safetensors");
    expect(&header("{}"), "weights/missing-tensor", "model.embed_tokens.weight");
    expect(&tensor(json!([64]), json!([0, 255])), "weights/bad-header", "do not agree");
    expect(&tensor(json!([64]), json!([256, 0])), "weights/bad-header", "do not agree");
    expect(&tensor(json!([64]), json!([u64::MAX - 256, u64::MAX])), "weights/bad-header", "too large");
    expect(&tensor(json!([64]), json!([4000, 4256])), "net/truncated", "model.safetensors");
    expect(&tensor(json!([63]), json!([0, 252])), "weights/tensor-shape", "[1, 64]");
    expect(&tensor(json!([1u64 << 40, 1u64 << 40]), json!([0, 0])), "weights/bad-header", "too large");
    let entry = r#"{"dtype": "F32", "shape": [64], "data_offsets": [0, 256]}"#;
    let twice = format!(r#"{{"model.norm.weight": {entry}, "model.norm.weight": {entry}}}"#);
    expect(&header(&twice), "weights/bad-header", "listed twice");
    let over = format!(r#"{{"model.norm.weight": {entry}, "other": {entry}}}"#);
    expect(&header(&over), "weights/bad-header", "lies over");
    let text = r#"{"model.norm.weight": {"dtype": "F8_E4M3", "shape": [64], "data_offsets": [0, 64]}}"#;
    expect(&header(text), "weights/tensor-type", "F8_E4M3");

    let mut source = MemorySource::folder(&data("stories260k"));
    source.file("model.safetensors")[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    expect(&load(&mut source).unwrap_err(), "weights/bad-header", "header of");
    source.file("model.safetensors").truncate(5);
    expect(&load(&mut source).unwrap_err(), "net/truncated", "5");
}

/// Changes a few bytes, or a run of them to a large number, or the length.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.bits() as u8,
            2 => {
                let huge = [u64::MAX, 1 << 63, 1 << 40, u64::from(u32::MAX), 1 << 24][random.below(5)];
                let end = bytes.len().min(at + 8);
                bytes[at..end].copy_from_slice(&huge.to_le_bytes()[..end - at]);
            }
            _ => bytes.truncate(at + 1),
        }
    }
}

/// Mutates the first `prefix` bytes of one file again and again.
fn survive(source: &MemorySource, name: &str, prefix: usize, rounds: u64) {
    let mut refusals = 0;
    for seed in 0..rounds {
        let mut random = Random::new(seed);
        let mut source = source.clone().chunked(3000, seed);
        let file = source.file(name);
        let tail = file.split_off(prefix.min(file.len()));
        let length = file.len();
        mutate(file, &mut random);
        if file.len() == length {
            file.extend(tail);
        }
        refusals += u64::from(load(&mut source).is_err());
    }
    assert!(refusals > rounds / 10 && refusals <= rounds, "{name}: {refusals} of {rounds} refused");
}

#[test]
fn mutated_files_never_panic() {
    let mut file = GgufFile::llama();
    let tokens: Vec<u8> = (0..40).flat_map(|i| gguf_string(format!("token{i}"))).collect();
    let array = [&8u32.to_le_bytes()[..], &40u64.to_le_bytes(), &tokens].concat();
    file.set("tokenizer.ggml.tokens", 9, array);
    let header = file.bytes().len() - file.tensors.iter().map(|tensor| tensor.data.len()).sum::<usize>();
    let before = peak_memory();
    survive(&MemorySource::gguf(file.bytes()), "model.gguf", header, 3000);

    let folder = MemorySource::folder(&data("tiny-llama2"));
    survive(&folder, "config.json", usize::MAX, 500);
    survive(&folder, "model.safetensors.index.json", usize::MAX, 300);
    survive(&folder, "model-00001-of-00003.safetensors", 1400, 500);
    // The files are below 1 MB; a count taken at its word would ask for gigabytes.
    assert!(peak_memory() - before < 256 << 10, "peak memory grew by {} KiB", peak_memory() - before);
}

/// Most address space that this process ever held, in KiB; 0 where the system does not say.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
