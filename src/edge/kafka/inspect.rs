//! Owns the inspection of shard state from outside: reads whole partitions of the state topic, and lists the members of
//! the group. Read-only; processes may run meanwhile.
//!
//! **Invariant: no partial transactions.** The end offset may lie inside a transaction that is being written. The last
//! record of each transaction is the shard's checkpoint; if the last record read is not one, the rest is read as well.

use super::client::CallError;
use super::control::Stop;
use super::patience::Patience;
use super::restore::compacted_reader::{CompactedConsumer, CompactedReader};
use super::topics::{self, TopicsError};
use crate::config::Config;
use crate::dataflow::state::StateLoader;
use crate::domain::source::ShardId;
use crate::edge::memory::MemoryBudget;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Timeout of a broker request.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long records are read before progress is checked.
const READ_TIME: Duration = Duration::from_millis(20);
/// Reading fails after this time without progress: no transaction is open longer.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// State could not be read.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A call failed permanently.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The topics are missing or wrong.
    #[error(transparent)]
    Topics(#[from] TopicsError),
    /// Reading makes no progress.
    #[error(
        "read the state of shard {shard}: no progress for {} s after {read} of {total} offsets; a transaction may be \
         open, or the brokers may be unreachable", STALL_TIMEOUT.as_secs()
    )]
    Stuck {
        /// The shard.
        shard: ShardId,
        /// Offsets read.
        read: u64,
        /// Offsets in total; 0 if unknown.
        total: u64,
    },
    /// The members of the group could not be determined.
    #[error("list the members of group {group}: {reason}")]
    Members {
        /// The group.
        group: String,
        /// Why.
        reason: String,
    },
}

/// Reads the state of shards and the members of the group.
pub struct Inspector {
    consumer: CompactedConsumer<StateLoader>,
    group: String,
    shards: u32,
}

impl Inspector {
    /// Finds the topics; waits for brokers.
    pub fn new(config: &Config) -> Result<Self, InspectError> {
        let consumer = CompactedConsumer::new(&config.kafka, MemoryBudget::detect(), &config.topics.state)?;
        // `None` only follows a stop request, and this `Stop` is never set.
        let (client, mut patience) = (consumer.metadata_client.client(), Patience::limited(&Stop::default()));
        let shards = topics::shards(client, config, &mut patience)?.unwrap_or_default();
        Ok(Self { consumer, group: config.kafka.group.clone(), shards })
    }

    /// The number of shards.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// The committed state of a shard.
    pub fn read(&self, shard: ShardId) -> Result<StateLoader, InspectError> {
        // Since when this number of offsets is read.
        let mut progress = (Instant::now(), 0);
        let mut readers: BTreeMap<ShardId, CompactedReader<StateLoader>> = BTreeMap::new();
        loop {
            let Some(bounds) = self.consumer.bounds(shard, QUERY_TIMEOUT)? else {
                if progress.0.elapsed() > STALL_TIMEOUT {
                    return Err(InspectError::Stuck { shard, read: 0, total: 0 });
                }
                std::thread::sleep(READ_TIME);
                continue;
            };
            let reader = readers.entry(shard).or_insert_with(|| CompactedReader::new(bounds));
            let is_extended = reader.extend(bounds.1);
            if reader.is_complete() && (reader.collected.is_settled() || !is_extended) {
                break;
            }
            self.consumer.assign(&mut readers)?;
            while let Some(reader) = readers.get(&shard).filter(|reader| !reader.is_complete()) {
                let (read, total) = reader.progress();
                if read > progress.1 {
                    progress = (Instant::now(), read);
                }
                if progress.0.elapsed() > STALL_TIMEOUT {
                    return Err(InspectError::Stuck { shard, read, total });
                }
                self.consumer.read(&mut readers, READ_TIME)?;
            }
            // If the last record read is a checkpoint, what was written meanwhile need not be read.
            if readers.get(&shard).is_some_and(|reader| reader.collected.is_settled()) {
                break;
            }
        }
        Ok(readers.remove(&shard).map(|reader| reader.collected).unwrap_or_default())
    }

    /// The client ids of the group's members. A crashed member stays in the list until its session times out.
    pub fn members(&self) -> Result<Vec<String>, InspectError> {
        let failed = |reason: String| InspectError::Members { group: self.group.clone(), reason };
        let started = Instant::now();
        loop {
            let found = self.consumer.metadata_client.fetch_group_list(Some(&self.group), QUERY_TIMEOUT);
            let reason = match found {
                Err(error) => reason(&error),
                Ok(list) => match list.groups().iter().find(|group| group.name() == self.group) {
                    None => return Ok(Vec::new()),
                    Some(group) if !group.members().is_empty() => {
                        return Ok(group.members().iter().map(|member| member.client_id().to_owned()).collect());
                    }
                    Some(group) if matches!(group.state(), "Empty" | "Dead") => return Ok(Vec::new()),
                    // An empty list does not mean no members: the coordinator may be moving.
                    Some(group) => format!("the group is in state {:?}", group.state()),
                },
            };
            if started.elapsed() > STALL_TIMEOUT {
                return Err(failed(reason));
            }
            tracing::debug!("list the members of group {}: {reason}; retrying", self.group);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn reason(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
