//! What a connection does, and since when: the order in which connections are closed at the limit.

use crate::telemetry::http_metrics::{Closed, HttpMetrics};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The activity of a connection.
pub(super) struct Activity {
    busy: AtomicBool,
    since: AtomicU64,
    tick: Arc<AtomicU64>,
    metrics: Arc<HttpMetrics>,
}

impl Activity {
    pub(super) fn new(tick: &Arc<AtomicU64>, metrics: &Arc<HttpMetrics>) -> Self {
        let activity = Self {
            busy: AtomicBool::default(),
            since: AtomicU64::default(),
            tick: Arc::clone(tick),
            metrics: Arc::clone(metrics),
        };
        activity.set(false);
        activity
    }

    /// A request came.
    pub(super) fn begin_request(&self) {
        self.set(true);
    }

    /// Its response was sent.
    pub(super) fn end_request(&self) {
        self.set(false);
    }

    fn set(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
        self.since.store(self.tick.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether a request has no complete response yet.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// The order in which connections are closed.
    pub(super) fn rank(&self) -> (bool, u64) {
        (self.busy.load(Ordering::Relaxed), self.since.load(Ordering::Relaxed))
    }

    /// Counts that the server closes the connection.
    pub(super) fn close(&self, reason: Closed) {
        self.metrics.close(reason);
    }
}
