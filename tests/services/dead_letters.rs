//! Owns the proof that bad messages become dead letters as they came, and that the good ones around them flow.

use super::site::{QUICK, Raw, Site, floor, lead, until, values};
use funnelwatch::codec::{json, protobuf};
use funnelwatch::domain::partitioner::shard;
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

fn all_bad() -> Vec<Bad> {
    let mut event = Vec::new();
    json::encode_event(&lead("a", "1", super::site::at(0.0)), &mut event);
    let text = String::from_utf8(event.clone()).expect("UTF-8");
    let large = |length: usize| {
        let filler = "x".repeat(length - text.len() - 13);
        text.replacen('{', &format!(r#"{{"filler":"{filler}","#), 1)
    };
    let mut ahead = Vec::new();
    let later = clock::now().saturating_add(Span::HOUR);
    json::encode_event(&lead("tenant-of-tomorrow", "1", later), &mut ahead);
    let mut message = Vec::new();
    protobuf::encode_event(&lead("a", "1", super::site::at(0.0)), &mut message);
    let home = shard("tenant-of-tomorrow", 2) as i32;
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
        // As large as the broker takes, so that our headers do not fit in any more: it is cut.
        bad("oversized", large(1_048_200).as_bytes()),
        bad("no_tenant", text.replace(r#""tenant_id":"a","#, "").as_bytes()),
        bad("no_time", text.replace("occurred_at", "occurred").as_bytes()),
        Bad { topic: "telephony", ..bad("no_payload", &event) },
        Bad { partition: home, ..bad("future", &ahead) },
    ]
}

#[test]
fn bad_messages_become_dead_letters_as_they_came_and_the_rest_flows() {
    let site = Site::new("dead", 2, QUICK);
    let raw = Raw::new();
    let bad = all_bad();
    let events = floor(4, 40);
    let (before, after) = events.split_at(events.len() / 2);
    site.produce(before);
    for Bad { topic, partition, key, value, headers, .. } in &bad {
        raw.send(&site.topic(topic), *partition, key.as_deref(), value.as_deref(), headers);
    }
    raw.flush();
    site.produce(after);
    let (expected, _) = site.replay(&events, None);
    let running = site.start(Mode::Live);
    let letters = site.await_records("dlq", bad.len());
    assert_eq!(letters.len(), bad.len());
    assert_eq!(values(&site.await_records("alerts", expected.len())), expected);
    let mut found = vec![false; bad.len()];
    for letter in &letters {
        let came = |bad: &Bad| {
            let whole = letter.value == bad.value;
            let length = bad.value.as_ref().map_or(0, Vec::len).to_string();
            let cut = letter.header("funnelwatch-truncated") == Some(length.as_str())
                && bad.value.as_ref().zip(letter.value.as_ref()).is_some_and(|(all, part)| all.starts_with(part));
            letter.key == bad.key
                && (whole || cut)
                && letter.header("funnelwatch-topic") == Some(&site.topic(bad.topic))
                && letter.header("funnelwatch-reason") == Some(bad.reason)
                && bad.headers.iter().all(|(name, value)| letter.header(name) == Some(value))
        };
        let number = bad.iter().zip(&found).position(|(bad, found)| !found && came(bad));
        let number =
            number.unwrap_or_else(|| panic!("nothing like this was sent: {:?} {:?}", letter.headers, letter.key));
        found[number] = true;
        assert_eq!(letter.header("funnelwatch-partition"), Some(bad[number].partition.to_string().as_str()));
        assert!(letter.header("funnelwatch-offset").is_some_and(|offset| offset.parse::<i64>().is_ok()));
        assert!(letter.header("funnelwatch-detail").is_some_and(|detail| !detail.is_empty()));
        let time = letter.header("funnelwatch-time").and_then(funnelwatch::domain::time::Timestamp::parse);
        assert!(time.is_some_and(|time| clock::now() - time < Span::HOUR));
    }
    assert_eq!(letters.iter().filter(|letter| letter.header("funnelwatch-truncated").is_some()).count(), 1);
    until("all is applied", || *running.seen.applied.lock().expect("no panic") == events.len() as u64);
    let summary = running.stop();
    assert_eq!(summary.dead_letters, bad.len() as u64);
}
