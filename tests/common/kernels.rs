//! Each kernel against its plain twin in `reference`, on odd shapes and spiky inputs. One body of each test for every
//! shader compiler: `tests/ops.rs` runs them natively, `tests/web.rs` in a browser.

use pagellama::gpu::Gpu;
use pagellama::gpu::kernel::{Dispatch, Extent, Kernel};
use pagellama::gpu::tensor::Buffer;
use pagellama::gpu::weights::{WeightStore, Weights};
use pagellama::model::kv_cache::KvFormat;
use pagellama::ops::{self, HeadShape, Variant, stride};
use pagellama::reference;
use pagellama::weights::{Format, Role, Sink, TensorSpec, quant};

use super::common::{Random, assert_close};

/// Runs an asynchronous check as a test of the world that it is compiled for.
macro_rules! tests {
    ($($check:ident,)*) => {
        mod tests {
            $(
                #[cfg(not(target_arch = "wasm32"))]
                #[test]
                fn $check() {
                    pollster::block_on(super::$check());
                }

                #[cfg(target_arch = "wasm32")]
                #[wasm_bindgen_test::wasm_bindgen_test]
                async fn $check() {
                    super::$check().await;
                }
            )*
        }
    };
}

tests! {
    a_broken_shader_is_refused,
    matvec_reads_every_format,
    a_large_matrix_is_cut_into_slabs,
    matmul_reads_every_format,
    embed_reads_every_format_exactly,
    rmsnorm,
    attention_over_an_f32_cache,
    attention_over_an_f16_cache,
    attention_beyond_the_largest_half_stays_finite,
    swiglu,
    add_stops_at_the_last_token,
    argmax_takes_the_lowest_of_equals_and_refuses_what_is_not_finite,
}

const FORMATS: [Format; 7] =
    [Format::F32, Format::F16, Format::BF16, Format::Q8_0, Format::Q4_0, Format::Q4_1, Format::Q6K];
/// Relative to the sum of the products' magnitudes: a few thousand additions in f32.
const DOT: f32 = 2e-6;

async fn open() -> Gpu {
    Gpu::open().await.expect("the tests need a graphics adapter; mesa-vulkan-drivers has a software one")
}

/// Runs what `make` records, reporting what the device objects to, and reads a buffer of f32 back.
async fn run(
    gpu: &Gpu,
    tokens: usize,
    out: &Buffer,
    make: impl FnOnce() -> pagellama::Result<Vec<Dispatch>>,
) -> Vec<f32> {
    let dispatches = gpu.checked("kernel", make).await.unwrap();
    let dispatches: Vec<_> = dispatches.iter().collect();
    gpu.submit(&dispatches, tokens, None);
    gpu.read(out).await.unwrap()
}

fn step(gpu: &Gpu, position: u32, tokens: usize) -> Buffer {
    let buffer = gpu.uniform("step", 16);
    gpu.upload(&buffer, 0, bytemuck::cast_slice(&[position, tokens as u32])).unwrap();
    buffer
}

async fn a_broken_shader_is_refused() {
    let gpu = open().await;
    let out = gpu.storage("out", 16).unwrap();
    let dispatch = async |text: &'static str| {
        let kernel = Kernel { name: "broken", parts: &[text], sizes: &[] };
        let one = Extent::fixed(1, 1);
        gpu.checked("kernel", || Ok(gpu.dispatch(&kernel, &[&out], one, one))).await.map(drop)
    };
    let whole = "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
                 @compute @workgroup_size(1) fn broken() { out[0] = 1u; }";
    assert_eq!(dispatch(whole).await, Ok(()));
    for text in ["fn broken( {", "@compute @workgroup_size(1) fn broken() { let x: u32 = 1.5; }"] {
        assert_eq!(dispatch(text).await.unwrap_err().code(), "gpu/error");
    }
    assert_eq!(gpu.check(), Ok(()), "it was told once");
}

/// Rows of `columns` values, each followed by zeros up to its stride, then `spare` whole rows.
fn padded(values: &[f32], columns: usize, spare: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for row in values.chunks_exact(columns) {
        out.extend_from_slice(row);
        out.resize(out.len().next_multiple_of(stride(columns)), 0.0);
    }
    out.resize(out.len() + spare * stride(columns), 0.0);
    out
}

fn unpadded(values: &[f32], columns: usize, rows: usize) -> Vec<f32> {
    values.chunks_exact(stride(columns)).take(rows).flat_map(|row| &row[..columns]).copied().collect()
}

/// Random rows as a file stores them; block scales are small numbers of either sign.
fn stored(random: &mut Random, format: Format, rows: usize, columns: usize) -> Vec<u8> {
    let scale = |random: &mut Random| half::f16::from_f32(0.02 * random.unit()).to_le_bytes();
    let mut bytes = Vec::new();
    for _ in 0..rows * columns / format.block_len() {
        let start = bytes.len();
        let value = random.spiky(1)[0];
        match format {
            Format::F32 => bytes.extend(value.to_le_bytes()),
            Format::F16 => bytes.extend(half::f16::from_f32(value).to_le_bytes()),
            Format::BF16 => bytes.extend(half::bf16::from_f32(value).to_le_bytes()),
            _ => {
                bytes.extend((0..format.block_bytes()).map(|_| random.bits() as u8));
                let scales = match format {
                    Format::Q4_1 => vec![0, 2],
                    Format::Q6K => vec![208],
                    _ => vec![0],
                };
                for at in scales {
                    bytes[start + at..start + at + 2].copy_from_slice(&scale(random));
                }
            }
        }
    }
    bytes
}

fn dequantised(format: Format, bytes: &[u8], count: usize) -> Vec<f32> {
    let mut out = vec![0.0; count];
    quant::dequantise(format, bytes, &mut out).unwrap();
    out
}

/// A matrix on the device, in slabs of at most `max_binding` bytes, and its plain values.
async fn matrix(gpu: &Gpu, format: Format, [rows, columns]: [usize; 2], max_binding: u64) -> (WeightStore, Vec<f32>) {
    let mut random = Random::new((rows * 1000 + columns) as u64);
    let bytes = stored(&mut random, format, rows, columns);
    let mut weights = Weights::within(gpu, max_binding);
    weights.allocate(&[TensorSpec { role: Role::Head, format, rows, columns }]).await.unwrap();
    // In two calls, as a loader does when a chunk ends.
    let (first, rest) = bytes.split_at(32.min(rows) * format.row_bytes(columns));
    weights.write_rows(Role::Head, 0, first).unwrap();
    if !rest.is_empty() {
        weights.write_rows(Role::Head, 32, rest).unwrap();
    }
    (weights.finish(), dequantised(format, &bytes, rows * columns))
}

fn shapes(format: Format) -> Vec<[usize; 2]> {
    match format {
        Format::F32 | Format::F16 | Format::BF16 => vec![[5, 40], [70, 172], [32, 64], [33, 1]],
        Format::Q6K => vec![[5, 256], [70, 768]],
        _ => vec![[5, 32], [70, 576], [32, 96]],
    }
}

/// The largest sum of magnitudes in any of the products.
fn magnitude(weight: &[f32], x: &[f32], columns: usize) -> f32 {
    let absolute = |values: &[f32]| values.iter().map(|value| value.abs()).collect::<Vec<_>>();
    reference::matmul(&absolute(weight), &absolute(x), columns).into_iter().fold(0.0, f32::max)
}

async fn matvec_reads_every_format() {
    let gpu = open().await;
    for format in FORMATS {
        for [rows, columns] in shapes(format) {
            for (variant, max_binding) in
                [(Variant::Rows, 1 << 20), (Variant::Slices, 1 << 20), (Variant::Rows, 20_000)]
            {
                let name = format!("{} {} {rows}x{columns}", variant.name(), format.name());
                let tile = 4 * pagellama::gpu::pack::tile_words(format, columns) as u64;
                let (store, plain) = matrix(&gpu, format, [rows, columns], max_binding.max(tile)).await;
                let weight = store.matrix(Role::Head).unwrap();
                let x = Random::new(7).spiky(columns);
                let input = gpu.storage_with("x", &padded(&x, columns, 0)).unwrap();
                let output = gpu.storage("y", 4 * rows as u64).unwrap();
                let got = run(&gpu, 1, &output, || ops::matvec(&gpu, variant, weight, &input, &output)).await;
                let tolerance = DOT * magnitude(&plain, &x, columns);
                assert_close(&name, &got[..rows], &reference::matvec(&plain, &x), tolerance);
            }
        }
    }
}

async fn a_large_matrix_is_cut_into_slabs() {
    let gpu = open().await;
    let (store, _) = matrix(&gpu, Format::Q4_1, [70, 576], 20_000).await;
    let weight = store.matrix(Role::Head).unwrap();
    assert_eq!(
        weight.slabs.iter().map(|slab| (slab.first_row, slab.rows)).collect::<Vec<_>>(),
        [(0, 32), (32, 32), (64, 6)]
    );
    let mut weights = Weights::within(&gpu, 1000);
    let spec = TensorSpec { role: Role::Head, format: Format::F32, rows: 32, columns: 64 };
    let error = weights.allocate(&[spec]).await.unwrap_err();
    assert_eq!(error.code(), "gpu/limit");
}

async fn matmul_reads_every_format() {
    let gpu = open().await;
    for format in FORMATS {
        for ([rows, columns], tokens) in shapes(format).into_iter().zip([1, 37, 8, 13]) {
            let name = format!("matmul {} {rows}x{columns}, {tokens} tokens", format.name());
            let tile = 4 * pagellama::gpu::pack::tile_words(format, columns) as u64;
            let (store, plain) = matrix(&gpu, format, [rows, columns], (40_000).max(tile)).await;
            let weight = store.matrix(Role::Head).unwrap();
            let x = Random::new(8).spiky(tokens * columns);
            let spare = tokens.next_multiple_of(ops::TOKEN_TILE) - tokens;
            let input = gpu.storage_with("x", &padded(&x, columns, spare)).unwrap();
            let output = gpu.storage("y", 4 * (tokens * stride(rows)) as u64).unwrap();
            let step = step(&gpu, 0, tokens);
            let got = run(&gpu, tokens, &output, || ops::matmul(&gpu, weight, &step, &input, &output)).await;
            let tolerance = DOT * magnitude(&plain, &x, columns);
            assert_close(&name, &unpadded(&got, rows, tokens), &reference::matmul(&plain, &x, columns), tolerance);
        }
    }
}

async fn embed_reads_every_format_exactly() {
    let gpu = open().await;
    for format in FORMATS {
        for [rows, columns] in shapes(format) {
            let tile = 4 * pagellama::gpu::pack::tile_words(format, columns) as u64;
            let (store, plain) = matrix(&gpu, format, [rows, columns], tile).await;
            let table = store.matrix(Role::Head).unwrap();
            let ids = [0, rows as u32 - 1, rows as u32 / 2];
            let input = gpu.storage_with("ids", &ids).unwrap();
            let output = gpu.storage("out", 4 * (ids.len() * stride(columns)) as u64).unwrap();
            let got = run(&gpu, ids.len(), &output, || ops::embed(&gpu, table, &input, &output)).await;
            let expected = reference::embed(&plain, columns, &ids).unwrap();
            let name = format!("embed {} {rows}x{columns}", format.name());
            // A product and a sum in f32, which a driver may or may not fuse.
            let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            assert_close(&name, &unpadded(&got, columns, ids.len()), &expected, 2e-7 * largest);
        }
    }
}

async fn rmsnorm() {
    let gpu = open().await;
    for (columns, tokens) in [(64, 3), (172, 1), (8, 5), (577, 2)] {
        let mut random = Random::new(columns as u64);
        let (x, weight) = (random.spiky(tokens * columns), random.spiky(columns));
        let expected = reference::rmsnorm(&x, &weight, 1e-5);
        let input = gpu.storage_with("x", &padded(&x, columns, 0)).unwrap();
        let scale = gpu.storage_with("weight", &weight).unwrap();
        let step = step(&gpu, 0, tokens);
        for last_only in [false, true] {
            let output = gpu.storage("out", 4 * (tokens * stride(columns)) as u64).unwrap();
            let norm = ops::RmsNorm { columns, eps: 1e-5, last_only };
            let got =
                run(&gpu, tokens, &output, || Ok(vec![ops::rmsnorm(&gpu, &norm, &step, &input, &scale, &output)?]))
                    .await;
            let rows = if last_only { 1 } else { tokens };
            let expected = &expected[(tokens - rows) * columns..];
            // Largest values are near 30 x 10: a few roundings of f32 each.
            assert_close(&format!("rmsnorm {columns}"), &unpadded(&got, columns, rows), expected, 1e-4);
        }
    }
}

/// Heads, key/value heads, head dimension, positions already cached, tokens, splits.
const ATTENTIONS: [[usize; 6]; 6] = [
    [4, 2, 16, 0, 1, 1],
    [9, 3, 64, 33, 1, 16],
    [4, 4, 10, 5, 7, 1],
    [8, 1, 8, 0, 40, 1],
    [2, 2, 128, 90, 3, 4],
    [6, 2, 16, 2, 1, 16],
];

/// RoPE and attention through the cache: the two share its layout.
async fn check_attention(kv: KvFormat, tolerance: f32) {
    let gpu = open().await;
    for [heads, kv_heads, head_dim, cached, tokens, splits] in ATTENTIONS {
        let name = format!("attention {heads}/{kv_heads} x {head_dim}, {cached} + {tokens}, {splits} splits");
        let shape = HeadShape { heads, kv_heads, head_dim, context: cached + tokens + 3, kv };
        let (queries, width) = (heads * head_dim, kv_heads * head_dim);
        let positions = cached + tokens;
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
        let mixed = gpu.storage("mixed", 4 * (tokens * splits * queries) as u64).unwrap();
        let stats = gpu.storage("stats", 8 * (tokens * splits * heads) as u64).unwrap();
        let output = gpu.storage("out", 4 * (tokens * shape.query_stride()) as u64).unwrap();
        let feed = async |first: usize, count: usize, q: &[f32]| {
            let rows = |all: &[f32]| padded(&all[first * width..(first + count) * width], width, 0);
            let (k, v) = (gpu.storage_with("k", &rows(&k)).unwrap(), gpu.storage_with("v", &rows(&v)).unwrap());
            let q = gpu.storage_with("q", &padded(q, queries, 0)).unwrap();
            let step = step(&gpu, first as u32, count);
            let rope = ops::Rope { angles: &angles, k: &k, v: &v, q: &q, keys: &keys, values: &values };
            let turned = run(&gpu, count, &q, || Ok(vec![ops::rope(&gpu, &shape, &step, &rope)?])).await;
            (q, step, unpadded(&turned, queries, count))
        };
        if cached > 0 {
            feed(0, cached, &vec![0.0; cached * queries]).await;
        }
        let (turned, step, got_q) = feed(cached, tokens, &q).await;
        let expected_q = reference::rope(&q, &frequencies, heads, cached);
        assert_close(&format!("rope in {name}"), &got_q, &expected_q, 1e-5);
        let args = ops::Attention { q: &turned, keys: &keys, values: &values, mixed: &mixed, stats: &stats, splits };
        let got = run(&gpu, tokens, &output, || {
            Ok(vec![ops::attention(&gpu, &shape, &step, &args)?, ops::attention_merge(&gpu, &shape, &args, &output)?])
        })
        .await;
        let round = |values: Vec<f32>| match kv {
            KvFormat::F16 => values.into_iter().map(|value| half::f16::from_f32(value).to_f32()).collect(),
            KvFormat::F32 => values,
        };
        let k = round(reference::rope(&k, &frequencies, kv_heads, 0));
        let shape = reference::Heads { queries: heads, keys: kv_heads, head_dim };
        let expected = reference::attention(&expected_q, &k, &round(v), shape);
        assert_close(&name, &unpadded(&got, queries, tokens), &expected, tolerance);
    }
}

async fn attention_over_an_f32_cache() {
    // Scores reach hundreds, where an f32 step is 3e-5; weights are as far off, and values reach 30.
    check_attention(KvFormat::F32, 3e-3).await;
}

async fn attention_over_an_f16_cache() {
    // As above, and a key on the border between two halves may be rounded to the other one.
    check_attention(KvFormat::F16, 6e-3).await;
}

async fn attention_beyond_the_largest_half_stays_finite() {
    let gpu = open().await;
    let shape = HeadShape { heads: 1, kv_heads: 1, head_dim: 2, context: 4, kv: KvFormat::F16 };
    let angles = gpu.storage_with("angles", &[[1.0_f32, 0.0]; 4]).unwrap();
    let big = gpu.storage_with("k", &padded(&[1e6, -1e6], 2, 0)).unwrap();
    let q = gpu.storage_with("q", &padded(&[0.0, 0.0], 2, 0)).unwrap();
    let (keys, values) = (gpu.storage("keys", 32).unwrap(), gpu.storage("values", 32).unwrap());
    let step = step(&gpu, 0, 1);
    let rope = ops::Rope { angles: &angles, k: &big, v: &big, q: &q, keys: &keys, values: &values };
    run(&gpu, 1, &q, || Ok(vec![ops::rope(&gpu, &shape, &step, &rope)?])).await;
    let halves: Vec<u16> = gpu.read(&values).await.unwrap();
    assert_eq!(halves[..2], [half::f16::MAX.to_bits(), half::f16::MIN.to_bits()]);
}

async fn swiglu() {
    let gpu = open().await;
    for (columns, tokens) in [(172, 3), (32, 1), (4, 9)] {
        let mut random = Random::new(columns as u64);
        // Beyond 88, e^z is past f32: silu must still be z or 0.
        let gate: Vec<f32> = random.spiky(tokens * columns).into_iter().map(|value| 5.0 * value).collect();
        let up = random.spiky(tokens * columns);
        let (left, right) = (padded(&gate, columns, 0), padded(&up, columns, 0));
        let (left, right) = (gpu.storage_with("gate", &left).unwrap(), gpu.storage_with("up", &right).unwrap());
        let step = step(&gpu, 0, tokens);
        let got = run(&gpu, tokens, &left, || Ok(vec![ops::swiglu(&gpu, columns, &step, &right, &left)?])).await;
        // Products reach 150 x 30.
        assert_close("swiglu", &unpadded(&got, columns, tokens), &reference::swiglu(&gate, &up), 2e-3);
    }
}

async fn add_stops_at_the_last_token() {
    let gpu = open().await;
    let mut random = Random::new(3);
    let (x, y) = (random.spiky(5 * 172), random.spiky(5 * 172));
    let left = gpu.storage_with("x", &padded(&x, 172, 0)).unwrap();
    let right = gpu.storage_with("y", &padded(&y, 172, 0)).unwrap();
    let step = step(&gpu, 0, 4);
    let got = run(&gpu, 4, &left, || Ok(vec![ops::add(&gpu, 172, &step, &right, &left)?])).await;
    let got = unpadded(&got, 172, 5);
    assert_eq!(got[..4 * 172], reference::add(&x[..4 * 172], &y[..4 * 172]));
    assert_eq!(got[4 * 172..], x[4 * 172..]);
}

async fn argmax_takes_the_lowest_of_equals_and_refuses_what_is_not_finite() {
    let gpu = open().await;
    let check = async |values: &[f32], expected: u32| {
        let input = gpu.storage_with("x", values).unwrap();
        let best = gpu.storage("best", 4).unwrap();
        let got = run(&gpu, 1, &best, || Ok(vec![ops::argmax(&gpu, values.len(), &input, &best)?])).await;
        assert_eq!(got[0].to_bits(), expected, "of {} values", values.len());
    };
    for columns in [1, 7, 256, 1000, 49152] {
        let mut values = Random::new(columns as u64).spiky(columns);
        check(&values, reference::argmax(&values).unwrap()).await;
        let last = columns - 1;
        values[last] = 99.0;
        values[columns / 2] = 99.0;
        check(&values, columns as u32 / 2).await;
        values[last] = f32::NAN;
        check(&values, ops::NONE).await;
        values[last] = f32::INFINITY;
        check(&values, ops::NONE).await;
    }
    check(&[-3.0, -2.0, -2.0], 1).await;
}
