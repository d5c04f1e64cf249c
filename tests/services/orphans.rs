//! Tests that a shard without an owner gets one: processes that come back in the middle of a rebalance as the same static
//! members are given the assignment of its first step only.

use super::fixture::{Fixture, QUICK, client, report, sample_events, until, values};
use funnelwatch::edge::kafka::Mode;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaRespErr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A member that accepts partitions and gives none up: a process that dies in between looks the same to the group.
#[derive(Default)]
struct Halfway {
    assigned: AtomicUsize,
    asked: AtomicBool,
}

impl ClientContext for Halfway {}

impl ConsumerContext for Halfway {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            consumer.incremental_assign(partitions).expect("partitions are assigned");
            self.assigned.fetch_add(partitions.count(), Ordering::Relaxed);
        } else {
            self.asked.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_shard_without_an_owner_gets_one() {
    let fixture = Fixture::new("orphans", 2, QUICK);
    let halfway: BaseConsumer<Halfway> = client()
        .set("group.id", &fixture.config.kafka.group)
        .set("group.instance.id", &fixture.config.kafka.transactional_id)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .create_with_context(Halfway::default())
        .expect("a consumer");
    halfway.subscribe(&[&fixture.topic("crm")]).expect("a subscription");
    let poll = || drop(halfway.poll(Duration::from_millis(10)));
    until("it has both shards", || {
        poll();
        halfway.context().assigned.load(Ordering::Relaxed) == 2
    });
    let second = Fixture::start_as(fixture.sibling("1"), Mode::Live);
    until("it has to give up one", || {
        poll();
        halfway.context().asked.load(Ordering::Relaxed)
    });
    until("the first step of the rebalance is complete", || {
        let groups = halfway.fetch_group_list(Some(&fixture.config.kafka.group), Duration::from_secs(5));
        groups
            .is_ok_and(|list| list.groups().iter().any(|group| group.state() == "Stable" && group.members().len() == 2))
    });
    // The same static member: the first one is fenced, and this one gets its assignment.
    let first = fixture.start(Mode::Live);
    let started = Instant::now();
    first.await_assignment();
    assert_eq!((first.shards().len(), second.shards().len()), (1, 0), "one shard has no owner");
    let events = sample_events(8, 20);
    fixture.produce(&events);
    let (expected, _) = fixture.replay(&events, None);
    until("both shards have an owner", || first.shards().len() == 1 && second.shards().len() == 1);
    report(&format!("the shard had no owner for {} s", started.elapsed().as_secs()));
    fixture.await_no_lag();
    assert_eq!(values(&fixture.await_records("alerts", expected.len())), expected);
    first.stop();
    second.stop();
    drop(halfway);
}
