//! Tests that batches that cannot be read neither stop their partition nor vanish: they are stepped over, each with one
//! dead letter; and that a created source topic takes no batch that unpacks to more than its limit.

use super::fixture::{Fixture, PATIENCE, QUICK, Raw, client, report, sample_events, until, values, variable};
use funnelwatch::edge::kafka::Mode;
use funnelwatch::edge::kafka::topics::{self, Wanted};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Instant;

/// More than the consumer accepts; a few KB when it is packed.
const BOMB: usize = 90 << 20;
/// In a message that is damaged.
const MARKER: &[u8] = b"this message is going to be damaged";

/// A topic as an operator may have created it: batches stay as their producers have packed them.
fn create_plain(topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = client().create().expect("an admin client");
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let created = runtime.block_on(admin.create_topics(&[topic], &AdminOptions::new())).expect("a response");
    created.into_iter().for_each(|result| drop(result.expect("the topic is created")));
}

/// Sends three small messages and a large one as one compressed batch.
fn send_bomb(topic: &str, partition: i32) {
    let producer: BaseProducer = client()
        .set("message.max.bytes", "200000000")
        .set("batch.size", "200000000")
        .set("compression.type", "zstd")
        // Only `flush` sends: the copy of the large message may take longer than a short linger.
        .set("linger.ms", "60000")
        .create()
        .expect("a producer");
    let large = vec![0; BOMB];
    for value in [&b"a"[..], b"b", b"c", &large] {
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition).payload(value);
        producer.send(record).map_err(|(error, _)| error).expect("a message is queued");
    }
    producer.flush(PATIENCE).expect("the batch is delivered or refused");
}

/// Changes one byte of the message with the marker in the log of the broker.
fn damage(topic: &str, partition: i32) {
    let log = PathBuf::from(variable("FUNNELWATCH_SERVICES_DIR"))
        .join(format!("kafka/data/{topic}-{partition}/00000000000000000000.log"));
    let mut file = std::fs::File::options().read(true).write(true).open(&log).expect("the log of the partition");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("the log is readable");
    let at = bytes.windows(MARKER.len()).position(|bytes| bytes == MARKER).expect("the message");
    file.seek(SeekFrom::Start(at as u64)).expect("a position");
    file.write_all(b"T").expect("a byte is written");
}

#[test]
fn batches_that_cannot_be_read_are_stepped_over_and_named() {
    let fixture = Fixture::bare("unreadable", 2, QUICK);
    create_plain(&fixture.topic("crm"), 2);
    let wanted = Wanted { create: true, partitions: Some(2), replication: 1 };
    topics::verify(&fixture.config, &wanted).expect("topics are created");
    let events = sample_events(4, 40);
    let (before, after) = events.split_at(events.len() / 2);
    let raw = Raw::new();
    fixture.produce(before);
    for partition in [0, 1] {
        send_bomb(&fixture.topic("crm"), partition);
    }
    raw.send(&fixture.topic("telephony"), 1, None, Some(MARKER), &[]);
    raw.flush();
    damage(&fixture.topic("telephony"), 1);
    fixture.produce(after);
    let (expected, _) = fixture.replay(&events, None);

    let started = Instant::now();
    let running = fixture.start(Mode::Live);
    let letters = fixture.await_records("dlq", 3);
    report(&format!("three batches stepped over after {} ms", started.elapsed().as_millis()));
    assert_eq!(values(&fixture.await_records("alerts", expected.len())), expected);
    until("all events are applied", || *running.seen.applied.lock().expect("no panic") == events.len() as u64);
    fixture.await_no_lag();
    running.stop();
    let named = |name: &str, partition: &str| {
        let topic = fixture.topic(name);
        let letter = letters.iter().find(|letter| {
            letter.header("funnelwatch-topic") == Some(&topic)
                && letter.header("funnelwatch-partition") == Some(partition)
        });
        let letter = letter.unwrap_or_else(|| panic!("no dead letter names {topic}/{partition}"));
        assert_eq!((letter.header("funnelwatch-reason"), &letter.value), (Some("unreadable"), &None));
        let offset = |name: &str| letter.header(name).and_then(|text| text.parse::<i64>().ok()).expect("an offset");
        let detail = letter.header("funnelwatch-detail").expect("a detail").to_owned();
        (offset("funnelwatch-last-offset") - offset("funnelwatch-offset") + 1, detail)
    };
    assert_eq!(letters.len(), 3);
    for partition in ["0", "1"] {
        let (messages, detail) = named("crm", partition);
        assert!(messages == 4 && detail.contains("compress"), "{messages} {detail}");
    }
    let (messages, detail) = named("telephony", "1");
    assert!(messages == 1 && detail.contains("CRC32C"), "{messages} {detail}");

    // A successor reads held events again, and steps over the batches without another dead letter.
    let again = fixture.start(Mode::Live);
    again.await_assignment();
    fixture.await_no_lag();
    again.stop();
    assert_eq!(fixture.read("dlq").len(), 3);
}

#[test]
fn a_created_source_topic_refuses_what_unpacks_to_more_than_its_limit() {
    let fixture = Fixture::new("bombs", 1, QUICK);
    for topic in ["crm", "telephony", "email"] {
        send_bomb(&fixture.topic(topic), 0);
    }
    let ends: Vec<i64> = fixture.offsets().into_iter().map(|(.., end)| end).collect();
    assert_eq!(ends, [0; 4], "nothing was written");
}
