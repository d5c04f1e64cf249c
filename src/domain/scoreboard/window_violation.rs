//! Owns what is kept of violations of window rules: no history tells of them, for they depend on figures that are gone.

use super::super::alert::{Severity, Values};
use super::super::id::{DepartmentId, ManagerId};
use super::super::rule::Rule;
use super::super::time::{Span, Timestamp};

/// What tells a violation of a window rule from all others of its tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowViolationKey {
    /// When it began.
    pub began: Timestamp,
    /// The size of the window.
    pub window: Span,
    /// Whose it is.
    pub manager: ManagerId,
    /// The rule.
    pub rule: Rule,
}

/// A violation of a window rule, as it is kept: no history tells of it, for it depends on figures that are gone.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowViolation {
    /// It is over, and only counted.
    pub over: bool,
    /// Where the manager was when it began: whose norms it goes by.
    pub department: DepartmentId,
    /// How much it mattered then.
    pub severity: Severity,
    /// How often it escalated.
    pub level: u32,
    /// What the last boundary found.
    pub observed: Values,
    /// What was wanted there.
    pub norm: Values,
    /// What was last told of it, if it lasts. Versions before this was kept left it out.
    pub told: Option<LastStatus>,
}

/// What an open violation's last alert said, as far as it is not the same in all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct LastStatus {
    /// Its instant.
    pub at: Timestamp,
    /// Where the manager was then.
    pub department: DepartmentId,
    /// What was found.
    pub observed: Values,
    /// What was wanted.
    pub norm: Values,
}
