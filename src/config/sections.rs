//! The sections of the configuration other than topics and norms: their keys, and what is read from them.

use super::properties::Properties;
use super::schema::key::ValueKind::{Bytes, Count, Flag, List, Map, Property, Secret, Setting, Text};
use super::schema::key::{ANY, Form, KeySpec, ValueKind};
use super::schema::reader::Reader;
use super::schema::typed::{named, one_of};
use super::schema::value::Table;
use super::users::{ApiUser, MIN_TOKEN_LENGTH, USER, users};
use crate::codec::ascii::percent_encoded_segment;
use crate::domain::id::{EntityId, EntityKind, TenantId};
use crate::domain::named::named_enum;
use crate::domain::norms::Norms;
use crate::domain::time::Span;
use crate::telemetry::exporter::Selection;
use crate::telemetry::metric::Family;
use std::net::SocketAddr;
use std::path::PathBuf;

const MILLI: Span = Span(1);
const YEARS: Span = Span(3653 * Span::DAY.0);

const fn span(name: &'static str, (from, to): (Span, Span), default: &'static str, help: &'static str) -> KeySpec {
    KeySpec::new(name, ValueKind::Span(from, to), help).default(default)
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
    /// What happens if a source topic no longer has what is to be read.
    pub lost_log: LostLog,
    /// Additional librdkafka properties of both clients.
    pub client: Properties,
    /// Additional librdkafka properties of the consumer.
    pub consumer: Properties,
    /// Additional librdkafka properties of the producer.
    pub producer: Properties,
}

named_enum! {
    /// What happens if a source topic no longer has what is to be read: messages expired or were deleted before, or the
    /// topic was created again.
    pub enum LostLog, named "in the configuration" {
        /// The run ends with an error that names the partition and the number of offsets.
        Stop = "stop",
        /// The loss is counted, and reading goes on with what is left.
        Continue = "continue",
    }
}
named! { LostLog }

const PROPERTY: Form = Form {
    expected: "the name of a librdkafka property",
    fits: |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte)),
    pattern: "",
    ..ANY
};
const PROPERTIES: ValueKind = Map(PROPERTY, &Property);
pub(super) const KAFKA: &[KeySpec] = &[
    KeySpec::new("bootstrap", Setting, "bootstrap brokers, separated by commas").default("localhost:9092"),
    KeySpec::new("group", Setting, "the consumer group").default("funnelwatch"),
    KeySpec::new(
        "transactional_id",
        Setting,
        "producer identity of this process: must be unique and stable across restarts",
    )
    .default("funnelwatch-${HOSTNAME:-0}"),
    KeySpec::new(
        "lost_log",
        one_of::<LostLog>(),
        "what happens if a source topic no longer has what is to be read: `stop` with an error, or `continue` with what is \
         left and count the loss",
    )
    .default("stop"),
    KeySpec::new("client", PROPERTIES, "librdkafka properties of both clients: security, timeouts…"),
    KeySpec::new("consumer", PROPERTIES, "librdkafka properties of the consumer"),
    KeySpec::new("producer", PROPERTIES, "librdkafka properties of the producer"),
];

impl Kafka {
    pub(super) fn read(reader: &mut Reader<'_>, table: &Table) -> Option<Self> {
        let mut properties = |key| Properties::read(reader, table, key);
        Some(Self {
            client: properties("client"),
            consumer: properties("consumer"),
            producer: properties("producer"),
            bootstrap: table.get("bootstrap")?,
            group: table.get("group")?,
            transactional_id: table.get("transactional_id")?,
            lost_log: table.get("lost_log")?,
        })
    }
}

/// Event time settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    /// Delay of the watermark behind the latest event.
    pub allowed_lateness: Span,
    /// A topic stops holding back the watermark of a tenant after this time without events of the tenant.
    pub idle_after: Span,
    /// Whether the watermark of a tenant follows the wall clock while there are no events.
    pub watermark_follows_clock: bool,
    /// A progress mark that is further behind the wall clock counts no longer.
    pub progress_timeout: Span,
    /// A back-fill that had no progress mark for this time counts no longer.
    pub backfill_timeout: Span,
    /// Events further ahead of the wall clock become dead letters.
    pub max_future_skew: Span,
    /// The size of the held events of a tenant, in bytes, beyond which its watermark passes the oldest of them.
    pub max_held: usize,
    /// Events further behind the watermark become dead letters.
    pub correction_horizon: Span,
    /// Event time for which event ids are remembered.
    pub dedup_window: Span,
    /// Event time for which finished leads, deals and contacts are kept.
    pub retention: Option<Span>,
    /// Event time for which a tenant without events is kept.
    pub tenant_retention: Option<Span>,
}

/// The default of `time.tenant_retention`.
pub(super) const TENANT_RETENTION: Span = Span(400 * Span::DAY.0);

pub(super) const TIME: &[KeySpec] = &[
    span("allowed_lateness", (Span::ZERO, Span::DAY), "10s", "delay of the watermark behind the latest event"),
    span(
        "idle_after",
        (Span(100), Span::DAY),
        "5s",
        "after this time without events of a tenant, a topic stops holding back the watermark of the tenant",
    ),
    KeySpec::new("watermark_follows_clock", Flag, "without events of a tenant, its watermark follows the wall clock")
        .default("true"),
    span(
        "progress_timeout",
        (Span(1000), YEARS),
        "30m",
        "a progress mark further behind the wall clock counts no longer",
    ),
    span(
        "backfill_timeout",
        (Span(1000), YEARS),
        "24h",
        "a back-fill without a progress mark for this time counts no longer",
    ),
    span("max_future_skew", (Span::ZERO, YEARS), "5m", "events further ahead of the wall clock become dead letters"),
    KeySpec::new(
        "max_held",
        Bytes(1 << 20, 1 << 40),
        "if a tenant holds more events than this, its watermark passes the oldest of them, whatever it waits for",
    )
    .default("512MiB"),
    span("correction_horizon", (Span::ZERO, YEARS), "7d", "events further behind the watermark become dead letters"),
    span("dedup_window", (Span::ZERO, YEARS), "6h", "event time for which event ids are remembered"),
    KeySpec::new(
        "retention",
        ValueKind::Span(Span::HOUR, YEARS),
        "event time without events after which finished leads, deals and contacts and inactive managers are discarded",
    )
    .described("the longest window plus `correction_horizon`"),
    KeySpec::new(
        "tenant_retention",
        ValueKind::Span(Span::HOUR, YEARS),
        "event time without events after which a tenant of which nothing is open is forgotten; at least `retention`",
    )
    .described("400d, or `retention` if that is longer"),
];

impl Time {
    pub(super) fn read(table: &Table) -> Option<Self> {
        Some(Self {
            allowed_lateness: table.get("allowed_lateness")?,
            idle_after: table.get("idle_after")?,
            watermark_follows_clock: table.get("watermark_follows_clock")?,
            progress_timeout: table.get("progress_timeout")?,
            backfill_timeout: table.get("backfill_timeout")?,
            max_future_skew: table.get("max_future_skew")?,
            max_held: table.get("max_held")?,
            correction_horizon: table.get("correction_horizon")?,
            dedup_window: table.get("dedup_window")?,
            retention: table.get("retention"),
            tenant_retention: table.get("tenant_retention"),
        })
    }
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
    /// Size of a transaction beyond which further epochs and rows follow in other ones.
    pub transaction_bytes: usize,
    /// The same for the time that it is open.
    pub transaction_time: Span,
}

pub(super) const ENGINE: &[KeySpec] = &[
    KeySpec::new("workers", Count(0, 256), "number of timely workers; 0: one per core").default("0"),
    span(
        "epoch",
        (MILLI, Span(10_000)),
        "100ms",
        "maximum duration of an epoch; messages read in an epoch are committed together",
    ),
    KeySpec::new("epoch_messages", Count(1, 10_000_000), "maximum number of messages in an epoch").default("10000"),
    KeySpec::new(
        "epochs_in_flight",
        Count(1, 1024),
        "maximum number of epochs that have been read and not yet committed",
    )
    .default("4"),
    KeySpec::new(
        "max_message_bytes",
        Bytes(1 << 10, 16 << 20),
        "maximum message size; larger messages become dead letters",
    )
    .default("256KiB"),
    KeySpec::new(
        "transaction_bytes",
        Bytes(1 << 20, 256 << 20),
        "size of a transaction from which on further epochs and rows follow in other ones",
    )
    .default("8MiB"),
    span(
        "transaction_time",
        (Span(100), Span(8000)),
        "5s",
        "the same for the time that a transaction is open; brokers abort it after 10 s",
    ),
];

impl Engine {
    pub(super) fn read(table: &Table) -> Option<Self> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Some(Self {
            workers: match table.get("workers")? {
                0 => cores(),
                workers => workers,
            },
            epoch: table.get("epoch")?,
            epoch_messages: table.get("epoch_messages")?,
            epochs_in_flight: table.get("epochs_in_flight")?,
            max_message_bytes: table.get("max_message_bytes")?,
            transaction_bytes: table.get("transaction_bytes")?,
            transaction_time: table.get("transaction_time")?,
        })
    }
}

/// Access to the HTTP API.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Api {
    /// The bearer token of a client that sees all tenants; without it and without users only local clients are allowed.
    pub token: Option<String>,
    /// The users with their own tokens and rights.
    pub users: Vec<ApiUser>,
}

/// Hides the token.
impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "(secret)");
        f.debug_struct("Api").field("token", &token).field("users", &self.users).finish()
    }
}

pub(super) const API: &[KeySpec] = &[
    KeySpec::new("token", Secret, "token required as `Authorization: Bearer …`, at least 16 characters")
        .described("only local clients are allowed, if there are no `users`"),
    KeySpec::new(
        "users",
        List(&ValueKind::Table(&[USER]), 1),
        "users with their own tokens, and [what each may see](page.md#who-may-see-it)",
    )
    .described("none"),
];

impl Api {
    pub(super) fn read(reader: &mut Reader<'_>, table: &Table) -> Option<Self> {
        let token = token(reader, table);
        let users = users(reader, table.list("users"), token.as_deref());
        Some(Self { token, users })
    }
}

/// Reads a token, which must be hard to guess.
fn token(reader: &mut Reader<'_>, table: &Table) -> Option<String> {
    let token = table.text("token").map(|token| token.trim_end().to_owned());
    if token.as_ref().is_some_and(|token| token.len() < MIN_TOKEN_LENGTH) {
        let text = format!("expected at least {MIN_TOKEN_LENGTH} characters: a shorter token could be guessed");
        reader.problem_of(table, "token", text);
    }
    token
}

/// How processes answer for each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Members {
    /// The address of the HTTP endpoints of this process for the others; `None`: see [`Members::url`].
    pub address: Option<String>,
    /// The name or IP address of this machine, from the environment.
    pub host: Option<String>,
    /// The token that processes show each other; `None`: they all are on this machine.
    pub token: Option<String>,
}

/// Hides the token.
impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, host, token } = self;
        let token = token.as_ref().map(|_| "(secret)");
        f.debug_struct("Members").field("address", address).field("host", host).field("token", &token).finish()
    }
}

const MEMBER_URL: Form = Form {
    expected: "an address such as http://10.0.0.7:9464",
    fits: |text| {
        let Some((host, port)) = text.strip_prefix("http://").and_then(|rest| rest.rsplit_once(':')) else {
            return false;
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        !host.is_empty() && host.bytes().all(is_host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    },
    pattern: r"^http://[A-Za-z0-9._:\[\]-]+:[0-9]+$",
    ..ANY
};

pub(super) const MEMBERS: &[KeySpec] = &[
    KeySpec::new(
        "url",
        ValueKind::Form(MEMBER_URL),
        "address of the HTTP endpoints of this process, as the other processes reach it",
    )
    .described("the address of `http`; if that is all addresses, its port on `${POD_IP}`, else on `${HOSTNAME}`"),
    KeySpec::new(
        "token",
        Secret,
        "token that the processes show each other, the same for all, at least 16 characters; required unless `http` is a \
         loopback address",
    ),
];

impl Members {
    pub(super) fn read(reader: &mut Reader<'_>, table: &Table, http: SocketAddr) -> Option<Self> {
        let token = token(reader, table);
        if token.is_none() && !table.is_set("token") && !http.ip().to_canonical().is_loopback() {
            let text = format!("is required, because `http` ({http}) is not a loopback address");
            reader.problem_of(table, "token", text);
        }
        let host = ["POD_IP", "HOSTNAME"].into_iter().find_map(|name| reader.env().variable(name));
        Some(Self { address: table.text("url").map(str::to_owned), host, token })
    }

    /// The address of the endpoints, which listen on `bound`, for the other processes.
    pub fn url(&self, bound: SocketAddr) -> String {
        match (&self.address, &self.host) {
            (Some(address), _) => address.clone(),
            (None, Some(host)) if bound.ip().is_unspecified() => {
                let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
                let host = if is_v6 { format!("[{host}]") } else { host.clone() };
                format!("http://{host}:{}", bound.port())
            }
            (None, _) => format!("http://{bound}"),
        }
    }
}

/// The page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The address of a lead in the CRM, with `{id}` and perhaps `{tenant}`.
    pub lead_url: Option<String>,
    /// The address of a deal, likewise.
    pub deal_url: Option<String>,
    /// What reviewers check; empty: the list of the program.
    pub checklist: Vec<String>,
}

const CARD_URL: Form = Form {
    expected: "an address with `{id}`, such as https://{tenant}.bitrix24.com/crm/lead/details/{id}/",
    fits: |text| {
        let rest = text.replace("{id}", "").replace("{tenant}", "");
        let is_web = text.starts_with("https://") || text.starts_with("http://");
        is_web
            && text.contains("{id}")
            && !rest.contains(|c: char| "{}\"<>".contains(c) || c.is_whitespace() || c.is_control())
    },
    pattern: "^https?://.*\\{id\\}",
    ..ANY
};

pub(super) const PAGE: &[KeySpec] = &[
    KeySpec::new(
        "lead_url",
        ValueKind::Form(CARD_URL),
        "address of a lead in the CRM, linked from the page; `{id}` and `{tenant}` are replaced",
    )
    .described("no link"),
    KeySpec::new("deal_url", ValueKind::Form(CARD_URL), "address of a deal, likewise").described("no link"),
    KeySpec::new("checklist", List(&Text, 1), "what reviewers check in a call or message, at most 50 items")
        .described("four items of the program"),
];

impl Page {
    pub(super) fn read(table: &Table) -> Self {
        let url = |key| table.text(key).map(str::to_owned);
        let checklist = table.get::<Vec<String>>("checklist").unwrap_or_default();
        Self { lead_url: url("lead_url"), deal_url: url("deal_url"), checklist }
    }

    /// The address of a lead or deal in the CRM, if it is configured.
    pub fn card(&self, tenant: &TenantId, entity: &EntityId) -> Option<String> {
        let template = match entity.kind {
            EntityKind::Lead => &self.lead_url,
            EntityKind::Deal => &self.deal_url,
        };
        let tenant = percent_encoded_segment(tenant.as_str());
        Some(template.as_ref()?.replace("{tenant}", &tenant).replace("{id}", &percent_encoded_segment(&entity.id)))
    }
}

/// The HTTP server: what it serves, and how much a client may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpServer {
    /// Listen address of the probes alone; `None`: they are served with everything else only.
    pub probes: Option<SocketAddr>,
    /// The names by which clients may address this process; `*.NAME`: all names below it.
    pub allowed_hosts: Vec<String>,
    /// Maximum number of open connections of each address.
    pub connections: usize,
    /// Maximum size of the head of a request.
    pub header_bytes: usize,
    /// Time for a complete request, from the end of the previous one.
    pub read_timeout: Span,
    /// Time for a client to read a response.
    pub write_timeout: Span,
    /// Time during which requests share one scrape.
    pub shared_scrape: Span,
}

const HOST: Form = Form {
    expected: "a host name such as funnelwatch.example.com, or *.example.com for all names below it",
    fits: |text| {
        let name = text.strip_prefix("*.").unwrap_or(text);
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    },
    pattern: r"^(\*\.)?[A-Za-z0-9._-]+$",
    canonical: |text| text.to_ascii_lowercase(),
    ..ANY
};

const TIMEOUT: (Span, Span) = (Span(100), Span::HOUR);

pub(super) const HTTP_SERVER: &[KeySpec] = &[
    KeySpec::new(
        "probes",
        ValueKind::Form(ADDRESS),
        "another listen address, with a thread and connections of its own, for `/livez` and `/readyz` alone; they are \
         also served at `http`",
    )
    .described("none"),
    KeySpec::new(
        "allowed_hosts",
        List(&ValueKind::Form(HOST), 0),
        "host names by which clients address this process, such as that of a service or an ingress; IP addresses and \
         `localhost` are always accepted, other names are refused ([access](api.md#access))",
    )
    .default("[]"),
    KeySpec::new(
        "connections",
        Count(8, 100_000),
        "maximum number of open connections of each address; at the limit a new one closes the one that has been idle \
         longest",
    )
    .default("256"),
    KeySpec::new("header_bytes", Bytes(8 << 10, 1 << 20), "maximum size of a request's line and headers")
        .default("16KiB"),
    span("read_timeout", TIMEOUT, "10s", "an open connection is closed after this time without a complete request"),
    span("write_timeout", TIMEOUT, "10s", "a connection is closed if a response is not read in this time"),
    span(
        "shared_scrape",
        (Span::ZERO, Span::MINUTE),
        "1s",
        "time during which all requests of `/metrics` get the same scrape",
    ),
];

impl HttpServer {
    pub(super) fn read(table: &Table) -> Option<Self> {
        Some(Self {
            probes: table.text("probes").and_then(|address| address.parse().ok()),
            allowed_hosts: table.get("allowed_hosts")?,
            connections: table.get("connections")?,
            header_bytes: table.get("header_bytes")?,
            read_timeout: table.get("read_timeout")?,
            write_timeout: table.get("write_timeout")?,
            shared_scrape: table.get("shared_scrape")?,
        })
    }
}

/// An address to listen on.
pub(super) const ADDRESS: Form = Form {
    expected: "an address and port such as 127.0.0.1:9464 or [::]:9464",
    fits: |text| text.parse::<SocketAddr>().is_ok(),
    pattern: "",
    ..ANY
};

/// Redis of the live view.
#[derive(Clone, PartialEq, Eq)]
pub struct Redis {
    /// Address and credentials.
    pub url: String,
    /// The CA certificates of TLS; `None`: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The certificate that TLS shows to Redis, and its key.
    pub client_files: Option<(PathBuf, PathBuf)>,
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
        let Self { url: _, ca_file, client_files, prefix, ttl, queue } = self;
        let mut shown = f.debug_struct("Redis");
        shown.field("url", &"(secret)").field("ca_file", ca_file).field("client_files", client_files);
        shown.field("prefix", prefix).field("ttl", ttl).field("queue", queue).finish()
    }
}

const PREFIX: Form = Form {
    expected: "letters, digits, `.`, `_`, `-` and `:`",
    fits: |text| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte)),
    pattern: "^[A-Za-z0-9._:-]+$",
    ..ANY
};

pub(super) const REDIS: &[KeySpec] = &[
    KeySpec::new("url", Secret, "address of Redis, such as `redis://redis:6379/0`; with TLS: `rediss://redis:6379/0`")
        .required(),
    KeySpec::new(
        "ca_file",
        Text,
        "PEM file of the CA certificates that Redis' certificate is verified with, relative to this file",
    )
    .described("the CAs that the system trusts"),
    KeySpec::new("certificate_file", Text, "PEM file of the certificate that Redis verifies this client with"),
    KeySpec::new("key_file", Text, "PEM file of the key of `certificate_file`, without a password"),
    KeySpec::new("prefix", ValueKind::Form(PREFIX), "prefix of all keys").default("funnelwatch"),
    span(
        "ttl",
        (Span(10_000), YEARS),
        "1h",
        "time to live of keys that are not refreshed; live keys are refreshed every third of it",
    ),
    KeySpec::new("queue", Count(1, 100_000), "maximum number of committed batches waiting to be written")
        .default("256"),
];

impl Redis {
    pub(super) fn read(reader: &mut Reader<'_>, table: &Table) -> Option<Self> {
        let url = table.text("url")?.trim_end().to_owned();
        // The URL is not shown, because it may contain a password.
        let found = match url.split_once("://") {
            Some(("rediss", rest)) if rest.contains('#') => Some("a part after `#`; certificates are always verified"),
            Some(("redis" | "rediss", rest)) if !rest.is_empty() => None,
            _ => Some("another format"),
        };
        if let Some(found) = found {
            let text = format!("expected an address such as redis://redis:6379/0, found {found}");
            reader.problem_of(table, "url", text);
        }
        check_tls(reader, table, url.starts_with("rediss://"));
        let file = |key| table.text(key).map(|path| reader.locate(path));
        Some(Self {
            url,
            ca_file: file("ca_file"),
            client_files: file("certificate_file").zip(file("key_file")),
            prefix: table.get("prefix")?,
            ttl: table.get("ttl")?,
            queue: table.get("queue")?,
        })
    }
}

/// Checks that the files of TLS are used.
fn check_tls(reader: &mut Reader<'_>, table: &Table, tls: bool) {
    for (key, other) in
        [("ca_file", None), ("certificate_file", Some("key_file")), ("key_file", Some("certificate_file"))]
    {
        if !table.is_set(key) {
            continue;
        }
        if !tls {
            reader.problem_of(table, key, "has no effect without TLS: `url` must begin with `rediss://`");
        } else if let Some(other) = other.filter(|other| !table.is_set(other)) {
            reader.problem_of(table, key, format!("needs `{other}`"));
        }
    }
}

const FIGURE: Form = Form {
    expected: "the name of a figure such as touches or open_alerts",
    fits: |text| Family::figures().any(|family| family.stem == text),
    pattern: "^[a-z_]+$",
    ..ANY
};

pub(super) const PROMETHEUS: &[KeySpec] = &[
    KeySpec::new("manager_windows", List(&Text, 0), "windows, such as `24h`, whose figures are exported per manager")
        .described("all"),
    KeySpec::new(
        "manager_metrics",
        List(&ValueKind::Form(FIGURE), 0),
        "figures exported per manager, see [metrics](metrics.md)",
    )
    .described("all"),
    KeySpec::new(
        "max_series",
        Count(0, 10_000_000),
        "maximum number of series of figures, norms and names; further series are left out and counted by \
         `funnelwatch_series_left_out`",
    )
    .default("200000"),
    KeySpec::new(
        "max_bytes",
        Bytes(1 << 20, 1 << 30),
        "maximum size of a scrape; series that do not fit are left out and counted likewise",
    )
    .default("64MiB"),
    KeySpec::new(
        "names",
        Flag,
        "whether `funnelwatch_manager_info` and `funnelwatch_department_info` are exported, which contain the names of \
         employees",
    )
    .default("false"),
];

pub(super) fn prometheus(reader: &mut Reader<'_>, table: &Table, norms: &Norms) -> Option<Selection> {
    let windows: Vec<_> = norms.windows.iter().map(|window| window.name()).collect();
    for (line, name) in table.list("manager_windows").iter().filter_map(|value| Some((value.line, value.text()?))) {
        if !windows.iter().any(|window| window == name) {
            let text = format!("unknown window `{name}`; expected one of {}", windows.join(", "));
            reader.problem(line, table.path_of("manager_windows"), text);
        }
    }
    Some(Selection {
        manager_windows: table.get("manager_windows"),
        manager_metrics: table.get("manager_metrics"),
        max_series: table.get("max_series")?,
        max_bytes: table.get("max_bytes")?,
        names: table.get("names")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_change_the_address_of_a_card() {
        let deal_url = Some("https://{tenant}.example.com/deal/{id}/".into());
        let page = Page { deal_url, ..Page::default() };
        let card = |tenant: &str, id: &str| page.card(&tenant.into(), &EntityId::deal(id));
        assert_eq!(card("acme", "1/2?").as_deref(), Some("https://acme.example.com/deal/1%2F2%3F/"));
        assert_eq!(
            card("a.b", "../{tenant}").as_deref(),
            Some("https://a%2Eb.example.com/deal/%2E%2E%2F%7Btenant%7D/")
        );
        assert_eq!(page.card(&"acme".into(), &EntityId::lead("1")), None);
    }
}
