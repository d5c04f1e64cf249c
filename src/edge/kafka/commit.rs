//! Owns the commit thread: one transaction for all that came of an epoch and for the offsets that it was read up to.
//!
//! **Order.** Epochs are committed in order. Those that wait already may share a transaction; an epoch that came to
//! nothing needs none. **Again.** What librdkafka calls retriable is called again; a transaction that must be aborted is
//! aborted and made again from the same epochs, for as long as it takes. **Never.** Anything else, being fenced above
//! all, ends the run; and so does a call that does not return, which the thread that started us watches.
//!
//! **Evicted.** An epoch carries the group's generation under which it was read. When the group has moved on, the broker
//! refuses its offsets: the epochs of that assignment are then abandoned, for others read them again.
//!
//! **Fenced.** A transaction with records always carries an offset, if need be one that is committed already: without any,
//! the broker would not look at the generation, and a process that was thrown out could still write what its timers say.

use super::feeds::Place;
use super::ledger::Ledger;
use super::record::Writer;
use super::transaction::{Failure, Transactions};
use super::{Observer, Part, Summary};
use crate::config::Config;
use crate::dataflow::epoch::Yield;
use crate::domain::time::Timestamp;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Workers that make nothing of an epoch for so long have panicked or hang.
const LONGEST_EPOCH: Duration = Duration::from_secs(300);
/// Most epochs and records of one transaction, beyond its first epoch.
const SHARED_EPOCHS: usize = 8;
const SHARED_RECORDS: usize = 20_000;
/// A message that the broker will not have is tried so often before the run ends.
const HOPELESS_TRIES: u32 = 3;
/// Between two tries of the same epochs, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Committing failed for good.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A call failed, and neither another try nor an abort can help.
    #[error("{what}: {cause}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// librdkafka's error.
        cause: KafkaError,
    },
    /// The same epochs were refused again and again.
    #[error("commit epoch {epoch}: refused {HOPELESS_TRIES} times: {code}")]
    Refused {
        /// The first of the epochs.
        epoch: u64,
        /// Why.
        code: RDKafkaErrorCode,
    },
    /// The workers are gone or hang.
    #[error("commit epoch {epoch}: the workers made nothing of it")]
    Workers {
        /// The epoch.
        epoch: u64,
    },
}

/// What the ingest thread knows at the end of an epoch.
pub(super) struct Ends {
    pub(super) epoch: u64,
    /// Which assignment it was read under.
    pub(super) term: u64,
    pub(super) wall: Timestamp,
    /// The positions that moved.
    pub(super) positions: Vec<(Place, i64)>,
    /// Taken when the epoch was closed: so the broker sees whether the partitions were still ours then.
    pub(super) group: Option<ConsumerGroupMetadata>,
}

/// What became of an epoch: the permit for another one.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Committed, or abandoned because the group has moved on.
    pub(super) committed: bool,
    /// The offsets that were committed with it.
    pub(super) offsets: Vec<(Place, i64)>,
    /// How many messages it sent to `rerouted`.
    pub(super) rerouted: usize,
}

/// The ends of the commit thread's channels.
pub(super) struct Ports {
    pub(super) made: Receiver<Yield>,
    pub(super) ends: Receiver<Ends>,
    pub(super) outcomes: Sender<Outcome>,
    /// The ingest thread: it sleeps when it has nothing to read.
    pub(super) reader: Thread,
    /// Epochs of assignments up to this one are given up.
    pub(super) abandoned: Arc<AtomicU64>,
}

/// The commit thread.
pub(super) struct Commit {
    transactions: Transactions,
    writer: Writer,
    ledger: Ledger,
    ports: Ports,
    /// Ends of epochs that the workers are still busy with.
    awaited: VecDeque<Ends>,
    observer: Arc<dyn Observer>,
    summary: Summary,
    /// The assignment that the group has taken away.
    evicted: u64,
}

impl Commit {
    pub(super) fn new(config: &Config, transactions: Transactions, ports: Ports, observer: Arc<dyn Observer>) -> Self {
        Self {
            transactions,
            writer: Writer::new(config),
            ledger: Ledger::default(),
            ports,
            awaited: VecDeque::new(),
            observer,
            summary: Summary::default(),
            evicted: 0,
        }
    }

    /// Commits epochs until no more can come.
    pub(super) fn run(mut self) -> Result<Summary, CommitError> {
        while let Some(first) = self.next()? {
            let mut group = vec![first];
            let mut records = size(&group[0].1);
            while group.len() < SHARED_EPOCHS
                && records < SHARED_RECORDS
                && let Some(next) = self.next_ready(group[0].0.term)
            {
                records += size(&next.1);
                group.push(next);
            }
            self.commit(group)?;
        }
        Ok(self.summary)
    }

    /// The next epoch, once the workers are done with it.
    fn next(&mut self) -> Result<Option<(Ends, Yield)>, CommitError> {
        while self.awaited.is_empty() {
            match self.ports.ends.recv_timeout(Duration::from_millis(200)) {
                Ok(ends) => self.awaited.push_back(ends),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.transactions.serve();
            self.observer.alive(Part::Commit);
        }
        let Some(ends) = self.awaited.pop_front() else { return Ok(None) };
        let waited = Instant::now();
        loop {
            match self.ports.made.recv_timeout(Duration::from_secs(1)) {
                Ok(made) => return Ok(Some((ends, made))),
                Err(RecvTimeoutError::Timeout) if waited.elapsed() < LONGEST_EPOCH => {
                    self.observer.alive(Part::Commit);
                }
                Err(_) => return Err(CommitError::Workers { epoch: ends.epoch }),
            }
        }
    }

    /// Another epoch of the same assignment, if it is ready.
    fn next_ready(&mut self, term: u64) -> Option<(Ends, Yield)> {
        if self.awaited.is_empty() {
            self.awaited.extend(self.ports.ends.try_recv());
        }
        if self.awaited.front()?.term != term {
            return None;
        }
        let made = self.ports.made.try_recv().ok()?;
        Some((self.awaited.pop_front()?, made))
    }

    /// Commits the epochs together, and hands out their permits.
    fn commit(&mut self, mut group: Vec<(Ends, Yield)>) -> Result<(), CommitError> {
        let term = group[0].0.term;
        for (ends, made) in &mut group {
            made.sort();
            self.ledger.absorb(term, &ends.positions, &made.shards);
        }
        let silent = group.iter().all(|(_, made)| size(made) == 0);
        let mut offsets = self.ledger.due();
        if offsets.is_empty() && !silent {
            offsets.extend(self.ledger.any());
        }
        let nothing = offsets.is_empty() && silent;
        let committed = nothing && !self.gave_up(term) || self.transact(&group, &offsets)?;
        if committed {
            self.ledger.commit(&offsets);
        }
        let mut offsets = Some(offsets).filter(|_| committed);
        for (_, made) in &group {
            if committed {
                self.count(made);
                self.observer.committed(made);
            }
            let rerouted = made.misplaced.len();
            let outcome = Outcome { committed, offsets: offsets.take().unwrap_or_default(), rerouted };
            // The ingest thread is gone when the run ends; nobody needs a permit then.
            let _ = self.ports.outcomes.send(outcome);
        }
        self.ports.reader.unpark();
        self.observer.alive(Part::Commit);
        Ok(())
    }

    fn count(&mut self, made: &Yield) {
        self.summary.epochs += 1;
        self.summary.alerts += made.alerts.len() as u64;
        self.summary.rows += made.rows.len() as u64;
        self.summary.dead_letters += made.refusals.len() as u64;
        self.summary.rerouted += made.misplaced.len() as u64;
    }

    /// Whether epochs of this assignment are not to be committed any more.
    fn gave_up(&self, term: u64) -> bool {
        self.evicted == term || self.ports.abandoned.load(Ordering::Relaxed) >= term
    }

    /// Tries until the transaction is committed (`true`) or the assignment is lost (`false`).
    fn transact(&mut self, group: &[(Ends, Yield)], offsets: &[(Place, i64)]) -> Result<bool, CommitError> {
        let (Some((first, _)), Some((last, _))) = (group.first(), group.last()) else { return Ok(true) };
        let started = Instant::now();
        let mut tries = 0;
        loop {
            if self.gave_up(first.term) {
                return Ok(false);
            }
            let code = match self.attempt(group, offsets, last) {
                Ok(()) => break,
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Abort(code)) => code,
            };
            self.transactions.abort()?;
            self.summary.aborted += 1;
            tries += 1;
            if is_eviction(code) {
                tracing::warn!("commit epoch {}: the group has moved on ({code})", first.epoch);
                self.evicted = first.term;
                return Ok(false);
            }
            if is_hopeless(code) && tries >= HOPELESS_TRIES {
                return Err(CommitError::Refused { epoch: first.epoch, code });
            }
            tracing::warn!("commit epoch {}: taken back ({code}); trying again", first.epoch);
            std::thread::sleep(LONGEST_PAUSE.min(Duration::from_millis(20) * 2_u32.pow(tries.min(8))));
            self.observer.alive(Part::Commit);
        }
        self.summary.transactions += 1;
        self.observer.transaction(started.elapsed(), group.len());
        Ok(true)
    }

    fn attempt(&mut self, group: &[(Ends, Yield)], offsets: &[(Place, i64)], last: &Ends) -> Result<(), Failure> {
        self.transactions.open()?;
        for (ends, made) in group {
            let transactions = &mut self.transactions;
            self.writer.write(made, ends.wall, |record| transactions.send(record))?;
        }
        if !offsets.is_empty()
            && let Some(generation) = &last.group
        {
            self.transactions.send_offsets(&self.offsets(offsets)?, generation)?;
        }
        self.transactions.commit()
    }

    fn offsets(&self, offsets: &[(Place, i64)]) -> Result<TopicPartitionList, Failure> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for ((shard, feed), offset) in offsets {
            let partition = *shard as i32;
            list.add_partition_offset(self.writer.topic(*feed), partition, Offset::Offset(*offset))
                .map_err(|cause| Failure::Fatal(CommitError::Call { what: "list the offsets", cause }))?;
        }
        Ok(list)
    }
}

/// How many records an epoch gives.
fn size(made: &Yield) -> usize {
    let own = made.alerts.len() + made.reviews.len() + made.rows.len();
    own + made.refusals.len() + made.misplaced.len()
}

/// The broker says that the partitions are no longer ours.
fn is_eviction(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::StaleMemberEpoch
    )
}

/// Another try gives the same answer until somebody changes the brokers' settings.
fn is_hopeless(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
    )
}
