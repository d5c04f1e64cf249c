//! Owns the Kafka side of programs that share a topic: the group that assigns its partitions, what they read and the state that
//! belongs to it, and the transactions that write what was read.
//!
//! The gateway reads hints, and its state are cursors; `notify` reads alerts, and its state is what was sent. A partition of the
//! topic that is read and the same partition of the topic of state have one owner, which the group assigns.
//!
//! **Effectively once.** What follows from what was read, the state and the offset are one transaction that carries the
//! membership in the group: a process that has lost a partition is refused. A successor first reads the state up to an end
//! that includes open transactions, so it sees all that its predecessor has committed, or waits until that is decided.
//!
//! *Alternative considered*: the cooperative protocol of the processor. Its shards are worth keeping through a rebalance; these
//! programs only have their state in memory. So all partitions are given up at each rebalance, in one step, which cannot leave
//! partitions without an owner.

use super::client::{self, CallError, Deliveries, is_permanent};
use super::client_log;
use super::commit::record_writer::OutputRecord;
use super::commit::transaction::{self, Failure, TRANSACTION_TIMEOUT, Transactions};
use super::control::Stop;
use super::error::RunError;
use super::event::{Observer, RuntimeEvent};
use super::native::{self, Membership};
use super::patience::Patience;
use super::restore::compacted_reader::{Collector, CompactedConsumer, CompactedReader};
use super::topics;
use crate::config::{Config, TopicRole};
use crate::dataflow::live::lock;
use crate::domain::shard::partitioner::shard;
use crate::domain::source::ShardId;
use crate::domain::time::Timestamp;
use crate::edge::memory::MemoryBudget;
use crate::telemetry::liveness::Thread;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::BaseProducer;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Message, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long one round of reading state takes.
const ROUND: Duration = Duration::from_millis(50);
/// Timeout of a query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often is logged that state cannot be read yet.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// How long leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Attempts after which an error that a retry does not repair ends the run.
const PERMANENT_ERROR_TRIES: u32 = 3;
/// Attempts after which any other error of a transaction ends the run, which then starts with new clients.
const TRIES: u32 = 20;
/// The longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// What happens to a process of the group.
#[derive(Debug)]
pub enum LogEvent {
    /// Partitions are assigned, with the records of their state by key. Nothing was assigned before.
    Assigned(BTreeMap<ShardId, StateRecords>),
    /// All partitions are given up: nothing that was read of them may be committed any more.
    Revoked,
    /// A message was read.
    Read {
        /// The partition, and the offset in it.
        at: (ShardId, i64),
        /// When it was written, if that is known.
        written_at: Option<Timestamp>,
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
}

/// A record to write. Without a partition it goes to that of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: Option<ShardId>,
    /// The key.
    pub key: &'a [u8],
    /// The value; `None` deletes the record of this key from a compacted topic.
    pub value: Option<&'a [u8]>,
}

/// The latest records of a partition of the topic of state.
#[derive(Debug, Default)]
pub struct StateRecords(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Collector for StateRecords {
    fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => self.0.insert(key.into(), value.into()),
            None => self.0.remove(key),
        };
    }
}

/// The Kafka clients of a program that shares a topic with others of its group.
pub struct SharedLog {
    consumer: BaseConsumer<ReadContext>,
    transactions: Transactions,
    state: CompactedConsumer<StateRecords>,
    /// The topic that is read.
    topic: String,
    state_topic: String,
    partitions: u32,
    /// The member id under which the partitions were assigned.
    member: Option<String>,
    /// For each assigned partition, the offset that was committed last.
    committed: BTreeMap<ShardId, i64>,
    observer: Arc<Observer>,
    stop: Stop,
}

/// The topics whose partitions a group shares.
#[derive(Clone, Copy, Debug)]
pub struct SharedTopics {
    /// What is read.
    pub read: TopicRole,
    /// The state that belongs to it, compacted: the same partition belongs to the same owner.
    pub state: TopicRole,
}

impl SharedTopics {
    /// Those of the gateway.
    pub const GATEWAY: Self = Self { read: TopicRole::Hints, state: TopicRole::Cursors };
    /// Those of `notify`.
    pub const NOTIFY: Self = Self { read: TopicRole::Alerts, state: TopicRole::Notify };
}

impl SharedLog {
    /// Waits for brokers and topics, and joins the group. `None`: stop requested. The group and the transactional id of the
    /// configuration are those of the program that reads these topics.
    pub fn open(
        config: &Config,
        topics: SharedTopics,
        stop: &Stop,
        observer: &Arc<Observer>,
    ) -> Result<Option<Self>, RunError> {
        let mut patience = Patience::observed(stop, observer);
        let memory = MemoryBudget::detect();
        let admin = client::admin(&config.kafka)?;
        let pair = [topics.read, topics.state];
        let Some(partitions) = topics::common_partitions(admin.inner(), config, pair, &mut patience)? else {
            return Ok(None);
        };
        let batch_bytes = client::max_batch_bytes(&config.kafka);
        let producer: BaseProducer<Deliveries> =
            client::transactional(&config.kafka, memory, TRANSACTION_TIMEOUT, batch_bytes)?;
        if !transaction::init(&producer, &mut patience)? {
            return Ok(None);
        }
        observer.emit(RuntimeEvent::Waiting(None));
        let (changes, is_closing) = (Mutex::default(), AtomicBool::new(false));
        let context = ReadContext { changes, is_closing, observer: Arc::clone(observer) };
        let consumer = client::shared_consumer(&config.kafka, memory, context)?;
        let [read, state] = pair.map(|role| config.topics.name(role));
        consumer.subscribe(&[read]).map_err(CallError::of("join the group"))?;
        Ok(Some(Self {
            consumer,
            transactions: Transactions::new(producer, Arc::clone(observer)),
            state: CompactedConsumer::new(&config.kafka, memory, state)?,
            topic: read.to_owned(),
            state_topic: state.to_owned(),
            partitions,
            member: None,
            committed: BTreeMap::new(),
            observer: Arc::clone(observer),
            stop: stop.clone(),
        }))
    }

    /// The partition of a key.
    pub fn partition_of(&self, key: &str) -> ShardId {
        shard(key, self.partitions)
    }

    /// The next event; waits for `time` at most.
    pub fn next(&mut self, time: Duration) -> Result<Option<LogEvent>, RunError> {
        self.observer.emit(RuntimeEvent::Alive(Thread::Ingest));
        self.transactions.serve();
        let polled = self.consumer.poll(time);
        let read = match polled {
            None => None,
            Some(Ok(message)) => ShardId::from_partition(message.partition()).map(|shard| LogEvent::Read {
                at: (shard, message.offset()),
                written_at: message.timestamp().to_millis().map(Timestamp),
                key: message.key().unwrap_or_default().to_vec(),
                value: message.payload().unwrap_or_default().to_vec(),
            }),
            Some(Err(KafkaError::PartitionEOF(_))) => None,
            Some(Err(cause @ KafkaError::MessageConsumptionFatal(_))) => {
                return Err(self.read_error("read", cause));
            }
            Some(Err(cause)) if is_permanent(&cause) => {
                return Err(match cause.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                        CallError { what: "join the group; the right Read on the group is missing", cause }.into()
                    }
                    _ => self.read_error("read; the right Read or Describe is missing", cause),
                });
            }
            // Messages have expired before they were read; the next run begins with the oldest one that is left.
            Some(Err(cause)) if is_out_of_range(&cause) => return Err(self.read_error("read", cause)),
            Some(Err(error)) => {
                tracing::debug!("read {}: {error}", self.topic);
                None
            }
        };
        match self.consumer.context().next_change() {
            Some(Change::Assign(shards)) => self.assign(shards),
            Some(Change::Revoke) => {
                self.consumer.unassign().map_err(CallError::of("give up partitions"))?;
                (self.member, self.committed) = (None, BTreeMap::new());
                Ok(Some(LogEvent::Revoked))
            }
            // A message that came with a change is of the old assignment, and is read again.
            None => Ok(read),
        }
    }

    fn read_error(&self, what: &'static str, cause: KafkaError) -> RunError {
        RunError::Topic(self.topic.clone(), CallError { what, cause })
    }

    /// An error of reading state.
    fn state_error(&self) -> impl Fn(CallError) -> RunError + '_ {
        |error| RunError::Topic(self.state_topic.clone(), error)
    }

    /// Reads the state of assigned partitions, and starts to read their messages. `None`: given up before that was done.
    fn assign(&mut self, shards: BTreeSet<ShardId>) -> Result<Option<LogEvent>, RunError> {
        let member = native::membership(self.consumer.client()).map(|now| now.member);
        let Some(mut readers) = self.read_state(&shards)? else { return Ok(None) };
        let Some(starts) = self.start_offsets(&shards)? else { return Ok(None) };
        let mut list = TopicPartitionList::with_capacity(shards.len());
        for (shard, offset) in &starts {
            list.add_partition_offset(&self.topic, shard.partition(), rdkafka::Offset::Offset(*offset))
                .map_err(CallError::of("set the start offset"))?;
        }
        self.consumer.assign(&list).map_err(CallError::of("assign partitions"))?;
        (self.member, self.committed) = (member, starts);
        self.observer.emit(RuntimeEvent::Restoring(&[]));
        let records = shards.into_iter().filter_map(|shard| Some((shard, readers.remove(&shard)?.collected)));
        Ok(Some(LogEvent::Assigned(records.collect())))
    }

    /// Reads the state of some partitions; `None`: the group has changed, or a stop was requested.
    fn read_state(
        &self,
        shards: &BTreeSet<ShardId>,
    ) -> Result<Option<BTreeMap<ShardId, CompactedReader<StateRecords>>>, RunError> {
        let mut readers = BTreeMap::new();
        let mut warned = Instant::now();
        for shard in shards {
            let bounds = loop {
                if self.is_interrupted() {
                    return Ok(None);
                }
                if let Some(bounds) = self.state.bounds(*shard, QUERY_TIMEOUT).map_err(self.state_error())? {
                    break bounds;
                }
            };
            readers.insert(*shard, CompactedReader::new(bounds));
        }
        self.state.assign(&mut readers).map_err(self.state_error())?;
        while !readers.values().all(CompactedReader::is_complete) {
            if self.is_interrupted() {
                return Ok(None);
            }
            self.state.read(&mut readers, ROUND).map_err(self.state_error())?;
            if warned.elapsed() > WARN_INTERVAL {
                warned = Instant::now();
                tracing::warn!(
                    "{} partitions of {} are not read yet; a transaction may be open on them, or the brokers may be \
                     unreachable",
                    readers.values().filter(|reader| !reader.is_complete()).count(),
                    self.state_topic
                );
            }
        }
        Ok(Some(readers))
    }

    /// Where to go on reading; `None`: as above.
    fn start_offsets(&self, shards: &BTreeSet<ShardId>) -> Result<Option<BTreeMap<ShardId, i64>>, RunError> {
        let mut list = TopicPartitionList::with_capacity(shards.len());
        for shard in shards {
            list.add_partition(&self.topic, shard.partition());
        }
        loop {
            if self.is_interrupted() {
                return Ok(None);
            }
            // While a transaction is open on the offsets, there is no answer.
            let committed = match self.state.consumer.committed_offsets(list.clone(), QUERY_TIMEOUT) {
                Ok(committed) if committed.elements().iter().all(|element| element.error().is_ok()) => committed,
                Err(cause) if is_permanent(&cause) => {
                    return Err(CallError { what: "query the committed offsets", cause }.into());
                }
                _ => continue,
            };
            let mut starts = BTreeMap::new();
            for element in committed.elements() {
                let Ok((low, high)) = self.consumer.fetch_watermarks(&self.topic, element.partition(), QUERY_TIMEOUT)
                else {
                    break;
                };
                let start = match element.offset() {
                    rdkafka::Offset::Offset(offset) if (low..=high).contains(&offset) => offset,
                    _ => low,
                };
                starts.extend(ShardId::from_partition(element.partition()).map(|shard| (shard, start)));
            }
            if starts.len() == shards.len() {
                return Ok(Some(starts));
            }
        }
    }

    /// Whether reading state has become pointless. Also keeps the membership alive.
    fn is_interrupted(&self) -> bool {
        self.observer.emit(RuntimeEvent::Alive(Thread::Ingest));
        // Nothing is assigned: only changes of the group come.
        let _ = self.consumer.poll(Duration::ZERO);
        self.stop.is_set() || !lock(&self.consumer.context().changes).is_empty()
    }

    /// Writes records and the offset up to which their partition is used up, as one transaction. `false`: the partition may
    /// belong to another process, nothing was written, and its state must be read again.
    pub fn commit(
        &mut self,
        partition: ShardId,
        records: &[LogRecord<'_>],
        used_up_to: Option<i64>,
        aborted: impl Fn(),
    ) -> Result<bool, RunError> {
        let Some(offset) = self.committed.get(&partition).map(|last| used_up_to.unwrap_or(*last).max(*last)) else {
            return Ok(false);
        };
        let mut tries = 0;
        loop {
            let code = match self.attempt(partition, records, offset) {
                Ok(()) => {
                    self.committed.insert(partition, offset);
                    return Ok(true);
                }
                Err(Failure::Fatal(error)) => return Err(error.into()),
                Err(Failure::Abort(code)) => code,
            };
            tries += 1;
            aborted();
            self.transactions.drain();
            let ended = self.transactions.abort();
            if self.transactions.is_refused() {
                return Err(RunError::MayNotWriteState(self.state_topic.clone()));
            }
            ended?;
            match code {
                RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::FencedInstanceId
                | RDKafkaErrorCode::StaleMemberEpoch
                | RDKafkaErrorCode::IllegalGeneration => {
                    tracing::warn!("what was read is refused: the group has moved on ({code})");
                    return Ok(false);
                }
                code if tries >= TRIES || client::is_final(code) && tries >= PERMANENT_ERROR_TRIES => {
                    return Err(RunError::NotCommitted(tries, code));
                }
                code => tracing::warn!("transaction aborted ({code}); retrying"),
            }
            if self.stop.is_set() {
                return Ok(false);
            }
            std::thread::sleep(MAX_BACKOFF.min(Duration::from_millis(20) * 2_u32.pow(tries.min(8))));
        }
    }

    fn attempt(&mut self, partition: ShardId, records: &[LogRecord<'_>], offset: i64) -> Result<(), Failure> {
        self.transactions.open()?;
        for LogRecord { topic, partition, key, value } in records.iter().copied() {
            let partition = partition.map(ShardId::partition);
            self.transactions.send(OutputRecord { topic, partition, key: Some(key), value, headers: None })?;
        }
        // A successor that finds the old offsets must also find all records: they are delivered first.
        self.transactions.drain();
        let fenced = || Failure::Abort(RDKafkaErrorCode::UnknownMemberId);
        let metadata = self.consumer.group_metadata().ok_or_else(fenced)?;
        let is_member = |now: Membership| Some(now.member) == self.member && now.generation >= 0;
        if !native::membership(self.consumer.client()).is_some_and(is_member) {
            return Err(fenced());
        }
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.topic, partition.partition(), rdkafka::Offset::Offset(offset))
            .map_err(|cause| Failure::Fatal(CallError { what: "list the offsets", cause }))?;
        self.transactions.send_offsets(&list, &metadata)?;
        self.transactions.commit()
    }

    /// Whether this process is no longer the member that its partitions were assigned to, though the group has not said so.
    pub fn is_lost(&self) -> bool {
        let now = || native::membership(self.consumer.client());
        self.member.as_ref().is_some_and(|id| now().is_none_or(|now| now.member != *id))
    }

    /// Leaves the group, so that another process goes on at once. A static member leaves only if it unsubscribes.
    pub fn leave(self) {
        give_up(&self.consumer);
        self.consumer.unsubscribe();
        let started = Instant::now();
        while native::membership(self.consumer.client()).is_some() {
            if started.elapsed() > LEAVE_TIMEOUT {
                tracing::warn!("leave the group: timed out; other processes wait for the session timeout");
                return;
            }
            let _ = self.consumer.poll(Duration::from_millis(5));
            if self.consumer.context().next_change().is_some() {
                let _ = self.consumer.unassign();
            }
        }
    }
}

/// However a run ends, the consumer answers that its partitions were taken away: closing it waits for that answer.
impl Drop for SharedLog {
    fn drop(&mut self) {
        self.consumer.context().is_closing.store(true, Ordering::Relaxed);
        give_up(&self.consumer);
    }
}

fn give_up(consumer: &BaseConsumer<ReadContext>) {
    if let Err(error) = consumer.unassign() {
        tracing::debug!("give up the partitions: {error}");
    }
}

/// Whether the log of a partition has no such offset any more.
fn is_out_of_range(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange))
}

/// A change of the assignment that is not answered yet.
#[derive(Debug)]
enum Change {
    Assign(BTreeSet<ShardId>),
    Revoke,
}

/// The context of the consumer.
pub(super) struct ReadContext {
    changes: Mutex<VecDeque<Change>>,
    /// The log is dropped: nobody processes changes any more.
    is_closing: AtomicBool,
    observer: Arc<Observer>,
}

impl ReadContext {
    fn next_change(&self) -> Option<Change> {
        lock(&self.changes).pop_front()
    }
}

impl ClientContext for ReadContext {
    fn stats(&self, statistics: Statistics) {
        self.observer.emit(RuntimeEvent::Reachable(statistics.brokers.values().any(|broker| broker.state == "UP")));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client_log::error(&error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client_log::line(level, facility, line);
    }
}

impl ConsumerContext for ReadContext {
    /// Only queues the change: answering it reads state.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if self.is_closing.load(Ordering::Relaxed) {
            give_up(consumer);
            return;
        }
        let shards = || partitions.elements().iter().filter_map(|at| ShardId::from_partition(at.partition())).collect();
        let is_assign = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        lock(&self.changes).push_back(if is_assign { Change::Assign(shards()) } else { Change::Revoke });
    }
}
