//! Tests that messages which are gone before they were read are noticed: the run stops, or goes on and counts them.

use super::fixture::{Fixture, QUICK, Running, at, client, lead, report, until};
use funnelwatch::edge::kafka::topics::{self, Wanted};
use funnelwatch::edge::kafka::{LossCause, Mode, RunError};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use std::time::Instant;

fn continuing(fixture: &Fixture) -> Running {
    let mut config = fixture.config.clone();
    config.kafka.lost_log = funnelwatch::config::LostLog::Continue;
    Fixture::start_as(config, Mode::Live)
}

/// Sends this number of leads; `name` distinguishes them from others.
fn produce(fixture: &Fixture, name: &str, leads: u32) {
    let events: Vec<_> =
        (0..leads).map(|number| lead("acme", &format!("{name}-{number}"), at(f64::from(number)))).collect();
    fixture.produce(&events);
}

fn applied(running: &Running) -> u64 {
    *running.seen.applied.lock().expect("no panic")
}

/// Runs until this number of events is applied.
fn process(fixture: &Fixture, expected: u64) {
    let running = fixture.start(Mode::Live);
    until("all is applied", || applied(&running) == expected);
    running.stop();
}

fn admin<T>(act: impl AsyncFnOnce(AdminClient<DefaultClientContext>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(act(client().create().expect("an admin client")))
}

/// Deletes the messages of a topic before an offset, as retention does.
fn expire(topic: &str, before: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(before)).expect("an offset");
    let deleted = admin(async |admin| admin.delete_records(&list, &AdminOptions::new()).await).expect("a response");
    deleted.elements().iter().for_each(|element| element.error().expect("messages are deleted"));
}

/// Deletes a topic, and creates it again.
fn create_again(fixture: &Fixture, topic: &str) {
    admin(async |admin| admin.delete_topics(&[topic], &AdminOptions::new()).await).expect("a response");
    let wanted = Wanted { create: true, partitions: Some(1), replication: 1 };
    until("the topic exists again", || topics::verify(&fixture.config, &wanted).is_ok_and(|report| report.is_ok()));
}

fn lost(running: &Running) -> u64 {
    running.seen.lost.lock().expect("no panic").iter().map(|lost| lost.offsets).sum()
}

#[test]
fn messages_that_expired_before_they_were_read_stop_the_run_or_are_counted() {
    let fixture = Fixture::new("expired", 1, QUICK);
    produce(&fixture, "a", 20);
    process(&fixture, 20);
    produce(&fixture, "b", 50);
    expire(&fixture.topic("crm"), 60);
    let error = fixture.start(Mode::Live).join().expect_err("the run stops");
    let text = error.to_string();
    let RunError::LostLog(lost_offsets) = error else { panic!("{text}") };
    assert_eq!((lost_offsets.offsets, lost_offsets.cause), (40, LossCause::Expired));
    assert!(text.contains(&format!("{} partition 0: 40 offsets", fixture.topic("crm"))), "{text}");
    let running = continuing(&fixture);
    until("what is left is applied", || applied(&running) == 10);
    assert_eq!(lost(&running), 40);
    fixture.await_no_lag();
    running.stop();
    let again = continuing(&fixture);
    again.await_assignment();
    fixture.await_no_lag();
    assert_eq!(lost(&again), 0, "a loss is counted once");
    again.stop();
}

#[test]
fn a_topic_that_was_created_again_is_read_from_its_start() {
    let fixture = Fixture::new("recreated", 1, QUICK);
    produce(&fixture, "a", 20);
    process(&fixture, 20);
    create_again(&fixture, &fixture.topic("crm"));
    produce(&fixture, "b", 40);
    let error = fixture.start(Mode::Live).join().expect_err("the run stops");
    assert!(error.to_string().contains("created again"), "{error}");
    let running = continuing(&fixture);
    until("all new events are applied", || applied(&running) == 40);
    assert!(lost(&running) > 0);
    fixture.await_no_lag();
    running.stop();
    // The state is complete, and is continued without another loss.
    produce(&fixture, "c", 5);
    process(&fixture, 5);
    // The same with a log that is shorter than before.
    create_again(&fixture, &fixture.topic("crm"));
    produce(&fixture, "d", 3);
    let running = continuing(&fixture);
    until("all new events are applied", || applied(&running) == 3);
    fixture.await_no_lag();
    running.stop();
    process(&fixture, 0);
}

#[test]
fn a_topic_that_is_created_again_while_it_is_read_ends_the_run() {
    let fixture = Fixture::new("recreated-live", 1, QUICK);
    produce(&fixture, "a", 20);
    let running = fixture.start(Mode::Live);
    until("all is applied", || applied(&running) == 20);
    create_again(&fixture, &fixture.topic("crm"));
    let started = Instant::now();
    until("the run ends", || running.is_finished());
    report(&format!("a topic that was created again ended the run after {} s", started.elapsed().as_secs()));
    let error = running.join().expect_err("it ends with an error");
    assert!(error.to_string().contains("created again"), "{error}");
}
