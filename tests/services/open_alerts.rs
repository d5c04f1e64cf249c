//! Tests that the topic of open alerts says the same as the alerts, also after restarts, moves of shards and repairs.

use super::child::Child;
use super::fixture::{Fixture, QUICK, Raw, Record, sample_events};
use funnelwatch::domain::shard::partitioner::shard;
use funnelwatch::edge::kafka::Mode;
use serde_json::Value;
use std::collections::BTreeMap;

/// Keys and values of open alerts.
type Open = BTreeMap<Vec<u8>, Vec<u8>>;

/// The open alerts of a subscriber that folds the topic of alerts.
fn folded(fixture: &Fixture) -> Open {
    let mut open = Open::new();
    for Record { key, value, .. } in fixture.read("alerts") {
        let (key, value) = (key.expect("a key"), value.expect("a value"));
        let alert: Value = serde_json::from_slice(&value).expect("JSON");
        match alert["status"].as_str() {
            Some("DUE_SOON" | "FIRING" | "ESCALATED") => drop(open.insert(key, value)),
            _ => drop(open.remove(&key)),
        }
    }
    open
}

/// The open alerts of a subscriber that reads the topic of open alerts; each is in the partition of its tenant.
fn published(fixture: &Fixture) -> Open {
    let mut open = Open::new();
    for Record { partition, key, value, .. } in fixture.read("alerts.open") {
        let key = key.expect("a key");
        let Some(value) = value else {
            open.remove(&key);
            continue;
        };
        let alert: Value = serde_json::from_slice(&value).expect("JSON");
        let tenant = alert["tenant_id"].as_str().expect("a tenant");
        assert_eq!(partition, shard(tenant, fixture.partitions).partition());
        open.insert(key, value);
    }
    open
}

#[test]
fn both_topics_say_the_same_after_kills_and_moved_shards() {
    let norms = QUICK.replace("within: 15m", "within: 15m, warn_before: 5m, escalate_after: [5m]");
    let fixture = Fixture::new("open", 3, &norms);
    let events = sample_events(5, 90);
    let parts: Vec<_> = events.chunks(events.len().div_ceil(3)).collect();
    let mut open = 0;
    for (part, events) in parts.into_iter().enumerate() {
        let processes = ["0", "1"].map(|id| Child::start_with(&fixture, id, &norms));
        fixture.produce(events);
        if part == 1 {
            // A kill at any point; the other process takes over.
            processes[0].signal("-KILL");
        }
        fixture.await_no_lag();
        processes.iter().skip(usize::from(part == 1)).for_each(|process| process.signal("-TERM"));
        drop(processes);
        let (folded, published) = (folded(&fixture), published(&fixture));
        assert!(folded == published, "{} alerts are open, {} published", folded.len(), published.len());
        open = folded.len();
    }
    assert!(open > 50, "{open}");
}

#[test]
fn a_restore_removes_and_adds_what_differs_from_the_state() {
    let fixture = Fixture::new("open-repair", 2, QUICK);
    fixture.produce(&sample_events(2, 30));
    fixture.start(Mode::Once).join().expect("the run succeeds");
    let intact = published(&fixture);
    assert!(intact.len() > 5 && intact == folded(&fixture));
    let (lost, value) = intact.first_key_value().expect("an open alert");
    let alert: Value = serde_json::from_slice(value).expect("JSON");
    let partition = shard(alert["tenant_id"].as_str().expect("a tenant"), 2).partition();
    let (raw, topic) = (Raw::new(), fixture.topic("alerts.open"));
    raw.send(&topic, partition, Some(lost), None, &[]);
    raw.send(&topic, partition, Some(b"gone"), Some(value), &[]);
    raw.flush();
    assert!(published(&fixture) != intact);
    let restarted = fixture.start(Mode::Once).join().expect("the run succeeds");
    assert!(published(&fixture) == intact);
    assert_eq!(restarted.alerts, 0);
    // Nothing is left to repair.
    let records = fixture.read("alerts.open").len();
    fixture.start(Mode::Once).join().expect("the run succeeds");
    assert_eq!(fixture.read("alerts.open").len(), records);
}
