//! Owns the reading of a source's cursors from outside: the gateway may run meanwhile.

use super::client::CallError;
use super::control::Stop;
use super::patience::Patience;
use super::restore::compacted_reader::{CompactedConsumer, CompactedReader};
use super::shared_log::StateRecords;
use super::topics::{self, TopicsError};
use crate::config::{Config, TopicRole};
use crate::domain::shard::partitioner::shard;
use crate::edge::memory::MemoryBudget;
use rdkafka::consumer::Consumer;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Timeout of a broker request.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long records are read before progress is checked.
const READ_TIME: Duration = Duration::from_millis(20);
/// Reading fails after this time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Cursors could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CursorsError {
    /// A call failed permanently.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The topics are missing or wrong.
    #[error(transparent)]
    Topics(#[from] TopicsError),
    /// Reading takes too long.
    #[error("read the cursors: not complete after {} s; the brokers may be unreachable", TIMEOUT.as_secs())]
    Stuck,
}

/// The committed cursors of a source by leg.
pub fn read(config: &Config, source: &str) -> Result<Vec<(String, Vec<u8>)>, CursorsError> {
    let consumer =
        CompactedConsumer::<StateRecords>::new(&config.kafka, MemoryBudget::detect(), &config.topics.cursors)?;
    let (client, stop) = (consumer.metadata_client.client(), Stop::default());
    let partitions =
        topics::common_partitions(client, config, TopicRole::GATEWAY, &mut Patience::limited(&stop))?.unwrap_or(1);
    let partition = shard(source, partitions);
    let began = Instant::now();
    let bounds = loop {
        if let Some(bounds) = consumer.bounds(partition, QUERY_TIMEOUT)? {
            break bounds;
        }
        if began.elapsed() > TIMEOUT {
            return Err(CursorsError::Stuck);
        }
        std::thread::sleep(READ_TIME);
    };
    let mut readers = BTreeMap::from([(partition, CompactedReader::new(bounds))]);
    consumer.assign(&mut readers)?;
    while !readers.values().all(CompactedReader::is_complete) {
        if began.elapsed() > TIMEOUT {
            return Err(CursorsError::Stuck);
        }
        consumer.read(&mut readers, READ_TIME)?;
    }
    let prefix = format!("{source}/");
    let records = readers.into_values().flat_map(|reader| reader.collected.0);
    let own = records.filter_map(|(key, value)| {
        let key = String::from_utf8(key).ok()?;
        Some((key.strip_prefix(&prefix)?.to_owned(), value))
    });
    Ok(own.collect())
}
