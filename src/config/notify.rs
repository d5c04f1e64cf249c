//! Owns the section `notify`: who is informed of which alerts, through which channels, and when.

mod channel;
mod digest;
mod forms;
mod people;
mod routes;
mod targets;

pub use channel::Channel;
pub use digest::{Digest, Weekday};
pub use forms::Hidden;
use forms::URL;
pub use people::Person;
pub use routes::{GroupKey, Grouping, Recipient, Route, Selector};
pub use targets::{Alertmanager, Bitrix24, Mail, Targets, Telegram, TlsMode, Webhook};

use super::schema::key::ValueKind::{Form as Of, List, Map, Secret, Setting, Table as Keys};
use super::schema::key::{ANY, KeySpec, ValueKind};
use super::schema::reader::Reader;
use super::schema::typed::one_of;
use super::schema::value::Table;
use super::sections::ADDRESS;
use super::users::MIN_TOKEN_LENGTH;
use crate::domain::rule::message::Language;
use crate::domain::time::Span;
use routes::{RECIPIENT, ROUTE};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Who is informed of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Notify {
    /// Listen address of answers, metrics and probes.
    pub listen: SocketAddr,
    /// The consumer group whose members share the alerts.
    pub group: String,
    /// The language of messages to people without one of their own, and to lists.
    pub language: Language,
    /// How long a violation waits before it is sent, so that one that is retracted meanwhile is not.
    pub hold: Span,
    /// Older statuses are summed up in one message.
    pub summary_after: Span,
    /// Links in messages, by which people answer; `None`: messages have none.
    pub links: Option<Links>,
    /// Where names of people and heads of departments are asked for; `None`: only `people` is known.
    pub api: Option<ApiAccess>,
    /// Who is informed if no recipient of a route can be reached.
    pub fallback: Vec<Recipient>,
    /// The routes, in order.
    pub routes: Vec<Route>,
    /// When heads are sent a summary; `None`: never.
    pub digest: Option<Digest>,
    /// The channels that are set up.
    pub targets: Targets,
    /// The addresses of people, by the id of the manager, or by `TENANT/ID`.
    pub people: BTreeMap<String, Person>,
}

/// How people answer by link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    /// The address of this program as recipients reach it, without a slash at the end.
    pub public_url: String,
    /// The key of signatures.
    pub secret: Hidden,
    /// How long a link is valid.
    pub valid_for: Span,
}

/// The API of the processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAccess {
    /// Its address, without a slash at the end.
    pub url: String,
    /// The bearer token.
    pub token: Option<Hidden>,
}

pub(super) const NOTIFY: &[KeySpec] = &[
    KeySpec::new(
        "listen",
        Of(ADDRESS),
        "listen address of the answers to links, and of `GET /metrics`, `/livez` and `/readyz`",
    )
    .default("127.0.0.1:8490"),
    KeySpec::new("group", Setting, "the consumer group whose members share the alerts").default("funnelwatch-notify"),
    KeySpec::new("language", one_of::<Language>(), "the language of messages to people without one of their own")
        .default("en"),
    KeySpec::new(
        "hold",
        ValueKind::Span(Span::ZERO, Span::HOUR),
        "how long a violation waits before it is sent; one that is over or retracted by then is not sent",
    )
    .default("30s"),
    KeySpec::new(
        "summary_after",
        ValueKind::Span(Span::MINUTE, Span(30 * Span::DAY.0)),
        "violations that could not be sent for this long are summed up in one message for each recipient",
    )
    .default("1h"),
    KeySpec::new("links", Keys(&[LINKS]), "links in messages, by which people answer")
        .described("messages have no links"),
    KeySpec::new("api", Keys(&[API_ACCESS]), "the [API](api.md) of the processor, which knows people and departments")
        .described("only `people` is known, and no heads"),
    KeySpec::new("fallback", List(&RECIPIENT, 0), "who is informed if no recipient of a route can be reached")
        .default("[]"),
    KeySpec::new(
        "routes",
        List(&Keys(&[ROUTE]), 0),
        "who is informed of which alerts: the first route that matches, and further ones after `continue: true`",
    )
    .default("[]"),
    KeySpec::new("digest", Keys(&[digest::DIGEST]), "a summary for heads, in the morning and once a week")
        .described("none"),
    KeySpec::new("targets", Keys(&[targets::TARGETS]), "the channels").default("{}"),
    KeySpec::new(
        "people",
        Map(ANY, &Keys(&[people::PERSON])),
        "addresses of people by their id in the CRM, or by `TENANT/ID`",
    ),
];

const LINKS: &[KeySpec] = &[
    KeySpec::new("public_url", Of(URL), "the address of this program as recipients reach it").required(),
    KeySpec::new("secret", Secret, "the key that links are signed with, at least 16 characters").required(),
    KeySpec::new("valid_for", ValueKind::Span(Span::HOUR, Span(90 * Span::DAY.0)), "how long a link is valid")
        .default("3d"),
];

const API_ACCESS: &[KeySpec] = &[
    KeySpec::new("url", Of(URL), "its address, such as `http://funnelwatch:9464`").required(),
    KeySpec::new("token", Secret, "the bearer token").described("none"),
];

impl Notify {
    pub(super) fn read(reader: &mut Reader<'_>, table: &Table) -> Option<Self> {
        let links = table.table("links").and_then(|links| {
            let secret = links.text("secret")?.trim().to_owned();
            if secret.len() < MIN_TOKEN_LENGTH {
                let text = format!("expected at least {MIN_TOKEN_LENGTH} characters: a shorter key could be guessed");
                reader.problem_of(links, "secret", text);
            }
            let secret = Hidden(secret);
            Some(Links { public_url: links.get("public_url")?, secret, valid_for: links.get("valid_for")? })
        });
        let api = table.table("api").and_then(|api| {
            let token = api.text("token").map(|token| Hidden(token.trim().to_owned()));
            Some(ApiAccess { url: api.get("url")?, token })
        });
        let targets = Targets::read(reader, table.table("targets")?)?;
        let routes = routes::read(reader, table, &targets);
        let digest = table.table("digest").map(|digest| Digest::read(reader, digest, &targets));
        if digest.is_some() && api.is_none() {
            reader.problem_of(table, "digest", "it needs `notify.api`: figures and heads come from there");
        }
        Some(Self {
            listen: table.text("listen")?.parse().ok()?,
            group: table.get("group")?,
            language: table.get("language")?,
            hold: table.get("hold")?,
            summary_after: table.get("summary_after")?,
            links,
            api,
            fallback: routes::recipients(reader, table, "fallback"),
            routes,
            digest: digest.map_or(Some(None), |read| read.map(Some))?,
            targets,
            people: people::read(table.map("people")),
        })
    }
}

#[cfg(test)]
mod tests;
