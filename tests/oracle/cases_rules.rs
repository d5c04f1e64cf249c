//! Hand-worked cases of moves, time in stage, closings, offers and neglect. Times as in `cases`.

use serde_json::{Value, json};

use super::cases::{call, created, lead, row, run, sent, time};

/// The alerts as `rule subject STATUS at observed [resolution]`.
pub fn summary(verdict: &super::Verdict) -> Vec<String> {
    let line = |a: &Value| {
        let at = a["at"].as_str().unwrap();
        let resolution = a["resolution"].as_str().map_or(String::new(), |r| format!(" {r}"));
        let rule = a["rule"].as_str().unwrap();
        let subject = a["subject"].as_str().unwrap();
        let status = a["status"].as_str().unwrap();
        format!("{rule} {subject} {status} {} {}{resolution}", &at[8..16].replace('T', " "), a["observed"])
    };
    verdict.alerts.iter().map(line).collect()
}

fn pipelines() -> Value {
    json!({
        "sales": {"entity": "deal", "stages": [
            {"id": "NEW", "early": true, "max_time": "1h"},
            {"id": "NEEDS", "early": true, "required": true, "max_time": "2h"},
            {"id": "OFFER", "max_time": "4h", "requires": {"fields": ["budget"], "activities": ["DEMO"]}},
            {"id": "INVOICE", "required": true},
        ]},
        "service": {"entity": "deal", "stages": [{"id": "ASK"}, {"id": "VISIT", "required": true}, {"id": "DONE"}]},
    })
}

fn norms(rules: &Value) -> Value {
    json!({"pipelines": pipelines(), "norms": rules})
}

fn deal(id: &str, stage: Option<&str>) -> Value {
    json!({"deal_created": {"deal_id": id, "manager_id": "ann", "pipeline_id": "sales", "stage_id": stage}})
}

fn entity(id: &str) -> Value {
    json!({"kind": "DEAL", "id": id})
}

fn moved(id: &str, to: &str) -> Value {
    json!({"stage_changed": {"entity": entity(id), "to_stage_id": to}})
}

fn moved_from(id: &str, from: &str, to: &str) -> Value {
    json!({"stage_changed": {"entity": entity(id), "pipeline_id": "sales", "from_stage_id": from, "to_stage_id": to}})
}

fn closed(id: &str, outcome: &str) -> Value {
    json!({"closed": {"entity": entity(id), "outcome": outcome}})
}

fn reopened(id: &str) -> Value {
    json!({"reopened": {"entity": entity(id)}})
}

#[test]
fn skipped_stages_are_reported_once() {
    let norms = norms(&json!({"stage_skipped": {}}));
    let verdict = run(
        &norms,
        "20:00",
        &[
            ("10:00", deal("1", Some("NEW"))),
            ("10:10", moved("1", "OFFER")),
            ("10:20", moved("1", "NEW")),
            ("10:30", moved("1", "OFFER")),
            ("10:40", closed("1", "LOST")),
            ("10:50", closed("1", "WON")),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            r#"stage_skipped deal:1/NEEDS RAISED 02 10:10 {"to_stage":"OFFER"}"#,
            r#"stage_skipped deal:1/INVOICE RAISED 02 10:50 {"to_stage":"WON"}"#,
        ]
    );
    let first = &verdict.alerts[0];
    assert_eq!((&first["anchor_at"], &first["due_at"]), (&json!(time("10:10")), &Value::Null));
    assert_eq!((&first["entity"], &first["manager_id"]), (&json!("deal:1"), &json!("ann")));
    assert_eq!(first["norm"], json!({"required_stage": "NEEDS"}));
    assert_eq!(row(&verdict, "manager:ann", "24h")["violations"], json!({"stage_skipped": 2}));
    assert_eq!(row(&verdict, "manager:ann", "now")["open_alerts"], json!({}));
}

#[test]
fn stages_of_an_unknown_past_count_as_visited() {
    let norms = norms(&json!({"stage_skipped": {}}));
    // Nothing is known before OFFER, so all earlier stages count as visited; with `from` NEW only up to NEW.
    let verdict = run(&norms, "20:00", &[("10:00", moved_from("1", "NEEDS", "OFFER"))]);
    assert_eq!(summary(&verdict), [""; 0]);
    let verdict = run(&norms, "20:00", &[("10:00", moved_from("1", "NEW", "OFFER"))]);
    assert_eq!(summary(&verdict), [r#"stage_skipped deal:1/NEEDS RAISED 02 10:00 {"to_stage":"OFFER"}"#]);
    // The first known stage without `from` is not judged as a move; the next move is.
    let first = json!({"stage_changed": {"entity": entity("1"), "pipeline_id": "sales", "to_stage_id": "OFFER"}});
    let verdict = run(&norms, "20:00", &[("10:00", first), ("10:10", closed("1", "WON"))]);
    assert_eq!(summary(&verdict), [r#"stage_skipped deal:1/INVOICE RAISED 02 10:10 {"to_stage":"WON"}"#]);
    // A snapshot whose stage is as old as the deal: the deal was created there.
    let snapshot = |entered: &str| json!({"deal_snapshot": {"deal_id": "1", "pipeline_id": "sales", "stage_id": "OFFER", "created_at": time("09:00"), "stage_entered_at": time(entered)}});
    for (entered, count) in [("09:00", 2), ("09:30", 1)] {
        let verdict = run(&norms, "20:00", &[("10:00", snapshot(entered)), ("10:10", closed("1", "WON"))]);
        assert_eq!(verdict.alerts.len(), count, "{entered}");
    }
}

#[test]
fn a_pipeline_change_is_judged_as_a_move_and_never_as_reverted() {
    let norms = norms(&json!({"stage_skipped": {}, "stage_reverted": {"severity": "info"}}));
    let to =
        |stage: &str| json!({"stage_changed": {"entity": entity("1"), "pipeline_id": "service", "to_stage_id": stage}});
    let verdict = run(
        &norms,
        "20:00",
        &[
            ("10:00", deal("1", Some("NEW"))),
            ("10:05", moved("1", "NEEDS")),
            ("10:06", moved("1", "NEEDS")),
            ("10:10", moved("1", "ELSEWHERE")),
            ("10:20", moved("1", "NEW")),
            ("10:30", moved("1", "NEEDS")),
            ("10:40", moved("1", "NEW")),
            ("10:50", to("DONE")),
            ("11:00", to("ASK")),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            r#"stage_reverted deal:1 RAISED 02 10:40 {"from_stage":"NEEDS","to_stage":"NEW"}"#,
            r#"stage_skipped deal:1/VISIT RAISED 02 10:50 {"to_stage":"DONE"}"#,
            r#"stage_reverted deal:1 RAISED 02 11:00 {"from_stage":"DONE","to_stage":"ASK"}"#,
        ]
    );
    assert_eq!(verdict.alerts[0]["severity"], "info");
}

#[test]
fn requirements_use_what_is_known_including_the_event() {
    let norms = norms(&json!({"stage_requirements_unmet": {}}));
    let with =
        json!({"stage_changed": {"entity": entity("2"), "to_stage_id": "OFFER", "filled_fields": ["budget", "x"]}});
    let demo = json!({"activity_completed": {"entity": entity("2"), "kind": "DEMO"}});
    let verdict = run(
        &norms,
        "20:00",
        &[
            ("10:00", deal("1", Some("NEW"))),
            ("10:00", deal("2", Some("NEW"))),
            ("10:00", deal("3", Some("OFFER"))),
            ("10:10", moved("1", "OFFER")),
            ("10:20", with.clone()),
            ("10:25", moved("2", "NEW")),
            ("10:30", demo),
            ("10:40", with),
            (
                "10:50",
                json!({"stage_changed": {"entity": entity("9"), "pipeline_id": "sales", "to_stage_id": "OFFER"}}),
            ),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            r#"stage_requirements_unmet deal:1 RAISED 02 10:10 {"missing":"budget,DEMO","stage":"OFFER"}"#,
            r#"stage_requirements_unmet deal:2 RAISED 02 10:20 {"missing":"DEMO","stage":"OFFER"}"#,
            r#"stage_requirements_unmet deal:9 RAISED 02 10:50 {"missing":"budget,DEMO","stage":"OFFER"}"#,
        ]
    );
    assert_eq!(verdict.alerts[0]["norm"], json!({"fields": "budget", "activities": "DEMO"}));
}

#[test]
fn time_in_a_stage_accumulates_and_closed_time_does_not_count() {
    let norms = norms(&json!({"stage_overdue": {"escalate_after": ["30m"]}}));
    let verdict = run(
        &norms,
        "20:00",
        &[
            ("10:00", deal("1", Some("NEW"))),
            ("10:40", moved("1", "NEEDS")),
            // 40 minutes spent: 20 are left, and 10 elapse before it is closed for an hour.
            ("11:00", moved("1", "NEW")),
            ("11:10", closed("1", "LOST")),
            ("12:10", reopened("1")),
            ("12:40", moved("1", "ELSEWHERE")),
            ("13:00", moved("1", "NEW")),
            ("14:00", closed("1", "WON")),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            r#"stage_overdue deal:1/NEW FIRING 02 12:20 {"time_in_stage_seconds":3600.0}"#,
            r#"stage_overdue deal:1/NEW RESOLVED 02 12:40 {"time_in_stage_seconds":4800.0} left_stage"#,
            r#"stage_overdue deal:1/NEW FIRING 02 13:00 {"time_in_stage_seconds":4800.0}"#,
            r#"stage_overdue deal:1/NEW ESCALATED 02 13:30 {"time_in_stage_seconds":6600.0}"#,
            r#"stage_overdue deal:1/NEW RESOLVED 02 14:00 {"time_in_stage_seconds":8400.0} closed"#,
        ]
    );
    let first = &verdict.alerts[0];
    assert_eq!((&first["anchor_at"], &first["due_at"]), (&json!(time("12:10")), &json!(time("12:20"))));
    assert_eq!(verdict.alerts[2]["due_at"], time("13:00"));
    let overdue = |until: &str| {
        let verdict = run(&norms, until, &[("10:00", deal("1", Some("NEW")))]);
        row(&verdict, "manager:ann", "now")["overdue"].clone()
    };
    assert_eq!(overdue("10:59"), json!({}));
    assert_eq!(overdue("11:00"), json!({"sales": {"NEW": 1}}));
}

#[test]
fn a_move_dated_in_time_and_known_late_retracts() {
    let norms = norms(&json!({"stage_overdue": {}}));
    let snapshot = json!({"deal_snapshot": {"deal_id": "1", "stage_id": "NEEDS", "stage_entered_at": time("10:30")}});
    let verdict = run(&norms, "20:00", &[("10:00", deal("1", Some("NEW"))), ("11:30", snapshot)]);
    assert_eq!(
        summary(&verdict),
        [
            r#"stage_overdue deal:1/NEW FIRING 02 11:00 {"time_in_stage_seconds":3600.0}"#,
            r#"stage_overdue deal:1/NEW RETRACTED 02 11:30 {"time_in_stage_seconds":1800.0} late_evidence"#,
            r#"stage_overdue deal:1/NEEDS FIRING 02 12:30 {"time_in_stage_seconds":7200.0}"#,
        ]
    );
    assert_eq!(verdict.alerts[2]["anchor_at"], time("10:30"));
}

#[test]
fn a_pipeline_known_later_continues_the_stage_clock() {
    let norms = norms(&json!({"stage_overdue": {}}));
    let bare = json!({"deal_created": {"deal_id": "1", "stage_id": "NEW"}});
    let named = json!({"stage_changed": {"entity": entity("1"), "pipeline_id": "sales", "to_stage_id": "NEW"}});
    let verdict = run(&norms, "12:00", &[("10:00", bare.clone()), ("10:30", named.clone())]);
    assert_eq!(summary(&verdict), [r#"stage_overdue deal:1/NEW FIRING 02 11:00 {"time_in_stage_seconds":3600.0}"#]);
    let verdict = run(&norms, "12:00", &[("10:00", bare), ("11:30", named)]);
    assert_eq!(summary(&verdict), [r#"stage_overdue deal:1/NEW FIRING 02 11:30 {"time_in_stage_seconds":5400.0}"#]);
    assert_eq!(verdict.alerts[0]["due_at"], time("11:00"));
}

#[test]
fn stage_conversion_counts_deals_that_first_reached_a_stage_in_the_window() {
    let norms = json!({"pipelines": pipelines(), "norms": {}, "windows": [{"size": "1h", "slide": "1h"}, {"size": "24h", "slide": "1h"}]});
    let verdict = run(
        &norms,
        "12:00",
        &[
            ("10:00", deal("1", Some("NEW"))),
            ("10:00", deal("2", Some("OFFER"))),
            ("11:10", moved("1", "OFFER")),
            ("11:20", moved("1", "NEW")),
            ("11:30", closed("2", "WON")),
            ("11:40", moved_from("3", "NEEDS", "OFFER")),
            ("11:45", deal("4", Some("INVOICE"))),
            ("11:50", json!({"deleted": {"entity": entity("4")}})),
        ],
    );
    let n_k = |window: &str, stage: &str| {
        let r = &row(&verdict, "tenant", window)["stage_conversion"]["sales"][stage];
        (r["n"].as_u64().unwrap_or(0), r["k"].as_u64().unwrap_or(0))
    };
    assert_eq!(n_k("24h", "NEW"), (2, 2));
    assert_eq!(n_k("24h", "NEEDS"), (2, 2));
    // Deals 1, 2, 3 reached OFFER; 2 is won. No deal is at INVOICE.
    assert_eq!(n_k("24h", "OFFER"), (3, 1));
    assert_eq!(n_k("24h", "INVOICE"), (0, 0));
    // In the last hour (from 11:00): 1 reached NEEDS and OFFER, 3 only OFFER.
    assert_eq!((n_k("1h", "NEW"), n_k("1h", "NEEDS"), n_k("1h", "OFFER")), ((0, 0), (1, 1), (2, 0)));
    // Deal 3 has no known manager, so it is missing in Ann's row.
    let ann = &row(&verdict, "manager:ann", "24h")["stage_conversion"]["sales"]["OFFER"];
    assert_eq!((&ann["n"], &ann["k"]), (&json!(2), &json!(1)));
}

#[test]
fn closings_require_a_reason_and_a_contact() {
    let norms = norms(&json!({
        "disqualified_without_reason": {"applies_to": ["DISQUALIFIED", "LOST"], "allowed_reasons": ["spam"]},
        "disqualified_without_contact": {"min_touches": 2},
    }));
    let close = |id: &str, outcome: &str, reason: Option<&str>| json!({"closed": {"entity": lead(id), "outcome": outcome, "reason": reason}});
    let verdict = run(
        &norms,
        "20:00",
        &[
            ("10:00", created("1")),
            ("10:01", sent(lead("1"))),
            ("10:02", close("1", "DISQUALIFIED", Some("tired"))),
            ("10:03", close("1", "DISQUALIFIED", None)),
            ("10:04", close("1", "LOST", None)),
            ("10:05", sent(lead("1"))),
            ("10:06", close("1", "DISQUALIFIED", Some("spam"))),
            ("10:07", json!({"lead_snapshot": {"lead_id": "2", "outcome": "DISQUALIFIED", "reason": "spam"}})),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            r#"disqualified_without_reason lead:1 RAISED 02 10:02 {"outcome":"DISQUALIFIED","reason_given":1}"#,
            r#"disqualified_without_contact lead:1 RAISED 02 10:02 {"touches":1}"#,
            r#"disqualified_without_reason lead:1 RAISED 02 10:04 {"outcome":"LOST","reason_given":0}"#,
            r#"disqualified_without_contact lead:2 RAISED 02 10:07 {"touches":0}"#,
        ]
    );
    assert_eq!(verdict.alerts[1]["norm"], json!({"min_touches": 2}));
}

#[test]
fn offers_are_judged_by_the_first_matching_policy() {
    let norms = norms(&json!({"terms": {"approvers": ["boss"], "policies": [
        {"pipeline": "sales", "grade": "senior", "max_discount_percent": 15},
        {"amount_minor_below": 1000, "max_discount_percent": 5, "max_installment_months": 0, "min_prepayment_percent": 100},
    ]}}));
    let upsert = json!({"manager_upserted": {"manager_id": "ann", "department_id": "north", "grade": "senior"}});
    let offer = |manager: Option<&str>, more: Value| {
        let mut offer = json!({"deal_id": "1", "manager_id": manager});
        offer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"terms_offered": offer})
    };
    let all = json!({"discount_percent": 15, "installment_months": 1, "prepayment_percent": 99.5, "amount_minor": 999});
    let verdict = run(
        &norms,
        "20:00",
        &[
            ("10:00", upsert),
            ("10:01", deal("1", None)),
            // Ann, the responsible manager, is a senior: 15 is allowed, the rest is not judged.
            ("10:02", offer(None, all.clone())),
            ("10:03", offer(None, json!({"discount_percent": 15.5}))),
            ("10:04", offer(Some("bob"), all)),
            // An unknown amount matches no `amount_minor_below`.
            ("10:05", offer(Some("bob"), json!({"discount_percent": 50}))),
            ("10:06", offer(Some("ann"), json!({"discount_percent": 50, "approved_by": "boss"}))),
            ("10:07", offer(Some("ann"), json!({"discount_percent": 50, "approved_by": "bob"}))),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            r#"discount_over_limit deal:1 RAISED 02 10:03 {"discount_percent":15.5}"#,
            r#"discount_over_limit deal:1 RAISED 02 10:04 {"discount_percent":15.0}"#,
            r#"installment_not_allowed deal:1 RAISED 02 10:04 {"installment_months":1.0}"#,
            r#"prepayment_too_low deal:1 RAISED 02 10:04 {"prepayment_percent":99.5}"#,
            r#"discount_over_limit deal:1 RAISED 02 10:07 {"discount_percent":50.0}"#,
        ]
    );
    assert_eq!((&verdict.alerts[0]["manager_id"], &verdict.alerts[1]["manager_id"]), (&json!("ann"), &json!("bob")));
    assert_eq!(verdict.alerts[0]["norm"], json!({"max_discount_percent": 15.0}));
}

#[test]
fn neglect_runs_from_the_last_touch() {
    let norms = norms(&json!({"neglected": {"within": "1h"}}));
    let verdict = run(
        &norms,
        "15:30",
        &[
            ("10:00", created("1")),
            ("10:50", sent(lead("1"))),
            ("12:00", sent(lead("1"))),
            // Dated before the touch of 12:00 but known after it: in time for the clock of 10:50.
            ("12:30", call("c", "OUTBOUND", "11:50", 600)),
            ("12:50", json!({"closed": {"entity": lead("1"), "outcome": "LOST"}})),
            ("13:50", json!({"reopened": {"entity": lead("1")}})),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            r#"neglected lead:1 FIRING 02 11:50 {"idle_seconds":3600.0}"#,
            r#"neglected lead:1 RESOLVED 02 12:00 {"idle_seconds":4200.0} responded"#,
            r#"neglected lead:1 RETRACTED 02 12:30 {"idle_seconds":3600.0} late_evidence"#,
            r#"neglected lead:1 FIRING 02 14:50 {"idle_seconds":3600.0}"#,
        ]
    );
    assert_eq!(verdict.alerts[3]["anchor_at"], time("13:50"));
    // Unknown creation: no clock. A creation before the first event counts from the first event.
    let heard = json!({"assigned": {"entity": lead("1"), "manager_id": "ann"}});
    let old = json!({"lead_snapshot": {"lead_id": "1", "created_at": time("07:00")}});
    let verdict = run(&norms, "15:30", &[("10:00", heard.clone())]);
    assert!(verdict.alerts.is_empty());
    let verdict = run(&norms, "15:30", &[("10:00", heard), ("10:30", old)]);
    assert_eq!(summary(&verdict), [r#"neglected lead:1 FIRING 02 11:00 {"idle_seconds":3600.0}"#]);
    assert_eq!(verdict.alerts[0]["anchor_at"], time("10:00"));
}

#[test]
fn attempts_are_counted_up_to_the_deadline() {
    let norms = norms(&json!({"too_few_attempts": {"within": "1h", "attempts": 2}}));
    let verdict = run(
        &norms,
        "15:30",
        &[
            ("10:00", created("1")),
            ("10:10", sent(lead("1"))),
            ("11:20", sent(lead("1"))),
            ("11:30", call("c", "OUTBOUND", "10:50", 0)),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            r#"too_few_attempts lead:1 FIRING 02 11:00 {"touches":1}"#,
            r#"too_few_attempts lead:1 RESOLVED 02 11:20 {"touches":2} responded"#,
            r#"too_few_attempts lead:1 RETRACTED 02 11:30 {"touches":2} late_evidence"#,
        ]
    );
    assert_eq!(verdict.alerts[0]["norm"], json!({"within_seconds": 3600.0, "clock": "wall", "attempts": 2}));
    // A conversation is enough.
    let talked = run(&norms, "15:30", &[("10:00", created("1")), ("10:30", call("c", "INBOUND", "10:20", 60))]);
    assert!(talked.alerts.is_empty());
    let closed = json!({"closed": {"entity": lead("1"), "outcome": "LOST"}});
    let verdict = run(&norms, "15:30", &[("10:00", created("1")), ("11:10", closed)]);
    assert_eq!(summary(&verdict)[1], r#"too_few_attempts lead:1 RESOLVED 02 11:10 {"touches":0} closed"#);
}

#[test]
fn messages_have_clocks_like_missed_calls() {
    let norms = norms(&json!({"message_unanswered": {"within": "30m", "channels": ["EMAIL"]}}));
    let received = |id: &str, channel: &str| json!({"message_received": {"message_id": id, "channel": channel, "contact": {"email": "c@x.ru"}, "manager_id": "bob"}});
    let reply = json!({"message_sent": {"message_id": "r", "in_reply_to": "2", "channel": "EMAIL"}});
    let verdict = run(
        &norms,
        "15:30",
        &[
            ("10:00", created("1")),
            ("10:05", received("0", "CHAT")),
            ("10:10", received("1", "EMAIL")),
            ("10:20", received("2", "EMAIL")),
            ("10:50", reply),
            ("11:00", received("3", "EMAIL")),
            // Another message during a conversation with the lead from 11:10 to 12:00.
            ("11:20", received("4", "EMAIL")),
            ("12:00", call("c", "OUTBOUND", "11:10", 60)),
        ],
    );
    let contact = verdict.alerts[0]["subject"].as_str().unwrap();
    assert_eq!(
        summary(&verdict),
        [
            r#"FIRING 02 10:40 {"lag_seconds":1800.0}"#,
            r#"RESOLVED 02 10:50 {"lag_seconds":2400.0} answered"#,
            r#"FIRING 02 11:30 {"lag_seconds":1800.0}"#,
            r#"RETRACTED 02 12:00 {"lag_seconds":600.0} late_evidence"#,
            r#"FIRING 02 12:00 {"lag_seconds":2400.0}"#,
        ]
        .map(|rest| format!("message_unanswered {contact} {rest}"))
    );
    let first = &verdict.alerts[0];
    assert_eq!(
        (&first["interaction_id"], &first["manager_id"], &first["entity"]),
        (&json!("1"), &json!("ann"), &json!("lead:1"))
    );
}
