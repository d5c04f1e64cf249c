//! Owns the open violations of window rules, and the records from which they are restored.

use crate::domain::alert::{Alert, Resolution, Values};
use crate::domain::figures::pane::{Fact, Measure};
use crate::domain::id::{DepartmentId, ManagerId, TenantId};
use crate::domain::index::ManagerIx;
use crate::domain::lifecycle::{Context, Description, Key, Subject, Violation, count};
use crate::domain::norms::Scope;
use crate::domain::rule::Rule;
use crate::domain::scoreboard::managers::Managers;
use crate::domain::scoreboard::window_violation::{LastStatus, WindowViolation, WindowViolationKey};
use crate::domain::time::Timestamp;
use crate::domain::time::window::Window;
use compact_str::format_compact;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The open violations of the window rules of one tenant.
#[derive(Debug, Default)]
pub(super) struct OpenViolations {
    open: BTreeMap<ViolationKey, (Violation, WindowSubject)>,
    /// Timers of escalations, also of violations that have ended since.
    timers: Timers,
    /// Ended violations that a window still covers, with their beginning.
    ended: VecDeque<(Timestamp, WindowViolationKey)>,
    /// Changes since the last [`Self::take_changes`]; `None`: delete.
    changes: BTreeMap<WindowViolationKey, Option<WindowViolation>>,
}

/// A possible violation: at most one is open per schedule (by index), manager and rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ViolationKey {
    pub(super) schedule: usize,
    pub(super) who: ManagerIx,
    pub(super) rule: Rule,
}

type Timers = BTreeSet<(Timestamp, ViolationKey)>;

/// The figures of a manager that violate a norm.
#[derive(Debug)]
pub(super) struct WindowSubject {
    pub(super) key: ViolationKey,
    pub(super) window: Window,
    /// The norms with which the violation began.
    pub(super) scope: Arc<Scope>,
    /// Its record, with the figures and the norm of the last boundary.
    pub(super) stored: WindowViolationKey,
    pub(super) record: WindowViolation,
}

impl Subject<ViolationKey> for WindowSubject {
    fn key(&self) -> Key<'_, ViolationKey> {
        let ViolationKey { who, rule, .. } = self.key;
        Key { rule, scope: &self.scope, accountable: who, holder: who, timer: self.key }
    }

    fn describe(&self, _: Timestamp, _: Timestamp) -> Description {
        let WindowViolation { severity, observed, norm, .. } = self.record.clone();
        let name = format_compact!("manager:{}/{}", self.stored.manager, self.window.name());
        Description { name, severity, window: Some(self.window.name()), observed, norm, ..Description::default() }
    }
}

/// A slide boundary, or the instant of an escalation.
pub(super) struct Moment<'a> {
    pub(super) at: Timestamp,
    pub(super) managers: &'a mut Managers,
    pub(super) alerts: &'a mut Vec<Alert>,
}

struct WindowContext<'a, 'b> {
    moment: &'a mut Moment<'b>,
    timers: &'a mut Timers,
}

impl Context<ViolationKey> for WindowContext<'_, '_> {
    fn now(&self) -> Timestamp {
        self.moment.at
    }

    fn tenant(&self) -> &TenantId {
        &self.moment.managers.tenant
    }

    fn manager_and_department(&self, who: ManagerIx) -> (Option<ManagerId>, Option<DepartmentId>) {
        (Some(self.moment.managers.id(who).clone()), Some(self.moment.managers.department(who)))
    }

    fn emit_fact(&mut self, at: Timestamp, who: ManagerIx, times: i32, measure: Measure) {
        self.moment.managers.count(&Fact { known: self.moment.at, at, who, times, measure });
    }

    fn emit_alert(&mut self, alert: Alert) {
        self.moment.alerts.push(alert);
    }

    fn set_timer(&mut self, at: Timestamp, key: ViolationKey) {
        self.timers.insert((at.max(self.moment.at), key));
    }
}

impl OpenViolations {
    pub(super) fn keys(&self) -> impl Iterator<Item = &ViolationKey> {
        self.open.keys()
    }

    pub(super) fn is_open(&self, key: ViolationKey) -> bool {
        self.open.contains_key(&key)
    }

    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Begins a violation.
    pub(super) fn fire(&mut self, moment: &mut Moment<'_>, subject: WindowSubject) {
        let (key, mut violation) = (subject.key, Violation::new(moment.at, moment.at));
        violation.fire(&mut WindowContext { moment, timers: &mut self.timers }, &subject);
        self.open.insert(key, (violation, subject));
        self.record_alert(moment, key);
    }

    /// Updates the figures and the norm of an open violation.
    pub(super) fn update(&mut self, key: ViolationKey, observed: Values, norm: Values) {
        let Some((_, WindowSubject { stored, record, .. })) = self.open.get_mut(&key) else { return };
        if (&record.observed, &record.norm) != (&observed, &norm) {
            (record.observed, record.norm) = (observed, norm);
            self.changes.insert(stored.clone(), Some(record.clone()));
        }
    }

    /// Ends a violation, if it is open. Without current figures and norm, the alert carries those of the last boundary.
    pub(super) fn end(
        &mut self,
        moment: &mut Moment<'_>,
        key: ViolationKey,
        resolution: Resolution,
        current: Option<(Values, Values)>,
    ) {
        let Some((mut violation, mut subject)) = self.open.remove(&key) else { return };
        let WindowSubject { stored, record, .. } = &mut subject;
        (record.ended, record.last_status) = (true, None);
        self.ended.push_back((stored.began, stored.clone()));
        self.changes.insert(stored.clone(), Some(record.clone()));
        if let Some(current) = current {
            (record.observed, record.norm) = current;
        }
        let at = moment.at;
        violation.resolve(&mut WindowContext { moment, timers: &mut self.timers }, &subject, resolution, at);
    }

    /// Ends the violations that are `of` what is forgotten, and deletes their records.
    pub(super) fn end_all(&mut self, moment: &mut Moment<'_>, of: impl Fn(&WindowViolationKey) -> bool) {
        let open = self.open.iter().filter(|(_, (_, subject))| of(&subject.stored)).map(|(key, _)| *key);
        for key in open.collect::<Vec<_>>() {
            self.end(moment, key, Resolution::Disabled, None);
            self.timers.retain(|(_, timer)| *timer != key);
        }
        let Self { ended, changes, .. } = self;
        ended.retain(|(_, key)| {
            let is_kept = !of(key);
            if !is_kept {
                changes.insert(key.clone(), None);
            }
            is_kept
        });
    }

    /// Performs the escalations that are due.
    pub(super) fn escalate(&mut self, moment: &mut Moment<'_>) {
        while self.next_timer().is_some_and(|timer| timer <= moment.at) {
            let Some((_, key)) = self.timers.pop_first() else { return };
            let Some((violation, subject)) = self.open.get_mut(&key) else { continue };
            violation.on_timer(&mut WindowContext { moment, timers: &mut self.timers }, subject);
            if violation.level() > subject.record.level {
                self.record_alert(moment, key);
            }
        }
    }

    /// Records an alert of now with the figures of the last boundary.
    fn record_alert(&mut self, moment: &Moment<'_>, key: ViolationKey) {
        let Some((violation, WindowSubject { stored, record, .. })) = self.open.get_mut(&key) else { return };
        record.level = violation.level();
        let department = moment.managers.department(key.who);
        record.last_status = Some(LastStatus::new(moment.at, department, &record.observed, &record.norm));
        self.changes.insert(stored.clone(), Some(record.clone()));
    }

    /// Restores an open violation and emits its last alert again.
    pub(super) fn restore(&mut self, moment: &mut Moment<'_>, mut subject: WindowSubject) {
        let WindowSubject { stored: WindowViolationKey { began, .. }, record, .. } = &mut subject;
        let (began, level) = (*began, record.level);
        let first = || LastStatus::new(began, record.department.clone(), &record.observed, &record.norm);
        let last = record.last_status.get_or_insert_with(first).clone();
        let mut context = WindowContext { moment, timers: &mut self.timers };
        let violation = Violation::restore(&mut context, &subject, began, level);
        if let Some(alert) = moment.alerts.last_mut() {
            let LastStatus { at, department, observed, norm } = last;
            (alert.at, alert.department, alert.observed, alert.norm) = (at, Some(department), observed, norm);
        }
        self.open.insert(subject.key, (violation, subject));
    }

    /// Restores a violation that has ended: it is counted.
    pub(super) fn restore_ended(&mut self, moment: &mut Moment<'_>, who: ManagerIx, stored: WindowViolationKey) {
        count(&mut WindowContext { moment, timers: &mut self.timers }, stored.rule, stored.began, who, 1);
        self.ended.push_back((stored.began, stored));
    }

    /// The violations to store, as far as they changed since the last call; `None`: delete, because it ended and began
    /// before `oldest`.
    pub(super) fn take_changes(&mut self, oldest: Timestamp) -> BTreeMap<WindowViolationKey, Option<WindowViolation>> {
        let Self { ended, changes, .. } = self;
        if ended.front().is_some_and(|(began, _)| *began < oldest) {
            ended.retain(|(began, key)| {
                let expired = *began < oldest;
                if expired {
                    changes.insert(key.clone(), None);
                }
                !expired
            });
        }
        std::mem::take(changes)
    }
}
