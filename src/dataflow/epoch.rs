//! Owns what travels through the graph: epochs of raw messages in, and what came of each epoch out.

use super::live_state::TenantFigures;
use super::state::RestoredShard;
use crate::codec::state::Records;
use crate::codec::{Encoding, Reject};
use crate::domain::alert::Alert;
use crate::domain::event::{Event, Topic};
use crate::domain::id::TenantId;
use crate::domain::norms::Norms;
use crate::domain::review::ReviewRequest;
use crate::domain::row::Row;
use crate::domain::shard_processor::{Counts, ShardProgress, Source};
use crate::domain::time::Timestamp;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A run of messages of one source partition, in one buffer.
#[derive(Debug)]
pub struct Batch {
    /// Which source it comes from.
    pub source: Source,
    /// Its partition: the shard that its tenants should belong to. `None`: any tenant may be in it (files).
    pub shard: Option<u32>,
    /// The topic's encoding, where a message says nothing else.
    pub encoding: Encoding,
    /// Keys and values of all messages.
    pub bytes: Vec<u8>,
    /// The messages, in order of their offsets.
    pub messages: Vec<Message>,
}

/// One message of a batch.
#[derive(Debug)]
pub struct Message {
    /// Its offset, or its place in the files.
    pub offset: i64,
    /// The type of its payload; `None`: told by the payload (JSON files).
    pub topic: Option<Topic>,
    /// Producer's time in milliseconds, where the source has one.
    pub timestamp: Option<i64>,
    /// Where its key stands.
    pub key: Option<Range<u32>>,
    /// Where its value stands; `None` is a tombstone.
    pub value: Option<Range<u32>>,
    /// Its headers, if it has any.
    pub headers: Option<Headers>,
}

/// The headers of a message, in order.
pub type Headers = Box<[(String, Option<Vec<u8>>)]>;

impl Batch {
    /// A run without messages.
    pub fn new(source: Source, shard: Option<u32>, encoding: Encoding) -> Self {
        Self { source, shard, encoding, bytes: Vec::new(), messages: Vec::new() }
    }

    /// Adds a message that has nothing but a value.
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

/// What one worker gets of an epoch: every worker gets one, if empty.
#[derive(Clone, Debug)]
pub struct WorkerInput {
    /// What all workers know of the epoch.
    pub head: Arc<EpochHeader>,
    /// The batches that this worker decodes.
    pub batches: Vec<Arc<Batch>>,
}

/// What all workers know of an epoch.
#[derive(Debug, Default)]
pub struct EpochHeader {
    /// The epoch's number: timely's timestamp.
    pub epoch: u64,
    /// The wall clock when it was closed.
    pub wall: Timestamp,
    /// What each assigned shard is told about time.
    pub progress: Vec<(u32, ShardProgress)>,
    /// The tide of the shards that are not listed (files: shards appear with their tenants).
    pub other_shards: Option<ShardProgress>,
    /// Shards that were taken away and are forgotten after this epoch.
    pub revoked: Vec<u32>,
    /// Norms that are in force from this epoch on; `None`: those from before.
    pub norms: Option<Arc<Norms>>,
    /// Shards that were rebuilt and begin with this epoch, for their workers to take.
    pub restored: Mutex<Vec<RestoredShard>>,
}

/// What goes from one operator to the next: decoded events of one shard, or news for every worker.
#[derive(Debug)]
pub enum EdgeMessage {
    /// Begins an epoch on one worker.
    Header(usize, Arc<EpochHeader>),
    /// Events of one shard out of one batch.
    Events {
        /// The shard.
        shard: u32,
        /// Where they come from.
        batch: Arc<Batch>,
        /// The events, each with the number of its message in the batch.
        events: Vec<(u32, Event)>,
    },
    /// Messages that could not be decoded, or found in a wrong partition.
    Refused(usize, Vec<RejectedMessage>, Vec<MisroutedMessage>),
    /// What the floor made of an epoch.
    Shards(Box<ShardOutput>),
    /// What the scoreboard made of it.
    Figures(Box<EpochOutput>),
}

/// A message that goes to the dead-letter topic.
#[derive(Debug)]
pub struct RejectedMessage {
    /// The batch that holds its bytes.
    pub batch: Arc<Batch>,
    /// Its number in the batch.
    pub message: u32,
    /// Why.
    pub reject: Reject,
}

/// A message whose tenant belongs to another partition.
#[derive(Debug)]
pub struct MisroutedMessage {
    /// The batch that holds its bytes.
    pub batch: Arc<Batch>,
    /// Its number in the batch.
    pub message: u32,
    /// The partition that it belongs to.
    pub shard: u32,
    /// The topic that it is of.
    pub topic: Topic,
}

/// What the floor of one worker made of an epoch.
#[derive(Debug, Default)]
pub struct ShardOutput {
    /// The effects of each tenant, with its shard.
    pub effects: Vec<(u32, crate::domain::shard_processor::Effects)>,
    /// Norms that are in force from this epoch on; `None`: those from before.
    pub norms: Option<Arc<Norms>>,
    /// Figures of shards that were rebuilt, and whether the norms have changed since.
    pub boards: Vec<(TenantId, TenantFigures, bool)>,
    /// Everything else.
    pub rest: EpochOutput,
}

/// What one worker made of an epoch.
#[derive(Debug, Default)]
pub struct EpochOutput {
    /// The epoch.
    pub epoch: u64,
    /// Shards that begin with this epoch, and the alerts that are open in them.
    pub adopted: Vec<(u32, Vec<Alert>)>,
    /// Alerts of each tenant in order.
    pub alerts: Vec<Alert>,
    /// Requests for reviews of each tenant in order.
    pub reviews: Vec<ReviewRequest>,
    /// Rows that are due.
    pub rows: Vec<Row>,
    /// Dead letters.
    pub refusals: Vec<RejectedMessage>,
    /// Messages to be sent to their right partition.
    pub misplaced: Vec<MisroutedMessage>,
    /// What is kept of each shard.
    pub state: Vec<(u32, Records)>,
    /// How far each shard is.
    pub shards: Vec<ShardStatus>,
    /// Shards that are forgotten after this epoch.
    pub revoked: Vec<u32>,
    /// The stream is over: these are its last rows.
    pub closing: bool,
}

impl EpochOutput {
    /// Adds what another worker made of the same epoch.
    pub(super) fn absorb(&mut self, other: Self) {
        self.epoch = other.epoch;
        self.adopted.extend(other.adopted);
        self.alerts.extend(other.alerts);
        self.reviews.extend(other.reviews);
        self.rows.extend(other.rows);
        self.refusals.extend(other.refusals);
        self.misplaced.extend(other.misplaced);
        self.state.extend(other.state);
        self.shards.extend(other.shards);
        if self.revoked.is_empty() {
            self.revoked = other.revoked;
        }
        self.closing |= other.closing;
    }

    /// Puts in order what goes out.
    pub fn sort(&mut self) {
        put_in_order(&mut self.alerts, &mut self.reviews, &mut self.rows);
    }
}

/// Puts alerts and requests in order of their instant, then tenant; of one tenant they stay in order of effect. Rows go
/// by tenant and subject. So the output is the same whatever the number of workers.
pub fn put_in_order(alerts: &mut [Alert], reviews: &mut [ReviewRequest], rows: &mut [Row]) {
    alerts.sort_by(|a, b| (a.at, &a.tenant).cmp(&(b.at, &b.tenant)));
    reviews.sort_by(|a, b| (a.requested_at, &a.tenant).cmp(&(b.requested_at, &b.tenant)));
    rows.sort_by(|a, b| (&a.tenant, &a.subject).cmp(&(&b.tenant, &b.subject)));
}

/// How far a shard is at the end of an epoch.
#[derive(Clone, Debug)]
pub struct ShardStatus {
    /// The shard.
    pub shard: u32,
    /// Up to where everything has been processed.
    pub watermark: Timestamp,
    /// Events that wait for the watermark.
    pub held: usize,
    /// The lowest offset of each source that is still held.
    pub lowest: Vec<(Source, i64)>,
    /// The sources that are to rest.
    pub paused: Vec<Source>,
    /// What happened to events in this epoch.
    pub counts: Counts,
    /// Applied events that it would be restored from.
    pub entries: u64,
    /// Something came in or went out: where the shard stands is to be kept. A watermark that nothing came of need not be.
    pub dirty: bool,
    /// The record of where it stands.
    pub checkpoint: Records,
}

/// Timely asks that what is exchanged could be written to bytes; between the threads of one process nothing ever is.
impl serde::Serialize for EdgeMessage {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("parcels never leave their process"))
    }
}

impl<'de> serde::Deserialize<'de> for EdgeMessage {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("parcels never leave their process"))
    }
}
