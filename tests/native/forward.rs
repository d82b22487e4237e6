//! The whole forward pass on each device against golden values of an independent implementation.

use std::path::Path;

use crate::common;
use crate::common::{Golden, GoldenFiles, GoldenPrompt, GoldenStory, argmax, assert_close, data, on_webgpu, rms};
use pagellama::generate::{Device, Engine, FinishReason, OpenOptions, Prompt, Request, Stop};
use pagellama::gpu::Gpu;
use pagellama::gpu::tune::Tuning;
use pagellama::model::kv_cache::KvFormat;
use pagellama::ops::{ActivationFormat, AttentionKernel, MATMUL_BYTES, Matmul, Matvec, Variants};
use pagellama::sampling::Sampling;
use pagellama::weights::native::NativeSource;
use pollster::block_on;
use serde::Deserialize;

/// Fractions of the logits' RMS that the engine may be off, as the fixtures state them.
const TINY: [(KvFormat, f32); 2] = [(KvFormat::F32, 1e-3), (KvFormat::F16, 5e-3)];

fn on(device: Device, kv: KvFormat) -> OpenOptions {
    OpenOptions { kv, device, activations: Some(ActivationFormat::F32), ..OpenOptions::default() }
}

pub fn open_with(path: &Path, options: OpenOptions) -> Engine {
    let mut source = NativeSource::open(path).unwrap_or_else(|error| panic!("{error}: {}", error.advice()));
    block_on(Engine::open(&mut source, options, &mut |_| true)).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

pub fn greedy(engine: &mut Engine, ids: &[u32], max_tokens: usize) -> Vec<u32> {
    let request = Request {
        prompt: Prompt::Ids(ids.to_vec()),
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        sampling: Sampling::default(),
    };
    let generation = block_on(engine.generate(&request, &mut |_| {}, &Stop::default())).unwrap();
    assert_eq!(generation.finish_reason, FinishReason::Length);
    let submits = if engine.info().device.kind == "cpu" { 0.0 } else { 1.0 };
    assert_eq!(generation.stats.submits_per_token, submits);
    generation.ids
}

pub fn check_prompt(file: &str, engine: &mut Engine, tolerance: f32, prompt: &GoldenPrompt) {
    let name = format!("{file} {}", prompt.name);
    let logits = block_on(engine.logits(&prompt.ids)).unwrap();
    assert_close(&name, &logits, &prompt.last_logits, tolerance * prompt.logits_rms);
    assert_eq!(greedy(engine, &prompt.ids, prompt.greedy.len()), prompt.greedy, "{name}");
}

pub fn check_folder(name: &str, device: Device) {
    let golden: Golden = common::json(&format!("{name}/golden.json"));
    for (kv, tolerance) in TINY {
        let mut engine = open_with(&data(name), on(device, kv));
        for prompt in &golden.prompts {
            check_prompt(&format!("{name} {kv:?}"), &mut engine, tolerance, prompt);
        }
    }
}

#[test]
fn sharded_f16_with_grouped_query_attention() {
    check_folder("tiny-llama2", Device::WebGpu);
}

#[test]
fn bf16_with_tied_embeddings_and_linear_rope() {
    check_folder("tiny-llama2-mha", Device::WebGpu);
}

#[test]
fn f32_with_llama3_rope() {
    check_folder("tiny-llama2-mha-llama3rope", Device::WebGpu);
}

#[test]
fn gguf_files_of_every_format() {
    check_gguf_files(Device::WebGpu);
}

pub fn check_gguf_files(device: Device) {
    let golden: GoldenFiles = common::json("gguf/golden.json");
    assert_eq!(golden.files.len(), 25);
    for (number, file) in golden.files.iter().enumerate() {
        // The cache's format has nothing to do with the weights'.
        for (kv, tolerance) in TINY.into_iter().take(if number % 3 == 0 { 2 } else { 1 }) {
            let mut engine = open_with(&data(&format!("gguf/{}", file.file)), on(device, kv));
            for prompt in &file.prompts {
                check_prompt(&format!("{} {kv:?}", file.file), &mut engine, tolerance, prompt);
            }
        }
    }
}

#[test]
fn every_variant_keeps_logits_and_greedy_text() {
    let golden: GoldenFiles = common::json("gguf/golden.json");
    let gpu = block_on(Gpu::open()).unwrap();
    let plain = Variants { matvec: Matvec::Rows, matmul: Matmul::Registers, attention: AttentionKernel::Lanes };
    let matvecs = Matvec::ALL.map(|matvec| Variants { matvec, ..plain });
    let matmuls = Matmul::ALL.map(|matmul| Variants { matmul, ..plain });
    let shared = Variants { attention: AttentionKernel::Shared, ..plain };
    for variants in matvecs.into_iter().chain(matmuls).chain([shared]).filter(|variants| variants.run_on(&gpu)) {
        for name in ["F16", "Q4_0", "Q8_0", "Q3_K_M-mix", "Q4_K_M-mix"] {
            let name = format!("tiny-llama2-256.{name}.gguf");
            let file = golden.files.iter().find(|file| file.file == name).expect("a golden file");
            let options = OpenOptions { kv: KvFormat::F32, tuning: Tuning::Fixed(variants), ..on_webgpu() };
            let mut engine = open_with(&data(&format!("gguf/{}", file.file)), options);
            assert_eq!(engine.info().device.variants, variants.names());
            check_prompt(&format!("{} {variants:?}", file.file), &mut engine, 1e-3, &file.prompts[0]);
        }
    }
}

#[test]
fn stories260k_writes_its_documented_text() {
    check_story(Device::WebGpu);
}

pub fn check_story(device: Device) {
    let golden: GoldenStory = common::json("stories260k/golden.json");
    for (kv, tolerance) in TINY {
        let mut engine = open_with(&data("stories260k"), on(device, kv));
        for step in &golden.first_steps {
            let logits = block_on(engine.logits(&step.ids)).unwrap();
            assert_close("stories260k", &logits, &step.last_logits, tolerance * rms(&step.last_logits));
        }
        assert_eq!(greedy(&mut engine, &golden.ids, golden.greedy.len()), golden.greedy);
    }
}

#[derive(Deserialize)]
struct SmolLm2 {
    full_positions: [usize; 2],
    prompts: Vec<SmolLm2Prompt>,
}

/// `forced` follows `ids`; step `i` stands after `ids` and `forced[..i]`.
#[derive(Deserialize)]
struct SmolLm2Prompt {
    name: String,
    ids: Vec<u32>,
    forced: Vec<u32>,
    argmax: Vec<u32>,
    margins: Vec<f32>,
    logits_rms: Vec<f32>,
    greedy: Vec<u32>,
    greedy_margins: Vec<f32>,
}

/// Below this distance between its two best tokens, the reference itself is not sure.
const CLOSE_CALL: f32 = 1e-1;
/// One vocabulary entry in this many is compared at every position.
const SAMPLE_STEP: usize = 257;

/// The default model after so many of the golden prompts.
pub fn check_smollm2(device: Device, kv: KvFormat, tolerance: f32, prompts: usize) {
    let model = common::default_model();
    let golden: SmolLm2 = common::json("smollm2/golden.json");
    let stored = common::safetensors(&data("smollm2/logits.safetensors"));
    let mut engine = open_with(&model, OpenOptions { context: Some(512), ..on(device, kv) });
    assert!(golden.prompts.len() >= prompts);
    for prompt in &golden.prompts[..prompts] {
        let full = &stored[&format!("{}.full", prompt.name)].1;
        let sample = &stored[&format!("{}.sample", prompt.name)].1;
        let mut ids = prompt.ids.clone();
        for (step, forced) in prompt.forced.iter().enumerate() {
            let name = format!("{} {kv:?} at {step}", prompt.name);
            let logits = block_on(engine.logits(&ids)).unwrap();
            let allowed = tolerance * prompt.logits_rms[step];
            if let Some(at) = golden.full_positions.iter().position(|&at| at == step) {
                assert_close(&name, &logits, &full[at * logits.len()..][..logits.len()], allowed);
            }
            let got: Vec<f32> = logits.iter().step_by(SAMPLE_STEP).copied().collect();
            assert_close(&name, &got, &sample[step * got.len()..][..got.len()], allowed);
            if prompt.margins[step] > CLOSE_CALL {
                assert_eq!(argmax(&logits), prompt.argmax[step], "{name}: best token");
            }
            ids.push(*forced);
        }
        let sure = prompt.greedy_margins.iter().position(|&margin| margin <= CLOSE_CALL);
        let sure = sure.unwrap_or(prompt.greedy.len());
        assert_eq!(greedy(&mut engine, &prompt.ids, sure), prompt.greedy[..sure], "{} {kv:?}", prompt.name);
    }
}

/// Logits every `step` tokens of the prose, all of which pass as parts of prompts, and the perplexity of the token after each.
fn prose_logits(options: OpenOptions, step: usize) -> (Vec<Vec<f32>>, f64) {
    let rounded = options.activations == Some(ActivationFormat::Int8) && options.device != Device::Cpu;
    let mut engine = open_with(&common::default_model(), OpenOptions { context: Some(512), ..options });
    assert_eq!(engine.info().device.variants.contains(&MATMUL_BYTES), rounded);
    let prose = std::fs::read_to_string(data("prose.txt")).unwrap();
    let ids = engine.prompt_ids(&Prompt::Text(prose)).unwrap();
    let (mut all, mut surprise) = (Vec::new(), 0.0);
    for next in (step..ids.len()).step_by(step) {
        let logits = block_on(engine.logits(&ids[..next])).unwrap();
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        surprise += sum.ln() - f64::from(logits[ids[next] as usize] - largest);
        all.push(logits);
    }
    let perplexity = (surprise / all.len() as f64).exp();
    (all, perplexity)
}

#[test]
fn what_is_rounded_keeps_logits_and_perplexity() {
    let activations = OpenOptions { activations: Some(ActivationFormat::Int8), ..on_webgpu() };
    let cache = OpenOptions { kv: KvFormat::Q8, ..on_webgpu() };
    check_rounded(4, on_webgpu(), [(activations, 1e-1, 3e-2), (cache, 1e-1, 3e-2)]);
}

/// Logits and perplexity with options that cost accuracy, against those without, every `step` tokens: fractions of the logits' root
/// mean square that they may be off, at worst and on average.
pub fn check_rounded<const N: usize>(step: usize, exact: OpenOptions, rounded: [(OpenOptions, f32, f32); N]) {
    let (exact, expected) = prose_logits(exact, step);
    assert!(exact.len() > 45 && (2.0..40.0).contains(&expected), "{expected} over {}", exact.len());
    for (options, worst, mean_bound) in rounded {
        let name = format!("{:?} activations, {:?} cache", options.activations, options.kv);
        let (rounded, got) = prose_logits(options, step);
        let (mut mean, exact_count) = (0.0, exact.len() as f32);
        for (at, (exact, rounded)) in exact.iter().zip(&rounded).enumerate() {
            let off: Vec<f32> = exact.iter().zip(rounded).map(|(a, b)| a - b).collect();
            let part = rms(&off) / rms(exact);
            assert!(part > 0.0 && part <= worst, "{name}: logits {at} are off by {part} of their root mean square");
            mean += part / exact_count;
        }
        println!("{name}: off by {mean} on average, perplexity {got} instead of {expected}");
        assert!(mean <= mean_bound, "{name}: logits are off by {mean} of their root mean square on average");
        assert!((got / expected - 1.0).abs() <= 1e-2, "{name}: perplexity {got} instead of {expected}");
    }
}

#[test]
fn smollm2_with_an_f32_cache() {
    check_smollm2(Device::WebGpu, KvFormat::F32, 5e-3, 3);
}

#[test]
fn smollm2_with_an_f16_cache() {
    check_smollm2(Device::WebGpu, KvFormat::F16, 2e-2, 3);
}
