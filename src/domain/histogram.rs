//! Owns histograms of lags: sparse, mergeable, and exactly subtractable. Promises the same bins for the same lags on
//! every machine (integers only) and quantiles to within 0.4 %. Refuses negative lags (they are 0) and to forget: what
//! was added can be taken away again, and then is as if it never was.
//!
//! **Bins.** Lags are whole milliseconds. Below 128 every lag has a bin of its own. From there on every octave
//! [2ᵏ, 2ᵏ⁺¹), k ≥ 7, is cut into 128 bins of equal width w = 2ᵏ⁻⁷, the first beginning at 2ᵏ = 128 w. (So lags below
//! 256 are still alone: w = 1.)
//!
//! **Error.** A bin [l, l + w) is represented by m = l + ⌊(w − 1) / 2⌋. For a lag v in it with w ≥ 2, |m − v| ≤ w / 2,
//! and v ≥ l ≥ 128 w; where |m − v| = w / 2, v is the bin's last and more than l. So |m − v| / v < (w / 2) / (128 w) =
//! 1 / 256, less than 0.4 %. Nearest rank picks one lag, and that lag's bin is the one found: the error of a quantile
//! is its bin's.

use super::time::Span;

/// How many lags there were of about which length.
///
/// Its parts may for a while be less than nothing, when a retraction comes before what it retracts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Bin and how many lags it has; ordered by bin, never 0.
    bins: Vec<(u16, i32)>,
    /// How many lags.
    count: i64,
    /// Their sum in milliseconds.
    sum: i128,
}

/// Bins of an octave, as a power of two.
const BITS: u32 = 7;

/// The bin of the longest lag there is.
const LAST_BIN: u16 = bin(i64::MAX);

/// The bin of a lag in milliseconds, which is not negative.
const fn bin(lag: i64) -> u16 {
    // The width of the bin, as a power of two.
    let width = (lag | 1).ilog2().saturating_sub(BITS);
    (((width as i64) << BITS) + (lag >> width)) as u16
}

/// The lag in milliseconds that stands for a bin, which is not after [`LAST_BIN`].
fn middle(bin: u16) -> i64 {
    let width = (u32::from(bin) >> BITS).saturating_sub(1);
    let start = (i64::from(bin) - (i64::from(width) << BITS)) << width;
    start + ((1 << width) - 1) / 2
}

impl Histogram {
    /// A histogram without lags; it takes no memory of its own.
    pub const fn new() -> Self {
        Self { bins: Vec::new(), count: 0, sum: 0 }
    }

    /// Adds a lag `times` times; a negative number takes it away again. A negative lag is a lag of 0.
    ///
    /// A bin holds up to 2³¹ − 1 lags; beyond that its share in the quantiles no longer grows.
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
                self.bins[at].1 = total(self.bins[at].1, times);
                if self.bins[at].1 == 0 {
                    self.bins.remove(at);
                    self.give_back();
                }
            }
            Err(at) => self.bins.insert(at, (bin, total(0, times))),
        }
    }

    /// Adds all lags of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.combine(&other.bins, 1);
    }

    /// Takes all lags of `other` away: exactly what merging it had added.
    pub fn subtract(&mut self, other: &Self) {
        self.count -= other.count;
        self.sum -= other.sum;
        self.combine(&other.bins, -1);
    }

    /// How many lags there are.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// The sum of the lags in milliseconds, exact.
    pub fn sum(&self) -> i128 {
        self.sum
    }

    /// The mean lag in seconds; `None` without lags.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64 / 1000.0)
    }

    /// The lag of rank ⌈`q` · n⌉, to within 0.4 %; `q` is taken to lie between 0 and 1. `None` without lags.
    ///
    /// `q` is read as the decimal fraction that it was written as: 0.07 of 100 is the 7th, though in binary 0.07 is a
    /// little more than that.
    pub fn quantile(&self, q: f64) -> Option<Span> {
        if self.count <= 0 {
            return None;
        }
        let exact = q * self.count as f64;
        let whole = exact.round();
        let rank = if (exact - whole).abs() <= whole * 4.0 * f64::EPSILON { whole } else { exact.ceil() };
        let rank = (rank as i64).clamp(1, self.count);
        let mut passed = 0;
        let found = self.bins.iter().find(|(_, count)| {
            passed += i64::from(*count);
            passed >= rank
        });
        found.or(self.bins.last()).map(|(bin, _)| Span(middle(*bin)))
    }

    /// Whether nothing was added, or all of it taken away again.
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty() && self.count == 0 && self.sum == 0
    }

    /// The bins that are not empty, in order: number and lags. With [`Histogram::sum`] they are the whole histogram.
    pub fn bins(&self) -> &[(u16, i32)] {
        &self.bins
    }

    /// A histogram from what [`Histogram::bins`] and [`Histogram::sum`] gave; bins that come twice are added,
    /// and one after the last is the last.
    pub fn from_bins(bins: impl IntoIterator<Item = (u16, i32)>, sum: i128) -> Self {
        let mut bins: Vec<(u16, i32)> = bins.into_iter().map(|(bin, count)| (bin.min(LAST_BIN), count)).collect();
        bins.sort_unstable_by_key(|(bin, _)| *bin);
        bins.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = total(kept.1, i64::from(next.1));
            }
            same
        });
        bins.retain(|(_, count)| *count != 0);
        let count = bins.iter().map(|(_, count)| i64::from(*count)).sum();
        Self { bins, count, sum }
    }

    /// Adds `sign` times the bins of another histogram, in place: first those that are here already are counted up and
    /// the others counted, then the tail is moved from behind to make room for them.
    fn combine(&mut self, others: &[(u16, i32)], sign: i64) {
        let mut here = 0;
        let mut missing = 0;
        let mut emptied = false;
        for &(bin, count) in others {
            while self.bins.get(here).is_some_and(|(held, _)| *held < bin) {
                here += 1;
            }
            match self.bins.get_mut(here) {
                Some((held, sum)) if *held == bin => {
                    *sum = total(*sum, sign * i64::from(count));
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
                    self.bins[to] = (bin, total(0, sign * i64::from(count)));
                }
                if from == to {
                    break;
                }
            }
        }
        if emptied {
            self.bins.retain(|(_, count)| *count != 0);
            self.give_back();
        }
    }

    /// Returns memory that is no longer used for the most part.
    fn give_back(&mut self) {
        if self.bins.len() <= self.bins.capacity() / 4 {
            self.bins.shrink_to(self.bins.len() * 2);
        }
    }
}

/// A bin's lags and more, stopping at what it can hold.
fn total(held: i32, more: i64) -> i32 {
    i64::from(held).saturating_add(more).clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(lags: &[i64]) -> Histogram {
        let mut histogram = Histogram::new();
        for lag in lags {
            histogram.add(Span(*lag), 1);
        }
        histogram
    }

    /// Whether `estimate` is as near to `exact` as promised: less than 1/256 of it.
    fn near(estimate: i64, exact: i64) -> bool {
        (i128::from(estimate) - i128::from(exact)).abs() * 256 <= i128::from(exact)
    }

    /// Lags of every magnitude.
    fn any_lag() -> impl Strategy<Value = i64> {
        let any = (0..=i64::MAX, 0..63).prop_map(|(lag, bits)| lag >> bits);
        prop_oneof![4 => 0..2000_i64, 4 => 0..Span::DAY.0, 1 => any]
    }

    #[test]
    fn bins_are_in_order_and_their_middles_in_them() {
        let mut before = None;
        for octave in 0..63 {
            for step in 0..512 {
                let lag = (1_i64 << octave) + ((1_i128 << octave) * step / 512) as i64;
                assert!(near(middle(bin(lag)), lag), "{lag} is shown as {}", middle(bin(lag)));
                assert_eq!(bin(middle(bin(lag))), bin(lag), "{lag}");
                assert!(before <= Some(bin(lag)), "{lag}");
                before = Some(bin(lag));
            }
        }
        for lag in 0..256 {
            assert_eq!(middle(bin(lag)), lag);
        }
        assert_eq!((bin(255), bin(256), bin(257), bin(258)), (255, 256, 256, 257));
        assert_eq!(LAST_BIN, 7295);
        assert_eq!(Histogram::from_bins([(u16::MAX, 2), (7295, 1)], 0).bins(), [(7295, 3)]);
    }

    #[test]
    fn without_lags_there_is_no_figure() {
        let mut empty = Histogram::new();
        assert_eq!((empty.count(), empty.sum(), empty.mean(), empty.quantile(0.5)), (0, 0, None, None));
        assert!(empty.is_empty());
        empty.add(Span(5), 0);
        assert_eq!(empty.bins.capacity(), 0);
        empty.add(Span(5), 1);
        empty.add(Span(5), -1);
        assert_eq!(empty.bins.capacity(), 0);
        assert_eq!(empty, Histogram::new());
    }

    #[test]
    fn the_nearest_rank_is_counted_in_decimals() {
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
    fn extreme_lags_and_numbers_are_held() {
        let mut extreme = Histogram::new();
        extreme.add(Span(-5), 1);
        extreme.add(Span(i64::MAX), 1000);
        assert_eq!((extreme.count(), extreme.sum()), (1001, i128::from(i64::MAX) * 1000));
        assert_eq!(extreme.quantile(0.0), Some(Span(0)));
        assert!(near(extreme.quantile(1.0).map_or(0, |lag| lag.0), i64::MAX));
        extreme.add(Span(7), i64::from(i32::MAX) + 10);
        assert_eq!(extreme.bins()[1], (7, i32::MAX));
        assert_eq!(extreme.quantile(1e-12), Some(Span(0)));
    }

    #[test]
    fn a_retraction_may_come_first() {
        let mut early = Histogram::new();
        early.add(Span(1000), -1);
        assert_eq!((early.count(), early.quantile(0.5), early.mean()), (-1, None, None));
        early.merge(&histogram(&[1000, 2000]));
        assert_eq!(early, histogram(&[2000]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn quantiles_are_near_those_of_the_sorted_lags(
            mut lags in prop::collection::vec(any_lag(), 1..200), percent in 1_usize..=100,
        ) {
            let histogram = histogram(&lags);
            lags.sort_unstable();
            let exact = lags[(percent * lags.len()).div_ceil(100) - 1];
            let estimate = histogram.quantile(percent as f64 / 100.0).expect("lags").0;
            prop_assert!(near(estimate, exact), "{} for {}", estimate, exact);
            prop_assert_eq!(histogram.count(), lags.len() as i64);
            prop_assert_eq!(histogram.sum(), lags.iter().map(|lag| i128::from(*lag)).sum::<i128>());
        }

        #[test]
        fn what_is_merged_is_pooled_and_can_be_taken_away(
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
            prop_assert!(both.is_empty());
            prop_assert_eq!(both.bins.capacity(), 0);
            both.subtract(&first);
            both.merge(&first);
            prop_assert!(both.is_empty());
        }

        #[test]
        fn what_is_added_can_be_taken_away(
            kept in prop::collection::vec((any_lag(), 1_i64..5), 0..60),
            gone in prop::collection::vec((any_lag(), 1_i64..5), 0..60),
        ) {
            let mut expected = Histogram::new();
            kept.iter().for_each(|(lag, times)| expected.add(Span(*lag), *times));
            let mut histogram = expected.clone();
            gone.iter().for_each(|(lag, times)| histogram.add(Span(*lag), *times));
            gone.iter().rev().for_each(|(lag, times)| histogram.add(Span(*lag), -times));
            prop_assert_eq!(&histogram, &expected);
            prop_assert_eq!(&Histogram::from_bins(histogram.bins().iter().copied(), histogram.sum()), &expected);
            let halves = histogram.bins().iter().flat_map(|(bin, count)| [(*bin, *count - 1), (*bin, 1)]).rev();
            prop_assert_eq!(&Histogram::from_bins(halves, histogram.sum()), &expected);
        }
    }
}
