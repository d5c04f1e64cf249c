//! Owns the sliding window: its size, its slide interval and its boundaries.

use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;

/// A sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// The time it covers.
    pub size: Span,
    /// The norms write the size in days.
    pub in_days: bool,
    /// The slide interval; a divisor of `size`.
    pub slide: Span,
}

impl Window {
    /// Its name in rows, alerts and labels: the size as the norms write it (`24h`, `7d`).
    pub fn name(self) -> CompactString {
        if self.in_days { self.size.to_string().into() } else { self.size.in_hours() }
    }

    /// Number of complete panes before the current one.
    pub fn panes(self) -> i64 {
        self.size.0 / self.slide.0
    }

    /// The slide boundary at which a pane leaves the window.
    pub fn leaves(self, pane: i64) -> Timestamp {
        Timestamp(pane.saturating_add(self.panes() + 1).saturating_mul(self.slide.0))
    }

    /// The first slide boundary after an instant.
    pub fn boundary_after(self, at: Timestamp) -> Timestamp {
        Timestamp((at.pane(self.slide) + 1).saturating_mul(self.slide.0))
    }
}
