//! The engine under the browser's WebGPU against golden values: logits and greedy tokens of every format.

use std::collections::HashMap;

use pagellama::generate::{Engine, FinishReason, OpenOptions, Options, Prompt};
use pagellama::model::kv_cache::KvFormat;
use pagellama::weights::source::Kind;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::common::files::MemorySource;
use crate::common::{Golden, GoldenFiles, GoldenPrompt, assert_close};

/// KV cache formats, with the part of the logits' RMS that each may be off.
const CACHES: [(KvFormat, f32); 2] = [(KvFormat::F32, 1e-3), (KvFormat::F16, 5e-3)];

macro_rules! data {
    ($name:expr) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/", $name))
    };
}
pub(super) use data;

/// A Hugging Face folder as a source.
macro_rules! folder {
    ($folder:literal: $($weights:literal)*) => {
        MemorySource::new(
            Kind::HuggingFace,
            HashMap::from([
                $(($weights.to_owned(), data!(concat!($folder, "/", $weights)).to_vec()),)*
                ("config.json".to_owned(), data!(concat!($folder, "/config.json")).to_vec()),
                ("tokenizer.json".to_owned(), data!(concat!($folder, "/tokenizer.json")).to_vec()),
                ("tokenizer_config.json".to_owned(), data!(concat!($folder, "/tokenizer_config.json")).to_vec()),
            ]),
        )
    };
}

async fn check(name: &str, source: MemorySource, caches: &[(KvFormat, f32)], prompts: &[GoldenPrompt]) {
    for &(kv, tolerance) in caches {
        let options = OpenOptions { kv, ..OpenOptions::default() };
        // Chunks that end within a row.
        let mut source = source.clone().chunked(100_000, 3);
        let mut engine = Engine::open(&mut source, options, &mut |_| true).await.unwrap();
        for prompt in prompts {
            let name = format!("{name} {}, {kv:?} cache", prompt.name);
            let logits = engine.logits(&prompt.ids).await.unwrap();
            assert_close(&name, &logits, &prompt.last_logits, tolerance * prompt.logits_rms);
            let greedy = Options {
                max_tokens: Some(prompt.greedy.len()),
                ignore_eos: true,
                temperature: Some(0.0),
                ..Options::default()
            };
            let request = greedy.request(Prompt::Ids(prompt.ids.clone()), &engine.info().sampling);
            let generated = engine.generate(&request, &mut |_| (), &Default::default()).await.unwrap();
            assert_eq!(generated.ids, prompt.greedy, "{name}");
            assert_eq!(generated.finish_reason, FinishReason::Length);
        }
    }
}

async fn check_gguf(name: &str, bytes: &[u8]) {
    let golden: GoldenFiles = serde_json::from_slice(data!("gguf/golden.json")).unwrap();
    let file = golden.files.iter().find(|file| file.file == name).unwrap();
    // The cache's format has nothing to do with the weights'.
    check(name, MemorySource::gguf(bytes.to_vec()), &CACHES[..1], &file.prompts).await;
}

macro_rules! gguf {
    ($($test:ident: $file:literal,)*) => {
        $(
            #[wasm_bindgen_test]
            async fn $test() {
                check_gguf($file, data!(concat!("gguf/", $file))).await;
            }
        )*
    };
}

gguf! {
    f32_weights: "tiny-llama2.F32.gguf",
    f16_weights: "tiny-llama2.F16.gguf",
    bf16_weights: "tiny-llama2.BF16.gguf",
    q8_0_weights: "tiny-llama2.Q8_0.gguf",
    q4_0_weights: "tiny-llama2.Q4_0.gguf",
    q4_1_weights: "tiny-llama2.Q4_1.gguf",
    q5_1_weights: "tiny-llama2.Q5_1.gguf",
    q3_k_and_others_mixed: "tiny-llama2-256.Q3_K_M-mix.gguf",
    q4_k_and_q6_k_mixed: "tiny-llama2-256.Q4_K_M-mix.gguf",
    q6_k_weights: "tiny-llama2-256.Q6_K.gguf",
    linear_rope_from_a_gguf_file: "tiny-llama2-mha.F16.gguf",
    llama3_rope_from_a_gguf_file: "tiny-llama2-mha-llama3rope.F16.gguf",
    a_trained_model: "stories260k.Q8_0.gguf",
}

#[wasm_bindgen_test]
async fn a_folder_of_shards() {
    let golden: Golden = serde_json::from_slice(data!("tiny-llama2/golden.json")).unwrap();
    let source = folder!("tiny-llama2": "model.safetensors.index.json"
        "model-00001-of-00003.safetensors" "model-00002-of-00003.safetensors" "model-00003-of-00003.safetensors");
    check("tiny-llama2", source, &CACHES, &golden.prompts).await;
}

#[wasm_bindgen_test]
async fn a_folder_with_one_file_and_tied_embeddings() {
    let golden: Golden = serde_json::from_slice(data!("tiny-llama2-mha/golden.json")).unwrap();
    let source = folder!("tiny-llama2-mha": "model.safetensors");
    check("tiny-llama2-mha", source, &CACHES, &golden.prompts).await;
}
