//! Metrics of the HTTP server: connections, refused requests, scrapes.

use crate::domain::named::named_enum;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

named_enum! {
    /// Why the server closed a connection.
    pub enum Closed, named "as the label `reason`" {
        /// No complete request came in time; idle connections included.
        ReadTimeout = "read_timeout",
        /// The client did not read its response in time.
        WriteTimeout = "write_timeout",
        /// The limit was reached, and another client connected.
        Limit = "limit",
    }
}

/// Metrics of the HTTP server. Updated by it, read by scrapes.
#[derive(Debug)]
pub struct HttpMetrics {
    limit: usize,
    open: AtomicUsize,
    closed: [AtomicU64; Closed::ALL.len()],
    refused: AtomicU64,
    /// Scrapes that were rendered, and those that shared one.
    scrapes: [AtomicU64; 2],
}

impl HttpMetrics {
    /// Metrics of a server with at most `limit` connections.
    pub fn new(limit: usize) -> Self {
        let (open, closed, refused, scrapes) = Default::default();
        Self { limit, open, closed, refused, scrapes }
    }

    /// Counts a connection in.
    pub fn connected(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection out, whichever side ended it.
    pub fn disconnected(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a connection that the server closes.
    pub fn close(&self, reason: Closed) {
        self.closed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request refused because of its Host or Origin.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a scrape.
    pub fn scraped(&self, shared: bool) {
        self.scrapes[usize::from(shared)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn closed(&self) -> impl Iterator<Item = (Closed, u64)> {
        Closed::ALL.into_iter().zip(&self.closed).map(|(reason, n)| (reason, n.load(Ordering::Relaxed)))
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Rendered scrapes, shared scrapes.
    pub(super) fn scrapes(&self) -> [u64; 2] {
        [&self.scrapes[0], &self.scrapes[1]].map(|n| n.load(Ordering::Relaxed))
    }
}
