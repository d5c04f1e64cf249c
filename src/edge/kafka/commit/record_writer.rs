//! Owns the output records: their topics, keys, headers and bytes. Promises that the same epoch always gives the same
//! records, so that an aborted transaction can be retried, and that none is larger than its topic takes.
//!
//! The bounds on events (`codec::limits`) keep alerts, review requests and state records small. Rows name fewer stages and
//! currencies until they fit. Dead letters and rerouted messages contain foreign headers and keys: what does not fit is
//! left out, and a dead letter says so.

use crate::codec::state::Records;
use crate::codec::{Encoding, json, protobuf};
use crate::config::{Config, Topics};
use crate::dataflow::epoch::{
    Batch, EpochOutput, Message, MisroutedMessage, RejectedMessage, SCHEMA_HEADER, TOPIC_HEADER,
};
use crate::domain::alert::Alert;
use crate::domain::figures::row::Row;
use crate::domain::figures::table::MAX_STAGES;
use crate::domain::review::ReviewRequest;
use crate::domain::rule::message::{self, Language};
use crate::domain::shard::partitioner;
use crate::domain::source::{Offset, ShardId, Source};
use crate::domain::time::Timestamp;
use crate::edge::kafka::restore::open_alerts::OpenAlertsRepair;
use crate::edge::kafka::source_topics::SourceTopics;
use rdkafka::message::{Header, OwnedHeaders};

/// One record.
#[derive(Debug, Default)]
pub(crate) struct OutputRecord<'a> {
    pub(crate) topic: &'a str,
    /// `None`: chosen by the partitioner from the key.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Option<OwnedHeaders>,
}

/// Header of a dead letter whose value was truncated because it is too large for the topic: the original length.
const TRUNCATED_HEADER: &str = "funnelwatch-truncated";
/// Header of a dead letter whose key was truncated: the original length.
const TRUNCATED_KEY_HEADER: &str = "funnelwatch-truncated-key";
/// Header of a dead letter that lacks original headers that are too large: their number.
const HEADERS_LEFT_OUT_HEADER: &str = "funnelwatch-headers-left-out";
/// Header of a dead letter for a batch that cannot be read: its last offset.
const LAST_OFFSET_HEADER: &str = "funnelwatch-last-offset";
/// Header of a dead letter that was rerouted before: the original source topic.
const REROUTED_FROM_HEADER: &str = "funnelwatch-rerouted-from";

/// Builds records.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    topics: Topics,
    sources: SourceTopics,
    shards: u32,
    language: Language,
    encoding: OutputEncoding,
    /// The size of the largest record, with its framing.
    record_bytes: usize,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// The functions of an encoding.
#[derive(Clone, Copy, Debug)]
struct OutputEncoding {
    alert: fn(&Alert, &str, &mut Vec<u8>),
    review: fn(&ReviewRequest, &mut Vec<u8>),
    row: fn(&Row, &mut Vec<u8>),
    content_type: &'static str,
}

impl From<Encoding> for OutputEncoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Json | Encoding::ConfluentJson => Self {
                alert: json::encode_alert,
                review: json::encode_review,
                row: json::encode_row,
                content_type: Encoding::Json.content_type(),
            },
            Encoding::Protobuf | Encoding::ConfluentProtobuf => Self {
                alert: protobuf::encode_alert,
                review: protobuf::encode_review,
                row: protobuf::encode_row,
                content_type: Encoding::Protobuf.content_type(),
            },
        }
    }
}

impl RecordWriter {
    /// A writer for topics of which those with shards have this number of partitions, and all take records of this size.
    pub(crate) fn new(config: &Config, shards: u32, record_bytes: usize) -> Self {
        let (topics, sources) = (config.topics.clone(), SourceTopics::of(&config.topics));
        let (encoding, key, value) = (topics.output.into(), Vec::new(), Vec::new());
        Self { topics, sources, shards, language: config.language, encoding, record_bytes, key, value }
    }

    /// Passes the records of an epoch that was closed at `wall`, except its rows, to `send`; stops at the first error.
    pub(crate) fn write<E>(
        &mut self,
        output: &EpochOutput,
        wall: Timestamp,
        mut send: impl FnMut(OutputRecord<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        output.alerts.iter().try_for_each(|alert| self.alert(alert, &mut send))?;
        output.reviews.iter().try_for_each(|request| send(self.review(request)))?;
        output.rejected.iter().filter_map(|rejected| self.dead_letter(rejected, wall)).try_for_each(&mut send)?;
        output.misrouted.iter().filter_map(|misrouted| self.reroute(misrouted)).try_for_each(&mut send)?;
        output.state.iter().flat_map(|(shard, records)| self.state(*shard, records)).try_for_each(&mut send)
    }

    /// The state records of a shard.
    pub(crate) fn state<'a>(&'a self, shard: ShardId, records: &'a Records) -> impl Iterator<Item = OutputRecord<'a>> {
        let (topic, partition) = (self.topics.state.as_str(), Some(shard.partition()));
        let record = move |(key, value)| OutputRecord { topic, partition, key: Some(key), value, ..Default::default() };
        records.iter().map(record)
    }

    /// The records that bring the topic of open alerts in line with restored state.
    pub(crate) fn repair<E>(
        &mut self,
        repair: &OpenAlertsRepair,
        mut send: impl FnMut(OutputRecord<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let partition = Some(repair.shard.partition());
        for key in &repair.surplus {
            send(OutputRecord { partition, ..tombstone(&self.topics.open_alerts, key) })?;
        }
        for alert in &repair.missing {
            self.encode_alert(alert);
            send(OutputRecord { partition, ..self.encoded(&self.topics.open_alerts, alert_headers(alert)) })?;
        }
        Ok(())
    }

    /// The record of a status, and what it changes in the topic of open alerts.
    fn alert<E>(&mut self, alert: &Alert, send: &mut impl FnMut(OutputRecord<'_>) -> Result<(), E>) -> Result<(), E> {
        self.encode_alert(alert);
        send(self.encoded(&self.topics.alerts, alert_headers(alert)))?;
        let topic = &self.topics.open_alerts;
        let record = match alert.status.is_open() {
            Some(true) => self.encoded(topic, alert_headers(alert)),
            Some(false) => tombstone(topic, &self.key),
            None => return Ok(()),
        };
        let shard = partitioner::shard(alert.tenant.as_str(), self.shards);
        send(OutputRecord { partition: Some(shard.partition()), ..record })
    }

    /// Encodes an alert as the current key and value.
    fn encode_alert(&mut self, alert: &Alert) {
        self.value.clear();
        (self.encoding.alert)(alert, &message::of(alert, self.language), &mut self.value);
        self.key.clear();
        self.key.extend(alert.id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).bytes());
    }

    fn review(&mut self, request: &ReviewRequest) -> OutputRecord<'_> {
        self.value.clear();
        (self.encoding.review)(request, &mut self.value);
        self.key.clear();
        self.key.extend(request.interaction.bytes());
        let headers = OwnedHeaders::new_with_capacity(2).insert(text("tenant", request.tenant.as_str()));
        self.encoded(&self.topics.reviews, headers)
    }

    /// The record of a row; a tombstone if its subject was forgotten, or its period is long over.
    pub(crate) fn row(&mut self, row: &Row) -> OutputRecord<'_> {
        self.key.clear();
        self.key.extend(format!("{}/{}/{}", row.tenant, row.subject, row.figures.window()).bytes());
        if row.is_tombstone() {
            return tombstone(&self.topics.metrics, &self.key);
        }
        self.value.clear();
        (self.encoding.row)(row, &mut self.value);
        let mut named = MAX_STAGES;
        while named > 0 && self.value.len() + self.key.len() + FRAMING > self.record_bytes {
            named /= 2;
            self.value.clear();
            (self.encoding.row)(&row.shortened(named), &mut self.value);
        }
        self.encoded(&self.topics.metrics, OwnedHeaders::new_with_capacity(1))
    }

    /// The record of the current key and value.
    fn encoded<'a>(&'a self, topic: &'a str, headers: OwnedHeaders) -> OutputRecord<'a> {
        let headers = Some(headers.insert(text("content-type", self.encoding.content_type)));
        OutputRecord { topic, key: Some(&self.key), value: Some(&self.value), headers, ..OutputRecord::default() }
    }

    /// The original message with headers for its origin and the rejection reason. Its own headers and its key take at
    /// most a quarter of the record each.
    fn dead_letter<'a>(&'a self, rejected: &'a RejectedMessage, wall: Timestamp) -> Option<OutputRecord<'a>> {
        let batch = &*rejected.batch;
        let message = batch.messages.get(rejected.message as usize)?;
        let quarter = self.record_bytes / 4;
        let (mut headers, mut left_out) = (Headers::default(), 0);
        for (name, value) in message.headers.as_deref().unwrap_or_default() {
            let name = if is_rerouting_header(batch, name) { REROUTED_FROM_HEADER } else { name };
            if headers.bytes + header_bytes(name, value.as_deref()) > quarter {
                left_out += 1;
            } else {
                headers.add(name, value.as_deref());
            }
        }
        let shard = batch.shard.unwrap_or_default();
        // As in the topic.
        let offset = |offset: Offset| (offset.0 - batch.shift).to_string();
        headers.add("funnelwatch-topic", Some(self.sources.name(batch.source).as_bytes()));
        headers.add("funnelwatch-partition", Some(shard.to_string().as_bytes()));
        headers.add("funnelwatch-offset", Some(offset(message.offset).as_bytes()));
        if let Some(unreadable) = batch.unreadable(message).filter(|_| message.value.is_none()) {
            headers.add(LAST_OFFSET_HEADER, Some(offset(unreadable.last).as_bytes()));
        }
        headers.add("funnelwatch-reason", Some(rejected.reject.reason.name().as_bytes()));
        headers.add("funnelwatch-detail", Some(rejected.reject.detail.as_bytes()));
        headers.add("funnelwatch-time", Some(wall.to_string().as_bytes()));
        if left_out > 0 {
            headers.add(HEADERS_LEFT_OUT_HEADER, Some(left_out.to_string().as_bytes()));
        }
        let mut key = batch.slice(&message.key);
        if let Some(long) = key.filter(|key| key.len() > quarter) {
            headers.add(TRUNCATED_KEY_HEADER, Some(long.len().to_string().as_bytes()));
            key = long.get(..quarter);
        }
        let mut value = batch.slice(&message.value);
        let room = self.record_bytes.saturating_sub(headers.bytes + key.map_or(0, <[u8]>::len) + FRAMING);
        if let Some(long) = value.filter(|value| value.len() > room) {
            headers.add(TRUNCATED_HEADER, Some(long.len().to_string().as_bytes()));
            value = long.get(..room.saturating_sub(64));
        }
        let topic = &self.topics.dead_letters;
        Some(OutputRecord { topic, key, value, headers: headers.list, ..OutputRecord::default() })
    }

    /// The original message, for its tenant's partition. If it is too large, only its value and what it is read by
    /// remain: the value was decoded, so it fits. Its timestamp is that of this copy: the broker could refuse the original
    /// one, and delete an old one before it is read.
    fn reroute<'a>(&'a self, misrouted: &'a MisroutedMessage) -> Option<OutputRecord<'a>> {
        let batch = &*misrouted.batch;
        let message = batch.messages.get(misrouted.message as usize)?;
        let mut headers = Headers::default();
        headers.add(TOPIC_HEADER, Some(misrouted.topic.name().as_bytes()));
        headers.add("content-type", Some(content_type(batch, message)));
        let (mut key, value) = (batch.slice(&message.key), batch.slice(&message.value));
        let original = message
            .headers
            .as_deref()
            .unwrap_or_default()
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("content-type") && !is_rerouting_header(batch, name));
        let foreign: usize = original.clone().map(|(name, value)| header_bytes(name, value.as_deref())).sum();
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        if headers.bytes + foreign + length(key) + length(value) + FRAMING <= self.record_bytes {
            original.for_each(|(name, value)| headers.add(name, value.as_deref()));
        } else {
            key = None;
            if message.header(SCHEMA_HEADER).is_some() {
                headers.add(SCHEMA_HEADER, Some(b""));
            }
        }
        Some(OutputRecord {
            topic: &self.topics.rerouted,
            partition: Some(misrouted.shard.partition()),
            key,
            value,
            headers: headers.list,
        })
    }
}

/// A content type is passed on as it is written up to this length, in bytes.
const LONG_CONTENT_TYPE: usize = 256;

/// Upper bound of the framing of a batch with one record.
const FRAMING: usize = 256;

/// Headers and their size.
#[derive(Default)]
struct Headers {
    list: Option<OwnedHeaders>,
    bytes: usize,
}

impl Headers {
    fn add(&mut self, key: &str, value: Option<&[u8]>) {
        self.bytes += header_bytes(key, value);
        let list = self.list.take().unwrap_or_default();
        self.list = Some(list.insert(Header { key, value }));
    }
}

/// The size of a header, with its framing.
fn header_bytes(name: &str, value: Option<&[u8]>) -> usize {
    name.len() + value.map_or(0, <[u8]>::len) + 10
}

fn tombstone<'a>(topic: &'a str, key: &'a [u8]) -> OutputRecord<'a> {
    OutputRecord { topic, key: Some(key), ..OutputRecord::default() }
}

fn alert_headers(alert: &Alert) -> OwnedHeaders {
    OwnedHeaders::new_with_capacity(5)
        .insert(text("rule", alert.rule.name()))
        .insert(text("severity", alert.severity.name()))
        .insert(text("status", alert.status.name()))
        .insert(text("tenant", alert.tenant.as_str()))
}

fn text<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header { key, value: Some(value) }
}

/// Whether this is the header that was added when the message was rerouted.
fn is_rerouting_header(batch: &Batch, name: &str) -> bool {
    batch.source == Source::Rerouted && name == TOPIC_HEADER
}

/// The content type of a message, stated explicitly so that it holds on a topic with another encoding.
fn content_type<'a>(batch: &Batch, message: &'a Message) -> &'a [u8] {
    let Some(stated) = message.content_type() else { return batch.encoding.content_type().as_bytes() };
    match batch.encoding.of_message(stated) {
        Some(framed @ (Encoding::ConfluentProtobuf | Encoding::ConfluentJson)) => framed.content_type().as_bytes(),
        Some(encoding) if stated.len() > LONG_CONTENT_TYPE => encoding.content_type().as_bytes(),
        _ => stated,
    }
}

#[cfg(test)]
mod sizes;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Reject;
    use crate::domain::alert::Status;
    use crate::domain::event::Channel;
    use crate::domain::event::reject::Reason;
    use crate::domain::review::Medium;
    use crate::domain::rule::Rule;
    use crate::domain::source::Topic;
    use crate::edge::kafka::client::MAX_MESSAGE_BYTES;
    use rdkafka::message::Headers as _;
    use std::convert::Infallible;
    use std::sync::Arc;

    const SHARDS: u32 = 4;

    type Sent = (String, Option<i32>, Option<Vec<u8>>, Vec<(String, String)>);

    fn batch(source: Source, encoding: Encoding, value: &[u8], headers: &[(&str, &str)]) -> Arc<Batch> {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), Some(value.as_bytes().to_vec()))).collect();
        let message = Message {
            offset: Offset(7),
            topic: None,
            timestamp: Some(5),
            key: None,
            value: Some(0..value.len() as u32),
            headers: Some(headers),
        };
        let mut batch = Batch::new(source, Some(ShardId(2)), encoding);
        (batch.bytes, batch.messages) = (value.into(), vec![message]);
        Arc::new(batch)
    }

    fn alert(status: Status) -> Alert {
        Alert { status, at: Timestamp(1), ..Alert::sample("acme", Rule::Neglected, "lead:1", Timestamp(0)) }
    }

    fn written(output: &EpochOutput) -> Vec<Sent> {
        let mut sent = Vec::new();
        let keep = |record: OutputRecord<'_>| -> Result<(), Infallible> {
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let headers = record.headers.iter().flat_map(|headers| headers.iter());
            let headers = headers.map(|header| (header.key.into(), header.value.map_or("-".into(), text))).collect();
            sent.push((record.topic.into(), record.partition, record.value.map(<[u8]>::to_vec), headers));
            Ok(())
        };
        let Ok(()) = RecordWriter::new(&Config::default(), SHARDS, MAX_MESSAGE_BYTES).write(output, Timestamp(0), keep);
        sent
    }

    fn rerouted(batch: Arc<Batch>) -> Sent {
        let misrouted = vec![MisroutedMessage { batch, message: 0, shard: ShardId(3), topic: Topic::Telephony }];
        written(&EpochOutput { misrouted, ..EpochOutput::default() }).remove(0)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn a_rerouted_message_states_its_content_type() {
        let source = Source::Topic(Topic::Telephony);
        for (encoding, given, expected) in [
            (Encoding::Protobuf, None, "application/x-protobuf"),
            (Encoding::Json, Some("application/x-protobuf"), "application/x-protobuf"),
            (Encoding::ConfluentProtobuf, None, "application/vnd.confluent.protobuf"),
            (Encoding::ConfluentProtobuf, Some("application/protobuf"), "application/vnd.confluent.protobuf"),
            (Encoding::ConfluentProtobuf, Some("application/json"), "application/json"),
            (Encoding::ConfluentJson, None, "application/vnd.confluent.json"),
            (Encoding::ConfluentJson, Some("application/json"), "application/vnd.confluent.json"),
        ] {
            let given: Vec<_> =
                given.map(|given| ("Content-Type", given)).into_iter().chain([("trace", "1")]).collect();
            let (topic, partition, value, headers) = rerouted(batch(source, encoding, b"x", &given));
            assert_eq!((topic.as_str(), partition), ("funnelwatch.rerouted", Some(3)));
            assert_eq!(value.as_deref(), Some(&b"x"[..]));
            let expected = [pair(TOPIC_HEADER, "telephony.events"), pair("content-type", expected), pair("trace", "1")];
            assert_eq!(headers, expected);
        }
    }

    #[test]
    fn a_message_rerouted_again_has_one_topic_header() {
        let batch =
            batch(Source::Rerouted, Encoding::Json, b"x", &[(TOPIC_HEADER, "crm.events"), ("content-type", "a/b")]);
        let (.., headers) = rerouted(Arc::clone(&batch));
        assert_eq!(headers, [pair(TOPIC_HEADER, "telephony.events"), pair("content-type", "a/b")]);
        let reject = Reject::new(Reason::UnknownEncoding, "why");
        let rejected = vec![RejectedMessage { batch, message: 0, reject }];
        let (topic, partition, _, headers) = written(&EpochOutput { rejected, ..EpochOutput::default() }).remove(0);
        assert_eq!((topic.as_str(), partition), ("funnelwatch.dlq", None));
        assert_eq!(
            headers,
            [
                pair(REROUTED_FROM_HEADER, "crm.events"),
                pair("content-type", "a/b"),
                pair("funnelwatch-topic", "funnelwatch.rerouted"),
                pair("funnelwatch-partition", "2"),
                pair("funnelwatch-offset", "7"),
                pair("funnelwatch-reason", "unknown_encoding"),
                pair("funnelwatch-detail", "why"),
                pair("funnelwatch-time", "1970-01-01T00:00:00.000Z"),
            ]
        );
    }

    #[test]
    fn a_review_request_is_keyed_by_its_interaction() {
        let request = ReviewRequest {
            tenant: "acme".into(),
            manager: "ann".into(),
            department: "north".into(),
            interaction: "c1".into(),
            medium: Medium::Message { channel: Channel::Chat },
            at: Timestamp(0),
            day: Default::default(),
            requested_at: Timestamp(0),
            about: None,
        };
        let output = EpochOutput { reviews: vec![request], ..EpochOutput::default() };
        let mut keys = Vec::new();
        let keep = |record: OutputRecord<'_>| -> Result<(), Infallible> {
            keys.extend(record.key.map(<[u8]>::to_vec));
            Ok(())
        };
        let Ok(()) =
            RecordWriter::new(&Config::default(), SHARDS, MAX_MESSAGE_BYTES).write(&output, Timestamp(0), keep);
        assert_eq!(keys, [b"c1"]);
        let (topic, _, value, headers) = written(&output).remove(0);
        assert_eq!(topic, "funnelwatch.reviews");
        assert!(value.is_some_and(|value| value.starts_with(b"{\"tenant_id\":\"acme\"")));
        assert_eq!(headers, [pair("tenant", "acme"), pair("content-type", "application/json")]);
    }

    #[test]
    fn the_topic_of_open_alerts_has_the_latest_status_until_the_alert_is_over() {
        let statuses = [
            Status::DueSoon,
            Status::Averted,
            Status::Firing,
            Status::Escalated,
            Status::Resolved,
            Status::Retracted,
            Status::Raised,
        ];
        let output = EpochOutput { alerts: statuses.map(alert).into(), ..EpochOutput::default() };
        let (alerts, open): (Vec<_>, Vec<_>) =
            written(&output).into_iter().partition(|(topic, ..)| topic == "funnelwatch.alerts");
        assert_eq!(alerts.len(), 7);
        let shard = partitioner::shard("acme", SHARDS).partition();
        assert!(open.iter().all(|record| record.0 == "funnelwatch.alerts.open" && record.1 == Some(shard)));
        let values: Vec<_> = open.iter().map(|record| record.2.as_deref()).collect();
        let value = |index: usize| alerts[index].2.as_deref();
        assert_eq!(values, [value(0), None, value(2), value(3), None, None]);
        assert_eq!((&open[0].3, &open[1].3), (&alerts[0].3, &Vec::new()), "a tombstone has no headers");
    }

    #[test]
    fn a_repair_removes_and_adds_records_of_its_shard() {
        let (foreign, firing) = (b"foreign".as_slice(), alert(Status::Firing));
        let (surplus, key) = ([foreign.into()].into(), firing.id.to_string());
        let repair = OpenAlertsRepair { shard: ShardId(2), surplus, missing: vec![firing] };
        let mut sent = Vec::new();
        let keep = |record: OutputRecord<'_>| -> Result<(), Infallible> {
            assert_eq!(record.topic, "funnelwatch.alerts.open");
            sent.push((record.partition, record.key.map(<[u8]>::to_vec), record.value.is_some()));
            Ok(())
        };
        let Ok(()) = RecordWriter::new(&Config::default(), SHARDS, MAX_MESSAGE_BYTES).repair(&repair, keep);
        assert_eq!(sent, [(Some(2), Some(foreign.to_vec()), false), (Some(2), Some(key.into_bytes()), true)]);
    }

    #[test]
    fn an_oversized_dead_letter_is_truncated_and_marked() {
        let value = vec![b'x'; MAX_MESSAGE_BYTES - 100];
        let batch = batch(Source::Topic(Topic::Crm), Encoding::Json, &value, &[]);
        let rejected = vec![RejectedMessage { batch, message: 0, reject: Reject::new(Reason::Oversized, "large") }];
        let (_, _, kept, headers) = written(&EpochOutput { rejected, ..EpochOutput::default() }).remove(0);
        let kept = kept.expect("a value");
        assert!(kept.len() < value.len() && kept.len() > value.len() - 1000, "{}", kept.len());
        assert_eq!(headers.last(), Some(&pair(TRUNCATED_HEADER, &value.len().to_string())));
    }
}
