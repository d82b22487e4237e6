//! The loop from prompt to answer: what a seed repeats, what a stop leaves, and what follows an output that is not finite.

use crate::common::files::MemorySource;
use crate::common::{data, on_webgpu};
use pagellama::Result;
use pagellama::generate::{Engine, FinishReason, Generation, OpenOptions, Prompt, Request, Stop};
use pagellama::model::kv_cache::KvFormat;
use pagellama::sampling::Sampling;
use pollster::block_on;
use serde_json::Value;

const PROMPT: [u32; 5] = [1, 82, 27, 197, 240];

fn source() -> MemorySource {
    MemorySource::folder(&data("tiny-llama2-mha-llama3rope"))
}

fn engine(mut source: MemorySource) -> Engine {
    let options = OpenOptions { kv: KvFormat::F32, ..on_webgpu() };
    block_on(Engine::open(&mut source, options, &mut |_| true)).unwrap()
}

fn sampled(seed: u64) -> Sampling {
    Sampling { temperature: 2.0, repetition_penalty: 1.1, top_p: 0.95, seed, ..Sampling::default() }
}

/// An answer that is stopped after `stop_after` pieces of text.
fn stopped(
    engine: &mut Engine,
    ids: &[u32],
    sampling: Sampling,
    tokens: usize,
    stop_after: usize,
) -> Result<Generation> {
    let request = Request { prompt: Prompt::Ids(ids.to_vec()), max_tokens: Some(tokens), ignore_eos: true, sampling };
    let (stop, mut pieces) = (Stop::default(), 0);
    let mut on_text = |_: &str| {
        pieces += 1;
        if pieces == stop_after {
            stop.stop();
        }
    };
    block_on(engine.generate(&request, &mut on_text, &stop))
}

fn generate(engine: &mut Engine, ids: &[u32], sampling: Sampling, tokens: usize) -> Result<Generation> {
    stopped(engine, ids, sampling, tokens, usize::MAX)
}

#[test]
fn a_seed_gives_the_same_answer_in_one_go_and_token_by_token() {
    let mut engine = engine(source());
    let whole = generate(&mut engine, &PROMPT, sampled(3), 60).unwrap();
    assert_eq!((whole.stats.submits_per_token, whole.stats.readbacks_per_token), (1.0, 1.0));
    let mut ids = PROMPT.to_vec();
    for _ in 0..60 {
        ids.extend(generate(&mut engine, &ids, sampled(3), 1).unwrap().ids);
    }
    assert_eq!(ids[PROMPT.len()..], whole.ids);
    assert_eq!(generate(&mut engine, &PROMPT, sampled(3), 60).unwrap().ids, whole.ids);
    assert_ne!(generate(&mut engine, &PROMPT, sampled(4), 60).unwrap().ids, whole.ids);
}

#[test]
fn a_token_takes_seven_dispatches_a_layer_and_no_memory() {
    let config = std::fs::read_to_string(data("tiny-llama2-mha-llama3rope").join("config.json")).unwrap();
    let layers = serde_json::from_str::<Value>(&config).unwrap()["num_hidden_layers"].as_f64().unwrap();
    let mut engine = engine(source());
    let first = generate(&mut engine, &PROMPT, Sampling::default(), 2).unwrap().stats;
    let later = generate(&mut engine, &PROMPT, sampled(3), 60).unwrap().stats;
    // Besides the layers: the embedding, the head, and two that choose.
    assert_eq!(later.dispatches_per_token, 7.0 * layers + 4.0);
    assert_eq!(later.gpu_bytes, first.gpu_bytes);
}

#[test]
fn a_stopped_answer_is_the_beginning_and_the_next_one_is_whole() {
    let mut engine = engine(source());
    let whole = generate(&mut engine, &PROMPT, sampled(3), 60).unwrap().ids;
    for after in [1, 9, 20] {
        let begun = stopped(&mut engine, &PROMPT, sampled(3), 60, after).unwrap();
        assert_eq!((begun.finish_reason, &begun.ids[..]), (FinishReason::Abort, &whole[..begun.ids.len()]));
        assert!(begun.ids.len() >= after && begun.ids.len() < 60);
        // With what the stopped answer left in the cache.
        assert_eq!(generate(&mut engine, &PROMPT, sampled(3), 60).unwrap().ids, whole);
    }
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let error = generate(&mut engine(source()), &PROMPT, Sampling { top_p: 2.0, ..sampled(0) }, 1).unwrap_err();
    assert_eq!(error.code(), "generate/bad-request");
}

/// The model with a vector for `id` so long that its squares are more than a number.
fn overflowing(id: u32) -> MemorySource {
    let mut source = source();
    let file = source.file("model.safetensors");
    let header = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
    let tensors: Value = serde_json::from_slice(&file[8..8 + header]).unwrap();
    let table = &tensors["model.embed_tokens.weight"];
    let row = 4 * table["shape"][1].as_u64().unwrap() as usize;
    let start = 8 + header + table["data_offsets"][0].as_u64().unwrap() as usize + row * id as usize;
    file[start..start + row].copy_from_slice(&3e38_f32.to_le_bytes().repeat(row / 4));
    source
}

#[test]
fn after_an_output_that_is_not_finite_nothing_of_it_is_reused() {
    let other: Vec<u32> = (100..110).collect();
    let mut engine = engine(source());
    let expected = generate(&mut engine, &other, Sampling::default(), 10).unwrap().ids;
    let bad = 500;
    assert!(!expected.contains(&bad));
    let mut engine = self::engine(overflowing(bad));
    assert_eq!(generate(&mut engine, &other, Sampling::default(), 10).unwrap().ids, expected);
    // Far enough from the end that the cache holds it before anything is chosen.
    let mut ids = other.clone();
    ids.push(bad);
    ids.extend(200..400);
    for sampling in [Sampling::default(), sampled(1)] {
        assert_eq!(generate(&mut engine, &ids, sampling, 10).unwrap_err().code(), "gpu/not-finite");
        let good = generate(&mut engine, &other, Sampling::default(), 10).unwrap();
        assert_eq!((good.usage.cached_tokens, good.ids), (0, expected.clone()));
        assert_eq!(block_on(engine.logits(&ids)).unwrap_err().code(), "gpu/not-finite");
        let good = generate(&mut engine, &other, Sampling::default(), 10).unwrap();
        assert_eq!((good.usage.cached_tokens, good.ids), (0, expected.clone()));
    }
}
