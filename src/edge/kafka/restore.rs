//! Owns the restore of assigned shards: a thread with its own clients reads the shard's partition of the state topic,
//! rebuilds the shard, and passes its start offsets to the ingest thread. Shards that are being read are not affected.
//!
//! ```text
//! assigned ──► end offset of the state, open transactions included ──► committed records up to it ──► rebuild ──► ready
//!                                                                        └── no state ──► committed offsets ──────┘
//! ```
//!
//! **Invariant: read to the high watermark.** The markers of a transaction reach its partitions one after another.
//! Reading only to the last stable offset could miss records whose transaction is already committed on other
//! partitions. So the end offset includes open transactions, and the restore waits for their outcome.
//!
//! **Invariant: state defines the start offsets.** The checkpoint, the last record of the state, belongs to the same
//! transaction as the records before it. The group's committed offsets are the same, but they are in another partition,
//! and a single broker that crashes while it completes a transaction may leave them unavailable forever. They are used
//! only for a shard without state; then reading starts only when no transaction is open on them. A transaction that is
//! open on state is ended by its timeout, or by the next process with the same transactional id. If it hangs beyond
//! that, it needs `kafka-transactions abort`; until then the shard waits and logs a warning.

use super::Observer;
use super::client::ClientError;
use super::source_topics::{SourcePartition, SourceTopics};
use super::state_reader::{ReadError, StateConsumer, StateReader, is_permanent};
use crate::config::{Config, restore_norms};
use crate::dataflow::state::{RebuildError, RestoreContext, RestoredShard};
use crate::domain::norms::Norms;
use crate::domain::shard::processor::Timing;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

/// First and longest timeout of a query: an open transaction on one shard must not delay the others.
const MIN_QUERY_TIMEOUT: Duration = Duration::from_millis(250);
const MAX_QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a round of queries without an answer, and the time of one round of reading.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a shard that is still restoring is logged.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// How often progress is reported.
const REPORT_INTERVAL: Duration = Duration::from_millis(200);

/// Restoring failed permanently.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A call failed, and fails again until permissions are changed.
    #[error("restore: {what}: {cause}")]
    Call {
        /// The operation.
        what: &'static str,
        /// librdkafka's error.
        cause: KafkaError,
    },
    /// A shard cannot be rebuilt from its records.
    #[error("restore shard {shard} from {topic}: {cause}; for details run `funnelwatch state verify`")]
    Rebuild {
        /// The shard.
        shard: u32,
        /// The state topic.
        topic: String,
        /// The defect.
        cause: RebuildError,
    },
}

impl From<ReadError> for RestoreError {
    fn from(ReadError { what, cause }: ReadError) -> Self {
        Self::Call { what, cause }
    }
}

/// The progress of a shard that is being restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreProgress {
    /// The shard.
    pub shard: u32,
    /// Offsets read from the start of the partition.
    pub read: u64,
    /// Offsets in total; 0 while unknown.
    pub total: u64,
}

/// A request to restore an assigned shard.
#[derive(Clone, Debug)]
pub(super) struct RestoreRequest {
    pub(super) shard: u32,
    /// Distinguishes this assignment of the shard from previous ones.
    pub(super) id: u64,
    pub(super) norms: Arc<Norms>,
}

/// A restored shard.
#[derive(Debug)]
pub(super) struct ShardReady {
    pub(super) shard: u32,
    pub(super) request_id: u64,
    /// Its committed offsets; missing ones were never committed.
    pub(super) committed: BTreeMap<SourcePartition, i64>,
    /// Its state; `None`: it has no state yet.
    pub(super) restored: Option<RestoredShard>,
}

/// The ends of the restore thread's channels.
pub(super) struct Ports {
    pub(super) requests: Receiver<RestoreRequest>,
    /// Errors are permanent.
    pub(super) ready: Sender<Result<ShardReady, RestoreError>>,
    /// Unparked after a send.
    pub(super) ingest_thread: Thread,
}

/// The restore thread.
pub(super) struct Restore {
    consumer: StateConsumer,
    sources: SourceTopics,
    timing: Timing,
    ports: Ports,
    observer: Arc<dyn Observer>,
    /// Shards whose end offset is not known yet.
    waiting: BTreeMap<u32, RestoreRequest>,
    /// Shards whose state is read; those without state wait for their committed offsets.
    reading: BTreeMap<u32, ShardRestore>,
    /// Timeout of the next query for committed offsets.
    query_timeout: Duration,
    last_report: Instant,
}

/// A shard whose state is read.
struct ShardRestore {
    request: RestoreRequest,
    reader: StateReader,
    started: Instant,
    next_warning: Instant,
}

impl ShardRestore {
    fn new(request: RestoreRequest, bounds: (i64, i64)) -> Self {
        let (started, next_warning) = (Instant::now(), Instant::now() + WARN_INTERVAL);
        Self { request, reader: StateReader::new(bounds), started, next_warning }
    }

    fn is_complete(&self) -> bool {
        self.reader.is_complete()
    }
}

impl AsMut<StateReader> for ShardRestore {
    fn as_mut(&mut self) -> &mut StateReader {
        &mut self.reader
    }
}

impl Restore {
    pub(super) fn new(
        config: &Config,
        timing: Timing,
        ports: Ports,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            consumer: StateConsumer::new(config)?,
            sources: SourceTopics::of(&config.topics),
            timing,
            ports,
            observer,
            waiting: BTreeMap::new(),
            reading: BTreeMap::new(),
            query_timeout: MIN_QUERY_TIMEOUT,
            last_report: Instant::now(),
        })
    }

    /// Restores shards until the ingest thread has ended.
    pub(super) fn run(mut self) {
        while self.accept_requests() {
            if let Err(error) = self.step() {
                self.waiting.clear();
                self.reading.clear();
                // The ingest thread may have ended.
                let _ = self.ports.ready.send(Err(error));
                self.ports.ingest_thread.unpark();
            }
        }
    }

    /// Accepts restore requests, and blocks if there is nothing else to do; `false`: the ingest thread has ended.
    fn accept_requests(&mut self) -> bool {
        loop {
            let request = match self.ports.requests.try_recv() {
                Ok(request) => request,
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) if !self.waiting.is_empty() || !self.reading.is_empty() => return true,
                Err(TryRecvError::Empty) => match self.ports.requests.recv() {
                    Ok(request) => request,
                    Err(_) => return false,
                },
            };
            self.reading.remove(&request.shard);
            self.waiting.insert(request.shard, request);
        }
    }

    fn step(&mut self) -> Result<(), RestoreError> {
        let mut idle = true;
        for (shard, request) in std::mem::take(&mut self.waiting) {
            match self.consumer.bounds(shard, MAX_QUERY_TIMEOUT)? {
                Some(bounds) => {
                    self.reading.insert(shard, ShardRestore::new(request, bounds));
                    idle = false;
                }
                None => drop(self.waiting.insert(shard, request)),
            }
        }
        if !idle {
            self.consumer.assign(&mut self.reading)?;
        }
        if self.reading.values().any(|restore| !restore.is_complete()) {
            self.consumer.read(&mut self.reading, PAUSE)?;
            self.report();
            idle = false;
        }
        idle &= !self.rebuild_complete()?;
        idle &= !self.start_without_state()?;
        self.warn_overdue();
        if idle {
            // Some errors are returned at once.
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Starts the shards that have no state from the group's committed offsets; returns whether there was an answer.
    fn start_without_state(&mut self) -> Result<bool, RestoreError> {
        let shards: Vec<u32> =
            self.reading.iter().filter(|(_, restore)| restore.is_complete()).map(|(shard, _)| *shard).collect();
        if shards.is_empty() {
            return Ok(false);
        }
        let mut answered = self.start_from_offsets(&shards)?;
        if !answered && shards.len() > 1 {
            // An open transaction on one of them delays the answer for all.
            for shard in shards {
                answered |= self.start_from_offsets(&[shard])?;
            }
        }
        // Nor must it delay the shards whose state is still read.
        let max =
            if self.reading.values().all(ShardRestore::is_complete) { MAX_QUERY_TIMEOUT } else { MIN_QUERY_TIMEOUT };
        self.query_timeout = if answered { MIN_QUERY_TIMEOUT } else { max.min(self.query_timeout * 2) };
        Ok(answered)
    }

    /// Queries the committed offsets of some shards without state; returns whether there was an answer.
    fn start_from_offsets(&mut self, shards: &[u32]) -> Result<bool, RestoreError> {
        let committed = match self.committed(shards) {
            Ok(committed) => committed,
            Err(cause) if is_permanent(&cause) => {
                return Err(RestoreError::Call { what: "query the committed offsets", cause });
            }
            Err(error) => {
                tracing::debug!("query the committed offsets of shards {shards:?}: {error}; retrying");
                return Ok(false);
            }
        };
        for shard in shards {
            let (Some((_, end)), Some(restore)) =
                (self.consumer.bounds(*shard, MAX_QUERY_TIMEOUT)?, self.reading.get_mut(shard))
            else {
                continue;
            };
            if restore.reader.extend(end) {
                // The previous owner wrote state before it released the shard.
                self.consumer.assign(&mut self.reading)?;
                continue;
            }
            let Some(ShardRestore { request, reader: StateReader { loader, .. }, .. }) = self.reading.remove(shard)
            else {
                continue;
            };
            // Detects events without a checkpoint.
            let failed =
                |cause| RestoreError::Rebuild { shard: *shard, topic: self.consumer.topic().to_owned(), cause };
            loader.verify().map_err(failed)?;
            let own = committed.iter().filter(|((of, _), _)| of == shard);
            let committed = own.map(|(partition, offset)| (*partition, *offset)).collect();
            self.ready(ShardReady { shard: *shard, request_id: request.id, committed, restored: None });
        }
        Ok(true)
    }

    fn committed(&self, shards: &[u32]) -> KafkaResult<BTreeMap<SourcePartition, i64>> {
        let list = self.consumer.consumer().committed_offsets(self.sources.list(shards), self.query_timeout)?;
        // An error of one partition must not be read as "nothing committed": it would be read from its start.
        list.elements().iter().try_for_each(|element| element.error())?;
        Ok(self.sources.offsets(&list))
    }

    /// Rebuilds the shards whose state is completely read; returns whether there were any.
    fn rebuild_complete(&mut self) -> Result<bool, RestoreError> {
        let has_state =
            |(_, restore): &(u32, ShardRestore)| restore.is_complete() && restore.reader.loader.shard().is_some();
        let (complete, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.reading).into_iter().partition(has_state);
        self.reading = rest.into_iter().collect();
        let any = !complete.is_empty();
        for (shard, restore) in complete {
            let ShardRestore {
                request: RestoreRequest { id, norms, .. },
                reader: StateReader { loader, .. },
                started,
                ..
            } = restore;
            let (records, read_time) = (loader.records(), started.elapsed());
            let next = loader.shard().map(|shard| shard.checkpoint.next.clone()).unwrap_or_default();
            let committed = next.into_iter().map(|(source, offset)| ((shard, source), offset)).collect();
            let context = RestoreContext { norms, timing: self.timing, read_norms: restore_norms };
            let replayed = loader.digest().applied;
            let restored = loader.restore(shard, &context).map_err(|cause| RestoreError::Rebuild {
                shard,
                topic: self.consumer.topic().to_owned(),
                cause,
            })?;
            tracing::info!(
                "restored shard {shard}: read {records} records in {:.1} s, replayed {replayed} events in {:.1} s",
                read_time.as_secs_f64(),
                (started.elapsed() - read_time).as_secs_f64()
            );
            self.ready(ShardReady { shard, request_id: id, committed, restored });
        }
        Ok(any)
    }

    fn ready(&self, ready: ShardReady) {
        // The ingest thread may have ended.
        let _ = self.ports.ready.send(Ok(ready));
        self.ports.ingest_thread.unpark();
        if self.reading.is_empty() && self.waiting.is_empty() {
            self.observer.restoring(&[]);
        }
    }

    fn report(&mut self) {
        if self.last_report.elapsed() < REPORT_INTERVAL {
            return;
        }
        self.last_report = Instant::now();
        let reading = self.reading.iter().map(|(shard, ShardRestore { reader, .. })| {
            let (read, total) = reader.progress();
            RestoreProgress { shard: *shard, read, total }
        });
        let waiting = self.waiting.keys().map(|shard| RestoreProgress { shard: *shard, read: 0, total: 0 });
        self.observer.restoring(&reading.chain(waiting).collect::<Vec<_>>());
    }

    fn warn_overdue(&mut self) {
        let now = Instant::now();
        for (shard, restore) in self.reading.iter_mut().filter(|(_, restore)| restore.next_warning <= now) {
            restore.next_warning = now + WARN_INTERVAL;
            let (read, total) = restore.reader.progress();
            tracing::warn!(
                "shard {shard} is still restoring: {read} of {total} offsets read; a transaction may be open on the rest \
                 or on the committed offsets, or the brokers may be unreachable"
            );
        }
    }
}
