//! Owns the ingest thread: reads partitions, cuts epochs, and answers the group.
//!
//! **Epochs.** One is closed when it is `engine.epoch` old or full; or as soon as everything is read, nothing is in
//! flight and the one before is a while ago, so that a single event in a quiet hour is not kept waiting. Empty ones are
//! closed at a slower pace, for the watermark follows the clock and deadlines pass. **Back-pressure.** While as many
//! epochs are in flight as may be, nothing is taken from the queues; the group is served all the same. Where much is held,
//! the sources of a shard that are ahead rest: what waits for the others would fill the memory. **Idle** is told
//! of a partition that was read to its end, whose queue was found empty so long after its last message, and whose leader
//! can be reached. **Rebalance.** See `rebalance`, below: what was read is committed before a shard is given up.

mod once;
mod rebalance;

use super::client::{self, ClientError};
use super::commit::{CommitOutcome, EpochEnd};
use super::fence::Fence;
use super::group::{AssignmentChange, GroupContext, give_up_all};
use super::partition_reader::PartitionReader;
use super::restore::{RestoreError, RestoreRequest, ShardReady};
use super::source_topics::{SOURCES, SourcePartition, SourceTopics};
use super::{NormsHandle, Observer, Part, Stop};
use crate::config::Config;
use crate::dataflow::epoch::EpochHeader;
use crate::dataflow::state::RestoredShard;
use crate::dataflow::workers::EpochSender;
use crate::domain::norms::Norms;
use crate::domain::shard_processor::{ShardProgress, Source, SourceProgress};
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

/// An epoch is closed when it holds so many bytes, whatever the number of its messages.
const EPOCH_BYTES: usize = 64 << 20;
/// Empty epochs are closed this often, if `engine.epoch` is not longer.
const EMPTY_PACE: Duration = Duration::from_millis(200);
/// A part of `engine.epoch` that lies at least between two epochs.
const EARLIEST: u32 = 4;
/// Messages taken from one partition before the next has its turn.
const TURN: usize = 256;
/// The longest sleep: should a wake-up ever get lost, it costs no more than this.
const NAP: Duration = Duration::from_millis(5);
/// So long a rebalance or a stop waits for commits.
const DRAIN: Duration = Duration::from_secs(20);
/// Questions to brokers that the thread waits for.
const ASK: Duration = Duration::from_secs(10);
/// How often it is looked whether commits are refused, while they are waited for.
const GLANCE: Duration = Duration::from_millis(50);

/// Reading failed for good.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The consumer could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A call failed.
    #[error("{what}: {cause}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// librdkafka's error.
        cause: KafkaError,
    },
    /// State could not be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Another thread has ended.
    #[error("read: the {0} ended")]
    Alone(&'static str),
    /// Commits do not come through.
    #[error("{what}: {epochs} epochs are not committed after {} s", after.as_secs())]
    Stuck {
        /// What waits for them.
        what: &'static str,
        /// How many.
        epochs: usize,
        /// How long it waited.
        after: Duration,
    },
    /// Topics got more partitions: tenants belong to other shards now.
    #[error("read: partition {shard} is new, there were {before}; tenants may belong to other partitions now")]
    Grown {
        /// The partition count at the start.
        before: u32,
        /// A partition beyond it.
        shard: u32,
    },
}

/// The ends of the ingest thread's channels.
pub(super) struct Ports {
    pub(super) supply: EpochSender,
    pub(super) ends: Sender<EpochEnd>,
    pub(super) outcomes: Receiver<CommitOutcome>,
    /// Shards that are to be restored.
    pub(super) fresh: Sender<RestoreRequest>,
    pub(super) ready: Receiver<Result<ShardReady, RestoreError>>,
    /// The norms in force at the start, and where newer ones come from.
    pub(super) norms: Arc<Norms>,
    pub(super) norms_handle: NormsHandle,
}

/// Whether and where the stream ends by itself.
#[derive(Debug)]
pub(super) struct StopCondition {
    pub(super) once: bool,
    pub(super) until: Option<Timestamp>,
    /// The latest event time decoded.
    pub(super) latest: Arc<AtomicI64>,
}

/// How epochs are cut.
#[derive(Clone, Copy, Debug)]
struct OpenEpoch {
    epoch: Duration,
    messages: usize,
    in_flight: usize,
    idle_after: Duration,
}

/// The ingest thread.
pub(super) struct Ingest {
    consumer: Arc<BaseConsumer<GroupContext>>,
    /// How many shards there are in all.
    count: u32,
    sources: SourceTopics,
    lanes: Vec<PartitionReader>,
    /// The shards that are read.
    open: BTreeSet<u32>,
    /// Those that are ours but not read yet, and by which ticket.
    restoring: BTreeMap<u32, u64>,
    /// Restored, for the workers to take with the next epoch.
    restored: Vec<RestoredShard>,
    /// The norms in force.
    norms: Arc<Norms>,
    ports: Ports,
    fence: Arc<Fence>,
    closing: StopCondition,
    cut: OpenEpoch,
    stop: Stop,
    observer: Arc<dyn Observer>,
    /// Who we were to the group when it gave us our shards.
    member: Option<Arc<str>>,
    /// The group has told us what is ours, be it nothing.
    joined: bool,
    /// Of the last shard that was to be restored.
    ticket: u64,
    /// The next epoch.
    epoch: u64,
    in_flight: usize,
    /// Of the epoch that is being filled.
    messages: usize,
    bytes: usize,
    begun: Option<Instant>,
    closed: Instant,
    /// Which lane is first in turn.
    turn: usize,
    /// What is to rest until the other sources of its shard have come as far.
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
        closing: StopCondition,
        ports: Ports,
        fence: Arc<Fence>,
        stop: Stop,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, IngestError> {
        let group = GroupContext::new(Arc::clone(&observer));
        let mut consumer = client::consumer(&config.kafka, shards as usize * SOURCES.len(), group)?;
        let waker = Arc::new(std::sync::OnceLock::new());
        consumer.set_nonempty_callback(wake(&waker));
        Ok(Self {
            consumer: Arc::new(consumer),
            count: shards,
            sources: SourceTopics::of(&config.topics),
            lanes: Vec::new(),
            open: BTreeSet::new(),
            restoring: BTreeMap::new(),
            restored: Vec::new(),
            norms: Arc::clone(&ports.norms),
            ports,
            fence,
            closing,
            cut: OpenEpoch {
                epoch: duration(config.engine.epoch),
                messages: config.engine.epoch_messages,
                in_flight: config.engine.epochs_in_flight.max(1),
                idle_after: duration(config.time.idle_after),
            },
            stop,
            observer,
            member: None,
            joined: false,
            ticket: 0,
            epoch: 0,
            in_flight: 0,
            messages: 0,
            bytes: 0,
            begun: None,
            closed: Instant::now(),
            turn: 0,
            paused: BTreeSet::new(),
            rerouted: false,
            waker,
        })
    }

    /// The consumer, for who wants to know what we are to the group.
    pub(super) fn consumer(&self) -> Arc<BaseConsumer<GroupContext>> {
        Arc::clone(&self.consumer)
    }

    /// Reads until it is asked to stop, or all is read.
    pub(super) fn run(mut self) -> Result<(), IngestError> {
        let _ = self.waker.set(thread::current());
        // The group shares out this topic; the other feeds go where its partitions go.
        let lead = self.sources.name(SOURCES[0]);
        self.consumer.subscribe(&[lead]).map_err(|cause| IngestError::Call { what: "join the group", cause })?;
        let result = self.read_on();
        self.leave();
        result
    }

    fn read_on(&mut self) -> Result<(), IngestError> {
        loop {
            self.serve_group()?;
            loop {
                match self.ports.outcomes.try_recv() {
                    Ok(outcome) => self.take(outcome),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Err(IngestError::Alone("commit thread")),
                }
            }
            if self.stop.is_set() {
                return self.finish();
            }
            if self.fence.is_refused() {
                // What is read now would be refused as well; the group will tell. The commit thread waits for no longer
                // than is good.
                thread::park_timeout(NAP);
                continue;
            }
            let room = self.in_flight < self.cut.in_flight;
            let more = room && self.read()?;
            if room && self.is_due(more) {
                self.close(None, Vec::new())?;
            } else if self.closing.once && self.in_flight == 0 && self.is_all_read()? {
                return self.conclude();
            } else if !more {
                thread::park_timeout(if room { self.nap() } else { NAP });
            }
        }
    }

    /// Takes what has come in, partition by partition; whether there may be more.
    fn read(&mut self) -> Result<bool, IngestError> {
        let (mut more, mut end) = (true, false);
        while more && !self.is_full() {
            more = false;
            let now = Instant::now();
            for visit in 0..self.lanes.len() {
                let lane = (self.turn + visit) % self.lanes.len();
                if self.paused.contains(&self.lanes[lane].place) {
                    continue;
                }
                let taken = self.lanes[lane]
                    .read(TURN.min(self.cut.messages - self.messages), now)
                    .map_err(|cause| IngestError::Call { what: "read messages", cause })?;
                self.messages += taken.messages;
                self.bytes += taken.bytes;
                more |= taken.more;
                end |= taken.end;
                if taken.messages > 0 {
                    self.begun.get_or_insert(now);
                }
                if self.is_full() {
                    self.turn = lane + 1;
                    break;
                }
            }
            // A stream that never runs dry must not keep the epoch open.
            more &= self.begun.is_none_or(|begun| begun.elapsed() < self.cut.epoch);
        }
        if end {
            self.reach()?;
        }
        Ok(more || self.is_full())
    }

    fn is_full(&self) -> bool {
        self.messages >= self.cut.messages || self.bytes >= EPOCH_BYTES
    }

    /// Whether the epoch is to be closed.
    fn is_due(&self, more: bool) -> bool {
        if self.lanes.is_empty() {
            return false;
        }
        match self.begun {
            None => self.closed.elapsed() >= EMPTY_PACE.max(self.cut.epoch),
            Some(begun) => {
                let at_rest = !more && self.in_flight == 0 && self.closed.elapsed() >= self.cut.epoch / EARLIEST;
                self.is_full() || at_rest || begun.elapsed() >= self.cut.epoch
            }
        }
    }

    fn nap(&self) -> Duration {
        let until = |since: Instant, length: Duration| length.saturating_sub(since.elapsed());
        let due = match self.begun {
            Some(begun) => until(begun, self.cut.epoch).min(until(self.closed, self.cut.epoch / EARLIEST)),
            None => until(self.closed, EMPTY_PACE),
        };
        due.clamp(Duration::from_micros(100), NAP)
    }

    /// Takes librdkafka's word for how far everything was read: it passes over the markers of transactions.
    fn reach(&mut self) -> Result<(), IngestError> {
        let list = self.consumer.position().map_err(|cause| IngestError::Call { what: "tell positions", cause })?;
        let positions = self.sources.offsets(&list);
        for lane in &mut self.lanes {
            if let Some(position) = positions.get(&lane.place) {
                lane.reach(*position);
            }
        }
        Ok(())
    }

    /// Closes the epoch: the workers get the messages, the commit thread the positions.
    fn close(&mut self, close: Option<Timestamp>, revoked: Vec<u32>) -> Result<(), IngestError> {
        self.reach()?;
        let wall = clock::now();
        let unreachable = self.consumer.context().unreachable();
        let mut progress: Vec<(u32, ShardProgress)> = Vec::with_capacity(self.open.len());
        let mut batches = vec![Vec::new(); self.ports.supply.workers()];
        let mut positions = Vec::new();
        // Lanes stand in order of their shards.
        for lane in &mut self.lanes {
            let (shard, source) = lane.place;
            let idle = lane.idle(self.cut.idle_after)
                && (unreachable.is_empty() || !unreachable.contains(&(lane.topic.clone(), shard as i32)));
            if progress.last().is_none_or(|(last, _)| *last != shard) {
                progress.push((shard, ShardProgress { wall, sources: Vec::with_capacity(SOURCES.len()), close }));
            }
            if let Some((_, progress)) = progress.last_mut() {
                progress.sources.push(SourceProgress { source, idle, position: lane.position.unwrap_or(0) });
            }
            let worker = shard as usize % batches.len();
            batches[worker].extend(lane.take().map(Arc::new));
            if lane.position != lane.reported {
                lane.reported = lane.position;
                positions.extend(lane.position.map(|position| (lane.place, position)));
            }
        }
        let closed = Instant::now();
        let ends = EpochEnd { epoch: self.epoch, member: self.member.clone(), wall, closed, positions };
        let norms = self.ports.norms_handle.take();
        if let Some(norms) = &norms {
            self.norms = Arc::clone(norms);
        }
        let head = EpochHeader {
            epoch: self.epoch,
            wall,
            progress,
            other_shards: None,
            revoked,
            norms,
            restored: std::mem::take(&mut self.restored).into(),
        };
        self.ports.ends.send(ends).map_err(|_| IngestError::Alone("commit thread"))?;
        if !self.ports.supply.send(head, batches) {
            return Err(IngestError::Alone("workers"));
        }
        self.epoch += 1;
        self.in_flight += 1;
        self.observer.in_flight(self.in_flight);
        (self.messages, self.bytes, self.begun) = (0, 0, None);
        self.closed = closed;
        self.observer.alive(Part::Ingest);
        Ok(())
    }

    fn take(&mut self, outcome: CommitOutcome) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.observer.in_flight(self.in_flight);
        self.rerouted |= outcome.rerouted > 0;
        self.paused = outcome.paused;
    }

    /// Waits until nothing is in flight; `false`: not in time, or never, for the group knows us no more.
    fn drain(&mut self, most: Duration) -> Result<bool, IngestError> {
        let deadline = Instant::now() + most;
        while self.in_flight > 0 {
            match self.ports.outcomes.recv_deadline(deadline.min(Instant::now() + GLANCE)) {
                Ok(outcome) => self.take(outcome),
                Err(RecvTimeoutError::Timeout) if self.fence.is_refused() || Instant::now() >= deadline => {
                    return Ok(false);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(IngestError::Alone("commit thread")),
            }
            self.observer.alive(Part::Ingest);
        }
        Ok(true)
    }

    /// Asked to stop: commits what was read.
    fn finish(&mut self) -> Result<(), IngestError> {
        if self.messages > 0 && !self.fence.is_refused() {
            self.close(None, Vec::new())?;
        }
        let mut done = self.drain(DRAIN)?;
        if self.fence.is_refused() {
            // Others read it again.
            self.fence.abandon(self.epoch);
            done = self.drain(DRAIN)?;
        }
        if !done {
            return Err(IngestError::Stuck { what: "stop", epochs: self.in_flight, after: DRAIN });
        }
        Ok(())
    }
}

fn duration(span: Span) -> Duration {
    Duration::from_millis(span.0.max(0).unsigned_abs())
}

/// Wakes the ingest thread from its nap.
fn wake(waker: &Arc<std::sync::OnceLock<Thread>>) -> impl Fn() + Send + Sync + 'static {
    let waker = Arc::clone(waker);
    move || {
        if let Some(thread) = waker.get() {
            thread.unpark();
        }
    }
}
