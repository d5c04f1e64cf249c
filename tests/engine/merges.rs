//! Tests of merges beyond the scenarios: generated streams with merges, for the tests of restarts and of late events, and a
//! metamorphic test.
//!
//! The metamorphic property: two leads that are merged are, from the merge on, one lead that had both histories.
//!
//! Each stream has acts on two leads, a merge, and more acts. In the other stream there is only the survivor, and it has
//! all acts. What is published about it after the merge, and the figures at the end, must be the same.

use crate::common::{Output, Replay};
use crate::oracle;
use funnelwatch::codec::json as codec;
use funnelwatch::domain::event::Payload;
use funnelwatch::domain::id::TenantId;
use funnelwatch::domain::time::Timestamp;
use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Monday 2026-03-02, in milliseconds.
pub(super) const BEGIN: i64 = 1_772_409_600_000;
pub(super) const MINUTE: i64 = 60_000;
/// Acts before the merge, and after it.
const ACTS: [i64; 2] = [14, 10];

/// A stream of the oracle's generator, with merges of leads and deals that it names.
pub(super) fn stream(seed: u64, events: usize) -> (Vec<Value>, Value) {
    let (events, norms) = oracle::stream::exchange_stream(seed, events);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut known: Vec<(TenantId, Value)> = Vec::new();
    let mut with_merges = Vec::new();
    for (number, event) in events.into_iter().enumerate() {
        with_merges.push(event.clone());
        let Ok(event) = codec::decode(event.to_string().as_bytes()) else { continue };
        if matches!(event.payload, Payload::Crm(_)) {
            event.payload.each_entity(|kind, id| {
                known.push((event.tenant.clone(), json!({"kind": kind.name().to_uppercase(), "id": id.as_str()})));
            });
        }
        let candidates: Vec<&Value> =
            known.iter().rev().take(12).filter(|(tenant, _)| *tenant == event.tenant).map(|(_, id)| id).collect();
        if rng.random_range(0..10) == 0 && !candidates.is_empty() {
            let [entity, into] = [0, 1].map(|_| candidates[rng.random_range(0..candidates.len())]);
            if entity["kind"] == into["kind"] {
                with_merges.push(json!({"event_id": format!("merge-{number}"), "tenant_id": event.tenant.to_string(),
                    "occurred_at": Timestamp(event.at.0 + 1).to_string(), "merged": {"entity": entity, "into": into}}));
            }
        }
    }
    (with_merges, norms)
}

pub(super) fn event(at: i64, payload: Value) -> Value {
    let at = Timestamp(at).to_string();
    let mut event = json!({"tenant_id": "acme", "occurred_at": at});
    event.as_object_mut().expect("an object").extend(payload.as_object().expect("a payload").clone());
    event
}

fn norms(rng: &mut ChaCha8Rng) -> String {
    let response = if rng.random() { "attempt" } else { "conversation" };
    let mut within = |from: i64, to: i64| rng.random_range(from..to);
    json!({
        "windows": [{"size": "24h", "slide": "15m"}],
        "pipelines": {"sales": {"entity": "lead", "stages": [{"id": "NEW", "max_time": "3h"}, {"id": "TALK"}]}},
        "norms": {
            "first_response_late":
                {"within": format!("{}m", within(5, 200)), "response": response, "escalate_after": ["20m"]},
            "too_few_attempts": {"within": format!("{}m", within(30, 400)), "attempts": within(2, 6)},
            "neglected": {"within": format!("{}m", within(20, 200)), "escalate_after": ["30m"]},
            "stage_overdue": {},
        },
    })
    .to_string()
}

/// An act on a lead (`None`: on the contact of both).
fn act(rng: &mut ChaCha8Rng, number: i64, at: i64, lead: Option<&str>) -> Value {
    let id = format!("x{number}");
    let manager = ["ann", "bob"][rng.random_range(0..2)];
    let entity = lead.map(|id| json!({"kind": "LEAD", "id": id}));
    let contact = json!({"email": "both@example.com"});
    let started = at - rng.random_range(0..30) * MINUTE;
    let message = json!({"message_id": id, "channel": "EMAIL", "contact": contact, "entity": entity,
        "manager_id": manager});
    let call = |direction: &str, talk: i64| {
        json!({"call_ended": {"call_id": id, "direction": direction, "phone": "+78120000001", "entity": entity,
            "manager_id": manager, "outcome": if talk > 0 { "ANSWERED" } else { "NO_ANSWER" }, "talk_seconds": talk,
            "started_at": Timestamp(started).to_string()}})
    };
    let payload = match (rng.random_range(0..7), lead) {
        (0, _) => call("OUTBOUND", 0),
        (1, _) => call("OUTBOUND", 60),
        (2, _) => call("INBOUND", 60),
        (3, Some(_)) => json!({"activity_completed": {"entity": entity, "manager_id": manager, "kind": "MEETING"}}),
        (3 | 4, _) => json!({"message_sent": message}),
        _ => json!({"message_received": message}),
    };
    event(at, payload)
}

/// The events of two leads that are merged, those of one lead, and the instant of the merge.
fn streams(rng: &mut ChaCha8Rng) -> ([Vec<Value>; 2], i64) {
    let contacts = json!([{"email": "both@example.com"}, {"phone": "+78120000001"}]);
    let created = |id: &str, manager: &str| {
        json!({"lead_created": {"lead_id": id, "manager_id": manager, "contacts": contacts, "pipeline_id": "sales",
            "stage_id": "NEW"}})
    };
    let (begin, other) = (BEGIN + MINUTE, rng.random_range(0..120) * MINUTE);
    let mut two = vec![event(BEGIN, json!({"manager_upserted": {"manager_id": "ann", "active": true}}))];
    let mut one = two.clone();
    let both = [event(begin + other / 3, created("1", "ann")), event(begin + other, created("2", "bob"))];
    two.extend(both.clone());
    one.push(both[0].clone());
    let mut at = begin + other + MINUTE;
    let mut merged_at = 0;
    for number in 0..ACTS[0] + ACTS[1] {
        at += rng.random_range(1..60) * MINUTE;
        if number == ACTS[0] {
            merged_at = at;
            let lead = |id: &str| json!({"kind": "LEAD", "id": id});
            two.push(event(at, json!({"merged": {"entity": lead("2"), "into": lead("1")}})));
            at += MINUTE;
        }
        let assigned = json!({"assigned": {"entity": {"kind": "LEAD", "id": "1"}, "manager_id": "eve"}});
        let moved = json!({"stage_changed": {"entity": {"kind": "LEAD", "id": "1"}, "to_stage_id": "TALK"}});
        let of_two = match (rng.random_range(0..8), number < ACTS[0]) {
            (0, _) => event(at, assigned),
            (1, _) => event(at, moved),
            (2, _) => act(rng, number, at, None),
            (3..=5, true) => act(rng, number, at, Some("2")),
            _ => act(rng, number, at, Some("1")),
        };
        let of_one = of_two.to_string().replace(r#""id":"2""#, r#""id":"1""#);
        one.push(serde_json::from_str(&of_one).expect("JSON"));
        two.push(of_two);
    }
    let end = event(at + 300 * MINUTE, json!({"manager_upserted": {"manager_id": "ann", "active": true}}));
    one.push(end.clone());
    two.push(end);
    ([two, one], merged_at)
}

/// What a merge does not change: alerts after it, and the figures without those of what was waiting before.
fn comparable(output: &Output, merged_at: i64) -> (Vec<Value>, Vec<Value>) {
    let after = Timestamp(merged_at).to_string();
    let (mut alerts, mut rows) = (output.alerts.clone(), output.rows.clone());
    alerts.retain(|alert| alert["at"].as_str() > Some(&after) && alert["subject"].as_str() != Some("lead:2"));
    for row in rows.iter_mut().filter_map(Value::as_object_mut) {
        ["violations", "reply", "call_back", "unanswered_messages", "unreturned_calls"].iter().for_each(|key| {
            row.remove(*key);
        });
    }
    (alerts, rows)
}

#[test]
fn two_merged_leads_are_one_lead_with_both_histories() {
    let (mut with_alerts, mut retracted) = (0, 0);
    for seed in 0..300 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let norms = norms(&mut rng);
        let ([two, one], merged_at) = streams(&mut rng);
        let [two, one] = [two, one].map(|events| Replay::PLAIN.run(&events, &norms));
        let [(alerts, rows), (expected, expected_rows)] = [&two, &one].map(|output| comparable(output, merged_at));
        assert_eq!(alerts, expected, "seed {seed}, {norms}");
        assert_eq!(rows, expected_rows, "seed {seed}, {norms}");
        with_alerts += usize::from(!alerts.is_empty());
        retracted += two.alerts.iter().filter(|alert| alert["status"] == "RETRACTED").count();
    }
    assert!(with_alerts > 100 && retracted > 20, "{with_alerts} streams with alerts, {retracted} retractions");
}
