//! Owns the records of the state topic: what a shard is restored from, to bytes and back.
//!
//! **Versions.** A record says which version of the layout it has. This program reads [`VERSION`] and those before it; a
//! newer one is refused, for a guess would be told as an alert. **Damage.** Every record ends with the checksum of its
//! key and of all before it.

use super::{proto, protobuf};
use crate::domain::alert::{Severity, Value, Values};
use crate::domain::event::{Topic, Turn};
use crate::domain::floor::{Bearings, Feed};
use crate::domain::id::{EventId, TenantId};
use crate::domain::rule::Rule;
use crate::domain::scoreboard::{ChargeKey, LastTold, WindowViolation};
use crate::domain::state::{Kept, Packing, Source};
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
pub const PACKING: Packing = Packing { pack: protobuf::pack, unpack: protobuf::unpack };

/// Records to be written, in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    entries: Vec<(Range<usize>, Option<Range<usize>>)>,
    scratch: Vec<u8>,
}

/// A record as it was read.
#[derive(Debug)]
pub enum Record {
    /// An event that took effect.
    Applied(TenantId, Kept),
    /// Where the shard stands.
    Shard(ShardState),
    /// What of a tenant does not follow from its events.
    Tenant(TenantId, TenantState),
    /// A violation of a window rule.
    Violation(TenantId, ChargeKey, WindowViolation),
    /// Norms that were in force once, as [`protobuf::encode_norms`] wrote them.
    Norms(Vec<u8>),
}

/// Where a shard stands, and what is to be found of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardState {
    /// Where it stands.
    pub bearings: Bearings,
    /// What it consists of.
    pub census: Census,
    /// The wall clock when it was written.
    pub written: Timestamp,
}

/// How many applied events are kept, and the sum of the checksums of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many.
    pub applied: u64,
    /// The sum.
    pub digest: u64,
}

impl Census {
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
pub struct TenantState {
    /// The first event seen.
    pub first_event: Option<Timestamp>,
    /// The last event of each topic among those that were forgotten.
    pub spoke: [Timestamp; 3],
    /// Since when which norms were in force, by the ids of their records.
    pub eras: Vec<(Timestamp, String)>,
}

/// What a record is of, as its key says: a damaged one has nothing else to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// An applied event.
    Event(TenantId, Source),
    /// What of a tenant does not follow from its events.
    Tenant(TenantId),
    /// A violation of a window rule.
    Violation(TenantId),
    /// Norms, by their id.
    Norms(String),
    /// Where the shard stands.
    Shard,
}

impl Key {
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
    pub fn applied(&mut self, tenant: &TenantId, turn: Turn, id: Option<&EventId>, packed: &[u8]) -> &[u8] {
        let mut inner = std::mem::take(&mut self.scratch);
        inner.clear();
        text(1, tenant.as_str(), &mut inner);
        number(2, u64::from(turn.feed), &mut inner);
        number(3, turn.offset as u64, &mut inner);
        number(4, zigzag(turn.at.0), &mut inner);
        text(5, id.map_or("", |id| id.as_str()), &mut inner);
        bytes(6 + u32::from(turn.rank), packed, &mut inner);
        let key = self.key(|key| source_key(tenant, (turn.feed, turn.offset), key));
        self.value(key.clone(), |out| bytes(3, &inner, out));
        self.scratch = inner;
        &self.bytes[key]
    }

    /// Nothing follows from an event any more. Returns its key.
    pub fn gone(&mut self, tenant: &TenantId, source: Source) -> &[u8] {
        let key = self.key(|key| source_key(tenant, source, key));
        self.entries.push((key.clone(), None));
        &self.bytes[key]
    }

    /// What of a tenant does not follow from its events.
    pub fn tenant(&mut self, tenant: &TenantId, state: &TenantState) {
        let spoke = (0..).zip(state.spoke).filter(|(_, at)| *at > Timestamp::MIN);
        let message = proto::TenantState {
            tenant_id: tenant.to_string(),
            first_event_ms: state.first_event.map(|at| at.0),
            spoke: spoke.map(|(topic, at)| proto::tenant_state::Spoke { topic, at_ms: at.0 }).collect(),
            eras: state
                .eras
                .iter()
                .map(|(since, norms)| proto::tenant_state::Era { since_ms: since.0, norms: norms.clone() })
                .collect(),
        };
        let key = self.key(|key| tenant_key(tenant, key));
        self.value(key, |out| bytes(5, &message.encode_to_vec(), out));
    }

    /// A violation of a window rule; `None`: it is to be forgotten.
    pub fn violation(&mut self, tenant: &TenantId, charge: &ChargeKey, violation: Option<&WindowViolation>) {
        let key = self.key(|key| {
            key.push_str("w/");
            escape(tenant.as_str(), key);
            key.push('/');
            escape(charge.manager.as_str(), key);
            let _ = write!(key, "/{}/{}/{}", charge.rule.name(), charge.window.0, charge.began.0);
        });
        let Some(violation) = violation else {
            self.entries.push((key, None));
            return;
        };
        let message = proto::WindowViolationState {
            tenant_id: tenant.to_string(),
            manager_id: charge.manager.to_string(),
            rule: charge.rule.name().into(),
            window_ms: charge.window.0,
            began_ms: charge.began.0,
            over: violation.over,
            department_id: violation.department.to_string(),
            severity: violation.severity.name().into(),
            level: violation.level,
            observed: violation.observed.iter().map(named).collect(),
            norm: violation.norm.iter().map(named).collect(),
            told: violation.told.as_ref().map(|told| proto::LastTold {
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
    pub fn shard(&mut self, state: &ShardState) {
        let ShardState { bearings, census, written } = state;
        let Bearings { watermark, seen, read, next, refused } = bearings;
        let mut feeds: Vec<Feed> = seen.keys().chain(read.keys()).copied().collect();
        feeds.sort_unstable();
        feeds.dedup();
        let source = |feed: Feed| proto::shard_state::Source {
            source: u32::from(feed.number()),
            read: read.get(&feed).copied().unwrap_or_default(),
            next: next.get(&feed).copied().unwrap_or_default(),
            seen_ms: seen.get(&feed).map(|at| at.0),
            refused: refused.iter().filter(|(of, _)| *of == feed).map(|(_, offset)| *offset).collect(),
        };
        let message = proto::ShardState {
            watermark_ms: watermark.0,
            sources: feeds.into_iter().map(source).collect(),
            applied: census.applied,
            digest: census.digest,
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
pub fn decode(key: &[u8], value: &[u8]) -> Result<Record, StateFlaw> {
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
        Wire::Shard(shard) => Ok(Record::Shard(read_shard(shard)?)),
        Wire::Tenant(tenant) => {
            let mut spoke = [Timestamp::MIN; 3];
            for one in tenant.spoke {
                *spoke.get_mut(one.topic as usize).ok_or(StateFlaw::Unknown("a topic"))? = Timestamp(one.at_ms);
            }
            let state = TenantState {
                first_event: tenant.first_event_ms.map(Timestamp),
                spoke,
                eras: tenant.eras.into_iter().map(|era| (Timestamp(era.since_ms), era.norms)).collect(),
            };
            Ok(Record::Tenant(tenant.tenant_id.into(), state))
        }
        Wire::WindowViolation(violation) => read_violation(violation),
        Wire::Norms(norms) => Ok(Record::Norms(norms)),
    }
}

/// The id of norms, by their bytes.
pub fn norms_id(norms: &[u8]) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, norms).to_string()
}

/// The applied event that a key is of.
pub fn source(key: &[u8]) -> Option<(TenantId, Source)> {
    let (tenant, place) = str::from_utf8(key).ok()?.strip_prefix("e/")?.split_once('/')?;
    let (feed, offset) = place.split_once('/')?;
    Some((unescape(tenant).into(), (feed.parse().ok()?, offset.parse().ok()?)))
}

fn read_applied(applied: proto::Applied) -> Result<Record, StateFlaw> {
    use proto::applied::Event;
    let (topic, packed) = match applied.event.ok_or(StateFlaw::Unknown("a kind of event"))? {
        Event::Crm(bytes) => (Topic::Crm, bytes),
        Event::Telephony(bytes) => (Topic::Telephony, bytes),
        Event::Message(bytes) => (Topic::Email, bytes),
    };
    let feed = u8::try_from(applied.source).map_err(|_| StateFlaw::Damaged)?;
    let turn = Turn { at: Timestamp(applied.at_ms), rank: topic as u8, offset: applied.offset, feed };
    let id = Some(applied.event_id).filter(|id| !id.is_empty()).map(|id| EventId(id.into()));
    Ok(Record::Applied(applied.tenant_id.into(), Kept { turn, id, packed: packed.into() }))
}

fn read_shard(shard: proto::ShardState) -> Result<ShardState, StateFlaw> {
    let watermark = Timestamp(shard.watermark_ms);
    let mut bearings = Bearings { watermark, ..Bearings::default() };
    for source in shard.sources {
        let feed = u8::try_from(source.source).ok().and_then(Feed::from_number);
        let feed = feed.ok_or(StateFlaw::Unknown("a source"))?;
        bearings.read.insert(feed, source.read);
        bearings.next.insert(feed, source.next);
        bearings.seen.extend(source.seen_ms.map(|at| (feed, Timestamp(at))));
        bearings.refused.extend(source.refused.into_iter().map(|offset| (feed, offset)));
    }
    let census = Census { applied: shard.applied, digest: shard.digest };
    Ok(ShardState { bearings, census, written: Timestamp(shard.written_ms) })
}

fn read_violation(kept: proto::WindowViolationState) -> Result<Record, StateFlaw> {
    let rule = Rule::ALL.iter().find(|rule| rule.name() == kept.rule).ok_or(StateFlaw::Unknown("a rule"))?;
    let severity = Severity::ALL.into_iter().find(|severity| severity.name() == kept.severity);
    let definition = rule.definition();
    let told = kept.told.map(|told| {
        Ok(LastTold {
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
    let key = ChargeKey {
        began: Timestamp(kept.began_ms),
        window: Span(kept.window_ms),
        manager: kept.manager_id.into(),
        rule: *rule,
    };
    Ok(Record::Violation(kept.tenant_id.into(), key, violation))
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

fn source_key(tenant: &TenantId, (feed, offset): Source, key: &mut CompactString) {
    key.push_str("e/");
    escape(tenant.as_str(), key);
    let _ = write!(key, "/{feed}/{offset}");
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
    use crate::domain::floor::Feed;
    use proptest::prelude::*;

    fn only(records: &Records) -> (Vec<u8>, Vec<u8>) {
        let (key, value) = records.iter().next().expect("a record");
        (key.to_vec(), value.expect("a value").to_vec())
    }

    proptest! {
        #[test]
        fn an_event_comes_back_as_it_was(event in arbitrary::event(), feed in 0..4u8, offset in 0..i64::MAX) {
            let mut packed = Vec::new();
            (PACKING.pack)(&event.payload, &mut packed);
            let topic = event.payload.topic();
            let turn = Turn { at: event.at, rank: topic as u8, offset, feed };
            let mut records = Records::default();
            records.applied(&event.tenant, turn, event.id.as_ref(), &packed);
            let (key, value) = only(&records);
            prop_assert_eq!(source(&key), Some((event.tenant.clone(), (feed, offset))));
            let Ok(Record::Applied(tenant, kept)) = decode(&key, &value) else { panic!("no event") };
            prop_assert_eq!((tenant, kept.turn, kept.id), (event.tenant, turn, event.id));
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
            records.tenant(&"acme".into(), &TenantState { first_event: Some(Timestamp(5)), ..TenantState::default() });
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
        let charge = ChargeKey { began: Timestamp(5), window: Span(60_000), manager: "m/1".into(), rule };
        let mut records = Records::default();
        records.gone(&tenant, (2, 7));
        records.no_tenant(&tenant);
        records.violation(&tenant, &charge, None);
        records.no_norms("1-2");
        records.bury(SHARD);
        records.bury(b"what/else");
        let keys: Vec<_> = records.iter().map(|(key, _)| Key::read(key)).collect();
        let known = [
            Key::Event(tenant.clone(), (2, 7)),
            Key::Tenant(tenant.clone()),
            Key::Violation(tenant.clone()),
            Key::Norms("1-2".into()),
            Key::Shard,
        ];
        assert_eq!(keys, known.map(Some).into_iter().chain([None]).collect::<Vec<_>>());
        assert_eq!(keys.iter().flatten().filter_map(Key::tenant).collect::<Vec<_>>(), [&tenant; 3]);
        assert!(records.iter().all(|(_, value)| value.is_none()), "all are tombstones");
    }

    #[test]
    fn where_a_shard_stands_comes_back() {
        let (crm, rerouted) = (Feed::Topic(Topic::Crm), Feed::Rerouted);
        let bearings = Bearings {
            watermark: Timestamp(-5),
            seen: [(crm, Timestamp(7))].into(),
            read: [(crm, 12), (rerouted, 3)].into(),
            next: [(crm, 10), (rerouted, 3)].into(),
            refused: [(crm, 11), (crm, 9)].into(),
        };
        let state = ShardState { bearings, census: Census { applied: 4, digest: 99 }, written: Timestamp(1) };
        let mut records = Records::default();
        records.shard(&state);
        let (key, value) = only(&records);
        let Ok(Record::Shard(read)) = decode(&key, &value) else { panic!("no shard") };
        assert_eq!(read, state);
    }

    #[test]
    fn a_violation_comes_back() {
        let rule = Rule::ConversionLow;
        let key = ChargeKey { began: Timestamp(5), window: Span(60_000), manager: "a/b%".into(), rule };
        let values =
            |names: &[&'static str]| -> Values { names.iter().map(|name| (*name, Value::Number(0.5))).collect() };
        let violation = WindowViolation {
            over: false,
            department: "north".into(),
            severity: Severity::Critical,
            level: 2,
            observed: values(rule.definition().observed),
            norm: vec![("basis", Value::Text("cohort".into()))],
            told: Some(LastTold {
                at: Timestamp(-7),
                department: "south".into(),
                observed: values(&rule.definition().observed[..1]),
                norm: Vec::new(),
            }),
        };
        let mut records = Records::default();
        records.violation(&"acme".into(), &key, Some(&violation));
        let (bytes, value) = only(&records);
        let Ok(Record::Violation(tenant, charge, read)) = decode(&bytes, &value) else { panic!("no violation") };
        assert_eq!((tenant.as_str(), charge, read), ("acme", key, violation));
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
