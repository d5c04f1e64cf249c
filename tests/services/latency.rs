//! Owns the measurement of the way from an event to its alert, as a subscriber sees it; refuses a way that is too long.

use super::site::{QUICK, Raw, Site, at, client, lead, say};
use funnelwatch::codec::json;
use funnelwatch::edge::kafka::Mode;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::time::{Duration, Instant};

#[test]
fn an_alert_is_visible_soon_after_its_event() {
    let site = Site::new("latency", 1, QUICK);
    let running = site.start(Mode::Live);
    running.await_assignment();
    let subscriber: BaseConsumer =
        client().set("group.id", "none").set("isolation.level", "read_committed").create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&site.topic("alerts"), 0, Offset::Beginning).expect("an offset");
    subscriber.assign(&list).expect("an assignment");
    let (raw, topic, mut value) = (Raw::new(), site.topic("crm"), Vec::new());
    // Each lead comes so late that the one before it has missed its deadline: one event, one alert.
    let mut send = |number: u32| {
        value.clear();
        json::encode_event(&lead("a", &number.to_string(), at(f64::from(number) * 1000.0)), &mut value);
        raw.send(&topic, 0, Some(b"a"), Some(&value), &[]);
    };
    send(0);
    let mut seen = Vec::new();
    for number in 1..=200 {
        // At odd moments of the epoch.
        std::thread::sleep(Duration::from_millis(u64::from(20 + number * 37 % 60)));
        let sent = Instant::now();
        send(number);
        loop {
            assert!(sent.elapsed() < Duration::from_secs(30), "no alert for lead {}", number - 1);
            match subscriber.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.payload().is_some() => break,
                _ => {}
            }
        }
        seen.push(sent.elapsed());
    }
    let mut commits = running.seen.transactions.lock().expect("no panic").clone();
    running.stop();
    say(&format!("event sent to alert visible: {}", figures(&mut seen)));
    say(&format!("transaction: {}", figures(&mut commits)));
    assert!(seen[seen.len() / 2] < Duration::from_millis(500), "{}", figures(&mut seen));
}

fn figures(times: &mut [Duration]) -> String {
    times.sort();
    let quantile =
        |q: f64| times[((times.len() as f64 * q).ceil() as usize).clamp(1, times.len()) - 1].as_secs_f64() * 1e3;
    format!("n {} p50 {:.1} ms p90 {:.1} ms p99 {:.1} ms", times.len(), quantile(0.5), quantile(0.9), quantile(0.99))
}
