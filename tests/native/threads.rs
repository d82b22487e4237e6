//! Threads that compute rows of the same products: whatever their number, all is as with one.

use std::fs;

use crate::common::adapters::folder;
use crate::common::files::{GgufFile, MemorySource};
use crate::common::{data, default_model};
use crate::native::forward;
use pagellama::config::ModelConfig;
use pagellama::cpu::{Executor, ExecutorOptions, Helpers, Team, Weights};
use pagellama::formats::Format;
use pagellama::generate::preflight::Preflight;
use pagellama::generate::{Device, Engine, OpenOptions, Prompt, Request, Stop};
use pagellama::model::kv_cache::KvFormat;
use pagellama::ops::ActivationFormat;
use pagellama::sampling::Sampling;
use pagellama::weights::source::Source;
use pagellama::weights::{Role, Sink, TensorSpec, loader};
use pollster::block_on;

fn with(helpers: usize, activations: ActivationFormat) -> OpenOptions {
    let (device, activations) = (Device::Cpu, Some(activations));
    OpenOptions {
        device,
        activations,
        helpers: Helpers::threads(helpers),
        context: Some(128),
        ..OpenOptions::default()
    }
}

fn opened(source: &mut impl Source, options: OpenOptions) -> Engine {
    block_on(Engine::open(source, options, &mut |_| true)).unwrap()
}

/// An empty sink for a model, that has so many helpers.
fn team(source: &mut MemorySource, helpers: usize) -> (Weights, ModelConfig, ExecutorOptions) {
    let config = block_on(loader::open(source)).unwrap().checkpoint().config.clone();
    let options = ExecutorOptions { context: 8, kv: KvFormat::F32, chunk: 8, activations: ActivationFormat::F32 };
    let team = Team::gather(&Helpers::threads(helpers), &config, &options).unwrap();
    (Weights::of_team(team), config, options)
}

/// Logits after a prompt of several chunks, and the ids of an answer.
fn told(engine: &mut Engine) -> (Vec<f32>, Vec<u32>) {
    let ids: Vec<u32> = (0..70).map(|i| 3 + i * 7 % 30).collect();
    let logits = block_on(engine.logits(&ids)).unwrap();
    let sampling = Sampling { temperature: 1.2, seed: 7, ..Sampling::default() };
    let request = Request { prompt: Prompt::Ids(ids), max_tokens: Some(12), ignore_eos: true, sampling };
    (logits, block_on(engine.generate(&request, &mut |_| {}, &Stop::default())).unwrap().ids)
}

#[test]
fn they_compute_the_same_in_every_format() {
    let files: Vec<_> = fs::read_dir(data("gguf")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let tiny = files.iter().filter(|path| path.to_string_lossy().contains("/tiny-llama2"));
    let mut count = 0;
    for path in tiny.filter(|path| path.extension().is_some_and(|kind| kind == "gguf")) {
        let bytes = fs::read(path).unwrap();
        for activations in [ActivationFormat::Int8, ActivationFormat::F32] {
            // In pieces that end within helpers' rows.
            let open =
                |helpers| opened(&mut MemorySource::gguf(bytes.clone()).chunked(3000, 2), with(helpers, activations));
            let one = told(&mut open(0));
            for helpers in [1, 2] {
                let mut engine = open(helpers);
                assert_eq!(engine.info().device.threads, Some(helpers + 1));
                assert!(told(&mut engine) == one, "{}, {helpers} helpers", path.display());
            }
        }
        count += 1;
    }
    assert!(count > 10, "{count} files");
}

#[test]
fn there_may_be_more_of_them_than_rows() {
    let of = |helpers| {
        let mut source = MemorySource::gguf(GgufFile::llama().bytes());
        let (mut weights, config, options) = team(&mut source, helpers);
        let opened = block_on(loader::open(&mut source)).unwrap();
        block_on(opened.load(&mut source, &mut weights, &mut |_, _| true)).unwrap();
        let mut executor = Executor::new(&config, weights, options).unwrap();
        [executor.logits(&[1, 2, 3, 4, 5], 0).unwrap(), executor.logits(&[6], 5).unwrap()]
    };
    let one = of(0);
    for helpers in [3, 6, 23] {
        assert!(of(helpers) == one, "{helpers} helpers");
    }
}

#[test]
fn smollm2_is_the_same_to_three_of_them() {
    let open = |helpers| forward::open_with(&default_model(), with(helpers, ActivationFormat::Int8));
    assert!(told(&mut open(2)) == told(&mut open(0)));
}

#[test]
fn adapters_come_and_go_beside_them() {
    let file = |name: &str| fs::read(data(&format!("lora-tiny-llama2/{name}"))).unwrap();
    let bytes = fs::read(data("gguf/tiny-llama2.F16.gguf")).unwrap();
    let both = [0, 2].map(|helpers| {
        let mut engine = opened(&mut MemorySource::gguf(bytes.clone()), with(helpers, ActivationFormat::F32));
        let mut adapter = folder(file("adapter_config.json"), file("adapter_model.safetensors"));
        block_on(engine.attach(&mut adapter, "golden", 1.0)).unwrap();
        let adapted = told(&mut engine);
        block_on(engine.detach("golden")).unwrap();
        [adapted, told(&mut engine)]
    });
    assert!(both[0] == both[1] && both[0][0] != both[0][1]);
}

#[test]
fn weights_are_held_once_and_foretold() {
    let file = || MemorySource::gguf(fs::read(data("gguf/tiny-llama2.Q4_1.gguf")).unwrap());
    let weights = [0, 2].map(|helpers| {
        let options = with(helpers, ActivationFormat::Int8);
        let foretold = block_on(Preflight::of(&mut file(), &options)).unwrap();
        assert!(foretold.speed.unwrap().decode > 0.0);
        let engine = opened(&mut file(), options);
        assert_eq!(Some(foretold.memory.total()), engine.stats().host_bytes);
        engine.info().weight_bytes
    });
    assert_eq!(weights[0], weights[1]);
}

#[test]
fn they_take_rows_in_order_alone_and_what_there_is_room_for() {
    let mut source = MemorySource::gguf(GgufFile::llama().bytes());
    let (mut weights, ..) = team(&mut source, 1);
    let spec = |rows| TensorSpec { role: Role::Head, format: Format::F32, rows, columns: 32 };
    assert_eq!(block_on(weights.allocate(&[spec(1 << 55)])).unwrap_err().code(), "gpu/out-of-memory");
    block_on(weights.allocate(&[spec(64)])).unwrap();
    let rows = vec![0; 16 * 4 * 32];
    for (first, taken) in
        [(16, false), (48, false), (0, true), (32, false), (16, true), (48, false), (32, true), (48, true)]
    {
        let written = weights.write_rows(Role::Head, first, &rows);
        assert_eq!(
            written.as_ref().err().map(|error| error.code()),
            (!taken).then_some("weights/bad-header"),
            "{first}"
        );
    }
    assert_eq!(weights.write_rows(Role::Head, 64, &rows).unwrap_err().code(), "weights/bad-header");
}
