//! Owns what lies between the assignment of a shard and its first message: a thread with clients of its own reads the
//! shard's partition of the state topic, rebuilds the shard, and tells the ingest thread where to begin. Shards that are
//! read meanwhile notice nothing.
//!
//! ```text
//! assigned ──► where the state ends, open transactions included ──► its committed records up to there ──► rebuilt ──► ready
//!                                                                     └── there are none ──► the committed offsets ──┘
//! ```
//!
//! **Invariant: to the very end.** The markers of a transaction reach its partitions one after another. Whoever read only
//! up to the last stable offset could miss what is committed already elsewhere. So the end is asked with all that is open,
//! and the records are waited for.
//!
//! **Invariant: state says where to read on.** Its last record and the rest of it are one transaction. The group's offsets
//! say the same, but they are in another partition, and a lone broker that crashes while it ends a transaction may leave
//! them unknown for ever. They count only for a shard without state; then nothing is read before no transaction is open
//! on them. A transaction that is open on state is ended by its timeout, or by a successor of the same name. One that
//! outlasts that is for `kafka-transactions abort`: till then its shard waits, and says so.

use super::Observer;
use super::client::ClientError;
use super::source_topics::{SourcePartition, SourceTopics};
use super::state_reader::{ReadError, StateConsumer, StateReader, is_for_good};
use crate::config::Config;
use crate::dataflow::state::{RebuildError, RestoreContext, RestoredShard};
use crate::domain::norms::Norms;
use crate::domain::shard_processor::Timing;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

/// A question waits so long at first, and at last: what is open on one shard must not keep the others waiting.
const ASK: Duration = Duration::from_millis(250);
const LONGEST_ASK: Duration = Duration::from_secs(2);
/// Between two rounds of questions without an answer.
const PAUSE: Duration = Duration::from_millis(20);
/// After so long a shard that still waits is told of; and again after as long.
const LONG: Duration = Duration::from_secs(10);
/// Between two reports of progress.
const REPORT: Duration = Duration::from_millis(200);

/// Restoring failed for good.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A call failed, and will fail again until somebody changes rights.
    #[error("restore: {what}: {cause}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// librdkafka's error.
        cause: KafkaError,
    },
    /// The records of a shard are of no use.
    #[error("restore shard {shard} from {topic}: {cause}; `funnelwatch state verify` tells more")]
    Rebuild {
        /// The shard.
        shard: u32,
        /// The state topic.
        topic: String,
        /// What is wrong.
        cause: RebuildError,
    },
}

impl From<ReadError> for RestoreError {
    fn from(ReadError { what, cause }: ReadError) -> Self {
        Self::Call { what, cause }
    }
}

/// How far a shard that is restored has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreProgress {
    /// The shard.
    pub shard: u32,
    /// Offsets from the beginning of the partition that were passed.
    pub passed: u64,
    /// Offsets there are; 0 as long as that is not known.
    pub of: u64,
}

/// A shard that was assigned.
#[derive(Clone, Debug)]
pub(super) struct RestoreRequest {
    pub(super) shard: u32,
    /// Tells this assignment of it from one before.
    pub(super) ticket: u64,
    /// The norms in force.
    pub(super) norms: Arc<Norms>,
}

/// What a shard begins with.
#[derive(Debug)]
pub(super) struct ShardReady {
    pub(super) shard: u32,
    pub(super) ticket: u64,
    /// Its committed offsets; those that are missing were never committed.
    pub(super) committed: BTreeMap<SourcePartition, i64>,
    /// Its state; `None`: there is none yet.
    pub(super) restored: Option<RestoredShard>,
}

/// The ends of the restore thread's channels.
pub(super) struct Ports {
    pub(super) fresh: Receiver<RestoreRequest>,
    /// An error is for good.
    pub(super) ready: Sender<Result<ShardReady, RestoreError>>,
    /// The ingest thread: it sleeps when it has nothing to read.
    pub(super) reader: Thread,
}

/// The restore thread.
pub(super) struct Restore {
    reader: StateConsumer,
    sources: SourceTopics,
    timing: Timing,
    ports: Ports,
    observer: Arc<dyn Observer>,
    /// Shards of which it is not known yet where their state ends.
    waiting: BTreeMap<u32, RestoreRequest>,
    /// Shards whose state is read; some have none, and wait for their offsets.
    reading: BTreeMap<u32, ShardRestore>,
    patience: Duration,
    reported: Instant,
}

/// A shard whose state is read.
struct ShardRestore {
    fresh: RestoreRequest,
    state_reader: StateReader,
    began: Instant,
    complain: Instant,
}

impl ShardRestore {
    fn new(fresh: RestoreRequest, ends: (i64, i64)) -> Self {
        let (began, complain) = (Instant::now(), Instant::now() + LONG);
        Self { fresh, state_reader: StateReader::new(ends), began, complain }
    }

    fn is_over(&self) -> bool {
        self.state_reader.is_over()
    }
}

impl AsMut<StateReader> for ShardRestore {
    fn as_mut(&mut self) -> &mut StateReader {
        &mut self.state_reader
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
            reader: StateConsumer::new(config)?,
            sources: SourceTopics::of(&config.topics),
            timing,
            ports,
            observer,
            waiting: BTreeMap::new(),
            reading: BTreeMap::new(),
            patience: ASK,
            reported: Instant::now(),
        })
    }

    /// Restores shards until the ingest thread has ended.
    pub(super) fn run(mut self) {
        while self.take() {
            if let Err(error) = self.work() {
                self.waiting.clear();
                self.reading.clear();
                // The ingest thread is gone when the run ends.
                let _ = self.ports.ready.send(Err(error));
                self.ports.reader.unpark();
            }
        }
    }

    /// Takes up what was assigned, waiting if nothing else is to be done; whether there is anyone left to do it for.
    fn take(&mut self) -> bool {
        loop {
            let fresh = match self.ports.fresh.try_recv() {
                Ok(fresh) => fresh,
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) if !self.waiting.is_empty() || !self.reading.is_empty() => return true,
                Err(TryRecvError::Empty) => match self.ports.fresh.recv() {
                    Ok(fresh) => fresh,
                    Err(_) => return false,
                },
            };
            self.reading.remove(&fresh.shard);
            self.waiting.insert(fresh.shard, fresh);
        }
    }

    fn work(&mut self) -> Result<(), RestoreError> {
        let mut idle = true;
        for (shard, fresh) in std::mem::take(&mut self.waiting) {
            match self.reader.ends(shard, LONGEST_ASK)? {
                Some(ends) => {
                    self.reading.insert(shard, ShardRestore::new(fresh, ends));
                    idle = false;
                }
                None => drop(self.waiting.insert(shard, fresh)),
            }
        }
        if !idle {
            self.reader.assign(&mut self.reading)?;
        }
        if self.reading.values().any(|reading| !reading.is_over()) {
            self.reader.read(&mut self.reading, PAUSE)?;
            self.report();
            idle = false;
        }
        idle &= !self.finish()?;
        idle &= !self.begin()?;
        self.complain();
        if idle {
            // Some errors come at once.
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Begins the shards that have no state, from the group's offsets; whether there was an answer.
    fn begin(&mut self) -> Result<bool, RestoreError> {
        let all: Vec<u32> =
            self.reading.iter().filter(|(_, reading)| reading.is_over()).map(|(shard, _)| *shard).collect();
        if all.is_empty() {
            return Ok(false);
        }
        let mut told = self.ask(&all)?;
        if !told && all.len() > 1 {
            // What is open on one of them holds up the answer for all.
            for shard in all {
                told |= self.ask(&[shard])?;
            }
        }
        // Nor must it hold up those whose state is read.
        let most = if self.reading.values().all(ShardRestore::is_over) { LONGEST_ASK } else { ASK };
        self.patience = if told { ASK } else { most.min(self.patience * 2) };
        Ok(told)
    }

    /// Asks for the offsets of some shards that have no state; whether there was an answer.
    fn ask(&mut self, shards: &[u32]) -> Result<bool, RestoreError> {
        let committed = match self.committed(shards) {
            Ok(committed) => committed,
            Err(cause) if is_for_good(&cause) => {
                return Err(RestoreError::Call { what: "ask the committed offsets", cause });
            }
            Err(error) => {
                tracing::debug!("ask the committed offsets of shards {shards:?}: {error}; asking again");
                return Ok(false);
            }
        };
        for shard in shards {
            let (Some((_, end)), Some(reading)) = (self.reader.ends(*shard, LONGEST_ASK)?, self.reading.get_mut(shard))
            else {
                continue;
            };
            if reading.state_reader.extend(end) {
                // Somebody wrote state before he gave the offsets up.
                self.reader.assign(&mut self.reading)?;
                continue;
            }
            let Some(ShardRestore { fresh, state_reader: StateReader { loader, .. }, .. }) = self.reading.remove(shard)
            else {
                continue;
            };
            // Events without the record that says how many there are.
            let failed = |cause| RestoreError::Rebuild { shard: *shard, topic: self.reader.topic().to_owned(), cause };
            loader.verify().map_err(failed)?;
            let own = committed.iter().filter(|((of, _), _)| of == shard);
            let committed = own.map(|(place, offset)| (*place, *offset)).collect();
            self.ready(ShardReady { shard: *shard, ticket: fresh.ticket, committed, restored: None });
        }
        Ok(true)
    }

    fn committed(&self, shards: &[u32]) -> KafkaResult<BTreeMap<SourcePartition, i64>> {
        let list = self.reader.client().committed_offsets(self.sources.list(shards), self.patience)?;
        // An error of one partition must not be taken for "nothing is committed": it would be read from its beginning.
        list.elements().iter().try_for_each(|element| element.error())?;
        Ok(self.sources.offsets(&list))
    }

    /// Rebuilds the shards whose state was read; whether there were any.
    fn finish(&mut self) -> Result<bool, RestoreError> {
        let over =
            |(_, reading): &(u32, ShardRestore)| reading.is_over() && reading.state_reader.loader.shard().is_some();
        let (done, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.reading).into_iter().partition(over);
        self.reading = rest.into_iter().collect();
        let any = !done.is_empty();
        for (shard, reading) in done {
            let ShardRestore {
                fresh: RestoreRequest { ticket, norms, .. },
                state_reader: StateReader { loader, .. },
                began,
                ..
            } = reading;
            let (records, read) = (loader.records(), began.elapsed());
            let next = loader.shard().map(|shard| shard.checkpoint.next.clone()).unwrap_or_default();
            let committed = next.into_iter().map(|(source, offset)| ((shard, source), offset)).collect();
            let plan = RestoreContext { norms, timing: self.timing };
            let lived = loader.digest().applied;
            let restored = loader.restore(shard, &plan).map_err(|cause| RestoreError::Rebuild {
                shard,
                topic: self.reader.topic().to_owned(),
                cause,
            })?;
            tracing::info!(
                "restored shard {shard}: {records} records read in {:.1} s, {lived} events lived again in {:.1} s",
                read.as_secs_f64(),
                (began.elapsed() - read).as_secs_f64()
            );
            self.ready(ShardReady { shard, ticket, committed, restored });
        }
        Ok(any)
    }

    fn ready(&self, ready: ShardReady) {
        // The ingest thread is gone when the run ends.
        let _ = self.ports.ready.send(Ok(ready));
        self.ports.reader.unpark();
        if self.reading.is_empty() && self.waiting.is_empty() {
            self.observer.restoring(&[]);
        }
    }

    fn report(&mut self) {
        if self.reported.elapsed() < REPORT {
            return;
        }
        self.reported = Instant::now();
        let read = self.reading.iter().map(|(shard, ShardRestore { state_reader, .. })| {
            let (passed, of) = state_reader.passed();
            RestoreProgress { shard: *shard, passed, of }
        });
        let waiting = self.waiting.keys().map(|shard| RestoreProgress { shard: *shard, passed: 0, of: 0 });
        self.observer.restoring(&read.chain(waiting).collect::<Vec<_>>());
    }

    fn complain(&mut self) {
        let now = Instant::now();
        for (shard, reading) in self.reading.iter_mut().filter(|(_, reading)| reading.complain <= now) {
            reading.complain = now + LONG;
            let (passed, of) = reading.state_reader.passed();
            tracing::warn!(
                "shard {shard} is still restored: {passed} of {of} offsets read; a transaction may be open on what is left, \
                 or on the committed offsets, or no broker answers"
            );
        }
    }
}
