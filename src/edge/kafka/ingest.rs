//! Owns the ingest thread: reads partitions, cuts epochs, and answers the group.
//!
//! **Epochs.** One is closed when it is `engine.epoch` old or full; or as soon as everything is read, nothing is in
//! flight and the one before is a while ago, so that a single event in a quiet hour is not kept waiting. Empty ones are
//! closed at a slower pace, for the watermark follows the clock and deadlines pass. **Back-pressure.** While as many
//! epochs are in flight as may be, nothing is taken from the queues; the group is served all the same. **Idle** is told
//! of a partition that was read to its end, whose queue was found empty so long after its last message, and whose leader
//! can be reached. **Rebalance.** See `rebalance`, below: what was read is committed before a partition is given up.

mod once;
mod rebalance;

use super::client::{self, ClientError};
use super::commit::{Ends, Outcome};
use super::feeds::{FEEDS, Feeds};
use super::group::{Change, Group};
use super::lane::Lane;
use super::shards::{self, Shards};
use super::{Observer, Part, Renewal, Stop};
use crate::config::Config;
use crate::dataflow::epoch::Head;
use crate::dataflow::workers::Supply;
use crate::domain::floor::{Feed, Tide};
use crate::domain::time::{Span, Timestamp};
use crate::edge::clock;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
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
/// After an epoch was refused, the group must say so itself within this time.
const NEWS: Duration = Duration::from_secs(90);

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
    /// The broker refuses our offsets, but does not take the partitions away.
    #[error("read: the group refused an epoch {} s ago, and nothing came of it", NEWS.as_secs())]
    Limbo,
}

/// The ends of the ingest thread's channels.
pub(super) struct Ports {
    pub(super) supply: Supply,
    pub(super) ends: Sender<Ends>,
    pub(super) outcomes: Receiver<Outcome>,
    /// Tells the commit thread to give up epochs of assignments up to this one.
    pub(super) abandoned: Arc<AtomicU64>,
    /// Where newer norms come from.
    pub(super) renewal: Renewal,
}

/// Whether and where the stream ends by itself.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) once: bool,
    pub(super) until: Option<Timestamp>,
    /// The latest event time decoded.
    pub(super) latest: Arc<AtomicI64>,
}

/// How epochs are cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    epoch: Duration,
    messages: usize,
    in_flight: usize,
    idle_after: Duration,
}

/// The ingest thread.
pub(super) struct Ingest {
    consumer: Arc<BaseConsumer<Group>>,
    /// How many shards there are in all.
    count: u32,
    feeds: Feeds,
    lanes: Vec<Lane>,
    assigned: Vec<u32>,
    shards: Shards,
    ports: Ports,
    closing: Closing,
    cut: Cut,
    stop: Stop,
    observer: Arc<dyn Observer>,
    /// The assignment's number, from 1.
    term: u64,
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
    /// Since when epochs have been refused.
    refused: Option<Instant>,
    /// Messages were sent to `rerouted` since it was last read to its end.
    rerouted: bool,
    /// Wakes this thread; set once it runs.
    waker: Arc<std::sync::OnceLock<Thread>>,
}

impl Ingest {
    pub(super) fn new(
        config: &Config,
        shards: u32,
        closing: Closing,
        ports: Ports,
        stop: Stop,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, IngestError> {
        let group = Group::new(Arc::clone(&observer));
        let mut consumer = client::consumer(&config.kafka, shards as usize * FEEDS.len(), group)?;
        let waker = Arc::new(std::sync::OnceLock::new());
        consumer.set_nonempty_callback(wake(&waker));
        Ok(Self {
            consumer: Arc::new(consumer),
            count: shards,
            feeds: Feeds::of(&config.topics),
            lanes: Vec::new(),
            assigned: Vec::new(),
            shards: Shards::default(),
            ports,
            closing,
            cut: Cut {
                epoch: duration(config.engine.epoch),
                messages: config.engine.epoch_messages,
                in_flight: config.engine.epochs_in_flight.max(1),
                idle_after: duration(config.time.idle_after),
            },
            stop,
            observer,
            term: 0,
            epoch: 0,
            in_flight: 0,
            messages: 0,
            bytes: 0,
            begun: None,
            closed: Instant::now(),
            turn: 0,
            refused: None,
            rerouted: false,
            waker,
        })
    }

    /// Reads until it is asked to stop, or all is read.
    pub(super) fn run(mut self) -> Result<(), IngestError> {
        let _ = self.waker.set(thread::current());
        let names: Vec<&str> = self.feeds.names().iter().map(String::as_str).collect();
        self.consumer.subscribe(&names).map_err(|cause| IngestError::Call { what: "join the group", cause })?;
        let result = self.read_on();
        self.leave();
        result
    }

    fn read_on(&mut self) -> Result<(), IngestError> {
        loop {
            self.serve_group()?;
            while let Ok(outcome) = self.ports.outcomes.try_recv() {
                self.take(&outcome);
            }
            if self.stop.is_set() {
                return self.finish();
            }
            if let Some(since) = self.refused {
                // What is read now would be refused as well; the group will tell.
                if since.elapsed() > NEWS {
                    return Err(IngestError::Limbo);
                }
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
        let positions = shards::offsets(&list, &self.feeds);
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
        let mut tides: Vec<(u32, Tide)> = Vec::with_capacity(self.assigned.len());
        let mut batches = vec![Vec::new(); self.ports.supply.workers()];
        let mut positions = Vec::new();
        // Lanes stand in order of their shards.
        for lane in &mut self.lanes {
            let (shard, feed) = lane.place;
            let idle = lane.idle(self.cut.idle_after)
                && (unreachable.is_empty() || !unreachable.contains(&(lane.topic.clone(), shard as i32)));
            if tides.last().is_none_or(|(last, _)| *last != shard) {
                tides.push((shard, Tide { wall, feeds: Vec::with_capacity(FEEDS.len()), close }));
            }
            if let Some((_, tide)) = tides.last_mut() {
                tide.feeds.push((feed, idle));
            }
            let worker = shard as usize % batches.len();
            batches[worker].extend(lane.take().map(Arc::new));
            if lane.position != lane.reported {
                lane.reported = lane.position;
                positions.extend(lane.position.map(|position| (lane.place, position)));
            }
        }
        let ends = Ends { epoch: self.epoch, term: self.term, wall, positions, group: self.consumer.group_metadata() };
        let head = Head { epoch: self.epoch, wall, tides, others: None, revoked, norms: self.ports.renewal.take() };
        self.ports.ends.send(ends).map_err(|_| IngestError::Alone("commit thread"))?;
        if !self.ports.supply.send(head, batches) {
            return Err(IngestError::Alone("workers"));
        }
        self.epoch += 1;
        self.in_flight += 1;
        (self.messages, self.bytes, self.begun) = (0, 0, None);
        self.closed = Instant::now();
        self.observer.alive(Part::Ingest);
        Ok(())
    }

    fn take(&mut self, outcome: &Outcome) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.rerouted |= outcome.rerouted > 0;
        self.shards.commit(&outcome.offsets);
        if !outcome.committed {
            self.shards.taint();
            self.refused.get_or_insert_with(Instant::now);
        }
    }

    /// Waits until nothing is in flight; whether that was so in time.
    fn drain(&mut self, most: Duration) -> Result<bool, IngestError> {
        let deadline = Instant::now() + most;
        while self.in_flight > 0 {
            match self.ports.outcomes.recv_deadline(deadline) {
                Ok(outcome) => self.take(&outcome),
                Err(RecvTimeoutError::Timeout) => return Ok(false),
                Err(RecvTimeoutError::Disconnected) => return Err(IngestError::Alone("commit thread")),
            }
            self.observer.alive(Part::Ingest);
        }
        Ok(true)
    }

    /// Asked to stop: commits what was read.
    fn finish(&mut self) -> Result<(), IngestError> {
        if self.refused.is_none() && self.messages > 0 {
            self.close(None, Vec::new())?;
        }
        if !self.drain(DRAIN)? {
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
