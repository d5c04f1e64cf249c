//! Owns the look from outside at the state of shards: whole partitions of the state topic, and who is in the group. Changes
//! nothing, and disturbs nobody: a process may run meanwhile.
//!
//! **Invariant: no half transactions.** The end that is noted may lie inside a transaction that is just being written. The
//! last record of each is where the shard stands; so when another one comes last, the rest of it is read as well.

use super::Stop;
use super::client::ClientError;
use super::state_reader::{ReadError, StateConsumer, StateReader};
use super::topics::{self, TopicsError};
use crate::config::Config;
use crate::dataflow::state::StateLoader;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One question to the brokers.
const ASK: Duration = Duration::from_secs(5);
/// Records are taken in for so long at a time.
const ROUND: Duration = Duration::from_millis(20);
/// Without any progress for so long it is given up: a transaction is open for no longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// State could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The topics are not as they must be.
    #[error(transparent)]
    Topics(#[from] TopicsError),
    /// A call failed for good.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing comes any more.
    #[error(
        "read the state of shard {shard}: no progress for {} s after {passed} of {of} offsets; a transaction may be open, \
         or no broker answers", PATIENCE.as_secs()
    )]
    Stuck {
        /// The shard.
        shard: u32,
        /// Offsets that were passed.
        passed: u64,
        /// Offsets there are.
        of: u64,
    },
    /// It is not known who is in the group.
    #[error("ask for the members of group {group}: {reason}")]
    Members {
        /// The group.
        group: String,
        /// Why.
        reason: String,
    },
}

/// Looks at state.
pub struct Inspector {
    reader: StateConsumer,
    group: String,
    shards: u32,
}

impl Inspector {
    /// Finds the topics; waits for brokers.
    pub fn new(config: &Config) -> Result<Self, InspectError> {
        let reader = StateConsumer::new(config)?;
        // `None` only comes of a stop, and nobody can ask for one.
        let shards = topics::shards(reader.surveyor().client(), config, &Stop::default())?.unwrap_or_default();
        Ok(Self { reader, group: config.kafka.group.clone(), shards })
    }

    /// How many shards there are.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// All that is committed of a shard's state.
    pub fn read(&self, shard: u32) -> Result<StateLoader, InspectError> {
        let mut watch = (Instant::now(), 0);
        let mut reading = BTreeMap::new();
        loop {
            let Some(ends) = self.reader.ends(shard, ASK)? else {
                if watch.0.elapsed() > PATIENCE {
                    return Err(InspectError::Stuck { shard, passed: 0, of: 0 });
                }
                std::thread::sleep(ROUND);
                continue;
            };
            let state_reader = reading.entry(shard).or_insert_with(|| StateReader::new(ends));
            let further = state_reader.extend(ends.1);
            if state_reader.is_over() && (state_reader.loader.is_settled() || !further) {
                break;
            }
            self.reader.assign(&mut reading)?;
            while let Some(state_reader) = reading.get(&shard).filter(|state_reader| !state_reader.is_over()) {
                let (passed, of) = state_reader.passed();
                if passed > watch.1 {
                    watch = (Instant::now(), passed);
                }
                if watch.0.elapsed() > PATIENCE {
                    return Err(InspectError::Stuck { shard, passed, of });
                }
                self.reader.read(&mut reading, ROUND)?;
            }
            // Whoever is read to a settled end need not go after what is written meanwhile.
            if reading.get(&shard).is_some_and(|state_reader| state_reader.loader.is_settled()) {
                break;
            }
        }
        Ok(reading.remove(&shard).map(|state_reader| state_reader.loader).unwrap_or_default())
    }

    /// The client ids of the group's members. One that died without a word is among them until its session is over.
    pub fn members(&self) -> Result<Vec<String>, InspectError> {
        let failed = |reason: String| InspectError::Members { group: self.group.clone(), reason };
        let began = Instant::now();
        loop {
            let found = self.reader.surveyor().fetch_group_list(Some(&self.group), ASK);
            let reason = match found {
                Err(error) => reason(&error),
                Ok(list) => match list.groups().iter().find(|group| group.name() == self.group) {
                    None => return Ok(Vec::new()),
                    Some(group) if !group.members().is_empty() => {
                        return Ok(group.members().iter().map(|member| member.client_id().to_owned()).collect());
                    }
                    Some(group) if matches!(group.state(), "Empty" | "Dead") => return Ok(Vec::new()),
                    // Not "nobody": its coordinator may just be moving.
                    Some(group) => format!("it is in the state {:?}", group.state()),
                },
            };
            if began.elapsed() > PATIENCE {
                return Err(failed(reason));
            }
            tracing::debug!("ask for the members of group {}: {reason}; asking again", self.group);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn reason(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
