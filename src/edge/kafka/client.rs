//! Owns the setup of librdkafka's clients: one constructor per kind. Every setting that differs from librdkafka's
//! default has a comment with the default and the reason. The operator's settings are applied last; the configuration
//! rejects those that would break a guarantee.

use super::client_log::{self, LoggedContext};
use crate::config::{Kafka, Properties};
use crate::dataflow::live::lock;
use crate::domain::time::Timestamp;
use crate::edge::memory::MemoryBudget;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, ToBytes};
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often statistics are reported.
pub(super) const STATISTICS_INTERVAL: Duration = Duration::from_secs(1);

/// How long a broker waits for messages before it responds, unless `fetch.wait.max.ms` is set.
const FETCH_WAIT: Duration = Duration::from_millis(50);

/// Read-ahead of a consumer over all partitions, in bytes.
const READ_AHEAD: usize = 64 << 20;
/// What waits in the queue of a producer, in bytes.
const SEND_QUEUE: usize = 128 << 20;
/// The largest response to a fetch, unless its first batch is larger.
const FETCH_BYTES: usize = 8 << 20;
/// Kafka's default maximum size of a message, including the framing of its batch.
pub(super) const MAX_MESSAGE_BYTES: usize = 1_048_588;

/// A librdkafka call failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct CallError {
    pub(super) what: &'static str,
    pub(super) cause: KafkaError,
}

impl CallError {
    /// Turns the error of starting a thread into that of the operation.
    pub(super) fn of_thread(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self { what, cause: KafkaError::ClientCreation(error.to_string()) }
    }

    /// Turns the error of a call into that of the operation, without the value of a property.
    pub(super) fn of(what: &'static str) -> impl Fn(KafkaError) -> Self {
        move |cause| {
            let cause = match cause {
                KafkaError::ClientConfig(code, _, name, _) => {
                    KafkaError::ClientConfig(code, "property not accepted:".into(), name, String::new())
                }
                cause => cause,
            };
            Self { what, cause }
        }
    }

    /// Whether the call may succeed with a new client, without a change from outside.
    pub(super) fn heals(&self) -> bool {
        !matches!(self.cause, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_))
            && !is_permanent(&self.cause)
            && !matches!(
                self.cause.rdkafka_error_code(),
                Some(
                    RDKafkaErrorCode::Authentication
                        | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                        | RDKafkaErrorCode::ClusterAuthorizationFailed
                )
            )
    }
}

/// Whether a retry fails the same way until permissions are changed.
pub(super) fn is_permanent(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::TopicAuthorizationFailed)
    )
}

/// Whether a retry fails the same way until somebody changes something.
pub(super) fn is_final(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
    )
}

/// Whether an error says nothing but that a broker is not reachable. librdkafka does not mark all of them as retriable.
pub(super) fn is_connection(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::WaitingForCoordinator
            | RDKafkaErrorCode::Partial
    )
}

/// The size of a queue of at most this number of bytes, in units of 1024 bytes.
fn queue_kbytes(memory: MemoryBudget, most: usize) -> usize {
    (memory.part(16, most) / 1024).max(1024)
}

/// Settings of every client.
fn base(kafka: &Kafka, name: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.bootstrap)
        // The name in the broker's logs and quotas.
        .set("client.id", format!("{}-{name}", kafka.transactional_id))
        // 10000: a restarted broker is used again within a second.
        .set("reconnect.backoff.max.ms", "1000")
        // false: connections that are idle for hours must survive firewalls, and dead ones must be detected.
        .set("socket.keepalive.enable", "true");
    config
}

/// Creates a client; `properties` are the operator's settings.
fn create<C: ClientContext, T: FromClientConfigAndContext<C>>(
    what: &'static str,
    mut config: ClientConfig,
    properties: &[&Properties],
    context: C,
) -> Result<T, CallError> {
    set(&mut config, properties);
    config.create_with_context(context).map_err(CallError::of(what))
}

fn set(config: &mut ClientConfig, properties: &[&Properties]) {
    for (name, value) in properties.iter().flat_map(|properties| properties.iter()) {
        config.set(name, value);
    }
}

/// How long a broker may wait for messages before it responds to the consumer.
pub(super) fn fetch_wait(kafka: &Kafka) -> Duration {
    let set = |properties: &Properties| properties.get("fetch.wait.max.ms")?.parse().ok();
    set(&kafka.consumer).or_else(|| set(&kafka.client)).map_or(FETCH_WAIT, Duration::from_millis)
}

/// The client id of the consumer, which the group shows for this member.
pub(super) fn consumer_id(kafka: &Kafka) -> String {
    let set = |properties: &Properties| properties.get("client.id").map(ToString::to_string);
    set(&kafka.consumer)
        .or_else(|| set(&kafka.client))
        .unwrap_or_else(|| format!("{}-consumer", kafka.transactional_id))
}

/// The consumer; `partitions` is the maximum number of partitions that it may read.
pub(super) fn consumer<C: ConsumerContext>(
    kafka: &Kafka,
    memory: MemoryBudget,
    partitions: usize,
    context: C,
) -> Result<BaseConsumer<C>, CallError> {
    let read_ahead = (queue_kbytes(memory, READ_AHEAD) / partitions.max(1)).max(1024);
    let mut config = base(kafka, "consumer");
    config
        .set("group.id", &kafka.group)
        // true: offsets are committed only in the transaction with the output of their events.
        .set("enable.auto.commit", "false")
        // true: as above.
        .set("enable.auto.offset.store", "false")
        // The default, set explicitly because correctness depends on it: uncommitted messages may be aborted.
        .set("isolation.level", "read_committed")
        // largest: nothing may be skipped silently. A shard without committed offsets starts at the beginning explicitly.
        .set("auto.offset.reset", "error")
        // range,roundrobin: those revoke all partitions at every rebalance, this one only those that move. It assigns
        // the CRM topic only: partition p of the other sources follows partition p of the CRM topic.
        .set("partition.assignment.strategy", "cooperative-sticky")
        // none: a process that restarts under the same name within the session timeout gets its partitions back without
        // a rebalance. It also ensures that every offset commit is validated: without a group.instance.id the broker
        // accepts offsets that carry neither a member id nor a generation.
        .set("group.instance.id", &kafka.transactional_id)
        // false: a partition is idle only after it was read to its end.
        .set("enable.partition.eof", "true")
        // 500: a broker answers at once if there is data, but the mock cluster and the end of a partition wait for the
        // whole time.
        .set("fetch.wait.max.ms", FETCH_WAIT.as_millis().to_string())
        // false: a damaged batch must be noticed, not decoded.
        .set("check.crcs", "true")
        // 52428800 and 100000000: the larger one also bounds what a zstd batch may unpack to. Producers limit batches before
        // compression, usually to 1 MiB.
        .set("fetch.max.bytes", FETCH_BYTES.to_string())
        .set("receive.message.max.bytes", (2 * FETCH_BYTES).to_string())
        // 1000: how long fetching of a partition is suspended after its queue was full.
        .set("fetch.queue.backoff.ms", "5")
        // 500: fetching resumes soon after a change of leader.
        .set("fetch.error.backoff.ms", "100")
        // 65536 for all partitions together: each partition has its own queue here, and the limit applies per queue.
        .set("queued.max.messages.kbytes", read_ahead.to_string())
        // 45000: a crashed pod holds its partitions this long, also against its own restarted process. Brokers allow no
        // less than 6000 by default.
        .set("session.timeout.ms", "6000")
        // 3000: members learn of a rebalance from the response to a heartbeat, and a shard that moves is not read from
        // one member's heartbeat to the other's.
        .set("heartbeat.interval.ms", "500")
        // 0: statistics report lag and unreachable partitions.
        .set("statistics.interval.ms", STATISTICS_INTERVAL.as_millis().to_string());
    create("create the consumer", config, &[&kafka.client, &kafka.consumer], context)
}

/// The consumer of a topic that a group shares: hints of the gateway, alerts of `notify`.
pub(super) fn shared_consumer<C: ConsumerContext>(
    kafka: &Kafka,
    memory: MemoryBudget,
    context: C,
) -> Result<BaseConsumer<C>, CallError> {
    let mut config = base(kafka, "consumer");
    config
        .set("group.id", &kafka.group)
        // true: offsets are committed only in the transaction with what was read.
        .set("enable.auto.commit", "false")
        // true: as above.
        .set("enable.auto.offset.store", "false")
        // The default, set explicitly: alerts are written in transactions.
        .set("isolation.level", "read_committed")
        // largest: the start offset is always set; what has expired meanwhile is noticed.
        .set("auto.offset.reset", "error")
        // range,roundrobin: the first of them, in one step; see `shared_log.rs`.
        .set("partition.assignment.strategy", "range")
        // none: a process that restarts under the same name within the session timeout gets its partitions back.
        .set("group.instance.id", &kafka.transactional_id)
        // 500: a hint or an alert waits no longer than needed.
        .set("fetch.wait.max.ms", "50")
        // 65536.
        .set("queued.max.messages.kbytes", (queue_kbytes(memory, READ_AHEAD) / 8).max(1024).to_string())
        // 45000: a crashed process keeps its partitions this long, also from its own restart.
        .set("session.timeout.ms", "6000")
        // 3000: a rebalance is noticed soon.
        .set("heartbeat.interval.ms", "500")
        // 300000: while no broker answers, a commit may take longer, and then its partitions are to be kept.
        .set("max.poll.interval.ms", "3600000")
        // 0: statistics report unreachable brokers.
        .set("statistics.interval.ms", STATISTICS_INTERVAL.as_millis().to_string());
    create("create the consumer of a shared topic", config, &[&kafka.client, &kafka.consumer], context)
}

/// A consumer that reads state and queries the group's committed offsets; it never joins the group.
pub(super) fn state_consumer(kafka: &Kafka, memory: MemoryBudget) -> Result<BaseConsumer<LoggedContext>, CallError> {
    let mut config = base(kafka, "restore");
    config
        .set("group.id", &kafka.group)
        // true: offsets are committed only in transactions.
        .set("enable.auto.commit", "false")
        // The default, set explicitly because correctness depends on it: the broker returns committed offsets only when
        // no transaction is open on them.
        .set("isolation.level", "read_committed")
        // 1000: the pause between two queries for offsets with an open transaction.
        .set("retry.backoff.max.ms", "100")
        // false: at the end of the state the position is checked.
        .set("enable.partition.eof", "true")
        // 500: the end of a partition waits for the whole time.
        .set("fetch.wait.max.ms", FETCH_WAIT.as_millis().to_string())
        // 1000: how long fetching of a partition is suspended after the queue was full.
        .set("fetch.queue.backoff.ms", "5")
        // 65536.
        .set("queued.max.messages.kbytes", queue_kbytes(memory, READ_AHEAD).to_string())
        // 1048576: whole partitions are read, so larger fetches are better.
        .set("fetch.message.max.bytes", "8388608")
        // false: corrupted records must not get into restored state.
        .set("check.crcs", "true");
    create("create the state consumer", config, &[&kafka.client, &kafka.consumer], LoggedContext)
}

/// A client that queries metadata, group members and the bounds of partitions, open transactions included.
pub(super) fn metadata_client(kafka: &Kafka) -> Result<BaseConsumer<LoggedContext>, CallError> {
    let mut config = base(kafka, "surveyor");
    config
        // read_committed: it would return the last stable offset instead of the high watermark.
        .set("isolation.level", "read_uncommitted");
    create("create the metadata client", config, &[&kafka.client], LoggedContext)
}

fn producer(kafka: &Kafka, memory: MemoryBudget, name: &str) -> ClientConfig {
    let mut config = base(kafka, name);
    config
        // false: a retry must not write twice or out of order.
        .set("enable.idempotence", "true")
        // consistent_random (CRC32): tenants must map to the same partitions as with the Java producer.
        .set("partitioner", "murmur2_random")
        // true: a topic that is created because of a typo has the wrong number of partitions.
        .set("allow.auto.create.topics", "false")
        // none: JSON shrinks to a third at hardly any cost.
        .set("compression.type", "lz4")
        // 1000000: dead letters contain foreign messages, up to the broker's default limit.
        .set("message.max.bytes", MAX_MESSAGE_BYTES.to_string())
        // 1 GiB: bounds the memory for an epoch's output; sends wait while the queue is full.
        .set("queue.buffering.max.kbytes", queue_kbytes(memory, SEND_QUEUE).to_string());
    config
}

/// The largest batch of records that the producer sends, by the operator's settings.
pub(super) fn max_batch_bytes(kafka: &Kafka) -> usize {
    let set = |properties: &Properties| properties.get("message.max.bytes").and_then(|bytes| bytes.parse().ok());
    set(&kafka.producer).or_else(|| set(&kafka.client)).unwrap_or(MAX_MESSAGE_BYTES)
}

/// A transactional producer with this transaction timeout, whose batches are at most of this size.
pub(super) fn transactional(
    kafka: &Kafka,
    memory: MemoryBudget,
    timeout: Duration,
    batch_bytes: usize,
) -> Result<BaseProducer<Deliveries>, CallError> {
    let mut config = producer(kafka, memory, "committer");
    config
        .set("transactional.id", &kafka.transactional_id)
        // 60000: a dead process would block the next owner of its shards and every read_committed reader this long.
        .set("transaction.timeout.ms", timeout.as_millis().to_string())
        // 300000: must be less than the transaction timeout.
        .set("message.timeout.ms", timeout.saturating_sub(Duration::from_secs(1)).as_millis().to_string())
        // 5: an epoch's records are sent at once and then awaited; lingering only delays them.
        .set("linger.ms", "0")
        // 100: the coordinator rejects requests while it writes the markers of the previous transaction, which takes a
        // few milliseconds.
        .set("retry.backoff.ms", "10");
    set(&mut config, &[&kafka.client, &kafka.producer]);
    if batch_bytes < max_batch_bytes(kafka) {
        config.set("message.max.bytes", batch_bytes.to_string());
    }
    create("create the transactional producer", config, &[], Deliveries::default())
}

/// A non-transactional producer, for simulated events.
pub(super) fn plain(kafka: &Kafka) -> Result<BaseProducer<Deliveries>, CallError> {
    let mut config = producer(kafka, MemoryBudget::detect(), "simulator");
    config
        // 5: larger batches at many events per second.
        .set("linger.ms", "10")
        // 300000: an outage of the brokers delays events, and loses none.
        .set("message.timeout.ms", "0");
    create("create the producer", config, &[&kafka.client, &kafka.producer], Deliveries::default())
}

/// A non-transactional producer whose records are acknowledged within `timeout`, or have failed.
pub(super) fn acknowledged<C: ProducerContext>(
    kafka: &Kafka,
    timeout: Duration,
    context: C,
) -> Result<BaseProducer<C>, CallError> {
    let mut config = producer(kafka, MemoryBudget::detect(), "inbox");
    config
        // -1 (all), which idempotence demands; set explicitly because an acknowledgement is a promise.
        .set("acks", "all")
        // 5: a sender waits; under load a batch fills while the one before is on its way.
        .set("linger.ms", "2")
        // 300000: the sender of a webhook does not wait for longer.
        .set("message.timeout.ms", timeout.as_millis().to_string());
    create("create the producer of acknowledged records", config, &[&kafka.client, &kafka.producer], context)
}

/// A non-transactional producer of announcements, of which only the newest matter.
pub(super) fn announcer(kafka: &Kafka) -> Result<BaseProducer<Deliveries>, CallError> {
    let mut config = producer(kafka, MemoryBudget::detect(), "members");
    config
        // -1 (all), which idempotence demands; set explicitly because what is read back must not vanish.
        .set("acks", "all")
        // 5: an announcement is sent at once.
        .set("linger.ms", "0")
        // lz4, set for all producers: a record of its own does not shrink.
        .set("compression.type", "none")
        // 300000: a later announcement says everything again.
        .set("message.timeout.ms", "5000");
    create("create the producer of announcements", config, &[&kafka.client, &kafka.producer], Deliveries::default())
}

/// Settings of a consumer that reads a whole topic and never joins the group.
fn whole_topic(kafka: &Kafka, name: &str) -> ClientConfig {
    let mut config = base(kafka, name);
    config
        .set("group.id", &kafka.group)
        // true: there are no offsets to commit.
        .set("enable.auto.commit", "false")
        // largest: a topic that was created again is read from its start.
        .set("auto.offset.reset", "smallest");
    config
}

/// A consumer of announcements.
pub(super) fn members_consumer(kafka: &Kafka) -> Result<BaseConsumer<LoggedContext>, CallError> {
    let mut config = whole_topic(kafka, "members");
    config
        // read_committed: an open transaction of anyone who may write would hold back all announcements.
        .set("isolation.level", "read_uncommitted")
        // 500: fetching resumes soon after a change of leader.
        .set("fetch.error.backoff.ms", "100")
        // 65536: announcements are small, and few are read ahead.
        .set("queued.max.messages.kbytes", "4096");
    create("create the consumer of announcements", config, &[&kafka.client, &kafka.consumer], LoggedContext)
}

/// A consumer of the topic of `notify`.
pub(super) fn deliveries_consumer(kafka: &Kafka) -> Result<BaseConsumer<LoggedContext>, CallError> {
    let mut config = whole_topic(kafka, "deliveries");
    config
        // The default: a message of an open transaction may not have been sent yet.
        .set("isolation.level", "read_committed")
        // false, the default: looking for the topic must not create it.
        .set("allow.auto.create.topics", "false")
        // 65536: records are small, and few are read ahead.
        .set("queued.max.messages.kbytes", "1024");
    create("create the consumer of deliveries", config, &[&kafka.client, &kafka.consumer], LoggedContext)
}

/// A client that only finds out whether a broker answers; `overrides` replace settings of the operator.
pub(super) fn probe(kafka: &Kafka, overrides: &[(&str, &str)]) -> Result<BaseConsumer<Complaints>, CallError> {
    let mut config = base(kafka, "probe");
    for (name, value) in kafka.client.iter() {
        config.set(name, value);
    }
    for (name, value) in overrides {
        config.set(*name, *value);
    }
    config.create_with_context(Complaints::default()).map_err(CallError::of("create the client that reaches brokers"))
}

/// The context of [`probe`]: keeps the last reason that librdkafka gives for not reaching a broker. Reasons name brokers,
/// mechanisms and certificates, and no secrets.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Option<(RDKafkaErrorCode, String)>>);

impl Complaints {
    /// The last reason since the previous call.
    pub(super) fn take(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.0).take()
    }
}

impl ClientContext for Complaints {
    fn error(&self, error: KafkaError, reason: &str) {
        // That all brokers are down follows the reason why each of them is.
        if let Some(code) = error.rdkafka_error_code().filter(|code| *code != RDKafkaErrorCode::AllBrokersDown) {
            *lock(&self.0) = Some((code, reason.to_owned()));
        }
    }

    /// The same reasons again, and one for which there is no error.
    fn log(&self, _: RDKafkaLogLevel, _: &str, line: &str) {
        if line.contains("in state APIVERSION_QUERY") {
            let reason = "the broker closed the connection at the first request: does this listener expect TLS?";
            lock(&self.0).get_or_insert((RDKafkaErrorCode::BrokerTransportFailure, reason.to_owned()));
        }
        tracing::debug!("reach Kafka: {line}");
    }
}

impl ConsumerContext for Complaints {}

/// A client that creates and describes topics.
pub(super) fn admin(kafka: &Kafka) -> Result<AdminClient<LoggedContext>, CallError> {
    create("create the admin client", base(kafka, "admin"), &[&kafka.client], LoggedContext)
}

/// Puts a record into the queue of a producer; waits while it is full.
pub(super) fn send<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
    producer: &BaseProducer<Deliveries>,
    mut record: BaseRecord<'_, K, P>,
) -> KafkaResult<()> {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                producer.poll(Duration::from_millis(1));
                record = returned;
            }
            Err((cause, _)) => return Err(cause),
        }
    }
}

/// 2000-01-01, in milliseconds.
const YEAR_2000: i64 = 946_684_800_000;

/// The time of a broker, and when it was current.
pub(super) type BrokerTime = (Timestamp, Instant);

/// The context of producers: counts delivery reports, logs errors.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    pub(super) delivered: AtomicU64,
    pub(super) failed: AtomicU64,
    /// Whether a topic may not be written.
    refused: AtomicBool,
    /// The time of the broker, from the last report of a topic with `LogAppendTime`.
    broker_time: Mutex<Option<BrokerTime>>,
}

impl Deliveries {
    /// Whether the right to write a topic is missing; the log names the topic.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// The time of the broker.
    pub(super) fn broker_time(&self) -> Option<BrokerTime> {
        *lock(&self.broker_time)
    }
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        client_log::error(&error, reason);
    }

    /// librdkafka reports a topic that may not be written in its log; the call that fails next reports something else.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if line.contains("Topic authorization failed") {
            self.refused.store(true, Ordering::Relaxed);
        }
        client_log::line(level, facility, line);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                // A broker without a clock, as that of the demo, says nothing.
                if let rdkafka::Timestamp::LogAppendTime(millis @ YEAR_2000..) = message.timestamp() {
                    *lock(&self.broker_time) = Some((Timestamp(millis), Instant::now()));
                }
                self.delivered.fetch_add(1, Ordering::Relaxed)
            }
            Err((error, message)) => {
                let topic = message.topic();
                tracing::debug!("deliver to {topic}: {error}");
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
                    && !self.refused.swap(true, Ordering::Relaxed)
                {
                    tracing::error!("write {topic}: the right Write on the topic is missing");
                }
                self.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}
