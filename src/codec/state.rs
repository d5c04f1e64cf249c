//! Owns the records of the state topic: what a shard is restored from, to bytes and back.
//!
//! **Versions.** A record says which version of the layout it has. This program reads [`VERSION`] and those before it; a
//! newer one is refused, for a guess would be told as an alert. **Damage.** Every record ends with the checksum of its
//! key and of all before it.

use super::{proto, protobuf};
use crate::domain::alert::{Severity, Value, Values};
use crate::domain::changelog::{AppliedEvent, PayloadCodec, SourceOffset};
use crate::domain::event::{EventOrder, Topic};
use crate::domain::id::{EventId, TenantId};
use crate::domain::rule::Rule;
use crate::domain::scoreboard::{LastStatus, WindowViolation, WindowViolationKey};
use crate::domain::shard_processor::{ShardCheckpoint, Source};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use proto::state_record::Record as Wire;
use std::fmt::Write;
use std::ops::Range;
use uuid::Uuid;

/// The version that is written.
pub const VERSION: u32 = 1;
/// The protobuf key of the checksum: field 15, fixed32.
const CHECKSUM: u8 = 15 << 3 | 5;
/// A checksum with its key.
const TAIL: usize = 5;
/// The key of the record that says where a shard stands.
pub const SHARD: &[u8] = b"s";

/// Payloads as they are kept.
pub const PACKING: PayloadCodec = PayloadCodec { pack: protobuf::pack, unpack: protobuf::unpack };

/// Records to be written, in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    entries: Vec<(Range<usize>, Option<Range<usize>>)>,
    scratch: Vec<u8>,
}

/// A record as it was read.
#[derive(Debug)]
pub enum StateRecord {
    /// An event that took effect.
    Applied(TenantId, AppliedEvent),
    /// Where the shard stands.
    Shard(ShardRecord),
    /// What of a tenant does not follow from its events.
    Tenant(TenantId, TenantRecord),
    /// A violation of a window rule.
    Violation(TenantId, WindowViolationKey, WindowViolation),
    /// Norms that were in force once, as [`protobuf::encode_norms`] wrote them.
    Norms(Vec<u8>),
}

/// Where a shard stands, and what is to be found of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRecord {
    /// Where it stands.
    pub checkpoint: ShardCheckpoint,
    /// What it consists of.
    pub digest: StateDigest,
    /// The wall clock when it was written.
    pub written: Timestamp,
}

/// How many applied events are kept, and the sum of the checksums of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateDigest {
    /// How many.
    pub applied: u64,
    /// The sum.
    pub digest: u64,
}

impl StateDigest {
    /// One more, with this key.
    pub fn add(&mut self, key: &[u8]) {
        self.applied = self.applied.wrapping_add(1);
        self.digest = self.digest.wrapping_add(u64::from(crc32fast::hash(key)));
    }

    /// One less.
    pub fn remove(&mut self, key: &[u8]) {
        self.applied = self.applied.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(u64::from(crc32fast::hash(key)));
    }
}

/// What of a tenant does not follow from its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantRecord {
    /// The first event seen.
    pub first_event: Option<Timestamp>,
    /// The last event of each topic among those that were forgotten.
    pub last_event: [Timestamp; 3],
    /// Since when which norms were in force, by the ids of their records.
    pub norm_versions: Vec<(Timestamp, String)>,
}

/// What a record is of, as its key says: a damaged one has nothing else to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateKey {
    /// An applied event.
    Event(TenantId, SourceOffset),
    /// What of a tenant does not follow from its events.
    Tenant(TenantId),
    /// A violation of a window rule.
    Violation(TenantId),
    /// Norms, by their id.
    Norms(String),
    /// Where the shard stands.
    Shard,
}

impl StateKey {
    /// What a key says; `None`: it is none that this program writes.
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

    /// The kind of record that it stands before.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Event(..) => "event",
            Self::Tenant(_) => "tenant",
            Self::Violation(_) => "violation",
            Self::Norms(_) => "norms",
            Self::Shard => "shard",
        }
    }

    /// Whose it is.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Event(tenant, _) | Self::Tenant(tenant) | Self::Violation(tenant) => Some(tenant),
            Self::Norms(_) | Self::Shard => None,
        }
    }
}

/// A record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFlaw {
    /// It is no record, or was changed since it was written.
    Damaged,
    /// It was written by a newer version.
    Newer(u32),
    /// It names what this version does not know.
    Unknown(&'static str),
}

impl std::fmt::Display for StateFlaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged => write!(f, "the record is damaged"),
            Self::Newer(version) => {
                write!(
                    f,
                    "the record has version {version}, written by a newer program; this one reads up to {VERSION}"
                )
            }
            Self::Unknown(what) => write!(f, "the record names {what} that this program does not know"),
        }
    }
}

impl std::error::Error for StateFlaw {}

impl Records {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes they have, keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Keys and values; a record without value is a tombstone.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let slice = |range: &Range<usize>| &self.bytes[range.clone()];
        self.entries.iter().map(move |(key, value)| (slice(key), value.as_ref().map(slice)))
    }

    /// An event took effect. Returns its key.
    pub fn applied(&mut self, tenant: &TenantId, order: EventOrder, id: Option<&EventId>, packed: &[u8]) -> &[u8] {
        let mut inner = std::mem::take(&mut self.scratch);
        inner.clear();
        text(1, tenant.as_str(), &mut inner);
        number(2, u64::from(order.source), &mut inner);
        number(3, order.offset as u64, &mut inner);
        number(4, zigzag(order.at.0), &mut inner);
        text(5, id.map_or("", |id| id.as_str()), &mut inner);
        bytes(6 + u32::from(order.rank), packed, &mut inner);
        let key = self.key(|key| source_key(tenant, (order.source, order.offset), key));
        self.value(key.clone(), |out| bytes(3, &inner, out));
        self.scratch = inner;
        &self.bytes[key]
    }

    /// Nothing follows from an event any more. Returns its key.
    pub fn gone(&mut self, tenant: &TenantId, source: SourceOffset) -> &[u8] {
        let key = self.key(|key| source_key(tenant, source, key));
        self.entries.push((key.clone(), None));
        &self.bytes[key]
    }

    /// What of a tenant does not follow from its events.
    pub fn tenant(&mut self, tenant: &TenantId, state: &TenantRecord) {
        let last_event = (0..).zip(state.last_event).filter(|(_, at)| *at > Timestamp::MIN);
        let message = proto::TenantState {
            tenant_id: tenant.to_string(),
            first_event_ms: state.first_event.map(|at| at.0),
            last_event: last_event.map(|(topic, at)| proto::tenant_state::LastEvent { topic, at_ms: at.0 }).collect(),
            norm_versions: state
                .norm_versions
                .iter()
                .map(|(since, norms)| proto::tenant_state::NormVersion { since_ms: since.0, norms: norms.clone() })
                .collect(),
        };
        let key = self.key(|key| tenant_key(tenant, key));
        self.value(key, |out| bytes(5, &message.encode_to_vec(), out));
    }

    /// A violation of a window rule; `None`: it is to be forgotten.
    pub fn violation(&mut self, tenant: &TenantId, of: &WindowViolationKey, violation: Option<&WindowViolation>) {
        let key = self.key(|key| {
            key.push_str("w/");
            escape(tenant.as_str(), key);
            key.push('/');
            escape(of.manager.as_str(), key);
            let _ = write!(key, "/{}/{}/{}", of.rule.name(), of.window.0, of.began.0);
        });
        let Some(violation) = violation else {
            self.entries.push((key, None));
            return;
        };
        let message = proto::WindowViolationState {
            tenant_id: tenant.to_string(),
            manager_id: of.manager.to_string(),
            rule: of.rule.name().into(),
            window_ms: of.window.0,
            began_ms: of.began.0,
            over: violation.over,
            department_id: violation.department.to_string(),
            severity: violation.severity.name().into(),
            level: violation.level,
            observed: violation.observed.iter().map(named).collect(),
            norm: violation.norm.iter().map(named).collect(),
            last_status: violation.told.as_ref().map(|told| proto::LastStatus {
                at_ms: told.at.0,
                department_id: told.department.to_string(),
                observed: told.observed.iter().map(named).collect(),
                norm: told.norm.iter().map(named).collect(),
            }),
        };
        self.value(key, |out| bytes(6, &message.encode_to_vec(), out));
    }

    /// Nothing is known of a tenant any more but what its other records say.
    pub fn no_tenant(&mut self, tenant: &TenantId) {
        let key = self.key(|key| tenant_key(tenant, key));
        self.entries.push((key, None));
    }

    /// Norms are needed no more.
    pub fn no_norms(&mut self, id: &str) {
        let key = self.key(|key| norms_key(id, key));
        self.entries.push((key, None));
    }

    /// The record of a key is to be gone, whatever it is.
    pub fn bury(&mut self, key: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.entries.push((begin..self.bytes.len(), None));
    }

    /// Norms that are or were in force.
    pub fn norms(&mut self, id: &str, norms: &[u8]) {
        let key = self.key(|key| norms_key(id, key));
        self.value(key, |out| bytes(7, norms, out));
    }

    /// Where the shard stands.
    pub fn shard(&mut self, state: &ShardRecord) {
        let ShardRecord { checkpoint, digest, written } = state;
        let ShardCheckpoint { watermark, seen, read, next, refused } = checkpoint;
        let mut sources: Vec<Source> = seen.keys().chain(read.keys()).copied().collect();
        sources.sort_unstable();
        sources.dedup();
        let source = |source: Source| proto::shard_state::Source {
            source: u32::from(source.number()),
            read: read.get(&source).copied().unwrap_or_default(),
            next: next.get(&source).copied().unwrap_or_default(),
            seen_ms: seen.get(&source).map(|at| at.0),
            refused: refused.iter().filter(|(of, _)| *of == source).map(|(_, offset)| *offset).collect(),
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
        // The key stands just before its value.
        let checksum = crc32fast::hash(&self.bytes[key.start..]);
        self.bytes.push(CHECKSUM);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        self.entries.push((key, Some(begin..self.bytes.len())));
    }
}

/// Reads a record.
pub fn decode(key: &[u8], value: &[u8]) -> Result<StateRecord, StateFlaw> {
    let (body, tail) = value.split_at_checked(value.len().wrapping_sub(TAIL)).ok_or(StateFlaw::Damaged)?;
    let mut hash = crc32fast::Hasher::new();
    hash.update(key);
    hash.update(body);
    if tail[0] != CHECKSUM || tail[1..] != hash.finalize().to_le_bytes() {
        return Err(StateFlaw::Damaged);
    }
    let record = proto::StateRecord::decode(body).map_err(|_| StateFlaw::Damaged)?;
    if record.version > VERSION {
        return Err(StateFlaw::Newer(record.version));
    }
    match record.record.ok_or(StateFlaw::Unknown("a kind of record"))? {
        Wire::Applied(applied) => read_applied(applied),
        Wire::Shard(shard) => Ok(StateRecord::Shard(read_shard(shard)?)),
        Wire::Tenant(tenant) => {
            let mut last_event = [Timestamp::MIN; 3];
            for one in tenant.last_event {
                *last_event.get_mut(one.topic as usize).ok_or(StateFlaw::Unknown("a topic"))? = Timestamp(one.at_ms);
            }
            let state = TenantRecord {
                first_event: tenant.first_event_ms.map(Timestamp),
                last_event,
                norm_versions: tenant
                    .norm_versions
                    .into_iter()
                    .map(|era| (Timestamp(era.since_ms), era.norms))
                    .collect(),
            };
            Ok(StateRecord::Tenant(tenant.tenant_id.into(), state))
        }
        Wire::WindowViolation(violation) => read_violation(violation),
        Wire::Norms(norms) => Ok(StateRecord::Norms(norms)),
    }
}

/// The id of norms, by their bytes.
pub fn norms_id(norms: &[u8]) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, norms).to_string()
}

/// The applied event that a key is of.
pub fn source(key: &[u8]) -> Option<(TenantId, SourceOffset)> {
    let (tenant, place) = str::from_utf8(key).ok()?.strip_prefix("e/")?.split_once('/')?;
    let (source, offset) = place.split_once('/')?;
    Some((unescape(tenant).into(), (source.parse().ok()?, offset.parse().ok()?)))
}

fn read_applied(applied: proto::Applied) -> Result<StateRecord, StateFlaw> {
    use proto::applied::Event;
    let (topic, packed) = match applied.event.ok_or(StateFlaw::Unknown("a kind of event"))? {
        Event::Crm(bytes) => (Topic::Crm, bytes),
        Event::Telephony(bytes) => (Topic::Telephony, bytes),
        Event::Message(bytes) => (Topic::Email, bytes),
    };
    let source = u8::try_from(applied.source).map_err(|_| StateFlaw::Damaged)?;
    let order = EventOrder { at: Timestamp(applied.at_ms), rank: topic as u8, offset: applied.offset, source };
    let id = Some(applied.event_id).filter(|id| !id.is_empty()).map(|id| EventId(id.into()));
    Ok(StateRecord::Applied(applied.tenant_id.into(), AppliedEvent { order, id, packed: packed.into() }))
}

fn read_shard(shard: proto::ShardState) -> Result<ShardRecord, StateFlaw> {
    let watermark = Timestamp(shard.watermark_ms);
    let mut checkpoint = ShardCheckpoint { watermark, ..ShardCheckpoint::default() };
    for stored in shard.sources {
        let source = u8::try_from(stored.source).ok().and_then(Source::from_number);
        let source = source.ok_or(StateFlaw::Unknown("a source"))?;
        checkpoint.read.insert(source, stored.read);
        checkpoint.next.insert(source, stored.next);
        checkpoint.seen.extend(stored.seen_ms.map(|at| (source, Timestamp(at))));
        checkpoint.refused.extend(stored.refused.into_iter().map(|offset| (source, offset)));
    }
    let digest = StateDigest { applied: shard.applied, digest: shard.digest };
    Ok(ShardRecord { checkpoint, digest, written: Timestamp(shard.written_ms) })
}

fn read_violation(kept: proto::WindowViolationState) -> Result<StateRecord, StateFlaw> {
    let rule = Rule::ALL.iter().find(|rule| rule.name() == kept.rule).ok_or(StateFlaw::Unknown("a rule"))?;
    let severity = Severity::ALL.into_iter().find(|severity| severity.name() == kept.severity);
    let definition = rule.definition();
    let told = kept.last_status.map(|told| {
        Ok(LastStatus {
            at: Timestamp(told.at_ms),
            department: told.department_id.into(),
            observed: values(told.observed, definition.observed)?,
            norm: values(told.norm, definition.norm)?,
        })
    });
    let violation = WindowViolation {
        over: kept.over,
        department: kept.department_id.into(),
        severity: severity.ok_or(StateFlaw::Unknown("a severity"))?,
        level: kept.level,
        observed: values(kept.observed, definition.observed)?,
        norm: values(kept.norm, definition.norm)?,
        told: told.transpose()?,
    };
    let key = WindowViolationKey {
        began: Timestamp(kept.began_ms),
        window: Span(kept.window_ms),
        manager: kept.manager_id.into(),
        rule: *rule,
    };
    Ok(StateRecord::Violation(kept.tenant_id.into(), key, violation))
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

/// Ids may hold anything: no two things have one key.
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
    use crate::domain::shard_processor::Source;
    use proptest::prelude::*;

    fn only(records: &Records) -> (Vec<u8>, Vec<u8>) {
        let (key, value) = records.iter().next().expect("a record");
        (key.to_vec(), value.expect("a value").to_vec())
    }

    proptest! {
        #[test]
        fn an_event_comes_back_as_it_was(event in arbitrary::event(), source in 0..4u8, offset in 0..i64::MAX) {
            let mut packed = Vec::new();
            (PACKING.pack)(&event.payload, &mut packed);
            let topic = event.payload.topic();
            let order = EventOrder { at: event.at, rank: topic as u8, offset, source };
            let mut records = Records::default();
            records.applied(&event.tenant, order, event.id.as_ref(), &packed);
            let (key, value) = only(&records);
            prop_assert_eq!(super::source(&key), Some((event.tenant.clone(), (source, offset))));
            let Ok(StateRecord::Applied(tenant, kept)) = decode(&key, &value) else { panic!("no event") };
            prop_assert_eq!((tenant, kept.order, kept.id), (event.tenant, order, event.id));
            prop_assert_eq!((PACKING.unpack)(topic, &kept.packed), Some(event.payload));
        }

        #[test]
        fn no_two_sources_have_one_key(tenants in prop::array::uniform2("[a/%2F]{0,5}"), offsets in prop::array::uniform2(0..3i64)) {
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
        fn a_changed_byte_is_noticed(place in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut records = Records::default();
            records.tenant(&"acme".into(), &TenantRecord { first_event: Some(Timestamp(5)), ..TenantRecord::default() });
            let (key, mut value) = only(&records);
            let place = place.index(value.len());
            value[place] ^= 1 << bit;
            prop_assert_eq!(decode(&key, &value).err(), Some(StateFlaw::Damaged));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(decode(b"s", &bytes).is_err());
        }
    }

    #[test]
    fn a_key_says_what_its_record_is_of() {
        let tenant = TenantId::from("a/b%");
        let rule = Rule::ConversionLow;
        let key = WindowViolationKey { began: Timestamp(5), window: Span(60_000), manager: "m/1".into(), rule };
        let mut records = Records::default();
        records.gone(&tenant, (2, 7));
        records.no_tenant(&tenant);
        records.violation(&tenant, &key, None);
        records.no_norms("1-2");
        records.bury(SHARD);
        records.bury(b"what/else");
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
    fn where_a_shard_stands_comes_back() {
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
    fn a_violation_comes_back() {
        let rule = Rule::ConversionLow;
        let key = WindowViolationKey { began: Timestamp(5), window: Span(60_000), manager: "a/b%".into(), rule };
        let values =
            |names: &[&'static str]| -> Values { names.iter().map(|name| (*name, Value::Number(0.5))).collect() };
        let violation = WindowViolation {
            over: false,
            department: "north".into(),
            severity: Severity::Critical,
            level: 2,
            observed: values(rule.definition().observed),
            norm: vec![("basis", Value::Text("cohort".into()))],
            told: Some(LastStatus {
                at: Timestamp(-7),
                department: "south".into(),
                observed: values(&rule.definition().observed[..1]),
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
    fn a_newer_version_is_refused_by_name() {
        let body = proto::StateRecord { version: VERSION + 1, ..proto::StateRecord::default() }.encode_to_vec();
        let checksum = crc32fast::hash(&[b"s", body.as_slice()].concat());
        let value = [body.as_slice(), &[CHECKSUM], &checksum.to_le_bytes()].concat();
        let flaw = decode(b"s", &value).expect_err("it is newer");
        assert_eq!(flaw, StateFlaw::Newer(2));
        assert!(flaw.to_string().contains("version 2"), "{flaw}");
    }
}
