//! Owns the section `gateway`: where systems send their webhooks and events, and the systems that are read.

pub mod bitrix24;
pub mod telephony;
mod token;

use super::schema::key::ValueKind::{Bytes, List, Secret, Setting, Table as Keys, Text};
use super::schema::key::{ANY, Form, KeySpec, ValueKind};
use super::schema::reader::Reader;
use super::schema::value::{Table, Value};
use super::sections::ADDRESS;
use crate::domain::id::TenantId;
use bitrix24::{BITRIX24, Bitrix24};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use telephony::{TELEPHONY, Telephony};
use token::token;

/// The gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Listen address of webhooks, events, metrics and probes.
    pub listen: SocketAddr,
    /// The consumer group whose members share the sources.
    pub group: String,
    /// The largest body of a request with events, in bytes.
    pub body_bytes: usize,
    /// The sources, in the order of the document. Their names are distinct.
    pub sources: Vec<GatewaySource>,
}

/// A system that is read, or that sends.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySource {
    /// Its name: the path of its webhooks, the key of its cursors and hints, a label of metrics.
    pub name: String,
    /// The tenant that its events belong to.
    pub tenant: TenantId,
    /// The time zone of times without an offset.
    pub time_zone: TimeZone,
    /// Which system it is.
    pub kind: SourceKind,
}

/// Which system a source is.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// A Bitrix24 portal.
    Bitrix24(Box<Bitrix24>),
    /// A program that sends events of our own format.
    Events(EventsToken),
    /// A phone system that sends webhooks.
    Telephony(Box<Telephony>),
}

impl SourceKind {
    /// The key of the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bitrix24(_) => "bitrix24",
            Self::Events(_) => "events",
            Self::Telephony(_) => "telephony",
        }
    }

    /// Whether it is read by the owner of its partition of the hints topic.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Bitrix24(_))
    }
}

/// The bearer token of a program that sends events.
#[derive(Clone, PartialEq, Eq)]
pub struct EventsToken(pub String);

/// Hides the token.
impl fmt::Debug for EventsToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

pub(super) const GATEWAY: &[KeySpec] = &[
    KeySpec::new(
        "listen",
        ValueKind::Form(ADDRESS),
        "listen address: `POST /in/NAME` for webhooks and events, `GET /metrics`, `/livez` and `/readyz`",
    )
    .default("127.0.0.1:8480"),
    KeySpec::new(
        "group",
        Setting,
        "the consumer group whose members share the sources: each source is read by one process at a time",
    )
    .default("funnelwatch-gateway"),
    KeySpec::new("body_bytes", Bytes(64 << 10, 16 << 20), "the largest body of a request with events; webhooks: 64KiB")
        .default("1MiB"),
    KeySpec::new("sources", List(&Keys(&[SOURCE]), 1), "the systems that are read or that send").required(),
];

const SOURCE: &[KeySpec] = &[
    KeySpec::new("name", ValueKind::Form(NAME), "its name: the path of its webhooks and a label of metrics; never changed later, since its position is stored under it").required(),
    KeySpec::new("tenant", Text, "the tenant that its events belong to").required(),
    KeySpec::new("time_zone", ValueKind::Form(ZONE), "the IANA time zone of times without an offset").default("UTC"),
    KeySpec::new("bitrix24", Keys(&[BITRIX24]), "a Bitrix24 portal"),
    KeySpec::new("events", Keys(&[EVENTS]), "a program that sends [events](events.md) to `POST /in/NAME/events`"),
    KeySpec::new("telephony", Keys(&[TELEPHONY]), "a phone system that sends webhooks, read by a mapping file"),
];

const EVENTS: &[KeySpec] =
    &[KeySpec::new("token", Secret, "token required as `Authorization: Bearer …`, at least 16 characters").required()];

const NAME: Form = Form {
    expected: "a name of up to 64 lower-case letters, digits, `-` and `_`",
    fits: |text| {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        (1..=64).contains(&text.len()) && text.bytes().all(letter)
    },
    pattern: "^[a-z0-9_-]{1,64}$",
    ..ANY
};

const ZONE: Form = Form {
    expected: "an IANA time zone such as Europe/Moscow",
    fits: |text| TimeZone::get(text).is_ok(),
    pattern: "",
    ..ANY
};

impl Gateway {
    pub(super) fn read(reader: &mut Reader<'_>, table: &Table) -> Option<Self> {
        let mut names = BTreeMap::new();
        let mut sources = Vec::new();
        let mut are_valid = true;
        for source in table.list("sources").iter().filter_map(Value::table) {
            if let Some(name) = source.text("name")
                && let Some(line) = names.insert(name.to_owned(), source.line_of("name"))
            {
                let text = format!("`{name}` is already used on line {line}; names of sources must be distinct");
                reader.problem_of(source, "name", text);
            }
            match GatewaySource::read(reader, source) {
                Some(source) => sources.push(source),
                None => are_valid = false,
            }
        }
        let gateway = Self {
            listen: table.text("listen")?.parse().ok()?,
            group: table.get("group")?,
            body_bytes: table.get("body_bytes")?,
            sources,
        };
        are_valid.then_some(gateway)
    }
}

const KINDS: [&str; 3] = ["bitrix24", "events", "telephony"];

impl GatewaySource {
    fn read(reader: &mut Reader<'_>, table: &Table) -> Option<Self> {
        let set: Vec<&str> = KINDS.into_iter().filter(|kind| table.is_set(kind)).collect();
        let kind = match set.as_slice() {
            ["bitrix24"] => Bitrix24::read(reader, table.table("bitrix24")?).map(Box::new).map(SourceKind::Bitrix24),
            ["events"] => token(reader, table.table("events")?).map(EventsToken).map(SourceKind::Events),
            ["telephony"] => {
                Telephony::read(reader, table.table("telephony")?).map(Box::new).map(SourceKind::Telephony)
            }
            [] => {
                reader.problem(table.line, &table.path, format!("expected one of {}", KINDS.join(", ")));
                None
            }
            [first, others @ ..] => {
                for other in others {
                    reader.problem_of(table, other, format!("`{first}` is set, too: a source is one system"));
                }
                None
            }
        };
        Some(Self {
            name: table.get("name")?,
            tenant: table.text("tenant").map(TenantId::from)?,
            time_zone: TimeZone::get(table.text("time_zone")?).ok()?,
            kind: kind?,
        })
    }
}
