//! Scales and offsets of blocks, of several rows at a time.

use std::array::from_fn;

use wide::{f32x4, i32x4};

use crate::formats::{FiniteHalves, half_to_f32};

/// A finite f16 of a block, times a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    half: u16,
    times: f32,
}

impl Scale {
    /// The f16 at a byte offset of a block.
    #[inline(always)]
    pub fn at(block: &[u8], at: usize) -> Self {
        Self { half: u16::from_le_bytes([block[at], block[at + 1]]), times: 1.0 }
    }

    /// It times a number.
    #[inline(always)]
    pub fn times(self, number: f32) -> Self {
        Self { times: self.times * number, ..self }
    }

    /// What it is.
    #[inline(always)]
    pub fn value(self) -> f32 {
        half_to_f32(self.half) * self.times
    }

    /// What several are.
    #[inline(always)]
    pub fn values(halves: FiniteHalves, scales: [Self; 4]) -> f32x4 {
        halves.lower(i32x4::new(scales.map(|scale| scale.half.into()))) * Self::all_times(scales)
    }

    /// What several are, and others. A block's neighbours are read at once that way.
    #[inline(always)]
    pub fn pairs(halves: FiniteHalves, scales: [Self; 4], others: [Self; 4]) -> [f32x4; 2] {
        let both = |i: usize| i32::from(scales[i].half) | i32::from(others[i].half) << 16;
        let bits = i32x4::new(from_fn(both));
        [halves.lower(bits) * Self::all_times(scales), halves.upper(bits) * Self::all_times(others)]
    }

    #[inline(always)]
    fn all_times(scales: [Self; 4]) -> f32x4 {
        f32x4::new(scales.map(|scale| scale.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_half_is_read() {
        let halves = FiniteHalves::new();
        for bits in (0..=u16::MAX).filter(|bits| half::f16::from_bits(*bits).is_finite()) {
            let scale = Scale::at(&[0, bits as u8, (bits >> 8) as u8], 1);
            let expected = half::f16::from_bits(bits).to_f32();
            assert_eq!(scale.value().to_bits(), expected.to_bits(), "{bits:#x}");
            let some = [scale, scale.times(-8.0), scale.times(0.0), scale.times(3.0)];
            let values = [expected, -8.0 * expected, 0.0, 3.0 * expected];
            assert_eq!(Scale::values(halves, some).to_array(), values, "{bits:#x}");
            let [first, second] = Scale::pairs(halves, some, [some[2], some[0], some[3], some[1]]).map(f32x4::to_array);
            assert_eq!((first, second), (values, [values[2], values[0], values[3], values[1]]), "{bits:#x}");
        }
    }
}
