//! Tests that all faults in the records of a shard are found, and that a reset leaves the other records intact.

use super::{RebuildError, RestoreContext, RestoredShard, StateLoader, reset};
use crate::codec::state::{self, PACKING, Records, ShardRecord, StateDigest, TenantRecord};
use crate::domain::alert::{Severity, alert_id};
use crate::domain::effect::{ArchivedClosing, DepartmentUpdate};
use crate::domain::event::{Channel, Created, CrmPayload, Direction, EventOrder, Message, Outcome, Payload, Verdict};
use crate::domain::id::{EntityId, ManagerId};
use crate::domain::identity::Country;
use crate::domain::norms::{Layer, Norms, Params, SamplingParams, SharedScopes};
use crate::domain::rule::Rule;
use crate::domain::scoreboard::{DayRecord, PersonRecord, TargetChange, WindowViolation, WindowViolationKey};
use crate::domain::shard::partitioner::shard as shard_of;
use crate::domain::shard::processor::{ShardCheckpoint, Timing};
use crate::domain::source::{Offset, ShardId};
use crate::domain::time::window::Window;
use crate::domain::time::{Length, Span, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A shard's partition of the state topic.
#[derive(Default)]
struct Partition {
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    digest: StateDigest,
}

impl Partition {
    fn append(&mut self, records: &Records) {
        self.records.extend(records.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))));
    }

    fn event(&mut self, tenant: &str, offset: i64) {
        let manager = format!("m-{offset}").as_str().into();
        let name = Some("Ann".into());
        self.apply(
            tenant,
            offset,
            CrmPayload::ManagerUpserted { manager, department: None, grade: None, active: true, name },
        );
    }

    /// An applied event at this second.
    fn apply(&mut self, tenant: &str, offset: i64, payload: CrmPayload) {
        self.apply_any(tenant, offset, 0, &Payload::Crm(Box::new(payload)));
    }

    fn apply_any(&mut self, tenant: &str, offset: i64, rank: u8, payload: &Payload) {
        let mut packed = Vec::new();
        (PACKING.pack)(payload, &mut packed);
        let order = EventOrder { at: Timestamp(offset * 1000), rank, offset: Offset(offset), source: 0 };
        let mut records = Records::default();
        self.digest.add(records.applied(&tenant.into(), order, None, &packed));
        self.append(&records);
    }

    fn write(&mut self, write: impl FnOnce(&mut Records)) {
        let mut records = Records::default();
        write(&mut records);
        self.append(&records);
    }

    /// What is stored of the targets of a tenant: a day, a manager, and a closing.
    fn targets(&mut self, tenant: &str) {
        let (tenant, manager) = (tenant.into(), ManagerId::from("ann"));
        let person = PersonRecord { seen: Timestamp(1), history: Vec::new() };
        let closing = ArchivedClosing { outcome: Outcome::Won, at: Timestamp(2), manager: None, amount: None };
        self.write(|records| {
            records.target(&tenant, &TargetChange::Day(manager.clone(), Timestamp(0), Some(DayRecord::default())));
            records.target(&tenant, &TargetChange::Person(manager, Some(person)));
            records.closing(&tenant, &EntityId::deal("d"), Some(&closing));
        });
    }

    fn checkpoint(&mut self) {
        let checkpoint = ShardCheckpoint { watermark: Timestamp(9000), ..ShardCheckpoint::default() };
        let state = ShardRecord { checkpoint, digest: self.digest, written: Timestamp(1), ..ShardRecord::default() };
        self.write(|records| records.shard(&state));
    }

    fn damage(&mut self, key: &[u8]) {
        self.records.push((key.to_vec(), Some(b"no record".to_vec())));
    }

    fn load(&self) -> StateLoader {
        let mut loader = StateLoader::default();
        self.records.iter().for_each(|(key, value)| loader.push(key, value.as_deref()));
        loader
    }

    fn faults(&self) -> Vec<String> {
        self.load().faults(ShardId(0), 1, &context()).iter().map(ToString::to_string).collect()
    }
}

fn norms() -> Norms {
    let window = Window { size: Span(60_000), in_days: false, slide: Span(60_000) };
    let second = Params { within: Some(Length { span: Span(1000), in_days: false }), ..Params::default() };
    let half = Params { at_least: Some(0.5), ..Params::default() };
    Norms {
        document: "{}".into(),
        calendars: BTreeMap::new(),
        pipelines: BTreeMap::new(),
        windows: vec![window],
        min_talk: Span(0),
        conversation_needs_manager: false,
        shared_contact_limit: 20,
        excluded_reasons: Vec::new(),
        country: Country::default(),
        privacy_key: None,
        base: Layer {
            rules: [(Rule::FirstResponseLate, second), (Rule::ConversionLow, half)].into(),
            ..Layer::default()
        },
        overrides: Vec::new(),
        scopes: SharedScopes::default(),
    }
}

fn context() -> RestoreContext {
    RestoreContext {
        norms: Arc::new(norms()),
        timing: Timing::default(),
        held_memory: Arc::default(),
        read_norms: |document| Ok(Norms { document: document.into(), ..norms() }),
    }
}

/// A valid shard: two tenants with three events each, one of them with an ongoing violation.
fn valid() -> Partition {
    let mut partition = Partition::default();
    let Norms { document, .. } = norms();
    let id = state::norms_id(&document);
    partition.write(|records| records.norms(&id, &document));
    for tenant in ["acme", "b/c"] {
        (1..=3).for_each(|offset| partition.event(tenant, offset));
        let norm_versions = vec![(Timestamp::MIN, id.clone())];
        let state = TenantRecord { first_event: Some(Timestamp(1000)), norm_versions, ..TenantRecord::default() };
        partition.write(|records| records.tenant(&tenant.into(), &state));
    }
    let (key, violation) = violation();
    partition.write(|records| records.violation(&"b/c".into(), &key, Some(&violation)));
    partition.checkpoint();
    partition
}

fn violation() -> (WindowViolationKey, WindowViolation) {
    let rule = Rule::ConversionLow;
    let key = WindowViolationKey { began: Timestamp(5), window: Span(60_000), manager: "m-1".into(), rule };
    let violation = WindowViolation {
        ended: false,
        department: "north".into(),
        severity: Severity::Warning,
        level: 0,
        observed: Vec::new(),
        norm: Vec::new(),
        last_status: None,
    };
    (key, violation)
}

#[test]
fn names_and_departments_are_restored() {
    let mut partition = valid();
    let [north, sales, bob] = ["north", "sales", "bob"];
    let update = |name: Option<&str>, head: Option<&str>| CrmPayload::DepartmentUpserted {
        department: north.into(),
        name: name.map(Into::into),
        parent: Some(sales.into()),
        head: head.map(Into::into),
    };
    partition.apply("acme", 4, update(Some("North"), None));
    partition.apply("acme", 5, update(None, Some(bob)));
    partition.checkpoint();
    let restored = partition.load().restore(ShardId(0), &context()).expect("valid state").expect("state");
    let (_, figures) = restored.figures.iter().find(|(tenant, _)| tenant.as_str() == "acme").expect("the tenant");
    let (name, parent, head) = (Some("North".into()), Some(sales.into()), Some(bob.into()));
    let department = DepartmentUpdate { id: north.into(), name, parent, head };
    assert_eq!(figures.departments, BTreeMap::from([(north.into(), department)]));
    let names: Vec<_> = figures.scoreboard.names().map(|(manager, name)| (manager.as_str(), name)).collect();
    assert_eq!(names, [("m-1", "Ann"), ("m-2", "Ann"), ("m-3", "Ann")]);
}

#[test]
fn requests_for_reviews_are_restored_with_their_answers() {
    fn sampling() -> Norms {
        let mut norms = norms();
        norms.base.review_sampling = SamplingParams { per_day: Some(2), ..SamplingParams::default() };
        norms
    }
    let context = RestoreContext {
        norms: Arc::new(sampling()),
        read_norms: |document| Ok(Norms { document: document.into(), ..sampling() }),
        ..context()
    };
    let day = Span::DAY.0 / 1000;
    let message = |id: &str| {
        Payload::Message(Box::new(Message {
            id: id.into(),
            direction: Direction::Outbound,
            thread: None,
            in_reply_to: None,
            channel: Channel::Email,
            contact: None,
            manager: Some("m-1".into()),
            entity: None,
            automatic: false,
        }))
    };
    let mut partition = valid();
    partition.apply_any("acme", 10, 2, &message("s1"));
    partition.apply_any("acme", 11, 2, &message("s2"));
    partition.event("acme", day + 5);
    let (interaction, manager) = ("s2".into(), "m-1".into());
    let reviewed = CrmPayload::InteractionReviewed { interaction, manager, score: 80.0, verdict: Verdict::Success };
    partition.apply("acme", day + 6, reviewed);
    let checkpoint = ShardCheckpoint { watermark: Timestamp((day + 9) * 1000), ..ShardCheckpoint::default() };
    let state = ShardRecord { checkpoint, digest: partition.digest, written: Timestamp(1), ..ShardRecord::default() };
    partition.write(|records| records.shard(&state));
    let restored = partition.load().restore(ShardId(0), &context).expect("valid state").expect("state");
    let (_, figures) = restored.figures.iter().find(|(tenant, _)| tenant.as_str() == "acme").expect("the tenant");
    let requests: Vec<_> = figures.requests.iter().map(|(id, known)| (id.as_str(), known.answered)).collect();
    assert_eq!(requests, [("s1", None), ("s2", Some(true))]);
    assert_eq!(figures.requests["s1"].request.requested_at, Timestamp(Span::DAY.0));
}

#[test]
fn a_valid_shard_has_no_faults_and_is_counted() {
    let loader = valid().load();
    assert_eq!(loader.faults(ShardId(0), 1, &context()), []);
    assert!(loader.is_settled());
    assert_eq!((loader.live(), loader.digest().applied, loader.damaged()), (11, 6, 0));
    let holdings = loader.holdings();
    let counts: Vec<_> = holdings
        .iter()
        .map(|holding| (holding.tenant.as_str(), holding.events, holding.open, holding.damaged))
        .collect();
    assert_eq!(counts, [("acme", 3, 0, 0), ("b/c", 3, 1, 0)]);
    let offsets: Vec<_> = loader.history(&"b/c".into()).iter().map(|(event, _)| event.order.offset.0).collect();
    assert_eq!(offsets, [1, 2, 3]);
    let restored = loader.restore(ShardId(0), &context()).expect("valid").expect("there is state");
    assert_eq!(restored.figures.len(), 2);
}

#[test]
fn who_takes_care_of_an_open_alert_is_restored() {
    let taken = |alert: Uuid, manager: &str| {
        let (alert, manager) = (alert.to_string().as_str().into(), manager.into());
        CrmPayload::AlertTaken { alert, manager }
    };
    let restored = |partition: &mut Partition| {
        partition.checkpoint();
        partition.load().restore(ShardId(0), &context()).expect("valid").expect("there is state")
    };
    let mut partition = valid();
    let of_window = restored(&mut partition).open[0].id;
    let late = alert_id(&"acme".into(), Rule::FirstResponseLate, "lead:1", Timestamp(4000));
    partition.apply("b/c", 4, taken(of_window, "ann"));
    partition.apply("acme", 4, CrmPayload::LeadCreated(Created { id: "1".into(), ..Created::default() }));
    partition.apply("acme", 5, taken(late, "too early: at the deadline the alert is not open yet"));
    let by = |restored: &RestoredShard| {
        restored.taken.iter().map(|taken| (taken.alert, taken.manager.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(by(&restored(&mut partition)), [(of_window, "ann".to_owned())]);
    partition.apply("acme", 6, taken(late, "bob"));
    partition.apply("acme", 7, taken(Uuid::nil(), "eve"));
    let expected = [(late, "bob".to_owned()), (of_window, "ann".to_owned())];
    assert_eq!(by(&restored(&mut partition)), expected);
    assert_eq!(restored(&mut partition).open.len(), 2);
}

#[test]
fn all_faults_are_reported() {
    let mut partition = valid();
    partition.damage(b"e/acme/0/2");
    partition.damage(b"t/b%2Fc");
    partition.event("lost", 4);
    assert_eq!(
        partition.faults(),
        [
            "event record \"e/acme/0/2\": the record is damaged",
            "tenant record \"t/b%2Fc\": the record is damaged",
            "found 7 of 6 applied events",
            "missing record: tenant lost, referred to by other records",
        ]
    );
    let loader = partition.load();
    assert_eq!(loader.damaged(), 2);
    assert_eq!(loader.holdings().iter().map(|holding| holding.damaged).collect::<Vec<_>>(), [1, 1, 0]);
    let error = loader.restore(ShardId(0), &context()).expect_err("damaged");
    assert!(error.to_string().starts_with("event record \"e/acme/0/2\""), "{error}");
}

#[test]
fn missing_and_misplaced_records_are_reported() {
    let without = |kind: u8| {
        let mut partition = valid();
        partition.records.retain(|(key, _)| key[0] != kind);
        partition.faults()
    };
    assert_eq!(without(b's'), ["missing record: shard checkpoint"]);
    let norms = state::norms_id(&norms().document);
    assert_eq!(without(b'n'), [format!("missing record: norms {norms}")]);
    assert_eq!(without(b'e'), ["found 0 of 6 applied events"]);
    let owner = shard_of("acme", 1000);
    let faults = valid().load().faults(ShardId(owner.0 + 1), 1000, &context());
    assert!(faults.contains(&RebuildError::WrongShard("acme".into(), owner)), "{faults:?}");
    let mut partition = Partition::default();
    let order = EventOrder { at: Timestamp(1), rank: 0, offset: Offset(7), source: 0 };
    partition.write(|records| undecodable_event(records, order));
    assert!(
        partition
            .faults()
            .contains(&"event record \"e/acme/0/7\": the record contains a payload unknown to this program".to_owned())
    );
}

/// Writes an intact record whose payload cannot be decoded.
fn undecodable_event(records: &mut Records, order: EventOrder) {
    records.applied(&"acme".into(), order, None, &[]);
}

#[test]
fn the_last_record_of_a_key_wins_over_a_damaged_one() {
    let mut partition = valid();
    partition.damage(b"e/acme/0/2");
    partition.damage(b"s");
    assert_eq!(partition.load().digest(), partition.digest, "its key is present");
    assert!(partition.load().shard().is_none());
    let repaired = valid();
    partition.records.extend(repaired.records);
    assert_eq!(partition.faults(), [""; 0]);
    partition.damage(b"x");
    assert_eq!(partition.faults(), ["unknown record \"x\": the record is damaged"]);
    assert!(!partition.load().is_settled());
    partition.records.push((b"x".to_vec(), None));
    assert_eq!(partition.faults(), [""; 0]);
}

#[test]
fn resetting_a_tenant_keeps_the_others() {
    let mut partition = valid();
    partition.damage(b"e/b%2Fc/0/2");
    partition.targets("b/c");
    partition.targets("acme");
    let (records, removed) = partition.load().reset_tenant(&"b/c".into(), Timestamp(77)).expect("the digest matches");
    let expected = reset::RemovedRecords {
        events: 2,
        tenants: 1,
        violations: 1,
        targets: 3,
        open: 1,
        damaged: 1,
        ..Default::default()
    };
    assert_eq!((removed, removed.records()), (expected, 8));
    assert_eq!(records.iter().last().map(|(key, value)| (key, value.is_some())), Some((state::SHARD, true)));
    partition.append(&records);
    assert_eq!(partition.faults(), [""; 0]);
    let loader = partition.load();
    assert_eq!(loader.holdings().len(), 1);
    let shard = loader.shard().expect("a shard record");
    assert_eq!((shard.digest.applied, shard.written, shard.checkpoint.watermark), (3, Timestamp(77), Timestamp(9000)));
    assert_eq!(loader.reset_tenant(&"b/c".into(), Timestamp(0)).expect("valid").1.records(), 0);
}

#[test]
fn a_tenant_is_not_reset_if_the_digest_does_not_match() {
    let mut partition = valid();
    partition.event("acme", 9);
    let error = partition.load().reset_tenant(&"b/c".into(), Timestamp(0)).expect_err("an extra event");
    assert!(matches!(error, RebuildError::Incomplete(..)), "{error}");
    let mut partition = valid();
    partition.damage(state::SHARD);
    let error = partition.load().reset_tenant(&"b/c".into(), Timestamp(0)).expect_err("no checkpoint");
    assert_eq!(error, RebuildError::Missing("shard checkpoint".into()));
}

#[test]
fn a_shard_is_reset_whatever_its_faults() {
    for damaged in [&[][..], &[&b"s"[..], b"e/acme/0/2", b"t/acme", b"n/other", b"w/acme/1", b"unknown"]] {
        let mut partition = valid();
        partition.targets("acme");
        damaged.iter().for_each(|key| partition.damage(key));
        let loader = partition.load();
        let (records, removed) = loader.reset_shard();
        assert_eq!((removed.records(), removed.damaged), (loader.live(), damaged.len()));
        assert!(records.iter().all(|(_, value)| value.is_none()));
        assert_eq!(records.iter().last().map(|(key, _)| key), Some(state::SHARD));
        assert_eq!(records.len(), removed.records());
        partition.append(&records);
        let loader = partition.load();
        assert_eq!((loader.live(), loader.digest()), (0, StateDigest::default()));
        assert_eq!(loader.faults(ShardId(0), 1, &context()), []);
        assert!(loader.restore(ShardId(0), &context()).expect("no faults").is_none());
    }
}
