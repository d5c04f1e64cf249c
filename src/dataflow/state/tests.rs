//! Owns the proof that what is wrong with a shard's records is found, all of it, and that a reset leaves the rest whole.

use super::*;
use crate::domain::alert::Severity;
use crate::domain::event::{CrmPayload, EventOrder, Payload};
use crate::domain::identity::Country;
use crate::domain::norms::{Layer, Window};
use crate::domain::partitioner::shard as shard_of;
use crate::domain::rule::Rule;
use crate::domain::shard_processor::ShardCheckpoint;
use crate::domain::time::Span;

/// A shard's partition of the state topic.
#[derive(Default)]
struct Partition {
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    digest: StateDigest,
}

impl Partition {
    fn take(&mut self, records: &Records) {
        self.records.extend(records.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))));
    }

    fn event(&mut self, tenant: &str, offset: i64) {
        let manager = format!("m-{offset}").as_str().into();
        let payload = CrmPayload::ManagerUpserted { manager, department: None, grade: None, active: true };
        let mut packed = Vec::new();
        (PACKING.pack)(&Payload::Crm(Box::new(payload)), &mut packed);
        let order = EventOrder { at: Timestamp(offset * 1000), rank: 0, offset, source: 0 };
        let mut records = Records::default();
        self.digest.add(records.applied(&tenant.into(), order, None, &packed));
        self.take(&records);
    }

    fn write(&mut self, write: impl FnOnce(&mut Records)) {
        let mut records = Records::default();
        write(&mut records);
        self.take(&records);
    }

    fn stand(&mut self) {
        let checkpoint = ShardCheckpoint { watermark: Timestamp(9000), ..ShardCheckpoint::default() };
        let state = ShardRecord { checkpoint, digest: self.digest, written: Timestamp(1) };
        self.write(|records| records.shard(&state));
    }

    fn damage(&mut self, key: &[u8]) {
        self.records.push((key.to_vec(), Some(b"no record".to_vec())));
    }

    fn gather(&self) -> StateLoader {
        let mut loader = StateLoader::default();
        self.records.iter().for_each(|(key, value)| loader.push(key, value.as_deref()));
        loader
    }

    fn faults(&self) -> Vec<String> {
        self.gather().faults(0, 1, &plan()).iter().map(ToString::to_string).collect()
    }
}

fn norms() -> Norms {
    let window = Window { size: Span(60_000), in_days: false, slide: Span(60_000) };
    Norms {
        calendars: BTreeMap::new(),
        pipelines: BTreeMap::new(),
        windows: vec![window],
        min_talk: Span(0),
        country: Country::default(),
        privacy_key: None,
        base: Layer::default(),
        overrides: Vec::new(),
    }
}

fn plan() -> RestoreContext {
    RestoreContext { norms: Arc::new(norms()), timing: Timing::default() }
}

/// Two tenants of three events each; one has a violation that lasts.
fn sound() -> Partition {
    let mut partition = Partition::default();
    let norms = protobuf::encode_norms(&norms());
    let id = state::norms_id(&norms);
    partition.write(|records| records.norms(&id, &norms));
    for tenant in ["acme", "b/c"] {
        (1..=3).for_each(|offset| partition.event(tenant, offset));
        let norm_versions = vec![(Timestamp::MIN, id.clone())];
        let state = TenantRecord { first_event: Some(Timestamp(1000)), norm_versions, ..TenantRecord::default() };
        partition.write(|records| records.tenant(&tenant.into(), &state));
    }
    let (key, violation) = violation();
    partition.write(|records| records.violation(&"b/c".into(), &key, Some(&violation)));
    partition.stand();
    partition
}

fn violation() -> (WindowViolationKey, WindowViolation) {
    let rule = Rule::ConversionLow;
    let key = WindowViolationKey { began: Timestamp(5), window: Span(60_000), manager: "m-1".into(), rule };
    let violation = WindowViolation {
        over: false,
        department: "north".into(),
        severity: Severity::Warning,
        level: 0,
        observed: Vec::new(),
        norm: Vec::new(),
        told: None,
    };
    (key, violation)
}

#[test]
fn nothing_is_wrong_with_a_sound_shard_and_it_is_told_what_there_is() {
    let loader = sound().gather();
    assert_eq!(loader.faults(0, 1, &plan()), []);
    assert!(loader.is_settled());
    assert_eq!((loader.live(), loader.digest().applied, loader.damaged()), (11, 6, 0));
    let holdings = loader.holdings();
    let counts: Vec<_> = holdings.iter().map(|one| (one.tenant.as_str(), one.events, one.open, one.damaged)).collect();
    assert_eq!(counts, [("acme", 3, 0, 0), ("b/c", 3, 1, 0)]);
    let offsets: Vec<_> = loader.history(&"b/c".into()).iter().map(|(kept, _)| kept.order.offset).collect();
    assert_eq!(offsets, [1, 2, 3]);
    let restored = loader.restore(0, &plan()).expect("it is sound").expect("there is state");
    assert_eq!(restored.boards.len(), 2);
}

#[test]
fn all_that_is_wrong_is_told() {
    let mut partition = sound();
    partition.damage(b"e/acme/0/2");
    partition.damage(b"t/b%2Fc");
    partition.event("lost", 4);
    assert_eq!(
        partition.faults(),
        [
            "event record \"e/acme/0/2\": the record is damaged",
            "tenant record \"t/b%2Fc\": the record is damaged",
            "7 of 6 applied events are there",
            "there is no record of tenant lost, only of what it has",
        ]
    );
    let loader = partition.gather();
    assert_eq!(loader.damaged(), 2);
    assert_eq!(loader.holdings().iter().map(|one| one.damaged).collect::<Vec<_>>(), [1, 1, 0]);
    let error = loader.restore(0, &plan()).expect_err("it is damaged");
    assert!(error.to_string().starts_with("event record \"e/acme/0/2\""), "{error}");
}

#[test]
fn what_is_missing_or_elsewhere_is_told() {
    let without = |kind: u8| {
        let mut partition = sound();
        partition.records.retain(|(key, _)| key[0] != kind);
        partition.faults()
    };
    assert_eq!(without(b's'), ["there is no record of where the shard stands"]);
    let norms = state::norms_id(&protobuf::encode_norms(&norms()));
    assert_eq!(without(b'n'), [format!("there is no record of norms {norms}")]);
    assert_eq!(without(b'e'), ["0 of 6 applied events are there"]);
    let home = shard_of("acme", 1000);
    let faults = sound().gather().faults(home + 1, 1000, &plan());
    assert!(faults.contains(&RebuildError::Misplaced("acme".into(), home)), "{faults:?}");
    let mut partition = Partition::default();
    let order = EventOrder { at: Timestamp(1), rank: 0, offset: 7, source: 0 };
    partition.write(|records| partition_census(records, order));
    assert!(partition.faults().contains(
        &"event record \"e/acme/0/7\": the record names a payload that this program does not know".to_owned()
    ));
}

/// An event whose bytes are whole and mean nothing.
fn partition_census(records: &mut Records, order: EventOrder) {
    records.applied(&"acme".into(), order, None, &[]);
}

#[test]
fn the_last_record_of_a_key_counts_also_after_a_damaged_one() {
    let mut partition = sound();
    partition.damage(b"e/acme/0/2");
    partition.damage(b"s");
    assert_eq!(partition.gather().digest(), partition.digest, "its key is there");
    assert!(partition.gather().shard().is_none());
    let mended = sound();
    partition.records.extend(mended.records);
    assert_eq!(partition.faults(), [""; 0]);
    partition.damage(b"x");
    assert_eq!(partition.faults(), ["unknown record \"x\": the record is damaged"]);
    assert!(!partition.gather().is_settled());
    partition.records.push((b"x".to_vec(), None));
    assert_eq!(partition.faults(), [""; 0]);
}

#[test]
fn a_tenant_goes_and_the_rest_stays() {
    let mut partition = sound();
    partition.damage(b"e/b%2Fc/0/2");
    let (records, gone) = partition.gather().without_tenant(&"b/c".into(), Timestamp(77)).expect("it is countable");
    let expected = reset::Gone { events: 2, tenants: 1, violations: 1, open: 1, damaged: 1, ..Default::default() };
    assert_eq!((gone, gone.records()), (expected, 5));
    assert_eq!(records.iter().last().map(|(key, value)| (key, value.is_some())), Some((state::SHARD, true)));
    partition.take(&records);
    assert_eq!(partition.faults(), [""; 0]);
    let loader = partition.gather();
    assert_eq!(loader.holdings().len(), 1);
    let shard = loader.shard().expect("it stands");
    assert_eq!((shard.digest.applied, shard.written, shard.checkpoint.watermark), (3, Timestamp(77), Timestamp(9000)));
    assert_eq!(loader.without_tenant(&"b/c".into(), Timestamp(0)).expect("it is sound").1.records(), 0);
}

#[test]
fn a_tenant_does_not_go_alone_where_nobody_knows_what_would_be_left() {
    let mut partition = sound();
    partition.event("acme", 9);
    let error = partition.gather().without_tenant(&"b/c".into(), Timestamp(0)).expect_err("one too many");
    assert!(matches!(error, RebuildError::Incomplete(..)), "{error}");
    let mut partition = sound();
    partition.damage(state::SHARD);
    let error = partition.gather().without_tenant(&"b/c".into(), Timestamp(0)).expect_err("it stands nowhere");
    assert_eq!(error, RebuildError::Missing("where the shard stands".into()));
}

#[test]
fn a_shard_goes_whatever_is_wrong_with_it() {
    for damaged in [&[][..], &[&b"s"[..], b"e/acme/0/2", b"t/acme", b"n/other", b"w/acme/1", b"unheard of"]] {
        let mut partition = sound();
        damaged.iter().for_each(|key| partition.damage(key));
        let loader = partition.gather();
        let (records, gone) = loader.without_all();
        assert_eq!((gone.records(), gone.damaged), (loader.live(), damaged.len()));
        assert!(records.iter().all(|(_, value)| value.is_none()));
        assert_eq!(records.iter().last().map(|(key, _)| key), Some(state::SHARD));
        assert_eq!(records.len(), gone.records());
        partition.take(&records);
        let loader = partition.gather();
        assert_eq!((loader.live(), loader.digest()), (0, StateDigest::default()));
        assert_eq!(loader.faults(0, 1, &plan()), []);
        assert!(loader.restore(0, &plan()).expect("nothing is wrong").is_none());
    }
}
