//! Owns what the consumer reports besides messages: assigned and revoked partitions, lag, and unreachable partitions.
//! Decides nothing: the ingest thread processes assignment changes when it is ready for them.

use super::client_log;
use super::event::{Observer, RuntimeEvent};
use crate::dataflow::live::lock;
use crate::domain::source::ShardId;
use crate::domain::time::Timestamp;
use crate::edge::clock;
use crate::telemetry::liveness::Thread;
use crate::telemetry::processor_metrics::PartitionLag;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::{Partition, Statistics};
use rdkafka::types::RDKafkaRespErr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A pending change of the assignment; it takes effect when it is answered.
#[derive(Debug)]
pub(super) enum AssignmentChange {
    /// Shards added to the assignment. The answer is `incremental_assign`.
    Assign(BTreeSet<ShardId>),
    /// Shards removed from the assignment. The answer is `incremental_unassign`.
    Revoke(BTreeSet<ShardId>),
}

/// What the reader of a partition and the consumer tell each other.
#[derive(Debug)]
pub(super) struct Tracked {
    /// The Kafka timestamp of the last message read, in milliseconds since the Unix epoch.
    pub(super) last_read: AtomicI64,
    /// The high watermark and the last stable offset, by the leader's last response; -1 if unknown.
    pub(super) high: AtomicI64,
    pub(super) stable: AtomicI64,
}

/// The context of the consumer.
pub(super) struct GroupContext {
    changes: Mutex<VecDeque<AssignmentChange>>,
    leaving: AtomicBool,
    unreachable: Mutex<BTreeSet<(String, i32)>>,
    /// One entry for every partition that was ever read.
    tracked: Mutex<BTreeMap<(String, i32), Arc<Tracked>>>,
    observer: Arc<Observer>,
}

impl GroupContext {
    pub(super) fn new(observer: Arc<Observer>) -> Self {
        let (changes, unreachable, tracked) = Default::default();
        Self { changes, leaving: AtomicBool::new(false), unreachable, tracked, observer }
    }

    /// Takes the next unanswered change.
    pub(super) fn next_change(&self) -> Option<AssignmentChange> {
        lock(&self.changes).pop_front()
    }

    /// Answers all further changes at once: the consumer is about to leave the group.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Starts tracking a partition that is read from `now` on; the reader updates the timestamp.
    pub(super) fn track(&self, topic: &str, partition: i32, now: Timestamp) -> Arc<Tracked> {
        let tracked = Tracked { last_read: now.0.into(), high: (-1).into(), stable: (-1).into() };
        let tracked = Arc::new(tracked);
        lock(&self.tracked).insert((topic.to_owned(), partition), Arc::clone(&tracked));
        tracked
    }

    /// The partitions whose leader is unreachable: receiving no messages does not make them idle.
    pub(super) fn unreachable(&self) -> BTreeSet<(String, i32)> {
        lock(&self.unreachable).clone()
    }
}

/// Unread messages of a partition, by the leader's last response. (`consumer_lag` needs offsets stored or committed by
/// the consumer. Ours are committed by the producer, so it is never known.)
fn unread(partition: &Partition) -> Option<i64> {
    let end = partition.ls_offset;
    // Before the first message the position is the start offset; at the end there may be transaction markers.
    let next = partition.app_offset.max(partition.query_offset);
    match end {
        ..0 => None,
        _ if partition.eof_offset >= end => Some(0),
        _ => (next >= 0).then(|| (end - next).max(0)),
    }
}

impl ClientContext for GroupContext {
    fn stats(&self, statistics: Statistics) {
        self.observer.emit(RuntimeEvent::Reachable(statistics.brokers.values().any(|broker| broker.state == "UP")));
        let up = |node: i32| statistics.brokers.values().any(|broker| broker.nodeid == node && broker.state == "UP");
        let mut lags = BTreeMap::new();
        let (now, measured_at) = (clock::now(), Instant::now());
        let mut unreachable = BTreeSet::new();
        let tracked = lock(&self.tracked);
        for (topic, partitions) in &statistics.topics {
            for (id, partition) in &partitions.partitions {
                // Partitions that are not assigned are not desired; -1 means no specific partition.
                if *id < 0 || !partition.desired {
                    continue;
                }
                if !up(partition.leader) {
                    unreachable.insert((topic.clone(), *id));
                }
                let key = (topic.clone(), *id);
                let Some(of_reader) = tracked.get(&key) else { continue };
                of_reader.high.store(partition.hi_offset, Ordering::Relaxed);
                of_reader.stable.store(partition.ls_offset, Ordering::Relaxed);
                if let Some(messages) = unread(partition) {
                    let age = now - Timestamp(of_reader.last_read.load(Ordering::Relaxed));
                    lags.insert(key, PartitionLag { messages, age, measured_at });
                }
            }
        }
        drop(tracked);
        *lock(&self.unreachable) = unreachable;
        self.observer.emit(RuntimeEvent::Lag(lags));
        self.observer.emit(RuntimeEvent::Alive(Thread::Ingest));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client_log::error(&error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client_log::line(level, facility, line);
    }
}

impl ConsumerContext for GroupContext {
    /// Only queues the change: answering it may take seconds and needs the ingest thread's state.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let is_assign = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.leaving.load(Ordering::Relaxed) {
            let answered = if is_assign { accept(consumer) } else { unassign_all(consumer) };
            if let Err(error) = answered {
                tracing::warn!("leave the group: {error}");
            }
            return;
        }
        // The group assigns the CRM topic only: its partitions are the shards.
        let shards =
            partitions.elements().iter().filter_map(|element| ShardId::from_partition(element.partition())).collect();
        lock(&self.changes).push_back(if is_assign {
            AssignmentChange::Assign(shards)
        } else {
            AssignmentChange::Revoke(shards)
        });
    }
}

/// Answers an assignment without starting to read: librdkafka keeps the group's assignment separate from the partitions
/// it fetches, and waits only for the call.
pub(super) fn accept(consumer: &BaseConsumer<GroupContext>) -> KafkaResult<()> {
    consumer.incremental_assign(&TopicPartitionList::new())
}

/// Unassigns all partitions that are read.
pub(super) fn unassign_all(consumer: &BaseConsumer<GroupContext>) -> KafkaResult<()> {
    consumer.incremental_unassign(&consumer.assignment()?)
}
