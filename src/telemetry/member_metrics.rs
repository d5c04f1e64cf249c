//! Metrics of the processes that answer for each other: how many are known, and what became of forwarded requests.

use crate::domain::named::named_enum;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

named_enum! {
    /// What became of a request that this process forwarded.
    pub enum Forwarded, named "as the label `result`" {
        /// The other process has answered, whatever the answer is.
        Answered = "answered",
        /// The other process could not be reached, or the connection broke before the answer.
        Unreachable = "unreachable",
        /// The other process did not answer in time.
        Late = "late",
        /// Too many requests waited for the other process already.
        Busy = "busy",
        /// The other process has another token.
        Refused = "refused",
        /// No process answers for the shard at the moment.
        Moving = "moving",
    }
}

named_enum! {
    /// What became of a request that another process forwarded to this one.
    pub enum Received, named "as the label `result`" {
        /// This process has the shard.
        Accepted = "accepted",
        /// This process does not have the shard, or no longer.
        Moving = "moving",
        /// The token was missing or wrong.
        Refused = "refused",
    }
}

/// Metrics of the processes that answer for each other. Updated by the members and the server, read by scrapes.
#[derive(Debug, Default)]
pub struct MemberMetrics {
    known: AtomicUsize,
    moving: AtomicUsize,
    forwarded: [AtomicU64; Forwarded::ALL.len()],
    received: [AtomicU64; Received::ALL.len()],
}

impl MemberMetrics {
    /// Sets the number of processes, and of shards that none of them answers for.
    pub fn set_known(&self, members: usize, moving: usize) {
        self.known.store(members, Ordering::Relaxed);
        self.moving.store(moving, Ordering::Relaxed);
    }

    /// Counts a request that was to be forwarded.
    pub fn forwarded(&self, result: Forwarded) {
        self.forwarded[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a forwarded request.
    pub fn received(&self, result: Received) {
        self.received[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The number of processes, and of shards that none of them answers for.
    pub(super) fn known(&self) -> [usize; 2] {
        [&self.known, &self.moving].map(|n| n.load(Ordering::Relaxed))
    }

    pub(super) fn all_forwarded(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.forwarded.iter().map(|n| n.load(Ordering::Relaxed));
        Forwarded::ALL.iter().map(|result| result.name()).zip(counts)
    }

    pub(super) fn all_received(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.received.iter().map(|n| n.load(Ordering::Relaxed));
        Received::ALL.iter().map(|result| result.name()).zip(counts)
    }
}
