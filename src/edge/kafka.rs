//! Owns the Kafka edge: reads events, and writes each epoch's output and source offsets in one transaction.
//!
//! ```text
//!  source topics ──► ingest thread ──► workers ──► gather thread ──► commit thread ──► alerts, metrics, reviews,
//!  and rerouted      (owns consumer)                        ▲        (owns producer)   dead letters, state, offsets
//!                      ▲  │    epoch ends (with positions)  │ ▲              │
//!       restore thread │  └─────────────────────────────────┘ │              │ one outcome per epoch:
//!       (new shards) ──┘  ▲                                   └── watchdog   │ a permit for another one
//!                         └──────────────────────────────────────────────────┘
//! ```
//!
//! **Exactly once.** An epoch's output and the offsets up to which events have been applied are one transaction, which
//! carries the consumer group metadata: a process that lost its shards is fenced.
//! **Bounds.** At most `engine.epochs_in_flight` epochs are read and not committed, plus librdkafka's bounded
//! read-ahead. While the limit is reached the consumer is polled for the group protocol, but nothing is read.
//! **Latency.** From sending an event until a read_committed consumer sees its alert: p50 5 ms, p99 25 to 35 ms, if
//! nothing waits for the watermark (`allowed_lateness: 0s`; broker, processor and reader on two busy cores).
//! **Failures.** An error that neither a retry nor an abort resolves ends the run.

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
pub use topics::TopicsError;

use crate::config::Config;
use crate::dataflow::epoch::EpochOutput;
use crate::dataflow::live::lock;
use crate::dataflow::settings::DataflowSettings;
use crate::dataflow::workers;
use crate::domain::alert::Alert;
use crate::domain::figures::row::Row;
use crate::domain::norms::Norms;
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

/// A librdkafka call that takes longer is considered hung: some calls ignore their timeouts.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a shutdown may take; shorter than a Kubernetes grace period of one minute.
const STOP_TIMEOUT: Duration = Duration::from_secs(45);
/// How often the watchdog checks the threads.
const WATCH_INTERVAL: Duration = Duration::from_millis(10);

/// Stops a run: it commits what it has read, leaves the group and returns. Clones stop the same run.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Requests the stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was requested.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal handler.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Passes new norms to a run, which applies them from its next epoch on. Clones pass them to the same run.
#[derive(Clone, Debug, Default)]
pub struct NormsHandle(Arc<Mutex<Option<Arc<Norms>>>>);

impl NormsHandle {
    /// Sets the norms for the next epoch, and replaces any that are still pending.
    pub fn set(&self, norms: Arc<Norms>) {
        *lock(&self.0) = Some(norms);
    }

    fn take(&self) -> Option<Arc<Norms>> {
        lock(&self.0).take()
    }
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// At a stop request.
    Live,
    /// At the end offsets found at the start; then event time advances to `until` or to the last event.
    Once,
}

/// A thread of the edge, for liveness checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Polls the consumer.
    Ingest,
    /// Commits epochs.
    Commit,
}

/// Receives the events of a run: for telemetry, tables and the live view. Called from the edge's threads, so it must
/// not block.
pub trait Observer: Send + Sync {
    /// An epoch was committed. Called in epoch order.
    fn committed(&self, output: &EpochOutput) {
        let _ = output;
    }

    /// A transaction with the output of `epochs` epochs was committed; `took` includes its retries.
    fn transaction(&self, took: Duration, epochs: usize) {
        let _ = (took, epochs);
    }

    /// The alerts and rows of the epoch that was committed last, by value.
    fn published(&self, alerts: Vec<Alert>, rows: Vec<Row>) {
        let _ = (alerts, rows);
    }

    /// The time from closing an epoch to its commit.
    fn epoch(&self, took: Duration) {
        let _ = took;
    }

    /// A transaction was aborted, and will be retried.
    fn aborted(&self) {}

    /// The number of epochs that are read and not committed.
    fn in_flight(&self, epochs: usize) {
        let _ = epochs;
    }

    /// The shards that are read from now on; replaces the previous list.
    fn assigned(&self, shards: &[u32]) {
        let _ = shards;
    }

    /// Progress of the shards that are being restored, several times a second; empty when all are done.
    fn restoring(&self, shards: &[RestoreProgress]) {
        let _ = shards;
    }

    /// Lag of the partitions that are read, about once a second.
    fn lag(&self, lags: &[ConsumerLag]) {
        let _ = lags;
    }

    /// A thread is alive. Unreachable brokers do not prevent these calls.
    fn alive(&self, part: Part) {
        let _ = part;
    }
}

impl Observer for () {}

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Epochs committed.
    pub epochs: u64,
    /// Transactions committed.
    pub transactions: u64,
    /// Transactions aborted and retried.
    pub aborted: u64,
    /// Alert records.
    pub alerts: u64,
    /// Metric rows.
    pub rows: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Misrouted messages sent to their right partition.
    pub rerouted: u64,
    /// Records of the state topic, and their bytes: keys and values, before compression.
    pub state: (u64, u64),
}

/// A run failed. The process should exit with an error; nothing is lost when it is restarted.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A client could not be created.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The topics are missing or wrong.
    #[error(transparent)]
    Topics(#[from] TopicsError),
    /// Reading failed.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// Committing failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A thread could not be started, or panicked.
    #[error("run {part}: {reason}")]
    Thread {
        /// The thread.
        part: &'static str,
        /// The cause.
        reason: String,
    },
    /// A librdkafka call does not return.
    #[error("commit: a librdkafka call has not returned for {} s", CALL_TIMEOUT.as_secs())]
    Hung,
    /// The shutdown took too long.
    #[error("stop: not finished within {} s", STOP_TIMEOUT.as_secs())]
    StopTimeout,
}

/// Reads, processes and commits until `stop` is set or, with [`Mode::Once`], everything is read. `norms_handle`
/// supplies norms that replace those of `settings`.
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
        // The result of a backfill must not depend on when it runs.
        settings.timing.follows_clock = false;
    }
    // Before joining the group: this aborts a transaction that a previous process with the same transactional id left
    // open; until it ends, the committed offsets are unavailable.
    if !transaction::init(&producer, stop)? {
        return Ok(Summary::default());
    }
    settings.timing.memory.durable = true;
    let (shards, timing, norms) = (settings.shards, settings.timing, Arc::clone(&settings.norms));
    let stop_condition = ingest::StopCondition {
        once: mode == Mode::Once,
        until: settings.timing.until,
        latest: Arc::clone(&settings.latest),
    };
    let failed = |part| move |reason| RunError::Thread { part, reason };
    let (epochs, mut collector, guards) = workers::start(config.engine.workers, settings).map_err(failed("workers"))?;

    let in_flight = config.engine.epochs_in_flight.max(1);
    // Epochs that only release shards are sent in addition to the bounded ones.
    let bound = in_flight + 4;
    let (ends_in, ends) = bounded(bound);
    let (outcomes_in, outcomes) = bounded(bound);
    let (outputs_in, outputs) = bounded(bound);
    // At most one message per shard and rebalance.
    let (requests_in, requests) = unbounded();
    let (ready_in, ready) = unbounded();
    let fence = Arc::new(Fence::default());
    let heartbeat = Arc::new(Heartbeat::default());

    let ingest = Ingest::new(
        config,
        shards,
        stop_condition,
        ingest::Ports { epochs, ends: ends_in, outcomes, requests: requests_in, ready, norms, norms_handle },
        Arc::clone(&fence),
        stop.clone(),
        Arc::clone(&observer),
    )?;
    let consumer = ingest.consumer();
    let ingest = spawn("ingest", move || ingest.run())?;
    let ingest_thread = ingest.thread().clone();
    let ports = restore::Ports { requests, ready: ready_in, ingest_thread: ingest_thread.clone() };
    let restore = Restore::new(config, timing, ports, Arc::clone(&observer))?;
    let restore = spawn("restore", move || restore.run())?;
    let gather = spawn("gather", move || {
        while let Some(output) = collector.next_epoch() {
            if outputs_in.send(output).is_err() {
                break;
            }
        }
    })?;
    let commit = Commit::new(
        config,
        Transactions::new(producer, Arc::clone(&heartbeat), Arc::clone(&observer)),
        commit::Ports { outputs, ends, outcomes: outcomes_in, ingest_thread, consumer, fence },
        observer,
    );
    let commit = spawn("commit", move || commit.run())?;

    let watched = watch(&ingest, &commit, &heartbeat, stop);
    if let Err(error) = watched {
        // Hung threads cannot be joined; the process is about to exit.
        std::mem::forget(guards);
        return Err(error);
    }
    let ingest_result = join("ingest", ingest);
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
    if let Err(error) = ingest_result.and_then(|result| Ok(result?)) {
        std::mem::forget(guards);
        return Err(error);
    }
    guards.join().into_iter().collect::<Result<(), String>>().map_err(failed("workers"))?;
    join("gather", gather)?;
    join("restore", restore)?;
    Ok(summary)
}

/// Waits until both threads have ended.
fn watch<I, C>(
    ingest: &JoinHandle<I>,
    commit: &JoinHandle<C>,
    heartbeat: &Heartbeat,
    stop: &Stop,
) -> Result<(), RunError> {
    let mut stopping_since: Option<Instant> = None;
    while !(ingest.is_finished() && commit.is_finished()) {
        if heartbeat.elapsed() > CALL_TIMEOUT {
            return Err(RunError::Hung);
        }
        if stop.is_set() && stopping_since.get_or_insert_with(Instant::now).elapsed() > STOP_TIMEOUT {
            return Err(RunError::StopTimeout);
        }
        std::thread::sleep(WATCH_INTERVAL);
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
    thread.join().map_err(|_| RunError::Thread { part, reason: "panicked".into() })
}
