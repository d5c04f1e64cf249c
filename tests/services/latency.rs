//! Measures the latency from an event to its alert as a subscriber sees it, and fails if it is too high.

use super::fixture::{Fixture, QUICK, Raw, at, client, lead, report};
use funnelwatch::codec::json;
use funnelwatch::edge::kafka::Mode;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::time::{Duration, Instant};

#[test]
fn an_alert_is_visible_soon_after_its_event() {
    let fixture = Fixture::new("latency", 1, QUICK);
    let running = fixture.start(Mode::Live);
    running.await_assignment();
    let subscriber: BaseConsumer =
        client().set("group.id", "none").set("isolation.level", "read_committed").create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&fixture.topic("alerts"), 0, Offset::Beginning).expect("an offset");
    subscriber.assign(&list).expect("an assignment");
    let (raw, topic, mut value) = (Raw::new(), fixture.topic("crm"), Vec::new());
    // Each lead arrives after the deadline of the previous one: one event, one alert.
    let mut send = |index: u32| {
        value.clear();
        json::encode_event(&lead("a", &index.to_string(), at(f64::from(index) * 1000.0)), &mut value);
        raw.send(&topic, 0, Some(b"a"), Some(&value), &[]);
    };
    send(0);
    let mut latencies = Vec::new();
    for index in 1..=200 {
        // At varying moments of the epoch.
        std::thread::sleep(Duration::from_millis(u64::from(20 + index * 37 % 60)));
        let sent = Instant::now();
        send(index);
        loop {
            assert!(sent.elapsed() < Duration::from_secs(30), "no alert for lead {}", index - 1);
            match subscriber.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.payload().is_some() => break,
                _ => {}
            }
        }
        latencies.push(sent.elapsed());
    }
    let mut commits = running.seen.transactions.lock().expect("no panic").clone();
    running.stop();
    report(&format!("event sent to alert visible: {}", summary(&mut latencies)));
    report(&format!("transaction: {}", summary(&mut commits)));
    assert!(latencies[latencies.len() / 2] < Duration::from_millis(500), "{}", summary(&mut latencies));
}

fn summary(times: &mut [Duration]) -> String {
    times.sort();
    let quantile =
        |q: f64| times[((times.len() as f64 * q).ceil() as usize).clamp(1, times.len()) - 1].as_secs_f64() * 1e3;
    format!("n {} p50 {:.1} ms p90 {:.1} ms p99 {:.1} ms", times.len(), quantile(0.5), quantile(0.9), quantile(0.99))
}
