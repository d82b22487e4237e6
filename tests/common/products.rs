//! Products in every variant that the device can run, against their plain twin: every format, several matrices, every end.

use pagellama::formats::Format;
use pagellama::gpu::Gpu;
use pagellama::gpu::kernel::Dispatch;
use pagellama::gpu::tensor::Buffer;
use pagellama::gpu::weights::{Product, WeightStore, Weights};
use pagellama::ops::{self, Finish, Matmul, Matvec, RmsNorm, squares_quads, stride};
use pagellama::reference;
use pagellama::weights::{LayerRole, Role, Sink, TensorSpec};

use super::common::{Random, assert_close};
use super::kernels::{
    compiles_slowly, matrices, matrix, open, padded, run, shapes, step, two_tiles, unpadded, written,
};

tests! {
    every_variant_is_tested,
    matvec_reads_every_format,
    a_large_matrix_is_cut_into_slabs,
    matmul_reads_every_format,
    every_f16_is_read_exactly,
    matvec_takes_the_last_token,
    matmul_of_rounded_vectors,
    products_of_several_matrices,
    gate_and_up_projections,
    a_product_joins_the_residual_stream,
    a_product_is_written_or_added_as_it_is,
}

/// Relative to the sum of the products' magnitudes: a few thousand additions in f32.
const DOT: f32 = 2e-6;

/// A kernel for single tokens, or for several.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Matvec(Matvec),
    Matmul(Matmul),
    /// For several, rounded to bytes: the same where they are whole multiples already, as they are here.
    Rounded,
}

/// All that the device can run.
fn kinds(gpu: &Gpu) -> Vec<Kind> {
    let exact = matvecs(gpu).map(Kind::Matvec).chain(matmuls(gpu).map(Kind::Matmul));
    exact.chain([Kind::Rounded]).collect()
}

fn matvecs(gpu: &Gpu) -> impl Iterator<Item = Matvec> {
    Matvec::ALL.into_iter().filter(|variant| variant.runs_on(gpu))
}

fn matmuls(gpu: &Gpu) -> impl Iterator<Item = Matmul> {
    Matmul::ALL.into_iter().filter(|variant| variant.runs_on(gpu))
}

impl Kind {
    /// How many tokens to try it with, so that it has a group of them in part; a matrix-vector product does the last of them.
    fn tokens(self, tokens: usize) -> usize {
        match self {
            Kind::Matvec(_) => 1,
            Kind::Matmul(Matmul::Shared) if tokens > 1 => tokens + 64,
            _ => tokens,
        }
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
            Kind::Matmul(variant) => ops::matmul(gpu, variant, weight, step, x, finish),
            Kind::Rounded => match ops::matmul_bytes(gpu, weight, step, x, finish)? {
                Some(recorded) => Ok(recorded),
                None => ops::matmul(gpu, Matmul::Registers, weight, step, x, finish),
            },
        }
    }
}

async fn every_variant_is_tested() {
    let gpu = open().await;
    assert!(gpu.has_subgroups(), "{} has no subgroups, which some of the variants need", gpu.adapter().name);
    assert!(gpu.has_packed_dot());
}

/// What a product takes after a norm, `x` and the squares of the residual stream, and what both stand for.
struct Normed {
    norm: RmsNorm,
    x: Buffer,
    squares: Buffer,
    plain: Vec<f32>,
}

fn normed(gpu: &Gpu, columns: usize, tokens: usize) -> Normed {
    const EPS: f32 = 1e-5;
    let mut random = Random::new(7);
    let (stream, gains) = (random.spiky(tokens * columns), random.spiky(columns));
    let (mut weighted, mut plain, mut squares) = (Vec::new(), Vec::new(), Vec::new());
    let quads = squares_quads(columns);
    for row in stream.chunks_exact(columns) {
        let gained: Vec<f32> = row.iter().zip(&gains).map(|(x, g)| x * g).collect();
        let rounded = reference::round_to_bytes(&gained);
        let ones = vec![1.0; columns];
        let factor = reference::rmsnorm(row, &ones, EPS)[0] / row[0];
        plain.extend(rounded.iter().map(|x| x * factor));
        weighted.extend(rounded);
        // As whoever wrote the stream may have cut it: here in fourths of blocks of 32.
        let mut sums: Vec<f32> = row.chunks(8).map(|some| some.iter().map(|x| x * x).sum()).collect();
        sums.resize(4 * quads, 0.0);
        squares.extend(sums);
    }
    let spare = tokens.next_multiple_of(ops::TOKEN_TILE) - tokens;
    Normed {
        norm: RmsNorm { columns, eps: EPS },
        x: gpu.storage_with("x", &padded(&weighted, columns, spare)).unwrap(),
        squares: gpu.storage_with("squares", &squares).unwrap(),
        plain,
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

/// Whether a format is tried in all variants. They read the others by the same few lines, which one of each shows to be right; where
/// a compiler takes long, two of them show that it understands every kernel.
fn has_all(gpu: &Gpu, format: Format) -> bool {
    use Format::{BF16, F16, F32, Q4_1, Q4K, Q8_0};
    match compiles_slowly(gpu) {
        true => matches!(format, F16 | Q4_1),
        false => matches!(format, F32 | F16 | BF16 | Q8_0 | Q4_1 | Q4K),
    }
}

async fn matvec_reads_every_format() {
    let gpu = open().await;
    for format in Format::ALL {
        for shape in shapes(format) {
            for variant in matvecs(&gpu).filter(|variant| *variant == Matvec::Rows || has_all(&gpu, format)) {
                check_product(&gpu, Kind::Matvec(variant), format, shape, 1, 1 << 20).await;
            }
            check_product(&gpu, Kind::Matvec(Matvec::Rows), format, shape, 1, 20_000).await;
        }
    }
}

async fn matmul_reads_every_format() {
    let gpu = open().await;
    for format in Format::ALL {
        for (shape, tokens) in shapes(format).into_iter().zip([37, 1, 13]) {
            let variants = matmuls(&gpu).filter(|variant| *variant == Matmul::Registers || has_all(&gpu, format));
            for kind in variants.map(Kind::Matmul).chain([Kind::Rounded]) {
                check_product(&gpu, kind, format, shape, tokens, 40_000).await;
            }
        }
    }
}

/// And leaves its rows where that token's are, or where the only ones are.
async fn matvec_takes_the_last_token() {
    const TOKENS: usize = 5;
    let gpu = open().await;
    let [rows, columns] = [70, 64];
    let (store, plain) = matrix(&gpu, Format::Q4_1, [rows, columns], 1 << 20).await;
    let Normed { norm, x, squares, plain: input } = normed(&gpu, columns, TOKENS);
    let last = &input[(TOKENS - 1) * columns..];
    let expected = reference::matmul(&plain, last, columns);
    let step = step(&gpu, 0, TOKENS);
    for (variant, one_row) in matvecs(&gpu).flat_map(|variant| [(variant, false), (variant, true)]) {
        let y = gpu.storage("y", 4 * (TOKENS * stride(rows)) as u64).unwrap();
        let finish = Finish::Store { norm, squares: &squares, y: &y, stride: stride(rows), starts: &[0], one_row };
        let kind = Kind::Matvec(variant);
        let got = run(&gpu, 1, &y, || kind.record(&gpu, &store, Product::Head, [&step, &x], &finish)).await;
        let token = if one_row { 0 } else { TOKENS - 1 };
        for (at, row) in unpadded(&got, rows, TOKENS).chunks_exact(rows).enumerate() {
            let expected = if at == token { &expected[..] } else { &vec![0.0; rows][..] };
            let tolerance = DOT * magnitude(&plain, last, columns);
            assert_close(&format!("{kind:?}, one row {one_row}, token {at}"), row, expected, tolerance);
        }
    }
}

/// Scales and minima, each of them every finite f16, in 65536 rows of a block whose first weight is scale + minimum.
async fn every_f16_is_read_exactly() {
    const COLUMNS: usize = 32;
    let gpu = open().await;
    let finite = |bits: u16| if half::f16::from_bits(bits).is_finite() { bits } else { 0 };
    let step = step(&gpu, 0, 1);
    let first: Vec<f32> = (0..COLUMNS).map(|column| if column == 0 { 1.0 } else { 0.0 }).collect();
    let x = gpu.storage_with("x", &padded(&first, COLUMNS, ops::TOKEN_TILE - 1)).unwrap();
    for format in [Format::Q4_1, Format::Q8_0] {
        let mut bytes = Vec::new();
        for bits in 0..=u16::MAX {
            let mut block = vec![0; format.block_bytes()];
            block[..2].copy_from_slice(&finite(bits).to_le_bytes());
            let quants = if format == Format::Q4_1 { 4 } else { 2 };
            if format == Format::Q4_1 {
                block[2..4].copy_from_slice(&finite(bits.reverse_bits()).to_le_bytes());
            }
            block[quants] = 1;
            bytes.extend(block);
        }
        let rows = bytes.len() / format.block_bytes();
        let (store, plain) = written(&gpu, format, [rows, COLUMNS], &bytes).await;
        let expected: Vec<f32> = plain.iter().step_by(COLUMNS).copied().collect();
        let y = gpu.storage("y", 4 * rows as u64).unwrap();
        let finish = Finish::Plain { y: &y, stride: rows, starts: &[0], one_row: false, add: false };
        for kind in matvecs(&gpu).map(Kind::Matvec).chain(matmuls(&gpu).map(Kind::Matmul)) {
            let got = run(&gpu, 1, &y, || kind.record(&gpu, &store, Product::Head, [&step, &x], &finish)).await;
            let wrong = (0..rows).find(|&row| got[row] != expected[row]);
            assert_eq!(wrong.map(|row| (row, got[row], expected[row])), None, "{kind:?} {format:?}");
        }
    }
}

/// Of what lies between the multiples that it rounds to, the kernel must find the nearest.
async fn matmul_of_rounded_vectors() {
    let gpu = open().await;
    let [rows, columns, tokens] = [70, 256, 33];
    for format in Format::ALL {
        let (store, plain) = matrix(&gpu, format, [rows, columns], 1 << 20).await;
        let weight = store.product(Product::Head).unwrap();
        let Normed { norm, x, squares, plain: input } = normed(&gpu, columns, tokens);
        let mut between: Vec<f32> = gpu.read(&x).await.unwrap();
        for run in between.chunks_mut(16) {
            let most = run.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let inner = run.iter_mut().filter(|value| value.abs() < most);
            inner.zip([0.3, -0.4, 0.1].iter().cycle()).for_each(|(value, part)| *value += part * most / 127.0);
        }
        let between = gpu.storage_with("x", &between).unwrap();
        let y = gpu.storage("y", 4 * (tokens * stride(rows)) as u64).unwrap();
        let step = step(&gpu, 0, tokens);
        let (squares, y, starts) = (&squares, &y, &[0][..]);
        let finish = Finish::Store { norm, squares, y, stride: stride(rows), starts, one_row: false };
        let recorded = ops::matmul_bytes(&gpu, weight, &step, &between, &finish).unwrap();
        let quantised = !matches!(format, Format::F32 | Format::F16 | Format::BF16);
        assert_eq!(recorded.is_some(), quantised, "{format:?}");
        let Some(recorded) = recorded else { continue };
        let got = run(&gpu, tokens, y, || Ok(recorded)).await;
        let tolerance = DOT * magnitude(&plain, &input, columns);
        let expected = reference::matmul(&plain, &input, columns);
        assert_close(&format!("{format:?}"), &unpadded(&got, rows, tokens), &expected, tolerance);
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
        for kind in kinds(&gpu) {
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
        for kind in kinds(&gpu) {
            let tokens = kind.tokens(7);
            let Normed { norm, x, squares, plain: input } = normed(&gpu, COLUMNS, tokens);
            let inner = gpu.storage("inner", 4 * (tokens * stride(rows)) as u64).unwrap();
            let gate_up = gpu.storage("gate and up", 8 * (tokens * stride(rows)) as u64).unwrap();
            let step = step(&gpu, 0, tokens);
            let starts = [0, stride(rows)];
            let got = run(&gpu, tokens, &inner, || {
                if weight.is_paired() {
                    let finish = Finish::SwiGlu { norm, squares: &squares, inner: &inner, columns: rows, added: None };
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
            if weight.is_paired() {
                let (a, b) = (Random::new(1).spiky(tokens * rows), Random::new(2).spiky(tokens * rows));
                let both = a.chunks_exact(rows).zip(b.chunks_exact(rows));
                let rows_of_both: Vec<f32> =
                    both.flat_map(|(a, b)| [padded(a, rows, 0), padded(b, rows, 0)].concat()).collect();
                let added = gpu.storage_with("added", &rows_of_both).unwrap();
                let (inner, squares) = (&inner, &squares);
                let finish = Finish::SwiGlu { norm, squares, inner, columns: rows, added: Some(&added) };
                let product = Product::GateUp(0);
                let got = run(&gpu, tokens, inner, || kind.record(&gpu, &store, product, [&step, &x], &finish)).await;
                let expected = reference::swiglu(&reference::add(&gate, &a), &reference::add(&up, &b));
                let name = format!("{name}, added to");
                assert_close(&name, &unpadded(&got, rows, tokens), &expected, 4.0 * tolerance);
            }
        }
    }
}

/// Two matrices of three slabs with room between their rows, to every token's row or to that of the last one.
async fn a_product_is_written_or_added_as_it_is() {
    const COLUMNS: usize = 64;
    let gpu = open().await;
    let roles = [Role::Layer(0, LayerRole::Key), Role::Layer(0, LayerRole::Value)];
    let specs = roles.map(|role| (role, Format::F32, [70, COLUMNS]));
    let (store, plain) = matrices(&gpu, &specs, 2 * two_tiles(Format::F32, COLUMNS)).await;
    // As keys and values follow queries; the product's first matrix is its second part.
    let (starts, stride) = ([0, 32, 32 + 96], 32 + 96 + 96);
    for kind in kinds(&gpu) {
        for (add, one_row) in [(false, false), (true, false), (true, true)] {
            let tokens = kind.tokens(5);
            let one_row = one_row && tokens == 1;
            let mut random = Random::new(8);
            let (input, before) = (random.spiky(tokens * COLUMNS), random.spiky(tokens * stride));
            let spare = tokens.next_multiple_of(ops::TOKEN_TILE) - tokens;
            let x = gpu.storage_with("x", &padded(&input, COLUMNS, spare)).unwrap();
            let y = gpu.storage_with("y", &before).unwrap();
            let step = step(&gpu, 0, tokens);
            let finish = Finish::Plain { y: &y, stride, starts: &starts, one_row, add };
            let got = run(&gpu, tokens, &y, || kind.record(&gpu, &store, Product::Qkv(0), [&step, &x], &finish)).await;
            let mut expected = before.clone();
            // The first matrix fills whole tiles, of zeros after its last row.
            if !add {
                expected.chunks_exact_mut(stride).for_each(|row| row[32 + 70..32 + 96].fill(0.0));
            }
            for (start, plain) in starts[1..].iter().zip(&plain) {
                let products = reference::matmul(plain, &input, COLUMNS);
                for (row, products) in expected.chunks_exact_mut(stride).zip(products.chunks_exact(70)) {
                    let row = row[*start..].iter_mut().zip(products);
                    row.for_each(|(y, product)| *y = if add { *y + product } else { *product });
                }
            }
            let most = magnitude(&plain[0], &input, COLUMNS).max(magnitude(&plain[1], &input, COLUMNS));
            assert_close(&format!("{kind:?} add {add}"), &got, &expected, DOT * most + 1e-5);
        }
    }
}

/// The stream, its product with the next norm's weights, and a norm's factor from the sums of its squares.
async fn a_product_joins_the_residual_stream() {
    let gpu = open().await;
    for ([rows, columns], max_binding) in [([172, 64], 1 << 20), ([70, 576], 1), ([8, 32], 1 << 20)] {
        let (store, plain) =
            matrix(&gpu, Format::Q8_0, [rows, columns], two_tiles(Format::Q8_0, columns).max(max_binding)).await;
        for kind in kinds(&gpu) {
            let tokens = kind.tokens(5);
            let name = format!("{kind:?} {rows}x{columns}");
            let mut random = Random::new(rows as u64);
            let (input, before, gains) =
                (random.spiky(tokens * columns), random.spiky(tokens * rows), random.spiky(rows));
            let input = reference::round_to_bytes(&input);
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
