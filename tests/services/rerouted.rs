//! Tests that misrouted events are rerouted and produce the same output as events in the right partition.

use super::fixture::{Fixture, PATIENCE, Raw, call, lead, values};
use funnelwatch::codec::json;
use funnelwatch::domain::event::Event;
use funnelwatch::domain::shard::partitioner::shard;
use funnelwatch::domain::source::{ShardId, Topic};
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::edge::clock;
use funnelwatch::edge::kafka::Mode;
use std::time::{Duration, Instant};

/// Event time is the wall clock here: rerouting through Kafka must take less than the allowed lateness.
const LIVE: &str = "norms: {first_response_late: {within: 4s}}
windows: [{size: 1h, slide: 1m}]
time: {allowed_lateness: 5s, idle_after: 500ms}
engine: {workers: 2}
";

#[test]
fn misrouted_events_produce_the_same_output() {
    let fixture = Fixture::new("misrouted", 3, LIVE);
    let raw = Raw::new();
    let running = fixture.start(Mode::Live);
    running.await_assignment();
    let began = Instant::now();
    let start = clock::now();
    let mut events: Vec<Event> = Vec::new();
    let mut value = Vec::new();
    for index in 0..120 {
        std::thread::sleep(Duration::from_millis(25));
        let tenant = format!("tenant-{}", index % 5);
        let due = start.saturating_add(Span(began.elapsed().as_millis() as i64));
        let event = match index % 4 {
            3 => call(&tenant, &format!("{}", index - 1), due),
            2 => lead(&tenant, &format!("{index}"), due),
            _ => lead(&tenant, &format!("{index}"), due),
        };
        value.clear();
        json::encode_event(&event, &mut value);
        let ShardId(home) = shard(&tenant, 3);
        // One in three is in the right partition.
        let partition = (home + index % 3) % 3;
        let topic = if event.payload.topic() == Topic::Crm { "crm" } else { "telephony" };
        raw.send(&fixture.topic(topic), partition as i32, Some(b"by lead"), Some(&value), &[("trace", "1")]);
        events.push(event);
    }
    raw.flush();
    // Until every deadline has passed and the watermark after it.
    let last = events.last().map_or(Timestamp::MIN, |event| event.at);
    let end = last.saturating_add(Span(4_000));
    super::fixture::until("every deadline has passed", || {
        let watermarks = running.seen.watermarks.lock().expect("no panic");
        let homes = (0..5).map(|n| shard(&format!("tenant-{n}"), 3));
        homes.into_iter().all(|home| watermarks.get(&home).is_some_and(|watermark| *watermark > end))
    });
    let summary = running.stop();
    assert_eq!(summary.rerouted, 80);
    let (expected, _) = fixture.replay(&events, Some(end));
    assert!(expected.len() > 60, "{}", expected.len());
    assert_eq!(values(&fixture.read("alerts")), expected);
    let rerouted = fixture.read("rerouted");
    assert_eq!(rerouted.len(), 80);
    for record in rerouted {
        let event = json::decode(record.value.as_deref().expect("a value")).expect("the message is unchanged");
        assert_eq!(record.partition, shard(event.tenant.as_str(), 3).partition());
        assert_eq!(record.key.as_deref(), Some(&b"by lead"[..]));
        assert_eq!(record.header("trace"), Some("1"));
        assert_eq!(record.header("content-type"), Some("application/json"));
        assert_eq!(record.header("funnelwatch-topic"), Some(event.payload.topic().name()));
    }
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn a_run_once_also_reads_the_events_it_reroutes() {
    let quick = super::fixture::QUICK.replace("allowed_lateness: 0s", "allowed_lateness: 1h");
    let fixture = Fixture::new("once-misrouted", 3, &quick);
    let raw = Raw::new();
    let events: Vec<_> = (0..30).map(|n| lead("a", &format!("{n}"), super::fixture::at(f64::from(n)))).collect();
    let ShardId(home) = shard("a", 3);
    for event in &events {
        let mut value = Vec::new();
        json::encode_event(event, &mut value);
        raw.send(&fixture.topic("crm"), ((home + 1) % 3) as i32, None, Some(&value), &[]);
    }
    raw.flush();
    fixture.produce(&[super::fixture::tick("a", "end", super::fixture::at(2000.0))]);
    let running = fixture.start(Mode::Once);
    let seen = std::sync::Arc::clone(&running.seen);
    let summary = running.join().expect("the run succeeds");
    assert_eq!(summary.rerouted, 30);
    assert_eq!(*seen.applied.lock().expect("no panic"), 31);
    assert_eq!(fixture.read("alerts").len(), 30);
    fixture.await_no_lag();
}
