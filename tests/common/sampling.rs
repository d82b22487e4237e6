//! Sampling on the device against the plain sampler. One body of each test for every shader compiler, as in `kernels.rs`.

use pagellama::gpu::Gpu;
use pagellama::gpu::kernel::{Dispatch, Extent, Kernel};
use pagellama::gpu::tensor::Buffer;
use pagellama::ops::{self, SampleBuffers, SampleShape};
use pagellama::sampling::Sampling;
use pagellama::sampling::sampler::{self, Sampler};

use super::common::Random;
use super::kernels::{open, run, step};

tests! {
    splitmix64_is_the_samplers_bit_for_bit,
    the_device_chooses_as_the_plain_sampler_does,
    draws_fit_their_probabilities,
    the_device_s_choices_are_penalised_after_them,
    greedy_takes_the_lowest_of_equals,
    a_filter_s_border_among_equals,
    logits_that_are_not_finite_are_told,
    a_seed_repeats_and_another_does_not,
    settings_that_mean_nothing_are_refused,
}

/// A vocabulary's kernels with their buffers.
struct Device {
    step: Buffer,
    logits: Buffer,
    best: Buffer,
    buffers: SampleBuffers,
    dispatches: Vec<Dispatch>,
}

impl Device {
    async fn new(gpu: &Gpu, shape: SampleShape) -> Self {
        let step = step(gpu, 0, 1);
        let logits = gpu.storage("logits", 4 * shape.vocab as u64).unwrap();
        let best = gpu.storage("best", 4).unwrap();
        let buffers = SampleBuffers::allocate(gpu, shape).unwrap();
        let make = || ops::sample(gpu, &step, &logits, &buffers, &best);
        let dispatches = gpu.checked("sample", make).await.unwrap();
        Self { step, logits, best, buffers, dispatches }
    }

    fn upload(&self, gpu: &Gpu, logits: &[f32]) {
        gpu.upload(&self.logits, 0, bytemuck::cast_slice(logits)).unwrap();
    }

    /// The token at `position`, which is at least 3.
    async fn choose(&self, gpu: &Gpu, position: usize) -> u32 {
        // As after a prompt's last chunk, of three tokens.
        gpu.upload(&self.step, 0, bytemuck::cast_slice(&[position as u32 - 3, 3])).unwrap();
        gpu.submit(&self.dispatches, 3, None);
        gpu.read::<u32>(&self.best).await.unwrap()[0]
    }
}

/// A device's kernels, the request begun and the logits there.
async fn ready(gpu: &Gpu, sampling: &Sampling, logits: &[f32], prompt: &[u32]) -> Device {
    let device = Device::new(gpu, SampleShape::new(gpu, logits.len())).await;
    device.buffers.begin(gpu, sampling, prompt).unwrap();
    device.upload(gpu, logits);
    device
}

/// Temperature 1 and no filter.
fn plain() -> Sampling {
    Sampling { temperature: 1.0, seed: 11, ..Sampling::default() }
}

/// The sampler's number as the device has it: 24 bits.
fn uniform(seed: u64, position: usize) -> f64 {
    let steps = (1 << 24) as f64;
    (sampler::uniform(seed, position) * steps).floor() / steps
}

async fn splitmix64_is_the_samplers_bit_for_bit() {
    const TEXT: &str = "\
@group(0) @binding(0) var<storage, read> input: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4u>;
@compute @workgroup_size(64) fn splitmix64_check(@builtin(global_invocation_id) id: vec3u) {
    let ask = input[id.x];
    output[id.x] = vec4u(splitmix64(ask.xy, ask.z), bitcast<u32>(uniform24(ask.xy, ask.z)), 0u);
}";
    const COUNT: usize = 1024;
    let gpu = open().await;
    let mut random = Random::new(1);
    let mut asked = vec![(0, 0), (u64::MAX, 0), (1_234_567, 1), (u64::MAX, u32::MAX - 1), (1 << 63, 77)];
    // Words whose halves are all ones carry the most.
    asked.extend([0xffff_ffff, 0xffff_0000_ffff_0000, 0x0000_ffff_ffff_ffff].map(|seed| (seed, 0xffff)));
    asked.resize_with(COUNT, || (random.bits(), (random.bits() >> random.below(32)) as u32 / 2));
    let words: Vec<u32> =
        asked.iter().flat_map(|&(seed, index)| [seed as u32, (seed >> 32) as u32, index, 0]).collect();
    let input = gpu.storage_with("input", &words).unwrap();
    let output = gpu.storage("output", input.bytes()).unwrap();
    let got = run(&gpu, 1, &output, || {
        let parts = [include_str!("../../shaders/common/splitmix64.wgsl"), TEXT];
        let kernel = Kernel { name: "splitmix64_check", parts: &parts, sizes: &[] };
        Ok(vec![gpu.dispatch(&kernel, &[&input, &output], Extent::fixed(COUNT, 64), Extent::fixed(1, 1))])
    })
    .await;
    for (&(seed, index), got) in asked.iter().zip(got.chunks_exact(4)) {
        let bits = u64::from(got[0].to_bits()) | u64::from(got[1].to_bits()) << 32;
        assert_eq!(bits, sampler::splitmix64(seed, u64::from(index)), "output {index} of seed {seed:#x}");
        assert_eq!(f64::from(got[2]), uniform(seed, index as usize), "output {index} of seed {seed:#x}");
    }
}

/// Logits of several kinds: with spikes, as a language model's (a bulk with a few far above it), with many equals, all but flat.
fn logits(random: &mut Random, kind: usize, vocab: usize) -> Vec<f32> {
    match kind {
        0 => random.spiky(vocab),
        1 => (0..vocab).map(|_| -2.0 * (-(0.5 + 0.499_999 * random.unit()).ln()).ln()).collect(),
        2 => (0..vocab).map(|_| random.below(12) as f32 * 0.5 - 3.0).collect(),
        _ => (0..vocab).map(|_| 1e-3 * random.unit()).collect(),
    }
}

fn some_sampling(random: &mut Random, seed: u64) -> Sampling {
    fn one<T: Copy>(random: &mut Random, values: &[T]) -> T {
        values[random.below(values.len())]
    }
    Sampling {
        repetition_penalty: one(random, &[1.0, 1.0, 1.3, 0.7]),
        temperature: one(random, &[0.0, 0.3, 0.8, 0.8, 1.0, 1.7, 100.0]),
        top_k: one(random, &[None, None, Some(1), Some(5), Some(40), Some(500)]),
        top_p: one(random, &[1.0, 1.0, 0.95, 0.6, 0.1, 0.0]),
        min_p: one(random, &[0.0, 0.0, 0.05, 0.4, 1.0]),
        seed,
    }
}

/// How far the draw's number may be off. The device adds up as many as 49152 weights in f32, 1536 in a lane and then the lanes',
/// and the worst seen is between two and four millionths. Borders between tokens are in order of ids, so the device's token must
/// lie between those of the numbers so far below and above; mostly the two are the same.
const DRAW: f64 = 1e-5;

async fn the_device_chooses_as_the_plain_sampler_does() {
    let gpu = open().await;
    let (mut draws, mut on_border) = (0, 0);
    for (vocab, lanes, rounds) in
        [(1, 32, 4), (7, 256, 20), (1000, 32, 60), (1000, 128, 30), (1000, 256, 60), (32000, 256, 40), (49152, 32, 60)]
    {
        let mut random = Random::new((vocab + lanes) as u64);
        let device = Device::new(&gpu, SampleShape { vocab, lanes }).await;
        for round in 0..rounds {
            let sampling = some_sampling(&mut random, round * 7919);
            let prompt: Vec<u32> = (0..random.below(vocab / 3 + 2)).map(|_| random.below(vocab + 5) as u32).collect();
            let logits = logits(&mut random, round as usize % 4, vocab);
            device.buffers.begin(&gpu, &sampling, &prompt).unwrap();
            device.upload(&gpu, &logits);
            let position = prompt.len() + 3;
            let got = device.choose(&gpu, position).await;
            let sampler = Sampler::new(sampling.clone()).unwrap();
            let at = uniform(sampling.seed, position);
            let [low, same, high] = [at - DRAW, at, at + DRAW]
                .map(|at| sampler.sample_with(&mut logits.clone(), &prompt, at.max(0.0)).unwrap());
            assert!(
                (low..=high).contains(&got),
                "vocabulary {vocab}, round {round}: {got} instead of {same} ({low} to {high}): {sampling:?}"
            );
            draws += 1;
            on_border += usize::from(got != same);
        }
    }
    // Where tokens are many and none is likely, borders are close to each other.
    assert!(on_border * 20 <= draws, "{on_border} of {draws} are not the same");
}

async fn draws_fit_their_probabilities() {
    const DRAWS: usize = 1500;
    let gpu = open().await;
    // Of the ten, top-k keeps eight, the nucleus six of them.
    let likely = [1_u8, 30, 2, 20, 3, 12, 8, 10, 9, 5];
    let logits: Vec<f32> = likely.iter().map(|&p| f32::from(p).ln()).collect();
    let sampling = Sampling { top_k: Some(8), top_p: 0.89, ..plain() };
    let kept = [0.0, 30.0, 0.0, 20.0, 0.0, 12.0, 8.0, 10.0, 9.0, 0.0];
    let total: f64 = kept.iter().sum();
    let device = ready(&gpu, &sampling, &logits, &[]).await;
    let mut counts = [0_u32; 10];
    for position in 3..3 + DRAWS {
        counts[device.choose(&gpu, position).await as usize] += 1;
    }
    let mut distance = 0.0;
    for (count, kept) in counts.into_iter().zip(kept) {
        let expected = DRAWS as f64 * kept / total;
        if kept == 0.0 {
            assert_eq!(count, 0, "dropped by the filters: {counts:?}");
        } else {
            distance += (f64::from(count) - expected).powi(2) / expected;
        }
    }
    // Chi-square of five degrees of freedom exceeds 20.5 once in a thousand.
    assert!(distance < 20.5, "chi-square is {distance}: {counts:?}");
}

async fn the_device_s_choices_are_penalised_after_them() {
    let gpu = open().await;
    let mut logits = vec![0.0; 70];
    (logits[69], logits[3], logits[40], logits[33]) = (9.0, 8.0, 7.0, -1.0);
    let sampling = Sampling { repetition_penalty: 100.0, ..Sampling::default() };
    // 9, then 7 as the prompt has the 8; then 0.09 is above 0.08.
    let device = ready(&gpu, &sampling, &logits, &[3, 3, 1000]).await;
    let mut chosen = Vec::new();
    for position in 3..7 {
        chosen.push(device.choose(&gpu, position).await);
    }
    assert_eq!(chosen, [69, 40, 69, 69]);
    let seen: Vec<u32> = gpu.read(device.buffers.seen()).await.unwrap();
    assert_eq!(seen[..3], [1 << 3, 1 << (40 - 32), 1 << (69 - 64)]);
    device.buffers.begin(&gpu, &sampling, &[]).unwrap();
    assert_eq!(gpu.read::<u32>(device.buffers.seen()).await.unwrap()[..3], [0; 3], "another request");
    // Far out, a penalty must not make infinities of numbers.
    let device = ready(&gpu, &Sampling { repetition_penalty: 2.0, ..plain() }, &[f32::MIN, f32::MIN], &[0, 1]).await;
    assert!(device.choose(&gpu, 3).await < 2);
    let device = ready(&gpu, &Sampling { repetition_penalty: 0.5, ..plain() }, &[f32::MAX, 1.0], &[0, 1]).await;
    assert_eq!(device.choose(&gpu, 3).await, 0);
}

async fn greedy_takes_the_lowest_of_equals() {
    let gpu = open().await;
    for vocab in [1, 7, 1000, 49152] {
        let mut logits = Random::new(vocab as u64).spiky(vocab);
        let greedy = Sampling::default();
        let single = Sampling { top_k: Some(1), temperature: 3.0, ..plain() };
        let best = pagellama::reference::argmax(&logits).unwrap();
        for sampling in [&greedy, &single] {
            assert_eq!(ready(&gpu, sampling, &logits, &[]).await.choose(&gpu, 9).await, best, "{sampling:?}");
        }
        (logits[vocab / 2], logits[vocab - 1]) = (99.0, 99.0);
        let device = ready(&gpu, &greedy, &logits, &[]).await;
        assert_eq!(device.choose(&gpu, 9).await, vocab as u32 / 2);
    }
}

/// The ids that are chosen at all in 60 draws.
async fn support(gpu: &Gpu, sampling: Sampling, logits: &[f32]) -> Vec<u32> {
    let device = ready(gpu, &sampling, logits, &[]).await;
    let mut seen = vec![false; logits.len()];
    for position in 3..63 {
        seen[device.choose(gpu, position).await as usize] = true;
    }
    (0..logits.len() as u32).filter(|&id| seen[id as usize]).collect()
}

async fn a_filter_s_border_among_equals() {
    let gpu = open().await;
    let tied = [1.0, 3.0, 3.0, 3.0, 0.0];
    assert_eq!(support(&gpu, Sampling { top_p: 0.1, ..plain() }, &tied).await, [1]);
    assert_eq!(support(&gpu, Sampling { top_k: Some(2), ..plain() }, &tied).await, [1, 2, 3]);
    assert_eq!(support(&gpu, Sampling { min_p: 1.0, ..plain() }, &tied).await, [1, 2, 3]);
    // Zeros of both signs are equals.
    let zeros = [0.0, -5.0, -0.0, -9.0];
    assert_eq!(support(&gpu, Sampling { top_k: Some(1), ..plain() }, &zeros).await, [0, 2]);
    // Over several lanes: of 200 equals, the nucleus has the first 5.
    assert_eq!(support(&gpu, Sampling { top_p: 0.0249, ..plain() }, &[2.5; 200]).await, [0, 1, 2, 3, 4]);
    let mut apart = vec![-50.0; 300];
    for id in [4, 70, 140, 299] {
        apart[id] = 1.0;
    }
    assert_eq!(support(&gpu, Sampling { top_p: 0.7, ..plain() }, &apart).await, [4, 70, 140]);
    assert_eq!(support(&gpu, Sampling { top_k: Some(3), ..plain() }, &apart).await, [4, 70, 140, 299]);
}

async fn logits_that_are_not_finite_are_told() {
    let gpu = open().await;
    for sampling in [Sampling::default(), plain(), Sampling { top_k: Some(3), top_p: 0.5, ..plain() }] {
        for vocab in [1, 1000] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut logits = Random::new(vocab as u64).spiky(vocab);
                logits[vocab - 1] = bad;
                let device = ready(&gpu, &sampling, &logits, &[]).await;
                assert_eq!(device.choose(&gpu, 3).await, ops::NONE, "{bad} of {vocab}: {sampling:?}");
                let seen: Vec<u32> = gpu.read(device.buffers.seen()).await.unwrap();
                assert!(seen.iter().all(|&word| word == 0), "nothing was chosen");
            }
        }
    }
}

async fn a_seed_repeats_and_another_does_not() {
    let gpu = open().await;
    let logits = vec![0.0; 5000];
    let device = ready(&gpu, &plain(), &logits, &[]).await;
    let draws = async |seed: u64| {
        device.buffers.begin(&gpu, &Sampling { seed, ..plain() }, &[]).unwrap();
        let mut draws = Vec::new();
        for position in 3..23 {
            draws.push(device.choose(&gpu, position).await);
        }
        draws
    };
    let [first, again, other, upper] = [draws(5).await, draws(5).await, draws(6).await, draws(5 | 1 << 32).await];
    assert_eq!(first, again);
    let same = |a: &[u32], b: &[u32]| a.iter().zip(b).filter(|(a, b)| a == b).count();
    assert!(same(&first, &other) < 3 && same(&first, &upper) < 3, "another seed is another draw");
    assert!(same(&first[1..], &first) < 3, "another position is another draw");
}

async fn settings_that_mean_nothing_are_refused() {
    let gpu = open().await;
    let buffers = SampleBuffers::allocate(&gpu, SampleShape::new(&gpu, 10)).unwrap();
    let error = buffers.begin(&gpu, &Sampling { top_p: f32::NAN, ..plain() }, &[]).unwrap_err();
    assert_eq!(error.code(), "generate/bad-request");
    let (step, small) = (step(&gpu, 0, 1), gpu.storage("logits", 16).unwrap());
    assert!(ops::sample(&gpu, &step, &small, &buffers, &small).is_err(), "4 logits of 10");
}
