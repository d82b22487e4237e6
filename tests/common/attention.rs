//! RoPE and attention through the KV cache against their plain twins.

use pagellama::gpu::Gpu;
use pagellama::gpu::tensor::Buffer;
use pagellama::model::kv_cache::KvFormat;
use pagellama::ops::{self, AttentionKernel, HeadShape};
use pagellama::reference;

use super::common::{Random, assert_close};
use super::kernels::{open, padded, run, step, unpadded};

tests! {
    attention_over_an_f32_cache,
    attention_over_an_f16_cache,
    attention_over_a_q8_cache,
    attention_beyond_the_largest_half_stays_finite,
}

/// Heads, key/value heads, head dimension, positions already cached, tokens, parts.
const ATTENTIONS: [[usize; 6]; 10] = [
    [4, 2, 16, 0, 1, 8],
    [9, 3, 64, 133, 1, 32],
    [4, 4, 10, 5, 7, 1],
    [8, 1, 8, 0, 70, 1],
    [8, 2, 10, 127, 1, 8],
    [2, 2, 128, 90, 3, 16],
    [6, 2, 16, 2, 1, 128],
    [10, 2, 6, 63, 2, 1],
    [4, 2, 16, 200, 1, 12],
    [2, 2, 128, 62, 5, 16],
];

/// Where the kernel for real GPUs does something else, whatever the cache's format; its compilation takes software adapters long.
const MORE: [[usize; 6]; 6] = [
    [2, 1, 256, 70, 5, 1],
    [3, 3, 96, 60, 9, 1],
    [9, 3, 64, 62, 5, 1],
    [1, 1, 256, 130, 1, 8],
    [4, 2, 16, 700, 1, 8],
    [2, 1, 2, 65, 2, 1],
];
/// How many of the first list it is tried with in the other formats.
const FEW: usize = 6;

/// RoPE and attention through the cache: the two share its layout.
async fn check_attention(kv: KvFormat, tolerance: f32) {
    let gpu = open().await;
    let more = if kv == KvFormat::F16 { &MORE[..] } else { &[] };
    for (at, &[heads, kv_heads, head_dim, cached, tokens, parts]) in ATTENTIONS.iter().chain(more).enumerate() {
        let name = format!("attention {heads}/{kv_heads} x {head_dim}, {cached} + {tokens}, {parts} parts");
        let positions = cached + tokens;
        // Every other cache is full.
        let context = positions + 3 * (at % 2);
        let shape = HeadShape { heads, kv_heads, head_dim, context, kv };
        let (queries, width) = (heads * head_dim, kv_heads * head_dim);
        let mut random = Random::new(positions as u64);
        let q = random.spiky(tokens * queries);
        let (k, v) = (random.spiky(positions * width), random.spiky(positions * width));
        let frequencies: Vec<f32> = (0..head_dim / 2).map(|i| 100_f32.powf(-(i as f32) / head_dim as f32)).collect();
        let angles: Vec<[f32; 2]> = (0..shape.context)
            .flat_map(|at| frequencies.iter().map(move |f| (at as f64 * f64::from(*f)).sin_cos()))
            .map(|(sin, cos)| [cos as f32, sin as f32])
            .collect();
        let angles = gpu.storage_with("angles", &angles).unwrap();
        let cache = || gpu.storage("cache", shape.cache_bytes()).unwrap();
        let (keys, values) = (cache(), cache());
        // What no part has written must not be joined.
        let unset_mixed = vec![f32::NAN; tokens * parts * queries];
        let unset_stats = vec![f32::NAN; 2 * tokens * parts * heads];
        let mixed = gpu.storage_with("mixed", &unset_mixed).unwrap();
        let stats = gpu.storage_with("stats", &unset_stats).unwrap();
        let unset_output = vec![f32::NAN; tokens * shape.query_stride()];
        let output = gpu.storage_with("out", &unset_output).unwrap();
        let feed = async |first: usize, count: usize, q: &[f32]| {
            let row = |at: usize| {
                let kv = |all: &[f32]| padded(&all[(first + at) * width..(first + at + 1) * width], width, 0);
                [padded(&q[at * queries..(at + 1) * queries], queries, 0), kv(&k), kv(&v)].concat()
            };
            let qkv = gpu.storage_with("qkv", &(0..count).flat_map(row).collect::<Vec<f32>>()).unwrap();
            let step = step(&gpu, first as u32, count);
            let rope = ops::Rope { angles: &angles, qkv: &qkv, keys: &keys, values: &values };
            let turned = run(&gpu, count, &qkv, || Ok(vec![ops::rope(&gpu, &shape, &step, &rope)?])).await;
            let turned: Vec<f32> =
                turned.chunks_exact(shape.qkv_stride()).flat_map(|row| &row[..queries]).copied().collect();
            (qkv, step, turned)
        };
        if cached > 0 {
            feed(0, cached, &vec![0.0; cached * queries]).await;
        }
        let (qkv, step, got_q) = feed(cached, tokens, &q).await;
        let expected_q = reference::rope(&q, &frequencies, heads, cached);
        assert_close(&format!("rope in {name}"), &got_q, &expected_q, 1e-5);
        let mut got = Vec::new();
        let kernels =
            if kv == KvFormat::F16 || at < FEW { &AttentionKernel::ALL[..] } else { &[AttentionKernel::Lanes] };
        for &kernel in kernels {
            let out = if parts == 1 { &output } else { &mixed };
            let args = ops::Attention { qkv: &qkv, keys: &keys, values: &values, out, stats: &stats, parts, kernel };
            // Nor what the other kernel has.
            for (buffer, unset) in [(&mixed, &unset_mixed), (&stats, &unset_stats), (&output, &unset_output)] {
                gpu.upload(buffer, 0, bytemuck::cast_slice(unset)).unwrap();
            }
            let outputs = run(&gpu, tokens, &output, || {
                let mut recorded = vec![ops::attention(&gpu, &shape, &step, &args)?];
                if parts > 1 {
                    recorded.push(ops::attention_merge(&gpu, &shape, &step, &args, &output)?);
                }
                Ok(recorded)
            });
            got.push((kernel, outputs.await));
        }
        let k = reference::rope(&k, &frequencies, kv_heads, 0);
        let halves = |values: &[f32]| values.iter().map(|&value| half::f16::from_f32(value).to_f32()).collect();
        let (k, v) = match kv {
            KvFormat::F32 => (k, v),
            KvFormat::F16 => (halves(&k), halves(&v)),
            // What lies between two bytes may be rounded to either, which is too far for the result.
            KvFormat::Q8 => {
                (cached_bytes(&gpu, &shape, &keys, &k).await, cached_bytes(&gpu, &shape, &values, &v).await)
            }
        };
        let shape = reference::Heads { queries: heads, keys: kv_heads, head_dim };
        let expected = reference::attention(&expected_q, &k, &v, shape);
        for (kernel, got) in got {
            assert_close(&format!("{kernel:?} {name}"), &unpadded(&got, queries, tokens), &expected, tolerance);
        }
    }
}

/// The vectors that a Q8 cache holds, each number at most half a step from that of `expected`.
async fn cached_bytes(gpu: &Gpu, shape: &HeadShape, cache: &Buffer, expected: &[f32]) -> Vec<f32> {
    let words: Vec<u32> = gpu.read(cache).await.unwrap();
    let HeadShape { kv_heads, head_dim, .. } = *shape;
    let (context, row) = (shape.context.next_multiple_of(ops::KV_TILE), head_dim.div_ceil(4));
    let scales = kv_heads * context * row;
    let vectors = expected.chunks_exact(head_dim).enumerate().flat_map(|(vector, numbers)| {
        let (position, head) = (vector / kv_heads, vector % kv_heads);
        let scale = f32::from_bits(words[scales + head * context + position]);
        let largest = numbers.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
        // As far as a device's division and cosines are off.
        assert_close(&format!("scale of {head} at {position}"), &[scale], &[largest / 127.0], 1e-5);
        let tile = (head * context + position / ops::KV_TILE * ops::KV_TILE) * row + position % ops::KV_TILE;
        let words = &words;
        numbers.iter().enumerate().map(move |(at, &number)| {
            let byte = words[tile + at / 4 * ops::KV_TILE].to_le_bytes()[at % 4] as i8;
            let held = f32::from(byte) * scale;
            // Half a step, and what the device's number is off before it is rounded.
            assert!((held - number).abs() <= 0.501 * scale, "{number} is held as {held}, in steps of {scale}");
            held
        })
    });
    vectors.collect()
}

async fn attention_over_an_f32_cache() {
    // Scores reach hundreds, where an f32 step is 3e-5; weights are as far off, and values reach 30.
    check_attention(KvFormat::F32, 3e-3).await;
}

async fn attention_over_an_f16_cache() {
    // As above, and a key on the border between two halves may be rounded to the other one.
    check_attention(KvFormat::F16, 6e-3).await;
}

async fn attention_over_a_q8_cache() {
    // Keys and values are compared apart: the rest is as with f32.
    check_attention(KvFormat::Q8, 3e-3).await;
}

async fn attention_beyond_the_largest_half_stays_finite() {
    let gpu = open().await;
    let shape = HeadShape { heads: 1, kv_heads: 1, head_dim: 2, context: 4, kv: KvFormat::F16 };
    let angles = gpu.storage_with("angles", &[[1.0_f32, 0.0]; 4]).unwrap();
    let row = [padded(&[0.0, 0.0], 2, 0), padded(&[1e6, -1e6], 2, 0), padded(&[1e6, -1e6], 2, 0)].concat();
    let qkv = gpu.storage_with("qkv", &row).unwrap();
    let cache = || gpu.storage("cache", shape.cache_bytes()).unwrap();
    let (keys, values) = (cache(), cache());
    let step = step(&gpu, 0, 1);
    let rope = ops::Rope { angles: &angles, qkv: &qkv, keys: &keys, values: &values };
    run(&gpu, 1, &qkv, || Ok(vec![ops::rope(&gpu, &shape, &step, &rope)?])).await;
    let halves: Vec<u16> = gpu.read(&values).await.unwrap();
    assert_eq!(halves[..2], [half::f16::MAX.to_bits(), half::f16::MIN.to_bits()]);
}
