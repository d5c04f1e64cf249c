//! Owns which source offsets a commit writes: of each partition the one before which every event has been applied.
//!
//! That is the position at the end of the epoch, or the lowest offset of an event that still waits for the watermark.
//! Positions count markers of transactions, which are no messages: so a partition that was read to its end has no lag.

use super::feeds::Place;
use crate::dataflow::epoch::ShardMark;
use std::collections::BTreeMap;

/// Positions and committed offsets of the partitions that are read.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    positions: BTreeMap<Place, i64>,
    lowest: BTreeMap<Place, i64>,
    committed: BTreeMap<Place, i64>,
}

impl Ledger {
    /// Takes in an epoch: the positions that moved, what is held at its end, and the shards that are forgotten with it.
    /// Those belong to somebody else now.
    pub(super) fn absorb(&mut self, positions: &[(Place, i64)], marks: &[ShardMark], revoked: &[u32]) {
        self.positions.extend(positions.iter().copied());
        self.lowest.clear();
        for mark in marks {
            self.lowest.extend(mark.lowest.iter().map(|(feed, offset)| ((mark.shard, *feed), *offset)));
        }
        if !revoked.is_empty() {
            for known in [&mut self.positions, &mut self.lowest, &mut self.committed] {
                known.retain(|(shard, _), _| !revoked.contains(shard));
            }
        }
    }

    /// The offsets that are to be committed, less those that are.
    pub(super) fn due(&self) -> Vec<(Place, i64)> {
        self.offsets().filter(|(place, offset)| self.committed.get(place) != Some(offset)).collect()
    }

    /// Any offset that is right, to be committed again; `None` if nothing was ever read.
    pub(super) fn any(&self) -> Option<(Place, i64)> {
        self.offsets().next()
    }

    fn offsets(&self) -> impl Iterator<Item = (Place, i64)> {
        let offset = |(place, position): (&Place, &i64)| {
            (*place, self.lowest.get(place).map_or(*position, |lowest| *position.min(lowest)))
        };
        self.positions.iter().map(offset)
    }

    /// These are committed.
    pub(super) fn commit(&mut self, offsets: &[(Place, i64)]) {
        self.committed.extend(offsets.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Topic;
    use crate::domain::floor::{Counts, Feed};
    use crate::domain::time::Timestamp;

    const CRM: Feed = Feed::Topic(Topic::Crm);
    const CALLS: Feed = Feed::Topic(Topic::Telephony);

    fn mark(shard: u32, lowest: &[(Feed, i64)]) -> ShardMark {
        let (watermark, held) = (Timestamp::MIN, lowest.len());
        let (counts, ahead, entries, stirred, stand): (Counts, _, _, _, _) = Default::default();
        ShardMark { shard, watermark, held, lowest: lowest.to_vec(), ahead, counts, entries, stirred, stand }
    }

    #[test]
    fn offsets_stop_before_the_first_event_that_waits() {
        let mut ledger = Ledger::default();
        ledger.absorb(&[((0, CRM), 10), ((0, CALLS), 5), ((1, CRM), 7)], &[mark(0, &[(CRM, 4)]), mark(1, &[])], &[]);
        let due = ledger.due();
        assert_eq!(due, [((0, CRM), 4), ((0, CALLS), 5), ((1, CRM), 7)]);
        ledger.commit(&due);
        assert_eq!(ledger.due(), []);
        assert_eq!(ledger.any(), Some(((0, CRM), 4)));
        ledger.absorb(&[], &[mark(0, &[(CRM, 8)])], &[]);
        assert_eq!(ledger.due(), [((0, CRM), 8)], "the watermark passed some");
        ledger.absorb(&[((0, CRM), 11)], &[mark(0, &[])], &[]);
        assert_eq!(ledger.due(), [((0, CRM), 11)], "and the rest");
    }

    #[test]
    fn a_shard_that_is_revoked_is_forgotten() {
        let mut ledger = Ledger::default();
        ledger.absorb(&[((0, CRM), 10), ((1, CRM), 3)], &[], &[]);
        // What was read of it and never committed is not committed later either.
        ledger.absorb(&[], &[mark(0, &[(CRM, 4)]), mark(1, &[])], &[0]);
        assert_eq!(ledger.due(), [((1, CRM), 3)], "shard 0 is somebody else's");
        ledger.commit(&ledger.due());
        ledger.absorb(&[((0, CRM), 7)], &[mark(0, &[]), mark(1, &[])], &[]);
        assert_eq!(ledger.due(), [((0, CRM), 7)], "it came back, and nothing from before counts");
    }
}
