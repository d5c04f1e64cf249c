//! Owns which topic is which feed of a shard: the source topics and the one for rerouted messages.

use crate::codec::Encoding;
use crate::config::Topics;
use crate::domain::event::Topic;
use crate::domain::floor::Feed;
use rdkafka::TopicPartitionList;
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;

/// The feeds of every shard, in order.
pub const FEEDS: [Feed; 4] =
    [Feed::Topic(Topic::Crm), Feed::Topic(Topic::Telephony), Feed::Topic(Topic::Email), Feed::Rerouted];

/// A partition that is read: its shard, and which of the shard's feeds.
pub(super) type Place = (u32, Feed);

/// The topics of the feeds.
#[derive(Clone, Debug)]
pub(super) struct Feeds {
    names: [String; 4],
    encodings: [Encoding; 4],
}

impl Feeds {
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

    pub(super) fn name(&self, feed: Feed) -> &str {
        &self.names[place(feed)]
    }

    pub(super) fn encoding(&self, feed: Feed) -> Encoding {
        self.encodings[place(feed)]
    }

    /// The feed that a topic is.
    pub(super) fn feed(&self, topic: &str) -> Option<Feed> {
        self.names.iter().position(|name| name == topic).map(|place| FEEDS[place])
    }

    /// All partitions of some shards.
    pub(super) fn list(&self, shards: &[u32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(shards.len() * FEEDS.len());
        for shard in shards {
            for name in &self.names {
                list.add_partition(name, *shard as i32);
            }
        }
        list
    }

    /// The offsets that stand in a list, less those that are unknown.
    pub(super) fn offsets(&self, list: &TopicPartitionList) -> BTreeMap<Place, i64> {
        let offset = |(topic, partition): (String, i32), offset| match (self.feed(&topic), offset) {
            (Some(feed), Offset::Offset(offset)) => Some(((u32::try_from(partition).ok()?, feed), offset)),
            _ => None,
        };
        list.to_topic_map().into_iter().filter_map(|(partition, at)| offset(partition, at)).collect()
    }
}

fn place(feed: Feed) -> usize {
    match feed {
        Feed::Topic(topic) => topic as usize,
        Feed::Rerouted | Feed::Files => 3,
    }
}
