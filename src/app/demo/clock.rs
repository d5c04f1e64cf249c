//! Owns the simulated clock of the demo.

use crate::domain::time::{Span, Timestamp};
use std::time::{Duration, Instant};

/// The simulated clock, which runs `speed` times faster than the wall clock.
#[derive(Clone, Copy)]
pub(super) struct SimulatedClock {
    pub(super) start: Timestamp,
    pub(super) began: Instant,
    pub(super) speed: u32,
}

impl SimulatedClock {
    pub(super) fn now(&self) -> Timestamp {
        self.start + Span(self.began.elapsed().as_millis() as i64 * i64::from(self.speed))
    }

    /// The wall-clock duration until `at`.
    pub(super) fn until(&self, at: Timestamp) -> Duration {
        let millis = (at - self.now()).0.max(0) as u64;
        Duration::from_millis(millis / u64::from(self.speed))
    }
}
