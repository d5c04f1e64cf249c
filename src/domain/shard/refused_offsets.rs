//! The offsets of refused events that would be read again after a restart, as ranges.
//!
//! Between two refused offsets there may be offsets of events that were applied: reading them again has no effect, so a
//! range may include them. Only a held event must not be in a range. There are therefore at most as many ranges as held
//! events, however many events are refused.

use crate::domain::source::{Offset, Source};
use std::collections::BTreeMap;

/// Ranges of offsets, by source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedOffsets(BTreeMap<Source, Vec<(Offset, Offset)>>);

impl RefusedOffsets {
    /// An event was refused.
    pub fn insert(&mut self, source: Source, offset: Offset) {
        self.insert_range(source, offset, offset);
    }

    /// Adds the offsets from `first` to `last`.
    pub fn insert_range(&mut self, source: Source, first: Offset, last: Offset) {
        let ranges = self.0.entry(source).or_default();
        match ranges.last_mut() {
            Some((_, end)) if *end < first && end.0.checked_add(1) != Some(first.0) => ranges.push((first, last)),
            Some((begin, end)) if *begin <= first => *end = last.max(*end),
            None => ranges.push((first, last)),
            // Sources deliver in order; only a record of an earlier layout may not be sorted.
            Some(_) => {
                ranges.push((first, last));
                ranges.sort_unstable();
                ranges.dedup_by(|next, range| {
                    let joined = next.0.0 <= range.1.0.saturating_add(1);
                    range.1 = if joined { range.1.max(next.1) } else { range.1 };
                    joined
                });
            }
        }
    }

    /// Whether an event was refused, or was handled between two that were.
    pub fn contains(&self, source: Source, offset: Offset) -> bool {
        let ranges = self.0.get(&source).map(Vec::as_slice).unwrap_or_default();
        let next = ranges.partition_point(|(_, last)| *last < offset);
        ranges.get(next).is_some_and(|(first, _)| *first <= offset)
    }

    /// The ranges of a source, in order.
    pub fn ranges(&self, source: Source) -> &[(Offset, Offset)] {
        self.0.get(&source).map(Vec::as_slice).unwrap_or_default()
    }

    /// Forgets what is not read again, because each source is read from `next` on.
    pub(super) fn forget_before(&mut self, next: &BTreeMap<Source, Offset>) {
        self.0.retain(|source, ranges| {
            let Some(next) = next.get(source) else { return false };
            ranges.drain(..ranges.partition_point(|(_, last)| last <= next));
            !ranges.is_empty()
        });
    }

    /// The number of ranges.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Joins ranges that have no held event between them; `is_held` returns whether one is, or may be, between two
    /// offsets.
    pub(super) fn join(&mut self, is_held: impl Fn(Source, Offset, Offset) -> bool) {
        for (source, ranges) in &mut self.0 {
            ranges.dedup_by(|next, range| {
                let joined = !is_held(*source, range.1, next.0);
                range.1 = if joined { next.1 } else { range.1 };
                joined
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SOURCE: Source = Source::LIVE[0];

    fn ranges(refused: &RefusedOffsets) -> Vec<(i64, i64)> {
        refused.ranges(SOURCE).iter().map(|(first, last)| (first.0, last.0)).collect()
    }

    #[test]
    fn neighbours_are_one_range() {
        let mut refused = RefusedOffsets::default();
        [1, 2, 3, 7, 9, 8, 3].into_iter().for_each(|offset| refused.insert(SOURCE, Offset(offset)));
        assert_eq!(ranges(&refused), [(1, 3), (7, 9)]);
        refused.forget_before(&BTreeMap::from([(SOURCE, Offset(3))]));
        assert_eq!(ranges(&refused), [(7, 9)]);
        refused.forget_before(&BTreeMap::new());
        assert_eq!(refused, RefusedOffsets::default());
    }

    proptest! {
        #[test]
        fn every_refused_offset_is_contained_and_no_held_one(
            refused in prop::collection::btree_set(0..600i64, 0..400),
            held in prop::collection::btree_set(0..600i64, 0..20),
        ) {
            let refused: BTreeSet<i64> = refused.difference(&held).copied().collect();
            let mut found = RefusedOffsets::default();
            refused.iter().for_each(|offset| found.insert(SOURCE, Offset(*offset)));
            let is_held = |_, after: Offset, before: Offset| held.range(after.0 + 1..before.0).next().is_some();
            found.join(is_held);
            for offset in 0..600 {
                let contained = found.contains(SOURCE, Offset(offset));
                prop_assert!(contained || !refused.contains(&offset), "{offset} is missing");
                prop_assert!(!contained || !held.contains(&offset), "{offset} is held");
            }
            prop_assert!(found.len() <= held.len() + 1);
        }
    }
}
