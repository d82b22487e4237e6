//! Scales and offsets of blocks, of several rows at a time.

use wide::{f32x4, i32x4};

use crate::formats::half_to_f32;

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
    pub fn values(scales: [Self; 4]) -> f32x4 {
        /// What lies between the two formats' exponents.
        const BIAS: i32 = (127 - 15) << 23;
        let least_normal = i32x4::splat(BIAS + (1 << 23));
        let bits = i32x4::new(scales.map(|scale| i32::from(scale.half)));
        let magnitude: i32x4 = (bits & i32x4::splat(0x7fff)) << 13_u32;
        let number = |bits: i32x4| -> f32x4 { bytemuck::cast(bits) };
        // Without arithmetic on numbers that are too small to be normal, which is slow.
        let small: i32x4 = bytemuck::cast(number(magnitude | least_normal) - number(least_normal));
        let magnitude = magnitude.simd_lt(i32x4::splat(1 << 23)).select(small, magnitude + i32x4::splat(BIAS));
        number(magnitude | (bits & i32x4::splat(0x8000)) << 16) * f32x4::new(scales.map(|scale| scale.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_half_is_read() {
        for bits in (0..=u16::MAX).filter(|bits| half::f16::from_bits(*bits).is_finite()) {
            let scale = Scale::at(&[0, bits as u8, (bits >> 8) as u8], 1);
            let expected = half::f16::from_bits(bits).to_f32();
            assert_eq!(scale.value().to_bits(), expected.to_bits(), "{bits:#x}");
            let values = Scale::values([scale, scale.times(-8.0), scale.times(0.0), scale.times(3.0)]).to_array();
            assert_eq!(values, [expected, -8.0 * expected, 0.0, 3.0 * expected], "{bits:#x}");
        }
    }
}
