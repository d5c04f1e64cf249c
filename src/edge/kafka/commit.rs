//! Owns the commit thread: commits the output of an epoch and its source offsets in one transaction.
//!
//! **Order.** Epochs are committed in order. Epochs that are already waiting may share a transaction; an epoch without
//! output and new offsets needs none.
//! **Size.** What an epoch publishes, its state and its offsets are in one transaction. Rows that make it too large or too
//! slow follow in others (`later_rows`), between which the next epochs are committed.
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

pub(super) mod fence;
mod later_rows;
mod offset_tracker;
pub(super) mod record_writer;
pub(super) mod transaction;
mod transaction_size;

use super::client::{self, BrokerTime, CallError, Deliveries};
use super::error::RunError;
use super::event::{Observer, Reaction, RuntimeEvent};
use super::group::GroupContext;
use super::native::{self, Membership};
use super::part::{self, Waker};
use super::restore::open_alerts::OpenAlertsRepair;
use super::source_topics::{SourcePartition, SourceTopics};
use crate::codec::state::{ShardRecord, SourceLog};
use crate::config::Config;
use crate::dataflow::epoch::{EpochOutput, ShardStatus};
use crate::dataflow::output::OutputCollector;
use crate::domain::figures::row::Row;
use crate::domain::shard::output_room::{TYPICAL_ALERT, TYPICAL_REVIEW};
use crate::domain::source::{Offset, ShardId, Source};
use crate::domain::time::Timestamp;
use crate::telemetry::liveness::Thread;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use fence::Fence;
use later_rows::LaterRows;
use offset_tracker::OffsetTracker;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::BaseProducer;
use record_writer::RecordWriter;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use transaction::{Failure, Heartbeat, Transactions};
use transaction_size::TransactionSize;

/// Workers that return no output for an epoch within this time have panicked or hang.
const EPOCH_TIMEOUT: Duration = Duration::from_secs(300);
/// The largest number of epochs that share a transaction.
const SHARED_EPOCHS: usize = 8;
/// How often a transaction is tried that the broker rejects with a permanent error.
const PERMANENT_ERROR_TRIES: u32 = 3;
/// How long after a refused epoch its shards may stay assigned.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(90);
/// The longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// The same after a stale generation: the newer one arrives soon.
const MAX_GENERATION_BACKOFF: Duration = Duration::from_millis(100);

/// What the ingest thread sends when it closes an epoch.
#[derive(Debug)]
pub(super) struct EpochEnd {
    pub(super) epoch: u64,
    /// The member id under which the shards were assigned.
    pub(super) member: Option<Arc<str>>,
    pub(super) wall: Timestamp,
    /// When the epoch was closed.
    pub(super) closed: Instant,
    /// The positions that have advanced.
    pub(super) positions: Vec<(SourcePartition, Offset)>,
    /// Corrections to the topic of open alerts, of shards that start with this epoch.
    pub(super) open_alerts: Vec<OpenAlertsRepair>,
    /// The logs of partitions that are read from this epoch on.
    pub(super) logs: BTreeMap<SourcePartition, SourceLog>,
}

/// What was committed or abandoned: the permit for another epoch.
#[derive(Debug)]
pub(super) enum CommitOutcome {
    /// An epoch.
    Epoch {
        /// Messages sent to `rerouted`.
        rerouted: usize,
        /// Partitions to pause until the other sources of their shard have caught up.
        paused: BTreeSet<SourcePartition>,
        /// The permit comes with its last rows.
        rows_follow: bool,
        /// The time of the broker, and when it was current.
        broker_time: Option<BrokerTime>,
    },
    /// The last rows of an epoch.
    Rows,
}

impl CommitOutcome {
    fn new(output: &EpochOutput, rows_follow: bool, broker_time: Option<BrokerTime>) -> Self {
        let paused = output.shards.iter();
        let paused = paused.flat_map(|status| status.paused.iter().map(|source| (status.shard, *source))).collect();
        Self::Epoch { rerouted: output.misrouted.len(), paused, rows_follow, broker_time }
    }
}

/// What a transaction contains.
struct Contents<'a> {
    /// Epochs, in order; their rows only as listed.
    epochs: &'a [(EpochEnd, EpochOutput)],
    /// The rows, as many as fit.
    rows: Vec<&'a Row>,
    /// Rows that wait besides these.
    rows_wait: bool,
    /// Written if no row waits afterwards.
    last_checkpoints: &'a BTreeMap<ShardId, ShardRecord>,
    offsets: Vec<(SourcePartition, Offset)>,
    /// The first and the last epoch.
    ends: (&'a EpochEnd, &'a EpochEnd),
}

/// What a committed transaction has written besides its epochs.
struct Written {
    /// The number of rows.
    rows: usize,
    /// The shard records.
    checkpoints: BTreeMap<ShardId, ShardRecord>,
}

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

impl Summary {
    fn add(&mut self, output: &EpochOutput) {
        self.epochs += 1;
        self.alerts += output.alerts.len() as u64;
        self.rows += output.rows.len() as u64;
        self.dead_letters += output.rejected.len() as u64;
        self.rerouted += output.misrouted.len() as u64;
        for (_, records) in &output.state {
            self.state.0 += records.len() as u64;
            self.state.1 += records.bytes() as u64;
        }
    }
}

/// The other ends of the channels of the commit thread, which ends when they are dropped.
pub(super) struct CommitHandle {
    pub(super) ends: Sender<EpochEnd>,
    pub(super) outcomes: Receiver<CommitOutcome>,
    pub(super) fence: Arc<Fence>,
    pub(super) heartbeat: Arc<Heartbeat>,
}

/// The commit thread.
struct Commit {
    transactions: Transactions,
    writer: RecordWriter,
    sources: SourceTopics,
    offset_tracker: OffsetTracker,
    /// The logs of all partitions that were read.
    logs: BTreeMap<SourcePartition, SourceLog>,
    size: TransactionSize,
    later_rows: LaterRows<EpochEnd>,
    ends: Receiver<EpochEnd>,
    outputs: OutputCollector,
    outcomes: Sender<CommitOutcome>,
    /// Woken after an outcome was sent.
    ingest: Waker,
    consumer: Arc<BaseConsumer<GroupContext>>,
    fence: Arc<Fence>,
    /// Closed epochs whose output the workers have not returned yet.
    pending: VecDeque<EpochEnd>,
    observer: Arc<Observer>,
    summary: Summary,
}

/// Starts the commit thread, which commits the `outputs` of closed epochs as a member of the group of `consumer`. No
/// record is larger than `record_bytes`.
pub(super) fn spawn(
    (config, shards, record_bytes): (&Config, u32, usize),
    producer: BaseProducer<Deliveries>,
    outputs: OutputCollector,
    consumer: Arc<BaseConsumer<GroupContext>>,
    ingest: Waker,
    observer: Arc<Observer>,
) -> Result<(JoinHandle<Result<Summary, RunError>>, CommitHandle), RunError> {
    // Epochs that only release shards are sent in addition to the bounded ones, and rows have outcomes of their own.
    let bound = 2 * (config.engine.epochs_in_flight.max(1) + 4);
    let (ends_in, ends) = bounded(bound);
    let (outcomes, outcomes_out) = bounded(bound);
    let transaction_time = Duration::from_millis(config.engine.transaction_time.0.unsigned_abs());
    let transactions = Transactions::new(producer, Arc::clone(&observer));
    let (heartbeat, fence) = (transactions.heartbeat(), Arc::new(Fence::default()));
    let handle = CommitHandle { ends: ends_in, outcomes: outcomes_out, fence: Arc::clone(&fence), heartbeat };
    let commit = Commit {
        transactions,
        writer: RecordWriter::new(config, shards, record_bytes),
        sources: SourceTopics::of(&config.topics),
        offset_tracker: OffsetTracker::default(),
        logs: BTreeMap::new(),
        size: TransactionSize::new(config.engine.transaction_bytes, transaction_time),
        later_rows: LaterRows::default(),
        ends,
        outputs,
        outcomes,
        ingest,
        consumer,
        fence,
        pending: VecDeque::new(),
        observer,
        summary: Summary::default(),
    };
    Ok((part::spawn("commit", move || commit.run())?, handle))
}

impl Commit {
    /// Commits epochs until no more can come.
    fn run(mut self) -> Result<Summary, RunError> {
        loop {
            let first = if self.later_rows.is_empty() { self.next()? } else { self.next_ready(None) };
            if first.is_none() && self.later_rows.is_empty() {
                return Ok(self.summary);
            }
            if let Some(first) = first {
                let (number, mut bytes) = (first.0.epoch, size_of(&first));
                let mut epochs = vec![first];
                while epochs.len() < SHARED_EPOCHS
                    && bytes < self.size.bytes()
                    && let Some(next) = self.next_ready(Some(number))
                {
                    bytes += size_of(&next);
                    epochs.push(next);
                }
                self.commit(epochs)?;
            }
            self.commit_later_rows()?;
        }
    }

    fn alive(&self) {
        self.observer.emit(RuntimeEvent::Alive(Thread::Commit));
    }

    /// The next epoch, once the workers have returned its output.
    fn next(&mut self) -> Result<Option<(EpochEnd, EpochOutput)>, RunError> {
        while self.pending.is_empty() {
            match self.ends.recv_timeout(Duration::from_millis(200)) {
                Ok(end) => self.pending.push_back(end),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.transactions.serve();
            self.alive();
        }
        let Some(end) = self.pending.pop_front() else { return Ok(None) };
        let started = Instant::now();
        loop {
            match self.outputs.next_epoch_by(Instant::now() + Duration::from_secs(1)) {
                Ok(output) => return Ok(Some((end, output))),
                Err(RecvTimeoutError::Timeout) if started.elapsed() < EPOCH_TIMEOUT => self.alive(),
                Err(_) => return Err(RunError::NoOutput(end.epoch)),
            }
        }
    }

    /// Another epoch, if it is ready and its outcome is that of the first: both are abandoned, or neither.
    fn next_ready(&mut self, first: Option<u64>) -> Option<(EpochEnd, EpochOutput)> {
        if self.pending.is_empty() {
            self.pending.extend(self.ends.try_recv());
        }
        let is_abandoned = self.fence.is_abandoned(self.pending.front()?.epoch);
        if first.is_some_and(|first| self.fence.is_abandoned(first) != is_abandoned) {
            return None;
        }
        let output = self.outputs.next_epoch_by(Instant::now()).ok()?;
        Some((self.pending.pop_front()?, output))
    }

    /// Commits the epochs in one transaction, except rows that do not fit, and sends their outcomes.
    fn commit(&mut self, mut epochs: Vec<(EpochEnd, EpochOutput)>) -> Result<(), RunError> {
        for (end, output) in &mut epochs {
            output.sort();
            self.logs.append(&mut end.logs);
            for ShardStatus { shard, checkpoint, .. } in output.shards.iter_mut().filter(|status| status.dirty) {
                let own = self.logs.range((*shard, Source::LIVE[0])..).take_while(|((of, _), _)| of == shard);
                let logs = own.map(|((_, source), log)| (*source, *log)).collect();
                checkpoint.iter_mut().for_each(|checkpoint| checkpoint.logs = BTreeMap::clone(&logs));
            }
            self.offset_tracker.update(&end.positions, &output.shards, &output.revoked);
        }
        let has_records = epochs.iter().any(has_records);
        let mut offsets = self.offset_tracker.uncommitted();
        if offsets.is_empty() && has_records {
            offsets.extend(self.offset_tracker.any());
        }
        let (Some((first, _)), Some((last, _))) = (epochs.first(), epochs.last()) else { return Ok(()) };
        let is_empty = offsets.is_empty() && !has_records;
        let mut later_rows = std::mem::take(&mut self.later_rows);
        let written = if is_empty && !self.fence.is_abandoned(first.epoch) {
            Some(Written { rows: 0, checkpoints: BTreeMap::new() })
        } else {
            // Rows of earlier epochs go first, because later rows of their keys replace them.
            let rows_wait = !later_rows.is_empty();
            let rows = epochs.iter().filter(|_| !rows_wait).flat_map(|(_, output)| &output.rows).collect();
            let last_checkpoints = &BTreeMap::new();
            let ends = (first, last);
            self.transact(&Contents {
                epochs: &epochs,
                rows,
                rows_wait,
                last_checkpoints,
                offsets: offsets.clone(),
                ends,
            })?
        };
        let mut rows = written.as_ref().map(|written| written.rows);
        let broker_time = self.transactions.broker_time();
        for (end, mut output) in epochs {
            let written = rows.map_or(output.rows.len(), |rows| rows.min(output.rows.len()));
            let mut later = output.rows.split_off(written);
            if rows.is_some() {
                later_rows.remove_gone(&mut output.rows, &mut later);
            }
            let outcome = CommitOutcome::new(&output, !later.is_empty(), broker_time);
            if let Some(rows) = &mut rows {
                *rows -= written;
                self.summary.add(&output);
                self.observer.emit(RuntimeEvent::EpochCommitted(Box::new(output), end.closed.elapsed()));
                if !later.is_empty() {
                    later_rows.push(end, later);
                }
            }
            // The ingest thread may have ended, and then needs no permit.
            let _ = self.outcomes.send(outcome);
        }
        if let Some(written) = written {
            self.offset_tracker.set_committed(&offsets);
            if !later_rows.is_empty() {
                later_rows.set_written(written.checkpoints);
            }
        }
        self.later_rows = later_rows;
        self.ingest.wake();
        self.alive();
        Ok(())
    }

    /// Commits as many rows of earlier epochs as fit into one transaction.
    fn commit_later_rows(&mut self) -> Result<(), RunError> {
        let mut later_rows = std::mem::take(&mut self.later_rows);
        let Some(ends) = later_rows.ends() else { return Ok(()) };
        let (rows, last_checkpoints) = (later_rows.rows().collect(), later_rows.checkpoints());
        let offsets = self.offset_tracker.any().into_iter().collect();
        let contents = Contents { epochs: &[], rows, rows_wait: false, last_checkpoints, offsets, ends };
        // They are of one membership, so either all are abandoned or none.
        let settled = match self.transact(&contents)? {
            None => later_rows.abandon(),
            Some(written) => {
                let (rows, settled) = later_rows.take(written.rows);
                self.summary.rows += rows.len() as u64;
                self.observer.emit(RuntimeEvent::RowsCommitted(rows));
                settled
            }
        };
        self.later_rows = later_rows;
        (0..settled).for_each(|_| _ = self.outcomes.send(CommitOutcome::Rows));
        self.ingest.wake();
        self.alive();
        Ok(())
    }

    /// Retries until the transaction is committed, or the epochs are abandoned: `None`.
    fn transact(&mut self, contents: &Contents<'_>) -> Result<Option<Written>, RunError> {
        let first = contents.ends.0.epoch;
        let started = Instant::now();
        let mut tries = 0;
        while !self.fence.is_abandoned(first) {
            let attempted = Instant::now();
            match self.attempt(contents) {
                Ok(written) => {
                    self.size.took(self.transactions.bytes(), attempted.elapsed());
                    self.summary.transactions += 1;
                    self.observer.emit(RuntimeEvent::TransactionCommitted(started.elapsed()));
                    return Ok(Some(written));
                }
                Err(Failure::Fatal(error)) => return Err(error.into()),
                Err(Failure::Abort(code)) => {
                    tries += 1;
                    self.abort(first, code, tries)?;
                }
            }
        }
        Ok(None)
    }

    /// Aborts the transaction, and waits until it may be retried.
    fn abort(&mut self, epoch: u64, code: RDKafkaErrorCode, tries: u32) -> Result<(), RunError> {
        let reaction = reaction(code, tries);
        if matches!(reaction, Reaction::AwaitRevocation | Reaction::UpdateGeneration) {
            // The records themselves are valid. If their delivery were interrupted, the next ones could be out of
            // sequence for the broker, and that transaction would be aborted as well.
            self.transactions.drain();
        }
        let aborted = self.transactions.abort();
        let may_not_write = match aborted {
            Ok(()) => reaction == Reaction::Fail && code == RDKafkaErrorCode::TopicAuthorizationFailed,
            Err(_) => self.transactions.is_refused(),
        };
        if may_not_write {
            return Err(RunError::MayNotWrite(epoch));
        }
        aborted?;
        self.summary.aborted += 1;
        self.observer.emit(RuntimeEvent::TransactionAborted(epoch, code, reaction));
        let backoff = |first: u64, max: Duration| max.min(Duration::from_millis(first) * 2_u32.pow(tries.min(8)));
        match reaction {
            Reaction::Fail => return Err(RunError::Rejected(epoch, PERMANENT_ERROR_TRIES, code)),
            Reaction::AwaitRevocation => return self.await_abandonment(epoch),
            Reaction::UpdateGeneration => std::thread::sleep(backoff(5, MAX_GENERATION_BACKOFF)),
            Reaction::Retry => std::thread::sleep(backoff(20, MAX_BACKOFF)),
        }
        self.alive();
        Ok(())
    }

    /// Waits until the ingest thread has abandoned the epoch because of a rebalance.
    fn await_abandonment(&self, epoch: u64) -> Result<(), RunError> {
        let refused = Instant::now();
        self.fence.refuse(epoch);
        self.ingest.wake();
        while !self.fence.is_abandoned(epoch) {
            if refused.elapsed() > REVOKE_TIMEOUT {
                return Err(RunError::NotRevoked(epoch, REVOKE_TIMEOUT));
            }
            std::thread::sleep(Duration::from_millis(5));
            self.transactions.serve();
            self.alive();
        }
        Ok(())
    }

    fn attempt(&mut self, contents: &Contents<'_>) -> Result<Written, Failure> {
        let &Contents { epochs, ref rows, rows_wait, last_checkpoints, ref offsets, ends: (_, last) } = contents;
        self.transactions.open()?;
        let opened = Instant::now();
        #[cfg(feature = "fault_injection")]
        if crate::config::fault_injection::offsets_first() {
            for (shard, checkpoint) in checkpoints(epochs, false) {
                self.writer.state(shard, &checkpoint.encode()).try_for_each(|record| self.transactions.send(record))?;
            }
            self.transactions.commit()?;
            // Long enough for a kill in between, which is the only way to expose the fault.
            std::thread::sleep(Duration::from_millis(300));
            self.transactions.open()?;
        }
        let transactions = &mut self.transactions;
        for (end, output) in epochs {
            for repair in &end.open_alerts {
                self.writer.repair(repair, |record| transactions.send(record))?;
            }
            self.writer.write(output, end.wall, |record| transactions.send(record))?;
        }
        let mut sent = 0;
        for row in rows {
            if self.size.is_reached(transactions.bytes(), opened.elapsed()) {
                break;
            }
            transactions.send(self.writer.row(row))?;
            sent += 1;
        }
        for row in epochs.iter().flat_map(|(_, output)| &output.rows).skip(sent).filter(|row| row.is_tombstone()) {
            transactions.send(self.writer.row(row))?;
        }
        let rows_follow = rows_wait || sent < rows.len();
        let mut checkpoints = checkpoints(epochs, rows_follow);
        if !rows_follow {
            let settled = |record: &ShardRecord| ShardRecord { rows_follow, ..record.clone() };
            checkpoints.extend(last_checkpoints.iter().map(|(shard, record)| (*shard, settled(record))));
        }
        for (shard, checkpoint) in &checkpoints {
            let records = checkpoint.encode();
            self.writer.state(*shard, &records).try_for_each(|record| transactions.send(record))?;
        }
        // Before the offsets: the next owner of a shard reads its state up to the current end offset, and waits for
        // open transactions up to there. If the coordinator accepts our offsets, we still own the shard, and all our
        // records are already before that end.
        self.transactions.drain();
        if !offsets.is_empty() {
            let metadata = self.group_metadata(last)?;
            if self.fence.is_abandoned(last.epoch) {
                return Err(Failure::Abort(RDKafkaErrorCode::IllegalGeneration));
            }
            let shift = |partition| self.logs.get(partition).map_or(0, |log| log.shift);
            let kafka =
                offsets.iter().map(|(partition, offset)| (*partition, Offset((offset.0 - shift(partition)).max(0))));
            let list = self.sources.at(kafka);
            let list = list.map_err(|cause| Failure::Fatal(CallError { what: "list the offsets", cause }))?;
            self.transactions.send_offsets(&list, &metadata)?;
        }
        self.transactions.commit()?;
        Ok(Written { rows: sent, checkpoints })
    }

    /// The current group metadata, if this is still the member that read the epoch.
    fn group_metadata(&self, end: &EpochEnd) -> Result<ConsumerGroupMetadata, Failure> {
        let consumer = &self.consumer;
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
}

/// Whether an epoch has output.
fn has_records((end, output): &(EpochEnd, EpochOutput)) -> bool {
    let EpochOutput { alerts, reviews, rows, rejected, misrouted, state, .. } = output;
    !(end.open_alerts.iter().all(|repair| repair.records() == 0)
        && alerts.is_empty()
        && reviews.is_empty()
        && rows.is_empty()
        && rejected.is_empty()
        && misrouted.is_empty()
        && state.iter().all(|(_, records)| records.is_empty()))
}

/// About how large the records of an epoch are, without its rows, which can follow later.
fn size_of((end, output): &(EpochEnd, EpochOutput)) -> usize {
    let repairs: usize = end.open_alerts.iter().map(OpenAlertsRepair::records).sum();
    let state: usize = output.state.iter().map(|(_, records)| records.bytes()).sum();
    let batches = output.rejected.iter().map(|rejected| (&rejected.batch, rejected.message));
    let batches = batches.chain(output.misrouted.iter().map(|misrouted| (&misrouted.batch, misrouted.message)));
    let foreign: usize = batches.map(|(batch, message)| batch.message_bytes(message)).sum();
    (repairs + output.alerts.len()) * TYPICAL_ALERT + output.reviews.len() * TYPICAL_REVIEW + state + foreign
}

/// The last checkpoint of each dirty shard.
fn checkpoints(epochs: &[(EpochEnd, EpochOutput)], rows_follow: bool) -> BTreeMap<ShardId, ShardRecord> {
    let mut checkpoints = BTreeMap::new();
    let mut dirty = BTreeSet::new();
    for status in epochs.iter().flat_map(|(_, output)| &output.shards) {
        dirty.extend(status.dirty.then_some(status.shard));
        checkpoints.extend(status.checkpoint.as_ref().map(|checkpoint| (status.shard, checkpoint)));
    }
    checkpoints.retain(|shard, _| dirty.contains(shard));
    let owned = |checkpoint: &ShardRecord| ShardRecord { rows_follow, ..checkpoint.clone() };
    checkpoints.into_iter().map(|(shard, checkpoint)| (shard, owned(checkpoint))).collect()
}

/// What follows after the broker has rejected a transaction `tries` times, the last time with `code`.
fn reaction(code: RDKafkaErrorCode, tries: u32) -> Reaction {
    match code {
        RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::StaleMemberEpoch => {
            Reaction::AwaitRevocation
        }
        RDKafkaErrorCode::IllegalGeneration => Reaction::UpdateGeneration,
        // A retry fails the same way until the configuration of the brokers is changed.
        code if client::is_final(code) && tries >= PERMANENT_ERROR_TRIES => Reaction::Fail,
        _ => Reaction::Retry,
    }
}
