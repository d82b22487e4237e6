//! Kernels for the same product on trial: compared with the portable one on synthetic weights, then timed.

#[cfg(target_arch = "wasm32")]
use {futures_util::future::select, gloo_timers::future::TimeoutFuture};

use futures_util::future::LocalBoxFuture;
use web_time::Instant;

use super::Gpu;
use super::kernel::Dispatch;
use super::limits::{MOST_OFTEN, more_often};
use super::tensor::Buffer;
use super::weights::{Product, Slab, Weight, WeightStore, Weights};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::formats::tile::row_bytes;
use crate::ops::{Finish, RmsNorm, TOKEN_TILE, squares_quads, stride};
use crate::sampling::sampler::splitmix64;
use crate::weights::{LayerRole, ROW_GROUP, Role, Sink, TensorSpec};

/// Bytes of weights that are read in turn: more than most caches hold. On a software adapter, where a kernel can be twenty times
/// slower than another, as few as keep its threads busy.
const BYTES: u64 = 64 << 20;
const SOFTWARE_BYTES: u64 = 1 << 20;
/// Most copies of the product in them.
const MOST_COPIES: usize = 32;
/// Words that the weights repeat, a prime number, so that no two tiles are alike.
const PERIOD: u64 = 65_521;
/// Tokens whose products are compared: some groups of them, and a part of one.
const COMPARED: usize = 69;
/// How far a product may be from the portable kernel's, relative to the root mean square of all: sums of thousands of
/// numbers in another order stay ten times below, and a number in the wrong place is ten thousand times above.
const TOLERANCE: f32 = 1e-4;

/// How long a timed run is to be, in seconds: a hundred steps of a browser's clock. A tenth is enough to tell who is far behind.
const LONG_ENOUGH: f64 = 0.01;
/// Runs of that length of each kernel, of which the shortest counts.
const ROUNDS: usize = 3;
/// How much of the first kernel's time another may take to be preferred: less is noise, and results change with the kernel.
const CLEARLY_LESS: f64 = 0.9;

/// The product that kernels are tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Format of its weights.
    pub format: Format,
    /// Its rows.
    pub rows: usize,
    /// Its columns.
    pub columns: usize,
}

impl Shape {
    /// That of the largest product of a model's layers: gate and up projections. Errors: `MissingTensor`.
    pub fn largest(store: &WeightStore) -> Result<Self> {
        let weight = store.product(Product::GateUp(0))?;
        let rows = weight.slabs.iter().map(|slab| slab.rows * if slab.pair { 2 } else { 1 }).sum();
        let format = weight.slabs.first().map_or(Format::F32, |slab| slab.format);
        Ok(Self { format, rows, columns: weight.columns })
    }

    /// The same with as many rows as fit into `bytes`, at least two tiles.
    fn within(self, bytes: u64) -> Self {
        let most = (bytes / row_bytes(self.format, self.columns).max(1)) as usize;
        Self { rows: self.rows.min(most.max(2 * ROW_GROUP)), ..self }
    }

    fn bytes(self) -> u64 {
        self.rows as u64 * row_bytes(self.format, self.columns)
    }
}

/// A candidate's dispatches for each copy of the weights, and its place among the candidates.
struct Entrant {
    place: usize,
    dispatches: Vec<Vec<Dispatch>>,
}

/// Synthetic weights and what they are multiplied with, always the same. Kernels are compared in the format of these weights, and
/// their products as they are: what else a model makes of them, and its other formats, are not compared.
pub struct Trial<'a> {
    gpu: &'a Gpu,
    shape: Shape,
    /// Equal copies.
    weights: WeightStore,
    copies: usize,
    /// `[chunk][columns]`
    x: Buffer,
    /// `[chunk][squares]`
    squares: Buffer,
    /// `[chunk][rows]`
    y: Buffer,
    step: Buffer,
}

impl<'a> Trial<'a> {
    /// Makes room for products with at most `chunk` tokens.
    ///
    /// Errors: `OutOfMemory`, `AdapterLimit`, what the device reports.
    pub async fn new(gpu: &'a Gpu, shape: Shape, chunk: usize) -> Result<Self> {
        let bytes = if gpu.adapter().software { SOFTWARE_BYTES } else { BYTES };
        let shape = shape.within(bytes);
        let copies = ((bytes / shape.bytes().max(1)) as usize).clamp(1, MOST_COPIES);
        let weights = synthetic(gpu, shape, copies).await?;
        let chunk = chunk.next_multiple_of(TOKEN_TILE);
        let width = stride(shape.columns);
        // Zero past the last column, and elsewhere anything in -1..1.
        let number = |at: usize| splitmix64(1, at as u64) as i32 as f32 / i32::MIN as f32;
        let x: Vec<f32> =
            (0..chunk * width).map(|at| if at % width < shape.columns { number(at) } else { 0.0 }).collect();
        let made = gpu.checked("trial", || {
            let x = gpu.storage_with("x", &x)?;
            let squares = gpu.storage_with("squares", &vec![1_f32; chunk * 4 * squares_quads(shape.columns)])?;
            let y = gpu.storage("y", (4 * chunk * stride(shape.rows)) as u64)?;
            Ok(Self { gpu, shape, weights, copies, x, squares, y, step: gpu.uniform("step", 16) })
        });
        made.await
    }

    /// The fastest of `candidates` with `tokens` tokens. Each is recorded by `record` from the weight, the step, x and an end;
    /// those that are refused, fail, or give other products than `portable` drop out. When time is up before they are measured,
    /// the first of those that were found right is chosen; None when none was yet.
    ///
    /// Errors: `Gpu` when the portable kernel is none of them or is refused; `OutputNotFinite` when it computes nothing of use; what
    /// the device reports of it.
    pub async fn fastest<V: Copy + PartialEq>(
        &self,
        portable: V,
        candidates: &[V],
        tokens: usize,
        until: Instant,
        record: impl Fn(V, &Weight, [&Buffer; 2], &Finish<'_>) -> Result<Vec<Dispatch>>,
    ) -> Result<Option<V>> {
        let mut entrants = Vec::new();
        for (place, &variant) in candidates.iter().enumerate() {
            let dispatches = self.gpu.checked("candidate", || {
                self.record(|weight, finish| record(variant, weight, [&self.step, &self.x], finish))
            });
            // What is refused drops out.
            if let Ok(dispatches) = dispatches.await {
                entrants.push(Entrant { place, dispatches });
            }
        }
        let place = candidates.iter().position(|variant| *variant == portable).ok_or_else(no_portable)?;
        let chosen = self.choose(place, &entrants, tokens, until).await?;
        Ok(chosen.and_then(|place| candidates.get(place).copied()))
    }

    /// The place of the fastest of those that are right. Boxed, so that there is one of it, whatever the variants are.
    fn choose<'b>(
        &'b self,
        portable: usize,
        entrants: &'b [Entrant],
        tokens: usize,
        until: Instant,
    ) -> LocalBoxFuture<'b, Result<Option<usize>>> {
        Box::pin(async move {
            compile(self.gpu, until).await;
            if Instant::now() >= until {
                return Ok(None);
            }
            let right = self.right(portable, entrants, tokens.min(COMPARED), until).await?;
            self.at(tokens)?;
            let seconds = async |candidate: &Entrant, repeats: usize| {
                let all: Vec<&Dispatch> = candidate.dispatches.iter().flatten().collect();
                self.gpu.seconds(&all.repeat(repeats), tokens).await
            };
            let chosen = quickest(&right, until, seconds).await.or(right.first().copied());
            Ok(chosen.map(|candidate| candidate.place))
        })
    }

    /// Those whose products are the portable kernel's, as far as they can be compared in time.
    async fn right<'b>(
        &self,
        portable: usize,
        entrants: &'b [Entrant],
        tokens: usize,
        until: Instant,
    ) -> Result<Vec<&'b Entrant>> {
        let reference = entrants.iter().find(|candidate| candidate.place == portable).ok_or_else(no_portable)?;
        let expected = self.products(&reference.dispatches, tokens).await?;
        if !expected.iter().all(|product| product.is_finite()) {
            return Err(Error::OutputNotFinite);
        }
        let mut right = Vec::new();
        for candidate in entrants {
            if Instant::now() >= until {
                break;
            }
            let same = candidate.place == portable
                || self.products(&candidate.dispatches, tokens).await.is_ok_and(|got| close(&got, &expected));
            right.extend(same.then_some(candidate));
        }
        Ok(right)
    }

    /// The product's dispatches for each copy of the weights.
    fn record(&self, record: impl Fn(&Weight, &Finish<'_>) -> Result<Vec<Dispatch>>) -> Result<Vec<Vec<Dispatch>>> {
        let Shape { rows, columns, .. } = self.shape;
        let norm = RmsNorm { columns, eps: 1e-5 };
        let (squares, y) = (&self.squares, &self.y);
        let finish = Finish::Store { norm, squares, y, stride: stride(rows), starts: &[0], one_row: false };
        (0..self.copies).map(|copy| record(self.weights.product(Product::Down(copy))?, &finish)).collect()
    }

    fn at(&self, tokens: usize) -> Result<()> {
        self.gpu.upload(&self.step, 0, bytemuck::cast_slice(&[0, tokens as u32]))
    }

    /// What a kernel makes of the first copy.
    async fn products(&self, recorded: &[Vec<Dispatch>], tokens: usize) -> Result<Vec<f32>> {
        let bytes = (4 * tokens * stride(self.shape.rows)) as u64;
        self.at(tokens)?;
        // What the kernel before it left must not pass for its own.
        self.gpu.upload(&self.y, 0, &vec![0xff; bytes as usize])?;
        let products = self.gpu.staging("products", bytes);
        let submit = || {
            let first = recorded.first().into_iter().flatten();
            Ok(self.gpu.submit(first, tokens, Some((&self.y, &products, bytes))))
        };
        self.gpu.checked("candidate", submit).await?;
        let mut mapping = self.gpu.begin_map(&products, bytes);
        let all = self.gpu.mapped(&products, &mut mapping, bytemuck::pod_collect_to_vec::<u8, f32>).await?;
        let rows = all.chunks_exact(stride(self.shape.rows)).flat_map(|row| &row[..self.shape.rows]);
        Ok(rows.copied().collect())
    }
}

/// Compiles what was recorded, as far as that is done by `until`. What cannot be compiled fails when it is run.
async fn compile(gpu: &Gpu, until: Instant) {
    #[cfg(target_arch = "wasm32")]
    {
        let left = until.saturating_duration_since(Instant::now()).as_millis() as u32;
        select(gpu.compile(), TimeoutFuture::new(left)).await;
    }
    // Natively, that was done when it was recorded.
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (gpu, until);
}

/// Weights that make sense in every format.
async fn synthetic(gpu: &Gpu, Shape { format, rows, columns }: Shape, copies: usize) -> Result<WeightStore> {
    let mut weights = Weights::new(gpu);
    let role = |copy| Role::Layer(copy, LayerRole::Down);
    let specs: Vec<_> = (0..copies).map(|copy| TensorSpec { role: role(copy), format, rows, columns }).collect();
    weights.allocate(&specs).await?;
    let weights = weights.finish();
    fill(gpu, weights.slabs())?;
    Ok(weights)
}

/// Fills slabs with what makes sense in every format.
pub(super) fn fill<'a>(gpu: &Gpu, slabs: impl Iterator<Item = &'a Slab>) -> Result<()> {
    // Any half of a word is a number of f16 with 0.5 <= |x| < 2, and one of bf16 below 2.
    let word = |at| splitmix64(0, at) as u32 & 0x87ff_87ff | 0x3800_3800;
    let words: Vec<u32> = (0..PERIOD).map(word).collect();
    let bytes: &[u8] = bytemuck::cast_slice(&words);
    for slab in slabs {
        for offset in (0..slab.buffer.bytes()).step_by(bytes.len()) {
            let length = (slab.buffer.bytes() - offset).min(bytes.len() as u64);
            gpu.upload(&slab.buffer, offset, &bytes[..length as usize])?;
        }
    }
    Ok(())
}

fn no_portable() -> Error {
    Error::Gpu { detail: "the portable kernel is not among the candidates, or was refused".into() }
}

/// Whether products are those that are expected; NaN never is.
fn close(got: &[f32], expected: &[f32]) -> bool {
    let squares: f32 = expected.iter().map(|x| x * x).sum();
    let allowed = TOLERANCE * (squares / expected.len().max(1) as f32).sqrt();
    got.len() == expected.len() && got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() <= allowed)
}

/// The candidate whose runs are the shortest: `seconds` says how long one takes that repeats its work so many times. Runs
/// become longer until their times can be trusted; who is far behind, or fails, drops out before. The first is preferred
/// unless another is clearly quicker. None when time is up before there is anything to choose by.
async fn quickest<V: Copy>(
    candidates: &[V],
    until: Instant,
    seconds: impl AsyncFn(V, usize) -> Result<f64>,
) -> Option<V> {
    // Those that are left, with the shortest time of a repeat so far.
    let mut left: Vec<(V, f64)> = candidates.iter().map(|&candidate| (candidate, f64::INFINITY)).collect();
    let (mut repeats, mut rounds) = (1, 0);
    while left.len() > 1 && rounds < ROUNDS {
        let mut times = Vec::new();
        for &(candidate, _) in &left {
            if Instant::now() >= until {
                break;
            }
            times.push(seconds(candidate, repeats).await.unwrap_or(f64::INFINITY));
        }
        if times.len() < left.len() {
            break;
        }
        let shortest = times.iter().copied().fold(f64::INFINITY, f64::min);
        let last = shortest >= LONG_ENOUGH || repeats >= MOST_OFTEN;
        let mut times = times.into_iter();
        left.retain_mut(|(_, least)| {
            let time = times.next().unwrap_or(f64::INFINITY);
            if last {
                *least = least.min(time / repeats as f64);
            }
            time <= 2.0 * shortest.max(LONG_ENOUGH / 10.0)
        });
        if last {
            rounds += 1;
        } else {
            repeats = more_often(repeats, shortest, LONG_ENOUGH);
        }
    }
    let &(first, time) = left.first()?;
    let best =
        left.iter().copied().fold((first, time * CLEARLY_LESS), |best, one| if one.1 < best.1 { one } else { best });
    (time.is_finite() || left.len() == 1).then_some(best.0)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use pollster::block_on;

    use super::*;

    const LATER: Duration = Duration::from_secs(3600);

    /// Chooses among candidates by what a repeat takes them, in seconds; infinity fails. Tells how often each was repeated.
    fn choose(times: &[f64], until: Instant) -> (Option<usize>, Vec<usize>) {
        let repeated = RefCell::new(vec![0; times.len()]);
        let candidates: Vec<usize> = (0..times.len()).collect();
        let chosen = quickest(&candidates, until, async |candidate, repeats| {
            repeated.borrow_mut()[candidate] += repeats;
            // A browser's clock.
            let seconds = (times[candidate] * repeats as f64 * 1e4).round() / 1e4;
            if seconds.is_finite() { Ok(seconds) } else { Err(Error::OutputNotFinite) }
        });
        (block_on(chosen), repeated.into_inner())
    }

    #[test]
    fn the_quickest_is_chosen_however_short_it_is() {
        let later = Instant::now() + LATER;
        for unit in [1e-7, 1e-5, 1e-3, 0.1] {
            let times = [1.5, 1.2, 1.0, 1.1].map(|time| time * unit);
            assert_eq!(choose(&times, later).0, Some(2), "{unit}");
        }
        assert_eq!(choose(&[1e-3], later), (Some(0), vec![0]), "there is no choice");
        assert_eq!(choose(&[], later).0, None);
    }

    #[test]
    fn the_first_is_preferred_unless_another_is_clearly_quicker() {
        let later = Instant::now() + LATER;
        assert_eq!(choose(&[1e-3, 0.95e-3], later).0, Some(0));
        assert_eq!(choose(&[1e-3, 0.85e-3], later).0, Some(1));
    }

    #[test]
    fn who_is_far_behind_or_fails_is_not_tried_for_long() {
        let later = Instant::now() + LATER;
        let (chosen, repeated) = choose(&[1e-5, 3e-5, f64::INFINITY, 0.05], later);
        assert_eq!(chosen, Some(0));
        assert_eq!(repeated[2..], [1, 1]);
        let far = repeated[1] as f64 * 3e-5;
        assert!(far < 0.02, "{far} s were spent on the second");
        assert_eq!(choose(&[f64::INFINITY, 1e-3], later).0, Some(1));
        assert_eq!(choose(&[f64::INFINITY; 2], later).0, None);
    }

    #[test]
    fn nothing_is_begun_once_time_is_up() {
        assert_eq!(choose(&[1e-3, 1e-3], Instant::now()), (None, vec![0, 0]));
    }

    #[test]
    fn products_are_compared_with_their_root_mean_square() {
        let expected = [1.0, -1.0, 1.0, 0.0];
        assert!(close(&[1.00005, -1.0, 1.0, 0.00005], &expected));
        for wrong in [[1.0, -1.0, 1.0, 0.001], [1.0, -1.0, f32::NAN, 0.0], [0.0; 4]] {
            assert!(!close(&wrong, &expected), "{wrong:?}");
        }
        assert!(!close(&[1.0], &expected));
    }
}
