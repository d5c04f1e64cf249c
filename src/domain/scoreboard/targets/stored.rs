//! Owns the stored form of targets: what the events that are kept do not tell.

use crate::domain::alert::{Severity, Values};
use crate::domain::figures::row::Subject;
use crate::domain::id::{DepartmentId, ManagerId};
use crate::domain::norms::targets::{Per, TargetFigure};
use crate::domain::scoreboard::window_violation::LastStatus;
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// The figures of a manager on a local day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayRecord {
    /// What was known up to this instant is included.
    pub known: Timestamp,
    /// The counts that are not zero.
    pub counts: Vec<(TargetFigure, i64)>,
    /// The amounts of won deals by currency, in minor units.
    pub amounts: Vec<(CompactString, i128)>,
}

/// A manager, from the first event that names the manager on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonRecord {
    /// The event time of that event; of nobody: from when on the days of all managers are complete.
    pub seen: Timestamp,
    /// The departments, in order.
    pub history: Vec<Membership>,
}

/// The department of a manager from an instant on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// From when on.
    pub from: Timestamp,
    /// The department.
    pub department: Option<DepartmentId>,
    /// Whether the manager is active, and so has targets.
    pub active: bool,
}

/// The periods of a target that were closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The length of the periods.
    pub per: Per,
    /// The first period with a row.
    pub first: i32,
    /// The last one.
    pub last: i32,
}

/// Identifies a violation of a target within its tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetViolationKey {
    /// When it began.
    pub began: Timestamp,
    /// Who is behind.
    pub subject: Subject,
    /// The target.
    pub target: CompactString,
}

/// A violation of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetViolation {
    /// It has ended, and is kept only for counting.
    pub ended: bool,
    /// The department when it began; of the company: none.
    pub department: Option<DepartmentId>,
    /// The length of the period.
    pub per: Per,
    /// The period.
    pub period: i32,
    /// The severity at the beginning.
    pub severity: Severity,
    /// The number of escalations so far.
    pub level: u32,
    /// The fact at the last boundary.
    pub fact: i64,
    /// The last boundary at which the fact was another one, or the norms.
    pub evaluated: Timestamp,
    /// The last alert.
    pub last_status: Option<LastStatus>,
}

/// A change to store; `None`: delete.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetChange {
    /// The figures of a manager on the local day that begins at an instant.
    Day(ManagerId, Timestamp, Option<DayRecord>),
    /// A manager; nobody has the empty id.
    Person(ManagerId, Option<PersonRecord>),
    /// The closed periods of a target.
    Published(Subject, CompactString, Option<Published>),
    /// A violation.
    Violation(TargetViolationKey, Option<TargetViolation>),
}

/// The observed values and the norm of an alert.
pub(super) type Found = (Values, Values);
