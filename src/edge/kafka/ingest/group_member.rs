//! Owns the membership in the consumer group, and the calls of the consumer.

use super::partition_readers::{Obstacle, PartitionReader};
use super::unreadable::{Search, Step};
use crate::codec::state::SourceLog;
use crate::config::Config;
use crate::dataflow::epoch::UnreadableBatch;
use crate::domain::source::{Offset, ShardId, Source};
use crate::edge::clock;
use crate::edge::kafka::client::{self, CallError, is_permanent};
use crate::edge::kafka::error::RunError;
use crate::edge::kafka::event::Observer;
use crate::edge::kafka::group::{AssignmentChange, GroupContext, accept, unassign_all};
use crate::edge::kafka::native::{self, Membership};
use crate::edge::kafka::part::Waker;
use crate::edge::kafka::source_logs::{SourceLogs, Start};
use crate::edge::kafka::source_topics::{SourcePartition, SourceTopics};
use crate::edge::memory::MemoryBudget;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Timeout of synchronous broker requests.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two attempts of them.
const QUERY_PAUSE: Duration = Duration::from_millis(50);
/// Timeout of the requests that find the end of a batch that cannot be read.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The most changes and errors that are taken from the queue of a consumer before it is closed.
const MAX_QUEUED: usize = 1000;

/// How long leaving the group may take; the coordinator usually answers within a few milliseconds.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// This process as a member of its group.
pub(crate) struct GroupMember {
    pub(crate) consumer: Arc<BaseConsumer<GroupContext>>,
    sources: SourceTopics,
    /// The partition count of the source topics.
    shards: u32,
    logs: SourceLogs,
    /// The member id under which the shards were assigned.
    pub(super) id: Option<Arc<str>>,
    /// The group has sent an assignment, possibly an empty one.
    pub(super) joined: bool,
    /// It is leaving the group, to join again.
    rejoining: bool,
    /// Wakes the ingest thread when there is something to read.
    waker: Waker,
}

impl GroupMember {
    pub(crate) fn new(
        (config, memory): (&Config, MemoryBudget),
        shards: u32,
        logs: SourceLogs,
        waker: Waker,
        observer: Arc<Observer>,
    ) -> Result<Self, CallError> {
        let context = GroupContext::new(observer, client::fetch_wait(&config.kafka));
        let mut consumer = client::consumer(&config.kafka, memory, shards as usize * Source::LIVE.len(), context)?;
        consumer.set_nonempty_callback(callback(&waker));
        let (consumer, sources) = (Arc::new(consumer), SourceTopics::of(&config.topics));
        Ok(Self { consumer, sources, shards, logs, id: None, joined: false, rejoining: false, waker })
    }

    /// Joins the group; the current thread is the one to wake. The group assigns the CRM topic only; the partitions of
    /// the other sources follow it.
    pub(super) fn join(&self) -> Result<(), CallError> {
        self.waker.register();
        self.consumer.subscribe(&[self.sources.name(Source::GROUP)]).map_err(CallError::of("join the group"))
    }

    /// Leaves the group, to join it again. The group revokes all shards first.
    pub(super) fn rejoin(&mut self) {
        if self.membership().is_some() {
            self.consumer.unsubscribe();
            self.rejoining = true;
        }
    }

    /// Joins the group again, once it was left.
    pub(super) fn join_again(&mut self) -> Result<(), CallError> {
        if self.rejoining && self.membership().is_none() {
            (self.id, self.joined, self.rejoining) = (None, false, false);
            self.join()?;
        }
        Ok(())
    }

    /// Polls the consumer for rebalances, errors and statistics; returns the next unanswered change of the assignment.
    pub(super) fn next_change(&self) -> Result<Option<AssignmentChange>, CallError> {
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            match polled {
                Err(cause @ KafkaError::MessageConsumptionFatal(_)) => {
                    return Err(CallError { what: "read", cause });
                }
                Err(cause) if is_permanent(&cause) => {
                    let what = match cause.rdkafka_error_code() {
                        Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                            "join the group; the right Read on the group is missing"
                        }
                        _ => "read the topics of the group; the right Read or Describe on them is missing",
                    };
                    return Err(CallError { what, cause });
                }
                // The context has logged it with more detail.
                Err(error) => tracing::debug!("read: {error}"),
                // Partition queues are split off before the partitions are assigned: no messages arrive here.
                Ok(message) => {
                    tracing::error!("unexpected message of {} in the main consumer queue", message.topic());
                }
            }
        }
        Ok(self.consumer.context().next_change())
    }

    /// Accepts an assignment, so that the group does not wait.
    pub(super) fn accept(&mut self, shards: &BTreeSet<ShardId>) -> Result<(), RunError> {
        if let Some(shard) = shards.last().filter(|last| last.0 >= self.shards) {
            return Err(RunError::PartitionsAdded { before: self.shards, shard: *shard });
        }
        accept(&self.consumer).map_err(CallError::of("accept the assignment"))?;
        self.joined = true;
        Ok(())
    }

    /// The membership now; `None`: this process is not a member.
    pub(super) fn membership(&self) -> Option<Membership> {
        native::membership(self.consumer.client())
    }

    /// Whether this process is no longer the member that its shards were assigned to.
    pub(super) fn is_lost(&self, now: Option<&Membership>) -> bool {
        let Some(id) = &self.id else { return false };
        now.is_none_or(|now| now.member != **id || now.generation < 0)
    }

    /// The next offsets to read.
    pub(super) fn positions(&self) -> Result<BTreeMap<SourcePartition, Offset>, CallError> {
        let list = self.consumer.position().map_err(CallError::of("get the positions"))?;
        Ok(self.sources.offsets(&list))
    }

    /// Opens a reader for each source of a shard, and assigns its partitions. The group is not involved. `bounded`: the
    /// readers stop at the current end offsets.
    pub(super) fn open(
        &self,
        shard: ShardId,
        starts: &BTreeMap<Source, Start>,
        bounded: bool,
    ) -> Result<Vec<PartitionReader>, CallError> {
        let mut list = self.sources.list(&[shard]);
        let mut readers = Vec::with_capacity(Source::LIVE.len());
        for source in Source::LIVE {
            let log = SourceLog { topic: self.logs.id(source), shift: 0 };
            let start = starts.get(&source).copied().unwrap_or(Start { log, ..Start::default() });
            let mut reader = self.reader((shard, source), start)?;
            if bounded {
                let (low, high) = self.bounds(&reader)?;
                reader.stop_at(high);
                reader.start_at(low);
            }
            let next = start.next.map(|next| rdkafka::Offset::Offset(next.0 - start.log.shift));
            let offset = next.unwrap_or(rdkafka::Offset::Beginning);
            list.set_partition_offset(&reader.topic, shard.partition(), offset)
                .map_err(CallError::of("set the start offset"))?;
            readers.push(reader);
        }
        self.consumer.incremental_assign(&list).map_err(CallError::of("assign partitions"))?;
        Ok(readers)
    }

    /// A reader with its own queue. Before the partition is assigned: otherwise some messages could already be in the
    /// main queue.
    fn reader(&self, partition: SourcePartition, start: Start) -> Result<PartitionReader, CallError> {
        let (shard, source) = partition;
        let topic = self.sources.name(source);
        let mut queue = self.consumer.split_partition_queue(topic, shard.partition()).ok_or(CallError {
            what: "split off the queue of a partition",
            cause: KafkaError::Subscription(topic.into()),
        })?;
        queue.set_nonempty_callback(callback(&self.waker));
        let last_read = self.consumer.context().track(topic, shard.partition(), clock::now());
        Ok(PartitionReader::new(partition, topic, self.sources.encoding(source), queue, start, last_read))
    }

    /// The current start and end offset of a partition; retries while it has no leader, as just after its creation.
    pub(super) fn bounds(&self, reader: &PartitionReader) -> Result<(Offset, Offset), CallError> {
        let started = Instant::now();
        loop {
            match self.consumer.fetch_watermarks(&reader.topic, reader.partition.0.partition(), QUERY_TIMEOUT) {
                Ok((low, high)) => return Ok((Offset(low), Offset(high))),
                Err(cause) if is_leaderless(&cause) && started.elapsed() < QUERY_TIMEOUT => thread::sleep(QUERY_PAUSE),
                Err(cause) => return Err(CallError { what: "find the end of a partition", cause }),
            }
        }
    }

    /// Goes on reading a partition whose log does not have the next offset, where the configuration says.
    pub(super) fn resume(&self, reader: &mut PartitionReader) -> Result<(), RunError> {
        if let Some(lost) = self.logs.recreated(self.consumer.client()) {
            return Err(RunError::LostLog(lost));
        }
        let partition = reader.partition.0.partition();
        // Without an answer it is tried again.
        let Ok((low, high)) = self.consumer.fetch_watermarks(&reader.topic, partition, PROBE_TIMEOUT) else {
            return Ok(());
        };
        let bounds = (Offset(low), Offset(high));
        let start = self.logs.find(reader.partition, reader.start(), bounds).map_err(RunError::LostLog)?;
        reader.start_again(start);
        // A seek has no effect on a partition that librdkafka has stopped reading.
        let positions = reader.fetch_position().map(|position| (reader.partition, position));
        let list = self.sources.at(positions.into_iter()).map_err(CallError::of("list positions"))?;
        self.consumer.incremental_unassign(&list).map_err(CallError::of("unassign partitions"))?;
        Ok(self.consumer.incremental_assign(&list).map_err(CallError::of("assign partitions"))?)
    }

    /// Searches the end of a batch that cannot be read, one step each time; then it is skipped, and reading goes on behind
    /// it. Returns whether it was skipped. Other partitions are not affected.
    pub(super) fn skip_unreadable(&self, reader: &mut PartitionReader) -> Result<bool, CallError> {
        let next = match reader.obstacle.take() {
            None => return Ok(false),
            Some(obstacle @ Obstacle::OutOfRange) => {
                reader.obstacle = Some(obstacle);
                return Ok(false);
            }
            Some(Obstacle::Unreadable) => {
                let (topic, partition) = (&reader.topic, reader.partition.0.partition());
                let Ok((low, high)) = self.consumer.fetch_watermarks(topic, partition, PROBE_TIMEOUT) else {
                    reader.obstacle = Some(Obstacle::Unreadable);
                    return Ok(false);
                };
                let start = reader.fetch_position().max(Some(Offset(low))).unwrap_or_default();
                reader.obstacle = Some(Obstacle::Sought(Search::new(start, Offset(high)), Instant::now()));
                start
            }
            Some(Obstacle::Sought(mut search, since)) => {
                let partition = reader.partition.0.partition();
                match native::probe(self.consumer.client(), &reader.topic, partition).map(|probed| search.next(probed))
                {
                    None if since.elapsed() < PROBE_TIMEOUT => {
                        reader.obstacle = Some(Obstacle::Sought(search, since));
                        return Ok(false);
                    }
                    // A seek has no effect while librdkafka looks for the start offset or the leader.
                    None | Some(Step::Seek(_)) => {
                        let sought = search.sought;
                        reader.obstacle = Some(Obstacle::Sought(search, Instant::now()));
                        sought
                    }
                    Some(Step::Readable(start)) => start,
                    Some(Step::Found(unreadable)) => {
                        let UnreadableBatch { first, last, problem } = &unreadable;
                        let topic = &reader.topic;
                        tracing::error!("{topic} partition {partition}: skipped offsets {first} to {last}: {problem}");
                        reader.skip(unreadable)
                    }
                }
            }
        };
        let list = self.sources.at([(reader.partition, next)].into_iter()).map_err(CallError::of("list positions"))?;
        // Messages and errors from before the seek are dropped from now on.
        self.consumer.seek_partitions(list, Duration::ZERO).map_err(CallError::of("step over a batch"))?;
        Ok(reader.obstacle.is_none())
    }

    /// Unassigns the partitions of some shards, even if there are none: librdkafka waits for the call.
    pub(super) fn unassign(&self, shards: &[ShardId]) -> Result<(), CallError> {
        let list = self.sources.list(shards);
        self.consumer.incremental_unassign(&list).map_err(CallError::of("unassign partitions"))
    }

    /// Wakes the fetchers of the shards that are still read. librdkafka pauses all partitions until the rebalance is
    /// answered, but then its fetcher threads sleep for up to another second (`rd_kafka_max_block_ms`), because
    /// `rd_kafka_toppar_pause_resume` does not wake them. A seek does; it goes to the current position.
    pub(super) fn wake_fetchers(&self, readers: &[PartitionReader]) -> Result<(), CallError> {
        // A partition without a position starts with an offset request to a broker, which wakes its fetcher.
        let positions = readers.iter().filter_map(|reader| Some((reader.partition, reader.fetch_position()?)));
        let list = self.sources.at(positions).map_err(CallError::of("list positions"))?;
        if list.count() > 0 {
            // Not awaited: if it fails, the fetchers wake within a second.
            if let Err(error) = self.consumer.seek_partitions(list, Duration::ZERO) {
                tracing::debug!("seek the remaining shards: {error}");
            }
        }
        Ok(())
    }

    /// Leaves the group, so that other members do not wait for the session timeout. Closing the consumer is not enough:
    /// static members stay in the group, to be the same member when they come back (`rd_kafka_cgrp_leave_maybe`). A
    /// static member leaves if it unsubscribes first.
    pub(super) fn leave(&self) {
        self.consumer.context().leave();
        self.answer_queued();
        // Also answers the changes that were queued and not processed.
        if let Err(error) = accept(&self.consumer).and_then(|()| unassign_all(&self.consumer)) {
            tracing::warn!("leave the group: {error}");
        }
        if self.membership().is_some() {
            self.consumer.unsubscribe();
        }
        let started = Instant::now();
        // The member id is cleared when the request is sent; closing the consumer waits for the response.
        while self.membership().is_some() {
            if started.elapsed() > LEAVE_TIMEOUT {
                tracing::warn!("leave the group: timed out; other members wait for the session timeout");
                break;
            }
            self.consumer.poll(Duration::from_millis(5));
        }
        self.answer_queued();
    }

    /// Answers the changes in the queue of the consumer. Closing it would find those that are left, and to answer one then can
    /// take forever: librdkafka drops a request without a reply if the membership ends before it is served
    /// (`rd_kafka_cgrp_terminated`).
    fn answer_queued(&self) {
        for _ in 0..MAX_QUEUED {
            let before = self.consumer.context().answered();
            if self.consumer.poll(Duration::ZERO).is_none() && self.consumer.context().answered() == before {
                break;
            }
        }
    }
}

fn callback(waker: &Waker) -> impl Fn() + Send + Sync + 'static {
    let waker = waker.clone();
    move || waker.wake()
}

/// Whether an error resolves as soon as a leader is known.
fn is_leaderless(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}
