//! Owns the tests of the protobuf format: rejections, corrupt input, and the output as a consumer decodes it.

use super::*;
use crate::codec::arbitrary;
use crate::codec::names::Name;
use crate::codec::proto;
use crate::domain::alert::{Alert, Severity, Status, Value};
use crate::domain::event::reject::Reason;
use crate::domain::event::repair::Repair;
use crate::domain::event::{Channel, CrmPayload, Direction, Outcome, Payload};
use crate::domain::figures::row::{Figures, Row, Subject};
use crate::domain::figures::statistics::Ratio;
use crate::domain::figures::table::{NowFigures, WindowFigures};
use crate::domain::id::EntityKind;
use crate::domain::review::{About, Ending, Medium, ReviewRequest};
use crate::domain::rule::Rule;
use crate::domain::source::Topic;
use crate::domain::time::window::Window;
use crate::domain::time::{Span, Timestamp};
use proptest::prelude::*;
use prost::Message;
use proto::crm_event::Payload as Case;
use proto::{crm_event, telephony_event, well_known};

fn at(seconds: i64, nanos: i32) -> Option<well_known::Timestamp> {
    Some(well_known::Timestamp { seconds, nanos })
}

fn entity() -> Option<proto::Entity> {
    Some(proto::Entity { kind: EntityKind::Lead.number(), id: "1".into() })
}

fn crm_event(payload: crm_event::Payload) -> proto::CrmEvent {
    proto::CrmEvent {
        event_id: "e".into(),
        tenant_id: "t".into(),
        occurred_at: at(1, 0),
        source: "s".into(),
        payload: Some(payload),
    }
}

fn call_event(call: proto::CallEnded) -> proto::TelephonyEvent {
    let payload = Some(telephony_event::Payload::CallEnded(call));
    proto::TelephonyEvent { tenant_id: "t".into(), occurred_at: at(1, 0), payload, ..Default::default() }
}

fn call() -> proto::CallEnded {
    let direction = Direction::Inbound.number();
    proto::CallEnded { call_id: "c".into(), direction, outcome: 1, ..Default::default() }
}

fn rejection(topic: Topic, message: &impl Message) -> String {
    decode(topic, &message.encode_to_vec()).expect_err("rejected").to_string()
}

#[test]
fn missing_required_fields_are_rejected() {
    let table = [
        (Case::LeadCreated(Default::default()), "lead_created.lead_id"),
        (Case::DealCreated(Default::default()), "deal_created.deal_id"),
        (Case::StageChanged(Default::default()), "stage_changed.entity"),
        (
            Case::StageChanged(proto::StageChanged { entity: entity(), ..Default::default() }),
            "stage_changed.to_stage_id",
        ),
        (Case::Assigned(Default::default()), "assigned.entity"),
        (Case::Assigned(proto::Assigned { entity: entity(), ..Default::default() }), "assigned.manager_id"),
        (Case::Closed(Default::default()), "closed.entity"),
        (Case::Closed(proto::Closed { entity: entity(), ..Default::default() }), "closed.outcome"),
        (Case::Reopened(Default::default()), "reopened.entity"),
        (Case::Deleted(proto::Deleted { entity: Some(Default::default()) }), "deleted.entity"),
        (
            Case::Deleted(proto::Deleted { entity: Some(proto::Entity { kind: 0, id: "1".into() }) }),
            "deleted.entity.kind",
        ),
        (
            Case::Deleted(proto::Deleted { entity: Some(proto::Entity { kind: 2, id: String::new() }) }),
            "deleted.entity.id",
        ),
        (Case::ContactLinked(Default::default()), "contact_linked.entity"),
        (Case::TermsOffered(Default::default()), "terms_offered.deal_id"),
        (
            Case::ActivityCompleted(proto::ActivityCompleted { entity: entity(), ..Default::default() }),
            "activity_completed.kind",
        ),
        (Case::InteractionReviewed(Default::default()), "interaction_reviewed.reviewer_id"),
        (Case::ManagerUpserted(Default::default()), "manager_upserted.manager_id"),
        (Case::DepartmentUpserted(Default::default()), "department_upserted.department_id"),
        (Case::LeadSnapshot(proto::Snapshot { deal_id: "1".into(), ..Default::default() }), "lead_snapshot.lead_id"),
        (Case::DealSnapshot(proto::Snapshot { lead_id: "1".into(), ..Default::default() }), "deal_snapshot.deal_id"),
    ];
    for (payload, field) in table {
        assert_eq!(rejection(Topic::Crm, &crm_event(payload)), format!("missing_field: {field}: missing"));
    }
    let empty = proto::CallEnded::default();
    assert_eq!(rejection(Topic::Telephony, &call_event(empty)), "missing_field: call_ended.call_id: missing");
    let no_direction = proto::CallEnded { direction: 0, ..call() };
    assert_eq!(rejection(Topic::Telephony, &call_event(no_direction)), "missing_field: call_ended.direction: missing");
    let no_outcome = proto::CallEnded { outcome: 0, ..call() };
    assert_eq!(rejection(Topic::Telephony, &call_event(no_outcome)), "missing_field: call_ended.outcome: missing");
}

#[test]
fn the_envelope_must_be_complete() {
    let complete = call_event(call());
    assert!(decode(Topic::Telephony, &complete.encode_to_vec()).is_ok());
    let table = [
        (proto::TelephonyEvent { tenant_id: String::new(), ..complete.clone() }, "no_tenant: tenant_id: missing"),
        (proto::TelephonyEvent { occurred_at: None, ..complete.clone() }, "no_time: occurred_at: missing"),
        (proto::TelephonyEvent { payload: None, ..complete }, "no_payload: no known payload"),
    ];
    for (message, expected) in table {
        assert_eq!(rejection(Topic::Telephony, &message), expected);
    }
    assert_eq!(decode(Topic::Crm, &[]).expect_err("empty").reason, Reason::NoTenant);
}

#[test]
fn invalid_values_are_rejected() {
    let contact = |channel, handle: &str| proto::Contact {
        address: Some(proto::contact::Address::Handle(handle.into())),
        channel,
    };
    let lead = |contact| proto::LeadCreated { lead_id: "1".into(), contacts: vec![contact], ..Default::default() };
    let terms = || proto::TermsOffered { deal_id: "1".into(), ..Default::default() };
    let range = "out of range: expected 0 to 100";
    let table = [
        (
            Case::Closed(proto::Closed { entity: entity(), outcome: 9, ..Default::default() }),
            "closed.outcome: unknown enum value",
        ),
        (
            Case::Merged(proto::Merged {
                entity: entity(),
                into: Some(proto::Entity { kind: proto::EntityKind::Deal.into(), id: "2".into() }),
            }),
            "merged.into.kind: expected the kind of `entity`",
        ),
        (Case::LeadCreated(lead(contact(9, "x"))), "lead_created.contacts.channel: unknown enum value"),
        (
            Case::TermsOffered(proto::TermsOffered { discount_percent: Some(f64::NAN), ..terms() }),
            &format!("terms_offered.discount_percent: {range}"),
        ),
        (
            Case::TermsOffered(proto::TermsOffered { prepayment_percent: Some(-0.5), ..terms() }),
            &format!("terms_offered.prepayment_percent: {range}"),
        ),
        (
            Case::TermsOffered(proto::TermsOffered { installment_months: Some(-1), ..terms() }),
            "terms_offered.installment_months: out of range: expected 0 to 2147483647",
        ),
        (
            Case::LeadSnapshot(proto::Snapshot { lead_id: "1".into(), outcome: -1, ..Default::default() }),
            "lead_snapshot.outcome: unknown enum value",
        ),
    ];
    for (payload, expected) in table {
        assert_eq!(rejection(Topic::Crm, &crm_event(payload)), format!("bad_value: {expected}"));
    }
    for talk_seconds in [1e13, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let message = call_event(proto::CallEnded { talk_seconds: Some(talk_seconds), ..call() });
        assert_eq!(
            rejection(Topic::Telephony, &message),
            "bad_value: call_ended.talk_seconds: out of range: expected at most 1e12"
        );
    }
    for time in [at(-62_135_596_801, 0), at(253_370_764_800, 0), at(i64::MAX, 0), at(i64::MIN, 0)] {
        let message = proto::TelephonyEvent { occurred_at: time, ..call_event(call()) };
        assert_eq!(
            rejection(Topic::Telephony, &message),
            "bad_value: occurred_at: out of range: expected years 1 to 9998"
        );
    }
    for time in [at(1, -1), at(1, 1_000_000_000)] {
        let problem = "nanos out of range: expected 0 to 999999999";
        let message = proto::TelephonyEvent { occurred_at: time, ..call_event(call()) };
        assert_eq!(rejection(Topic::Telephony, &message), format!("bad_value: occurred_at: {problem}"));
        let message = call_event(proto::CallEnded { answered_at: time, ..call() });
        assert_eq!(rejection(Topic::Telephony, &message), format!("bad_value: call_ended.answered_at: {problem}"));
    }
    let handle = Case::LeadCreated(lead(contact(0, "x")));
    assert_eq!(rejection(Topic::Crm, &crm_event(handle)), "missing_field: lead_created.contacts.channel: missing");
}

#[test]
fn times_are_truncated_to_milliseconds_before_the_epoch_too() {
    for (time, millis) in
        [(at(1, 999_999_999), 1999), (at(-1, 999_999_999), -1), (at(-62_135_596_800, 0), -62_135_596_800_000)]
    {
        let message = proto::TelephonyEvent { occurred_at: time, ..call_event(call()) };
        let event = decode(Topic::Telephony, &message.encode_to_vec()).expect("valid");
        assert_eq!(event.at, Timestamp(millis));
    }
}

#[test]
fn dates_that_no_calendar_represents_are_dropped_and_counted() {
    for date in [at(-62_135_596_801, 0), at(253_370_764_800, 0), at(i64::MAX, 0)] {
        let snapshot = proto::Snapshot { lead_id: "1".into(), created_at: date, ..Default::default() };
        let message = crm_event(Case::LeadSnapshot(snapshot)).encode_to_vec();
        let (event, repairs) = decode_with_repairs(Topic::Crm, &message).expect("valid");
        assert_eq!(repairs.iter().collect::<Vec<_>>(), [Repair::DateOutOfRange]);
        let payload = event.event().expect("an event").payload;
        let Payload::Crm(payload) = payload else { panic!("{payload:?}") };
        assert!(matches!(*payload, CrmPayload::Snapshot(snapshot) if snapshot.created_at.is_none()));
    }
}

#[test]
fn ids_are_trimmed_and_blank_ones_are_absent() {
    let call = proto::CallEnded { call_id: "\t c \u{a0}".into(), manager_id: " ".into(), ..call() };
    let message = proto::TelephonyEvent { tenant_id: " t ".into(), event_id: "\n".into(), ..call_event(call) };
    let event = decode(Topic::Telephony, &message.encode_to_vec()).expect("valid");
    assert_eq!((event.tenant.as_str(), event.id), ("t", None));
    let Payload::Call(call) = event.payload else { panic!("{:?}", event.payload) };
    assert_eq!((call.id.as_str(), call.manager), ("c", None));
    let blank = proto::CallEnded { call_id: " ".into(), ..self::call() };
    assert_eq!(rejection(Topic::Telephony, &call_event(blank)), "missing_field: call_ended.call_id: missing");
    let reviewed = proto::InteractionReviewed { reviewer_id: " ".into(), ..Default::default() };
    let expected = "missing_field: interaction_reviewed.reviewer_id: missing";
    assert_eq!(rejection(Topic::Crm, &crm_event(Case::InteractionReviewed(reviewed))), expected);
}

#[test]
fn absent_fields_of_a_manager_differ_from_empty_ones() {
    let read = |upserted| {
        let upserted = proto::ManagerUpserted { manager_id: "m1".into(), ..upserted };
        let message = crm_event(Case::ManagerUpserted(upserted)).encode_to_vec();
        let Payload::Crm(payload) = decode(Topic::Crm, &message).expect("valid").payload else { panic!("no payload") };
        let CrmPayload::ManagerUpserted { department, grade, active, .. } = *payload else { panic!("{payload:?}") };
        (department.map(|id| id.as_str().to_owned()), grade.map(String::from), active)
    };
    let empty = || Some(String::new());
    assert_eq!(read(proto::ManagerUpserted::default()), (None, None, true));
    let given = proto::ManagerUpserted { department_id: Some(" ".into()), grade: empty(), ..Default::default() };
    assert_eq!(read(given), (empty(), empty(), true));
    let inactive = proto::ManagerUpserted { active: Some(false), ..Default::default() };
    assert_eq!(read(inactive), (None, None, false));
}

#[test]
fn several_payloads_are_rejected_although_protobuf_keeps_the_last() {
    let started = telephony_event::Payload::CallStarted(Default::default());
    let first = proto::TelephonyEvent { payload: Some(started), ..Default::default() };
    for second in [first.clone(), call_event(call())] {
        let bytes = [first.encode_to_vec(), second.encode_to_vec()].concat();
        let reject = decode(Topic::Telephony, &bytes).expect_err("rejected");
        assert_eq!(reject.to_string(), "several_payloads: more than one payload");
    }
}

#[test]
fn unknown_fields_are_ignored_and_an_unknown_payload_is_rejected() {
    // Field 100: a varint, 8 bytes, a string, a group with a field 40 inside, 4 bytes.
    let unknown: [&[u8]; 5] = [
        &[0xa0, 6, 0xff, 1],
        &[0xa1, 6, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xa2, 6, 2, b'h', b'i'],
        &[0xa3, 6, 0xc2, 2, 0, 0xc2, 2, 0, 0xa4, 6],
        &[0xa5, 6, 1, 2, 3, 4],
    ];
    let known = call_event(call()).encode_to_vec();
    for field in unknown {
        let bytes = [field, &known, field].concat();
        assert_eq!(decode(Topic::Telephony, &bytes), decode(Topic::Telephony, &known), "{field:?}");
    }
    let bare = proto::TelephonyEvent { payload: None, ..call_event(call()) }.encode_to_vec();
    let later = [&bare[..], &[0xea, 2, 0]].concat();
    assert_eq!(decode(Topic::Telephony, &later).expect_err("unknown").reason, Reason::NoPayload);
}

#[test]
fn empty_strings_and_empty_contacts_are_absent() {
    let message = proto::WrittenMessage {
        message_id: "m".into(),
        channel: Channel::Chat.number(),
        contact: Some(proto::Contact { address: Some(proto::contact::Address::Phone(String::new())), channel: 0 }),
        entity: Some(proto::Entity::default()),
        ..Default::default()
    };
    let payload = Some(proto::message_event::Payload::MessageSent(message));
    let message = proto::MessageEvent { tenant_id: "t".into(), occurred_at: at(1, 0), payload, ..Default::default() };
    let event = decode(Topic::Email, &message.encode_to_vec()).expect("valid");
    assert_eq!(event.id, None);
    match event.payload {
        Payload::Message(message) => {
            assert_eq!((message.thread, message.contact, message.entity, message.manager), (None, None, None, None));
            assert_eq!((message.direction, message.channel), (Direction::Outbound, Channel::Chat));
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn truncated_messages_never_panic(event in arbitrary::event()) {
        let mut bytes = Vec::new();
        encode_event(&event, &mut bytes);
        for end in 0..bytes.len() {
            let _ = decode(event.payload.topic(), &bytes[..end]);
        }
    }
}

#[test]
fn details_contain_nothing_of_the_message() {
    let reject = decode(Topic::Crm, b"+7 981 123-45-67").expect_err("not protobuf");
    assert_eq!(reject.to_string(), "malformed: not a valid protobuf message of this topic");
}

#[test]
fn an_alert_has_the_same_content_as_in_json() {
    let alert = Alert {
        severity: Severity::Critical,
        level: 1,
        status: Status::Escalated,
        at: Timestamp(-1),
        manager: Some("m".into()),
        entity: Some(crate::domain::id::EntityId::lead("1")),
        window: Some("24h".into()),
        observed: vec![("n", Value::Count(3)), ("clock", "wall".into()), ("ratio", Value::Number(0.5))],
        ..Alert::sample("acme", Rule::FirstResponseLate, "lead:1", Timestamp(1500))
    };
    let mut bytes = Vec::new();
    encode_alert(&alert, "late", &mut bytes);
    let decoded = proto::Alert::decode(&bytes[..]).expect("protobuf");
    assert_eq!(decoded.alert_id, alert.id.to_string());
    assert_eq!((decoded.rule.as_str(), decoded.severity.as_str()), ("first_response_late", "critical"));
    assert_eq!((decoded.status(), decoded.level), (proto::Status::Escalated, 1));
    assert_eq!((decoded.at, decoded.anchor_at, decoded.due_at), (at(-1, 999_000_000), at(1, 500_000_000), None));
    assert_eq!((decoded.entity.as_str(), decoded.window.as_str(), decoded.message.as_str()), ("lead:1", "24h", "late"));
    assert_eq!((decoded.resolution.as_str(), decoded.department_id.as_str()), ("", ""));
    let kinds: Vec<_> = decoded.observed.expect("present").fields.into_iter().collect();
    let number = |number| well_known::Value { kind: Some(well_known::value::Kind::NumberValue(number)) };
    let text = well_known::Value { kind: Some(well_known::value::Kind::StringValue("wall".into())) };
    assert_eq!(kinds, [("clock".into(), text), ("n".into(), number(3.0)), ("ratio".into(), number(0.5))]);
}

#[test]
fn a_review_request_has_the_same_content_as_in_json() {
    let about = About {
        entity: crate::domain::id::EntityId::deal("7"),
        ending: Ending::Closed(Outcome::Lost),
        pipeline: Some("sales".into()),
        stage: None,
    };
    let recording_url = Some("https://pbx/1".into());
    let call = ReviewRequest {
        tenant: "acme".into(),
        manager: "m".into(),
        department: "unknown".into(),
        interaction: "c".into(),
        medium: Medium::Call { direction: Direction::Outbound, talk: Span(1500), recording_url },
        at: Timestamp(1500),
        day: "2026-03-02".parse().expect("a day"),
        requested_at: Timestamp(2000),
        about: Some(about),
    };
    let mut bytes = Vec::new();
    encode_review(&call, &mut bytes);
    let decoded = proto::ReviewRequest::decode(&bytes[..]).expect("protobuf");
    assert_eq!(
        (decoded.interaction_id.as_str(), decoded.kind.as_str(), decoded.day.as_str()),
        ("c", "call", "2026-03-02")
    );
    assert_eq!((decoded.direction(), decoded.talk_seconds), (proto::Direction::Outbound, Some(1.5)));
    assert_eq!((decoded.at, decoded.requested_at), (at(1, 500_000_000), at(2, 0)));
    assert_eq!((decoded.entity.as_str(), decoded.outcome.as_str(), decoded.stage_id.as_str()), ("deal:7", "LOST", ""));
    assert_eq!(decoded.recording_url, "https://pbx/1");
    assert!(!format!("{call:?}").contains("pbx"), "the recording URL is not shown in logs");

    let message = ReviewRequest { medium: Medium::Message { channel: Channel::Sms }, about: None, ..call };
    bytes.clear();
    encode_review(&message, &mut bytes);
    let decoded = proto::ReviewRequest::decode(&bytes[..]).expect("protobuf");
    assert_eq!(
        (decoded.kind.as_str(), decoded.channel(), decoded.talk_seconds),
        ("message", proto::Channel::Sms, None)
    );
    assert_eq!((decoded.entity.as_str(), decoded.outcome.as_str()), ("", ""));
}

#[test]
fn rows_have_the_same_content_as_in_json() {
    let figures = WindowFigures {
        leads_received: 4,
        first_response_within_norm: Ratio { n: 4, k: 2 },
        stage_conversion: [("sales".into(), [("NEW".into(), Ratio { n: 1, k: 0 })].into())].into(),
        messages_sent: [(Channel::Sms, 2)].into(),
        violations: [(Rule::FirstResponseLate, 3)].into(),
        ..WindowFigures::default()
    };
    let row = |figures| Row {
        tenant: "acme".into(),
        subject: Subject::Tenant,
        department: None,
        at: Timestamp(0),
        historic: false,
        figures,
    };
    let mut bytes = Vec::new();
    encode_row(
        &row(Figures::Window(Window { size: Span::HOUR, in_days: false, slide: Span::MINUTE }, Box::new(figures))),
        &mut bytes,
    );
    let decoded = proto::MetricRow::decode(&bytes[..]).expect("protobuf");
    assert_eq!((decoded.subject.as_str(), decoded.window.as_str(), decoded.leads_received), ("tenant", "1h", 4));
    let within = decoded.first_response.and_then(|response| response.within_norm).expect("present");
    assert_eq!((within.n, within.k, within.ratio), (4, 2, Some(0.5)));
    assert_eq!(decoded.reply, Some(proto::Quantiles::default()));
    assert_eq!(decoded.stage_conversion["sales"].stages["NEW"].ratio, Some(0.0));
    assert_eq!(decoded.messages.expect("present").sent["SMS"], 2);
    assert_eq!(decoded.violations["first_response_late"], 3);

    let figures = NowFigures { open: [("sales".into(), [("NEW".into(), 2)].into())].into(), ..Default::default() };
    bytes.clear();
    encode_row(&row(Figures::Now(Box::new(figures))), &mut bytes);
    let decoded = proto::MetricRow::decode(&bytes[..]).expect("protobuf");
    assert_eq!((decoded.window.as_str(), decoded.oldest_wait_seconds), ("now", None));
    assert_eq!(decoded.open["sales"].stages["NEW"], 2);
}

#[test]
fn status_and_outcome_numbers_match_the_proto_file() {
    assert_eq!(Outcome::Won.number(), 1);
    assert_eq!(proto::Status::from_str_name(Status::Retracted.name()), Some(proto::Status::Retracted));
}
