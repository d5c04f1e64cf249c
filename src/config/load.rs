//! Loads the configuration: one YAML file, with the norms in it or in a file of their own.
//!
//! Related limits of different sections are checked against each other.

use super::gateway::{GATEWAY, Gateway};
use super::limits::{LIMITS, Limits};
use super::notify::{NOTIFY, Notify};
use super::schema::env::{Env, SystemEnv, reason};
use super::schema::key::ValueKind::Text;
use super::schema::key::{KeySpec, ValueKind};
use super::schema::problem::{Problem, Problems, sorted, unreadable};
use super::schema::reader::Reader;
use super::schema::units::format_span;
use super::schema::value::Table;
use super::sections::{
    ADDRESS, API, Api, ENGINE, Engine, HTTP_SERVER, HttpServer, KAFKA, Kafka, MEMBERS, Members, PAGE, PROMETHEUS, Page,
    REDIS, Redis, TENANT_RETENTION, TIME, Time, prometheus,
};
use super::topics::{TOPICS, Topics};
use super::{keys, norms};
use crate::domain::norms::Norms;
use crate::domain::rule::message::Language;
use crate::domain::shard::processor::Timing;
use crate::domain::shard::tenant_clock::Timeouts;
use crate::domain::tenant::Memory;
use crate::domain::time::Span;
use crate::telemetry::exporter::Selection;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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
    /// Bounds on what an input can make grow.
    pub limits: Limits,
    /// Listen address of the page, metrics, probes and API.
    pub http: SocketAddr,
    /// The HTTP server.
    pub http_server: HttpServer,
    /// Access to the HTTP API.
    pub api: Api,
    /// The page.
    pub page: Page,
    /// How processes answer for each other; `None`: each answers for its own shards.
    pub members: Option<Members>,
    /// Redis of the live view; `None`: no live view.
    pub redis: Option<Redis>,
    /// Figures exported to Prometheus.
    pub prometheus: Selection,
    /// The gateway; `None`: there is none.
    pub gateway: Option<Gateway>,
    /// Who is informed of alerts; `None`: nobody.
    pub notify: Option<Notify>,
    /// The language of alert messages.
    pub language: Language,
    /// The norms.
    pub norms: Norms,
    /// Valid but suspicious settings.
    pub notes: Vec<Problem>,
    /// All files that were read; a change of any of them may change the configuration.
    pub files: Vec<PathBuf>,
}

/// Sections and keys in addition to those of the norms.
pub const CONFIG: &[KeySpec] = &[
    KeySpec::new("kafka", ValueKind::Table(&[KAFKA]), "Kafka connection and identity").default("{}"),
    KeySpec::new("topics", ValueKind::Table(&TOPICS), "topics read and written").default("{}"),
    KeySpec::new("time", ValueKind::Table(&[TIME]), "event time settings").default("{}"),
    KeySpec::new("engine", ValueKind::Table(&[ENGINE]), "workers and epochs").default("{}"),
    KeySpec::new("limits", ValueKind::Table(&[LIMITS]), "[bounds](limits.md) on what an input can make grow")
        .default("{}"),
    KeySpec::new("tenants", ValueKind::List(&Text, 1), "ids of the tenants whose events are accepted").described("all"),
    KeySpec::new("http", ValueKind::Form(ADDRESS), "listen address of the page, metrics, probes and API")
        .default("127.0.0.1:9464"),
    KeySpec::new(
        "http_server",
        ValueKind::Table(&[HTTP_SERVER]),
        "how HTTP is served: accepted host names, limits, a separate address for probes",
    )
    .default("{}"),
    KeySpec::new("api", ValueKind::Table(&[API]), "access to the HTTP API at `/api/v1` and the page").default("{}"),
    KeySpec::new("page", ValueKind::Table(&[PAGE]), "the [page](page.md) for the head of sales").default("{}"),
    KeySpec::new(
        "members",
        ValueKind::Table(&[MEMBERS]),
        "several processes answer for each other: each for every tenant ([operating](operate.md#every-process-answers))",
    )
    .described("each process answers for the tenants of its own shards"),
    KeySpec::new("redis", ValueKind::Table(&[REDIS]), "Redis for the [live view](live-view.md)"),
    KeySpec::new("prometheus", ValueKind::Table(&[PROMETHEUS]), "figures exported at `/metrics`").default("{}"),
    KeySpec::new(
        "gateway",
        ValueKind::Table(&[GATEWAY]),
        "the [gateway](gateway.md), which makes events of what a CRM or a phone system knows",
    ),
    KeySpec::new(
        "notify",
        ValueKind::Table(&[NOTIFY]),
        "who is informed of which alerts, through which channels: [`funnelwatch notify`](notify.md)",
    ),
    KeySpec::new("norms_file", Text, "file with the norms, relative to this file").described("norms are in this file"),
];

const DOCUMENT: &[&[KeySpec]] = &{
    let [include, effective, general] = *keys::NORMS;
    [CONFIG, include, effective, general]
};

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
    /// The event time settings of shards. `time.retention` defaults to the longest window plus the correction horizon,
    /// `time.tenant_retention` to [`TENANT_RETENTION`], but not less than `time.retention`.
    pub fn timing(&self) -> Timing {
        let retention = retention(&self.norms, &self.time);
        let tenant_retention = self.time.tenant_retention.unwrap_or(TENANT_RETENTION).max(retention);
        Timing {
            allowed_lateness: self.time.allowed_lateness,
            follows_clock: self.time.watermark_follows_clock,
            timeouts: Timeouts {
                idle_after: self.time.idle_after,
                progress: self.time.progress_timeout,
                backfill: self.time.backfill_timeout,
            },
            ignores_marks: false,
            max_future_skew: Some(self.time.max_future_skew),
            max_held: Some(self.time.max_held),
            until: None,
            memory: Memory {
                undo_events: Memory::default().undo_events,
                dedup_window: self.time.dedup_window,
                correction_horizon: self.time.correction_horizon,
                retention: Some(retention),
                tenant_retention: Some(tenant_retention),
                durable: false,
            },
        }
    }

    /// Reads the configuration file `path`.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        Self::load_with(path, &SystemEnv)
    }

    pub(super) fn load_with(path: &Path, env: &dyn Env) -> Result<Self, Problems> {
        let file = path.display().to_string();
        let text = env.file(path).map_err(|error| Problems(vec![unreadable(&file, &error)]))?;
        if is_empty(&text) {
            let text = "the configuration is empty; write `{}` if all defaults are meant".into();
            return Err(Problems(vec![Problem { file, line: 0, path: String::new(), text }]));
        }
        Self::parse_with(&file, &text, env)
    }

    /// Reads the configuration `text`; `file` is its name in problems and the base of relative paths.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        Self::parse_with(file, text, &SystemEnv)
    }

    /// The same with other variables and files than those of the system.
    pub fn parse_with(file: &str, text: &str, env: &dyn Env) -> Result<Self, Problems> {
        let mut reader = Reader::new(file, text, env);
        let mut root = reader.document(DOCUMENT);
        reader.files.push(file.into());
        let norms = if root.is_set("norms_file") {
            load_norms_file(&mut reader, &root, env)
        } else {
            Some(norms::build(&mut reader, &mut root))
        };
        let kafka = root.table("kafka").and_then(|table| Kafka::read(&mut reader, table));
        let topics = root.table("topics").and_then(|table| Topics::read(&mut reader, table));
        let time = root.table("time").and_then(Time::read);
        if let (Some((norms, _)), Some(time)) = (&norms, &time) {
            check_limits(&mut reader, &root, norms, time);
        }
        let http = root.text("http").and_then(|address| address.parse().ok());
        let config = (|| {
            let (norms, language) = norms?;
            Some(Self {
                kafka: kafka?,
                topics: topics?,
                time: time?,
                engine: Engine::read(root.table("engine")?)?,
                limits: root.table("limits").and_then(|table| Limits::read(table, root.get("tenants")))?,
                http: http?,
                http_server: HttpServer::read(root.table("http_server")?)?,
                api: root.table("api").and_then(|table| Api::read(&mut reader, table))?,
                page: root.table("page").map(Page::read)?,
                members: root
                    .table("members")
                    .map_or(Some(None), |table| Members::read(&mut reader, table, http?).map(Some))?,
                redis: root.table("redis").map_or(Some(None), |table| Redis::read(&mut reader, table).map(Some))?,
                gateway: root
                    .table("gateway")
                    .map_or(Some(None), |table| Gateway::read(&mut reader, table).map(Some))?,
                notify: root.table("notify").map_or(Some(None), |table| Notify::read(&mut reader, table).map(Some))?,
                prometheus: root.table("prometheus").and_then(|table| prometheus(&mut reader, table, &norms))?,
                language,
                norms,
                notes: sorted(std::mem::take(&mut reader.notes)),
                files: std::mem::take(&mut reader.files),
            })
        })();
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => Err(Problems(sorted(reader.problems))),
        }
    }
}

/// Whether a document has no content; usually it was lost on the way.
fn is_empty(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line == "---")
}

/// Reads the norms from the file set by `norms_file`.
fn load_norms_file(reader: &mut Reader<'_>, root: &Table, env: &dyn Env) -> Option<(Norms, Language)> {
    let line = root.line_of("norms_file");
    for key in
        keys::NORMS.iter().copied().flatten().filter(|key| root.is_set(key.name) && !OPERATOR_KEYS.contains(&key.name))
    {
        let text = format!("must be set in the file given by `norms_file` on line {line}");
        reader.problem_of(root, key.name, text);
    }
    let path = reader.locate(root.text("norms_file")?);
    let file = path.display().to_string();
    let text = match env.file(&path) {
        Ok(text) => text,
        Err(error) => {
            reader.problem(line, "norms_file", format!("cannot read {file}: {}", reason(&error)));
            return None;
        }
    };
    let mut inner = Reader::new(&file, &text, env);
    let mut table = inner.document(keys::NORMS);
    for key in OPERATOR_KEYS.into_iter().filter(|key| root.is_set(key)) {
        if table.is_set(key) {
            let text = format!("duplicate key, also set in {file} on line {}", table.line_of(key));
            reader.problem_of(root, key, text);
        }
        table.copy(key, root);
    }
    let norms = norms::build(&mut inner, &mut table);
    reader.merge(inner, path);
    Some(norms)
}

/// The size of the longest window.
fn longest(norms: &Norms) -> Span {
    norms.windows.iter().map(|window| window.size).max().unwrap_or_default()
}

/// How long finished leads and deals count in figures, or are corrected.
fn least_retention(longest: Span, time: &Time) -> Span {
    Span(longest.0 + time.correction_horizon.0)
}

/// How long finished leads and deals are kept.
fn retention(norms: &Norms, time: &Time) -> Span {
    time.retention.unwrap_or(least_retention(longest(norms), time))
}

/// Checks related limits against each other.
fn check_limits(reader: &mut Reader<'_>, root: &Table, norms: &Norms, time: &Time) {
    let Some(table) = root.table("time") else { return };
    if time.correction_horizon < time.allowed_lateness {
        let text = format!(
            "{} is less than `allowed_lateness` ({}): events within the allowed lateness would be rejected",
            format_span(time.correction_horizon),
            format_span(time.allowed_lateness)
        );
        reader.problem_of(table, "correction_horizon", text);
    }
    let longest = longest(norms);
    if let Some(retention) = time.retention.filter(|retention| *retention < least_retention(longest, time)) {
        let text = format!(
            "{retention} is less than the longest window ({longest}) plus `correction_horizon` ({}): figures would \
             miss finished leads and deals",
            format_span(time.correction_horizon)
        );
        reader.problem_of(table, "retention", text);
    }
    let retention = retention(norms, time);
    if let Some(of_tenant) = time.tenant_retention.filter(|of_tenant| *of_tenant < retention) {
        let text = format!(
            "{of_tenant} is less than `retention` ({retention}): a tenant is kept at least as long as its leads"
        );
        reader.problem_of(table, "tenant_retention", text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::norms::load_norms;
    use super::super::samples::{CONFIG_INVALID, documents};
    use super::super::schema::env::fake::FakeEnv;
    use super::super::topics::SourceTopic;
    use super::*;
    use crate::codec::{Encoding, EventLimits};
    use crate::domain::id::TenantId;
    use crate::domain::shard::admission::AdmissionLimits;
    use crate::domain::source::Topic;
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const KEYS: [&str; 14] = [
        "privacy_key",
        "norms",
        "language",
        "kafka",
        "http",
        "redis",
        "api",
        "limits",
        "tenants",
        "calendars",
        "topics",
        "<<",
        "*a",
        "&a x",
    ];
    const VALUES: [&str; 18] = [
        "{file: run/key}",
        "'${PASSWORD}'",
        "${UNSET}",
        "'${PASSWORD'",
        "$${x}",
        "norms.yaml",
        "bad.yaml",
        "nowhere.yaml",
        "{include: norms.yaml}",
        "{include: [norms.yaml, bad.yaml]}",
        "{file: [x]}",
        "{bootstrap: {file: nowhere}}",
        "{client: {sasl.password: {file: run/key}}}",
        "{client: {sasl.password: '${PASSWORD}'}}",
        "[*a, &a 1]",
        "|",
        "!!binary x",
        "{token: {file: run/key}}",
    ];

    fn fake_env() -> FakeEnv {
        FakeEnv {
            variables: BTreeMap::from([("HOSTNAME", "pod-3"), ("PASSWORD", "hunter2")]),
            files: BTreeMap::from([
                ("etc/run/key".into(), "k3y\n"),
                ("etc/norms.yaml".into(), "language: ru\nnorms: {stage_reverted: {}}\nprivacy_key: {file: run/key}\n"),
                ("etc/bad.yaml".into(), "\nnorms: {neglected: {}}\n"),
            ]),
            ..FakeEnv::default()
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
        let Config { kafka, topics, time, engine, limits, http, http_server, language, .. } = config("");
        assert_eq!((kafka.bootstrap.as_str(), kafka.group.as_str()), ("localhost:9092", "funnelwatch"));
        assert_eq!(kafka.transactional_id, "funnelwatch-pod-3");
        assert!(kafka.client.is_empty() && kafka.consumer.is_empty() && kafka.producer.is_empty());
        let source = |name: &str| SourceTopic { name: name.into(), encoding: Encoding::Json };
        assert_eq!(topics.sources[Topic::Crm], source("crm.events"));
        assert_eq!(topics.sources[Topic::Telephony], source("telephony.events"));
        assert_eq!(topics.sources[Topic::Email], source("email.events"));
        let names = [
            &topics.alerts,
            &topics.open_alerts,
            &topics.metrics,
            &topics.reviews,
            &topics.dead_letters,
            &topics.state,
            &topics.rerouted,
        ];
        let tails = ["alerts", "alerts.open", "metrics", "reviews", "dlq", "state", "rerouted"];
        assert_eq!(names.map(String::as_str), tails.map(|tail| format!("funnelwatch.{tail}")));
        assert_eq!(topics.output, Encoding::Json);
        let day = Span::DAY.0;
        assert_eq!(
            time,
            Time {
                allowed_lateness: Span(10_000),
                idle_after: Span(5000),
                watermark_follows_clock: true,
                progress_timeout: Span(30 * Span::MINUTE.0),
                backfill_timeout: Span::DAY,
                max_future_skew: Span(300_000),
                max_held: 512 << 20,
                correction_horizon: Span(7 * day),
                dedup_window: Span(day / 4),
                retention: None,
                tenant_retention: None,
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
                transaction_bytes: 8 << 20,
                transaction_time: Span(5000),
            }
        );
        assert_eq!(limits, Limits::default());
        assert_eq!((http.to_string().as_str(), language), ("127.0.0.1:9464", Language::En));
        let (read_timeout, write_timeout) = (Span(10_000), Span(10_000));
        let expected = HttpServer {
            probes: None,
            allowed_hosts: Vec::new(),
            connections: 256,
            header_bytes: 16 << 10,
            read_timeout,
            write_timeout,
            shared_scrape: Span::SECOND,
        };
        assert_eq!(http_server, expected);
        assert_eq!(config("").prometheus.max_bytes, 64 << 20);
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
time: {allowed_lateness: 0s, idle_after: 100ms, watermark_follows_clock: false, retention: 40d,
       tenant_retention: 50d}
engine: {workers: 3, epoch: 10ms, epoch_messages: 5, epochs_in_flight: 1, max_message_bytes: 1MiB,
         transaction_bytes: 2MiB, transaction_time: 3s}
limits: {id_bytes: 100, name_bytes: 2KiB, list_entries: 10, tenants: 1, managers: 2, departments: 3, tenant_managers: 4,
  tenant_departments: 5}
tenants: [acme, 7]
http: '[::]:80'
http_server:
  probes: '[::]:81'
  allowed_hosts: [funnelwatch, '*.Example.com']
  connections: 8
  header_bytes: 8KiB
  read_timeout: 1s
  write_timeout: 2s
  shared_scrape: 0s
api: {token: 0123456789abcdef}
page: {lead_url: 'https://{tenant}.example.com/crm/lead/{id}/'}
members: {url: 'http://[fd00::1]:9464', token: '${PASSWORD}0123456789abcdef'}
redis:
  url: 'rediss://:secret@r/1'
  ca_file: tls/ca.pem
  certificate_file: /tls/client.pem
  key_file: tls/client.key
  prefix: fw
  ttl: 5m
  queue: 3
prometheus: {manager_windows: [24h, 30d], manager_metrics: [touches, open_alerts], max_series: 7, max_bytes: 1MiB, names: true}
language: ru
norms: {stage_reverted: {}}
";
        let Config {
            kafka,
            topics,
            time,
            engine,
            limits,
            http,
            http_server,
            api,
            page,
            members,
            redis,
            prometheus,
            language,
            norms,
            ..
        } = config(text);
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
        assert_eq!(time.tenant_retention, Some(Span(50 * Span::DAY.0)));
        assert_eq!(
            engine,
            Engine {
                workers: 3,
                epoch: Span(10),
                epoch_messages: 5,
                epochs_in_flight: 1,
                max_message_bytes: 1 << 20,
                transaction_bytes: 2 << 20,
                transaction_time: Span(3000),
            }
        );
        let accepted = Some(Arc::new(["acme", "7"].map(TenantId::from).into()));
        assert_eq!(
            limits.admission,
            AdmissionLimits {
                tenants: 1,
                managers: 2,
                departments: 3,
                tenant_managers: 4,
                tenant_departments: 5,
                accepted
            }
        );
        assert_eq!(limits.event, EventLimits { id_bytes: 100, name_bytes: 2048, list_entries: 10 });
        assert_eq!((http.to_string().as_str(), language), ("[::]:80", Language::Ru));
        let expected = HttpServer {
            probes: "[::]:81".parse().ok(),
            allowed_hosts: vec!["funnelwatch".into(), "*.example.com".into()],
            connections: 8,
            header_bytes: 8 << 10,
            read_timeout: Span::SECOND,
            write_timeout: Span(2000),
            shared_scrape: Span::ZERO,
        };
        assert_eq!(http_server, expected);
        assert_eq!(api.token.as_deref(), Some("0123456789abcdef"));
        let lead_url = Some("https://{tenant}.example.com/crm/lead/{id}/".into());
        assert_eq!(page, Page { lead_url, deal_url: None, checklist: Vec::new() });
        let members = members.expect("a section");
        assert_eq!(members.token.as_deref(), Some("hunter20123456789abcdef"));
        assert!(!format!("{members:?}").contains("hunter2"));
        assert_eq!(members.url("[::]:80".parse().expect("an address")), "http://[fd00::1]:9464");
        let (url, ttl) = ("rediss://:secret@r/1".into(), Span(300_000));
        assert!(!format!("{redis:?}").contains("secret@"));
        let ca_file = Some("etc/tls/ca.pem".into());
        let client_files = Some(("/tls/client.pem".into(), "etc/tls/client.key".into()));
        assert_eq!(redis, Some(Redis { url, ca_file, client_files, prefix: "fw".into(), ttl, queue: 3 }));
        let selection = Selection {
            manager_windows: Some(vec!["24h".into(), "30d".into()]),
            manager_metrics: Some(vec!["touches".into(), "open_alerts".into()]),
            max_series: 7,
            max_bytes: 1 << 20,
            names: true,
        };
        assert_eq!(prometheus, selection);
        assert_eq!(norms.base.rules.len(), 1);
    }

    #[test]
    fn a_process_announces_the_address_that_others_reach() {
        let url = |text: &str, variable: Option<(&'static str, &'static str)>, bound: &str| {
            let env = FakeEnv::default().with_variables(variable);
            let config = Config::parse_with("test", text, &env).unwrap_or_else(|problems| panic!("{problems}"));
            config.members.expect("a section").url(bound.parse().expect("an address"))
        };
        let token = "http: 0.0.0.0:9464\nmembers: {token: 0123456789abcdef}\n";
        assert_eq!(url("members: {}\n", None, "127.0.0.1:33"), "http://127.0.0.1:33", "of the free port");
        let ip = |ip| Some(("POD_IP", ip));
        assert_eq!(url(token, ip("10.0.0.7"), "0.0.0.0:9464"), "http://10.0.0.7:9464");
        assert_eq!(url(token, ip("fd00::7"), "[::]:9464"), "http://[fd00::7]:9464");
        assert_eq!(url(token, Some(("HOSTNAME", "pod-0")), "0.0.0.0:9464"), "http://pod-0:9464");
        assert_eq!(url(token, ip("10.0.0.7"), "10.0.0.8:9464"), "http://10.0.0.8:9464");
        for (text, problem) in [
            (
                "http: 0.0.0.0:9464\nmembers: {}\n",
                "is required, because `http` (0.0.0.0:9464) is not a loopback address",
            ),
            ("members: {token: short}\n", "at least 16 characters"),
            ("members: {url: 'https://a:1'}\n", "http://10.0.0.7:9464"),
            ("members: {url: 'http://a:1/x'}\n", "http://10.0.0.7:9464"),
            ("members: {url: 'http://u@a:1'}\n", "http://10.0.0.7:9464"),
        ] {
            let problems = Config::parse_with("test", text, &FakeEnv::default()).expect_err(text);
            assert!(problems.to_string().contains(problem), "{text}: {problems}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = config(
            "privacy_key: hunter2\nkafka:\n  client: {sasl.password: hunter2, \
             client.id: shown}\n  consumer: {ssl.key.location: '/${PASSWORD}'}\n  producer: {client.rack: {file: run/key}}\n",
        );
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("hunter2") && !shown.contains("k3y"), "{shown}");
        assert!(shown.contains("shown"), "{shown}");
    }

    #[test]
    fn no_problem_of_a_property_shows_its_value() {
        for name in [
            "sasl.pasword",
            "sasl.passwd",
            "sasl_password",
            "ssl.key.pasword",
            "password",
            "SASL.PASSWORD",
            "sasl.jaas.config",
            "ssl.truststore.password",
            "ssl.key.pem",
            "security.protocol",
            "enable.auto.commit",
        ] {
            for value in ["hunter2", "{file: run/key}", "'${PASSWORD}'", "[hunter2]", "{hunter2: x}"] {
                let text = format!("kafka: {{client: {{{name}: {value}}}}}");
                match Config::parse_with("etc/main.yaml", &text, &fake_env()) {
                    // Of names that librdkafka has and that are not secret, the value is shown.
                    Err(problems) if value == "hunter2" && name == "security.protocol" => {
                        assert!(problems.to_string().contains("hunter2"), "{problems}");
                    }
                    Err(problems) => {
                        let shown = problems.to_string();
                        assert!(!shown.contains("hunter2") && !shown.contains("k3y"), "{text}: {shown}");
                    }
                    Ok(config) => assert!(!format!("{config:?}").contains("hunter2"), "{text}"),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn documents_with_references_are_read_or_have_problems_in_their_lines(
            rows in prop::collection::vec((select(&KEYS[..]), select(&VALUES[..])), 0..8),
            slip in prop::option::of((any::<prop::sample::Index>(), any::<char>())),
        ) {
            let mut text: String = rows.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
            if let Some((at, letter)) = slip.filter(|_| !text.is_empty()) {
                text.insert(at.index(text.len()), letter);
            }
            let breaks = text.chars().filter(|letter| "\r\n\u{85}\u{2028}\u{2029}".contains(*letter)).count();
            let found = match Config::parse_with("etc/main.yaml", &text, &fake_env()) {
                Ok(config) => config.notes,
                Err(problems) => {
                    prop_assert!(!problems.0.is_empty());
                    problems.0
                }
            };
            for problem in found {
                let lines = if problem.file == "etc/main.yaml" { 1 + breaks } else { 4 };
                prop_assert!(problem.line <= lines, "{problem} in {text:?}");
            }
        }
    }

    #[test]
    fn norms_can_be_in_a_separate_file() {
        let config = config("norms_file: norms.yaml");
        assert_eq!((config.language, config.norms.privacy_key.as_deref()), (Language::Ru, Some("k3y")));
        assert_eq!(config.files, ["etc/main.yaml", "etc/norms.yaml", "etc/run/key"].map(PathBuf::from));
        let text = "norms_file: norms.yaml\ndefault_country: KZ";
        assert_eq!(self::config(text).norms.country, crate::domain::identity::Country::KZ);
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
    fn an_empty_file_is_a_problem() {
        let load = |text| {
            let files = BTreeMap::from([("main.yaml".into(), text)]);
            Config::load_with(Path::new("main.yaml"), &FakeEnv { files, ..FakeEnv::default() })
        };
        for text in ["", "\u{feff}", "\n \n", "# kafka: {}\n---\n"] {
            let problems = load(text).expect_err("empty").to_string();
            assert!(problems.contains("the configuration is empty"), "{text:?}: {problems}");
        }
        assert!(load("{}").is_ok() && load("kafka:\n").is_ok());
    }

    #[test]
    fn a_secret_that_everybody_can_read_is_noted() {
        let files = BTreeMap::from([("run/key".into(), "k3y")]);
        let env = FakeEnv { files, public: true, ..FakeEnv::default() };
        let text = "privacy_key: {file: run/key}\nnorms: {stage_reverted: {}}";
        let config = Config::parse_with("main.yaml", text, &env).expect("valid");
        let notes: Vec<_> = config.notes.iter().map(ToString::to_string).collect();
        let expected = "main.yaml:1: privacy_key.file: every user of this system can read run/key";
        assert!(notes.iter().any(|note| note == expected), "{notes:?}");
        let config = Config::parse_with("main.yaml", text, &FakeEnv { public: false, ..env });
        assert!(config.expect("valid").notes.iter().all(|note| note.path != "privacy_key.file"));
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
