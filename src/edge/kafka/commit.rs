//! Owns the commit thread: commits the output of an epoch and its source offsets in one transaction.
//!
//! **Order.** Epochs are committed in order. Epochs that are already waiting may share a transaction; an epoch without
//! output and new offsets needs none.
//! **Retries.** Retriable calls are repeated. A transaction that must be aborted is aborted and retried with the same
//! epochs, without limit.
//! **Fatal errors.** All other errors, in particular a fenced producer, end the run; so does a call that does not
//! return, which the watchdog detects.
//!
//! **Group metadata.** Offsets are sent with the current group metadata, because the generation advances at every
//! rebalance while our shards stay. We *first* read the metadata, and *then* check whether the epochs were abandoned
//! and whether we are still the member that read them: so no epoch from before the loss of a membership is committed
//! under the next one. A stale generation is retried with a newer one. If the coordinator no longer recognizes this
//! member, the epochs wait until the ingest thread abandons them, because the new owners read them again.
//!
//! **Fencing.** A transaction with records always carries an offset, if necessary one that is already committed:
//! without offsets the coordinator does not validate the member, and a removed member could still publish the results
//! of its timers. The coordinator also accepts offsets without validation if they carry neither a member id nor a
//! generation nor a `group.instance.id`, and offsets of generation -1 if the group is empty. So we always set a
//! `group.instance.id`, and send nothing without the other two.

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

/// Workers that return no output for an epoch within this time have panicked or hang.
const EPOCH_TIMEOUT: Duration = Duration::from_secs(300);
/// Limits of a shared transaction: an epoch is added only below these numbers of epochs and records.
const SHARED_EPOCHS: usize = 8;
const SHARED_RECORDS: usize = 20_000;
/// How often a transaction is tried that the broker rejects with a permanent error.
const PERMANENT_ERROR_TRIES: u32 = 3;
/// The longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// The same after a stale generation: the newer one arrives soon.
const MAX_GENERATION_BACKOFF: Duration = Duration::from_millis(100);
/// How long after a refused epoch its shards may stay assigned.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(90);

/// Committing failed permanently.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A call failed, and neither a retry nor an abort can help.
    #[error("{what}: {cause}")]
    Call {
        /// The operation.
        what: &'static str,
        /// librdkafka's error.
        cause: KafkaError,
    },
    /// The broker rejected the same epochs repeatedly.
    #[error("commit epoch {epoch}: rejected {PERMANENT_ERROR_TRIES} times: {code}")]
    Refused {
        /// The first of the epochs.
        epoch: u64,
        /// The broker's error code.
        code: RDKafkaErrorCode,
    },
    /// The coordinator refuses our offsets, but the group does not revoke the shards.
    #[error("commit epoch {epoch}: fenced, but no shards were revoked within {} s", REVOKE_TIMEOUT.as_secs())]
    NotRevoked {
        /// The first of the epochs.
        epoch: u64,
    },
    /// The workers have ended or hang.
    #[error("commit epoch {epoch}: no output from the workers")]
    Workers {
        /// The epoch.
        epoch: u64,
    },
}

/// What the ingest thread sends when it closes an epoch.
pub(super) struct EpochEnd {
    pub(super) epoch: u64,
    /// The member id under which the shards were assigned.
    pub(super) member: Option<Arc<str>>,
    pub(super) wall: Timestamp,
    /// When the epoch was closed.
    pub(super) closed: Instant,
    /// The positions that have advanced.
    pub(super) positions: Vec<(SourcePartition, i64)>,
}

/// An epoch was committed or abandoned: the permit for another one.
#[derive(Debug)]
pub(super) struct CommitOutcome {
    /// Messages sent to `rerouted`.
    pub(super) rerouted: usize,
    /// Partitions to pause until the other sources of their shard have caught up.
    pub(super) paused: BTreeSet<SourcePartition>,
}

/// The ends of the commit thread's channels.
pub(super) struct Ports {
    pub(super) outputs: Receiver<EpochOutput>,
    pub(super) ends: Receiver<EpochEnd>,
    pub(super) outcomes: Sender<CommitOutcome>,
    /// Unparked after a send.
    pub(super) ingest_thread: Thread,
    pub(super) consumer: Arc<BaseConsumer<GroupContext>>,
    pub(super) fence: Arc<Fence>,
}

/// The commit thread.
pub(super) struct Commit {
    transactions: Transactions,
    writer: RecordWriter,
    offset_tracker: OffsetTracker,
    ports: Ports,
    /// Closed epochs whose output the workers have not returned yet.
    pending: VecDeque<EpochEnd>,
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
            pending: VecDeque::new(),
            observer,
            summary: Summary::default(),
        }
    }

    /// Commits epochs until no more can come.
    pub(super) fn run(mut self) -> Result<Summary, CommitError> {
        while let Some(first) = self.next()? {
            let mut epochs = vec![first];
            let mut records = record_count(&epochs[0].1);
            while epochs.len() < SHARED_EPOCHS
                && records < SHARED_RECORDS
                && let Some(next) = self.next_ready(epochs[0].0.epoch)
            {
                records += record_count(&next.1);
                epochs.push(next);
            }
            self.commit(epochs)?;
        }
        Ok(self.summary)
    }

    /// The next epoch, once the workers have returned its output.
    fn next(&mut self) -> Result<Option<(EpochEnd, EpochOutput)>, CommitError> {
        while self.pending.is_empty() {
            match self.ports.ends.recv_timeout(Duration::from_millis(200)) {
                Ok(end) => self.pending.push_back(end),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.transactions.serve();
            self.observer.alive(Part::Commit);
        }
        let Some(end) = self.pending.pop_front() else { return Ok(None) };
        let started = Instant::now();
        loop {
            match self.ports.outputs.recv_timeout(Duration::from_secs(1)) {
                Ok(output) => return Ok(Some((end, output))),
                Err(RecvTimeoutError::Timeout) if started.elapsed() < EPOCH_TIMEOUT => {
                    self.observer.alive(Part::Commit);
                }
                Err(_) => return Err(CommitError::Workers { epoch: end.epoch }),
            }
        }
    }

    /// Another epoch, if it is ready and its outcome is that of the first: both are abandoned, or neither.
    fn next_ready(&mut self, first: u64) -> Option<(EpochEnd, EpochOutput)> {
        if self.pending.is_empty() {
            self.pending.extend(self.ports.ends.try_recv());
        }
        let fence = &self.ports.fence;
        if fence.is_abandoned(self.pending.front()?.epoch) != fence.is_abandoned(first) {
            return None;
        }
        let output = self.ports.outputs.try_recv().ok()?;
        Some((self.pending.pop_front()?, output))
    }

    /// Commits the epochs in one transaction, and sends their outcomes.
    fn commit(&mut self, mut epochs: Vec<(EpochEnd, EpochOutput)>) -> Result<(), CommitError> {
        let first = epochs[0].0.epoch;
        for (end, output) in &mut epochs {
            output.sort();
            self.offset_tracker.update(&end.positions, &output.shards, &output.revoked);
        }
        let has_records = epochs.iter().any(|(_, output)| record_count(output) > 0);
        let mut offsets = self.offset_tracker.uncommitted();
        if offsets.is_empty() && has_records {
            offsets.extend(self.offset_tracker.any());
        }
        let is_empty = offsets.is_empty() && !has_records;
        let committed = is_empty && !self.ports.fence.is_abandoned(first) || self.transact(&epochs, &offsets)?;
        if committed {
            self.offset_tracker.set_committed(&offsets);
        }
        for (end, output) in &mut epochs {
            if committed {
                self.count(output);
                self.observer.committed(output);
                self.observer.published(std::mem::take(&mut output.alerts), std::mem::take(&mut output.rows));
                self.observer.epoch(end.closed.elapsed());
            }
            let paused = output.shards.iter();
            let paused = paused.flat_map(|status| status.paused.iter().map(|source| (status.shard, *source))).collect();
            // The ingest thread may have ended, and then needs no permit.
            let _ = self.ports.outcomes.send(CommitOutcome { rerouted: output.misrouted.len(), paused });
        }
        self.ports.ingest_thread.unpark();
        self.observer.alive(Part::Commit);
        Ok(())
    }

    fn count(&mut self, output: &EpochOutput) {
        self.summary.epochs += 1;
        self.summary.alerts += output.alerts.len() as u64;
        self.summary.rows += output.rows.len() as u64;
        self.summary.dead_letters += output.rejected.len() as u64;
        self.summary.rerouted += output.misrouted.len() as u64;
        for records in output.state.iter().map(|(_, records)| records) {
            self.summary.state.0 += records.len() as u64;
            self.summary.state.1 += records.bytes() as u64;
        }
    }

    /// Retries until the transaction is committed (`true`) or the epochs are abandoned (`false`).
    fn transact(
        &mut self,
        epochs: &[(EpochEnd, EpochOutput)],
        offsets: &[(SourcePartition, i64)],
    ) -> Result<bool, CommitError> {
        let (Some((first, _)), Some((last, _))) = (epochs.first(), epochs.last()) else { return Ok(true) };
        let started = Instant::now();
        let mut tries = 0;
        loop {
            if self.ports.fence.is_abandoned(first.epoch) {
                return Ok(false);
            }
            let code = match self.attempt(epochs, offsets, last) {
                Ok(()) => break,
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Abort(code)) => code,
            };
            if is_fenced(code) || code == RDKafkaErrorCode::IllegalGeneration {
                // The records themselves are valid. If their delivery were interrupted, the next ones could be out of
                // sequence for the broker, and that transaction would be aborted as well.
                self.transactions.drain();
            }
            self.transactions.abort()?;
            self.summary.aborted += 1;
            self.observer.aborted();
            tries += 1;
            if is_fenced(code) {
                let epoch = first.epoch;
                tracing::warn!(
                    "commit epoch {epoch}: fenced: the coordinator no longer recognizes this member ({code})"
                );
                self.await_abandonment(epoch)?;
                continue;
            }
            if code == RDKafkaErrorCode::IllegalGeneration {
                tracing::debug!("commit epoch {}: stale generation; retrying", first.epoch);
                std::thread::sleep(MAX_GENERATION_BACKOFF.min(Duration::from_millis(5) * 2_u32.pow(tries.min(8))));
                self.observer.alive(Part::Commit);
                continue;
            }
            if is_permanent(code) && tries >= PERMANENT_ERROR_TRIES {
                return Err(CommitError::Refused { epoch: first.epoch, code });
            }
            tracing::warn!("commit epoch {}: transaction aborted ({code}); retrying", first.epoch);
            std::thread::sleep(MAX_BACKOFF.min(Duration::from_millis(20) * 2_u32.pow(tries.min(8))));
            self.observer.alive(Part::Commit);
        }
        self.summary.transactions += 1;
        self.observer.transaction(started.elapsed(), epochs.len());
        Ok(true)
    }

    /// Waits until the ingest thread has abandoned the epoch because of a rebalance.
    fn await_abandonment(&self, epoch: u64) -> Result<(), CommitError> {
        let refused = Instant::now();
        self.ports.fence.refuse(epoch);
        self.ports.ingest_thread.unpark();
        while !self.ports.fence.is_abandoned(epoch) {
            if refused.elapsed() > REVOKE_TIMEOUT {
                return Err(CommitError::NotRevoked { epoch });
            }
            std::thread::sleep(Duration::from_millis(5));
            self.transactions.serve();
            self.observer.alive(Part::Commit);
        }
        Ok(())
    }

    fn attempt(
        &mut self,
        epochs: &[(EpochEnd, EpochOutput)],
        offsets: &[(SourcePartition, i64)],
        last: &EpochEnd,
    ) -> Result<(), Failure> {
        self.transactions.open()?;
        #[cfg(feature = "fault_injection")]
        if crate::config::fault_injection::offsets_first() {
            for (shard, checkpoint) in checkpoints(epochs) {
                self.writer.state(shard, &checkpoint, &mut |record| self.transactions.send(record))?;
            }
            self.transactions.commit()?;
            // Long enough for a kill in between, which is the only way to expose the fault.
            std::thread::sleep(Duration::from_millis(300));
            self.transactions.open()?;
        }
        let transactions = &mut self.transactions;
        for (end, output) in epochs {
            self.writer.write(output, end.wall, |record| transactions.send(record))?;
        }
        for (shard, checkpoint) in checkpoints(epochs) {
            self.writer.state(shard, &checkpoint, &mut |record| transactions.send(record))?;
        }
        // Before the offsets: the next owner of a shard reads its state up to the current end offset, and waits for
        // open transactions up to there. If the coordinator accepts our offsets, we still own the shard, and all our
        // records are already before that end.
        self.transactions.drain();
        if !offsets.is_empty() {
            let metadata = self.group_metadata(last)?;
            if self.ports.fence.is_abandoned(last.epoch) {
                return Err(Failure::Abort(RDKafkaErrorCode::IllegalGeneration));
            }
            self.transactions.send_offsets(&self.offsets(offsets)?, &metadata)?;
        }
        self.transactions.commit()
    }

    /// The current group metadata, if this is still the member that read the epoch.
    fn group_metadata(&self, end: &EpochEnd) -> Result<ConsumerGroupMetadata, Failure> {
        let consumer = &self.ports.consumer;
        let membership = || native::membership(consumer.client());
        // The metadata object is opaque: its content is known if the membership before and after it is the same.
        let (before, metadata, after) = (membership(), consumer.group_metadata(), membership());
        match (before, metadata) {
            (Some(Membership { member, .. }), _) if Some(member.as_str()) != end.member.as_deref() => {
                Err(Failure::Abort(RDKafkaErrorCode::UnknownMemberId))
            }
            (None, _) => Err(Failure::Abort(RDKafkaErrorCode::UnknownMemberId)),
            (before @ Some(Membership { generation: 0.., .. }), Some(metadata)) if before == after => Ok(metadata),
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

/// The number of records of an epoch, checkpoints excluded.
fn record_count(output: &EpochOutput) -> usize {
    let own = output.alerts.len() + output.reviews.len() + output.rows.len();
    let state: usize = output.state.iter().map(|(_, records)| records.len()).sum();
    own + output.rejected.len() + output.misrouted.len() + state
}

/// The last checkpoint of each dirty shard.
fn checkpoints(epochs: &[(EpochEnd, EpochOutput)]) -> BTreeMap<u32, Records> {
    let mut checkpoints = BTreeMap::new();
    let mut dirty = BTreeSet::new();
    for status in epochs.iter().flat_map(|(_, output)| &output.shards) {
        dirty.extend(status.dirty.then_some(status.shard));
        checkpoints.extend(status.checkpoint.as_ref().map(|checkpoint| (status.shard, checkpoint)));
    }
    checkpoints.retain(|shard, _| dirty.contains(shard));
    checkpoints.into_iter().map(|(shard, checkpoint)| (shard, checkpoint.encode())).collect()
}

/// Whether the coordinator no longer recognizes this member.
fn is_fenced(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::StaleMemberEpoch
    )
}

/// Whether a retry fails the same way until the brokers' configuration is changed.
fn is_permanent(code: RDKafkaErrorCode) -> bool {
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
