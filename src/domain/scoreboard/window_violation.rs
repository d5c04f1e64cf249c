//! Owns the stored form of window violations. Unlike other violations they cannot be recomputed by a replay, because the
//! figures that they were judged by are no longer available.

use crate::domain::alert::{Severity, Values};
use crate::domain::id::{DepartmentId, ManagerId};
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};

/// Identifies a violation of a window rule within its tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowViolationKey {
    /// When it began.
    pub began: Timestamp,
    /// The size of the window.
    pub window: Span,
    /// The manager.
    pub manager: ManagerId,
    /// The rule.
    pub rule: Rule,
}

/// A violation of a window rule, as stored in the state topic.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowViolation {
    /// It has ended, and is kept only for counting.
    pub ended: bool,
    /// The manager's department when it began; its norms apply.
    pub department: DepartmentId,
    /// Severity at the beginning.
    pub severity: Severity,
    /// Number of escalations so far.
    pub level: u32,
    /// Figures at the last boundary.
    pub observed: Values,
    /// Norm at the last boundary.
    pub norm: Values,
    /// The last alert of an open violation; absent in records of versions that did not store it.
    pub last_status: Option<LastStatus>,
}

/// The parts of an open violation's last alert that differ between its alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct LastStatus {
    /// Event time of the alert.
    pub at: Timestamp,
    /// The manager's department at that time.
    pub department: DepartmentId,
    /// Figures in the alert.
    pub observed: Values,
    /// Norm in the alert.
    pub norm: Values,
}

impl LastStatus {
    /// The alert of an instant with these figures and this norm.
    pub(super) fn new(at: Timestamp, department: DepartmentId, observed: &Values, norm: &Values) -> Self {
        Self { at, department, observed: observed.clone(), norm: norm.clone() }
    }
}
