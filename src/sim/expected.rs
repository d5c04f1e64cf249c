//! The alerts that the processor must publish for a simulation: the violations committed deliberately.
//!
//! Each is exactly one violation of the plan's norms, and nothing else violates them. Rules over windows, and rules
//! that no habit breaks, are not covered.

use crate::domain::id::{ActivityId, EntityId, ManagerId, TenantId};
use crate::domain::identity;
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use std::fmt;

/// One deliberate violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedAlert {
    /// The company.
    pub tenant: TenantId,
    /// The manager responsible when the violation begins.
    pub manager: ManagerId,
    /// The rule.
    pub rule: Rule,
    /// The lead, deal, plan or contact.
    pub subject: Subject,
    /// When the clock started; for an act rule, the time of the act.
    pub anchor: Timestamp,
    /// Event time of the act that ends it (a call is reported at its end and dated at its start); `None` for an act
    /// rule, whose violations have no end.
    pub settled: Option<Timestamp>,
}

/// What a violation is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A lead or a deal.
    Entity(EntityId),
    /// An activity planned for a lead or a deal.
    Plan(EntityId, ActivityId),
    /// The normal form of a phone or an address.
    Contact(CompactString),
}

impl Subject {
    /// The subject in alerts, under this privacy key (the tenant's id unless the norms set another).
    pub fn name(&self, privacy_key: &str) -> String {
        match self {
            Self::Entity(_) | Self::Plan(..) => self.to_string(),
            Self::Contact(form) => format!("contact:{}", identity::key(form, privacy_key)),
        }
    }
}

/// Entities and plans as in alerts, phones and addresses in clear: only for tests of the simulator.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entity(entity) => entity.fmt(f),
            Self::Plan(entity, activity) => write!(f, "{entity}/{activity}"),
            Self::Contact(form) => f.write_str(form),
        }
    }
}
