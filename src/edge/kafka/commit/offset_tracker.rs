//! Owns the source offsets of a commit: for each partition the offset before which every event has been applied.
//!
//! That is the position at the end of the epoch, or the lowest offset of an event that still waits for the watermark.
//! Positions include transaction markers, which are not messages, so a partition that was read to its end has no lag.

use crate::dataflow::epoch::ShardStatus;
use crate::domain::source::{Offset, ShardId};
use crate::edge::kafka::source_topics::SourcePartition;
use std::collections::BTreeMap;

/// Positions and committed offsets of the partitions that are read.
#[derive(Debug, Default)]
pub(super) struct OffsetTracker {
    positions: BTreeMap<SourcePartition, Offset>,
    lowest: BTreeMap<SourcePartition, Offset>,
    committed: BTreeMap<SourcePartition, Offset>,
}

impl OffsetTracker {
    /// Applies an epoch: the positions that advanced, the events held at its end, and the shards that are revoked.
    pub(super) fn update(
        &mut self,
        positions: &[(SourcePartition, Offset)],
        shards: &[ShardStatus],
        revoked: &[ShardId],
    ) {
        self.positions.extend(positions.iter().copied());
        self.lowest.clear();
        for status in shards {
            self.lowest.extend(status.lowest.iter().map(|(source, offset)| ((status.shard, *source), *offset)));
        }
        if !revoked.is_empty() {
            for known in [&mut self.positions, &mut self.lowest, &mut self.committed] {
                known.retain(|(shard, _), _| !revoked.contains(shard));
            }
        }
    }

    /// The offsets to commit, without those that are committed already.
    pub(super) fn uncommitted(&self) -> Vec<(SourcePartition, Offset)> {
        self.offsets().filter(|(partition, offset)| self.committed.get(partition) != Some(offset)).collect()
    }

    /// Any valid offset, to be committed again; `None` if nothing was ever read.
    pub(super) fn any(&self) -> Option<(SourcePartition, Offset)> {
        self.offsets().next()
    }

    fn offsets(&self) -> impl Iterator<Item = (SourcePartition, Offset)> {
        let offset = |(partition, position): (&SourcePartition, &Offset)| {
            (*partition, self.lowest.get(partition).map_or(*position, |lowest| *position.min(lowest)))
        };
        self.positions.iter().map(offset)
    }

    /// Records committed offsets.
    pub(super) fn set_committed(&mut self, offsets: &[(SourcePartition, Offset)]) {
        self.committed.extend(offsets.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::shard::processor::Counts;
    use crate::domain::source::{Source, Topic};
    use crate::domain::time::Timestamp;

    const CRM: Source = Source::Topic(Topic::Crm);
    const CALLS: Source = Source::Topic(Topic::Telephony);

    fn at(shard: u32, source: Source, offset: i64) -> (SourcePartition, Offset) {
        ((ShardId(shard), source), Offset(offset))
    }

    fn status(shard: u32, lowest: &[(Source, Offset)]) -> ShardStatus {
        let (shard, watermark, held) = (ShardId(shard), Timestamp::MIN, lowest.len());
        let (counts, limits_used, paused, entries, dirty, checkpoint): (Counts, _, _, _, _, _) = Default::default();
        let lowest = lowest.to_vec();
        ShardStatus { shard, watermark, held, lowest, paused, counts, limits_used, entries, dirty, checkpoint }
    }

    #[test]
    fn offsets_stop_before_the_first_held_event() {
        let mut tracker = OffsetTracker::default();
        tracker.update(
            &[at(0, CRM, 10), at(0, CALLS, 5), at(1, CRM, 7)],
            &[status(0, &[(CRM, Offset(4))]), status(1, &[])],
            &[],
        );
        let uncommitted = tracker.uncommitted();
        assert_eq!(uncommitted, [at(0, CRM, 4), at(0, CALLS, 5), at(1, CRM, 7)]);
        tracker.set_committed(&uncommitted);
        assert_eq!(tracker.uncommitted(), []);
        assert_eq!(tracker.any(), Some(at(0, CRM, 4)));
        tracker.update(&[], &[status(0, &[(CRM, Offset(8))])], &[]);
        assert_eq!(tracker.uncommitted(), [at(0, CRM, 8)], "the watermark has passed some");
        tracker.update(&[at(0, CRM, 11)], &[status(0, &[])], &[]);
        assert_eq!(tracker.uncommitted(), [at(0, CRM, 11)], "the watermark has passed the rest");
    }

    #[test]
    fn a_revoked_shard_is_removed() {
        let mut tracker = OffsetTracker::default();
        tracker.update(&[at(0, CRM, 10), at(1, CRM, 3)], &[], &[]);
        // Its uncommitted positions are never committed later.
        tracker.update(&[], &[status(0, &[(CRM, Offset(4))]), status(1, &[])], &[ShardId(0)]);
        assert_eq!(tracker.uncommitted(), [at(1, CRM, 3)], "shard 0 has another owner");
        tracker.set_committed(&tracker.uncommitted());
        tracker.update(&[at(0, CRM, 7)], &[status(0, &[]), status(1, &[])], &[]);
        assert_eq!(tracker.uncommitted(), [at(0, CRM, 7)], "reassigned: earlier positions have no effect");
    }
}
