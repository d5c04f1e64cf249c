//! Owns the verification and creation of topics.
//!
//! A shard is the same partition of every source topic, of `rerouted`, of `state` and of the topic of open alerts, so
//! these must have the same partition count. Changing the count would move tenants to other partitions, so nothing here
//! ever changes it.

use super::client::{self, CallError};
use super::client_log::{LoggedContext, gist};
use super::control::Stop;
use super::patience::{PAUSE, Patience};
use crate::config::{Config, LEAST_RECORD_BYTES, TopicRole};
use crate::domain::source::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Timeout of one metadata request.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of one attempt to reach a broker.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long events of a client are served: a call without time returns after the first one.
const SERVE: Duration = Duration::from_millis(100);
/// Attempts after which a refusal is final: a handshake can also fail because a broker is just stopping.
const REFUSALS: u32 = 5;
/// Part of every error of OpenSSL.
const OPENSSL: &str = ":SSL routines:";
/// What librdkafka says of a certificate that it does not accept.
const CERTIFICATE: &str = "certificate verify failed";
/// Timeout of admin requests, and of a new topic's propagation to all brokers.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The topics are missing or wrong, or cannot be queried.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// A client could not be created.
    #[error(transparent)]
    Call(#[from] CallError),
    /// No broker is reachable.
    #[error("reach Kafka at {bootstrap}: {cause}")]
    Unreachable {
        /// `kafka.bootstrap`.
        bootstrap: String,
        /// Why, in librdkafka's words.
        cause: String,
    },
    /// The principal of this process lacks a right.
    #[error("describe topic {0}: the right Describe is missing")]
    NotDescribed(String),
    /// Topics do not exist.
    #[error("topics do not exist: {}; `funnelwatch topics --create` creates them", .0.join(", "))]
    Missing(Vec<String>),
    /// The partition counts of the sharded topics differ.
    #[error(
        "the source topics, the rerouted topic and the topic of open alerts must have the same number of partitions, and so \
         must those of hints and cursors, and those of alerts and of what people were informed, but {}", counts(.0)
    )]
    Unequal(Vec<(String, usize)>),
    /// A topic takes only small records.
    #[error(
        "{topic}: max.message.bytes is {bytes}, at least {LEAST_RECORD_BYTES} are needed for the records of this program"
    )]
    SmallRecords {
        /// The topic.
        topic: String,
        /// Its `max.message.bytes`.
        bytes: usize,
    },
    /// The broker refused a request.
    #[error("{what}: {reason}")]
    Refused {
        /// The request.
        what: String,
        /// The broker's response.
        reason: String,
    },
}

fn counts(topics: &[(String, usize)]) -> String {
    topics.iter().map(|(name, n)| format!("{name} has {n}")).collect::<Vec<_>>().join(", ")
}

/// Waits until a broker answers; `false`: stop requested. Refusals that do not heal by waiting end it after some seconds.
fn reach(config: &Config, patience: &mut Patience<'_>) -> Result<bool, TopicsError> {
    let client = client::probe(&config.kafka, &[])?;
    let topic = config.topics.name(TopicRole::ALL[0]);
    let (mut refusals, mut last) = (0, None);
    while !patience.is_stopped() {
        let Err(error) = client.fetch_metadata(Some(topic), PROBE_TIMEOUT) else { return Ok(true) };
        while client.poll(SERVE).is_some() {}
        // librdkafka does not repeat a reason that stays the same.
        last = client.context().take().or(last);
        let cause = last.as_ref().map_or_else(|| error.to_string(), |(_, reason)| reason.clone());
        // A handshake that fails early is reported as a failed transport, with the words of OpenSSL.
        let is_refusal = last.as_ref().is_some_and(|(code, reason)| {
            matches!(code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) || reason.contains(OPENSSL)
        });
        refusals = if is_refusal { refusals + 1 } else { 0 };
        let reason = format!("reach Kafka at {}: {}", config.kafka.bootstrap, gist(&cause));
        if refusals >= REFUSALS || !patience.go_on(&reason) {
            let hint = certificate_hint(config, topic, &cause)?;
            return Err(TopicsError::Unreachable {
                bootstrap: config.kafka.bootstrap.clone(),
                cause: format!("{cause}{hint}"),
            });
        }
    }
    Ok(false)
}

/// What is wrong with a certificate: librdkafka has one text for an unknown CA and a wrong host name. So the handshake is
/// tried without looking at the name, and without credentials.
fn certificate_hint(config: &Config, topic: &str, cause: &str) -> Result<&'static str, TopicsError> {
    if !cause.contains(CERTIFICATE) {
        return Ok("");
    }
    let any_name = [("security.protocol", "ssl"), ("ssl.endpoint.identification.algorithm", "none")];
    let client = client::probe(&config.kafka, &any_name)?;
    let _ = client.fetch_metadata(Some(topic), QUERY_TIMEOUT);
    while client.poll(SERVE).is_some() {}
    let is_still_wrong = client.context().take().is_some_and(|(_, reason)| reason.contains(CERTIFICATE));
    Ok(if is_still_wrong {
        "; its CA is not trusted"
    } else {
        "; its CA is trusted, but it was issued for another host name than the one in kafka.bootstrap"
    })
}

/// The number of shards, which is the partition count of the source topics; waits for brokers, and without a limit also
/// for the topics. `None`: stop requested.
pub(super) fn shards<C: ClientContext>(
    client: &Client<C>,
    config: &Config,
    patience: &mut Patience<'_>,
) -> Result<Option<u32>, TopicsError> {
    loop {
        if !reach(config, patience)? {
            return Ok(None);
        }
        match count_shards(client, config, patience) {
            Err(missing @ TopicsError::Missing(_)) if patience.is_unlimited() && !patience.is_stopped() => {
                patience.go_on(&missing.to_string());
                std::thread::sleep(PAUSE);
            }
            counted => return counted,
        }
    }
}

/// The partition count of two topics whose partitions belong together; waits for brokers, and for them and the source topics.
/// `None`: stop requested.
pub(super) fn common_partitions<C: ClientContext>(
    client: &Client<C>,
    config: &Config,
    pair: [TopicRole; 2],
    patience: &mut Patience<'_>,
) -> Result<Option<u32>, TopicsError> {
    loop {
        if !reach(config, patience)? {
            return Ok(None);
        }
        let mut counts = Vec::new();
        for role in Topic::ALL.map(TopicRole::Source).into_iter().chain(pair) {
            let name = config.topics.name(role);
            let Some(count) = partition_count(client, config, name, patience)? else { return Ok(None) };
            counts.push((name.to_owned(), count));
        }
        let missing: Vec<String> =
            counts.iter().filter(|(_, count)| *count == 0).map(|(name, _)| name.clone()).collect();
        if missing.is_empty() {
            let own = counts.split_off(Topic::COUNT);
            let count = own.first().map_or(0, |(_, n)| *n);
            if own.iter().any(|(_, n)| *n != count) {
                return Err(TopicsError::Unequal(own));
            }
            return Ok(u32::try_from(count).ok());
        }
        let missing = TopicsError::Missing(missing);
        if !patience.is_unlimited() || !patience.go_on(&missing.to_string()) {
            return Err(missing);
        }
        std::thread::sleep(PAUSE);
    }
}

fn count_shards<C: ClientContext>(
    client: &Client<C>,
    config: &Config,
    patience: &mut Patience<'_>,
) -> Result<Option<u32>, TopicsError> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    // The restore checks the state topic itself.
    let roles = TopicRole::ALL.into_iter().filter(|role| *role != TopicRole::State);
    for role in roles.chain(config.members.is_some().then_some(TopicRole::Members)) {
        let name = config.topics.name(role);
        let Some(partitions) = partition_count(client, config, name, patience)? else { return Ok(None) };
        match partitions {
            0 => missing.push(name.to_owned()),
            n if matches!(role, TopicRole::Source(_) | TopicRole::Rerouted | TopicRole::OpenAlerts) => {
                found.push((name.to_owned(), n));
            }
            _ => {}
        }
    }
    if !missing.is_empty() {
        return Err(TopicsError::Missing(missing));
    }
    let count = found.first().map_or(0, |(_, n)| *n);
    if found.iter().any(|(_, n)| *n != count) {
        return Err(TopicsError::Unequal(found));
    }
    Ok(u32::try_from(count).ok())
}

/// The partition count of a topic, 0 if it does not exist; waits for brokers. `None`: stop requested.
pub(super) fn partition_count<C: ClientContext>(
    client: &Client<C>,
    config: &Config,
    topic: &str,
    patience: &mut Patience<'_>,
) -> Result<Option<usize>, TopicsError> {
    while !patience.is_stopped() {
        match client.fetch_metadata(Some(topic), QUERY_TIMEOUT) {
            Ok(metadata) => {
                let partitions = metadata.topics().first().map_or(Ok(Some(0)), partitions);
                if let Some(partitions) = partitions? {
                    return Ok(Some(partitions));
                }
                // Leader election is in progress.
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(cause) => {
                let bootstrap = &config.kafka.bootstrap;
                if !patience.go_on(&format!("describe topic {topic} at {bootstrap}: {cause}")) {
                    return Err(TopicsError::Unreachable { bootstrap: bootstrap.clone(), cause: cause.to_string() });
                }
            }
        }
    }
    Ok(None)
}

/// The partition count of a topic; `None`: it exists, but has no leader yet.
fn partitions(topic: &MetadataTopic) -> Result<Option<usize>, TopicsError> {
    match topic.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(topic.partitions().len())),
        Some(RDKafkaErrorCode::LeaderNotAvailable) => Ok(None),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Err(TopicsError::NotDescribed(topic.name().into())),
        Some(_) => Ok(Some(0)),
    }
}

/// The required topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whether to create missing topics.
    pub create: bool,
    /// The partition count; `None`: that of the existing source topics, otherwise [`PARTITIONS`].
    pub partitions: Option<u32>,
    /// Replication factor of created topics.
    pub replication: u16,
}

/// The default partition count of new topics: the upper bound of the number of processes and workers.
pub const PARTITIONS: u32 = 12;

/// The result for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The topic.
    pub topic: String,
    /// Its partition count; 0 if it does not exist.
    pub partitions: usize,
    /// Whether it was created by this call.
    pub created: bool,
    /// Descriptions of what is wrong.
    pub problems: Vec<String>,
}

/// The results, one line per topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(pub Vec<Line>);

impl Report {
    /// Whether there are no problems.
    pub fn is_ok(&self) -> bool {
        self.0.iter().all(|line| line.problems.is_empty())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|line| line.topic.len()).max().unwrap_or(0);
        for Line { topic, partitions, created, problems } in &self.0 {
            let verdict = match (problems.is_empty(), created) {
                (false, _) => problems.join("; "),
                (true, true) => "created".into(),
                (true, false) => "ok".into(),
            };
            writeln!(f, "{topic:width$}  {partitions:4} partitions  {verdict}")?;
        }
        Ok(())
    }
}

/// The purpose of a topic: its required settings, and additional ones for its creation.
struct Purpose<'a> {
    role: TopicRole,
    topic: &'a str,
    /// Its partitions belong to shards.
    sharded: bool,
    /// It is created with one partition, the only one that is used.
    single: bool,
    compacted: bool,
    extra: &'static [(&'static str, &'static str)],
}

fn purposes(config: &Config) -> Vec<Purpose<'_>> {
    let topics = &config.topics;
    let purpose = |role| {
        let (sharded, compacted, extra): (_, _, &[_]) = match role {
            // The broker unpacks each batch before it accepts it, so none unpacks to more than max.message.bytes.
            TopicRole::Source(_) => (true, false, &[("compression.type", "uncompressed")]),
            TopicRole::Rerouted => (true, false, &[]),
            // A restore reads the whole topic, and so does a new subscriber: early compaction keeps it short.
            TopicRole::OpenAlerts => (true, true, &[("min.cleanable.dirty.ratio", "0.2"), ("segment.ms", "3600000")]),
            // The delivery reports then contain the time of the broker.
            TopicRole::State => (
                true,
                true,
                &[
                    ("min.cleanable.dirty.ratio", "0.2"),
                    ("segment.ms", "3600000"),
                    ("message.timestamp.type", "LogAppendTime"),
                ],
            ),
            TopicRole::Metrics => (false, true, &[]),
            TopicRole::Alerts | TopicRole::Reviews => (false, false, &[]),
            // A dead letter is the original message and headers of ours.
            TopicRole::DeadLetters => (false, false, &[("max.message.bytes", "2097152")]),
            // The owner of a partition of the hints has the same partition of the cursors.
            TopicRole::Hints => (true, false, &[]),
            TopicRole::Cursors => (true, true, &[("min.cleanable.dirty.ratio", "0.2"), ("segment.ms", "3600000")]),
            // The same number of partitions as the topic of alerts: checked where they are read.
            TopicRole::Notify => (false, true, &[("min.cleanable.dirty.ratio", "0.2"), ("segment.ms", "3600000")]),
            // Records replace each other every second. How old one is counts by the clock of the broker.
            TopicRole::Members => (
                false,
                true,
                &[
                    ("min.cleanable.dirty.ratio", "0.2"),
                    ("segment.ms", "3600000"),
                    ("delete.retention.ms", "60000"),
                    ("message.timestamp.type", "LogAppendTime"),
                ],
            ),
        };
        let single = role == TopicRole::Members;
        Purpose { role, topic: topics.name(role), sharded, single, compacted, extra }
    };
    let of_gateway = TopicRole::GATEWAY.into_iter().filter(|_| config.gateway.is_some());
    let of_notify = TopicRole::NOTIFY.into_iter().filter(|_| config.notify.is_some());
    let of_members = config.members.is_some().then_some(TopicRole::Members);
    TopicRole::ALL.into_iter().chain(of_gateway).chain(of_notify).chain(of_members).map(purpose).collect()
}

/// Waits until a broker answers, without limit; `false`: stop requested.
pub fn await_broker(config: &Config, stop: &Stop) -> Result<bool, TopicsError> {
    reach(config, &mut Patience::unlimited(stop))
}

/// Verifies all topics of the configuration, and creates missing ones if requested.
pub fn verify(config: &Config, wanted: &Wanted) -> Result<Report, TopicsError> {
    reach(config, &mut Patience::limited(&Stop::default()))?;
    let admin = client::admin(&config.kafka)?;
    let purposes = purposes(config);
    let mut found = count_all(&admin, config, &purposes)?;
    let sources = purposes.iter().filter(|purpose| matches!(purpose.role, TopicRole::Source(_)));
    let sources = sources.filter_map(|purpose| found.get(purpose.topic).copied()).max();
    let partitions = wanted.partitions.unwrap_or(sources.map_or(PARTITIONS, |n| n as u32));
    let missing: Vec<_> = purposes.iter().filter(|purpose| !found.contains_key(purpose.topic)).collect();
    let mut created = Vec::new();
    if wanted.create && !missing.is_empty() {
        create(&admin, &missing, partitions, wanted.replication)?;
        created = missing.iter().map(|purpose| purpose.topic).collect();
        found = await_all(&admin, config, &purposes)?;
    }
    let existing: Vec<&str> =
        purposes.iter().map(|purpose| purpose.topic).filter(|topic| found.contains_key(*topic)).collect();
    let policies = settings_of(&admin, &existing, "cleanup.policy", ADMIN_TIMEOUT)?;
    let line = |purpose: &Purpose<'_>| {
        let mut problems = Vec::new();
        let count = found.get(purpose.topic).copied();
        match count {
            None => problems.push("does not exist".into()),
            Some(n) if purpose.sharded && n != partitions as usize => {
                problems.push(format!("expected {partitions} partitions, found {n}"));
            }
            Some(_) => {}
        }
        if count.is_some() && !policies.contains_key(purpose.topic) {
            // A broker answers without settings to whom it does not let see them.
            problems.push("settings not checked: the right DescribeConfigs is missing".into());
        }
        if let Some(policy) = policies.get(purpose.topic) {
            let is_compacted = policy.split(',').any(|part| part.trim() == "compact");
            if is_compacted != purpose.compacted {
                let expected = if purpose.compacted { "compact" } else { "delete" };
                problems.push(format!("expected cleanup.policy={expected}, found {policy}"));
            }
        }
        Line {
            topic: purpose.topic.into(),
            partitions: count.unwrap_or(0),
            created: created.contains(&purpose.topic),
            problems,
        }
    };
    Ok(Report(purposes.iter().map(line).collect()))
}

pub(super) type Admin = AdminClient<LoggedContext>;

/// Partition counts of the topics that exist.
fn count_all(admin: &Admin, config: &Config, purposes: &[Purpose<'_>]) -> Result<BTreeMap<String, usize>, TopicsError> {
    let mut found = BTreeMap::new();
    for Purpose { topic, .. } in purposes {
        if let Some(n @ 1..) = partition_count(admin.inner(), config, topic, &mut Patience::limited(&Stop::default()))?
        {
            found.insert((*topic).into(), n);
        }
    }
    Ok(found)
}

/// Waits until all brokers know the created topics.
fn await_all(admin: &Admin, config: &Config, purposes: &[Purpose<'_>]) -> Result<BTreeMap<String, usize>, TopicsError> {
    let started = Instant::now();
    loop {
        let found = count_all(admin, config, purposes)?;
        if found.len() == purposes.len() || started.elapsed() > ADMIN_TIMEOUT {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn create(admin: &Admin, missing: &[&Purpose<'_>], partitions: u32, replication: u16) -> Result<(), TopicsError> {
    // With three replicas one may be offline, and acknowledged messages are still on two.
    let in_sync = replication.saturating_sub(1).max(1).to_string();
    let topics: Vec<_> = missing
        .iter()
        .map(|purpose| {
            let policy = if purpose.compacted { "compact" } else { "delete" };
            let partitions = if purpose.single { 1 } else { partitions as i32 };
            let topic = NewTopic::new(purpose.topic, partitions, TopicReplication::Fixed(i32::from(replication)))
                .set("cleanup.policy", policy)
                .set("min.insync.replicas", &in_sync);
            purpose.extra.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT)).operation_timeout(Some(ADMIN_TIMEOUT));
    let refused = |topic: &str, reason: String| TopicsError::Refused { what: format!("create {topic}"), reason };
    let results = wait(admin.create_topics(&topics, &options))
        .map_err(|error| refused("topics", error.to_string()))?
        .map_err(|error| refused("topics", error.to_string()))?;
    for result in results {
        match result {
            // Created concurrently by another process.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(refused(&topic, code.to_string())),
        }
    }
    Ok(())
}

/// The largest record that every topic that is written takes, framing included.
pub(super) fn record_bytes(admin: &Admin, config: &Config) -> Result<usize, TopicsError> {
    let own = client::max_batch_bytes(&config.kafka);
    let written = TopicRole::ALL.into_iter().filter(|role| !matches!(role, TopicRole::Source(_)));
    let written: Vec<&str> = written.map(|role| config.topics.name(role)).collect();
    let found = settings_of(admin, &written, "max.message.bytes", QUERY_TIMEOUT).unwrap_or_else(|error| {
        tracing::info!("the topics are assumed to take records of {own} bytes: {error}");
        BTreeMap::new()
    });
    let bytes = found.into_iter().filter_map(|(topic, bytes)| Some((bytes.parse().ok()?, topic)));
    match bytes.min() {
        Some((bytes, topic)) if bytes < LEAST_RECORD_BYTES => Err(TopicsError::SmallRecords { topic, bytes }),
        Some((bytes, _)) => Ok(own.min(bytes)),
        None => Ok(own),
    }
}

/// A setting of topics that exist.
fn settings_of(
    admin: &Admin,
    topics: &[&str],
    setting: &str,
    timeout: Duration,
) -> Result<BTreeMap<String, String>, TopicsError> {
    let refused = |reason: String| TopicsError::Refused { what: "describe topics".into(), reason };
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let specifiers: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let results = wait(admin.describe_configs(&specifiers, &options))
        .map_err(|error| refused(error.to_string()))?
        .map_err(|error| refused(error.to_string()))?;
    let mut found = BTreeMap::new();
    for (topic, result) in topics.iter().zip(results) {
        let resource = result.map_err(|code| refused(format!("{topic}: {code}")))?;
        if let Some(value) = resource.get(setting).and_then(|entry| entry.value.clone()) {
            found.insert((*topic).into(), value);
        }
    }
    Ok(found)
}

/// Waits for a response of the admin client, which has its own thread.
fn wait<T>(answer: impl Future<Output = T>) -> std::io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_lists_problems() {
        let line = |topic: &str, created, problems: &[&str]| Line {
            topic: topic.into(),
            partitions: 4,
            created,
            problems: problems.iter().map(|text| (*text).into()).collect(),
        };
        let report = Report(vec![line("crm.events", false, &[]), line("x", true, &[])]);
        assert!(report.is_ok());
        assert_eq!(report.to_string(), "crm.events     4 partitions  ok\nx              4 partitions  created\n");
        assert!(!Report(vec![line("x", false, &["does not exist"])]).is_ok());
    }

    #[test]
    fn unequal_partition_counts_are_listed() {
        let error = TopicsError::Unequal(vec![("a".into(), 4), ("b".into(), 6)]);
        assert!(error.to_string().ends_with("but a has 4, b has 6"), "{error}");
    }
}
