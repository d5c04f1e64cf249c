//! Late delivery against the naive batch: some events come up to three days after their instant, behind the watermark
//! of their tenant. When all is told, every figure must be what it is in order, and so must every alert that was not
//! taken back.
//!
//! The rules about windows are left out: past boundaries are not judged again (decision 4).

mod common;
#[path = "common/delay.rs"]
mod delay;
mod oracle;

use common::Replay;
use delay::{at, delayed};
use oracle::Verdict;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const LEFT_OUT: [&str; 5] = ["conversion_low", "response_slow", "quality_low", "stuck_early", "special_terms_frequent"];

fn without_windows(mut norms: Value) -> Value {
    let strike = |norms: &mut Value| {
        if let Some(rules) = norms.get_mut("norms").and_then(Value::as_object_mut) {
            rules.retain(|rule, _| !LEFT_OUT.contains(&rule.as_str()));
        }
    };
    strike(&mut norms);
    for one in norms.get_mut("overrides").and_then(Value::as_array_mut).into_iter().flatten() {
        strike(one);
    }
    norms
}

/// The last status of each alert that was not taken back.
fn last(alerts: &[Value]) -> BTreeMap<String, &Value> {
    let mut last = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| alert["rule"].as_str().is_some_and(|rule| oracle::RULES.contains(&rule)))
    {
        last.insert(alert["alert_id"].as_str().expect("an id").to_owned(), alert);
    }
    last.retain(|_, alert| alert["status"] != "RETRACTED");
    last
}

fn label(alert: &Value) -> String {
    let text = |key: &str| alert[key].as_str().unwrap_or("").to_owned();
    ["at", "tenant_id", "rule", "subject", "anchor_at", "status"].map(text).join(" ")
}

fn alert_differences(in_order: &[Value], late: &[Value]) -> Vec<String> {
    const FIELDS: [&str; 7] = ["status", "at", "anchor_at", "due_at", "observed", "resolution", "manager_id"];
    let (ours, theirs) = (last(in_order), last(late));
    let mut found = Vec::new();
    for id in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        match (ours.get(id), theirs.get(id)) {
            (Some(ours), Some(theirs)) => {
                for name in FIELDS.into_iter().filter(|name| !oracle::compare::same(&ours[name], &theirs[name], name)) {
                    found.push(format!("{}: {name}: in order {}, late {}", label(ours), ours[name], theirs[name]));
                }
                // An escalation that was told cannot be untold.
                if theirs["level"].as_u64() < ours["level"].as_u64() {
                    found.push(format!("{}: level: in order {}, late {}", label(ours), ours["level"], theirs["level"]));
                }
            }
            (Some(ours), None) => found.push(format!("only in order: {}", label(ours))),
            (None, Some(theirs)) => found.push(format!("only late: {}", label(theirs))),
            (None, None) => {}
        }
    }
    found
}

fn compare(seed: u64, events: usize) -> usize {
    let (events, norms) = oracle::stream::stream(seed, events);
    let norms = without_windows(norms);
    let until = events.iter().filter(|event| oracle::decodes(event)).map(at).max();
    let expected = oracle::judge(&events, &norms, until);
    let (shuffled, late) = delayed(&events, seed);
    let output = Replay { until, ..Replay::PLAIN }.run(&shuffled, &norms.to_string());

    let mut differences = alert_differences(&expected.alerts, &output.alerts);
    let rows = Verdict { alerts: Vec::new(), ..expected };
    differences.extend(oracle::differences(&rows, &[], &output.rows));
    assert!(
        differences.is_empty(),
        "seed {seed}, {late} late: {} differences, the first:\n{}",
        differences.len(),
        differences[..differences.len().min(12)].join("\n")
    );
    late
}

#[test]
fn late_delivery_ends_where_order_does() {
    let late: usize = (500..540).map(|seed| compare(seed, 600)).sum();
    assert!(late > 500, "{late} events came late");
}

#[test]
fn without_delays_the_comparison_is_that_of_the_batch() {
    for seed in 540..545 {
        let (events, norms) = oracle::stream::stream(seed, 300);
        let norms = without_windows(norms);
        let verdict = oracle::judge(&events, &norms, None);
        assert_eq!(alert_differences(&verdict.alerts, &verdict.alerts), Vec::<String>::new());
        assert!(verdict.alerts.iter().all(|alert| !LEFT_OUT.iter().any(|rule| alert["rule"] == *rule)));
    }
}
