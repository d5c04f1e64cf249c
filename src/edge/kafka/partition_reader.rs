//! Owns the reading of one partition: a queue of its own, so that its end is told apart from that of other partitions,
//! and the batch that is being filled from it.

use super::group::{GroupContext, LastRead};
use super::native;
use super::source_topics::SourcePartition;
use crate::codec::Encoding;
use crate::dataflow::epoch::{Batch, Message};
use crate::domain::shard_processor::Source;
use rdkafka::Message as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// One partition that is read.
pub(super) struct PartitionReader {
    pub(super) place: SourcePartition,
    pub(super) topic: String,
    queue: PartitionQueue<GroupContext>,
    batch: Batch,
    /// The next offset to read, once it is known.
    pub(super) position: Option<i64>,
    /// The position that the commit thread knows.
    pub(super) reported: Option<i64>,
    /// Something came by its queue: what librdkafka calls the position is of this lane, not of one before.
    moved: bool,
    /// Read to its end: nothing came since the broker said so.
    at_end: bool,
    /// Since when nothing came.
    quiet: Instant,
    /// When its queue was last found empty.
    emptied: Instant,
    /// Where a run that is not endless stops.
    end: Option<i64>,
    /// For whoever tells how far behind it is.
    last: LastRead,
}

/// What one visit to a lane brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// There may be more.
    pub(super) more: bool,
    /// The broker said that this is the end.
    pub(super) end: bool,
}

impl PartitionReader {
    pub(super) fn new(
        place: SourcePartition,
        topic: &str,
        encoding: Encoding,
        queue: PartitionQueue<GroupContext>,
        committed: Option<i64>,
        last: LastRead,
    ) -> Self {
        let (shard, source) = place;
        let now = Instant::now();
        let batch = Batch::new(source, Some(shard), encoding);
        Self {
            place,
            topic: topic.into(),
            queue,
            batch,
            position: committed,
            reported: committed,
            moved: false,
            at_end: false,
            quiet: now,
            emptied: now,
            end: None,
            last,
        }
    }

    /// Takes up to `most` messages into the batch.
    pub(super) fn read(&mut self, most: usize, now: Instant) -> Result<Taken, KafkaError> {
        let mut taken = Taken::default();
        while taken.messages < most {
            if self.done() {
                return Ok(taken);
            }
            match self.queue.poll(Duration::ZERO) {
                None => {
                    self.emptied = now;
                    return Ok(taken);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    (self.at_end, self.moved) = (true, true);
                    taken.end = true;
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                Some(Err(error)) => {
                    // What of it is not for ever, librdkafka retries.
                    tracing::warn!("read {} partition {}: {error}", self.topic, self.place.0);
                }
                Some(Ok(message)) => {
                    (self.at_end, self.moved) = (false, true);
                    self.quiet = now;
                    let offset = message.offset();
                    if self.position.is_some_and(|position| offset < position) {
                        // librdkafka rests all partitions while a change of the assignment waits for its answer, and goes
                        // on behind the last message that it knows to be read: one that was on its way comes again.
                        continue;
                    }
                    if self.end.is_some_and(|end| offset >= end) {
                        self.position = self.end;
                        return Ok(taken);
                    }
                    self.position = Some(offset + 1);
                    let batch = &mut self.batch;
                    let before = batch.bytes.len();
                    let message = Message {
                        offset,
                        topic: match self.place.1 {
                            Source::Topic(topic) => Some(topic),
                            Source::Rerouted | Source::Files => None,
                        },
                        timestamp: message.timestamp().to_millis(),
                        key: message.key().map(|key| append(&mut batch.bytes, key)),
                        value: message.payload().map(|value| append(&mut batch.bytes, value)),
                        headers: native::headers(&message),
                    };
                    batch.messages.push(message);
                    taken.messages += 1;
                    taken.bytes += batch.bytes.len() - before;
                }
            }
        }
        taken.more = true;
        Ok(taken)
    }

    /// The batch, if there is anything in it.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let newest = self.batch.messages.last()?;
        if let Some(millis) = newest.timestamp {
            self.last.store(millis, Ordering::Relaxed);
        }
        let empty = Batch {
            source: self.batch.source,
            shard: self.batch.shard,
            encoding: self.batch.encoding,
            bytes: Vec::with_capacity(self.batch.bytes.len()),
            messages: Vec::with_capacity(self.batch.messages.len()),
        };
        Some(std::mem::replace(&mut self.batch, empty))
    }

    /// librdkafka's own position, which also passes over the markers of transactions.
    pub(super) fn reach(&mut self, position: i64) {
        if self.moved {
            self.advance(position);
        }
    }

    /// There is nothing before this offset. What was never committed begins there anyway: that is nothing to report.
    pub(super) fn begin_at(&mut self, low: i64) {
        let unknown = self.position.is_none();
        self.advance(low);
        if unknown {
            self.reported = self.position;
        }
    }

    fn advance(&mut self, position: i64) {
        let position = self.end.map_or(position, |end| position.min(end));
        self.position = self.position.max(Some(position));
    }

    /// Whether it stops holding the watermark back: read to its end and silent for long enough. A message that nobody
    /// had time to look at makes nobody idle: what counts is when the queue was last found empty.
    pub(super) fn idle(&self, after: Duration) -> bool {
        match self.end {
            Some(_) => self.done(),
            None => self.at_end && self.emptied.saturating_duration_since(self.quiet) >= after,
        }
    }

    /// Reads no further than `end`.
    pub(super) fn stop_at(&mut self, end: i64) {
        self.end = Some(end);
    }

    /// Whether it was read as far as it should be.
    pub(super) fn done(&self) -> bool {
        self.end.is_some_and(|end| self.position.unwrap_or(0) >= end)
    }

    /// Calls `wake` when something comes in after the queue was empty.
    pub(super) fn wake(&mut self, wake: impl Fn() + Send + Sync + 'static) {
        self.queue.set_nonempty_callback(wake);
    }
}

fn append(bytes: &mut Vec<u8>, part: &[u8]) -> Range<u32> {
    let start = bytes.len() as u32;
    bytes.extend_from_slice(part);
    start..bytes.len() as u32
}
