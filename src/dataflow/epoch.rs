//! Owns the data that flows through the graph: raw messages of an epoch as input, the results of the epoch as output.

use super::live_state::TenantFigures;
use super::state::RestoredShard;
use crate::codec::state::{Records, ShardRecord};
use crate::codec::{Encoding, Reject};
use crate::domain::alert::Alert;
use crate::domain::event::Event;
use crate::domain::figures::row::Row;
use crate::domain::id::TenantId;
use crate::domain::norms::Norms;
use crate::domain::review::ReviewRequest;
use crate::domain::shard::processor::{Counts, ShardProgress};
use crate::domain::source::{Source, Topic};
use crate::domain::time::Timestamp;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A batch of messages of one source partition, in one buffer.
#[derive(Debug)]
pub struct Batch {
    /// The source of the messages.
    pub source: Source,
    /// The partition: the shard that the tenants should belong to. `None` if messages of any tenant may occur (files).
    pub shard: Option<u32>,
    /// The encoding of the topic, used if a message does not specify its own.
    pub encoding: Encoding,
    /// The keys and values of all messages.
    pub bytes: Vec<u8>,
    /// The messages in offset order.
    pub messages: Vec<Message>,
}

/// One message of a batch.
#[derive(Debug)]
pub struct Message {
    /// The offset, or the position in the files.
    pub offset: i64,
    /// The topic; `None` if it is determined by the payload (JSON files).
    pub topic: Option<Topic>,
    /// The record timestamp in milliseconds, if the source has one.
    pub timestamp: Option<i64>,
    /// The range of the key in the buffer.
    pub key: Option<Range<u32>>,
    /// The range of the value in the buffer; `None` for a tombstone.
    pub value: Option<Range<u32>>,
    /// The headers, if there are any.
    pub headers: Option<Headers>,
}

/// The headers of a message, in order.
pub type Headers = Box<[(String, Option<Vec<u8>>)]>;

impl Batch {
    /// An empty batch.
    pub fn new(source: Source, shard: Option<u32>, encoding: Encoding) -> Self {
        Self { source, shard, encoding, bytes: Vec::new(), messages: Vec::new() }
    }

    /// Adds a message that has only a value.
    pub fn push(&mut self, offset: i64, topic: Option<Topic>, value: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        let value = Some(start..self.bytes.len() as u32);
        self.messages.push(Message { offset, topic, timestamp: None, key: None, value, headers: None });
    }

    /// The bytes of a key or value.
    pub fn slice(&self, range: &Option<Range<u32>>) -> Option<&[u8]> {
        let range = range.as_ref()?;
        self.bytes.get(range.start as usize..range.end as usize)
    }
}

/// The input of one worker for an epoch. Every worker gets one for every epoch, even without batches.
#[derive(Clone, Debug)]
pub struct WorkerInput {
    /// The header of the epoch.
    pub header: Arc<EpochHeader>,
    /// The batches that this worker decodes.
    pub batches: Vec<Arc<Batch>>,
}

/// The part of an epoch that all workers get.
#[derive(Debug, Default)]
pub struct EpochHeader {
    /// The number of the epoch: timely's timestamp.
    pub epoch: u64,
    /// The wall clock when the epoch was closed.
    pub wall: Timestamp,
    /// The progress of each assigned shard.
    pub progress: Vec<(u32, ShardProgress)>,
    /// The progress of all shards that are not listed. Used for files, where a shard appears with its first tenant.
    pub other_shards: Option<ShardProgress>,
    /// Revoked shards, dropped after this epoch.
    pub revoked: Vec<u32>,
    /// Norms in force from this epoch on; `None` if unchanged.
    pub norms: Option<Arc<Norms>>,
    /// Restored shards that start with this epoch; each worker takes its own.
    pub restored: Mutex<Vec<RestoredShard>>,
}

/// A message between two operators.
#[derive(Debug)]
pub enum EdgeMessage {
    /// The header of an epoch, on one worker.
    Header(usize, Arc<EpochHeader>),
    /// The events of one shard in one batch.
    Events {
        /// The shard.
        shard: u32,
        /// The batch of the messages.
        batch: Arc<Batch>,
        /// The events, each with the index of its message in the batch.
        events: Vec<(u32, Event)>,
    },
    /// Messages that could not be decoded, and messages found in the wrong partition.
    Rejected(usize, Vec<RejectedMessage>, Vec<MisroutedMessage>),
    /// The output of the `shard` operator for an epoch.
    Shards(Box<ShardOutput>),
    /// The output of the `figures` operator for an epoch.
    Figures(Box<EpochOutput>),
}

/// A message that goes to the dead-letter topic.
#[derive(Debug)]
pub struct RejectedMessage {
    /// The batch with its bytes.
    pub batch: Arc<Batch>,
    /// Its index in the batch.
    pub message: u32,
    /// The reason.
    pub reject: Reject,
}

/// A message whose tenant belongs to another partition.
#[derive(Debug)]
pub struct MisroutedMessage {
    /// The batch with its bytes.
    pub batch: Arc<Batch>,
    /// Its index in the batch.
    pub message: u32,
    /// The partition of its tenant.
    pub shard: u32,
    /// The topic of its payload.
    pub topic: Topic,
}

/// The output of the `shard` operator of one worker for an epoch.
#[derive(Debug, Default)]
pub struct ShardOutput {
    /// The effects on each tenant, with its shard.
    pub effects: Vec<(u32, crate::domain::shard::processor::Effects)>,
    /// Norms in force from this epoch on; `None` if unchanged.
    pub norms: Option<Arc<Norms>>,
    /// The figures of restored tenants, and whether the norms have changed since.
    pub figures: Vec<(TenantId, TenantFigures, bool)>,
    /// The remaining output.
    pub rest: EpochOutput,
}

/// The output of an epoch: of one worker, or merged.
#[derive(Debug, Default)]
pub struct EpochOutput {
    /// The number of the epoch.
    pub epoch: u64,
    /// Restored shards that start with this epoch, each with its open alerts.
    pub restored: Vec<(u32, Vec<Alert>)>,
    /// Alerts; those of one tenant are in order of effect.
    pub alerts: Vec<Alert>,
    /// Review requests; those of one tenant are in order of effect.
    pub reviews: Vec<ReviewRequest>,
    /// Metric rows.
    pub rows: Vec<Row>,
    /// Dead letters.
    pub rejected: Vec<RejectedMessage>,
    /// Messages to be rerouted to their right partition.
    pub misrouted: Vec<MisroutedMessage>,
    /// State records of each shard.
    pub state: Vec<(u32, Records)>,
    /// The status of each shard.
    pub shards: Vec<ShardStatus>,
    /// Revoked shards, dropped after this epoch.
    pub revoked: Vec<u32>,
    /// Whether the stream ends with this epoch; the rows are final then.
    pub closing: bool,
}

impl EpochOutput {
    /// Merges the output of another worker for the same epoch.
    pub(super) fn absorb(&mut self, other: Self) {
        self.epoch = other.epoch;
        self.restored.extend(other.restored);
        self.alerts.extend(other.alerts);
        self.reviews.extend(other.reviews);
        self.rows.extend(other.rows);
        self.rejected.extend(other.rejected);
        self.misrouted.extend(other.misrouted);
        self.state.extend(other.state);
        self.shards.extend(other.shards);
        if self.revoked.is_empty() {
            self.revoked = other.revoked;
        }
        self.closing |= other.closing;
    }

    /// Sorts alerts, review requests and rows; see [`put_in_order`].
    pub fn sort(&mut self) {
        put_in_order(&mut self.alerts, &mut self.reviews, &mut self.rows);
    }
}

/// Sorts alerts and review requests by instant and tenant; those of one tenant stay in order of effect. Sorts rows by
/// tenant and subject. This makes the output independent of the number of workers.
pub fn put_in_order(alerts: &mut [Alert], reviews: &mut [ReviewRequest], rows: &mut [Row]) {
    alerts.sort_by(|a, b| (a.at, &a.tenant).cmp(&(b.at, &b.tenant)));
    reviews.sort_by(|a, b| (a.requested_at, &a.tenant).cmp(&(b.requested_at, &b.tenant)));
    rows.sort_by(|a, b| (&a.tenant, &a.subject).cmp(&(&b.tenant, &b.subject)));
}

/// The status of a shard at the end of an epoch.
#[derive(Clone, Debug)]
pub struct ShardStatus {
    /// The shard.
    pub shard: u32,
    /// The watermark.
    pub watermark: Timestamp,
    /// The number of events that wait for the watermark.
    pub held: usize,
    /// The lowest held offset of each source.
    pub lowest: Vec<(Source, i64)>,
    /// The sources to pause.
    pub paused: Vec<Source>,
    /// Counters of the events of this epoch.
    pub counts: Counts,
    /// The number of stored applied events, from which the shard can be restored.
    pub entries: u64,
    /// Whether the shard had input or output in this epoch, so that its checkpoint must be written. An advance of the
    /// watermark alone need not be stored.
    pub dirty: bool,
    /// The shard record; the commit encodes it only if it is written. `None` if state is not durable.
    pub checkpoint: Option<ShardRecord>,
}

/// Required by timely's exchange. Messages between the threads of one process are never serialized.
impl serde::Serialize for EdgeMessage {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("messages never leave their process"))
    }
}

impl<'de> serde::Deserialize<'de> for EdgeMessage {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("messages never leave their process"))
    }
}
