//! Owns the proof that wrong topics are found before anything is read, and that missing ones can be made.

use super::site::{QUICK, Site};
use funnelwatch::edge::kafka::topics::{self, Wanted};
use funnelwatch::edge::kafka::{Mode, RunError, TopicsError};

const LOOK: Wanted = Wanted { create: false, partitions: None, replication: 1 };

#[test]
fn topics_are_made_and_verified() {
    let site = Site::bare("topics", 3, QUICK);
    let report = topics::verify(&site.config, &LOOK).expect("a report");
    assert!(!report.is_good());
    assert_eq!(report.0.len(), 9);
    assert!(report.0.iter().all(|line| line.differs == ["does not exist"] && line.partitions == 0), "{report}");
    let create = Wanted { create: true, partitions: Some(3), replication: 1 };
    let report = topics::verify(&site.config, &create).expect("topics are made");
    assert!(report.is_good() && report.0.iter().all(|line| line.created && line.partitions == 3), "{report}");
    // Again changes nothing; and without a number the sources' own is right.
    for wanted in [create, LOOK] {
        let report = topics::verify(&site.config, &wanted).expect("a report");
        assert!(report.is_good() && report.0.iter().all(|line| !line.created), "{report}");
    }
    let report = topics::verify(&site.config, &Wanted { partitions: Some(4), ..LOOK }).expect("a report");
    let sharded = report.0.iter().filter(|line| line.differs == ["has 3 partitions instead of 4"]).count();
    assert_eq!(sharded, 5, "{report}");
    // Topics in each other's place: what should be compacted is not.
    let mut config = site.config.clone();
    std::mem::swap(&mut config.topics.metrics, &mut config.topics.alerts);
    let report = topics::verify(&config, &LOOK).expect("a report");
    let text = report.to_string();
    assert!(text.contains("has cleanup.policy=delete instead of compact"), "{text}");
    assert!(text.contains("has cleanup.policy=compact instead of delete"), "{text}");
}

#[test]
fn unequal_partition_counts_are_refused_with_their_numbers() {
    let site = Site::bare("unequal", 2, QUICK);
    let create = |config, partitions| {
        let wanted = Wanted { create: true, partitions: Some(partitions), replication: 1 };
        topics::verify(config, &wanted).expect("topics are made");
    };
    // The telephony topic alone, under a name that is then forgotten for the others.
    let mut config = site.config.clone();
    for (number, topic) in [
        &mut config.topics.crm.name,
        &mut config.topics.email.name,
        &mut config.topics.alerts,
        &mut config.topics.metrics,
        &mut config.topics.reviews,
        &mut config.topics.dead_letters,
        &mut config.topics.state,
        &mut config.topics.rerouted,
    ]
    .into_iter()
    .enumerate()
    {
        *topic = format!("{topic}-{number}");
    }
    create(&config, 5);
    create(&site.config, 2);
    let error = site.start(Mode::Live).join().expect_err("refused");
    assert!(matches!(error, RunError::Topics(TopicsError::Unequal(_))), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("{} has 2", site.topic("crm"))), "{text}");
    assert!(text.contains(&format!("{} has 5", site.topic("telephony"))), "{text}");
}

#[test]
fn missing_topics_are_named() {
    let site = Site::bare("missing", 2, QUICK);
    let error = site.start(Mode::Once).join().expect_err("refused").to_string();
    for name in ["crm", "telephony", "email", "rerouted", "alerts", "metrics", "dlq"] {
        assert!(error.contains(&site.topic(name)), "{error}");
    }
}
