//! Owns the communication between the ingest thread and the commit thread about epochs that must no longer be
//! committed.
//!
//! The order matters. The ingest thread abandons epochs *before* it releases their partitions; the commit thread reads
//! the group metadata *before* it checks whether an epoch was abandoned.

use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by both threads.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    /// Epochs below this one are abandoned.
    abandoned: AtomicU64,
    /// One more than the last epoch that was refused because the coordinator no longer recognizes this member.
    refused: AtomicU64,
}

impl Fence {
    /// Abandons all epochs below this one.
    pub(crate) fn abandon(&self, below: u64) {
        self.abandoned.fetch_max(below, Ordering::SeqCst);
    }

    /// Whether an epoch was abandoned.
    pub(crate) fn is_abandoned(&self, epoch: u64) -> bool {
        epoch < self.abandoned.load(Ordering::SeqCst)
    }

    /// Records that the coordinator refused an epoch because it no longer recognizes this member.
    pub(crate) fn refuse(&self, epoch: u64) {
        self.refused.store(epoch + 1, Ordering::SeqCst);
    }

    /// Whether a refused epoch is not abandoned yet.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst) > self.abandoned.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abandoning_an_epoch_clears_its_refusal() {
        let fence = Fence::default();
        assert!(!fence.is_abandoned(0) && !fence.is_refused());
        fence.refuse(4);
        assert!(fence.is_refused());
        fence.abandon(6);
        assert!(fence.is_abandoned(5) && !fence.is_abandoned(6) && !fence.is_refused());
        // A late refusal of an abandoned epoch has no effect.
        fence.refuse(5);
        assert!(!fence.is_refused());
        fence.abandon(3);
        assert!(fence.is_abandoned(5), "the mark never moves back");
    }
}
