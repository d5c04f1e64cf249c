//! Maps the sources of a shard to the Kafka topics of the configuration, and back.

use crate::codec::Encoding;
use crate::config::Topics;
use crate::domain::source::{Offset, ShardId, Source};
use rdkafka::TopicPartitionList;
use rdkafka::error::KafkaResult;
use std::collections::BTreeMap;

/// A partition that is read: its shard and the source it feeds.
pub(super) type SourcePartition = (ShardId, Source);

/// The topics of the live sources.
#[derive(Clone, Debug)]
pub(super) struct SourceTopics(Topics);

impl SourceTopics {
    pub(super) fn of(topics: &Topics) -> Self {
        Self(topics.clone())
    }

    /// The topics in the order of [`Source::LIVE`].
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        Source::LIVE.into_iter().map(|source| self.name(source))
    }

    /// The topic of a source; empty for files, which no topic carries.
    pub(super) fn name(&self, source: Source) -> &str {
        match source {
            Source::Topic(topic) => &self.0.sources[topic].name,
            Source::Rerouted => &self.0.rerouted,
            Source::Files => "",
        }
    }

    /// The encoding of messages without a `content-type` header. Rerouted messages always have one.
    pub(super) fn encoding(&self, source: Source) -> Encoding {
        match source {
            Source::Topic(topic) => self.0.sources[topic].encoding,
            Source::Rerouted | Source::Files => Encoding::Json,
        }
    }

    /// The source that a topic carries.
    pub(super) fn source(&self, topic: &str) -> Option<Source> {
        Source::LIVE.into_iter().find(|source| self.name(*source) == topic)
    }

    /// All source partitions of some shards.
    pub(super) fn list(&self, shards: &[ShardId]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(shards.len() * Source::LIVE.len());
        for shard in shards {
            for name in self.names() {
                list.add_partition(name, shard.partition());
            }
        }
        list
    }

    /// Partitions at offsets.
    pub(super) fn at(
        &self,
        offsets: impl Iterator<Item = (SourcePartition, Offset)>,
    ) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for ((shard, source), offset) in offsets {
            list.add_partition_offset(self.name(source), shard.partition(), rdkafka::Offset::Offset(offset.0))?;
        }
        Ok(list)
    }

    /// The known offsets of a list.
    pub(super) fn offsets(&self, list: &TopicPartitionList) -> BTreeMap<SourcePartition, Offset> {
        let offset = |(topic, partition): (String, i32), offset| match (self.source(&topic), offset) {
            (Some(source), rdkafka::Offset::Offset(offset)) => {
                Some(((ShardId::from_partition(partition)?, source), Offset(offset)))
            }
            _ => None,
        };
        list.to_topic_map().into_iter().filter_map(|(partition, at)| offset(partition, at)).collect()
    }
}
