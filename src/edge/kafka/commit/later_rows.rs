//! Owns the rows of committed epochs that follow in later transactions, because that of their epoch was large enough.
//!
//! Rows are figures as of an instant, and a later row of a key replaces an earlier one: nothing breaks if a reader sees
//! them after the alerts of their epoch. Alerts, state and offsets do not follow later.
//!
//! **After a crash.** As long as rows wait, the record of each shard that is written says so. A process that restores
//! such a shard writes all its rows again, as of the restored watermark or a later one. The last rows are committed
//! together with records of the shards that no longer say it. So the last row of each key is complete soon after
//! every crash, and at most rows are written twice.
//!
//! **Rows of what was forgotten** are removed in the transaction of their epoch: after a crash nothing would know them. What
//! waits of the same subjects is dropped, because it would bring them back.
//!
//! **Permits.** An epoch keeps its permit until its rows are committed. A rebalance or a stop waits for them therefore,
//! and not more than `engine.epochs_in_flight` epochs wait.

use crate::codec::state::ShardRecord;
use crate::domain::figures::row::Row;
use crate::domain::source::ShardId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Rows that wait, in epoch order; an `E` is the end of an epoch.
#[derive(Debug)]
pub(super) struct LaterRows<E> {
    epochs: VecDeque<(E, std::vec::IntoIter<Row>)>,
    /// The last records of the shards that say that rows follow.
    checkpoints: BTreeMap<ShardId, ShardRecord>,
}

impl<E> Default for LaterRows<E> {
    fn default() -> Self {
        Self { epochs: VecDeque::new(), checkpoints: BTreeMap::new() }
    }
}

impl<E> LaterRows<E> {
    pub(super) fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Adds the last rows of a committed epoch.
    pub(super) fn push(&mut self, end: E, rows: Vec<Row>) {
        self.epochs.push_back((end, rows.into_iter()));
    }

    /// The rows of an epoch were written up to those in `later`, and all that remove others: moves these to the written
    /// ones, and drops what waits of their subjects.
    pub(super) fn remove_gone(&mut self, written: &mut Vec<Row>, later: &mut Vec<Row>) {
        written.extend(later.extract_if(.., |row| row.is_tombstone()));
        let gone: BTreeSet<_> =
            written.iter().filter(|row| row.is_gone()).map(|row| (&row.tenant, &row.subject)).collect();
        if gone.is_empty() {
            return;
        }
        for (_, rows) in &mut self.epochs {
            let waiting = std::mem::take(rows);
            *rows = waiting.filter(|row| !gone.contains(&(&row.tenant, &row.subject))).collect::<Vec<_>>().into_iter();
        }
    }

    /// The first and the last epoch with rows that wait.
    pub(super) fn ends(&self) -> Option<(&E, &E)> {
        Some((&self.epochs.front()?.0, &self.epochs.back()?.0))
    }

    /// All rows that wait.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.epochs.iter().flat_map(|(_, rows)| rows.as_slice())
    }

    /// The records to write with the last rows.
    pub(super) fn checkpoints(&self) -> &BTreeMap<ShardId, ShardRecord> {
        &self.checkpoints
    }

    /// Shard records were committed while rows wait.
    pub(super) fn set_written(&mut self, checkpoints: BTreeMap<ShardId, ShardRecord>) {
        self.checkpoints.extend(checkpoints);
    }

    /// Removes the first `n` rows, which were committed, and returns them with the number of epochs that have no more.
    pub(super) fn take(&mut self, n: usize) -> (Vec<Row>, usize) {
        let (mut taken, mut finished) = (Vec::with_capacity(n), 0);
        while let Some((_, rows)) = self.epochs.front_mut() {
            let missing = n - taken.len();
            taken.extend(rows.by_ref().take(missing));
            if rows.len() > 0 {
                return (taken, finished);
            }
            self.epochs.pop_front();
            finished += 1;
        }
        self.checkpoints.clear();
        (taken, finished)
    }

    /// Drops everything, because its epochs were abandoned: the next owners of the shards write their rows again.
    /// Returns the number of epochs.
    pub(super) fn abandon(&mut self) -> usize {
        self.checkpoints.clear();
        std::mem::take(&mut self.epochs).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::figures::row::{Figures, Subject};
    use crate::domain::time::Timestamp;

    fn row(tenant: usize) -> Row {
        let (tenant, figures) = (tenant.to_string().as_str().into(), Figures::Now(Box::default()));
        Row { tenant, subject: Subject::Tenant, department: None, at: Timestamp(0), historic: false, figures }
    }

    #[test]
    fn an_epoch_is_finished_with_its_last_row() {
        let mut later = LaterRows::default();
        later.push(4, (0..3).map(row).collect());
        later.push(6, (3..5).map(row).collect());
        later.set_written(BTreeMap::from([(ShardId(1), ShardRecord::default())]));
        let tenants = |rows: &[Row]| rows.iter().map(|row| row.tenant.to_string()).collect::<String>();
        let mut take = |n| {
            let (rows, finished) = later.take(n);
            (tenants(&rows), finished, later.rows().count(), later.checkpoints().len())
        };
        assert_eq!(take(2), ("01".into(), 0, 3, 1));
        assert_eq!(take(2), ("23".into(), 1, 1, 1));
        assert_eq!(take(1), ("4".into(), 1, 0, 0), "no shard waits any more");
        later.push(7, vec![row(5)]);
        assert_eq!((later.ends(), later.rows().count()), (Some((&7, &7)), 1));
        assert_eq!(later.abandon(), 1);
        assert!(later.is_empty());
    }

    #[test]
    fn a_row_that_waits_does_not_bring_back_what_was_forgotten() {
        let mut later = LaterRows::default();
        later.push(1, vec![row(0), row(1)]);
        later.push(2, vec![row(1)]);
        let (mut written, mut rest) = (vec![row(2)], vec![row(0).into_gone(), row(1).into_gone(), row(1)]);
        later.remove_gone(&mut written, &mut rest);
        assert_eq!((written, &rest), (vec![row(2), row(0).into_gone(), row(1).into_gone()], &vec![row(1)]));
        later.push(3, rest);
        assert_eq!(later.rows().collect::<Vec<_>>(), [&row(1)], "of the new one");
        assert_eq!(later.take(1), (vec![row(1)], 3));
    }
}
