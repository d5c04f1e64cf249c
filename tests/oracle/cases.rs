//! Tests of the oracle itself: cases worked out by hand from the specification.
//!
//! 2 March 2026 is a Monday. Times are UTC: `HH:MM` or `HH:MM:SS` on that day, or `D HH:MM` on another day of March.

use serde_json::{Value, json};

use super::{Verdict, judge};

pub fn time(text: &str) -> String {
    let (day, clock) = text.split_once(' ').unwrap_or(("2", text));
    let seconds = if clock.len() == 5 { ":00" } else { "" };
    format!("2026-03-{:02}T{clock}{seconds}.000Z", day.parse::<u32>().unwrap())
}

/// Events from (time, payload); ids are assigned by position.
fn events(list: &[(&str, Value)]) -> Vec<Value> {
    list.iter()
        .enumerate()
        .map(|(index, (at, payload))| {
            let mut event = json!({"event_id": format!("e{index}"), "tenant_id": "t", "occurred_at": time(at)});
            event.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
            event
        })
        .collect()
}

pub fn run(norms: &Value, until: &str, list: &[(&str, Value)]) -> Verdict {
    let until = super::calendar::instant(&time(until)).unwrap();
    judge(&events(list), norms, Some(until))
}

/// The alerts as `KIND STATUS at lag [resolution]`; other fields are tested elsewhere.
fn summary(verdict: &Verdict) -> Vec<String> {
    let line = |a: &Value| {
        let at = a["at"].as_str().unwrap();
        let resolution = a["resolution"].as_str().map_or(String::new(), |r| format!(" {r}"));
        format!(
            "{} {} {} {}{resolution}",
            a["subject"].as_str().unwrap().split(':').next().unwrap(),
            a["status"].as_str().unwrap(),
            &at[8..16].replace('T', " "),
            a["observed"]["lag_seconds"]
        )
    };
    verdict.alerts.iter().map(line).collect()
}

pub fn row<'a>(verdict: &'a Verdict, subject: &str, window: &str) -> &'a Value {
    verdict.rows.iter().find(|r| r["subject"] == subject && r["window"] == window).expect("a row")
}

fn first_response() -> Value {
    json!({"norms": {"first_response_late": {"within": "15m"}}})
}

fn missed_calls() -> Value {
    json!({"norms": {"missed_call_not_returned": {"within": "30m"}}})
}

pub fn lead(id: &str) -> Value {
    json!({"kind": "LEAD", "id": id})
}

pub fn created(id: &str) -> Value {
    json!({"lead_created": {"lead_id": id, "manager_id": "ann", "contacts": [{"phone": "+79161234567"}, {"email": "c@x.ru"}]}})
}

pub fn sent(entity: Value) -> Value {
    json!({"message_sent": {"message_id": "m", "channel": "CHAT", "entity": entity, "manager_id": "ann"}})
}

/// A `call_ended`, dated at its end.
pub fn call(id: &str, direction: &str, start: &str, talk: u32) -> Value {
    let outcome = if talk > 0 { "ANSWERED" } else { "NO_ANSWER" };
    json!({"call_ended": {"call_id": id, "direction": direction, "phone": "8 (916) 123-45-67", "started_at": time(start), "talk_seconds": talk, "outcome": outcome, "manager_id": "bob"}})
}

#[test]
fn a_response_exactly_at_the_deadline_is_in_time() {
    let in_time = run(&first_response(), "12:00", &[("10:00", created("1")), ("10:15", sent(lead("1")))]);
    assert!(in_time.alerts.is_empty());
    assert_eq!(row(&in_time, "manager:ann", "24h")["first_response"]["within_norm"]["k"], 1);
    let late = run(&first_response(), "12:00", &[("10:00", created("1")), ("10:16", sent(lead("1")))]);
    assert_eq!(summary(&late), ["lead FIRING 02 10:15 900.0", "lead RESOLVED 02 10:16 960.0 responded"]);
    let within = &row(&late, "manager:ann", "24h")["first_response"]["within_norm"];
    assert_eq!((&within["n"], &within["k"]), (&json!(1), &json!(0)));
    assert_eq!(row(&late, "tenant", "24h")["violations"], json!({"first_response_late": 1}));
}

#[test]
fn a_call_dated_in_time_and_known_late_retracts() {
    let verdict =
        run(&first_response(), "12:00", &[("10:00", created("1")), ("10:30", call("c", "OUTBOUND", "10:10", 600))]);
    assert_eq!(summary(&verdict), ["lead FIRING 02 10:15 900.0", "lead RETRACTED 02 10:30 600.0 late_evidence"]);
    assert_eq!(row(&verdict, "tenant", "24h")["violations"], json!({}));
    let lag = &row(&verdict, "tenant", "24h")["first_response"]["wall"];
    assert_eq!((&lag["n"], &lag["p50_seconds"]), (&json!(1), &json!(600.0)));
    // With its `call_started` no alert fires during the call, and the call is one touch.
    let start = json!({"call_started": {"call_id": "c", "direction": "OUTBOUND", "phone": "+79161234567"}});
    let verdict = run(
        &first_response(),
        "12:00",
        &[("10:00", created("1")), ("10:10", start), ("10:30", call("c", "OUTBOUND", "10:10", 600))],
    );
    assert!(verdict.alerts.is_empty());
    assert_eq!(row(&verdict, "tenant", "24h")["touches"], 1);
    assert_eq!(row(&verdict, "tenant", "24h")["calls"]["outbound_answered"], 1);
    // The touch counts for the responsible manager (the start names none), the call for its own manager.
    assert_eq!(row(&verdict, "manager:ann", "24h")["touches"], 1);
    assert_eq!(row(&verdict, "manager:bob", "24h")["calls"]["outbound_answered"], 1);
}

#[test]
fn late_evidence_retracts_a_resolved_alert() {
    let verdict = run(
        &first_response(),
        "12:00",
        &[("10:00", created("1")), ("10:20", sent(lead("1"))), ("10:30", call("c", "OUTBOUND", "10:10", 600))],
    );
    assert_eq!(
        summary(&verdict),
        [
            "lead FIRING 02 10:15 900.0",
            "lead RESOLVED 02 10:20 1200.0 responded",
            "lead RETRACTED 02 10:30 600.0 late_evidence"
        ]
    );
    // The earliest dated touch known is the response.
    assert_eq!(row(&verdict, "tenant", "24h")["first_response"]["wall"]["mean_seconds"], 600.0);
    assert_eq!(row(&verdict, "tenant", "24h")["first_response"]["within_norm"]["k"], 1);
}

#[test]
fn the_norm_can_require_a_conversation() {
    let norms = json!({"norms": {"first_response_late": {"within": "15m", "response": "conversation"}}});
    let answer = json!({"message_received": {"message_id": "r", "channel": "CHAT", "entity": lead("1")}});
    let verdict = run(
        &norms,
        "12:00",
        &[("10:00", created("1")), ("10:01", answer.clone()), ("10:05", sent(lead("1"))), ("10:20", answer)],
    );
    // The customer's first message preceded any touch.
    assert_eq!(summary(&verdict), ["lead FIRING 02 10:15 900.0", "lead RESOLVED 02 10:20 1200.0 responded"]);
    // The figures still use the touch.
    assert_eq!(row(&verdict, "tenant", "24h")["first_response"]["within_norm"]["k"], 1);
    assert_eq!(row(&verdict, "tenant", "24h")["first_response"]["wall"]["mean_seconds"], 300.0);
}

#[test]
fn an_unknown_creation_starts_no_clock_until_it_is_known() {
    let assigned = json!({"assigned": {"entity": lead("1"), "manager_id": "ann"}});
    let verdict = run(&first_response(), "12:00", &[("10:00", assigned.clone())]);
    assert!(verdict.alerts.is_empty());
    assert_eq!(row(&verdict, "tenant", "now")["awaiting_first_response"], 0);
    assert_eq!(row(&verdict, "tenant", "24h")["leads_received"], 0);
    // Known after its deadline: dated when it can be decided.
    let snapshot = |created_at: &str| json!({"lead_snapshot": {"lead_id": "1", "created_at": time(created_at)}});
    let verdict = run(&first_response(), "12:00", &[("10:00", assigned.clone()), ("11:00", snapshot("10:05"))]);
    assert_eq!(summary(&verdict), ["lead FIRING 02 11:00 3300.0"]);
    assert_eq!(
        (&verdict.alerts[0]["anchor_at"], &verdict.alerts[0]["due_at"]),
        (&json!(time("10:05")), &json!(time("10:20")))
    );
    // Earlier touches count.
    let verdict = run(
        &first_response(),
        "12:00",
        &[("10:00", assigned.clone()), ("10:01", sent(lead("1"))), ("11:00", snapshot("10:05"))],
    );
    assert!(verdict.alerts.is_empty());
    assert_eq!(row(&verdict, "tenant", "24h")["first_response"]["wall"]["mean_seconds"], 0.0);
    // Older than the first event of the tenant: counted as received, but without a clock.
    let verdict = run(&first_response(), "12:00", &[("10:00", assigned), ("11:00", snapshot("09:59"))]);
    assert!(verdict.alerts.is_empty());
    assert_eq!(row(&verdict, "tenant", "now")["awaiting_first_response"], 0);
    assert_eq!(row(&verdict, "tenant", "24h")["leads_received"], 1);
}

#[test]
fn escalations_use_the_clock_and_raise_the_severity() {
    let day = json!(["09:00-18:00"]);
    let norms = json!({
        "calendars": {"c": {"timezone": "Europe/Moscow", "week": {"mon": day, "tue": day, "fri": day}}},
        "calendar": "c",
        "norms": {"first_response_late": {"within": "15m", "clock": "business", "severity": "info", "escalate_after": ["15m", "9h"]}},
    });
    // Friday 6 March, 22:00 in Moscow; Monday 09:15 is 06:15 UTC.
    let verdict = run(&norms, "11 00:00", &[("6 19:00", created("1"))]);
    assert_eq!(
        summary(&verdict),
        ["lead FIRING 09 06:15 900.0", "lead ESCALATED 09 06:30 1800.0", "lead ESCALATED 10 06:15 33300.0"]
    );
    let severities: Vec<&str> = verdict.alerts.iter().map(|a| a["severity"].as_str().unwrap()).collect();
    assert_eq!(severities, ["info", "warning", "critical"]);
    assert_eq!(verdict.alerts[0]["anchor_at"], time("6 19:00"));
    assert_eq!(row(&verdict, "manager:ann", "now")["open_alerts"], json!({"first_response_late": 1}));
    // 19:00 on the 6th to 00:00 on the 11th, wall time.
    assert_eq!(row(&verdict, "manager:ann", "now")["oldest_wait_seconds"], 101.0 * 3600.0);
}

#[test]
fn an_unanswered_closing_is_not_judged_and_ends_the_clock_permanently() {
    let closed = json!({"closed": {"entity": lead("1"), "outcome": "DISQUALIFIED"}});
    let reopened = json!({"reopened": {"entity": lead("1")}});
    let verdict = run(&first_response(), "12:00", &[("10:00", created("1")), ("10:15", closed), ("10:20", reopened)]);
    assert!(verdict.alerts.is_empty());
    let tenant = row(&verdict, "tenant", "24h");
    assert_eq!(tenant["first_response"]["within_norm"]["n"], 0);
    // Reopened: the closing no longer counts.
    assert_eq!((&tenant["leads_disqualified"], &tenant["leads_received"]), (&json!(0), &json!(1)));
    assert_eq!(row(&verdict, "tenant", "now")["awaiting_first_response"], 0);
    assert_eq!(row(&verdict, "tenant", "now")["open"], json!({"unknown": {"unknown": 1}}));
}

#[test]
fn another_outcome_replaces_the_closing() {
    let close = |outcome: &str| json!({"closed": {"entity": lead("1"), "outcome": outcome}});
    let assigned = json!({"assigned": {"entity": lead("1"), "manager_id": "bob"}});
    let verdict = run(
        &first_response(),
        "12:00",
        &[
            ("10:00", created("1")),
            ("10:01", close("DISQUALIFIED")),
            ("10:02", assigned),
            ("10:03", close("DISQUALIFIED")),
        ],
    );
    // Repeating the outcome changes nothing: it still counts for Ann. `leads_received` moves to the responsible manager.
    assert_eq!(row(&verdict, "manager:ann", "24h")["leads_disqualified"], 1);
    assert_eq!(row(&verdict, "manager:bob", "24h")["leads_received"], 1);
    let verdict = run(
        &first_response(),
        "12:00",
        &[("10:00", created("1")), ("10:01", close("DISQUALIFIED")), ("10:04", close("CONVERTED"))],
    );
    let tenant = row(&verdict, "tenant", "24h");
    assert_eq!(tenant["leads_disqualified"], 0);
    assert_eq!(
        (&tenant["lead_conversion"]["closed"]["n"], &tenant["lead_conversion"]["closed"]["k"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn a_deal_converts_the_lead_that_it_names() {
    let deal = |id: &str, lead: &str| json!({"deal_created": {"deal_id": id, "lead_id": lead, "manager_id": "bob"}});
    let verdict = run(
        &first_response(),
        "12:00",
        &[("09:00", created("1")), ("09:05", deal("d1", "1")), ("09:06", deal("d2", "2")), ("09:07", created("2"))],
    );
    // Lead 2 was unknown when it was named: it is open and late, but counts as converted in its cohort.
    assert_eq!(summary(&verdict), ["lead FIRING 02 09:22 900.0"]);
    let tenant = row(&verdict, "tenant", "24h");
    assert_eq!(
        (&tenant["lead_conversion"]["cohort"]["n"], &tenant["lead_conversion"]["cohort"]["k"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(tenant["lead_conversion"]["closed"]["n"], 1);
    // A deal with a lead waits for no first response, but counts in the win rate.
    assert_eq!(row(&verdict, "tenant", "now")["awaiting_first_response"], 1);
    assert_eq!(tenant["win_rate"]["cohort"]["n"], 2);
}

#[test]
fn deleted_leads_leave_the_cohorts_and_their_acts_stay() {
    let deleted = json!({"deleted": {"entity": lead("1")}});
    let verdict = run(
        &first_response(),
        "12:00",
        &[
            ("10:00", created("1")),
            ("10:20", deleted),
            ("10:30", call("c", "OUTBOUND", "10:10", 60)),
            ("10:40", created("1")),
        ],
    );
    // The call is matched by contact, and no open entity has it any more: no evidence.
    assert_eq!(summary(&verdict), ["lead FIRING 02 10:15 900.0", "lead RESOLVED 02 10:20 1200.0 deleted"]);
    let tenant = row(&verdict, "tenant", "24h");
    assert_eq!(tenant["leads_received"], 0);
    assert_eq!((&tenant["touches"], &tenant["violations"]), (&json!(1), &json!({"first_response_late": 1})));
    assert_eq!(tenant["first_response"]["within_norm"]["n"], 1);
    assert_eq!(row(&verdict, "tenant", "now")["open"], json!({}));
}

#[test]
fn missed_calls_have_one_clock_per_contact() {
    let verdict = run(
        &missed_calls(),
        "14:00",
        &[
            ("10:00", created("1")),
            ("10:10", call("a", "INBOUND", "10:09", 0)),
            ("10:20", call("b", "INBOUND", "10:19", 0)),
            ("10:50", call("c", "OUTBOUND", "10:49", 0)),
            ("11:00", call("d", "INBOUND", "10:59", 0)),
            ("11:40", call("e", "INBOUND", "11:39", 30)),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            "contact FIRING 02 10:40 1800.0",
            "contact RESOLVED 02 10:50 2340.0 returned",
            "contact FIRING 02 11:30 1800.0",
            "contact RESOLVED 02 11:40 2340.0 customer_called_again",
        ]
    );
    let first = &verdict.alerts[0];
    assert_eq!(
        (&first["manager_id"], &first["entity"], &first["interaction_id"]),
        (&json!("ann"), &json!("lead:1"), &json!("a"))
    );
    let tenant = row(&verdict, "tenant", "24h");
    // From the first pending call to the start of the call back; a call by the customer is no call back.
    assert_eq!((&tenant["call_back"]["n"], &tenant["call_back"]["mean_seconds"]), (&json!(1), &json!(2340.0)));
    assert_eq!(tenant["calls"]["inbound_missed"], 3);
    // A one-minute attempt and a conversation are touches.
    assert_eq!((&tenant["touches"], &tenant["talk_seconds"]), (&json!(2), &json!(30.0)));
}

#[test]
fn a_call_that_began_before_the_missed_call_is_no_call_back() {
    let verdict = run(
        &missed_calls(),
        "12:00",
        &[
            ("10:00", call("a", "INBOUND", "09:59", 0)),
            // During this call of 10:05 to 10:50, which settles the first, another call is missed.
            ("10:10", call("b", "INBOUND", "10:09", 0)),
            ("10:50", call("c", "OUTBOUND", "10:05", 60)),
        ],
    );
    assert_eq!(
        summary(&verdict),
        // The deadline of the second, 10:40, has passed when it becomes known to be pending.
        [
            "contact FIRING 02 10:30 1800.0",
            "contact RETRACTED 02 10:50 300.0 late_evidence",
            "contact FIRING 02 10:50 2400.0"
        ]
    );
    assert_eq!(row(&verdict, "tenant", "now")["unreturned_calls"], 1);
    assert_eq!(row(&verdict, "tenant", "24h")["call_back"]["mean_seconds"], 300.0);
    // Without an entity the event's manager counts.
    assert_eq!(row(&verdict, "manager:bob", "now")["open_alerts"], json!({"missed_call_not_returned": 1}));
}

#[test]
fn duplicates_are_found_within_six_hours_inclusive() {
    let sent = |at: &str| {
        let mut event = events(&[(at, sent(lead("1")))]).remove(0);
        event["event_id"] = json!("same");
        event
    };
    let norms = first_response();
    let count = |list: &[Value]| {
        judge(list, &norms, None).rows.iter().find(|r| r["subject"] == "tenant" && r["window"] == "24h").unwrap()["touches"].clone()
    };
    assert_eq!(count(&[sent("01:00"), sent("07:00")]), 1);
    assert_eq!(count(&[sent("01:00"), sent("07:01")]), 2);
    // Counted from the last *accepted* event: 06:00 is a duplicate, so 08:00 is seven hours from 01:00.
    assert_eq!(count(&[sent("01:00"), sent("06:00"), sent("08:00")]), 2);
}

#[test]
fn a_thread_stays_with_its_first_entity() {
    let message = |thread: &str| json!({"message_sent": {"message_id": "m", "thread_id": thread, "channel": "EMAIL", "contact": {"email": "C <C@X.RU>"}}});
    let verdict = run(
        &first_response(),
        "10:10",
        &[
            ("10:00", created("1")),
            ("10:01", message("old")),
            ("10:02", created("2")),
            ("10:03", message("old")),
            ("10:04", created("3")),
        ],
    );
    // The second message belongs to lead 1 only, by its thread.
    assert_eq!(row(&verdict, "tenant", "now")["awaiting_first_response"], 2);
    let verdict =
        run(&first_response(), "10:10", &[("10:00", created("1")), ("10:02", created("2")), ("10:03", message("new"))]);
    // By contact: every open entity, one touch.
    assert_eq!(row(&verdict, "tenant", "now")["awaiting_first_response"], 0);
    assert_eq!(row(&verdict, "tenant", "24h")["touches"], 1);
}

#[test]
fn a_reply_settles_all_pending_messages_of_a_contact() {
    let received = |id: &str, thread: &str, automatic: bool| json!({"message_received": {"message_id": id, "thread_id": thread, "channel": "EMAIL", "contact": {"email": "c@x.ru"}, "automatic": automatic}});
    let reply =
        json!({"message_sent": {"message_id": "r", "in_reply_to": "2", "channel": "EMAIL", "manager_id": "ann"}});
    let verdict = run(
        &json!({"norms": {}}),
        "12:00",
        &[
            ("10:00", received("0", "x", true)),
            ("10:10", received("1", "x", false)),
            ("10:20", received("2", "y", false)),
            ("10:40", reply),
            ("10:50", received("3", "y", false)),
        ],
    );
    let ann = row(&verdict, "manager:ann", "24h");
    assert_eq!((&ann["reply"]["n"], &ann["reply"]["mean_seconds"]), (&json!(1), &json!(1800.0)));
    assert_eq!(row(&verdict, "tenant", "now")["unanswered_messages"], 1);
    assert_eq!(row(&verdict, "tenant", "24h")["messages"]["received"], json!({"EMAIL": 4}));
}

#[test]
fn windows_cover_complete_panes_and_the_current_one() {
    let norms = json!({"windows": [{"size": "1h", "slide": "15m"}], "norms": {}});
    // T = 12:07: panes from 11:00 (k = 12:00, n = 4) on.
    for (at, received) in [("10:59", 0), ("11:00", 1), ("12:07", 1)] {
        let verdict = run(&norms, "12:07", &[(at, created("1"))]);
        assert_eq!(row(&verdict, "tenant", "1h")["leads_received"], received, "{at}");
    }
}

#[test]
fn figures_follow_managers_to_their_department() {
    let upsert = |department: &str| json!({"manager_upserted": {"manager_id": "ann", "department_id": department, "active": true}});
    let norms = json!({
        "norms": {"first_response_late": {"within": "15m"}},
        "overrides": [{"when": {"department": "north"}, "norms": {"first_response_late": {"within": "5m"}}}],
    });
    let verdict = run(
        &norms,
        "12:00",
        &[("10:00", upsert("north")), ("10:01", created("1")), ("10:02", upsert("south")), ("10:08", created("2"))],
    );
    // Norms of the scope where each clock started; department at the status; row of the department at T.
    assert_eq!(summary(&verdict), ["lead FIRING 02 10:06 300.0", "lead FIRING 02 10:23 900.0"]);
    assert!(verdict.alerts.iter().all(|a| a["department_id"] == "south"));
    assert_eq!(row(&verdict, "department:south", "24h")["leads_received"], 2);
    assert!(verdict.rows.iter().all(|r| r["subject"] != "department:north"));
}
