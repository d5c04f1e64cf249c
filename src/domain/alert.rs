//! Owns the alert: one status of one violation as published to subscribers, and the names of its enumerated fields.

use crate::domain::id::{DepartmentId, EntityId, ManagerId, TenantId};
use crate::domain::rule::Rule;
use crate::domain::time::window::Window;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use uuid::Uuid;

/// The severity of a violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth addressing today.
    #[default]
    Warning,
    /// Worth addressing immediately.
    Critical,
}

impl Severity {
    /// Every severity, in order.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The name in alerts, norms and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity after `steps` escalations: each raises it by one level, up to critical.
    pub fn raised(self, steps: u32) -> Self {
        Self::ALL[(self as usize + steps as usize).min(2)]
    }
}

/// The status of a violation in its lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// An act violated a norm; such a violation has no end.
    Raised,
    /// A violation began.
    Firing,
    /// The violation continues past an escalation time.
    Escalated,
    /// The violation ended.
    Resolved,
    /// A late event shows that there was no violation.
    Retracted,
}

impl Status {
    /// Every status, in order.
    pub const ALL: [Self; 5] = [Self::Raised, Self::Firing, Self::Escalated, Self::Resolved, Self::Retracted];

    /// The name in alerts and headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raised => "RAISED",
            Self::Firing => "FIRING",
            Self::Escalated => "ESCALATED",
            Self::Resolved => "RESOLVED",
            Self::Retracted => "RETRACTED",
        }
    }
}

/// Why a violation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// A manager contacted the customer.
    Responded,
    /// The entity was closed.
    Closed,
    /// The entity was deleted.
    Deleted,
    /// The entity left the stage.
    LeftStage,
    /// The missed call was returned.
    Returned,
    /// The customer called again and got through.
    CustomerCalledAgain,
    /// The message was answered.
    Answered,
    /// The figure is back at its norm.
    Recovered,
    /// The sample became too small.
    SampleTooSmall,
    /// An act that was in time became known late.
    LateEvidence,
    /// The norm no longer applies.
    Disabled,
}

impl Resolution {
    /// Every resolution.
    pub const ALL: [Self; 11] = [
        Self::Responded,
        Self::Closed,
        Self::Deleted,
        Self::LeftStage,
        Self::Returned,
        Self::CustomerCalledAgain,
        Self::Answered,
        Self::Recovered,
        Self::SampleTooSmall,
        Self::LateEvidence,
        Self::Disabled,
    ];

    /// The name in alerts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Responded => "responded",
            Self::Closed => "closed",
            Self::Deleted => "deleted",
            Self::LeftStage => "left_stage",
            Self::Returned => "returned",
            Self::CustomerCalledAgain => "customer_called_again",
            Self::Answered => "answered",
            Self::Recovered => "recovered",
            Self::SampleTooSmall => "sample_too_small",
            Self::LateEvidence => "late_evidence",
            Self::Disabled => "disabled",
        }
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
    /// The window that was judged.
    pub window: Option<Window>,
    /// The observed values.
    pub observed: Values,
    /// The required values.
    pub norm: Values,
    /// Why it ended.
    pub resolution: Option<Resolution>,
}

/// The `alert_id`: UUIDv5 in the URL namespace (RFC 9562) of `funnelwatch/{tenant}/{rule}/{subject}/{anchor ms}`.
pub fn alert_id(tenant: &TenantId, rule: Rule, subject: &str, anchor: Timestamp) -> Uuid {
    let name = format!("funnelwatch/{tenant}/{}/{subject}/{}", rule.name(), anchor.0);
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
}
