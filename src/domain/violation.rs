//! Owns the life cycle of a violation that lasts: waiting for its deadline, FIRING, ESCALATED, RESOLVED or RETRACTED;
//! and the telling of an act that is wrong in itself: RAISED.
//!
//! A rule says what is charged and when it ends; here is how it is told. Statuses are dated at the instant at which
//! they can be decided (the desk's now), what is observed is measured to the date of the act.

use super::alert::{Alert, Resolution, Severity, Status, Values, alert_id};
use super::effect::{Effect, ManagerIx, Measure};
use super::id::EntityId;
use super::norms::{Clock, Length, Params, Scope};
use super::rule::Rule;
use super::tenant_context::{TenantContext, Timer};
use super::time::Timestamp;
use compact_str::CompactString;

/// One violation that may come, lasts, or is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// When its clock started.
    pub anchor: Timestamp,
    /// The deadline.
    pub due: Timestamp,
    /// Where it stands.
    pub state: State,
    /// The deadline has been judged.
    passed: bool,
    level: u32,
    /// When it began and whose it was: what a retraction takes back.
    began: Timestamp,
    charged: ManagerIx,
    /// Who has it among his open alerts.
    holder: ManagerIx,
}

/// Where a violation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The deadline has not been judged.
    Waiting,
    /// There is none, and can be none.
    Averted,
    /// It lasts.
    Open,
    /// It is over.
    Resolved,
    /// It never was.
    Retracted,
}

/// What a rule charges somebody with.
pub struct ViolationContext<'a> {
    /// The rule.
    pub rule: Rule,
    /// What it is about.
    pub subject: CompactString,
    /// Whose it is: the manager on the alert.
    pub who: ManagerIx,
    /// Among whose open alerts it counts: the responsible now.
    pub holder: ManagerIx,
    /// The lead or deal.
    pub entity: Option<&'a EntityId>,
    /// The call or message.
    pub interaction: Option<&'a CompactString>,
    /// The norms and calendar it is judged by.
    pub scope: &'a Scope,
    /// The rule's clock.
    pub clock: Clock,
    /// Before escalations.
    pub severity: Severity,
    /// From the deadline.
    pub escalate_after: &'a [Length],
    /// What is observed between the anchor and an instant.
    pub observe: &'a dyn Fn(Timestamp, Timestamp) -> Values,
    /// What is wanted. Worked out, as what is observed, when something is told.
    pub norm: &'a dyn Fn() -> Values,
    /// What wakes it.
    pub timer: Timer,
}

impl<'a> ViolationContext<'a> {
    /// The clock, severity and steps of a rule's parameters.
    pub fn of(params: Option<&'a Params>) -> (Clock, Severity, &'a [Length]) {
        let clock = params.and_then(|norm| norm.clock).unwrap_or_default();
        let severity = params.and_then(|norm| norm.severity).unwrap_or_default();
        (clock, severity, params.and_then(|norm| norm.escalate_after.as_deref()).unwrap_or_default())
    }
}

impl Violation {
    /// One that begins at `due` unless something averts it; the owner's timer must be woken then.
    pub fn new(anchor: Timestamp, due: Timestamp) -> Self {
        let (began, charged, holder) = (due, ManagerIx::NONE, ManagerIx::NONE);
        Self { anchor, due, state: State::Waiting, passed: false, level: 0, began, charged, holder }
    }

    /// How often it was escalated.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Whether its deadline has been judged.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Whether anything was told of it that could still be taken back.
    pub fn told(&self) -> bool {
        matches!(self.state, State::Open | State::Resolved)
    }

    /// A timer went off. `true`: the deadline is due now, and has not been judged; else steps that are due are told.
    pub fn ring(&mut self, context: &mut TenantContext, violation_context: &ViolationContext<'_>) -> bool {
        if !self.passed && self.due <= context.now {
            self.passed = true;
            return self.state == State::Waiting;
        }
        while self.state == State::Open && self.next_step(violation_context).is_some_and(|step| step <= context.now) {
            self.level += 1;
            self.tell(context, violation_context, Status::Escalated, context.now, None);
            self.plan(context, violation_context);
        }
        false
    }

    /// The deadline passed: FIRING.
    pub fn fire(&mut self, context: &mut TenantContext, violation_context: &ViolationContext<'_>) {
        self.state = State::Open;
        (self.began, self.charged) = (context.now, violation_context.who);
        self.holder = violation_context.holder;
        context.fact(context.now, violation_context.who, 1, Measure::Violation(violation_context.rule));
        context.fact(self.anchor, violation_context.holder, 1, Measure::OpenAlert(violation_context.rule));
        self.tell(context, violation_context, Status::Firing, context.now, None);
        self.plan(context, violation_context);
    }

    /// An act dated `act` ends it: in time, it never was (RETRACTED if it was told, also after it was resolved by a
    /// later act); after the deadline it is RESOLVED, or was over before anybody could be told of it.
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

    /// An act dated `act` came before the deadline, or before anybody knew of it.
    pub fn avert(&mut self, context: &mut TenantContext, violation_context: &ViolationContext<'_>, act: Timestamp) {
        self.state = State::Averted;
        if context.is_replaying() {
            // If a late event averted it, this is how it is taken back.
            let alert = self.status(context, violation_context, Status::Retracted, act, Some(Resolution::LateEvidence));
            context.averted(alert);
        }
    }

    /// An act dated `act` ended it: RESOLVED.
    pub fn resolve(
        &mut self,
        context: &mut TenantContext,
        violation_context: &ViolationContext<'_>,
        resolution: Resolution,
        act: Timestamp,
    ) {
        self.close(context, violation_context);
        self.state = State::Resolved;
        self.tell(context, violation_context, Status::Resolved, act, Some(resolution));
    }

    /// An act dated `act`, in time, became known late: RETRACTED, also after it was resolved.
    pub fn retract(&mut self, context: &mut TenantContext, violation_context: &ViolationContext<'_>, act: Timestamp) {
        self.close(context, violation_context);
        self.state = State::Retracted;
        context.fact(self.began, self.charged, -1, Measure::Violation(violation_context.rule));
        self.tell(context, violation_context, Status::Retracted, act, Some(Resolution::LateEvidence));
    }

    /// Other norms are in force, by which it falls due at `due`, or never; `violation_context` is by the old ones. What lasts and is
    /// not over the new deadline is RESOLVED `disabled`, and may begin again. `false`: nothing can come of it any more.
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
            self.passed = self.state == State::Open;
            // At the latest now, so that steps of the new norm are planned.
            context.wake(due, violation_context.timer);
        }
        due.is_some() || self.state == State::Resolved
    }

    /// The responsible changed: the open alert goes with the work.
    pub fn hand_over(&mut self, context: &mut TenantContext, rule: Rule, to: ManagerIx) {
        if self.state == State::Open && self.holder != to {
            context.fact(self.anchor, self.holder, -1, Measure::OpenAlert(rule));
            context.fact(self.anchor, to, 1, Measure::OpenAlert(rule));
            self.holder = to;
        }
    }

    fn close(&mut self, context: &mut TenantContext, violation_context: &ViolationContext<'_>) {
        if self.state == State::Open {
            context.fact(self.anchor, self.holder, -1, Measure::OpenAlert(violation_context.rule));
        }
    }

    /// The instant of the next escalation: `escalate_after` counts from the deadline, on the rule's clock.
    fn next_step(&self, violation_context: &ViolationContext<'_>) -> Option<Timestamp> {
        let after = violation_context.escalate_after.get(self.level as usize)?;
        violation_context.scope.deadline(violation_context.clock, self.due, after.span)
    }

    fn plan(&self, context: &mut TenantContext, violation_context: &ViolationContext<'_>) {
        if let Some(step) = self.next_step(violation_context) {
            context.wake(step, violation_context.timer);
        }
    }

    fn tell(
        &self,
        context: &mut TenantContext,
        violation_context: &ViolationContext<'_>,
        status: Status,
        until: Timestamp,
        resolution: Option<Resolution>,
    ) {
        let alert = self.status(context, violation_context, status, until, resolution);
        context.out.push(Effect::Alert(Box::new(alert)));
    }

    fn status(
        &self,
        context: &TenantContext,
        violation_context: &ViolationContext<'_>,
        status: Status,
        until: Timestamp,
        resolution: Option<Resolution>,
    ) -> Alert {
        let (manager, department) = context.named(violation_context.who);
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

/// An act that is wrong in itself.
#[derive(Debug)]
pub struct ActViolation<'a> {
    /// The rule that it breaks.
    pub rule: Rule,
    /// What it is about.
    pub subject: CompactString,
    /// Whose it is.
    pub who: ManagerIx,
    /// The lead or deal.
    pub entity: &'a EntityId,
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub observed: Values,
    /// What is wanted.
    pub norm: Values,
}

impl ActViolation<'_> {
    /// RAISED, now.
    pub fn raise(self, context: &mut TenantContext) {
        let (manager, department) = context.named(self.who);
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
        if context.raise(alert.id) {
            context.fact(context.now, self.who, 1, Measure::Violation(self.rule));
            context.out.push(Effect::Alert(Box::new(alert)));
        }
    }
}
