//! A device that goes away in the middle of an answer: another engine goes on with it, and nobody can tell from the text.

use crate::common::files::MemorySource;
use crate::common::{Random, data, on_webgpu};
use pagellama::generate::{Answer, Engine, FinishReason, Generation, Prompt, Request, Stop};
use pagellama::sampling::Sampling;
use pollster::block_on;

const TOKENS: usize = 60;

fn engine() -> Engine {
    let mut source = MemorySource::folder(&data("tiny-llama2-mha-llama3rope"));
    block_on(Engine::open(&mut source, on_webgpu(), &mut |_| true)).unwrap()
}

fn greedy() -> Sampling {
    Sampling { repetition_penalty: 1.3, ..Sampling::default() }
}

fn sampled() -> Sampling {
    Sampling { temperature: 1.5, repetition_penalty: 1.2, top_p: 0.95, seed: 7, ..Sampling::default() }
}

/// A prompt of several chunks.
fn request(sampling: &Sampling) -> Request {
    let prompt = Prompt::Ids((0..70).map(|i| 3 + i * 7 % 400).collect());
    Request { prompt, max_tokens: Some(TOKENS), ignore_eos: true, sampling: sampling.clone() }
}

/// An answer whose devices end when so many pieces of text are there: its pieces, and what came of it.
fn answered(engine: &mut Engine, sampling: &Sampling, losses: &[usize]) -> (Vec<String>, Generation) {
    let (mut pieces, stop) = (Vec::new(), Stop::default());
    let mut answer = Answer::new(request(sampling));
    let mut losses = losses.iter();
    loop {
        let (end, at) = (engine.device_end(), losses.next());
        if at == Some(&0) {
            end();
        }
        let mut on_text = |piece: &str| {
            pieces.push(piece.to_owned());
            if Some(&pieces.len()) == at {
                end();
            }
        };
        match block_on(engine.go_on(&mut answer, &mut on_text, &stop)) {
            Ok(reason) => {
                let generation = engine.end(answer, reason, &mut on_text).unwrap();
                return (pieces, generation);
            }
            Err(error) => {
                assert_eq!(error.code(), "gpu/lost", "{error}");
                assert!(at.is_some(), "nothing was to be lost");
                *engine = self::engine();
            }
        }
    }
}

fn assert_same(undisturbed: &(Vec<String>, Generation), disturbed: &(Vec<String>, Generation), losses: &[usize]) {
    let ((pieces, whole), (again, result)) = (undisturbed, disturbed);
    assert_eq!((&result.text, &result.ids), (&whole.text, &whole.ids), "lost at {losses:?}");
    assert_eq!(again, pieces, "nothing is given out twice: lost at {losses:?}");
    assert_eq!(result.finish_reason, FinishReason::Length);
    let counts = |generation: &Generation| {
        let usage = generation.usage;
        (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, usage.context)
    };
    assert_eq!(counts(result), counts(whole), "lost at {losses:?}");
}

#[test]
fn an_answer_outlives_its_device_at_any_moment() {
    // Twenty moments in all.
    for sampling in [greedy(), sampled()] {
        let whole = answered(&mut engine(), &sampling, &[]);
        let mut random = Random::new(20);
        for _ in 0..10 {
            let losses = [random.below(whole.0.len())];
            assert_same(&whole, &answered(&mut engine(), &sampling, &losses), &losses);
        }
    }
}

#[test]
fn an_answer_outlives_several_devices() {
    let whole = answered(&mut engine(), &sampled(), &[]);
    // The second goes with the first piece, the third and fourth before there is one.
    let losses = [4, 5, 0, 0, 20];
    let mut engine = engine();
    assert_same(&whole, &answered(&mut engine, &sampled(), &losses), &losses);
    // What the last device has seen is of use to the next answer.
    let next = answered(&mut engine, &sampled(), &[]).1;
    assert_eq!((next.text, next.usage.cached_tokens), (whole.1.text, next.usage.prompt_tokens - 1));
}

#[test]
fn an_answer_without_its_device_can_end() {
    let mut engine = engine();
    let mut answer = Answer::new(request(&greedy()));
    let (end, mut text) = (engine.device_end(), String::new());
    let mut on_text = |piece: &str| {
        text.push_str(piece);
        end();
    };
    let lost = block_on(engine.go_on(&mut answer, &mut on_text, &Stop::default())).unwrap_err();
    assert_eq!(lost.code(), "gpu/lost");
    let ended = engine.end(answer, FinishReason::Abort, &mut on_text).unwrap();
    assert_eq!((ended.finish_reason, &ended.text), (FinishReason::Abort, &text));
    assert!(!ended.ids.is_empty() && ended.usage.completion_tokens == ended.ids.len());
}
