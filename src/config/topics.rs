//! The Kafka topics of the configuration and what each of them is for.

use crate::codec::Encoding;
use crate::domain::source::{PerTopic, Topic};

/// Topics read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// The source topics.
    pub sources: PerTopic<SourceTopic>,
    /// Alert statuses.
    pub alerts: String,
    /// Latest metric rows.
    pub metrics: String,
    /// Review requests.
    pub reviews: String,
    /// Rejected messages with their reason.
    pub dead_letters: String,
    /// State (internal).
    pub state: String,
    /// Misrouted messages (internal).
    pub rerouted: String,
    /// Encoding of alerts, metric rows and review requests.
    pub output: Encoding,
}

/// The role of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRole {
    /// A source topic.
    Source(Topic),
    /// Misrouted messages on their way to the right partition.
    Rerouted,
    /// State.
    State,
    /// Alerts.
    Alerts,
    /// Metric rows.
    Metrics,
    /// Review requests.
    Reviews,
    /// Dead letters.
    DeadLetters,
}

impl TopicRole {
    /// All roles except the source topics.
    const OTHER: &[Self] =
        &[Self::Rerouted, Self::State, Self::Alerts, Self::Metrics, Self::Reviews, Self::DeadLetters];

    /// Every role, source topics first.
    pub const ALL: [Self; Topic::COUNT + Self::OTHER.len()] = {
        let mut all = [Self::Rerouted; Topic::COUNT + Self::OTHER.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] =
                if index < Topic::COUNT { Self::Source(Topic::ALL[index]) } else { Self::OTHER[index - Topic::COUNT] };
            index += 1;
        }
        all
    };
}

impl Topics {
    /// The Kafka topic of a role.
    pub fn name(&self, role: TopicRole) -> &str {
        match role {
            TopicRole::Source(topic) => &self.sources[topic].name,
            TopicRole::Rerouted => &self.rerouted,
            TopicRole::State => &self.state,
            TopicRole::Alerts => &self.alerts,
            TopicRole::Metrics => &self.metrics,
            TopicRole::Reviews => &self.reviews,
            TopicRole::DeadLetters => &self.dead_letters,
        }
    }
}

/// A source topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTopic {
    /// The topic name.
    pub name: String,
    /// Encoding of its messages, unless overridden by their `content-type` header.
    pub encoding: Encoding,
}
