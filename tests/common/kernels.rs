//! Each kernel against its plain twin in `reference`, on odd shapes and spiky inputs. One body of each test for every
//! shader compiler: `tests/ops.rs` runs them natively, `tests/web.rs` in a browser.

use pagellama::gpu::Gpu;
use pagellama::gpu::kernel::{Dispatch, Extent, Kernel};
use pagellama::gpu::tensor::Buffer;
use pagellama::gpu::weights::{Product, WeightStore, Weights};
use pagellama::model::kv_cache::KvFormat;
use pagellama::ops::{self, Finish, HeadShape, RmsNorm, Variant, squares_quads, stride};
use pagellama::reference;
use pagellama::weights::{Format, LayerRole, Role, Sink, TensorSpec, quant};

use super::common::{Random, assert_close};

tests! {
    a_broken_shader_is_refused,
    matvec_reads_every_format,
    a_large_matrix_is_cut_into_slabs,
    matmul_reads_every_format,
    embed_reads_every_format_exactly,
    products_of_several_matrices,
    gate_and_up_projections,
    a_product_joins_the_residual_stream,
    attention_over_an_f32_cache,
    attention_over_an_f16_cache,
    attention_beyond_the_largest_half_stays_finite,
    swiglu,
    stream_read_reads_every_word,
    multiply_add_does_every_round,
}

const FORMATS: [Format; 7] =
    [Format::F32, Format::F16, Format::BF16, Format::Q8_0, Format::Q4_0, Format::Q4_1, Format::Q6K];
/// Relative to the sum of the products' magnitudes: a few thousand additions in f32.
const DOT: f32 = 2e-6;

/// The device under test.
pub async fn open() -> Gpu {
    Gpu::open().await.expect("the tests need a graphics adapter; mesa-vulkan-drivers has a software one")
}

/// Runs what `make` records, reporting what the device objects to, and reads a buffer of f32 back.
pub async fn run(
    gpu: &Gpu,
    tokens: usize,
    out: &Buffer,
    make: impl FnOnce() -> pagellama::Result<Vec<Dispatch>>,
) -> Vec<f32> {
    let dispatches = gpu.checked("kernel", make).await.unwrap();
    let dispatches: Vec<_> = dispatches.iter().collect();
    gpu.submit(dispatches, tokens, None);
    gpu.read(out).await.unwrap()
}

/// Where a run starts and how many tokens it has.
pub fn step(gpu: &Gpu, position: u32, tokens: usize) -> Buffer {
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

/// Matrices on the device, in slabs of at most `max_binding` bytes, and their plain values.
async fn matrices(gpu: &Gpu, specs: &[(Role, Format, [usize; 2])], max_binding: u64) -> (WeightStore, Vec<Vec<f32>>) {
    let mut weights = Weights::within(gpu, max_binding);
    let specs: Vec<TensorSpec> =
        specs.iter().map(|&(role, format, [rows, columns])| TensorSpec { role, format, rows, columns }).collect();
    weights.allocate(&specs).await.unwrap();
    let mut plain = Vec::new();
    for (at, TensorSpec { role, format, rows, columns }) in specs.into_iter().enumerate() {
        let mut random = Random::new((rows * 1000 + columns + at) as u64);
        let bytes = stored(&mut random, format, rows, columns);
        // In two calls, as a loader does when a chunk ends.
        let (first, rest) = bytes.split_at(32.min(rows) * format.row_bytes(columns));
        weights.write_rows(role, 0, first).unwrap();
        if !rest.is_empty() {
            weights.write_rows(role, 32, rest).unwrap();
        }
        plain.push(dequantised(format, &bytes, rows * columns));
    }
    (weights.finish(), plain)
}

/// A head on the device and its plain values.
async fn matrix(gpu: &Gpu, format: Format, shape: [usize; 2], max_binding: u64) -> (WeightStore, Vec<f32>) {
    let (store, mut plain) = matrices(gpu, &[(Role::Head, format, shape)], max_binding).await;
    (store, plain.remove(0))
}

/// Bytes of the two tiles that every slab has room for.
fn two_tiles(format: Format, columns: usize) -> u64 {
    8 * pagellama::gpu::pack::tile_words(format, columns) as u64
}

/// Two kernels for single tokens, and the one for several.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Matvec(Variant),
    Matmul,
}

const KINDS: [Kind; 3] = [Kind::Matvec(Variant::Rows), Kind::Matvec(Variant::Slices), Kind::Matmul];

impl Kind {
    /// How many tokens to try it with; a matrix-vector product does the last of them.
    fn tokens(self, tokens: usize) -> usize {
        if let Kind::Matmul = self { tokens } else { 1 }
    }

    fn record(
        self,
        gpu: &Gpu,
        store: &WeightStore,
        product: Product,
        [step, x]: [&Buffer; 2],
        finish: &Finish<'_>,
    ) -> pagellama::Result<Vec<Dispatch>> {
        let weight = store.product(product)?;
        match self {
            Kind::Matvec(variant) => ops::matvec(gpu, variant, weight, step, x, finish),
            Kind::Matmul => ops::matmul(gpu, weight, step, x, finish),
        }
    }
}

/// A residual stream and what a norm before a product makes of it: `x` as the product takes it, its squares, and the plain
/// norm's output.
struct Normed {
    norm: RmsNorm,
    x: Buffer,
    squares: Buffer,
    plain: Vec<f32>,
}

fn normed(gpu: &Gpu, columns: usize, tokens: usize) -> Normed {
    let mut random = Random::new(7);
    let (stream, gains) = (random.spiky(tokens * columns), random.spiky(columns));
    let weighted: Vec<f32> =
        stream.chunks_exact(columns).flat_map(|row| row.iter().zip(&gains).map(|(x, g)| x * g)).collect();
    let spare = tokens.next_multiple_of(ops::TOKEN_TILE) - tokens;
    let quads = squares_quads(columns);
    // As whoever wrote the stream may have cut it: here in fourths of blocks of 32.
    let squares: Vec<f32> = stream
        .chunks_exact(columns)
        .flat_map(|row| {
            let mut sums: Vec<f32> = row.chunks(8).map(|some| some.iter().map(|x| x * x).sum()).collect();
            sums.resize(4 * quads, 0.0);
            sums
        })
        .collect();
    Normed {
        norm: RmsNorm { columns, eps: 1e-5 },
        x: gpu.storage_with("x", &padded(&weighted, columns, spare)).unwrap(),
        squares: gpu.storage_with("squares", &squares).unwrap(),
        plain: reference::rmsnorm(&stream, &gains, 1e-5),
    }
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

/// Checks `s W (g x)` of a single matrix.
async fn check_product(gpu: &Gpu, kind: Kind, format: Format, shape: [usize; 2], tokens: usize, max_binding: u64) {
    let [rows, columns] = shape;
    let tokens = kind.tokens(tokens);
    let name = format!("{kind:?} {} {rows}x{columns}, {tokens} tokens", format.name());
    let (store, plain) = matrix(gpu, format, shape, max_binding.max(two_tiles(format, columns))).await;
    let Normed { norm, x, squares, plain: expected } = normed(gpu, columns, tokens);
    let y = gpu.storage("y", 4 * (tokens * stride(rows)) as u64).unwrap();
    let step = step(gpu, 0, tokens);
    let finish = Finish::Store { norm, squares: &squares, y: &y, stride: stride(rows), starts: &[0], one_row: false };
    let got = run(gpu, tokens, &y, || kind.record(gpu, &store, Product::Head, [&step, &x], &finish)).await;
    let tolerance = DOT * magnitude(&plain, &expected, columns);
    let expected = reference::matmul(&plain, &expected, columns);
    assert_close(&name, &unpadded(&got, rows, tokens), &expected, tolerance);
}

async fn matvec_reads_every_format() {
    let gpu = open().await;
    for format in FORMATS {
        for shape in shapes(format) {
            for (variant, max_binding) in
                [(Variant::Rows, 1 << 20), (Variant::Slices, 1 << 20), (Variant::Rows, 20_000)]
            {
                check_product(&gpu, Kind::Matvec(variant), format, shape, 1, max_binding).await;
            }
        }
    }
}

async fn matmul_reads_every_format() {
    let gpu = open().await;
    for format in FORMATS {
        for (shape, tokens) in shapes(format).into_iter().zip([1, 37, 8, 13]) {
            check_product(&gpu, Kind::Matmul, format, shape, tokens, 40_000).await;
        }
    }
}

async fn a_large_matrix_is_cut_into_slabs() {
    let gpu = open().await;
    let (store, _) = matrix(&gpu, Format::Q4_1, [170, 576], 30_000).await;
    let weight = store.product(Product::Head).unwrap();
    assert_eq!(
        weight.slabs.iter().map(|slab| (slab.first_row, slab.rows)).collect::<Vec<_>>(),
        [(0, 64), (64, 64), (128, 42)]
    );
    let mut weights = Weights::within(&gpu, 10_000);
    let spec = TensorSpec { role: Role::Head, format: Format::F32, rows: 32, columns: 64 };
    let error = weights.allocate(&[spec]).await.unwrap_err();
    assert_eq!(error.code(), "gpu/limit");
}

/// Queries, keys and values: of one format, of several, and cut into slabs within a matrix.
async fn products_of_several_matrices() {
    const COLUMNS: usize = 96;
    let gpu = open().await;
    let layer = |role| Role::Layer(3, role);
    for (formats, max_binding, slabs) in [
        ([Format::Q4_1, Format::Q4_1, Format::Q4_1], 1 << 20, 1),
        ([Format::Q4_1, Format::Q4_1, Format::Q8_0], 1 << 20, 2),
        ([Format::Q4_0, Format::Q8_0, Format::F16], 1 << 20, 3),
        ([Format::Q4_1, Format::Q4_1, Format::Q4_1], two_tiles(Format::Q4_1, COLUMNS), 4),
    ] {
        let rows = [70, 40, 33];
        // Where whole tiles before each end.
        let starts = [0, 96, 160];
        let roles = [layer(LayerRole::Query), layer(LayerRole::Key), layer(LayerRole::Value)];
        let specs = [0, 1, 2].map(|at| (roles[at], formats[at], [rows[at], COLUMNS]));
        let (store, plain) = matrices(&gpu, &specs, max_binding).await;
        assert_eq!(store.product(Product::Qkv(3)).unwrap().slabs.len(), slabs, "{formats:?}");
        for kind in KINDS {
            let tokens = kind.tokens(6);
            let Normed { norm, x, squares, plain: input } = normed(&gpu, COLUMNS, tokens);
            const STRIDE: usize = 224;
            let y = gpu.storage("y", 4 * (tokens * STRIDE) as u64).unwrap();
            let step = step(&gpu, 0, tokens);
            let finish =
                Finish::Store { norm, squares: &squares, y: &y, stride: STRIDE, starts: &starts, one_row: false };
            let got = run(&gpu, tokens, &y, || kind.record(&gpu, &store, Product::Qkv(3), [&step, &x], &finish)).await;
            for ((plain, start), rows) in plain.iter().zip(starts).zip(rows) {
                let got: Vec<f32> =
                    got.chunks_exact(STRIDE).flat_map(|row| &row[start..start + rows]).copied().collect();
                let tolerance = DOT * magnitude(plain, &input, COLUMNS);
                let name = format!("{kind:?} {formats:?} from {start}");
                assert_close(&name, &got, &reference::matmul(plain, &input, COLUMNS), tolerance);
            }
        }
    }
}

/// Beside each other where they can be, else one after the other.
async fn gate_and_up_projections() {
    const COLUMNS: usize = 64;
    let gpu = open().await;
    let roles = [Role::Layer(0, LayerRole::Gate), Role::Layer(0, LayerRole::Up)];
    for (rows, formats, max_binding, slabs) in [
        (5, [Format::Q8_0, Format::Q8_0], 1 << 20, 1),
        (172, [Format::Q4_1, Format::Q4_1], 1 << 20, 1),
        (172, [Format::Q4_1, Format::Q4_1], 2 * two_tiles(Format::Q4_1, COLUMNS), 3),
        (70, [Format::Q4_0, Format::F16], 1 << 20, 2),
    ] {
        let specs = [0, 1].map(|at| (roles[at], formats[at], [rows, COLUMNS]));
        let (store, plain) = matrices(&gpu, &specs, max_binding).await;
        let weight = store.product(Product::GateUp(0)).unwrap();
        assert_eq!((weight.slabs.len(), weight.is_paired()), (slabs, formats[0] == formats[1]), "{formats:?}");
        for kind in KINDS {
            let tokens = kind.tokens(7);
            let Normed { norm, x, squares, plain: input } = normed(&gpu, COLUMNS, tokens);
            let inner = gpu.storage("inner", 4 * (tokens * stride(rows)) as u64).unwrap();
            let gate_up = gpu.storage("gate and up", 8 * (tokens * stride(rows)) as u64).unwrap();
            let step = step(&gpu, 0, tokens);
            let starts = [0, stride(rows)];
            let got = run(&gpu, tokens, &inner, || {
                if weight.is_paired() {
                    let finish = Finish::SwiGlu { norm, squares: &squares, inner: &inner, columns: rows };
                    return kind.record(&gpu, &store, Product::GateUp(0), [&step, &x], &finish);
                }
                let width = 2 * stride(rows);
                let (squares, y) = (&squares, &gate_up);
                let finish = Finish::Store { norm, squares, y, stride: width, starts: &starts, one_row: false };
                let mut recorded = kind.record(&gpu, &store, Product::GateUp(0), [&step, &x], &finish)?;
                recorded.push(ops::swiglu(&gpu, rows, &gate_up, &inner)?);
                Ok(recorded)
            })
            .await;
            let [gate, up] = [0, 1].map(|at| reference::matmul(&plain[at], &input, COLUMNS));
            // The product of two sums, each a few thousandths of a thousandth off.
            let largest = |values: &[f32]| values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let tolerance = DOT
                * (magnitude(&plain[0], &input, COLUMNS) * largest(&up)
                    + magnitude(&plain[1], &input, COLUMNS) * largest(&gate));
            let name = format!("{kind:?} {formats:?} {rows}");
            assert_close(&name, &unpadded(&got, rows, tokens), &reference::swiglu(&gate, &up), tolerance);
        }
    }
}

/// The stream, its product with the next norm's weights, and a norm's factor from the sums of its squares.
async fn a_product_joins_the_residual_stream() {
    let gpu = open().await;
    for ([rows, columns], max_binding) in [([172, 64], 1 << 20), ([70, 576], 1), ([8, 32], 1 << 20)] {
        let (store, plain) =
            matrix(&gpu, Format::Q8_0, [rows, columns], two_tiles(Format::Q8_0, columns).max(max_binding)).await;
        for kind in KINDS {
            let tokens = kind.tokens(5);
            let name = format!("{kind:?} {rows}x{columns}");
            let mut random = Random::new(rows as u64);
            let (input, before, gains) =
                (random.spiky(tokens * columns), random.spiky(tokens * rows), random.spiky(rows));
            let spare = tokens.next_multiple_of(ops::TOKEN_TILE) - tokens;
            let x = gpu.storage_with("x", &padded(&input, columns, spare)).unwrap();
            let stream = gpu.storage_with("stream", &padded(&before, rows, 0)).unwrap();
            let weighted = gpu.storage("weighted", stream.bytes()).unwrap();
            let gains_buffer = gpu.storage_with("gains", &gains).unwrap();
            let quads = squares_quads(rows);
            let squares = gpu.storage("squares", 16 * (tokens * quads) as u64).unwrap();
            let step = step(&gpu, 0, tokens);
            let finish = Finish::Residual {
                columns: rows,
                gains: &gains_buffer,
                stream: &stream,
                weighted: &weighted,
                squares: &squares,
            };
            let got =
                run(&gpu, tokens, &stream, || kind.record(&gpu, &store, Product::Head, [&step, &x], &finish)).await;
            let expected = reference::add(&before, &reference::matmul(&plain, &input, columns));
            let tolerance = DOT * magnitude(&plain, &input, columns) + 1e-5;
            assert_close(&name, &unpadded(&got, rows, tokens), &expected, tolerance);
            let sums: Vec<f32> = gpu.read(&squares).await.unwrap();
            let factors: Vec<f32> = sums
                .chunks_exact(4 * quads)
                .map(|sums| 1.0 / (sums.iter().sum::<f32>() / rows as f32 + 1e-5).sqrt())
                .collect();
            let got: Vec<f32> = gpu.read(&weighted).await.unwrap();
            let got = unpadded(&got, rows, tokens);
            let got: Vec<f32> = got
                .chunks_exact(rows)
                .zip(factors)
                .flat_map(|(row, factor)| row.iter().map(move |x| x * factor))
                .collect();
            // Values of a norm's output reach 30 x 10.
            assert_close(&format!("{name}, normed"), &got, &reference::rmsnorm(&expected, &gains, 1e-5), 1e-3);
        }
    }
}

async fn embed_reads_every_format_exactly() {
    let gpu = open().await;
    for format in FORMATS {
        for [rows, columns] in shapes(format) {
            let (store, plain) = matrix(&gpu, format, [rows, columns], two_tiles(format, columns)).await;
            let table = store.product(Product::Head).unwrap();
            let ids = [0, rows as u32 - 1, rows as u32 / 2];
            let input = gpu.storage_with("ids", &ids).unwrap();
            let gains = Random::new(5).spiky(columns);
            let gains_buffer = gpu.storage_with("gains", &gains).unwrap();
            let room = 4 * (ids.len() * stride(columns)) as u64;
            let (stream, weighted) = (gpu.storage("stream", room).unwrap(), gpu.storage("weighted", room).unwrap());
            let quads = squares_quads(columns);
            // What was there before is replaced.
            let squares = gpu.storage_with("squares", &vec![7.0_f32; ids.len() * 4 * quads]).unwrap();
            let buffers = ops::Embed {
                ids: &input,
                gains: &gains_buffer,
                stream: &stream,
                weighted: &weighted,
                squares: &squares,
            };
            let got = run(&gpu, ids.len(), &stream, || ops::embed(&gpu, table, &buffers)).await;
            let expected = reference::embed(&plain, columns, &ids).unwrap();
            let name = format!("embed {} {rows}x{columns}", format.name());
            // A product and a sum in f32, which a driver may or may not fuse.
            let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            assert_close(&name, &unpadded(&got, columns, ids.len()), &expected, 2e-7 * largest);
            let got: Vec<f32> = gpu.read(&weighted).await.unwrap();
            let weighted: Vec<f32> =
                expected.chunks_exact(columns).flat_map(|row| row.iter().zip(&gains).map(|(x, g)| x * g)).collect();
            assert_close(&name, &unpadded(&got, columns, ids.len()), &weighted, 1e-5 * largest);
            let sums: Vec<f32> = gpu.read(&squares).await.unwrap();
            for (sums, row) in sums.chunks_exact(4 * quads).zip(expected.chunks_exact(columns)) {
                let (got, expected) = (sums.iter().sum::<f32>(), row.iter().map(|x| x * x).sum::<f32>());
                assert_close(&name, &[got], &[expected], 1e-5 * expected + f32::MIN_POSITIVE);
            }
        }
    }
}

/// Heads, key/value heads, head dimension, positions already cached, tokens, parts.
const ATTENTIONS: [[usize; 6]; 7] = [
    [4, 2, 16, 0, 1, 8],
    [9, 3, 64, 133, 1, 32],
    [4, 4, 10, 5, 7, 1],
    [8, 1, 8, 0, 70, 1],
    [2, 2, 128, 90, 3, 16],
    [6, 2, 16, 2, 1, 128],
    [10, 2, 6, 63, 2, 1],
];

/// RoPE and attention through the cache: the two share its layout.
async fn check_attention(kv: KvFormat, tolerance: f32) {
    let gpu = open().await;
    for [heads, kv_heads, head_dim, cached, tokens, parts] in ATTENTIONS {
        let name = format!("attention {heads}/{kv_heads} x {head_dim}, {cached} + {tokens}, {parts} parts");
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
        let mixed = gpu.storage("mixed", 4 * (tokens * parts * queries) as u64).unwrap();
        let stats = gpu.storage("stats", 8 * (tokens * parts * heads) as u64).unwrap();
        let output = gpu.storage("out", 4 * (tokens * shape.query_stride()) as u64).unwrap();
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
        let out = if parts == 1 { &output } else { &mixed };
        let args = ops::Attention { qkv: &qkv, keys: &keys, values: &values, out, stats: &stats, parts };
        let got = run(&gpu, tokens, &output, || {
            let mut recorded = vec![ops::attention(&gpu, &shape, &step, &args)?];
            if parts > 1 {
                recorded.push(ops::attention_merge(&gpu, &shape, &args, &output)?);
            }
            Ok(recorded)
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

async fn swiglu() {
    let gpu = open().await;
    for (columns, tokens) in [(172, 3), (32, 1), (4, 9)] {
        let mut random = Random::new(columns as u64);
        // Beyond 88, e^z is past f32: silu must still be z or 0.
        let gate: Vec<f32> = random.spiky(tokens * columns).into_iter().map(|value| 5.0 * value).collect();
        let up = random.spiky(tokens * columns);
        let rows = gate.chunks_exact(columns).zip(up.chunks_exact(columns));
        let rows: Vec<f32> =
            rows.flat_map(|(gate, up)| [padded(gate, columns, 0), padded(up, columns, 0)].concat()).collect();
        let gate_up = gpu.storage_with("gate and up", &rows).unwrap();
        let inner = gpu.storage("inner", 4 * (tokens * stride(columns)) as u64).unwrap();
        let got = run(&gpu, tokens, &inner, || Ok(vec![ops::swiglu(&gpu, columns, &gate_up, &inner)?])).await;
        // Products reach 150 x 30.
        assert_close("swiglu", &unpadded(&got, columns, tokens), &reference::swiglu(&gate, &up), 2e-3);
    }
}

async fn stream_read_reads_every_word() {
    const LANES: usize = 64 * 4;
    let gpu = open().await;
    let mut random = Random::new(31);
    let groups = 3;
    let words: Vec<u32> = (0..groups * ops::STREAM_BYTES / 4).map(|_| random.bits() as u32).collect();
    let input = gpu.storage_with("words", &words).unwrap();
    let sums = gpu.storage("sums", (groups * LANES * 4) as u64).unwrap();
    let got = run(&gpu, 1, &sums, || Ok(vec![ops::stream_read(&gpu, groups, &input, &sums)?])).await;
    let mut expected = vec![0_u32; groups * LANES];
    for (group, expected) in words.chunks(ops::STREAM_BYTES / 4).zip(expected.chunks_mut(LANES)) {
        for row in group.chunks(LANES) {
            expected.iter_mut().zip(row).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
        }
    }
    let got: Vec<u32> = got.into_iter().map(f32::to_bits).collect();
    assert_eq!(got, expected);
}

async fn multiply_add_does_every_round() {
    const LANES: usize = 64 * 4;
    let gpu = open().await;
    let mut random = Random::new(32);
    let (groups, rounds) = (2, 37);
    let mut values = || (0..LANES).map(|_| random.unit()).collect::<Vec<f32>>();
    let (factors, addends) = (values(), values());
    let buffers = [&factors, &addends].map(|values| gpu.storage_with("values", values).unwrap());
    let sums = gpu.storage("sums", (groups * LANES * 4) as u64).unwrap();
    let args = ops::MultiplyAdd { factors: &buffers[0], addends: &buffers[1], sums: &sums };
    let got = run(&gpu, 1, &sums, || Ok(vec![ops::multiply_add(&gpu, groups, rounds, &args)?])).await;
    let sum_of = |(factor, addend): (&f32, &f32)| {
        let number = |start: usize| (0..rounds).fold(start as f32, |a, _| a * factor + addend);
        (0..8).map(number).sum::<f32>()
    };
    let expected: Vec<f32> = factors.iter().zip(&addends).map(sum_of).collect();
    // A device may round once where the processor rounds twice; factors are below 1, so that this does not grow.
    let largest = expected.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
    assert_close("multiply_add", &got, &expected.repeat(groups), 1e-5 * largest);
}
