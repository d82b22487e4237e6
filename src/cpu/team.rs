//! Helpers that compute rows of the same products at the same time: threads, or in a browser workers with memories of their own.
//!
//! A matrix is cut into runs of rows, the first for whoever runs the model and one for each helper, which is sent the weights of its
//! run once and keeps them. All see a [`Board`]: what is asked of each helper, the vectors that products take, and what comes of them.
//! Rows know nothing of each other, so that results are the same however many there are.
#![cfg_attr(not(feature = "cpu"), allow(dead_code, reason = "nothing runs on the processor"))]

#[cfg(not(target_arch = "wasm32"))]
#[path = "team/threads.rs"]
mod board;
#[cfg(target_arch = "wasm32")]
#[path = "team/workers.rs"]
mod board;
mod helper;
mod order;

use std::cell::{Cell, RefCell};
use std::ops::Range;

pub(crate) use board::Board;
pub use board::Helpers;
#[cfg(all(feature = "cpu", target_arch = "wasm32"))]
pub(crate) use helper::serve;
use order::Order;

use super::ExecutorOptions;
use super::quads::ROWS;
use super::weights::{Input, Matrix, longest};
use super::zeros;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::ops::ActivationFormat;
use crate::weights::TensorSpec;

/// Most matrices that meet the same vectors.
pub(super) const MATRICES: usize = 3;
/// A helper that has not answered after so many seconds has ended.
const PATIENCE: u32 = if cfg!(test) { 1 } else { 60 };

/// The helpers of a model.
pub struct Team {
    board: Board,
    helpers: usize,
    /// Counts what was asked for.
    turn: Cell<i32>,
    /// Whether one of them gave no answer, or refused: nothing is asked any more, as others may still be at what was.
    lost: Cell<bool>,
    /// Where on the board results stand: after the most that vectors take.
    results: usize,
    /// What helpers computed of several tokens, in their order.
    gathered: RefCell<Vec<f32>>,
    /// Bytes that each helper takes beside weights, but for what is small.
    each: usize,
}

/// A matrix of which the first rows are here, and the others with helpers.
pub(super) struct Share {
    /// The rows that are here.
    pub own: Matrix,
    /// How many there are in all.
    pub rows: usize,
    /// By which helpers know it.
    index: usize,
    /// How many rows have come.
    written: usize,
}

/// The rows of one part.
fn cut(rows: usize, parts: usize, part: usize) -> Range<usize> {
    let start = |part: usize| (rows * part / parts).next_multiple_of(ROWS).min(rows);
    start(part)..start(part + 1)
}

impl Share {
    /// Room for rows that are still to come.
    ///
    /// Errors: `OutOfMemory`, `HelperLost`.
    pub fn reserve(spec: &TensorSpec, index: usize, team: Option<&Team>) -> Result<Self> {
        let rows = cut(spec.rows, team.map_or(1, Team::parts), 0).len();
        let own = Matrix::room(spec.format, spec.columns, rows)?;
        if let Some(team) = team {
            team.allocate(spec, index)?;
        }
        Ok(Self { own, rows: spec.rows, index, written: 0 })
    }

    /// The rows that are here times the first `count` vectors of `x`, in `out [count][rows]`.
    pub fn multiply(&self, x: &mut Input, count: usize, out: &mut [f32]) {
        self.own.multiply(x, count, out, self.rows);
    }

    /// Writes whole rows, from `first_row` on, wherever each belongs.
    ///
    /// Errors: `BadHeader` for rows that are not the next ones; `HelperLost`.
    pub fn write(&mut self, first_row: usize, bytes: &[u8], team: Option<&Team>) -> Result<()> {
        let row_bytes = self.own.row_bytes();
        let written = first_row.saturating_add(bytes.len() / row_bytes);
        if first_row > self.written || written > self.rows {
            return Err(Matrix::not_the_next(first_row));
        }
        let here = self.own.most_rows().saturating_sub(first_row).saturating_mul(row_bytes).min(bytes.len());
        if here > 0 {
            self.own.write(first_row, &bytes[..here])?;
        }
        if let Some(team) = team {
            team.write(self, first_row + here / row_bytes, &bytes[here..])?;
        }
        self.written = written;
        Ok(())
    }
}

impl Team {
    /// Has helpers get ready for a model; none where there are no helpers.
    ///
    /// Errors: `OutOfMemory`, `HelperLost`.
    pub fn gather(helpers: &Helpers, config: &ModelConfig, options: &ExecutorOptions) -> Result<Option<Self>> {
        let count = helpers.count();
        if count == 0 {
            return Ok(None);
        }
        let chunk = options.chunk;
        let length = longest(config);
        let most_rows = (config.query_size() + 2 * config.kv_size())
            .max(2 * config.intermediate_size)
            .max(config.hidden_size)
            .saturating_mul(chunk)
            .max(config.vocab_size);
        let results = chunk.saturating_mul(length).saturating_mul(size_of::<f32>());
        let bytes = results.saturating_add(most_rows.saturating_mul(size_of::<f32>()));
        let gathered = RefCell::new(zeros("activations", most_rows)?);
        let board = Board::shown_to(helpers, bytes)?;
        let (turn, lost) = (Cell::new(0), Cell::new(false));
        let team = Self { board, helpers: count, turn, lost, results, gathered, each: bytes };
        let rounds = options.activations == ActivationFormat::Int8;
        team.all(|_| Order::Prepare { vectors: chunk, length, rounds, results, most: most_rows })?;
        Ok(Some(team))
    }

    /// How many compute, with whoever runs the model.
    pub fn parts(&self) -> usize {
        self.helpers + 1
    }

    /// Bytes that it takes beside weights.
    pub fn bytes(&self) -> usize {
        self.board.len() + size_of_val(&self.gathered.borrow()[..]) + self.helpers * self.each
    }

    /// The rows of a helper.
    fn cut(&self, rows: usize, helper: usize) -> Range<usize> {
        cut(rows, self.parts(), helper + 1)
    }

    fn allocate(&self, spec: &TensorSpec, index: usize) -> Result<()> {
        let format = Format::ALL.iter().position(|format| *format == spec.format).unwrap_or_default();
        self.all(|helper| {
            let Range { start: first, end } = self.cut(spec.rows, helper);
            Order::Allocate { matrix: index, format, columns: spec.columns, first, rows: end - first, of: spec.rows }
        })
    }

    /// Sends rows to those helpers that they belong to.
    fn write(&self, share: &Share, first_row: usize, bytes: &[u8]) -> Result<()> {
        let row_bytes = share.own.row_bytes();
        let last_row = first_row + bytes.len() / row_bytes;
        for helper in 0..self.helpers {
            let rows = self.cut(share.rows, helper);
            let (start, end) = (rows.start.max(first_row), rows.end.min(last_row));
            if start >= end {
                continue;
            }
            let bytes = &bytes[(start - first_row) * row_bytes..(end - first_row) * row_bytes];
            let at_a_time = (self.results / row_bytes).max(1);
            for (some, first) in bytes.chunks(at_a_time * row_bytes).zip((start..).step_by(at_a_time)) {
                self.board.put(0, some);
                self.ask(helper, Order::Write { matrix: share.index, row: first - rows.start, bytes: some.len() });
                self.answered(helper, || Error::HelperLost)?;
            }
        }
        Ok(())
    }

    /// The weights of a row that a helper has.
    ///
    /// Errors: `HelperLost`.
    pub(super) fn row(&self, share: &Share, row: usize, out: &mut [f32]) -> Result<()> {
        for helper in 0..self.helpers {
            let rows = self.cut(share.rows, helper);
            if rows.contains(&row) {
                self.ask(helper, Order::Row { matrix: share.index, row: row - rows.start });
                self.answered(helper, || Error::HelperLost)?;
                self.board.get(self.results, bytemuck::cast_slice_mut(out));
            }
        }
        Ok(())
    }

    /// Multiplies matrices with the first `count` vectors of `x`, each to its own `out [count][rows]`.
    ///
    /// Errors: `HelperLost`.
    pub(super) fn multiply(
        &self,
        shares: [Option<&Share>; MATRICES],
        x: &mut Input,
        count: usize,
        outs: &mut [&mut [f32]],
    ) -> Result<()> {
        let columns = shares.iter().flatten().next().map_or(0, |share| share.own.columns);
        self.board.put(0, bytemuck::cast_slice(&x.values[..count * columns]));
        let matrices = shares.map(|share| share.map(|share| share.index));
        (0..self.helpers).for_each(|helper| self.ask(helper, Order::Multiply { matrices, vectors: count }));
        for (share, out) in shares.iter().flatten().zip(&mut *outs) {
            share.multiply(x, count, out);
        }
        (0..self.helpers).try_for_each(|helper| self.answered(helper, || Error::HelperLost))?;
        let mut at = self.results;
        for (share, out) in shares.iter().flatten().zip(outs) {
            self.collect(share, count, at, out);
            at += share.rows * count * size_of::<f32>();
        }
        Ok(())
    }

    /// Takes what helpers computed of a matrix, which stands `at` a place of the board: each helper's rows of all tokens, one helper
    /// after the other.
    fn collect(&self, share: &Share, count: usize, at: usize, out: &mut [f32]) {
        let own = share.own.most_rows();
        let at = at + own * count * size_of::<f32>();
        if count == 1 {
            return self.board.get(at, bytemuck::cast_slice_mut(&mut out[own..share.rows]));
        }
        let mut gathered = self.gathered.borrow_mut();
        let gathered = &mut gathered[..(share.rows - own) * count];
        self.board.get(at, bytemuck::cast_slice_mut(gathered));
        let mut rest = &*gathered;
        for helper in 0..self.helpers {
            let rows = self.cut(share.rows, helper);
            let (values, others) = rest.split_at(rows.len() * count);
            rest = others;
            for (out, values) in out.chunks_exact_mut(share.rows).zip(values.chunks_exact(rows.len().max(1))) {
                out[rows.clone()].copy_from_slice(values);
            }
        }
    }

    /// Asks all helpers to make room, and waits for them.
    fn all(&self, order: impl Fn(usize) -> Order) -> Result<()> {
        (0..self.helpers).for_each(|helper| self.ask(helper, order(helper)));
        let full = || Error::OutOfMemory { detail: "weights, in a thread's main memory".to_owned() };
        (0..self.helpers).try_for_each(|helper| self.answered(helper, full))
    }

    /// Asks a helper for something, once it has answered what it was asked before.
    fn ask(&self, helper: usize, order: Order) {
        if self.lost.get() && order != Order::Leave {
            return;
        }
        self.turn.set(self.turn.get().wrapping_add(1).max(1));
        self.board.ask(helper, self.turn.get(), order.words());
    }

    /// Waits until a helper has done what it was asked for last, or has refused.
    fn answered(&self, helper: usize, refusal: impl Fn() -> Error) -> Result<()> {
        if self.lost.get() {
            return Err(Error::HelperLost);
        }
        let turn = self.board.asked(helper);
        let answer = (0..PATIENCE).find_map(|_| self.board.wait_for_answer(helper, turn));
        self.lost.set(answer != Some(turn));
        match answer {
            Some(answer) if answer == turn => Ok(()),
            Some(_) => Err(refusal()),
            None => Err(Error::HelperLost),
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        (0..self.helpers).for_each(|helper| self.ask(helper, Order::Leave));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Role;

    #[test]
    fn a_team_of_which_one_ended_is_asked_for_nothing_more() {
        let board = Board::shown_to(&Helpers::threads(2), 1 << 12).unwrap();
        let (turn, lost, gathered) = (Cell::new(0), Cell::new(false), RefCell::default());
        let team = Team { board, helpers: 2, turn, lost, results: 128, gathered, each: 0 };
        team.all(|_| Order::Prepare { vectors: 1, length: 32, rounds: false, results: 128, most: 64 }).unwrap();
        let spec = TensorSpec { role: Role::Head, format: Format::F32, rows: 12, columns: 32 };
        let mut share = Share::reserve(&spec, 0, Some(&team)).unwrap();
        let rows: Vec<f32> = (0..12 * 32).map(|number| number as f32).collect();
        share.write(0, bytemuck::cast_slice(&rows), Some(&team)).unwrap();
        let mut row = [0.0; 32];
        for at in [4, 11] {
            team.row(&share, at, &mut row).unwrap();
            assert_eq!(row, rows[at * 32..(at + 1) * 32]);
        }
        // Its thread ends.
        team.ask(1, Order::Leave);
        team.answered(1, || Error::HelperLost).unwrap();
        for at in [11, 11, 4] {
            assert_eq!(team.row(&share, at, &mut row).unwrap_err().code(), "engine/thread-lost");
        }
        assert_eq!(row, rows[11 * 32..], "what came before is left as it is");
    }
}
