//! What a product's rows become: written, added to something, or gated. The ends of `matvec` and `matmul`.

use super::{expect_room, squares_quads, stride};
use crate::error::Result;
use crate::gpu::cost::Cost;
use crate::gpu::kernel::Size;
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Slab;

/// The norm before a product, whose weights are in its `x` already.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    /// Length of a row of the residual stream.
    pub columns: usize,
    /// Added to the mean square.
    pub eps: f32,
}

impl RmsNorm {
    fn sizes(self) -> [(&'static str, Size); 3] {
        [
            ("COLUMNS", Size::Count(self.columns)),
            ("SQUARES", Size::Count(squares_quads(self.columns))),
            ("EPS", Size::Number(self.eps)),
        ]
    }
}

/// What happens to the rows of a product `W x`.
pub enum Finish<'a> {
    /// `y = s W x`, with RMSNorm's factor s.
    Store {
        /// The norm before the product.
        norm: RmsNorm,
        /// Partial sums of the stream's squares.
        squares: &'a Buffer,
        /// Where the rows go.
        y: &'a Buffer,
        /// Length of a token's row in `y`.
        stride: usize,
        /// Where in a row of `y` the rows of each of the product's matrices start.
        starts: &'a [usize],
        /// Only the last token has a row.
        one_row: bool,
    },
    /// `y = W x` or `y += W x`.
    Plain {
        /// Where the rows go.
        y: &'a Buffer,
        /// Length of a token's row in `y`.
        stride: usize,
        /// Where in a row of `y` the rows of each of the product's matrices start.
        starts: &'a [usize],
        /// Only the last token has a row.
        one_row: bool,
        /// Whether they are added to what is there.
        add: bool,
    },
    /// `stream += W x`, and what the next norm wants of it.
    Residual {
        /// Length of a row of the stream.
        columns: usize,
        /// The next norm's weights.
        gains: &'a Buffer,
        /// The residual stream.
        stream: &'a Buffer,
        /// The stream times `gains`.
        weighted: &'a Buffer,
        /// Partial sums of its squares.
        squares: &'a Buffer,
    },
    /// `inner = silu(s gate) * s up`, of a gate and an up projection that lie beside each other.
    SwiGlu {
        /// The norm before the product.
        norm: RmsNorm,
        /// Partial sums of the stream's squares.
        squares: &'a Buffer,
        /// Where the rows go.
        inner: &'a Buffer,
        /// Length of a row of `inner`.
        columns: usize,
        /// What is added to both before, as rows of a gate's and then an up projection's.
        added: Option<&'a Buffer>,
    },
}

impl Finish<'_> {
    /// Checks that the buffers have room for one token.
    pub(super) fn check(&self, kernel: &str) -> Result<()> {
        match self {
            Finish::Store { norm, squares, y, stride, one_row: _, starts: _ } => {
                expect_room(kernel, "squares", squares, 4 * squares_quads(norm.columns))?;
                expect_room(kernel, "y", y, *stride)
            }
            Finish::Plain { y, stride, .. } => expect_room(kernel, "y", y, *stride),
            Finish::Residual { columns, gains, stream, weighted, squares } => {
                expect_room(kernel, "gains", gains, *columns)?;
                expect_room(kernel, "stream", stream, stride(*columns))?;
                expect_room(kernel, "weighted", weighted, stride(*columns))?;
                expect_room(kernel, "squares", squares, 4 * squares_quads(*columns))
            }
            Finish::SwiGlu { norm, squares, inner, columns, added } => {
                expect_room(kernel, "squares", squares, 4 * squares_quads(norm.columns))?;
                expect_room(kernel, "inner", inner, stride(*columns))?;
                added.map_or(Ok(()), |added| expect_room(kernel, "added", added, 2 * stride(*columns)))
            }
        }
    }

    /// The shader files, in the order in which they are joined.
    pub(super) fn parts(&self) -> &'static [&'static str] {
        const RMS_SCALE: &str = wgsl!("common/rms_scale.wgsl");
        match self {
            Finish::Store { .. } => &[RMS_SCALE, wgsl!("common/finish_store.wgsl")],
            Finish::Plain { .. } => &[wgsl!("common/finish_plain.wgsl")],
            Finish::Residual { .. } => &[wgsl!("common/finish_residual.wgsl")],
            Finish::SwiGlu { added: None, .. } => &[RMS_SCALE, super::SILU, wgsl!("common/finish_swiglu.wgsl")],
            Finish::SwiGlu { added: Some(_), .. } => {
                &[RMS_SCALE, super::SILU, wgsl!("common/finish_swiglu_added.wgsl")]
            }
        }
    }

    /// The constants for a slab of the product.
    pub(super) fn sizes(&self, slab: &Slab) -> Vec<(&'static str, Size)> {
        let (start, row_stride) = match self {
            Finish::Store { stride, starts, .. } | Finish::Plain { stride, starts, .. } => {
                (starts.get(slab.part).copied().unwrap_or(0), *stride)
            }
            Finish::Residual { columns, .. } | Finish::SwiGlu { columns, .. } => (0, stride(*columns)),
        };
        let mut sizes = vec![
            ("ROWS", Size::Count(slab.rows)),
            ("FIRST_ROW", Size::Count(start + slab.first_row)),
            ("ROW_STRIDE", Size::Count(row_stride)),
            ("TILES_APART", Size::Count(slab.tiles_apart)),
        ];
        match self {
            Finish::Store { norm, one_row, .. } => {
                sizes.extend(norm.sizes());
                sizes.push(("ONE_ROW", Size::Flag(*one_row)));
            }
            Finish::Plain { one_row, add, .. } => {
                sizes.extend([("ONE_ROW", Size::Flag(*one_row)), ("ADD", Size::Flag(*add))]);
            }
            Finish::Residual { columns, .. } => sizes.push(("SQUARES", Size::Count(squares_quads(*columns)))),
            Finish::SwiGlu { norm, .. } => sizes.extend(norm.sizes()),
        }
        sizes
    }

    /// What is bound after the step, x and the weights.
    pub(super) fn bindings(&self) -> Vec<&Buffer> {
        match self {
            Finish::Store { squares, y, .. } => vec![squares, y],
            Finish::Residual { gains, stream, weighted, squares, .. } => vec![gains, stream, weighted, squares],
            Finish::Plain { y, .. } => vec![y],
            Finish::SwiGlu { squares, inner, added, .. } => {
                let mut bindings = vec![*squares, *inner];
                bindings.extend(*added);
                bindings
            }
        }
    }

    /// What a product of a slab with the rows of a number of tokens costs, this end included.
    pub(super) fn cost(&self, slab: &Slab, columns: usize) -> impl Fn(usize) -> Cost + use<> {
        let rows = slab.rows;
        // Numbers that are read or written once, and those of each token: x, then what is bound after it.
        let (once, end) = match self {
            Finish::Store { norm, .. } | Finish::SwiGlu { norm, added: None, .. } => {
                (0, 4 * squares_quads(norm.columns) + rows)
            }
            Finish::SwiGlu { norm, added: Some(_), .. } => (0, 4 * squares_quads(norm.columns) + 3 * rows),
            Finish::Plain { add, .. } => (0, if *add { 2 * rows } else { rows }),
            // The stream is read and written; each lane has one sum for its eight rows.
            Finish::Residual { .. } => (rows, 3 * rows + rows.div_ceil(8)),
        };
        let products = rows * columns * if slab.pair { 2 } else { 1 };
        let weights = slab.buffer.bytes();
        move |tokens| {
            Cost::weights(weights)
                + Cost::values(once + tokens * (columns + end))
                + Cost::multiply_adds(tokens * products)
        }
    }

    /// Rows that a workgroup gives: those of two tiles, or pairs of them.
    pub(super) fn rows_per_group(&self) -> usize {
        match self {
            Finish::SwiGlu { .. } => 32,
            _ => 64,
        }
    }
}
