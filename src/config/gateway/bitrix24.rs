//! Owns the configuration of a Bitrix24 portal that is read.

use crate::config::schema::key::ValueKind::{
    Count, Form as Of, List, Map, Number, Secret, Span as Duration, Table as Keys, Text,
};
use crate::config::schema::key::{ANY, Form, KeySpec};
use crate::config::schema::reader::Reader;
use crate::config::schema::typed::Typed;
use crate::config::schema::value::{Table, Value};
use crate::domain::id::PipelineId;
use crate::domain::time::Span;
use jiff::civil::Date;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// A Bitrix24 portal.
#[derive(Clone, PartialEq)]
pub struct Bitrix24 {
    /// The address of the incoming webhook, with its code: secret.
    pub url: String,
    /// The CA certificates of TLS; `None`: those that are usually trusted.
    pub ca: Option<PathBuf>,
    /// What outgoing webhooks show; `None`: webhooks are refused. Secret.
    pub application_token: Option<String>,
    /// The time between two sweeps.
    pub sweep: Span,
    /// The first day of the back-fill; `None`: none.
    pub backfill_from: Option<Date>,
    /// How much of the portal's limits may be used.
    pub budget: Budget,
    /// The pipeline of leads.
    pub lead_pipeline: PipelineId,
    /// The pipelines of deals by the id of their funnel; others are `deal_ID`.
    pub deal_pipelines: BTreeMap<u32, PipelineId>,
    /// The portal's own fields.
    pub fields: Fields,
    /// The field of a user that holds the grade.
    pub grade: Option<String>,
}

/// How much of a portal's limits may be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Requests a second, in the long run.
    pub requests_per_second: f64,
    /// Requests at once.
    pub burst: u32,
    /// Seconds of the portal's work in ten minutes, for each method.
    pub operating_seconds: f64,
}

/// The portal's own fields of leads and deals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The first of them that is filled is the reject reason.
    pub reject_reason: Vec<String>,
    /// Number of instalments, in months.
    pub installment_months: Option<String>,
    /// Prepayment, in percent.
    pub prepayment_percent: Option<String>,
    /// Who approved the terms.
    pub approved_by: Option<String>,
    /// Fields whose being filled counts, with their names in `filled_fields`.
    pub filled: BTreeMap<String, String>,
}

/// Hides the address, which contains the webhook's code, and the token.
impl fmt::Debug for Bitrix24 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, ca, application_token, sweep, backfill_from, budget, lead_pipeline, .. } = self;
        let Self { deal_pipelines, fields, grade, .. } = self;
        f.debug_struct("Bitrix24")
            .field("url", &"(secret)")
            .field("ca", ca)
            .field("application_token", &application_token.as_ref().map(|_| "(secret)"))
            .field("sweep", sweep)
            .field("backfill_from", backfill_from)
            .field("budget", budget)
            .field("lead_pipeline", lead_pipeline)
            .field("deal_pipelines", deal_pipelines)
            .field("fields", fields)
            .field("grade", grade)
            .finish()
    }
}

pub(super) const BITRIX24: &[KeySpec] = &[
    KeySpec::new(
        "url",
        Secret,
        "address of the incoming webhook, such as `https://example.bitrix24.ru/rest/1/CODE/`; it contains a secret",
    )
    .required(),
    KeySpec::new(
        "ca",
        Text,
        "PEM file of the CA certificates that the portal's certificate is verified with, relative to this file",
    )
    .described("the usual CAs"),
    KeySpec::new("application_token", Secret, "what the portal's outgoing webhook shows")
        .described("webhooks are refused, and sweeps find every change"),
    KeySpec::new(
        "sweep",
        Duration(Span::SECOND, Span::HOUR),
        "the time between two sweeps, which find what no webhook has announced",
    )
    .default("60s"),
    KeySpec::new("backfill_from", Of(DATE), "the first day of the back-fill, such as `2026-01-01`").described("none"),
    KeySpec::new("budget", Keys(&[BUDGET]), "how much of the portal's limits is used").default("{}"),
    KeySpec::new("leads", Keys(&[LEADS]), "leads").default("{}"),
    KeySpec::new("deals", Keys(&[DEALS]), "deals").default("{}"),
    KeySpec::new("fields", Keys(&[FIELDS]), "the portal's own fields of leads and deals").default("{}"),
    KeySpec::new("grade", Text, "the field of a user that holds the grade of a manager").described("none"),
];

const BUDGET: &[KeySpec] = &[
    KeySpec::new("requests_per_second", Number(0.1, 50.0), "requests a second in the long run").default("2"),
    KeySpec::new("burst", Count(1, 250), "requests at once").default("50"),
    KeySpec::new(
        "operating_seconds",
        Number(1.0, 480.0),
        "seconds of the portal's work in ten minutes, for each method; the portal's own limit is usually 480",
    )
    .default("240"),
];

const LEADS: &[KeySpec] = &[KeySpec::new("pipeline", Text, "the pipeline of leads").default("leads")];

const DEALS: &[KeySpec] = &[KeySpec::new(
    "pipelines",
    Map(FUNNEL, &Text),
    "the pipelines of deals by the id of their funnel; a funnel that is not named is `deal_ID`",
)];

const FUNNEL: Form = Form {
    expected: "the id of a funnel, such as 0",
    fits: |text| text.parse::<u32>().is_ok_and(|id| id.to_string() == text),
    pattern: "^[0-9]{1,10}$",
    ..ANY
};

const DATE: Form = Form {
    expected: "a date such as 2026-01-31",
    fits: |text| text.len() == 10 && text.parse::<Date>().is_ok(),
    pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    ..ANY
};

const FIELDS: &[KeySpec] = &[
    KeySpec::new("reject_reason", List(&Text, 0), "fields of the reject reason: the first that is filled")
        .default("[STATUS_DESCRIPTION]"),
    KeySpec::new("installment_months", Text, "the field of the number of instalments, in months").described("none"),
    KeySpec::new("prepayment_percent", Text, "the field of the prepayment, in percent").described("none"),
    KeySpec::new("approved_by", Text, "the field of who approved the terms").described("none"),
    KeySpec::new("filled", Map(ANY, &Text), "fields whose being filled counts, with their names in `filled_fields`"),
];

impl Bitrix24 {
    pub(super) fn read(reader: &mut Reader<'_>, table: &Table) -> Option<Self> {
        let url = table.text("url").map(|url| url.trim().to_owned());
        if let Some(found) = url.as_deref().and_then(fault_of_url) {
            // The address is not shown: it contains the webhook's code.
            let expected = "expected an address such as https://example.bitrix24.ru/rest/1/CODE/";
            reader.problem_of(table, "url", format!("{expected}, found {found}"));
        }
        let budget = table.table("budget");
        let fields = table.table("fields");
        let pipelines = table.table("deals").map(|deals| deals.map("pipelines")).unwrap_or_default();
        let pipeline = |(id, name): &(String, Value)| Some((id.parse().ok()?, PipelineId::from(name.text()?)));
        let filled = fields.map(|fields| fields.map("filled")).unwrap_or_default();
        Some(Self {
            url: url?,
            ca: table.text("ca").map(|path| reader.locate(path)),
            application_token: table.text("application_token").map(|token| token.trim().to_owned()),
            sweep: table.get("sweep")?,
            backfill_from: table.text("backfill_from").and_then(|date| date.parse().ok()),
            budget: Budget {
                requests_per_second: budget?.get("requests_per_second")?,
                burst: budget?.get("burst")?,
                operating_seconds: budget?.get("operating_seconds")?,
            },
            lead_pipeline: table.table("leads")?.text("pipeline").map(PipelineId::from)?,
            deal_pipelines: pipelines.iter().filter_map(pipeline).collect(),
            fields: Fields {
                reject_reason: fields?.get("reject_reason").unwrap_or_default(),
                installment_months: fields?.get("installment_months"),
                prepayment_percent: fields?.get("prepayment_percent"),
                approved_by: fields?.get("approved_by"),
                filled: filled.iter().filter_map(|(field, name)| Some((field.clone(), String::read(name)?))).collect(),
            },
            grade: table.get("grade"),
        })
    }
}

/// What is wrong with the address of a webhook, without showing it.
pub fn fault_of_url(url: &str) -> Option<&'static str> {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme @ ("https" | "http"), rest)) => (scheme, rest),
        _ => return Some("another format"),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let is_local = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let mut parts = path.trim_end_matches('/').split('/');
    let is_webhook = matches!(
        (parts.next(), parts.next(), parts.next(), parts.next()),
        (Some("rest"), Some(user), Some(code), None) if user.parse::<u32>().is_ok() && !code.is_empty()
    );
    if authority.is_empty() || authority.contains('@') || url.contains(['?', '#', ' ']) {
        Some("another format")
    } else if scheme == "http" && !is_local {
        Some("an address without TLS: the webhook's code would be sent unencrypted")
    } else if !is_webhook {
        Some("an address whose path is not that of an incoming webhook, /rest/USER/CODE/")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_webhooks_are_recognized() {
        for url in [
            "https://example.bitrix24.ru/rest/1/abc123/",
            "https://example.bitrix24.ru/rest/1/abc123",
            "https://crm.example.org:8443/rest/17/abc123/",
            "http://127.0.0.1:8080/rest/1/abc/",
            "http://[::1]:8080/rest/1/abc/",
            "http://localhost/rest/1/abc/",
        ] {
            assert_eq!(fault_of_url(url), None, "{url}");
        }
        for (url, part) in [
            ("example.bitrix24.ru/rest/1/abc", "another format"),
            ("ftp://example.org/rest/1/abc", "another format"),
            ("https:///rest/1/abc", "another format"),
            ("https://user@example.org/rest/1/abc", "another format"),
            ("https://example.org/rest/1/abc?x", "another format"),
            ("http://example.org/rest/1/abc", "without TLS"),
            ("http://127.0.0.1.example.org/rest/1/abc", "without TLS"),
            ("https://example.org/", "whose path"),
            ("https://example.org/rest/1/abc/crm.lead.list", "whose path"),
            ("https://example.org/rest/me/abc/", "whose path"),
        ] {
            assert!(fault_of_url(url).is_some_and(|fault| fault.contains(part)), "{url}: {:?}", fault_of_url(url));
        }
    }
}
