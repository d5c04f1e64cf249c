//! Owns which shards the workers hold the state of, and decides what a new assignment means for them.
//!
//! The group takes all partitions away whenever it changes, and gives most of them back a moment later. A shard that
//! comes back is kept, if nobody else has committed anything for it in between: its state goes on where it stopped.
//! All others are forgotten, by an epoch of their own, and begun anew.

use super::feeds::{FEEDS, Feeds, Place};
use rdkafka::TopicPartitionList;
use rdkafka::topic_partition_list::Offset;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of the shards whose state the workers hold.
#[derive(Debug, Default)]
pub(super) struct Shards {
    /// Up to where each partition of them was read.
    positions: BTreeMap<Place, i64>,
    /// The offsets that the group knows of them, as far as we know.
    committed: BTreeMap<Place, i64>,
    held: BTreeSet<u32>,
    /// Something of what the workers have counted was not committed.
    tainted: bool,
}

/// What to do about a new assignment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be forgotten.
    pub(super) gone: Vec<u32>,
    /// To be begun: their state is to be restored before anything is read.
    pub(super) fresh: Vec<u32>,
    /// Where to start reading; `None` is the beginning.
    pub(super) starts: BTreeMap<Place, Option<i64>>,
}

impl Shards {
    /// The group knows these offsets now.
    pub(super) fn commit(&mut self, offsets: &[(Place, i64)]) {
        self.committed.extend(offsets.iter().copied());
    }

    /// An epoch was not committed: what came of it is in the workers' state, but not in the topics.
    pub(super) fn taint(&mut self) {
        self.tainted = true;
    }

    /// A partition was given up after it had been read up to here.
    pub(super) fn leave(&mut self, place: Place, position: Option<i64>) {
        match position {
            Some(position) => self.positions.insert(place, position),
            None => self.positions.remove(&place),
        };
    }

    /// Plans for these shards, whose committed offsets are these.
    pub(super) fn plan(&mut self, assigned: &BTreeSet<u32>, committed: &BTreeMap<Place, i64>) -> Plan {
        let unchanged =
            |shard: u32| FEEDS.iter().all(|feed| committed.get(&(shard, *feed)) == self.committed.get(&(shard, *feed)));
        let kept: BTreeSet<u32> = self
            .held
            .iter()
            .copied()
            .filter(|shard| !self.tainted && assigned.contains(shard) && unchanged(*shard))
            .collect();
        let mut starts = BTreeMap::new();
        for shard in assigned {
            for feed in FEEDS {
                let place = (*shard, feed);
                let start = committed.get(&place).copied();
                let position = self.positions.get(&place).copied().filter(|_| kept.contains(shard));
                starts.insert(place, position.or(start));
            }
        }
        let plan = Plan {
            gone: self.held.difference(&kept).copied().collect(),
            fresh: assigned.difference(&kept).copied().collect(),
            starts,
        };
        self.positions.retain(|(shard, _), _| kept.contains(shard));
        self.committed.clone_from(committed);
        self.held.clone_from(assigned);
        self.tainted = false;
        plan
    }
}

/// The shards of an assignment of which all partitions are in it; the others are of no use, and `Err` names one.
pub(super) fn whole(partitions: &TopicPartitionList, feeds: &Feeds) -> Result<BTreeSet<u32>, u32> {
    let mut found = BTreeMap::<u32, usize>::new();
    for partition in partitions.elements() {
        if feeds.feed(partition.topic()).is_some()
            && let Ok(shard) = u32::try_from(partition.partition())
        {
            *found.entry(shard).or_default() += 1;
        }
    }
    match found.iter().find(|(_, n)| **n != FEEDS.len()) {
        Some((shard, _)) => Err(*shard),
        None => Ok(found.into_keys().collect()),
    }
}

/// The offsets that stand in a list, less those that are unknown.
pub(super) fn offsets(list: &TopicPartitionList, feeds: &Feeds) -> BTreeMap<Place, i64> {
    let offset = |(topic, partition): (String, i32), offset| match (feeds.feed(&topic), offset) {
        (Some(feed), Offset::Offset(offset)) => Some(((u32::try_from(partition).ok()?, feed), offset)),
        _ => None,
    };
    list.to_topic_map().into_iter().filter_map(|(partition, at)| offset(partition, at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Topic;
    use crate::domain::floor::Feed;

    const CRM: Feed = Feed::Topic(Topic::Crm);

    fn committed(offsets: &[(u32, i64)]) -> BTreeMap<Place, i64> {
        offsets.iter().map(|(shard, offset)| ((*shard, CRM), *offset)).collect()
    }

    fn two_shards() -> Shards {
        let mut shards = Shards::default();
        let plan = shards.plan(&BTreeSet::from([0, 1]), &committed(&[(0, 5)]));
        assert_eq!((plan.gone, plan.fresh), (vec![], vec![0, 1]));
        assert_eq!(plan.starts.len(), 8);
        assert_eq!((plan.starts[&(0, CRM)], plan.starts[&(1, CRM)]), (Some(5), None));
        shards.commit(&[((0, CRM), 8), ((1, CRM), 3)]);
        shards.leave((0, CRM), Some(10));
        shards.leave((1, CRM), Some(4));
        shards
    }

    #[test]
    fn a_shard_that_comes_back_untouched_is_kept() {
        let plan = two_shards().plan(&BTreeSet::from([0]), &committed(&[(0, 8)]));
        assert_eq!((plan.gone, plan.fresh), (vec![1], vec![]));
        assert_eq!(plan.starts[&(0, CRM)], Some(10), "what waits for the watermark is not read again");
    }

    #[test]
    fn a_shard_that_somebody_else_had_is_begun_anew() {
        let plan = two_shards().plan(&BTreeSet::from([0, 1, 2]), &committed(&[(0, 9), (1, 3)]));
        assert_eq!((plan.gone, plan.fresh), (vec![0], vec![0, 2]));
        assert_eq!((plan.starts[&(0, CRM)], plan.starts[&(1, CRM)]), (Some(9), Some(4)));
    }

    #[test]
    fn what_was_not_committed_taints_everything() {
        let mut shards = two_shards();
        shards.taint();
        let plan = shards.plan(&BTreeSet::from([0, 1]), &committed(&[(0, 8), (1, 3)]));
        assert_eq!((plan.gone, plan.fresh), (vec![0, 1], vec![0, 1]));
        assert_eq!(plan.starts[&(0, CRM)], Some(8));
        assert!(!shards.tainted, "the new assignment begins clean");
    }
}
