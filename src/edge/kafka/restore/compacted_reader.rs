//! Owns the reading of partitions of a compacted topic from their start to an end offset that was determined before.
//! Promises that everything committed before that end is read: open transactions are awaited, and unanswered requests
//! are retried.

use crate::config::Kafka;
use crate::dataflow::state::StateLoader;
use crate::domain::source::ShardId;
use crate::edge::kafka::client::{self, CallError, is_permanent};
use crate::edge::kafka::client_log::{self, LoggedContext};
use crate::edge::memory::MemoryBudget;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Collects the records of a partition, in order.
pub(crate) trait Collector: Default {
    /// Adds a record; one without a value is a tombstone.
    fn push(&mut self, key: &[u8], value: Option<&[u8]>);
}

impl Collector for StateLoader {
    fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        Self::push(self, key, value);
    }
}

/// The start and end offset of a partition, open transactions included.
pub(crate) type Bounds = (i64, i64);

/// The reading of one partition.
pub(crate) struct CompactedReader<C> {
    /// The records read so far.
    pub(crate) collected: C,
    start: i64,
    end: i64,
    position: i64,
}

impl<C: Collector> CompactedReader<C> {
    pub(crate) fn new((start, end): Bounds) -> Self {
        Self { collected: C::default(), start, end, position: start }
    }

    /// Whether the end is reached.
    pub(crate) fn is_complete(&self) -> bool {
        self.position >= self.end
    }

    /// Moves the end forward; `false`: it is not beyond the current one.
    pub(crate) fn extend(&mut self, end: i64) -> bool {
        let is_further = end > self.end;
        self.end = self.end.max(end);
        is_further
    }

    /// The number of offsets read, and the total.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let from_start = |offset: i64| (offset - self.start).max(0).unsigned_abs();
        (from_start(self.position), from_start(self.end))
    }
}

impl<C> AsMut<Self> for CompactedReader<C> {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

/// Reads several partitions of a topic at a time.
pub(crate) struct CompactedConsumer<C> {
    /// It can also query committed offsets.
    pub(crate) consumer: BaseConsumer<LoggedContext>,
    pub(crate) metadata_client: Arc<BaseConsumer<LoggedContext>>,
    pub(crate) topic: String,
    collector: PhantomData<C>,
}

impl<C: Collector> CompactedConsumer<C> {
    pub(crate) fn new(kafka: &Kafka, memory: MemoryBudget, topic: &str) -> Result<Self, CallError> {
        Self::with_metadata_client(kafka, memory, topic, Arc::new(client::metadata_client(kafka)?))
    }

    /// The same with a client that others use too.
    pub(crate) fn with_metadata_client(
        kafka: &Kafka,
        memory: MemoryBudget,
        topic: &str,
        metadata_client: Arc<BaseConsumer<LoggedContext>>,
    ) -> Result<Self, CallError> {
        let consumer = client::state_consumer(kafka, memory)?;
        Ok(Self { consumer, metadata_client, topic: topic.into(), collector: PhantomData })
    }

    /// The current bounds of a partition; `None`: no response.
    pub(crate) fn bounds(&self, shard: ShardId, timeout: Duration) -> Result<Option<Bounds>, CallError> {
        match self.metadata_client.fetch_watermarks(&self.topic, shard.partition(), timeout) {
            Ok(bounds) => Ok(Some(bounds)),
            Err(cause) if is_permanent(&cause) => Err(CallError { what: "query the end of a compacted topic", cause }),
            Err(error) => {
                tracing::debug!("query the end of {} [{shard}]: {error}; retrying", self.topic);
                Ok(None)
            }
        }
    }

    /// Assigns the incomplete partitions, each at its position, and no others.
    pub(crate) fn assign<R: AsMut<CompactedReader<C>>>(
        &self,
        readers: &mut BTreeMap<ShardId, R>,
    ) -> Result<(), CallError> {
        let failed = CallError::of("assign partitions of a compacted topic");
        let mut list = TopicPartitionList::with_capacity(readers.len());
        for (shard, reader) in readers {
            let CompactedReader { position, end, .. } = *reader.as_mut();
            if position < end {
                list.add_partition_offset(&self.topic, shard.partition(), Offset::Offset(position)).map_err(&failed)?;
            }
        }
        self.consumer.assign(&list).map_err(failed)
    }

    /// Reads records until all partitions are complete, for about `time` at most.
    pub(crate) fn read<R: AsMut<CompactedReader<C>>>(
        &self,
        readers: &mut BTreeMap<ShardId, R>,
        time: Duration,
    ) -> Result<(), CallError> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline && readers.values_mut().any(|reader| !reader.as_mut().is_complete()) {
            for _ in 0..256 {
                match self.consumer.poll(time) {
                    None | Some(Err(KafkaError::PartitionEOF(_))) => {
                        self.update_positions(readers)?;
                        break;
                    }
                    Some(Err(cause)) if is_permanent(&cause) => {
                        tracing::error!("read {}: the right Read on the topic is missing", self.topic);
                        return Err(CallError { what: "read a compacted topic", cause });
                    }
                    // librdkafka retries unless the error is permanent.
                    Some(Err(error)) => client_log::error(&error, &format!("read {}: {error}", self.topic)),
                    Some(Ok(message)) => {
                        let reader =
                            ShardId::from_partition(message.partition()).and_then(|shard| readers.get_mut(&shard));
                        let Some(reader) = reader.map(AsMut::as_mut) else { continue };
                        // A message from before the last call of `assign` may still arrive.
                        if message.offset() < reader.position || message.offset() >= reader.end {
                            continue;
                        }
                        reader.position = message.offset() + 1;
                        reader.collected.push(message.key().unwrap_or_default(), message.payload());
                    }
                }
            }
        }
        Ok(())
    }

    /// Advances the readers to librdkafka's positions, which are past transaction markers. Up to the end only: later
    /// messages were skipped, and the end may still be moved.
    fn update_positions<R: AsMut<CompactedReader<C>>>(
        &self,
        readers: &mut BTreeMap<ShardId, R>,
    ) -> Result<(), CallError> {
        let failed = CallError::of("get the positions in a compacted topic");
        for element in self.consumer.position().map_err(failed)?.elements() {
            if let (Offset::Offset(offset), Some(shard)) =
                (element.offset(), ShardId::from_partition(element.partition()))
                && let Some(reader) = readers.get_mut(&shard)
            {
                let reader = reader.as_mut();
                reader.position = reader.position.max(offset.min(reader.end));
            }
        }
        Ok(())
    }
}
