//! Late delivery against the naive batch: some events come up to three days after their instant, behind the watermark
//! of their tenant. When all is told, every figure must be what it is in order, and so must every alert that was not
//! taken back.
//!
//! The rules about windows are left out: past boundaries are not judged again (decision 4).

mod common;
mod oracle;

use common::Replay;
use oracle::{Verdict, calendar};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

const SECOND: i64 = 1_000;
const DAY: i64 = 24 * 3_600 * SECOND;

const LEFT_OUT: [&str; 5] = ["conversion_low", "response_slow", "quality_low", "stuck_early", "special_terms_frequent"];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn either<'a>(event: &'a Value, snake: &str, camel: &str) -> Option<&'a Value> {
    event.get(snake).or(event.get(camel)).filter(|value| !value.is_null() && *value != "")
}

fn at(event: &Value) -> i64 {
    let text = either(event, "occurred_at", "occurredAt").and_then(Value::as_str).expect("dated");
    calendar::instant(text).expect("an instant")
}

fn tenant(event: &Value) -> &str {
    either(event, "tenant_id", "tenantId").and_then(Value::as_str).unwrap_or("")
}

fn topic(event: &Value) -> &'static str {
    let has = |names: &[&str]| names.iter().any(|name| event.get(*name).is_some());
    if has(&["call_started", "callStarted", "call_ended", "callEnded"]) {
        "telephony"
    } else if has(&["message_sent", "messageSent", "message_received", "messageReceived"]) {
        "email"
    } else {
        "crm"
    }
}

/// What must not come alone: its duplicates, or the other half of its call, would change places with it.
fn names(event: &Value) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(id) = either(event, "event_id", "eventId") {
        names.push(format!("event {} {} {id}", tenant(event), topic(event)));
    }
    for (snake, camel) in [("call_started", "callStarted"), ("call_ended", "callEnded")] {
        if let Some(id) = either(event, snake, camel).and_then(|call| either(call, "call_id", "callId")) {
            names.push(format!("call {} {id}", tenant(event)));
        }
    }
    names
}

fn instant(event: &Value) -> String {
    format!("instant {} {}", tenant(event), at(event))
}

/// The same events, some of them late; how many.
fn delayed(events: &[Value], seed: u64) -> (Vec<Value>, usize) {
    let mut rng = Rng(seed);
    let mut named: HashMap<String, usize> = HashMap::new();
    for name in events.iter().flat_map(names) {
        *named.entry(name).or_default() += 1;
    }
    // Of two events at one instant the line decides, which a late one changes.
    for event in events.iter().filter(|event| oracle::decodes(event)) {
        *named.entry(instant(event)).or_default() += 1;
    }
    let mut begun: BTreeSet<&str> = BTreeSet::new();
    let chosen: Vec<bool> = events
        .iter()
        .map(|event| {
            let first = oracle::decodes(event) && begun.insert(tenant(event));
            let alone = names(event).iter().all(|name| named[name] == 1) && named.get(&instant(event)) == Some(&1);
            let chosen = rng.below(20) == 0;
            chosen && alone && !first && oracle::decodes(event)
        })
        .collect();
    let mut late = 0;
    let mut keyed: Vec<(i64, bool, &Value)> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let own = at(event);
        let mut key = (own, false);
        if chosen[index] {
            let told = own + 11 * SECOND + rng.below((3 * DAY - 11 * SECOND) as u64) as i64;
            // The watermark has passed it if another event of the tenant, more than the lateness after it, came before.
            let passes = |(other, moved): (&Value, &bool)| {
                !moved
                    && oracle::decodes(other)
                    && tenant(other) == tenant(event)
                    && (own + 10 * SECOND + 1..=told).contains(&at(other))
            };
            if events.iter().zip(&chosen).any(passes) {
                key = (told, true);
                late += 1;
            }
        }
        keyed.push((key.0, key.1, event));
    }
    keyed.sort_by_key(|(at, moved, _)| (*at, *moved));
    (keyed.into_iter().map(|(_, _, event)| event.clone()).collect(), late)
}

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
