//! Owns histograms of lags: sparse, mergeable and exactly subtractable. Promises the same bins for the same lags on every
//! machine (integers only), quantiles to within 0.4 %, and exact removal: subtracting what was added restores the
//! histogram. Negative lags count as 0.
//!
//! **Bins.** Lags are whole milliseconds. Below 128 every lag has its own bin. From there on every octave [2ᵏ, 2ᵏ⁺¹),
//! k ≥ 7, is divided into 128 bins of equal width w = 2ᵏ⁻⁷, the first beginning at 2ᵏ = 128 w. (So lags below 256 also
//! have their own bins: w = 1.)
//!
//! **Error.** A bin [l, l + w) is represented by m = l + ⌊(w − 1) / 2⌋. For a lag v in it with w ≥ 2, |m − v| ≤ w / 2,
//! and v ≥ l ≥ 128 w; if |m − v| = w / 2, v is the last lag of the bin and greater than l. So |m − v| / v <
//! (w / 2) / (128 w) = 1 / 256, less than 0.4 %. The nearest rank selects one lag and finds exactly its bin, so the error
//! of a quantile is the error of its bin.

use crate::domain::time::Span;

/// A histogram of lags.
///
/// Counts may be negative temporarily, when a retraction arrives before the lag that it retracts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Bin and its number of lags; ordered by bin, never 0.
    bins: Vec<(u16, i32)>,
    count: i64,
    /// Their sum in milliseconds.
    sum: i128,
}

/// Bins per octave, as a power of two.
const BITS: u32 = 7;

/// The bin of a lag in milliseconds; the lag must not be negative.
const fn bin(lag: i64) -> u16 {
    // Width of the bin, as a power of two.
    let width = (lag | 1).ilog2().saturating_sub(BITS);
    (((width as i64) << BITS) + (lag >> width)) as u16
}

/// The lag in milliseconds that represents a bin; `bin` must not exceed that of `i64::MAX`, 7295.
fn representative(bin: u16) -> i64 {
    let width = (u32::from(bin) >> BITS).saturating_sub(1);
    let start = (i64::from(bin) - (i64::from(width) << BITS)) << width;
    start + ((1 << width) - 1) / 2
}

impl Histogram {
    /// Adds a lag `times` times; a negative number removes it. A negative lag counts as 0.
    ///
    /// A bin holds at most 2³¹ − 1 lags; beyond that its weight in quantiles no longer grows.
    pub fn add(&mut self, lag: Span, times: i64) {
        if times == 0 {
            return;
        }
        let lag = lag.0.max(0);
        self.count += times;
        self.sum += i128::from(lag) * i128::from(times);
        let bin = bin(lag);
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(at) => {
                self.bins[at].1 = saturating_count(self.bins[at].1, times);
                if self.bins[at].1 == 0 {
                    self.bins.remove(at);
                    self.release_memory();
                }
            }
            Err(at) => self.bins.insert(at, (bin, saturating_count(0, times))),
        }
    }

    /// Adds all lags of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.combine(&other.bins, 1);
    }

    /// Subtracts all lags of `other`, the exact inverse of [`Histogram::merge`].
    pub fn subtract(&mut self, other: &Self) {
        self.count -= other.count;
        self.sum -= other.sum;
        self.combine(&other.bins, -1);
    }

    /// Number of lags.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// The mean lag in seconds; `None` without lags.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64 / 1000.0)
    }

    /// The lag of rank ⌈`q` · n⌉, to within 0.4 %; `q` is clamped to 0..1. `None` without lags.
    ///
    /// `q` is interpreted as the decimal fraction that was written: 0.07 of 100 is the 7th lag, although the binary
    /// value of 0.07 is slightly larger.
    pub fn quantile(&self, q: f64) -> Option<Span> {
        if self.count <= 0 {
            return None;
        }
        let exact = q * self.count as f64;
        let whole = exact.round();
        let rank = if (exact - whole).abs() <= whole * 4.0 * f64::EPSILON { whole } else { exact.ceil() };
        let rank = (rank as i64).clamp(1, self.count);
        let mut cumulative = 0;
        let found = self.bins.iter().find(|(_, count)| {
            cumulative += i64::from(*count);
            cumulative >= rank
        });
        found.or(self.bins.last()).map(|(bin, _)| Span(representative(*bin)))
    }

    /// Adds `sign` times the bins of another histogram in place: first updates the bins that both have and counts the
    /// missing ones, then merges the missing ones in from the end.
    fn combine(&mut self, others: &[(u16, i32)], sign: i64) {
        let mut position = 0;
        let mut missing = 0;
        let mut emptied = false;
        for &(bin, count) in others {
            while self.bins.get(position).is_some_and(|(existing, _)| *existing < bin) {
                position += 1;
            }
            match self.bins.get_mut(position) {
                Some((existing, sum)) if *existing == bin => {
                    *sum = saturating_count(*sum, sign * i64::from(count));
                    emptied |= *sum == 0;
                }
                _ => missing += 1,
            }
        }
        if missing > 0 {
            let mut from = self.bins.len();
            self.bins.resize(from + missing, (0, 0));
            let mut to = self.bins.len();
            for &(bin, count) in others.iter().rev() {
                while from > 0 && self.bins[from - 1].0 > bin {
                    (from, to) = (from - 1, to - 1);
                    self.bins[to] = self.bins[from];
                }
                if from == 0 || self.bins[from - 1].0 != bin {
                    to -= 1;
                    self.bins[to] = (bin, saturating_count(0, sign * i64::from(count)));
                }
                if from == to {
                    break;
                }
            }
        }
        if emptied {
            self.bins.retain(|(_, count)| *count != 0);
            self.release_memory();
        }
    }

    /// Releases memory when most of it is unused.
    fn release_memory(&mut self) {
        if self.bins.len() <= self.bins.capacity() / 4 {
            self.bins.shrink_to(self.bins.len() * 2);
        }
    }
}

/// The sum of two lag counts, saturating at the range of a bin.
fn saturating_count(existing: i32, more: i64) -> i32 {
    i64::from(existing).saturating_add(more).clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(lags: &[i64]) -> Histogram {
        let mut histogram = Histogram::default();
        for lag in lags {
            histogram.add(Span(*lag), 1);
        }
        histogram
    }

    /// Whether `estimate` is within the promised error of `exact`: at most 1/256 of it.
    fn within_error(estimate: i64, exact: i64) -> bool {
        (i128::from(estimate) - i128::from(exact)).abs() * 256 <= i128::from(exact)
    }

    /// Lags of every magnitude.
    fn any_lag() -> impl Strategy<Value = i64> {
        let any = (0..=i64::MAX, 0..63).prop_map(|(lag, bits)| lag >> bits);
        prop_oneof![4 => 0..2000_i64, 4 => 0..Span::DAY.0, 1 => any]
    }

    #[test]
    fn bins_are_ordered_and_contain_their_representatives() {
        let mut before = None;
        for octave in 0..63 {
            for step in 0..512 {
                let lag = (1_i64 << octave) + ((1_i128 << octave) * step / 512) as i64;
                assert!(
                    within_error(representative(bin(lag)), lag),
                    "{lag} is represented by {}",
                    representative(bin(lag))
                );
                assert_eq!(bin(representative(bin(lag))), bin(lag), "{lag}");
                assert!(before <= Some(bin(lag)), "{lag}");
                before = Some(bin(lag));
            }
        }
        for lag in 0..256 {
            assert_eq!(representative(bin(lag)), lag);
        }
        assert_eq!((bin(255), bin(256), bin(257), bin(258)), (255, 256, 256, 257));
        assert_eq!(bin(i64::MAX), 7295);
    }

    #[test]
    fn an_empty_histogram_has_no_figures_and_no_memory() {
        let mut empty = Histogram::default();
        assert_eq!((empty.count(), empty.sum, empty.mean(), empty.quantile(0.5)), (0, 0, None, None));
        assert_eq!(empty, Histogram::default());
        empty.add(Span(5), 0);
        assert_eq!(empty.bins.capacity(), 0);
        empty.add(Span(5), 1);
        empty.add(Span(5), -1);
        assert_eq!(empty.bins.capacity(), 0);
        assert_eq!(empty, Histogram::default());
    }

    #[test]
    fn quantiles_use_the_nearest_rank_of_the_decimal_fraction() {
        let hundred: Vec<i64> = (1..=100).collect();
        let hundred = histogram(&hundred);
        for percent in 1..=100 {
            assert_eq!(hundred.quantile(percent as f64 / 100.0), Some(Span(percent)), "{percent} %");
        }
        for (q, lag) in [(0.0, 1), (-1.0, 1), (0.001, 1), (0.011, 2), (0.9901, 100), (2.0, 100), (f64::NAN, 1)] {
            assert_eq!(hundred.quantile(q), Some(Span(lag)), "{q}");
        }
        assert_eq!(histogram(&[10, 20, 30]).quantile(0.5), Some(Span(20)));
        assert_eq!(histogram(&[10, 20]).quantile(0.5), Some(Span(10)));
        assert_eq!(hundred.mean(), Some(0.0505));
    }

    #[test]
    fn extreme_lags_and_counts_saturate() {
        let mut extreme = Histogram::default();
        extreme.add(Span(-5), 1);
        extreme.add(Span(i64::MAX), 1000);
        assert_eq!((extreme.count(), extreme.sum), (1001, i128::from(i64::MAX) * 1000));
        assert_eq!(extreme.quantile(0.0), Some(Span(0)));
        assert!(within_error(extreme.quantile(1.0).map_or(0, |lag| lag.0), i64::MAX));
        extreme.add(Span(7), i64::from(i32::MAX) + 10);
        assert_eq!(extreme.bins[1], (7, i32::MAX));
        assert_eq!(extreme.quantile(1e-12), Some(Span(0)));
    }

    #[test]
    fn a_retraction_may_arrive_first() {
        let mut early = Histogram::default();
        early.add(Span(1000), -1);
        assert_eq!((early.count(), early.quantile(0.5), early.mean()), (-1, None, None));
        early.merge(&histogram(&[1000, 2000]));
        assert_eq!(early, histogram(&[2000]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn quantiles_are_within_the_error_bound_of_the_sorted_lags(
            mut lags in prop::collection::vec(any_lag(), 1..200), percent in 1_usize..=100,
        ) {
            let histogram = histogram(&lags);
            lags.sort_unstable();
            let exact = lags[(percent * lags.len()).div_ceil(100) - 1];
            let estimate = histogram.quantile(percent as f64 / 100.0).expect("lags").0;
            prop_assert!(within_error(estimate, exact), "{} for {}", estimate, exact);
            prop_assert_eq!(histogram.count(), lags.len() as i64);
            prop_assert_eq!(histogram.sum, lags.iter().map(|lag| i128::from(*lag)).sum::<i128>());
        }

        #[test]
        fn merging_pools_lags_and_subtracting_undoes_it(
            left in prop::collection::vec(any_lag(), 0..120), right in prop::collection::vec(any_lag(), 0..40),
        ) {
            let (first, second) = (histogram(&left), histogram(&right));
            let mut both = first.clone();
            both.merge(&second);
            prop_assert_eq!(&both, &histogram(&[left, right].concat()));
            prop_assert!(both.bins.is_sorted_by(|one, next| one.0 < next.0));
            both.subtract(&first);
            prop_assert_eq!(&both, &second);
            both.subtract(&second);
            prop_assert_eq!(&both, &Histogram::default());
            prop_assert_eq!(both.bins.capacity(), 0);
            both.subtract(&first);
            both.merge(&first);
            prop_assert_eq!(&both, &Histogram::default());
        }

        #[test]
        fn removing_undoes_adding(
            kept in prop::collection::vec((any_lag(), 1_i64..5), 0..60),
            removed in prop::collection::vec((any_lag(), 1_i64..5), 0..60),
        ) {
            let mut expected = Histogram::default();
            kept.iter().for_each(|(lag, times)| expected.add(Span(*lag), *times));
            let mut histogram = expected.clone();
            removed.iter().for_each(|(lag, times)| histogram.add(Span(*lag), *times));
            removed.iter().rev().for_each(|(lag, times)| histogram.add(Span(*lag), -times));
            prop_assert_eq!(&histogram, &expected);
        }
    }
}
