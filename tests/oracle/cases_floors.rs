//! Hand-worked cases of warnings, next steps, hand-overs, waiting stages, chains of moves and excluded leads. Times as in
//! `cases`.

use serde_json::{Value, json};

use super::Verdict;
use super::cases::{call, lead, row, run, sent, time};
use super::cases_rules::summary;

fn deal(id: &str) -> Value {
    json!({"kind": "DEAL", "id": id})
}

fn lead_created(id: &str, manager: Value) -> Value {
    json!({"lead_created": {"lead_id": id, "manager_id": manager, "contacts": [{"phone": "+79161234567"}]}})
}

fn deal_created(id: &str, stage: Option<&str>) -> Value {
    json!({"deal_created": {"deal_id": id, "manager_id": "ann", "pipeline_id": "sales", "stage_id": stage}})
}

fn assigned(id: &str, manager: &str) -> Value {
    json!({"assigned": {"entity": lead(id), "manager_id": manager}})
}

fn upserted(manager: &str, department: &str) -> Value {
    json!({"manager_upserted": {"manager_id": manager, "department_id": department}})
}

fn closed(entity: &Value, outcome: &str, reason: Option<&str>) -> Value {
    json!({"closed": {"entity": entity, "outcome": outcome, "reason": reason}})
}

fn reopened(entity: &Value) -> Value {
    json!({"reopened": {"entity": entity}})
}

fn moved(id: &str, from: Option<&str>, to: &str) -> Value {
    json!({"stage_changed": {"entity": deal(id), "pipeline_id": "sales", "from_stage_id": from, "to_stage_id": to}})
}

fn planned(entity: &Value, activity: &str, deadline: Option<&str>) -> Value {
    let deadline = deadline.map(|deadline| if deadline.len() > 9 { deadline.to_owned() } else { time(deadline) });
    json!({"activity_planned": {"entity": entity, "activity_id": activity, "manager_id": "bob", "kind": "TASK", "deadline": deadline}})
}

fn done(entity: &Value, activity: &str) -> Value {
    json!({"activity_completed": {"entity": entity, "activity_id": activity, "kind": "TASK"}})
}

fn cancelled(entity: &Value, activity: &str) -> Value {
    json!({"activity_cancelled": {"entity": entity, "activity_id": activity}})
}

fn figure(verdict: &Verdict, subject: &str, window: &str, path: &str) -> Value {
    row(verdict, subject, window).pointer(path).unwrap_or(&Value::Null).clone()
}

const NOTHING: [&str; 0] = [];

// ---- before it is too late

fn response(more: &Value) -> Value {
    let mut norm = json!({"within": "15m", "warn_before": "5m"});
    norm.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"norms": {"first_response_late": norm}})
}

#[test]
fn a_warning_is_followed_by_the_deadline_or_averted() {
    // Shared case 46.
    let list = [
        ("07:00", lead_created("1", json!("ann"))),
        ("07:20", sent(lead("1"))),
        ("07:30", lead_created("2", json!("ann"))),
        ("07:42", sent(lead("2"))),
        ("08:00", lead_created("3", json!("ann"))),
        ("08:05", sent(lead("3"))),
        ("11:48", lead_created("4", json!("ann"))),
    ];
    let verdict = run(&response(&json!({})), "12:00", &list);
    assert_eq!(
        summary(&verdict),
        [
            r#"first_response_late lead:1 DUE_SOON 02 07:10 {"lag_seconds":600.0}"#,
            r#"first_response_late lead:1 FIRING 02 07:15 {"lag_seconds":900.0}"#,
            r#"first_response_late lead:1 RESOLVED 02 07:20 {"lag_seconds":1200.0} responded"#,
            r#"first_response_late lead:2 DUE_SOON 02 07:40 {"lag_seconds":600.0}"#,
            r#"first_response_late lead:2 AVERTED 02 07:42 {"lag_seconds":720.0} responded"#,
            r#"first_response_late lead:4 DUE_SOON 02 11:58 {"lag_seconds":600.0}"#,
        ]
    );
    let last = verdict.alerts.last().unwrap();
    assert_eq!(
        (&last["level"], &last["severity"], &last["due_at"]),
        (&json!(0), &json!("info"), &json!(time("12:03")))
    );
    assert_eq!(figure(&verdict, "tenant", "24h", "/violations"), json!({"first_response_late": 1}));
    assert_eq!(figure(&verdict, "manager:ann", "now", "/due_soon"), json!({"first_response_late": 1}));
    assert_eq!(figure(&verdict, "manager:ann", "now", "/open_alerts"), json!({}));
}

#[test]
fn a_warning_comes_at_the_latest_instant_with_so_much_working_time_left() {
    let mut norms = response(&json!({"clock": "business"}));
    norms["calendar"] = json!("office");
    norms["calendars"] = json!({"office": {"timezone": "UTC", "week": {"mon": ["09:00-18:00"], "tue": ["09:00-18:00"]}, "years": [2026]}});
    // Due on Tuesday at 09:05, with five minutes left from Monday 18:00 to Tuesday 09:00; then at 09:04.
    let list = [("17:50", lead_created("1", json!("ann"))), ("17:51", lead_created("2", json!("ann")))];
    let verdict = run(&norms, "3 09:04:30", &list);
    assert_eq!(
        summary(&verdict),
        [
            r#"first_response_late lead:1 DUE_SOON 03 09:00 {"lag_seconds":600.0}"#,
            r#"first_response_late lead:2 DUE_SOON 03 09:01 {"lag_seconds":600.0}"#,
        ]
    );
}

#[test]
fn what_is_known_late_may_warn_late_or_not_at_all() {
    let snapshot = |id: &str, created: &str| json!({"lead_snapshot": {"lead_id": id, "manager_id": "ann", "created_at": time(created)}});
    let first = ("09:00", upserted("ann", "north"));
    let list = [first, ("10:12", snapshot("1", "10:00")), ("10:20", snapshot("2", "10:00"))];
    let verdict = run(&response(&json!({})), "10:21", &list);
    assert_eq!(
        summary(&verdict),
        [
            r#"first_response_late lead:1 DUE_SOON 02 10:12 {"lag_seconds":720.0}"#,
            r#"first_response_late lead:1 FIRING 02 10:15 {"lag_seconds":900.0}"#,
            r#"first_response_late lead:2 FIRING 02 10:20 {"lag_seconds":1200.0}"#,
        ]
    );
}

#[test]
fn evidence_from_before_a_warning_averts_it_as_wrong() {
    // A call dated at the very instant of the warning, and one between the warning and the deadline.
    for (start, resolution) in [("10:10", "late_evidence"), ("10:11", "responded")] {
        let list = [("10:00", lead_created("1", json!("ann"))), ("10:14", call("c", "OUTBOUND", start, 60))];
        let verdict = run(&response(&json!({})), "11:00", &list);
        let lag = if start == "10:10" { 600.0 } else { 660.0 };
        assert_eq!(
            summary(&verdict),
            [
                r#"first_response_late lead:1 DUE_SOON 02 10:10 {"lag_seconds":600.0}"#.to_owned(),
                format!(r#"first_response_late lead:1 AVERTED 02 10:14 {{"lag_seconds":{lag:.1}}} {resolution}"#),
            ]
        );
    }
    // After an answer: only what came before the warning is reported.
    for (start, count) in [("10:09", 3), ("10:11", 2)] {
        let list = [
            ("10:00", lead_created("1", json!("ann"))),
            ("10:12", sent(lead("1"))),
            ("10:14", call("c", "OUTBOUND", start, 60)),
        ];
        let verdict = run(&response(&json!({})), "11:00", &list);
        assert_eq!(verdict.alerts.len(), count, "{start}");
        let last = verdict.alerts.last().unwrap();
        let wanted = if count == 3 { "late_evidence" } else { "responded" };
        assert_eq!((&last["status"], &last["resolution"]), (&json!("AVERTED"), &json!(wanted)));
    }
    // Known after the deadline, dated before it.
    let list = [("10:00", lead_created("1", json!("ann"))), ("10:16", call("c", "OUTBOUND", "10:05", 60))];
    let verdict = run(&response(&json!({})), "11:00", &list);
    let statuses: Vec<&Value> = verdict.alerts.iter().map(|alert| &alert["status"]).collect();
    assert_eq!(statuses, ["DUE_SOON", "FIRING", "RETRACTED"]);
}

#[test]
fn missed_calls_and_messages_warn_too() {
    let norms = json!({"norms": {"missed_call_not_returned": {"within": "30m", "warn_before": "10m"}}});
    let list = [
        ("10:00", call("a", "INBOUND", "10:00", 0)),
        ("10:25", call("b", "OUTBOUND", "10:24", 10)),
        ("11:00", call("c", "INBOUND", "11:00", 0)),
        ("11:25", call("c", "INBOUND", "10:50", 60)),
    ];
    let verdict = run(&norms, "12:00", &list);
    let statuses: Vec<String> =
        verdict.alerts.iter().map(|a| format!("{} {}", a["status"].as_str().unwrap(), a["resolution"])).collect();
    assert_eq!(statuses, ["DUE_SOON null", r#"AVERTED "returned""#, "DUE_SOON null", r#"AVERTED "late_evidence""#]);
}

#[test]
fn a_stay_with_less_left_than_the_warning_needs_warns_at_its_beginning() {
    let norms = json!({
        "pipelines": {"sales": {"entity": "deal", "stages": [{"id": "NEW", "max_time": "1h"}, {"id": "NEEDS"}]}},
        "norms": {"stage_overdue": {"warn_before": "20m"}},
    });
    let list = [
        ("10:00", deal_created("1", Some("NEW"))),
        ("10:50", moved("1", None, "NEEDS")),
        ("11:00", moved("1", None, "NEW")),
    ];
    assert_eq!(
        summary(&run(&norms, "12:00", &list)),
        [
            r#"stage_overdue deal:1/NEW DUE_SOON 02 10:40 {"time_in_stage_seconds":2400.0}"#,
            r#"stage_overdue deal:1/NEW AVERTED 02 10:50 {"time_in_stage_seconds":3000.0} left_stage"#,
            r#"stage_overdue deal:1/NEW DUE_SOON 02 11:00 {"time_in_stage_seconds":3000.0}"#,
            r#"stage_overdue deal:1/NEW FIRING 02 11:10 {"time_in_stage_seconds":3600.0}"#,
        ]
    );
}

// ---- next steps

fn next_steps() -> Value {
    json!({"norms": {
        "next_step_missing": {"within": "2h", "clock": "wall", "entities": ["deal"]},
        "next_step_overdue": {"within": "30m", "clock": "wall"},
    }})
}

#[test]
fn open_deals_need_a_next_step_and_do_it_in_time() {
    // Shared case 47.
    let (d0, d1) = (deal("D0"), deal("D1"));
    let list = [
        ("06:30", deal_created("D0", None)),
        ("06:30", planned(&d0, "a0", Some("10:00"))),
        ("07:00", deal_created("D1", None)),
        ("08:00", done(&d0, "a0")),
        ("09:30", planned(&d1, "a1", Some("10:00"))),
        ("09:50", planned(&d0, "a2", None)),
        ("11:00", done(&d1, "a1")),
    ];
    let verdict = run(&next_steps(), "12:00", &list);
    assert_eq!(
        summary(&verdict),
        [
            r#"next_step_missing deal:D1 FIRING 02 09:00 {"idle_seconds":7200.0}"#,
            r#"next_step_missing deal:D1 RESOLVED 02 09:30 {"idle_seconds":9000.0} planned"#,
            r#"next_step_overdue deal:D1/a1 FIRING 02 10:30 {"overdue_seconds":1800.0}"#,
            r#"next_step_overdue deal:D1/a1 RESOLVED 02 11:00 {"overdue_seconds":3600.0} done"#,
        ]
    );
    let plans = json!({"made": 3, "done": 2, "done_in_time": 1, "moved": 0});
    assert_eq!(figure(&verdict, "tenant", "24h", "/plans"), plans);
    // Made by the manager of the event; done by nobody named, so by the responsible.
    assert_eq!(figure(&verdict, "manager:bob", "24h", "/plans/made"), 3);
    assert_eq!(figure(&verdict, "manager:ann", "24h", "/plans/done"), 2);
    let now = row(&verdict, "manager:ann", "now");
    assert_eq!(
        (&now["open_plans"], &now["overdue_plans"], &now["without_next_step"]),
        (&json!(1), &json!(0), &json!(1))
    );
}

#[test]
fn another_deadline_starts_anew() {
    let d = deal("1");
    let list = [
        ("08:00", deal_created("1", None)),
        ("08:00", planned(&d, "a", Some("10:00"))),
        // The same again; then taken away, one that has passed, one ahead, the same id after its end.
        ("09:00", planned(&d, "a", Some("10:00"))),
        ("10:40", planned(&d, "a", None)),
        ("11:00", planned(&d, "a", Some("09:00"))),
        ("11:10", planned(&d, "a", Some("12:00"))),
        ("12:00", done(&d, "a")),
        ("12:10", planned(&d, "a", Some("9999-12-31T00:00:00Z"))),
        ("12:20", planned(&d, "b", Some("12:30"))),
        ("13:10", closed(&d, "LOST", None)),
        ("13:20", planned(&d, "c", Some("13:30"))),
        ("13:30", reopened(&d)),
    ];
    let verdict = run(&next_steps(), "15:40", &list);
    assert_eq!(
        summary(&verdict),
        [
            r#"next_step_overdue deal:1/a FIRING 02 10:30 {"overdue_seconds":1800.0}"#,
            r#"next_step_overdue deal:1/a RESOLVED 02 10:40 {"overdue_seconds":2400.0} rescheduled"#,
            r#"next_step_overdue deal:1/a FIRING 02 11:00 {"overdue_seconds":7200.0}"#,
            r#"next_step_overdue deal:1/a RESOLVED 02 11:10 {"overdue_seconds":7800.0} rescheduled"#,
            r#"next_step_overdue deal:1/b FIRING 02 13:00 {"overdue_seconds":1800.0}"#,
            r#"next_step_overdue deal:1/b RESOLVED 02 13:10 {"overdue_seconds":2400.0} closed"#,
            // Reopened without a plan: c was never open.
            r#"next_step_missing deal:1 FIRING 02 15:30 {"idle_seconds":7200.0}"#,
        ]
    );
    // Moved: 10:00 taken away, 09:00 to 12:00; a new deadline for none is no move. Done at the deadline: in time.
    let plans = json!({"made": 4, "done": 1, "done_in_time": 1, "moved": 2});
    assert_eq!(figure(&verdict, "tenant", "24h", "/plans"), plans);
}

#[test]
fn a_step_is_missing_since_the_last_plan_ended_but_not_before_the_first_plan_of_the_tenant() {
    let norms = next_steps();
    let (old, new) = (deal("old"), deal("new"));
    let list = [
        // Unknown creation: no clock until a plan ends.
        ("07:00", json!({"assigned": {"entity": old, "manager_id": "ann"}})),
        ("07:30", deal_created("new", None)),
        ("08:00", planned(&deal("other"), "x", None)),
        ("08:30", planned(&old, "a", None)),
        ("08:40", planned(&old, "b", None)),
        ("09:00", cancelled(&old, "a")),
        ("09:30", cancelled(&old, "b")),
        ("09:40", cancelled(&old, "b")),
        ("10:10", closed(&new, "WON", None)),
    ];
    assert_eq!(
        summary(&run(&norms, "11:30", &list)),
        [
            r#"next_step_missing deal:new FIRING 02 10:00 {"idle_seconds":7200.0}"#,
            r#"next_step_missing deal:new RESOLVED 02 10:10 {"idle_seconds":7800.0} closed"#,
            r#"next_step_missing deal:old FIRING 02 11:30 {"idle_seconds":7200.0}"#,
        ]
    );
}

#[test]
fn leads_need_a_next_step_if_the_rule_says_so() {
    let list = [("08:00", lead_created("1", json!("ann"))), ("08:00", deal_created("2", None))];
    let without = |norms: &Value| figure(&run(norms, "09:00", &list), "tenant", "now", "/without_next_step");
    assert_eq!(without(&json!({"norms": {}})), 1);
    assert_eq!(without(&next_steps()), 1);
    let mut norms = next_steps();
    norms["norms"]["next_step_missing"]["entities"] = json!(["lead"]);
    assert_eq!(without(&norms), 2);
}

#[test]
fn a_warning_of_a_step_may_come_before_its_deadline_but_not_before_the_plan() {
    let mut norms = next_steps();
    norms["norms"]["next_step_overdue"]["warn_before"] = json!("1h");
    let d = deal("1");
    let list = [
        ("08:00", deal_created("1", None)),
        ("08:00", planned(&d, "a", Some("10:00"))),
        ("09:45", planned(&d, "a", Some("10:30"))),
        ("10:35", planned(&d, "b", Some("10:40"))),
        ("10:50", done(&d, "b")),
    ];
    assert_eq!(
        summary(&run(&norms, "10:55", &list)),
        [
            r#"next_step_overdue deal:1/a DUE_SOON 02 09:30 {"overdue_seconds":0.0}"#,
            r#"next_step_overdue deal:1/a AVERTED 02 09:45 {"overdue_seconds":0.0} rescheduled"#,
            r#"next_step_overdue deal:1/a DUE_SOON 02 10:00 {"overdue_seconds":0.0}"#,
            r#"next_step_overdue deal:1/b DUE_SOON 02 10:35 {"overdue_seconds":0.0}"#,
            r#"next_step_overdue deal:1/b AVERTED 02 10:50 {"overdue_seconds":600.0} done"#,
        ]
    );
}

// ---- hand-overs

#[test]
fn the_clock_starts_anew_with_each_hand_over() {
    // Shared case 57.
    let norms = json!({"norms": {"first_response_late": {"within": "15m", "from": "assigned"}}});
    let answer = json!({"call_ended": {"call_id": "c", "direction": "OUTBOUND", "phone": "+79161234567", "started_at": time("07:20"), "talk_seconds": 30, "outcome": "ANSWERED", "manager_id": "boris"}});
    let list = [("07:00", lead_created("1", json!("anna"))), ("07:14", assigned("1", "boris")), ("07:21", answer)];
    let verdict = run(&norms, "12:00", &list);
    assert_eq!(summary(&verdict), NOTHING);
    assert_eq!(figure(&verdict, "manager:boris", "24h", "/human_response/wall/mean_seconds"), 360.0);
    assert_eq!(figure(&verdict, "tenant", "24h", "/first_response/wall/mean_seconds"), 1200.0);
    assert_eq!(figure(&verdict, "tenant", "24h", "/first_response/within_norm/k"), 1);
    // By the norm of the creation it was late.
    let created = json!({"norms": {"first_response_late": {"within": "15m"}}});
    let verdict = run(&created, "12:00", &list);
    assert_eq!(verdict.alerts.len(), 2);
    assert_eq!(figure(&verdict, "tenant", "24h", "/first_response/within_norm/k"), 0);
}

#[test]
fn an_open_alert_ends_with_the_hand_over_and_the_lead_is_judged_once() {
    let norms = json!({"norms": {"first_response_late": {"within": "15m", "from": "assigned"}}});
    let list = [
        ("07:00", lead_created("1", json!("ann"))),
        ("07:20", assigned("1", "bob")),
        // The manager it has: nothing.
        ("07:25", assigned("1", "bob")),
        ("07:30", sent(lead("1"))),
    ];
    let verdict = run(&norms, "12:00", &list);
    assert_eq!(
        summary(&verdict),
        [
            r#"first_response_late lead:1 FIRING 02 07:15 {"lag_seconds":900.0}"#,
            r#"first_response_late lead:1 RESOLVED 02 07:20 {"lag_seconds":1200.0} reassigned"#,
        ]
    );
    let within = &row(&verdict, "tenant", "24h")["first_response"]["within_norm"];
    assert_eq!((&within["n"], &within["k"]), (&json!(1), &json!(1)));
    // Missed twice: judged once, at the last deadline, for the manager then responsible.
    let verdict = run(&norms, "12:00", &list[..2]);
    assert_eq!(verdict.alerts.len(), 3);
    let within = &row(&verdict, "manager:bob", "24h")["first_response"]["within_norm"];
    assert_eq!((&within["n"], &within["k"]), (&json!(1), &json!(0)));
    assert_eq!(figure(&verdict, "manager:ann", "24h", "/first_response/within_norm/n"), 0);
    // With a warning before: averted.
    let warned = json!({"norms": {"first_response_late": {"within": "30m", "from": "assigned", "warn_before": "15m"}}});
    assert_eq!(
        summary(&run(&warned, "07:22", &list[..2])),
        [
            r#"first_response_late lead:1 DUE_SOON 02 07:15 {"lag_seconds":900.0}"#,
            r#"first_response_late lead:1 AVERTED 02 07:20 {"lag_seconds":1200.0} reassigned"#,
        ]
    );
}

#[test]
fn an_unassigned_lead_has_no_clock_until_it_is_assigned() {
    let norms = json!({"norms": {"first_response_late": {"within": "15m", "from": "assigned"}}});
    let list = [("07:00", lead_created("1", Value::Null)), ("08:00", assigned("1", "ann")), ("08:20", sent(lead("1")))];
    assert_eq!(
        summary(&run(&norms, "12:00", &list)),
        [
            r#"first_response_late lead:1 FIRING 02 08:15 {"lag_seconds":900.0}"#,
            r#"first_response_late lead:1 RESOLVED 02 08:20 {"lag_seconds":1200.0} responded"#,
        ]
    );
    // Touched before any clock: no judgement, no clock, nobody's response.
    let list = [("07:00", lead_created("1", Value::Null)), ("07:30", sent(lead("1"))), ("08:00", assigned("1", "ann"))];
    let verdict = run(&norms, "12:00", &list);
    assert_eq!(summary(&verdict), NOTHING);
    assert_eq!(figure(&verdict, "tenant", "24h", "/first_response/within_norm/n"), 0);
    assert_eq!(figure(&verdict, "tenant", "24h", "/first_response/wall/n"), 1);
    assert_eq!(figure(&verdict, "tenant", "24h", "/human_response/wall/n"), 0);
    // Assigned before its creation was known: from the assignment.
    let list = [("07:00", assigned("1", "ann")), ("07:05", lead_created("1", Value::Null))];
    let verdict = run(&norms, "12:00", &list);
    assert_eq!(verdict.alerts[0]["at"], time("07:15"));
}

#[test]
fn a_hand_over_goes_by_the_norm_of_the_new_responsible() {
    let norms = json!({
        "norms": {"first_response_late": {"within": "15m"}},
        "overrides": [{"when": {"department": "south"}, "norms": {"first_response_late": {"within": "5m", "from": "assigned"}}}],
    });
    let list = [
        ("06:00", upserted("bob", "south")),
        ("07:00", lead_created("1", json!("ann"))),
        ("07:02", assigned("1", "bob")),
        // Back to somebody whose clock counts from the creation: nothing changes.
        ("07:04", assigned("1", "ann")),
    ];
    assert_eq!(
        summary(&run(&norms, "08:00", &list)),
        [r#"first_response_late lead:1 FIRING 02 07:07 {"lag_seconds":300.0}"#]
    );
}

// ---- stages

fn waiting() -> Value {
    json!({
        "pipelines": {"sales": {"entity": "deal", "stages": [{"id": "NEW"}, {"id": "HOLD", "waiting": true}, {"id": "OFFER"}]}},
        "norms": {"neglected": {"within": "1h"}, "next_step_missing": {"within": "1h"}},
    })
}

#[test]
fn while_the_customer_is_awaited_nothing_runs() {
    let list = [
        ("08:00", planned(&deal("other"), "x", None)),
        ("08:00", deal_created("1", Some("NEW"))),
        ("09:10", moved("1", None, "HOLD")),
        ("09:20", sent(deal("1"))),
        ("12:00", moved("1", None, "OFFER")),
    ];
    let verdict = run(&waiting(), "13:00", &list);
    let mut lines = summary(&verdict);
    lines.retain(|line| line.contains("deal:1"));
    lines.sort();
    assert_eq!(
        lines,
        [
            r#"neglected deal:1 FIRING 02 09:00 {"idle_seconds":3600.0}"#,
            r#"neglected deal:1 FIRING 02 13:00 {"idle_seconds":3600.0}"#,
            r#"neglected deal:1 RESOLVED 02 09:10 {"idle_seconds":4200.0} waiting"#,
            r#"next_step_missing deal:1 FIRING 02 09:00 {"idle_seconds":3600.0}"#,
            r#"next_step_missing deal:1 FIRING 02 13:00 {"idle_seconds":3600.0}"#,
            r#"next_step_missing deal:1 RESOLVED 02 09:10 {"idle_seconds":4200.0} waiting"#,
        ]
    );
    // Waiting deals have no next step either.
    assert_eq!(figure(&verdict, "manager:ann", "now", "/without_next_step"), 1);
}

#[test]
fn a_reopening_into_a_waiting_stage_waits_and_a_date_before_the_deadline_is_evidence() {
    let d = deal("1");
    let list = [
        ("08:00", deal_created("1", Some("NEW"))),
        ("08:30", moved("1", None, "HOLD")),
        ("08:40", closed(&d, "LOST", None)),
        ("09:00", reopened(&d)),
    ];
    assert_eq!(summary(&run(&waiting(), "12:00", &list)), NOTHING);
    let snapshot = |entered: &str| json!({"deal_snapshot": {"deal_id": "1", "stage_id": "HOLD", "stage_entered_at": time(entered)}});
    for (entered, end) in [
        ("08:50", "RETRACTED 02 09:30 {\"idle_seconds\":3000.0} late_evidence"),
        ("09:10", "RESOLVED 02 09:30 {\"idle_seconds\":4200.0} waiting"),
    ] {
        let list = [("08:00", deal_created("1", Some("NEW"))), ("09:30", snapshot(entered))];
        assert_eq!(
            summary(&run(&waiting(), "12:00", &list)),
            [
                r#"neglected deal:1 FIRING 02 09:00 {"idle_seconds":3600.0}"#.to_owned(),
                format!("neglected deal:1 {end}")
            ]
        );
    }
}

fn moves() -> Value {
    json!({
        "pipelines": {"sales": {"entity": "deal", "stages": [{"id": "NEW"}, {"id": "NEEDS", "required": true, "requires": {"fields": ["budget"]}}, {"id": "OFFER"}, {"id": "INVOICE", "required": true}]}},
        "norms": {"stage_reverted": {}, "stage_skipped": {}, "stage_requirements_unmet": {}},
    })
}

#[test]
fn moves_of_one_instant_take_effect_in_the_order_of_their_chain() {
    let open = |verdict: &Verdict| figure(verdict, "tenant", "now", "/open");
    let mut norms = moves();
    norms["norms"]["stage_requirements_unmet"]["enabled"] = json!(false);
    // Shared case 64.
    let list = [
        ("07:00", deal_created("1", Some("NEW"))),
        ("08:00", moved("1", Some("NEEDS"), "OFFER")),
        ("08:00", moved("1", Some("NEW"), "NEEDS")),
    ];
    let verdict = run(&norms, "12:00", &list);
    assert_eq!((summary(&verdict), open(&verdict)), (vec![], json!({"sales": {"OFFER": 1}})));
    // Where the moves do not fit one chain, they take effect as they come.
    let list = [
        ("07:00", deal_created("1", Some("NEW"))),
        ("08:00", moved("1", Some("NEEDS"), "OFFER")),
        ("08:00", moved("1", Some("NEW"), "NEEDS")),
        ("08:00", moved("1", None, "NEEDS")),
    ];
    let verdict = run(&norms, "12:00", &list);
    assert_eq!(open(&verdict), json!({"sales": {"NEEDS": 1}}));
    let reverted = r#"stage_reverted deal:1 RAISED 02 08:00 {"from_stage":"OFFER","to_stage":"NEEDS"}"#;
    assert_eq!(summary(&verdict), [reverted]);
    // Two ways: the earlier move first, if all others still fit.
    let list = [
        ("07:00", deal_created("1", Some("NEW"))),
        ("08:00", moved("1", Some("NEW"), "OFFER")),
        ("08:00", moved("1", Some("NEEDS"), "NEW")),
        ("08:00", moved("1", Some("NEW"), "NEEDS")),
    ];
    let verdict = run(&norms, "12:00", &list);
    assert_eq!(
        (summary(&verdict), open(&verdict)),
        (
            vec![r#"stage_reverted deal:1 RAISED 02 08:00 {"from_stage":"NEEDS","to_stage":"NEW"}"#.to_owned()],
            json!({"sales": {"OFFER": 1}})
        )
    );
}

#[test]
fn the_first_stage_is_a_placing_whose_requirements_are_judged() {
    let list = [
        ("07:00", deal_created("1", None)),
        ("08:00", moved("1", None, "NEEDS")),
        ("09:00", moved("1", None, "INVOICE")),
        ("10:00", deal_created("2", None)),
        ("11:00", closed(&deal("2"), "WON", None)),
        // Not seen created: the stages before its placing count as visited, and a win without a stage is not judged.
        ("12:00", moved("3", None, "OFFER")),
        ("12:10", moved("3", None, "INVOICE")),
        ("13:00", closed(&deal("4"), "WON", None)),
    ];
    assert_eq!(
        summary(&run(&moves(), "14:00", &list)),
        [
            r#"stage_requirements_unmet deal:1 RAISED 02 08:00 {"missing":"budget","stage":"NEEDS"}"#,
            r#"stage_skipped deal:2/NEEDS RAISED 02 11:00 {"to_stage":"WON"}"#,
            r#"stage_skipped deal:2/INVOICE RAISED 02 11:00 {"to_stage":"WON"}"#,
        ]
    );
}

// ---- leads that were no opportunities

#[test]
fn excluded_leads_are_counted_apart() {
    // As in the shared case 61: four leads, one converted, one open, two duplicates.
    let norms = json!({"excluded_reasons": ["duplicate", " spam"], "norms": {"disqualified_without_contact": {}}});
    let closing = |id: &str, reason: &str| closed(&lead(id), "DISQUALIFIED", Some(reason));
    let list = [
        ("08:00", lead_created("1", json!("ann"))),
        ("08:00", lead_created("2", json!("ann"))),
        ("08:00", lead_created("3", json!("ann"))),
        ("08:00", lead_created("4", json!("ann"))),
        ("08:00", lead_created("5", json!("ann"))),
        ("09:00", closed(&lead("1"), "CONVERTED", None)),
        ("09:00", closing("2", "duplicate ")),
        ("09:00", closing("3", "spam")),
        ("09:00", closing("4", "Spam")),
    ];
    let verdict = run(&norms, "12:00", &list);
    let all = row(&verdict, "manager:ann", "24h");
    let counts = [
        "/leads_received",
        "/leads_excluded",
        "/leads_disqualified",
        "/lead_conversion/cohort/n",
        "/lead_conversion/closed/n",
    ];
    assert_eq!(counts.map(|path| all.pointer(path).unwrap().as_u64().unwrap()), [3, 2, 1, 3, 2]);
    // Acts are judged as before.
    assert_eq!(verdict.alerts.len(), 3);
    // Reopened: it counts again.
    let mut list = list.to_vec();
    list.push(("10:00", reopened(&lead("2"))));
    assert_eq!(figure(&run(&norms, "12:00", &list), "tenant", "24h", "/leads_received"), 4);
}

#[test]
fn somebody_takes_care_of_an_alert() {
    let list = [("08:00", json!({"alert_taken": {"alert_id": "x", "manager_id": "ann"}}))];
    let verdict = run(&next_steps(), "09:00", &list);
    assert_eq!(summary(&verdict), NOTHING);
}

// ---- merged

fn merged(entity: &Value, into: &Value) -> Value {
    json!({"merged": {"entity": entity, "into": into}})
}

fn call_from(id: &str, start: &str, entity: &Value) -> Value {
    json!({"call_ended": {"call_id": id, "direction": "OUTBOUND", "phone": "+79000003901", "started_at": time(start), "talk_seconds": 40, "outcome": "ANSWERED", "manager_id": "bob", "entity": entity}})
}

#[test]
fn the_survivor_has_both_histories() {
    // Shared case 39.
    let norms = json!({"norms": {"first_response_late": {"within": "15m"}}});
    let list = [
        ("07:00", lead_created("1", json!("ann"))),
        ("07:01", lead_created("2", json!("ann"))),
        ("07:06", call_from("a", "07:05", &lead("2"))),
        ("07:06:30", merged(&lead("2"), &lead("1"))),
        ("08:00", lead_created("3", json!("ann"))),
        ("08:01", lead_created("4", json!("ann"))),
        ("08:06", call_from("b", "08:05", &lead("4"))),
        ("08:20", merged(&lead("4"), &lead("3"))),
    ];
    let verdict = run(&norms, "12:00", &list);
    assert_eq!(
        summary(&verdict),
        [
            r#"first_response_late lead:3 FIRING 02 08:15 {"lag_seconds":900.0}"#,
            r#"first_response_late lead:3 RETRACTED 02 08:20 {"lag_seconds":300.0} late_evidence"#,
        ]
    );
    assert_eq!(figure(&verdict, "tenant", "24h", "/leads_received"), 2);
    assert_eq!(figure(&verdict, "tenant", "24h", "/violations"), json!({}));
    assert_eq!(figure(&verdict, "tenant", "now", "/awaiting_first_response"), 0);
    // One history, one lag; the acts stay where they were.
    let response = &row(&verdict, "manager:ann", "24h")["first_response"];
    assert_eq!((&response["wall"]["n"], &response["wall"]["mean_seconds"]), (&json!(2), &json!(300.0)));
    assert_eq!((&response["within_norm"]["n"], &response["within_norm"]["k"]), (&json!(2), &json!(2)));
    assert_eq!(figure(&verdict, "manager:bob", "24h", "/human_response/wall/n"), 2);
    assert_eq!(figure(&verdict, "manager:bob", "24h", "/touches"), 2);
}

#[test]
fn alerts_of_the_other_end_with_the_merge() {
    let norms = json!({"norms": {"first_response_late": {"within": "15m", "warn_before": "10m"}}});
    let list = [
        ("07:00", lead_created("1", json!("ann"))),
        ("07:12", lead_created("2", json!("ann"))),
        ("07:20", merged(&lead("1"), &lead("2"))),
        // Later events about it change nothing.
        ("07:21", assigned("1", "bob")),
        ("07:22", merged(&lead("1"), &lead("3"))),
        ("07:23", merged(&lead("2"), &lead("1"))),
    ];
    assert_eq!(
        summary(&run(&norms, "07:25", &list)),
        [
            r#"first_response_late lead:1 DUE_SOON 02 07:05 {"lag_seconds":300.0}"#,
            r#"first_response_late lead:1 FIRING 02 07:15 {"lag_seconds":900.0}"#,
            r#"first_response_late lead:2 DUE_SOON 02 07:17 {"lag_seconds":300.0}"#,
            r#"first_response_late lead:1 RESOLVED 02 07:20 {"lag_seconds":1200.0} merged"#,
        ]
    );
}

#[test]
fn a_deal_that_names_the_other_converts_the_survivor() {
    let named = json!({"deal_created": {"deal_id": "D", "lead_id": "2", "manager_id": "ann"}});
    let list = [
        ("07:00", lead_created("1", json!("ann"))),
        ("07:00", lead_created("2", json!("ann"))),
        ("07:10", named),
        ("07:20", merged(&lead("2"), &lead("1"))),
    ];
    let converted = |list: &[(&str, Value)]| {
        let verdict = run(&json!({"norms": {}}), "12:00", list);
        let all = row(&verdict, "tenant", "24h");
        (all["lead_conversion"]["closed"]["k"].clone(), all["lead_conversion"]["cohort"]["k"].clone())
    };
    assert_eq!(converted(&list), (json!(1), json!(1)));
    // Only if the deal still exists.
    let mut gone = list.to_vec();
    gone.insert(3, ("07:15", json!({"deleted": {"entity": deal("D")}})));
    assert_eq!(converted(&gone), (json!(0), json!(0)));
}

#[test]
fn plans_of_the_other_go_on() {
    let list = [
        ("07:00", deal_created("1", None)),
        ("07:00", deal_created("2", None)),
        ("07:30", planned(&deal("2"), "a", Some("11:00"))),
        ("08:00", planned(&deal("2"), "b", Some("09:00"))),
        ("09:40", merged(&deal("2"), &deal("1"))),
        ("09:50", cancelled(&deal("1"), "b")),
    ];
    let verdict = run(&next_steps(), "10:00", &list);
    assert_eq!(
        summary(&verdict),
        [
            r#"next_step_missing deal:1 FIRING 02 09:30 {"idle_seconds":7200.0}"#,
            r#"next_step_overdue deal:2/b FIRING 02 09:30 {"overdue_seconds":1800.0}"#,
            r#"next_step_missing deal:1 RETRACTED 02 09:40 {"idle_seconds":0.0} late_evidence"#,
            r#"next_step_overdue deal:1/b FIRING 02 09:40 {"overdue_seconds":2400.0}"#,
            r#"next_step_overdue deal:2/b RESOLVED 02 09:40 {"overdue_seconds":2400.0} merged"#,
            r#"next_step_overdue deal:1/b RESOLVED 02 09:50 {"overdue_seconds":3000.0} cancelled"#,
        ]
    );
    assert_eq!(figure(&verdict, "tenant", "24h", "/plans/made"), 2);
    assert_eq!(figure(&verdict, "tenant", "now", "/open_plans"), 1);
}

#[test]
fn messages_of_the_other_wait_on_for_the_survivor() {
    let norms = json!({"norms": {"message_unanswered": {"within": "1h"}}});
    let received = json!({"message_received": {"message_id": "m", "channel": "EMAIL", "contact": {"email": "a@x.ru"}, "entity": lead("2")}});
    let mut list = vec![
        ("07:00", lead_created("1", json!("ann"))),
        ("07:00", lead_created("2", json!("ann"))),
        ("07:10", received),
        // A conversation of the survivor before the merge is no answer; one after it is.
        ("07:20", call_from("a", "07:19", &lead("1"))),
        ("07:30", merged(&lead("2"), &lead("1"))),
    ];
    assert_eq!(run(&norms, "12:00", &list).alerts.len(), 1);
    list.push(("07:40", call_from("b", "07:39", &lead("1"))));
    assert_eq!(summary(&run(&norms, "12:00", &list)), NOTHING);
    // The closing of the survivor ends it.
    list.pop();
    list.push(("07:50", closed(&lead("1"), "DISQUALIFIED", Some("x"))));
    assert_eq!(summary(&run(&norms, "12:00", &list)), NOTHING);
}

#[test]
fn the_last_touch_of_both_counts() {
    let norms = json!({"norms": {"neglected": {"within": "1h"}}});
    let list = [
        ("07:00", lead_created("1", json!("ann"))),
        ("07:00", lead_created("2", json!("ann"))),
        ("07:30", sent(lead("2"))),
        ("07:40", merged(&lead("2"), &lead("1"))),
    ];
    assert_eq!(summary(&run(&norms, "12:00", &list)), [r#"neglected lead:1 FIRING 02 08:30 {"idle_seconds":3600.0}"#]);
}
