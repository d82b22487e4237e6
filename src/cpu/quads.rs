//! Rows of weights as the processor multiplies them: four side by side, in the bytes that they are published in.
//!
//! A quad is four rows, block after block. Blocks are cut into pieces of four bytes; where a block is two bytes longer than that, its
//! first piece or its last one has two. Pieces at the same place of the four rows' blocks are neighbours, so that a vector takes one of
//! each row, and a row has a lane to itself: no sum over lanes is needed, and four blocks' scales are read at once.

use wide::{i16x8, i32x4, i32x8, u32x4};

use super::lanes::Bytes;

/// Rows of a quad.
pub(crate) const ROWS: usize = 4;
/// Bytes of a piece.
const PIECE: usize = 4;

/// How blocks of a format are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Bytes of a block.
    pub block: usize,
    /// Bytes before the first piece of four: 0, or 2 that are a piece of their own.
    pub head: usize,
}

impl Cut {
    /// Puts a row, the `r`th of four, into its quad.
    pub fn put(self, row: &[u8], r: usize, quad: &mut [u8]) {
        for (block, blocks) in row.chunks_exact(self.block).zip(quad.chunks_exact_mut(ROWS * self.block)) {
            let (head, rest) = block.split_at(self.head);
            let (heads, rests) = blocks.split_at_mut(ROWS * self.head);
            heads[r * head.len()..][..head.len()].copy_from_slice(head);
            let (pieces, tail) = rest.as_chunks::<PIECE>();
            let (places, tails) = rests.as_chunks_mut::<{ ROWS * PIECE }>();
            pieces.iter().zip(places).for_each(|(piece, places)| places[r * PIECE..][..PIECE].copy_from_slice(piece));
            tails[r * tail.len()..][..tail.len()].copy_from_slice(tail);
        }
    }

    /// Takes a block of the `r`th row out of those at its place of a quad.
    pub fn take(self, blocks: &[u8], r: usize, block: &mut [u8]) {
        let (head, rest) = block.split_at_mut(self.head);
        let (heads, rests) = blocks.split_at(ROWS * self.head);
        head.copy_from_slice(&heads[r * head.len()..][..head.len()]);
        let (pieces, tail) = rest.as_chunks_mut::<PIECE>();
        let (places, tails) = rests.as_chunks::<{ ROWS * PIECE }>();
        pieces.iter_mut().zip(places).for_each(|(piece, places)| piece.copy_from_slice(&places[r * PIECE..][..PIECE]));
        tail.copy_from_slice(&tails[r * tail.len()..][..tail.len()]);
    }
}

/// The blocks of four rows at one place. Bytes are counted as in a row's block.
#[derive(Clone, Copy)]
pub(crate) struct Quad<'a, const BYTES: usize>(pub &'a [[u8; ROWS]; BYTES]);

impl<const BYTES: usize> Quad<'_, BYTES> {
    /// The piece of four bytes that begins at `at`, of each row: zeros where the block ends before.
    #[inline(always)]
    pub fn piece(self, at: usize) -> Bytes {
        let bytes: Option<&[u8; ROWS * PIECE]> = self.0.as_flattened().get(ROWS * at..).and_then(<[u8]>::first_chunk);
        Bytes(bytes.map_or(u32x4::ZERO, |bytes| bytemuck::pod_read_unaligned(bytes)))
    }

    /// The piece of two bytes that begins at `at`, of each row, in the lower half of its lane; what is in the upper half means
    /// nothing.
    #[inline(always)]
    pub fn half_piece(self, at: usize) -> i32x4 {
        // A whole vector is read, of which it is the first half, or the last where the block ends with it.
        let bytes = self.0.as_flattened();
        let start = (ROWS * at).min(bytes.len().saturating_sub(ROWS * PIECE));
        let both: Option<&[u8; ROWS * PIECE]> = bytes.get(start..).and_then(<[u8]>::first_chunk);
        let both: i16x8 = both.map_or(i16x8::ZERO, |bytes| bytemuck::pod_read_unaligned(bytes));
        let [first, last]: [i32x4; 2] = bytemuck::cast(i32x8::from_i16x8(both));
        if start == ROWS * at { first } else { last }
    }

    /// The byte at `at` of each row, in a format without a head.
    #[inline(always)]
    pub fn byte(self, at: usize) -> u32x4 {
        self.piece(at / PIECE * PIECE).0 >> (8 * (at % PIECE) as u32) & 0xff
    }

    /// The same, where it counts as signed.
    #[inline(always)]
    pub fn signed_byte(self, at: usize) -> i32x4 {
        let bits: i32x4 = bytemuck::cast(self.piece(at / PIECE * PIECE).0 << (8 * (PIECE - 1 - at % PIECE) as u32));
        bits >> 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row `r`'s byte `at` of block `b`.
    fn byte(r: usize, b: usize, at: usize) -> u8 {
        (r * 64 + b * 29 + at) as u8
    }

    #[test]
    fn rows_go_in_and_come_out() {
        for (block, head) in [(20, 0), (18, 2), (210, 0), (34, 2), (2, 2), (4, 0)] {
            let cut = Cut { block, head };
            let mut quad = vec![0; ROWS * 3 * block];
            let rows = [0, 1, 2, 3].map(|r| (0..3 * block).map(|i| byte(r, i / block, i % block)).collect::<Vec<u8>>());
            rows.iter().enumerate().for_each(|(r, row)| cut.put(row, r, &mut quad));
            for (b, blocks) in quad.chunks(ROWS * block).enumerate() {
                for (r, row) in rows.iter().enumerate() {
                    let mut got = vec![0; block];
                    cut.take(blocks, r, &mut got);
                    assert_eq!(got, row[b * block..(b + 1) * block], "{cut:?}");
                }
            }
        }
    }

    fn quad<const BYTES: usize>(head: usize) -> [[u8; ROWS]; BYTES] {
        let mut quad = [[0; ROWS]; BYTES];
        for r in 0..ROWS {
            let row: [u8; BYTES] = std::array::from_fn(|at| byte(r, 0, at));
            Cut { block: BYTES, head }.put(&row, r, quad.as_flattened_mut());
        }
        quad
    }

    #[test]
    fn lanes_are_rows() {
        let lanes = |at: usize, bytes: usize| -> [u32; ROWS] {
            std::array::from_fn(|r| (0..bytes).map(|i| u32::from(byte(r, 0, at + i)) << (8 * i)).sum())
        };
        let (with_head, with_tail) = (quad::<10>(2), quad::<10>(0));
        let (with_head, with_tail) = (Quad(&with_head), Quad(&with_tail));
        let half = |quad: Quad<'_, 10>, at| quad.half_piece(at).to_array().map(|lane| lane as u32 & 0xffff);
        assert_eq!(half(with_head, 0), lanes(0, 2));
        assert_eq!(half(with_tail, 8), lanes(8, 2));
        for at in [0, 4] {
            assert_eq!(with_head.piece(2 + at).0.to_array(), lanes(2 + at, 4));
            assert_eq!(with_tail.piece(at).0.to_array(), lanes(at, 4));
        }
        for at in 0..8 {
            assert_eq!(with_tail.byte(at).to_array(), lanes(at, 1));
            assert_eq!(with_tail.signed_byte(at).to_array(), lanes(at, 1).map(|byte| i32::from(byte as i8)));
        }
        assert_eq!(with_tail.piece(12), Bytes(u32x4::ZERO), "behind the block");
    }
}
