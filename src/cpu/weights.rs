//! Weights in main memory, row by row in the bits that they are published in: the sink that a loader writes into.

use std::collections::HashMap;

use super::products::{self, Out, Vectors};
use super::rounded::{self, BLOCK, Block};
use super::{reserve, zeros};
use crate::error::{Error, Result};
use crate::formats::{self, Format};
use crate::weights::{Role, Sink, TensorSpec};

/// All weights of a model.
#[derive(Default)]
pub struct Weights {
    matrices: HashMap<Role, Matrix>,
    norms: HashMap<Role, Norm>,
}

/// Rows of weights.
pub(super) struct Matrix {
    pub columns: usize,
    format: Format,
    /// As published.
    bytes: Vec<u8>,
    row_bytes: usize,
}

/// A norm's gains, held as f32 whatever the file's format.
struct Norm {
    format: Format,
    gains: Vec<f32>,
}

/// Vectors that products take: as they are, and in 8 bits.
pub(super) struct Input {
    pub values: Vec<f32>,
    blocks: Vec<Block>,
    rounds: bool,
    /// Where a row's weights are unpacked that meets vectors as they are.
    pub row: Vec<f32>,
}

impl Input {
    /// Room for `count` vectors of at most this length; whether they are rounded for those products that can be done so.
    ///
    /// Errors: `OutOfMemory`.
    pub fn new(count: usize, length: usize, rounds: bool) -> Result<Self> {
        let (what, room) = ("activations", count.saturating_mul(length));
        let mut blocks = Vec::new();
        reserve(&mut blocks, what, if rounds { room / BLOCK } else { 0 })?;
        Ok(Self { values: zeros(what, room)?, blocks, rounds, row: zeros(what, length)? })
    }

    /// Rounds `count` vectors of this length, once they are there.
    pub fn round(&mut self, count: usize, length: usize) {
        let rounds = self.rounds && length.is_multiple_of(BLOCK);
        rounded::round(if rounds { &self.values[..count * length] } else { &[] }, &mut self.blocks);
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.values[..]) + self.blocks.capacity() * size_of::<Block>() + size_of_val(&self.row[..])
    }
}

impl Matrix {
    /// Room for a matrix whose rows are still to come.
    ///
    /// Errors: `OutOfMemory`.
    fn reserve(spec: &TensorSpec) -> Result<Self> {
        let row_bytes = spec.format.row_bytes(spec.columns);
        let mut bytes = Vec::new();
        reserve(&mut bytes, &format!("{:?}", spec.role), row_bytes.saturating_mul(spec.rows))?;
        Ok(Self { columns: spec.columns, format: spec.format, bytes, row_bytes })
    }

    /// A matrix of numbers as they are, row by row.
    pub fn of(columns: usize, values: &[f32]) -> Result<Self> {
        let mut bytes = Vec::new();
        reserve(&mut bytes, "adapters", size_of_val(values))?;
        bytes.extend_from_slice(bytemuck::cast_slice(values));
        Ok(Self { columns, format: Format::F32, bytes, row_bytes: 4 * columns })
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.bytes.len() / self.row_bytes.max(1)
    }

    /// The weights of a row, as many as `out` has room for; left as it is where there is no such row.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let bytes = self.bytes.get(row * self.row_bytes..).unwrap_or_default();
        if let Some(bytes) = bytes.get(..self.row_bytes) {
            self.format.widen()(bytes, out);
        }
    }

    /// `out [count][rows]` = all rows times the first `count` vectors of `x`, in 8 bits where both are there in so few.
    pub fn multiply(&self, x: &mut Input, count: usize, out: &mut [f32]) {
        let blocks = self.columns / BLOCK;
        match (self.format.rounded_product(), x.blocks.get(..count * blocks)) {
            (Some(product), Some(values)) if x.rounds => {
                let mut out = Out { values: out, stride: self.rows() };
                product(&self.bytes, self.row_bytes, Vectors { values, length: blocks }, &mut out);
            }
            _ => self.multiply_exactly(&x.values, count, out, &mut x.row),
        }
    }

    /// The same with vectors as they are. `row` has room for one of the rows.
    pub fn multiply_exactly(&self, x: &[f32], count: usize, out: &mut [f32], row: &mut [f32]) {
        let vectors = Vectors { values: &x[..count * self.columns], length: self.columns };
        let mut out = Out { values: out, stride: self.rows() };
        let row = &mut row[..self.columns];
        products::exact(&self.bytes, self.row_bytes, vectors, &mut out, self.format.widen(), row);
    }
}

impl Weights {
    /// An empty sink.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        let matrices: usize = self.matrices.values().map(|matrix| matrix.bytes.capacity()).sum();
        let norms: usize = self.norms.values().map(|norm| size_of_val(&norm.gains[..])).sum();
        (matrices + norms) as u64
    }

    pub(super) fn matrix(&self, role: Role) -> Result<&Matrix> {
        self.matrices.get(&role).ok_or_else(|| missing(role))
    }

    pub(super) fn norm(&self, role: Role) -> Result<&[f32]> {
        Ok(&self.norms.get(&role).ok_or_else(|| missing(role))?.gains)
    }
}

fn missing(role: Role) -> Error {
    Error::MissingTensor { tensor: format!("{role:?}") }
}

impl Sink for Weights {
    async fn allocate(&mut self, tensors: &[TensorSpec]) -> Result<()> {
        for spec in tensors {
            if spec.role.is_norm() {
                let gains = zeros("norm", spec.columns)?;
                self.norms.insert(spec.role, Norm { format: spec.format, gains });
            } else {
                self.matrices.insert(spec.role, Matrix::reserve(spec)?);
            }
        }
        Ok(())
    }

    fn write_rows(&mut self, role: Role, first_row: usize, bytes: &[u8]) -> Result<()> {
        if let Some(Norm { format, gains }) = self.norms.get_mut(&role) {
            return formats::dequantise(*format, bytes, gains);
        }
        let matrix = self.matrices.get_mut(&role).ok_or_else(|| missing(role))?;
        let start = first_row * matrix.row_bytes;
        // In order, so that there is nothing to be filled in before; never more than there is room for.
        if start > matrix.bytes.len() || bytes.len() > matrix.bytes.capacity() - start {
            let detail = format!("row {first_row} of {role:?} is not the next one");
            return Err(Error::BadHeader { detail });
        }
        matrix.bytes.truncate(start);
        matrix.bytes.extend_from_slice(bytes);
        Ok(())
    }
}
