//! Owns which source offsets a commit writes: of each partition the one before which every event has been applied.
//!
//! That is the position at the end of the epoch, or the lowest offset of an event that still waits for the watermark.
//! Positions count markers of transactions, which are no messages: so a partition that was read to its end has no lag.

use super::feeds::Place;
use crate::dataflow::epoch::ShardMark;
use std::collections::BTreeMap;

/// Positions and committed offsets of the partitions that are assigned.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    term: u64,
    positions: BTreeMap<Place, i64>,
    lowest: BTreeMap<Place, i64>,
    committed: BTreeMap<Place, i64>,
}

impl Ledger {
    /// Takes in an epoch of the assignment number `term`: the positions that moved, and what is held at its end.
    pub(super) fn absorb(&mut self, term: u64, positions: &[(Place, i64)], marks: &[ShardMark]) {
        if term != self.term {
            *self = Self { term, ..Self::default() };
        }
        self.positions.extend(positions.iter().copied());
        self.lowest.clear();
        for mark in marks {
            self.lowest.extend(mark.lowest.iter().map(|(feed, offset)| ((mark.shard, *feed), *offset)));
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
        ShardMark { shard, watermark, held, lowest: lowest.to_vec(), counts: Counts::default() }
    }

    #[test]
    fn offsets_stop_before_the_first_event_that_waits() {
        let mut ledger = Ledger::default();
        ledger.absorb(1, &[((0, CRM), 10), ((0, CALLS), 5), ((1, CRM), 7)], &[mark(0, &[(CRM, 4)]), mark(1, &[])]);
        let due = ledger.due();
        assert_eq!(due, [((0, CRM), 4), ((0, CALLS), 5), ((1, CRM), 7)]);
        ledger.commit(&due);
        assert_eq!(ledger.due(), []);
        assert_eq!(ledger.any(), Some(((0, CRM), 4)));
        ledger.absorb(1, &[], &[mark(0, &[(CRM, 8)])]);
        assert_eq!(ledger.due(), [((0, CRM), 8)], "the watermark passed some");
        ledger.absorb(1, &[((0, CRM), 11)], &[mark(0, &[])]);
        assert_eq!(ledger.due(), [((0, CRM), 11)], "and the rest");
    }

    #[test]
    fn another_assignment_starts_afresh() {
        let mut ledger = Ledger::default();
        ledger.absorb(1, &[((0, CRM), 10)], &[]);
        ledger.commit(&ledger.due());
        ledger.absorb(2, &[((1, CRM), 3)], &[]);
        assert_eq!(ledger.due(), [((1, CRM), 3)], "shard 0 is somebody else's");
    }
}
