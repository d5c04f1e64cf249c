//! Owns the encoding of the records in the state topic, from which a shard is restored.
//!
//! **Versions.** Every record contains its layout version. This program reads [`OLDEST`] to [`VERSION`]. A newer record
//! is rejected, because misreading it could produce wrong alerts. **Corruption.** Every record ends with a checksum of
//! its key and all preceding bytes of its value.

use super::{proto, protobuf};
use crate::domain::alert::{Severity, Value, Values};
use crate::domain::event::EventOrder;
use crate::domain::id::{EventId, TenantId};
use crate::domain::rule::{Rule, catalog};
use crate::domain::scoreboard::{LastStatus, WindowViolation, WindowViolationKey};
use crate::domain::shard::processor::ShardCheckpoint;
use crate::domain::source::{PerTopic, Source, Topic};
use crate::domain::tenant::changelog::{self, AppliedEvent, PayloadCodec, SourceOffset};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use proto::state_record::Record as Wire;
use std::fmt::Write;
use std::ops::Range;
use uuid::Uuid;

/// The layout version that is written.
pub const VERSION: u32 = 3;
/// The oldest layout version that is read. Versions 1 and 2 were written before the first release.
pub const OLDEST: u32 = 3;
/// The protobuf key of the checksum: field 15, fixed32.
const CHECKSUM: u8 = 15 << 3 | 5;
/// The length of the checksum with its protobuf key.
const TAIL: usize = 5;
/// The key of the shard record.
pub const SHARD: &[u8] = b"s";

/// How payloads are encoded in applied events.
pub const PACKING: PayloadCodec = PayloadCodec { pack: protobuf::pack, unpack: protobuf::unpack };

/// Encoded records, in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    entries: Vec<(Range<usize>, Option<Range<usize>>)>,
    scratch: Vec<u8>,
}

/// A decoded record.
#[derive(Debug)]
pub enum StateRecord {
    /// An event that took effect.
    Applied(TenantId, AppliedEvent),
    /// The checkpoint and digest of the shard.
    Shard(ShardRecord),
    /// The state of a tenant that cannot be derived from its events.
    Tenant(TenantId, TenantRecord),
    /// A violation of a window rule.
    Violation(TenantId, WindowViolationKey, WindowViolation),
    /// The document of norms that are or were in force.
    Norms(String),
}

/// The checkpoint of a shard, and the digest that its records are verified against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRecord {
    /// The position of the shard in its sources.
    pub checkpoint: ShardCheckpoint,
    /// The digest of its applied events.
    pub digest: StateDigest,
    /// The wall clock when it was written.
    pub written: Timestamp,
}

/// The number of stored applied events, and the sum of the checksums of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateDigest {
    /// The number of applied events.
    pub applied: u64,
    /// The sum of the CRC-32 of their keys, modulo 2^64.
    pub digest: u64,
}

impl StateDigest {
    /// Adds the event with this key.
    pub fn add(&mut self, key: &[u8]) {
        self.applied = self.applied.wrapping_add(1);
        self.digest = self.digest.wrapping_add(u64::from(crc32fast::hash(key)));
    }

    /// Removes the event with this key.
    pub fn remove(&mut self, key: &[u8]) {
        self.applied = self.applied.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(u64::from(crc32fast::hash(key)));
    }
}

/// The state of a tenant that cannot be derived from its stored events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantRecord {
    /// The time of the first event.
    pub first_event: Option<Timestamp>,
    /// The time of the last event of each topic among the events that are no longer stored.
    pub last_event: PerTopic<Timestamp>,
    /// The norms that were in force, each with its start time and the id of its record.
    pub norm_versions: Vec<(Timestamp, String)>,
}

/// The decoded key of a record. Of a damaged record it is all that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateKey {
    /// An applied event.
    Event(TenantId, SourceOffset),
    /// The state of a tenant.
    Tenant(TenantId),
    /// A violation of a window rule.
    Violation(TenantId),
    /// Norms, by their id.
    Norms(String),
    /// The shard record.
    Shard,
}

impl StateKey {
    /// Decodes a key; `None` if this program does not write such keys.
    pub fn read(key: &[u8]) -> Option<Self> {
        if key == SHARD {
            return Some(Self::Shard);
        }
        let (kind, rest) = str::from_utf8(key).ok()?.split_once('/')?;
        match kind {
            "e" => source(key).map(|(tenant, source)| Self::Event(tenant, source)),
            "t" => Some(Self::Tenant(unescape(rest).into())),
            "w" => Some(Self::Violation(unescape(rest.split_once('/')?.0).into())),
            "n" => Some(Self::Norms(rest.into())),
            _ => None,
        }
    }

    /// The name of the record type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Event(..) => "event",
            Self::Tenant(_) => "tenant",
            Self::Violation(_) => "violation",
            Self::Norms(_) => "norms",
            Self::Shard => "shard",
        }
    }

    /// The tenant of the record, if it has one.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Event(tenant, _) | Self::Tenant(tenant) | Self::Violation(tenant) => Some(tenant),
            Self::Norms(_) | Self::Shard => None,
        }
    }
}

/// Why a record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFlaw {
    /// Not a record, or modified after it was written.
    Damaged,
    /// Written with a layout version that is no longer supported.
    Older(u32),
    /// Written by a newer version.
    Newer(u32),
    /// Contains an identifier unknown to this version.
    Unknown(&'static str),
}

impl std::fmt::Display for StateFlaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged => write!(f, "the record is damaged"),
            Self::Older(version) => {
                write!(
                    f,
                    "the record has layout version {version}, this program reads {OLDEST} to {VERSION}; stop all \
                     processes, remove the shard's state with `funnelwatch state reset --shard N --yes`, and set the \
                     group's offsets back to read the source topics again"
                )
            }
            Self::Newer(version) => {
                write!(
                    f,
                    "the record has layout version {version}, written by a newer program; this program reads {OLDEST} \
                     to {VERSION}"
                )
            }
            Self::Unknown(what) => write!(f, "the record contains {what} unknown to this program"),
        }
    }
}

impl std::error::Error for StateFlaw {}

impl ShardRecord {
    /// Encodes the record.
    pub fn encode(&self) -> Records {
        let mut records = Records::default();
        records.shard(self);
        records
    }
}

impl Records {
    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The total size of keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The keys and values. A record without a value is a tombstone.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let slice = |range: &Range<usize>| &self.bytes[range.clone()];
        self.entries.iter().map(move |(key, value)| (slice(key), value.as_ref().map(slice)))
    }

    /// Adds an applied event. Returns its key.
    pub fn applied(&mut self, tenant: &TenantId, order: EventOrder, id: Option<&EventId>, packed: &[u8]) -> &[u8] {
        let mut inner = std::mem::take(&mut self.scratch);
        inner.clear();
        text(1, tenant.as_str(), &mut inner);
        number(2, u64::from(order.source), &mut inner);
        number(3, order.offset as u64, &mut inner);
        number(4, zigzag(order.at.0), &mut inner);
        text(5, id.map_or("", |id| id.as_str()), &mut inner);
        bytes(changelog::topic(order).info().state_field, packed, &mut inner);
        let key = self.key(|key| source_key(tenant, (order.source, order.offset), key));
        self.value(key.clone(), |out| bytes(3, &inner, out));
        self.scratch = inner;
        &self.bytes[key]
    }

    /// Adds the tombstone of an applied event. Returns its key.
    pub fn remove_applied(&mut self, tenant: &TenantId, source: SourceOffset) -> &[u8] {
        let key = self.key(|key| source_key(tenant, source, key));
        self.entries.push((key.clone(), None));
        &self.bytes[key]
    }

    /// Adds the state of a tenant.
    pub fn tenant(&mut self, tenant: &TenantId, state: &TenantRecord) {
        let last_event = state.last_event.iter().filter(|(_, at)| **at > Timestamp::MIN);
        let message = proto::TenantState {
            tenant_id: tenant.to_string(),
            first_event_ms: state.first_event.map(|at| at.0),
            last_event: last_event
                .map(|(topic, at)| proto::tenant_state::LastEvent { topic: topic.info().id.into(), at_ms: at.0 })
                .collect(),
            norm_versions: state
                .norm_versions
                .iter()
                .map(|(since, norms)| proto::tenant_state::NormVersion { since_ms: since.0, norms: norms.clone() })
                .collect(),
        };
        let key = self.key(|key| tenant_key(tenant, key));
        self.value(key, |out| bytes(5, &message.encode_to_vec(), out));
    }

    /// Adds a violation of a window rule; `None` adds its tombstone.
    pub fn violation(&mut self, tenant: &TenantId, id: &WindowViolationKey, violation: Option<&WindowViolation>) {
        let key = self.key(|key| {
            key.push_str("w/");
            escape(tenant.as_str(), key);
            key.push('/');
            escape(id.manager.as_str(), key);
            let _ = write!(key, "/{}/{}/{}", id.rule.name(), id.window.0, id.began.0);
        });
        let Some(violation) = violation else {
            self.entries.push((key, None));
            return;
        };
        let message = proto::WindowViolationState {
            tenant_id: tenant.to_string(),
            manager_id: id.manager.to_string(),
            rule: id.rule.name().into(),
            window_ms: id.window.0,
            began_ms: id.began.0,
            over: violation.ended,
            department_id: violation.department.to_string(),
            severity: violation.severity.name().into(),
            level: violation.level,
            observed: violation.observed.iter().map(named).collect(),
            norm: violation.norm.iter().map(named).collect(),
            last_status: violation.last_status.as_ref().map(|last| proto::LastStatus {
                at_ms: last.at.0,
                department_id: last.department.to_string(),
                observed: last.observed.iter().map(named).collect(),
                norm: last.norm.iter().map(named).collect(),
            }),
        };
        self.value(key, |out| bytes(6, &message.encode_to_vec(), out));
    }

    /// Adds the tombstone of the state of a tenant.
    pub fn remove_tenant(&mut self, tenant: &TenantId) {
        let key = self.key(|key| tenant_key(tenant, key));
        self.entries.push((key, None));
    }

    /// Adds the tombstone of norms.
    pub fn remove_norms(&mut self, id: &str) {
        let key = self.key(|key| norms_key(id, key));
        self.entries.push((key, None));
    }

    /// Adds a tombstone for any key.
    pub fn tombstone(&mut self, key: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.entries.push((begin..self.bytes.len(), None));
    }

    /// Adds the document of norms.
    pub fn norms(&mut self, id: &str, document: &str) {
        let key = self.key(|key| norms_key(id, key));
        self.value(key, |out| text(7, document, out));
    }

    /// Adds the shard record.
    pub fn shard(&mut self, state: &ShardRecord) {
        let ShardRecord { checkpoint, digest, written } = state;
        let ShardCheckpoint { watermark, seen, read, next, refused } = checkpoint;
        let mut sources: Vec<Source> = seen.keys().chain(read.keys()).copied().collect();
        sources.sort_unstable();
        sources.dedup();
        let source = |source: Source| proto::shard_state::Source {
            source: u32::from(source.id()),
            read: read.get(&source).copied().unwrap_or_default(),
            next: next.get(&source).copied().unwrap_or_default(),
            seen_ms: seen.get(&source).map(|at| at.0),
            refused: refused.iter().filter(|(key, _)| *key == source).map(|(_, offset)| *offset).collect(),
        };
        let message = proto::ShardState {
            watermark_ms: watermark.0,
            sources: sources.into_iter().map(source).collect(),
            applied: digest.applied,
            digest: digest.digest,
            written_ms: written.0,
        };
        let key = self.key(|key| key.push('s'));
        self.value(key, |out| bytes(4, &message.encode_to_vec(), out));
    }

    fn key(&mut self, write: impl FnOnce(&mut CompactString)) -> Range<usize> {
        let mut key = CompactString::default();
        write(&mut key);
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(key.as_bytes());
        begin..self.bytes.len()
    }

    fn value(&mut self, key: Range<usize>, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.bytes.len();
        number(1, u64::from(VERSION), &mut self.bytes);
        write(&mut self.bytes);
        // The key immediately precedes its value in the buffer.
        let checksum = crc32fast::hash(&self.bytes[key.start..]);
        self.bytes.push(CHECKSUM);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        self.entries.push((key, Some(begin..self.bytes.len())));
    }
}

/// Decodes a record.
pub fn decode(key: &[u8], value: &[u8]) -> Result<StateRecord, StateFlaw> {
    let (body, tail) = value.split_at_checked(value.len().wrapping_sub(TAIL)).ok_or(StateFlaw::Damaged)?;
    let mut hash = crc32fast::Hasher::new();
    hash.update(key);
    hash.update(body);
    if tail[0] != CHECKSUM || tail[1..] != hash.finalize().to_le_bytes() {
        return Err(StateFlaw::Damaged);
    }
    let record = proto::StateRecord::decode(body).map_err(|_| StateFlaw::Damaged)?;
    match record.version {
        OLDEST..=VERSION => {}
        older @ ..OLDEST => return Err(StateFlaw::Older(older)),
        newer => return Err(StateFlaw::Newer(newer)),
    }
    match record.record.ok_or(StateFlaw::Unknown("a record type"))? {
        Wire::Applied(applied) => read_applied(applied),
        Wire::Shard(shard) => Ok(StateRecord::Shard(read_shard(shard)?)),
        Wire::Tenant(tenant) => {
            let mut last_event = PerTopic::from_fn(|_| Timestamp::MIN);
            for last in tenant.last_event {
                let topic = Topic::from_id(last.topic).ok_or(StateFlaw::Unknown("a topic"))?;
                last_event[topic] = Timestamp(last.at_ms);
            }
            let state = TenantRecord {
                first_event: tenant.first_event_ms.map(Timestamp),
                last_event,
                norm_versions: tenant
                    .norm_versions
                    .into_iter()
                    .map(|version| (Timestamp(version.since_ms), version.norms))
                    .collect(),
            };
            Ok(StateRecord::Tenant(tenant.tenant_id.into(), state))
        }
        Wire::WindowViolation(violation) => read_violation(violation),
        Wire::Norms(document) => Ok(StateRecord::Norms(document)),
    }
}

/// The id of norms, derived from their document.
pub fn norms_id(document: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, document.as_bytes()).to_string()
}

/// The tenant and the source position of an applied event, from its key.
pub fn source(key: &[u8]) -> Option<(TenantId, SourceOffset)> {
    let (tenant, position) = str::from_utf8(key).ok()?.strip_prefix("e/")?.split_once('/')?;
    let (source, offset) = position.split_once('/')?;
    Some((unescape(tenant).into(), (source.parse().ok()?, offset.parse().ok()?)))
}

fn read_applied(applied: proto::Applied) -> Result<StateRecord, StateFlaw> {
    use proto::applied::Event;
    let (topic, packed) = match applied.event.ok_or(StateFlaw::Unknown("an event type"))? {
        Event::Crm(bytes) => (Topic::Crm, bytes),
        Event::Telephony(bytes) => (Topic::Telephony, bytes),
        Event::Message(bytes) => (Topic::Email, bytes),
    };
    let source = u8::try_from(applied.source).ok().and_then(Source::from_id).ok_or(StateFlaw::Unknown("a source"))?;
    let order = EventOrder::of(Timestamp(applied.at_ms), topic, source, applied.offset);
    let id = Some(applied.event_id).filter(|id| !id.is_empty()).map(|id| EventId(id.into()));
    Ok(StateRecord::Applied(applied.tenant_id.into(), AppliedEvent { order, id, packed: packed.into() }))
}

fn read_shard(shard: proto::ShardState) -> Result<ShardRecord, StateFlaw> {
    let watermark = Timestamp(shard.watermark_ms);
    let mut checkpoint = ShardCheckpoint { watermark, ..ShardCheckpoint::default() };
    for stored in shard.sources {
        let source = u8::try_from(stored.source).ok().and_then(Source::from_id);
        let source = source.ok_or(StateFlaw::Unknown("a source"))?;
        checkpoint.read.insert(source, stored.read);
        checkpoint.next.insert(source, stored.next);
        checkpoint.seen.extend(stored.seen_ms.map(|at| (source, Timestamp(at))));
        checkpoint.refused.extend(stored.refused.into_iter().map(|offset| (source, offset)));
    }
    let digest = StateDigest { applied: shard.applied, digest: shard.digest };
    Ok(ShardRecord { checkpoint, digest, written: Timestamp(shard.written_ms) })
}

fn read_violation(stored: proto::WindowViolationState) -> Result<StateRecord, StateFlaw> {
    let rule = Rule::ALL.iter().find(|rule| rule.name() == stored.rule).ok_or(StateFlaw::Unknown("a rule"))?;
    let severity = Severity::ALL.into_iter().find(|severity| severity.name() == stored.severity);
    let definition = catalog::definition(*rule);
    let last_status = stored.last_status.map(|last| {
        Ok(LastStatus {
            at: Timestamp(last.at_ms),
            department: last.department_id.into(),
            observed: values(last.observed, definition.observed)?,
            norm: values(last.norm, definition.norm)?,
        })
    });
    let violation = WindowViolation {
        ended: stored.over,
        department: stored.department_id.into(),
        severity: severity.ok_or(StateFlaw::Unknown("a severity"))?,
        level: stored.level,
        observed: values(stored.observed, definition.observed)?,
        norm: values(stored.norm, definition.norm)?,
        last_status: last_status.transpose()?,
    };
    let key = WindowViolationKey {
        began: Timestamp(stored.began_ms),
        window: Span(stored.window_ms),
        manager: stored.manager_id.into(),
        rule: *rule,
    };
    Ok(StateRecord::Violation(stored.tenant_id.into(), key, violation))
}

fn values(named: Vec<proto::NamedValue>, names: &[&'static str]) -> Result<Values, StateFlaw> {
    use proto::named_value::Value as Kind;
    let value = |named: proto::NamedValue| {
        let name = names.iter().find(|name| **name == named.name).ok_or(StateFlaw::Unknown("a figure"))?;
        let value = match named.value.ok_or(StateFlaw::Damaged)? {
            Kind::Count(count) => Value::Count(count),
            Kind::Number(number) => Value::Number(number),
            Kind::Text(text) => Value::Text(text.into()),
        };
        Ok((*name, value))
    };
    named.into_iter().map(value).collect()
}

fn named((name, value): &(&'static str, Value)) -> proto::NamedValue {
    use proto::named_value::Value as Kind;
    let value = match value {
        Value::Count(count) => Kind::Count(*count),
        Value::Number(number) => Kind::Number(*number),
        Value::Text(text) => Kind::Text(text.to_string()),
    };
    proto::NamedValue { name: name.to_string(), value: Some(value) }
}

fn source_key(tenant: &TenantId, (source, offset): SourceOffset, key: &mut CompactString) {
    key.push_str("e/");
    escape(tenant.as_str(), key);
    let _ = write!(key, "/{source}/{offset}");
}

fn tenant_key(tenant: &TenantId, key: &mut CompactString) {
    key.push_str("t/");
    escape(tenant.as_str(), key);
}

fn norms_key(id: &str, key: &mut CompactString) {
    key.push_str("n/");
    key.push_str(id);
}

/// Escapes an id. Ids may contain any characters; escaping keeps keys unique.
fn escape(id: &str, key: &mut CompactString) {
    for part in id.split_inclusive(['/', '%']) {
        match part.as_bytes().last() {
            Some(b'/') => {
                key.push_str(&part[..part.len() - 1]);
                key.push_str("%2F");
            }
            Some(b'%') => {
                key.push_str(&part[..part.len() - 1]);
                key.push_str("%25");
            }
            _ => key.push_str(part),
        }
    }
}

fn unescape(id: &str) -> String {
    if id.contains('%') { id.replace("%2F", "/").replace("%25", "%") } else { id.into() }
}

fn number(field: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(value, out);
    }
}

fn text(field: u32, value: &str, out: &mut Vec<u8>) {
    if !value.is_empty() {
        bytes(field, value.as_bytes(), out);
    }
}

fn bytes(field: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arbitrary;
    use crate::domain::source::{Source, Topic};
    use proptest::prelude::*;

    fn only(records: &Records) -> (Vec<u8>, Vec<u8>) {
        let (key, value) = records.iter().next().expect("a record");
        (key.to_vec(), value.expect("a value").to_vec())
    }

    proptest! {
        #[test]
        fn an_applied_event_round_trips(
            event in arbitrary::event(),
            source in proptest::sample::select(&Source::LIVE[..]),
            offset in 0..i64::MAX,
        ) {
            let mut packed = Vec::new();
            (PACKING.pack)(&event.payload, &mut packed);
            let topic = event.payload.topic();
            let order = EventOrder::of(event.at, topic, source, offset);
            let mut records = Records::default();
            records.applied(&event.tenant, order, event.id.as_ref(), &packed);
            let (key, value) = only(&records);
            prop_assert_eq!(super::source(&key), Some((event.tenant.clone(), (source.id(), offset))));
            let Ok(StateRecord::Applied(tenant, applied)) = decode(&key, &value) else { panic!("no event") };
            prop_assert_eq!((tenant, applied.order, applied.id), (event.tenant, order, event.id));
            prop_assert_eq!((PACKING.unpack)(topic, &applied.packed), Some(event.payload));
        }

        #[test]
        fn keys_of_applied_events_are_unique(
            tenants in prop::array::uniform2("[a/%2F]{0,5}"),
            offsets in prop::array::uniform2(0..3i64),
        ) {
            let key = |n: usize| {
                let mut key = CompactString::default();
                source_key(&tenants[n].as_str().into(), (0, offsets[n]), &mut key);
                key
            };
            let same = (&tenants[0], offsets[0]) == (&tenants[1], offsets[1]);
            prop_assert_eq!(key(0) == key(1), same);
            let read = source(key(0).as_bytes());
            prop_assert_eq!(read, Some((tenants[0].as_str().into(), (0, offsets[0]))));
        }

        #[test]
        fn a_flipped_bit_is_detected(index in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut records = Records::default();
            records.tenant(&"acme".into(), &TenantRecord { first_event: Some(Timestamp(5)), ..TenantRecord::default() });
            let (key, mut value) = only(&records);
            let index = index.index(value.len());
            value[index] ^= 1 << bit;
            prop_assert_eq!(decode(&key, &value).err(), Some(StateFlaw::Damaged));
        }

        #[test]
        fn arbitrary_bytes_are_rejected(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(decode(b"s", &bytes).is_err());
        }
    }

    #[test]
    fn keys_are_decoded() {
        let tenant = TenantId::from("a/b%");
        let rule = Rule::ConversionLow;
        let key = WindowViolationKey { began: Timestamp(5), window: Span(60_000), manager: "m/1".into(), rule };
        let mut records = Records::default();
        records.remove_applied(&tenant, (2, 7));
        records.remove_tenant(&tenant);
        records.violation(&tenant, &key, None);
        records.remove_norms("1-2");
        records.tombstone(SHARD);
        records.tombstone(b"unknown/key");
        let keys: Vec<_> = records.iter().map(|(key, _)| StateKey::read(key)).collect();
        let known = [
            StateKey::Event(tenant.clone(), (2, 7)),
            StateKey::Tenant(tenant.clone()),
            StateKey::Violation(tenant.clone()),
            StateKey::Norms("1-2".into()),
            StateKey::Shard,
        ];
        assert_eq!(keys, known.map(Some).into_iter().chain([None]).collect::<Vec<_>>());
        assert_eq!(keys.iter().flatten().filter_map(StateKey::tenant).collect::<Vec<_>>(), [&tenant; 3]);
        assert!(records.iter().all(|(_, value)| value.is_none()), "all are tombstones");
    }

    #[test]
    fn a_shard_record_round_trips() {
        let (crm, rerouted) = (Source::Topic(Topic::Crm), Source::Rerouted);
        let checkpoint = ShardCheckpoint {
            watermark: Timestamp(-5),
            seen: [(crm, Timestamp(7))].into(),
            read: [(crm, 12), (rerouted, 3)].into(),
            next: [(crm, 10), (rerouted, 3)].into(),
            refused: [(crm, 11), (crm, 9)].into(),
        };
        let state = ShardRecord { checkpoint, digest: StateDigest { applied: 4, digest: 99 }, written: Timestamp(1) };
        let mut records = Records::default();
        records.shard(&state);
        let (key, value) = only(&records);
        let Ok(StateRecord::Shard(read)) = decode(&key, &value) else { panic!("no shard") };
        assert_eq!(read, state);
    }

    #[test]
    fn a_violation_round_trips() {
        let rule = Rule::ConversionLow;
        let key = WindowViolationKey { began: Timestamp(5), window: Span(60_000), manager: "a/b%".into(), rule };
        let values =
            |names: &[&'static str]| -> Values { names.iter().map(|name| (*name, Value::Number(0.5))).collect() };
        let violation = WindowViolation {
            ended: false,
            department: "north".into(),
            severity: Severity::Critical,
            level: 2,
            observed: values(catalog::definition(rule).observed),
            norm: vec![("basis", Value::Text("cohort".into()))],
            last_status: Some(LastStatus {
                at: Timestamp(-7),
                department: "south".into(),
                observed: values(&catalog::definition(rule).observed[..1]),
                norm: Vec::new(),
            }),
        };
        let mut records = Records::default();
        records.violation(&"acme".into(), &key, Some(&violation));
        let (bytes, value) = only(&records);
        let Ok(StateRecord::Violation(tenant, read_key, read)) = decode(&bytes, &value) else { panic!("no violation") };
        assert_eq!((tenant.as_str(), read_key, read), ("acme", key, violation));
    }

    #[test]
    fn a_newer_version_is_rejected() {
        let body = proto::StateRecord { version: VERSION + 1, ..proto::StateRecord::default() }.encode_to_vec();
        let checksum = crc32fast::hash(&[b"s", body.as_slice()].concat());
        let value = [body.as_slice(), &[CHECKSUM], &checksum.to_le_bytes()].concat();
        let flaw = decode(b"s", &value).expect_err("newer");
        assert_eq!(flaw, StateFlaw::Newer(VERSION + 1));
        assert!(flaw.to_string().contains(&format!("version {}", VERSION + 1)), "{flaw}");
    }
}
