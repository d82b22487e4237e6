//! What a product's rows become: written, added to something, or gated. The ends of `matvec` and `matmul`.

use super::{expect_room, squares_quads, stride};
use crate::error::Result;
use crate::formats::tile::blocks;
use crate::gpu::cost::Cost;
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

/// Ends of `product.wgsl`.
const WRITTEN: u32 = 0;
const JOINED: u32 = 1;
const GATED: u32 = 2;

/// `Product` of `product.wgsl`, which says what each number is.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Constants {
    blocks: u32,
    tiles_apart: u32,
    rows: u32,
    first_row: u32,
    row_stride: u32,
    one_row: u32,
    normed: u32,
    columns: u32,
    eps: f32,
    squares: u32,
    end: u32,
}

impl Constants {
    fn norm(&mut self, norm: RmsNorm) {
        self.normed = 1;
        self.columns = norm.columns as u32;
        self.eps = norm.eps;
        self.squares = squares_quads(norm.columns) as u32;
    }

    /// Where the slab's rows go, in rows of `stride` numbers in which those of each matrix have a start.
    fn place(&mut self, slab: &Slab, stride: usize, starts: &[usize], one_row: bool) {
        self.end = WRITTEN;
        self.first_row += starts.get(slab.part).copied().unwrap_or(0) as u32;
        self.row_stride = stride as u32;
        self.one_row = one_row.into();
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

    /// What tells a slab's product and its end from others: `Product` of `product.wgsl`.
    pub(super) fn constants(&self, slab: &Slab, columns: usize) -> Constants {
        let mut constants = Constants {
            blocks: blocks(columns) as u32,
            tiles_apart: slab.tiles_apart as u32,
            rows: slab.rows as u32,
            first_row: slab.first_row as u32,
            // Divided by, whether there is a norm or not.
            columns: 1,
            ..Constants::default()
        };
        match *self {
            Finish::Store { norm, stride, starts, one_row, .. } => {
                constants.place(slab, stride, starts, one_row);
                constants.norm(norm);
            }
            Finish::Plain { stride, starts, one_row, .. } => {
                constants.place(slab, stride, starts, one_row);
            }
            Finish::Residual { columns, .. } => {
                constants.row_stride = stride(columns) as u32;
                constants.squares = squares_quads(columns) as u32;
                constants.end = JOINED;
            }
            Finish::SwiGlu { norm, columns, .. } => {
                constants.row_stride = stride(columns) as u32;
                constants.norm(norm);
                constants.end = GATED;
            }
        }
        constants
    }

    /// Whether rows are added to what is there, as only adapters' are.
    pub(super) fn adds(&self) -> bool {
        matches!(self, Finish::Plain { add: true, .. } | Finish::SwiGlu { added: Some(_), .. })
    }

    /// What is bound to `squares`, `extra`, `y`, `weighted` and `sums` of `product.wgsl`.
    pub(super) fn bindings<'b>(&'b self, [nothing, no_weighted, no_sums]: &'b [Buffer; 3]) -> [&'b Buffer; 5] {
        match *self {
            Finish::Store { squares, y, .. } => [squares, nothing, y, no_weighted, no_sums],
            Finish::Plain { y, .. } => [nothing, nothing, y, no_weighted, no_sums],
            Finish::Residual { gains, stream, weighted, squares, .. } => [nothing, gains, stream, weighted, squares],
            Finish::SwiGlu { squares, inner, added, .. } => {
                [squares, added.unwrap_or(nothing), inner, no_weighted, no_sums]
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
            // The stream is read and written; there is one sum for each eight rows.
            Finish::Residual { .. } => (rows, 3 * rows + rows.div_ceil(8)),
        };
        let products = rows as u64 * columns as u64 * if slab.pair { 2 } else { 1 };
        let weights = slab.buffer.bytes();
        move |tokens| {
            Cost::weights(weights)
                + Cost::values(once + tokens * (columns + end))
                + Cost::multiply_adds(tokens as u64 * products)
        }
    }

    /// Rows that two tiles give, or pairs of them.
    pub(super) fn rows_of_tiles(&self) -> usize {
        match self {
            Finish::SwiGlu { .. } => 32,
            _ => 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shader's struct has 32-bit members alone: it is laid out as ours is when these follow each other.
    #[test]
    fn constants_are_those_of_the_shader() {
        let text = wgsl!("common/product.wgsl");
        let members =
            text.split_once("struct Product {").and_then(|(_, rest)| rest.split_once('}')).map(|(all, _)| all);
        let members = members.unwrap().lines().filter_map(|line| line.trim().strip_suffix(','));
        let members: Vec<(&str, &str)> = members.filter_map(|member| member.split_once(": ")).collect();
        let shown = format!("{:?}", Constants { eps: 0.5, ..Constants::default() });
        let ours = shown.strip_prefix("Constants { ").and_then(|rest| rest.strip_suffix(" }")).unwrap();
        let kind = |value: &str| if value.contains('.') { "f32" } else { "u32" };
        let ours = ours.split(", ").filter_map(|field| field.split_once(": "));
        let ours: Vec<(&str, &str)> = ours.map(|(name, value)| (name, kind(value))).collect();
        assert_eq!(members, ours);
        for (name, end) in [("WRITTEN", WRITTEN), ("JOINED", JOINED), ("GATED", GATED)] {
            assert!(text.contains(&format!("const {name}: u32 = {end}u;")), "{name}");
        }
    }
}
