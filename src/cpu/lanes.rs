//! Vectors of the processor: four neighbouring quants of each of four rows, and their products with an activation's levels.
//!
//! But for what relaxed vectors add, all of it is `wide`'s, which stands for SSE2, NEON or WebAssembly's simd128, whichever the build has,
//! and for plain arrays elsewhere.

use wide::{i8x16, i32x4, u8x16, u32x4};

use crate::formats::Halves;

/// What loops over blocks need in each turn.
#[derive(Clone, Copy)]
pub(crate) struct Constants<H> {
    /// What reads f16s.
    pub halves: H,
    /// Of the four lower bits of each byte.
    pub nibble: Mask,
}

impl<H: Halves> Constants<H> {
    /// Those, [`hidden`]. The compiler would write a vector that it knows where it is used, and there browsers put it together with three
    /// instructions in each turn; what it does not know stays in a register.
    #[inline(always)]
    pub fn kept() -> Self {
        hidden(Self { halves: H::new(), nibble: Mask::of(15) })
    }
}

/// The same, of which the compiler knows nothing.
#[inline(always)]
pub(crate) fn hidden<T>(what: T) -> T {
    std::hint::black_box(what)
}

/// Some bits of each byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask(u32x4);

impl Mask {
    /// Those of this byte.
    #[inline(always)]
    pub fn of(byte: u8) -> Self {
        Self(u32x4::splat(u32::from_ne_bytes([byte; 4])))
    }
}

/// Sixteen bytes: of each of four rows four neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bytes(pub u32x4);

impl Bytes {
    /// Bits of each byte from bit `first` on, as far as `mask`, which is no wider than they are, has them.
    #[inline(always)]
    pub fn field(self, first: u32, mask: Mask) -> Self {
        Self(self.0 >> first & mask.0)
    }

    /// The bytes, whose upper bits are zero, that many bits further up.
    #[inline(always)]
    pub fn raised(self, bits: u32) -> Self {
        Self(self.0 << bits)
    }

    /// Each row's four bits from bit `first` on as bytes of 0 and 1.
    #[inline(always)]
    pub fn spread(self, first: u32) -> Self {
        let four = self.0 >> first & 15;
        let pairs = four | four << 14;
        Self((pairs | pairs << 7) & Mask::of(1).0)
    }

    /// For each byte, which is below 16, the number of that place in a table.
    #[inline(always)]
    pub fn numbers(self, table: &[i8; 16]) -> Signed {
        let places: u8x16 = bytemuck::cast(self.0);
        Self(bytemuck::cast(i8x16::new(*table).shuffle(places))).signed()
    }

    /// The bytes, which count as signed.
    #[inline(always)]
    pub fn signed(self) -> Signed {
        Signed(self)
    }
}

impl std::ops::BitOr for Bytes {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Bytes of -127 to 127. Relaxed vectors take -128, which no quantiser of ours or of ggml's writes, for -127 where a level is negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Signed(Bytes);

/// Four quants of each row, to be multiplied with as many levels.
pub(crate) trait Quants: Copy {
    /// The products with the `four`th four levels of sixteen, each row's in sum and in addition.
    fn dot(self, levels: &Levels, four: usize, sum: i32x4) -> i32x4;
}

/// Bytes below 128.
impl Quants for Bytes {
    #[inline(always)]
    fn dot(self, levels: &Levels, four: usize, sum: i32x4) -> i32x4 {
        levels.dot(four, self, sum)
    }
}

impl Quants for Signed {
    #[inline(always)]
    fn dot(self, levels: &Levels, four: usize, sum: i32x4) -> i32x4 {
        levels.signed_dot(four, self.0, sum)
    }
}

/// A lane's number in all lanes.
#[inline(always)]
fn splat(lanes: i32x4, lane: usize) -> i32x4 {
    i32x4::splat(lanes.to_array()[lane])
}

#[cfg(not(target_feature = "relaxed-simd"))]
mod levels {
    use super::{Bytes, splat};
    use wide::{i8x16, i16x8, i32x4, u16x8};

    /// Sixteen neighbours of a vector in 8 bits, as the product takes them: of each four, those at even places apart from those at odd
    /// ones, and as wide as the processor multiplies.
    #[derive(Debug, Clone, Copy, PartialEq, Default)]
    pub(crate) struct Levels {
        even: i32x4,
        odd: i32x4,
    }

    impl Levels {
        /// Levels in order, each of -127 to 127.
        #[inline(always)]
        pub fn new(levels: i8x16) -> Self {
            let pairs: i16x8 = bytemuck::cast(levels);
            Self { even: bytemuck::cast(pairs << 8 >> 8), odd: bytemuck::cast(pairs >> 8) }
        }

        /// Four of them with bytes below 128.
        #[inline(always)]
        pub fn dot(&self, four: usize, Bytes(bytes): Bytes, sum: i32x4) -> i32x4 {
            let bytes: u16x8 = bytemuck::cast(bytes);
            self.products(four, halves(bytes & u16x8::splat(0xff)), halves(bytes >> 8), sum)
        }

        /// Four of them with bytes that count as signed.
        #[inline(always)]
        pub fn signed_dot(&self, four: usize, Bytes(bytes): Bytes, sum: i32x4) -> i32x4 {
            let bytes: u16x8 = bytemuck::cast(bytes);
            self.products(four, halves(bytes << 8) >> 8, halves(bytes) >> 8, sum)
        }

        #[inline(always)]
        fn products(&self, four: usize, even: i16x8, odd: i16x8, sum: i32x4) -> i32x4 {
            let [of_even, of_odd] = [self.even, self.odd].map(|fours| bytemuck::cast(splat(fours, four)));
            sum + even.dot(of_even) + odd.dot(of_odd)
        }
    }

    #[inline(always)]
    fn halves(bytes: u16x8) -> i16x8 {
        bytemuck::cast(bytes)
    }
}

/// The products of bytes that WebAssembly leaves to the processor where one of both has no more than seven bits.
#[cfg(target_feature = "relaxed-simd")]
mod levels {
    use super::{Bytes, splat};
    use core::arch::wasm32::{i8x16_sub_sat, i32x4_relaxed_dot_i8x16_i7x16_add, v128, v128_xor};
    use wide::{i8x16, i32x4};

    /// Sixteen neighbours of a vector in 8 bits, as they are, and what is left without their signs: four to a number.
    #[derive(Debug, Clone, Copy, PartialEq, Default)]
    pub(crate) struct Levels {
        levels: i32x4,
        magnitudes: i32x4,
        /// All bits of those that are negative.
        signs: i32x4,
    }

    impl Levels {
        /// Levels in order, each of -127 to 127.
        #[inline(always)]
        pub fn new(levels: i8x16) -> Self {
            let [levels, magnitudes, signs] =
                [levels, levels.abs(), levels.simd_lt(i8x16::ZERO)].map(bytemuck::cast::<i8x16, i32x4>);
            Self { levels, magnitudes, signs }
        }

        /// Four of them with bytes below 128.
        #[inline(always)]
        pub fn dot(&self, four: usize, Bytes(bytes): Bytes, sum: i32x4) -> i32x4 {
            dot(of_four(self.levels, four), bytemuck::cast(bytes), sum)
        }

        /// Four of them with bytes that count as signed.
        #[inline(always)]
        pub fn signed_dot(&self, four: usize, Bytes(bytes): Bytes, sum: i32x4) -> i32x4 {
            // The levels' signs go over to the bytes: of each row that meets them, that takes two instructions.
            let signs = of_four(self.signs, four);
            let bytes = i8x16_sub_sat(v128_xor(bytemuck::cast(bytes), signs), signs);
            dot(bytes, of_four(self.magnitudes, four), sum)
        }
    }

    #[inline(always)]
    fn of_four(fours: i32x4, four: usize) -> v128 {
        bytemuck::cast(splat(fours, four))
    }

    #[inline(always)]
    fn dot(signed: v128, magnitudes: v128, sum: i32x4) -> i32x4 {
        bytemuck::cast(i32x4_relaxed_dot_i8x16_i7x16_add(signed, magnitudes, bytemuck::cast(sum)))
    }
}
pub(crate) use levels::Levels;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: [u8; 16]) -> Bytes {
        Bytes(bytemuck::cast(bytes))
    }

    #[test]
    fn bytes_are_taken_apart() {
        let all: [u8; 16] = std::array::from_fn(|i| (i * 37 + 11) as u8);
        for first in 0..8 {
            let mask = 0xff >> first & 3;
            let expected = bytes(all.map(|byte| byte >> first & mask));
            assert_eq!(bytes(all).field(first, Mask::of(mask)), expected, "from bit {first}");
        }
        assert_eq!(bytes(all.map(|byte| byte & 3)).raised(4), bytes(all.map(|byte| (byte & 3) << 4)));
        let bits = |r: usize| u32::from_le_bytes(all[4 * r..4 * r + 4].try_into().unwrap());
        for first in [0, 4, 12, 28] {
            let expected = std::array::from_fn(|i| (bits(i / 4) >> (first + i as u32 % 4) & 1) as u8);
            assert_eq!(bytes(all).spread(first), bytes(expected), "from bit {first}");
        }
    }

    #[test]
    fn a_table_is_looked_up() {
        let table: [i8; 16] = std::array::from_fn(|i| (16 * i as i32 - 127) as i8);
        let places: [u8; 16] = std::array::from_fn(|i| (i * 7 % 16) as u8);
        let expected = bytes(places.map(|place| table[usize::from(place)] as u8)).signed();
        assert_eq!(bytes(places).numbers(&table), expected);
    }

    /// What four of each row's bytes and sixteen levels come to, the four levels from `4 * four` on.
    fn dot<Q: Quants>(quants: Q, levels: &[i8; 16], four: usize) -> [i32; 4] {
        (quants.dot(&Levels::new(i8x16::new(*levels)), four, i32x4::splat(5)) - i32x4::splat(5)).to_array()
    }

    #[test]
    fn products_of_the_largest_numbers_are_whole() {
        for (byte, level) in [(-127_i8, -127_i8), (-127, 127), (127, 127), (127, -127), (-1, 1)] {
            let expected = [4 * i32::from(byte) * i32::from(level); 4];
            assert_eq!(dot(bytes([byte as u8; 16]).signed(), &[level; 16], 3), expected);
        }
        for (byte, level) in [(127, -127), (127, 127), (15, 1)] {
            assert_eq!(dot(bytes([byte; 16]), &[level; 16], 0), [4 * i32::from(byte) * i32::from(level); 4]);
        }
    }

    #[test]
    fn each_byte_meets_the_level_of_its_place() {
        let levels: [i8; 16] = std::array::from_fn(|i| i as i8 * 8 - 60);
        for (place, four) in (0..16).zip([0, 1, 2, 3].into_iter().cycle()) {
            let mut one = [0; 16];
            one[place] = 3;
            let mut expected = [0; 4];
            expected[place / 4] = 3 * i32::from(levels[4 * four + place % 4]);
            assert_eq!(dot(bytes(one), &levels, four), expected);
            assert_eq!(dot(bytes(one).signed(), &levels, four), expected);
            one[place] = -3_i8 as u8;
            assert_eq!(dot(bytes(one).signed(), &levels, four), expected.map(|sum| -sum));
        }
    }
}
