//! A naive batch implementation that computes the expected output from the written specification alone (`events.md`,
//! `semantics.md`, `formats.md`, `decisions.md`; "decision N" below is an item of the last).
//!
//! It shares no code with the program. The events of a tenant are replayed once in event order into plain dated
//! histories ([`history`]); every alert and every figure is then a query over the full history. Simplicity is preferred
//! to speed.
//!
//! ```text
//! events ─ decode ─ sort, duplicates ─ TenantHistory per tenant ─┬─ rules::*  ─ alerts ─┐
//! norms  ─ norms, calendar ──────────────────────────────────────┴─ figures ─ rows ◄────┘
//! ```
//!
//! In scope: the rules in [`RULES`] and every figure that follows from events. A new rule is a file in `rules/` and a
//! line in [`rules::judge`].
//!
//! Where the specification is ambiguous, the chosen reading is a constant in [`readings`], so that it can be switched.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::mod_module_files)]

pub mod alert;
pub mod calendar;
pub mod calls;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod cases_calls;
#[cfg(test)]
mod cases_floors;
#[cfg(test)]
mod cases_messages;
#[cfg(test)]
mod cases_reading;
#[cfg(test)]
mod cases_rules;
#[cfg(test)]
mod cases_windows;
pub mod compare;
pub mod contacts;
pub mod decode;
pub mod figures;
pub mod history;
pub mod identity;
pub mod merges;
pub mod norms;
pub mod readings;
pub mod rules;
pub mod steps;
pub mod stream;
pub mod targets;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

// Not every test that generates streams compares output.
#[allow(unused_imports)]
pub use compare::differences;
pub use decode::decodes;

/// The rules that the oracle judges; alerts and counts of other rules are not compared.
pub const RULES: [&str; 23] = [
    "first_response_late",
    "too_few_attempts",
    "neglected",
    "disqualified_without_reason",
    "disqualified_without_contact",
    "stage_skipped",
    "stage_requirements_unmet",
    "stage_reverted",
    "stage_overdue",
    "missed_call_not_returned",
    "message_unanswered",
    "discount_over_limit",
    "installment_not_allowed",
    "prepayment_too_low",
    "conversion_low",
    "response_slow",
    "quality_low",
    "stuck_early",
    "special_terms_frequent",
    "source_silent",
    "next_step_missing",
    "next_step_overdue",
    "target_behind",
];

/// Deduplication window (semantics: default of `dedup_window`; not part of the norms document).
const DEDUP_WINDOW_MS: i64 = 6 * 3_600_000;

/// The expected output.
pub struct Verdict {
    /// Every status of every alert, in order of (`at`, tenant).
    pub alerts: Vec<Value>,
    /// Every row at `until`: tenant by tenant, subject by subject, each window and `now`.
    pub rows: Vec<Value>,
    /// Tenants with a `response_slow` value too close to its norm to be decided from an estimate.
    pub borderline: BTreeSet<String>,
}

/// Judges `events` (one JSON object each, in file order: the position is the tie breaker "offset or line") against
/// `norms` (the norms document as JSON). `until_ms` is inclusive for events and timers; `None` means the last event.
///
/// Events rejected by [`decodes`] are skipped.
pub fn judge(events: &[Value], norms: &Value, until_ms: Option<i64>) -> Verdict {
    let norms = norms::Norms::read(norms);
    let mut events: Vec<decode::Event> =
        events.iter().enumerate().filter_map(|(line, event)| decode::read(event, line).ok()).collect();
    let Some(until) = until_ms.or_else(|| events.iter().map(|e| e.at).max()) else {
        return Verdict { alerts: Vec::new(), rows: Vec::new(), borderline: BTreeSet::new() };
    };
    events.retain(|e| e.at <= until);
    // Event order: instant, topic (crm < telephony < email), line.
    events.sort_by_key(|e| (e.at, e.topic, e.line));
    let events = without_duplicates(events);

    let mut tenants: BTreeMap<String, Vec<decode::Event>> = BTreeMap::new();
    for event in events {
        tenants.entry(event.tenant.clone()).or_default().push(event);
    }

    let mut statuses = Vec::new();
    let mut rows = Vec::new();
    let mut borderline = BTreeSet::new();
    for (tenant, events) in tenants {
        let history = history::TenantHistory::replay(&tenant, &events, &norms);
        let mut alerts = rules::judge(&history, &norms, until);
        let windows = rules::windows::judge(&history, &events, &norms, until);
        alerts.extend(windows.alerts);
        if windows.borderline {
            borderline.insert(tenant);
        }
        let targets = targets::judge(&history, &events, &norms, until);
        alerts.extend(targets.alerts);
        let mut own = figures::rows(&history, &norms, &alerts, until);
        for row in own.iter_mut().filter(|row| row["window"] == "now") {
            if let Some(targets) = targets.now.get(row["subject"].as_str().unwrap()) {
                row["targets"] = targets.clone();
            }
        }
        rows.extend(own);
        rows.extend(targets.closed);
        statuses.extend(alerts.into_iter().flat_map(|a| a.statuses));
    }
    // Stable: within one instant and tenant the statuses of one alert keep their order.
    statuses.sort_by(|a, b| (a.at, &a.tenant).cmp(&(b.at, &b.tenant)));
    let mut alerts: Vec<Value> = statuses.iter().map(alert::Status::json).collect();
    // "After RETRACTED nothing follows", but a correction of itself.
    let mut retracted: BTreeSet<String> = BTreeSet::new();
    alerts.retain(|alert| {
        let id = alert["alert_id"].as_str().unwrap();
        if alert["status"] == "RETRACTED" {
            retracted.insert(id.to_owned());
        }
        alert["status"] == "RETRACTED" || !retracted.contains(id)
    });
    Verdict { alerts, rows, borderline }
}

/// Decision 3: duplicates are found in event order, within the window of the last *accepted* event with that id,
/// inclusive; ids are unique within tenant and topic. Decision 26: an event without an id is never a duplicate.
fn without_duplicates(events: Vec<decode::Event>) -> Vec<decode::Event> {
    let mut taken: HashMap<(String, u8, String), i64> = HashMap::new();
    let mut kept = Vec::new();
    for event in events {
        if let Some(id) = &event.event_id {
            let key = (event.tenant.clone(), event.topic as u8, id.clone());
            if let Some(last) = taken.get(&key)
                && event.at - last <= DEDUP_WINDOW_MS
            {
                continue;
            }
            taken.insert(key, event.at);
        }
        kept.push(event);
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::stream::{exchange_stream, merge_stream, stream};
    use super::{BTreeSet, calendar, judge};

    fn at(event: &Value) -> i64 {
        let text = event.get("occurred_at").or(event.get("occurredAt")).or(event.get("at")).unwrap();
        calendar::instant(text.as_str().unwrap()).unwrap()
    }

    /// The output up to an instant does not depend on later events.
    #[test]
    fn statuses_are_causal() {
        for seed in 100..120 {
            let stream = [stream, stream, exchange_stream, exchange_stream, merge_stream][(seed - 100) / 4];
            let (events, norms) = stream(seed as u64, 250);
            let whole = judge(&events, &norms, None).alerts;
            for index in (0..events.len()).step_by(41) {
                for off in [-1, 0, 1, 3_600_000] {
                    let until = at(&events[index]) + off;
                    let part = judge(&events, &norms, Some(until)).alerts;
                    let prefix: Vec<Value> = whole.iter().filter(|a| at(a) <= until).cloned().collect();
                    if until <= at(events.last().unwrap()) {
                        let first = part.iter().zip(&prefix).find(|(a, b)| a != b);
                        assert!(
                            part == prefix,
                            "seed {seed} until {until}: {} {}: {first:#?}",
                            part.len(),
                            prefix.len()
                        );
                    }
                }
            }
        }
    }

    /// Duplicates, rejected events and other tenants do not affect a tenant's output.
    #[test]
    fn tenants_do_not_affect_each_other() {
        for seed in 200..206 {
            let (events, norms) = stream(seed, 250);
            let until = events.iter().map(at).max();
            let whole = judge(&events, &norms, until);
            let tenant = |value: &Value| value.get("tenant_id").or(value.get("tenantId")).cloned();
            let names: BTreeSet<String> =
                events.iter().filter_map(|e| tenant(e)?.as_str().map(str::to_owned)).collect();
            for name in names {
                let mine = |value: &&Value| tenant(value) == Some(json!(name));
                let own: Vec<Value> = events.iter().filter(mine).cloned().collect();
                let own = judge(&own, &norms, until);
                assert_eq!(own.alerts, whole.alerts.iter().filter(mine).cloned().collect::<Vec<_>>());
                assert_eq!(own.rows, whole.rows.iter().filter(mine).cloned().collect::<Vec<_>>());
            }
        }
    }

    /// The values a window rule observes at a boundary equal the manager's row at that instant.
    #[test]
    fn window_rules_observe_the_rows() {
        let mut compared = std::collections::BTreeMap::<String, usize>::new();
        for seed in 400..450 {
            let (events, norms) = if seed < 440 { stream(seed, 400) } else { exchange_stream(seed, 400) };
            let alerts = judge(&events, &norms, None).alerts;
            let windowed = alerts.iter().filter(|a| a.get("window").is_some() && a["status"] != "ESCALATED");
            for alert in windowed.filter(|a| a["resolution"] != "disabled").take(8) {
                let rows = judge(&events, &norms, Some(at(alert))).rows;
                let row = rows
                    .iter()
                    .find(|row| {
                        row["tenant_id"] == alert["tenant_id"]
                            && row["window"] == alert["window"]
                            && row["subject"] == format!("manager:{}", alert["manager_id"].as_str().unwrap())
                    })
                    .unwrap();
                let rule = alert["rule"].as_str().unwrap();
                let (figure, keys) = match rule {
                    "conversion_low" => {
                        let basis = alert["norm"]["basis"].as_str().unwrap();
                        (row["lead_conversion"][basis].clone(), &["n", "k", "ratio", "upper"][..])
                    }
                    "response_slow" => {
                        let clock = alert["norm"]["clock"].as_str().unwrap();
                        (row["first_response"][clock].clone(), &["n"][..])
                    }
                    "quality_low" => (row["reviews"].clone(), &["n", "mean_score"][..]),
                    "special_terms_frequent" => {
                        (json!({"n": row["terms"]["offered"], "k": row["terms"]["special"]}), &["n", "k"][..])
                    }
                    _ => continue,
                };
                for key in keys {
                    if let Some(observed) = alert["observed"].get(key) {
                        assert_eq!(*observed, figure[key], "seed {seed}: {key} of {alert}");
                        *compared.entry(rule.to_owned()).or_default() += 1;
                    }
                }
            }
        }
        assert!(compared.len() == 4 && compared.values().all(|n| *n > 3), "{compared:?}");
    }

    /// A tenant's figures are the sums over its departments.
    #[test]
    fn tenant_figures_are_sums_over_departments() {
        for seed in 300..312 {
            let stream = [stream, exchange_stream, merge_stream][seed % 3];
            let (events, norms) = stream(seed as u64, 300);
            let rows = judge(&events, &norms, None).rows;
            for total in rows.iter().filter(|row| row["subject"] == "tenant") {
                let parts: Vec<&Value> = rows
                    .iter()
                    .filter(|row| row["tenant_id"] == total["tenant_id"] && row["window"] == total["window"])
                    .filter(|row| row["subject"].as_str().unwrap().starts_with("department:"))
                    .collect();
                for path in [
                    "/leads_received",
                    "/touches",
                    "/lead_conversion/closed/n",
                    "/first_response/wall/n",
                    "/first_response/within_norm/k",
                    "/reply/n",
                    "/call_back/n",
                    "/unreturned_calls",
                    "/awaiting_first_response",
                    "/calls/inbound_missed",
                    "/dismissed",
                    "/leads_excluded",
                    "/human_response/wall/n",
                    "/plans/made",
                    "/open_plans",
                    "/without_next_step",
                ] {
                    let Some(sum) = total.pointer(path) else { continue };
                    let of_parts: u64 = parts.iter().map(|row| row.pointer(path).unwrap().as_u64().unwrap()).sum();
                    assert_eq!(sum.as_u64().unwrap(), of_parts, "{path}");
                }
            }
        }
    }
}
