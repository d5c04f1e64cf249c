//! Owns the encoding of the records in the state topic, from which a shard is restored; one file per kind of record.
//!
//! **Versions.** Every record contains its layout version. This program reads [`OLDEST`] to [`VERSION`]. A newer record
//! is rejected, because misreading it could produce wrong alerts. **Corruption.** Every record ends with a checksum of
//! its key and all preceding bytes of its value.

mod applied;
mod clock;
mod flaw;
mod keys;
mod norms;
mod records;
mod shard;
mod targets;
mod tenant;
mod violation;

pub use applied::PACKING;
pub use flaw::{OLDEST, StateFlaw, VERSION};
pub use keys::{SHARD, StateKey, source};
pub use norms::norms_id;
pub use records::Records;
pub use shard::{ShardRecord, SourceLog, StateDigest};
pub use tenant::TenantRecord;

use super::proto::{self, state_record::Record};
use crate::domain::effect::ArchivedClosing;
use crate::domain::id::{EntityId, TenantId};
use crate::domain::scoreboard::{TargetChange, WindowViolation, WindowViolationKey};
use crate::domain::shard::tenant_clock::TenantClock;
use crate::domain::tenant::changelog::AppliedEvent;
use prost::Message;

/// A decoded record.
#[derive(Debug)]
pub enum StateRecord {
    /// An event that took effect.
    Applied(TenantId, AppliedEvent),
    /// An event that waits for the watermark of its tenant.
    Held(TenantId, AppliedEvent),
    /// The time of a tenant.
    Clock(TenantId, TenantClock),
    /// The checkpoint and digest of the shard.
    Shard(ShardRecord),
    /// The state of a tenant that cannot be derived from its events.
    Tenant(TenantId, TenantRecord),
    /// A violation of a window rule.
    Violation(TenantId, WindowViolationKey, WindowViolation),
    /// Figures, managers, closed periods or a violation of targets.
    Target(TenantId, TargetChange),
    /// A closing whose case was dropped.
    Closing(TenantId, EntityId, ArchivedClosing),
    /// The document of norms that are or were in force.
    Norms(String),
}

/// Decodes a record.
pub fn decode(key: &[u8], value: &[u8]) -> Result<StateRecord, StateFlaw> {
    let body = records::verified(key, value)?;
    let record = proto::StateRecord::decode(body).map_err(|_| StateFlaw::Damaged)?;
    match record.version {
        OLDEST..=VERSION => {}
        older @ ..OLDEST => return Err(StateFlaw::Older(older)),
        newer => return Err(StateFlaw::Newer(newer)),
    }
    match record.record.ok_or(StateFlaw::Unknown("a record type"))? {
        Record::Applied(applied) => {
            let (tenant, event) = applied::read(applied, record.version)?;
            Ok(StateRecord::Applied(tenant, event))
        }
        Record::Held(held) => {
            applied::read(held, record.version).map(|(tenant, event)| StateRecord::Held(tenant, event))
        }
        Record::Clock(clock) => clock::read(clock).map(|(tenant, clock)| StateRecord::Clock(tenant, clock)),
        Record::Shard(shard) => shard::read(shard, record.version).map(StateRecord::Shard),
        Record::Tenant(tenant) => tenant::read(tenant).map(|(tenant, state)| StateRecord::Tenant(tenant, state)),
        Record::WindowViolation(violation) => {
            let (tenant, key, violation) = violation::read(violation)?;
            Ok(StateRecord::Violation(tenant, key, violation))
        }
        Record::TargetDay(day) => targets::read_day(day).map(target),
        Record::TargetPerson(person) => Ok(target(targets::read_person(person))),
        Record::TargetPeriods(periods) => targets::read_published(periods).map(target),
        Record::TargetViolation(violation) => targets::read_violation(violation).map(target),
        Record::PastClosing(closing) => {
            let (tenant, entity, closing) = targets::read_closing(closing)?;
            Ok(StateRecord::Closing(tenant, entity, closing))
        }
        Record::Norms(document) => Ok(StateRecord::Norms(document)),
    }
}

fn target((tenant, change): (TenantId, TargetChange)) -> StateRecord {
    StateRecord::Target(tenant, change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arbitrary;
    use crate::domain::alert::{Severity, Value, Values};
    use crate::domain::event::EventOrder;
    use crate::domain::event::Outcome;
    use crate::domain::figures::row::Subject;
    use crate::domain::id::ManagerId;
    use crate::domain::norms::targets::{Per, TargetFigure};
    use crate::domain::rule::{Rule, catalog};
    use crate::domain::scoreboard::{
        DayRecord, LastStatus, Membership, PersonRecord, Published, TargetViolation, TargetViolationKey,
    };
    use crate::domain::shard::processor::ShardCheckpoint;
    use crate::domain::shard::refused_offsets::RefusedOffsets;
    use crate::domain::shard::tenant_clock::{Mark, Seen};
    use crate::domain::source::{Offset, Source, Topic};
    use crate::domain::time::{Span, Timestamp};
    use proptest::prelude::*;

    fn only(records: &Records) -> (Vec<u8>, Vec<u8>) {
        let (key, value) = records.iter().next().expect("a record");
        (key.to_vec(), value.expect("a value").to_vec())
    }

    #[test]
    fn a_tenant_round_trips() {
        let retracted = [1, u128::MAX].map(uuid::Uuid::from_u128).into();
        let state = TenantRecord { first_event: Some(Timestamp(5)), retracted, ..TenantRecord::default() };
        let mut records = Records::default();
        records.tenant(&"acme".into(), &state);
        let (key, value) = only(&records);
        let Ok(StateRecord::Tenant(tenant, read)) = decode(&key, &value) else { panic!("no tenant") };
        assert_eq!((tenant, read), ("acme".into(), state));
    }

    #[test]
    fn the_time_of_a_tenant_round_trips() {
        let mark = |topic, source: &str, backfill| Mark {
            topic,
            source: source.into(),
            up_to: Timestamp(-7),
            backfill,
            arrived: Timestamp(9),
        };
        let mut clock = TenantClock { watermark: Timestamp(-5), ..TenantClock::default() };
        clock.seen[Topic::Telephony] = Seen { at: Timestamp(3), arrived: Timestamp(4) };
        clock.marks = vec![mark(Topic::Crm, "a", true), mark(Topic::Crm, "b", false), mark(Topic::Email, "a", false)];
        for clock in [TenantClock { backfilled_until: Timestamp(0), ..clock }, TenantClock::default()] {
            let mut records = Records::default();
            records.clock(&"acme".into(), &clock);
            let (key, value) = only(&records);
            let Ok(StateRecord::Clock(tenant, read)) = decode(&key, &value) else { panic!("no time") };
            assert_eq!((tenant, read), ("acme".into(), clock));
        }
    }

    proptest! {
        #[test]
        fn an_applied_event_round_trips(
            event in arbitrary::event(),
            source in proptest::sample::select(&Source::LIVE[..]),
            offset in (0..i64::MAX).prop_map(Offset),
        ) {
            let mut packed = Vec::new();
            (PACKING.pack)(&event.payload, &mut packed);
            let topic = event.payload.topic();
            let order = EventOrder::of(event.at, topic, source, offset);
            let mut records = Records::default();
            records.held(&event.tenant, order, event.id.as_ref(), &packed);
            let (key, value) = only(&records);
            prop_assert_eq!(super::source(&key), Some((event.tenant.clone(), (source.id(), offset))));
            let Ok(StateRecord::Held(tenant, held)) = decode(&key, &value) else { panic!("no held event") };
            prop_assert_eq!((tenant, held.order, &held.id), (event.tenant.clone(), order, &event.id));
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
            offsets in prop::array::uniform2((0..3i64).prop_map(Offset)),
        ) {
            let key = |n: usize| {
                let mut key = Vec::new();
                keys::event(&tenants[n].as_str().into(), (0, offsets[n]), &mut key);
                key
            };
            let same = (&tenants[0], offsets[0]) == (&tenants[1], offsets[1]);
            prop_assert_eq!(key(0) == key(1), same);
            let read = source(&key(0));
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
        records.remove_applied(&tenant, (2, Offset(7)));
        records.remove_held(&tenant, (2, Offset(7)));
        records.remove_clock(&tenant);
        records.remove_tenant(&tenant);
        records.violation(&tenant, &key, None);
        records.remove_norms("1-2");
        records.tombstone(SHARD);
        records.tombstone(b"unknown/key");
        let keys: Vec<_> = records.iter().map(|(key, _)| StateKey::read(key)).collect();
        let known = [
            StateKey::Event(tenant.clone(), (2, Offset(7))),
            StateKey::Held(tenant.clone(), (2, Offset(7))),
            StateKey::Clock(tenant.clone()),
            StateKey::Tenant(tenant.clone()),
            StateKey::Violation(tenant.clone()),
            StateKey::Norms("1-2".into()),
            StateKey::Shard,
        ];
        assert_eq!(keys, known.map(Some).into_iter().chain([None]).collect::<Vec<_>>());
        assert_eq!(keys.iter().flatten().filter_map(StateKey::tenant).collect::<Vec<_>>(), [&tenant; 5]);
        assert!(records.iter().all(|(_, value)| value.is_none()), "all are tombstones");
    }

    #[test]
    fn a_shard_record_round_trips() {
        let (crm, rerouted) = (Source::Topic(Topic::Crm), Source::Rerouted);
        let mut refused = RefusedOffsets::default();
        refused.insert(rerouted, Offset(2));
        for (first, last) in [(9, 9), (11, 400), (i64::MAX, i64::MAX)] {
            refused.insert_range(crm, Offset(first), Offset(last));
        }
        let checkpoint = ShardCheckpoint {
            watermark: Timestamp(-5),
            read: [(crm, Offset(12)), (rerouted, Offset(3))].into(),
            next: [(crm, Offset(10)), (rerouted, Offset(3))].into(),
            refused,
        };
        let digest = StateDigest { applied: 4, digest: 99 };
        let log = SourceLog { topic: Some(uuid::Uuid::from_u128(1 << 100)), shift: -5 };
        let logs = [(crm, log)].into();
        let state = ShardRecord { checkpoint, digest, written: Timestamp(1), logs, rows_follow: true };
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
    fn records_of_targets_round_trip() {
        let tenant = TenantId::from("a/b%");
        let subject = |id: &str| Subject::Department(id.into());
        let counts = vec![(TargetFigure::LeadsConverted, -1), (TargetFigure::PlansDone, 7)];
        let amounts = vec![("RUB".into(), i128::MIN), ("".into(), 5)];
        let history = vec![
            Membership { from: Timestamp(-5), department: None, active: true },
            Membership { from: Timestamp(5), department: Some("north".into()), active: false },
        ];
        let last_status = LastStatus {
            at: Timestamp(9),
            department: "north".into(),
            observed: vec![("fact", Value::Count(-3)), ("pace", Value::Number(0.5))],
            norm: vec![("per", Value::Text("day".into()))],
        };
        let violation = TargetViolation {
            ended: false,
            department: Some("north".into()),
            per: Per::Week,
            period: -7,
            severity: Severity::Critical,
            level: 2,
            fact: -3,
            evaluated: Timestamp(8),
            last_status: Some(last_status),
        };
        let key = TargetViolationKey { began: Timestamp(-1), subject: Subject::Tenant, target: "t:1".into() };
        let changes = [
            TargetChange::Day("m/1".into(), Timestamp(-9), Some(DayRecord { known: Timestamp(3), counts, amounts })),
            TargetChange::Day(ManagerId::default(), Timestamp(9), Some(DayRecord::default())),
            TargetChange::Person("m/1".into(), Some(PersonRecord { seen: Timestamp::MIN, history })),
            TargetChange::Published(
                subject("n/s"),
                "t".into(),
                Some(Published { per: Per::Day, first: -1, last: 20_000 }),
            ),
            TargetChange::Violation(key.clone(), Some(violation)),
        ];
        for change in changes {
            let mut records = Records::default();
            records.target(&tenant, &change);
            let (bytes, value) = only(&records);
            assert_eq!(StateKey::read(&bytes), Some(StateKey::Target(tenant.clone())));
            let Ok(StateRecord::Target(read_tenant, read)) = decode(&bytes, &value) else { panic!("no target") };
            assert_eq!((read_tenant, read), (tenant.clone(), change));
        }
        let closing = |amount, manager| ArchivedClosing { outcome: Outcome::Won, at: Timestamp(-2), manager, amount };
        for closing in [closing(Some((i64::MIN, "RUB".into())), Some("ann".into())), closing(None, None)] {
            let entity = EntityId::deal("a:b/1%");
            let mut records = Records::default();
            records.closing(&tenant, &entity, Some(&closing));
            let (bytes, value) = only(&records);
            assert_eq!(StateKey::read(&bytes), Some(StateKey::Closing(tenant.clone(), entity.clone())));
            let Ok(StateRecord::Closing(read_tenant, read_entity, read)) = decode(&bytes, &value) else {
                panic!("no closing")
            };
            assert_eq!((read_tenant, read_entity, read), (tenant.clone(), entity, closing));
        }
    }

    #[test]
    fn a_newer_version_is_rejected() {
        let body = proto::StateRecord { version: VERSION + 1, ..proto::StateRecord::default() }.encode_to_vec();
        let checksum = crc32fast::hash(&[b"s", body.as_slice()].concat());
        let value = [body.as_slice(), &[records::CHECKSUM], &checksum.to_le_bytes()].concat();
        let flaw = decode(b"s", &value).expect_err("newer");
        assert_eq!(flaw, StateFlaw::Newer(VERSION + 1));
        assert!(flaw.to_string().contains(&format!("version {}", VERSION + 1)), "{flaw}");
    }
}
