//! Tokens that the device works ahead of the host. One body of each test for every shader compiler, as in `kernels.rs`.

use futures_util::FutureExt;
use pagellama::Result;
use pagellama::gpu::weights::Weights;
use pagellama::gpu::{Executor, ExecutorOptions, Gpu, MOST_AHEAD, Recorded};
use pagellama::model::kv_cache::KvFormat;
use pagellama::ops::{ActivationFormat, Variants};
use pagellama::sampling::Sampling;
use pagellama::sampling::sampler::Sampler;
use pagellama::weights::loader;

use super::common::files::{GgufFile, MemorySource};

tests! {
    tokens_are_the_same_however_many_are_ahead,
    the_device_draws_as_the_plain_sampler_does,
    no_more_than_the_most_are_on_their_way,
    a_token_whose_wait_was_given_up_is_not_lost,
    tokens_ahead_of_a_stop_leave_no_trace,
    a_full_context_ends_it,
    an_output_that_is_not_finite_is_told_and_leaves_no_trace,
}

pub const CONTEXT: usize = 64;
pub const PROMPT: [u32; 5] = [1, 7, 3, 20, 11];
pub const OTHER: [u32; 3] = [1, 30, 5];

/// Varied answers of a model whose logits lie far apart, with everything that the device has to remember.
pub fn sampled() -> Sampling {
    Sampling {
        temperature: 60.0,
        repetition_penalty: 1.2,
        top_k: Some(30),
        top_p: 0.95,
        seed: 5,
        ..Sampling::default()
    }
}

async fn executor(file: &GgufFile, kv: KvFormat) -> Executor {
    let gpu = Gpu::open().await.unwrap();
    let mut source = MemorySource::gguf(file.bytes());
    let mut weights = Weights::new(&gpu);
    let opened = loader::open(&mut source).await.unwrap();
    let config = opened.load(&mut source, &mut weights, &mut |_, _| true).await.unwrap();
    let weights = weights.finish();
    let options = ExecutorOptions {
        context: CONTEXT,
        kv,
        chunk: 32,
        variants: Variants::for_adapter(&gpu),
        activations: ActivationFormat::F32,
    };
    let recorded = Recorded::new(&gpu, &config, &weights, options).await.unwrap();
    recorded.complete(gpu, &config, weights).unwrap()
}

async fn llama() -> Executor {
    executor(&GgufFile::llama(), KvFormat::F32).await
}

/// `count` tokens after a prompt, `ahead` of them on their way at a time.
async fn answer(
    executor: &mut Executor,
    sampling: &Sampling,
    prompt: &[u32],
    count: usize,
    ahead: usize,
) -> Result<Vec<u32>> {
    executor.begin(sampling, prompt)?;
    let mut ids = vec![executor.choose(prompt, 0).await?];
    while ids.len() < count {
        while executor.ahead() < ahead.min(count - ids.len()) {
            executor.go_on(prompt.len() + ids.len() - 1 + executor.ahead())?;
        }
        ids.push(executor.chosen().await?);
    }
    Ok(ids)
}

async fn tokens_are_the_same_however_many_are_ahead() {
    let mut executor = llama().await;
    for sampling in [Sampling::default(), sampled()] {
        let count = CONTEXT - PROMPT.len();
        let alone = answer(&mut executor, &sampling, &PROMPT, count, 1).await.unwrap();
        for ahead in [2, 5, MOST_AHEAD] {
            assert_eq!(answer(&mut executor, &sampling, &PROMPT, count, ahead).await.unwrap(), alone, "{ahead} ahead");
        }
        // Each token a request of its own, after all those before it.
        let mut ids = PROMPT.to_vec();
        while ids.len() < CONTEXT {
            executor.begin(&sampling, &ids).unwrap();
            let first = if ids.len() == PROMPT.len() { 0 } else { ids.len() - 1 };
            ids.push(executor.choose(&ids[first..], first).await.unwrap());
        }
        assert_eq!(ids[PROMPT.len()..], alone);
    }
}

async fn the_device_draws_as_the_plain_sampler_does() {
    let mut executor = llama().await;
    let ids = answer(&mut executor, &sampled(), &PROMPT, 40, 8).await.unwrap();
    let sampler = Sampler::new(sampled()).unwrap();
    let mut history = PROMPT.to_vec();
    let mut logits = executor.logits(&PROMPT, 0).await.unwrap();
    for id in ids {
        assert_eq!(sampler.sample(&mut logits, &history, history.len()).unwrap(), id, "at {}", history.len());
        logits = executor.logits(&[id], history.len()).await.unwrap();
        history.push(id);
    }
}

async fn no_more_than_the_most_are_on_their_way() {
    let mut executor = llama().await;
    let expected = answer(&mut executor, &sampled(), &PROMPT, MOST_AHEAD + 2, 1).await.unwrap();
    executor.begin(&sampled(), &PROMPT).unwrap();
    let mut ids = vec![executor.choose(&PROMPT, 0).await.unwrap()];
    for ahead in 0..MOST_AHEAD {
        executor.go_on(PROMPT.len() + ahead).unwrap();
    }
    let next = PROMPT.len() + MOST_AHEAD;
    assert_eq!(executor.go_on(next).unwrap_err().code(), "generate/bad-request");
    ids.push(executor.chosen().await.unwrap());
    executor.go_on(next).unwrap();
    while executor.ahead() > 0 {
        ids.push(executor.chosen().await.unwrap());
    }
    assert_eq!(ids, expected);
    assert_eq!(executor.chosen().await.unwrap_err().code(), "generate/bad-request");
}

async fn a_token_whose_wait_was_given_up_is_not_lost() {
    let mut executor = llama().await;
    let expected = answer(&mut executor, &sampled(), &PROMPT, 20, 1).await.unwrap();
    executor.begin(&sampled(), &PROMPT).unwrap();
    let mut ids = vec![executor.choose(&PROMPT, 0).await.unwrap()];
    for position in PROMPT.len()..PROMPT.len() + 19 {
        executor.go_on(position).unwrap();
        // Natively it is there at once.
        ids.push(match executor.chosen().now_or_never() {
            Some(id) => id.unwrap(),
            None => executor.chosen().await.unwrap(),
        });
    }
    assert_eq!(ids, expected);
    // Nor is what a run waits for before it starts.
    executor.go_on(PROMPT.len() + 19).unwrap();
    drop(executor.choose(&OTHER, 0).now_or_never());
    assert_eq!(answer(&mut executor, &sampled(), &PROMPT, 20, MOST_AHEAD).await.unwrap(), expected);
}

async fn tokens_ahead_of_a_stop_leave_no_trace() {
    let mut executor = llama().await;
    let expected = answer(&mut llama().await, &sampled(), &OTHER, 30, 4).await.unwrap();
    for left in [1, 5, MOST_AHEAD] {
        answer(&mut executor, &sampled(), &PROMPT, 20, 3).await.unwrap();
        for ahead in 0..left {
            executor.go_on(PROMPT.len() + 19 + ahead).unwrap();
        }
        assert_eq!(answer(&mut executor, &sampled(), &OTHER, 30, 4).await.unwrap(), expected, "{left} left");
    }
}

async fn a_full_context_ends_it() {
    let mut executor = llama().await;
    // The last token needs no place.
    let count = CONTEXT - PROMPT.len() + 1;
    let ids = answer(&mut executor, &sampled(), &PROMPT, count, MOST_AHEAD).await.unwrap();
    assert_eq!(executor.go_on(CONTEXT).unwrap_err().code(), "generate/bad-request");
    assert_eq!(executor.run(&[1, 2], CONTEXT - 1).await.unwrap_err().code(), "generate/bad-request");
    assert_eq!(answer(&mut executor, &sampled(), &PROMPT, count, 3).await.unwrap(), ids, "none of it was done");
}

async fn an_output_that_is_not_finite_is_told_and_leaves_no_trace() {
    for kv in [KvFormat::F32, KvFormat::F16, KvFormat::Q8] {
        let mut good = executor(&GgufFile::llama(), kv).await;
        let calm = answer(&mut good, &Sampling::default(), &OTHER, 8, 2).await.unwrap();
        let story = answer(&mut good, &sampled(), &PROMPT, 30, 2).await.unwrap();
        let harmless = |id: &u32| PROMPT.contains(id) || OTHER.contains(id) || calm.contains(id);
        let at = story.iter().position(|id| !harmless(id)).unwrap();
        // Its vector is so long that its squares are more than a number.
        let mut file = GgufFile::llama();
        let row = 4 * 32 * story[at] as usize;
        file.tensor("token_embd.weight").data[row..row + 4 * 32].copy_from_slice(&3e38_f32.to_le_bytes().repeat(32));
        let mut executor = executor(&file, kv).await;

        assert_eq!(answer(&mut executor, &sampled(), &PROMPT, at + 1, 8).await.unwrap(), story[..=at]);
        assert_eq!(answer(&mut executor, &Sampling::default(), &OTHER, 8, 2).await.unwrap(), calm);
        let error = answer(&mut executor, &sampled(), &PROMPT, 30, 8).await.unwrap_err();
        assert_eq!((error.code(), executor.ahead()), ("gpu/not-finite", 0));
        assert_eq!(answer(&mut executor, &Sampling::default(), &OTHER, 8, 2).await.unwrap(), calm, "{kv:?}");

        // Nobody asks for what comes of it.
        answer(&mut executor, &sampled(), &PROMPT, at + 1, 8).await.unwrap();
        executor.go_on(PROMPT.len() + at).unwrap();
        assert_eq!(executor.forget_ahead().await.unwrap_err().code(), "gpu/not-finite");
        assert_eq!(answer(&mut executor, &Sampling::default(), &OTHER, 8, 2).await.unwrap(), calm, "{kv:?}");
        assert_eq!(executor.logits(&[1, story[at]], 0).await.unwrap_err().code(), "gpu/not-finite");
        assert_eq!(answer(&mut executor, &Sampling::default(), &OTHER, 8, 2).await.unwrap(), calm, "{kv:?}");
    }
}
