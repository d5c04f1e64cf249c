//! Owns the comparison of a shard's partition of the topic of open alerts with its restored state: what the partition has
//! too much, and what it lacks.
//!
//! Both are written in the transaction of the first epoch of the shard. There is something to write after state was
//! reset or lost, and at the first start with an empty topic; otherwise the partition follows from the same transactions
//! as the state.

use super::compacted_reader::Collector;
use crate::domain::alert::Alert;
use crate::domain::source::ShardId;
use std::collections::BTreeSet;

/// The keys of the records of a partition.
#[derive(Debug, Default)]
pub(super) struct PublishedKeys(BTreeSet<Box<[u8]>>);

impl Collector for PublishedKeys {
    fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(_) => self.0.insert(key.into()),
            None => self.0.remove(key),
        };
    }
}

/// What to write so that the partition of a shard has exactly the open alerts of its state.
#[derive(Debug)]
pub(crate) struct OpenAlertsRepair {
    pub(crate) shard: ShardId,
    /// The keys of records to remove.
    pub(crate) surplus: BTreeSet<Box<[u8]>>,
    /// The alerts to add.
    pub(crate) missing: Vec<Alert>,
}

impl OpenAlertsRepair {
    /// Compares a partition with the open alerts of a shard; `None` if they are the same.
    pub(super) fn of(shard: ShardId, published: PublishedKeys, open: &[Alert]) -> Option<Self> {
        let PublishedKeys(mut surplus) = published;
        let key = |alert: &Alert| alert.id.to_string();
        let missing: Vec<Alert> = open.iter().filter(|alert| !surplus.remove(key(alert).as_bytes())).cloned().collect();
        (!surplus.is_empty() || !missing.is_empty()).then_some(Self { shard, surplus, missing })
    }

    /// The number of records to write.
    pub(crate) fn records(&self) -> usize {
        self.surplus.len() + self.missing.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rule::Rule;
    use crate::domain::time::Timestamp;

    fn alert(subject: &str) -> Alert {
        Alert::sample("acme", Rule::Neglected, subject, Timestamp(0))
    }

    /// The keys of a partition after records with a value (`true`) and tombstones.
    fn published(records: &[(&str, bool)]) -> PublishedKeys {
        let mut keys = PublishedKeys::default();
        for (key, present) in records {
            keys.push(key.as_bytes(), present.then_some(b"{}"));
        }
        keys
    }

    #[test]
    fn what_is_not_open_is_removed_and_what_is_missing_is_added() {
        let (kept, missing, over) = (alert("lead:1"), alert("lead:2"), alert("lead:3"));
        let [kept_key, over_key] = [&kept, &over].map(|alert| alert.id.to_string());
        let records = [(kept_key.as_str(), true), ("foreign", true), (&over_key, false)];
        let repair = OpenAlertsRepair::of(ShardId(1), published(&records), &[kept.clone(), missing.clone()]);
        let repair = repair.expect("a difference");
        assert_eq!(repair.surplus, BTreeSet::from([b"foreign".as_slice().into()]));
        assert_eq!(repair.missing, [missing]);
        assert_eq!((repair.shard, repair.records()), (ShardId(1), 2));
        assert!(OpenAlertsRepair::of(ShardId(1), published(&records[..1]), &[kept]).is_none());
    }

    #[test]
    fn a_shard_without_state_has_no_open_alerts() {
        let key = alert("lead:9").id.to_string();
        let repair = OpenAlertsRepair::of(ShardId(0), published(&[(&key, true)]), &[]).expect("a difference");
        assert_eq!((repair.surplus.len(), repair.missing.len()), (1, 0));
        assert!(OpenAlertsRepair::of(ShardId(0), published(&[(&key, true), (&key, false)]), &[]).is_none());
    }
}
