//! Weights in the device's memory: the sink that a loader writes rows into.
//!
//! Matrices that are multiplied with the same vector lie behind one another, so that one dispatch does them all.

use std::collections::HashMap;

use futures_channel::oneshot;

use super::Gpu;
use super::tensor::Buffer;
use crate::error::{Error, Result};
use crate::formats::tile::{pack_tile, tile_words};
use crate::formats::{self, Format};
use crate::weights::{LayerRole, ROW_GROUP, Role, Sink, TensorSpec};

/// Most words that are packed before they are handed to the device: it bounds the host's memory.
const SCRATCH_WORDS: usize = 1 << 18;
/// Bytes that are handed to the device together. Two such batches are on their way at most: until they are there, the
/// browser or driver holds copies of them.
const BATCH_BYTES: u64 = 8 << 20;
/// Tiles that a workgroup of a product works on.
const TILES_TOGETHER: usize = 2;

/// Matrices that are multiplied with the same vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Product {
    /// The embedding table; also the head when embeddings are tied.
    Embedding,
    /// The output head.
    Head,
    /// A layer's query, key and value projections.
    Qkv(usize),
    /// A layer's output projection of attention.
    AttentionOutput(usize),
    /// A layer's gate and up projections.
    GateUp(usize),
    /// A layer's down projection.
    Down(usize),
}

impl Product {
    /// The product that a matrix takes part in, and its place there; none for a norm.
    pub(super) fn of(role: Role) -> Option<(Self, usize)> {
        Some(match role {
            Role::Embedding => (Product::Embedding, 0),
            Role::Head => (Product::Head, 0),
            Role::Layer(layer, LayerRole::Query) => (Product::Qkv(layer), 0),
            Role::Layer(layer, LayerRole::Key) => (Product::Qkv(layer), 1),
            Role::Layer(layer, LayerRole::Value) => (Product::Qkv(layer), 2),
            Role::Layer(layer, LayerRole::AttentionOutput) => (Product::AttentionOutput(layer), 0),
            Role::Layer(layer, LayerRole::Gate) => (Product::GateUp(layer), 0),
            Role::Layer(layer, LayerRole::Up) => (Product::GateUp(layer), 1),
            Role::Layer(layer, LayerRole::Down) => (Product::Down(layer), 0),
            Role::FinalNorm | Role::Layer(_, LayerRole::AttentionNorm | LayerRole::MlpNorm) => return None,
        })
    }
}

/// The matrices of a product as a list of slabs, each within one binding.
pub struct Weight {
    /// Number of columns of all of them.
    pub columns: usize,
    /// In order.
    pub slabs: Vec<Slab>,
}

impl Weight {
    /// Whether all of it is pairs of a gate and an up projection.
    pub fn is_paired(&self) -> bool {
        self.slabs.iter().all(|slab| slab.pair)
    }
}

/// Tiles of 32 rows of one format: a run of rows of one matrix or of several.
pub struct Slab {
    /// The tiles; of zeros after the last one where their number is odd.
    pub buffer: Buffer,
    /// Format of its bits.
    pub format: Format,
    /// Place in the product of the matrix that the run starts with.
    pub part: usize,
    /// Rows of the run before this slab's, a multiple of 64 (of a pair, of 32); each matrix but the last fills whole tiles.
    pub first_row: usize,
    /// Rows that it gives; the last slab's may end within a tile.
    pub rows: usize,
    /// Whether it holds the same rows of two matrices, a gate and an up projection, which are worked on together.
    pub pair: bool,
    /// How many tiles the two that are worked on together are apart: 1, or a gate's distance from its up projection.
    pub tiles_apart: usize,
    /// Which tiles it holds.
    spans: Vec<Span>,
}

/// Neighbouring tiles of a matrix within a slab.
struct Span {
    /// The matrix's place in the product.
    part: usize,
    /// The first tile's number in the matrix.
    first_tile: usize,
    tiles: usize,
    /// The first tile's number in the slab.
    at: usize,
}

/// A matrix that is still to be given room.
#[derive(Clone, Copy)]
struct Matrix {
    part: usize,
    format: Format,
    rows: usize,
    columns: usize,
}

impl Matrix {
    fn tiles(&self) -> usize {
        self.rows.div_ceil(ROW_GROUP)
    }
}

/// The weights of a norm, held as f32 whatever the file's format.
struct Norm {
    format: Format,
    buffer: Buffer,
}

/// All weights of a model on one device.
pub struct Weights<'a> {
    gpu: &'a Gpu,
    max_binding_bytes: u64,
    store: WeightStore,
    scratch: Vec<u32>,
    /// Bytes written since the last batch.
    unsettled: u64,
    /// Comes when the last batch is there.
    settled: Option<oneshot::Receiver<()>>,
}

/// The weights by what they are to the model.
#[derive(Default)]
pub struct WeightStore {
    products: HashMap<Product, Weight>,
    formats: HashMap<Role, (Format, usize)>,
    norms: HashMap<Role, Norm>,
}

impl WeightStore {
    /// The matrices of a product. Errors: `MissingTensor`.
    pub fn product(&self, product: Product) -> Result<&Weight> {
        self.products.get(&product).ok_or_else(|| Error::MissingTensor { tensor: format!("{product:?}") })
    }

    /// All slabs of all products.
    pub fn slabs(&self) -> impl Iterator<Item = &Slab> {
        self.products.values().flat_map(|weight| &weight.slabs)
    }

    /// Whether it has a product.
    pub(super) fn has(&self, product: Product) -> bool {
        self.products.contains_key(&product)
    }

    /// The f32 weights of a norm. Errors: `MissingTensor`.
    pub fn norm(&self, role: Role) -> Result<&Buffer> {
        let norm = self.norms.get(&role).ok_or_else(|| Error::MissingTensor { tensor: format!("{role:?}") })?;
        Ok(&norm.buffer)
    }
}

impl<'a> Weights<'a> {
    /// An empty sink for `gpu`.
    pub fn new(gpu: &'a Gpu) -> Self {
        Self::within(gpu, gpu.max_binding_bytes())
    }

    /// An empty sink that cuts matrices into slabs of at most `max_binding_bytes`.
    pub fn within(gpu: &'a Gpu, max_binding_bytes: u64) -> Self {
        Self { gpu, max_binding_bytes, store: WeightStore::default(), scratch: Vec::new(), unsettled: 0, settled: None }
    }

    /// What has room so far.
    pub fn store(&self) -> &WeightStore {
        &self.store
    }

    /// What was written.
    pub fn finish(self) -> WeightStore {
        self.gpu.flush();
        self.store
    }
}

impl WeightStore {
    /// Makes room for tensors, those of one product together as far as they have one format.
    fn allocate(&mut self, gpu: &Gpu, tensors: &[TensorSpec], max_bytes: u64) -> Result<()> {
        for &TensorSpec { role, format, columns, .. } in tensors {
            if Product::of(role).is_some() {
                self.formats.insert(role, (format, columns));
            } else {
                let buffer = gpu.storage("norm", norm_bytes(columns))?;
                self.norms.insert(role, Norm { format, buffer });
            }
        }
        for (product, matrices) in products(tensors) {
            let columns = matrices[0].columns;
            let weight = self.products.entry(product).or_insert_with(|| Weight { columns, slabs: Vec::new() });
            for run in runs(&matrices) {
                let layouts = layouts(product, run, max_bytes)?;
                let slabs: Vec<Slab> =
                    layouts.map(|layout| Slab::allocate(gpu, product, layout)).collect::<Result<_>>()?;
                let place = weight.slabs.partition_point(|before| before.part < run[0].part);
                weight.slabs.splice(place..place, slabs);
            }
        }
        Ok(())
    }
}

/// Bytes that tensors take on a device whose bindings have at most `max_bytes`. Errors: `AdapterLimit` where a few rows are more.
pub fn bytes_on_device(tensors: &[TensorSpec], max_bytes: u64) -> Result<u64> {
    let norms = tensors.iter().filter(|spec| Product::of(spec.role).is_none());
    let mut bytes = norms.map(|spec| norm_bytes(spec.columns)).sum();
    for (product, matrices) in products(tensors) {
        for run in runs(&matrices) {
            bytes += layouts(product, run, max_bytes)?.map(|layout| layout.bytes).sum::<u64>();
        }
    }
    Ok(bytes)
}

fn norm_bytes(columns: usize) -> u64 {
    4 * columns as u64
}

/// The matrices among tensors by product, each in its place.
fn products(tensors: &[TensorSpec]) -> Vec<(Product, Vec<Matrix>)> {
    let mut products: Vec<(Product, Vec<Matrix>)> = Vec::new();
    for &TensorSpec { role, format, rows, columns } in tensors {
        let Some((product, part)) = Product::of(role) else { continue };
        let matrix = Matrix { part, format, rows, columns };
        match products.iter_mut().find(|(known, _)| *known == product) {
            Some((_, matrices)) => {
                let place = matrices.partition_point(|before| before.part < part);
                matrices.insert(place, matrix);
            }
            None => products.push((product, vec![matrix])),
        }
    }
    products
}

/// Neighbours of one format, which lie behind one another.
fn runs(matrices: &[Matrix]) -> impl Iterator<Item = &[Matrix]> {
    matrices.chunk_by(|a, b| a.part + 1 == b.part && a.format == b.format && a.columns == b.columns)
}

/// A slab that is to be: its fields, and how many bytes it takes.
struct Layout {
    format: Format,
    part: usize,
    first_row: usize,
    rows: usize,
    pair: bool,
    tiles_apart: usize,
    spans: Vec<Span>,
    bytes: u64,
}

impl Slab {
    fn allocate(gpu: &Gpu, product: Product, layout: Layout) -> Result<Self> {
        let Layout { format, part, first_row, rows, pair, tiles_apart, spans, bytes } = layout;
        let buffer = gpu.storage(&format!("{product:?} from row {first_row}"), bytes)?;
        Ok(Self { buffer, format, part, first_row, rows, pair, tiles_apart, spans })
    }
}

/// The slabs of a run of matrices, each within a binding of `max_bytes`. A gate and an up projection lie beside each other, so that
/// each slab holds the same rows of both.
fn layouts(product: Product, run: &[Matrix], max_bytes: u64) -> Result<impl Iterator<Item = Layout>> {
    let beside = matches!(product, Product::GateUp(_)) && run.len() == 2 && run[0].rows == run[1].rows;
    let Matrix { part, format, rows, columns } = run[0];
    let tile_bytes = 4 * tile_words(format, columns) as u64;
    let most = (max_bytes / tile_bytes.max(1)) as usize / TILES_TOGETHER;
    if most == 0 {
        let detail = format!("64 rows of {product:?} take {} bytes, a binding {max_bytes}", 2 * tile_bytes);
        return Err(Error::AdapterLimit { detail });
    }
    // The rows that the whole run gives.
    let (rows, step) = if beside {
        (rows, most)
    } else {
        let before_last: usize = run[..run.len() - 1].iter().map(|matrix| matrix.tiles() * ROW_GROUP).sum();
        (before_last + run[run.len() - 1].rows, most.saturating_mul(TILES_TOGETHER))
    };
    let tiles = rows.div_ceil(ROW_GROUP);
    Ok((0..tiles).step_by(step).map(move |first| {
        let count = step.min(tiles - first);
        let (spans, tiles_apart, room) = if beside {
            let span = |index: usize| Span { part: part + index, first_tile: first, tiles: count, at: index * count };
            (vec![span(0), span(1)], count, 2 * count)
        } else {
            (spans(run, first, count), 1, count.next_multiple_of(TILES_TOGETHER))
        };
        let first_row = first * ROW_GROUP;
        let rows = (count * ROW_GROUP).min(rows - first_row);
        Layout { format, part, first_row, rows, pair: beside, tiles_apart, spans, bytes: room as u64 * tile_bytes }
    }))
}

/// The parts of each matrix among `count` tiles of a run from tile `first` on.
fn spans(run: &[Matrix], first: usize, count: usize) -> Vec<Span> {
    let mut start = 0;
    let spans = run.iter().filter_map(|matrix| {
        let (from, to) = (start.max(first), (start + matrix.tiles()).min(first + count));
        let before = start;
        start += matrix.tiles();
        let span = Span {
            part: matrix.part,
            first_tile: from.saturating_sub(before),
            tiles: to.saturating_sub(from),
            at: from - first,
        };
        (from < to).then_some(span)
    });
    spans.collect()
}

impl Sink for Weights<'_> {
    async fn allocate(&mut self, tensors: &[TensorSpec]) -> Result<()> {
        let Self { gpu, store, max_binding_bytes, .. } = self;
        gpu.checked("weights", || store.allocate(gpu, tensors, *max_binding_bytes)).await
    }

    fn write_rows(&mut self, role: Role, first_row: usize, bytes: &[u8]) -> Result<()> {
        self.unsettled += bytes.len() as u64;
        if let Some(norm) = self.store.norms.get(&role) {
            return self.gpu.upload(&norm.buffer, 0, bytemuck::cast_slice(&widen(norm.format, bytes)?));
        }
        let missing = || Error::MissingTensor { tensor: format!("{role:?}") };
        let (product, part) = Product::of(role).ok_or_else(missing)?;
        let (format, columns) = *self.store.formats.get(&role).ok_or_else(missing)?;
        let weight = self.store.product(product)?;
        let row_bytes = format.row_bytes(columns);
        let words = tile_words(format, columns);
        let tiles_at_once = (SCRATCH_WORDS / words).max(1);
        let rows = bytes.chunks(tiles_at_once * ROW_GROUP * row_bytes);
        for (rows, first_tile) in rows.zip((first_row / ROW_GROUP..).step_by(tiles_at_once)) {
            self.scratch.resize(rows.len().div_ceil(ROW_GROUP * row_bytes) * words, 0);
            for (rows, tile) in rows.chunks(ROW_GROUP * row_bytes).zip(self.scratch.chunks_exact_mut(words)) {
                pack_tile(format, columns, rows, tile);
            }
            write_tiles(self.gpu, weight, part, first_tile, words, &self.scratch)?;
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        if self.unsettled <= BATCH_BYTES {
            return Ok(());
        }
        self.unsettled = 0;
        self.gpu.flush();
        // Only the batch before is waited for: in a browser, the device and the loader work at the same time.
        if let Some(before) = self.settled.replace(self.gpu.done()) {
            // Cancelled only when the device is gone, which `check` tells.
            let _ = before.await;
        }
        self.gpu.check()
    }
}

/// Writes packed tiles of a matrix from tile `first` on, wherever they lie.
fn write_tiles(gpu: &Gpu, weight: &Weight, part: usize, first: usize, words: usize, tiles: &[u32]) -> Result<()> {
    let end = first + tiles.len() / words;
    let mut written = 0;
    for slab in &weight.slabs {
        for span in slab.spans.iter().filter(|span| span.part == part) {
            let (from, to) = (first.max(span.first_tile), end.min(span.first_tile + span.tiles));
            if from < to {
                let offset = (span.at + from - span.first_tile) * words * 4;
                let here = &tiles[(from - first) * words..(to - first) * words];
                gpu.upload(&slab.buffer, offset as u64, bytemuck::cast_slice(here))?;
                written += to - from;
            }
        }
    }
    if written == end - first {
        Ok(())
    } else {
        Err(Error::Gpu { detail: format!("tile {first} is outside the matrix") })
    }
}

/// The weights of a norm as f32; the loader refuses norms in formats of blocks.
fn widen(format: Format, bytes: &[u8]) -> Result<Vec<f32>> {
    let mut values = vec![0.0; bytes.len() / format.block_bytes() * format.block_len()];
    formats::dequantise(format, bytes, &mut values)?;
    Ok(values)
}
