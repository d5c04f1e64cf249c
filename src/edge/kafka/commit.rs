//! Owns the commit thread: one transaction for all that came of an epoch and for the offsets that it was read up to.
//!
//! **Order.** Epochs are committed in order. Those that wait already may share a transaction; an epoch that came to
//! nothing needs none. **Again.** What librdkafka calls retriable is called again; a transaction that must be aborted is
//! aborted and made again from the same epochs, for as long as it takes. **Never.** Anything else, being fenced above
//! all, ends the run; and so does a call that does not return, which the thread that started us watches.
//!
//! **Who we are.** Offsets go with what we are to the group at that moment, for its generation moves on at every rebalance
//! while our shards stay. We ask *first* who we are, and look *then* whether the epochs were abandoned and whether we are
//! still the member that read them: so no epoch from before a loss goes out under the membership from after it. A
//! generation that is behind is tried again with a newer one. When the group knows us no more, the epochs wait for the
//! ingest thread to abandon them, for others read them again.
//!
//! **Fenced.** A transaction with records always carries an offset, if need be one that is committed already: without any,
//! the broker would not look at who we are, and a process that was thrown out could still write what its timers say. It
//! takes offsets on trust that come with neither a member id nor a generation nor a `group.instance.id`, and from a
//! generation of -1 if the group is empty: so ours always has the third, and we send nothing without the other two.

use super::fence::Fence;
use super::group::GroupContext;
use super::native::{self, Membership};
use super::offset_tracker::OffsetTracker;
use super::record_writer::RecordWriter;
use super::source_topics::SourcePartition;
use super::transaction::{Failure, Transactions};
use super::{Observer, Part, Summary};
use crate::codec::state::Records;
use crate::config::Config;
use crate::dataflow::epoch::EpochOutput;
use crate::domain::time::Timestamp;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
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
/// Likewise when only the generation was behind: the newer one is already on its way to us.
const NEXT_GENERATION: Duration = Duration::from_millis(100);
/// After an epoch was refused, the group must say so itself within this time.
const NEWS: Duration = Duration::from_secs(90);

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
    /// The broker refuses our offsets, but the group does not take the shards away.
    #[error("commit epoch {epoch}: the group refused it {} s ago, and nothing came of it", NEWS.as_secs())]
    Limbo {
        /// The first of the epochs.
        epoch: u64,
    },
    /// The workers are gone or hang.
    #[error("commit epoch {epoch}: the workers made nothing of it")]
    Workers {
        /// The epoch.
        epoch: u64,
    },
}

/// What the ingest thread knows at the end of an epoch.
pub(super) struct EpochEnd {
    pub(super) epoch: u64,
    /// Who we were to the group when it gave us the shards that were read.
    pub(super) member: Option<Arc<str>>,
    pub(super) wall: Timestamp,
    /// When reading ended.
    pub(super) closed: Instant,
    /// The positions that moved.
    pub(super) positions: Vec<(SourcePartition, i64)>,
}

/// What became of an epoch: the permit for another one.
#[derive(Debug)]
pub(super) struct CommitOutcome {
    /// How many messages it sent to `rerouted`.
    pub(super) rerouted: usize,
    /// What is to rest until the others have come as far.
    pub(super) paused: BTreeSet<SourcePartition>,
}

/// The ends of the commit thread's channels.
pub(super) struct Ports {
    pub(super) made: Receiver<EpochOutput>,
    pub(super) ends: Receiver<EpochEnd>,
    pub(super) outcomes: Sender<CommitOutcome>,
    /// The ingest thread: it sleeps when it has nothing to read.
    pub(super) reader: Thread,
    pub(super) consumer: Arc<BaseConsumer<GroupContext>>,
    pub(super) fence: Arc<Fence>,
}

/// The commit thread.
pub(super) struct Commit {
    transactions: Transactions,
    writer: RecordWriter,
    offset_tracker: OffsetTracker,
    ports: Ports,
    /// Ends of epochs that the workers are still busy with.
    awaited: VecDeque<EpochEnd>,
    observer: Arc<dyn Observer>,
    summary: Summary,
}

impl Commit {
    pub(super) fn new(config: &Config, transactions: Transactions, ports: Ports, observer: Arc<dyn Observer>) -> Self {
        Self {
            transactions,
            writer: RecordWriter::new(config),
            offset_tracker: OffsetTracker::default(),
            ports,
            awaited: VecDeque::new(),
            observer,
            summary: Summary::default(),
        }
    }

    /// Commits epochs until no more can come.
    pub(super) fn run(mut self) -> Result<Summary, CommitError> {
        while let Some(first) = self.next()? {
            let mut group = vec![first];
            let mut records = size(&group[0].1);
            while group.len() < SHARED_EPOCHS
                && records < SHARED_RECORDS
                && let Some(next) = self.next_ready(group[0].0.epoch)
            {
                records += size(&next.1);
                group.push(next);
            }
            self.commit(group)?;
        }
        Ok(self.summary)
    }

    /// The next epoch, once the workers are done with it.
    fn next(&mut self) -> Result<Option<(EpochEnd, EpochOutput)>, CommitError> {
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

    /// Another epoch, if it is ready and shares the fate of the first: both are abandoned, or neither.
    fn next_ready(&mut self, first: u64) -> Option<(EpochEnd, EpochOutput)> {
        if self.awaited.is_empty() {
            self.awaited.extend(self.ports.ends.try_recv());
        }
        let fence = &self.ports.fence;
        if fence.is_abandoned(self.awaited.front()?.epoch) != fence.is_abandoned(first) {
            return None;
        }
        let made = self.ports.made.try_recv().ok()?;
        Some((self.awaited.pop_front()?, made))
    }

    /// Commits the epochs together, and hands out their permits.
    fn commit(&mut self, mut group: Vec<(EpochEnd, EpochOutput)>) -> Result<(), CommitError> {
        let first = group[0].0.epoch;
        for (ends, made) in &mut group {
            made.sort();
            self.offset_tracker.absorb(&ends.positions, &made.shards, &made.revoked);
        }
        let silent = group.iter().all(|(_, made)| size(made) == 0);
        let mut offsets = self.offset_tracker.due();
        if offsets.is_empty() && !silent {
            offsets.extend(self.offset_tracker.any());
        }
        let nothing = offsets.is_empty() && silent;
        let committed = nothing && !self.ports.fence.is_abandoned(first) || self.transact(&group, &offsets)?;
        if committed {
            self.offset_tracker.commit(&offsets);
        }
        for (ends, made) in &mut group {
            if committed {
                self.count(made);
                self.observer.committed(made);
                self.observer.published(std::mem::take(&mut made.alerts), std::mem::take(&mut made.rows));
                self.observer.epoch(ends.closed.elapsed());
            }
            // The ingest thread is gone when the run ends; nobody needs a permit then.
            let paused =
                made.shards.iter().flat_map(|mark| mark.paused.iter().map(|source| (mark.shard, *source))).collect();
            let _ = self.ports.outcomes.send(CommitOutcome { rerouted: made.misplaced.len(), paused });
        }
        self.ports.reader.unpark();
        self.observer.alive(Part::Commit);
        Ok(())
    }

    fn count(&mut self, made: &EpochOutput) {
        self.summary.epochs += 1;
        self.summary.alerts += made.alerts.len() as u64;
        self.summary.rows += made.rows.len() as u64;
        self.summary.dead_letters += made.refusals.len() as u64;
        self.summary.rerouted += made.misplaced.len() as u64;
        for records in made.state.iter().map(|(_, records)| records) {
            self.summary.state.0 += records.len() as u64;
            self.summary.state.1 += records.bytes() as u64;
        }
    }

    /// Tries until the transaction is committed (`true`) or the epochs are abandoned (`false`).
    fn transact(
        &mut self,
        group: &[(EpochEnd, EpochOutput)],
        offsets: &[(SourcePartition, i64)],
    ) -> Result<bool, CommitError> {
        let (Some((first, _)), Some((last, _))) = (group.first(), group.last()) else { return Ok(true) };
        let started = Instant::now();
        let mut tries = 0;
        loop {
            if self.ports.fence.is_abandoned(first.epoch) {
                return Ok(false);
            }
            let code = match self.attempt(group, offsets, last) {
                Ok(()) => break,
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Abort(code)) => code,
            };
            if is_expulsion(code) || code == RDKafkaErrorCode::IllegalGeneration {
                // Nothing is wrong with the records. If they were torn off on their way, the next ones could be out of
                // sequence to the broker, and have to be taken back in their turn.
                self.transactions.drain();
            }
            self.transactions.abort()?;
            self.summary.aborted += 1;
            self.observer.aborted();
            tries += 1;
            if is_expulsion(code) {
                tracing::warn!("commit epoch {}: the group knows us no more ({code})", first.epoch);
                self.await_news(first.epoch)?;
                continue;
            }
            if code == RDKafkaErrorCode::IllegalGeneration {
                tracing::debug!("commit epoch {}: the group has moved on; trying again", first.epoch);
                std::thread::sleep(NEXT_GENERATION.min(Duration::from_millis(5) * 2_u32.pow(tries.min(8))));
                self.observer.alive(Part::Commit);
                continue;
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

    /// Waits until the ingest thread has heard it from the group, and abandons the epoch.
    fn await_news(&self, epoch: u64) -> Result<(), CommitError> {
        let refused = Instant::now();
        self.ports.fence.refuse(epoch);
        self.ports.reader.unpark();
        while !self.ports.fence.is_abandoned(epoch) {
            if refused.elapsed() > NEWS {
                return Err(CommitError::Limbo { epoch });
            }
            std::thread::sleep(Duration::from_millis(5));
            self.transactions.serve();
            self.observer.alive(Part::Commit);
        }
        Ok(())
    }

    fn attempt(
        &mut self,
        group: &[(EpochEnd, EpochOutput)],
        offsets: &[(SourcePartition, i64)],
        last: &EpochEnd,
    ) -> Result<(), Failure> {
        self.transactions.open()?;
        #[cfg(feature = "fault_injection")]
        if crate::config::fault_injection::offsets_first() {
            for (shard, checkpoint) in checkpoints(group) {
                self.writer.state(shard, checkpoint, &mut |record| self.transactions.send(record))?;
            }
            self.transactions.commit()?;
            // Long enough for a kill to come between: only that shows.
            std::thread::sleep(Duration::from_millis(300));
            self.transactions.open()?;
        }
        let transactions = &mut self.transactions;
        for (ends, made) in group {
            self.writer.write(made, ends.wall, |record| transactions.send(record))?;
        }
        for (shard, checkpoint) in checkpoints(group) {
            self.writer.state(shard, checkpoint, &mut |record| transactions.send(record))?;
        }
        // Before the offsets: whoever takes a shard over reads its state up to where it ends then, and waits for what is
        // open up to there. If the broker takes our offsets, we have the shard still, and all we say of it is there.
        self.transactions.drain();
        if !offsets.is_empty() {
            let identity = self.identity(last)?;
            if self.ports.fence.is_abandoned(last.epoch) {
                return Err(Failure::Abort(RDKafkaErrorCode::IllegalGeneration));
            }
            self.transactions.send_offsets(&self.offsets(offsets)?, &identity)?;
        }
        self.transactions.commit()
    }

    /// What we are to the group now, if that is still the member that read the epoch.
    fn identity(&self, ends: &EpochEnd) -> Result<ConsumerGroupMetadata, Failure> {
        let consumer = &self.ports.consumer;
        let ask = || native::membership(consumer.client());
        // What is sent cannot be looked into: it is what we were before and after it was asked for.
        let (before, identity, after) = (ask(), consumer.group_metadata(), ask());
        match (before, identity) {
            (Some(Membership { member, .. }), _) if Some(member.as_str()) != ends.member.as_deref() => {
                Err(Failure::Abort(RDKafkaErrorCode::UnknownMemberId))
            }
            (None, _) => Err(Failure::Abort(RDKafkaErrorCode::UnknownMemberId)),
            (before @ Some(Membership { generation: 0.., .. }), Some(identity)) if before == after => Ok(identity),
            _ => Err(Failure::Abort(RDKafkaErrorCode::IllegalGeneration)),
        }
    }

    fn offsets(&self, offsets: &[(SourcePartition, i64)]) -> Result<TopicPartitionList, Failure> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for ((shard, source), offset) in offsets {
            let partition = *shard as i32;
            list.add_partition_offset(self.writer.topic(*source), partition, Offset::Offset(*offset))
                .map_err(|cause| Failure::Fatal(CommitError::Call { what: "list the offsets", cause }))?;
        }
        Ok(list)
    }
}

/// How many records an epoch gives, where its shards stand aside.
fn size(made: &EpochOutput) -> usize {
    let own = made.alerts.len() + made.reviews.len() + made.rows.len();
    let state: usize = made.state.iter().map(|(_, records)| records.len()).sum();
    own + made.refusals.len() + made.misplaced.len() + state
}

/// Where the shards stand that anything came of: of each the last record.
fn checkpoints(group: &[(EpochEnd, EpochOutput)]) -> BTreeMap<u32, &Records> {
    let mut checkpoints = BTreeMap::new();
    let mut dirty = BTreeSet::new();
    for mark in group.iter().flat_map(|(_, made)| &made.shards) {
        dirty.extend(mark.dirty.then_some(mark.shard));
        checkpoints.insert(mark.shard, &mark.checkpoint);
    }
    checkpoints.retain(|shard, _| dirty.contains(shard));
    checkpoints
}

/// The shards are no longer ours.
fn is_expulsion(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::StaleMemberEpoch
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
