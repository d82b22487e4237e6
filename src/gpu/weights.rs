//! Weights in the device's memory: the sink that a loader writes rows into.

use std::collections::HashMap;

use futures_channel::oneshot;

use super::Gpu;
use super::pack::{pack_tile, tile_words};
use super::tensor::Buffer;
use crate::error::{Error, Result};
use crate::weights::{Format, ROW_GROUP, Role, Sink, TensorSpec, quant};

/// Most words that are packed before they are handed to the device: it bounds the host's memory.
const SCRATCH_WORDS: usize = 1 << 18;
/// Bytes that are handed to the device together. Two such batches are on their way at most: until they are there, the
/// browser or driver holds copies of them.
const BATCH_BYTES: u64 = 8 << 20;

/// A matrix as a list of slabs, each within one binding.
pub struct Weight {
    /// Format of its bits.
    pub format: Format,
    /// Number of rows of all slabs together.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Runs of rows, in order.
    pub slabs: Vec<Slab>,
}

/// A run of rows of a matrix.
pub struct Slab {
    /// Tiles of 32 rows.
    pub buffer: Buffer,
    /// Its first row's number in the matrix, a multiple of 32.
    pub first_row: usize,
    /// How many rows it holds; the last slab's may end within a tile.
    pub rows: usize,
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
    matrices: HashMap<Role, Weight>,
    norms: HashMap<Role, Norm>,
}

impl WeightStore {
    /// A projection, the embedding or the head.
    pub fn matrix(&self, role: Role) -> Result<&Weight> {
        self.matrices.get(&role).ok_or_else(|| Error::MissingTensor { tensor: format!("{role:?}") })
    }

    /// The f32 weights of a norm.
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

impl Weight {
    /// Room for a matrix, cut so that each slab fits a binding of `max_bytes`.
    fn allocate(gpu: &Gpu, spec: &TensorSpec, max_bytes: u64) -> Result<Self> {
        let tile_bytes = 4 * tile_words(spec.format, spec.columns) as u64;
        let tiles = (max_bytes / tile_bytes.max(1)) as usize;
        if tiles == 0 {
            let detail = format!("32 rows of {:?} take {tile_bytes} bytes, a binding {max_bytes}", spec.role);
            return Err(Error::AdapterLimit { detail });
        }
        let step = tiles.saturating_mul(ROW_GROUP);
        let slabs = (0..spec.rows).step_by(step).map(|first_row| {
            let rows = step.min(spec.rows - first_row);
            let bytes = rows.div_ceil(ROW_GROUP) as u64 * tile_bytes;
            let buffer = gpu.storage(&format!("{:?} from row {first_row}", spec.role), bytes)?;
            Ok(Slab { buffer, first_row, rows })
        });
        Ok(Self { format: spec.format, rows: spec.rows, columns: spec.columns, slabs: slabs.collect::<Result<_>>()? })
    }
}

impl Sink for Weights<'_> {
    async fn allocate(&mut self, tensors: &[TensorSpec]) -> Result<()> {
        let Self { gpu, store, max_binding_bytes, .. } = self;
        gpu.checked("weights", || {
            for spec in tensors {
                if spec.role.is_norm() {
                    let buffer = gpu.storage("norm", 4 * spec.columns as u64)?;
                    store.norms.insert(spec.role, Norm { format: spec.format, buffer });
                } else {
                    store.matrices.insert(spec.role, Weight::allocate(gpu, spec, *max_binding_bytes)?);
                }
            }
            Ok(())
        })
        .await
    }

    fn write_rows(&mut self, role: Role, first_row: usize, bytes: &[u8]) -> Result<()> {
        self.unsettled += bytes.len() as u64;
        if let Some(norm) = self.store.norms.get(&role) {
            return self.gpu.upload(&norm.buffer, 0, bytemuck::cast_slice(&widen(norm.format, bytes)?));
        }
        let weight = self.store.matrix(role)?;
        let row_bytes = weight.format.row_bytes(weight.columns);
        let words = tile_words(weight.format, weight.columns);
        let tiles_at_once = (SCRATCH_WORDS / words).max(1);
        let rows = bytes.chunks(tiles_at_once * ROW_GROUP * row_bytes);
        for (rows, first_row) in rows.zip((first_row..).step_by(tiles_at_once * ROW_GROUP)) {
            self.scratch.resize(rows.len().div_ceil(ROW_GROUP * row_bytes) * words, 0);
            for (rows, tile) in rows.chunks(ROW_GROUP * row_bytes).zip(self.scratch.chunks_exact_mut(words)) {
                pack_tile(weight.format, weight.columns, rows, tile);
            }
            write_tiles(self.gpu, weight, first_row, words, &self.scratch)?;
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        if self.unsettled <= BATCH_BYTES {
            return Ok(());
        }
        self.unsettled = 0;
        self.gpu.flush();
        // Only the batch before is waited for: the device and the loader work at the same time.
        if let Some(before) = self.settled.replace(self.gpu.done()) {
            // Cancelled only when the device is gone, which `check` tells.
            let _ = before.await;
        }
        self.gpu.check()
    }
}

/// Writes packed tiles from row `first_row` on, slab by slab.
fn write_tiles(gpu: &Gpu, weight: &Weight, mut first_row: usize, words: usize, mut tiles: &[u32]) -> Result<()> {
    for slab in &weight.slabs {
        let end = slab.first_row + slab.rows;
        if tiles.is_empty() || first_row < slab.first_row || first_row >= end {
            continue;
        }
        let count = (end - first_row).div_ceil(ROW_GROUP).min(tiles.len() / words);
        let (here, rest) = tiles.split_at(count * words);
        let offset = ((first_row - slab.first_row) / ROW_GROUP * words * 4) as u64;
        gpu.upload(&slab.buffer, offset, bytemuck::cast_slice(here))?;
        first_row += count * ROW_GROUP;
        tiles = rest;
    }
    if tiles.is_empty() { Ok(()) } else { Err(Error::Gpu { detail: format!("row {first_row} is outside the matrix") }) }
}

/// The weights of a norm as f32; the loader refuses norms in formats of blocks.
fn widen(format: Format, bytes: &[u8]) -> Result<Vec<f32>> {
    let mut values = vec![0.0; bytes.len() / format.block_bytes() * format.block_len()];
    quant::dequantise(format, bytes, &mut values)?;
    Ok(values)
}
