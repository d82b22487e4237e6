//! Rows of weights times vectors: one text for all formats, of which each gets its own machine code.
//!
//! Rows know nothing of each other, so that a matrix can be cut into runs of them.

use std::array::from_fn;

use wide::{f32x4, i32x4};

use super::lanes::{Bytes, Constants, Quants, hidden};
use super::quads::{Cut, Quad, ROWS};
use super::rounded::Block;
use crate::formats::Halves;

/// Vectors that meet a quad's weights while those are unpacked.
const TOGETHER: usize = 4;
/// Quads that meet a vector that is alone.
const APART: usize = 8;
/// Quads that stay in the processor's cache while all vectors pass.
const CACHED: usize = 16;
/// Fours of neighbours in a block of a vector.
const FOURS: usize = 8;

/// Rows of weights, four side by side.
#[derive(Clone, Copy)]
pub(crate) struct Quads<'a> {
    pub bytes: &'a [u8],
    /// Bytes of a row; not 0.
    pub row_bytes: usize,
}

/// Vectors that a product takes, one behind the other.
#[derive(Clone, Copy)]
pub(crate) struct Vectors<'a, T> {
    pub values: &'a [T],
    /// Of each of them; not 0.
    pub length: usize,
}

impl<'a, T> Vectors<'a, T> {
    /// Those from `first` on, as far as there are so many.
    fn group<const TOKENS: usize>(&self, first: usize) -> Option<[&'a [T]; TOKENS]> {
        let values = self.values.get(first * self.length..)?.get(..TOKENS * self.length)?;
        Some(from_fn(|t| &values[t * self.length..(t + 1) * self.length]))
    }
}

/// Where a run of a matrix's rows gives what comes of them: of each token to a run of its own outputs.
pub(crate) struct Out<'a> {
    /// From the first token's first output on.
    pub values: &'a mut [f32],
    /// How many each token has.
    pub rows: usize,
    /// How far the same output of the next token is.
    pub stride: usize,
}

impl Out<'_> {
    /// Writes a token's outputs from `at` on, as far as it has so many.
    #[inline(always)]
    fn put(&mut self, token: usize, at: usize, values: &[f32]) {
        let values = &values[..values.len().min(self.rows - self.rows.min(at))];
        let start = token * self.stride + at;
        if let Some(places) = self.values.get_mut(start..start + values.len()) {
            places.copy_from_slice(values);
        }
    }
}

/// The product of rows with vectors in 8 bits.
pub(crate) type RoundedProduct = fn(Quads<'_>, Vectors<'_, Block>, &mut Out<'_>);

/// How the processor multiplies a format.
pub(crate) struct Product {
    pub cut: Cut,
    /// Of rows whose scales are all finite.
    pub any: RoundedProduct,
    /// The same, faster, of rows whose scales are all normal numbers.
    pub normal: RoundedProduct,
    /// Whether rows whose scales are finite are such.
    pub is_normal: fn(&[u8]) -> bool,
}

/// A format's [`Product`]. Blocks have so many bytes, so many of them before the first piece of four, and so many runs with so many scales
/// each, that are read by `$run`, with f16s at `$halves`. None where there is no processor's road.
macro_rules! product {
    (@$kind:ident $bytes:expr, $runs:literal, $scales:literal, $run:ident) => {
        |quads, vectors, out| {
            $crate::cpu::products::rounded::<$bytes, $runs, $scales, _, $crate::formats::$kind>(quads, vectors, out, $run);
        }
    };
    ($bytes:expr, $head:literal, $runs:literal, $scales:literal, $run:ident, $halves:expr) => {
        if cfg!(not(feature = "cpu")) {
            None
        } else {
            Some($crate::cpu::products::Product {
                cut: $crate::cpu::quads::Cut { block: $bytes, head: $head },
                any: product!(@FiniteHalves $bytes, $runs, $scales, $run),
                normal: product!(@NormalHalves $bytes, $runs, $scales, $run),
                is_normal: |rows| $crate::formats::normal_halves::<$bytes, _>(rows, $halves),
            })
        }
    };
}
pub(crate) use product;

/// 32 neighbouring weights of each of four rows: quants of 8 bits at most, all of which or each 16 of which have a scale and an offset.
///
/// weight = scale * quant + offset.
pub(crate) struct Run<const SCALES: usize, Q = Bytes> {
    /// Four of each row at a time.
    pub quants: [Q; FOURS],
    pub scales: [f32x4; SCALES],
    /// Where there are any.
    pub offsets: Option<[f32x4; SCALES]>,
}

/// A [`RoundedProduct`] for blocks of so many bytes and `RUNS` times 32 weights, which `run` reads.
#[inline(always)]
pub(crate) fn rounded<const BYTES: usize, const RUNS: usize, const SCALES: usize, Q: Quants, H: Halves>(
    Quads { bytes, row_bytes }: Quads<'_>,
    vectors: Vectors<'_, Block>,
    out: &mut Out<'_>,
    run: impl Fn(Quad<'_, BYTES>, usize, &Constants<H>) -> Run<SCALES, Q> + Copy,
) {
    let (blocks, length) = (bytes.as_chunks::<ROWS>().0.as_chunks::<BYTES>().0, row_bytes / BYTES);
    let mut token = 0;
    // Groups of quads one after the other, with each group all vectors.
    if vectors.group::<TOGETHER>(0).is_some() {
        for (group, first) in blocks.chunks(CACHED * length).zip((0..).step_by(CACHED * ROWS)) {
            token = 0;
            while let Some(some) = vectors.group::<TOGETHER>(token) {
                let some = some.map(|vector| vector.as_chunks::<RUNS>().0);
                for (quad, at) in group.chunks_exact(length).zip((first..).step_by(ROWS)) {
                    let dots = quad_dots::<BYTES, RUNS, SCALES, Q, H, TOGETHER>(quad, some, run);
                    dots.into_iter().zip(token..).for_each(|(dots, token)| out.put(token, at, &dots.to_array()));
                }
                token += TOGETHER;
            }
        }
    }
    while let Some([vector]) = vectors.group(token) {
        vector_dots::<BYTES, RUNS, SCALES, Q, H>(blocks, vector.as_chunks().0, run, |at, dots| {
            out.put(token, at, &dots.to_array());
        });
        token += 1;
    }
}

/// One quad times several vectors, its weights unpacked once: of each vector, each row's sum in a lane.
#[inline(always)]
fn quad_dots<const BYTES: usize, const RUNS: usize, const SCALES: usize, Q: Quants, H: Halves, const TOKENS: usize>(
    quad: &[[[u8; ROWS]; BYTES]],
    vectors: [&[[Block; RUNS]]; TOKENS],
    run: impl Fn(Quad<'_, BYTES>, usize, &Constants<H>) -> Run<SCALES, Q>,
) -> [f32x4; TOKENS] {
    let (quad, vectors) = alike(quad, vectors);
    let (mut sums, constants) = ([f32x4::ZERO; TOKENS], Constants::<H>::kept());
    for (b, blocks) in quad.iter().enumerate() {
        let vectors = vectors.map(|vector| &vector[b]);
        for r in 0..RUNS {
            run(Quad(blocks), r, &constants).add_products(vectors.map(|vector| &vector[r]), &mut sums);
        }
    }
    sums
}

/// All quads times one vector. Several quads that lie far from each other meet each of its blocks: the processor fetches ahead of all
/// of them at the same time.
#[inline(always)]
fn vector_dots<const BYTES: usize, const RUNS: usize, const SCALES: usize, Q: Quants, H: Halves>(
    quads: &[[[u8; ROWS]; BYTES]],
    vector: &[[Block; RUNS]],
    run: impl Fn(Quad<'_, BYTES>, usize, &Constants<H>) -> Run<SCALES, Q>,
    mut put: impl FnMut(usize, f32x4),
) {
    let (length, constants) = (vector.len().max(1), Constants::<H>::kept());
    let count = quads.len() / length;
    let apart = count.div_ceil(APART);
    for first in 0..apart {
        let mut sums = [f32x4::ZERO; APART];
        for (b, x) in vector.iter().enumerate() {
            let mut place = first * length + b;
            for sum in &mut sums {
                let Some(blocks) = quads.get(place) else { break };
                // The compiler would count all places that are read, turn by turn, instead of one that the others are near to.
                let blocks = hidden(blocks);
                for (r, x) in x.iter().enumerate() {
                    run(Quad(blocks), r, &constants).add_products([x], std::array::from_mut(sum));
                }
                place += apart * length;
            }
        }
        for (sum, quad) in sums.into_iter().zip((first..count).step_by(apart)) {
            put(quad * ROWS, sum);
        }
    }
}

impl<const SCALES: usize, Q: Quants> Run<SCALES, Q> {
    /// Adds its products with several vectors.
    #[inline(always)]
    fn add_products<const TOKENS: usize>(&self, x: [&Block; TOKENS], sums: &mut [f32x4; TOKENS]) {
        for part in 0..SCALES {
            // Sums of whole numbers, in halves: one alone would have all quants and levels wait in registers for their turn.
            let of_half = |half: usize, x: &Block| {
                let fours = self.quants[half * 4..(half + 1) * 4].iter().enumerate();
                fours.fold(i32x4::ZERO, |sum, (four, quants)| quants.dot(&x.levels[half], four, sum))
            };
            let dots = x.map(|x| if SCALES == 1 { of_half(0, x) + of_half(1, x) } else { of_half(part, x) });
            for ((x, dot), sum) in x.iter().zip(dots).zip(&mut *sums) {
                *sum += f32x4::from_i32x4(dot) * (self.scales[part] * f32x4::splat(x.scale));
                if let Some(offsets) = self.offsets {
                    *sum += offsets[part] * f32x4::splat(if SCALES == 1 { x.sum } else { x.sums[part] });
                }
            }
        }
    }
}

/// All of the length that all have, which they are known to the compiler to have then.
#[inline(always)]
fn alike<'a, A, B, const N: usize>(one: &'a [A], others: [&'a [B]; N]) -> (&'a [A], [&'a [B]; N]) {
    let length = others.iter().map(|other| other.len()).fold(one.len(), usize::min);
    (&one[..length], others.map(|other| &other[..length]))
}

/// The product of rows with vectors as they are. `read` gives a row's weights, as many as `row` has room for.
pub(crate) fn exact(vectors: Vectors<'_, f32>, out: &mut Out<'_>, read: impl Fn(usize, &mut [f32]), row: &mut [f32]) {
    for at in 0..out.rows {
        read(at, row);
        let mut token = 0;
        while let Some(group) = vectors.group::<TOGETHER>(token) {
            for (dot, token) in dots(row, group).into_iter().zip(token..) {
                out.put(token, at, &[dot]);
            }
            token += TOGETHER;
        }
        while let Some(vector) = vectors.group::<1>(token) {
            out.put(token, at, &dots(row, vector));
            token += 1;
        }
    }
}

/// One vector's products with several others of its length, each summed up in eight parts.
pub(crate) fn dots<const TOKENS: usize>(row: &[f32], vectors: [&[f32]; TOKENS]) -> [f32; TOKENS] {
    let (row, vectors) = alike(row, vectors);
    let mut sums = [[f32x4::ZERO; 2]; TOKENS];
    let (pairs, split) = (row.as_chunks::<16>().0, vectors.map(|vector| vector.as_chunks::<16>().0));
    for (at, pair) in pairs.iter().enumerate() {
        let [first, second]: [[f32; 8]; 2] = bytemuck::cast(*pair);
        for (vector, sum) in split.iter().zip(&mut sums) {
            let of: [[f32; 8]; 2] = bytemuck::cast(vector[at]);
            add_eight(first, of[0], sum);
            add_eight(second, of[1], sum);
        }
    }
    let left = 16 * pairs.len();
    let (eights, rest) = row[left..].as_chunks::<8>();
    let of_rest: [f32; TOKENS] = from_fn(|t| {
        let (of_eights, of_rest) = vectors[t][left..].as_chunks::<8>();
        eights.iter().zip(of_eights).for_each(|(eight, of)| add_eight(*eight, *of, &mut sums[t]));
        rest.iter().zip(of_rest).map(|(weight, x)| weight * x).sum()
    });
    let totals = totals(sums);
    from_fn(|t| totals[t] + of_rest[t])
}

#[inline(always)]
fn add_eight(weights: [f32; 8], x: [f32; 8], [first, last]: &mut [f32x4; 2]) {
    let ([of_first, of_last], x): ([f32x4; 2], [f32x4; 2]) = (bytemuck::cast(weights), bytemuck::cast(x));
    *first += x[0] * of_first;
    *last += x[1] * of_last;
}

/// What the parts of each sum come to: each half's four, and then both.
#[inline(always)]
fn totals<const N: usize>(sums: [[f32x4; 2]; N]) -> [f32; N] {
    let (fours, rest) = sums.as_chunks::<4>();
    let mut totals = [0.0; N];
    let (places, of_rest) = totals.as_chunks_mut::<4>();
    for (place, four) in places.iter_mut().zip(fours) {
        let [first, last] = [0, 1].map(|half| {
            let [a, b, c, d] = f32x4::transpose(four.map(|sum| sum[half]));
            a + b + c + d
        });
        *place = (first + last).to_array();
    }
    for (place, [first, last]) in of_rest.iter_mut().zip(rest) {
        *place = first.reduce_add() + last.reduce_add();
    }
    totals
}
