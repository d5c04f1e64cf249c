//! Tests that events become alerts exactly once, also across a clean stop.

use super::fixture::{Fixture, QUICK, at, call, latest, lead, sample_events, tick, until, values};
use funnelwatch::codec::proto;
use funnelwatch::domain::source::Topic;
use funnelwatch::edge::kafka::Mode;
use prost::Message;

#[test]
fn alerts_are_published_exactly_once() {
    let fixture = Fixture::new("path", 4, QUICK);
    let events = sample_events(7, 120);
    fixture.produce(&events);
    let (expected, _) = fixture.replay(&events, None);
    assert!(expected.len() > 100, "{}", expected.len());
    let running = fixture.start(Mode::Live);
    let alerts = fixture.await_records("alerts", expected.len());
    assert_eq!(values(&alerts), expected);
    let record = &alerts[0];
    let key = str::from_utf8(record.key.as_deref().expect("a key")).expect("UTF-8");
    assert!(record.text().contains(&format!(r#""alert_id":"{key}""#)));
    assert_eq!(record.header("rule"), Some("first_response_late"));
    assert_eq!(record.header("content-type"), Some("application/json"));
    assert_eq!(record.header("severity"), Some("warning"));
    assert!(record.header("tenant").is_some_and(|tenant| tenant.starts_with("tenant-")));
    assert!(record.header("status").is_some_and(|status| ["FIRING", "RESOLVED"].contains(&status)));
    // The statuses of one alert are in one partition, in order.
    let mut statuses = std::collections::BTreeMap::<_, Vec<_>>::new();
    for alert in &alerts {
        statuses
            .entry(alert.key.clone())
            .or_default()
            .push((alert.partition, alert.header("status").expect("a status")));
    }
    for history in statuses.values() {
        assert_eq!(history[0].1, "FIRING");
        assert!(history.iter().all(|(partition, _)| *partition == history[0].0));
    }
    fixture.await_no_lag();
    let summary = running.stop();
    assert_eq!(summary.alerts, expected.len() as u64);
    assert_eq!((summary.aborted, summary.dead_letters, summary.rerouted), (0, 0, 0));
}

#[test]
fn a_stop_commits_what_was_read_and_the_next_run_resumes_there() {
    let fixture = Fixture::new("stop", 3, QUICK);
    let raw = super::fixture::Raw::new();
    let topic = fixture.topic("crm");
    // Dead letters need no state: each message must be output once, by either run.
    let sent: Vec<String> = (0..3000).map(|index| format!("no event {index:05}")).collect();
    let running = fixture.start(Mode::Live);
    running.await_assignment();
    for (index, text) in sent.iter().enumerate() {
        raw.send(&topic, index as i32 % 3, None, Some(text.as_bytes()), &[]);
        if index == 1000 {
            until("a transaction is committed", || !running.seen.transactions.lock().expect("no panic").is_empty());
            running.stop.stop();
        }
    }
    raw.flush();
    let first = running.join().expect("the run succeeds");
    assert!(first.dead_letters > 0);
    let members = || {
        let consumer: rdkafka::consumer::BaseConsumer = super::fixture::client().create().expect("a client");
        let groups = rdkafka::consumer::Consumer::fetch_group_list(
            &consumer,
            Some(&fixture.config.kafka.group),
            super::fixture::PATIENCE,
        );
        groups.expect("groups").groups().first().map_or(0, |group| group.members().len())
    };
    assert_eq!(members(), 0, "the process has left the group");
    let second = fixture.start(Mode::Live);
    let letters = fixture.await_records("dlq", sent.len());
    assert_eq!(values(&letters), sent);
    fixture.await_no_lag();
    let second = second.stop();
    assert_eq!(first.dead_letters + second.dead_letters, sent.len() as u64);
}

#[test]
fn held_events_are_not_committed() {
    let extra = QUICK.replace("allowed_lateness: 0s", "allowed_lateness: 1h");
    let fixture = Fixture::new("held", 1, &extra);
    fixture.produce(&[lead("a", "1", at(0.0)), lead("a", "2", at(10.0)), tick("a", "3", at(3605.0))]);
    let running = fixture.start(Mode::Live);
    until("the first event is applied", || *running.seen.applied.lock().expect("no panic") == 1);
    let crm = || fixture.offsets().into_iter().find(|(topic, ..)| topic.ends_with(".crm")).expect("the topic");
    until("its offset is committed", || crm().2 == Some(1));
    fixture.produce(&[tick("a", "4", at(9000.0))]);
    until("all offsets except the last are committed", || crm().2 == Some(3));
    assert_eq!(crm().3, 4);
    running.stop();
    assert_eq!(crm().2, Some(3), "a stop does not commit held events");
}

#[test]
fn alerts_and_events_can_be_protobuf() {
    let mut fixture = Fixture::new("protobuf", 2, QUICK);
    fixture.config.topics.output = funnelwatch::codec::Encoding::Protobuf;
    fixture.config.topics.sources[Topic::Crm].encoding = funnelwatch::codec::Encoding::ConfluentProtobuf;
    let events = sample_events(3, 30);
    fixture.produce(&events);
    let expected = fixture.replay(&events, None).0.len();
    let running = fixture.start(Mode::Live);
    let alerts = fixture.await_records("alerts", expected);
    running.stop();
    assert_eq!(alerts.len(), expected);
    for record in &alerts {
        assert_eq!(record.header("content-type"), Some("application/x-protobuf"));
        let alert = proto::Alert::decode(record.value.as_deref().expect("a value")).expect("an alert");
        assert_eq!(alert.alert_id.as_bytes(), record.key.as_deref().expect("a key"));
        assert!(!alert.message.is_empty());
    }
}

#[test]
fn a_run_once_ends_by_itself_and_equals_a_replay() {
    let fixture = Fixture::new("once", 4, QUICK);
    let events = sample_events(5, 60);
    fixture.produce(&events);
    let (alerts, rows) = fixture.replay(&events, None);
    let summary = fixture.start(Mode::Once).join().expect("the run succeeds");
    assert_eq!(values(&fixture.read("alerts")), alerts);
    assert_eq!(latest(&fixture.read("metrics")), rows);
    assert_eq!(summary.alerts, alerts.len() as u64);
    fixture.await_no_lag();
}

#[test]
fn a_run_once_without_input_ends_at_once() {
    let fixture = Fixture::new("nothing", 2, QUICK);
    let summary = fixture.start(Mode::Once).join().expect("the run succeeds");
    assert_eq!((summary.alerts, summary.rows, summary.transactions), (0, 0, 0));
    // The second run has no new input.
    fixture.produce(&[lead("a", "1", at(0.0)), call("a", "1", at(5.0))]);
    for _ in 0..2 {
        fixture.start(Mode::Once).join().expect("the run succeeds");
    }
    fixture.await_no_lag();
}
