//! The configuration, read from one YAML file; the norms are part of it or in a separate file.
//!
//! Every key is declared once (in `keys` and below); reading, defaults, `docs/configuration.md` and the JSON Schema all
//! derive from that declaration. Units are part of the value. All problems are reported at once, with their lines, and
//! related limits are checked against each other. Rejects unknown keys and Kafka properties that would break a
//! guarantee.
//!
//! **Secrets** in the kafka section, `api.token`, `redis.url` and `privacy_key` may come from the environment
//! (`${NAME}`) or from files (`{file: PATH}`). They are never shown, not even by `Debug`.

mod check;
mod describe;
#[cfg(test)]
mod docs;
mod env;
#[cfg(feature = "fault_injection")]
pub(crate) mod fault_injection;
mod key;
mod keys;
mod norms;
mod problem;
mod properties;
mod reader;
mod reload;
#[cfg(test)]
pub(crate) mod samples;
mod topics;
mod value;
mod worktime;

pub use describe::describe;
pub use norms::{Document, load_norms, parse_norms};
pub use problem::{Problem, Problems};
pub use properties::Properties;
pub use reload::{Look, Renewed, Watched};
pub use topics::{SourceTopic, TopicRole, Topics};

use crate::codec::Encoding;
use crate::domain::norms::Norms;
use crate::domain::rule::message::Language;
use crate::domain::shard::processor::Timing;
use crate::domain::source::{PerTopic, Topic};
use crate::domain::tenant::Memory;
use crate::domain::time::Span;
use crate::telemetry::exporter::Selection;
use crate::telemetry::metric::Family;
use env::{Env, SystemEnv};
use key::{Form, KeySpec, ValueKind};
use reader::Reader;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use value::Table;

/// The configuration of the program.
#[derive(Clone, Debug)]
pub struct Config {
    /// Kafka connection and identity.
    pub kafka: Kafka,
    /// Topics read and written.
    pub topics: Topics,
    /// Event time settings.
    pub time: Time,
    /// Workers and epochs.
    pub engine: Engine,
    /// Listen address of metrics, probes and API.
    pub http: SocketAddr,
    /// Access to the HTTP API.
    pub api: Api,
    /// Redis of the live view; `None`: no live view.
    pub redis: Option<Redis>,
    /// Figures exported to Prometheus.
    pub prometheus: Selection,
    /// The language of alert messages.
    pub language: Language,
    /// The norms.
    pub norms: Norms,
    /// Valid but suspicious settings.
    pub notes: Vec<Problem>,
    /// All files that were read; a change of any of them may change the configuration.
    pub files: Vec<PathBuf>,
}

/// Redis of the live view.
#[derive(Clone, PartialEq, Eq)]
pub struct Redis {
    /// Address and credentials.
    pub url: String,
    /// Prefix of all keys.
    pub prefix: String,
    /// Time to live of keys that are not refreshed.
    pub ttl: Span,
    /// Maximum number of committed batches waiting to be written.
    pub queue: usize,
}

/// Hides the URL, which may contain a password.
impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url: _, prefix, ttl, queue } = self;
        let mut shown = f.debug_struct("Redis");
        shown.field("url", &"(secret)").field("prefix", prefix).field("ttl", ttl).field("queue", queue).finish()
    }
}

/// Access to the HTTP API.
#[derive(Clone, PartialEq, Eq)]
pub struct Api {
    /// The bearer token required of clients; `None`: only local clients are allowed.
    pub token: Option<String>,
}

/// Hides the token.
impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("token", &self.token.as_ref().map(|_| "(secret)")).finish()
    }
}

/// Kafka connection and identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// Bootstrap brokers, separated by commas.
    pub bootstrap: String,
    /// The consumer group.
    pub group: String,
    /// The producer identity of this process; a second producer with the same id fences the first.
    pub transactional_id: String,
    /// Additional librdkafka properties of both clients.
    pub client: Properties,
    /// Additional librdkafka properties of the consumer.
    pub consumer: Properties,
    /// Additional librdkafka properties of the producer.
    pub producer: Properties,
}

/// Event time settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    /// Delay of the watermark behind the latest event.
    pub allowed_lateness: Span,
    /// A partition that was read to its end stops holding back the watermark after this time without messages.
    pub idle_after: Span,
    /// Whether the watermark follows the wall clock while all partitions are idle.
    pub watermark_follows_clock: bool,
    /// Events further ahead of the wall clock become dead letters.
    pub max_future_skew: Span,
    /// Events further behind the watermark become dead letters.
    pub correction_horizon: Span,
    /// Event time for which event ids are remembered.
    pub dedup_window: Span,
    /// Event time for which finished leads, deals and contacts are kept.
    pub retention: Option<Span>,
}

/// Workers and epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Number of timely workers.
    pub workers: usize,
    /// Maximum duration of an epoch.
    pub epoch: Span,
    /// Maximum number of messages in an epoch.
    pub epoch_messages: usize,
    /// Maximum number of epochs that have been read and not yet committed.
    pub epochs_in_flight: usize,
    /// Maximum size of a message that is decoded.
    pub max_message_bytes: usize,
}

const TOPIC: Form = Form {
    expected: "a topic name of letters, digits, `.`, `_` and `-`",
    fits: |text| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=249).contains(&text.len()) && ![".", ".."].contains(&text) && text.bytes().all(letter)
    },
    pattern: "^[A-Za-z0-9._-]{1,249}$",
};
const ADDRESS: Form = Form {
    expected: "an address and port such as 127.0.0.1:9464 or [::]:9464",
    fits: |text| text.parse::<SocketAddr>().is_ok(),
    pattern: "",
};
const PROPERTY: Form = Form {
    expected: "the name of a librdkafka property",
    fits: |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte)),
    pattern: "",
};
const PROPERTIES: ValueKind = ValueKind::Map(PROPERTY, &ValueKind::Property);
const ENCODING: KeySpec = KeySpec::new(
    "encoding",
    ValueKind::Name(|| Encoding::ALL.map(Encoding::name).to_vec()),
    "encoding of its messages, unless a `content-type` header overrides it",
)
.default("json");

const fn topic(name: &'static str, default: &'static str, help: &'static str) -> KeySpec {
    KeySpec::new(name, ValueKind::Form(TOPIC), help).default(default)
}

const fn span(name: &'static str, (from, to): (Span, Span), default: &'static str, help: &'static str) -> KeySpec {
    KeySpec::new(name, ValueKind::Span(from, to), help).default(default)
}

/// Sections and keys in addition to those of the norms.
const CONFIG: &[KeySpec] = &[
    KeySpec::new("kafka", ValueKind::Table(&[KAFKA]), "Kafka connection and identity").default("{}"),
    KeySpec::new("topics", ValueKind::Table(&[TOPICS]), "topics read and written").default("{}"),
    KeySpec::new("time", ValueKind::Table(&[TIME]), "event time settings").default("{}"),
    KeySpec::new("engine", ValueKind::Table(&[ENGINE]), "workers and epochs").default("{}"),
    KeySpec::new("http", ValueKind::Form(ADDRESS), "listen address of metrics, probes and API")
        .default("127.0.0.1:9464"),
    KeySpec::new("api", ValueKind::Table(&[API]), "access to the HTTP API at `/api/v1`").default("{}"),
    KeySpec::new("redis", ValueKind::Table(&[REDIS]), "Redis for the [live view](live-view.md)"),
    KeySpec::new("prometheus", ValueKind::Table(&[PROMETHEUS]), "figures exported at `/metrics`").default("{}"),
    KeySpec::new("norms_file", ValueKind::Text, "file with the norms, relative to this file")
        .described("norms are in this file"),
];

const KAFKA: &[KeySpec] = &[
    KeySpec::new("bootstrap", ValueKind::Setting, "bootstrap brokers, separated by commas").default("localhost:9092"),
    KeySpec::new("group", ValueKind::Setting, "the consumer group").default("funnelwatch"),
    KeySpec::new(
        "transactional_id",
        ValueKind::Setting,
        "producer identity of this process: must be unique and stable across restarts",
    )
    .default("funnelwatch-${HOSTNAME:-0}"),
    KeySpec::new("client", PROPERTIES, "librdkafka properties of both clients: security, timeouts…"),
    KeySpec::new("consumer", PROPERTIES, "librdkafka properties of the consumer"),
    KeySpec::new("producer", PROPERTIES, "librdkafka properties of the producer"),
];

/// The keys of a source topic, from its row in the table of [`Topic`].
macro_rules! source_topic {
    ($topic:ident) => {
        KeySpec::new(
            Topic::$topic.info().key,
            ValueKind::Table(const { &[&[topic("name", Topic::$topic.info().name, "the topic"), ENCODING]] }),
            Topic::$topic.info().purpose,
        )
        .default("{}")
    };
}

const TOPICS: &[KeySpec] = &[
    source_topic!(Crm),
    source_topic!(Telephony),
    source_topic!(Email),
    topic("alerts", "funnelwatch.alerts", "alert statuses"),
    topic("metrics", "funnelwatch.metrics", "latest metric rows, compacted"),
    topic("reviews", "funnelwatch.reviews", "review requests"),
    topic("dead_letters", "funnelwatch.dlq", "rejected messages, with the reason"),
    topic("state", "funnelwatch.state", "state, compacted; internal"),
    topic("rerouted", "funnelwatch.rerouted", "misrouted messages; internal"),
    KeySpec::new(
        "output",
        ValueKind::Name(|| [Encoding::Json, Encoding::Protobuf].map(Encoding::name).to_vec()),
        "encoding of alerts, metric rows and review requests",
    )
    .default("json"),
];

/// `TOPICS` has an entry for each [`TopicRole`], and `output`.
const _: () = assert!(TOPICS.len() == TopicRole::ALL.len() + 1);

const MILLI: Span = Span(1);
const YEARS: Span = Span(3653 * Span::DAY.0);

const TIME: &[KeySpec] = &[
    span("allowed_lateness", (Span::ZERO, Span::DAY), "10s", "delay of the watermark behind the latest event"),
    span(
        "idle_after",
        (Span(100), Span::DAY),
        "5s",
        "after this time without messages, a partition that was read to its end stops holding back the watermark",
    ),
    KeySpec::new(
        "watermark_follows_clock",
        ValueKind::Flag,
        "while all partitions are idle, the watermark follows the wall clock",
    )
    .default("true"),
    span("max_future_skew", (Span::ZERO, YEARS), "5m", "events further ahead of the wall clock become dead letters"),
    span("correction_horizon", (Span::ZERO, YEARS), "7d", "events further behind the watermark become dead letters"),
    span("dedup_window", (Span::ZERO, YEARS), "6h", "event time for which event ids are remembered"),
    KeySpec::new(
        "retention",
        ValueKind::Span(Span::HOUR, YEARS),
        "event time without events after which finished leads, deals and contacts are discarded",
    )
    .described("the longest window plus `correction_horizon`"),
];

const ENGINE: &[KeySpec] = &[
    KeySpec::new("workers", ValueKind::Count(0, 256), "number of timely workers; 0: one per core").default("0"),
    span(
        "epoch",
        (MILLI, Span(10_000)),
        "100ms",
        "maximum duration of an epoch; messages read in an epoch are committed together",
    ),
    KeySpec::new("epoch_messages", ValueKind::Count(1, 10_000_000), "maximum number of messages in an epoch")
        .default("10000"),
    KeySpec::new(
        "epochs_in_flight",
        ValueKind::Count(1, 1024),
        "maximum number of epochs that have been read and not yet committed",
    )
    .default("4"),
    KeySpec::new(
        "max_message_bytes",
        ValueKind::Bytes(1 << 10, 16 << 20),
        "maximum message size; larger messages become dead letters",
    )
    .default("256KiB"),
];

/// The minimum length of a token; a shorter one could be guessed.
const MIN_TOKEN_LENGTH: usize = 16;

const API: &[KeySpec] =
    &[KeySpec::new("token", ValueKind::Secret, "token required as `Authorization: Bearer …`, at least 16 characters")
        .described("only local clients are allowed")];

const PREFIX: Form = Form {
    expected: "letters, digits, `.`, `_`, `-` and `:`",
    fits: |text| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte)),
    pattern: "^[A-Za-z0-9._:-]+$",
};

const REDIS: &[KeySpec] = &[
    KeySpec::new("url", ValueKind::Secret, "address of Redis, such as `redis://redis:6379/0`; TLS is not supported")
        .required(),
    KeySpec::new("prefix", ValueKind::Form(PREFIX), "prefix of all keys").default("funnelwatch"),
    span(
        "ttl",
        (Span(10_000), YEARS),
        "1h",
        "time to live of keys that are not refreshed; live keys are refreshed every third of it",
    ),
    KeySpec::new("queue", ValueKind::Count(1, 100_000), "maximum number of committed batches waiting to be written")
        .default("256"),
];

const FIGURE: Form = Form {
    expected: "the name of a figure such as touches or open_alerts",
    fits: |text| Family::figures().any(|family| family.stem == text),
    pattern: "^[a-z_]+$",
};

const PROMETHEUS: &[KeySpec] = &[
    KeySpec::new(
        "manager_windows",
        ValueKind::List(&ValueKind::Text, 0),
        "windows, such as `24h`, whose figures are exported per manager",
    )
    .described("all"),
    KeySpec::new(
        "manager_metrics",
        ValueKind::List(&ValueKind::Form(FIGURE), 0),
        "figures exported per manager, see [metrics](metrics.md)",
    )
    .described("all"),
    KeySpec::new(
        "max_series",
        ValueKind::Count(0, 10_000_000),
        "maximum number of series of figures and norms; further series are left out and counted by \
         `funnelwatch_series_left_out`",
    )
    .default("200000"),
];

/// Keys of the norms document that may be set together with `norms_file`: they belong to the operator.
const OPERATOR_KEYS: [&str; 3] = ["default_country", "privacy_key", "language"];

/// The defaults: Kafka on localhost and no norms.
impl Default for Config {
    fn default() -> Self {
        match Self::parse("defaults", "") {
            Ok(config) => Self { notes: Vec::new(), files: Vec::new(), ..config },
            Err(problems) => unreachable!("the defaults are valid: {problems}"),
        }
    }
}

impl Config {
    /// The event time settings of shards. `time.retention` defaults to the longest window plus the correction horizon.
    pub fn timing(&self) -> Timing {
        let longest = self.norms.windows.iter().map(|window| window.size.0).max().unwrap_or_default();
        let retention = self.time.retention.unwrap_or(Span(longest + self.time.correction_horizon.0));
        Timing {
            allowed_lateness: self.time.allowed_lateness,
            follows_clock: self.time.watermark_follows_clock,
            max_future_skew: Some(self.time.max_future_skew),
            until: None,
            memory: Memory {
                dedup_window: self.time.dedup_window,
                correction_horizon: self.time.correction_horizon,
                retention: Some(retention),
                durable: false,
            },
        }
    }

    /// Reads the configuration file `path`.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        Self::load_with(path, &SystemEnv)
    }

    fn load_with(path: &Path, env: &dyn Env) -> Result<Self, Problems> {
        let file = path.display().to_string();
        let text = env.file(path).map_err(|error| Problems(vec![problem::unreadable(&file, &error)]))?;
        Self::parse_with(&file, &text, env)
    }

    /// Reads the configuration `text`; `file` is its name in problems and the base of relative paths.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        Self::parse_with(file, text, &SystemEnv)
    }

    fn parse_with(file: &str, text: &str, env: &dyn Env) -> Result<Self, Problems> {
        let mut reader = Reader::new(file, text, env);
        let root = reader.document(&[CONFIG, keys::NORMS]);
        reader.files.push(file.into());
        let norms = if root.is_set("norms_file") {
            load_norms_file(&mut reader, &root, env)
        } else {
            Some(norms::build(&mut reader, &root))
        };
        let kafka = root.table("kafka").and_then(|table| kafka(&mut reader, table));
        let topics = root.table("topics").and_then(|table| topics(&mut reader, table));
        let time = root.table("time").and_then(time);
        if let (Some((norms, _)), Some(time)) = (&norms, &time) {
            check_limits(&mut reader, &root, norms, time);
        }
        let config = (|| {
            let (norms, language) = norms?;
            Some(Self {
                kafka: kafka?,
                topics: topics?,
                time: time?,
                engine: engine(root.table("engine")?)?,
                http: root.text("http")?.parse().ok()?,
                api: root.table("api").and_then(|table| api(&mut reader, table))?,
                redis: root.table("redis").map_or(Some(None), |table| redis(&mut reader, table).map(Some))?,
                prometheus: root.table("prometheus").and_then(|table| prometheus(&mut reader, table, &norms))?,
                language,
                norms,
                notes: problem::sorted(std::mem::take(&mut reader.notes)),
                files: std::mem::take(&mut reader.files),
            })
        })();
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => Err(Problems(problem::sorted(reader.problems))),
        }
    }
}

/// Reads the norms from the file set by `norms_file`.
fn load_norms_file(reader: &mut Reader<'_>, root: &Table, env: &dyn Env) -> Option<(Norms, Language)> {
    let line = root.line_of("norms_file");
    for key in keys::NORMS.iter().filter(|key| root.is_set(key.name) && !OPERATOR_KEYS.contains(&key.name)) {
        let text = format!("must be set in the file given by `norms_file` on line {line}");
        reader.problem(root.line_of(key.name), root.path_of(key.name), text);
    }
    let path = reader.locate(root.text("norms_file")?);
    let file = path.display().to_string();
    let text = match env.file(&path) {
        Ok(text) => text,
        Err(error) => {
            reader.problem(line, "norms_file", format!("cannot read {file}: {}", error.kind()));
            return None;
        }
    };
    let mut inner = Reader::new(&file, &text, env);
    let table = inner.document(&[keys::NORMS]);
    let (mut norms, mut language) = norms::build(&mut inner, &table);
    for key in OPERATOR_KEYS.into_iter().filter(|key| root.is_set(key) && table.is_set(key)) {
        let text = format!("duplicate key, also set in {file} on line {}", table.line_of(key));
        inner.problems.push(Problem {
            file: reader.name().into(),
            line: root.line_of(key),
            path: root.path_of(key),
            text,
        });
    }
    reader.merge(inner, path);
    if root.is_set("default_country") {
        norms.country = norms::country(root);
    }
    if let Some(key) = root.text("privacy_key") {
        norms.privacy_key = Some(key.into());
    }
    if root.is_set("language") {
        language = norms::language(root);
    }
    Some((norms, language))
}

fn kafka(reader: &mut Reader<'_>, table: &Table) -> Option<Kafka> {
    let mut properties = |key| Properties::read(reader, table, key);
    Some(Kafka {
        client: properties("client"),
        consumer: properties("consumer"),
        producer: properties("producer"),
        bootstrap: table.text("bootstrap")?.into(),
        group: table.text("group")?.into(),
        transactional_id: table.text("transactional_id")?.into(),
    })
}

fn topics(reader: &mut Reader<'_>, table: &Table) -> Option<Topics> {
    let mut used = BTreeMap::new();
    for key in TOPICS {
        let (holder, name) = table.table(key.name).map_or((table, key.name), |source| (source, "name"));
        if let (ValueKind::Form(_) | ValueKind::Table(_), Some(topic)) = (key.kind, holder.text(name))
            && let Some(other) = used.insert(topic.to_owned(), key.name)
        {
            let text = format!("`{topic}` is already used by `{other}`; topic names must be distinct");
            reader.problem(holder.line_of(name), holder.path_of(name), text);
        }
    }
    let source = |key| {
        let source = table.table(key)?;
        let encoding = source.text("encoding").and_then(Encoding::from_name)?;
        Some(SourceTopic { name: source.text("name")?.into(), encoding })
    };
    let name = |key| table.text(key).map(String::from);
    Some(Topics {
        sources: PerTopic::try_from_fn(|topic| source(topic.info().key))?,
        alerts: name("alerts")?,
        metrics: name("metrics")?,
        reviews: name("reviews")?,
        dead_letters: name("dead_letters")?,
        state: name("state")?,
        rerouted: name("rerouted")?,
        output: table.text("output").and_then(Encoding::from_name)?,
    })
}

fn time(table: &Table) -> Option<Time> {
    let span = |key| table.length(key).map(|length| length.span);
    Some(Time {
        allowed_lateness: span("allowed_lateness")?,
        idle_after: span("idle_after")?,
        watermark_follows_clock: table.flag("watermark_follows_clock")?,
        max_future_skew: span("max_future_skew")?,
        correction_horizon: span("correction_horizon")?,
        dedup_window: span("dedup_window")?,
        retention: span("retention"),
    })
}

fn engine(table: &Table) -> Option<Engine> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Some(Engine {
        workers: match count(table, "workers")? {
            0 => cores(),
            workers => workers,
        },
        epoch: table.length("epoch")?.span,
        epoch_messages: count(table, "epoch_messages")?,
        epochs_in_flight: count(table, "epochs_in_flight")?,
        max_message_bytes: count(table, "max_message_bytes")?,
    })
}

fn api(reader: &mut Reader<'_>, table: &Table) -> Option<Api> {
    let token = table.text("token").map(|token| token.trim_end().to_owned());
    if token.as_ref().is_some_and(|token| token.len() < MIN_TOKEN_LENGTH) {
        let text = format!("expected at least {MIN_TOKEN_LENGTH} characters: a shorter token could be guessed");
        reader.problem(table.line_of("token"), table.path_of("token"), text);
    }
    Some(Api { token })
}

fn redis(reader: &mut Reader<'_>, table: &Table) -> Option<Redis> {
    let url = table.text("url")?.trim_end().to_owned();
    // The URL is not shown, because it may contain a password.
    let found = match url.split_once("://") {
        Some(("redis", rest)) if !rest.is_empty() => None,
        Some(("rediss", _)) => Some("a TLS address; TLS is not supported, use a proxy"),
        _ => Some("another format"),
    };
    if let Some(found) = found {
        let text = format!("expected an address such as redis://redis:6379/0, found {found}");
        reader.problem(table.line_of("url"), table.path_of("url"), text);
    }
    Some(Redis {
        url,
        prefix: table.text("prefix")?.into(),
        ttl: table.length("ttl")?.span,
        queue: count(table, "queue")?,
    })
}

fn prometheus(reader: &mut Reader<'_>, table: &Table, norms: &Norms) -> Option<Selection> {
    let windows: Vec<_> = norms.windows.iter().map(|window| window.name()).collect();
    for (line, name) in table.list("manager_windows").iter().filter_map(|value| Some((value.line, value.text()?))) {
        if !windows.iter().any(|window| window == name) {
            let text = format!("unknown window `{name}`; expected one of {}", windows.join(", "));
            reader.problem(line, table.path_of("manager_windows"), text);
        }
    }
    let texts = |key| Some(table.value(key)?.texts()?.map(String::from).collect());
    Some(Selection {
        manager_windows: texts("manager_windows"),
        manager_metrics: texts("manager_metrics"),
        max_series: count(table, "max_series")?,
    })
}

fn count(table: &Table, key: &str) -> Option<usize> {
    table.count(key).and_then(|count| usize::try_from(count).ok())
}

/// Checks related limits against each other.
fn check_limits(reader: &mut Reader<'_>, root: &Table, norms: &Norms, time: &Time) {
    let Some(table) = root.table("time") else { return };
    if time.correction_horizon < time.allowed_lateness {
        let text = format!(
            "{} is less than `allowed_lateness` ({}): events within the allowed lateness would be rejected",
            key::format_span(time.correction_horizon),
            key::format_span(time.allowed_lateness)
        );
        reader.problem(table.line_of("correction_horizon"), table.path_of("correction_horizon"), text);
    }
    let longest = norms.windows.iter().map(|window| window.size).max().unwrap_or_default();
    let least = Span(longest.0 + time.correction_horizon.0);
    if let Some(retention) = time.retention.filter(|retention| *retention < least) {
        let text = format!(
            "{retention} is less than the longest window ({longest}) plus `correction_horizon` ({}): figures would \
             miss finished leads and deals",
            key::format_span(time.correction_horizon)
        );
        reader.problem(table.line_of("retention"), table.path_of("retention"), text);
    }
}

#[cfg(test)]
mod tests {
    use super::env::fake::FakeEnv;
    use super::samples::{CONFIG_INVALID, documents};
    use super::*;
    use std::path::Path;

    fn fake_env() -> FakeEnv {
        FakeEnv {
            variables: BTreeMap::from([("HOSTNAME", "pod-3"), ("PASSWORD", "hunter2")]),
            files: BTreeMap::from([
                ("etc/run/key".into(), "k3y\n"),
                ("etc/norms.yaml".into(), "language: ru\nnorms: {stage_reverted: {}}\nprivacy_key: {file: run/key}\n"),
                ("etc/bad.yaml".into(), "\nnorms: {neglected: {}}\n"),
            ]),
        }
    }

    fn config(text: &str) -> Config {
        Config::parse_with("etc/main.yaml", text, &fake_env()).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    }

    fn problems(text: &str) -> Vec<String> {
        let found = Config::parse_with("etc/main.yaml", text, &fake_env()).err().unwrap_or_default();
        found.0.iter().map(|problem| problem.to_string().replace("etc/main.yaml:", "")).collect()
    }

    #[test]
    fn defaults_match_the_documentation() {
        let Config { kafka, topics, time, engine, http, language, .. } = config("");
        assert_eq!((kafka.bootstrap.as_str(), kafka.group.as_str()), ("localhost:9092", "funnelwatch"));
        assert_eq!(kafka.transactional_id, "funnelwatch-pod-3");
        assert!(kafka.client.is_empty() && kafka.consumer.is_empty() && kafka.producer.is_empty());
        let source = |name: &str| SourceTopic { name: name.into(), encoding: Encoding::Json };
        assert_eq!(topics.sources[Topic::Crm], source("crm.events"));
        assert_eq!(topics.sources[Topic::Telephony], source("telephony.events"));
        assert_eq!(topics.sources[Topic::Email], source("email.events"));
        let names =
            [&topics.alerts, &topics.metrics, &topics.reviews, &topics.dead_letters, &topics.state, &topics.rerouted];
        let tails = ["alerts", "metrics", "reviews", "dlq", "state", "rerouted"];
        assert_eq!(names.map(String::as_str), tails.map(|tail| format!("funnelwatch.{tail}")));
        assert_eq!(topics.output, Encoding::Json);
        let day = Span::DAY.0;
        assert_eq!(
            time,
            Time {
                allowed_lateness: Span(10_000),
                idle_after: Span(5000),
                watermark_follows_clock: true,
                max_future_skew: Span(300_000),
                correction_horizon: Span(7 * day),
                dedup_window: Span(day / 4),
                retention: None,
            }
        );
        assert!(engine.workers > 0);
        assert_eq!(
            Engine { workers: 1, ..engine },
            Engine {
                workers: 1,
                epoch: Span(100),
                epoch_messages: 10_000,
                epochs_in_flight: 4,
                max_message_bytes: 262_144,
            }
        );
        assert_eq!((http.to_string().as_str(), language), ("127.0.0.1:9464", Language::En));
        assert_eq!(Config::default().engine, config("").engine);
    }

    #[test]
    fn all_keys_can_be_set() {
        let text = "\
kafka:
  bootstrap: a:1,b:2
  group: g
  transactional_id: t-${HOSTNAME}
  client: {security.protocol: SASL_SSL, sasl.password: {file: run/key}}
  consumer: {fetch.wait.max.ms: 50, check.crcs: true}
  producer: {ssl.key.location: '${PASSWORD}', compression.type: zstd}
topics:
  crm: {name: crm, encoding: confluent_protobuf}
  email: {encoding: protobuf}
  dead_letters: dead
  output: protobuf
time: {allowed_lateness: 0s, idle_after: 100ms, watermark_follows_clock: false, retention: 40d}
engine: {workers: 3, epoch: 10ms, epoch_messages: 5, epochs_in_flight: 1, max_message_bytes: 1MiB}
http: '[::]:80'
api: {token: 0123456789abcdef}
redis: {url: 'redis://:secret@r/1', prefix: fw, ttl: 5m, queue: 3}
prometheus: {manager_windows: [24h, 30d], manager_metrics: [touches, open_alerts], max_series: 7}
language: ru
norms: {stage_reverted: {}}
";
        let Config { kafka, topics, time, engine, http, api, redis, prometheus, language, norms, .. } = config(text);
        assert_eq!((kafka.bootstrap.as_str(), kafka.group.as_str()), ("a:1,b:2", "g"));
        assert_eq!(kafka.transactional_id, "t-pod-3");
        assert_eq!(kafka.client["sasl.password"], "k3y");
        assert_eq!(
            (kafka.consumer["fetch.wait.max.ms"].as_str(), kafka.consumer["check.crcs"].as_str()),
            ("50", "true")
        );
        assert_eq!(kafka.producer["ssl.key.location"], "hunter2");
        let source = |topic| (topics.sources[topic].name.as_str(), topics.sources[topic].encoding);
        assert_eq!(source(Topic::Crm), ("crm", Encoding::ConfluentProtobuf));
        assert_eq!(source(Topic::Email), ("email.events", Encoding::Protobuf));
        assert_eq!((topics.dead_letters.as_str(), topics.output), ("dead", Encoding::Protobuf));
        assert_eq!((time.allowed_lateness, time.idle_after), (Span::ZERO, Span(100)));
        assert_eq!((time.watermark_follows_clock, time.retention), (false, Some(Span(40 * Span::DAY.0))));
        assert_eq!(
            engine,
            Engine { workers: 3, epoch: Span(10), epoch_messages: 5, epochs_in_flight: 1, max_message_bytes: 1 << 20 }
        );
        assert_eq!((http.to_string().as_str(), language), ("[::]:80", Language::Ru));
        assert_eq!(api.token.as_deref(), Some("0123456789abcdef"));
        let (url, ttl) = ("redis://:secret@r/1".into(), Span(300_000));
        assert!(!format!("{redis:?}").contains("secret@"));
        assert_eq!(redis, Some(Redis { url, prefix: "fw".into(), ttl, queue: 3 }));
        let selection = Selection {
            manager_windows: Some(vec!["24h".into(), "30d".into()]),
            manager_metrics: Some(vec!["touches".into(), "open_alerts".into()]),
            max_series: 7,
        };
        assert_eq!(prometheus, selection);
        assert_eq!(norms.base.rules.len(), 1);
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = config(
            "privacy_key: hunter2\nkafka:\n  client: {sasl.password: hunter2, \
             client.id: shown}\n  consumer: {ssl.key.location: '/${PASSWORD}'}\n  producer: {debug: {file: run/key}}\n",
        );
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("hunter2") && !shown.contains("k3y"), "{shown}");
        assert!(shown.contains("shown"), "{shown}");
    }

    #[test]
    fn norms_can_be_in_a_separate_file() {
        let config = config("norms_file: norms.yaml");
        assert_eq!((config.language, config.norms.privacy_key.as_deref()), (Language::Ru, Some("k3y")));
        assert_eq!(config.files, ["etc/main.yaml", "etc/norms.yaml", "etc/run/key"].map(PathBuf::from));
        let text = "norms_file: norms.yaml\ndefault_country: KZ";
        assert_eq!(self::config(text).norms.country, crate::domain::identity::Country::Kz);
        assert_eq!(
            problems("norms_file: norms.yaml\nnorms: {}\nlanguage: en\ncalendars: {}"),
            [
                "2: norms: must be set in the file given by `norms_file` on line 1",
                "3: language: duplicate key, also set in etc/norms.yaml on line 1",
                "4: calendars: must be set in the file given by `norms_file` on line 1",
            ]
        );
        assert_eq!(problems("norms_file: gone.yaml"), ["1: norms_file: cannot read etc/gone.yaml: entity not found"]);
        assert_eq!(
            problems("norms_file: bad.yaml\nhttp: x"),
            [
                "etc/bad.yaml:2: norms.neglected.within: required key is missing: the deadline, measured from the \
                 anchor on the rule's clock",
                "2: http: expected an address and port such as 127.0.0.1:9464 or [::]:9464, found string `x`",
            ]
        );
    }

    #[test]
    fn problems_are_reported() {
        for (text, expected) in documents(CONFIG_INVALID) {
            assert_eq!(problems(text), expected, "{text}");
        }
    }

    #[test]
    fn the_examples_are_valid() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
        let config = Config::load(&examples.join("funnelwatch.yaml")).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.notes, []);
        assert_eq!(
            config.files,
            [examples.join("funnelwatch.yaml"), examples.join("norms.yaml"), examples.join("calendar-russia.yaml")]
        );
        assert!(config.norms.base.rules.len() >= 20, "the example covers the rules");
    }

    #[test]
    fn a_missing_file_is_a_problem() {
        let path = Path::new("no/such.yaml");
        let problems = [Config::load(path).expect_err("missing"), load_norms(path).expect_err("missing")];
        assert_eq!(
            problems.map(|problems| problems.to_string()),
            ["no/such.yaml: cannot read file: entity not found"; 2]
        );
    }
}
