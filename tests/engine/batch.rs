//! Compares the replay with the oracle: on generated streams full of edge cases all alerts and figures must be equal,
//! in order, shuffled within the allowed lateness, and with any number of workers.

use crate::common::Replay;
use crate::oracle;
use serde_json::Value;

fn compare(seed: u64, events: usize, replay: Replay) {
    let (events, norms) = oracle::stream::stream(seed, events);
    let expected = oracle::judge(&events, &norms, replay.until);
    let output = replay.run(&events, &norms.to_string());
    let differences = oracle::differences(&expected, &output.alerts, &output.rows);
    assert!(
        differences.is_empty(),
        "seed {seed}, {replay:?}: {} differences, first:\n{}",
        differences.len(),
        differences[..differences.len().min(12)].join("\n")
    );
}

#[test]
fn streams_in_order_give_the_output_of_the_oracle() {
    for seed in 0..60 {
        compare(seed, 600, Replay::PLAIN);
    }
}

#[test]
fn the_number_of_workers_does_not_matter() {
    for seed in 100..112 {
        compare(seed, 1500, Replay { workers: 2, ..Replay::PLAIN });
        compare(seed, 1500, Replay { workers: 4, ..Replay::PLAIN });
    }
}

#[test]
fn disorder_within_the_lateness_does_not_matter() {
    for seed in 200..240 {
        compare(seed, 600, Replay { shuffle: Some(seed), workers: 1 + seed as usize % 2, ..Replay::PLAIN });
    }
}

#[test]
fn a_replay_can_end_anywhere() {
    for seed in 300..320 {
        let (events, _) = oracle::stream::stream(seed, 400);
        let middle = &events[150 + seed as usize % 100];
        let at = middle.get("occurred_at").or(middle.get("occurredAt")).and_then(Value::as_str).expect("dated");
        let until = oracle::calendar::instant(at);
        compare(seed, 400, Replay { until, ..Replay::PLAIN });
    }
}
