//! Owns the settings of one Bitrix24 source, already checked: what the section `bitrix24` of the configuration says.

use super::webhook::Webhook;
use crate::domain::id::TenantId;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The settings of one source.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the source: the key of its cursors, a label of its metrics, the name of its progress marks.
    pub name: CompactString,
    /// The tenant that its events belong to.
    pub tenant: TenantId,
    /// The time zone of times without an offset.
    pub time_zone: TimeZone,
    /// The incoming webhook of the portal.
    pub webhook: Webhook,
    /// The certificates of a private authority, in PEM, in addition to those of the system.
    pub ca: Option<PathBuf>,
    /// The time between two sweeps.
    pub sweep: Span,
    /// Where the back-fill begins.
    pub backfill_from: Option<Timestamp>,
    /// What may be asked of the portal.
    pub budget: Budget,
    /// The pipeline of all leads.
    pub lead_pipeline: CompactString,
    /// The pipelines of deals by their funnel; the others are `deal_` and the number of the funnel.
    pub deal_pipelines: BTreeMap<u64, CompactString>,
    /// The portal's own fields.
    pub fields: Fields,
    /// The field of users that holds their grade.
    pub grade: Option<CompactString>,
}

impl Settings {
    /// The name of the source in the envelope of its events and marks.
    pub fn source(&self) -> String {
        format!("bitrix24:{}", self.name)
    }

    /// The pipeline of a funnel of deals.
    pub fn deal_pipeline(&self, funnel: u64) -> String {
        self.deal_pipelines.get(&funnel).map_or_else(|| format!("deal_{funnel}"), |name| name.to_string())
    }
}

/// What a source may ask of its portal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// How many requests a second the portal's counter forgets.
    pub requests_per_second: f64,
    /// At which count the portal refuses requests.
    pub burst: f64,
    /// How many seconds of work in ten minutes may be asked of a method.
    pub operating_seconds: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { requests_per_second: 2.0, burst: 50.0, operating_seconds: 240.0 }
    }
}

/// The fields of leads and deals that a portal has defined itself, by what they mean. Every name may be written as in the
/// portal (`UF_CRM_REASON`) or as the interface answers it (`ufCrmReason`).
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// The reason of a closing: the first field that is filled.
    pub reject_reason: Vec<CompactString>,
    /// The length of an instalment plan in months.
    pub installment_months: Option<CompactString>,
    /// The prepayment in percent.
    pub prepayment_percent: Option<CompactString>,
    /// Who approved the terms: a user.
    pub approved_by: Option<CompactString>,
    /// The fields that stages can require, with their names in `filled_fields`.
    pub filled: BTreeMap<CompactString, CompactString>,
}
