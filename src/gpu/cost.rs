//! What a dispatch costs at least, whatever the device: the bytes that it moves and the products that it adds up.

use std::iter::Sum;
use std::ops::Add;

use serde::Serialize;

/// What one run of a program computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Tokens in the cache before.
    pub position: usize,
    /// Tokens computed.
    pub tokens: usize,
}

impl Run {
    /// Positions that the last token attends to: all that are read.
    pub fn positions(self) -> usize {
        self.position + self.tokens
    }

    /// Positions that each token attends to, added up.
    pub fn attended(self) -> usize {
        self.tokens * self.position + self.tokens * (self.tokens + 1) / 2
    }
}

/// The least that a dispatch reads, writes and computes. What lies in a buffer is counted once, however often it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Bytes of weights to read, in the bits that they are stored in on the device.
    pub weight_bytes: u64,
    /// Bytes to read and write in all: weights, cached keys and values, activations.
    pub bytes: u64,
    /// Multiplications and additions of products and attention; the little that is done once a number is left out.
    pub flops: u64,
}

impl Cost {
    /// Weights that are read.
    pub fn weights(bytes: u64) -> Self {
        Self { weight_bytes: bytes, bytes, flops: 0 }
    }

    /// 32-bit activations that are read or written.
    pub fn values(count: usize) -> Self {
        Self::moved(4 * count as u64)
    }

    /// Bytes that are read or written and are no weights.
    pub fn moved(bytes: u64) -> Self {
        Self { weight_bytes: 0, bytes, flops: 0 }
    }

    /// Products that are added up: two operations each. A chunk has more of them than 32 bits can count.
    pub fn multiply_adds(count: u64) -> Self {
        Self { flops: 2 * count, ..Self::default() }
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            weight_bytes: self.weight_bytes + other.weight_bytes,
            bytes: self.bytes + other.bytes,
            flops: self.flops + other.flops,
        }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Self::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_attends_to_those_before_it_and_to_itself() {
        for run in [Run { position: 0, tokens: 1 }, Run { position: 7, tokens: 1 }, Run { position: 5, tokens: 9 }] {
            let attended: usize = (0..run.tokens).map(|token| run.position + token + 1).sum();
            assert_eq!(run.attended(), attended);
            assert_eq!(run.positions(), run.position + run.tokens);
        }
    }

    #[test]
    fn costs_add_up() {
        let costs = [Cost::weights(3), Cost::values(2), Cost::moved(5), Cost::multiply_adds(7)];
        assert_eq!(costs.into_iter().sum::<Cost>(), Cost { weight_bytes: 3, bytes: 16, flops: 14 });
    }
}
