//! Owns the restore of assigned shards: a thread with its own clients reads the shard's partition of the state topic,
//! rebuilds the shard, and passes its start offsets to the ingest thread. Shards that are being read are not affected.
//! It also reads the shard's partition of the topic of open alerts, and compares it with the state.
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

pub(super) mod compacted_reader;
pub(super) mod open_alerts;

use super::client::{CallError, is_permanent};
use super::error::RunError;
use super::event::{Observer, RestoreProgress, RuntimeEvent};
use super::part::{self, Waker};
use super::source_logs::{SourceLogs, Start};
use super::source_topics::{SourcePartition, SourceTopics};
use crate::codec::state::SourceLog;
use crate::config::{Config, restore_norms};
use crate::dataflow::state::{RebuildError, RestoreContext, RestoredShard, StateLoader};
use crate::domain::norms::Norms;
use crate::domain::shard::processor::Timing;
use crate::domain::shard::spill::HeldMemory;
use crate::domain::source::{Offset, ShardId, Source};
use crate::edge::memory::MemoryBudget;
use crate::telemetry::process;
use compacted_reader::{Bounds, CompactedConsumer, CompactedReader};
use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use open_alerts::{OpenAlertsRepair, PublishedKeys};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// First and longest timeout of a query: an open transaction on one shard must not delay the others.
const MIN_QUERY_TIMEOUT: Duration = Duration::from_millis(250);
const MAX_QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// How many shards are read at a time: their records are in memory until a shard is rebuilt. While memory is tight, one.
const AT_A_TIME: usize = 4;
/// A shard without progress for this long, because a transaction is open on its state, does not delay the others.
const STALL: Duration = Duration::from_secs(1);
/// Pause after a round of queries without an answer, and the time of one round of reading.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a shard that is still restoring is logged.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// How often progress is reported.
const REPORT_INTERVAL: Duration = Duration::from_millis(200);

/// A request to restore an assigned shard.
#[derive(Clone, Debug)]
struct RestoreRequest {
    shard: ShardId,
    /// Distinguishes this assignment of the shard from previous ones.
    id: u64,
    norms: Arc<Norms>,
}

/// A restored shard.
#[derive(Debug)]
pub(super) struct ShardReady {
    request: RestoreRequest,
    /// Where reading its sources goes on; missing ones were never read.
    pub(super) starts: BTreeMap<Source, Start>,
    /// Its state; `None`: it has no state yet.
    pub(super) restored: Option<RestoredShard>,
    /// What its partition of the topic of open alerts has too much, and what it lacks.
    pub(super) open_alerts: Option<OpenAlertsRepair>,
}

/// The other ends of the channels of the restore thread, which ends when they are dropped, and the shards that are being
/// restored: they are assigned, but not read.
pub(super) struct RestoreHandle {
    requests: Sender<RestoreRequest>,
    /// Errors are permanent.
    ready: Receiver<Result<ShardReady, RunError>>,
    /// The shards, with the ids of their requests.
    pending: BTreeMap<ShardId, u64>,
    last_id: u64,
}

impl RestoreHandle {
    /// Requests the restore of shards.
    pub(super) fn request(&mut self, shards: BTreeSet<ShardId>, norms: &Arc<Norms>) -> Result<(), RunError> {
        for shard in shards {
            self.last_id += 1;
            self.pending.insert(shard, self.last_id);
            let request = RestoreRequest { shard, id: self.last_id, norms: Arc::clone(norms) };
            self.requests.send(request).map_err(|_| RunError::ThreadEnded("restore thread"))?;
        }
        Ok(())
    }

    /// Drops the requests for some shards.
    pub(super) fn cancel(&mut self, shards: &BTreeSet<ShardId>) {
        self.pending.retain(|shard, _| !shards.contains(shard));
    }

    /// The shards that are being restored.
    pub(super) fn shards(&self) -> impl ExactSizeIterator<Item = ShardId> {
        self.pending.keys().copied()
    }

    /// The next shard that is ready.
    pub(super) fn next_ready(&mut self) -> Result<Option<(ShardId, ShardReady)>, RunError> {
        while let Ok(ready) = self.ready.try_recv() {
            let ready = ready?;
            // It may have been revoked, and assigned again, since the request.
            let RestoreRequest { shard, id, .. } = ready.request;
            if self.pending.get(&shard) == Some(&id) {
                self.pending.remove(&shard);
                return Ok(Some((shard, ready)));
            }
        }
        Ok(None)
    }
}

/// The restore thread.
struct Restore {
    state: CompactedConsumer<StateLoader>,
    open_alerts: CompactedConsumer<PublishedKeys>,
    sources: SourceTopics,
    logs: SourceLogs,
    timing: Timing,
    memory: MemoryBudget,
    held_memory: Arc<HeldMemory>,
    requests: Receiver<RestoreRequest>,
    ready: Sender<Result<ShardReady, RunError>>,
    /// Woken after a shard is ready.
    ingest: Waker,
    observer: Arc<Observer>,
    /// Shards whose end offset is not known yet.
    waiting: BTreeMap<ShardId, RestoreRequest>,
    /// Shards whose state is read; those without state wait for their committed offsets.
    reading: BTreeMap<ShardId, ShardRestore>,
    /// Timeout of the next query for committed offsets.
    query_timeout: Duration,
    last_report: Instant,
}

/// A shard whose state is read.
struct ShardRestore {
    request: RestoreRequest,
    state: CompactedReader<StateLoader>,
    open_alerts: CompactedReader<PublishedKeys>,
    started: Instant,
    next_warning: Instant,
    /// What was read, and since when nothing more was.
    progress: (u64, Instant),
}

impl ShardRestore {
    fn new(request: RestoreRequest, (state, open_alerts): (Bounds, Bounds)) -> Self {
        let (state, open_alerts) = (CompactedReader::new(state), CompactedReader::new(open_alerts));
        let (started, next_warning) = (Instant::now(), Instant::now() + WARN_INTERVAL);
        Self { request, state, open_alerts, started, next_warning, progress: (0, started) }
    }

    /// Whether more of it was read a short time ago.
    fn moves(&mut self) -> bool {
        let read = self.progress().read;
        if read != self.progress.0 {
            self.progress = (read, Instant::now());
        }
        self.progress.1.elapsed() < STALL
    }

    fn is_complete(&self) -> bool {
        self.state.is_complete() && self.open_alerts.is_complete()
    }

    /// Moves the ends forward; `false`: neither is beyond the current one.
    fn extend(&mut self, (state, open_alerts): (Bounds, Bounds)) -> bool {
        let is_further = self.state.extend(state.1);
        self.open_alerts.extend(open_alerts.1) || is_further
    }

    fn progress(&self) -> RestoreProgress {
        let (state, open_alerts) = (self.state.progress(), self.open_alerts.progress());
        RestoreProgress { shard: self.request.shard, read: state.0 + open_alerts.0, total: state.1 + open_alerts.1 }
    }
}

impl AsMut<CompactedReader<StateLoader>> for ShardRestore {
    fn as_mut(&mut self) -> &mut CompactedReader<StateLoader> {
        &mut self.state
    }
}

impl AsMut<CompactedReader<PublishedKeys>> for ShardRestore {
    fn as_mut(&mut self) -> &mut CompactedReader<PublishedKeys> {
        &mut self.open_alerts
    }
}

/// Starts the restore thread, which restores shards with this event time and this memory for held events.
pub(super) fn spawn(
    config: &Config,
    (timing, memory, held_memory): (Timing, MemoryBudget, Arc<HeldMemory>),
    logs: SourceLogs,
    ingest: Waker,
    observer: Arc<Observer>,
) -> Result<(JoinHandle<()>, RestoreHandle), RunError> {
    // At most one message per shard and rebalance.
    let (requests_in, requests) = unbounded();
    let (ready, ready_out) = unbounded();
    let handle = RestoreHandle { requests: requests_in, ready: ready_out, pending: BTreeMap::new(), last_id: 0 };
    let state = CompactedConsumer::new(&config.kafka, memory, &config.topics.state)?;
    let metadata_client = Arc::clone(&state.metadata_client);
    let open_alerts = &config.topics.open_alerts;
    let restore = Restore {
        state,
        open_alerts: CompactedConsumer::with_metadata_client(&config.kafka, memory, open_alerts, metadata_client)?,
        sources: SourceTopics::of(&config.topics),
        logs,
        timing,
        memory,
        held_memory,
        requests,
        ready,
        ingest,
        observer,
        waiting: BTreeMap::new(),
        reading: BTreeMap::new(),
        query_timeout: MIN_QUERY_TIMEOUT,
        last_report: Instant::now(),
    };
    Ok((part::spawn("restore", move || restore.run())?, handle))
}

impl Restore {
    /// Restores shards until the ingest thread has ended.
    fn run(mut self) {
        while self.accept_requests() {
            if let Err(error) = self.step() {
                self.waiting.clear();
                self.reading.clear();
                self.send(Err(match error {
                    RunError::Call(error) => RunError::Restore(error),
                    error => error,
                }));
            }
        }
    }

    fn send(&self, ready: Result<ShardReady, RunError>) {
        // The ingest thread may have ended.
        let _ = self.ready.send(ready);
        self.ingest.wake();
    }

    /// Accepts restore requests, and blocks if there is nothing else to do; `false`: the ingest thread has ended.
    fn accept_requests(&mut self) -> bool {
        loop {
            let request = match self.requests.try_recv() {
                Ok(request) => request,
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) if !self.waiting.is_empty() || !self.reading.is_empty() => return true,
                Err(TryRecvError::Empty) => match self.requests.recv() {
                    Ok(request) => request,
                    Err(_) => return false,
                },
            };
            self.reading.remove(&request.shard);
            self.waiting.insert(request.shard, request);
        }
    }

    fn step(&mut self) -> Result<(), RunError> {
        let mut idle = true;
        let mut free = self.free();
        for (shard, request) in std::mem::take(&mut self.waiting) {
            if free == 0 {
                self.waiting.insert(shard, request);
                continue;
            }
            free -= 1;
            match self.bounds(shard)? {
                Some(bounds) => {
                    self.reading.insert(shard, ShardRestore::new(request, bounds));
                    idle = false;
                }
                None => drop(self.waiting.insert(shard, request)),
            }
        }
        if !idle {
            self.assign()?;
        }
        if self.reading.values().any(|restore| !restore.is_complete()) {
            self.state.read(&mut self.reading, PAUSE)?;
            self.open_alerts.read(&mut self.reading, PAUSE)?;
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

    /// How many more shards may be read now.
    fn free(&mut self) -> usize {
        let moving = self.reading.values_mut().map(ShardRestore::moves).filter(|moves| *moves).count();
        if self.waiting.is_empty() {
            return 0;
        }
        let most = if self.memory.is_tight(process::resident_bytes()) { 1 } else { AT_A_TIME };
        most.saturating_sub(moving)
    }

    /// The current bounds of both partitions of a shard; `None`: no response.
    fn bounds(&self, shard: ShardId) -> Result<Option<(Bounds, Bounds)>, CallError> {
        let Some(state) = self.state.bounds(shard, MAX_QUERY_TIMEOUT)? else { return Ok(None) };
        let open_alerts = self.open_alerts.bounds(shard, MAX_QUERY_TIMEOUT)?;
        Ok(open_alerts.map(|open_alerts| (state, open_alerts)))
    }

    fn assign(&mut self) -> Result<(), CallError> {
        self.state.assign(&mut self.reading)?;
        self.open_alerts.assign(&mut self.reading)
    }

    /// Starts the shards that have no state from the group's committed offsets; returns whether there was an answer.
    fn start_without_state(&mut self) -> Result<bool, RunError> {
        let shards: Vec<ShardId> =
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
    fn start_from_offsets(&mut self, shards: &[ShardId]) -> Result<bool, RunError> {
        let committed = match self.committed(shards) {
            Ok(committed) => committed,
            Err(cause) if is_permanent(&cause) => {
                return Err(CallError { what: "query the committed offsets", cause }.into());
            }
            Err(error) => {
                tracing::debug!("query the committed offsets of shards {shards:?}: {error}; retrying");
                return Ok(false);
            }
        };
        for shard in shards {
            let (Some(bounds), Some(restore)) = (self.bounds(*shard)?, self.reading.get_mut(shard)) else { continue };
            if restore.extend(bounds) {
                // The previous owner wrote state before it released the shard.
                self.assign()?;
                continue;
            }
            let Some(ShardRestore { request, state, open_alerts, .. }) = self.reading.remove(shard) else { continue };
            // Detects events without a checkpoint.
            state.collected.verify().map_err(|cause| self.damaged(*shard, cause))?;
            let own = committed.iter().filter(|((of, _), _)| of == shard);
            let start = |source, offset| {
                let log = SourceLog { topic: self.logs.id(source), shift: 0 };
                (source, Start { next: Some(offset), unused: offset, log })
            };
            let starts = own.map(|((_, source), offset)| start(*source, *offset)).collect();
            let open_alerts = OpenAlertsRepair::of(*shard, open_alerts.collected, &[]);
            self.ready(ShardReady { request, starts, restored: None, open_alerts });
        }
        Ok(true)
    }

    fn committed(&self, shards: &[ShardId]) -> KafkaResult<BTreeMap<SourcePartition, Offset>> {
        let list = self.state.consumer.committed_offsets(self.sources.list(shards), self.query_timeout)?;
        // An error of one partition must not be read as "nothing committed": it would be read from its start.
        list.elements().iter().try_for_each(|element| element.error())?;
        Ok(self.sources.offsets(&list))
    }

    /// Rebuilds the shards whose state is completely read; returns whether there were any.
    fn rebuild_complete(&mut self) -> Result<bool, RunError> {
        let has_state =
            |(_, restore): &(ShardId, ShardRestore)| restore.is_complete() && restore.state.collected.shard().is_some();
        let (complete, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.reading).into_iter().partition(has_state);
        self.reading = rest.into_iter().collect();
        let any = !complete.is_empty();
        for (
            shard,
            ShardRestore { request, state: CompactedReader { collected: loader, .. }, open_alerts, started, .. },
        ) in complete
        {
            let (records, read_time) = (loader.records(), started.elapsed());
            let starts = loader.shard().map(|record| self.logs.resume(shard, record)).transpose();
            let starts = starts.map_err(RunError::LostLog)?.unwrap_or_default();
            let context = RestoreContext {
                norms: Arc::clone(&request.norms),
                timing: self.timing,
                held_memory: Arc::clone(&self.held_memory),
                read_norms: restore_norms,
            };
            let replayed = loader.digest().applied;
            let restored = loader.restore(shard, &context).map_err(|cause| self.damaged(shard, cause))?;
            self.observer.emit(RuntimeEvent::ShardRestored {
                shard,
                read: (records, read_time),
                replayed: (replayed, started.elapsed() - read_time),
            });
            let open = restored.as_ref().map_or(&[][..], |restored| &restored.open);
            let open_alerts = OpenAlertsRepair::of(shard, open_alerts.collected, open);
            self.ready(ShardReady { request, starts, restored, open_alerts });
        }
        Ok(any)
    }

    fn damaged(&self, shard: ShardId, cause: RebuildError) -> RunError {
        RunError::Rebuild { shard, topic: self.state.topic.clone(), cause }
    }

    fn ready(&self, ready: ShardReady) {
        self.send(Ok(ready));
        if self.reading.is_empty() && self.waiting.is_empty() {
            self.observer.emit(RuntimeEvent::Restoring(&[]));
        }
    }

    fn report(&mut self) {
        if self.last_report.elapsed() < REPORT_INTERVAL {
            return;
        }
        self.last_report = Instant::now();
        let reading = self.reading.values().map(ShardRestore::progress);
        let waiting = self.waiting.keys().map(|shard| RestoreProgress { shard: *shard, read: 0, total: 0 });
        self.observer.emit(RuntimeEvent::Restoring(&reading.chain(waiting).collect::<Vec<_>>()));
    }

    fn warn_overdue(&mut self) {
        let now = Instant::now();
        for restore in self.reading.values_mut().filter(|restore| restore.next_warning <= now) {
            restore.next_warning = now + WARN_INTERVAL;
            self.observer.emit(RuntimeEvent::RestoreOverdue(restore.progress()));
        }
    }
}
