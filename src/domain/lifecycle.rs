//! Owns the life cycle of a violation with a deadline (waiting, FIRING, ESCALATED, RESOLVED or RETRACTED), and the
//! alert of an act that is a violation in itself (RAISED).
//!
//! Rules decide what a violation is and when it ends; this file decides which alerts are published. A status is dated
//! at the instant at which it can be decided (the current event time); observed values are measured up to the date of
//! the act.

use crate::domain::alert::{Alert, Resolution, Severity, Status, Values, alert_id};
use crate::domain::context::{TenantContext, Timer};
use crate::domain::effect::{Effect, ManagerIx};
use crate::domain::figures::pane::Measure;
use crate::domain::id::EntityId;
use crate::domain::norms::{Clock, Params, Scope};
use crate::domain::rule::Rule;
use crate::domain::time::{Length, Timestamp};
use compact_str::CompactString;

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
    /// When it fired and for which manager; a retraction reverts exactly that.
    fired_at: Timestamp,
    accountable: ManagerIx,
    /// The manager whose open alerts include it.
    holder: ManagerIx,
}

/// The state of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The deadline has not been evaluated.
    Waiting,
    /// Settled before an alert was published.
    Averted,
    /// The alert is firing.
    Open,
    /// Settled after the deadline.
    Resolved,
    /// Late evidence showed that there was no violation.
    Retracted,
}

/// The facts about a violation that its rule supplies.
pub struct ViolationContext<'a> {
    /// The rule.
    pub rule: Rule,
    /// The subject of the alert.
    pub subject: CompactString,
    /// The manager on the alert.
    pub who: ManagerIx,
    /// The manager whose open alerts include it: the currently responsible one.
    pub holder: ManagerIx,
    /// The lead or deal.
    pub entity: Option<&'a EntityId>,
    /// The call or message.
    pub interaction: Option<&'a CompactString>,
    /// The norms and calendar that apply.
    pub scope: &'a Scope,
    /// The rule's clock.
    pub clock: Clock,
    /// Severity before escalations.
    pub severity: Severity,
    /// Escalation steps, measured from the deadline.
    pub escalate_after: &'a [Length],
    /// Computes `observed` between the anchor and an instant.
    pub observe: &'a dyn Fn(Timestamp, Timestamp) -> Values,
    /// Computes `norm`; like `observed`, only when an alert is built.
    pub norm: &'a dyn Fn() -> Values,
    /// The timer to set for deadline and escalations.
    pub timer: Timer,
}

impl<'a> ViolationContext<'a> {
    /// The clock, severity and escalation steps of a rule's parameters.
    pub fn of(params: Option<&'a Params>) -> (Clock, Severity, &'a [Length]) {
        let clock = params.and_then(|norm| norm.clock).unwrap_or_default();
        let severity = params.and_then(|norm| norm.severity).unwrap_or_default();
        (clock, severity, params.and_then(|norm| norm.escalate_after.as_deref()).unwrap_or_default())
    }
}

impl Violation {
    /// A violation that fires at `due` unless it is averted. The caller must set the timer.
    pub fn new(anchor: Timestamp, due: Timestamp) -> Self {
        let (fired_at, accountable, holder) = (due, ManagerIx::NONE, ManagerIx::NONE);
        Self { anchor, due, state: State::Waiting, deadline_passed: false, level: 0, fired_at, accountable, holder }
    }

    /// Number of escalations.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Whether the deadline has been evaluated.
    pub fn deadline_passed(&self) -> bool {
        self.deadline_passed
    }

    /// Whether an alert was published that can still be retracted.
    pub fn is_retractable(&self) -> bool {
        matches!(self.state, State::Open | State::Resolved)
    }

    /// Handles a timer. Returns `true` if the deadline is due now and the caller must evaluate it; otherwise emits the
    /// escalations that are due.
    pub fn on_timer(&mut self, context: &mut TenantContext, violation_context: &ViolationContext<'_>) -> bool {
        if !self.deadline_passed && self.due <= context.now {
            self.deadline_passed = true;
            return self.state == State::Waiting;
        }
        while self.state == State::Open
            && self.next_escalation(violation_context).is_some_and(|step| step <= context.now)
        {
            self.level += 1;
            self.emit(context, violation_context, Status::Escalated, context.now, None);
            self.schedule_escalation(context, violation_context);
        }
        false
    }

    /// Emits FIRING.
    pub fn fire(&mut self, context: &mut TenantContext, violation_context: &ViolationContext<'_>) {
        self.state = State::Open;
        (self.fired_at, self.accountable) = (context.now, violation_context.who);
        self.holder = violation_context.holder;
        context.emit_fact(context.now, violation_context.who, 1, Measure::Violation(violation_context.rule));
        context.emit_fact(self.anchor, violation_context.holder, 1, Measure::OpenAlert(violation_context.rule));
        self.emit(context, violation_context, Status::Firing, context.now, None);
        self.schedule_escalation(context, violation_context);
    }

    /// Settles it by an act dated `act`. If the act is in time, a published alert is RETRACTED, even if a later act has
    /// resolved it; otherwise an open alert is RESOLVED. If no alert was published, none will be.
    pub fn settle(
        &mut self,
        context: &mut TenantContext,
        violation_context: &ViolationContext<'_>,
        resolution: Resolution,
        act: Timestamp,
    ) {
        let in_time = act <= self.due;
        match self.state {
            State::Waiting => self.avert(context, violation_context, act),
            State::Open | State::Resolved if in_time => self.retract(context, violation_context, act),
            State::Open => self.resolve(context, violation_context, resolution, act),
            State::Resolved | State::Averted | State::Retracted => {}
        }
    }

    /// Settles it by an act dated `act` before an alert was published.
    pub fn avert(&mut self, context: &mut TenantContext, violation_context: &ViolationContext<'_>, act: Timestamp) {
        self.state = State::Averted;
        if context.is_replaying() {
            // If a late event averted it, this alert is the retraction.
            let alert = self.alert(context, violation_context, Status::Retracted, act, Some(Resolution::LateEvidence));
            context.record_averted(alert);
        }
    }

    /// Emits RESOLVED because of an act dated `act`.
    pub fn resolve(
        &mut self,
        context: &mut TenantContext,
        violation_context: &ViolationContext<'_>,
        resolution: Resolution,
        act: Timestamp,
    ) {
        self.close(context, violation_context);
        self.state = State::Resolved;
        self.emit(context, violation_context, Status::Resolved, act, Some(resolution));
    }

    /// Emits RETRACTED because an act dated `act`, in time, became known late.
    pub fn retract(&mut self, context: &mut TenantContext, violation_context: &ViolationContext<'_>, act: Timestamp) {
        self.close(context, violation_context);
        self.state = State::Retracted;
        context.emit_fact(self.fired_at, self.accountable, -1, Measure::Violation(violation_context.rule));
        self.emit(context, violation_context, Status::Retracted, act, Some(Resolution::LateEvidence));
    }

    /// Applies new norms with the deadline `due`, if any; `violation_context` still has the old ones. An open violation
    /// that is not overdue by the new deadline is RESOLVED `disabled`, and may fire again. Returns `false` if it can be
    /// dropped.
    pub fn reload(
        &mut self,
        context: &mut TenantContext,
        violation_context: &ViolationContext<'_>,
        due: Option<Timestamp>,
    ) -> bool {
        if self.state == State::Open && due.is_none_or(|due| due > context.now) {
            self.resolve(context, violation_context, Resolution::Disabled, context.now);
            (self.state, self.level) = (State::Waiting, 0);
        }
        if let Some(due) = due.filter(|_| matches!(self.state, State::Waiting | State::Open)) {
            self.due = due;
            self.deadline_passed = self.state == State::Open;
            // Not later than now, so that escalations of the new norm are scheduled.
            context.set_timer(due, violation_context.timer);
        }
        due.is_some() || self.state == State::Resolved
    }

    /// Moves an open alert to another manager.
    pub fn reassign(&mut self, context: &mut TenantContext, rule: Rule, to: ManagerIx) {
        if self.state == State::Open && self.holder != to {
            context.emit_fact(self.anchor, self.holder, -1, Measure::OpenAlert(rule));
            context.emit_fact(self.anchor, to, 1, Measure::OpenAlert(rule));
            self.holder = to;
        }
    }

    fn close(&mut self, context: &mut TenantContext, violation_context: &ViolationContext<'_>) {
        if self.state == State::Open {
            context.emit_fact(self.anchor, self.holder, -1, Measure::OpenAlert(violation_context.rule));
        }
    }

    /// The instant of the next escalation: `escalate_after` counts from the deadline, on the rule's clock.
    fn next_escalation(&self, violation_context: &ViolationContext<'_>) -> Option<Timestamp> {
        let after = violation_context.escalate_after.get(self.level as usize)?;
        violation_context.scope.deadline(violation_context.clock, self.due, after.span)
    }

    fn schedule_escalation(&self, context: &mut TenantContext, violation_context: &ViolationContext<'_>) {
        if let Some(step) = self.next_escalation(violation_context) {
            context.set_timer(step, violation_context.timer);
        }
    }

    fn emit(
        &self,
        context: &mut TenantContext,
        violation_context: &ViolationContext<'_>,
        status: Status,
        until: Timestamp,
        resolution: Option<Resolution>,
    ) {
        let alert = self.alert(context, violation_context, status, until, resolution);
        context.effects.push(Effect::Alert(Box::new(alert)));
    }

    fn alert(
        &self,
        context: &TenantContext,
        violation_context: &ViolationContext<'_>,
        status: Status,
        until: Timestamp,
        resolution: Option<Resolution>,
    ) -> Alert {
        let (manager, department) = context.manager_and_department(violation_context.who);
        Alert {
            id: alert_id(&context.tenant, violation_context.rule, &violation_context.subject, self.anchor),
            tenant: context.tenant.clone(),
            rule: violation_context.rule,
            severity: violation_context.severity.raised(self.level),
            level: self.level,
            status,
            subject: violation_context.subject.clone(),
            // A deadline may be judged after acts that are dated before it.
            at: context.now.max(self.due),
            anchor_at: self.anchor,
            due_at: Some(self.due),
            manager,
            department,
            entity: violation_context.entity.cloned(),
            interaction: violation_context.interaction.cloned(),
            window: None,
            observed: (violation_context.observe)(self.anchor, until),
            norm: (violation_context.norm)(),
            resolution,
        }
    }
}

/// An act that is a violation in itself.
#[derive(Debug)]
pub struct ActViolation<'a> {
    /// The rule.
    pub rule: Rule,
    /// The subject of the alert.
    pub subject: CompactString,
    /// The manager on the alert.
    pub who: ManagerIx,
    /// The lead or deal.
    pub entity: &'a EntityId,
    /// The severity.
    pub severity: Severity,
    /// The observed values.
    pub observed: Values,
    /// The required values.
    pub norm: Values,
}

impl ActViolation<'_> {
    /// Emits RAISED now, unless the same alert was raised at this instant.
    pub fn raise(self, context: &mut TenantContext) {
        let (manager, department) = context.manager_and_department(self.who);
        let alert = Alert {
            id: alert_id(&context.tenant, self.rule, &self.subject, context.now),
            tenant: context.tenant.clone(),
            rule: self.rule,
            severity: self.severity,
            level: 0,
            status: Status::Raised,
            subject: self.subject,
            at: context.now,
            anchor_at: context.now,
            due_at: None,
            manager,
            department,
            entity: Some(self.entity.clone()),
            interaction: None,
            window: None,
            observed: self.observed,
            norm: self.norm,
            resolution: None,
        };
        if context.mark_raised(alert.id) {
            context.emit_fact(context.now, self.who, 1, Measure::Violation(self.rule));
            context.effects.push(Effect::Alert(Box::new(alert)));
        }
    }
}
