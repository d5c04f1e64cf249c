//! Owns what must come out: the violations that the simulated staff committed on purpose.
//!
//! Promises that each is one violation of the norms that the plan lies in wait with, and that nothing else violates
//! them. Refuses figures, and rules that no vice is about.

use crate::domain::id::{EntityId, ManagerId, TenantId};
use crate::domain::identity;
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use std::fmt;

/// One violation that a manager committed on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedAlert {
    /// In which company.
    pub tenant: TenantId,
    /// By whom: the responsible when it begins.
    pub manager: ManagerId,
    /// Of which rule.
    pub rule: Rule,
    /// Towards whom.
    pub subject: Subject,
    /// When its clock started; for an act that is wrong in itself, the act.
    pub anchor: Timestamp,
    /// The date of the act that will end it (a call becomes known at its end and is dated at its start); `None` for an
    /// act that is wrong in itself, which has no end.
    pub settled: Option<Timestamp>,
}

/// What a violation is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A lead or a deal.
    Entity(EntityId),
    /// The normal form of a phone or an address.
    Contact(CompactString),
}

impl Subject {
    /// As alerts name it, under the privacy key in force (the tenant's id, unless norms say otherwise).
    pub fn name(&self, privacy_key: &str) -> String {
        match self {
            Self::Entity(entity) => entity.to_string(),
            Self::Contact(form) => format!("contact:{}", identity::key(form, privacy_key)),
        }
    }
}

/// Entities as alerts name them, phones and addresses as they are: for tests of the simulator only.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entity(entity) => entity.fmt(f),
            Self::Contact(form) => f.write_str(form),
        }
    }
}
