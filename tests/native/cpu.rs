//! Models on the processor: the same golden values, the same loop, cache, sampler and adapters as on a WebGPU device.

use crate::common::adapters::{AdapterFiles, folder};
use crate::common::files::{GgufFile, MemorySource};
use crate::common::{Golden, Random, assert_close, data, json, rms};
use crate::executor::{CONTEXT, OTHER, PROMPT, sampled};
use crate::native::forward;
use pagellama::cpu::{Executor, ExecutorOptions, Weights};
use pagellama::generate::preflight::{Preflight, Verdict};
use pagellama::generate::{Answer, Device, Engine, FinishReason, OpenOptions, Progress, Prompt, Request, Stop};
use pagellama::model::kv_cache::KvFormat;
use pagellama::ops::ActivationFormat;
use pagellama::sampling::Sampling;
use pagellama::sampling::sampler::Sampler;
use pagellama::weights::lora::Adapter;
use pagellama::weights::{Role, Sink, TensorSpec, loader};
use pagellama::{Result, formats::Format, reference};
use pollster::block_on;

const EXACT: Option<ActivationFormat> = Some(ActivationFormat::F32);

#[test]
fn folders_keep_their_golden_logits_and_text() {
    for name in ["tiny-llama2", "tiny-llama2-mha", "tiny-llama2-mha-llama3rope"] {
        forward::check_folder(name, Device::Cpu);
    }
}

#[test]
fn gguf_files_of_every_format_keep_theirs() {
    forward::check_gguf_files(Device::Cpu);
}

#[test]
fn a_story_is_written_as_documented() {
    forward::check_story(Device::Cpu);
}

#[test]
fn smollm2_keeps_its_golden_logits() {
    // Tests are compiled for their compiler's speed rather than their own: one of three prompts takes its time.
    forward::check_smollm2(Device::Cpu, KvFormat::F32, 5e-3, 1);
}

#[test]
fn what_is_rounded_keeps_logits_and_perplexity() {
    let cpu = OpenOptions { device: Device::Cpu, ..OpenOptions::default() };
    let exact = OpenOptions { activations: EXACT, ..cpu.clone() };
    // By default activations are rounded, those of down projections too.
    forward::check_rounded(4, exact, [(cpu, 2e-1, 5e-2)]);
}

fn executor(file: &GgufFile, kv: KvFormat) -> Executor {
    let mut source = MemorySource::gguf(file.bytes());
    let mut weights = Weights::new();
    let opened = block_on(loader::open(&mut source)).unwrap();
    let config = block_on(opened.load(&mut source, &mut weights, &mut |_, _| true)).unwrap();
    let options = ExecutorOptions { context: CONTEXT, kv, chunk: 8, activations: ActivationFormat::F32 };
    Executor::new(&config, weights, options).unwrap()
}

/// `count` tokens after a prompt, `ahead` of them asked for at a time.
fn answer(
    executor: &mut Executor,
    sampling: &Sampling,
    prompt: &[u32],
    count: usize,
    ahead: usize,
) -> Result<Vec<u32>> {
    executor.begin(sampling, prompt)?;
    let mut ids = vec![executor.choose(prompt, 0)?];
    while ids.len() < count {
        while executor.ahead() < ahead.min(count - ids.len()) {
            executor.go_on(prompt.len() + ids.len() - 1 + executor.ahead())?;
        }
        ids.push(executor.chosen()?);
    }
    Ok(ids)
}

#[test]
fn tokens_are_those_of_the_sampler_however_many_are_asked_for() {
    let mut executor = executor(&GgufFile::llama(), KvFormat::F32);
    // The last token needs no place.
    let count = CONTEXT - PROMPT.len() + 1;
    let ids = answer(&mut executor, &sampled(), &PROMPT, count, 1).unwrap();
    for ahead in [2, 16] {
        assert_eq!(answer(&mut executor, &sampled(), &PROMPT, count, ahead).unwrap(), ids, "{ahead} ahead");
    }
    assert_eq!(executor.go_on(CONTEXT).unwrap_err().code(), "generate/bad-request");
    let sampler = Sampler::new(sampled()).unwrap();
    let mut history = PROMPT.to_vec();
    let mut logits = executor.logits(&PROMPT, 0).unwrap();
    for id in ids {
        assert_eq!(sampler.sample(&mut logits, &history, history.len()).unwrap(), id, "at {}", history.len());
        if history.len() < CONTEXT {
            logits = executor.logits(&[id], history.len()).unwrap();
        }
        history.push(id);
    }
}

#[test]
fn what_is_asked_for_and_not_wanted_leaves_no_trace() {
    let mut executor = executor(&GgufFile::llama(), KvFormat::F16);
    let expected = answer(&mut executor, &sampled(), &OTHER, 30, 4).unwrap();
    answer(&mut executor, &sampled(), &PROMPT, 20, 3).unwrap();
    (0..5).for_each(|ahead| executor.go_on(PROMPT.len() + 19 + ahead).unwrap());
    assert_eq!(answer(&mut executor, &sampled(), &OTHER, 30, 4).unwrap(), expected);
    assert_eq!(executor.chosen().unwrap_err().code(), "generate/bad-request");
    for (ids, position) in [(&[1, 2][..], CONTEXT - 1), (&[99][..], 0), (&[][..], 0), (&[1; 9][..], 0)] {
        assert_eq!(executor.run(ids, position).unwrap_err().code(), "generate/bad-request", "{ids:?} at {position}");
    }
}

#[test]
fn an_output_that_is_not_finite_is_told_and_leaves_no_trace() {
    let bad = 9;
    for kv in [KvFormat::F32, KvFormat::F16, KvFormat::Q8] {
        // What the last column of the embeddings weighs, which only one token has, is more than a number.
        let mut file = GgufFile::llama();
        let spoil = |file: &mut GgufFile, name: &str, number: &dyn Fn(usize) -> f32| {
            let rows = file.tensor(name).data.chunks_exact_mut(4 * 32).enumerate();
            rows.for_each(|(at, row)| row[4 * 31..].copy_from_slice(&number(at).to_le_bytes()));
        };
        spoil(&mut file, "token_embd.weight", &|row| if row == bad as usize { 100.0 } else { 0.0 });
        spoil(&mut file, "blk.0.attn_v.weight", &|_| 3e38);
        let mut executor = executor(&file, kv);
        let calm = answer(&mut executor, &Sampling::default(), &OTHER, 8, 2).unwrap();
        assert_eq!(executor.logits(&[1, bad], 0).unwrap_err().code(), "gpu/not-finite");
        executor.begin(&sampled(), &[1, bad]).unwrap();
        assert_eq!(executor.choose(&[1, bad], 0).unwrap_err().code(), "gpu/not-finite");
        // What follows it sees it.
        assert_eq!(executor.logits(&[3], 2).unwrap_err().code(), "gpu/not-finite");
        assert_eq!(answer(&mut executor, &Sampling::default(), &OTHER, 8, 2).unwrap(), calm, "{kv:?}");
    }
}

fn engine(options: OpenOptions) -> Engine {
    let mut source = MemorySource::gguf(std::fs::read(data("gguf/tiny-llama2.Q4_1.gguf")).unwrap());
    block_on(Engine::open(&mut source, OpenOptions { device: Device::Cpu, ..options }, &mut |_| true)).unwrap()
}

#[test]
fn the_loop_goes_on_stops_and_tells_what_it_took() {
    let mut engine = engine(OpenOptions::default());
    let device = engine.info().device.clone();
    assert_eq!((device.kind, device.variants), ("cpu", vec!["int8"]));
    let sampling = Sampling { temperature: 1.5, seed: 7, ..Sampling::default() };
    let prompt = Prompt::Ids((0..70).map(|i| 3 + i * 7 % 400).collect());
    let request = Request { prompt, max_tokens: Some(40), ignore_eos: true, sampling };
    let whole = block_on(engine.generate(&request, &mut |_| {}, &Stop::default())).unwrap();
    assert_eq!((whole.ids.len(), whole.finish_reason), (40, FinishReason::Length));
    assert_eq!(whole.stats.gpu_bytes, 0);
    assert!(whole.stats.host_bytes.unwrap() > engine.info().weight_bytes && engine.info().weight_bytes > 100_000);
    let stop = Stop::default();
    let begun = block_on(engine.generate(&request, &mut |_| stop.stop(), &stop)).unwrap();
    assert_eq!((begun.finish_reason, begun.usage.cached_tokens), (FinishReason::Abort, 69));
    assert_eq!(begun.ids, whole.ids[..begun.ids.len()]);
    let again = block_on(engine.generate(&request, &mut |_| {}, &Stop::default())).unwrap();
    assert_eq!(again.ids, whole.ids);

    assert_eq!(block_on(engine.profile(1, 0)).unwrap_err().code(), "generate/bad-request");
    assert_eq!(block_on(engine.measure_adapter()).unwrap_err().code(), "generate/bad-request");
    engine.device_end()();
    assert_eq!(block_on(engine.generate(&request, &mut |_| {}, &Stop::default())).unwrap().ids, whole.ids);
}

#[test]
fn an_answer_goes_on_that_was_begun_elsewhere() {
    let sampling = Sampling { temperature: 0.9, seed: 3, ..Sampling::default() };
    let prompt = Prompt::Ids((0..40).map(|i| 3 + i * 7 % 400).collect());
    let request = Request { prompt, max_tokens: Some(30), ignore_eos: true, sampling };
    let mut warm = engine(OpenOptions::default());
    let whole = block_on(warm.generate(&request, &mut |_| {}, &Stop::default())).unwrap();
    // One engine has seen all of it, the other nothing.
    for mut engine in [engine(OpenOptions::default()), warm] {
        for begun in [0, 1, 12, 30] {
            let mut answer = Answer::begun(request.clone(), whole.ids[..begun].to_vec());
            let mut rest = String::new();
            let reason =
                block_on(engine.go_on(&mut answer, &mut |text| rest.push_str(text), &Stop::default())).unwrap();
            let ended = engine.end(answer, reason, &mut |text| rest.push_str(text)).unwrap();
            assert_eq!((&ended.ids, &ended.text, ended.finish_reason), (&whole.ids, &whole.text, FinishReason::Length));
            assert!(whole.text.ends_with(&rest) && (begun > 0 || rest == whole.text), "{begun}: {rest:?}");
            assert!(ended.usage.cached_tokens <= ended.usage.prompt_tokens && ended.usage.prompt_tokens == 40);
        }
    }
}

#[test]
fn a_load_can_be_stopped() {
    let file = std::fs::read(data("gguf/tiny-llama2.Q4_1.gguf")).unwrap();
    let mut source = MemorySource::gguf(file).chunked(5000, 3);
    let options = OpenOptions { device: Device::Cpu, ..OpenOptions::default() };
    let mut half = |progress| !matches!(progress, Progress::Weights { done, total } if done > total / 2);
    let stopped = block_on(Engine::open(&mut source, options.clone(), &mut half));
    assert_eq!(stopped.err().map(|error| error.code()), Some("aborted"));
    let too_long = OpenOptions { context: Some(1 << 20), ..options };
    let refused = block_on(Engine::open(&mut source, too_long, &mut |_| true));
    assert_eq!(refused.err().map(|error| error.code()), Some("generate/bad-request"));
}

#[test]
fn a_sink_takes_rows_in_order_alone_and_what_there_is_room_for() {
    let spec = |rows| TensorSpec { role: Role::Head, format: Format::F32, rows, columns: 32 };
    let mut weights = Weights::new();
    let error = block_on(weights.allocate(&[spec(1 << 55)])).unwrap_err();
    assert_eq!(error.code(), "gpu/out-of-memory");
    block_on(weights.allocate(&[spec(64)])).unwrap();
    let rows = vec![0; 32 * 4 * 32];
    assert_eq!(weights.write_rows(Role::Embedding, 0, &rows).unwrap_err().code(), "weights/missing-tensor");
    assert_eq!(weights.write_rows(Role::Head, 32, &rows).unwrap_err().code(), "weights/bad-header");
    for first in [0, 32] {
        weights.write_rows(Role::Head, first, &rows).unwrap();
    }
    assert_eq!(weights.write_rows(Role::Head, 64, &rows).unwrap_err().code(), "weights/bad-header");
}

#[test]
fn it_is_told_beforehand_what_a_load_takes() {
    let options = OpenOptions { device: Device::Cpu, kv: KvFormat::Q8, context: Some(100), ..OpenOptions::default() };
    let mut source = MemorySource::gguf(std::fs::read(data("gguf/tiny-llama2.Q4_1.gguf")).unwrap());
    let foretold = block_on(Preflight::of(&mut source, &options)).unwrap();
    let engine = engine(options);
    assert_eq!((foretold.verdict, foretold.context), (Verdict::LikelyFits, 100));
    let speed = foretold.speed.unwrap();
    assert!(speed.prefill.is_finite() && speed.prefill > 0.0 && speed.decode.is_finite() && speed.decode > 0.0);
    assert_eq!(foretold.memory.weights, engine.info().weight_bytes);
    assert_eq!(Some(foretold.memory.total()), engine.stats().host_bytes);
}

#[test]
fn the_golden_adapter_comes_and_goes() {
    let adapted: Golden = json("lora-tiny-llama2/golden.json");
    let file = |name: &str| std::fs::read(data(&format!("lora-tiny-llama2/{name}"))).unwrap();
    let mut adapter = folder(file("adapter_config.json"), file("adapter_model.safetensors"));
    let options = OpenOptions { device: Device::Cpu, activations: EXACT, kv: KvFormat::F32, ..OpenOptions::default() };
    let mut engine = forward::open_with(&data("gguf/tiny-llama2.F16.gguf"), options);
    let ids = &adapted.prompts[0].ids;
    let base = block_on(engine.logits(ids)).unwrap();
    block_on(engine.attach(&mut adapter, "golden", 1.0)).unwrap();
    for prompt in &adapted.prompts {
        forward::check_prompt("adapted", &mut engine, 1e-3, prompt);
    }
    block_on(engine.set_adapter_weight("golden", 0.0)).unwrap();
    assert_close("weightless", &block_on(engine.logits(ids)).unwrap(), &base, 1e-4 * rms(&base));
    block_on(engine.detach("golden")).unwrap();
    assert_eq!(block_on(engine.logits(ids)).unwrap(), base, "nothing is left of it");
}

#[test]
fn adapters_add_up_and_change_tied_embeddings_apart() {
    let bytes = std::fs::read(data("gguf/tiny-llama2-mha.F16.gguf")).unwrap();
    let mut weights = Weights::new();
    let mut source = MemorySource::gguf(bytes.clone());
    let opened = block_on(loader::open(&mut source)).unwrap();
    let config = block_on(opened.load(&mut source, &mut weights, &mut |_, _| true)).unwrap();
    assert!(config.tied_embeddings);
    let options = ExecutorOptions { context: 32, kv: KvFormat::F32, chunk: 8, activations: ActivationFormat::F32 };
    let mut executor = Executor::new(&config, weights, options).unwrap();
    let mut random = Random::new(3);
    let modules = ["model.embed_tokens", "lm_head", "model.layers.1.mlp.up_proj", "model.layers.0.self_attn.q_proj"];
    let adapters: Vec<Adapter> = [3, 5]
        .map(|rank| {
            let mut files = AdapterFiles::new(rank, 8.0);
            modules.iter().for_each(|module| files.add(&config, module, rank, &mut random));
            block_on(Adapter::read(&mut files.source(), &config)).unwrap()
        })
        .into();
    let weighted = [(&adapters[0], 0.7), (&adapters[1], -0.4)];
    executor.adapt(&weighted).unwrap();
    let mut plain_weights = reference::Weights::default();
    let mut source = MemorySource::gguf(bytes);
    let opened = block_on(loader::open(&mut source)).unwrap();
    let mut plain_config = block_on(opened.load(&mut source, &mut plain_weights, &mut |_, _| true)).unwrap();
    for (adapter, weight) in weighted {
        plain_weights.merge(&mut plain_config, adapter, weight).unwrap();
    }
    let mut plain = reference::Model::new(plain_config, plain_weights);
    let ids = [1, 30, 17, 2, 39, 8, 0, 25, 33, 11];
    executor.run(&ids[..7], 0).unwrap();
    let expected = plain.forward(&ids).unwrap();
    assert_close("adapted", &executor.logits(&ids[7..], 7).unwrap(), &expected, 1e-3 * rms(&expected));
}
