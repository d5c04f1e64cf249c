//! Compares late delivery with the oracle: some events arrive up to three days after their instant, behind the watermark
//! of their tenant. At the end every figure and every alert that is not retracted must be the same as in order.
//!
//! The window rules are excluded, because past boundaries are not judged again (decision 4).

use crate::common::{Output, Replay};
use crate::delay::{at, delayed};
use crate::engine::batch::targets::target_stream;
use crate::engine::merges::{self, BEGIN, MINUTE};
use crate::oracle;
use crate::oracle::Verdict;
use funnelwatch::domain::time::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const EXCLUDED: [&str; 5] = ["conversion_low", "response_slow", "quality_low", "stuck_early", "special_terms_frequent"];

/// Makes the events and the norms of a seed, so many events.
type Stream = fn(u64, usize) -> (Vec<Value>, Value);

fn without_windows(mut norms: Value) -> Value {
    let remove_window_rules = |norms: &mut Value| {
        if let Some(rules) = norms.get_mut("norms").and_then(Value::as_object_mut) {
            rules.retain(|rule, _| !EXCLUDED.contains(&rule.as_str()));
        }
    };
    remove_window_rules(&mut norms);
    for entry in norms.get_mut("overrides").and_then(Value::as_array_mut).into_iter().flatten() {
        remove_window_rules(entry);
    }
    norms
}

/// The last status of each violation that was not retracted.
fn final_alerts(alerts: &[Value]) -> BTreeMap<String, &Value> {
    let mut final_alerts = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| alert["rule"].as_str().is_some_and(|rule| oracle::RULES.contains(&rule)))
    {
        final_alerts.insert(alert["alert_id"].as_str().expect("an id").to_owned(), alert);
    }
    // A warning that becomes known late may come late or not at all.
    final_alerts
        .retain(|_, alert| !["RETRACTED", "DUE_SOON", "AVERTED"].iter().any(|status| alert["status"] == *status));
    final_alerts
}

fn label(alert: &Value) -> String {
    let text = |key: &str| alert[key].as_str().unwrap_or("").to_owned();
    ["at", "tenant_id", "rule", "subject", "anchor_at", "status"].map(text).join(" ")
}

fn alert_differences(in_order: &[Value], late: &[Value]) -> Vec<String> {
    const FIELDS: [&str; 7] = ["status", "at", "anchor_at", "due_at", "observed", "resolution", "manager_id"];
    let (ours, theirs) = (final_alerts(in_order), final_alerts(late));
    let is_retracted =
        |id: &String| late.iter().any(|alert| alert["alert_id"] == **id && alert["status"] == "RETRACTED");
    let mut found = Vec::new();
    for id in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        match (ours.get(id), theirs.get(id)) {
            (Some(ours), Some(theirs)) => {
                for name in FIELDS.into_iter().filter(|name| !oracle::compare::same(&ours[name], &theirs[name], name)) {
                    found.push(format!("{}: {name}: in order {}, late {}", label(ours), ours[name], theirs[name]));
                }
                // A published escalation stays.
                if theirs["level"].as_u64() < ours["level"].as_u64() {
                    found.push(format!("{}: level: in order {}, late {}", label(ours), ours["level"], theirs["level"]));
                }
            }
            // Nothing follows a retraction, even if the alert turns out later to be right.
            (Some(_), None) if is_retracted(id) => {}
            (Some(ours), None) => found.push(format!("only in order: {}", label(ours))),
            (None, Some(theirs)) => found.push(format!("only late: {}", label(theirs))),
            (None, None) => {}
        }
    }
    found
}

fn compare(stream: Stream, seed: u64, events: usize) -> u64 {
    let (events, norms) = stream(seed, events);
    let norms = without_windows(norms);
    let until = events.iter().filter(|event| oracle::decodes(event)).map(at).max();
    let expected = oracle::judge(&events, &norms, until);
    let (shuffled, late) = delayed(&events, seed);
    let output = Replay { until, as_delivered: true, ..Replay::PLAIN }.run(&shuffled, &norms.to_string());

    let mut differences = alert_differences(&expected.alerts, &output.alerts);
    let rows = Verdict { alerts: Vec::new(), ..expected };
    differences.extend(oracle::differences(&rows, &[], &output.rows));
    assert!(
        differences.is_empty(),
        "seed {seed}, {late} late: {} differences, first:\n{}",
        differences.len(),
        differences[..differences.len().min(12)].join("\n")
    );
    output.late
}

#[test]
fn late_delivery_converges_to_the_output_in_order() {
    let late: u64 = (500..540).map(|seed| compare(oracle::stream::stream, seed, 450)).sum();
    assert!(late > 400, "{late} late events");
}

/// Compares late delivery with the program's own output in order.
fn compare_with_order(stream: Stream, seed: u64, events: usize) -> u64 {
    let (events, norms) = stream(seed, events);
    let norms = without_windows(norms).to_string();
    let until = events.iter().filter(|event| oracle::decodes(event)).map(at).max();
    let in_order = Replay { until, ..Replay::PLAIN }.run(&events, &norms);
    let (shuffled, late) = delayed(&events, seed);
    let output = Replay { until, as_delivered: true, ..Replay::PLAIN }.run(&shuffled, &norms);
    let mut differences = alert_differences(&in_order.alerts, &output.alerts);
    let rows = Verdict { alerts: Vec::new(), rows: in_order.rows, borderline: BTreeSet::new() };
    differences.extend(oracle::differences(&rows, &[], &output.rows));
    assert!(
        differences.is_empty(),
        "seed {seed}, {late} late: {} differences, first:\n{}",
        differences.len(),
        differences[..differences.len().min(12)].join("\n")
    );
    output.late
}

/// Plan and fact of all subjects, and of closed periods of the company.
fn plans(rows: &[Value]) -> BTreeMap<String, String> {
    let mut plans = BTreeMap::new();
    for row in rows {
        let key = format!("{} {} {}", row["tenant_id"], row["subject"], row["window"]);
        for (id, target) in row["targets"].as_object().into_iter().flatten() {
            let said = format!("{} {} {}", target["at_least"], target["fact"], target["incomplete"]);
            plans.insert(format!("{key} {id}"), said);
        }
        if row["subject"] == "tenant" && row.get("fact").is_some() {
            plans.insert(key, format!("{} {}", row["at_least"], row["fact"]));
        }
    }
    plans
}

#[test]
fn late_delivery_converges_to_the_facts_of_targets_in_order() {
    let mut late = 0;
    for seed in 4500..4508 {
        let (events, norms) = target_stream(seed, 300);
        let until = events.iter().filter(|event| oracle::decodes(event)).map(at).max();
        let expected = plans(&oracle::judge(&events, &norms, until).rows);
        let output =
            Replay { until, as_delivered: true, ..Replay::PLAIN }.run(&delayed(&events, seed).0, &norms.to_string());
        let found = plans(&output.rows);
        let differ = |key: &&String| expected.get(*key) != found.get(*key);
        let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
        let line = |key: &String| format!("{key}: in order {:?}, late {:?}", expected.get(key), found.get(key));
        let differences: Vec<_> = keys.into_iter().filter(differ).map(line).collect();
        assert!(differences.is_empty(), "seed {seed}:\n{}", differences[..differences.len().min(12)].join("\n"));
        assert!(expected.len() > 20, "{}", expected.len());
        late += output.late;
    }
    assert!(late > 40, "{late} late events");
}

#[test]
fn late_telephony_converges_to_the_output_in_order() {
    let late: u64 = (1500..1530).map(|seed| compare_with_order(oracle::stream::exchange_stream, seed, 300)).sum();
    assert!(late > 100, "{late} late events");
}

#[test]
fn late_floors_converge_to_the_output_in_order() {
    for stream in [oracle::stream::floor_stream, oracle::stream::merge_stream] {
        let late: u64 = (1700..1715).map(|seed| compare_with_order(stream, seed, 300)).sum();
        assert!(late > 100, "{late} late events");
    }
}

/// A stage that is first named where a correction drops the effects is declared all the same. In this stream a later stage
/// is named in what follows.
#[test]
fn what_a_dropped_replay_names_first_is_declared() {
    compare_with_order(oracle::stream::merge_stream, 4100, 250);
}

#[test]
fn late_delivery_with_merges_converges_to_the_output_in_order() {
    let late: u64 = (1600..1630).map(|seed| compare_with_order(merges::stream, seed, 300)).sum();
    assert!(late > 100, "{late} late events");
}

/// How long the steps of the undo logs are does not matter, nor whether there are any.
#[test]
fn undo_logs_do_not_change_the_output() {
    let streams: [Stream; 5] = [
        oracle::stream::stream,
        oracle::stream::exchange_stream,
        oracle::stream::floor_stream,
        oracle::stream::merge_stream,
        merges::stream,
    ];
    let mut late = 0;
    for (stream, seed) in streams.iter().flat_map(|stream| (1800..1808).map(move |seed| (stream, seed))) {
        let (events, norms) = stream(seed, 250);
        let until = events.iter().filter(|event| oracle::decodes(event)).map(at).max();
        let (shuffled, _) = delayed(&events, seed);
        let run = |undo_events| {
            Replay { until, as_delivered: true, undo_events, ..Replay::PLAIN }.run(&shuffled, &norms.to_string())
        };
        let without = run(usize::MAX);
        for undo_events in [1, 5] {
            let output = run(undo_events);
            assert!(output == without, "seed {seed}, steps of {undo_events} events: {}", difference(&output, &without));
        }
        late += without.late;
    }
    assert!(late > 200, "{late} late events");
}

/// The first record that differs.
fn difference(output: &Output, expected: &Output) -> String {
    let lists =
        [(&output.alerts, &expected.alerts), (&output.rows, &expected.rows), (&output.reviews, &expected.reviews)];
    let pairs = lists.into_iter().flat_map(|(ours, theirs)| {
        (0..ours.len().max(theirs.len())).map(move |index| (ours.get(index), theirs.get(index)))
    });
    let differing = pairs.filter(|(ours, theirs)| ours != theirs).take(2);
    differing.map(|(ours, theirs)| format!("\n  {ours:?}\nin place of\n  {theirs:?}")).collect()
}

/// A merge joins the acts of two leads, of which one was replayed for a late event and the other was not.
#[test]
fn a_merge_compares_acts_with_an_assignment_that_arrived_late() {
    let event = |hours: i64, minutes: i64, payload| merges::event(BEGIN + (60 * hours + minutes) * MINUTE, payload);
    let lead = |id: &str| json!({"kind": "LEAD", "id": id});
    let call = json!({"call_id": "c", "direction": "OUTBOUND", "phone": "anonymous", "entity": lead("1"),
        "talk_seconds": 109, "outcome": "ANSWERED"});
    let merged = json!({"entity": lead("1"), "into": lead("3")});
    let created = event(11, 15, json!({"lead_created": {"lead_id": "3", "manager_id": "ann"}}));
    let called = event(18, 30, json!({"call_ended": call}));
    let merged = event(23, 15, json!({"merged": merged}));
    // More than one epoch.
    let others = (0..20).map(|number| {
        let call = json!({"call_id": number.to_string(), "direction": "OUTBOUND", "phone": "+78120000001",
            "outcome": "NO_ANSWER"});
        event(22, 0, json!({"call_ended": call}))
    });
    let in_order: Vec<Value> =
        [created.clone(), called.clone()].into_iter().chain(others.clone()).chain([merged.clone()]).collect();
    let late: Vec<Value> = [called].into_iter().chain(others).chain([created, merged]).collect();
    let response = |events: &[Value]| {
        let until = Timestamp::parse("2026-03-03T00:00:00Z").map(|until| until.0);
        let output = Replay { until, as_delivered: true, ..Replay::PLAIN }
            .run(events, r#"{"windows": [{"size": "24h", "slide": "15m"}]}"#);
        let of_ann = |row: &&Value| row["subject"] == "manager:ann" && row["window"] == "24h";
        let row = output.rows.iter().rfind(of_ann).expect("a row of ann");
        (output.late, row["first_response"].clone())
    };
    let (late, in_order) = (response(&late), response(&in_order));
    assert_eq!((late.0, in_order.0), (1, 0));
    assert_eq!(in_order.1["wall"]["n"], 1);
    assert_eq!(late.1, in_order.1);
}

/// A late event about the same number leaves the sample alone: the leg that another version has replaced is not replaced
/// again.
#[test]
fn a_late_event_does_not_remove_a_call_from_the_sample() {
    let event = |minutes: i64, payload| merges::event(BEGIN + minutes * MINUTE, payload);
    let number = "+78120000001";
    let leg = |outcome: &str, talk: u32| {
        json!({"call_ended": {"call_id": "c", "leg_id": "l", "direction": "OUTBOUND", "phone": number, "outcome": outcome,
            "talk_seconds": talk, "manager_id": "ann", "started_at": Timestamp(BEGIN + 30 * MINUTE).to_string()}})
    };
    let late = event(
        60,
        json!({"call_ended": {"call_id": "late", "direction": "OUTBOUND", "phone": number,
        "outcome": "NO_ANSWER", "manager_id": "ann"}}),
    );
    let mut events = vec![event(40, leg("ANSWERED", 100)), event(41, leg("ANSWERED", 200))];
    events.extend((0..20).map(|number| {
        event(
            100,
            json!({"call_ended": {"call_id": number.to_string(), "direction": "OUTBOUND", "phone": "+78120000002",
            "outcome": "NO_ANSWER", "manager_id": "ann"}}),
        )
    }));
    events.push(late);
    events.push(event(48 * 60, json!({"manager_upserted": {"manager_id": "ann"}})));
    for undo_events in [1, usize::MAX] {
        let output = Replay { as_delivered: true, undo_events, ..Replay::PLAIN }
            .run(&events, r#"{"privacy_key": "k", "review_sampling": {"per_day": 3, "min_talk_seconds": 30}}"#);
        assert_eq!(output.late, 1);
        let sampled: Vec<&Value> = output.reviews.iter().map(|review| &review["interaction_id"]).collect();
        assert_eq!(sampled, ["c"]);
    }
}

/// What a replay has settled at an instant does not reach the next replay, which begins at that instant.
#[test]
fn a_missed_call_waits_also_after_two_replays_of_one_instant() {
    let event = |minutes: i64, payload| merges::event(BEGIN + minutes * MINUTE, payload);
    let leg = |direction: &str, started: i64| {
        let started = Timestamp(BEGIN + started * MINUTE).to_string();
        json!({"call_ended": {"call_id": "c", "session_id": "s", "started_at": started, "direction": direction, "manager_id": "ann",
            "phone": "+78120000001", "outcome": "NO_ANSWER", "talk_seconds": 0, "entity": {"kind": "LEAD", "id": "1"}}})
    };
    // A second call, so that the calls exchange their indices in each replay.
    let started = json!({"call_started": {"call_id": "d", "direction": "INBOUND", "phone": "+78120000001"}});
    let missed = vec![event(60, started), event(60, leg("INBOUND", 59)), event(60, leg("OUTBOUND", 60))];
    let created = || event(70, json!({"lead_created": {"lead_id": "1"}}));
    let others = || {
        (0..20).map(|number| {
            let call = json!({"call_id": number.to_string(), "direction": "OUTBOUND", "phone": "+78120000002",
                "outcome": "NO_ANSWER"});
            event(100 + number, json!({"call_ended": call}))
        })
    };
    let in_order: Vec<Value> = missed.iter().cloned().chain([created()]).chain(others()).collect();
    let late: Vec<Value> = missed.into_iter().chain(others()).chain([created()]).collect();
    let row = |events: &[Value]| {
        let until = Timestamp::parse("2026-03-03T00:00:00Z").map(|until| until.0);
        let output = Replay { until, as_delivered: true, undo_events: usize::MAX, ..Replay::PLAIN }
            .run(events, r#"{"windows": [{"size": "24h", "slide": "15m"}], "norms": {"missed_call_not_returned": {"within": "10d"}}}"#);
        let of_ann = |row: &&Value| row["subject"] == "manager:ann" && row["window"] == "now";
        (output.late, output.rows.iter().rfind(of_ann).expect("a row of ann").clone())
    };
    let (late, in_order) = (row(&late), row(&in_order));
    assert_eq!((late.0, in_order.0), (1, 0));
    assert_eq!(late.1, in_order.1);
}

#[test]
fn without_delays_the_alerts_are_those_of_the_oracle() {
    for seed in 540..545 {
        let (mut events, norms) = oracle::stream::stream(seed, 300);
        let norms = without_windows(norms);
        let until = events.iter().filter(|event| oracle::decodes(event)).map(at).max();
        let expected = oracle::judge(&events, &norms, until);
        events.sort_by_key(at);
        let output = Replay { until, ..Replay::PLAIN }.run(&events, &norms.to_string());
        assert_eq!(alert_differences(&expected.alerts, &output.alerts), Vec::<String>::new(), "seed {seed}");
        assert!(output.alerts.iter().all(|alert| !EXCLUDED.iter().any(|rule| alert["rule"] == *rule)));

        // The comparison itself finds an alert that is missing, unexpected or different.
        let (id, alert) = final_alerts(&output.alerts).into_iter().next_back().expect("an alert");
        let others: Vec<Value> = output.alerts.iter().filter(|other| other["alert_id"] != *id).cloned().collect();
        let mut changed = others.clone();
        changed.push(alert.clone());
        let changed_alert = changed.last_mut().expect("an alert");
        changed_alert["manager_id"] = "somebody-else".into();
        assert_eq!(alert_differences(&output.alerts, &others), [format!("only in order: {}", label(alert))]);
        assert_eq!(alert_differences(&others, &output.alerts), [format!("only late: {}", label(alert))]);
        let [difference] = &alert_differences(&output.alerts, &changed)[..] else { panic!("seed {seed}") };
        assert!(difference.contains("manager_id"), "{difference}");
    }
}
