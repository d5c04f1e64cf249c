//! Owns the Kafka edge: events in, and with one transaction an epoch everything that came of them out, offsets included.
//!
//! ```text
//!  source topics ──► ingest thread ──► workers ──► gather thread ──► commit thread ──► alerts, metrics, dead letters,
//!  and rerouted      (owns consumer)                        ▲        (owns producer)   rerouted, source offsets
//!                      ▲  │    ends of the epoch: positions │ ▲              │
//!       restore thread │  └─────────────────────────────────┘ │              │ an outcome an epoch: the permit
//!       (new shards) ──┘  ▲                                   └── watchdog   │ for another one
//!                         └──────────────────────────────────────────────────┘
//! ```
//!
//! **Exactly once.** An epoch's output and the offsets up to which it has been applied are one transaction, and what we
//! are to the group goes with it: a process that lost its shards cannot commit.
//! **Bounds.** At most `engine.epochs_in_flight` epochs are read and not committed; librdkafka reads ahead within its own
//! bound; while the bound is reached the group protocol is served and nothing is read.
//! **How soon.** From the sending of an event to the visibility of the alert that it sets off, for a reader of committed
//! records: p50 5 ms, p99 25 to 35 ms, where nothing waits for the watermark (`allowed_lateness: 0s`; broker, processor
//! and reader on two busy cores).
//! **Endings.** What cannot be retried or aborted ends the run with an error; nothing limps on.

mod client;
mod commit;
mod fence;
mod group;
pub mod in_process;
mod ingest;
pub mod inspect;
mod native;
mod offset_tracker;
mod partition_reader;
pub mod producer;
mod record_writer;
pub mod reset;
mod restore;
mod source_topics;
mod state_reader;
pub mod topics;
mod transaction;

pub use client::ClientError;
pub use commit::CommitError;
pub use group::ConsumerLag;
pub use ingest::IngestError;
pub use restore::{RestoreError, RestoreProgress};
pub use source_topics::SOURCES;
pub use topics::TopicsError;

use crate::config::Config;
use crate::dataflow::epoch::EpochOutput;
use crate::dataflow::live_state::lock;
use crate::dataflow::workers::{DataflowSettings, Workers};
use crate::domain::alert::Alert;
use crate::domain::norms::Norms;
use crate::domain::row::Row;
use commit::Commit;
use crossbeam_channel::{bounded, unbounded};
use fence::Fence;
use ingest::Ingest;
use rdkafka::producer::Producer;
use restore::Restore;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use transaction::{Heartbeat, Transactions};

/// A single call into librdkafka that takes longer has hung: some ignore their timeouts.
const LONGEST_CALL: Duration = Duration::from_secs(60);
/// So long a stop may take before the run is given up: within Kubernetes' grace period, if that is a minute.
const GRACE: Duration = Duration::from_secs(45);
/// How often the threads are looked after.
const ROUND: Duration = Duration::from_millis(10);

/// Asks a run to end: it commits what it has read, leaves the group and returns. Clones ask the same run.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal handler that sets it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Hands newer norms to a run, which takes them with its next epoch. Clones hand to the same run.
#[derive(Clone, Debug, Default)]
pub struct NormsHandle(Arc<Mutex<Option<Arc<Norms>>>>);

impl NormsHandle {
    /// Hands over; what was not taken yet is replaced.
    pub fn renew(&self, norms: Arc<Norms>) {
        *lock(&self.0) = Some(norms);
    }

    fn take(&self) -> Option<Arc<Norms>> {
        lock(&self.0).take()
    }
}

/// How long to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Until it is asked to stop.
    Live,
    /// To the end offsets found at the start; then event time goes to `until` or the last event, and the run is over.
    Once,
}

/// A thread of the edge, for signs of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Polls the consumer.
    Ingest,
    /// Commits epochs.
    Commit,
}

/// Whoever wants to know what happens: telemetry, tables, the live view. Called from the edge's threads, so it must not
/// block.
pub trait Observer: Send + Sync {
    /// An epoch was committed; called in order.
    fn committed(&self, made: &EpochOutput) {
        let _ = made;
    }

    /// A transaction with the output of so many epochs was committed.
    fn transaction(&self, took: Duration, epochs: usize) {
        let _ = (took, epochs);
    }

    /// This was published with the epoch that was committed last, for whoever wants to keep it.
    fn published(&self, alerts: Vec<Alert>, rows: Vec<Row>) {
        let _ = (alerts, rows);
    }

    /// An epoch was committed so long after its reading had ended.
    fn epoch(&self, took: Duration) {
        let _ = took;
    }

    /// A transaction was taken back, to be tried again.
    fn aborted(&self) {}

    /// So many epochs are read and not committed.
    fn in_flight(&self, epochs: usize) {
        let _ = epochs;
    }

    /// These shards are read from now on, and no others.
    fn assigned(&self, shards: &[u32]) {
        let _ = shards;
    }

    /// How far the shards are that are being restored, several times a second; none when the last one is.
    fn restoring(&self, shards: &[RestoreProgress]) {
        let _ = shards;
    }

    /// How far behind the ends of its partitions the process is, about once a second.
    fn lag(&self, lags: &[ConsumerLag]) {
        let _ = lags;
    }

    /// A thread made progress. A broker that is away does not keep it from that.
    fn alive(&self, part: Part) {
        let _ = part;
    }
}

impl Observer for () {}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Epochs committed.
    pub epochs: u64,
    /// Transactions committed.
    pub transactions: u64,
    /// Transactions that had to be taken back and made again.
    pub aborted: u64,
    /// Alert records.
    pub alerts: u64,
    /// Metric rows.
    pub rows: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Messages sent to their right partition.
    pub rerouted: u64,
    /// Records of the state topic, and their bytes: keys and values, before compression.
    pub state: (u64, u64),
}

/// A run failed. The process should end with an error: whoever restarts it loses nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The topics are not as they must be.
    #[error(transparent)]
    Topics(#[from] TopicsError),
    /// Reading failed.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// Committing failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Threads could not be started, or panicked.
    #[error("run {part}: {reason}")]
    Thread {
        /// Which thread.
        part: &'static str,
        /// What was wrong with it.
        reason: String,
    },
    /// A call into librdkafka does not return.
    #[error("commit: a call into librdkafka has not returned for {} s", LONGEST_CALL.as_secs())]
    Hung,
    /// The stop took too long.
    #[error("stop: not done within {} s", GRACE.as_secs())]
    Grace,
}

/// Reads, processes and commits until `stop` is set or, with [`Mode::Once`], all is read. `norms_handle` brings newer norms than
/// those of `settings`.
///
/// `settings.shards` is overwritten with the partition count of the source topics. Blocks the calling thread.
pub fn run(
    config: &Config,
    mut settings: DataflowSettings,
    mode: Mode,
    stop: &Stop,
    norms_handle: NormsHandle,
    observer: Arc<dyn Observer>,
) -> Result<Summary, RunError> {
    let producer = client::transactional(&config.kafka)?;
    settings.shards = match topics::shards(producer.client(), config, stop)? {
        Some(shards) => shards,
        None => return Ok(Summary::default()),
    };
    if mode == Mode::Once {
        // What a back-fill finds must not depend on when it runs.
        settings.timing.follows_clock = false;
    }
    // Before joining the group: it ends a transaction that a predecessor of the same name left open, whose offsets
    // would else stay unknown until it times out.
    if !transaction::begin(&producer, stop)? {
        return Ok(Summary::default());
    }
    settings.timing.memory.durable = true;
    let (shards, timing, norms) = (settings.shards, settings.timing, Arc::clone(&settings.norms));
    let closing = ingest::StopCondition {
        once: mode == Mode::Once,
        until: settings.timing.until,
        latest: Arc::clone(&settings.latest),
    };
    let failed = |part| move |reason| RunError::Thread { part, reason };
    let (supply, mut gather, guards) =
        Workers::start(config.engine.workers, settings).map_err(failed("workers"))?.split();

    let in_flight = config.engine.epochs_in_flight.max(1);
    // Epochs that only forget shards come on top of those that are bounded.
    let bound = in_flight + 4;
    let (ends_in, ends) = bounded(bound);
    let (outcomes_in, outcomes) = bounded(bound);
    let (made_in, made) = bounded(bound);
    // At most one message a shard and rebalance.
    let (fresh_in, fresh) = unbounded();
    let (ready_in, ready) = unbounded();
    let fence = Arc::new(Fence::default());
    let pulse = Arc::new(Heartbeat::default());

    let ingest = Ingest::new(
        config,
        shards,
        closing,
        ingest::Ports { supply, ends: ends_in, outcomes, fresh: fresh_in, ready, norms, norms_handle },
        Arc::clone(&fence),
        stop.clone(),
        Arc::clone(&observer),
    )?;
    let consumer = ingest.consumer();
    let ingest = spawn("ingest", move || ingest.run())?;
    let reader = ingest.thread().clone();
    let ports = restore::Ports { fresh, ready: ready_in, reader: reader.clone() };
    let restore = Restore::new(config, timing, ports, Arc::clone(&observer))?;
    let restore = spawn("restore", move || restore.run())?;
    let gathering = spawn("gather", move || {
        while let Some(made) = gather.gather() {
            if made_in.send(made).is_err() {
                break;
            }
        }
    })?;
    let commit = Commit::new(
        config,
        Transactions::new(producer, Arc::clone(&pulse), Arc::clone(&observer)),
        commit::Ports { made, ends, outcomes: outcomes_in, reader, consumer, fence },
        observer,
    );
    let commit = spawn("commit", move || commit.run())?;

    let watched = watch(&ingest, &commit, &pulse, stop);
    if let Err(error) = watched {
        // Threads that hang cannot be waited for; the process is about to end.
        std::mem::forget(guards);
        return Err(error);
    }
    let read = join("ingest", ingest);
    let summary = match join("commit", commit) {
        Ok(Ok(summary)) => summary,
        Ok(Err(error)) => {
            std::mem::forget(guards);
            return Err(error.into());
        }
        Err(error) => {
            std::mem::forget(guards);
            return Err(error);
        }
    };
    if let Err(error) = read.and_then(|read| Ok(read?)) {
        std::mem::forget(guards);
        return Err(error);
    }
    guards.join().into_iter().collect::<Result<(), String>>().map_err(failed("workers"))?;
    join("gather", gathering)?;
    join("restore", restore)?;
    Ok(summary)
}

/// Waits until both threads have ended.
fn watch<I, C>(ingest: &JoinHandle<I>, commit: &JoinHandle<C>, pulse: &Heartbeat, stop: &Stop) -> Result<(), RunError> {
    let mut asked: Option<Instant> = None;
    while !(ingest.is_finished() && commit.is_finished()) {
        if pulse.held() > LONGEST_CALL {
            return Err(RunError::Hung);
        }
        if stop.is_set() && asked.get_or_insert_with(Instant::now).elapsed() > GRACE {
            return Err(RunError::Grace);
        }
        std::thread::sleep(ROUND);
    }
    Ok(())
}

fn spawn<T: Send + 'static>(
    part: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, RunError> {
    let failed = |error: std::io::Error| RunError::Thread { part, reason: error.to_string() };
    Builder::new().name(part.into()).spawn(work).map_err(failed)
}

fn join<T>(part: &'static str, thread: JoinHandle<T>) -> Result<T, RunError> {
    thread.join().map_err(|_| RunError::Thread { part, reason: "it panicked".into() })
}
