//! Owns chance: every random choice of the simulator is thrown here. Promises that a seed throws the same on every
//! platform: ChaCha and whole numbers only. Refuses the clock, the system's entropy and floating point.

use crate::domain::time::Span;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of random choices.
#[derive(Clone, Debug)]
pub(super) struct Dice(ChaCha8Rng);

/// The exponential distribution with mean 1000, cut at fifteen sixteenths: ends of sixteen equally likely intervals.
const EXPONENTIAL: [i64; 17] = [0, 65, 134, 208, 288, 375, 470, 575, 693, 827, 981, 1163, 1386, 1674, 2079, 2773, 4750];

impl Dice {
    /// The stream of a seed; `stream` tells apart those who throw.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&stream.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 0 to `n` − 1, or 0 for no choice.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        // The bias is under n / 2³²: nobody will see it.
        ((u64::from(self.0.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// `low` to `high`, both included; they are less than 2³² apart.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::from(self.below((high - low + 1).clamp(1, i64::from(u32::MAX)) as u32))
    }

    /// `low` to `high`, both included.
    pub(super) fn span(&mut self, low: Span, high: Span) -> Span {
        Span(self.between(low.0, high.0))
    }

    /// Up to but not including `limit`.
    pub(super) fn span_below(&mut self, limit: Span) -> Span {
        Span(i64::from(self.below(limit.0.clamp(0, i64::from(u32::MAX)) as u32)))
    }

    /// True in `percent` of all throws.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// True in `share` of 2³² throws.
    pub(super) fn rarely(&mut self, share: u32) -> bool {
        self.0.next_u32() < share
    }

    /// One of them, equally likely.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[self.below(N as u32) as usize]
    }

    /// How long until the next of many independent arrivals, `mean` (under 10¹⁴) being the average.
    pub(super) fn wait(&mut self, mean: i64) -> i64 {
        let throw = self.0.next_u32();
        let interval = (throw >> 28) as usize;
        let (low, high) = (EXPONENTIAL[interval], EXPONENTIAL[interval + 1]);
        let inside = i64::from(throw & 0x0fff_ffff);
        let thousandths = low * 16 + (((high - low) * 16 * inside) >> 28);
        mean * thousandths / 16_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_have_their_mean() {
        let mut dice = Dice::new(1, 0);
        for mean in [50, 1_000_000, 60_000_000_000] {
            let sum: i64 = (0..40_000).map(|_| dice.wait(mean)).sum();
            let found = sum / 40_000;
            assert!((found - mean).abs() * 50 <= mean.max(50), "{found} for {mean}");
        }
    }

    #[test]
    fn throws_stay_inside() {
        let mut dice = Dice::new(2, 0);
        let throws: Vec<i64> = (0..1000).map(|_| dice.between(-2, 2)).collect();
        assert_eq!((throws.iter().min(), throws.iter().max()), (Some(&-2), Some(&2)));
        assert_eq!((dice.below(0), dice.below(1), dice.span_below(Span::ZERO)), (0, 0, Span::ZERO));
        assert!(!dice.chance(0) && dice.chance(100) && !dice.rarely(0));
    }

    #[test]
    fn streams_of_one_seed_differ() {
        let throws = |stream| {
            let mut dice = Dice::new(7, stream);
            [dice.below(1 << 31), dice.below(1 << 31)]
        };
        assert_eq!(throws(0), throws(0));
        assert_ne!(throws(0), throws(1));
    }
}
