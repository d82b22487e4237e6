//! What the processor computes against its plain twins, on odd shapes.

use super::attention::{Attention, Heads, LayerCache};
use super::cache::Cached;
use super::ops;
use super::rounded::BLOCK;
use super::weights::{Input, Matrix};
use crate::config::angles;
use crate::formats::{self, Format};
use crate::model::kv_cache::KvFormat;
use crate::reference;
use crate::sampling::sampler::splitmix64;

/// Seeded numbers, mostly small, with one in sixteen thirty times as large.
struct Random(u64, u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.1 += 1;
        splitmix64(self.0, self.1)
    }

    fn number(&mut self) -> f32 {
        let spike = if self.bits().is_multiple_of(16) { 30.0 } else { 1.0 };
        ((self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0) * spike
    }

    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }

    /// A block whose largest weight is neither huge nor tiny, of the kind that the format's faster product takes or of the other.
    fn block(&mut self, format: Format, normal: bool) -> Vec<u8> {
        let product = format.rounded_product();
        let mut weights = vec![0.0; format.block_len()];
        loop {
            let block: Vec<u8> = (0..format.block_bytes()).map(|_| self.bits() as u8).collect();
            formats::dequantise(format, &block, &mut weights).unwrap();
            let most = weights.iter().fold(0.0_f32, |most, weight| most.max(weight.abs()));
            let is_wanted = formats::all_finite(format, &block)
                && product.is_none_or(|product| (product.is_normal)(&block) == normal);
            if is_wanted && (1e-5..10.0).contains(&most) {
                return block;
            }
        }
    }
}

fn assert_close(name: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= tolerance, "{name}: element {at} is {got} instead of {expected}");
    }
}

/// Fails where a row's product is off by more than a few roundings of the largest numbers that are summed up in it.
fn assert_product(name: &str, got: &[f32], stride: usize, weights: &[f32], x: &[f32], columns: usize) {
    let most = |numbers: &[f32]| numbers.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
    let rows = weights.len() / columns;
    for (got, x) in got.chunks(stride).zip(x.chunks(columns)) {
        for ((got, weights), at) in got[1..=rows].iter().zip(weights.chunks(columns)).zip(0..) {
            let tolerance = 4e-6 * columns as f32 * most(weights) * most(x);
            assert_close(&format!("{name}, row {at}"), &[*got], &reference::matvec(weights, x), tolerance);
        }
        assert!(got[0] == 7.0 && got[rows + 1] == 7.0, "{name}: neighbours are left alone");
    }
}

#[test]
fn products_of_every_format() {
    let mut random = Random(1, 0);
    for format in Format::ALL {
        let product = format.rounded_product();
        for (rows, blocks, normal) in [(1, 1, false), (3, 3, true), (37, 2, false), (37, 2, true), (70, 1, true)] {
            let columns = if format.block_len() == 1 { 29 * blocks } else { format.block_len() * blocks };
            let count = columns / format.block_len();
            let bytes: Vec<u8> = (0..rows * count).flat_map(|_| random.block(format, normal)).collect();
            let mut weights = vec![0.0; rows * columns];
            formats::dequantise(format, &bytes, &mut weights).unwrap();
            let stride = rows + 2;
            // Rows come in two runs, of which the second begins within four; before it others are there.
            let mut matrix = Matrix::room(format, columns, rows).unwrap();
            let (first, second) = bytes.split_at(rows / 2 * format.row_bytes(columns));
            matrix.write(0, &[second, first].concat()).unwrap();
            matrix.write(0, first).unwrap();
            assert_eq!(matrix.rows(), rows / 2);
            matrix.write(rows / 2, second).unwrap();
            assert_eq!(matrix.rows(), rows);
            for tokens in [1, 3, 4, 9] {
                let name = format!("{}, {rows} rows of {columns}, {tokens} tokens", format.name());
                let x = random.numbers(tokens * columns);
                for rounds in [false, true] {
                    let mut input = Input::new(tokens, columns, rounds).unwrap();
                    let room = input.bytes();
                    input.values.copy_from_slice(&x);
                    input.round(tokens, columns);
                    assert_eq!(input.bytes(), room, "{name}: it was made large enough");
                    let mut y = vec![7.0; tokens * stride];
                    matrix.multiply(&mut input, tokens, &mut y[1..], stride);
                    let seen = if rounds && product.is_some() { plainly_rounded(&x) } else { x.clone() };
                    assert_product(&format!("{name}, rounded: {rounds}"), &y, stride, &weights, &seen, columns);
                }
            }
        }
    }
}

/// Numbers near which `x` is rounded: whole multiples of the largest magnitude of 32 neighbours over 127.
fn plainly_rounded(x: &[f32]) -> Vec<f32> {
    let block = |block: &[f32]| -> Vec<f32> {
        let scale = block.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
        block.iter().map(|x| (x * scale.recip()).round_ties_even() * scale).collect()
    };
    x.chunks(BLOCK).flat_map(block).collect()
}

#[test]
fn attention_in_every_format_of_the_cache() {
    for (format, tolerance) in [(KvFormat::F32, 1e-4), (KvFormat::F16, 2e-2), (KvFormat::Q8, 3e-1)] {
        for (queries, keys, head_dim, position, tokens) in [(6, 2, 26, 130, 5), (3, 3, 6, 0, 1), (4, 1, 64, 63, 2)] {
            let mut random = Random(3, 0);
            let (kv_size, seen) = (keys * head_dim, position + tokens);
            let all_queries = random.numbers(tokens * queries * head_dim);
            let (all_keys, all_values) = (random.numbers(seen * kv_size), random.numbers(seen * kv_size));
            let cached = || Cached::new(format, keys, 150, head_dim).unwrap();
            let mut cache = LayerCache { keys: cached(), values: cached() };
            let rows = all_keys.chunks(kv_size).zip(all_values.chunks(kv_size));
            for (at, (keys, values)) in rows.enumerate() {
                cache.keys.write(at, keys);
                cache.values.write(at, values);
            }
            let mut out = vec![7.0; all_queries.len()];
            let heads = Heads { queries, keys, head_dim };
            Attention::new(heads, tokens).unwrap().run(&all_queries, position, &cache, &mut out);
            // What the cache holds is what is attended to.
            let kept = |cached: &Cached| {
                let mut rows = vec![0.0; seen * kv_size];
                for (at, row) in rows.chunks_mut(kv_size).enumerate() {
                    let heads = row.chunks_mut(head_dim).enumerate();
                    heads.for_each(|(head, vector)| cached.read(head, at, vector));
                }
                rows
            };
            let (kept_keys, kept_values) = (kept(&cache.keys), kept(&cache.values));
            let name = format!("{format:?}, {queries} heads of {head_dim} on {keys}");
            assert_close(&format!("{name}, kept"), &kept_keys, &all_keys, tolerance);
            let plain = reference::Heads { queries, keys, head_dim };
            let expected = reference::attention(&all_queries, &kept_keys, &kept_values, plain);
            assert_close(&name, &out, &expected, 2e-4);
        }
    }
}

#[test]
fn norm_rotation_and_gate() {
    let mut random = Random(4, 0);
    let (x, gains, up) = (random.numbers(3 * 30), random.numbers(30), random.numbers(90));
    let mut out = vec![0.0; 90];
    ops::rmsnorm(&x, &gains, 1e-5, &mut out);
    assert_close("rmsnorm", &out, &reference::rmsnorm(&x, &gains, 1e-5), 1e-4);
    ops::rmsnorm(&[3e38; 2], &[1.0; 2], 1e-5, &mut out[..2]);
    assert_close("rmsnorm of the largest numbers", &out[..2], &[1.0; 2], 1e-6);

    ops::swiglu(&x, &up, &mut out);
    assert_close("swiglu", &out, &reference::swiglu(&x, &up), 1e-3);

    let frequencies = [1.0, 0.3, 0.01];
    let angles: Vec<[f32; 2]> = angles(&frequencies, 1000..1003).collect();
    let mut turned = x.clone();
    turned.chunks_mut(30).zip(angles.chunks(3)).for_each(|(row, angles)| ops::rope(row, angles));
    assert_close("rope", &turned, &reference::rope(&x, &frequencies, 5, 1000), 1e-4);
}

#[test]
fn what_there_is_no_room_for_is_an_error() {
    let error = super::zeros::<f32>("the KV cache", usize::MAX / 8).unwrap_err();
    assert_eq!(error.code(), "gpu/out-of-memory");
    assert!(error.to_string().contains("the KV cache"), "{error}");
    assert_eq!(Cached::new(KvFormat::Q8, 1 << 12, 1 << 26, 1 << 20).err().map(|e| e.code()), Some("gpu/out-of-memory"));
}
