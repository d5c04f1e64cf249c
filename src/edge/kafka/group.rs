//! Owns what the consumer reports besides messages: assigned and revoked partitions, lag, and unreachable partitions.
//! Decides nothing: the ingest thread processes assignment changes when it is ready for them.

use super::client::STATISTICS_INTERVAL;
use super::client_log;
use super::event::{Observer, RuntimeEvent};
use super::leaders::Leaders;
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
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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
    /// The high watermark and the last stable offset, by the leader's last response, and the last offset that was found to be the
    /// end; negative if unknown.
    pub(super) high: AtomicI64,
    pub(super) stable: AtomicI64,
    pub(super) end: AtomicI64,
    /// Since when the leader has answered, by the last report; `None` if it does not. Without an answer these two are old.
    pub(super) answering_since: Mutex<Option<Instant>>,
}

/// The leader of a partition does not answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Silent;

impl Tracked {
    /// When everything was read that the partition contained; `Ok(None)`: not as far as is known. `position`: the next offset to
    /// read; `end_seen`: its end was read last, and its queue was found empty at this instant.
    pub(super) fn caught_up(
        &self,
        position: Option<i64>,
        end_seen: Option<Instant>,
        now: Instant,
    ) -> Result<Option<Instant>, Silent> {
        let Some(since) = *lock(&self.answering_since) else { return Err(Silent) };
        let [high, stable, end] = [&self.high, &self.stable, &self.end].map(|known| known.load(Ordering::Relaxed));
        let found = match end_seen {
            _ if high < 0 => None,
            // A response may have nothing of a partition that has something, because others fill it: then the end is old.
            Some(empty) if high == stable && end >= high => Some(empty),
            _ if position.is_some_and(|position| position >= high) => now.checked_sub(STATISTICS_INTERVAL),
            _ => None,
        };
        Ok(found.filter(|found| *found >= since))
    }
}

/// The context of the consumer.
pub(super) struct GroupContext {
    changes: Mutex<VecDeque<AssignmentChange>>,
    leaving: AtomicBool,
    /// The number of changes that were answered at once, because the member leaves.
    answered: AtomicU64,
    unreachable: Mutex<BTreeSet<(String, i32)>>,
    leaders: Mutex<Leaders>,
    /// One entry for every partition that was ever read.
    tracked: Mutex<BTreeMap<(String, i32), Arc<Tracked>>>,
    observer: Arc<Observer>,
}

impl GroupContext {
    /// `wait`: how long a broker may wait for messages before it responds.
    pub(super) fn new(observer: Arc<Observer>, wait: Duration) -> Self {
        let (changes, unreachable, tracked) = Default::default();
        let (leaving, answered, leaders) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Leaders::new(wait)));
        Self { changes, leaving, answered, unreachable, leaders, tracked, observer }
    }

    /// Takes the next unanswered change.
    pub(super) fn next_change(&self) -> Option<AssignmentChange> {
        lock(&self.changes).pop_front()
    }

    /// Answers all further changes at once: the consumer is about to leave the group.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// The number of changes that were answered since [`Self::leave`].
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Starts tracking a partition that is read from `now` on; the reader updates the timestamp.
    pub(super) fn track(&self, topic: &str, partition: i32, now: Timestamp) -> Arc<Tracked> {
        let (high, stable, end) = ((-1).into(), (-1).into(), (-1).into());
        let tracked = Tracked { last_read: now.0.into(), high, stable, end, answering_since: Mutex::default() };
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
    let position = partition.app_offset.max(partition.query_offset);
    // A partition of which nothing was read yet is read from its beginning.
    let next = if position < 0 { partition.lo_offset } else { position };
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
        let mut leaders = lock(&self.leaders);
        for broker in statistics.brokers.values().filter(|broker| broker.nodeid >= 0) {
            leaders.report(broker, measured_at);
        }
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
                of_reader.end.store(partition.eof_offset, Ordering::Relaxed);
                *lock(&of_reader.answering_since) = leaders.answering_since(partition.leader);
                if let Some(messages) = unread(partition) {
                    let age = now - Timestamp(of_reader.last_read.load(Ordering::Relaxed));
                    lags.insert(key, PartitionLag { messages, age, measured_at });
                }
            }
        }
        drop(tracked);
        drop(leaders);
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
            self.answered.fetch_add(1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: Duration = Duration::from_millis(200);

    /// How long before `now` everything was read.
    fn caught_up(
        known: [i64; 3],
        answers: Option<u64>,
        position: i64,
        at_end: bool,
    ) -> Result<Option<Duration>, Silent> {
        let now = Instant::now() + Duration::from_secs(60);
        let [high, stable, end] = known.map(AtomicI64::new);
        let since = answers.map(|seconds| now - Duration::from_secs(seconds));
        let tracked = Tracked { last_read: 0.into(), high, stable, end, answering_since: Mutex::new(since) };
        let found = tracked.caught_up(Some(position), at_end.then_some(now - EMPTY), now)?;
        Ok(found.map(|at| now - at))
    }

    #[test]
    fn lag_is_known_before_anything_was_read() {
        let (invalid, beginning) = (-1001, -2);
        let partition =
            Partition { ls_offset: 12, lo_offset: 2, eof_offset: invalid, app_offset: invalid, ..Partition::default() };
        assert_eq!(unread(&Partition { query_offset: beginning, ..partition.clone() }), Some(10));
        assert_eq!(unread(&Partition { query_offset: 5, ..partition.clone() }), Some(7));
        assert_eq!(unread(&Partition { query_offset: 5, app_offset: 11, ..partition.clone() }), Some(1));
        assert_eq!(unread(&Partition { query_offset: 5, eof_offset: 12, ..partition.clone() }), Some(0));
        assert_eq!(unread(&Partition { query_offset: beginning, ls_offset: invalid, ..partition }), None);
    }

    #[test]
    fn a_partition_is_read_if_its_leader_says_so() {
        assert_eq!(caught_up([7, 7, 7], Some(30), 7, true), Ok(Some(EMPTY)));
        // Transaction markers at the end have offsets, too.
        assert_eq!(caught_up([7, 7, 7], Some(30), 6, true), Ok(Some(EMPTY)));
        assert_eq!(caught_up([7, 7, -1], Some(30), 7, false), Ok(Some(STATISTICS_INTERVAL)));
        assert_eq!(caught_up([7, 7, -1], Some(30), 6, false), Ok(None));
        assert_eq!(caught_up([-1, -1, -1], Some(30), 0, true), Ok(None));
    }

    #[test]
    fn messages_of_an_open_transaction_are_unread() {
        assert_eq!(caught_up([9, 7, 7], Some(30), 7, true), Ok(None));
    }

    #[test]
    fn a_partition_that_has_grown_since_its_end_was_read_is_unread() {
        assert_eq!(caught_up([9, 9, 7], Some(30), 7, true), Ok(None));
    }

    #[test]
    fn nothing_is_known_of_the_time_before_the_leader_answered_again() {
        assert_eq!(caught_up([7, 7, 7], Some(0), 7, true), Ok(None));
        assert_eq!(caught_up([7, 7, -1], Some(0), 7, false), Ok(None));
        assert_eq!(caught_up([7, 7, 7], None, 7, true), Err(Silent));
    }
}
