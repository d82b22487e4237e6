//! What a helper does: it keeps its rows of each matrix, and computes with them what it is asked for.

use super::board::Board;
use super::order::Order;
use crate::cpu::weights::{Input, Matrix};
use crate::cpu::zeros;
use crate::error::{Error, Result};
use crate::formats::Format;

/// Does what a helper is asked for on this board, until it may leave.
pub(crate) fn serve(board: &Board, helper: usize) {
    let mut turn = 0;
    let mut memory = Memory::default();
    loop {
        let words;
        (turn, words) = board.wait_for_order(helper, turn);
        let order = Order::of(words);
        let done = memory.carry_out(order, board);
        board.answer(helper, if done.is_ok() { turn } else { -turn });
        if order == Order::Leave {
            return;
        }
    }
}

/// What a helper has of a model.
#[derive(Default)]
struct Memory {
    rows: Vec<Rows>,
    x: Option<Input>,
    /// What it computes of a product.
    out: Vec<f32>,
    /// Where on the board results are wanted.
    results: usize,
}

/// Its rows of a matrix.
struct Rows {
    matrix: Matrix,
    /// Which of the matrix's rows is the first.
    first: usize,
    /// How many the matrix has.
    of: usize,
}

impl Memory {
    fn carry_out(&mut self, order: Order, board: &Board) -> Result<()> {
        match order {
            Order::Prepare { vectors, length, rounds, results, most } => {
                self.x = Some(Input::new(vectors, length, rounds)?);
                self.out = zeros("activations", most)?;
                self.results = results;
                Ok(())
            }
            Order::Allocate { matrix, format, columns, first, rows, of } => {
                let format = *Format::ALL.get(format).ok_or_else(nothing)?;
                self.rows.truncate(matrix);
                self.rows.push(Rows { matrix: Matrix::room(format, columns, rows)?, first, of });
                Ok(())
            }
            Order::Write { matrix, row, bytes } => {
                // As much as vectors take is what comes at a time.
                let x: &mut [u8] = bytemuck::cast_slice_mut(&mut self.x.as_mut().ok_or_else(nothing)?.values);
                let weights = x.get_mut(..bytes).ok_or_else(nothing)?;
                board.get(0, weights);
                self.rows.get_mut(matrix).ok_or_else(nothing)?.matrix.write(row, weights)
            }
            Order::Row { matrix, row } => {
                let matrix = &self.rows.get(matrix).ok_or_else(nothing)?.matrix;
                let out = self.out.get_mut(..matrix.columns).ok_or_else(nothing)?;
                matrix.row(row, out);
                board.put(self.results, bytemuck::cast_slice(out));
                Ok(())
            }
            Order::Multiply { matrices, vectors } => self.multiply(matrices.into_iter().flatten(), vectors, board),
            Order::Leave => Ok(()),
        }
    }

    /// Products with vectors that are on the board; what comes of them goes there, too: of each matrix all helpers' rows, of each helper
    /// all vectors'.
    fn multiply(&mut self, matrices: impl Iterator<Item = usize>, vectors: usize, board: &Board) -> Result<()> {
        let x = self.x.as_mut().ok_or_else(nothing)?;
        let (mut rounded, mut at) = (false, self.results);
        for index in matrices {
            let Rows { matrix, first, of } = self.rows.get(index).ok_or_else(nothing)?;
            if !rounded {
                let length = vectors * matrix.columns;
                board.get(0, bytemuck::cast_slice_mut(x.values.get_mut(..length).ok_or_else(nothing)?));
                x.round(vectors, matrix.columns);
                rounded = true;
            }
            let rows = matrix.rows();
            let out = self.out.get_mut(..vectors * rows).ok_or_else(nothing)?;
            matrix.multiply(x, vectors, out, rows);
            board.put(at + first * vectors * size_of::<f32>(), bytemuck::cast_slice(out));
            at += of * vectors * size_of::<f32>();
        }
        Ok(())
    }
}

/// The answer to an order that nobody gives.
fn nothing() -> Error {
    Error::BadRequest { detail: "a helper was asked for what it has not".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::Helpers;
    use super::*;

    #[test]
    fn what_a_helper_has_not_is_refused_and_it_goes_on() {
        let board = Board::shown_to(&Helpers::threads(1), 1 << 12).unwrap();
        let rows = Order::Allocate { matrix: 0, format: 0, columns: 32, first: 0, rows: 1, of: 2 };
        let prepare = |vectors, length| Order::Prepare { vectors, length, rounds: true, results: 256, most: 32 };
        for (turn, order, done) in [
            (1, Order::Write { matrix: 0, row: 0, bytes: 128 }, false),
            (2, prepare(u32::MAX as usize, u32::MAX as usize), false),
            (3, prepare(1, 32), true),
            (4, Order::Row { matrix: 0, row: 0 }, false),
            (5, Order::Allocate { matrix: 0, format: 99, columns: 32, first: 0, rows: 1, of: 2 }, false),
            (6, rows, true),
            (7, Order::Write { matrix: 0, row: 0, bytes: 128 }, true),
            (8, Order::Write { matrix: 0, row: 0, bytes: 256 }, false),
            (9, Order::Multiply { matrices: [Some(0), None, None], vectors: 2 }, false),
            (10, Order::Multiply { matrices: [Some(0), None, None], vectors: 1 }, true),
        ] {
            board.ask(0, turn, order.words());
            assert_eq!(board.wait_for_answer(0, turn), Some(if done { turn } else { -turn }), "{order:?}");
        }
        board.ask(0, 11, Order::Leave.words());
    }
}
