//! Owns the topics: whether they are there and as they must be, and their creation.
//!
//! A shard is the same partition of every source topic, of `rerouted` and of `state`: these have one partition count. The
//! count cannot be changed later without moving tenants to other partitions, so nothing here ever changes it.

use super::Stop;
use super::client::{self, ClientError};
use super::source_topics::SourceTopics;
use crate::config::{Config, Topics};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{Client, ClientContext, DefaultClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How long brokers are waited for.
const REACH: Duration = Duration::from_secs(60);
/// One question to them.
const ASK: Duration = Duration::from_secs(5);
/// A broker creates topics in this time.
const CREATE: Duration = Duration::from_secs(30);

/// The topics are not as they must be, or cannot be asked about.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// A client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No broker answers.
    #[error("reach Kafka at {bootstrap}: {cause}")]
    Unreachable {
        /// `kafka.bootstrap`.
        bootstrap: String,
        /// What the last try came to.
        cause: KafkaError,
    },
    /// Topics do not exist.
    #[error("topics do not exist: {}; `funnelwatch topics --create` makes them", .0.join(", "))]
    Missing(Vec<String>),
    /// The topics that shards are made of differ.
    #[error("source topics and the one for rerouted messages must have the same number of partitions, but {}", counts(.0))]
    Unequal(Vec<(String, usize)>),
    /// The broker refused.
    #[error("{what}: {reason}")]
    Refused {
        /// What was tried.
        what: String,
        /// The broker's answer.
        reason: String,
    },
}

fn counts(topics: &[(String, usize)]) -> String {
    topics.iter().map(|(name, n)| format!("{name} has {n}")).collect::<Vec<_>>().join(", ")
}

/// How many shards there are: the partition count of the source topics. `None`: asked to stop.
pub(super) fn shards<C: ClientContext>(
    client: &Client<C>,
    config: &Config,
    stop: &Stop,
) -> Result<Option<u32>, TopicsError> {
    let sources = SourceTopics::of(&config.topics);
    let topics = &config.topics;
    let mut found = Vec::new();
    let mut missing = Vec::new();
    let outputs = [&topics.alerts, &topics.metrics, &topics.reviews, &topics.dead_letters];
    for (place, name) in sources.names().iter().chain(outputs).enumerate() {
        let Some(partitions) = ask(client, config, name, stop)? else { return Ok(None) };
        match partitions {
            0 => missing.push(name.clone()),
            n if place < sources.names().len() => found.push((name.clone(), n)),
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

/// The partition count of a topic, 0 if there is none; waits for brokers. `None`: asked to stop.
fn ask<C: ClientContext>(
    client: &Client<C>,
    config: &Config,
    topic: &str,
    stop: &Stop,
) -> Result<Option<usize>, TopicsError> {
    let started = Instant::now();
    while !stop.is_set() {
        match client.fetch_metadata(Some(topic), ASK) {
            Ok(metadata) => {
                let partitions = metadata.topics().first().map_or(Some(0), partitions);
                if let Some(partitions) = partitions {
                    return Ok(Some(partitions));
                }
                // Its leaders are being elected.
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(cause) if started.elapsed() > REACH => {
                return Err(TopicsError::Unreachable { bootstrap: config.kafka.bootstrap.clone(), cause });
            }
            Err(error) => tracing::warn!("reach Kafka at {}: {error}; trying again", config.kafka.bootstrap),
        }
    }
    Ok(None)
}

/// `None`: it is there, but cannot be used yet.
fn partitions(topic: &MetadataTopic) -> Option<usize> {
    match topic.error().map(RDKafkaErrorCode::from) {
        None => Some(topic.partitions().len()),
        Some(RDKafkaErrorCode::LeaderNotAvailable) => None,
        Some(_) => Some(0),
    }
}

/// How topics should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Creates those that are missing.
    pub create: bool,
    /// The partition count; `None`: that of the source topics that exist, else [`PARTITIONS`].
    pub partitions: Option<u32>,
    /// Replicas of topics that are created.
    pub replication: u16,
}

/// The partition count of new topics, if nothing else is said: a ceiling of processes and of workers.
pub const PARTITIONS: u32 = 12;

/// What became of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The topic.
    pub topic: String,
    /// Its partition count; 0 if there is none.
    pub partitions: usize,
    /// It was made just now.
    pub created: bool,
    /// What is not as it must be, in words.
    pub differs: Vec<String>,
}

/// What was found, a line a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(pub Vec<Line>);

impl Report {
    /// Whether everything is as it must be.
    pub fn is_good(&self) -> bool {
        self.0.iter().all(|line| line.differs.is_empty())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|line| line.topic.len()).max().unwrap_or(0);
        for Line { topic, partitions, created, differs } in &self.0 {
            let verdict = match (differs.is_empty(), created) {
                (false, _) => differs.join("; "),
                (true, true) => "created".into(),
                (true, false) => "good".into(),
            };
            writeln!(f, "{topic:width$}  {partitions:4} partitions  {verdict}")?;
        }
        Ok(())
    }
}

/// What a topic is for: settings that it must have, and further ones that it is created with.
struct Purpose<'a> {
    topic: &'a str,
    /// Shards are made of it.
    sharded: bool,
    compacted: bool,
    extra: &'static [(&'static str, &'static str)],
}

fn purposes(topics: &Topics) -> Vec<Purpose<'_>> {
    let kept = |topic, sharded| Purpose { topic, sharded, compacted: false, extra: &[] };
    let compacted = |topic, sharded, extra| Purpose { topic, sharded, compacted: true, extra };
    vec![
        kept(topics.crm.name.as_str(), true),
        kept(topics.telephony.name.as_str(), true),
        kept(topics.email.name.as_str(), true),
        kept(&topics.rerouted, true),
        // A restore reads it whole: what is outdated is to be cleaned away early.
        compacted(&topics.state, true, &[("min.cleanable.dirty.ratio", "0.2"), ("segment.ms", "3600000")]),
        kept(&topics.alerts, false),
        compacted(&topics.metrics, false, &[]),
        kept(&topics.reviews, false),
        // Other people's messages, with headers of ours on top.
        Purpose { extra: &[("max.message.bytes", "2097152")], ..kept(&topics.dead_letters, false) },
    ]
}

/// Verifies all topics of the configuration, and creates those that are missing, if wanted.
pub fn verify(config: &Config, wanted: &Wanted) -> Result<Report, TopicsError> {
    let admin = client::admin(&config.kafka)?;
    let purposes = purposes(&config.topics);
    let mut found = count_all(&admin, config, &purposes)?;
    let sources = purposes.iter().take(3).filter_map(|purpose| found.get(purpose.topic).copied()).max();
    let partitions = wanted.partitions.unwrap_or(sources.map_or(PARTITIONS, |n| n as u32));
    let missing: Vec<_> = purposes.iter().filter(|purpose| !found.contains_key(purpose.topic)).collect();
    let mut created = Vec::new();
    if wanted.create && !missing.is_empty() {
        create(&admin, &missing, partitions, wanted.replication)?;
        created = missing.iter().map(|purpose| purpose.topic).collect();
        found = await_all(&admin, config, &purposes)?;
    }
    let policies = policies(&admin, &purposes, &found)?;
    let line = |purpose: &Purpose<'_>| {
        let mut differs = Vec::new();
        let count = found.get(purpose.topic).copied();
        match count {
            None => differs.push("does not exist".into()),
            Some(n) if purpose.sharded && n != partitions as usize => {
                differs.push(format!("has {n} partitions instead of {partitions}"));
            }
            Some(_) => {}
        }
        if let Some(policy) = policies.get(purpose.topic) {
            let is_compacted = policy.split(',').any(|part| part.trim() == "compact");
            if is_compacted != purpose.compacted {
                let should = if purpose.compacted { "compact" } else { "delete" };
                differs.push(format!("has cleanup.policy={policy} instead of {should}"));
            }
        }
        Line {
            topic: purpose.topic.into(),
            partitions: count.unwrap_or(0),
            created: created.contains(&purpose.topic),
            differs,
        }
    };
    Ok(Report(purposes.iter().map(line).collect()))
}

type Admin = AdminClient<DefaultClientContext>;

/// Partition counts of the topics that exist.
fn count_all(admin: &Admin, config: &Config, purposes: &[Purpose<'_>]) -> Result<BTreeMap<String, usize>, TopicsError> {
    let mut found = BTreeMap::new();
    for Purpose { topic, .. } in purposes {
        if let Some(n @ 1..) = ask(admin.inner(), config, topic, &Stop::default())? {
            found.insert((*topic).into(), n);
        }
    }
    Ok(found)
}

/// A topic that was created is known to all brokers a moment later.
fn await_all(admin: &Admin, config: &Config, purposes: &[Purpose<'_>]) -> Result<BTreeMap<String, usize>, TopicsError> {
    let started = Instant::now();
    loop {
        let found = count_all(admin, config, purposes)?;
        if found.len() == purposes.len() || started.elapsed() > CREATE {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn create(admin: &Admin, missing: &[&Purpose<'_>], partitions: u32, replication: u16) -> Result<(), TopicsError> {
    // With three replicas one may be away, and what is acknowledged is still on two.
    let in_sync = replication.saturating_sub(1).max(1).to_string();
    let topics: Vec<_> = missing
        .iter()
        .map(|purpose| {
            let policy = if purpose.compacted { "compact" } else { "delete" };
            let topic =
                NewTopic::new(purpose.topic, partitions as i32, TopicReplication::Fixed(i32::from(replication)))
                    .set("cleanup.policy", policy)
                    .set("min.insync.replicas", &in_sync);
            purpose.extra.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(CREATE)).operation_timeout(Some(CREATE));
    let refused = |topic: &str, reason: String| TopicsError::Refused { what: format!("create {topic}"), reason };
    let results = wait(admin.create_topics(&topics, &options))
        .map_err(|error| refused("topics", error.to_string()))?
        .map_err(|error| refused("topics", error.to_string()))?;
    for result in results {
        match result {
            // Somebody else was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(refused(&topic, code.to_string())),
        }
    }
    Ok(())
}

/// The cleanup policies of the topics that exist.
fn policies(
    admin: &Admin,
    purposes: &[Purpose<'_>],
    found: &BTreeMap<String, usize>,
) -> Result<BTreeMap<String, String>, TopicsError> {
    let refused = |reason: String| TopicsError::Refused { what: "describe topics".into(), reason };
    let topics: Vec<_> =
        purposes.iter().map(|purpose| purpose.topic).filter(|topic| found.contains_key(*topic)).collect();
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let specifiers: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let options = AdminOptions::new().request_timeout(Some(CREATE));
    let results = wait(admin.describe_configs(&specifiers, &options))
        .map_err(|error| refused(error.to_string()))?
        .map_err(|error| refused(error.to_string()))?;
    let mut policies = BTreeMap::new();
    for (topic, result) in topics.into_iter().zip(results) {
        let resource = result.map_err(|code| refused(format!("{topic}: {code}")))?;
        if let Some(policy) = resource.get("cleanup.policy").and_then(|entry| entry.value.clone()) {
            policies.insert(topic.into(), policy);
        }
    }
    Ok(policies)
}

/// Waits for an answer to the admin client, which has a thread of its own.
fn wait<T>(answer: impl Future<Output = T>) -> std::io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_differs() {
        let line = |topic: &str, created, differs: &[&str]| Line {
            topic: topic.into(),
            partitions: 4,
            created,
            differs: differs.iter().map(|text| (*text).into()).collect(),
        };
        let report = Report(vec![line("crm.events", false, &[]), line("x", true, &[])]);
        assert!(report.is_good());
        assert_eq!(report.to_string(), "crm.events     4 partitions  good\nx              4 partitions  created\n");
        assert!(!Report(vec![line("x", false, &["does not exist"])]).is_good());
    }

    #[test]
    fn unequal_counts_are_named() {
        let error = TopicsError::Unequal(vec![("a".into(), 4), ("b".into(), 6)]);
        assert!(error.to_string().ends_with("but a has 4, b has 6"), "{error}");
    }
}
