//! Late delivery of generated streams: selects events that can be late without changing their meaning, and delays them.

use crate::oracle::{self, calendar};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

const SECOND: i64 = 1_000;
const DAY: i64 = 24 * 3_600 * SECOND;

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
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

pub(crate) fn at(event: &Value) -> i64 {
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

/// The keys an event shares with its duplicates or the other event of its call; such events keep their relative order.
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

/// The same events with some of them late, and the number of late events.
pub(crate) fn delayed(events: &[Value], seed: u64) -> (Vec<Value>, usize) {
    let mut rng = Rng(seed);
    let mut counts: HashMap<String, usize> = HashMap::new();
    for name in events.iter().flat_map(names) {
        *counts.entry(name).or_default() += 1;
    }
    // The line decides between events of one instant, and lateness would change it.
    for event in events.iter().filter(|event| oracle::decodes(event)) {
        *counts.entry(instant(event)).or_default() += 1;
    }
    let mut seen_tenants: BTreeSet<&str> = BTreeSet::new();
    let chosen: Vec<bool> = events
        .iter()
        .map(|event| {
            let first = oracle::decodes(event) && seen_tenants.insert(tenant(event));
            let alone = names(event).iter().all(|name| counts[name] == 1) && counts.get(&instant(event)) == Some(&1);
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
            let delivered_at = own + 11 * SECOND + rng.below((3 * DAY - 11 * SECOND) as u64) as i64;
            // The watermark has passed it if an earlier-delivered event of the tenant is later by more than the lateness.
            let passes = |(other, moved): (&Value, &bool)| {
                !moved
                    && oracle::decodes(other)
                    && tenant(other) == tenant(event)
                    && (own + 10 * SECOND + 1..=delivered_at).contains(&at(other))
            };
            if events.iter().zip(&chosen).any(passes) {
                key = (delivered_at, true);
                late += 1;
            }
        }
        keyed.push((key.0, key.1, event));
    }
    keyed.sort_by_key(|(at, moved, _)| (*at, *moved));
    (keyed.into_iter().map(|(_, _, event)| event.clone()).collect(), late)
}
