//! Vectors in 8 bits, as the products with quantised weights take them.

use wide::{f32x4, i8x16, i16x8, i32x4};

use super::lanes::Levels;

/// Neighbours that share a scale.
pub(crate) const BLOCK: usize = 32;

/// A block of a vector: each number is near its level times the scale.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Block {
    pub levels: [Levels; 2],
    /// The largest magnitude over 127; not a number where one of the block's is none, so that products are none either.
    pub scale: f32,
    /// What each half of the block is in sum, which the weights' offsets are multiplied with.
    pub sums: [f32; 2],
    /// What all of it is in sum.
    pub sum: f32,
}

impl Block {
    /// Rounds 32 numbers.
    fn of(numbers: &[f32; BLOCK]) -> Self {
        let halves: [[f32x4; 4]; 2] = bytemuck::cast(*numbers);
        // As whole numbers, magnitudes have the same order, and what is no number comes after all of them.
        let magnitude = |four: &f32x4| bytemuck::cast::<f32x4, i32x4>(*four) & i32x4::splat(i32::MAX);
        let most = halves.as_flattened().iter().map(magnitude).fold(i32x4::ZERO, i32x4::max).reduce_max();
        let scale = match f32::from_bits(most as u32) {
            most if most.is_finite() => most / 127.0,
            _ => f32::NAN,
        };
        let inverse = if scale >= f32::MIN_POSITIVE { scale.recip() } else { 0.0 };
        let [(first, first_sum), (last, last_sum)] = halves.map(|fours| {
            let [a, b, c, d] = fours.map(|four| nearest(four * inverse));
            let eights: [i16x8; 2] = [bytemuck::cast([a, b]), bytemuck::cast([c, d])].map(i16x8::from_i32x8_saturate);
            let sum = eights.iter().map(|eight| eight.dot(i16x8::ONE)).fold(i32x4::ZERO, |all, sum| all + sum);
            let levels = i8x16::from_i16x16_saturate(bytemuck::cast(eights));
            (Levels::new(levels), sum.reduce_add() as f32 * scale)
        });
        Self { levels: [first, last], scale, sums: [first_sum, last_sum], sum: first_sum + last_sum }
    }
}

/// The nearest whole numbers, of -127 to 127; of two the even one. Any, where they are none: then the block's scale is none either.
#[inline(always)]
fn nearest(numbers: f32x4) -> i32x4 {
    // Above it, a float has no bits for fractions, and the last ones count wholes: the sum is rounded to them.
    const WHOLE: f32 = 12_582_912.0;
    bytemuck::cast::<f32x4, i32x4>(numbers + f32x4::splat(WHOLE)) - i32x4::splat(WHOLE.to_bits() as i32)
}

/// Rounds vectors whose length is a multiple of 32, one behind the other.
pub(crate) fn round(numbers: &[f32], blocks: &mut Vec<Block>) {
    blocks.clear();
    blocks.extend(numbers.as_chunks().0.iter().map(Block::of));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(numbers: &[f32]) -> Vec<Block> {
        let mut blocks = Vec::new();
        round(numbers, &mut blocks);
        blocks
    }

    #[test]
    fn numbers_go_to_the_nearest_level() {
        let mut numbers = [0.0; 64];
        numbers[..5].copy_from_slice(&[127.0, -127.0, 0.5, 1.5, -63.6]);
        numbers[20] = 3.25;
        let blocks = rounded(&numbers);
        let mut levels = [0; 16];
        levels[..5].copy_from_slice(&[127, -127, 0, 2, -64]);
        assert_eq!((blocks[0].scale, blocks[0].levels[0]), (1.0, Levels::new(i8x16::new(levels))));
        assert_eq!(blocks[0].sums, [-62.0, 3.0]);
        assert_eq!((blocks[1].scale, blocks[1].levels, blocks[1].sums), (0.0, Default::default(), [0.0; 2]));
        let tiny = rounded(&[1e-44; 32])[0];
        assert_eq!((tiny.levels, tiny.sums), (Default::default(), [0.0; 2]), "too small for a scale");
    }

    #[test]
    fn what_is_no_number_makes_none() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut numbers = [1.0; 32];
            numbers[17] = bad;
            assert!(rounded(&numbers)[0].scale.is_nan());
        }
        assert!(rounded(&[f32::MAX; 32])[0].scale.is_finite());
    }
}
