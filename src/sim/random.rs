//! The simulator's random numbers: the same for a seed on every platform.
//!
//! ChaCha and integer arithmetic only: no clock, no system entropy, no floating point.

use crate::domain::time::Span;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of random choices.
#[derive(Clone, Debug)]
pub(super) struct Random(ChaCha8Rng);

/// Quantiles of the exponential distribution with mean 1000 in steps of 1/16, the last one cut off: the ends of sixteen
/// equally likely intervals.
const EXPONENTIAL: [i64; 17] = [0, 65, 134, 208, 288, 375, 470, 575, 693, 827, 981, 1163, 1386, 1674, 2079, 2773, 4750];

impl Random {
    /// The stream of a seed; `stream` selects an independent sequence per user.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&stream.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 0 to `n` − 1; 0 if `n` is 0.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        // The bias is below n / 2³² and does not matter here.
        ((u64::from(self.0.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// `low` to `high`, inclusive; they must be less than 2³² apart.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::from(self.below((high - low + 1).clamp(1, i64::from(u32::MAX)) as u32))
    }

    /// `low` to `high`, inclusive.
    pub(super) fn span(&mut self, low: Span, high: Span) -> Span {
        Span(self.between(low.0, high.0))
    }

    /// 0 to `limit`, exclusive.
    pub(super) fn span_below(&mut self, limit: Span) -> Span {
        Span(i64::from(self.below(limit.0.clamp(0, i64::from(u32::MAX)) as u32)))
    }

    /// True with a probability of `percent`.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// True with a probability of `share` / 2³².
    pub(super) fn chance_fraction(&mut self, share: u32) -> bool {
        self.0.next_u32() < share
    }

    /// One of the values, equally likely.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[self.below(N as u32) as usize]
    }

    /// An exponentially distributed interarrival time with this `mean` (below 10¹⁴).
    pub(super) fn arrival_gap(&mut self, mean: i64) -> i64 {
        let bits = self.0.next_u32();
        let interval = (bits >> 28) as usize;
        let (low, high) = (EXPONENTIAL[interval], EXPONENTIAL[interval + 1]);
        let offset = i64::from(bits & 0x0fff_ffff);
        let thousandths = low * 16 + (((high - low) * 16 * offset) >> 28);
        mean * thousandths / 16_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrival_gaps_have_their_mean() {
        let mut random = Random::new(1, 0);
        for mean in [50, 1_000_000, 60_000_000_000] {
            let sum: i64 = (0..40_000).map(|_| random.arrival_gap(mean)).sum();
            let found = sum / 40_000;
            assert!((found - mean).abs() * 50 <= mean.max(50), "{found} for {mean}");
        }
    }

    #[test]
    fn draws_stay_within_bounds() {
        let mut random = Random::new(2, 0);
        let draws: Vec<i64> = (0..1000).map(|_| random.between(-2, 2)).collect();
        assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&-2), Some(&2)));
        assert_eq!((random.below(0), random.below(1), random.span_below(Span::ZERO)), (0, 0, Span::ZERO));
        assert!(!random.chance(0) && random.chance(100) && !random.chance_fraction(0));
    }

    #[test]
    fn streams_of_one_seed_differ() {
        let draws = |stream| {
            let mut random = Random::new(7, stream);
            [random.below(1 << 31), random.below(1 << 31)]
        };
        assert_eq!(draws(0), draws(0));
        assert_ne!(draws(0), draws(1));
    }
}
