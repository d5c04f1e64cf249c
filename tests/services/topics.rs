//! Tests that wrong topics are reported before anything is read, and that missing topics can be created.

use super::fixture::{Fixture, QUICK};
use funnelwatch::config::Topics;
use funnelwatch::domain::source::Topic;
use funnelwatch::edge::kafka::topics::{self, Wanted};
use funnelwatch::edge::kafka::{Mode, RunError, TopicsError};

const VERIFY_ONLY: Wanted = Wanted { create: false, partitions: None, replication: 1 };

#[test]
fn topics_are_created_and_verified() {
    let fixture = Fixture::bare("topics", 3, QUICK);
    let report = topics::verify(&fixture.config, &VERIFY_ONLY).expect("a report");
    assert!(!report.is_ok());
    assert_eq!(report.0.len(), 10);
    assert!(report.0.iter().all(|line| line.problems == ["does not exist"] && line.partitions == 0), "{report}");
    let create = Wanted { create: true, partitions: Some(3), replication: 1 };
    let report = topics::verify(&fixture.config, &create).expect("topics are created");
    assert!(report.is_ok() && report.0.iter().all(|line| line.created && line.partitions == 3), "{report}");
    // A second time nothing is created; and without a wanted number of partitions any equal number is accepted.
    for wanted in [create, VERIFY_ONLY] {
        let report = topics::verify(&fixture.config, &wanted).expect("a report");
        assert!(report.is_ok() && report.0.iter().all(|line| !line.created), "{report}");
    }
    let report = topics::verify(&fixture.config, &Wanted { partitions: Some(4), ..VERIFY_ONLY }).expect("a report");
    let sharded = report.0.iter().filter(|line| line.problems == ["expected 4 partitions, found 3"]).count();
    assert_eq!(sharded, 6, "{report}");
    // Two topics swapped: the one that must be compacted is not.
    let mut config = fixture.config.clone();
    std::mem::swap(&mut config.topics.metrics, &mut config.topics.alerts);
    let report = topics::verify(&config, &VERIFY_ONLY).expect("a report");
    let text = report.to_string();
    assert!(text.contains("expected cleanup.policy=compact, found delete"), "{text}");
    assert!(text.contains("expected cleanup.policy=delete, found compact"), "{text}");
}

#[test]
fn the_topic_of_members_has_one_partition_and_is_needed_only_if_processes_answer_for_each_other() {
    let fixture = Fixture::bare("topic-of-members", 3, &format!("{QUICK}members: {{}}\n"));
    let create = Wanted { create: true, partitions: Some(3), replication: 1 };
    let report = topics::verify(&fixture.config, &create).expect("topics are created");
    assert!(report.is_ok(), "{report}");
    let of_members = report.0.iter().find(|line| line.topic == fixture.config.topics.members).expect("a line");
    assert_eq!((of_members.partitions, report.0.len()), (1, 11));
    let missing = Fixture::bare("topic-of-members", 3, &format!("{QUICK}members: {{}}\n"));
    let without = funnelwatch::config::Config { members: None, ..missing.config.clone() };
    assert!(topics::verify(&without, &create).expect("topics are created").is_ok());
    let ended = Fixture::start_as(missing.config.clone(), Mode::Once).join();
    assert!(matches!(&ended, Err(RunError::Topics(TopicsError::Missing(missing))) if missing.len() == 1), "{ended:?}");
    assert!(Fixture::start_as(without, Mode::Once).join().is_ok(), "one process needs nothing");
}

#[test]
fn unequal_partition_counts_are_rejected_and_reported() {
    let fixture = Fixture::bare("unequal", 2, QUICK);
    let create = |config, partitions| {
        let wanted = Wanted { create: true, partitions: Some(partitions), replication: 1 };
        topics::verify(config, &wanted).expect("topics are created");
    };
    // Create the telephony topic with 5 partitions; the other topics get names that are not used afterwards.
    let mut config = fixture.config.clone();
    for topic in Topic::ALL.into_iter().filter(|topic| *topic != Topic::Telephony) {
        config.topics.sources[topic].name += "-other";
    }
    let Topics { alerts, open_alerts, metrics, reviews, dead_letters, state, rerouted, .. } = &mut config.topics;
    for topic in [alerts, open_alerts, metrics, reviews, dead_letters, state, rerouted] {
        *topic += "-other";
    }
    create(&config, 5);
    create(&fixture.config, 2);
    let error = fixture.start(Mode::Live).join().expect_err("rejected");
    assert!(matches!(error, RunError::Topics(TopicsError::Unequal(_))), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("{} has 2", fixture.topic("crm"))), "{text}");
    assert!(text.contains(&format!("{} has 5", fixture.topic("telephony"))), "{text}");
}

#[test]
fn missing_topics_are_reported() {
    let fixture = Fixture::bare("missing", 2, QUICK);
    let error = fixture.start(Mode::Once).join().expect_err("rejected").to_string();
    for name in ["crm", "telephony", "email", "rerouted", "alerts", "alerts.open", "metrics", "dlq"] {
        assert!(error.contains(&fixture.topic(name)), "{error}");
    }
}
