//! Hand-worked cases of the window rules and of silent sources. Times as in `cases`.

use serde_json::{Value, json};

use super::cases::{created, lead, row, run, sent, time};
use super::cases_rules::summary;

fn norms(rules: &Value) -> Value {
    json!({
        "pipelines": {"sales": {"entity": "deal", "stages": [{"id": "NEW", "early": true, "max_time": "1h"}, {"id": "OFFER"}]}},
        "windows": [{"size": "2h", "slide": "30m"}],
        "norms": rules,
    })
}

fn review(score: u32) -> Value {
    json!({"interaction_reviewed": {"interaction_id": "c", "manager_id": "ann", "reviewer_id": "boss", "score": score, "verdict": "NEUTRAL"}})
}

#[test]
fn quality_is_judged_at_boundaries_and_escalates_between_them() {
    let rules =
        json!({"quality_low": {"window": "2h", "at_least": 60, "min_sample": 2, "escalate_after": ["45m", "90m"]}});
    let verdict = run(
        &norms(&rules),
        "16:00",
        &[("10:00", review(40)), ("10:30", review(60)), ("10:31", review(61)), ("11:59", review(100))],
    );
    // The mean is 50 at 10:30, 161/3 (still below) at 11:00 and 65.25 at 12:00.
    assert_eq!(
        summary(&verdict),
        [
            r#"quality_low manager:ann/2h FIRING 02 10:30 {"mean_score":50.0,"n":2}"#,
            r#"quality_low manager:ann/2h ESCALATED 02 11:15 {"mean_score":53.666666666666664,"n":3}"#,
            // The second escalation, at 12:00, coincides with the boundary that ends the violation.
            r#"quality_low manager:ann/2h RESOLVED 02 12:00 {"mean_score":65.25,"n":4} recovered"#,
        ]
    );
    let first = &verdict.alerts[0];
    assert_eq!((&first["window"], &first["manager_id"]), (&json!("2h"), &json!("ann")));
    assert_eq!((&first["anchor_at"], &first["due_at"], &first["entity"]), (&first["at"], &Value::Null, &Value::Null));
    assert_eq!(first["norm"], json!({"at_least": 60.0, "min_sample": 2}));
    assert_eq!(verdict.alerts[2]["severity"], "critical");
    // A sample that is too small ends it: the review of 10:00 leaves the window at 12:30, that of 10:30 at 13:00.
    let verdict = run(&norms(&rules), "16:00", &[("10:00", review(40)), ("10:30", review(60))]);
    let last = r#"quality_low manager:ann/2h RESOLVED 02 12:30 {"n":1} sample_too_small"#;
    assert_eq!(summary(&verdict).last().unwrap(), last);
    assert_eq!(row(&verdict, "manager:ann", "now")["open_alerts"], json!({}));
}

#[test]
fn a_move_to_a_department_without_the_norm_resolves() {
    let upsert = |department: &str| json!({"manager_upserted": {"manager_id": "ann", "department_id": department}});
    let mut norms = norms(&json!({"quality_low": {"at_least": 60}}));
    norms["overrides"] = json!([
        {"when": {"department": "south"}, "norms": {"quality_low": {"enabled": false}}},
        {"when": {"pipeline": "sales"}, "norms": {"quality_low": {"at_least": 10}}},
    ]);
    let verdict =
        run(&norms, "16:00", &[("10:00", upsert("north")), ("10:10", review(40)), ("10:40", upsert("south"))]);
    assert_eq!(
        summary(&verdict),
        [
            r#"quality_low manager:ann/2h FIRING 02 10:30 {"mean_score":40.0,"n":1}"#,
            r#"quality_low manager:ann/2h RESOLVED 02 11:00 {"mean_score":40.0,"n":1} disabled"#,
        ]
    );
    assert_eq!(
        (&verdict.alerts[0]["department_id"], &verdict.alerts[1]["department_id"]),
        (&json!("north"), &json!("south"))
    );
}

#[test]
fn conversion_fires_by_the_upper_bound_and_recovers_by_the_ratio() {
    let rules = json!({"conversion_low": {"at_least": 0.6, "min_sample": 3}});
    let deal = |lead: &str| json!({"deal_created": {"deal_id": lead, "lead_id": lead}});
    let mut list: Vec<(&str, Value)> = ["1", "2", "3", "4"].iter().map(|id| ("10:00", created(id))).collect();
    list.extend([("10:50", deal("1")), ("11:10", deal("2")), ("11:11", deal("3"))]);
    let verdict = run(&norms(&rules), "11:40", &list);
    // The upper bound of 0/4 is 0.4899; at 11:00 1/4 is below 0.6; at 11:30 it is 3/4.
    let upper = verdict.alerts[0]["observed"]["upper"].as_f64().unwrap();
    let z2 = 1.959_963_984_540_054_f64.powi(2);
    assert!((upper - z2 / (4.0 + z2)).abs() < 1e-9);
    let lines: Vec<_> =
        verdict.alerts.iter().map(|a| json!([a["status"], a["at"], a["observed"]["ratio"], a["resolution"]])).collect();
    assert_eq!(
        lines,
        [json!(["FIRING", time("10:00"), 0.0, null]), json!(["RESOLVED", time("11:30"), 0.75, "recovered"]),]
    );
    assert_eq!(verdict.alerts[0]["norm"], json!({"at_least": 0.6, "min_sample": 3, "basis": "cohort"}));
    // Relative to the department's ratio: Ann's 0 of 4 against 4 of 8 including Bob's.
    let rules = json!({"conversion_low": {"of_department": 1.0, "basis": "closed"}});
    let close = |id: &str, who: &str, outcome: &str| {
        let entity = lead(id);
        [
            ("10:00", json!({"assigned": {"entity": entity, "manager_id": who}})),
            ("10:01", json!({"closed": {"entity": entity, "outcome": outcome}})),
        ]
    };
    let list: Vec<_> = ["1", "2", "3", "4"].iter().flat_map(|id| close(id, "ann", "DISQUALIFIED")).collect();
    let bobs: Vec<_> = ["5", "6", "7", "8"].iter().flat_map(|id| close(id, "bob", "CONVERTED")).collect();
    let verdict = run(&norms(&rules), "11:00", &[list, bobs].concat());
    assert_eq!(verdict.alerts.len(), 1);
    assert_eq!(
        (&verdict.alerts[0]["norm"]["at_least"], &verdict.alerts[0]["at"]),
        (&json!(0.5), &json!(time("10:30")))
    );
}

#[test]
fn slow_responses_use_what_was_known_at_the_boundary() {
    let rules = json!({"response_slow": {"at_most": "10m", "quantile": 0.5}});
    // Answered at 10:20 by a call known at 10:40: not yet in the figures of 10:30.
    let late = json!({"call_ended": {"call_id": "c", "direction": "OUTBOUND", "phone": "89161234567", "started_at": time("10:20")}});
    let late = |outcome: &str| {
        let mut late = late.clone();
        late["call_ended"]["outcome"] = json!(outcome);
        late
    };
    let verdict = run(&norms(&rules), "11:20", &[("10:00", created("1")), ("10:40", late("BUSY"))]);
    assert_eq!(
        summary(&verdict),
        [r#"response_slow manager:ann/2h FIRING 02 11:00 {"n":1,"quantile_seconds":1200.0}"#]
    );
    assert_eq!(
        verdict.alerts[0]["norm"],
        json!({"at_most_seconds": 600.0, "quantile": 0.5, "clock": "wall", "min_sample": 1})
    );
    // A lag equal to the norm is too close to decide.
    let close = run(&norms(&rules), "11:20", &[("10:00", created("1")), ("10:10", sent(lead("1")))]);
    assert!(close.alerts.is_empty() && close.borderline.contains("t"));
}

#[test]
fn stuck_deals_are_those_with_a_deadline_before_the_boundary() {
    let rules = json!({"stuck_early": {"at_most": 0.5, "min_sample": 1}});
    let deal = |id: &str, stage: &str| json!({"deal_created": {"deal_id": id, "manager_id": "ann", "pipeline_id": "sales", "stage_id": stage}});
    let moved = json!({"stage_changed": {"entity": {"kind": "DEAL", "id": "1"}, "to_stage_id": "OFFER"}});
    let verdict = run(
        &norms(&rules),
        "13:00",
        &[("10:00", deal("1", "NEW")), ("10:10", deal("2", "OFFER")), ("10:30", deal("3", "NEW")), ("12:10", moved)],
    );
    // 11:00: 1 of 3; 11:30: 2 of 3; 12:30: 1 of 3.
    assert_eq!(
        summary(&verdict),
        [
            r#"stuck_early manager:ann/2h FIRING 02 11:30 {"k":2,"n":3,"ratio":0.6666666666666666}"#,
            r#"stuck_early manager:ann/2h RESOLVED 02 12:30 {"k":1,"n":3,"ratio":0.3333333333333333} recovered"#,
        ]
    );
}

#[test]
fn special_terms_count_deals() {
    let rules = json!({"special_terms_frequent": {"at_most": 0.5, "min_sample": 2}});
    let offer = |deal: &str, discount: u32| json!({"terms_offered": {"deal_id": deal, "manager_id": "ann", "discount_percent": discount}});
    let verdict = run(
        &norms(&rules),
        "14:00",
        &[("10:00", offer("1", 5)), ("10:01", offer("1", 0)), ("10:02", offer("2", 0)), ("10:31", offer("2", 1))],
    );
    // 10:30: 1 of 2 deals; 11:00: both; 12:30: the offers of 10:00 to 10:02 have left, one deal remains.
    assert_eq!(
        summary(&verdict),
        [
            r#"special_terms_frequent manager:ann/2h FIRING 02 11:00 {"k":2,"n":2,"ratio":1.0}"#,
            r#"special_terms_frequent manager:ann/2h RESOLVED 02 12:30 {"k":1,"n":1} sample_too_small"#,
        ]
    );
}

#[test]
fn a_source_is_silent_only_while_others_are_active() {
    let rules = norms(&json!({"source_silent": {"within": "1h"}}));
    let verdict = run(
        &rules,
        "16:00",
        &[
            ("10:00", created("1")),
            // All sources are silent until 11:30: the alert begins with the first event after that.
            ("11:30", sent(lead("1"))),
            ("11:40", sent(lead("1"))),
            ("12:00", created("2")),
            ("12:10", sent(lead("1"))),
            ("12:59", created("3")),
            // Exactly at the deadline is in time.
            ("13:10", sent(lead("1"))),
        ],
    );
    assert_eq!(
        summary(&verdict),
        [
            r#"source_silent topic:crm.events FIRING 02 11:30 {"silent_seconds":5400.0}"#,
            r#"source_silent topic:crm.events RESOLVED 02 12:00 {"silent_seconds":7200.0} recovered"#,
            r#"source_silent topic:crm.events FIRING 02 13:59 {"silent_seconds":3600.0}"#,
        ]
    );
    let first = &verdict.alerts[0];
    assert_eq!((&first["anchor_at"], &first["due_at"]), (&json!(time("10:00")), &json!(time("11:00"))));
    assert_eq!((&first["manager_id"], &first["department_id"]), (&Value::Null, &Value::Null));
    assert_eq!(row(&verdict, "tenant", "now")["open_alerts"], json!({"source_silent": 1}));
    assert_eq!(row(&verdict, "department:unknown", "now")["open_alerts"], json!({"source_silent": 1}));
}
