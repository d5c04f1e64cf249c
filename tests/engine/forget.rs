//! Tenants, managers and departments are forgotten with everything that refers to them, at an instant of event time: neither
//! restarts nor the ends of epochs change what is forgotten and what follows.

use super::restart::{Committed, batch, restore, start};
use crate::delay::Rng;
use funnelwatch::config;
use funnelwatch::dataflow::messages::EpochHeader;
use funnelwatch::dataflow::settings::DataflowSettings;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::shard::processor::{ShardProgress, SourceProgress, Timing};
use funnelwatch::domain::source::{Offset, ShardId, Source};
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::time::{Span, Timestamp};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

const START: Timestamp = Timestamp(1_772_524_800_000);
const RETENTION: Span = Span(8 * Span::DAY.0);
const TENANT_RETENTION: Span = Span(20 * Span::DAY.0);
const NORMS: &str = "
windows: [{size: 24h, slide: 1h}]
norms:
  first_response_late: {within: 5m}
  neglected: {within: 2h, escalate_after: [1d]}
  missed_call_not_returned: {within: 10m}
  conversion_low: {at_least: 0.9, basis: closed, escalate_after: [2h]}
";

const SILENCES: &str = "  source_silent: {within: 6h}\n";

/// Messages in the order of their arrival, each with the hours after the start at which it arrives; without a text, time
/// passes.
type Stream = Vec<(f64, String)>;

/// What a run has committed, and what the last process has at its end.
struct Outcome {
    committed: Committed,
    restarts: usize,
    tenants: BTreeSet<String>,
    /// The tenants, managers and departments that count for the limits.
    known: [usize; 3],
}

impl Outcome {
    /// The keys of the state records of a tenant that are left.
    fn records(&self) -> BTreeSet<String> {
        let mut records = BTreeSet::new();
        for (key, value) in &self.committed.log {
            let key = String::from_utf8_lossy(key).into_owned();
            if value.is_some() {
                records.insert(key)
            } else {
                records.remove(&key)
            };
        }
        records
    }

    fn alerts(&self) -> Vec<Value> {
        self.committed.alerts.iter().map(|alert| serde_json::from_str(alert).expect("JSON")).collect()
    }
}

fn at(hours: f64) -> Timestamp {
    START + Span((hours * Span::HOUR.0 as f64).round() as i64)
}

fn event(tenant: &str, hours: f64, payload: &str) -> (f64, String) {
    let text = format!(r#"{{"tenant_id":"{tenant}","occurred_at":"{}",{payload}}}"#, at(hours));
    (hours, text)
}

fn inactive(manager: &str) -> String {
    format!(r#""manager_upserted":{{"manager_id":"{manager}","active":false}}"#)
}

fn upsert(manager: &str, department: &str) -> String {
    format!(r#""manager_upserted":{{"manager_id":"{manager}","department_id":"{department}","active":true}}"#)
}

fn lead(id: &str, manager: &str) -> String {
    format!(r#""lead_created":{{"lead_id":"{id}","manager_id":"{manager}"}}"#)
}

fn closed(id: &str) -> String {
    format!(r#""closed":{{"entity":{{"kind":"LEAD","id":"{id}"}},"outcome":"DISQUALIFIED","reason":"x"}}"#)
}

fn call(id: &str, manager: &str, phone: u32) -> String {
    format!(
        r#""call_started":{{"call_id":"{id}","direction":"OUTBOUND","phone":"+7912{phone:07}","manager_id":"{manager}"}}"#
    )
}

fn review(manager: &str) -> String {
    format!(
        r#""interaction_reviewed":{{"interaction_id":"i","manager_id":"{manager}","reviewer_id":"boss","score":80,"verdict":"SUCCESS"}}"#
    )
}

fn settings(norms: &str) -> DataflowSettings {
    let norms: Norms = config::parse_norms("norms", norms).unwrap_or_else(|problems| panic!("{problems}")).norms;
    let memory = Memory {
        durable: true,
        retention: Some(RETENTION),
        tenant_retention: Some(TENANT_RETENTION),
        ..Memory::default()
    };
    let timing = Timing { memory, ..Timing::default() };
    DataflowSettings { rows_at_boundaries: true, ..DataflowSettings::new(Arc::new(norms), timing) }
}

fn run(stream: &Stream, seed: u64, most: u64, restarts: u64) -> Outcome {
    run_with(NORMS, stream, seed, most, restarts)
}

/// Runs a stream in epochs of up to `most` messages, with a restart after one in `restarts` epochs (0: none).
fn run_with(norms: &str, stream: &Stream, seed: u64, most: u64, restarts: u64) -> Outcome {
    let mut outcome = Outcome { committed: Committed::default(), restarts: 0, tenants: BTreeSet::new(), known: [0; 3] };
    let (mut cuts, mut rng) = (Rng(seed), Rng(seed ^ 1));
    let committed = &mut outcome.committed;
    while committed.read < stream.len() {
        let settings = settings(norms);
        let mut restored: Vec<_> = restore(&committed.log, &settings, &mut rng).into_iter().collect();
        let (live_state, limits) = (Arc::clone(&settings.live_state), settings.admission_limits.clone());
        let (guards, mut collector, sender) = start(1, settings);
        // What is read again arrives together.
        let mut position = committed.offset;
        let mut end = committed.read;
        for epoch in 0.. {
            let is_new = position == end;
            if is_new {
                // The last message is an epoch of its own: time passes after what was read before it.
                end = (position + 1 + cuts.below(most) as usize).min(stream.len() - 1).max(position + 1);
            }
            let wall = at(stream[end - 1].0);
            let lines = &stream[position..end];
            let mut messages = batch(Source::Files, 0, &[]);
            let batch = Arc::get_mut(&mut messages).expect("not shared");
            for (offset, (_, text)) in (position as i64..).zip(lines).filter(|(_, (_, text))| !text.is_empty()) {
                batch.push(Offset(offset), None, text.as_bytes());
            }
            let source =
                SourceProgress { source: Source::Files, current: true, ended: false, position: Offset(end as i64) };
            let shard = ShardProgress { wall: Some(wall), sources: vec![source], ..ShardProgress::default() };
            let restored = std::mem::take(&mut restored).into();
            let progress = vec![(ShardId(0), shard)];
            assert!(
                sender.send(
                    EpochHeader { epoch, wall, progress, restored, ..EpochHeader::default() },
                    vec![vec![messages]]
                )
            );
            let output = collector.next_epoch().expect("workers");
            let rejected: Vec<_> =
                output.rejected.iter().map(|rejected| (rejected.message, &rejected.reject)).collect();
            assert!(rejected.is_empty(), "{rejected:?}");
            let used = output.shards.first().map(|shard| shard.limits_used).unwrap_or_default();
            let all = [limits.tenants, limits.managers, limits.departments];
            outcome.known = std::array::from_fn(|index| (used[index] * all[index] as f64).round() as usize);
            committed.apply(output, end);
            position = end;
            if end == stream.len() || (is_new && restarts > 0 && rng.below(restarts) == 0) {
                break;
            }
        }
        outcome.restarts += 1;
        outcome.tenants = live_state.tenants().into_iter().map(|(id, ..)| id.to_string()).collect();
        drop(sender);
        guards.join().into_iter().collect::<Result<(), _>>().expect("no panic");
    }
    outcome.committed.alerts.sort();
    outcome
}

/// Lets time pass up to an hour.
fn ticks(from: f64, to: f64) -> impl Iterator<Item = (f64, String)> {
    (1..)
        .map(move |n| from + f64::from(n) * 6.0)
        .take_while(move |hours| *hours <= to)
        .map(|hours| (hours, String::new()))
}

#[test]
fn everything_of_a_tenant_is_forgotten_after_its_retention() {
    let day = 24.0;
    let mut stream = vec![
        event("a", 0.0, &upsert("ann", "north")),
        event("a", 1.0, &lead("1", "ann")),
        event("a", 2.0, &call("c", "bob", 1)),
        event("a", 3.0, &review("ann")),
        event("a", 4.0, r#""department_upserted":{"department_id":"north","name":"North"}"#),
        event("a", 5.0, &closed("1")),
        event("b", 6.0, &upsert("eve", "south")),
        event("b", 7.0, &lead("1", "eve")),
    ];
    stream.extend(ticks(7.0, 20.0 * day));
    let norms = format!("{NORMS}{SILENCES}");
    let kept = run_with(&norms, &stream, 1, 1, 0);
    // Nothing is known of bob but an old call.
    assert_eq!((kept.known, kept.tenants.len()), ([2, 2, 2], 2), "the last event was less than 20 days ago");
    stream.extend(ticks(20.0 * day, 21.0 * day));
    let forgotten = run_with(&norms, &stream, 1, 1, 0);
    assert_eq!((forgotten.known, &forgotten.tenants), ([1, 1, 1], &["b".to_owned()].into()), "a lead of `b` is open");
    let records = forgotten.records();
    assert!(records.iter().all(|key| !key[1..].starts_with("/a") || key.starts_with("n/")), "{records:?}");
    assert!(kept.records().contains("t/a") && kept.records().contains("c/a") && records.contains("t/b"));
    let rows: Vec<_> = forgotten.committed.rows.keys().filter(|key| key.starts_with("a ")).collect();
    assert_eq!(rows, Vec::<&String>::new());
    assert!(kept.committed.rows.keys().any(|key| key.starts_with("a Manager")));
    let silence = |outcome: &Outcome| {
        let alerts = outcome.alerts().into_iter().filter(|alert| alert["tenant_id"] == "a");
        let silences = alerts.filter(|alert| alert["rule"] == "source_silent");
        silences.map(|alert| (alert["status"].clone(), alert["at"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(silence(&kept).len(), 1, "telephony");
    let end = at(5.0) + TENANT_RETENTION;
    assert!(silence(&forgotten).contains(&("RESOLVED".into(), end.to_string().into())), "{:?}", silence(&forgotten));
}

#[test]
fn an_event_after_that_is_the_first_of_a_new_tenant() {
    let departments = |gap: f64| {
        let mut stream = vec![event("a", 0.0, &upsert("ann", "north"))];
        let back = gap * 24.0;
        stream.extend(ticks(0.0, back - 1.0));
        stream.push(event("a", back, &lead("1", "ann")));
        stream.extend(ticks(back, back + 24.0));
        let found = |most| {
            let outcome = run(&stream, 3, most, 0);
            assert_eq!((outcome.known[0], outcome.tenants.len()), (1, 1));
            let alert = outcome.alerts().into_iter().find(|alert| alert["rule"] == "first_response_late");
            alert.unwrap_or_else(|| panic!("{:?}", outcome.committed.alerts))["department_id"]
                .as_str()
                .map(str::to_owned)
        };
        // One epoch per message, or one for all of them.
        assert_eq!(found(1), found(1000), "{gap} days");
        found(1)
    };
    assert_eq!(departments(20.0).as_deref(), Some("north"), "events are applied before what is due at their instant");
    assert_eq!(departments(20.01).as_deref(), Some("unknown"));
}

#[test]
fn inactive_managers_are_forgotten_after_the_retention_and_their_departments_with_them() {
    let day = 24.0;
    let base = vec![
        event("a", 0.0, &upsert("ann", "north")),
        event("a", 1.0, &upsert("bob", "south")),
        event("a", 2.0, &upsert("dan", "west")),
        event("a", 3.0, &lead("of bob", "bob")),
        event("a", 4.0, &lead("of dan", "dan")),
        event("a", 5.0, &inactive("bob")),
        event("a", 6.0, &inactive("dan")),
        event("a", 2.0 * day, &call("c", "eve", 1)),
        event("a", 3.0 * day, &closed("of bob")),
    ];
    let known = |days: f64| {
        let mut stream = base.clone();
        stream.extend(ticks(3.0 * day, days * day));
        let outcomes = [(1, 0), (30, 0), (1, 2)].map(|(most, restarts)| run(&stream, 7, most, restarts));
        outcomes[1..].iter().for_each(|other| assert_rows(&outcomes[0], other, "epochs or restarts"));
        let used = outcomes.each_ref().map(|outcome| outcome.known);
        assert_eq!(used, [used[0]; 3], "day {days}");
        let rows = outcomes[0].committed.rows.keys().filter(|key| key.ends_with(" now"));
        let name = |key: &String| key.split('"').nth(1).map(str::to_owned);
        (rows.filter_map(name).collect::<Vec<_>>().join(" "), used[0])
    };
    let all = "north south unknown west ann bob dan eve";
    assert_eq!(known(9.9), (all.to_owned(), [1, 4, 3]));
    let without_eve = "north south unknown west ann bob dan";
    assert_eq!(known(10.3), (without_eve.to_owned(), [1, 3, 3]), "only a call of eve was known");
    assert_eq!(known(10.9).1, [1, 3, 3], "a lead of bob's was closed less than 8 days ago");
    let rest = "north unknown west ann dan";
    assert_eq!(known(11.3), (rest.to_owned(), [1, 2, 2]), "ann is active, and a lead of dan's is open");
    let mut stream = base;
    stream.extend(ticks(3.0 * day, 12.0 * day));
    stream.push(event("a", 12.5 * day, &lead("2", "bob")));
    stream.extend(ticks(12.5 * day, 13.0 * day));
    let department = |most, restarts| {
        let outcome = run(&stream, 7, most, restarts);
        let alert = outcome.alerts().into_iter().find(|alert| alert["subject"] == "lead:2");
        alert.expect("an alert")["department_id"].as_str().map(str::to_owned)
    };
    for (most, restarts) in [(1, 0), (1000, 0), (1, 2)] {
        assert_eq!(department(most, restarts).as_deref(), Some("unknown"), "a new manager");
    }
}

/// When the record was old enough, a call that was dropped since was kept: a restore must not forget the manager then.
#[test]
fn a_restored_manager_is_one_who_was_not_forgotten() {
    let day = 24.0;
    let mut stream = vec![
        event("a", 0.0, &upsert("bob", "south")),
        event("a", 5.0, &inactive("bob")),
        event("a", 5.0 * day, &call("c", "bob", 1)),
        event("a", 10.0 * day, &lead("1", "bob")),
    ];
    stream.extend(ticks(5.0, 14.5 * day));
    stream.sort_by(|a, b| a.0.total_cmp(&b.0));
    let reference = run(&stream, 9, 1, 0);
    let restarted = run(&stream, 9, 1, 3);
    assert_rows(&reference, &restarted, &format!("{} processes", restarted.restarts));
    assert_eq!((reference.known, restarted.known), ([1, 1, 1], [1, 1, 1]));
}

#[test]
fn a_tenant_whose_source_reports_is_kept() {
    let day = 24.0;
    let mark = |tenant, hours| {
        let progress = format!(r#""source":"x","progress":{{"up_to":"{}"}}"#, at(hours));
        event(tenant, hours, &progress)
    };
    let known = |days: f64| {
        let mut stream = vec![event("a", 0.0, &upsert("ann", "north")), mark("b", 1.0)];
        stream.extend(ticks(1.0, 15.0 * day - 1.0));
        stream.push(mark("a", 15.0 * day));
        stream.extend(ticks(15.0 * day, days * day));
        let outcome = run(&stream, 5, 9, 5);
        let with_rows = outcome.committed.rows.keys().filter_map(|key| key.split(' ').next()).collect::<BTreeSet<_>>();
        let with_rows = with_rows.into_iter().collect::<String>();
        (with_rows, outcome.records().iter().filter(|key| key.starts_with("c/")).count(), outcome.known[0])
    };
    assert_eq!(known(19.5), ("ab".to_owned(), 2, 2));
    assert_eq!(known(21.0), ("a".to_owned(), 1, 1), "20 days after the mark of `b`");
    assert_eq!(known(34.5), ("a".to_owned(), 1, 1));
    assert_eq!(known(36.0), (String::new(), 0, 0), "20 days after the mark of `a`");
}

/// A tenant is caught up with and forgotten while an event of another one is held, which is before its messages. As long as
/// they would be read again after a restart, its time is stored.
#[test]
fn messages_of_a_forgotten_tenant_are_not_applied_again() {
    let old = -21.0 * 24.0;
    let second = 1.0 / 3600.0;
    let mark = format!(r#""source":"x","progress":{{"up_to":"{}","backfill":true}}"#, at(2.0 * old));
    let mut stream = vec![
        event("b", 2.0 * old, &mark),
        event("b", old, &lead("1", "eve")),
        event("a", old, &lead("1", "ann")),
        event("a", old + 1.0, &closed("1")),
    ];
    stream.iter_mut().for_each(|(hours, _)| *hours = 0.0);
    let ticks = |seconds: std::ops::Range<u32>| seconds.step_by(3).map(move |n| (f64::from(n) * second, String::new()));
    stream.extend(ticks(3..22));
    let forgotten = run(&stream, 1, 4, 0);
    let has = |outcome: &Outcome, key: &str| outcome.records().contains(key);
    assert!(has(&forgotten, "c/a") && !has(&forgotten, "t/a") && !has(&forgotten, "h/b/4/1"));
    assert_eq!((forgotten.known, forgotten.tenants.len()), ([2, 1, 0], 1), "the time of `a` counts as a tenant");
    stream.extend(ticks(24..60));
    let stored = run(&stream, 1, 4, 0);
    assert!(!has(&stored, "c/a") && has(&stored, "h/b/4/1"), "{:?}", stored.records());
    assert_eq!(stored.known, [1, 1, 0]);
    let restarted = run(&stream, 1, 4, 1);
    assert_eq!(restarted.committed.alerts, stored.committed.alerts, "{} processes", restarted.restarts);
    assert!(restarted.restarts > 5 && !restarted.committed.alerts.is_empty(), "{} processes", restarted.restarts);
    assert!(has(&restarted, "c/a"), "no process held the event for long enough to store it");
}

/// A generated stream, the tenants that are known at its end, each with the managers named since it was last new, and how
/// often a tenant is forgotten.
fn generated(seed: u64) -> (Stream, Vec<(String, BTreeSet<String>)>, usize) {
    let (mut rng, mut stream, mut known) = (Rng(seed), Stream::new(), Vec::new());
    let mut forgotten = 0;
    let end = 150.0 * 24.0;
    for tenant in ["a", "b", "c", "d"] {
        let (mut hours, mut last, mut open) = (1.0 + rng.below(2000) as f64 / 10.0, None::<f64>, Vec::new());
        let mut managers = BTreeSet::new();
        let forgets = |last: Option<f64>, next: f64, open: &Vec<String>| {
            open.is_empty() && last.is_some_and(|last| at(last) + TENANT_RETENTION < at(next))
        };
        while hours < end - 1.0 {
            for number in 0..1 + rng.below(5) {
                hours += (1 + rng.below(200)) as f64 / 100.0;
                if forgets(last, hours, &open) {
                    forgotten += 1;
                    managers.clear();
                }
                let manager = format!("{tenant}{}", rng.below(9));
                let id = format!("{}", stream.len());
                let mut named = Some(manager.clone());
                let payload = match rng.below(8) {
                    6 | 7 if number % 2 == 0 => inactive(&manager),
                    0 => upsert(&manager, ["north", "south"][number as usize % 2]),
                    1 | 2 => {
                        open.push(id.clone());
                        lead(&id, &manager)
                    }
                    3 => call(&id, &manager, stream.len() as u32),
                    4 => review(&manager),
                    _ => match open.pop() {
                        Some(open) => {
                            named = None;
                            closed(&open)
                        }
                        None => call(&id, &manager, stream.len() as u32),
                    },
                };
                managers.extend(named);
                last = Some(hours);
                stream.push(event(tenant, hours, &payload));
            }
            if rng.below(3) > 0 {
                for id in open.drain(..) {
                    hours += 0.25;
                    last = Some(hours);
                    stream.push(event(tenant, hours, &closed(&id)));
                }
            }
            hours += [0.5, 40.0, 300.0, 470.0, 490.0, 1000.0][rng.below(6) as usize];
        }
        if forgets(last, end, &open) {
            forgotten += 1;
        } else {
            known.push((tenant.to_owned(), managers));
        }
    }
    stream.extend((1..=24 * 150).step_by(7).map(|hours| (f64::from(hours), String::new())));
    stream.retain(|(hours, _)| *hours < end - 0.1);
    stream.sort_by(|a, b| a.0.total_cmp(&b.0));
    // All windows slide in the last epoch.
    stream.extend([end, end + 2.0].map(|hours| (hours, String::new())));
    (stream, known, forgotten)
}

fn assert_rows(reference: &Outcome, other: &Outcome, case: &str) {
    let [keys, of_other] = [reference, other].map(|outcome| outcome.committed.rows.keys().collect::<BTreeSet<_>>());
    assert!(keys == of_other, "{case}: {:?}", keys.symmetric_difference(&of_other).collect::<Vec<_>>());
    for (key, row) in &reference.committed.rows {
        let other = &other.committed.rows[key];
        assert!(row == other, "{case}: {key}\n{row}\n{other}");
    }
}

#[test]
fn neither_restarts_nor_the_ends_of_epochs_change_what_is_forgotten() {
    let (mut restarts, mut forgotten) = (0, 0);
    for seed in 0..6 {
        let (stream, known, times) = generated(seed);
        let reference = run(&stream, seed, 1, 0);
        let expected: BTreeSet<_> = known.iter().map(|(tenant, _)| tenant.clone()).collect();
        assert_eq!(reference.tenants, expected, "seed {seed}");
        assert_eq!(reference.known[0], known.len(), "seed {seed}");
        for key in reference.committed.rows.keys() {
            let (tenant, subject) = key.split_once(' ').expect("a tenant");
            let (_, managers) = known.iter().find(|(known, _)| known == tenant).expect("a known tenant");
            let is_named = |manager: &String| subject.contains(&format!("(\"{manager}\")"));
            let of_manager = subject.starts_with("Manager");
            assert!(!of_manager || managers.iter().any(is_named), "seed {seed}: {key}");
        }
        forgotten += times;
        for (most, every) in [(60, 0), (1, 9), (25, 3), (200, 2)] {
            let other = run(&stream, seed, most, every);
            let case = format!("seed {seed}, up to {most} messages, {} processes", other.restarts);
            assert_eq!(reference.committed.alerts, other.committed.alerts, "{case}");
            assert_rows(&reference, &other, &case);
            // When reviews and superseded records of managers are dropped depends on the ends of epochs, and when the days of
            // targets are stored; nothing else does.
            let [records, of_other] = [&reference, &other].map(|outcome| {
                let (days, records): (BTreeSet<_>, BTreeSet<_>) =
                    outcome.records().into_iter().partition(|key| key.starts_with("d/"));
                for day in days {
                    let manager = day.rsplit_once('/').map(|(day, _)| day.replacen("d/", "m/", 1));
                    assert!(manager.is_some_and(|manager| records.contains(&manager)), "{case}: {day} of nobody known");
                }
                records.into_iter().filter(|key| !key.starts_with("e/")).collect::<Vec<_>>()
            });
            assert_eq!(records, of_other, "{case}");
            assert_eq!((&reference.tenants, reference.known), (&other.tenants, other.known), "{case}");
            restarts += other.restarts - 1;
        }
    }
    assert!(restarts > 200 && forgotten > 10, "{restarts} restarts, tenants were forgotten {forgotten} times");
}
