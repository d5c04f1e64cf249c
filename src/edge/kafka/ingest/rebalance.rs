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
//! **Lost.** A member that was removed from the group must not commit what it has read, because the new owners read it
//! again. The only reliable sign is a changed member id: librdkafka 2.12 reports nothing when the broker forgets a
//! member that is about to rejoin (`rd_kafka_cgrp_handle_JoinGroup`, UNKNOWN_MEMBER_ID), and rejoins under another id
//! with the previous partitions. And `rd_kafka_assignment_lost` is reset by any `incremental_assign`.

use super::super::group::accept;
use super::super::native::{self, Membership};
use super::super::restore::{RestoreRequest, ShardReady};
use super::super::source_topics::SourcePartition;
use super::once::bounds;
use super::*;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};

/// How long leaving the group may take; the coordinator usually answers within a few milliseconds.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

impl Ingest {
    /// Polls the consumer for rebalances, errors and statistics; answers assignment changes.
    pub(super) fn serve_group(&mut self) -> Result<(), IngestError> {
        loop {
            match self.consumer.poll(Duration::ZERO) {
                Some(Err(cause @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(IngestError::Call { what: "read", cause });
                }
                // The context has logged it with more detail.
                Some(Err(error)) => tracing::debug!("read: {error}"),
                Some(Ok(message)) => {
                    // Partition queues are split off before the partitions are assigned: no messages arrive here.
                    use rdkafka::Message;
                    tracing::error!("unexpected message of {} in the main consumer queue", message.topic());
                }
                None => match self.consumer.context().next_change() {
                    Some(AssignmentChange::Revoke(shards)) => self.revoke(&shards)?,
                    Some(AssignmentChange::Assign(shards)) => self.assign(&shards)?,
                    None => return self.open_restored(),
                },
            }
        }
    }

    fn revoke(&mut self, shards: &BTreeSet<u32>) -> Result<(), IngestError> {
        let now = native::membership(self.consumer.client());
        let mut lost = self.is_lost(now.as_ref());
        if !lost {
            if self.messages > 0 {
                self.close(None, Vec::new())?;
            }
            // While no broker answers, nothing is committed and nothing fenced; that may take long.
            lost = !self.drain(DRAIN_TIMEOUT)?;
        }
        self.restoring.retain(|shard, _| !shards.contains(shard));
        let released = if lost { self.abandon()? } else { &self.active & shards };
        self.release(&released)?;
        tracing::info!("released {} shards; {} remain", shards.len(), self.active.len());
        self.member = now.map(|now| now.member.into());
        // The rest are still assigned, but their state in the workers was not committed.
        self.restore(&released - shards)
    }

    fn assign(&mut self, shards: &BTreeSet<u32>) -> Result<(), IngestError> {
        if let Some(shard) = shards.last().filter(|last| **last >= self.shard_count) {
            return Err(IngestError::PartitionsAdded { before: self.shard_count, shard: *shard });
        }
        accept(&self.consumer).map_err(|cause| IngestError::Call { what: "accept the assignment", cause })?;
        let now = native::membership(self.consumer.client());
        let mut to_restore = shards.clone();
        if self.is_lost(now.as_ref()) {
            let released = self.abandon()?;
            self.release(&released)?;
            to_restore.extend(released);
            to_restore.extend(self.restoring.keys());
        }
        self.wake_fetchers()?;
        self.joined = true;
        self.member = now.map(|now| now.member.into());
        self.restore(to_restore)
    }

    /// Whether this process is no longer the member that its active shards were assigned to.
    fn is_lost(&self, now: Option<&Membership>) -> bool {
        let Some(member) = &self.member else { return false };
        now.is_none_or(|now| now.member != **member || now.generation < 0)
    }

    /// Abandons everything in flight; returns the shards whose state is invalid now.
    fn abandon(&mut self) -> Result<BTreeSet<u32>, IngestError> {
        tracing::warn!("abandoned uncommitted epochs of {} shards; they are read again", self.active.len());
        self.fence.abandon(self.epoch);
        while !self.drain(DRAIN_TIMEOUT)? {
            if self.stop.is_set() {
                return Err(IngestError::Stuck {
                    what: "release shards",
                    epochs: self.in_flight,
                    after: DRAIN_TIMEOUT,
                });
            }
        }
        Ok(self.active.clone())
    }

    /// Drops shards and unassigns their partitions, even if there are none: librdkafka waits for the call. What was
    /// read of them is committed or abandoned.
    fn release(&mut self, released: &BTreeSet<u32>) -> Result<(), IngestError> {
        self.readers.retain(|reader| !released.contains(&reader.partition.0));
        self.active.retain(|shard| !released.contains(shard));
        // Either everything was committed or everything is abandoned: the open epoch is empty.
        (self.messages, self.bytes, self.first_read) = (0, 0, None);
        let released: Vec<u32> = released.iter().copied().collect();
        let list = self.sources.list(&released);
        if !released.is_empty() {
            self.close(None, released)?;
            self.report_assignment();
        }
        self.consumer
            .incremental_unassign(&list)
            .map_err(|cause| IngestError::Call { what: "unassign partitions", cause })?;
        self.wake_fetchers()
    }

    /// Wakes the fetchers of the remaining shards. librdkafka pauses all partitions until the rebalance is answered,
    /// but then its fetcher threads sleep for up to another second (`rd_kafka_max_block_ms`), because
    /// `rd_kafka_toppar_pause_resume` does not wake them. A seek does; it goes to the current position.
    fn wake_fetchers(&self) -> Result<(), IngestError> {
        let mut list = TopicPartitionList::with_capacity(self.readers.len());
        for reader in &self.readers {
            // A partition without a position starts with an offset request to a broker, which wakes its fetcher.
            if let Some(position) = reader.position {
                list.add_partition_offset(&reader.topic, reader.partition.0 as i32, Offset::Offset(position))
                    .map_err(|cause| IngestError::Call { what: "list positions", cause })?;
            }
        }
        if list.count() > 0 {
            // Not awaited: if it fails, the fetchers wake within a second.
            if let Err(error) = self.consumer.seek_partitions(list, Duration::ZERO) {
                tracing::debug!("seek the remaining shards: {error}");
            }
        }
        Ok(())
    }

    /// Requests the restore of shards; until it is done they are assigned, but not read.
    fn restore(&mut self, shards: BTreeSet<u32>) -> Result<(), IngestError> {
        for shard in shards {
            self.request_id += 1;
            let request = RestoreRequest { shard, id: self.request_id, norms: Arc::clone(&self.norms) };
            self.restoring.insert(shard, self.request_id);
            self.ports.requests.send(request).map_err(|_| IngestError::ThreadEnded("restore thread"))?;
        }
        Ok(())
    }

    /// Starts reading the shards that have been restored.
    fn open_restored(&mut self) -> Result<(), IngestError> {
        let mut opened = Vec::new();
        while let Ok(ready) = self.ports.ready.try_recv() {
            let ShardReady { shard, request_id, committed, restored } = ready?;
            // It may have been revoked, and assigned again, since the request.
            if self.restoring.get(&shard) == Some(&request_id) {
                self.restoring.remove(&shard);
                self.restored.extend(restored);
                self.open_shard(shard, &committed)?;
                opened.push(shard);
            }
        }
        if !opened.is_empty() {
            tracing::info!("reading {} shards, {} of them new", self.active.len(), opened.len());
            self.report_assignment();
        }
        Ok(())
    }

    /// Opens a reader for each source of a shard, and assigns its partitions. The group is not involved.
    fn open_shard(&mut self, shard: u32, committed: &BTreeMap<SourcePartition, i64>) -> Result<(), IngestError> {
        let mut list = self.sources.list(&[shard]);
        for source in Source::LIVE {
            let partition = (shard, source);
            let topic = self.sources.name(source);
            let start = committed.get(&partition).copied();
            // Before the partition is assigned: otherwise some messages could already be in the main queue.
            let queue = self.consumer.split_partition_queue(topic, shard as i32).ok_or(IngestError::Call {
                what: "split off the queue of a partition",
                cause: KafkaError::Subscription(topic.into()),
            })?;
            let last_read = self.consumer.context().track(topic, shard as i32, clock::now());
            let mut reader =
                PartitionReader::new(partition, topic, self.sources.encoding(source), queue, start, last_read);
            reader.on_nonempty(wake(&self.waker));
            if self.stop_condition.once {
                let (low, high) = bounds(&self.consumer, &reader)?;
                reader.stop_at(high);
                reader.start_at(low);
            }
            let offset = start.map_or(Offset::Beginning, Offset::Offset);
            list.set_partition_offset(topic, shard as i32, offset)
                .map_err(|cause| IngestError::Call { what: "set the start offset", cause })?;
            self.readers.push(reader);
        }
        self.readers.sort_by_key(|reader| reader.partition.0);
        self.active.insert(shard);
        self.consumer.incremental_assign(&list).map_err(|cause| IngestError::Call { what: "assign partitions", cause })
    }

    fn report_assignment(&self) {
        self.observer.assigned(&self.active.iter().copied().collect::<Vec<_>>());
    }

    /// Leaves the group, so that other members do not wait for the session timeout. Closing the consumer is not enough:
    /// static members stay in the group, to be the same member when they come back (`rd_kafka_cgrp_leave_maybe`). A
    /// static member leaves if it unsubscribes first.
    pub(super) fn leave(&mut self) {
        // Whatever is still in flight is read by the new owners.
        self.fence.abandon(u64::MAX);
        let (consumer, group) = (&self.consumer, self.consumer.context());
        group.leave();
        self.readers.clear();
        // Also answers the changes that were queued and not processed.
        if let Err(error) = accept(consumer).and_then(|()| unassign_all(consumer)) {
            tracing::warn!("leave the group: {error}");
        }
        if native::membership(consumer.client()).is_some() {
            consumer.unsubscribe();
        }
        let started = Instant::now();
        // The member id is cleared when the request is sent; closing the consumer waits for the response.
        while native::membership(consumer.client()).is_some() {
            if started.elapsed() > LEAVE_TIMEOUT {
                tracing::warn!("leave the group: timed out; other members wait for the session timeout");
                break;
            }
            consumer.poll(Duration::from_millis(5));
        }
    }
}
