//! Owns the bounds on everything that an input can make grow: the keys that set some of them, and the table of all, from
//! which `docs/limits.md` is generated.

use super::schema::key::KeySpec;
use super::schema::key::ValueKind::{Bytes, Count};
use super::schema::value::Table;
use crate::codec::EventLimits;
use crate::domain::id::TenantId;
use crate::domain::shard::admission::AdmissionLimits;
use compact_str::CompactString;
use std::sync::Arc;

/// The bounds that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What one event may contain.
    pub event: EventLimits,
    /// How many tenants, managers and departments may be known.
    pub admission: AdmissionLimits,
}

pub(super) const LIMITS: &[KeySpec] = &[
    KeySpec::new("id_bytes", Bytes(64, 512), "the longest id, in bytes").default("256"),
    KeySpec::new("name_bytes", Bytes(64, 4 << 10), "the longest name, reason or grade, in bytes").default("1KiB"),
    KeySpec::new("list_entries", Count(1, 100_000), "the longest list in an event").default("1000"),
    KeySpec::new("tenants", Count(1, 10_000_000), "how many tenants one process accepts").default("10000"),
    KeySpec::new("managers", Count(1, 10_000_000), "how many managers one process accepts").default("100000"),
    KeySpec::new("departments", Count(1, 10_000_000), "how many departments one process accepts").default("20000"),
    KeySpec::new("tenant_managers", Count(1, 10_000_000), "how many managers of a tenant are accepted")
        .default("10000"),
    KeySpec::new("tenant_departments", Count(1, 10_000_000), "how many departments of a tenant are accepted")
        .default("1000"),
];

impl Limits {
    /// Reads the section, and the list of accepted tenants.
    pub(super) fn read(table: &Table, tenants: Option<Vec<CompactString>>) -> Option<Self> {
        Some(Self {
            event: EventLimits {
                id_bytes: table.get("id_bytes")?,
                name_bytes: table.get("name_bytes")?,
                list_entries: table.get("list_entries")?,
            },
            admission: AdmissionLimits {
                tenants: table.get("tenants")?,
                managers: table.get("managers")?,
                departments: table.get("departments")?,
                tenant_managers: table.get("tenant_managers")?,
                tenant_departments: table.get("tenant_departments")?,
                accepted: tenants.map(|tenants| Arc::new(tenants.into_iter().map(TenantId).collect())),
            },
        })
    }
}

/// A bound on what an input can make grow.
#[derive(Debug)]
pub struct Bound {
    /// What is bounded.
    pub what: &'static str,
    /// The bound.
    pub at_most: AtMost,
    /// What happens beyond it.
    pub beyond: &'static str,
    /// The metric or header that shows it; empty: none.
    pub shown: &'static str,
}

/// How large a bound is.
#[derive(Clone, Copy, Debug)]
pub enum AtMost {
    /// Configured by this key.
    Key(&'static str),
    /// Fixed.
    Fixed(&'static str),
}

use AtMost::{Fixed, Key};

const fn bound(what: &'static str, at_most: AtMost, beyond: &'static str, shown: &'static str) -> Bound {
    Bound { what, at_most, beyond, shown }
}

const OVER_LIMIT: &str = "`funnelwatch_events_refused_total{reason=\"over_limit\"}`";
const NEW_REJECTED: &str = "an event that names a new one is rejected when it arrives (`over_limit`)";
const TEXT_CUT: &str = "`funnelwatch_events_repaired_total{reason=\"text_cut\"}`";
const HINT_REFUSED: &str = "`funnelwatch_gateway_hints_total`";
const RECEIVED_REFUSED: &str = "`funnelwatch_gateway_received_total`";
const ID_HASHED: &str = "`funnelwatch_events_repaired_total{reason=\"id_hashed\"}`";

/// All bounds, by what they are of.
pub const BOUNDS: &[(&str, &[Bound])] = &[
    (
        "One event",
        &[
            bound(
                "message",
                Key("engine.max_message_bytes"),
                "rejected",
                "`funnelwatch_events_refused_total{reason=\"oversized\"}`",
            ),
            bound(
                "id of a tenant, event, lead, deal, manager, department, pipeline, stage, source, call, session, leg, activity \
             or alert; currency",
                Key("limits.id_bytes"),
                "rejected, because two ids that are cut could be equal",
                OVER_LIMIT,
            ),
            bound(
                "id of a message or thread; `interaction_id`",
                Key("limits.id_bytes"),
                "replaced by its SHA-256 in hexadecimal, because outsiders choose it",
                ID_HASHED,
            ),
            bound(
                "control characters inside an id",
                Fixed("none"),
                "rejected; a message or thread id is replaced by its SHA-256",
                "`funnelwatch_events_refused_total{reason=\"bad_value\"}`",
            ),
            bound("`recording_url`", Fixed("2 KiB"), "replaced by its SHA-256 in hexadecimal", ID_HASHED),
            bound("name, closing reason, grade, entry of `filled_fields`", Key("limits.name_bytes"), "cut", TEXT_CUT),
            bound(
                "field with phones, addresses or a handle",
                Fixed("2 KiB"),
                "dropped, because such a text has no normal form",
                "`funnelwatch_events_repaired_total{reason=\"contact_dropped\"}`",
            ),
            bound("phones or addresses in one field", Fixed("16"), "further ones are not read", ""),
            bound("`contacts`, `filled_fields`", Key("limits.list_entries"), "rejected", OVER_LIMIT),
        ],
    ),
    (
        "One lead, deal or tenant",
        &[
            bound("filled fields of a lead or deal", Fixed("1000"), "further ones do not count as filled", ""),
            bound(
                "contacts of a lead or deal",
                Fixed("64"),
                "further ones are not linked: their calls and messages do not count for it",
                "`funnelwatch_left_out_total`",
            ),
            bound(
                "open plans of a lead or deal",
                Fixed("256"),
                "further ones are left out",
                "`funnelwatch_left_out_total`",
            ),
            bound(
                "contacts that ask in a thread",
                Fixed("256"),
                "an answer in the thread does not answer further ones",
                "`funnelwatch_left_out_total`",
            ),
            bound(
                "legs of a call: conversations, others",
                Fixed("256 each"),
                "further ones are left out",
                "`funnelwatch_left_out_total`",
            ),
            bound(
                "calls of a number that overlap and are counted as one",
                Fixed("256"),
                "a further one is counted apart",
                "",
            ),
            bound(
                "stages of a tenant with figures of their own",
                Fixed("512"),
                "the figures of further ones are summed up as pipeline `other`, stage `other`; rules judge every stage",
                "`funnelwatch_limit_used_ratio{limit=\"tenant_stages\"}`, `funnelwatch_summed_up_total`",
            ),
            bound(
                "currencies of a tenant with figures of their own",
                Fixed("64"),
                "amounts in further ones are summed up as `other`",
                "`funnelwatch_limit_used_ratio{limit=\"tenant_currencies\"}`, `funnelwatch_summed_up_total`",
            ),
            bound(
                "events of a tenant that wait for its watermark: packed, and 448 bytes for each; those that do not fit into \
                 128 MiB of memory for all tenants of a process are in a temporary file",
                Key("time.max_held"),
                "its watermark passes the oldest ones, whatever it waits for, except those dated less than \
                 `time.allowed_lateness` before the wall clock",
                "`funnelwatch_limit_used_ratio{limit=\"tenant_held\"}`, `funnelwatch_events_passed_early_total`",
            ),
            bound(
                "sources of a topic of a tenant that send progress marks",
                Fixed("64"),
                "marks of further ones are rejected",
                "`funnelwatch_events_refused_total{reason=\"over_limit\"}`",
            ),
        ],
    ),
    (
        "Tenants, managers and departments",
        &[
            bound(
                "time for which a tenant without events is kept",
                Key("time.tenant_retention"),
                "it is forgotten, unless a lead, a deal, a call or a message of it is open",
                "`funnelwatch_limit_used_ratio{limit=\"tenants\"}`",
            ),
            bound(
                "tenants of a process",
                Key("limits.tenants"),
                NEW_REJECTED,
                "`funnelwatch_limit_used_ratio{limit=\"tenants\"}`",
            ),
            bound(
                "managers of a process",
                Key("limits.managers"),
                NEW_REJECTED,
                "`funnelwatch_limit_used_ratio{limit=\"managers\"}`",
            ),
            bound(
                "departments of a process",
                Key("limits.departments"),
                NEW_REJECTED,
                "`funnelwatch_limit_used_ratio{limit=\"departments\"}`",
            ),
            bound(
                "managers of a tenant",
                Key("limits.tenant_managers"),
                NEW_REJECTED,
                "`funnelwatch_limit_used_ratio{limit=\"tenant_managers\"}`",
            ),
            bound(
                "departments of a tenant",
                Key("limits.tenant_departments"),
                NEW_REJECTED,
                "`funnelwatch_limit_used_ratio{limit=\"tenant_departments\"}`",
            ),
        ],
    ),
    (
        "The gateway",
        &[
            bound("webhook", Fixed("64 KiB"), "refused", HINT_REFUSED),
            bound("request with events", Key("gateway.body_bytes"), "refused", RECEIVED_REFUSED),
            bound("requests with events in memory", Fixed("16"), "refused", RECEIVED_REFUSED),
            bound(
                "fields of a form, their names, their values",
                Fixed("500, 256 bytes, 8 KiB"),
                "refused",
                HINT_REFUSED,
            ),
            bound("brackets in the name of a field", Fixed("8"), "refused", HINT_REFUSED),
            bound(
                "webhooks of a source that wait to be looked at",
                Fixed("10,000"),
                "dropped: the next sweep finds what they announced",
                "`funnelwatch_gateway_hints_left_to_sweep_total`",
            ),
            bound(
                "webhooks of a source that are recognized when they come again",
                Fixed("8192"),
                "an older one is taken for a new one: it costs the portal a request and changes nothing",
                "",
            ),
            bound(
                "answer of a portal, values in it",
                Fixed("32 MiB, 2,000,000"),
                "not read; asked again later, with smaller batches",
                "`funnelwatch_gateway_requests_total{answer=\"too_large\"}`",
            ),
            bound(
                "records that wait for their acknowledgement",
                Fixed("20,000"),
                "further ones are answered with 503",
                "`funnelwatch_gateway_hints_total{verdict=\"not_stored\"}`",
            ),
        ],
    ),
    (
        "One output record",
        &[
            bound("alert, review request", Fixed("256 KiB"), "cannot be: it follows from the bounds on events", ""),
            bound(
                "state record of an event",
                Fixed("`max.message.bytes` of the topics"),
                "a message that leaves no room for it is rejected",
                "`funnelwatch_events_refused_total{reason=\"oversized\"}`",
            ),
            bound(
                "metric row",
                Fixed("`max.message.bytes` of the topics"),
                "stages and currencies are summed up as `other` until it fits",
                "",
            ),
            bound(
                "dead letter",
                Fixed("`max.message.bytes` of the topics"),
                "original headers are left out, key and value are truncated",
                "headers `funnelwatch-headers-left-out`, `funnelwatch-truncated-key`, `funnelwatch-truncated`",
            ),
            bound(
                "rerouted message",
                Fixed("`max.message.bytes` of the topics"),
                "key and foreign headers are left out",
                "",
            ),
            bound(
                "held events in memory, if the temporary file cannot be written",
                Fixed("256 MiB of a process"),
                "the watermark of the tenant with the most passes the oldest ones, as above",
                "`funnelwatch_events_passed_early_total`",
            ),
            bound(
                "refused events while an event is held",
                Fixed("two ranges of offsets for each held event"),
                "ranges are joined",
                "",
            ),
        ],
    ),
    (
        "One transaction",
        &[
            bound(
                "messages read for an epoch",
                Key("engine.epoch_messages"),
                "they are read for the next epoch",
                "`funnelwatch_epochs_in_flight`",
            ),
            bound(
                "keys and values of an epoch",
                Key("engine.transaction_bytes"),
                "fewer messages are read for it, and no further epoch shares its transaction; metric rows follow in later \
                 transactions",
                "`funnelwatch_commit_seconds`",
            ),
            bound(
                "alerts, review requests and state that follow from event time: deadlines that pass, held events that are \
                 applied",
                Key("engine.transaction_bytes"),
                "watermarks stop, and go on in the next epoch; not divided are one instant of a tenant, a correction, a \
                 reload of norms, alerts of window rules, the end of `run --once`",
                "`funnelwatch_watermark_tenant_delay_seconds`, `funnelwatch_commit_seconds`",
            ),
            bound(
                "time that a transaction is open",
                Key("engine.transaction_time"),
                "metric rows follow in later transactions; the next transactions become smaller",
                "`funnelwatch_commit_seconds`",
            ),
        ],
    ),
    (
        "One HTTP server",
        &[
            bound(
                "open connections of an address",
                Key("http_server.connections"),
                "the one that has been idle longest is closed",
                "",
            ),
            bound("line and headers of a request", Key("http_server.header_bytes"), "431", ""),
            bound("time to send a request", Key("http_server.read_timeout"), "the connection is closed", ""),
            bound("time to read a response", Key("http_server.write_timeout"), "the connection is closed", ""),
            bound(
                "a scrape",
                Key("prometheus.max_bytes"),
                "series are left out, those of managers over the longest windows first",
                "`funnelwatch_series_left_out`",
            ),
            bound("scrapes in memory", Fixed("2"), "slow readers share the older one", ""),
            bound("answers of the API in memory", Fixed("4"), "further requests wait", ""),
            bound(
                "people, rows of plans; clocks on a page",
                Fixed("200; 40"),
                "the page says how many there are; the CSV has all",
                "",
            ),
            bound(
                "events; clocks drawn on the page of a lead or deal",
                Fixed("200; 12"),
                "the latest events, the first clocks",
                "",
            ),
            bound("bodies of forms and of JSON", Fixed("8 KiB; 64 KiB"), "413", ""),
            bound("entries of a list of the API", Fixed("1000"), "`n` says how many there are; `limit`, `cursor`", ""),
            bound("members of a figure", Fixed("200,000"), "400", ""),
            bound(
                "subjects; points of the course of the day of a company",
                Fixed("2,000; 97"),
                "the company and departments come first; the latest points",
                "",
            ),
            bound("users of the API", Fixed("1,000"), "an error", ""),
            bound("body of a request for a tenant of another process", Fixed("64 KiB"), "413", ""),
            bound(
                "requests that wait for one other process",
                Fixed("16"),
                "503",
                "`funnelwatch_members_requests_forwarded_total`",
            ),
            bound("time until another process begins to answer", Fixed("2 s to connect, 10 s"), "503", "as above"),
            bound("silence in the answer of another process", Fixed("40 s"), "the connection is closed", ""),
            bound("list of tenants of another process", Fixed("16 MiB, 3 s"), "its shards are named as missing", ""),
            bound("an event of a stream of another process", Fixed("8 MiB"), "the stream begins again", ""),
            bound(
                "processes that answer for each other",
                Fixed("1,000"),
                "further ones are not known",
                "`funnelwatch_members`",
            ),
        ],
    ),
];
