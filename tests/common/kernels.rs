//! Each kernel against its plain twin in `reference`, on odd shapes and spiky inputs. One body of each test for every
//! shader compiler: `tests/ops.rs` runs them natively, `tests/web.rs` in a browser. `products.rs` and `attention.rs` go on.

use std::rc::Rc;

use pagellama::formats::{self, Format};
use pagellama::gpu::Gpu;
use pagellama::gpu::kernel::{Dispatch, Extent, Kernel};
use pagellama::gpu::tensor::Buffer;
use pagellama::gpu::weights::{Product, WeightStore, Weights};
use pagellama::ops::{self, squares_quads, stride};
use pagellama::reference;
use pagellama::weights::{Role, Sink, TensorSpec};

use super::common::{Random, assert_close};

tests! {
    a_broken_shader_is_refused,
    equal_constants_share_a_buffer_while_it_lives,
    embed_reads_every_format_exactly,
    gather_reads_rows_of_every_slab,
    swiglu,
    stream_read_reads_every_word,
    multiply_add_does_every_round,
}

/// The device under test.
pub async fn open() -> Gpu {
    Gpu::open().await.expect("the tests need a graphics adapter; mesa-vulkan-drivers has a software one")
}

/// Whether a device's compiler takes a large part of a second for a kernel: Chromium's SwiftShader, in the browser and natively.
pub fn compiles_slowly(gpu: &Gpu) -> bool {
    gpu.adapter().name.to_lowercase().contains("swiftshader")
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

async fn equal_constants_share_a_buffer_while_it_lives() {
    let gpu = open().await;
    let before = gpu.allocated_bytes();
    let first = gpu.constants("constants", &[1_u32, 2]).unwrap();
    let bytes = gpu.allocated_bytes() - before;
    let [same, other] = [[1_u32, 2], [1, 3]].map(|contents| gpu.constants("constants", &contents).unwrap());
    assert!(Rc::ptr_eq(&first, &same) && !Rc::ptr_eq(&first, &other));
    assert_eq!(gpu.allocated_bytes() - before, 2 * bytes);
    drop((first, same, other));
    assert_eq!(gpu.allocated_bytes(), before);
    let anew = gpu.constants("constants", &[1_u32, 2]).unwrap();
    assert_eq!(gpu.allocated_bytes() - before, anew.bytes());
}

/// Rows of `columns` values, each followed by zeros up to its stride, then `spare` whole rows.
pub fn padded(values: &[f32], columns: usize, spare: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for row in values.chunks_exact(columns) {
        out.extend_from_slice(row);
        out.resize(out.len().next_multiple_of(stride(columns)), 0.0);
    }
    out.resize(out.len() + spare * stride(columns), 0.0);
    out
}

pub fn unpadded(values: &[f32], columns: usize, rows: usize) -> Vec<f32> {
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
                let scales: &[usize] = match format {
                    Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
                    Format::Q2K => &[80, 82],
                    Format::Q3K => &[108],
                    Format::Q6K => &[208],
                    _ => &[0],
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
    formats::dequantise(format, bytes, &mut out).unwrap();
    out
}

/// Matrices on the device, in slabs of at most `max_binding` bytes, and their plain values.
pub async fn matrices(
    gpu: &Gpu,
    specs: &[(Role, Format, [usize; 2])],
    max_binding: u64,
) -> (WeightStore, Vec<Vec<f32>>) {
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

/// A head on the device with these bytes, and its plain values.
pub async fn written(gpu: &Gpu, format: Format, [rows, columns]: [usize; 2], bytes: &[u8]) -> (WeightStore, Vec<f32>) {
    let mut weights = Weights::new(gpu);
    weights.allocate(&[TensorSpec { role: Role::Head, format, rows, columns }]).await.unwrap();
    weights.write_rows(Role::Head, 0, bytes).unwrap();
    (weights.finish(), dequantised(format, bytes, rows * columns))
}

/// A head on the device and its plain values.
pub async fn matrix(gpu: &Gpu, format: Format, shape: [usize; 2], max_binding: u64) -> (WeightStore, Vec<f32>) {
    let (store, mut plain) = matrices(gpu, &[(Role::Head, format, shape)], max_binding).await;
    (store, plain.remove(0))
}

/// Bytes of the two tiles that every slab has room for.
pub fn two_tiles(format: Format, columns: usize) -> u64 {
    8 * formats::tile::tile_words(format, columns) as u64
}

/// Odd shapes; one alone for formats that differ from another in a few lines, since each takes its own pipelines. A browser takes
/// the longest for them, and its own SwiftShader runs all of them natively.
pub fn shapes(format: Format) -> Vec<[usize; 2]> {
    let mut shapes = match format {
        Format::F32 | Format::F16 | Format::BF16 => vec![[70, 172], [5, 40], [33, 1]],
        Format::Q8_0 | Format::Q4_1 => vec![[70, 576], [5, 32], [32, 96]],
        _ => vec![[70, 3 * format.block_len()]],
    };
    if cfg!(target_arch = "wasm32") && !matches!(format, Format::F32 | Format::Q4_1) {
        shapes.truncate(1);
    }
    shapes
}

async fn embed_reads_every_format_exactly() {
    let gpu = open().await;
    for format in Format::ALL {
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

async fn gather_reads_rows_of_every_slab() {
    let gpu = open().await;
    for ([rows, columns], max_binding) in [([172, 64], two_tiles(Format::F32, 64)), ([40, 5], 1 << 20)] {
        let (store, plain) = matrix(&gpu, Format::F32, [rows, columns], max_binding).await;
        let ids = [0, rows as u32 - 1, rows as u32 / 2, 33];
        let input = gpu.storage_with("ids", &ids).unwrap();
        // What was there before is replaced.
        let y = gpu.storage_with("y", &vec![7.0_f32; ids.len() * stride(columns)]).unwrap();
        let table = store.product(Product::Head).unwrap();
        let got = run(&gpu, ids.len(), &y, || ops::gather(&gpu, table, &input, &y)).await;
        let expected = reference::embed(&plain, columns, &ids).unwrap();
        assert_eq!(got, padded(&expected, columns, 0), "{rows}x{columns}");
    }
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
    let gpu = open().await;
    let mut random = Random::new(31);
    let groups = 3;
    let words: Vec<u32> = (0..groups * ops::STREAM_BYTES / 4).map(|_| random.bits() as u32).collect();
    let input = gpu.storage_with("words", &words).unwrap();
    // For processors, and for GPUs.
    for lanes in [8, 64] {
        let row = lanes * ops::STREAM_SUM_BYTES / 4;
        let sums = gpu.storage("sums", (groups * row * 4) as u64).unwrap();
        let got = run(&gpu, 1, &sums, || Ok(vec![ops::stream_read(&gpu, lanes, groups, &input, &sums)?])).await;
        let mut expected = vec![0_u32; groups * row];
        for (group, expected) in words.chunks(ops::STREAM_BYTES / 4).zip(expected.chunks_mut(row)) {
            for words in group.chunks(row) {
                expected.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
            }
        }
        let got: Vec<u32> = got.into_iter().map(f32::to_bits).collect();
        assert_eq!(got, expected, "{lanes} lanes");
    }
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
