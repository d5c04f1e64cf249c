//! Owns the tests of the JSON input: every payload with every field, and systematic corruption.

use super::*;
use crate::codec::arbitrary;
use crate::domain::event::repair::Repair;
use crate::domain::event::{
    ActivityKind, ActivityPlanned, Amount, AnsweredBy, Call, CallEnd, CallOutcome, Channel, Contact, Created,
    CrmPayload, Direction, Message, Outcome, Payload, Snapshot, StageChanged, TermsOffered, Verdict,
};
use crate::domain::id::EntityId;
use crate::domain::time::{Span, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::cell::RefCell;

/// Every payload with every field of the contract.
fn payloads() -> Map<String, Value> {
    let contacts = json!([{"phone": "8 (812) 123-45-67"}, {"email": "a@b.c"}, {"handle": "@ann", "channel": "CHAT"}]);
    let lead = json!({"kind": "LEAD", "id": "L1"});
    let deal = json!({"kind": "DEAL", "id": "D1"});
    let message = json!({"message_id": "M1", "thread_id": "T1", "in_reply_to": "M0", "channel": "EMAIL",
        "contact": {"email": "a@b.c"}, "manager_id": "m1", "entity": lead, "automatic": true});
    let snapshot = json!({"lead_id": "L1", "manager_id": "m1", "source_id": "WEB", "pipeline_id": "sales",
        "stage_id": "NEW", "contacts": contacts, "amount_minor": "150000", "currency": "RUB", "outcome": "LOST",
        "reason": "no_budget", "created_at": "2026-02-01T00:00:00Z", "stage_entered_at": "2026-02-02T03:00:00+03:00",
        "filled_fields": ["budget", "need"]});
    let mut deal_snapshot = snapshot.clone();
    deal_snapshot["deal_id"] = "D1".into();
    let all = json!({
        "lead_created": {"lead_id": "L1", "manager_id": "m1", "pipeline_id": "sales", "stage_id": "NEW",
            "source_id": "WEB", "contacts": contacts},
        "deal_created": {"deal_id": "D1", "lead_id": "L1", "manager_id": "m1", "pipeline_id": "sales",
            "stage_id": "NEW", "amount_minor": 150000, "currency": "RUB", "contacts": contacts},
        "stage_changed": {"entity": deal, "pipeline_id": "sales", "from_stage_id": "NEW", "to_stage_id": "NEEDS",
            "changed_by": "m2", "filled_fields": ["budget"]},
        "assigned": {"entity": lead, "manager_id": "m1", "previous_manager_id": "m0"},
        "closed": {"entity": lead, "outcome": "CONVERTED", "reason": "won", "deal_id": "D1", "closed_by": "m1"},
        "reopened": {"entity": lead, "stage_id": "NEW"},
        "deleted": {"entity": lead},
        "merged": {"entity": lead, "into": {"kind": "LEAD", "id": "L2"}},
        "contact_linked": {"entity": lead, "contact": {"handle": "@ann", "channel": "MESSENGER"}},
        "terms_offered": {"deal_id": "D1", "manager_id": "m1", "discount_percent": 12.5, "installment_months": 6,
            "prepayment_percent": "30", "approved_by": "boss-1", "amount_minor": -5, "currency": "RUB"},
        "activity_planned": {"entity": deal, "activity_id": "A1", "manager_id": "m1", "kind": "DEMO",
            "deadline": "2026-03-02T09:00:00Z"},
        "activity_completed": {"entity": deal, "activity_id": "A1", "manager_id": "m1", "kind": "NEEDS_ANALYSIS"},
        "activity_cancelled": {"entity": deal, "activity_id": "A1"},
        "interaction_reviewed": {"interaction_id": "C1", "manager_id": "m1", "reviewer_id": "r1", "score": 80,
            "verdict": "SUCCESS", "checklist": [{"item": "greeting", "passed": true}], "comment": "good"},
        "interaction_dismissed": {"interaction_id": "M1", "manager_id": "m1", "reason": "spam"},
        "alert_taken": {"alert_id": "450386a7-e5d9-5151-8ab3-1c3cdbf4a799", "manager_id": "m1"},
        "manager_upserted": {"manager_id": "m1", "name": "Ann", "department_id": "north", "grade": "senior",
            "active": true},
        "department_upserted": {"department_id": "north", "name": "North", "parent_id": "sales", "head_manager_id": "m2"},
        "lead_snapshot": snapshot,
        "deal_snapshot": deal_snapshot,
        "call_started": {"call_id": "C1", "session_id": "S1", "direction": "OUTBOUND", "phone": "+78121234567", "manager_id": "m1",
            "entity": deal, "line": "100"},
        "call_ended": {"call_id": "C1", "session_id": "S1", "leg_id": "G1", "direction": "INBOUND", "phone": "+78121234567", "manager_id": "m1",
            "entity": deal, "line": "100", "started_at": "2026-03-01T11:57:00Z",
            "answered_at": "2026-03-01T11:57:10Z", "talk_seconds": 170.25, "outcome": "ANSWERED",
            "answered_by": "PERSON", "recording_url": "https://pbx/1.mp3"},
        "message_received": message,
        "message_sent": message,
    });
    match all {
        Value::Object(all) => all,
        _ => unreachable!("an object"),
    }
}

/// An event with this payload.
fn envelope(case: &str, payload: Value) -> Value {
    json!({"event_id": "e1", "tenant_id": "acme", "occurred_at": "2026-03-01T12:00:00.250Z", "source": "test",
        case: payload})
}

fn samples() -> impl Iterator<Item = (String, Value)> {
    payloads().into_iter().map(|(case, payload)| (case.clone(), envelope(&case, payload)))
}

fn read(value: &Value) -> Result<Event, Reject> {
    decode(value.to_string().as_bytes())
}

/// The decoded payload of a sample.
fn payload(case: &str) -> Payload {
    let (_, sample) = samples().find(|(name, _)| name == case).expect("sample exists");
    let event = read(&sample).expect("valid");
    assert_eq!((event.tenant.as_str(), event.at), ("acme", Timestamp(1_772_366_400_250)));
    assert_eq!(event.id, Some("e1".into()));
    event.payload
}

fn crm(case: &str) -> CrmPayload {
    match payload(case) {
        Payload::Crm(payload) => *payload,
        other => panic!("{other:?}"),
    }
}

fn contacts() -> Vec<Contact> {
    let handle = Contact::Handle { handle: "@ann".into(), channel: Channel::Chat };
    vec![Contact::Phone("8 (812) 123-45-67".into()), Contact::Email("a@b.c".into()), handle]
}

fn rub(minor: i64) -> Amount {
    Amount { minor: Some(minor), currency: Some("RUB".into()) }
}

#[test]
fn payload_kinds_are_named_after_their_keys() {
    for (case, _) in samples() {
        assert_eq!(payload(&case).kind().name(), case);
    }
}

#[test]
fn crm_payloads_are_read_completely() {
    let (lead, deal) = (EntityId::lead("L1"), EntityId::deal("D1"));
    let created = Created {
        id: "L1".into(),
        manager: Some("m1".into()),
        pipeline: Some("sales".into()),
        stage: Some("NEW".into()),
        source: Some("WEB".into()),
        contacts: contacts(),
        ..Created::default()
    };
    assert_eq!(crm("lead_created"), CrmPayload::LeadCreated(created.clone()));
    let created = Created { id: "D1".into(), lead: Some("L1".into()), source: None, amount: rub(150_000), ..created };
    assert_eq!(crm("deal_created"), CrmPayload::DealCreated(created));
    let changed = StageChanged {
        entity: deal.clone(),
        pipeline: Some("sales".into()),
        from: Some("NEW".into()),
        to: "NEEDS".into(),
        filled_fields: vec!["budget".into()],
    };
    assert_eq!(crm("stage_changed"), CrmPayload::StageChanged(changed));
    assert_eq!(crm("assigned"), CrmPayload::Assigned { entity: lead.clone(), manager: "m1".into() });
    let reason = Some("won".into());
    assert_eq!(crm("closed"), CrmPayload::Closed { entity: lead.clone(), outcome: Outcome::Converted, reason });
    assert_eq!(crm("reopened"), CrmPayload::Reopened { entity: lead.clone(), stage: Some("NEW".into()) });
    assert_eq!(crm("deleted"), CrmPayload::Deleted { entity: lead.clone() });
    assert_eq!(crm("merged"), CrmPayload::Merged { entity: lead.clone(), into: EntityId::lead("L2") });
    let contact = Some(Contact::Handle { handle: "@ann".into(), channel: Channel::Messenger });
    assert_eq!(crm("contact_linked"), CrmPayload::ContactLinked { entity: lead, contact });
    let terms = TermsOffered {
        deal: "D1".into(),
        manager: Some("m1".into()),
        discount_percent: Some(12.5),
        installment_months: Some(6),
        prepayment_percent: Some(30.0),
        approved_by: Some("boss-1".into()),
        amount: rub(-5),
    };
    assert_eq!(crm("terms_offered"), CrmPayload::TermsOffered(terms));
    let (activity, manager, deadline) = ("A1".into(), Some("m1".into()), Some(Timestamp(1_772_442_000_000)));
    let planned = ActivityPlanned { entity: deal.clone(), activity, manager, kind: ActivityKind::Demo, deadline };
    assert_eq!(crm("activity_planned"), CrmPayload::ActivityPlanned(planned));
    let (activity, manager, kind) = (Some("A1".into()), Some("m1".into()), ActivityKind::NeedsAnalysis);
    let completed = CrmPayload::ActivityCompleted { entity: deal.clone(), activity, manager, kind };
    assert_eq!(crm("activity_completed"), completed);
    assert_eq!(crm("activity_cancelled"), CrmPayload::ActivityCancelled { entity: deal, activity: "A1".into() });
    let (interaction, verdict) = ("C1".into(), Verdict::Success);
    let reviewed = CrmPayload::InteractionReviewed { interaction, manager: "m1".into(), score: 80.0, verdict };
    assert_eq!(crm("interaction_reviewed"), reviewed);
    let dismissed = CrmPayload::InteractionDismissed { interaction: "M1".into(), manager: Some("m1".into()) };
    assert_eq!(crm("interaction_dismissed"), dismissed);
    let taken = CrmPayload::AlertTaken { alert: "450386a7-e5d9-5151-8ab3-1c3cdbf4a799".into(), manager: "m1".into() };
    assert_eq!(crm("alert_taken"), taken);
    let (department, grade) = (Some("north".into()), Some("senior".into()));
    let (manager, name) = ("m1".into(), Some("Ann".into()));
    assert_eq!(crm("manager_upserted"), CrmPayload::ManagerUpserted { manager, department, grade, active: true, name });
    let (department, name) = ("north".into(), Some("North".into()));
    let (parent, head) = (Some("sales".into()), Some("m2".into()));
    assert_eq!(crm("department_upserted"), CrmPayload::DepartmentUpserted { department, name, parent, head });
}

#[test]
fn absent_fields_of_a_manager_differ_from_empty_ones() {
    let read = |fields: &str| {
        let record = format!(r#"{{"manager_id":"m1"{fields}}}"#);
        let line =
            format!(r#"{{"tenant_id":"acme","occurred_at":"2026-03-02T09:00:00Z","manager_upserted":{record}}}"#);
        let Payload::Crm(payload) = decode(line.as_bytes()).expect(fields).payload else { panic!("{fields}") };
        let CrmPayload::ManagerUpserted { department, grade, active, .. } = *payload else { panic!("{fields}") };
        (department.map(|id| id.as_str().to_owned()), grade.map(String::from), active)
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(read(""), (None, None, true));
    assert_eq!(read(r#","department_id":null,"grade":null,"active":null"#), (None, None, true));
    assert_eq!(read(r#","department_id":"","grade":"","active":"""#), (text(""), text(""), true));
    assert_eq!(read(r#","department_id":" ","grade":"\t","active":"n""#), (text(""), text(""), false));
    assert_eq!(read(r#","department_id":" 7 ","grade":" a ","active":0"#), (text("7"), text(" a "), false));
    assert_eq!(read(r#","department_id":7"#), (text("7"), None, true));
}

#[test]
fn snapshots_are_read_completely() {
    let snapshot = Snapshot {
        entity: EntityId::lead("L1"),
        lead: None,
        manager: Some("m1".into()),
        source: Some("WEB".into()),
        pipeline: Some("sales".into()),
        stage: Some("NEW".into()),
        contacts: contacts(),
        amount: rub(150_000),
        outcome: Some(Outcome::Lost),
        reason: Some("no_budget".into()),
        created_at: Timestamp::parse("2026-02-01T00:00:00Z"),
        stage_entered_at: Timestamp::parse("2026-02-02T00:00:00Z"),
        filled_fields: vec!["budget".into(), "need".into()],
    };
    assert_eq!(crm("lead_snapshot"), CrmPayload::Snapshot(Box::new(snapshot.clone())));
    let snapshot = Snapshot { entity: EntityId::deal("D1"), lead: Some("L1".into()), ..snapshot };
    assert_eq!(crm("deal_snapshot"), CrmPayload::Snapshot(Box::new(snapshot)));
}

#[test]
fn calls_and_messages_are_read_completely() {
    let started = Call {
        id: "C1".into(),
        session: Some("S1".into()),
        direction: Direction::Outbound,
        phone: "+78121234567".into(),
        manager: Some("m1".into()),
        entity: Some(EntityId::deal("D1")),
        end: None,
    };
    assert_eq!(payload("call_started"), Payload::Call(Box::new(started.clone())));
    let end = CallEnd {
        leg: Some("G1".into()),
        started_at: Timestamp::parse("2026-03-01T11:57:00Z"),
        answered_at: Timestamp::parse("2026-03-01T11:57:10Z"),
        talk: Span(170_250),
        outcome: CallOutcome::Answered,
        answered_by: Some(AnsweredBy::Person),
        recording_url: Some("https://pbx/1.mp3".into()),
    };
    let ended = Call { direction: Direction::Inbound, end: Some(end), ..started };
    assert_eq!(payload("call_ended"), Payload::Call(Box::new(ended)));
    for (case, direction) in [("message_received", Direction::Inbound), ("message_sent", Direction::Outbound)] {
        let message = Message {
            id: "M1".into(),
            direction,
            thread: Some("T1".into()),
            in_reply_to: Some("M0".into()),
            channel: Channel::Email,
            contact: Some(Contact::Email("a@b.c".into())),
            manager: Some("m1".into()),
            entity: Some(EntityId::lead("L1")),
            automatic: true,
        };
        assert_eq!(payload(case), Payload::Message(Box::new(message)));
    }
}

/// Returns one copy of the tree per object in it, with `visit` applied to that object.
fn each_object(tree: &Value, visit: &mut impl FnMut(&mut Map<String, Value>)) -> Vec<Value> {
    fn nth(value: &mut Value, left: &mut usize, visit: &mut impl FnMut(&mut Map<String, Value>)) -> bool {
        match value {
            Value::Object(fields) if *left == 0 => {
                visit(fields);
                true
            }
            Value::Object(fields) => {
                *left -= 1;
                fields.values_mut().any(|field| nth(field, left, visit))
            }
            Value::Array(items) => items.iter_mut().any(|item| nth(item, left, visit)),
            _ => false,
        }
    }
    (0..)
        .map(|index| {
            let mut copy = tree.clone();
            let mut left = index;
            nth(&mut copy, &mut left, visit).then_some(copy)
        })
        .map_while(|copy| copy)
        .collect()
}

/// Returns one copy of the tree per field in it, with `change` applied to that field.
fn each_field(tree: &Value, change: impl Fn(&mut Map<String, Value>, &str)) -> Vec<Value> {
    let max_fields = 20;
    (0..max_fields)
        .flat_map(|index| {
            each_object(tree, &mut |fields| {
                if let Some(key) = fields.keys().nth(index).cloned() {
                    change(fields, &key);
                }
            })
        })
        .filter(|changed| changed != tree)
        .collect()
}

/// The fields that an empty text takes away.
const ERASABLE: [(&str, &[&str]); 2] =
    [("manager_upserted", &["department_id", "grade"]), ("department_upserted", &["parent_id", "head_manager_id"])];

#[test]
fn null_empty_and_missing_are_equivalent() {
    for (case, sample) in samples() {
        let without = each_field(&sample, |fields, key| drop(fields.remove(key)));
        assert!(without.len() > 3, "{case}");
        for absent in [json!(null), json!("")] {
            let with = each_field(&sample, |fields, key| drop(fields.insert(key.into(), absent.clone())));
            assert_eq!(with.len(), without.len());
            let erases = |with: &Value| {
                let fields = ERASABLE.iter().filter(|(of, _)| *of == case).flat_map(|(_, fields)| *fields);
                fields.clone().any(|field| with[&case][field] == "")
            };
            for (with, without) in with.iter().zip(&without).filter(|(with, _)| !erases(with)) {
                assert_eq!(read(with), read(without), "{with}");
            }
        }
    }
}

#[test]
fn an_empty_id_takes_one_away_and_a_missing_one_does_not() {
    let (parent, head) = (Some("".into()), None);
    let upserted = CrmPayload::DepartmentUpserted { department: "7".into(), name: None, parent, head };
    for parent in ["", "  "] {
        let payload = json!({"department_id": 7, "name": "", "parent_id": parent, "head_manager_id": null});
        let event = json!({"tenant_id": "t", "occurred_at": "2026-03-02T12:00:00Z", "department_upserted": payload});
        assert_eq!(read(&event).expect("valid").payload, Payload::Crm(Box::new(upserted.clone())));
    }
}

/// The fields whose wrong values are dropped.
const DROPPABLE: [&str; 8] =
    ["line", "recording_url", "comment", "checklist", "name", "source", "changed_by", "closed_by"];

#[test]
fn a_wrong_type_is_a_bad_value_in_every_field_that_a_rule_needs() {
    for (_, sample) in samples() {
        for wrong in [json!([[1]]), json!({"kind": 7})] {
            for corrupted in each_field(&sample, |fields, key| drop(fields.insert(key.into(), wrong.clone()))) {
                let reason = read(&corrupted).map_err(|reject| reject.reason);
                let droppable = DROPPABLE
                    .iter()
                    .chain(&["item", "passed"])
                    .any(|key| corrupted.to_string().contains(&format!("\"{key}\":{wrong}")));
                // `{"kind": 7}` is an object, so it has the right type for fields that ignore the key `kind`.
                let unknown = matches!(reason, Err(Reason::MissingField)) || reason.is_ok();
                let expected = if droppable { reason.is_ok() } else { reason == Err(Reason::BadValue) };
                assert!(expected || (wrong.is_object() && unknown), "{corrupted}: {reason:?}");
            }
        }
    }
}

#[test]
fn a_wrong_value_that_no_rule_needs_is_dropped_and_counted() {
    let repairs = |value: &Value| {
        let (_, repairs) = decode_with_repairs(None, value.to_string().as_bytes()).expect("valid");
        repairs.iter().collect::<Vec<_>>()
    };
    let dropped = RefCell::new(Vec::new());
    for (case, sample) in samples() {
        assert_eq!(repairs(&sample), [], "{case}");
        let without = each_field(&sample, |fields, key| drop(DROPPABLE.contains(&key).then(|| fields.remove(key))));
        for wrong in [json!(true), json!(1.5), json!([[1]]), json!({"item": {"x": [null, "\""]}})] {
            let with = each_field(&sample, |fields, key| {
                if DROPPABLE.contains(&key) {
                    dropped.borrow_mut().push(key.to_owned());
                    fields.insert(key.into(), wrong.clone());
                }
            });
            assert_eq!(with.len(), without.len());
            for (with, without) in with.iter().zip(&without) {
                assert_eq!(read(with), read(without), "{with}");
                assert_eq!(repairs(with), [Repair::WrongValue], "{with}");
            }
        }
    }
    assert!(DROPPABLE.iter().all(|key| dropped.borrow().iter().any(|dropped| dropped == key)));
    let truncated = br#"{"tenant_id":"t","occurred_at":"2026-03-01T12:00:00Z","source":[1,"#;
    assert_eq!(decode(truncated).expect_err("truncated").reason, Reason::Malformed);
}

#[test]
fn flags_have_the_spellings_of_typeless_languages() {
    let active = |flag: &str| {
        let body = format!(r#""manager_upserted":{{"manager_id":"1","active":{flag}}}"#);
        decode(format!(r#"{{"tenant_id":"t","occurred_at":"2026-03-01T12:00:00Z",{body}}}"#).as_bytes())
    };
    for (expected, spellings) in [
        ("true", [r#""true""#, r#""TRUE""#, r#""Y""#, r#""y""#, r#""Yes""#, r#""1""#, "1"]),
        ("false", [r#""false""#, r#""False""#, r#""N""#, r#""n""#, r#""NO""#, r#""0""#, "0"]),
    ] {
        for spelling in spellings {
            assert_eq!(active(spelling), active(expected), "{spelling}");
        }
    }
    assert_ne!(active("true"), active("false"));
    for wrong in ["2", "-1", "1.0", "01", r#""on""#, r#"" Y ""#, r#""да""#, "[]", "{}"] {
        assert!(active(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn ids_are_trimmed_and_may_be_integers() {
    let event = |id: &str| {
        let body = format!(r#""lead_created":{{"lead_id":{id},"contacts":""}}"#);
        decode(
            format!(r#"{{"tenant_id":{id},"event_id":{id},"occurred_at":"2026-03-01T12:00:00Z",{body}}}"#).as_bytes(),
        )
    };
    for (spellings, id) in [
        (vec![r#""17""#, "17", r#"" 17""#, r#""\t17\u00a0\u3000""#], "17"),
        (vec!["-0", r#""-0 ""#], "-0"),
        (vec!["123456789012345678901234567890"], "123456789012345678901234567890"),
        (vec![r#""a b ""#], "a b"),
    ] {
        for spelling in spellings {
            let event = event(spelling).expect("valid");
            assert_eq!((event.tenant.as_str(), event.id), (id, Some(id.into())), "{spelling}");
            let created = Created { id: id.into(), ..Created::default() };
            assert_eq!(event.payload, Payload::Crm(Box::new(CrmPayload::LeadCreated(created))), "{spelling}");
        }
    }
    for wrong in ["1.0", "1e3", "true", "[]", "{}", "[1]"] {
        assert_eq!(event(wrong).map_err(|reject| reject.reason), Err(Reason::BadValue), "{wrong}");
    }
    for absent in [r#"" ""#, r#""\n\u2003""#, "null"] {
        assert_eq!(event(absent).map_err(|reject| reject.reason), Err(Reason::MissingField), "{absent}");
    }
}

#[test]
fn unknown_keys_are_ignored_in_every_object() {
    for (_, sample) in samples() {
        let expected = read(&sample);
        let unknown = json!({"deep": [1, -2.5e-3, "x\"я", null, true, {"": {}}, []]});
        for extended in each_object(&sample, &mut |fields| drop(fields.insert("zZ é".into(), unknown.clone()))) {
            assert_eq!(read(&extended), expected, "{extended}");
        }
    }
    let (_, sample) = samples().next().expect("a sample");
    let huge = sample.to_string().replacen('{', r#"{"x":1e999,"#, 1);
    assert_eq!(decode(huge.as_bytes()), read(&sample));
}

#[test]
fn keys_may_be_in_camel_case() {
    fn camel(value: Value) -> Value {
        let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
        let key = |key: String| {
            let mut words = key.split('_');
            words.next().map(str::to_owned).into_iter().chain(words.map(capital)).collect::<String>()
        };
        match value {
            Value::Object(fields) => fields.into_iter().map(|(name, value)| (key(name), camel(value))).collect(),
            Value::Array(items) => items.into_iter().map(camel).collect(),
            other => other,
        }
    }
    for (case, sample) in samples() {
        let other = camel(sample.clone());
        assert!(other.to_string().contains("\"tenantId\""));
        assert_eq!(read(&other), read(&sample), "{case}");
    }
}

#[test]
fn keys_and_values_may_be_escaped() {
    let text = r#" {"ten\u0061nt_id":"\u0430\u0431\ud83d\ude00\"\\\/\b\f\n\r\t.",
        "occurredAt":"2026-03-01T12:00:00\u005a",
        "deleted":{"entity":{"kind":"L\u0045AD","id":"1"}}} "#;
    let event = decode(text.as_bytes()).expect("valid");
    assert_eq!(event.tenant.as_str(), "аб😀\"\\/\u{8}\u{c}\n\r\t.");
    assert_eq!(event.id, None);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let (_, sample) = samples().next().expect("a sample");
    assert_eq!(decode(format!("\u{feff}{sample}").as_bytes()), read(&sample));
}

#[test]
fn every_truncated_sample_is_malformed() {
    for (case, sample) in samples() {
        let text = sample.to_string();
        for end in 0..text.len() {
            let reject = decode(&text.as_bytes()[..end]).expect_err("truncated");
            assert_eq!(reject.reason, Reason::Malformed, "{case} at {end}: {reject}");
        }
    }
}

#[test]
fn rejections_name_the_field_and_the_problem() {
    let event = |body: &str| format!(r#"{{"tenant_id":"t","occurred_at":"2026-03-01T12:00:00Z",{body}}}"#);
    let lead = r#""entity":{"kind":"LEAD","id":"1"}"#;
    let closed = |rest: &str| event(&format!(r#""closed":{{{lead}{rest}}}"#));
    let call = |rest: &str| event(&format!(r#""call_ended":{{"call_id":"c","direction":"INBOUND"{rest}}}"#));
    let terms = |rest: &str| event(&format!(r#""terms_offered":{{"deal_id":"d",{rest}}}"#));
    let deleted = format!(r#""deleted":{{{lead}}}"#);
    let table = [
        ("".into(), "malformed: unexpected end of input"),
        ("null".into(), "bad_value: expected an object"),
        ("[]".into(), "bad_value: expected an object"),
        ("{}".into(), "no_tenant: tenant_id: missing"),
        (r#"{"tenant_id":"t"}"#.into(), "no_time: occurred_at: missing"),
        (event(r#""source":"x""#), "no_payload: no known payload"),
        (event(r#""lead_forgotten":{"lead_id":"1"}"#), "no_payload: no known payload"),
        (event(r#""closed":null"#), "no_payload: no known payload"),
        (event(&format!(r#""merged":{{{lead}}}"#)), "missing_field: merged.into: missing"),
        (
            event(&format!(r#""merged":{{{lead},"into":{{"kind":"DEAL","id":"1"}}}}"#)),
            "bad_value: merged.into.kind: expected the kind of `entity`",
        ),
        (event(&format!("{deleted},{deleted}")), "several_payloads: deleted: more than one payload"),
        (
            event(&format!(r#"{deleted},"callStarted":{{"call_id":"c","direction":"INBOUND"}}"#)),
            "several_payloads: call_started: more than one payload",
        ),
        (format!("{} x", event(&deleted)), "malformed: trailing data after the object"),
        (format!("{}{}", event(&deleted), event(&deleted)), "malformed: trailing data after the object"),
        (event(&format!("{deleted},")), "malformed: expected a key"),
        (event("\"x\":\"\u{1}\""), "malformed: unescaped control character in a string"),
        (event(r#""x":"\x""#), "malformed: invalid escape sequence"),
        (event(r#""x":"\ud800""#), "malformed: unpaired surrogate"),
        (event(r#""x":tru"#), "malformed: expected a value"),
        (event(r#""occurred_at":1772366400"#), "bad_value: occurred_at: expected a string"),
        (event(r#""occurred_at":"yesterday""#), "bad_value: occurred_at: expected an RFC 3339 timestamp"),
        (
            event(r#""occurred_at":"-000100-01-01T00:00:00Z""#),
            "bad_value: occurred_at: out of range: expected years 1 to 9998",
        ),
        (event(r#""closed":[]"#), "no_payload: no known payload"),
        (event(r#""closed":"""#), "no_payload: no known payload"),
        (event(r#""closed":[1]"#), "bad_value: closed: expected an object"),
        (event(r#""closed":true"#), "bad_value: closed: expected an object"),
        (event(r#""closed":{"outcome":"WON"}"#), "missing_field: closed.entity: missing"),
        (event(r#""closed":{"entity":{}}"#), "missing_field: closed.entity: missing"),
        (event(r#""closed":{"entity":{"id":"1"}}"#), "missing_field: closed.entity.kind: missing"),
        (event(r#""closed":{"entity":{"kind":"DEAL"}}"#), "missing_field: closed.entity.id: missing"),
        (event(r#""closed":{"entity":{"kind":"sale","id":"1"}}"#), "bad_value: closed.entity.kind: unknown enum value"),
        (closed(""), "missing_field: closed.outcome: missing"),
        (closed(r#","outcome":"OUTCOME_UNSPECIFIED""#), "missing_field: closed.outcome: missing"),
        (closed(r#","outcome":"ABANDONED""#), "bad_value: closed.outcome: unknown enum value"),
        (closed(r#","outcome":2"#), "bad_value: closed.outcome: expected a string"),
        (closed(r#","outcome":"outcome_Unspecified""#), "missing_field: closed.outcome: missing"),
        (closed(r#","outcome":"WON","dealId":1.5"#), "bad_value: closed.deal_id: expected a string"),
        (call(""), "missing_field: call_ended.outcome: missing"),
        (call(r#","outcome":"BUSY","answered_by":"ROBOT""#), "bad_value: call_ended.answered_by: unknown enum value"),
        (
            call(r#","outcome":"BUSY","talk_seconds":1e13"#),
            "bad_value: call_ended.talk_seconds: out of range: expected at most 1e12",
        ),
        (call(r#","outcome":"BUSY","talk_seconds":1e999"#), "bad_value: call_ended.talk_seconds: number too large"),
        (call(r#","outcome":"BUSY","talk_seconds":"NaN""#), "bad_value: call_ended.talk_seconds: expected a number"),
        (
            call(r#","outcome":"BUSY","answered_at":"noon""#),
            "bad_value: call_ended.answered_at: expected an RFC 3339 timestamp",
        ),
        (
            terms(r#""discount_percent":100.5"#),
            "bad_value: terms_offered.discount_percent: out of range: expected 0 to 100",
        ),
        (
            terms(r#""prepayment_percent":-1"#),
            "bad_value: terms_offered.prepayment_percent: out of range: expected 0 to 100",
        ),
        (terms(r#""installment_months":1.5"#), "bad_value: terms_offered.installment_months: expected an integer"),
        (
            terms(r#""installment_months":-1"#),
            "bad_value: terms_offered.installment_months: out of range: expected 0 to 2147483647",
        ),
        (terms(r#""amount_minor":9223372036854775808"#), "bad_value: terms_offered.amount_minor: number too large"),
        (
            event(r#""lead_created":{"lead_id":"1","contacts":[{"handle":"x"}]}"#),
            "missing_field: lead_created.contacts.channel: missing",
        ),
        (
            event(r#""lead_created":{"lead_id":"1","contacts":[{"phone":"1","email":"2"}]}"#),
            "bad_value: lead_created.contacts: expected at most one of phone, email, handle",
        ),
        (
            event(r#""lead_created":{"lead_id":"1","contacts":{"phone":"1"}}"#),
            "bad_value: lead_created.contacts: expected an array",
        ),
        (
            event(r#""manager_upserted":{"manager_id":"1","active":"on"}"#),
            "bad_value: manager_upserted.active: expected true or false",
        ),
        (event(r#""deal_snapshot":{"lead_id":"1"}"#), "missing_field: deal_snapshot.deal_id: missing"),
        (event(r#""message_sent":{"message_id":"1"}"#), "missing_field: message_sent.channel: missing"),
        (
            event(r#""interaction_reviewed":{"interaction_id":"1","manager_id":"m","verdict":"NEUTRAL"}"#),
            "missing_field: interaction_reviewed.reviewer_id: missing",
        ),
    ];
    for (text, expected) in table {
        let reject = decode(text.as_bytes()).expect_err(expected);
        assert_eq!(reject.to_string(), expected, "{text}");
    }
    assert_eq!(decode(b"{\"\xff\":1}").expect_err("not UTF-8").to_string(), "malformed: invalid UTF-8");
}

#[test]
fn absent_fields_have_defaults() {
    let event =
        |body: &str| decode(format!(r#"{{"tenant_id":"t","occurred_at":"2026-03-01T12:00:00Z",{body}}}"#).as_bytes());
    let ended = event(r#""call_ended":{"call_id":"c","direction":"OUTBOUND","outcome":"FAILED","entity":{}}"#);
    match ended.expect("valid").payload {
        Payload::Call(call) => {
            let Call { phone, manager: None, entity: None, end: Some(end), .. } = *call else { panic!("{call:?}") };
            assert_eq!((phone.as_str(), end.talk, end.started_at), ("", Span::ZERO, None));
        }
        other => panic!("{other:?}"),
    }
    let lead =
        event(r#""lead_created":{"lead_id":"1","contacts":[null,{},{"channel":"SMS"},{"phone":""},{"phone":"5"}]}"#);
    match lead.expect("valid").payload {
        Payload::Crm(payload) => {
            let contacts = vec![Contact::Phone("5".into())];
            assert_eq!(*payload, CrmPayload::LeadCreated(Created { id: "1".into(), contacts, ..Created::default() }));
        }
        other => panic!("{other:?}"),
    }
    let last = event(r#""tenantId":"u","deleted":{"entity":{"kind":"LEAD","id":"1","id":"2"}}"#).expect("valid");
    assert_eq!(last.tenant.as_str(), "u");
    assert_eq!(last.payload, Payload::Crm(Box::new(CrmPayload::Deleted { entity: EntityId::lead("2") })));
}

#[test]
fn a_topic_accepts_only_its_own_payloads() {
    for (case, sample) in samples() {
        let text = sample.to_string();
        let own = read(&sample).expect("valid").payload.topic();
        for topic in Topic::ALL {
            let reason = decode_with_repairs(Some(topic), text.as_bytes()).map_err(|reject| reject.reason).err();
            assert_eq!(reason, (topic != own).then_some(Reason::NoPayload), "{case} on {}", topic.name());
        }
    }
}

proptest! {
    #[test]
    fn written_events_are_valid_json_and_round_trip(event in arbitrary::event()) {
        let mut bytes = Vec::new();
        encode_event(&event, &mut bytes);
        let tree: Value = serde_json::from_slice(&bytes).expect("JSON");
        prop_assert_eq!(read(&tree), Ok(event.clone()));
        prop_assert_eq!(decode(format!("{tree:#}").as_bytes()), Ok(event));
    }

    #[test]
    fn malformed_means_invalid_json_for_serde_json_too(
        event in arbitrary::event(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        encode_event(&event, &mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let malformed = decode(&bytes).is_err_and(|reject| reject.reason == Reason::Malformed);
        // A number that is out of range is still valid JSON.
        let invalid = serde_json::from_slice::<Value>(&bytes)
            .is_err_and(|error| !error.to_string().starts_with("number out of range"));
        prop_assert_eq!(malformed, invalid, "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn truncated_events_are_malformed(event in arbitrary::event(), end in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        encode_event(&event, &mut bytes);
        let reject = decode(&bytes[..end.index(bytes.len())]).expect_err("truncated");
        prop_assert_eq!(reject.reason, Reason::Malformed);
    }

    #[test]
    fn rejections_contain_no_values_and_no_unknown_keys(
        index in 0..18_usize,
        field in 0..60_usize,
        end in any::<prop::sample::Index>(),
    ) {
        let (_, sample) = samples().nth(index).expect("sample exists");
        let secret = json!({"79811234567": ["79811234567"]});
        for wrong in [json!("79811234567"), json!([79811234567_u64, "79811234567"]), secret] {
            let corrupted = each_field(&sample, |fields, key| drop(fields.insert(key.into(), wrong.clone())));
            let text = corrupted[field % corrupted.len()].to_string();
            for bytes in [text.as_bytes(), &text.as_bytes()[..end.index(text.len())]] {
                if let Err(reject) = decode(bytes) {
                    prop_assert!(!reject.detail.contains("7981"), "{}", reject);
                }
            }
        }
    }
}
