//! Owns the boundaries of epochs: decides when the open epoch is closed, and builds its header. Pure: reads no clock and
//! calls no client.
//!
//! An epoch is closed when it is `engine.epoch` old or full. It is closed earlier if everything available is read,
//! nothing is in flight and the previous epoch was closed some time ago, so that a single event in a quiet hour is not
//! delayed. Empty epochs are closed less often; they are needed because the watermark follows the clock and deadlines
//! pass. While the maximum number of epochs is in flight, none is closed. While memory is tight, epochs are smaller and only
//! one is in flight.

use super::wall_clock::Reading;
use crate::codec::state::SourceLog;
use crate::dataflow::messages::EpochHeader;
use crate::dataflow::state::RestoredShard;
use crate::domain::norms::Norms;
use crate::domain::shard::processor::{ShardProgress, SourceProgress};
use crate::domain::source::{Offset, ShardId, Source};
use crate::domain::time::Timestamp;
use crate::edge::kafka::restore::open_alerts::OpenAlertsRepair;
use crate::edge::kafka::source_topics::SourcePartition;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Empty epochs are closed this often, if `engine.epoch` is not longer.
const EMPTY_EPOCH_INTERVAL: Duration = Duration::from_millis(200);
/// While memory is tight, an epoch is full with this part of the messages and bytes.
const TIGHT_DIVISOR: usize = 8;
/// The minimum time between two epochs is `engine.epoch` divided by this.
const MIN_GAP_DIVISOR: u32 = 4;
/// The longest sleep: bounds the cost of a lost wake-up.
pub(super) const MAX_PARK: Duration = Duration::from_millis(5);
const MIN_PARK: Duration = Duration::from_micros(100);

/// When epochs are closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct EpochLimits {
    pub(super) max_age: Duration,
    pub(super) max_messages: usize,
    /// The size of a transaction: what follows from a message is hardly larger than the message.
    pub(super) max_bytes: usize,
    pub(super) max_in_flight: usize,
}

/// What to do with the open epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Close it.
    Cut,
    /// Read on.
    Read,
    /// Wait for messages or outcomes, this long at most.
    Park(Duration),
}

/// Why an epoch is closed.
#[derive(Clone, Debug)]
pub(super) enum Boundary {
    /// To process what was read.
    Regular,
    /// To drop shards; nothing was read since the last epoch.
    Release(Vec<ShardId>),
    /// Everything is read: event time advances to this instant.
    End(Timestamp),
}

/// The state of a partition at the end of an epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceState {
    pub(super) partition: SourcePartition,
    /// Everything was read that it contained `time.idle_after` ago.
    pub(super) current: bool,
    /// It was read to the end of a bounded run.
    pub(super) ended: bool,
    /// The next offset to read, once it is known.
    pub(super) position: Option<Offset>,
    /// The position has changed since the last epoch.
    pub(super) moved: bool,
}

/// The open epoch.
#[derive(Debug)]
pub(super) struct EpochCutter {
    limits: EpochLimits,
    /// Whether memory is tight.
    is_tight: bool,
    /// Its number.
    pub(super) epoch: u64,
    pub(super) messages: usize,
    bytes: usize,
    /// When its first message was read.
    first_read: Option<Instant>,
    last_cut: Instant,
    /// Epochs that are closed and not committed.
    pub(super) in_flight: usize,
    /// Restored shards that start with it.
    pub(super) restored: Vec<RestoredShard>,
    /// Corrections to the topic of open alerts, of shards that start with it.
    pub(super) open_alerts: Vec<OpenAlertsRepair>,
    /// The logs of partitions that are read from it on.
    pub(super) logs: BTreeMap<SourcePartition, SourceLog>,
}

impl EpochCutter {
    pub(super) fn new(limits: EpochLimits, now: Instant) -> Self {
        let (epoch, messages, bytes, in_flight, first_read, restored, open_alerts, logs) = Default::default();
        Self {
            limits,
            is_tight: false,
            epoch,
            messages,
            bytes,
            first_read,
            last_cut: now,
            in_flight,
            restored,
            open_alerts,
            logs,
        }
    }

    /// Whether another epoch may be closed; otherwise nothing must be read.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight < if self.is_tight { 1 } else { self.limits.max_in_flight }
    }

    pub(super) fn is_full(&self) -> bool {
        self.free() == 0 || self.bytes >= self.bound(self.limits.max_bytes)
    }

    /// The number of messages that may still be read.
    pub(super) fn free(&self) -> usize {
        self.bound(self.limits.max_messages).saturating_sub(self.messages)
    }

    fn bound(&self, bound: usize) -> usize {
        if self.is_tight { (bound / TIGHT_DIVISOR).max(1) } else { bound }
    }

    /// Sets whether memory is tight; returns whether that is new.
    pub(super) fn set_tight(&mut self, is_tight: bool) -> bool {
        std::mem::replace(&mut self.is_tight, is_tight) != is_tight
    }

    /// Whether the first message was read `engine.epoch` ago.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.first_read.is_some_and(|first_read| now - first_read >= self.limits.max_age)
    }

    /// Adds messages that were read.
    pub(super) fn add(&mut self, messages: usize, bytes: usize, now: Instant) {
        self.messages += messages;
        self.bytes += bytes;
        if messages > 0 {
            self.first_read.get_or_insert(now);
        }
    }

    /// Drops the messages of the open epoch.
    pub(super) fn discard(&mut self) {
        (self.messages, self.bytes, self.first_read) = (0, 0, None);
    }

    /// An epoch was committed or abandoned.
    pub(super) fn settle(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// What to do next; `more`: there may be more messages, `reading`: at least one shard is read.
    pub(super) fn next_step(&self, reading: bool, more: bool, now: Instant) -> Step {
        if !reading || !self.has_room() {
            return Step::Park(MAX_PARK);
        }
        match self.due_at(more).saturating_duration_since(now) {
            Duration::ZERO => Step::Cut,
            _ if more => Step::Read,
            remaining => Step::Park(remaining.clamp(MIN_PARK, MAX_PARK)),
        }
    }

    /// When the open epoch is to be closed, if nothing else is read.
    fn due_at(&self, more: bool) -> Instant {
        let max_age = self.limits.max_age;
        match self.first_read {
            _ if self.is_full() => self.last_cut,
            None => self.last_cut + EMPTY_EPOCH_INTERVAL.max(max_age),
            Some(first_read) if more || self.in_flight > 0 => first_read + max_age,
            Some(first_read) => (first_read + max_age).min(self.last_cut + max_age / MIN_GAP_DIVISOR),
        }
    }

    /// Closes the epoch at `now`, with a reading of the wall clock. Returns its header, and the positions that have
    /// moved. `sources` is ordered by shard; `norms` are in force from this epoch on, `None` if unchanged.
    pub(super) fn cut(
        &mut self,
        boundary: Boundary,
        sources: &[SourceState],
        norms: Option<Arc<Norms>>,
        Reading { wall, is_right, .. }: Reading,
        now: Instant,
    ) -> (EpochHeader, Vec<(SourcePartition, Offset)>) {
        let (revoked, close) = match boundary {
            Boundary::Regular => (Vec::new(), None),
            Boundary::Release(shards) => (shards, None),
            Boundary::End(at) => (Vec::new(), Some(at)),
        };
        let mut progress: Vec<(ShardId, ShardProgress)> = Vec::with_capacity(sources.len() / Source::LIVE.len());
        for shard in sources.chunk_by(|a, b| a.partition.0 == b.partition.0) {
            let source = |state: &SourceState| SourceProgress {
                source: state.partition.1,
                current: state.current,
                ended: state.ended,
                position: state.position.unwrap_or_default(),
            };
            let sources = shard.iter().map(source).collect();
            progress.push((
                shard[0].partition.0,
                ShardProgress { wall: Some(wall), clock_is_wrong: !is_right, sources, close },
            ));
        }
        let moved = sources.iter().filter(|source| source.moved);
        let positions = moved.filter_map(|source| Some((source.partition, source.position?))).collect();
        let (epoch, restored) = (self.epoch, std::mem::take(&mut self.restored).into());
        let header = EpochHeader { epoch, wall, progress, other_shards: None, revoked, norms, restored };
        self.discard();
        self.epoch += 1;
        self.in_flight += 1;
        self.last_cut = now;
        (header, positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::source::Topic;

    const AGE: Duration = Duration::from_millis(100);
    const MS: Duration = Duration::from_millis(1);
    const WALL: Reading = Reading { wall: Timestamp(7), ahead: None, is_right: true };
    const CRM: Source = Source::Topic(Topic::Crm);

    /// A cutter, and an instant at which a previous epoch was closed some time ago.
    fn cutter(max_in_flight: usize) -> (EpochCutter, Instant) {
        let start = Instant::now();
        let limits = EpochLimits { max_age: AGE, max_messages: 10, max_bytes: 1000, max_in_flight };
        (EpochCutter::new(limits, start), start + AGE)
    }

    fn cut(cutter: &mut EpochCutter, boundary: Boundary, now: Instant) -> EpochHeader {
        cutter.cut(boundary, &[], None, WALL, now).0
    }

    #[test]
    fn while_memory_is_tight_epochs_are_small_and_one_at_a_time() {
        let (mut cutter, now) = cutter(4);
        assert!(cutter.set_tight(true) && !cutter.set_tight(true));
        assert_eq!(cutter.free(), 1);
        cutter.add(1, 1, now);
        assert_eq!(cutter.next_step(true, true, now), Step::Cut);
        cutter.cut(Boundary::Regular, &[], None, WALL, now);
        assert!(!cutter.has_room());
        assert!(cutter.set_tight(false));
        assert!(cutter.has_room());
        assert_eq!(cutter.free(), 10);
    }

    #[test]
    fn a_full_epoch_is_closed_at_once() {
        for (messages, bytes) in [(10, 0), (1, 1000)] {
            let (mut cutter, now) = cutter(2);
            cut(&mut cutter, Boundary::Regular, now);
            cutter.add(messages - 1, 0, now);
            assert!(!cutter.is_full() && cutter.next_step(true, true, now) == Step::Read);
            cutter.add(1, bytes, now);
            assert!(cutter.is_full() && cutter.next_step(true, true, now) == Step::Cut);
            cut(&mut cutter, Boundary::Regular, now);
            assert!(!cutter.is_full() && cutter.messages == 0);
        }
    }

    #[test]
    fn an_epoch_that_waits_for_a_commit_or_more_messages_is_closed_at_its_age() {
        let (mut cutter, now) = cutter(2);
        cut(&mut cutter, Boundary::Regular, now);
        cutter.add(1, 1, now + MS);
        cutter.add(1, 1, now + AGE);
        assert!(!cutter.is_old(now + AGE));
        assert_eq!(cutter.next_step(true, true, now + AGE), Step::Read);
        assert_eq!(cutter.next_step(true, false, now + AGE), Step::Park(MS), "its age is that of its first message");
        assert!(cutter.is_old(now + AGE + MS));
        assert_eq!(cutter.next_step(true, true, now + AGE + MS), Step::Cut);
    }

    #[test]
    fn a_single_event_in_a_quiet_hour_is_not_delayed() {
        let (mut cutter, now) = cutter(2);
        cutter.add(1, 1, now);
        assert_eq!(cutter.next_step(true, true, now), Step::Read, "there may be more");
        assert_eq!(cutter.next_step(true, false, now), Step::Cut);
        cut(&mut cutter, Boundary::Regular, now);
        cutter.add(1, 1, now);
        let gap = now + AGE / MIN_GAP_DIVISOR;
        assert_eq!(cutter.next_step(true, false, gap), Step::Park(MAX_PARK), "the previous epoch is in flight");
        cutter.settle();
        assert_eq!(cutter.next_step(true, false, gap - MS), Step::Park(MS), "the previous epoch was just closed");
        assert_eq!(cutter.next_step(true, false, gap), Step::Cut);
    }

    #[test]
    fn empty_epochs_are_closed_less_often_and_only_for_shards() {
        let (mut cutter, now) = cutter(2);
        cut(&mut cutter, Boundary::Regular, now);
        let due = now + EMPTY_EPOCH_INTERVAL;
        assert_eq!(cutter.next_step(true, false, due - MS / 20), Step::Park(MIN_PARK));
        assert_eq!(cutter.next_step(true, false, due), Step::Cut);
        assert_eq!(cutter.next_step(false, false, due), Step::Park(MAX_PARK));
        cutter.limits.max_age = EMPTY_EPOCH_INTERVAL * 2;
        assert_eq!(cutter.next_step(true, false, due), Step::Park(MAX_PARK), "a longer age applies");
    }

    #[test]
    fn nothing_is_closed_or_read_while_too_many_epochs_are_in_flight() {
        let (mut cutter, now) = cutter(1);
        cut(&mut cutter, Boundary::Regular, now);
        cutter.add(10, 1, now);
        assert!(!cutter.has_room());
        assert_eq!(cutter.next_step(true, true, now + AGE), Step::Park(MAX_PARK));
        // A revocation does not wait for a permit.
        cut(&mut cutter, Boundary::Release(vec![ShardId(1)]), now);
        cutter.settle();
        assert!(!cutter.has_room());
        cutter.settle();
        cutter.add(10, 1, now);
        assert!(cutter.has_room() && cutter.next_step(true, true, now) == Step::Cut);
    }

    #[test]
    fn a_revocation_discards_what_was_read_and_names_the_shards() {
        let (mut cutter, now) = cutter(2);
        assert!(cut(&mut cutter, Boundary::Regular, now).revoked.is_empty());
        cutter.add(3, 5, now);
        cutter.discard();
        assert_eq!((cutter.messages, cutter.free(), cutter.is_old(now + AGE * 2)), (0, 10, false));
        let header = cut(&mut cutter, Boundary::Release(vec![ShardId(1), ShardId(2)]), now);
        assert_eq!((header.epoch, header.revoked), (1, vec![ShardId(1), ShardId(2)]));
        assert_eq!((cutter.epoch, cutter.in_flight), (2, 2));
    }

    #[test]
    fn a_header_has_the_progress_of_each_shard_and_positions_are_those_that_moved() {
        let (mut cutter, now) = cutter(2);
        let state = |shard, source, position: Option<i64>, moved| SourceState {
            partition: (ShardId(shard), source),
            current: position.is_none(),
            ended: false,
            position: position.map(Offset),
            moved,
        };
        let sources = [
            state(0, CRM, Some(5), true),
            state(0, Source::Rerouted, None, false),
            state(3, CRM, Some(8), false),
            state(3, Source::Rerouted, Some(1), true),
        ];
        let end = Timestamp(9);
        let (header, positions) = cutter.cut(Boundary::End(end), &sources, None, WALL, now);
        assert_eq!(positions, [((ShardId(0), CRM), Offset(5)), ((ShardId(3), Source::Rerouted), Offset(1))]);
        let progress = |sources: [(Source, bool, i64); 2]| ShardProgress {
            wall: Some(WALL.wall),
            clock_is_wrong: false,
            sources: sources
                .map(|(source, current, position)| SourceProgress {
                    source,
                    current,
                    ended: false,
                    position: Offset(position),
                })
                .to_vec(),
            close: Some(end),
        };
        let [first, second] =
            [[(CRM, false, 5), (Source::Rerouted, true, 0)], [(CRM, false, 8), (Source::Rerouted, false, 1)]];
        assert_eq!(format!("{:?}", header.progress), format!("{:?}", [(0, progress(first)), (3, progress(second))]));
        let (header, _) = cutter.cut(Boundary::Regular, &sources, None, WALL, now);
        assert!(header.progress.iter().all(|(_, progress)| progress.close.is_none()));
    }
}
