//! Owns the statistics of figures: shares with confidence intervals, conversions, quantiles of lags.

use crate::domain::norms::Basis;

/// A share of `k` in `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ratio {
    /// Size of the population.
    pub n: i64,
    /// Number of members that satisfy the condition.
    pub k: i64,
}

/// Quantile of the standard normal distribution for a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

impl std::ops::AddAssign for Ratio {
    fn add_assign(&mut self, other: Self) {
        self.n += other.n;
        self.k += other.k;
    }
}

impl Ratio {
    /// k ÷ n; `None` when n = 0.
    pub fn ratio(self) -> Option<f64> {
        (self.n > 0).then(|| self.k as f64 / self.n as f64)
    }

    /// Wilson's 95 % score interval (E. B. Wilson, 1927); `None` when n = 0.
    pub fn bounds(self) -> Option<(f64, f64)> {
        let p = self.ratio()?;
        let n = self.n as f64;
        let spread = Z * Z / n;
        let centre = p + spread / 2.0;
        let half = Z * (p * (1.0 - p) / n + spread / (4.0 * n)).sqrt();
        let (lower, upper) = ((centre - half) / (1.0 + spread), (centre + half) / (1.0 + spread));
        Some((lower.max(0.0), upper.min(1.0)))
    }
}

/// Statistics of lags: number, mean and quantiles (nearest rank).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// Number of lags.
    pub n: i64,
    /// Mean in seconds; this and the quantiles are meaningless when n = 0.
    pub mean_seconds: f64,
    /// Median.
    pub p50_seconds: f64,
    /// 90th percentile.
    pub p90_seconds: f64,
    /// 99th percentile.
    pub p99_seconds: f64,
}

/// A conversion on both bases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversion {
    /// Of entities created in the window.
    pub cohort: Ratio,
    /// Of entities closed in the window.
    pub closed: Ratio,
}

impl Conversion {
    /// The conversion on one basis.
    pub fn of(self, basis: Basis) -> Ratio {
        match basis {
            Basis::Cohort => self.cohort,
            Basis::Closed => self.closed,
        }
    }
}

impl std::ops::AddAssign for Conversion {
    fn add_assign(&mut self, other: Self) {
        for (own, other) in [(&mut self.cohort, other.cohort), (&mut self.closed, other.closed)] {
            *own = Ratio { n: own.n + other.n, k: own.k + other.k };
        }
    }
}
