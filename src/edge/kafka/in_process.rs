//! Owns an in-process Kafka: librdkafka's mock cluster with all topics created, for the demo and for plumbing tests.
//!
//! It cannot prove exactly-once: it accepts transactions, but isolates nothing, fences no producer, and does not keep
//! offsets committed in a transaction. It keeps at most 5 MB or 100,000 batches per partition, and supports no admin
//! requests. A fetch that finds nothing sleeps for the whole `fetch.wait.max.ms` and is not woken by a message; set it
//! to 10.

use super::native;
use crate::config::{TopicRole, Topics};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};

/// The mock cluster could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct MockError {
    what: String,
    cause: KafkaError,
}

/// An in-process Kafka, stopped when dropped.
pub struct InProcess {
    /// The client that the mock cluster belongs to.
    owner: BaseProducer,
    bootstrap: String,
}

impl InProcess {
    /// Starts one broker with these topics, each with `partitions` partitions, and without an initial rebalance delay.
    pub fn start(topics: &Topics, partitions: u32) -> Result<Self, MockError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |cause| MockError { what, cause }
        };
        let owner: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .create()
            .map_err(failed("start the in-process Kafka"))?;
        native::disable_initial_rebalance_delay(owner.client());
        let none = || KafkaError::ClientCreation("the client has no mock cluster".into());
        let cluster = owner.client().mock_cluster().ok_or_else(none).map_err(failed("find the mock cluster"))?;
        let others = TopicRole::GATEWAY.into_iter().chain(TopicRole::NOTIFY);
        for name in TopicRole::ALL.into_iter().chain(others).map(|role| topics.name(role)) {
            cluster.create_topic(name, partitions as i32, 1).map_err(failed(&format!("create {name}")))?;
        }
        let bootstrap = cluster.bootstrap_servers();
        drop(cluster);
        Ok(Self { owner, bootstrap })
    }

    /// The brokers, in the format of `kafka.bootstrap`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The mock cluster itself, for fault injection.
    pub fn cluster(&self) -> Option<rdkafka::mocking::MockCluster<'_, rdkafka::producer::DefaultProducerContext>> {
        self.owner.client().mock_cluster()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;
    use crate::config::Config;
    use crate::dataflow::live::lock;
    use crate::dataflow::settings::DataflowSettings;
    use crate::domain::event::Event;
    use crate::domain::rule::Rule;
    use crate::domain::shard::processor::Timing;
    use crate::domain::source::{ShardId, Topic};
    use crate::domain::time::Timestamp;
    use crate::edge::kafka::producer::EventProducer;
    use crate::edge::kafka::{self, Mode, NormsHandle, Observer, RuntimeEvent, Stop};
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use std::io::{Read, Write};
    use std::mem::ManuallyDrop;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    #[derive(Default)]
    struct Seen {
        rules: Mutex<Vec<Rule>>,
        shards: Mutex<Vec<Vec<ShardId>>>,
    }

    impl Seen {
        fn see(&self, event: RuntimeEvent<'_>) {
            match event {
                RuntimeEvent::EpochCommitted(output, _) => {
                    lock(&self.rules).extend(output.alerts.iter().map(|alert| alert.rule));
                }
                RuntimeEvent::Assigned(shards) => lock(&self.shards).push(shards.to_vec()),
                _ => {}
            }
        }
    }

    /// A mock cluster, and a configuration for a process that reads it.
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
        let (run_stop, see) = (stop.clone(), Arc::clone(&seen));
        let observer = Arc::new(Observer::new(Arc::default(), Arc::default(), move |event| see.see(event)));
        let run = std::thread::spawn(move || {
            kafka::run(&config, settings, Mode::Live, &run_stop, NormsHandle::default(), observer)
        });
        (run, stop, seen)
    }

    fn await_or_end(run: &Run, mut condition: impl FnMut() -> bool) {
        let started = Instant::now();
        while !condition() && !run.is_finished() {
            assert!(started.elapsed() < Duration::from_secs(30), "timed out");
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
    fn events_become_alerts_without_external_services() {
        let (_kafka, config) = cluster();
        let mut producer = EventProducer::new(&config).expect("a producer");
        (0..100).for_each(|id| producer.send(&lead(id, i64::from(id))).expect("sent"));
        assert!(producer.flush(Duration::from_secs(10)));
        let (run, stop, seen) = start(config);
        // All leads except the last five are late.
        await_or_end(&run, || lock(&seen.rules).len() >= 95);
        stop.stop();
        let summary = run.join().expect("no panic").expect("no error");
        assert_eq!(summary.alerts, 95);
        assert!(lock(&seen.rules).iter().all(|rule| *rule == Rule::FirstResponseLate));
    }

    /// Lets a second member join the group; with `forget`, the coordinator forgets the first member meanwhile. Returns
    /// the first member's assignments from then on.
    fn assignments_of_the_first(forget: bool) -> Vec<Vec<ShardId>> {
        let (kafka, config) = cluster();
        let (run, stop, seen) = start(config.clone());
        await_or_end(&run, || lock(&seen.shards).last().is_some_and(|shards| shards.len() == 2));
        let before = lock(&seen.shards).len();
        if forget {
            // The second member joins; the first gets UNKNOWN_MEMBER_ID when it rejoins.
            let errors =
                [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID];
            kafka.cluster().expect("a cluster").request_errors(RDKafkaApiKey::JoinGroup, &errors);
        }
        let second: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &config.kafka.bootstrap)
            .set("group.id", &config.kafka.group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        // Never dropped: if a rebalance is under way, that can wait forever for librdkafka to release the partitions, as the
        // group is not served any more.
        let second = ManuallyDrop::new(second);
        second.subscribe(&[config.topics.sources[Topic::Crm].name.as_str()]).expect("subscribed");
        await_or_end(&run, || {
            second.poll(Duration::from_millis(5));
            lock(&seen.shards).last().is_some_and(|shards| shards.len() == 1)
        });
        stop.stop();
        run.join().expect("no panic").expect("no error");
        lock(&seen.shards)[before..].to_vec()
    }

    #[test]
    fn a_missing_right_ends_the_run_with_an_error_that_names_it() {
        for (request, code, right) in [
            (
                RDKafkaApiKey::JoinGroup,
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
                "the right Read on the group",
            ),
            (
                RDKafkaApiKey::InitProducerId,
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                "the right Write on the transactional id",
            ),
        ] {
            let (kafka, config) = cluster();
            kafka.cluster().expect("a cluster").request_errors(request, &[code; 8]);
            let (run, _stop, _) = start(config);
            await_or_end(&run, || false);
            let error = run.join().expect("no panic").expect_err("not permitted").to_string();
            assert!(error.contains(right), "{error}");
        }
    }

    #[test]
    fn a_handshake_that_fails_ends_the_start_with_the_reason_of_librdkafka() {
        // Not a broker, and no TLS.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                open.push(stream);
            }
        });
        let text = format!("kafka: {{bootstrap: '{address}', client: {{security.protocol: ssl}}}}");
        let (run, ..) = start(Config::parse("test", &text).expect("a configuration"));
        await_or_end(&run, || false);
        let error = run.join().expect("no panic").expect_err("no broker").to_string();
        assert!(error.contains("reach Kafka at") && error.contains("wrong version number"), "{error}");
    }

    #[test]
    fn a_member_that_the_coordinator_forgot_restores_its_shards_though_librdkafka_reports_nothing() {
        let remembered = assignments_of_the_first(false);
        assert!(
            remembered.iter().all(|shards| shards.len() == 1),
            "the remaining shard is not affected: {remembered:?}"
        );
        let forgotten = assignments_of_the_first(true);
        assert!(forgotten.contains(&Vec::new()), "all shards are released: {forgotten:?}");
        assert_eq!(forgotten.last().map(Vec::len), Some(1));
    }
}
