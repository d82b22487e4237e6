//! Weights in main memory, in the bytes that they are published in: the sink that a loader writes into.

use std::collections::HashMap;

use super::products::{self, Out, Product, Quads, Vectors};
use super::quads::ROWS;
use super::rounded::{self, BLOCK, Block};
use super::team::{MATRICES, Share, Team};
use super::{reserve, zeros};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::formats::{self, Format, MOST_BLOCK_BYTES};
use crate::weights::{Role, Sink, TensorSpec};

/// All weights of a model.
#[derive(Default)]
pub struct Weights {
    matrices: HashMap<Role, Share>,
    norms: HashMap<Role, Norm>,
    /// Who has the rows of matrices that are not here.
    team: Option<Team>,
}

/// Rows of weights.
pub(super) struct Matrix {
    pub columns: usize,
    format: Format,
    /// Row by row; quad by quad where the format has a product for that.
    bytes: Vec<u8>,
    row_bytes: usize,
    /// Rows that are there.
    rows: usize,
    /// Whether their blocks are all such as the format's faster product takes.
    normal: bool,
    /// How many rows there is room for.
    most_rows: usize,
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

/// The length of the longest vectors that a model's products take.
pub(super) fn longest(config: &ModelConfig) -> usize {
    config.hidden_size.max(config.query_size()).max(config.intermediate_size)
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
        let Self { values, blocks, row, .. } = self;
        size_of_val(&values[..]) + blocks.capacity() * size_of::<Block>() + size_of_val(&row[..])
    }
}

impl Matrix {
    /// Room for so many rows, which are still to come.
    ///
    /// Errors: `OutOfMemory`.
    pub fn room(format: Format, columns: usize, rows: usize) -> Result<Self> {
        let row_bytes = format.row_bytes(columns);
        let room = if format.rounded_product().is_some() { rows.next_multiple_of(ROWS) } else { rows };
        let mut bytes = Vec::new();
        reserve(&mut bytes, "weights", row_bytes.saturating_mul(room))?;
        Ok(Self { columns, format, bytes, row_bytes, rows: 0, normal: true, most_rows: rows })
    }

    /// Writes whole rows: in order, so that there is nothing to be filled in before; never more than there is room for.
    ///
    /// Errors: `BadHeader`.
    pub fn write(&mut self, first_row: usize, bytes: &[u8]) -> Result<()> {
        let rows = first_row.saturating_add(bytes.len() / self.row_bytes);
        if first_row > self.rows || rows > self.most_rows {
            return Err(Self::not_the_next(first_row));
        }
        if let Some(Product { cut, is_normal, .. }) = self.format.rounded_product() {
            self.normal &= is_normal(bytes);
            let quad_bytes = ROWS * self.row_bytes;
            self.bytes.resize(rows.div_ceil(ROWS) * quad_bytes, 0);
            for (row, at) in bytes.chunks_exact(self.row_bytes).zip(first_row..) {
                cut.put(row, at % ROWS, &mut self.bytes[at / ROWS * quad_bytes..][..quad_bytes]);
            }
        } else {
            self.bytes.truncate(first_row * self.row_bytes);
            self.bytes.extend_from_slice(bytes);
        }
        self.rows = rows;
        Ok(())
    }

    /// The error for rows that come before others.
    pub fn not_the_next(row: usize) -> Error {
        Error::BadHeader { detail: format!("row {row} of a matrix is not the next one") }
    }

    /// A matrix of numbers as they are, row by row.
    pub fn of(columns: usize, values: &[f32]) -> Result<Self> {
        let mut bytes = Vec::new();
        reserve(&mut bytes, "adapters", size_of_val(values))?;
        bytes.extend_from_slice(bytemuck::cast_slice(values));
        let rows = values.len() / columns.max(1);
        Ok(Self { columns, format: Format::F32, bytes, row_bytes: 4 * columns, rows, normal: false, most_rows: rows })
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many rows there is room for.
    pub fn most_rows(&self) -> usize {
        self.most_rows
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The weights of a row, as many as `out` has room for; left as it is where there is no such row.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        if row >= self.rows {
            return;
        }
        let Some(Product { cut, .. }) = self.format.rounded_product() else {
            return self.format.widen()(&self.bytes[row * self.row_bytes..][..self.row_bytes], out);
        };
        let mut block = [0; MOST_BLOCK_BYTES];
        let block = &mut block[..cut.block];
        let quad = &self.bytes[row / ROWS * ROWS * self.row_bytes..][..ROWS * self.row_bytes];
        for (blocks, out) in quad.chunks_exact(ROWS * cut.block).zip(out.chunks_exact_mut(self.format.block_len())) {
            cut.take(blocks, row % ROWS, block);
            self.format.widen()(block, out);
        }
    }

    /// All rows times the first `count` vectors of `x`, in 8 bits where both are there in so few: of each one the first `rows` numbers of
    /// its `stride` in `out`.
    pub fn multiply(&self, x: &mut Input, count: usize, out: &mut [f32], stride: usize) {
        let (out, blocks) = (&mut Out { values: out, rows: self.rows, stride }, self.columns / BLOCK);
        match (self.format.rounded_product(), x.blocks.get(..count * blocks)) {
            (Some(Product { any, normal, .. }), Some(values)) if x.rounds => {
                let quads = Quads { bytes: &self.bytes, row_bytes: self.row_bytes };
                let product = if self.normal { normal } else { any };
                product(quads, Vectors { values, length: blocks }, out);
            }
            _ => self.multiply_vectors(&x.values, count, out, &mut x.row),
        }
    }

    /// `out [count][rows]`, of vectors as they are. `row` has room for one of the rows.
    pub fn multiply_exactly(&self, x: &[f32], count: usize, out: &mut [f32], row: &mut [f32]) {
        self.multiply_vectors(x, count, &mut Out { values: out, rows: self.rows, stride: self.rows }, row);
    }

    fn multiply_vectors(&self, x: &[f32], count: usize, out: &mut Out<'_>, row: &mut [f32]) {
        let vectors = Vectors { values: &x[..count * self.columns], length: self.columns };
        products::exact(vectors, out, |at, row| self.row(at, row), &mut row[..self.columns]);
    }
}

impl Weights {
    /// An empty sink.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty sink that leaves rows to a team.
    pub fn of_team(team: Option<Team>) -> Self {
        Self { team, ..Self::default() }
    }

    /// Bytes that they take, wherever they are, but for at most three rows that fill up a matrix's last quad.
    pub fn bytes(&self) -> u64 {
        let norms: usize = self.norms.values().map(|norm| size_of_val(&norm.gains[..])).sum();
        self.matrices.values().map(|share| share.own.row_bytes() as u64 * share.rows as u64).sum::<u64>() + norms as u64
    }

    /// Bytes of those that helpers have.
    pub(super) fn helpers_bytes(&self) -> u64 {
        let elsewhere = |share: &Share| (share.rows - share.own.most_rows()) as u64 * share.own.row_bytes() as u64;
        self.matrices.values().map(elsewhere).sum()
    }

    /// How many compute with them at the same time.
    pub fn threads(&self) -> usize {
        self.team.as_ref().map_or(1, Team::parts)
    }

    /// Bytes that it takes to have others compute, too.
    pub(super) fn team_bytes(&self) -> usize {
        self.team.as_ref().map_or(0, Team::bytes)
    }

    fn matrix(&self, role: Role) -> Result<&Share> {
        self.matrices.get(&role).ok_or_else(|| missing(role))
    }

    /// The weights of a matrix's row, as many as `out` has room for; left as it is where there is no such row.
    ///
    /// Errors: `HelperLost`.
    pub(super) fn row(&self, role: Role, row: usize, out: &mut [f32]) -> Result<()> {
        let share = self.matrix(role)?;
        share.own.row(row, out);
        self.team.as_ref().map_or(Ok(()), |team| team.row(share, row, out))
    }

    /// All rows of at most [`MATRICES`] matrices times the first `count` vectors of `x`, each in its own `out [count][rows]`.
    ///
    /// Errors: `HelperLost`.
    pub(super) fn multiply(&self, roles: &[Role], x: &mut Input, count: usize, outs: &mut [&mut [f32]]) -> Result<()> {
        let mut shares = [None; MATRICES];
        for (share, role) in shares.iter_mut().zip(roles) {
            *share = Some(self.matrix(*role)?);
        }
        if let Some(team) = &self.team {
            return team.multiply(shares, x, count, outs);
        }
        for (share, out) in shares.iter().flatten().zip(outs) {
            share.multiply(x, count, out);
        }
        Ok(())
    }

    /// How many rows a matrix has.
    pub(super) fn rows(&self, role: Role) -> Result<usize> {
        Ok(self.matrix(role)?.rows)
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
                let index = self.matrices.len();
                self.matrices.insert(spec.role, Share::reserve(spec, index, self.team.as_ref())?);
            }
        }
        Ok(())
    }

    fn write_rows(&mut self, role: Role, first_row: usize, bytes: &[u8]) -> Result<()> {
        if let Some(Norm { format, gains }) = self.norms.get_mut(&role) {
            return formats::dequantise(*format, bytes, gains);
        }
        let share = self.matrices.get_mut(&role).ok_or_else(|| missing(role))?;
        share.write(first_row, bytes, self.team.as_ref())
    }
}
