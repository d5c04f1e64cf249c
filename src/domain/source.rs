//! The number of a shard, the sources that feed it, one table row per source topic, and the ids under which the state
//! topic stores them; offsets in a source.
//!
//! **Pinned ids.** [`TopicInfo::id`], [`TopicInfo::state_field`] and [`Source::id`] are stored in the state topic. They
//! are written by hand, are never renumbered and never reused, and do not depend on the order of the enums. The tests of
//! this file pin each of them. The order of the enum is the order of effect and can change without a change of stored
//! data.

use std::fmt;
use std::ops::{Index, IndexMut};

/// What has to be known of a source topic.
#[derive(Debug)]
pub struct TopicInfo {
    /// Its id in stored records. Persisted: never renumber, never reuse; 3 and 4 belong to [`Source`].
    pub id: u8,
    /// The default name of the Kafka topic, also used in alert subjects (`topic:NAME`).
    pub name: &'static str,
    /// Its key under `topics` in the configuration.
    pub key: &'static str,
    /// What it carries, in a few words.
    pub purpose: &'static str,
    /// The field of its payloads in the oneof `event` of `Applied` (`proto/funnelwatch/v1/state.proto`). Persisted: never
    /// renumber.
    pub state_field: u32,
    /// The field of its messages in `EventRecord` (`proto/funnelwatch/v1/event.proto`), the record of event files.
    pub file_field: u32,
    /// The position of its message in `proto/funnelwatch/v1/event.proto`, which Schema Registry framing contains.
    pub message_index: u8,
}

macro_rules! topics {
    ($($(#[$doc:meta])* $topic:ident: $info:expr,)*) => {
        /// The source topics, in the order in which their events take effect at one instant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Topic {
            $($(#[$doc])* $topic,)*
        }

        impl Topic {
            /// How many source topics there are.
            pub const COUNT: usize = [$(Self::$topic),*].len();

            /// Every source topic, in the order of effect.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$topic),*];

            /// Its row of the table.
            pub const fn info(self) -> &'static TopicInfo {
                match self {
                    $(Self::$topic => &$info,)*
                }
            }
        }
    };
}

topics! {
    /// Leads, deals and managers.
    Crm: TopicInfo {
        id: 0,
        name: "crm.events",
        key: "crm",
        purpose: "CRM events",
        state_field: 6,
        file_field: 1,
        message_index: 0,
    },
    /// Calls.
    Telephony: TopicInfo {
        id: 1,
        name: "telephony.events",
        key: "telephony",
        purpose: "telephony events",
        state_field: 7,
        file_field: 2,
        message_index: 1,
    },
    /// Messages of all written channels.
    Email: TopicInfo {
        id: 2,
        name: "email.events",
        key: "email",
        purpose: "written messages",
        state_field: 8,
        file_field: 3,
        message_index: 2,
    },
}

impl Topic {
    /// The default name of the Kafka topic, also used in alert subjects (`topic:NAME`).
    pub const fn name(self) -> &'static str {
        self.info().name
    }

    /// The topic stored under this id.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| u32::from(topic.info().id) == id)
    }

    /// Its position in the order of effect. Not persisted.
    pub const fn rank(self) -> u8 {
        self as u8
    }

    /// The topic at this position.
    pub fn from_rank(rank: u8) -> Option<Self> {
        Self::ALL.get(usize::from(rank)).copied()
    }
}

/// A value for each source topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerTopic<T>([T; Topic::COUNT]);

impl<T> PerTopic<T> {
    /// Makes the value of each topic.
    pub fn from_fn(mut make: impl FnMut(Topic) -> T) -> Self {
        Self(std::array::from_fn(|rank| make(Topic::ALL[rank])))
    }

    /// Makes the value of each topic, or `None` if one of them cannot be made.
    pub fn try_from_fn(make: impl FnMut(Topic) -> Option<T>) -> Option<Self> {
        let values: Vec<T> = Topic::ALL.into_iter().map(make).collect::<Option<_>>()?;
        values.try_into().ok().map(Self)
    }

    /// Every topic with its value, in the order of effect.
    pub fn iter(&self) -> impl Iterator<Item = (Topic, &T)> {
        Topic::ALL.into_iter().zip(&self.0)
    }

    /// Every value, in the order of effect.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }
}

impl<T> Index<Topic> for PerTopic<T> {
    type Output = T;

    fn index(&self, topic: Topic) -> &T {
        &self.0[topic as usize]
    }
}

impl<T> IndexMut<Topic> for PerTopic<T> {
    fn index_mut(&mut self, topic: Topic) -> &mut T {
        &mut self.0[topic as usize]
    }
}

/// The number of a shard, from 0: that of its partition in every source topic.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

impl ShardId {
    /// The shard of a Kafka partition; `None` for negative numbers, by which librdkafka means no partition.
    pub fn from_partition(partition: i32) -> Option<Self> {
        u32::try_from(partition).ok().map(Self)
    }

    /// Its Kafka partition. Partition counts have 31 bits, so the number of a shard always fits.
    pub const fn partition(self) -> i32 {
        self.0.cast_signed()
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Only the number, for lists of shards in log lines.
impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The offset of a message in a source partition, or its position in the files of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The next offset.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A source partition of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The shard's partition of a source topic.
    Topic(Topic),
    /// The shard's partition of `funnelwatch.rerouted`.
    Rerouted,
    /// The files of a replay.
    Files,
}

impl Source {
    /// The topic that the consumer group is formed on; the partitions of the other sources are assigned with its partitions.
    pub const GROUP: Self = Self::Topic(Topic::Crm);

    /// The sources that a shard reads from Kafka.
    pub const LIVE: [Self; Topic::COUNT + 1] = {
        let mut live = [Self::Rerouted; Topic::COUNT + 1];
        let mut rank = 0;
        while rank < Topic::COUNT {
            live[rank] = Self::Topic(Topic::ALL[rank]);
            rank += 1;
        }
        live
    };

    /// Its id in stored records and the last criterion of the event order. Persisted: never renumber, never reuse.
    pub const fn id(self) -> u8 {
        match self {
            Self::Topic(topic) => topic.info().id,
            Self::Rerouted => 3,
            Self::Files => 4,
        }
    }

    /// The source stored under this id.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::LIVE.into_iter().chain([Self::Files]).find(|source| source.id() == id)
    }

    /// What the configuration calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topic(topic) => topic.info().key,
            Self::Rerouted => "rerouted",
            Self::Files => "files",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// State written by any released version relies on these: add lines, never change one.
    #[test]
    fn stored_ids_are_pinned() {
        let sources: Vec<_> = Source::LIVE.into_iter().chain([Source::Files]).map(|s| (s.name(), s.id())).collect();
        assert_eq!(sources, [("crm", 0), ("telephony", 1), ("email", 2), ("rerouted", 3), ("files", 4)]);
        let fields = Topic::ALL.map(|topic| (topic.info().key, topic.info().state_field));
        assert_eq!(fields, [("crm", 6), ("telephony", 7), ("email", 8)]);
        let fields = Topic::ALL.map(|topic| (topic.info().key, topic.info().file_field));
        assert_eq!(fields, [("crm", 1), ("telephony", 2), ("email", 3)]);
    }

    #[test]
    fn every_source_is_found_by_its_id() {
        let sources: Vec<Source> = Source::LIVE.into_iter().chain([Source::Files]).collect();
        for source in &sources {
            assert_eq!(Source::from_id(source.id()), Some(*source));
        }
        assert_eq!(sources.iter().map(|source| source.id()).collect::<BTreeSet<_>>().len(), sources.len());
        assert_eq!(Source::from_id(u8::MAX), None);
        for topic in Topic::ALL {
            assert_eq!(Topic::from_id(topic.info().id.into()), Some(topic));
            assert_eq!(Topic::from_rank(topic.rank()), Some(topic));
        }
    }
}
