//! Owns how librdkafka's clients are set up: one constructor for each kind, every setting that differs from
//! librdkafka's default with its reason. What an operator sets beside them comes last; the configuration has refused
//! what would break a guarantee.

use super::group::GroupContext;
use super::producer::Deliveries;
use super::state_reader::Quiet;
use crate::config::{Kafka, Properties};
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use std::time::Duration;

/// The broker takes back a transaction that is open for so long, and all who read committed messages wait for it.
pub(super) const TRANSACTION: Duration = Duration::from_secs(10);
/// What the consumer reads ahead, over all partitions.
const READ_AHEAD_KBYTES: usize = 64 * 1024;
/// Kafka's own default bound of a message, with the framing of its batch.
pub(super) const LARGEST_MESSAGE: usize = 1_048_588;

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("create the {client}: {cause}")]
pub struct ClientError {
    client: &'static str,
    cause: KafkaError,
}

/// Settings of every client.
fn base(kafka: &Kafka, name: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.bootstrap)
        // The name in the broker's logs and quotas.
        .set("client.id", format!("{}-{name}", kafka.transactional_id))
        // 10 s: a broker that is back is used again within a second.
        .set("reconnect.backoff.max.ms", "1000")
        // false: connections that are idle for hours must survive firewalls and be known to be dead.
        .set("socket.keepalive.enable", "true");
    config
}

fn with(mut config: ClientConfig, properties: [&Properties; 2]) -> ClientConfig {
    for (name, value) in properties.into_iter().flat_map(|properties| properties.iter()) {
        config.set(name, value);
    }
    config
}

/// The consumer; `partitions` is how many it may come to read.
pub(super) fn consumer(
    kafka: &Kafka,
    partitions: usize,
    group: GroupContext,
) -> Result<BaseConsumer<GroupContext>, ClientError> {
    let read_ahead = (READ_AHEAD_KBYTES / partitions.max(1)).max(1024);
    let mut config = base(kafka, "consumer");
    config
        .set("group.id", &kafka.group)
        // true: offsets are committed in the transaction of what came of them, and nowhere else.
        .set("enable.auto.commit", "false")
        // true: as above.
        .set("enable.auto.offset.store", "false")
        // The default, said because everything rests on it: what is not committed may be taken back.
        .set("isolation.level", "read_committed")
        // largest: a shard without offsets begins at its beginning, else events are lost in silence.
        .set("auto.offset.reset", "earliest")
        // range,roundrobin: those take all partitions away at every rebalance, this one only what moves. It is asked about
        // the CRM topic alone: partition p of the other feeds goes where that of the CRM topic goes.
        .set("partition.assignment.strategy", "cooperative-sticky")
        // none: a process that comes back under its name within the session gets its partitions back, without a rebalance.
        // And no offsets go unchecked: the broker takes those that come without a member id and a generation on trust, but
        // for the name of an instance.
        .set("group.instance.id", &kafka.transactional_id)
        // false: idle is who was read to the end.
        .set("enable.partition.eof", "true")
        // 500: a broker answers at once when there is something; but the mock cluster and the end of a partition wait
        // for it.
        .set("fetch.wait.max.ms", "50")
        // 1000: so long a partition would rest after its queue was full.
        .set("fetch.queue.backoff.ms", "5")
        // 500: a leader that moved is read from again soon.
        .set("fetch.error.backoff.ms", "100")
        // 65536 for all partitions together: we read each from a queue of its own, where the bound is for each.
        .set("queued.max.messages.kbytes", read_ahead.to_string())
        // 45000: a pod that died without a word holds its partitions for so long, against itself when it comes back,
        // too. Brokers allow no less.
        .set("session.timeout.ms", "6000")
        // 3000: members hear of a change of the group when their heartbeat is answered, and a shard that moves rests from
        // the one to the other.
        .set("heartbeat.interval.ms", "500")
        // 0: lag, and whether partitions can be reached.
        .set("statistics.interval.ms", "1000");
    let config = with(config, [&kafka.client, &kafka.consumer]);
    config.create_with_context(group).map_err(|cause| ClientError { client: "consumer", cause })
}

/// A client that asks what the group has committed, and reads state; it never joins.
pub(super) fn asker(kafka: &Kafka) -> Result<BaseConsumer<Quiet>, ClientError> {
    let mut config = base(kafka, "restore");
    config
        .set("group.id", &kafka.group)
        // true: offsets are committed in transactions, and nowhere else.
        .set("enable.auto.commit", "false")
        // The default, said because everything rests on it: offsets are told once no transaction is open on them.
        .set("isolation.level", "read_committed")
        // 1000: between two questions about offsets on which a transaction is open.
        .set("retry.backoff.max.ms", "100")
        // false: when the end of the state is reached, its position is looked at.
        .set("enable.partition.eof", "true")
        // 500: the end of a partition waits for it.
        .set("fetch.wait.max.ms", "50")
        // 1000: so long a partition would rest after the queue was full.
        .set("fetch.queue.backoff.ms", "5")
        // 1048576: a partition is read whole.
        .set("fetch.message.max.bytes", "8388608")
        // false: what state is rebuilt from must be what was written.
        .set("check.crcs", "true");
    let config = with(config, [&kafka.client, &kafka.consumer]);
    config.create_with_context(Quiet).map_err(|cause| ClientError { client: "client that reads state", cause })
}

/// A client that knows where partitions end, transactions that are open included.
pub(super) fn surveyor(kafka: &Kafka) -> Result<BaseConsumer, ClientError> {
    let mut config = base(kafka, "surveyor");
    config
        // read_committed: it would name the end of what is committed, and not see what is about to be.
        .set("isolation.level", "read_uncommitted");
    let config = with(config, [&kafka.client, &kafka.client]);
    config.create().map_err(|cause| ClientError { client: "client that surveys partitions", cause })
}

fn producer(kafka: &Kafka, name: &str) -> ClientConfig {
    let mut config = base(kafka, name);
    config
        // false: a retry must not write twice or out of order.
        .set("enable.idempotence", "true")
        // consistent_random (CRC32): tenants must lie where Java's producers put them.
        .set("partitioner", "murmur2_random")
        // true: a topic that a typing mistake creates has the wrong number of partitions.
        .set("allow.auto.create.topics", "false")
        // none: JSON shrinks to a third at hardly any cost.
        .set("compression.type", "lz4")
        // 1000000: dead letters are other people's messages, up to the broker's default bound.
        .set("message.max.bytes", LARGEST_MESSAGE.to_string())
        // 1 GiB: the output of an epoch waits here at most; a full queue is waited for.
        .set("queue.buffering.max.kbytes", "131072");
    config
}

/// The producer of the commit thread.
pub(super) fn transactional(kafka: &Kafka) -> Result<BaseProducer<Deliveries>, ClientError> {
    transactional_for(kafka, TRANSACTION)
}

/// Likewise, of transactions that may be open for `most`.
pub(super) fn transactional_for(kafka: &Kafka, most: Duration) -> Result<BaseProducer<Deliveries>, ClientError> {
    let mut config = producer(kafka, "committer");
    config
        .set("transactional.id", &kafka.transactional_id)
        // 60000: so long a dead process would hold up its successor and every reader.
        .set("transaction.timeout.ms", most.as_millis().to_string())
        // 300000: must be less than the transaction's.
        .set("message.timeout.ms", most.saturating_sub(Duration::from_secs(1)).as_millis().to_string())
        // 5: an epoch's records are sent in one go and then waited for; to linger only delays them.
        .set("linger.ms", "0")
        // 100: the coordinator asks to come again while it writes the markers of the transaction before; they take a
        // few milliseconds.
        .set("retry.backoff.ms", "10");
    let config = with(config, [&kafka.client, &kafka.producer]);
    config
        .create_with_context(Deliveries::default())
        .map_err(|cause| ClientError { client: "transactional producer", cause })
}

/// A producer without transactions, for simulated events.
pub(super) fn plain(kafka: &Kafka) -> Result<BaseProducer<Deliveries>, ClientError> {
    let mut config = producer(kafka, "simulator");
    // 5: many events a second fill a batch within a few milliseconds.
    config.set("linger.ms", "10");
    let config = with(config, [&kafka.client, &kafka.producer]);
    config.create_with_context(Deliveries::default()).map_err(|cause| ClientError { client: "producer", cause })
}

/// A client that creates and describes topics.
pub(super) fn admin(kafka: &Kafka) -> Result<AdminClient<DefaultClientContext>, ClientError> {
    let config = with(base(kafka, "admin"), [&kafka.client, &kafka.client]);
    config.create().map_err(|cause| ClientError { client: "admin client", cause })
}
