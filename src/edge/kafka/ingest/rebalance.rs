//! Owns the handling of rebalances: what happens before shards are released, and before new ones are read.
//!
//! ```text
//! revoke: close the epoch ──► wait for its commit ──► drop the state ──► unassign the partitions
//! assign: accept at once ──► restore, on a separate thread ──► open readers, assign the partitions ──► read
//! lost:   abandon what is in flight ──► drop all state ──► unassign all partitions
//! ```
//!
//! The group assigns the CRM topic only: the owner of its partition *p* reads partition *p* of every source. Shards
//! that stay are not affected, with one exception: from the announcement of a rebalance until it is answered,
//! librdkafka fetches nothing for any shard. An answer takes as long as the commits in flight.
//!
//! **Orphans.** If shards have no owner, this member leaves the group and joins again (`orphans.rs`): a revocation of all
//! shards, then an assignment.
//!
//! **Lost.** A member that was removed from the group must not commit what it has read, because the new owners read it
//! again. The only reliable sign is a changed member id: librdkafka 2.12 reports nothing when the broker forgets a
//! member that is about to rejoin (`rd_kafka_cgrp_handle_JoinGroup`, UNKNOWN_MEMBER_ID), and rejoins under another id
//! with the previous partitions. And `rd_kafka_assignment_lost` is reset by any `incremental_assign`.

use super::Ingest;
use super::epoch_cutter::Boundary;
use crate::domain::source::ShardId;
use crate::edge::kafka::error::RunError;
use crate::edge::kafka::event::RuntimeEvent;
use crate::edge::kafka::group::AssignmentChange;
use crate::edge::kafka::watch::Finding;
use std::collections::BTreeSet;

impl Ingest {
    /// Polls the consumer, and answers changes of the assignment.
    pub(super) fn serve_group(&mut self) -> Result<(), RunError> {
        match self.watch.findings.try_recv() {
            Ok(Finding::Orphans) => self.group.rejoin(),
            // A restart finds out what is lost.
            Ok(Finding::Recreated(lost)) => return Err(RunError::LostLog(lost)),
            Err(_) => {}
        }
        while let Some(change) = self.group.next_change()? {
            match change {
                AssignmentChange::Revoke(shards) => self.revoke(&shards)?,
                AssignmentChange::Assign(shards) => self.assign(&shards)?,
            }
        }
        self.group.join_again()?;
        self.open_restored()
    }

    fn revoke(&mut self, shards: &BTreeSet<ShardId>) -> Result<(), RunError> {
        let now = self.group.membership();
        let mut lost = self.group.is_lost(now.as_ref());
        if !lost {
            if self.cutter.messages > 0 {
                self.cut(Boundary::Regular)?;
            }
            // While no broker answers, nothing is committed and nothing fenced; that may take long.
            lost = !self.drain()?;
        }
        self.restore.cancel(shards);
        let released = if lost { self.abandon()? } else { &self.readers.shards() & shards };
        self.release(&released)?;
        let remaining = self.readers.shards().len();
        self.observer.emit(RuntimeEvent::ShardsReleased { revoked: shards.len(), remaining });
        let generation = now.as_ref().map_or(-1, |now| now.generation);
        self.group.id = now.map(|now| now.member.into());
        // The rest are still assigned, but their state in the workers was not committed.
        let rest = &released - shards;
        self.report_received(&rest, generation);
        self.restore.request(rest, &self.norms)
    }

    fn assign(&mut self, shards: &BTreeSet<ShardId>) -> Result<(), RunError> {
        // Once the assignment is accepted, the next generation may begin.
        let generation = self.group.membership().map_or(-1, |now| now.generation);
        self.group.accept(shards)?;
        let now = self.group.membership();
        let mut to_restore = shards.clone();
        if self.group.is_lost(now.as_ref()) {
            let released = self.abandon()?;
            self.release(&released)?;
            to_restore.extend(released);
            to_restore.extend(self.restore.shards());
        }
        self.group.wake_fetchers(&self.readers.list)?;
        self.group.id = now.map(|now| now.member.into());
        self.report_received(&to_restore, generation);
        self.restore.request(to_restore, &self.norms)
    }

    /// Abandons everything in flight; returns the shards whose state is invalid now.
    fn abandon(&mut self) -> Result<BTreeSet<ShardId>, RunError> {
        let shards = self.readers.shards();
        self.observer.emit(RuntimeEvent::EpochsAbandoned(shards.len()));
        self.commit.fence.abandon(self.cutter.epoch);
        self.drain_unless_stopped("release shards")?;
        Ok(shards)
    }

    /// Drops shards and unassigns their partitions. What was read of them is committed or abandoned.
    fn release(&mut self, released: &BTreeSet<ShardId>) -> Result<(), RunError> {
        self.readers.close(released);
        // Either everything was committed or everything is abandoned: the open epoch is empty.
        self.cutter.discard();
        // The next owner makes its own comparison.
        self.cutter.open_alerts.retain(|repair| !released.contains(&repair.shard));
        let released: Vec<ShardId> = released.iter().copied().collect();
        if !released.is_empty() {
            self.cut(Boundary::Release(released.clone()))?;
            self.report_assignment();
        }
        self.group.unassign(&released)?;
        Ok(self.group.wake_fetchers(&self.readers.list)?)
    }

    /// Starts reading the shards that have been restored.
    fn open_restored(&mut self) -> Result<(), RunError> {
        let (mut new, mut without_state) = (0, Vec::new());
        while let Some((shard, ready)) = self.restore.next_ready()? {
            if ready.restored.is_none() {
                without_state.push(shard);
            }
            self.cutter.restored.extend(ready.restored);
            self.cutter.open_alerts.extend(ready.open_alerts);
            let readers = self.group.open(shard, &ready.starts, self.bounded.is_some())?;
            self.cutter.logs.extend(readers.iter().map(|reader| (reader.partition, reader.log)));
            self.readers.open(readers);
            new += 1;
        }
        if new > 0 {
            self.observer.emit(RuntimeEvent::ShardsOpened { new, all: self.readers.shards().len() });
            self.report_assignment();
            self.observer.emit(RuntimeEvent::WithoutState(&without_state));
        }
        Ok(())
    }

    fn report_received(&self, shards: &BTreeSet<ShardId>, generation: i32) {
        self.observer.emit(RuntimeEvent::Received(&shards.iter().copied().collect::<Vec<_>>(), generation));
    }

    fn report_assignment(&self) {
        self.observer.emit(RuntimeEvent::Assigned(&self.readers.shards().into_iter().collect::<Vec<_>>()));
    }
}
