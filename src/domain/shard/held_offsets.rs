//! The offsets of held events, from which the lowest of each source follows without a walk over the events.
//!
//! Offsets of a source arrive in ascending order and are released in the order of event time. Each source has a queue in
//! order of offsets; a released offset is marked, and marked ones at the front are dropped. An insertion costs O(1), a
//! release O(log n), the lowest offset O(1). (Walking the heap of held events costs O(n) per epoch; a second heap costs
//! O(log n) for both and as much memory.)

use crate::domain::source::{Offset, Source};
use std::collections::{BTreeMap, VecDeque};

/// The offsets of held events, by source.
#[derive(Debug, Default)]
pub(super) struct HeldOffsets {
    /// Ascending; whether each was released. The first one was not.
    sources: BTreeMap<Source, VecDeque<(Offset, bool)>>,
}

impl HeldOffsets {
    /// An event is held from now on.
    pub(super) fn insert(&mut self, source: Source, offset: Offset) {
        let queue = self.sources.entry(source).or_default();
        if queue.back().is_none_or(|(last, _)| *last <= offset) {
            queue.push_back((offset, false));
        } else {
            // Only tests deliver a source out of order.
            queue.insert(queue.partition_point(|(other, _)| *other <= offset), (offset, false));
        }
    }

    /// An event is no longer held.
    pub(super) fn release(&mut self, source: Source, offset: Offset) {
        let Some(queue) = self.sources.get_mut(&source) else { return };
        let first = queue.partition_point(|(other, _)| *other < offset);
        let mut equal = queue.range_mut(first..).take_while(|(other, _)| *other == offset);
        if let Some((_, released)) = equal.find(|(_, released)| !*released) {
            *released = true;
        }
        while queue.front().is_some_and(|(_, released)| *released) {
            queue.pop_front();
        }
    }

    /// Whether an offset between these two is held.
    pub(super) fn any_between(&self, source: Source, after: Offset, before: Offset) -> bool {
        let Some(queue) = self.sources.get(&source) else { return false };
        let first = queue.partition_point(|(offset, _)| *offset <= after);
        queue.range(first..).take_while(|(offset, _)| *offset < before).any(|(_, released)| !released)
    }

    /// The lowest held offset of each source that has one.
    pub(super) fn lowest(&self) -> impl Iterator<Item = (Source, Offset)> {
        self.sources.iter().filter_map(|(source, queue)| Some((*source, queue.front()?.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_lowest_offset_is_that_of_a_walk(
            steps in prop::collection::vec((0..2usize, 0..20i64, any::<prop::sample::Index>(), any::<bool>()), 0..200),
        ) {
            let mut held = HeldOffsets::default();
            let mut model: Vec<(Source, Offset)> = Vec::new();
            for (source, offset, index, release) in steps {
                if release && !model.is_empty() {
                    let (source, offset) = model.swap_remove(index.index(model.len()));
                    held.release(source, offset);
                } else {
                    let (source, offset) = (Source::LIVE[source], Offset(offset));
                    held.insert(source, offset);
                    model.push((source, offset));
                }
                let mut lowest = BTreeMap::new();
                for (source, offset) in &model {
                    let least = lowest.entry(*source).or_insert(*offset);
                    *least = (*least).min(*offset);
                }
                prop_assert_eq!(held.lowest().collect::<BTreeMap<_, _>>(), lowest);
                let (source, offset) = (Source::LIVE[0], Offset(offset));
                let between = |(of, held): &(Source, Offset)| *of == source && (offset.0 + 1..15).contains(&held.0);
                prop_assert_eq!(held.any_between(source, offset, Offset(15)), model.iter().any(between));
            }
            for (source, offset) in model {
                held.release(source, offset);
            }
            prop_assert!(held.sources.values().all(VecDeque::is_empty));
        }
    }
}
