//! Owns the reading of one partition: its own queue, so that its end can be distinguished from that of other
//! partitions, and the batch that is filled from it.

use super::group::{GroupContext, LastRead};
use super::native;
use super::source_topics::SourcePartition;
use crate::codec::Encoding;
use crate::dataflow::epoch::{Batch, Message};
use crate::domain::source::Source;
use rdkafka::Message as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// One partition that is read.
pub(super) struct PartitionReader {
    pub(super) partition: SourcePartition,
    pub(super) topic: String,
    queue: PartitionQueue<GroupContext>,
    batch: Batch,
    /// The next offset to read, once it is known.
    pub(super) position: Option<i64>,
    /// The position that was sent to the commit thread.
    pub(super) reported: Option<i64>,
    /// The queue returned something: librdkafka's position belongs to this reader, not to a previous one.
    has_polled: bool,
    /// The last poll returned the end of the partition.
    at_end: bool,
    /// When the last message was read.
    last_message: Instant,
    /// When its queue was last found empty.
    last_empty: Instant,
    /// Where a bounded run stops.
    end: Option<i64>,
    /// For the lag report.
    last_read: LastRead,
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
        committed: Option<i64>,
        last_read: LastRead,
    ) -> Self {
        let (shard, source) = partition;
        let now = Instant::now();
        let batch = Batch::new(source, Some(shard), encoding);
        Self {
            partition,
            topic: topic.into(),
            queue,
            batch,
            position: committed,
            reported: committed,
            has_polled: false,
            at_end: false,
            last_message: now,
            last_empty: now,
            end: None,
            last_read,
        }
    }

    /// Reads up to `max` messages into the batch.
    pub(super) fn read(&mut self, max: usize, now: Instant) -> Result<Polled, KafkaError> {
        let mut polled = Polled::default();
        while polled.messages < max {
            if self.is_done() {
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
                Some(Err(error)) => {
                    // librdkafka retries unless the error is permanent.
                    tracing::warn!("read {} partition {}: {error}", self.topic, self.partition.0);
                }
                Some(Ok(message)) => {
                    (self.at_end, self.has_polled) = (false, true);
                    self.last_message = now;
                    let offset = message.offset();
                    if self.position.is_some_and(|position| offset < position) {
                        // librdkafka pauses all partitions until a rebalance is answered, then resumes after the last
                        // message that it knows was consumed: messages in between are delivered again.
                        continue;
                    }
                    if self.end.is_some_and(|end| offset >= end) {
                        self.position = self.end;
                        return Ok(polled);
                    }
                    self.position = Some(offset + 1);
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
            self.last_read.store(millis, Ordering::Relaxed);
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

    /// Advances to librdkafka's position, which is past transaction markers.
    pub(super) fn update_position(&mut self, position: i64) {
        if self.has_polled {
            self.advance(position);
        }
    }

    /// Skips to the start offset of the partition. A partition without a committed offset starts there anyway: then
    /// there is no move to report.
    pub(super) fn start_at(&mut self, start: i64) {
        let is_unknown = self.position.is_none();
        self.advance(start);
        if is_unknown {
            self.reported = self.position;
        }
    }

    fn advance(&mut self, position: i64) {
        let position = self.end.map_or(position, |end| position.min(end));
        self.position = self.position.max(Some(position));
    }

    /// Whether it no longer holds the watermark back: read to its end, and no message for long enough. A partition with
    /// unread messages must not count as idle, so the time is measured up to when the queue was last found empty.
    pub(super) fn is_idle(&self, after: Duration) -> bool {
        match self.end {
            Some(_) => self.is_done(),
            None => self.at_end && self.last_empty.saturating_duration_since(self.last_message) >= after,
        }
    }

    /// Stops reading before the offset `end`.
    pub(super) fn stop_at(&mut self, end: i64) {
        self.end = Some(end);
    }

    /// Whether it has reached the end set by [`Self::stop_at`].
    pub(super) fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.position.unwrap_or(0) >= end)
    }

    /// Calls `wake` when the queue is no longer empty.
    pub(super) fn on_nonempty(&mut self, wake: impl Fn() + Send + Sync + 'static) {
        self.queue.set_nonempty_callback(wake);
    }
}

fn append(bytes: &mut Vec<u8>, part: &[u8]) -> Range<u32> {
    let start = bytes.len() as u32;
    bytes.extend_from_slice(part);
    start..bytes.len() as u32
}
