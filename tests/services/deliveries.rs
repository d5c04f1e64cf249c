//! What `notify` has sent is read from its topic: once there is one, and without what was aborted.

use super::fixture::{Fixture, client, until};
use funnelwatch::edge::deliveries::Deliveries;
use funnelwatch::edge::kafka::Stop;
use funnelwatch::edge::kafka::delivery_log::DeliveryLog;
use funnelwatch::edge::kafka::topics::{self, Wanted};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
const IDS: [&str; 3] = [
    "00000000-0000-0000-0000-000000000001",
    "00000000-0000-0000-0000-000000000002",
    "00000000-0000-0000-0000-000000000003",
];

#[test]
fn what_was_sent_is_read_as_soon_as_there_is_a_topic() {
    let fixture = Fixture::bare("deliveries", 2, "notify: {}\n");
    let (deliveries, stop) = (Arc::<Deliveries>::default(), Stop::default());
    DeliveryLog::start(&fixture.config, Arc::clone(&deliveries), &stop).expect("a client");
    // It looks for the topic in vain at first.
    std::thread::sleep(Duration::from_secs(1));
    let wanted = Wanted { create: true, partitions: Some(2), replication: 1 };
    assert!(topics::verify(&fixture.config, &wanted).expect("topics are created").is_ok());

    let producer: BaseProducer = client().set("transactional.id", fixture.topic("sends")).create().expect("a producer");
    producer.init_transactions(TIMEOUT).expect("a broker");
    let (topic, sent) = (fixture.topic("notify"), json!({"status": "FIRING", "level": 0}));
    let write = |id: &str, partition: i32| {
        let line = json!({"channel": "telegram", "to": "1", "person": "vera", "language": "en", "wanted": sent, "sent": sent,
            "sent_at": 1, "ready_at": 0, "since": 0, "most": 1});
        let alert = json!({"tenant_id": "acme", "rule": "neglected", "entity": "lead:1", "manager_id": "vera"});
        let value = json!({"v": 1, "alert": alert, "updated": 0, "lines": [line]}).to_string();
        let key = format!("a/{id}");
        let record = BaseRecord::to(&topic).partition(partition).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).expect("accepted");
    };
    for (id, partition, is_committed) in [(IDS[0], 0, true), (IDS[1], 0, false), (IDS[2], 1, true)] {
        producer.begin_transaction().expect("a transaction");
        write(id, partition);
        producer.flush(TIMEOUT).expect("delivered");
        match is_committed {
            true => producer.commit_transaction(TIMEOUT).expect("committed"),
            false => producer.abort_transaction(TIMEOUT).expect("aborted"),
        }
    }
    let shown = || deliveries.of(&"acme".into()).iter().map(|told| told.alert.to_string()).collect::<Vec<_>>();
    until("both partitions are read", || shown() == [IDS[0], IDS[2]]);
    producer.begin_transaction().expect("a transaction");
    producer
        .send(BaseRecord::<_, [u8]>::to(&topic).partition(0).key(&format!("a/{}", IDS[0])))
        .map_err(|(error, _)| error)
        .expect("accepted");
    producer.commit_transaction(TIMEOUT).expect("committed");
    until("what is forgotten is gone", || shown() == [IDS[2]]);
    stop.stop();
}
