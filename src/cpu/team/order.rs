//! What helpers are asked for, as numbers on the board.

use super::MATRICES;

/// How many numbers an order takes.
pub(super) const WORDS: usize = 7;

/// Something that a helper is asked to do. Places on the board are in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Order {
    /// Room for so many vectors of at most a length, rounded to 8 bits where they can be, and for at most so many results; where those
    /// are to be written.
    Prepare { vectors: usize, length: usize, rounds: bool, results: usize, most: usize },
    /// Room for `rows` rows from `first` on of a matrix that has `of`. Formats are counted as in `Format::ALL`.
    Allocate { matrix: usize, format: usize, columns: usize, first: usize, rows: usize, of: usize },
    /// So many bytes of weights, from the board's start, are rows from this one of its own on.
    Write { matrix: usize, row: usize, bytes: usize },
    /// The weights of one of its rows are wanted as results.
    Row { matrix: usize, row: usize },
    /// Products of its rows of some matrices with so many vectors, from the board's start.
    Multiply { matrices: [Option<usize>; MATRICES], vectors: usize },
    /// There is nothing more to do.
    Leave,
}

impl Order {
    /// As numbers. Sizes are those of a board or of a matrix in memory of 4 GB, counted in rows or columns.
    pub fn words(self) -> [i32; WORDS] {
        let numbers = match self {
            Self::Prepare { vectors, length, rounds, results, most } => {
                [0, vectors, length, usize::from(rounds), results, most, 0]
            }
            Self::Allocate { matrix, format, columns, first, rows, of } => {
                [1, matrix, format, columns, first, rows, of]
            }
            Self::Write { matrix, row, bytes } => [2, matrix, row, bytes, 0, 0, 0],
            Self::Row { matrix, row } => [3, matrix, row, 0, 0, 0, 0],
            Self::Multiply { matrices, vectors } => {
                let [a, b, c] = matrices.map(|matrix| matrix.map_or(0, |matrix| matrix + 1));
                [4, a, b, c, vectors, 0, 0]
            }
            Self::Leave => [5, 0, 0, 0, 0, 0, 0],
        };
        numbers.map(|number| number as i32)
    }

    /// The order that these numbers are.
    pub fn of(words: [i32; WORDS]) -> Self {
        let [kind, numbers @ ..] = words;
        let [a, b, c, d, e, f] = numbers.map(|number| number as u32 as usize);
        match kind {
            0 => Self::Prepare { vectors: a, length: b, rounds: c != 0, results: d, most: e },
            1 => Self::Allocate { matrix: a, format: b, columns: c, first: d, rows: e, of: f },
            2 => Self::Write { matrix: a, row: b, bytes: c },
            3 => Self::Row { matrix: a, row: b },
            4 => Self::Multiply { matrices: [a, b, c].map(|number| number.checked_sub(1)), vectors: d },
            _ => Self::Leave,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_were_written() {
        for order in [
            Order::Prepare { vectors: 32, length: 1536, rounds: true, results: 196_608, most: 98_304 },
            Order::Allocate { matrix: 7, format: 3, columns: 576, first: 768, rows: 768, of: 1536 },
            Order::Write { matrix: 0, row: 5, bytes: u32::MAX as usize },
            Order::Row { matrix: 1, row: 49_151 },
            Order::Multiply { matrices: [Some(0), Some(2), None], vectors: 1 },
            Order::Leave,
        ] {
            assert_eq!(Order::of(order.words()), order);
        }
    }
}
