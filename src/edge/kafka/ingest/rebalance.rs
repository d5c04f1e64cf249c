//! Owns the answers to the group: what is done before shards are given up, and before new ones are read.
//!
//! ```text
//! revoke: close the epoch ──► wait for its commit ──► forget the state ──► give up the partitions
//! assign: accept at once ──► restore, on a thread of its own ──► open lanes, take the partitions ──► read
//! lost:   abandon what is in flight ──► forget all state ──► give up all partitions
//! ```
//!
//! The group is about the CRM topic alone: who is given its partition *p* takes partition *p* of every feed. Shards that
//! stay are not touched, but for one thing: from when a change is announced until it is answered, librdkafka fetches
//! nothing, of any shard. An answer takes as long as the commits that are under way.
//!
//! **Lost.** Whoever has been thrown out must not commit what it has read: others have read it again. It shows by the
//! member id, which changes, and only so for certain: librdkafka 2.12 says nothing when the broker forgets a member that
//! is about to join again (`rd_kafka_cgrp_handle_JoinGroup`, UNKNOWN_MEMBER_ID), and comes back under another id with the
//! partitions of before. And `rd_kafka_assignment_lost` is unset by any `incremental_assign`.

use super::super::group::accept;
use super::super::native::{self, Membership};
use super::super::restore::{RestoreRequest, ShardReady};
use super::super::source_topics::SourcePartition;
use super::once::end;
use super::*;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};

/// So long the group is waited for at the end, which usually answers within a few milliseconds.
const LEAVE: Duration = Duration::from_secs(1);

impl Ingest {
    /// Serves the group, errors and statistics; answers changes.
    pub(super) fn serve_group(&mut self) -> Result<(), IngestError> {
        loop {
            match self.consumer.poll(Duration::ZERO) {
                Some(Err(cause @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(IngestError::Call { what: "read", cause });
                }
                // The context has logged it, with more to say.
                Some(Err(error)) => tracing::debug!("read: {error}"),
                Some(Ok(message)) => {
                    // Partitions have queues of their own before they are assigned: nothing comes here.
                    use rdkafka::Message;
                    tracing::error!("a message of {} came by the wrong way", message.topic());
                }
                None => match self.consumer.context().change() {
                    Some(AssignmentChange::Revoke(shards)) => self.revoke(&shards)?,
                    Some(AssignmentChange::Assign(shards)) => self.assign(&shards)?,
                    None => return self.open_ready(),
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
            // While no broker answers, nothing is committed and nothing refused: that may last.
            lost = !self.drain(DRAIN)?;
        }
        self.restoring.retain(|shard, _| !shards.contains(shard));
        let gone = if lost { self.abandon()? } else { &self.open & shards };
        self.forget(&gone)?;
        tracing::info!("gave up {} shards, reading {}", shards.len(), self.open.len());
        self.member = now.map(|now| now.member.into());
        // Those are still ours, but what became of them in the workers was not committed.
        self.restore(&gone - shards)
    }

    fn assign(&mut self, shards: &BTreeSet<u32>) -> Result<(), IngestError> {
        if let Some(shard) = shards.last().filter(|last| **last >= self.count) {
            return Err(IngestError::Grown { before: self.count, shard: *shard });
        }
        accept(&self.consumer).map_err(|cause| IngestError::Call { what: "accept partitions", cause })?;
        let now = native::membership(self.consumer.client());
        let mut fresh = shards.clone();
        if self.is_lost(now.as_ref()) {
            let gone = self.abandon()?;
            self.forget(&gone)?;
            fresh.extend(gone);
            fresh.extend(self.restoring.keys());
        }
        self.go_on()?;
        self.joined = true;
        self.member = now.map(|now| now.member.into());
        self.restore(fresh)
    }

    /// Whether we are no longer the member whose shards we read.
    fn is_lost(&self, now: Option<&Membership>) -> bool {
        let Some(member) = &self.member else { return false };
        now.is_none_or(|now| now.member != **member || now.generation < 0)
    }

    /// Gives up all that is in flight; which shards have lost their state with it.
    fn abandon(&mut self) -> Result<BTreeSet<u32>, IngestError> {
        tracing::warn!("what was read of {} shards is not committed any more: it is others' to read", self.open.len());
        self.fence.abandon(self.epoch);
        while !self.drain(DRAIN)? {
            if self.stop.is_set() {
                return Err(IngestError::Stuck { what: "give up shards", epochs: self.in_flight, after: DRAIN });
            }
        }
        Ok(self.open.clone())
    }

    /// Forgets shards and gives up their partitions, be they none: the group waits for the call. What was read of them is
    /// committed or abandoned.
    fn forget(&mut self, gone: &BTreeSet<u32>) -> Result<(), IngestError> {
        self.lanes.retain(|lane| !gone.contains(&lane.place.0));
        self.open.retain(|shard| !gone.contains(shard));
        // Either all was committed or all is given up: nothing is left of the epoch that was being filled.
        (self.messages, self.bytes, self.begun) = (0, 0, None);
        let gone: Vec<u32> = gone.iter().copied().collect();
        let list = self.sources.list(&gone);
        if !gone.is_empty() {
            self.close(None, gone)?;
            self.tell();
        }
        self.consumer
            .incremental_unassign(&list)
            .map_err(|cause| IngestError::Call { what: "give up partitions", cause })?;
        self.go_on()
    }

    /// Wakes the shards that stay: librdkafka rested them all until the answer, but its threads that fetch sleep on for up
    /// to a second (`rd_kafka_max_block_ms`), for `rd_kafka_toppar_pause_resume` does not wake them. A seek does; it is to
    /// where we are.
    fn go_on(&self) -> Result<(), IngestError> {
        let mut list = TopicPartitionList::with_capacity(self.lanes.len());
        for lane in &self.lanes {
            // One that has read nothing and has no offset yet begins by asking a broker, which wakes it.
            if let Some(position) = lane.position {
                list.add_partition_offset(&lane.topic, lane.place.0 as i32, Offset::Offset(position))
                    .map_err(|cause| IngestError::Call { what: "list positions", cause })?;
            }
        }
        if list.count() > 0 {
            // Nobody waits for it: one that fails wakes within the second.
            if let Err(error) = self.consumer.seek_partitions(list, Duration::ZERO) {
                tracing::debug!("wake the shards that stay: {error}");
            }
        }
        Ok(())
    }

    /// Has shards restored; until then they are ours, and not read.
    fn restore(&mut self, shards: BTreeSet<u32>) -> Result<(), IngestError> {
        for shard in shards {
            self.ticket += 1;
            let fresh = RestoreRequest { shard, ticket: self.ticket, norms: Arc::clone(&self.norms) };
            self.restoring.insert(shard, self.ticket);
            self.ports.fresh.send(fresh).map_err(|_| IngestError::Alone("restore thread"))?;
        }
        Ok(())
    }

    /// Begins to read what has been restored.
    fn open_ready(&mut self) -> Result<(), IngestError> {
        let mut opened = Vec::new();
        while let Ok(ready) = self.ports.ready.try_recv() {
            let ShardReady { shard, ticket, committed, restored } = ready?;
            // It may have been taken away meanwhile, and given back since.
            if self.restoring.get(&shard) == Some(&ticket) {
                self.restoring.remove(&shard);
                self.restored.extend(restored);
                self.open_shard(shard, &committed)?;
                opened.push(shard);
            }
        }
        if !opened.is_empty() {
            tracing::info!("reading {} shards, {} of them anew", self.open.len(), opened.len());
            self.tell();
        }
        Ok(())
    }

    /// Opens a lane for each feed of a shard, and takes its partitions. The group is not asked.
    fn open_shard(&mut self, shard: u32, committed: &BTreeMap<SourcePartition, i64>) -> Result<(), IngestError> {
        let mut list = self.sources.list(&[shard]);
        for source in SOURCES {
            let place = (shard, source);
            let topic = self.sources.name(source);
            let start = committed.get(&place).copied();
            // Before the partition is assigned: afterwards some messages would already be in the common queue.
            let queue = self.consumer.split_partition_queue(topic, shard as i32).ok_or(IngestError::Call {
                what: "split off the queue of a partition",
                cause: KafkaError::Subscription(topic.into()),
            })?;
            let last = self.consumer.context().begin(topic, shard as i32, clock::now());
            let mut lane = PartitionReader::new(place, topic, self.sources.encoding(source), queue, start, last);
            lane.wake(wake(&self.waker));
            if self.closing.once {
                let (low, high) = end(&self.consumer, &lane)?;
                lane.stop_at(high);
                lane.begin_at(low);
            }
            let offset = start.map_or(Offset::Beginning, Offset::Offset);
            list.set_partition_offset(topic, shard as i32, offset)
                .map_err(|cause| IngestError::Call { what: "set where to start", cause })?;
            self.lanes.push(lane);
        }
        self.lanes.sort_by_key(|lane| lane.place.0);
        self.open.insert(shard);
        self.consumer.incremental_assign(&list).map_err(|cause| IngestError::Call { what: "take partitions", cause })
    }

    fn tell(&self) {
        self.observer.assigned(&self.open.iter().copied().collect::<Vec<_>>());
    }

    /// Leaves the group, so that others need not wait for the session to time out. To close the consumer is not enough:
    /// members with a name stay, so as to be the same when they come back (`rd_kafka_cgrp_leave_maybe`). It does leave
    /// when it unsubscribes before.
    pub(super) fn leave(&mut self) {
        // Whatever is still in flight: somebody else will read it.
        self.fence.abandon(u64::MAX);
        let (consumer, group) = (&self.consumer, self.consumer.context());
        group.leave();
        self.lanes.clear();
        // The answers to changes that were noted and not taken up, too.
        if let Err(error) = accept(consumer).and_then(|()| give_up_all(consumer)) {
            tracing::warn!("leave the group: {error}");
        }
        if native::membership(consumer.client()).is_some() {
            consumer.unsubscribe();
        }
        let asked = Instant::now();
        // The member id goes when the request does; closing the consumer waits for the answer.
        while native::membership(consumer.client()).is_some() {
            if asked.elapsed() > LEAVE {
                tracing::warn!("the group was not left in time: others will wait for the session to time out");
                break;
            }
            consumer.poll(Duration::from_millis(5));
        }
    }
}
