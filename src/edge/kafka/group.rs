//! Owns what the consumer says beside messages: which partitions come and go, how far behind they are, and which cannot
//! be reached. Decides nothing: the ingest thread takes the changes up when it is ready for them.

use super::{Observer, Part};
use crate::dataflow::live_state::lock;
use crate::domain::time::Timestamp;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::{Partition, Statistics};
use rdkafka::types::RDKafkaRespErr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// The assignment changes; nothing of it has happened yet, and the group waits for an answer.
#[derive(Debug)]
pub(super) enum AssignmentChange {
    /// These shards are ours from now on, beside those that were. The answer is `incremental_assign`.
    Assign(BTreeSet<u32>),
    /// These shards are to be given up. The answer is `incremental_unassign`.
    Revoke(BTreeSet<u32>),
}

/// How far behind the end of a partition the process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerLag {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Messages up to the end that can be read.
    pub messages: i64,
    /// The time of the last message read, as its producer or the broker gave it; before any is read, when reading began.
    pub read: Timestamp,
}

/// The time of the last message read of a partition, in milliseconds since the epoch.
pub(super) type LastRead = Arc<AtomicI64>;

/// The context of the consumer.
pub(super) struct GroupContext {
    changes: Mutex<VecDeque<AssignmentChange>>,
    leaving: AtomicBool,
    unreachable: Mutex<BTreeSet<(String, i32)>>,
    /// Of every partition that was ever read.
    read: Mutex<BTreeMap<(String, i32), LastRead>>,
    observer: Arc<dyn Observer>,
}

impl GroupContext {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        let (changes, unreachable, read) = Default::default();
        Self { changes, leaving: AtomicBool::new(false), unreachable, read, observer }
    }

    /// The next change that waits to be answered.
    pub(super) fn change(&self) -> Option<AssignmentChange> {
        lock(&self.changes).pop_front()
    }

    /// From here on changes are answered at once: the consumer is about to leave the group.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// A partition is read from `now` on; what is returned is to be told the time of each message.
    pub(super) fn begin(&self, topic: &str, partition: i32, now: Timestamp) -> LastRead {
        let last = LastRead::new(now.0.into());
        lock(&self.read).insert((topic.to_owned(), partition), Arc::clone(&last));
        last
    }

    /// The partitions whose leader cannot be reached: silence there says nothing.
    pub(super) fn unreachable(&self) -> BTreeSet<(String, i32)> {
        lock(&self.unreachable).clone()
    }
}

/// How many messages a partition has that were not read, as its leader told last. (`consumer_lag` is about offsets that a
/// consumer stores or commits by itself. Ours are committed by the producer, so it is never known.)
fn behind(partition: &Partition) -> Option<i64> {
    let end = partition.ls_offset;
    // Before the first message, reading is where it was to begin; at the end there may be markers that nobody reads.
    let next = partition.app_offset.max(partition.query_offset);
    match end {
        ..0 => None,
        _ if partition.eof_offset >= end => Some(0),
        _ => (next >= 0).then(|| (end - next).max(0)),
    }
}

impl ClientContext for GroupContext {
    fn stats(&self, statistics: Statistics) {
        let up = |node: i32| statistics.brokers.values().any(|broker| broker.nodeid == node && broker.state == "UP");
        let mut lags = Vec::new();
        let mut unreachable = BTreeSet::new();
        let read = lock(&self.read);
        for (topic, partitions) in &statistics.topics {
            for (number, partition) in &partitions.partitions {
                // What is not assigned is not desired; -1 stands for "no partition in particular".
                if *number < 0 || !partition.desired {
                    continue;
                }
                if !up(partition.leader) {
                    unreachable.insert((topic.clone(), *number));
                }
                let place = (topic.clone(), *number);
                if let Some((last, messages)) = read.get(&place).zip(behind(partition)) {
                    let read = Timestamp(last.load(Ordering::Relaxed));
                    lags.push(ConsumerLag { topic: place.0, partition: *number, messages, read });
                }
            }
        }
        drop(read);
        lags.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        *lock(&self.unreachable) = unreachable;
        self.observer.lag(&lags);
        self.observer.alive(Part::Ingest);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes by its queue as well, where it is no error.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        tracing::warn!("consumer: {error}: {reason}");
    }
}

impl ConsumerContext for GroupContext {
    /// Only notes the change: answering it may take seconds and needs all of the ingest thread's state.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let taken = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.leaving.load(Ordering::Relaxed) {
            let answered = if taken { accept(consumer) } else { give_up_all(consumer) };
            if let Err(error) = answered {
                tracing::warn!("leave the group: {error}");
            }
            return;
        }
        // The group assigns the CRM topic alone: its partitions are the shards.
        let shards =
            partitions.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect();
        lock(&self.changes).push_back(if taken {
            AssignmentChange::Assign(shards)
        } else {
            AssignmentChange::Revoke(shards)
        });
    }
}

/// Answers an assignment with nothing to read yet: librdkafka keeps what the group assigns apart from what is read, and
/// waits only for the call.
pub(super) fn accept(consumer: &BaseConsumer<GroupContext>) -> KafkaResult<()> {
    consumer.incremental_assign(&TopicPartitionList::new())
}

/// Gives up whatever is read.
pub(super) fn give_up_all(consumer: &BaseConsumer<GroupContext>) -> KafkaResult<()> {
    consumer.incremental_unassign(&consumer.assignment()?)
}
