//! Owns the reading of partitions of the state topic from where they begin to an end that was noted before. Promises that
//! everything committed before that end is read: what is open on it is waited for, and asking goes on while no broker answers.

use super::client::{self, ClientError};
use crate::config::Config;
use crate::dataflow::state::StateLoader;
use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A call failed, and will fail again until somebody changes rights.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct ReadError {
    /// What was tried.
    pub(super) what: &'static str,
    /// librdkafka's error.
    pub(super) cause: KafkaError,
}

/// A partition, from its beginning to its noted end.
pub(super) struct StateReader {
    /// The records so far.
    pub(super) loader: StateLoader,
    begin: i64,
    end: i64,
    position: i64,
}

impl StateReader {
    pub(super) fn new((begin, end): (i64, i64)) -> Self {
        Self { loader: StateLoader::default(), begin, end, position: begin }
    }

    pub(super) fn is_over(&self) -> bool {
        self.position >= self.end
    }

    /// Moves the end; whether it was another one.
    pub(super) fn extend(&mut self, end: i64) -> bool {
        let further = end > self.end;
        self.end = self.end.max(end);
        further
    }

    /// Offsets that were passed, and how many there are.
    pub(super) fn passed(&self) -> (u64, u64) {
        let from_begin = |offset: i64| (offset - self.begin).max(0).unsigned_abs();
        (from_begin(self.position), from_begin(self.end))
    }
}

impl AsMut<Self> for StateReader {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

/// Reads partitions, several at a time.
pub(super) struct StateConsumer {
    client: BaseConsumer<Quiet>,
    /// Knows where partitions end, with what is not committed.
    surveyor: BaseConsumer,
    topic: String,
}

impl StateConsumer {
    pub(super) fn new(config: &Config) -> Result<Self, ClientError> {
        Ok(Self {
            client: client::asker(&config.kafka)?,
            surveyor: client::surveyor(&config.kafka)?,
            topic: config.topics.state.clone(),
        })
    }

    /// The client that reads: it may be asked for offsets, too.
    pub(super) fn client(&self) -> &BaseConsumer<Quiet> {
        &self.client
    }

    pub(super) fn surveyor(&self) -> &BaseConsumer {
        &self.surveyor
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Where a partition begins and ends now; `None`: there was no answer.
    pub(super) fn ends(&self, partition: u32, most: Duration) -> Result<Option<(i64, i64)>, ReadError> {
        match self.surveyor.fetch_watermarks(&self.topic, partition as i32, most) {
            Ok(ends) => Ok(Some(ends)),
            Err(cause) if is_for_good(&cause) => Err(ReadError { what: "ask where the state topic ends", cause }),
            Err(error) => {
                tracing::debug!("ask where the state of shard {partition} ends: {error}; asking again");
                Ok(None)
            }
        }
    }

    /// Reads the partitions that are not over, each from where it is, and no others.
    pub(super) fn assign<R: AsMut<StateReader>>(&self, reading: &mut BTreeMap<u32, R>) -> Result<(), ReadError> {
        let failed = |cause| ReadError { what: "take partitions of the state topic", cause };
        let mut list = TopicPartitionList::with_capacity(reading.len());
        for (partition, one) in reading {
            let StateReader { position, end, .. } = *one.as_mut();
            if position < end {
                list.add_partition_offset(&self.topic, *partition as i32, Offset::Offset(position)).map_err(failed)?;
            }
        }
        self.client.assign(&list).map_err(failed)
    }

    /// Takes in records for a moment.
    pub(super) fn read<R: AsMut<StateReader>>(
        &self,
        reading: &mut BTreeMap<u32, R>,
        moment: Duration,
    ) -> Result<(), ReadError> {
        let until = Instant::now() + moment;
        while Instant::now() < until && reading.values_mut().any(|one| !one.as_mut().is_over()) {
            for _ in 0..256 {
                match self.client.poll(moment) {
                    None | Some(Err(KafkaError::PartitionEOF(_))) => {
                        self.reach(reading)?;
                        break;
                    }
                    // What of it is not for ever, librdkafka retries.
                    Some(Err(error)) => tracing::warn!("read {}: {error}", self.topic),
                    Some(Ok(message)) => {
                        let one = u32::try_from(message.partition()).ok().and_then(|shard| reading.get_mut(&shard));
                        let Some(state_reader) = one.map(AsMut::as_mut) else { continue };
                        // One from before the last call of `assign` may still come.
                        if message.offset() < state_reader.position || message.offset() >= state_reader.end {
                            continue;
                        }
                        state_reader.position = message.offset() + 1;
                        state_reader.loader.push(message.key().unwrap_or_default(), message.payload());
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes librdkafka's word for how far everything was read: it passes over the markers of transactions. Up to the end
    /// only: what came after it was left aside, and the end may yet be moved.
    fn reach<R: AsMut<StateReader>>(&self, reading: &mut BTreeMap<u32, R>) -> Result<(), ReadError> {
        let failed = |cause| ReadError { what: "tell positions in the state topic", cause };
        for element in self.client.position().map_err(failed)?.elements() {
            if let (Offset::Offset(offset), Ok(shard)) = (element.offset(), u32::try_from(element.partition()))
                && let Some(one) = reading.get_mut(&shard)
            {
                let state_reader = one.as_mut();
                state_reader.position = state_reader.position.max(offset.min(state_reader.end));
            }
        }
        Ok(())
    }
}

/// The end of a partition is no error: it is where the position is looked at.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::warn!("restore: {error}: {reason}");
        }
    }
}

impl ConsumerContext for Quiet {}

/// Asking again gives the same answer until somebody changes rights.
pub(super) fn is_for_good(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::TopicAuthorizationFailed)
    )
}
