//! Owns which topic is which feed of a shard: the source topics and the one for rerouted messages.

use crate::codec::Encoding;
use crate::config::Topics;
use crate::domain::event::Topic;
use crate::domain::floor::Feed;

/// The feeds of every shard, in order.
pub(super) const FEEDS: [Feed; 4] =
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
}

fn place(feed: Feed) -> usize {
    match feed {
        Feed::Topic(topic) => topic as usize,
        Feed::Rerouted | Feed::Files => 3,
    }
}
