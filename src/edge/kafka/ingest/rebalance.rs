//! Owns the answers to the group: what is done before partitions are given up, and before new ones are read.
//!
//! ```text
//! revoke: close the epoch ──► wait for its commit ──► note positions ──► give up all partitions
//! assign: ask the committed offsets ──► forget shards that are gone ──► restore those that are new ──► read
//! ```
//!
//! Assignments that were lost (the group threw us out) are not committed any more: whoever has the partitions now reads
//! from the last commit.

use super::super::feeds::Place;
use super::once::end;
use super::*;
use rdkafka::TopicPartitionList;
use rdkafka::topic_partition_list::Offset;
use std::collections::{BTreeMap, BTreeSet};

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
                    Some(Change::Revoke) => self.revoke()?,
                    Some(Change::Assign(partitions)) => self.assign(&partitions)?,
                    None => return Ok(()),
                },
            }
        }
    }

    fn revoke(&mut self) -> Result<(), IngestError> {
        let lost = self.consumer.assignment_lost();
        if lost || self.refused.is_some() {
            tracing::warn!("the group took the partitions of {} shards without asking", self.assigned.len());
            self.ports.abandoned.store(self.term, Ordering::Relaxed);
            if self.messages > 0 || self.in_flight > 0 {
                self.shards.taint();
            }
        } else if self.messages > 0 {
            self.close(None, Vec::new())?;
        }
        // While no broker answers, nothing is committed and nothing refused: that may last.
        while !self.drain(DRAIN)? {
            tracing::warn!("{} epochs are not committed in time and given up", self.in_flight);
            self.ports.abandoned.store(self.term, Ordering::Relaxed);
            if self.stop.is_set() {
                return Err(IngestError::Stuck { what: "give up partitions", epochs: self.in_flight, after: DRAIN });
            }
        }
        for lane in self.lanes.drain(..) {
            self.shards.leave(lane.place, lane.position);
        }
        (self.messages, self.bytes, self.begun) = (0, 0, None);
        self.assigned.clear();
        self.refused = None;
        self.observer.assigned(&[]);
        self.consumer.unassign().map_err(|cause| IngestError::Call { what: "give up partitions", cause })
    }

    fn assign(&mut self, partitions: &TopicPartitionList) -> Result<(), IngestError> {
        let assigned = shards::whole(partitions, &self.feeds).unwrap_or_else(|shard| {
            // Members that subscribe to other topics, as during an upgrade: the next rebalance will be better.
            tracing::error!("shard {shard} is torn between members of the group; nothing is read");
            BTreeSet::new()
        });
        if let Some(shard) = assigned.last().filter(|last| **last >= self.count) {
            return Err(IngestError::Grown { before: self.count, shard: *shard });
        }
        let mut list = TopicPartitionList::new();
        for shard in &assigned {
            for feed in FEEDS {
                list.add_partition(self.feeds.name(feed), *shard as i32);
            }
        }
        let committed = self.committed(&list)?;
        let plan = self.shards.plan(&assigned, &committed);
        self.term += 1;
        if !plan.gone.is_empty() {
            self.close(None, plan.gone)?;
        }
        self.restore(&plan.fresh);
        self.open(&mut list, &plan.starts, &committed)?;
        self.assigned = assigned.into_iter().collect();
        self.observer.assigned(&self.assigned);
        tracing::info!("reading {} shards, {} of them anew", self.assigned.len(), plan.fresh.len());
        self.consumer.assign(&list).map_err(|cause| IngestError::Call { what: "take partitions", cause })
    }

    /// The group's committed offsets; waits until no transaction of a predecessor is open on them: at most until it times
    /// out. One that outlasts that hangs in the broker (a lone broker that crashes while it ends a transaction forgets
    /// the markers of it), and is for `kafka-transactions abort`.
    fn committed(&self, list: &TopicPartitionList) -> Result<BTreeMap<Place, i64>, IngestError> {
        if list.count() == 0 {
            return Ok(BTreeMap::new());
        }
        let started = Instant::now();
        loop {
            match self.consumer.committed_offsets(list.clone(), ASK) {
                Ok(committed) => return Ok(shards::offsets(&committed, &self.feeds)),
                Err(error) if started.elapsed() < 3 * ASK && !self.stop.is_set() => {
                    tracing::warn!("ask the committed offsets: {error}; trying again");
                }
                Err(cause) => {
                    let what = "ask the committed offsets, on which a transaction may be open";
                    return Err(IngestError::Call { what, cause });
                }
            }
            self.observer.alive(Part::Ingest);
        }
    }

    /// The place where the state of shards that are new here will be read from its topic, before anything else is.
    /// Until then they start empty at their committed offsets.
    fn restore(&mut self, fresh: &[u32]) {
        if !fresh.is_empty() {
            tracing::debug!("shards {fresh:?} start without state");
        }
    }

    /// Opens a lane for every partition of the list, and writes into it where to start.
    fn open(
        &mut self,
        list: &mut TopicPartitionList,
        starts: &BTreeMap<Place, Option<i64>>,
        committed: &BTreeMap<Place, i64>,
    ) -> Result<(), IngestError> {
        for (place, start) in starts {
            let (shard, feed) = *place;
            let topic = self.feeds.name(feed);
            // Before the partition is assigned: afterwards some messages would already be in the common queue.
            let queue = self.consumer.split_partition_queue(topic, shard as i32).ok_or(IngestError::Call {
                what: "split off the queue of a partition",
                cause: KafkaError::Subscription(topic.into()),
            })?;
            let committed = committed.get(place).copied();
            let mut lane = Lane::new(*place, topic, self.feeds.encoding(feed), queue, *start, committed);
            lane.wake(wake(&self.waker));
            if self.closing.once {
                let (low, high) = end(&self.consumer, &lane)?;
                lane.stop_at(high);
                lane.reach(low);
                if committed.is_none() {
                    // Without an offset the group begins there anyway.
                    lane.reported = lane.position;
                }
            }
            let offset = start.map_or(Offset::Beginning, Offset::Offset);
            list.set_partition_offset(topic, shard as i32, offset)
                .map_err(|cause| IngestError::Call { what: "set where to start", cause })?;
            self.lanes.push(lane);
        }
        Ok(())
    }

    /// Leaves the group, so that others need not wait for the session to time out.
    pub(super) fn leave(&mut self) {
        self.consumer.context().leave();
        self.lanes.clear();
        if let Err(error) = self.consumer.unassign() {
            tracing::warn!("leave the group: {error}");
        }
    }
}
