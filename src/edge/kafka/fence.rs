//! Owns what the ingest thread and the commit thread say to each other about epochs that must not be committed any more.
//!
//! The order is what counts. The ingest thread abandons epochs *before* it gives up their partitions; the commit thread
//! asks who we are to the group *before* it looks whether an epoch was abandoned.

use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by both threads.
#[derive(Debug, Default)]
pub(super) struct Fence {
    /// Epochs below it are given up.
    abandoned: AtomicU64,
    /// One more than the last epoch that was refused because the group knows us no more.
    refused: AtomicU64,
}

impl Fence {
    /// Gives up all epochs below this one.
    pub(super) fn abandon(&self, below: u64) {
        self.abandoned.fetch_max(below, Ordering::SeqCst);
    }

    /// Whether an epoch was given up.
    pub(super) fn is_abandoned(&self, epoch: u64) -> bool {
        epoch < self.abandoned.load(Ordering::SeqCst)
    }

    /// The group knows us no more: the epoch waits to be given up.
    pub(super) fn refuse(&self, epoch: u64) {
        self.refused.store(epoch + 1, Ordering::SeqCst);
    }

    /// Whether an epoch that was refused waits to be given up.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst) > self.abandoned.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_abandoned_is_refused_no_more() {
        let fence = Fence::default();
        assert!(!fence.is_abandoned(0) && !fence.is_refused());
        fence.refuse(4);
        assert!(fence.is_refused());
        fence.abandon(6);
        assert!(fence.is_abandoned(5) && !fence.is_abandoned(6) && !fence.is_refused());
        // The news of an epoch that was given up meanwhile come late, and mean nothing.
        fence.refuse(5);
        assert!(!fence.is_refused());
        fence.abandon(3);
        assert!(fence.is_abandoned(5), "nothing comes back");
    }
}
