//! Owns the data that enters and leaves the graph: batches of raw messages, and the output of an epoch.

use crate::codec::state::{Records, ShardRecord};
use crate::codec::{Encoding, Reject};
use crate::domain::alert::{Alert, AlertTaken};
use crate::domain::event::repair::Repair;
use crate::domain::figures::row::Row;
use crate::domain::id::{PipelineId, StageId, TenantId, shown};
use crate::domain::review::ReviewRequest;
use crate::domain::shard::admission::LimitsUsed;
use crate::domain::shard::processor::Counts;
use crate::domain::source::{Offset, ShardId, Source, Topic};
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A batch of messages of one source partition, in one buffer.
#[derive(Debug)]
pub struct Batch {
    /// The source of the messages.
    pub source: Source,
    /// The partition: the shard that the tenants should belong to. `None` if messages of any tenant may occur (files).
    pub shard: Option<ShardId>,
    /// The encoding of the topic, used if a message does not specify its own.
    pub encoding: Encoding,
    /// The keys and values of all messages.
    pub bytes: Vec<u8>,
    /// The messages in offset order.
    pub messages: Vec<Message>,
    /// What was added to the offsets of the topic.
    pub shift: i64,
    /// Batches of the source that cannot be read. Each has a message without a value at its first offset.
    pub unreadable: Vec<UnreadableBatch>,
}

/// A batch of a source partition that cannot be read: damaged, or larger than the consumer accepts when it is unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableBatch {
    /// Its first offset, or the first one that was not read before.
    pub first: Offset,
    /// Its last offset.
    pub last: Offset,
    /// The problem, without any content.
    pub problem: String,
}

/// One message of a batch.
#[derive(Debug)]
pub struct Message {
    /// The offset, or the position in the files.
    pub offset: Offset,
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

/// The header that newer serializers write instead of Schema Registry framing.
pub const SCHEMA_HEADER: &str = "__value_schema_id";
/// The header of a rerouted message that names its original topic.
pub const TOPIC_HEADER: &str = "funnelwatch-topic";

impl Message {
    /// The value of a header, by its name in any case; `None` also for a header without a value. The first of several
    /// counts: rerouting puts its own header before those of the message.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let headers = self.headers.as_deref().unwrap_or_default();
        headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_deref())
    }

    /// The value of the `content-type` header, the last of several.
    pub fn content_type(&self) -> Option<&[u8]> {
        let headers = self.headers.as_deref().unwrap_or_default();
        headers.iter().rfind(|(key, _)| key.eq_ignore_ascii_case("content-type"))?.1.as_deref()
    }
}

impl Batch {
    /// An empty batch.
    pub fn new(source: Source, shard: Option<ShardId>, encoding: Encoding) -> Self {
        Self { source, shard, encoding, bytes: Vec::new(), messages: Vec::new(), shift: 0, unreadable: Vec::new() }
    }

    /// Adds a message that has only a value.
    pub fn push(&mut self, offset: Offset, topic: Option<Topic>, value: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        let value = Some(start..self.bytes.len() as u32);
        self.messages.push(Message { offset, topic, timestamp: None, key: None, value, headers: None });
    }

    /// Adds a batch that cannot be read, in place of its messages.
    pub fn push_unreadable(&mut self, unreadable: UnreadableBatch) {
        let (topic, timestamp, key, value, headers) = Default::default();
        self.messages.push(Message { offset: unreadable.first, topic, timestamp, key, value, headers });
        self.unreadable.push(unreadable);
    }

    /// The batch that a message stands for, if it could not be read.
    pub fn unreadable(&self, message: &Message) -> Option<&UnreadableBatch> {
        self.unreadable.iter().find(|unreadable| unreadable.first == message.offset)
    }

    /// The offset of the message with this index.
    pub fn offset(&self, message: u32) -> Offset {
        self.messages.get(message as usize).map(|message| message.offset).unwrap_or_default()
    }

    /// The size of the key and value of the message with this index.
    pub fn message_bytes(&self, message: u32) -> usize {
        let length = |range: &Option<Range<u32>>| self.slice(range).map_or(0, <[u8]>::len);
        self.messages.get(message as usize).map_or(0, |message| length(&message.key) + length(&message.value))
    }

    /// The bytes of a key or value.
    pub fn slice(&self, range: &Option<Range<u32>>) -> Option<&[u8]> {
        let range = range.as_ref()?;
        self.bytes.get(range.start as usize..range.end as usize)
    }
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
    pub shard: ShardId,
    /// The topic of its payload.
    pub topic: Topic,
}

/// The output of an epoch: of one worker, or merged.
#[derive(Debug, Default)]
pub struct EpochOutput {
    /// The number of the epoch.
    pub epoch: u64,
    /// Restored shards that start with this epoch, each with its open alerts.
    pub restored: Vec<(ShardId, Vec<Alert>)>,
    /// Alerts; those of one tenant are in order of effect.
    pub alerts: Vec<Alert>,
    /// Who takes care of alerts; those of one tenant are in order of effect.
    pub taken: Vec<AlertTaken>,
    /// Review requests; those of one tenant are in order of effect.
    pub reviews: Vec<ReviewRequest>,
    /// Metric rows.
    pub rows: Vec<Row>,
    /// Stages that entities entered and that no pipeline lists: each once a day.
    pub unlisted: Vec<UnlistedStage>,
    /// Dead letters.
    pub rejected: Vec<RejectedMessage>,
    /// Events with repairs, by reason.
    pub repaired: BTreeMap<Repair, u64>,
    /// Messages to be rerouted to their right partition.
    pub misrouted: Vec<MisroutedMessage>,
    /// State records of each shard.
    pub state: Vec<(ShardId, Records)>,
    /// The status of each shard.
    pub shards: Vec<ShardStatus>,
    /// Revoked shards, dropped after this epoch.
    pub revoked: Vec<ShardId>,
    /// Whether the stream ends with this epoch; the rows are final then.
    pub closing: bool,
}

impl EpochOutput {
    /// Merges the output of another worker for the same epoch.
    pub(super) fn absorb(&mut self, other: Self) {
        self.epoch = other.epoch;
        self.restored.extend(other.restored);
        self.alerts.extend(other.alerts);
        self.taken.extend(other.taken);
        self.reviews.extend(other.reviews);
        self.rows.extend(other.rows);
        self.unlisted.extend(other.unlisted);
        self.rejected.extend(other.rejected);
        for (repair, n) in other.repaired {
            *self.repaired.entry(repair).or_default() += n;
        }
        self.misrouted.extend(other.misrouted);
        self.state.extend(other.state);
        self.shards.extend(other.shards);
        if self.revoked.is_empty() {
            self.revoked = other.revoked;
        }
        self.closing |= other.closing;
    }

    /// Sorts alerts and review requests by instant and tenant; those of one tenant stay in order of effect. Sorts rows by
    /// tenant and subject. This makes the output independent of the number of workers.
    pub fn sort(&mut self) {
        self.alerts.sort_by(|a, b| (a.at, &a.tenant).cmp(&(b.at, &b.tenant)));
        self.reviews.sort_by(|a, b| (a.requested_at, &a.tenant).cmp(&(b.requested_at, &b.tenant)));
        self.rows.sort_by(|a, b| (&a.tenant, &a.subject).cmp(&(&b.tenant, &b.subject)));
    }
}

/// A stage that an entity entered and that no pipeline of the norms lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnlistedStage {
    /// The beginning of the day (UTC) on which it was entered.
    pub day: Timestamp,
    /// The tenant.
    pub tenant: TenantId,
    /// The pipeline of the entity, `unknown` if it has none.
    pub pipeline: PipelineId,
    /// The stage.
    pub stage: StageId,
}

/// As logged.
impl fmt::Display for UnlistedStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.day.to_string();
        let day = day.split('T').next().unwrap_or_default();
        let [tenant, pipeline, stage] = [self.tenant.as_str(), self.pipeline.as_str(), self.stage.as_str()].map(shown);
        write!(f, "{day}, {tenant}: no pipeline lists stage `{stage}` of pipeline `{pipeline}`: it is not judged")
    }
}

/// The status of a shard at the end of an epoch.
#[derive(Clone, Debug)]
pub struct ShardStatus {
    /// The shard.
    pub shard: ShardId,
    /// The lowest watermark of its tenants; `MIN` if there are none.
    pub watermark: Timestamp,
    /// The number of events that wait for the watermark of their tenant.
    pub held: usize,
    /// The lowest held offset of each source.
    pub lowest: Vec<(Source, Offset)>,
    /// The sources to pause.
    pub paused: Vec<Source>,
    /// Counters of the events of this epoch.
    pub counts: Counts,
    /// How much of each limit is used.
    pub limits_used: LimitsUsed,
    /// The number of stored applied events, from which the shard can be restored.
    pub entries: u64,
    /// Whether the shard had input or output in this epoch, so that its checkpoint must be written. An advance of the
    /// watermark alone need not be stored.
    pub dirty: bool,
    /// The shard record; the commit encodes it only if it is written. `None` if state is not durable.
    pub checkpoint: Option<ShardRecord>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_content_type_counts_and_the_first_of_other_headers() {
        let content_type = |headers: &[(&str, Option<&str>)]| {
            let headers = headers.iter().map(|(name, value)| ((*name).into(), value.map(|value| value.into())));
            let headers = Some(headers.collect());
            let message = Message { offset: Offset(0), topic: None, timestamp: None, key: None, value: None, headers };
            let text = |value: Option<&[u8]>| value.map(|value| String::from_utf8(value.to_vec()).expect("UTF-8"));
            (text(message.content_type()), text(message.header("trace")))
        };
        let (json, text) = (Some("application/json"), Some("text/plain"));
        assert_eq!(content_type(&[]), (None, None));
        assert_eq!(content_type(&[("content-type", text), ("Content-Type", json)]).0.as_deref(), json);
        assert_eq!(content_type(&[("CONTENT-TYPE", json), ("trace", Some("1"))]).0.as_deref(), json);
        assert_eq!(content_type(&[("content-type", json), ("content-type", None)]).0, None);
        assert_eq!(content_type(&[("trace", Some("1")), ("trace", Some("2"))]).1.as_deref(), Some("1"));
    }
}
