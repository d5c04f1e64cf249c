//! Health metrics of the live view in Redis.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Health of the live view. Updated by its writer, read by scrapes.
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
    /// Sets whether Redis is reachable.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Sets the number of queued batches.
    pub fn set_queued(&self, batches: usize) {
        self.queued.store(batches, Ordering::Relaxed);
    }

    /// Counts a written batch.
    pub fn written(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts dropped batches.
    pub fn dropped(&self, batches: u64) {
        self.dropped.fetch_add(batches, Ordering::Relaxed);
    }

    /// Counts a full write of the view.
    pub fn whole(&self) {
        self.whole.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failed connection attempt or write.
    pub fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Written batches, dropped batches, full writes, errors.
    pub(super) fn counts(&self) -> [u64; 4] {
        [&self.written, &self.dropped, &self.whole, &self.errors].map(|count| count.load(Ordering::Relaxed))
    }
}
