//! Rows of weights times vectors: one text for all formats, of which each gets its own machine code.
//!
//! Rows know nothing of each other, so that a matrix can be cut into runs of them.

use std::array::from_fn;

use wide::{f32x4, f32x8, i32x4};

use super::lanes::{Bytes, Quants, kept};
use super::reserve;
use super::rounded::Block;
use super::scale::Scale;
use crate::error::Result;
use crate::formats::FiniteHalves;

/// Vectors that meet a row's weights while those are unpacked, or rows that meet a vector: as many as a register has lanes.
const TOGETHER: usize = 4;
/// Rows that stay in the processor's cache while all vectors pass.
const ROWS: usize = 64;

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
    /// How far the same output of the next token is.
    pub stride: usize,
}

/// What products with vectors in 8 bits gather on their way: room for it is made once.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Of the blocks of several vectors.
    lanes: Vec<Lanes>,
    /// Scale and offset, which is zero where there is none, of whatever has one in the rows that stay in the processor's cache.
    factors: Vec<[f32; 2]>,
}

impl Scratch {
    /// For vectors of at most so many blocks.
    ///
    /// Errors: `OutOfMemory`.
    pub fn new(blocks: usize) -> Result<Self> {
        const MOST_SCALES: usize = 2;
        let mut scratch = Self::default();
        reserve(&mut scratch.lanes, "activations", blocks)?;
        reserve(&mut scratch.factors, "activations", blocks.saturating_mul(ROWS * MOST_SCALES))?;
        Ok(scratch)
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.lanes.capacity() * size_of::<Lanes>() + self.factors.capacity() * size_of::<[f32; 2]>()
    }
}

/// The product of rows, so many bytes each, with vectors in 8 bits.
pub(crate) type RoundedProduct = fn(&[u8], usize, Vectors<'_, Block>, &mut Out<'_>, &mut Scratch);

/// A format's [`RoundedProduct`]: of blocks of so many bytes, of so many runs with so many scales each, that are read by `$run`. None
/// where there is no processor's road.
macro_rules! product {
    ($bytes:expr, $runs:literal, $scales:literal, $run:ident) => {
        if cfg!(not(feature = "cpu")) {
            None
        } else {
            Some(|rows, row_bytes, vectors, out, scratch| {
                $crate::cpu::products::rounded::<$bytes, $runs, $scales, _>(
                    rows, row_bytes, vectors, out, scratch, $run,
                )
            })
        }
    };
}
pub(crate) use product;

impl Out<'_> {
    /// Writes output `at` of some tokens.
    #[inline(always)]
    fn put<const TOKENS: usize>(&mut self, token: usize, at: usize, values: [f32; TOKENS]) {
        for (value, token) in values.into_iter().zip(token..) {
            if let Some(place) = self.values.get_mut(token * self.stride + at) {
                *place = value;
            }
        }
    }
}

/// 32 neighbouring weights of a row: quants of 8 bits at most, all of which or each 16 of which have a scale and an offset.
///
/// weight = scale * quant + offset.
pub(crate) struct Run<const SCALES: usize, Q = Bytes> {
    pub quants: [Q; 2],
    pub scales: [Scale; SCALES],
    /// Where there are any.
    pub offsets: Option<[Scale; SCALES]>,
}

/// A [`RoundedProduct`] for blocks of so many bytes and `RUNS` times 32 weights, which `run` reads: groups of rows one after the
/// other, with each group all vectors. Several vectors at a time meet a row; one alone meets several rows.
#[inline(always)]
pub(crate) fn rounded<const BYTES: usize, const RUNS: usize, const SCALES: usize, Q: Quants>(
    rows: &[u8],
    row_bytes: usize,
    vectors: Vectors<'_, Block>,
    out: &mut Out<'_>,
    Scratch { lanes, factors }: &mut Scratch,
    run: impl Fn(&[u8; BYTES], usize) -> Run<SCALES, Q> + Copy,
) {
    let together = vectors.group::<TOGETHER>(0).is_some();
    for (rows, first) in rows.chunks(ROWS * row_bytes).zip((0..).step_by(ROWS)) {
        let mut token = 0;
        if together {
            factors_of::<BYTES, RUNS, SCALES, Q>(rows, row_bytes, run, factors);
        }
        while let Some(group) = vectors.group::<TOGETHER>(token) {
            lanes_of(group, lanes);
            let rows = rows.chunks_exact(row_bytes).zip(factors.chunks_exact(vectors.length * SCALES));
            for ((row, factors), at) in rows.zip(first..) {
                out.put(token, at, row_dots::<BYTES, RUNS, SCALES, Q>(row, factors.as_chunks().0, group, lanes, run));
            }
            token += TOGETHER;
        }
        while let Some([vector]) = vectors.group(token) {
            // Each of several rows in a row's stead is read from a place of its own on: the processor fetches ahead of all of them.
            let apart = (rows.len() / row_bytes).div_ceil(TOGETHER);
            let row = |at: usize| rows.get(at * row_bytes..(at + 1) * row_bytes);
            for at in 0..apart {
                // Where there are fewer, the first one is done again.
                let group = from_fn(|r| row(at + r * apart).unwrap_or(&rows[at * row_bytes..(at + 1) * row_bytes]));
                let dots = vector_dots::<BYTES, RUNS, SCALES, Q>(group, vector, run);
                for (dot, at) in dots.into_iter().zip((at..).step_by(apart)) {
                    if at * row_bytes < rows.len() {
                        out.put(token, first + at, [dot]);
                    }
                }
            }
            token += 1;
        }
    }
}

/// What blocks of several vectors at the same place have beside their levels, each vector's in a lane: gathered once for many rows.
#[derive(Clone, Copy)]
struct Lanes {
    scales: f32x4,
    sums: [f32x4; 2],
    sum: f32x4,
}

fn lanes_of(vectors: [&[Block]; TOGETHER], lanes: &mut Vec<Lanes>) {
    let [a, b, c, d] = vectors;
    lanes.clear();
    lanes.extend(a.iter().zip(b).zip(c).zip(d).map(|(((a, b), c), d)| {
        let of = |number: fn(&Block) -> f32| f32x4::new([a, b, c, d].map(number));
        let sums = [of(|block| block.sums[0]), of(|block| block.sums[1])];
        Lanes { scales: of(|block| block.scale), sums, sum: of(|block| block.sum) }
    }));
}

/// What scales and offsets of rows are, once for many vectors.
#[inline(always)]
fn factors_of<const BYTES: usize, const RUNS: usize, const SCALES: usize, Q: Quants>(
    rows: &[u8],
    row_bytes: usize,
    run: impl Fn(&[u8; BYTES], usize) -> Run<SCALES, Q>,
    factors: &mut Vec<[f32; 2]>,
) {
    factors.clear();
    for block in rows.chunks_exact(row_bytes).flat_map(|row| row.as_chunks().0) {
        for Run { scales, offsets, .. } in (0..RUNS).map(|r| run(block, r)) {
            let offset = |part: usize| offsets.map_or(0.0, |offsets| offsets[part].value());
            factors.extend((0..SCALES).map(|part| [scales[part].value(), offset(part)]));
        }
    }
}

/// One row times several vectors, its weights unpacked once, each vector's sum in a lane.
#[inline(always)]
fn row_dots<const BYTES: usize, const RUNS: usize, const SCALES: usize, Q: Quants>(
    row: &[u8],
    factors: &[[[f32; 2]; SCALES]],
    vectors: [&[Block]; TOGETHER],
    lanes: &[Lanes],
    run: impl Fn(&[u8; BYTES], usize) -> Run<SCALES, Q>,
) -> [f32; TOGETHER] {
    let (row, vectors) = alike(row.as_chunks::<BYTES>().0, vectors.map(|vector| vector.as_chunks::<RUNS>().0));
    let (mut sums, constants) = (f32x4::ZERO, kept(Q::constants()));
    let beside = lanes.as_chunks::<RUNS>().0.iter().zip(factors.as_chunks::<RUNS>().0);
    for ((b, block), (lanes, factors)) in row.iter().enumerate().zip(beside) {
        let blocks = vectors.map(|vector| &vector[b]);
        for (r, (lanes, factors)) in lanes.iter().zip(factors).enumerate() {
            let (run, x) = (run(block, r), blocks.map(|blocks| &blocks[r]));
            for (part, [scale, offset]) in factors.iter().enumerate() {
                let dots = f32x4::from_i32x4(Q::lane_sums(x.map(|x| run.dot(part, x, constants)), constants));
                sums += dots * (lanes.scales * f32x4::splat(*scale));
                if run.offsets.is_some() {
                    let of_part = if SCALES == 1 { lanes.sum } else { lanes.sums[part] };
                    sums += of_part * f32x4::splat(*offset);
                }
            }
        }
    }
    sums.to_array()
}

/// Several rows times one vector, each row's sum in a lane.
#[inline(always)]
fn vector_dots<const BYTES: usize, const RUNS: usize, const SCALES: usize, Q: Quants>(
    rows: [&[u8]; TOGETHER],
    vector: &[Block],
    run: impl Fn(&[u8; BYTES], usize) -> Run<SCALES, Q>,
) -> [f32; TOGETHER] {
    let (vector, rows) = alike(vector.as_chunks::<RUNS>().0, rows.map(|row| row.as_chunks::<BYTES>().0));
    let (mut sums, constants, halves) = (f32x4::ZERO, kept(Q::constants()), kept(FiniteHalves::new()));
    for (b, blocks) in vector.iter().enumerate() {
        for (r, x) in blocks.iter().enumerate() {
            let runs: [Run<SCALES, Q>; TOGETHER] = from_fn(|row| run(&rows[row][b], r));
            for part in 0..SCALES {
                let dots = Q::lane_sums(from_fn(|row| runs[row].dot(part, x, constants)), constants);
                let dots = f32x4::from_i32x4(dots);
                let scales = from_fn(|row| runs[row].scales[part]);
                if let [Some(a), Some(b), Some(c), Some(d)] = from_fn(|row| runs[row].offsets) {
                    let [scales, offsets] = Scale::pairs(halves, scales, [a[part], b[part], c[part], d[part]]);
                    sums += dots * (scales * f32x4::splat(x.scale));
                    sums += offsets * f32x4::splat(Run::<SCALES, Q>::sum(part, x));
                } else {
                    sums += dots * (Scale::values(halves, scales) * f32x4::splat(x.scale));
                }
            }
        }
    }
    sums.to_array()
}

impl<const SCALES: usize, Q: Quants> Run<SCALES, Q> {
    /// Products of the quants that share a scale with their levels.
    #[inline(always)]
    fn dot(&self, part: usize, x: &Block, constants: Q::Constants) -> i32x4 {
        let half = |half: usize, sum| self.quants[half].dot(&x.levels[half], sum, constants);
        if SCALES == 1 { half(1, half(0, i32x4::ZERO)) } else { half(part, i32x4::ZERO) }
    }

    /// What the numbers are in sum that meet them.
    #[inline(always)]
    fn sum(part: usize, x: &Block) -> f32 {
        if SCALES == 1 { x.sum } else { x.sums[part] }
    }
}

/// All of the length that all have, which they are known to the compiler to have then.
#[inline(always)]
fn alike<'a, A, B, const N: usize>(one: &'a [A], others: [&'a [B]; N]) -> (&'a [A], [&'a [B]; N]) {
    let length = others.iter().map(|other| other.len()).fold(one.len(), usize::min);
    (&one[..length], others.map(|other| &other[..length]))
}

/// The product of rows with vectors as they are. `widen` gives a row's weights, as many as `row` has room for.
pub(crate) fn exact(
    rows: &[u8],
    row_bytes: usize,
    vectors: Vectors<'_, f32>,
    out: &mut Out<'_>,
    widen: fn(&[u8], &mut [f32]),
    row: &mut [f32],
) {
    for (bytes, at) in rows.chunks_exact(row_bytes).zip(0..) {
        widen(bytes, row);
        let mut token = 0;
        while let Some(group) = vectors.group::<TOGETHER>(token) {
            out.put(token, at, dots(row, group));
            token += TOGETHER;
        }
        while let Some(vector) = vectors.group::<1>(token) {
            out.put(token, at, dots(row, vector));
            token += 1;
        }
    }
}

/// One vector's products with several others of its length, each summed up in eight parts.
pub(crate) fn dots<const TOKENS: usize>(row: &[f32], vectors: [&[f32]; TOKENS]) -> [f32; TOKENS] {
    let rest = row.len() / 8 * 8;
    let (eights, split) = alike(row.as_chunks::<8>().0, vectors.map(|vector| vector.as_chunks::<8>().0));
    let mut sums = [f32x8::ZERO; TOKENS];
    for (at, weights) in eights.iter().enumerate() {
        let weights = f32x8::new(*weights);
        for t in 0..TOKENS {
            sums[t] += f32x8::new(split[t][at]) * weights;
        }
    }
    from_fn(|t| {
        let rest = row[rest..].iter().zip(vectors[t].iter().skip(rest));
        sums[t].reduce_add() + rest.map(|(weight, x)| weight * x).sum::<f32>()
    })
}
