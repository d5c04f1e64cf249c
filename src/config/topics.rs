//! The section `topics`: the Kafka topics and what each of them is for.

use super::schema::key::{ANY, Form, KeySpec, ValueKind};
use super::schema::reader::Reader;
use super::schema::typed::{named, one_of};
use super::schema::value::Table;
use crate::codec::Encoding;
use crate::domain::source::{PerTopic, Topic};
use std::collections::BTreeMap;
use std::slice;

/// Topics read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// The source topics.
    pub sources: PerTopic<SourceTopic>,
    /// Alert statuses.
    pub alerts: String,
    /// The latest status of each alert that is not over.
    pub open_alerts: String,
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
    /// Webhooks that a source is to look at (internal).
    pub hints: String,
    /// How far the gateway has read its sources (internal).
    pub cursors: String,
    /// What people were informed (internal).
    pub notify: String,
    /// Which process answers for which shard (internal).
    pub members: String,
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
    /// Alerts that are not over.
    OpenAlerts,
    /// Metric rows.
    Metrics,
    /// Review requests.
    Reviews,
    /// Dead letters.
    DeadLetters,
    /// Webhooks, of the gateway.
    Hints,
    /// Cursors of the gateway.
    Cursors,
    /// What people were informed.
    Notify,
    /// The processes that answer for each other.
    Members,
}

impl TopicRole {
    /// All roles of the processor except the source topics.
    const OTHER: &[Self] =
        &[Self::Rerouted, Self::State, Self::Alerts, Self::OpenAlerts, Self::Metrics, Self::Reviews, Self::DeadLetters];

    /// The roles that only the gateway has.
    pub const GATEWAY: [Self; 2] = [Self::Hints, Self::Cursors];

    /// The roles that only `notify` has.
    pub const NOTIFY: [Self; 1] = [Self::Notify];

    /// The roles that exist only if the configuration says so, besides those of the gateway and of `notify`.
    const OPTIONAL: [Self; 1] = [Self::Members];

    /// Every role that a processor always has, source topics first.
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
            TopicRole::OpenAlerts => &self.open_alerts,
            TopicRole::Metrics => &self.metrics,
            TopicRole::Reviews => &self.reviews,
            TopicRole::DeadLetters => &self.dead_letters,
            TopicRole::Hints => &self.hints,
            TopicRole::Cursors => &self.cursors,
            TopicRole::Notify => &self.notify,
            TopicRole::Members => &self.members,
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

named! { Encoding }

const TOPIC: Form = Form {
    expected: "a topic name of letters, digits, `.`, `_` and `-`",
    fits: |text| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=249).contains(&text.len()) && ![".", ".."].contains(&text) && text.bytes().all(letter)
    },
    pattern: "^[A-Za-z0-9._-]{1,249}$",
    ..ANY
};
const ENCODING: KeySpec = KeySpec::new(
    "encoding",
    one_of::<Encoding>(),
    "encoding of its messages, unless a `content-type` header overrides it",
)
.default("json");

const fn topic(name: &'static str, default: &'static str, help: &'static str) -> KeySpec {
    KeySpec::new(name, ValueKind::Form(TOPIC), help).default(default)
}

/// The keys of each source topic, from its row in the table of [`Topic`].
static SOURCE_KEYS: [[KeySpec; 2]; Topic::COUNT] = {
    let mut keys = [[ENCODING; 2]; Topic::COUNT];
    let mut index = 0;
    while index < keys.len() {
        keys[index][0] = topic("name", Topic::ALL[index].info().name, "the topic");
        index += 1;
    }
    keys
};
static SOURCE_TABLES: [&[KeySpec]; Topic::COUNT] = {
    let mut tables: [&[KeySpec]; Topic::COUNT] = [&[]; Topic::COUNT];
    let mut index = 0;
    while index < tables.len() {
        tables[index] = &SOURCE_KEYS[index];
        index += 1;
    }
    tables
};
static SOURCES: [KeySpec; Topic::COUNT] = {
    let mut sources = [ENCODING; Topic::COUNT];
    let mut index = 0;
    while index < sources.len() {
        let (info, tables) = (Topic::ALL[index].info(), slice::from_ref(&SOURCE_TABLES[index]));
        sources[index] = KeySpec::new(info.key, ValueKind::Table(tables), info.purpose).default("{}");
        index += 1;
    }
    sources
};

pub(super) static TOPICS: [&[KeySpec]; 2] = [&SOURCES, OTHERS];

const OTHERS: &[KeySpec] = &[
    topic("alerts", "funnelwatch.alerts", "alert statuses"),
    topic("open_alerts", "funnelwatch.alerts.open", "the latest status of each alert that is not over, compacted"),
    topic("metrics", "funnelwatch.metrics", "latest metric rows, compacted"),
    topic("reviews", "funnelwatch.reviews", "review requests"),
    topic("dead_letters", "funnelwatch.dlq", "rejected messages, with the reason"),
    topic("state", "funnelwatch.state", "state, compacted; internal"),
    topic("rerouted", "funnelwatch.rerouted", "misrouted messages; internal"),
    topic("hints", "funnelwatch.hints", "webhooks that the gateway has accepted; internal"),
    topic("cursors", "funnelwatch.gateway", "how far the gateway has read its sources, compacted; internal"),
    topic("notify", "funnelwatch.notify", "what people were informed, compacted; internal"),
    topic("members", "funnelwatch.members", "which process answers for which shard, compacted; internal"),
    KeySpec::new(
        "output",
        ValueKind::Name(|| [Encoding::Json, Encoding::Protobuf].map(Encoding::name).to_vec()),
        "encoding of alerts, metric rows and review requests",
    )
    .default("json"),
];

/// There is an entry for each [`TopicRole`], and `output`.
const _: () = assert!(
    OTHERS.len()
        == TopicRole::OTHER.len() + TopicRole::GATEWAY.len() + TopicRole::NOTIFY.len() + TopicRole::OPTIONAL.len() + 1
);

impl Topics {
    /// Reads the section. Names must be distinct.
    pub(super) fn read(reader: &mut Reader<'_>, table: &Table) -> Option<Self> {
        let mut used = BTreeMap::new();
        for key in TOPICS.into_iter().flatten() {
            let (holder, name) = table.table(key.name).map_or((table, key.name), |source| (source, "name"));
            if let (ValueKind::Form(_) | ValueKind::Table(_), Some(topic)) = (key.kind, holder.text(name))
                && let Some(other) = used.insert(topic.to_owned(), key.name)
            {
                let text = format!("`{topic}` is already used by `{other}`; topic names must be distinct");
                reader.problem_of(holder, name, text);
            }
        }
        let source = |key| {
            let source = table.table(key)?;
            Some(SourceTopic { name: source.get("name")?, encoding: source.get("encoding")? })
        };
        Some(Self {
            sources: PerTopic::try_from_fn(|topic| source(topic.info().key))?,
            alerts: table.get("alerts")?,
            open_alerts: table.get("open_alerts")?,
            metrics: table.get("metrics")?,
            reviews: table.get("reviews")?,
            dead_letters: table.get("dead_letters")?,
            state: table.get("state")?,
            rerouted: table.get("rerouted")?,
            hints: table.get("hints")?,
            cursors: table.get("cursors")?,
            notify: table.get("notify")?,
            members: table.get("members")?,
            output: table.get("output")?,
        })
    }
}
