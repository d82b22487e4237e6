//! LoRA adapters of every kind against weights that they are merged into, and attachments that fail.

use pagellama::gpu::weights::Weights;
use pagellama::gpu::{Executor, ExecutorOptions, Gpu, Recorded};
use pagellama::model::kv_cache::KvFormat;
use pagellama::ops::{ActivationFormat, Variants};
use pagellama::reference;
use pagellama::weights::loader;
use pagellama::weights::lora::Adapter;
use serde_json::json;

use crate::common::adapters::{AdapterFiles, PROJECTIONS};
use crate::common::files::{GgufFile, MemorySource};
use crate::common::{Random, assert_close, data, rms};
use crate::lora::{golden_adapter, tiny};

tests! {
    weights_of_several_adapters_add_up_on_a_quantised_model,
    tied_embeddings_are_changed_apart,
    gate_and_up_projections_of_two_formats,
    a_failed_attachment_leaves_all_as_it_was,
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(data(name)).unwrap()
}

/// A model on the device, and the plain one.
struct Both {
    executor: Executor,
    plain: reference::Model,
    bytes: Vec<u8>,
}

const IDS: [u32; 12] = [1, 30, 17, 2, 39, 8, 0, 25, 33, 11, 4, 19];

impl Both {
    async fn open(bytes: Vec<u8>) -> Self {
        let gpu = Gpu::open().await.unwrap();
        let mut source = MemorySource::gguf(bytes.clone());
        let mut weights = Weights::new(&gpu);
        let opened = loader::open(&mut source).await.unwrap();
        let config = opened.load(&mut source, &mut weights, &mut |_, _| true).await.unwrap();
        let weights = weights.finish();
        let options = ExecutorOptions {
            context: 64,
            kv: KvFormat::F32,
            chunk: 8,
            variants: Variants::for_adapter(&gpu),
            activations: ActivationFormat::F32,
        };
        let recorded = Recorded::new(&gpu, &config, &weights, options).await.unwrap();
        let executor = recorded.complete(gpu, &config, weights).unwrap();
        let plain = reference::Model::open(&mut MemorySource::gguf(bytes.clone())).await.unwrap();
        Self { executor, plain, bytes }
    }

    /// Has both compute with adapters, and compares them: after a prompt, and after single tokens.
    async fn check(&mut self, name: &str, adapters: &[(&AdapterFiles, f32)]) -> Vec<f32> {
        let mut read = Vec::new();
        for (files, weight) in adapters {
            read.push((Adapter::read(&mut files.source(), self.plain.config()).await.unwrap(), *weight));
        }
        let list: Vec<_> = read.iter().map(|(adapter, weight)| (adapter, *weight)).collect();
        self.executor.adapt(&list).await.unwrap();
        let mut source = MemorySource::gguf(self.bytes.clone());
        let mut weights = reference::Weights::default();
        let opened = loader::open(&mut source).await.unwrap();
        let mut config = opened.load(&mut source, &mut weights, &mut |_, _| true).await.unwrap();
        for (adapter, weight) in &read {
            weights.merge(&mut config, adapter, *weight).unwrap();
        }
        let mut plain = reference::Model::new(config, weights);
        // More than a chunk, so that the second run finds the first one's keys.
        self.executor.run(&IDS[..8], 0).await.unwrap();
        let mut got = self.executor.logits(&IDS[8..10], 8).await.unwrap();
        let mut expected = plain.forward(&IDS[..10]).unwrap();
        assert_close(&format!("{name}, prompt"), &got, &expected, 1e-3 * rms(&expected));
        for (position, id) in IDS.iter().enumerate().skip(10) {
            got = self.executor.logits(&[*id], position).await.unwrap();
            expected = plain.forward(&[*id]).unwrap();
            assert_close(&format!("{name}, at {position}"), &got, &expected, 1e-3 * rms(&expected));
        }
        got
    }
}

/// By how much of its root mean square a vector differs from another.
fn change(of: &[f32], from: &[f32]) -> f32 {
    rms(&reference::add(of, &from.iter().map(|x| -x).collect::<Vec<_>>())) / rms(from)
}

async fn weights_of_several_adapters_add_up_on_a_quantised_model() {
    let mut both = Both::open(read("gguf/tiny-llama2.Q4_0.gguf")).await;
    let config = both.plain.config().clone();
    let mut random = Random::new(5);
    // All matrices, odd ranks, patterns of both kinds.
    let mut all = AdapterFiles::new(5, 7.0);
    all.config["use_rslora"] = json!(true);
    all.config["rank_pattern"] = json!({ "layers.1.mlp.up_proj": 9, "q_proj": 3, "^model.embed_tokens": 2 });
    all.config["alpha_pattern"] = json!({ "v_proj": 11.5, "lm_head": 3 });
    for layer in 0..config.layers {
        for projection in PROJECTIONS {
            let rank = match (layer, projection) {
                (1, "mlp.up_proj") => 9,
                (_, "self_attn.q_proj") => 3,
                _ => 5,
            };
            all.add(&config, &format!("model.layers.{layer}.{projection}"), rank, &mut random);
        }
    }
    all.add(&config, "model.embed_tokens", 2, &mut random);
    all.add(&config, "lm_head", 5, &mut random);
    // Some of them, with more ranks than a block has, in half precision.
    let mut some = AdapterFiles::new(37, 16.0);
    for module in ["model.layers.0.self_attn.k_proj", "model.layers.2.mlp.gate_proj", "lm_head"] {
        some.add(&config, module, 37, &mut random);
    }
    let some = some.halved();

    let base = both.check("none", &[]).await;
    let with_all = both.check("all", &[(&all, 1.0)]).await;
    let with_some = both.check("some", &[(&some, 1.0)]).await;
    let with_both = both.check("both", &[(&all, 0.7), (&some, -0.4)]).await;
    for (name, logits) in [("all", with_all), ("some", with_some), ("both", with_both)] {
        assert!(change(&logits, &base) > 0.1, "{name} makes no difference: {}", change(&logits, &base));
    }
    assert_eq!(both.check("none again", &[]).await, base);
}

async fn tied_embeddings_are_changed_apart() {
    let mut both = Both::open(read("gguf/tiny-llama2-mha.F16.gguf")).await;
    let config = both.plain.config().clone();
    assert!(config.tied_embeddings);
    let base = both.check("none", &[]).await;
    for module in ["model.embed_tokens", "lm_head"] {
        let mut files = AdapterFiles::new(4, 8.0);
        files.add(&config, module, 4, &mut Random::new(3));
        let logits = both.check(module, &[(&files, 1.0)]).await;
        assert!(change(&logits, &base) > 0.1, "{module}: {}", change(&logits, &base));
    }
}

async fn gate_and_up_projections_of_two_formats() {
    let mut file = GgufFile::llama();
    let up = file.tensor("blk.0.ffn_up.weight");
    let values = up.data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    up.data = values.flat_map(|value| half::f16::from_f32(value).to_le_bytes()).collect();
    up.dtype = 1;
    for bytes in [GgufFile::llama().bytes(), file.bytes()] {
        let mut both = Both::open(bytes).await;
        let config = both.plain.config().clone();
        for projection in ["mlp.gate_proj", "mlp.up_proj"] {
            let mut files = AdapterFiles::new(3, 90.0);
            files.add(&config, &format!("model.layers.0.{projection}"), 3, &mut Random::new(3));
            both.check(projection, &[(&files, 1.0)]).await;
        }
    }
}

async fn a_failed_attachment_leaves_all_as_it_was() {
    let mut engine = tiny(KvFormat::F32).await;
    engine.attach(&mut golden_adapter(), "golden", 1.0).await.unwrap();
    let logits = engine.logits(&IDS).await.unwrap();
    let mut broken = golden_adapter();
    broken.file("adapter_model.safetensors").pop();
    let code = |error: pagellama::Error| error.code();
    assert_eq!(engine.attach(&mut broken, "broken", 1.0).await.map_err(code), Err("net/truncated"));
    let bad = Err("generate/bad-request");
    assert_eq!(engine.attach(&mut golden_adapter(), "golden", 1.0).await.map_err(code), bad);
    assert_eq!(engine.attach(&mut golden_adapter(), "other", f32::NAN).await.map_err(code), bad);
    assert_eq!(engine.set_adapter_weight("golden", f32::INFINITY).await.map_err(code), bad);
    assert_eq!(engine.set_adapter_weight("other", 1.0).await.map_err(code), bad);
    assert_eq!(engine.detach("other").await.map_err(code), bad);
    assert_eq!(engine.adapters().len(), 1);
    // All but the last token are still in the cache: their keys and values are of the same model.
    assert_close("after failures", &engine.logits(&IDS).await.unwrap(), &logits, 1e-4 * rms(&logits));
    engine.detach("golden").await.unwrap();
    assert!(change(&engine.logits(&IDS).await.unwrap(), &logits) > 0.1);
}
