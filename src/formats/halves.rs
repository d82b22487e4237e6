//! f16s in the lanes of vectors. [`half_to_f32`] is the plain twin.

use half::f16;
use wide::{f32x4, i16x8, i32x4};

use super::fields::half_to_f32;
use crate::cpu::lanes::Bytes;

/// What lies between the exponents of f32 and f16.
const BIAS: i32 = (127 - 15) << 23;

/// What the bits of f16s, one behind the other, stand for: as far as both sides go.
#[inline(always)]
pub(super) fn read_halves(bytes: &[u8], numbers: &mut [f32]) {
    let count = numbers.len().min(bytes.len() / 2);
    let (eights, rest) = numbers[..count].as_chunks_mut::<8>();
    let (of_eights, of_rest) = bytes.split_at(16 * eights.len());
    eights.iter_mut().zip(of_eights.as_chunks().0).for_each(|(eight, bytes)| *eight = eight_halves(bytes));
    let pairs = rest.iter_mut().zip(of_rest.as_chunks().0);
    pairs.for_each(|(number, bytes)| *number = half_to_f32(u16::from_le_bytes(*bytes)));
}

#[inline(always)]
fn eight_halves(bytes: &[u8; 16]) -> [f32; 8] {
    // Two to a lane, the first of each pair in its lower half.
    let pairs = HalvesInPairs(bytemuck::pod_read_unaligned(bytes));
    let numbers = if pairs.are_normal() { pairs.normal(NormalHalves::new()) } else { pairs.any() };
    let [first, second]: [f32x4; 2] = bytemuck::cast(numbers);
    bytemuck::cast([first.unpack_lo(second), first.unpack_hi(second)])
}

/// Eight f16s, the first four beside the last four: a vector's lanes have two that are taken apart without moving any.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub(crate) struct HalvesInPairs([u16; 8]);

impl HalvesInPairs {
    /// The nearest ones.
    pub fn new(numbers: &[f32; 8]) -> Self {
        Self(std::array::from_fn(|place| f16::from_f32(numbers[place / 2 + place % 2 * 4]).to_bits()))
    }

    /// Whether all are normal numbers.
    #[inline(always)]
    pub fn are_normal(&self) -> bool {
        let exponents = bytemuck::cast::<_, i16x8>(self.0) & i16x8::splat(0x7c00);
        // The least and the largest come to 0x7c00 and -0x800, and all others, which wrap around, to less.
        !(exponents + i16x8::splat(0x7c00)).simd_gt(i16x8::splat(-0x800 - 1)).any()
    }

    /// What normal ones stand for.
    #[inline(always)]
    pub fn normal(self, halves: NormalHalves) -> [f32; 8] {
        bytemuck::cast(halves.both(Bytes(bytemuck::cast(self.0))))
    }

    /// What any stand for.
    #[inline(always)]
    pub fn any(self) -> [f32; 8] {
        let pairs: i32x4 = bytemuck::cast(self.0);
        bytemuck::cast([pairs, pairs >> 16].map(four_halves))
    }
}

/// What the lower half of each lane stands for.
#[inline(always)]
fn four_halves(bits: i32x4) -> f32x4 {
    let exponent = i32x4::splat(0x7c00);
    let infinite = (bits & exponent).simd_eq(exponent) & i32x4::splat(0x7f80_0000);
    let number: i32x4 = bytemuck::cast(FiniteHalves::new().lower(bits));
    // Not a number keeps its fraction, and infinity has none.
    bytemuck::cast(number | infinite)
}

/// Reads f16s of a kind, two to a lane. It is made of what that needs.
pub(crate) trait Halves: Copy {
    /// For loops, to be kept where the compiler does not know them.
    fn new() -> Self;

    /// What the upper half of each lane stands for.
    fn upper(self, bits: i32x4) -> f32x4;

    /// What the lower half of each lane stands for.
    #[inline(always)]
    fn lower(self, bits: i32x4) -> f32x4 {
        self.upper(bits << 16)
    }

    /// What both halves of each piece of four bytes stand for.
    #[inline(always)]
    fn both(self, pieces: Bytes) -> [f32x4; 2] {
        let bits = bytemuck::cast(pieces.0);
        [self.lower(bits), self.upper(bits)]
    }
}

/// Those that are neither zero nor too small or too large to be normal.
#[derive(Clone, Copy)]
pub(crate) struct NormalHalves {
    sign_and_magnitude: i32x4,
    bias: i32x4,
}

impl Halves for NormalHalves {
    #[inline(always)]
    fn new() -> Self {
        Self { sign_and_magnitude: i32x4::splat(0x8fff_e000_u32 as i32), bias: i32x4::splat(BIAS) }
    }

    #[inline(always)]
    fn upper(self, bits: i32x4) -> f32x4 {
        bytemuck::cast((bits >> 3 & self.sign_and_magnitude) + self.bias)
    }
}

/// Those that are finite, without arithmetic on numbers that are too small to be normal, which is slow.
#[derive(Clone, Copy)]
pub(crate) struct FiniteHalves {
    magnitude: i32x4,
    bias: i32x4,
    least_normal: i32x4,
    sign: i32x4,
}

impl Halves for FiniteHalves {
    #[inline(always)]
    fn new() -> Self {
        Self {
            magnitude: i32x4::splat(0x7fff << 13),
            bias: i32x4::splat(BIAS),
            least_normal: i32x4::splat(BIAS + (1 << 23)),
            sign: i32x4::splat(i32::MIN),
        }
    }

    #[inline(always)]
    fn upper(self, bits: i32x4) -> f32x4 {
        let number = |bits: i32x4| -> f32x4 { bytemuck::cast(bits) };
        let magnitude: i32x4 = bits >> 3 & self.magnitude;
        // Right where it is normal, and too large elsewhere, by the one that is before the point of normal numbers only.
        let normal: i32x4 = magnitude + self.bias;
        // Right where it is not, and too large elsewhere.
        let small = number(magnitude + self.least_normal) - number(self.least_normal);
        // Of positive numbers, bits have the same order.
        number(normal.min(bytemuck::cast(small)) | bits & self.sign)
    }
}

#[cfg(test)]
mod tests {
    use wide::u32x4;

    use super::*;

    #[test]
    fn every_half_is_read() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits);
            let same = |got: f32| got.to_bits() == expected.to_f32().to_bits() || got.is_nan() && expected.is_nan();
            // Beside others, each of which is normal, and beside some that are not; the last two do not fill a vector.
            for (other, number) in [(0x3c00, 1.0), (0xc000, -2.0), (0, 0.0), (0x8001, -f32::powi(2.0, -24))] {
                let mut got = [0.0; 10];
                let halves = [bits, other, other, bits, bits, bits, other, other, bits, other];
                read_halves(bytemuck::cast_slice(&halves), &mut got);
                assert!([0, 3, 4, 5, 8].iter().all(|at| same(got[*at])), "{bits:#x}: {got:?}");
                assert!([1, 2, 6, 7, 9].iter().all(|at| got[*at] == number), "{bits:#x}: {got:?}");
            }
            let normal = expected.is_normal().then(|| read_beside(NormalHalves::new(), bits));
            let finite = expected.is_finite().then(|| read_beside(FiniteHalves::new(), bits));
            assert!(normal.into_iter().chain(finite).flatten().all(same), "{bits:#x}: {normal:?}, {finite:?}");
        }
    }

    /// What a half is said to be in both places, beside another one.
    fn read_beside(halves: impl Halves, bits: u16) -> [f32; 2] {
        let [bits, other] = [u32::from(bits), 0x1234];
        let [lower, _] = halves.both(Bytes(u32x4::splat(bits | other << 16)));
        let [_, upper] = halves.both(Bytes(u32x4::splat(bits << 16 | other)));
        [lower.to_array()[0], upper.to_array()[3]]
    }

    #[test]
    fn pairs_keep_their_places() {
        let numbers = [1.0, -2.5, 3.25, 65504.0, -6.2e-5, 0.1, 7.0, -8.0];
        let expected = numbers.map(|number| f16::from_f32(number).to_f32());
        let pairs = HalvesInPairs::new(&numbers);
        assert!(pairs.are_normal());
        assert_eq!((pairs.normal(NormalHalves::new()), pairs.any()), (expected, expected));
        for (at, other) in [0.0, 1e-7, -5e-5, f32::INFINITY, f32::NAN].into_iter().enumerate() {
            let (mut some, mut expected) = (numbers, expected);
            (some[at], expected[at]) = (other, f16::from_f32(other).to_f32());
            let pairs = HalvesInPairs::new(&some);
            let same = pairs.any().iter().zip(expected).all(|(got, number)| *got == number || number.is_nan());
            assert!(same && !pairs.are_normal() && pairs.any()[at].is_nan() == other.is_nan(), "{other}");
        }
    }

    #[test]
    fn no_more_is_read_than_there_is() {
        for (halves, numbers) in [(9, 12), (9, 16), (16, 9), (3, 8), (0, 1)] {
            let mut got = vec![7.0; numbers];
            read_halves(bytemuck::cast_slice(&vec![0x3c00_u16; halves]), &mut got);
            let expected: Vec<f32> = (0..numbers).map(|at| if at < halves { 1.0 } else { 7.0 }).collect();
            assert_eq!(got, expected, "{halves} of {numbers}");
        }
    }
}
