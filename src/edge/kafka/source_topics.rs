//! Owns which topic is which feed of a shard: the source topics and the one for rerouted messages.

use crate::codec::Encoding;
use crate::config::Topics;
use crate::domain::event::Topic;
use crate::domain::shard_processor::Source;
use rdkafka::TopicPartitionList;
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;

/// The feeds of every shard, in order.
pub const SOURCES: [Source; 4] =
    [Source::Topic(Topic::Crm), Source::Topic(Topic::Telephony), Source::Topic(Topic::Email), Source::Rerouted];

/// A partition that is read: its shard, and which of the shard's feeds.
pub(super) type SourcePartition = (u32, Source);

/// The topics of the feeds.
#[derive(Clone, Debug)]
pub(super) struct SourceTopics {
    names: [String; 4],
    encodings: [Encoding; 4],
}

impl SourceTopics {
    pub(super) fn of(topics: &Topics) -> Self {
        let sources = [&topics.crm, &topics.telephony, &topics.email];
        Self {
            names: [&sources[0].name, &sources[1].name, &sources[2].name, &topics.rerouted].map(String::clone),
            // A rerouted message says in its header how it is written.
            encodings: [sources[0].encoding, sources[1].encoding, sources[2].encoding, Encoding::Json],
        }
    }

    pub(super) fn names(&self) -> &[String; 4] {
        &self.names
    }

    pub(super) fn name(&self, source: Source) -> &str {
        &self.names[place(source)]
    }

    pub(super) fn encoding(&self, source: Source) -> Encoding {
        self.encodings[place(source)]
    }

    /// The feed that a topic is.
    pub(super) fn source(&self, topic: &str) -> Option<Source> {
        self.names.iter().position(|name| name == topic).map(|place| SOURCES[place])
    }

    /// All partitions of some shards.
    pub(super) fn list(&self, shards: &[u32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(shards.len() * SOURCES.len());
        for shard in shards {
            for name in &self.names {
                list.add_partition(name, *shard as i32);
            }
        }
        list
    }

    /// The offsets that stand in a list, less those that are unknown.
    pub(super) fn offsets(&self, list: &TopicPartitionList) -> BTreeMap<SourcePartition, i64> {
        let offset = |(topic, partition): (String, i32), offset| match (self.source(&topic), offset) {
            (Some(source), Offset::Offset(offset)) => Some(((u32::try_from(partition).ok()?, source), offset)),
            _ => None,
        };
        list.to_topic_map().into_iter().filter_map(|(partition, at)| offset(partition, at)).collect()
    }
}

fn place(source: Source) -> usize {
    match source {
        Source::Topic(topic) => topic as usize,
        Source::Rerouted | Source::Files => 3,
    }
}
