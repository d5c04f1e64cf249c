//! Owns the ingest thread: reads partitions, cuts epochs, and answers rebalances.
//!
//! **Epochs.** An epoch is closed when it is `engine.epoch` old or full. It is closed earlier if everything available
//! is read, nothing is in flight and the previous epoch was closed some time ago, so that a single event in a quiet
//! hour is not delayed. Empty epochs are closed less often; they are needed because the watermark follows the clock and
//! deadlines pass.
//! **Backpressure.** While the maximum number of epochs is in flight, nothing is taken from the queues, but the
//! consumer is still polled. If a shard holds many events, its sources that are ahead are paused: the events that wait
//! for the slower sources would fill the memory.
//! **Idleness.** A partition is idle if it was read to its end, its queue was found empty `time.idle_after` or later
//! after its last message, and its leader is reachable.
//! **Rebalances.** See `rebalance` below: what was read is committed before a shard is released.

mod once;
mod rebalance;

use super::client::{self, ClientError};
use super::commit::{CommitOutcome, EpochEnd};
use super::fence::Fence;
use super::group::{AssignmentChange, GroupContext, unassign_all};
use super::partition_reader::PartitionReader;
use super::restore::{RestoreError, RestoreRequest, ShardReady};
use super::source_topics::{SourcePartition, SourceTopics};
use super::{NormsHandle, Observer, Part, Stop};
use crate::config::Config;
use crate::dataflow::messages::EpochHeader;
use crate::dataflow::state::RestoredShard;
use crate::dataflow::workers::EpochSender;
use crate::domain::norms::Norms;
use crate::domain::shard::processor::{ShardProgress, SourceProgress};
use crate::domain::source::Source;
use crate::domain::time::{Span, Timestamp};
use crate::edge::clock;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// An epoch is closed when it holds this many bytes, whatever the number of its messages.
const EPOCH_BYTES: usize = 64 << 20;
/// Empty epochs are closed this often, if `engine.epoch` is not longer.
const EMPTY_EPOCH_INTERVAL: Duration = Duration::from_millis(200);
/// The minimum time between two epochs is `engine.epoch` divided by this.
const MIN_GAP_DIVISOR: u32 = 4;
/// Messages taken from one partition before the next one is polled.
const READ_BATCH: usize = 256;
/// The longest sleep: bounds the cost of a lost wake-up.
const MAX_PARK: Duration = Duration::from_millis(5);
/// How long a rebalance or a shutdown waits for commits.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Timeout of synchronous broker requests.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the fence is checked while waiting for commits.
const FENCE_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Reading failed permanently.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The consumer could not be created.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A call failed.
    #[error("{what}: {cause}")]
    Call {
        /// The operation.
        what: &'static str,
        /// librdkafka's error.
        cause: KafkaError,
    },
    /// State could not be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Another thread has ended.
    #[error("read: the {0} ended")]
    ThreadEnded(&'static str),
    /// Epochs are not committed in time.
    #[error("{what}: {epochs} epochs still uncommitted after {} s", after.as_secs())]
    Stuck {
        /// The operation that waits for them.
        what: &'static str,
        /// The number of epochs.
        epochs: usize,
        /// How long it waited.
        after: Duration,
    },
    /// Partitions were added to the topics: tenants may map to other shards now.
    #[error("read: partition {shard} is new, expected {before} partitions; tenants may map to other partitions now")]
    PartitionsAdded {
        /// The partition count at the start.
        before: u32,
        /// A partition beyond it.
        shard: u32,
    },
}

/// The ends of the ingest thread's channels.
pub(super) struct Ports {
    pub(super) epochs: EpochSender,
    pub(super) ends: Sender<EpochEnd>,
    pub(super) outcomes: Receiver<CommitOutcome>,
    pub(super) requests: Sender<RestoreRequest>,
    pub(super) ready: Receiver<Result<ShardReady, RestoreError>>,
    /// The norms at the start, and the source of newer ones.
    pub(super) norms: Arc<Norms>,
    pub(super) norms_handle: NormsHandle,
}

/// Whether and where the stream ends without a stop request.
#[derive(Debug)]
pub(super) struct StopCondition {
    pub(super) once: bool,
    pub(super) until: Option<Timestamp>,
    /// The latest event time decoded.
    pub(super) latest: Arc<AtomicI64>,
}

/// When epochs are closed, and when partitions are idle.
#[derive(Clone, Copy, Debug)]
struct EpochLimits {
    max_age: Duration,
    max_messages: usize,
    max_in_flight: usize,
    idle_after: Duration,
}

/// The ingest thread.
pub(super) struct Ingest {
    consumer: Arc<BaseConsumer<GroupContext>>,
    /// The partition count of the source topics.
    shard_count: u32,
    sources: SourceTopics,
    /// In order of their shards.
    readers: Vec<PartitionReader>,
    /// The shards that are read.
    active: BTreeSet<u32>,
    /// Shards that are assigned but not read yet, with their restore requests.
    restoring: BTreeMap<u32, u64>,
    /// Restored shards that go to the workers with the next epoch.
    restored: Vec<RestoredShard>,
    norms: Arc<Norms>,
    ports: Ports,
    fence: Arc<Fence>,
    stop_condition: StopCondition,
    limits: EpochLimits,
    stop: Stop,
    observer: Arc<dyn Observer>,
    /// The member id under which the active shards were assigned.
    member: Option<Arc<str>>,
    /// The group has sent an assignment, possibly an empty one.
    joined: bool,
    /// Id of the last restore request.
    request_id: u64,
    /// The next epoch.
    epoch: u64,
    in_flight: usize,
    /// Messages of the open epoch.
    messages: usize,
    /// Bytes of the open epoch.
    bytes: usize,
    /// When the first message of the open epoch was read.
    first_read: Option<Instant>,
    last_close: Instant,
    /// The reader that is polled first.
    next_reader: usize,
    /// Partitions that wait until the other sources of their shard have caught up.
    paused: BTreeSet<SourcePartition>,
    /// Messages were sent to `rerouted` since it was last read to its end.
    rerouted: bool,
    /// Wakes this thread; set once it runs.
    waker: Arc<std::sync::OnceLock<Thread>>,
}

impl Ingest {
    pub(super) fn new(
        config: &Config,
        shards: u32,
        stop_condition: StopCondition,
        ports: Ports,
        fence: Arc<Fence>,
        stop: Stop,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, IngestError> {
        let group = GroupContext::new(Arc::clone(&observer));
        let mut consumer = client::consumer(&config.kafka, shards as usize * Source::LIVE.len(), group)?;
        let waker = Arc::new(std::sync::OnceLock::new());
        consumer.set_nonempty_callback(wake(&waker));
        Ok(Self {
            consumer: Arc::new(consumer),
            shard_count: shards,
            sources: SourceTopics::of(&config.topics),
            readers: Vec::new(),
            active: BTreeSet::new(),
            restoring: BTreeMap::new(),
            restored: Vec::new(),
            norms: Arc::clone(&ports.norms),
            ports,
            fence,
            stop_condition,
            limits: EpochLimits {
                max_age: duration(config.engine.epoch),
                max_messages: config.engine.epoch_messages,
                max_in_flight: config.engine.epochs_in_flight.max(1),
                idle_after: duration(config.time.idle_after),
            },
            stop,
            observer,
            member: None,
            joined: false,
            request_id: 0,
            epoch: 0,
            in_flight: 0,
            messages: 0,
            bytes: 0,
            first_read: None,
            last_close: Instant::now(),
            next_reader: 0,
            paused: BTreeSet::new(),
            rerouted: false,
            waker,
        })
    }

    /// The consumer, for its group membership.
    pub(super) fn consumer(&self) -> Arc<BaseConsumer<GroupContext>> {
        Arc::clone(&self.consumer)
    }

    /// Reads until a stop is requested or everything is read.
    pub(super) fn run(mut self) -> Result<(), IngestError> {
        let _ = self.waker.set(thread::current());
        // The group assigns this topic only; the partitions of the other sources follow it.
        let topic = self.sources.name(Source::GROUP);
        self.consumer.subscribe(&[topic]).map_err(|cause| IngestError::Call { what: "join the group", cause })?;
        let result = self.read_until_stopped();
        self.leave();
        result
    }

    fn read_until_stopped(&mut self) -> Result<(), IngestError> {
        loop {
            self.serve_group()?;
            loop {
                match self.ports.outcomes.try_recv() {
                    Ok(outcome) => self.apply(outcome),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Err(IngestError::ThreadEnded("commit thread")),
                }
            }
            if self.stop.is_set() {
                return self.shut_down();
            }
            if self.fence.is_refused() {
                // Whatever is read now would be fenced as well, until the group revokes the shards. The commit thread
                // bounds that wait.
                thread::park_timeout(MAX_PARK);
                continue;
            }
            let has_room = self.in_flight < self.limits.max_in_flight;
            let more = has_room && self.read()?;
            if has_room && self.is_due(more) {
                self.close(None, Vec::new())?;
            } else if self.stop_condition.once && self.in_flight == 0 && self.is_all_read()? {
                return self.conclude();
            } else if !more {
                thread::park_timeout(if has_room { self.park_time() } else { MAX_PARK });
            }
        }
    }

    /// Takes the available messages, partition by partition; returns whether there may be more.
    fn read(&mut self) -> Result<bool, IngestError> {
        let (mut more, mut at_end) = (true, false);
        while more && !self.is_full() {
            more = false;
            let now = Instant::now();
            for step in 0..self.readers.len() {
                let ix = (self.next_reader + step) % self.readers.len();
                if self.paused.contains(&self.readers[ix].partition) {
                    continue;
                }
                let polled = self.readers[ix]
                    .read(READ_BATCH.min(self.limits.max_messages - self.messages), now)
                    .map_err(|cause| IngestError::Call { what: "read messages", cause })?;
                self.messages += polled.messages;
                self.bytes += polled.bytes;
                more |= polled.more;
                at_end |= polled.at_end;
                if polled.messages > 0 {
                    self.first_read.get_or_insert(now);
                }
                if self.is_full() {
                    self.next_reader = ix + 1;
                    break;
                }
            }
            // A stream that never runs dry must not keep the epoch open.
            more &= self.first_read.is_none_or(|first_read| first_read.elapsed() < self.limits.max_age);
        }
        if at_end {
            self.update_positions()?;
        }
        Ok(more || self.is_full())
    }

    fn is_full(&self) -> bool {
        self.messages >= self.limits.max_messages || self.bytes >= EPOCH_BYTES
    }

    /// Whether the open epoch should be closed.
    fn is_due(&self, more: bool) -> bool {
        if self.readers.is_empty() {
            return false;
        }
        let max_age = self.limits.max_age;
        match self.first_read {
            None => self.last_close.elapsed() >= EMPTY_EPOCH_INTERVAL.max(max_age),
            Some(first_read) => {
                let idle = !more && self.in_flight == 0 && self.last_close.elapsed() >= max_age / MIN_GAP_DIVISOR;
                self.is_full() || idle || first_read.elapsed() >= max_age
            }
        }
    }

    fn park_time(&self) -> Duration {
        let remaining = |since: Instant, length: Duration| length.saturating_sub(since.elapsed());
        let max_age = self.limits.max_age;
        let due = match self.first_read {
            Some(first_read) => {
                remaining(first_read, max_age).min(remaining(self.last_close, max_age / MIN_GAP_DIVISOR))
            }
            None => remaining(self.last_close, EMPTY_EPOCH_INTERVAL),
        };
        due.clamp(Duration::from_micros(100), MAX_PARK)
    }

    /// Advances the readers to librdkafka's positions, which are past transaction markers.
    fn update_positions(&mut self) -> Result<(), IngestError> {
        let list = self.consumer.position().map_err(|cause| IngestError::Call { what: "get the positions", cause })?;
        let positions = self.sources.offsets(&list);
        for reader in &mut self.readers {
            if let Some(position) = positions.get(&reader.partition) {
                reader.update_position(*position);
            }
        }
        Ok(())
    }

    /// Closes the epoch: sends the messages to the workers and the positions to the commit thread.
    fn close(&mut self, close: Option<Timestamp>, revoked: Vec<u32>) -> Result<(), IngestError> {
        self.update_positions()?;
        let wall = clock::now();
        let unreachable = self.consumer.context().unreachable();
        let mut progress: Vec<(u32, ShardProgress)> = Vec::with_capacity(self.active.len());
        let mut batches = vec![Vec::new(); self.ports.epochs.workers()];
        let mut positions = Vec::new();
        for reader in &mut self.readers {
            let (shard, source) = reader.partition;
            let idle = reader.is_idle(self.limits.idle_after)
                && (unreachable.is_empty() || !unreachable.contains(&(reader.topic.clone(), shard as i32)));
            if progress.last().is_none_or(|(last, _)| *last != shard) {
                progress.push((shard, ShardProgress { wall, sources: Vec::with_capacity(Source::LIVE.len()), close }));
            }
            if let Some((_, shard_progress)) = progress.last_mut() {
                shard_progress.sources.push(SourceProgress { source, idle, position: reader.position.unwrap_or(0) });
            }
            let worker = shard as usize % batches.len();
            batches[worker].extend(reader.take_batch().map(Arc::new));
            if reader.position != reader.reported {
                reader.reported = reader.position;
                positions.extend(reader.position.map(|position| (reader.partition, position)));
            }
        }
        let closed = Instant::now();
        let end = EpochEnd { epoch: self.epoch, member: self.member.clone(), wall, closed, positions };
        let norms = self.ports.norms_handle.take();
        if let Some(norms) = &norms {
            self.norms = Arc::clone(norms);
        }
        let header = EpochHeader {
            epoch: self.epoch,
            wall,
            progress,
            other_shards: None,
            revoked,
            norms,
            restored: std::mem::take(&mut self.restored).into(),
        };
        self.ports.ends.send(end).map_err(|_| IngestError::ThreadEnded("commit thread"))?;
        if !self.ports.epochs.send(header, batches) {
            return Err(IngestError::ThreadEnded("workers"));
        }
        self.epoch += 1;
        self.in_flight += 1;
        self.observer.in_flight(self.in_flight);
        (self.messages, self.bytes, self.first_read) = (0, 0, None);
        self.last_close = closed;
        self.observer.alive(Part::Ingest);
        Ok(())
    }

    fn apply(&mut self, outcome: CommitOutcome) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.observer.in_flight(self.in_flight);
        self.rerouted |= outcome.rerouted > 0;
        self.paused = outcome.paused;
    }

    /// Waits until nothing is in flight; `false`: timed out, or this member is fenced.
    fn drain(&mut self, timeout: Duration) -> Result<bool, IngestError> {
        let deadline = Instant::now() + timeout;
        while self.in_flight > 0 {
            match self.ports.outcomes.recv_deadline(deadline.min(Instant::now() + FENCE_CHECK_INTERVAL)) {
                Ok(outcome) => self.apply(outcome),
                Err(RecvTimeoutError::Timeout) if self.fence.is_refused() || Instant::now() >= deadline => {
                    return Ok(false);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(IngestError::ThreadEnded("commit thread")),
            }
            self.observer.alive(Part::Ingest);
        }
        Ok(true)
    }

    /// Commits what was read, after a stop request.
    fn shut_down(&mut self) -> Result<(), IngestError> {
        if self.messages > 0 && !self.fence.is_refused() {
            self.close(None, Vec::new())?;
        }
        let mut drained = self.drain(DRAIN_TIMEOUT)?;
        if self.fence.is_refused() {
            // The new owners of the shards read it again.
            self.fence.abandon(self.epoch);
            drained = self.drain(DRAIN_TIMEOUT)?;
        }
        if !drained {
            return Err(IngestError::Stuck { what: "stop", epochs: self.in_flight, after: DRAIN_TIMEOUT });
        }
        Ok(())
    }
}

fn duration(span: Span) -> Duration {
    Duration::from_millis(span.0.max(0).unsigned_abs())
}

/// Wakes the ingest thread when it is parked.
fn wake(waker: &Arc<std::sync::OnceLock<Thread>>) -> impl Fn() + Send + Sync + 'static {
    let waker = Arc::clone(waker);
    move || {
        if let Some(thread) = waker.get() {
            thread.unpark();
        }
    }
}
