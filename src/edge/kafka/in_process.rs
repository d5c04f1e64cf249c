//! Owns a Kafka inside this process: librdkafka's mock cluster with all topics made, for the demo and for tests of
//! plumbing.
//!
//! It is no proof of exactly-once: it takes transactions but isolates nothing, fences nobody, and does not keep offsets
//! that are committed in a transaction. It keeps at most 5 MB or 100,000 batches a partition, and has no admin requests.
//! A fetch that finds nothing sleeps for the whole `fetch.wait.max.ms` and is not woken by a message; set it to 10.

use super::native;
use crate::config::Topics;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};

/// The cluster could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct MockError {
    what: String,
    cause: KafkaError,
}

/// A Kafka in this process, which ends with it.
pub struct InProcess {
    /// The cluster lives inside a client.
    owner: BaseProducer,
    bootstrap: String,
}

impl InProcess {
    /// Starts one broker with these topics, each with so many partitions. Groups form at once.
    pub fn start(topics: &Topics, partitions: u32) -> Result<Self, MockError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |cause| MockError { what, cause }
        };
        let owner: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .create()
            .map_err(failed("start Kafka in this process"))?;
        native::form_groups_at_once(owner.client());
        let none = || KafkaError::ClientCreation("the client has no mock cluster".into());
        let cluster = owner.client().mock_cluster().ok_or_else(none).map_err(failed("find the mock cluster"))?;
        let names = [
            &topics.crm.name,
            &topics.telephony.name,
            &topics.email.name,
            &topics.rerouted,
            &topics.state,
            &topics.alerts,
            &topics.metrics,
            &topics.reviews,
            &topics.dead_letters,
        ];
        for name in names {
            cluster.create_topic(name, partitions as i32, 1).map_err(failed(&format!("create {name}")))?;
        }
        let bootstrap = cluster.bootstrap_servers();
        drop(cluster);
        Ok(Self { owner, bootstrap })
    }

    /// The brokers, as `kafka.bootstrap` wants them.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The cluster itself, for faults.
    pub fn cluster(&self) -> Option<rdkafka::mocking::MockCluster<'_, rdkafka::producer::DefaultProducerContext>> {
        self.owner.client().mock_cluster()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;
    use crate::config::Config;
    use crate::dataflow::epoch::EpochOutput;
    use crate::dataflow::live_state::lock;
    use crate::dataflow::workers::DataflowSettings;
    use crate::domain::event::Event;
    use crate::domain::rule::Rule;
    use crate::domain::shard_processor::Timing;
    use crate::domain::time::Timestamp;
    use crate::edge::kafka::producer::EventProducer;
    use crate::edge::kafka::{self, Mode, NormsHandle, Observer, Stop};
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    #[derive(Default)]
    struct Seen {
        rules: Mutex<Vec<Rule>>,
        shards: Mutex<Vec<Vec<u32>>>,
    }

    impl Observer for Seen {
        fn committed(&self, made: &EpochOutput) {
            lock(&self.rules).extend(made.alerts.iter().map(|alert| alert.rule));
        }

        fn assigned(&self, shards: &[u32]) {
            lock(&self.shards).push(shards.to_vec());
        }
    }

    /// A cluster, and the configuration of a process that reads it.
    fn cluster() -> (InProcess, Config) {
        let text = "norms: {first_response_late: {within: 5m}}
time: {allowed_lateness: 0s, idle_after: 100ms, watermark_follows_clock: false}
kafka: {consumer: {fetch.wait.max.ms: 10, session.timeout.ms: 2000, heartbeat.interval.ms: 200}, transactional_id: test}
engine: {workers: 1}";
        let mut config = Config::parse("test", text).expect("a configuration");
        let kafka = InProcess::start(&config.topics, 2).expect("a cluster");
        config.kafka.bootstrap = kafka.bootstrap().into();
        (kafka, config)
    }

    type Run = std::thread::JoinHandle<Result<kafka::Summary, kafka::RunError>>;

    fn start(config: Config) -> (Run, Stop, Arc<Seen>) {
        let allowed_lateness = config.time.allowed_lateness;
        let timing = Timing { allowed_lateness, follows_clock: false, ..Timing::default() };
        let settings = DataflowSettings::new(Arc::new(config.norms.clone()), timing);
        let (stop, seen) = (Stop::default(), Arc::new(Seen::default()));
        let (asked, observer) = (stop.clone(), Arc::clone(&seen));
        let run = std::thread::spawn(move || {
            kafka::run(&config, settings, Mode::Live, &asked, NormsHandle::default(), observer)
        });
        (run, stop, seen)
    }

    fn until(run: &Run, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() && !run.is_finished() {
            assert!(started.elapsed() < Duration::from_secs(30), "not in time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn lead(id: u32, minute: i64) -> Event {
        let at = Timestamp(1_767_600_000_000 + minute * 60_000);
        let text = format!(
            r#"{{"event_id":"{id}","tenant_id":"acme","occurred_at":"{at}","lead_created":{{"lead_id":"{id}"}}}}"#
        );
        json::decode(text.as_bytes()).expect("an event")
    }

    #[test]
    fn events_become_alerts_without_any_service() {
        let (_kafka, config) = cluster();
        let mut producer = EventProducer::new(&config).expect("a producer");
        (0..100).for_each(|id| producer.send(&lead(id, i64::from(id))).expect("sent"));
        assert!(producer.flush(Duration::from_secs(10)));
        let (run, stop, seen) = start(config);
        // All leads but the last five are late.
        until(&run, || lock(&seen.rules).len() >= 95);
        stop.stop();
        let summary = run.join().expect("no panic").expect("a good end");
        assert_eq!(summary.alerts, 95);
        assert!(lock(&seen.rules).iter().all(|rule| *rule == Rule::FirstResponseLate));
    }

    /// Another member of the group takes its share, while the group forgets the first, or not. What the first has read,
    /// step by step.
    fn shards_of_the_first(forgotten: bool) -> Vec<Vec<u32>> {
        let (kafka, config) = cluster();
        let (run, stop, seen) = start(config.clone());
        until(&run, || lock(&seen.shards).last().is_some_and(|shards| shards.len() == 2));
        let begun = lock(&seen.shards).len();
        if forgotten {
            // The newcomer joins; the first, who is to join again, has been forgotten.
            let errors =
                [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID];
            kafka.cluster().expect("a cluster").request_errors(RDKafkaApiKey::JoinGroup, &errors);
        }
        let newcomer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &config.kafka.bootstrap)
            .set("group.id", &config.kafka.group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        newcomer.subscribe(&[config.topics.crm.name.as_str()]).expect("it joins");
        until(&run, || {
            newcomer.poll(Duration::from_millis(5));
            lock(&seen.shards).last().is_some_and(|shards| shards.len() == 1)
        });
        stop.stop();
        run.join().expect("no panic").expect("a good end");
        lock(&seen.shards)[begun..].to_vec()
    }

    #[test]
    fn who_was_forgotten_by_the_group_begins_its_shards_anew_though_librdkafka_says_nothing() {
        let known = shards_of_the_first(false);
        assert!(known.iter().all(|shards| shards.len() == 1), "what stays is not touched: {known:?}");
        let forgotten = shards_of_the_first(true);
        assert!(forgotten.contains(&Vec::new()), "what was read is others' to read: {forgotten:?}");
        assert_eq!(forgotten.last().map(Vec::len), Some(1));
    }
}
