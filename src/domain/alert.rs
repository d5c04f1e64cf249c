//! Owns the alert: one status of one violation as published to subscribers, and the names of its enumerated fields.

use crate::domain::id::{DepartmentId, EntityId, ManagerId, TenantId};
use crate::domain::named::named_enum;
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use uuid::Uuid;

named_enum! {
    /// The severity of a violation.
    #[derive(Default)]
    pub enum Severity, named "in alerts, norms and labels" {
        /// Worth knowing.
        Info = "info",
        /// Worth addressing today.
        #[default]
        Warning = "warning",
        /// Worth addressing immediately.
        Critical = "critical",
    }
}

impl Status {
    /// The statuses that may follow this one; any status may also be published again, corrected.
    pub const fn successors(self) -> &'static [Self] {
        match self {
            Self::Raised => &[Self::Retracted],
            Self::Firing | Self::Escalated => &[Self::Escalated, Self::Resolved, Self::Retracted],
            Self::Resolved => &[Self::Retracted, Self::DueSoon, Self::Firing],
            Self::Retracted => &[],
            Self::DueSoon => &[Self::Firing, Self::Averted, Self::Retracted],
            Self::Averted => &[Self::DueSoon, Self::Firing],
        }
    }

    /// Whether the alert, or its warning, is open after this status; `None` for an act, which never is.
    pub const fn is_open(self) -> Option<bool> {
        match self {
            Self::DueSoon | Self::Firing | Self::Escalated => Some(true),
            Self::Averted | Self::Resolved | Self::Retracted => Some(false),
            Self::Raised => None,
        }
    }

    /// Whether it is about a warning, and not about a violation.
    pub const fn is_of_warning(self) -> bool {
        matches!(self, Self::DueSoon | Self::Averted)
    }
}

impl Severity {
    /// The severity after `steps` escalations: each raises it by one level, up to critical.
    pub fn raised(self, steps: u32) -> Self {
        Self::ALL[(self as usize + steps as usize).min(2)]
    }
}

named_enum! {
    /// The status of a violation in its lifecycle.
    pub enum Status, named "in alerts and headers" {
        /// An act violated a norm; such a violation has no end.
        Raised = "RAISED",
        /// A violation began.
        Firing = "FIRING",
        /// The violation continues past an escalation time.
        Escalated = "ESCALATED",
        /// The violation ended.
        Resolved = "RESOLVED",
        /// A late event shows that there was no violation.
        Retracted = "RETRACTED",
        /// The deadline is near; no violation yet.
        DueSoon = "DUE_SOON",
        /// There was a warning, but there will be no violation.
        Averted = "AVERTED",
    }

    /// Why a violation ended.
    pub enum Resolution, named "in alerts" {
        /// A manager contacted the customer.
        Responded = "responded",
        /// The entity was closed.
        Closed = "closed",
        /// The entity was deleted.
        Deleted = "deleted",
        /// The entity was merged into another one.
        Merged = "merged",
        /// The entity was handed over to another manager, with a clock of its own.
        Reassigned = "reassigned",
        /// The entity left the stage.
        LeftStage = "left_stage",
        /// The entity entered a stage in which the customer is to act.
        Waiting = "waiting",
        /// The missed call was returned.
        Returned = "returned",
        /// The customer called again and got through.
        CustomerCalledAgain = "customer_called_again",
        /// The message was answered.
        Answered = "answered",
        /// A next step was planned.
        Planned = "planned",
        /// The planned activity was completed.
        Done = "done",
        /// The planned activity got another deadline, or none.
        Rescheduled = "rescheduled",
        /// The planned activity was cancelled.
        Cancelled = "cancelled",
        /// A manager dismissed the call or message.
        Dismissed = "dismissed",
        /// The figure is back at its norm.
        Recovered = "recovered",
        /// The target was reached.
        Reached = "reached",
        /// The period of the target ended.
        PeriodOver = "period_over",
        /// The sample became too small.
        SampleTooSmall = "sample_too_small",
        /// An act that was in time became known late.
        LateEvidence = "late_evidence",
        /// The norm no longer applies.
        Disabled = "disabled",
    }
}

/// A value in `observed` or `norm`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Count(i64),
    /// A measure in base units.
    Number(f64),
    /// A name.
    Text(CompactString),
}

impl From<Span> for Value {
    fn from(span: Span) -> Self {
        Self::Number(span.seconds())
    }
}

impl From<i64> for Value {
    fn from(count: i64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Value {
    fn from(measure: f64) -> Self {
        Self::Number(measure)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// Named values in display order.
pub type Values = Vec<(&'static str, Value)>;

/// One status of one violation.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The same for every status of the violation, and in every replay.
    pub id: Uuid,
    /// The company.
    pub tenant: TenantId,
    /// Which rule was broken.
    pub rule: Rule,
    /// Severity, raised by escalations.
    pub severity: Severity,
    /// Number of escalations so far.
    pub level: u32,
    /// The status.
    pub status: Status,
    /// The subject: `lead:ID`, `contact:KEY`, `manager:ID/7d`…
    pub subject: CompactString,
    /// Event time of this status.
    pub at: Timestamp,
    /// When the clock started.
    pub anchor_at: Timestamp,
    /// The deadline, if the rule has one.
    pub due_at: Option<Timestamp>,
    /// The accountable manager.
    pub manager: Option<ManagerId>,
    /// The manager's department (`unknown` if none); set if there is a manager.
    pub department: Option<DepartmentId>,
    /// The lead or deal.
    pub entity: Option<EntityId>,
    /// The call or message.
    pub interaction: Option<CompactString>,
    /// The name of the window or period that was judged.
    pub window: Option<CompactString>,
    /// The observed values.
    pub observed: Values,
    /// The required values.
    pub norm: Values,
    /// Why it ended.
    pub resolution: Option<Resolution>,
    /// Whether it belongs to the past that a back-fill reports.
    pub historic: bool,
}

#[cfg(test)]
impl Alert {
    /// A FIRING alert at its anchor, for tests, with nothing optional.
    pub(crate) fn sample(tenant: &str, rule: Rule, subject: &str, anchor_at: Timestamp) -> Self {
        let tenant = tenant.into();
        Self {
            id: alert_id(&tenant, rule, subject, anchor_at),
            tenant,
            rule,
            severity: Severity::Warning,
            level: 0,
            status: Status::Firing,
            subject: subject.into(),
            at: anchor_at,
            anchor_at,
            due_at: None,
            manager: None,
            department: None,
            entity: None,
            interaction: None,
            window: None,
            observed: Vec::new(),
            norm: Vec::new(),
            resolution: None,
            historic: false,
        }
    }
}

/// Somebody takes care of an open alert. It is no status: it annotates the alert until its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertTaken {
    /// The company.
    pub tenant: TenantId,
    /// The alert.
    pub alert: Uuid,
    /// Who takes care of it.
    pub manager: ManagerId,
    /// Since when.
    pub at: Timestamp,
}

/// The `alert_id`: UUIDv5 in the URL namespace (RFC 9562) of `funnelwatch/{tenant}/{rule}/{subject}/{anchor ms}`.
pub fn alert_id(tenant: &TenantId, rule: Rule, subject: &str, anchor: Timestamp) -> Uuid {
    let name = format!("funnelwatch/{tenant}/{}/{subject}/{}", rule.name(), anchor.0);
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
}
