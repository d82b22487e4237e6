//! Vectors of the processor: sixteen quants, and their products with an activation's levels.
//!
//! All of it is `wide`'s, which stands for SSE2, NEON or WebAssembly's simd128, whichever the build has, and for plain arrays elsewhere.

use wide::{i8x16, i16x8, i32x4, u8x16, u16x8};

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

    /// Their products with sixteen levels, summed up in four parts. The bytes count as signed.
    #[inline(always)]
    pub fn dot(self, levels: &Levels) -> i32x4 {
        let signed = |halves: u16x8| -> i16x8 { bytemuck::cast(halves) };
        let even: i16x8 = signed(self.0 << 8) >> 8;
        let odd: i16x8 = signed(self.0) >> 8;
        even.dot(levels.even) + odd.dot(levels.odd)
    }
}

impl std::ops::BitOr for Bytes {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Sixteen neighbours of a vector in 8 bits, as the product takes them: those at even places apart from those at odd ones, and as wide
/// as the processor multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Levels {
    even: i16x8,
    odd: i16x8,
}

impl Levels {
    /// Levels in order.
    pub fn new(levels: &[i8; 16]) -> Self {
        let of = |first: usize| i16x8::new(std::array::from_fn(|i| i16::from(levels[2 * i + first])));
        Self { even: of(0), odd: of(1) }
    }
}

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

    #[test]
    fn products_of_the_largest_numbers_are_whole() {
        for (byte, level) in [(-128_i8, -127_i8), (-128, 127), (127, 127), (127, -127), (-1, 1)] {
            let sum = bytes([byte as u8; 16]).dot(&Levels::new(&[level; 16])).reduce_add();
            assert_eq!(sum, 16 * i32::from(byte) * i32::from(level));
        }
        // Each byte meets the level of its own place.
        let levels: [i8; 16] = std::array::from_fn(|i| i as i8 * 8 - 60);
        for place in 0..16 {
            let mut one = [0; 16];
            one[place] = 3;
            assert_eq!(bytes(one).dot(&Levels::new(&levels)).reduce_add(), 3 * i32::from(levels[place]));
        }
    }
}
