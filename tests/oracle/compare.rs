//! Compares the output of the program with that of the oracle and describes the differences.
//!
//! Not compared: alerts and counts of rules that the oracle does not judge, `message` (free text), and empty rows.
//! Numbers agree to 1e-6 relative, quantiles to 1 %.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{RULES, Verdict};

/// One line per difference; empty if they agree.
pub fn differences(expected: &Verdict, alerts: &[Value], rows: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let comparable = |alert: &&Value| !is_borderline(expected, &alert["tenant_id"], &alert["rule"]);
    let own = |alerts: &[Value]| alerts.iter().filter(comparable).cloned().collect::<Vec<_>>();
    compare_alerts(&own(&expected.alerts), &own(alerts), &mut found);
    let own = |rows: &[Value]| own_rows(expected, rows);
    compare_rows(&own(&expected.rows), &own(rows), &mut found);
    found
}

/// `response_slow` is judged on an estimate, which is undecided too close to the norm.
fn is_borderline(expected: &Verdict, tenant: &Value, rule: &Value) -> bool {
    rule == "response_slow" && tenant.as_str().is_some_and(|tenant| expected.borderline.contains(tenant))
}

fn own_rows(expected: &Verdict, rows: &[Value]) -> Vec<Value> {
    let mut rows = rows.to_vec();
    for row in &mut rows {
        if is_borderline(expected, &row["tenant_id"], &Value::from("response_slow")) {
            for key in ["violations", "open_alerts"] {
                row.get_mut(key).and_then(Value::as_object_mut).and_then(|counts| counts.remove("response_slow"));
            }
        }
    }
    rows
}

fn judged(rule: &Value) -> bool {
    rule.as_str().is_some_and(|rule| RULES.contains(&rule))
}

fn compare_alerts(expected: &[Value], given: &[Value], found: &mut Vec<String>) {
    let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or("").to_owned();
    let keyed = |alerts: &[Value]| {
        let mut by_key: BTreeMap<[String; 6], Vec<Value>> = BTreeMap::new();
        for alert in alerts.iter().filter(|a| judged(&a["rule"])) {
            // The level distinguishes escalations of one instant.
            let key = [
                text(alert, "at"),
                text(alert, "tenant_id"),
                text(alert, "rule"),
                text(alert, "subject"),
                format!("{} {}", text(alert, "anchor_at"), text(alert, "status")),
                alert["level"].to_string(),
            ];
            by_key.entry(key).or_default().push(alert.clone());
        }
        by_key
    };
    let (ours, theirs) = (keyed(expected), keyed(given));
    let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for key in keys {
        let none = Vec::new();
        let (ours, theirs) = (ours.get(key).unwrap_or(&none), theirs.get(key).unwrap_or(&none));
        if ours.len() != theirs.len() {
            found.push(format!("alert {}: expected {}, found {}", key.join(" "), ours.len(), theirs.len()));
        }
        for (ours, theirs) in ours.iter().zip(theirs) {
            let (ours, theirs) = (ours.as_object().unwrap(), theirs.as_object().unwrap());
            let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).filter(|name| *name != "message").collect();
            for name in names {
                let (a, b) = (ours.get(name).unwrap_or(&Value::Null), theirs.get(name).unwrap_or(&Value::Null));
                if !same(a, b, name) {
                    found.push(format!("alert {}: {name}: expected {a}, found {b}", key.join(" ")));
                }
            }
        }
    }
    // The program's alerts must also be ordered by instant, within each tenant.
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for alert in given {
        let at = text(alert, "at");
        if let Some(before) = last.insert(text(alert, "tenant_id"), at.clone())
            && before > at
        {
            found.push(format!("alerts out of order: {before} before {at}"));
        }
    }
}

fn compare_rows(expected: &[Value], given: &[Value], found: &mut Vec<String>) {
    let keyed = |rows: &[Value]| {
        let mut by_key: BTreeMap<String, Value> = BTreeMap::new();
        for row in rows {
            by_key.insert(format!("{} {} {}", row["tenant_id"], row["subject"], row["window"]), row.clone());
        }
        by_key
    };
    let (ours, theirs) = (keyed(expected), keyed(given));
    let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for key in keys {
        match (ours.get(key), theirs.get(key)) {
            (Some(ours), Some(theirs)) => {
                for name in ours.as_object().unwrap().keys() {
                    if theirs.get(name).is_none() {
                        found.push(format!("row {key}: {name} is missing"));
                    }
                }
                compare_value(&format!("row {key}"), ours, theirs, found);
            }
            (Some(one), None) if !is_empty_row(one) => found.push(format!("row {key}: missing: {one}")),
            (None, Some(one)) if !is_empty_row(one) => found.push(format!("row {key}: unexpected: {one}")),
            _ => {}
        }
    }
}

fn compare_value(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    let name = path.rsplit('.').next().unwrap();
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let of_rules = [".violations", ".open_alerts", ".due_soon"].iter().any(|name| path.ends_with(name));
                if of_rules && !RULES.contains(&name.as_str()) {
                    continue;
                }
                let (a, b) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
                compare_value(&format!("{path}.{name}"), a, b, found);
            }
        }
        // Maps may omit keys whose value is zero or empty.
        _ if is_zero_or_empty(ours) && is_zero_or_empty(theirs) && !null_means_no_sample(name) => {}
        _ if same(ours, theirs, name) => {}
        _ => found.push(format!("{path}: expected {ours}, found {theirs}")),
    }
}

/// Figures that are null without a sample, where zero differs from null.
fn null_means_no_sample(name: &str) -> bool {
    ["ratio", "lower", "upper", "mean_score", "oldest_wait_seconds", "mean_discount_percent"].contains(&name)
        || name.ends_with("_seconds") && name != "talk_seconds"
}

fn is_zero_or_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::Object(map) => map.values().all(is_zero_or_empty),
        _ => false,
    }
}

/// A row in which every figure is zero or empty.
fn is_empty_row(row: &Value) -> bool {
    let labels = ["tenant_id", "subject", "window", "at"];
    row.as_object().unwrap().iter().all(|(name, value)| labels.contains(&name.as_str()) || is_zero_or_empty(value))
}

pub fn same(a: &Value, b: &Value, name: &str) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            let quantile = ["p50_seconds", "p90_seconds", "p99_seconds", "quantile_seconds"].contains(&name);
            let reach = if quantile { 0.0101 } else { 1e-6 };
            (a - b).abs() <= reach * a.abs().max(b.abs()) + if quantile { 1e-3 } else { 1e-9 }
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b, name)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, name)),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerances() {
        assert!(same(&json!(900), &json!(900.0), "lag_seconds"));
        assert!(same(&json!(100.0), &json!(100.9), "p50_seconds"));
        assert!(!same(&json!(100.0), &json!(100.9), "mean_seconds"));
    }

    #[test]
    fn empty_rows_may_be_missing() {
        let row = |touches: usize| json!({"tenant_id": "t", "subject": "tenant", "window": "1h", "at": "x", "touches": touches, "messages": {"sent": {}}, "violations": {}});
        let verdict = Verdict { alerts: Vec::new(), rows: vec![row(0)], borderline: BTreeSet::new() };
        assert!(differences(&verdict, &[], &[]).is_empty());
        let verdict = Verdict { alerts: Vec::new(), rows: vec![row(1)], borderline: BTreeSet::new() };
        assert_eq!(differences(&verdict, &[], &[]).len(), 1);
        let mut theirs = row(1);
        theirs["messages"] = json!({"sent": {"EMAIL": 0}, "received": {}});
        theirs["violations"] = json!({"unheard_of": 3});
        assert!(differences(&verdict, &[], &[theirs.clone()]).is_empty());
        theirs["messages"]["sent"]["EMAIL"] = json!(2);
        assert_eq!(differences(&verdict, &[], &[theirs]).len(), 1);
    }

    #[test]
    fn finds_exactly_the_changes() {
        for seed in 400..405 {
            let (events, norms) = super::super::stream::stream(seed, 200);
            let verdict = super::super::judge(&events, &norms, None);
            assert_eq!(differences(&verdict, &verdict.alerts, &verdict.rows), Vec::<String>::new());
            if let Some(last) = verdict.alerts.last() {
                let mut alerts = verdict.alerts.clone();
                alerts.last_mut().unwrap()["level"] = json!(7);
                assert!(differences(&verdict, &alerts, &verdict.rows).len() == 2, "{last}");
                alerts.pop();
                assert_eq!(differences(&verdict, &alerts, &verdict.rows).len(), 1);
            }
            let mut rows = verdict.rows.clone();
            let tenant = rows.iter_mut().find(|r| r["subject"] == "tenant" && r["window"] == "now").unwrap();
            tenant["unreturned_calls"] = json!(1_000_000);
            assert_eq!(differences(&verdict, &verdict.alerts, &rows).len(), 1);
        }
    }
}
