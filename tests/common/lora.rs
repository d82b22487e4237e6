//! The golden LoRA adapter on a model that runs, on every shader compiler as in `kernels.rs`. `native/adapters.rs` goes on.

use pagellama::generate::{Engine, OpenOptions, Options, Prompt};
use pagellama::model::kv_cache::KvFormat;

use super::common::adapters::folder;
use super::common::files::MemorySource;
use super::common::{Golden, GoldenFiles, GoldenPrompt, assert_close, on_webgpu};

tests! {
    the_golden_adapter_comes_and_goes,
}

macro_rules! data {
    ($name:expr) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/", $name)).to_vec()
    };
}

pub fn golden_adapter() -> MemorySource {
    folder(data!("lora-tiny-llama2/adapter_config.json"), data!("lora-tiny-llama2/adapter_model.safetensors"))
}

pub async fn tiny(kv: KvFormat) -> Engine {
    let mut source = MemorySource::gguf(data!("gguf/tiny-llama2.F16.gguf"));
    Engine::open(&mut source, OpenOptions { kv, ..on_webgpu() }, &mut |_| true).await.unwrap()
}

async fn greedy(engine: &mut Engine, ids: &[u32], count: usize) -> Vec<u32> {
    let options = Options { max_tokens: Some(count), ignore_eos: true, temperature: Some(0.0), ..Options::default() };
    let request = options.request(Prompt::Ids(ids.to_vec()), &engine.info().sampling);
    let generated = engine.generate(&request, &mut |_| (), &Default::default()).await.unwrap();
    generated.ids
}

async fn check(engine: &mut Engine, tolerance: f32, prompts: &[GoldenPrompt], name: &str) {
    for prompt in prompts {
        let name = format!("{name}, {}", prompt.name);
        let logits = engine.logits(&prompt.ids).await.unwrap();
        assert_close(&name, &logits, &prompt.last_logits, tolerance * prompt.logits_rms);
        assert_eq!(greedy(engine, &prompt.ids, prompt.greedy.len()).await, prompt.greedy, "{name}");
    }
}

async fn the_golden_adapter_comes_and_goes() {
    let adapted: Golden = serde_json::from_slice(&data!("lora-tiny-llama2/golden.json")).unwrap();
    let files: GoldenFiles = serde_json::from_slice(&data!("gguf/golden.json")).unwrap();
    let base = &files.files.iter().find(|file| file.file == "tiny-llama2.F16.gguf").unwrap().prompts;
    // As the fixtures state them.
    for (kv, tolerance) in [(KvFormat::F32, 1e-3), (KvFormat::F16, 5e-3)] {
        let mut engine = tiny(kv).await;
        check(&mut engine, tolerance, &base[..1], "before").await;
        let dispatches = engine.stats().dispatches_per_token;
        engine.attach(&mut golden_adapter(), "golden", 1.0).await.unwrap();
        let [info] = &engine.adapters()[..] else { panic!("one adapter") };
        assert_eq!((info.name.as_str(), info.weight, info.parameters), ("golden", 1.0, 5520));
        check(&mut engine, tolerance, &adapted.prompts, "attached").await;
        engine.set_adapter_weight("golden", 0.0).await.unwrap();
        check(&mut engine, tolerance, base, "weightless").await;
        engine.detach("golden").await.unwrap();
        check(&mut engine, tolerance, base, "detached").await;
        assert_eq!(engine.stats().dispatches_per_token, dispatches, "nothing is left of it");
        engine.attach(&mut golden_adapter(), "again", 0.25).await.unwrap();
        engine.attach(&mut golden_adapter(), "and again", 0.75).await.unwrap();
        check(&mut engine, tolerance, &adapted.prompts, "in two parts").await;
    }
}
