//! Owns both budgets of a portal: how many requests it accepts, and how many seconds of work it does for a method.
//!
//! **Requests.** The portal counts the requests of an address. The counter loses `requests_per_second` each second, and
//! above `burst` requests are refused. The same counter is kept here; a request waits while it is above four fifths of
//! `burst`, so that other programs on the same address are not refused either. At the start it is set to three fifths,
//! because a process that ended a moment ago may have used that much.
//!
//! **Seconds of work.** Each answer says how many seconds the method has used in a window of ten minutes, and when the
//! oldest of them are forgotten. Whether a batch is billed to its methods or to the name `batch` is reported differently,
//! so both are watched, and the nearer limit holds. Boxes without the limiter report nothing.

use super::answer::{Timing, until_reset};
use super::settings::Budget;
use crate::domain::time::{Span, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Which part of the budget a request may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Share {
    /// All of it: what is new.
    #[default]
    Live,
    /// Half of it: the past.
    Backfill,
    /// What a step of the past needs that has begun, for it would have to be repeated.
    Begun,
    /// Half of the seconds of work: what was read before and is only read again. What is new must not wait for it.
    Again,
}

/// What has been used.
#[derive(Debug)]
pub(super) struct Meter {
    budget: Budget,
    /// The counter of the portal, as of `counted_at`.
    count: f64,
    counted_at: Timestamp,
    methods: BTreeMap<&'static str, Used>,
}

/// What a method has used, and until when that counts, on the clock of this machine.
#[derive(Clone, Copy, Debug)]
struct Used {
    seconds: f64,
    until: Timestamp,
    /// Refused by the portal until then.
    refused: bool,
}

impl Meter {
    pub(super) fn new(budget: Budget, now: Timestamp) -> Self {
        Self { budget, count: 0.6 * budget.burst, counted_at: now, methods: BTreeMap::new() }
    }

    fn level(&self, now: Timestamp) -> f64 {
        let passed = (now.0 - self.counted_at.0).max(0) as f64 / 1000.0;
        (self.count - passed * self.budget.requests_per_second).max(0.0)
    }

    /// How long to wait before the next request; zero if it may be sent now.
    pub(super) fn pause(&self, share: Share, now: Timestamp) -> Duration {
        let part = if matches!(share, Share::Live | Share::Again) { 0.8 } else { 0.4 };
        let limit = (self.budget.burst * part).max(1.0);
        let over = self.level(now) + 1.0 - limit;
        Duration::from_secs_f64((over / self.budget.requests_per_second).max(0.0))
    }

    /// Counts a request.
    pub(super) fn count_request(&mut self, now: Timestamp) {
        self.count = self.level(now) + 1.0;
        self.counted_at = now;
    }

    /// The counter of the portal is full, whatever is counted here.
    pub(super) fn is_full(&mut self, now: Timestamp) {
        self.count = self.level(now).max(self.budget.burst);
        self.counted_at = now;
    }

    /// Records what a method has used.
    pub(super) fn record(&mut self, method: &'static str, timing: &Timing, portal: Timestamp, now: Timestamp) {
        if let Some(seconds) = timing.operating {
            let until = now.saturating_add(until_reset(portal, timing.reset));
            self.methods.insert(method, Used { seconds, until, refused: false });
        }
    }

    /// Records that the portal refused a method because it has used too much.
    pub(super) fn refuse(&mut self, method: &'static str, now: Timestamp) {
        let known = self.methods.get(method).map(|used| used.until).filter(|until| *until > now);
        let until = known.unwrap_or(now.saturating_add(Span(10_000)));
        self.methods.insert(method, Used { seconds: f64::INFINITY, until, refused: true });
    }

    /// How long a method has to rest; zero if it may be called.
    pub(super) fn rest(&self, method: &str, share: Share, now: Timestamp) -> Duration {
        let part = if matches!(share, Share::Backfill | Share::Again) { 0.5 } else { 1.0 };
        let Some(used) = self.methods.get(method) else { return Duration::ZERO };
        let over = used.refused || used.seconds >= self.budget.operating_seconds * part;
        let left = u64::try_from(used.until.0 - now.0).unwrap_or(0);
        if over { Duration::from_millis(left) } else { Duration::ZERO }
    }

    /// The requests that the portal would accept at once, and the seconds that the busiest method has left.
    pub(super) fn left(&self, now: Timestamp) -> (f64, f64) {
        let counted = self.methods.values().filter(|used| used.until > now);
        let most = counted.map(|used| used.seconds).fold(0.0, f64::max);
        (self.budget.burst - self.level(now), (self.budget.operating_seconds - most).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_paced_like_the_counter_of_the_portal() {
        let mut meter = Meter::new(Budget::default(), Timestamp(-3_600_000));
        for _ in 0..40 {
            assert_eq!(meter.pause(Share::Live, Timestamp(0)), Duration::ZERO);
            meter.count_request(Timestamp(0));
        }
        let mut restarted = Meter::new(Budget::default(), Timestamp(0));
        let mut free = 0;
        while restarted.pause(Share::Live, Timestamp(0)).is_zero() {
            restarted.count_request(Timestamp(0));
            free += 1;
        }
        assert_eq!(free, 10, "what was used before is not known");
        assert_eq!(meter.pause(Share::Live, Timestamp(0)), Duration::from_millis(500));
        assert_eq!(meter.pause(Share::Live, Timestamp(500)), Duration::ZERO);
        assert_eq!(meter.pause(Share::Backfill, Timestamp(500)), Duration::from_secs(10), "half is for what is new");
        meter.is_full(Timestamp(500));
        assert!(meter.pause(Share::Live, Timestamp(500)) > Duration::from_secs(5));
    }

    #[test]
    fn a_method_that_has_used_its_seconds_rests_until_they_are_forgotten() {
        let mut meter = Meter::new(Budget::default(), Timestamp(0));
        let timing = Timing { began: None, operating: Some(130.0), reset: Some(Timestamp(99_000)) };
        meter.record("batch", &timing, Timestamp(0), Timestamp(0));
        assert_eq!(meter.rest("batch", Share::Live, Timestamp(0)), Duration::ZERO);
        assert_eq!(meter.rest("batch", Share::Backfill, Timestamp(0)), Duration::from_secs(100));
        assert_eq!(meter.rest("batch", Share::Begun, Timestamp(0)), Duration::ZERO);
        assert_eq!(meter.rest("batch", Share::Again, Timestamp(0)), Duration::from_secs(100));
        assert_eq!(meter.pause(Share::Again, Timestamp(0)), Duration::ZERO);
        assert_eq!(meter.rest("batch", Share::Backfill, Timestamp(100_000)), Duration::ZERO);
        meter.refuse("batch", Timestamp(1_000));
        assert_eq!(meter.rest("batch", Share::Live, Timestamp(1_000)), Duration::from_secs(99));
        meter.refuse("other", Timestamp(1_000));
        assert_eq!(meter.rest("other", Share::Live, Timestamp(1_000)), Duration::from_secs(10));
    }
}
