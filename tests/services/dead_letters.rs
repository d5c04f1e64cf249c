//! Tests that rejected messages become dead letters unchanged, and that the messages around them are processed.

use super::fixture::{Fixture, QUICK, Raw, lead, sample_events, until, values};
use funnelwatch::codec::{json, protobuf};
use funnelwatch::domain::shard::partitioner::shard;
use funnelwatch::domain::time::Span;
use funnelwatch::edge::clock;
use funnelwatch::edge::kafka::Mode;

struct Bad {
    reason: &'static str,
    topic: &'static str,
    partition: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(&'static str, &'static str)>,
}

fn bad(reason: &'static str, value: &[u8]) -> Bad {
    let (key, value) = (Some(b"some key".to_vec()), Some(value.to_vec()));
    Bad { reason, topic: "crm", partition: 1, key, value, headers: vec![("trace", "abc"), ("source", "")] }
}

fn bad_messages() -> Vec<Bad> {
    let mut event = Vec::new();
    json::encode_event(&lead("a", "1", super::fixture::at(0.0)), &mut event);
    let text = String::from_utf8(event.clone()).expect("UTF-8");
    let large = |length: usize| {
        let filler = "x".repeat(length - text.len() - 13);
        text.replacen('{', &format!(r#"{{"filler":"{filler}","#), 1)
    };
    let mut ahead = Vec::new();
    let later = clock::now().saturating_add(Span::HOUR);
    json::encode_event(&lead("tenant-of-tomorrow", "1", later), &mut ahead);
    let mut message = Vec::new();
    protobuf::encode_event(&lead("a", "1", super::fixture::at(0.0)), &mut message);
    let home = shard("tenant-of-tomorrow", 2).partition();
    vec![
        bad("malformed", b"no json"),
        bad("malformed", &event[..event.len() / 2]),
        bad("malformed", &[0xff, 0xfe, 0, 1]),
        bad("malformed", b""),
        Bad { value: None, ..bad("malformed", b"") },
        Bad { key: None, headers: vec![], topic: "email", ..bad("malformed", b"{") },
        Bad {
            headers: vec![("content-type", "application/x-protobuf")],
            ..bad("malformed", &message[..message.len() - 3])
        },
        Bad { headers: vec![("content-type", "image/png")], ..bad("unknown_encoding", &event) },
        bad("oversized", large(300 << 10).as_bytes()),
        // The largest message that the broker accepts. With our headers it would be too large, so it is truncated.
        bad("oversized", large(1_048_200).as_bytes()),
        bad("no_tenant", text.replace(r#""tenant_id":"a","#, "").as_bytes()),
        bad("no_time", text.replace("occurred_at", "occurred").as_bytes()),
        Bad { topic: "telephony", ..bad("no_payload", &event) },
        Bad { partition: home, ..bad("future", &ahead) },
    ]
}

#[test]
fn rejected_messages_become_dead_letters_unchanged_and_the_rest_is_processed() {
    let fixture = Fixture::new("dead", 2, QUICK);
    let raw = Raw::new();
    let bad = bad_messages();
    let events = sample_events(4, 40);
    let (before, after) = events.split_at(events.len() / 2);
    fixture.produce(before);
    for Bad { topic, partition, key, value, headers, .. } in &bad {
        raw.send(&fixture.topic(topic), *partition, key.as_deref(), value.as_deref(), headers);
    }
    raw.flush();
    fixture.produce(after);
    let (expected, _) = fixture.replay(&events, None);
    let running = fixture.start(Mode::Live);
    let letters = fixture.await_records("dlq", bad.len());
    assert_eq!(letters.len(), bad.len());
    assert_eq!(values(&fixture.await_records("alerts", expected.len())), expected);
    let mut found = vec![false; bad.len()];
    for letter in &letters {
        let matches = |bad: &Bad| {
            let complete = letter.value == bad.value;
            let length = bad.value.as_ref().map_or(0, Vec::len).to_string();
            let truncated = letter.header("funnelwatch-truncated") == Some(length.as_str())
                && bad.value.as_ref().zip(letter.value.as_ref()).is_some_and(|(all, part)| all.starts_with(part));
            letter.key == bad.key
                && (complete || truncated)
                && letter.header("funnelwatch-topic") == Some(&fixture.topic(bad.topic))
                && letter.header("funnelwatch-reason") == Some(bad.reason)
                && bad.headers.iter().all(|(name, value)| letter.header(name) == Some(value))
        };
        let index = bad.iter().zip(&found).position(|(bad, found)| !found && matches(bad));
        let index = index.unwrap_or_else(|| panic!("no message matches: {:?} {:?}", letter.headers, letter.key));
        found[index] = true;
        assert_eq!(letter.header("funnelwatch-partition"), Some(bad[index].partition.to_string().as_str()));
        assert!(letter.header("funnelwatch-offset").is_some_and(|offset| offset.parse::<i64>().is_ok()));
        assert!(letter.header("funnelwatch-detail").is_some_and(|detail| !detail.is_empty()));
        let time = letter.header("funnelwatch-time").and_then(funnelwatch::domain::time::Timestamp::parse);
        assert!(time.is_some_and(|time| clock::now() - time < Span::HOUR));
    }
    assert_eq!(letters.iter().filter(|letter| letter.header("funnelwatch-truncated").is_some()).count(), 1);
    until("all events are applied", || *running.seen.applied.lock().expect("no panic") == events.len() as u64);
    let summary = running.stop();
    assert_eq!(summary.dead_letters, bad.len() as u64);
}
