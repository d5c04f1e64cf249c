//! Owns the life cycle of violations, for every kind of rule: which statuses are published, when, and what they count.
//!
//! ```text
//! act:        RAISED
//! otherwise:  waiting ─┬──────────────┬─ averted, or AVERTED after DUE_SOON
//!                      └─ DUE_SOON ───┴─ FIRING, ESCALATED… ──┬─ RESOLVED
//!                                                             └─ RETRACTED, also after RESOLVED
//! ```
//!
//! A warning is no violation: it is counted apart, and evidence that it was wrong is an AVERTED.
//!
//! Rules decide what a violation is and when it ends, and describe its [`Subject`]. The [`Context`] is a trait, because
//! window rules run in the scoreboard and not in the tenant. All alerts are built by [`Violation::alert`], from the state,
//! the subject and the context.
//!
//! A status is dated at the instant at which it can be decided (the current event time); observed values are measured up
//! to the date of the act.
//!
//! *Alternative considered.* A state machine that returns its transitions, to be published by the caller, needs no trait
//! for the context, but every caller would have to publish, count and set timers.

use crate::domain::alert::{Alert, Resolution, Severity, Status, Values, alert_id};
use crate::domain::context::{TenantContext, Timer};
use crate::domain::figures::pane::Measure;
use crate::domain::id::{DepartmentId, EntityId, ManagerId, TenantId};
use crate::domain::index::ManagerIx;
use crate::domain::norms::Scope;
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// What a violation is about: a lead or deal, a contact, a source topic, or the figures of a manager. `T` is what a timer
/// holds to find the violation again.
pub trait Subject<T = Timer> {
    /// What identifies it to rules and timers.
    fn key(&self) -> Key<'_, T>;
    /// What an alert says about it, as observed from the anchor until an instant. Called only if an alert is built.
    fn describe(&self, anchor: Timestamp, until: Timestamp) -> Description;
}

/// The key of a subject.
pub struct Key<'a, T = Timer> {
    /// The rule.
    pub rule: Rule,
    /// The norms and calendar that apply.
    pub scope: &'a Scope,
    /// The manager on its alerts.
    pub accountable: ManagerIx,
    /// The manager whose open alerts include it: the currently responsible one.
    pub holder: ManagerIx,
    /// The timer to set for the deadline and the escalations.
    pub timer: T,
}

/// The part of an alert that depends on the subject only.
#[derive(Default)]
pub struct Description {
    /// The `subject`.
    pub name: CompactString,
    /// Severity before escalations.
    pub severity: Severity,
    /// The lead or deal.
    pub entity: Option<EntityId>,
    /// The call or message.
    pub interaction: Option<CompactString>,
    /// The name of the window or period that was judged; such a violation has no deadline.
    pub window: Option<CompactString>,
    /// The observed values.
    pub observed: Values,
    /// The required values.
    pub norm: Values,
}

/// The context in which a violation is evaluated.
pub trait Context<T = Timer> {
    /// The current event time.
    fn now(&self) -> Timestamp;
    /// The company.
    fn tenant(&self) -> &TenantId;
    /// A manager and the manager's department, as alerts name them.
    fn manager_and_department(&self, who: ManagerIx) -> (Option<ManagerId>, Option<DepartmentId>);
    /// Emits or counts a fact dated `at`.
    fn emit_fact(&mut self, at: Timestamp, who: ManagerIx, times: i32, measure: Measure);
    /// Emits an alert.
    fn emit_alert(&mut self, alert: Alert);
    /// Sets a timer for `at`, or for now if that is past.
    fn set_timer(&mut self, at: Timestamp, timer: T);
}

impl Context for TenantContext {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn manager_and_department(&self, who: ManagerIx) -> (Option<ManagerId>, Option<DepartmentId>) {
        self.manager_and_department(who)
    }

    fn emit_fact(&mut self, at: Timestamp, who: ManagerIx, times: i32, measure: Measure) {
        self.emit_fact(at, who, times, measure);
    }

    fn emit_alert(&mut self, alert: Alert) {
        self.emit_alert(alert);
    }

    fn set_timer(&mut self, at: Timestamp, timer: Timer) {
        self.set_timer(at, timer);
    }
}

/// One violation: pending, open or over.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// When its clock started.
    pub anchor: Timestamp,
    /// The deadline.
    pub due: Timestamp,
    /// The current state.
    pub state: State,
    /// Whether the deadline has been evaluated.
    deadline_passed: bool,
    level: u32,
    /// When it was warned of; after that, when it fired and for which manager: a retraction reverts exactly that.
    began_at: Timestamp,
    accountable: ManagerIx,
    /// The manager whose warnings or open alerts include it.
    holder: ManagerIx,
}

/// The state of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The deadline has not been evaluated.
    Waiting,
    /// The warning was published; the deadline has not been evaluated.
    DueSoon,
    /// Settled before an alert was published, or the warning turned out to be wrong.
    Averted,
    /// Settled after the warning and before the deadline.
    CalledOff,
    /// The alert is firing.
    Open,
    /// Settled after the deadline.
    Resolved,
    /// Late evidence showed that there was no violation.
    Retracted,
}

type End = (Resolution, Timestamp);

/// In every context.
impl Violation {
    /// A violation that fires at `due` unless it is averted. Its timer is not set.
    pub fn new(anchor: Timestamp, due: Timestamp) -> Self {
        let (began_at, accountable, holder) = (due, ManagerIx::NONE, ManagerIx::NONE);
        Self { anchor, due, state: State::Waiting, deadline_passed: false, level: 0, began_at, accountable, holder }
    }

    /// A violation that fired at its anchor, and has been escalated to `level`. Publishes the last status again.
    pub fn restore<T>(context: &mut impl Context<T>, subject: &impl Subject<T>, anchor: Timestamp, level: u32) -> Self {
        let mut violation = Self { level, ..Self::new(anchor, anchor) };
        let status = if level == 0 { Status::Firing } else { Status::Escalated };
        violation.publish(context, subject, status, None);
        violation
    }

    /// Number of escalations.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Whether the deadline has been evaluated.
    pub fn deadline_passed(&self) -> bool {
        self.deadline_passed
    }

    /// Whether the clock runs, or the alert is open.
    pub fn is_current(&self) -> bool {
        matches!(self.state, State::Waiting | State::DueSoon | State::Open)
    }

    /// The severity of its alert, from the severity in the norms: `info` before the deadline, raised by escalations after
    /// it.
    pub fn severity(&self, norm: Severity) -> Severity {
        match self.state {
            State::DueSoon | State::CalledOff | State::Averted => Severity::Info,
            _ => norm.raised(self.level),
        }
    }

    /// Handles a timer. Returns `true` if the deadline is due now and the caller must evaluate it; otherwise emits the
    /// escalations that are due.
    pub fn on_timer<T>(&mut self, context: &mut impl Context<T>, subject: &impl Subject<T>) -> bool {
        if !self.deadline_passed && self.due <= context.now() {
            self.deadline_passed = true;
            return matches!(self.state, State::Waiting | State::DueSoon);
        }
        while self.state == State::Open
            && self.next_escalation(subject.key().rule, subject.key().scope).is_some_and(|step| step <= context.now())
        {
            self.level += 1;
            self.publish(context, subject, Status::Escalated, None);
        }
        false
    }

    /// Emits FIRING.
    pub fn fire<T>(&mut self, context: &mut impl Context<T>, subject: &impl Subject<T>) {
        self.began_at = context.now();
        self.publish(context, subject, Status::Firing, None);
    }

    /// Emits DUE_SOON.
    pub fn warn<T>(&mut self, context: &mut impl Context<T>, subject: &impl Subject<T>) {
        self.began_at = context.now();
        self.publish(context, subject, Status::DueSoon, None);
    }

    /// Emits RESOLVED because of an act dated `act`.
    pub fn resolve<T>(
        &mut self,
        context: &mut impl Context<T>,
        subject: &impl Subject<T>,
        resolution: Resolution,
        act: Timestamp,
    ) {
        self.publish(context, subject, Status::Resolved, Some((resolution, act)));
    }

    /// Changes the state to that of a status, counts the difference, emits the alert, and sets the timer of the next
    /// escalation. `end`: why it ended, and the date of the act that ended it.
    fn publish<T>(
        &mut self,
        context: &mut impl Context<T>,
        subject: &impl Subject<T>,
        status: Status,
        end: Option<End>,
    ) {
        let Key { rule, scope, accountable, holder, timer } = subject.key();
        let before = self.state;
        self.state = match (status, end) {
            (Status::DueSoon, _) => State::DueSoon,
            (Status::Averted, Some((Resolution::LateEvidence, _))) => State::Averted,
            (Status::Averted, _) => State::CalledOff,
            (Status::Raised | Status::Firing | Status::Escalated, _) => State::Open,
            (Status::Resolved, _) => State::Resolved,
            (Status::Retracted, _) => State::Retracted,
        };
        if self.state != before {
            self.count_current(context, before, rule, -1);
            self.holder = holder;
            self.count_current(context, self.state, rule, 1);
            if self.state == State::Open {
                (self.deadline_passed, self.accountable) = (true, accountable);
                count(context, rule, self.began_at, accountable, 1);
            } else if self.state == State::Retracted {
                count(context, rule, self.began_at, self.accountable, -1);
            }
        }
        let description = subject.describe(self.anchor, end.map_or(context.now(), |(_, act)| act));
        let resolution = end.map(|(resolution, _)| resolution);
        let alert = self.alert(context, (rule, accountable), description, status, resolution);
        context.emit_alert(alert);
        if let Some(step) = self.next_escalation(rule, scope) {
            context.set_timer(step, timer);
        }
    }

    /// The instant of the next escalation of an open violation: `escalate_after` counts from the deadline, on the rule's
    /// clock.
    pub fn next_escalation(&self, rule: Rule, scope: &Scope) -> Option<Timestamp> {
        let norm = scope.rules.get(&rule).filter(|_| self.state == State::Open)?;
        let after = norm.escalate_after.as_ref()?.get(self.level as usize)?;
        scope.deadline(norm.clock.unwrap_or_default(), self.due, after.span)
    }

    /// The alert of a status, about a manager.
    fn alert<T>(
        &self,
        context: &impl Context<T>,
        (rule, who): (Rule, ManagerIx),
        description: Description,
        status: Status,
        resolution: Option<Resolution>,
    ) -> Alert {
        let Description { name, severity, entity, interaction, window, observed, norm } = description;
        let (manager, department) = context.manager_and_department(who);
        let now = context.now();
        Alert {
            id: alert_id(context.tenant(), rule, &name, self.anchor),
            tenant: context.tenant().clone(),
            rule,
            severity: self.severity(severity),
            level: self.level,
            status,
            subject: name,
            // A deadline may be judged after acts that are dated before it.
            at: if status.is_of_warning() { now } else { now.max(self.due) },
            anchor_at: self.anchor,
            due_at: (status != Status::Raised && window.is_none()).then_some(self.due),
            manager,
            department,
            entity,
            interaction,
            window,
            observed,
            norm,
            resolution,
            historic: false,
        }
    }

    /// Counts its warning or open alert, if it has one in `state`, for its holder: 1, or -1 to retract it.
    fn count_current<T>(&self, context: &mut impl Context<T>, state: State, rule: Rule, times: i32) {
        let measure = match state {
            State::DueSoon => Measure::DueSoon(rule),
            State::Open => Measure::OpenAlert(rule),
            _ => return,
        };
        context.emit_fact(self.anchor, self.holder, times, measure);
    }
}

/// In a tenant: by acts and deadlines, with corrections.
impl Violation {
    /// Emits RAISED for an act of now that is a violation in itself, unless the same alert was raised at this instant.
    pub fn raise(context: &mut TenantContext, rule: Rule, who: ManagerIx, description: Description) {
        let act = Self::new(context.now, context.now);
        let alert = act.alert(context, (rule, who), description, Status::Raised, None);
        if context.mark_raised(alert.id) {
            count(context, rule, context.now, who, 1);
            context.emit_alert(alert);
        }
    }

    /// Starts a violation that fires at `due` unless it is averted.
    pub fn start(context: &mut TenantContext, subject: &impl Subject, anchor: Timestamp, due: Timestamp) -> Self {
        let violation = Self::new(anchor, due);
        violation.schedule(context, subject);
        violation
    }

    /// Sets the timers of the warning and the deadline.
    pub fn schedule(&self, context: &mut TenantContext, subject: &impl Subject) {
        self.set_timers(context, subject, subject.key().scope);
    }

    fn set_timers(&self, context: &mut TenantContext, subject: &impl Subject, scope: &Scope) {
        let Key { rule, timer, .. } = subject.key();
        if let Some(warning) = scope.warning(rule, self.due).filter(|_| self.state == State::Waiting) {
            context.set_timer(warning, timer);
        }
        context.set_timer(self.due, timer);
    }

    /// Emits DUE_SOON at a timer, if that is due and the wait goes on.
    pub fn warn_in_time(&mut self, context: &mut TenantContext, subject: &impl Subject) {
        if self.state == State::Waiting && !self.deadline_passed {
            let Key { rule, scope, .. } = subject.key();
            if scope.warning(rule, self.due).is_some_and(|warning| warning <= context.now) {
                self.warn(context, subject);
            }
        }
    }

    /// Settles it by an act dated `act`. If the act is in time, a published alert is RETRACTED, even if a later act has
    /// resolved it; otherwise an open alert is RESOLVED. A warning is AVERTED, also afterwards if the act came before it.
    /// If nothing was published, nothing will be.
    pub fn settle(
        &mut self,
        context: &mut TenantContext,
        subject: &impl Subject,
        resolution: Resolution,
        act: Timestamp,
    ) {
        let in_time = act <= self.due;
        match self.state {
            State::Waiting => self.avert(context, subject, act),
            State::DueSoon | State::CalledOff if act <= self.began_at => self.retract(context, subject, act),
            State::DueSoon => self.publish(context, subject, Status::Averted, Some((resolution, act))),
            State::Open | State::Resolved if in_time => self.retract(context, subject, act),
            State::Open => self.resolve(context, subject, resolution, act),
            State::CalledOff | State::Resolved | State::Averted | State::Retracted => {}
        }
    }

    /// Settles it by an act dated `act` before an alert was published.
    pub fn avert(&mut self, context: &mut TenantContext, subject: &impl Subject, act: Timestamp) {
        self.state = State::Averted;
        if context.is_replaying() {
            // If a late event averted it, this alert is the retraction.
            let Key { rule, accountable, .. } = subject.key();
            let (description, late) = (subject.describe(self.anchor, act), Some(Resolution::LateEvidence));
            let alert = self.alert(context, (rule, accountable), description, Status::Retracted, late);
            context.record_averted(alert);
        }
    }

    /// Emits RETRACTED if an alert was published, or AVERTED if only the warning was, because an act dated `act`, before
    /// it, became known late.
    pub fn retract(&mut self, context: &mut TenantContext, subject: &impl Subject, act: Timestamp) {
        let status = match self.state {
            State::Open | State::Resolved => Status::Retracted,
            State::DueSoon | State::CalledOff => Status::Averted,
            State::Waiting | State::Averted | State::Retracted => return,
        };
        self.publish(context, subject, status, Some((Resolution::LateEvidence, act)));
    }

    /// Applies new norms: those of `scope` with the deadline `due`, if any; `subject` still has the old ones. An open
    /// violation that is not overdue by the new deadline is RESOLVED `disabled`, and may fire again; likewise a warning
    /// that is not due. Returns `false` if it can be dropped.
    pub fn reload(
        &mut self,
        context: &mut TenantContext,
        subject: &impl Subject,
        scope: &Scope,
        due: Option<Timestamp>,
    ) -> bool {
        let passed = |at: Option<Timestamp>| at.is_some_and(|at| at <= context.now);
        let warned = passed(due.and_then(|due| scope.warning(subject.key().rule, due)));
        let end = Some((Resolution::Disabled, context.now));
        if self.state == State::Open && !passed(due) {
            self.publish(context, subject, Status::Resolved, end);
            (self.state, self.level) = (State::Waiting, 0);
        } else if self.state == State::DueSoon && !warned && !passed(due) {
            self.publish(context, subject, Status::Averted, end);
            self.state = State::Waiting;
        }
        if let Some(due) = due.filter(|_| self.is_current()) {
            self.due = due;
            self.deadline_passed = self.state == State::Open;
            // At a deadline that has passed, the timer fires now and performs the escalations of the new norm.
            self.set_timers(context, subject, scope);
        }
        due.is_some() || self.state == State::Resolved
    }

    /// Moves a warning or an open alert to the manager who is responsible now.
    pub fn reassign(&mut self, context: &mut TenantContext, subject: &impl Subject) {
        let Key { rule, holder, .. } = subject.key();
        if self.holder != holder {
            self.count_current(context, self.state, rule, -1);
            self.holder = holder;
            self.count_current(context, self.state, rule, 1);
        }
    }
}

/// Counts violations of a manager that began at `at`: 1, or -1 to retract one.
pub fn count<T>(context: &mut impl Context<T>, rule: Rule, at: Timestamp, who: ManagerIx, times: i32) {
    context.emit_fact(at, who, times, Measure::Violation(rule));
}
