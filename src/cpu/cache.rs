//! One layer's keys or values of all positions, in the format of the KV cache.

use std::hint::black_box;

use super::lanes::hidden;
use super::zeros;
use crate::error::Result;
use crate::formats::{Halves, HalvesInPairs, NormalHalves};
use crate::model::kv_cache::KvFormat;

/// Numbers that are converted at a time.
const EIGHT: usize = 8;

/// Heads' vectors, `[kv_heads][context][head_dim]`.
pub(super) struct Cached {
    numbers: Numbers,
    context: usize,
    head_dim: usize,
}

enum Numbers {
    /// Each vector in eights, the last one filled up with ones, and whether all its numbers are normal.
    F16 {
        eights: Vec<HalvesInPairs>,
        normal: Vec<bool>,
    },
    F32(Vec<f32>),
    /// Each vector's bytes are to be multiplied by its scale.
    Q8 {
        bytes: Vec<i8>,
        scales: Vec<f32>,
    },
}

impl Cached {
    /// Room for `context` positions.
    ///
    /// Errors: `OutOfMemory`.
    pub fn new(format: KvFormat, kv_heads: usize, context: usize, head_dim: usize) -> Result<Self> {
        let what = "the KV cache";
        let vectors = kv_heads.saturating_mul(context);
        let count = vectors.saturating_mul(head_dim);
        let numbers = match format {
            KvFormat::F16 => {
                let eights = zeros(what, vectors.saturating_mul(head_dim.div_ceil(EIGHT)))?;
                Numbers::F16 { eights, normal: zeros(what, vectors)? }
            }
            KvFormat::F32 => Numbers::F32(zeros(what, count)?),
            KvFormat::Q8 => Numbers::Q8 { bytes: zeros(what, count)?, scales: zeros(what, vectors)? },
        };
        Ok(Self { numbers, context, head_dim })
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        match &self.numbers {
            Numbers::F16 { eights, normal } => size_of_val(&eights[..]) + size_of_val(&normal[..]),
            Numbers::F32(numbers) => size_of_val(&numbers[..]),
            Numbers::Q8 { bytes, scales } => size_of_val(&bytes[..]) + size_of_val(&scales[..]),
        }
    }

    /// Keeps the heads' vectors of a position, `[kv_heads][head_dim]`.
    pub fn write(&mut self, position: usize, heads: &[f32]) {
        let Self { numbers, context, head_dim } = self;
        for (vector, at) in heads.chunks_exact(*head_dim).zip((position..).step_by(*context)) {
            let place = at * *head_dim..(at + 1) * *head_dim;
            match numbers {
                Numbers::F16 { eights, normal } => {
                    let length = head_dim.div_ceil(EIGHT);
                    let eights = &mut eights[at * length..(at + 1) * length];
                    for (eight, numbers) in eights.iter_mut().zip(vector.chunks(EIGHT)) {
                        *eight = HalvesInPairs::new(&std::array::from_fn(|i| numbers.get(i).copied().unwrap_or(1.0)));
                    }
                    normal[at] = eights.iter().all(HalvesInPairs::are_normal);
                }
                Numbers::F32(numbers) => numbers[place].copy_from_slice(vector),
                Numbers::Q8 { bytes, scales } => scales[at] = round(vector, &mut bytes[place]),
            }
        }
    }

    /// A head's vectors of some positions, one behind the other: as many as `out` has room for.
    pub fn read(&self, head: usize, first: usize, out: &mut [f32]) {
        let Self { numbers, context, head_dim } = self;
        let at = head * context + first;
        let start = at * head_dim;
        match numbers {
            Numbers::F16 { eights, normal } => {
                let (length, count) = (head_dim.div_ceil(EIGHT), out.len() / head_dim);
                let eights = &eights[at * length..(at + count) * length];
                fetch(bytemuck::cast_slice(eights));
                read_eights(eights, &normal[at..], *head_dim, out);
            }
            Numbers::F32(numbers) => {
                let numbers = &numbers[start..start + out.len()];
                fetch(bytemuck::cast_slice(numbers));
                out.copy_from_slice(numbers);
            }
            Numbers::Q8 { bytes, scales } => {
                let bytes = &bytes[start..start + out.len()];
                fetch(bytemuck::cast_slice(bytes));
                let vectors = bytes.chunks_exact(*head_dim).zip(&scales[at..]);
                for (out, (bytes, scale)) in out.chunks_exact_mut(*head_dim).zip(vectors) {
                    out.iter_mut().zip(bytes).for_each(|(number, byte)| *number = f32::from(*byte) * scale);
                }
            }
        }
    }
}

/// As many vectors as there are eights of, each of which is said to be normal or not.
fn read_eights(eights: &[HalvesInPairs], normal: &[bool], head_dim: usize, out: &mut [f32]) {
    let vectors = eights.chunks_exact(head_dim.div_ceil(EIGHT)).zip(normal);
    let halves = hidden(NormalHalves::new());
    for (out, (eights, normal)) in out.chunks_exact_mut(head_dim).zip(vectors) {
        let (whole, rest) = out.as_chunks_mut::<EIGHT>();
        let (of_whole, of_rest) = eights.split_at(whole.len());
        let pairs = whole.iter_mut().zip(of_whole);
        if *normal {
            pairs.for_each(|(numbers, eight)| *numbers = eight.normal(halves));
        } else {
            pairs.for_each(|(numbers, eight)| *numbers = eight.any());
        }
        of_rest.iter().for_each(|eight| rest.copy_from_slice(&eight.any()[..rest.len()]));
    }
}

/// Loads a byte of each line of the processor's cache: all of them together are fetched in little more than the time of a few, and what
/// reads them then waits for none.
fn fetch(bytes: &[u8]) {
    const LINE: usize = 64;
    black_box(bytes.iter().step_by(LINE).fold(0, |all, byte| all ^ byte));
}

/// Rounds a vector to bytes, and gives their scale: the largest magnitude over 127, and no number where one of the vector's is none.
fn round(vector: &[f32], bytes: &mut [i8]) -> f32 {
    let further = |most: f32, number: &f32| if number.abs() > most || number.is_nan() { number.abs() } else { most };
    let scale = vector.iter().fold(0.0, further) / 127.0;
    for (byte, number) in bytes.iter_mut().zip(vector) {
        // A vector of zeros has the scale 0.
        *byte = (number / scale.max(f32::MIN_POSITIVE)).round() as i8;
    }
    if scale.is_finite() { scale } else { f32::NAN }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn halves_of_every_kind_come_back() {
        for head_dim in [6, 26, 64] {
            let mut cached = Cached::new(KvFormat::F16, 2, 5, head_dim).unwrap();
            let normal: Vec<f32> = (0..2 * head_dim).map(|i| (i as f32 - 7.5) / 3.0).collect();
            (0..5).for_each(|position| cached.write(position, &normal));
            // One number of the second head at a time, and then normal ones again.
            for number in [0.0, -0.0, 1e-6, -5e-5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                for at in 0..head_dim {
                    let mut heads = normal.clone();
                    heads[head_dim + at] = number;
                    for heads in [&heads, &normal] {
                        cached.write(3, heads);
                        let mut got = vec![7.0; 3 * head_dim];
                        cached.read(1, 2, &mut got);
                        let bits = |number: f32| f16::from_f32(number).to_f32().to_bits();
                        let expected = [&normal[head_dim..], &heads[head_dim..], &normal[head_dim..]].concat();
                        let same = got.iter().zip(&expected).all(|(got, number)| got.to_bits() == bits(*number));
                        assert!(same, "{number} at {at} of {head_dim}: {got:?} instead of {expected:?}");
                    }
                }
            }
        }
    }
}
