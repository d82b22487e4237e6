//! Vectors of the processor: sixteen quants, and their products with an activation's levels.
//!
//! But for what relaxed vectors add, all of it is `wide`'s, which stands for SSE2, NEON or WebAssembly's simd128, whichever the build has, and for plain arrays elsewhere.

use wide::{i8x16, i32x4, u8x16, u16x8};

/// Sixteen bytes of a block, side by side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bytes(u16x8);

impl Bytes {
    /// Those at a place of a block; zeros where it has not so many.
    #[inline(always)]
    pub fn at(block: &[u8], place: usize) -> Self {
        let bytes: Option<&[u8; 16]> = block.get(place..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(Self(u16x8::ZERO), |bytes| Self(bytemuck::pod_read_unaligned(bytes)))
    }

    /// Bits of each byte from bit `first` on, as far as `mask` has them.
    #[inline(always)]
    pub fn field(self, first: u32, mask: u8) -> Self {
        Self(self.0 >> first & u16x8::splat(u16::from_ne_bytes([mask; 2])))
    }

    /// The bytes, whose upper bits are zero, that many bits further up.
    #[inline(always)]
    pub fn raised(self, bits: u32) -> Self {
        Self(self.0 << bits)
    }

    /// Sixteen bits as bytes of 0 and 1.
    #[inline(always)]
    pub fn of_bits(bits: u16) -> Self {
        let even = u16x8::new([1, 1 << 2, 1 << 4, 1 << 6, 1 << 8, 1 << 10, 1 << 12, 1 << 14]);
        let odd = even << 1;
        let (bits, one) = (u16x8::splat(bits), u16x8::splat(1));
        let [even, odd] = [even, odd].map(|bit| (bits & bit).simd_eq(bit) & one);
        Self(even | odd << 8)
    }

    /// For each byte, which is below 16, the number of that place in a table.
    #[inline(always)]
    pub fn numbers(self, table: &[i8; 16]) -> Self {
        let places: u8x16 = bytemuck::cast(self.0);
        Self(bytemuck::cast(i8x16::new(*table).shuffle(places)))
    }

    /// The bytes, which count as signed.
    #[inline(always)]
    pub fn signed(self) -> Signed {
        Signed(self)
    }
}

/// Sixteen quants, to be multiplied with as many levels.
pub(crate) trait Quants: Copy {
    /// A sum in four parts, and the products in addition.
    fn dot(self, levels: &Levels, sum: i32x4) -> i32x4;
}

/// Bytes of -127 to 127. Relaxed vectors take -128, which no quantiser of ours or of ggml's writes, for -127 where a level is negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Signed(Bytes);

impl std::ops::BitOr for Bytes {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(not(target_feature = "relaxed-simd"))]
mod levels {
    use super::{Bytes, Quants, Signed};
    use wide::{i8x16, i16x8, i32x4, u16x8};

    /// Sixteen neighbours of a vector in 8 bits, as the product takes them: those at even places apart from those at odd ones, and as
    /// wide as the processor multiplies.
    #[derive(Debug, Clone, Copy, PartialEq, Default)]
    pub(crate) struct Levels {
        even: i16x8,
        odd: i16x8,
    }

    impl Levels {
        /// Levels in order, each of -127 to 127.
        #[inline(always)]
        pub fn new(levels: i8x16) -> Self {
            let pairs: i16x8 = bytemuck::cast(levels);
            Self { even: pairs << 8 >> 8, odd: pairs >> 8 }
        }

        #[inline(always)]
        fn dot(&self, even: i16x8, odd: i16x8, sum: i32x4) -> i32x4 {
            sum + even.dot(self.even) + odd.dot(self.odd)
        }
    }

    #[inline(always)]
    fn halves(bytes: u16x8) -> i16x8 {
        bytemuck::cast(bytes)
    }

    /// Bytes below 128.
    impl Quants for Bytes {
        #[inline(always)]
        fn dot(self, levels: &Levels, sum: i32x4) -> i32x4 {
            levels.dot(halves(self.0 & u16x8::splat(0xff)), halves(self.0 >> 8), sum)
        }
    }

    impl Quants for Signed {
        #[inline(always)]
        fn dot(self, levels: &Levels, sum: i32x4) -> i32x4 {
            let Self(Bytes(bytes)) = self;
            levels.dot(halves(bytes << 8) >> 8, halves(bytes) >> 8, sum)
        }
    }
}

/// The products of bytes that WebAssembly leaves to the processor where one of both has no more than seven bits.
#[cfg(target_feature = "relaxed-simd")]
mod levels {
    use super::{Bytes, Quants, Signed};
    use core::arch::wasm32::{i8x16_sub_sat, i32x4_relaxed_dot_i8x16_i7x16_add, v128, v128_xor};
    use wide::{i8x16, i32x4};

    /// Sixteen neighbours of a vector in 8 bits, as they are, and what is left without their signs.
    #[derive(Debug, Clone, Copy, PartialEq, Default)]
    pub(crate) struct Levels {
        levels: i8x16,
        magnitudes: i8x16,
        /// All bits of those that are negative.
        signs: i8x16,
    }

    impl Levels {
        /// Levels in order, each of -127 to 127.
        #[inline(always)]
        pub fn new(levels: i8x16) -> Self {
            Self { levels, magnitudes: levels.abs(), signs: levels.simd_lt(i8x16::ZERO) }
        }
    }

    #[inline(always)]
    fn dot(signed: v128, magnitudes: v128, sum: i32x4) -> i32x4 {
        bytemuck::cast(i32x4_relaxed_dot_i8x16_i7x16_add(signed, magnitudes, bytemuck::cast(sum)))
    }

    /// Bytes below 128.
    impl Quants for Bytes {
        #[inline(always)]
        fn dot(self, levels: &Levels, sum: i32x4) -> i32x4 {
            dot(bytemuck::cast(levels.levels), bytemuck::cast(self.0), sum)
        }
    }

    impl Quants for Signed {
        #[inline(always)]
        fn dot(self, levels: &Levels, sum: i32x4) -> i32x4 {
            // The levels' signs go over to the bytes: of each row that meets them, that takes two instructions.
            let signs = bytemuck::cast(levels.signs);
            let bytes = i8x16_sub_sat(v128_xor(bytemuck::cast(self.0.0), signs), signs);
            dot(bytes, bytemuck::cast(levels.magnitudes), sum)
        }
    }
}
pub(crate) use levels::Levels;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: [u8; 16]) -> Bytes {
        Bytes::at(&bytes, 0)
    }

    #[test]
    fn bytes_are_taken_apart() {
        let all: [u8; 18] = std::array::from_fn(|i| (i * 37 + 11) as u8);
        let part: [u8; 16] = std::array::from_fn(|i| all[i + 2]);
        assert_eq!(Bytes::at(&all, 2), bytes(part));
        assert_eq!(Bytes::at(&all, 3), bytes([0; 16]), "it would be one too far");
        for first in 0..8 {
            let mask = 0xff >> first & 3;
            assert_eq!(
                bytes(part).field(first, mask),
                bytes(part.map(|byte| byte >> first & mask)),
                "from bit {first}"
            );
        }
        assert_eq!(bytes(part.map(|byte| byte & 3)).raised(4), bytes(part.map(|byte| (byte & 3) << 4)));
        let bits = 0b1010_0000_1111_0001;
        assert_eq!(Bytes::of_bits(bits), bytes(std::array::from_fn(|i| (bits >> i & 1) as u8)));
    }

    #[test]
    fn a_table_is_looked_up() {
        let table: [i8; 16] = std::array::from_fn(|i| (16 * i as i32 - 127) as i8);
        let places: [u8; 16] = std::array::from_fn(|i| (i * 7 % 16) as u8);
        assert_eq!(bytes(places).numbers(&table), bytes(places.map(|place| table[usize::from(place)] as u8)));
    }

    fn dot(quants: impl Quants, levels: &[i8; 16]) -> i32 {
        quants.dot(&Levels::new(i8x16::new(*levels)), i32x4::splat(5)).reduce_add() - 20
    }

    #[test]
    fn products_of_the_largest_numbers_are_whole() {
        for (byte, level) in [(-127_i8, -127_i8), (-127, 127), (127, 127), (127, -127), (-1, 1)] {
            let sum = dot(bytes([byte as u8; 16]).signed(), &[level; 16]);
            assert_eq!(sum, 16 * i32::from(byte) * i32::from(level));
        }
        for (byte, level) in [(127, -127), (127, 127), (15, 1)] {
            assert_eq!(dot(bytes([byte; 16]), &[level; 16]), 16 * i32::from(byte) * i32::from(level));
        }
        // Each byte meets the level of its own place.
        let levels: [i8; 16] = std::array::from_fn(|i| i as i8 * 8 - 60);
        for place in 0..16 {
            let mut one = [0; 16];
            one[place] = 3;
            assert_eq!(dot(bytes(one), &levels), 3 * i32::from(levels[place]));
            assert_eq!(dot(bytes(one).signed(), &levels), 3 * i32::from(levels[place]));
        }
    }
}
