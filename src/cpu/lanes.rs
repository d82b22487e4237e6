//! Vectors of the processor: sixteen quants, and their products with an activation's levels.
//!
//! But for what relaxed vectors add, all of it is `wide`'s, which stands for SSE2, NEON or WebAssembly's simd128, whichever the build has, and for plain arrays elsewhere.

use wide::{f32x4, i8x16, i16x8, i32x4, u8x16, u16x8};

/// What a loop needs in each turn, hidden from the compiler. It would write a vector that it knows where it is used, and there browsers
/// put it together with three instructions in each turn; what it does not know stays in a register.
#[inline(always)]
pub(crate) fn kept<T>(constants: T) -> T {
    std::hint::black_box(constants)
}

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
        self.masked(first, u16x8::splat(u16::from_ne_bytes([mask; 2])))
    }

    #[inline(always)]
    fn masked(self, first: u32, mask: u16x8) -> Self {
        Self(self.0 >> first & mask)
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

    /// Each byte's four bits from bit `first` on.
    #[inline(always)]
    pub fn nibbles(self, first: u32) -> Nibbles {
        Nibbles { bytes: self, first }
    }
}

/// Sixteen quants, to be multiplied with as many levels.
pub(crate) trait Quants: Copy {
    /// What its products need each time.
    type Constants: Copy;

    /// For loops, to be [`kept`].
    fn constants() -> Self::Constants;

    /// A sum in four parts, and the products in addition.
    fn dot(self, levels: &Levels, sum: i32x4, constants: Self::Constants) -> i32x4;

    /// The sum of each vector's lanes, in a lane of its own. Each vector is what `dot` gave for 32 quants at most, from zero on.
    #[inline(always)]
    fn lane_sums(dots: [i32x4; 4], _: Self::Constants) -> i32x4 {
        let [a, b, c, d] = f32x4::transpose(bytemuck::cast(dots)).map(bytemuck::cast::<f32x4, i32x4>);
        a + b + (c + d)
    }
}

/// Nibbles of 0 to 15 that are still in their bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nibbles {
    bytes: Bytes,
    first: u32,
}

/// What [`Nibbles`] need.
#[derive(Clone, Copy)]
pub(crate) struct NibbleConstants {
    /// Of the four lower bits of each byte.
    mask: u16x8,
    one: i16x8,
}

impl Nibbles {
    /// A byte of each.
    #[inline(always)]
    pub fn bytes(self) -> Bytes {
        self.bytes.field(self.first, 15)
    }
}

impl Quants for Nibbles {
    type Constants = NibbleConstants;

    #[inline(always)]
    fn constants() -> NibbleConstants {
        NibbleConstants { mask: u16x8::splat(0x0f0f), one: i16x8::ONE }
    }

    #[inline(always)]
    fn dot(self, levels: &Levels, sum: i32x4, NibbleConstants { mask, .. }: NibbleConstants) -> i32x4 {
        levels.dot(self.bytes.masked(self.first, mask), sum)
    }

    #[inline(always)]
    fn lane_sums([a, b, c, d]: [i32x4; 4], NibbleConstants { one, .. }: NibbleConstants) -> i32x4 {
        // 16 products with levels, each of 15 * 127 at most, fit 16 bits in sum.
        let pair_sums = |lanes: [i32x4; 2]| i16x8::from_i32x8_saturate(bytemuck::cast(lanes)).dot(one);
        pair_sums([pair_sums([a, b]), pair_sums([c, d])])
    }
}

/// Bytes of -127 to 127. Relaxed vectors take -128, which no quantiser of ours or of ggml's writes, for -127 where a level is negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Signed(Bytes);

/// Bytes below 128.
impl Quants for Bytes {
    type Constants = ();

    fn constants() {}

    #[inline(always)]
    fn dot(self, levels: &Levels, sum: i32x4, (): ()) -> i32x4 {
        levels.dot(self, sum)
    }
}

impl Quants for Signed {
    type Constants = ();

    fn constants() {}

    #[inline(always)]
    fn dot(self, levels: &Levels, sum: i32x4, (): ()) -> i32x4 {
        levels.signed_dot(self.0, sum)
    }
}

impl std::ops::BitOr for Bytes {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(not(target_feature = "relaxed-simd"))]
mod levels {
    use super::Bytes;
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

        /// With bytes below 128.
        #[inline(always)]
        pub fn dot(&self, Bytes(bytes): Bytes, sum: i32x4) -> i32x4 {
            self.products(halves(bytes & u16x8::splat(0xff)), halves(bytes >> 8), sum)
        }

        /// With bytes that count as signed.
        #[inline(always)]
        pub fn signed_dot(&self, Bytes(bytes): Bytes, sum: i32x4) -> i32x4 {
            self.products(halves(bytes << 8) >> 8, halves(bytes) >> 8, sum)
        }

        #[inline(always)]
        fn products(&self, even: i16x8, odd: i16x8, sum: i32x4) -> i32x4 {
            sum + even.dot(self.even) + odd.dot(self.odd)
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
    use super::Bytes;
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

        /// With bytes below 128.
        #[inline(always)]
        pub fn dot(&self, Bytes(bytes): Bytes, sum: i32x4) -> i32x4 {
            dot(bytemuck::cast(self.levels), bytemuck::cast(bytes), sum)
        }

        /// With bytes that count as signed.
        #[inline(always)]
        pub fn signed_dot(&self, Bytes(bytes): Bytes, sum: i32x4) -> i32x4 {
            // The levels' signs go over to the bytes: of each row that meets them, that takes two instructions.
            let signs = bytemuck::cast(self.signs);
            let bytes = i8x16_sub_sat(v128_xor(bytemuck::cast(bytes), signs), signs);
            dot(bytes, bytemuck::cast(self.magnitudes), sum)
        }
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

    fn dot<Q: Quants>(quants: Q, levels: &[i8; 16]) -> i32 {
        quants.dot(&Levels::new(i8x16::new(*levels)), i32x4::splat(5), Q::constants()).reduce_add() - 20
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
        assert_eq!(dot(bytes([0x6f; 16]).nibbles(0), &[-127; 16]), -16 * 15 * 127);
        assert_eq!(dot(bytes([0xf6; 16]).nibbles(4), &[-127; 16]), -16 * 15 * 127);
        // Each byte meets the level of its own place.
        let levels: [i8; 16] = std::array::from_fn(|i| i as i8 * 8 - 60);
        for place in 0..16 {
            let mut one = [0; 16];
            one[place] = 3;
            assert_eq!(dot(bytes(one), &levels), 3 * i32::from(levels[place]));
            assert_eq!(dot(bytes(one).signed(), &levels), 3 * i32::from(levels[place]));
        }
    }

    fn lane_sums<Q: Quants>(quants: [Q; 4], level: i8) -> [i32; 4] {
        let (levels, constants) = (Levels::new(i8x16::splat(level)), Q::constants());
        let dots = quants.map(|quants| quants.dot(&levels, quants.dot(&levels, i32x4::ZERO, constants), constants));
        Q::lane_sums(dots, constants).to_array()
    }

    #[test]
    fn lanes_of_32_quants_are_summed_up() {
        for level in [-127, 127, 3] {
            let sums = [15, 0, 1, 14].map(|byte| 32 * byte * i32::from(level));
            let quants = [15, 0, 1, 14].map(|byte| bytes([byte; 16]));
            assert_eq!(lane_sums(quants, level), sums);
            assert_eq!(lane_sums(quants.map(Bytes::signed), level), sums);
            assert_eq!(lane_sums(quants.map(|bytes| bytes.nibbles(0)), level), sums);
        }
        assert_eq!(
            lane_sums([-127_i8, 127, 0, -1].map(|byte| bytes([byte as u8; 16]).signed()), -127)[..2],
            [32 * 127 * 127, -32 * 127 * 127]
        );
    }
}
