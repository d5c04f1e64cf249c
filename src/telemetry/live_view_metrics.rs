//! Owns what the live view in Redis says of its own health.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How the live view fares. Told by its writer, read when it is scraped.
#[derive(Debug, Default)]
pub struct LiveViewMetrics {
    connected: AtomicBool,
    queued: AtomicUsize,
    written: AtomicU64,
    dropped: AtomicU64,
    whole: AtomicU64,
    errors: AtomicU64,
}

impl LiveViewMetrics {
    /// Redis answers, or does not.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// So many batches wait.
    pub fn set_queued(&self, batches: usize) {
        self.queued.store(batches, Ordering::Relaxed);
    }

    /// A batch was written.
    pub fn written(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Batches were not written, and will not be.
    pub fn dropped(&self, batches: u64) {
        self.dropped.fetch_add(batches, Ordering::Relaxed);
    }

    /// The view was written whole.
    pub fn whole(&self) {
        self.whole.fetch_add(1, Ordering::Relaxed);
    }

    /// Redis could not be reached, or refused something.
    pub fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Batches written, batches dropped, views written whole, errors.
    pub(super) fn counts(&self) -> [u64; 4] {
        [&self.written, &self.dropped, &self.whole, &self.errors].map(|count| count.load(Ordering::Relaxed))
    }
}
