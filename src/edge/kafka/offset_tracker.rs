//! Owns which source offsets a commit writes: of each partition the one before which every event has been applied.
//!
//! That is the position at the end of the epoch, or the lowest offset of an event that still waits for the watermark.
//! Positions count markers of transactions, which are no messages: so a partition that was read to its end has no lag.

use super::source_topics::SourcePartition;
use crate::dataflow::epoch::ShardStatus;
use std::collections::BTreeMap;

/// Positions and committed offsets of the partitions that are read.
#[derive(Debug, Default)]
pub(super) struct OffsetTracker {
    positions: BTreeMap<SourcePartition, i64>,
    lowest: BTreeMap<SourcePartition, i64>,
    committed: BTreeMap<SourcePartition, i64>,
}

impl OffsetTracker {
    /// Takes in an epoch: the positions that moved, what is held at its end, and the shards that are forgotten with it.
    /// Those belong to somebody else now.
    pub(super) fn absorb(&mut self, positions: &[(SourcePartition, i64)], marks: &[ShardStatus], revoked: &[u32]) {
        self.positions.extend(positions.iter().copied());
        self.lowest.clear();
        for mark in marks {
            self.lowest.extend(mark.lowest.iter().map(|(source, offset)| ((mark.shard, *source), *offset)));
        }
        if !revoked.is_empty() {
            for known in [&mut self.positions, &mut self.lowest, &mut self.committed] {
                known.retain(|(shard, _), _| !revoked.contains(shard));
            }
        }
    }

    /// The offsets that are to be committed, less those that are.
    pub(super) fn due(&self) -> Vec<(SourcePartition, i64)> {
        self.offsets().filter(|(place, offset)| self.committed.get(place) != Some(offset)).collect()
    }

    /// Any offset that is right, to be committed again; `None` if nothing was ever read.
    pub(super) fn any(&self) -> Option<(SourcePartition, i64)> {
        self.offsets().next()
    }

    fn offsets(&self) -> impl Iterator<Item = (SourcePartition, i64)> {
        let offset = |(place, position): (&SourcePartition, &i64)| {
            (*place, self.lowest.get(place).map_or(*position, |lowest| *position.min(lowest)))
        };
        self.positions.iter().map(offset)
    }

    /// These are committed.
    pub(super) fn commit(&mut self, offsets: &[(SourcePartition, i64)]) {
        self.committed.extend(offsets.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Topic;
    use crate::domain::shard_processor::{Counts, Source};
    use crate::domain::time::Timestamp;

    const CRM: Source = Source::Topic(Topic::Crm);
    const CALLS: Source = Source::Topic(Topic::Telephony);

    fn mark(shard: u32, lowest: &[(Source, i64)]) -> ShardStatus {
        let (watermark, held) = (Timestamp::MIN, lowest.len());
        let (counts, paused, entries, dirty, checkpoint): (Counts, _, _, _, _) = Default::default();
        ShardStatus { shard, watermark, held, lowest: lowest.to_vec(), paused, counts, entries, dirty, checkpoint }
    }

    #[test]
    fn offsets_stop_before_the_first_event_that_waits() {
        let mut offset_tracker = OffsetTracker::default();
        offset_tracker.absorb(
            &[((0, CRM), 10), ((0, CALLS), 5), ((1, CRM), 7)],
            &[mark(0, &[(CRM, 4)]), mark(1, &[])],
            &[],
        );
        let due = offset_tracker.due();
        assert_eq!(due, [((0, CRM), 4), ((0, CALLS), 5), ((1, CRM), 7)]);
        offset_tracker.commit(&due);
        assert_eq!(offset_tracker.due(), []);
        assert_eq!(offset_tracker.any(), Some(((0, CRM), 4)));
        offset_tracker.absorb(&[], &[mark(0, &[(CRM, 8)])], &[]);
        assert_eq!(offset_tracker.due(), [((0, CRM), 8)], "the watermark passed some");
        offset_tracker.absorb(&[((0, CRM), 11)], &[mark(0, &[])], &[]);
        assert_eq!(offset_tracker.due(), [((0, CRM), 11)], "and the rest");
    }

    #[test]
    fn a_shard_that_is_revoked_is_forgotten() {
        let mut offset_tracker = OffsetTracker::default();
        offset_tracker.absorb(&[((0, CRM), 10), ((1, CRM), 3)], &[], &[]);
        // What was read of it and never committed is not committed later either.
        offset_tracker.absorb(&[], &[mark(0, &[(CRM, 4)]), mark(1, &[])], &[0]);
        assert_eq!(offset_tracker.due(), [((1, CRM), 3)], "shard 0 is somebody else's");
        offset_tracker.commit(&offset_tracker.due());
        offset_tracker.absorb(&[((0, CRM), 7)], &[mark(0, &[]), mark(1, &[])], &[]);
        assert_eq!(offset_tracker.due(), [((0, CRM), 7)], "it came back, and nothing from before counts");
    }
}
