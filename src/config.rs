//! Owns the configuration: what an operator sets, read from one YAML file, the norms in it or in a file of their own.
//!
//! Promises that a configuration it lets pass is whole: every key is declared once (in `keys` and below), and from
//! that declaration come reading, defaults, `docs/configuration.md` and the JSON Schema; units stand in the value; all
//! problems are reported at once, with their lines; bounds are checked against each other. Refuses unknown keys, and
//! Kafka properties that would break a guarantee.
//!
//! **Secrets** may come from the environment (`${NAME}`) or from files (`{file: PATH}`), in the kafka section
//! and in `privacy_key`. They are never shown, by `Debug` neither.

mod check;
mod describe;
pub mod docs;
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
mod value;
mod worktime;

pub use describe::describe;
pub use norms::{Document, load_norms, parse_norms};
pub use problem::{Problem, Problems};
pub use properties::Properties;
pub use reload::{Look, Renewed, Watched};

use crate::codec::Encoding;
use crate::domain::norms::Norms;
use crate::domain::rule::Language;
use crate::domain::shard_processor::Timing;
use crate::domain::tenant::Memory;
use crate::domain::time::Span;
use crate::telemetry::exporter::Selection;
use crate::telemetry::metric::{Metric, MetricGroup};
use env::{Env, SystemEnv};
use key::{Form, KeySpec, ValueKind};
use reader::Reader;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use value::Table;

/// Everything that an operator sets.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach Kafka, and as whom.
    pub kafka: Kafka,
    /// Which topics are read and written.
    pub topics: Topics,
    /// How event time runs.
    pub time: Time,
    /// How the work is cut up.
    pub engine: Engine,
    /// Where metrics and probes are served.
    pub http: SocketAddr,
    /// Who may ask for figures, alerts and journeys.
    pub api: Api,
    /// Where the live view is kept; `None`: nowhere.
    pub redis: Option<Redis>,
    /// What of the figures is exported for Prometheus.
    pub prometheus: Selection,
    /// The language of the messages in alerts.
    pub language: Language,
    /// What is wanted of the sales departments.
    pub norms: Norms,
    /// What is legal and yet suspicious.
    pub notes: Vec<Problem>,
    /// Every file that was read: when one changes, so may the configuration.
    pub files: Vec<PathBuf>,
}

/// Where the live view is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Redis {
    /// Where Redis is, and as whom it is reached.
    pub url: String,
    /// What its keys begin with.
    pub prefix: String,
    /// How long keys live that are not written anew.
    pub ttl: Span,
    /// The most committed batches that wait.
    pub queue: usize,
}

/// The address may hold a password.
impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url: _, prefix, ttl, queue } = self;
        let mut shown = f.debug_struct("Redis");
        shown.field("url", &"(secret)").field("prefix", prefix).field("ttl", ttl).field("queue", queue).finish()
    }
}

/// Who may ask for figures, alerts and journeys.
#[derive(Clone, PartialEq, Eq)]
pub struct Api {
    /// What callers must show; `None`: only this machine may ask.
    pub token: Option<String>,
}

/// The token is not shown.
impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("token", &self.token.as_ref().map(|_| "(secret)")).finish()
    }
}

/// How to reach Kafka, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// Brokers to begin with, separated by commas.
    pub bootstrap: String,
    /// The consumer group.
    pub group: String,
    /// The name of this process among the group's producers; a second one of the same name fences the first.
    pub transactional_id: String,
    /// Further librdkafka properties of both clients.
    pub client: Properties,
    /// Further librdkafka properties of the consumer.
    pub consumer: Properties,
    /// Further librdkafka properties of the producer.
    pub producer: Properties,
}

/// Which topics are read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// CRM events.
    pub crm: SourceTopic,
    /// Telephony events.
    pub telephony: SourceTopic,
    /// E-mail and other written messages.
    pub email: SourceTopic,
    /// The life of alerts.
    pub alerts: String,
    /// Latest metric rows.
    pub metrics: String,
    /// Review requests.
    pub reviews: String,
    /// Rejects with their reason.
    pub dead_letters: String,
    /// State, internal.
    pub state: String,
    /// Messages found in a wrong partition, internal.
    pub rerouted: String,
    /// How alerts, metric rows and review requests are written.
    pub output: Encoding,
}

/// A topic that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTopic {
    /// The topic.
    pub name: String,
    /// How its messages are written, unless their `content-type` header says otherwise.
    pub encoding: Encoding,
}

/// How event time runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    /// How far the watermark stays behind the latest event.
    pub allowed_lateness: Span,
    /// After so much silence a partition that was read to its end holds the watermark back no more.
    pub idle_after: Span,
    /// When all is idle, the watermark follows the wall clock.
    pub watermark_follows_clock: bool,
    /// Events further ahead of the wall clock are dead letters.
    pub max_future_skew: Span,
    /// Events further behind the watermark are dead letters.
    pub correction_horizon: Span,
    /// For so long an event id is remembered.
    pub dedup_window: Span,
    /// For so long what is settled is kept.
    pub retention: Option<Span>,
}

/// How the work is cut up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Timely workers.
    pub workers: usize,
    /// Longest epoch.
    pub epoch: Span,
    /// Most messages of an epoch.
    pub epoch_messages: usize,
    /// Most epochs that are read and not committed.
    pub epochs_in_flight: usize,
    /// Largest message that is decoded.
    pub max_message_bytes: usize,
}

const TOPIC: Form = Form {
    wanted: "a topic name of letters, digits, `.`, `_` and `-`",
    fits: |text| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=249).contains(&text.len()) && ![".", ".."].contains(&text) && text.bytes().all(letter)
    },
    pattern: "^[A-Za-z0-9._-]{1,249}$",
};
const ADDRESS: Form = Form {
    wanted: "an address and port such as 127.0.0.1:9464 or [::]:9464",
    fits: |text| text.parse::<SocketAddr>().is_ok(),
    pattern: "",
};
const PROPERTY: Form = Form {
    wanted: "the name of a librdkafka property",
    fits: |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte)),
    pattern: "",
};
const PROPERTIES: ValueKind = ValueKind::Map(PROPERTY, &ValueKind::Property);
const ENCODING: KeySpec = KeySpec::new(
    "encoding",
    ValueKind::Name(|| Encoding::ALL.map(Encoding::name).to_vec()),
    "how its messages are written, where no `content-type` header says otherwise",
)
.filled("json");

const fn topic(name: &'static str, default: &'static str, help: &'static str) -> KeySpec {
    KeySpec::new(name, ValueKind::Form(TOPIC), help).filled(default)
}

const fn span(name: &'static str, (from, to): (Span, Span), default: &'static str, help: &'static str) -> KeySpec {
    KeySpec::new(name, ValueKind::Span(from, to), help).filled(default)
}

/// Sections and keys beside those of the norms.
const CONFIG: &[KeySpec] = &[
    KeySpec::new("kafka", ValueKind::Table(&[KAFKA]), "how to reach Kafka, and as whom").filled("{}"),
    KeySpec::new("topics", ValueKind::Table(&[TOPICS]), "which topics are read and written").filled("{}"),
    KeySpec::new("time", ValueKind::Table(&[TIME]), "how event time runs").filled("{}"),
    KeySpec::new("engine", ValueKind::Table(&[ENGINE]), "how the work is cut up").filled("{}"),
    KeySpec::new("http", ValueKind::Form(ADDRESS), "where metrics and probes are served").filled("127.0.0.1:9464"),
    KeySpec::new("api", ValueKind::Table(&[API]), "who may ask for figures, alerts and journeys at `/api/v1`")
        .filled("{}"),
    KeySpec::new("redis", ValueKind::Table(&[REDIS]), "where the [live view](live-view.md) is kept, if anywhere"),
    KeySpec::new("prometheus", ValueKind::Table(&[PROMETHEUS]), "what of the figures is exported at `/metrics`")
        .filled("{}"),
    KeySpec::new("norms_file", ValueKind::Text, "the file that the norms stand in, relative to this one")
        .told("the norms stand in this file"),
];

const KAFKA: &[KeySpec] = &[
    KeySpec::new("bootstrap", ValueKind::Setting, "brokers to begin with, separated by commas")
        .filled("localhost:9092"),
    KeySpec::new("group", ValueKind::Setting, "the consumer group").filled("funnelwatch"),
    KeySpec::new(
        "transactional_id",
        ValueKind::Setting,
        "the name of this process among the producers: it must be its own and stay its own over restarts",
    )
    .filled("funnelwatch-${HOSTNAME:-0}"),
    KeySpec::new("client", PROPERTIES, "librdkafka properties of both clients: security, timeouts…"),
    KeySpec::new("consumer", PROPERTIES, "librdkafka properties of the consumer"),
    KeySpec::new("producer", PROPERTIES, "librdkafka properties of the producer"),
];

const TOPICS: &[KeySpec] = &[
    KeySpec::new("crm", ValueKind::Table(&[&[topic("name", "crm.events", "the topic"), ENCODING]]), "CRM events")
        .filled("{}"),
    KeySpec::new(
        "telephony",
        ValueKind::Table(&[&[topic("name", "telephony.events", "the topic"), ENCODING]]),
        "telephony events",
    )
    .filled("{}"),
    KeySpec::new(
        "email",
        ValueKind::Table(&[&[topic("name", "email.events", "the topic"), ENCODING]]),
        "written messages",
    )
    .filled("{}"),
    topic("alerts", "funnelwatch.alerts", "the life of alerts"),
    topic("metrics", "funnelwatch.metrics", "latest metric rows, compacted"),
    topic("reviews", "funnelwatch.reviews", "review requests"),
    topic("dead_letters", "funnelwatch.dlq", "what could not be taken, with the reason"),
    topic("state", "funnelwatch.state", "state, compacted; internal"),
    topic("rerouted", "funnelwatch.rerouted", "messages found in a wrong partition; internal"),
    KeySpec::new(
        "output",
        ValueKind::Name(|| [Encoding::Json, Encoding::Protobuf].map(Encoding::name).to_vec()),
        "how alerts, metric rows and review requests are written",
    )
    .filled("json"),
];

const MILLI: Span = Span(1);
const YEARS: Span = Span(3653 * Span::DAY.0);

const TIME: &[KeySpec] = &[
    span("allowed_lateness", (Span::ZERO, Span::DAY), "10s", "how far the watermark stays behind the latest event"),
    span(
        "idle_after",
        (Span(100), Span::DAY),
        "5s",
        "after so much silence a partition that was read to its end holds the watermark back no more",
    ),
    KeySpec::new("watermark_follows_clock", ValueKind::Flag, "when all is idle, the watermark follows the wall clock")
        .filled("true"),
    span("max_future_skew", (Span::ZERO, YEARS), "5m", "events further ahead of the wall clock are dead letters"),
    span("correction_horizon", (Span::ZERO, YEARS), "7d", "events further behind the watermark are dead letters"),
    span("dedup_window", (Span::ZERO, YEARS), "6h", "for so long, in event time, an event id is remembered"),
    KeySpec::new(
        "retention",
        ValueKind::Span(Span::HOUR, YEARS),
        "what is over, and was not heard of for so long, is forgotten",
    )
    .told("the longest window and the correction horizon"),
];

const ENGINE: &[KeySpec] = &[
    KeySpec::new("workers", ValueKind::Count(0, 256), "timely workers; 0: one for each core").filled("0"),
    span("epoch", (MILLI, Span(10_000)), "100ms", "longest epoch: what is read in it is committed together"),
    KeySpec::new("epoch_messages", ValueKind::Count(1, 10_000_000), "most messages of an epoch").filled("10000"),
    KeySpec::new("epochs_in_flight", ValueKind::Count(1, 1024), "most epochs that are read and not committed")
        .filled("4"),
    KeySpec::new(
        "max_message_bytes",
        ValueKind::Bytes(1 << 10, 16 << 20),
        "largest message that is decoded; a larger one is a dead letter",
    )
    .filled("256KiB"),
];

/// A shorter token could be guessed.
const SHORTEST_TOKEN: usize = 16;

const API: &[KeySpec] = &[KeySpec::new(
    "token",
    ValueKind::Secret,
    "what callers must show as `Authorization: Bearer …`, 16 letters or more",
)
.told("only this machine may ask")];

const PREFIX: Form = Form {
    wanted: "letters, digits, `.`, `_`, `-` and `:`",
    fits: |text| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte)),
    pattern: "^[A-Za-z0-9._:-]+$",
};

const REDIS: &[KeySpec] = &[
    KeySpec::new("url", ValueKind::Secret, "where Redis is, such as `redis://redis:6379/0`; without TLS").must(),
    KeySpec::new("prefix", ValueKind::Form(PREFIX), "what its keys begin with").filled("funnelwatch"),
    span(
        "ttl",
        (Span(10_000), YEARS),
        "1h",
        "how long keys live that are not written anew; they are, every third of it",
    ),
    KeySpec::new("queue", ValueKind::Count(1, 100_000), "most committed batches that wait to be written").filled("256"),
];

const FIGURE: Form = Form {
    wanted: "the name of a figure such as touches or open_alerts",
    fits: |text| manager_metrics().any(|metric| metric.stem() == text),
    pattern: "^[a-z_]+$",
};

const PROMETHEUS: &[KeySpec] = &[
    KeySpec::new(
        "manager_windows",
        ValueKind::List(&ValueKind::Text, 0),
        "the windows, such as `24h`, whose figures are exported for single managers",
    )
    .told("all"),
    KeySpec::new(
        "manager_metrics",
        ValueKind::List(&ValueKind::Form(FIGURE), 0),
        "the figures that are exported for single managers, see [metrics](metrics.md)",
    )
    .told("all"),
    KeySpec::new(
        "max_series",
        ValueKind::Count(0, 10_000_000),
        "most series of figures and norms; what is beyond is left out, and `funnelwatch_series_left_out` says so",
    )
    .filled("200000"),
];

/// Keys of the norms document that may stand beside `norms_file`: they are the operator's.
const OPERATORS: [&str; 3] = ["default_country", "privacy_key", "language"];

/// What holds where nothing is set: Kafka on this machine, and no norms.
impl Default for Config {
    fn default() -> Self {
        match Self::parse("defaults", "") {
            Ok(config) => Self { notes: Vec::new(), files: Vec::new(), ..config },
            Err(problems) => unreachable!("the defaults are a configuration: {problems}"),
        }
    }
}

impl Config {
    /// How event time is kept. What is settled is kept for `time.retention`, by default for the longest window and as
    /// long as late events may correct it.
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

    fn load_with(path: &Path, outside: &dyn Env) -> Result<Self, Problems> {
        let file = path.display().to_string();
        let text = outside.file(path).map_err(|error| Problems(vec![problem::unreadable(&file, &error)]))?;
        Self::parse_with(&file, &text, outside)
    }

    /// Reads the configuration `text`; `file` is its name in problems, and files that it names are relative to it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        Self::parse_with(file, text, &SystemEnv)
    }

    fn parse_with(file: &str, text: &str, outside: &dyn Env) -> Result<Self, Problems> {
        let mut reader = Reader::new(file, text, outside);
        let root = reader.document(&[CONFIG, keys::NORMS]);
        reader.files.push(file.into());
        let norms = if root.gives("norms_file") {
            norms_of_its_own(&mut reader, &root, outside)
        } else {
            Some(norms::build(&mut reader, &root))
        };
        let kafka = root.table("kafka").and_then(|table| kafka(&mut reader, table));
        let topics = root.table("topics").and_then(|table| topics(&mut reader, table));
        let time = root.table("time").and_then(time);
        if let (Some((norms, _)), Some(time)) = (&norms, &time) {
            bounds(&mut reader, &root, norms, time);
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

/// The norms in the file that `norms_file` names.
fn norms_of_its_own(reader: &mut Reader<'_>, root: &Table, outside: &dyn Env) -> Option<(Norms, Language)> {
    let line = root.line_of("norms_file");
    for key in keys::NORMS.iter().filter(|key| root.gives(key.name) && !OPERATORS.contains(&key.name)) {
        let text = format!("this belongs into the file that `norms_file` on line {line} names");
        reader.problem(root.line_of(key.name), root.path_of(key.name), text);
    }
    let path = reader.locate(root.text("norms_file")?);
    let file = path.display().to_string();
    let text = match outside.file(&path) {
        Ok(text) => text,
        Err(error) => {
            reader.problem(line, "norms_file", format!("cannot read {file}: {}", error.kind()));
            return None;
        }
    };
    let mut inner = Reader::new(&file, &text, outside);
    let table = inner.document(&[keys::NORMS]);
    let (mut norms, mut language) = norms::build(&mut inner, &table);
    for key in OPERATORS.into_iter().filter(|key| root.gives(key) && table.gives(key)) {
        let text = format!("the key stands in {file} as well, on line {}", table.line_of(key));
        inner.problems.push(Problem {
            file: reader.name().into(),
            line: root.line_of(key),
            path: root.path_of(key),
            text,
        });
    }
    reader.take_over(inner, path);
    if root.gives("default_country") {
        norms.country = norms::country(root);
    }
    if let Some(key) = root.text("privacy_key") {
        norms.privacy_key = Some(key.into());
    }
    if root.gives("language") {
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
            let text = format!("`{topic}` is also the topic of `{other}`; each must be its own");
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
        crm: source("crm")?,
        telephony: source("telephony")?,
        email: source("email")?,
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
    if token.as_ref().is_some_and(|token| token.len() < SHORTEST_TOKEN) {
        let text = format!("wanted at least {SHORTEST_TOKEN} letters: a shorter token could be guessed");
        reader.problem(table.line_of("token"), table.path_of("token"), text);
    }
    Some(Api { token })
}

fn redis(reader: &mut Reader<'_>, table: &Table) -> Option<Redis> {
    let url = table.text("url")?.trim_end().to_owned();
    // It is not quoted: there may be a password in it.
    let found = match url.split_once("://") {
        Some(("redis", rest)) if !rest.is_empty() => None,
        Some(("rediss", _)) => Some("TLS, which is not spoken here: put a proxy between"),
        _ => Some("something else"),
    };
    if let Some(found) = found {
        let text = format!("wanted an address such as redis://redis:6379/0, found {found}");
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
            let text = format!("there is no window `{name}`: there are {}", windows.join(", "));
            reader.problem(line, table.path_of("manager_windows"), text);
        }
    }
    let texts = |key| table.value(key)?.texts();
    let metric = |name: &str| manager_metrics().find(|metric| metric.stem() == name);
    Some(Selection {
        manager_windows: texts("manager_windows").map(|names| names.map(String::from).collect()),
        manager_metrics: texts("manager_metrics").map(|names| names.filter_map(metric).collect()),
        max_series: count(table, "max_series")?,
    })
}

/// The figures that single managers have.
fn manager_metrics() -> impl Iterator<Item = Metric> {
    Metric::ALL.iter().copied().filter(|metric| matches!(metric.group(), MetricGroup::Window | MetricGroup::Now))
}

fn count(table: &Table, key: &str) -> Option<usize> {
    table.count(key).and_then(|count| usize::try_from(count).ok())
}

/// The relations of bounds with each other.
fn bounds(reader: &mut Reader<'_>, root: &Table, norms: &Norms, time: &Time) {
    let Some(table) = root.table("time") else { return };
    if time.correction_horizon < time.allowed_lateness {
        let text = format!(
            "{} is less than the allowed lateness of {}: events in time would be too late",
            key::whole(time.correction_horizon),
            key::whole(time.allowed_lateness)
        );
        reader.problem(table.line_of("correction_horizon"), table.path_of("correction_horizon"), text);
    }
    let longest = norms.windows.iter().map(|window| window.size).max().unwrap_or_default();
    let least = Span(longest.0 + time.correction_horizon.0);
    if let Some(retention) = time.retention.filter(|retention| *retention < least) {
        let text = format!(
            "{retention} is less than the longest window ({longest}) and the correction horizon ({}) together: \
             figures would miss finished leads and deals",
            key::whole(time.correction_horizon)
        );
        reader.problem(table.line_of("retention"), table.path_of("retention"), text);
    }
}

#[cfg(test)]
mod tests {
    use super::env::pretend::FakeEnv;
    use super::samples::{CONFIG_REFUSED, documents};
    use super::*;
    use std::path::Path;

    fn pretend() -> FakeEnv {
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
        Config::parse_with("etc/main.yaml", text, &pretend()).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    }

    fn problems(text: &str) -> Vec<String> {
        let found = Config::parse_with("etc/main.yaml", text, &pretend()).err().unwrap_or_default();
        found.0.iter().map(|problem| problem.to_string().replace("etc/main.yaml:", "")).collect()
    }

    #[test]
    fn defaults_are_those_of_the_docs() {
        let Config { kafka, topics, time, engine, http, language, .. } = config("");
        assert_eq!((kafka.bootstrap.as_str(), kafka.group.as_str()), ("localhost:9092", "funnelwatch"));
        assert_eq!(kafka.transactional_id, "funnelwatch-pod-3");
        assert!(kafka.client.is_empty() && kafka.consumer.is_empty() && kafka.producer.is_empty());
        let source = |name: &str| SourceTopic { name: name.into(), encoding: Encoding::Json };
        assert_eq!(topics.crm, source("crm.events"));
        assert_eq!(topics.telephony, source("telephony.events"));
        assert_eq!(topics.email, source("email.events"));
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
    fn everything_can_be_set() {
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
        assert_eq!((topics.crm.name.as_str(), topics.crm.encoding), ("crm", Encoding::ConfluentProtobuf));
        assert_eq!((topics.email.name.as_str(), topics.email.encoding), ("email.events", Encoding::Protobuf));
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
            manager_metrics: Some(vec![Metric::Touches, Metric::OpenAlerts]),
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
    fn norms_may_have_a_file_of_their_own() {
        let config = config("norms_file: norms.yaml");
        assert_eq!((config.language, config.norms.privacy_key.as_deref()), (Language::Ru, Some("k3y")));
        assert_eq!(config.files, ["etc/main.yaml", "etc/norms.yaml", "etc/run/key"].map(PathBuf::from));
        let text = "norms_file: norms.yaml\ndefault_country: KZ";
        assert_eq!(self::config(text).norms.country, crate::domain::identity::Country::Kz);
        assert_eq!(
            problems("norms_file: norms.yaml\nnorms: {}\nlanguage: en\ncalendars: {}"),
            [
                "2: norms: this belongs into the file that `norms_file` on line 1 names",
                "3: language: the key stands in etc/norms.yaml as well, on line 1",
                "4: calendars: this belongs into the file that `norms_file` on line 1 names",
            ]
        );
        assert_eq!(problems("norms_file: gone.yaml"), ["1: norms_file: cannot read etc/gone.yaml: entity not found"]);
        assert_eq!(
            problems("norms_file: bad.yaml\nhttp: x"),
            [
                "etc/bad.yaml:2: norms.neglected.within: this key is missing: the deadline, counted from the anchor \
                 on the rule's clock",
                "2: http: wanted an address and port such as 127.0.0.1:9464 or [::]:9464, found the text `x`",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, wanted) in documents(CONFIG_REFUSED) {
            assert_eq!(problems(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_examples_are_right() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
        let config = Config::load(&examples.join("funnelwatch.yaml")).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.notes, []);
        assert_eq!(
            config.files,
            [examples.join("funnelwatch.yaml"), examples.join("norms.yaml"), examples.join("calendar-russia.yaml")]
        );
        assert!(config.norms.base.rules.len() >= 20, "the example shows the rules");
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem() {
        let path = Path::new("no/such.yaml");
        let told = [Config::load(path).expect_err("not there"), load_norms(path).expect_err("not there")];
        assert_eq!(told.map(|told| told.to_string()), ["no/such.yaml: cannot read the file: entity not found"; 2]);
    }
}
