//! Owns an open violation of a target: its subject, its alerts, and how it is stored.

use super::stored::{Found, TargetViolation, TargetViolationKey};
use crate::domain::alert::Alert;
use crate::domain::figures::pane::{Fact, Measure};
use crate::domain::figures::row::Subject as Holder;
use crate::domain::id::{DepartmentId, ManagerId, TenantId};
use crate::domain::index::ManagerIx;
use crate::domain::lifecycle::{Context, Description, Key, Subject, Violation, count};
use crate::domain::norms::Scope;
use crate::domain::norms::targets::{Period, Target};
use crate::domain::rule::Rule;
use crate::domain::scoreboard::managers::Managers;
use crate::domain::scoreboard::window_violation::LastStatus;
use crate::domain::time::Timestamp;
use compact_str::{CompactString, format_compact};
use std::sync::Arc;

/// An open violation.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) violation: Violation,
    pub(super) about: About,
}

/// What it is about.
#[derive(Debug)]
pub(super) struct About {
    pub(super) key: TargetViolationKey,
    pub(super) record: TargetViolation,
    /// The manager, if it is one.
    pub(super) who: ManagerIx,
    /// The plan, by its index.
    pub(super) plan: usize,
    /// The target and the period as of the last evaluation.
    pub(super) target: Target,
    pub(super) period: Period,
    /// The calendar and the parameters of the rule with which it began.
    pub(super) scope: Arc<Scope>,
    /// What the alert that is published now says.
    pub(super) found: Found,
}

impl Subject<usize> for About {
    fn key(&self) -> Key<'_, usize> {
        let (rule, accountable, holder) = (Rule::TargetBehind, self.who, self.who);
        Key { rule, scope: &self.scope, accountable, holder, timer: self.plan }
    }

    fn describe(&self, _: Timestamp, _: Timestamp) -> Description {
        let (observed, norm) = self.found.clone();
        Description {
            name: subject(&self.key.subject, &self.key.target),
            severity: self.record.severity,
            window: Some(self.target.window(self.period.index)),
            observed,
            norm,
            ..Description::default()
        }
    }
}

/// The `subject` of the alerts of a target.
fn subject(holder: &Holder, target: &str) -> CompactString {
    format_compact!("{holder}/{target}")
}

/// An instant at which something is judged or escalated, and about whom.
pub(super) struct Moment<'a> {
    pub(super) at: Timestamp,
    pub(super) managers: &'a mut Managers,
    pub(super) alerts: &'a mut Vec<Alert>,
    /// Timers of escalations that were set.
    pub(super) timers: &'a mut Vec<(Timestamp, usize)>,
}

/// A moment of one subject.
pub(super) struct HolderContext<'a, 'b> {
    pub(super) moment: &'a mut Moment<'b>,
    pub(super) holder: &'a Holder,
}

impl Context<usize> for HolderContext<'_, '_> {
    fn now(&self) -> Timestamp {
        self.moment.at
    }

    fn tenant(&self) -> &TenantId {
        &self.moment.managers.tenant
    }

    fn manager_and_department(&self, who: ManagerIx) -> (Option<ManagerId>, Option<DepartmentId>) {
        match self.holder {
            Holder::Tenant => (None, None),
            Holder::Department(id) => (None, Some(id.clone())),
            Holder::Manager(id) => (Some(id.clone()), Some(self.moment.managers.department(who))),
        }
    }

    fn emit_fact(&mut self, at: Timestamp, who: ManagerIx, times: i32, measure: Measure) {
        let fact = Fact { known: self.moment.at, at, who, times, measure };
        match self.holder {
            Holder::Manager(_) => self.moment.managers.count(&fact),
            holder => self.moment.managers.count_of(holder, &fact),
        }
    }

    fn emit_alert(&mut self, alert: Alert) {
        self.moment.alerts.push(alert);
    }

    fn set_timer(&mut self, at: Timestamp, plan: usize) {
        self.moment.timers.push((at.max(self.moment.at), plan));
    }
}

impl Open {
    /// Records an alert of now.
    pub(super) fn record_alert(&mut self, moment: &Moment<'_>) {
        let About { key, record, who, found: (observed, norm), .. } = &mut self.about;
        record.level = self.violation.level();
        let department = match &key.subject {
            Holder::Manager(_) => moment.managers.department(*who),
            Holder::Department(id) => id.clone(),
            Holder::Tenant => DepartmentId::default(),
        };
        record.last_status = Some(LastStatus::new(moment.at, department, observed, norm));
    }

    /// Restores an open violation and emits its last alert again.
    pub(super) fn restore(mut about: About, moment: &mut Moment<'_>) -> Self {
        let holder = about.key.subject.clone();
        let (began, level, last) = (about.key.began, about.record.level, about.record.last_status.clone());
        if let Some(last) = &last {
            about.found = (last.observed.clone(), last.norm.clone());
        }
        let violation = Violation::restore(&mut HolderContext { moment, holder: &holder }, &about, began, level);
        if let (Some(alert), Some(last)) = (moment.alerts.last_mut(), last) {
            alert.at = last.at;
            if alert.department.is_some() {
                alert.department = Some(last.department);
            }
        }
        Self { violation, about }
    }
}

/// Counts a violation that has ended, after a restore.
pub(super) fn restore_ended(moment: &mut Moment<'_>, holder: &Holder, who: ManagerIx, began: Timestamp) {
    count(&mut HolderContext { moment, holder }, Rule::TargetBehind, began, who, 1);
}
