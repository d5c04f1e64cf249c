//! Owns the partitions that are read. Each has its own queue, so that its end can be distinguished from that of other
//! partitions, and a batch that is filled from it. They are polled in turn.

use super::epoch_cutter::{EpochCutter, SourceState};
use super::unreadable::Search;
use crate::codec::Encoding;
use crate::codec::state::SourceLog;
use crate::dataflow::epoch::{Batch, Message, UnreadableBatch};
use crate::domain::source::{Offset, ShardId, Source};
use crate::edge::kafka::client::is_permanent;
use crate::edge::kafka::group::{GroupContext, Silent, Tracked};
use crate::edge::kafka::native;
use crate::edge::kafka::source_logs::Start;
use crate::edge::kafka::source_topics::SourcePartition;
use rdkafka::Message as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Messages taken from one partition before the next one is polled.
const READ_BATCH: usize = 256;

/// The partitions of all shards that are read.
pub(super) struct PartitionReaders {
    /// How long a tenant must be silent in a topic until the topic holds its watermark back no longer.
    idle_after: Duration,
    /// In order of their shards.
    pub(super) list: Vec<PartitionReader>,
    /// The reader that is polled first.
    next: usize,
    /// Partitions that wait until the other sources of their shard have caught up.
    pub(super) paused: BTreeSet<SourcePartition>,
}

impl PartitionReaders {
    pub(super) fn new(idle_after: Duration) -> Self {
        Self { idle_after, list: Vec::new(), next: 0, paused: BTreeSet::new() }
    }

    /// The shards that are read.
    pub(super) fn shards(&self) -> BTreeSet<ShardId> {
        self.list.iter().map(|reader| reader.partition.0).collect()
    }

    /// Adds the readers of a shard.
    pub(super) fn open(&mut self, readers: Vec<PartitionReader>) {
        self.list.extend(readers);
        self.list.sort_by_key(|reader| reader.partition.0);
    }

    /// Removes the readers of some shards.
    pub(super) fn close(&mut self, shards: &BTreeSet<ShardId>) {
        self.list.retain(|reader| !shards.contains(&reader.partition.0));
    }

    /// Reads the available messages, partition by partition, until the open epoch is full or old. Returns whether there
    /// may be more, and whether the end of a partition was reached.
    pub(super) fn read(&mut self, cutter: &mut EpochCutter) -> Result<(bool, bool), KafkaError> {
        let (mut more, mut at_end) = (true, false);
        while more && !cutter.is_full() {
            more = false;
            let now = Instant::now();
            for step in 0..self.list.len() {
                let ix = (self.next + step) % self.list.len();
                let reader = &mut self.list[ix];
                if self.paused.contains(&reader.partition) {
                    continue;
                }
                let polled = reader.read(READ_BATCH.min(cutter.free()), now)?;
                cutter.add(polled.messages, polled.bytes, now);
                more |= polled.more;
                at_end |= polled.at_end;
                if cutter.is_full() {
                    self.next = ix + 1;
                    break;
                }
            }
            // A stream that never runs dry must not keep the epoch open.
            more &= !cutter.is_old(Instant::now());
        }
        Ok((more || cutter.is_full(), at_end))
    }

    /// Advances the readers to librdkafka's positions, which are past transaction markers.
    pub(super) fn update_positions(&mut self, positions: &BTreeMap<SourcePartition, Offset>) {
        for reader in &mut self.list {
            if let Some(position) = positions.get(&reader.partition) {
                reader.update_position(*position);
            }
        }
    }

    /// The states at the end of an epoch, and the batches of each worker.
    pub(super) fn take_epoch(
        &mut self,
        workers: usize,
        unreachable: &BTreeSet<(String, i32)>,
    ) -> (Vec<SourceState>, Vec<Vec<Arc<Batch>>>) {
        let mut batches = vec![Vec::new(); workers];
        let states = self.list.iter_mut().map(|reader| {
            let shard = reader.partition.0;
            let reachable = unreachable.is_empty() || !unreachable.contains(&(reader.topic.clone(), shard.partition()));
            batches[shard.0 as usize % workers].extend(reader.take_batch().map(Arc::new));
            reader.report(self.idle_after, reachable)
        });
        (states.collect(), batches)
    }
}

/// One partition that is read.
pub(super) struct PartitionReader {
    pub(super) partition: SourcePartition,
    pub(super) topic: String,
    queue: PartitionQueue<GroupContext>,
    batch: Batch,
    /// The next offset to read, once it is known.
    pub(super) position: Option<Offset>,
    /// The first offset that was not used when the reader was opened.
    unused: Offset,
    /// The log that the offsets are in.
    pub(super) log: SourceLog,
    /// The position that was sent to the commit thread.
    reported: Option<Offset>,
    /// The queue returned something: librdkafka's position belongs to this reader, not to a previous one.
    has_polled: bool,
    /// The last poll returned the end of the partition.
    at_end: bool,
    /// When its queue was last found empty.
    last_empty: Instant,
    /// Where a bounded run stops.
    end: Option<Offset>,
    /// When everything was read that the partition contained.
    caught_up: Option<Instant>,
    tracked: Arc<Tracked>,
    /// What is read at the position, while it is not messages.
    pub(super) obstacle: Option<Obstacle>,
}

/// What a partition has at the position instead of messages.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// Nothing: the log begins later or ends before.
    OutOfRange,
    /// A batch that cannot be read.
    Unreadable,
    /// A batch that cannot be read, whose end is searched since the last seek at this instant.
    Sought(Search, Instant),
}

/// What one call of [`PartitionReader::read`] read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Polled {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// There may be more.
    pub(super) more: bool,
    /// The end of the partition was reached.
    pub(super) at_end: bool,
}

impl PartitionReader {
    pub(super) fn new(
        partition: SourcePartition,
        topic: &str,
        encoding: Encoding,
        queue: PartitionQueue<GroupContext>,
        start: Start,
        tracked: Arc<Tracked>,
    ) -> Self {
        let (shard, source) = partition;
        let now = Instant::now();
        let batch = Batch { shift: start.log.shift, ..Batch::new(source, Some(shard), encoding) };
        Self {
            partition,
            topic: topic.into(),
            queue,
            batch,
            position: start.next,
            reported: start.next,
            unused: start.unused,
            log: start.log,
            has_polled: false,
            at_end: false,
            last_empty: now,
            end: None,
            caught_up: None,
            tracked,
            obstacle: None,
        }
    }

    /// Reads up to `max` messages into the batch.
    pub(super) fn read(&mut self, max: usize, now: Instant) -> Result<Polled, KafkaError> {
        let mut polled = Polled::default();
        while polled.messages < max {
            if self.is_done() || self.obstacle.is_some() {
                return Ok(polled);
            }
            match self.queue.poll(Duration::ZERO) {
                None => {
                    self.last_empty = now;
                    return Ok(polled);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    (self.at_end, self.has_polled) = (true, true);
                    polled.at_end = true;
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                Some(Err(error)) if is_permanent(&error) => {
                    tracing::error!("read {}: the right Read on the topic is missing", self.topic);
                    return Err(error);
                }
                Some(Err(error)) => {
                    // librdkafka retries unless the error is permanent.
                    tracing::warn!("read {} partition {}: {error}", self.topic, self.partition.0);
                    self.obstacle = match error.rdkafka_error_code() {
                        Some(RDKafkaErrorCode::AutoOffsetReset) => Some(Obstacle::OutOfRange),
                        Some(code) if native::is_unreadable(code) => Some(Obstacle::Unreadable),
                        _ => None,
                    };
                    if self.obstacle.is_some() {
                        // librdkafka's position means nothing until something was polled again.
                        (self.at_end, self.has_polled) = (false, false);
                    }
                }
                Some(Ok(message)) => {
                    (self.at_end, self.has_polled) = (false, true);
                    let offset = Offset(message.offset() + self.log.shift);
                    if self.position.is_some_and(|position| offset < position) {
                        // librdkafka pauses all partitions until a rebalance is answered, then resumes after the last
                        // message that it knows was consumed: messages in between are delivered again.
                        continue;
                    }
                    if self.end.is_some_and(|end| offset >= end) {
                        self.position = self.end;
                        return Ok(polled);
                    }
                    self.position = Some(offset.next());
                    let batch = &mut self.batch;
                    let before = batch.bytes.len();
                    let message = Message {
                        offset,
                        topic: match self.partition.1 {
                            Source::Topic(topic) => Some(topic),
                            Source::Rerouted | Source::Files => None,
                        },
                        timestamp: message.timestamp().to_millis(),
                        key: message.key().map(|key| append(&mut batch.bytes, key)),
                        value: message.payload().map(|value| append(&mut batch.bytes, value)),
                        headers: native::headers(&message),
                    };
                    batch.messages.push(message);
                    polled.messages += 1;
                    polled.bytes += batch.bytes.len() - before;
                }
            }
        }
        polled.more = true;
        Ok(polled)
    }

    /// Takes the batch, unless it is empty.
    pub(super) fn take_batch(&mut self) -> Option<Batch> {
        let newest = self.batch.messages.last()?;
        if let Some(millis) = newest.timestamp {
            self.tracked.last_read.store(millis, Ordering::Relaxed);
        }
        let empty = Batch {
            source: self.batch.source,
            shard: self.batch.shard,
            encoding: self.batch.encoding,
            bytes: Vec::with_capacity(self.batch.bytes.len()),
            messages: Vec::with_capacity(self.batch.messages.len()),
            shift: self.batch.shift,
            unreadable: Vec::new(),
        };
        Some(std::mem::replace(&mut self.batch, empty))
    }

    /// The offset of the topic at which librdkafka reads, or is to read.
    pub(super) fn fetch_position(&self) -> Option<Offset> {
        match &self.obstacle {
            Some(Obstacle::Sought(search, _)) => Some(search.sought),
            _ => self.position.map(|position| Offset(position.0 - self.log.shift)),
        }
    }

    /// Whether the log does not have the next offset.
    pub(super) fn is_out_of_range(&self) -> bool {
        matches!(self.obstacle, Some(Obstacle::OutOfRange))
    }

    /// Where reading goes on if it starts again.
    pub(super) fn start(&self) -> Start {
        Start { next: self.position, unused: self.unused.max(self.position.unwrap_or_default()), log: self.log }
    }

    /// Goes on reading somewhere else. Nothing must have been read since the last epoch.
    pub(super) fn start_again(&mut self, start: Start) {
        (self.position, self.unused, self.log) = (start.next, start.unused, start.log);
        self.batch.shift = start.log.shift;
        self.obstacle = None;
    }

    /// Whether there are messages that were not sent to the workers.
    pub(super) fn has_messages(&self) -> bool {
        !self.batch.messages.is_empty()
    }

    /// Puts a rejected message in the place of a batch that cannot be read, given with offsets of the topic. Reading goes
    /// on behind it, at the returned offset of the topic.
    pub(super) fn skip(&mut self, UnreadableBatch { first, last, problem }: UnreadableBatch) -> Offset {
        let shifted = |offset: Offset| Offset(offset.0 + self.log.shift);
        let unreadable = UnreadableBatch { first: shifted(first), last: shifted(last), problem };
        self.position = Some(unreadable.last.next());
        self.batch.push_unreadable(unreadable);
        self.obstacle = None;
        last.next()
    }

    /// Advances to librdkafka's position in the topic, which is past transaction markers.
    pub(super) fn update_position(&mut self, position: Offset) {
        if self.has_polled {
            self.advance(position);
        }
    }

    /// Skips to the start offset of the partition in the topic. A partition without a committed offset starts there anyway: then
    /// there is no move to report.
    pub(super) fn start_at(&mut self, start: Offset) {
        let is_unknown = self.position.is_none();
        self.advance(start);
        if is_unknown {
            self.reported = self.position;
        }
    }

    fn advance(&mut self, position: Offset) {
        let position = Offset(position.0 + self.log.shift);
        let position = self.end.map_or(position, |end| position.min(end));
        self.position = self.position.max(Some(position));
    }

    /// The state at the end of an epoch; `reachable`: its leader is. The position counts as reported from now on.
    pub(super) fn report(&mut self, idle_after: Duration, reachable: bool) -> SourceState {
        let moved = self.position != self.reported;
        self.reported = self.position;
        let (ended, current) = (self.is_done(), self.is_current(idle_after) && reachable);
        SourceState { partition: self.partition, current, ended, position: self.position, moved }
    }

    /// Whether everything was read that it contained so long ago. Counts up to the high watermark: messages of a
    /// transaction that is still open will be read only when it ends. While the leader does not answer, nobody knows; and
    /// what was found before it answered again says nothing about the time in between.
    fn is_current(&mut self, after: Duration) -> bool {
        let now = Instant::now();
        let position = self.position.map(|position| position.0 - self.log.shift);
        let end_seen = self.at_end.then_some(self.last_empty);
        match self.tracked.caught_up(position, end_seen, now) {
            Ok(caught_up) => self.caught_up = self.caught_up.max(caught_up),
            Err(Silent) => return false,
        }
        self.caught_up.is_some_and(|caught_up| now.saturating_duration_since(caught_up) <= after)
    }

    /// Stops reading before the offset `end` of the topic.
    pub(super) fn stop_at(&mut self, end: Offset) {
        self.end = Some(Offset(end.0 + self.log.shift));
    }

    /// Whether it has reached the end set by [`Self::stop_at`].
    pub(super) fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.position.unwrap_or_default() >= end)
    }
}

fn append(bytes: &mut Vec<u8>, part: &[u8]) -> Range<u32> {
    let start = bytes.len() as u32;
    bytes.extend_from_slice(part);
    start..bytes.len() as u32
}
