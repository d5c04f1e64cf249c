//! Owns the proof that events come out as alerts exactly once, also around an orderly stop.

use super::site::{QUICK, Site, at, call, floor, latest, lead, tick, until, values};
use funnelwatch::codec::proto;
use funnelwatch::edge::kafka::Mode;
use prost::Message;

#[test]
fn events_come_out_as_alerts_exactly_once() {
    let site = Site::new("path", 4, QUICK);
    let events = floor(7, 120);
    site.produce(&events);
    let (expected, _) = site.replay(&events, None);
    assert!(expected.len() > 100, "{}", expected.len());
    let running = site.start(Mode::Live);
    let alerts = site.await_records("alerts", expected.len());
    assert_eq!(values(&alerts), expected);
    let record = &alerts[0];
    let key = str::from_utf8(record.key.as_deref().expect("a key")).expect("UTF-8");
    assert!(record.text().contains(&format!(r#""alert_id":"{key}""#)));
    assert_eq!(record.header("rule"), Some("first_response_late"));
    assert_eq!(record.header("content-type"), Some("application/json"));
    assert_eq!(record.header("severity"), Some("warning"));
    assert!(record.header("tenant").is_some_and(|tenant| tenant.starts_with("tenant-")));
    assert!(record.header("status").is_some_and(|status| ["FIRING", "RESOLVED"].contains(&status)));
    // Statuses of one alert lie in one partition, in order.
    let mut statuses = std::collections::BTreeMap::<_, Vec<_>>::new();
    for alert in &alerts {
        statuses
            .entry(alert.key.clone())
            .or_default()
            .push((alert.partition, alert.header("status").expect("a status")));
    }
    for life in statuses.values() {
        assert_eq!(life[0].1, "FIRING");
        assert!(life.iter().all(|(partition, _)| *partition == life[0].0));
    }
    site.await_no_lag();
    let summary = running.stop();
    assert_eq!(summary.alerts, expected.len() as u64);
    assert_eq!((summary.aborted, summary.dead_letters, summary.rerouted), (0, 0, 0));
}

#[test]
fn a_stop_commits_what_was_read_and_the_next_run_goes_on_there() {
    let site = Site::new("stop", 3, QUICK);
    let raw = super::site::Raw::new();
    let topic = site.topic("crm");
    // Messages that become dead letters need no state: each must come out once, whoever reads it.
    let sent: Vec<String> = (0..3000).map(|number| format!("no event {number:05}")).collect();
    let running = site.start(Mode::Live);
    running.await_assignment();
    for (number, text) in sent.iter().enumerate() {
        raw.send(&topic, number as i32 % 3, None, Some(text.as_bytes()), &[]);
        if number == 1000 {
            until("something is committed", || !running.seen.transactions.lock().expect("no panic").is_empty());
            running.stop.stop();
        }
    }
    raw.flush();
    let first = running.join().expect("the run ends well");
    assert!(first.dead_letters > 0);
    let members = || {
        let consumer: rdkafka::consumer::BaseConsumer = super::site::client().create().expect("a client");
        let groups = rdkafka::consumer::Consumer::fetch_group_list(
            &consumer,
            Some(&site.config.kafka.group),
            super::site::PATIENCE,
        );
        groups.expect("groups").groups().first().map_or(0, |group| group.members().len())
    };
    assert_eq!(members(), 0, "the group was left");
    let second = site.start(Mode::Live);
    let letters = site.await_records("dlq", sent.len());
    assert_eq!(values(&letters), sent);
    site.await_no_lag();
    let second = second.stop();
    assert_eq!(first.dead_letters + second.dead_letters, sent.len() as u64);
}

#[test]
fn events_that_wait_for_the_watermark_are_not_committed() {
    let extra = QUICK.replace("allowed_lateness: 0s", "allowed_lateness: 1h");
    let site = Site::new("held", 1, &extra);
    site.produce(&[lead("a", "1", at(0.0)), lead("a", "2", at(10.0)), tick("a", "3", at(3605.0))]);
    let running = site.start(Mode::Live);
    until("the first event is applied", || *running.seen.applied.lock().expect("no panic") == 1);
    let crm = || site.offsets().into_iter().find(|(topic, ..)| topic.ends_with(".crm")).expect("the topic");
    until("its offset is committed", || crm().2 == Some(1));
    site.produce(&[tick("a", "4", at(9000.0))]);
    until("but for the last, all are", || crm().2 == Some(3));
    assert_eq!(crm().3, 4);
    running.stop();
    assert_eq!(crm().2, Some(3), "a stop does not change that");
}

#[test]
fn alerts_and_events_can_be_protobuf() {
    let mut site = Site::new("protobuf", 2, QUICK);
    site.config.topics.output = funnelwatch::codec::Encoding::Protobuf;
    site.config.topics.crm.encoding = funnelwatch::codec::Encoding::ConfluentProtobuf;
    let events = floor(3, 30);
    site.produce(&events);
    let expected = site.replay(&events, None).0.len();
    let running = site.start(Mode::Live);
    let alerts = site.await_records("alerts", expected);
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
fn a_run_once_ends_by_itself_with_what_a_replay_finds() {
    let site = Site::new("once", 4, QUICK);
    let events = floor(5, 60);
    site.produce(&events);
    let (alerts, rows) = site.replay(&events, None);
    let summary = site.start(Mode::Once).join().expect("the run ends well");
    assert_eq!(values(&site.read("alerts")), alerts);
    assert_eq!(latest(&site.read("metrics")), rows);
    assert_eq!(summary.alerts, alerts.len() as u64);
    site.await_no_lag();
}

#[test]
fn a_run_once_over_nothing_ends_at_once() {
    let site = Site::new("nothing", 2, QUICK);
    let summary = site.start(Mode::Once).join().expect("the run ends well");
    assert_eq!((summary.alerts, summary.rows, summary.transactions), (0, 0, 0));
    // And the second time over what the first has read.
    site.produce(&[lead("a", "1", at(0.0)), call("a", "1", at(5.0))]);
    for _ in 0..2 {
        site.start(Mode::Once).join().expect("the run ends well");
    }
    site.await_no_lag();
}
