//! Owns the life cycle of a violation that lasts: waiting for its deadline, FIRING, ESCALATED, RESOLVED or RETRACTED;
//! and the telling of an act that is wrong in itself: RAISED.
//!
//! A rule says what is charged and when it ends; here is how it is told. Statuses are dated at the instant at which
//! they can be decided (the desk's now), what is observed is measured to the date of the act.

use super::alert::{Alert, Resolution, Severity, Status, Values, alert_id};
use super::desk::{Desk, Timer};
use super::effect::{Effect, Measure, Who};
use super::id::EntityId;
use super::norms::{Clock, Length, Params, Scope};
use super::rule::Rule;
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
    charged: Who,
    /// Who has it among his open alerts.
    holder: Who,
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
pub struct Charge<'a> {
    /// The rule.
    pub rule: Rule,
    /// What it is about.
    pub subject: CompactString,
    /// Whose it is: the manager on the alert.
    pub who: Who,
    /// Among whose open alerts it counts: the responsible now.
    pub holder: Who,
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

impl<'a> Charge<'a> {
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
        let (began, charged, holder) = (due, Who::NOBODY, Who::NOBODY);
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
    pub fn ring(&mut self, desk: &mut Desk, charge: &Charge<'_>) -> bool {
        if !self.passed && self.due <= desk.now {
            self.passed = true;
            return self.state == State::Waiting;
        }
        while self.state == State::Open && self.next_step(charge).is_some_and(|step| step <= desk.now) {
            self.level += 1;
            self.tell(desk, charge, Status::Escalated, desk.now, None);
            self.plan(desk, charge);
        }
        false
    }

    /// The deadline passed: FIRING.
    pub fn fire(&mut self, desk: &mut Desk, charge: &Charge<'_>) {
        self.state = State::Open;
        (self.began, self.charged) = (desk.now, charge.who);
        self.holder = charge.holder;
        desk.fact(desk.now, charge.who, 1, Measure::Violation(charge.rule));
        desk.fact(self.anchor, charge.holder, 1, Measure::OpenAlert(charge.rule));
        self.tell(desk, charge, Status::Firing, desk.now, None);
        self.plan(desk, charge);
    }

    /// An act dated `act` ends it: in time, it never was (RETRACTED if it was told, also after it was resolved by a
    /// later act); after the deadline it is RESOLVED, or was over before anybody could be told of it.
    pub fn settle(&mut self, desk: &mut Desk, charge: &Charge<'_>, resolution: Resolution, act: Timestamp) {
        let in_time = act <= self.due;
        match self.state {
            State::Waiting => self.avert(desk, charge, act),
            State::Open | State::Resolved if in_time => self.retract(desk, charge, act),
            State::Open => self.resolve(desk, charge, resolution, act),
            State::Resolved | State::Averted | State::Retracted => {}
        }
    }

    /// An act dated `act` came before the deadline, or before anybody knew of it.
    pub fn avert(&mut self, desk: &mut Desk, charge: &Charge<'_>, act: Timestamp) {
        self.state = State::Averted;
        if desk.rehearses() {
            // If a late event averted it, this is how it is taken back.
            let alert = self.status(desk, charge, Status::Retracted, act, Some(Resolution::LateEvidence));
            desk.averted(alert);
        }
    }

    /// An act dated `act` ended it: RESOLVED.
    pub fn resolve(&mut self, desk: &mut Desk, charge: &Charge<'_>, resolution: Resolution, act: Timestamp) {
        self.close(desk, charge);
        self.state = State::Resolved;
        self.tell(desk, charge, Status::Resolved, act, Some(resolution));
    }

    /// An act dated `act`, in time, became known late: RETRACTED, also after it was resolved.
    pub fn retract(&mut self, desk: &mut Desk, charge: &Charge<'_>, act: Timestamp) {
        self.close(desk, charge);
        self.state = State::Retracted;
        desk.fact(self.began, self.charged, -1, Measure::Violation(charge.rule));
        self.tell(desk, charge, Status::Retracted, act, Some(Resolution::LateEvidence));
    }

    /// Other norms are in force, by which it falls due at `due`, or never; `charge` is by the old ones. What lasts and is
    /// not over the new deadline is RESOLVED `disabled`, and may begin again. `false`: nothing can come of it any more.
    pub fn reload(&mut self, desk: &mut Desk, charge: &Charge<'_>, due: Option<Timestamp>) -> bool {
        if self.state == State::Open && due.is_none_or(|due| due > desk.now) {
            self.resolve(desk, charge, Resolution::Disabled, desk.now);
            (self.state, self.level) = (State::Waiting, 0);
        }
        if let Some(due) = due.filter(|_| matches!(self.state, State::Waiting | State::Open)) {
            self.due = due;
            self.passed = self.state == State::Open;
            // At the latest now, so that steps of the new norm are planned.
            desk.wake(due, charge.timer);
        }
        due.is_some() || self.state == State::Resolved
    }

    /// The responsible changed: the open alert goes with the work.
    pub fn hand_over(&mut self, desk: &mut Desk, rule: Rule, to: Who) {
        if self.state == State::Open && self.holder != to {
            desk.fact(self.anchor, self.holder, -1, Measure::OpenAlert(rule));
            desk.fact(self.anchor, to, 1, Measure::OpenAlert(rule));
            self.holder = to;
        }
    }

    fn close(&mut self, desk: &mut Desk, charge: &Charge<'_>) {
        if self.state == State::Open {
            desk.fact(self.anchor, self.holder, -1, Measure::OpenAlert(charge.rule));
        }
    }

    /// The instant of the next escalation: `escalate_after` counts from the deadline, on the rule's clock.
    fn next_step(&self, charge: &Charge<'_>) -> Option<Timestamp> {
        let after = charge.escalate_after.get(self.level as usize)?;
        charge.scope.deadline(charge.clock, self.due, after.span)
    }

    fn plan(&self, desk: &mut Desk, charge: &Charge<'_>) {
        if let Some(step) = self.next_step(charge) {
            desk.wake(step, charge.timer);
        }
    }

    fn tell(
        &self,
        desk: &mut Desk,
        charge: &Charge<'_>,
        status: Status,
        until: Timestamp,
        resolution: Option<Resolution>,
    ) {
        let alert = self.status(desk, charge, status, until, resolution);
        desk.out.push(Effect::Alert(Box::new(alert)));
    }

    fn status(
        &self,
        desk: &Desk,
        charge: &Charge<'_>,
        status: Status,
        until: Timestamp,
        resolution: Option<Resolution>,
    ) -> Alert {
        let (manager, department) = desk.named(charge.who);
        Alert {
            id: alert_id(&desk.tenant, charge.rule, &charge.subject, self.anchor),
            tenant: desk.tenant.clone(),
            rule: charge.rule,
            severity: charge.severity.raised(self.level),
            level: self.level,
            status,
            subject: charge.subject.clone(),
            // A deadline may be judged after acts that are dated before it.
            at: desk.now.max(self.due),
            anchor_at: self.anchor,
            due_at: Some(self.due),
            manager,
            department,
            entity: charge.entity.cloned(),
            interaction: charge.interaction.cloned(),
            window: None,
            observed: (charge.observe)(self.anchor, until),
            norm: (charge.norm)(),
            resolution,
        }
    }
}

/// An act that is wrong in itself.
#[derive(Debug)]
pub struct Wrong<'a> {
    /// The rule that it breaks.
    pub rule: Rule,
    /// What it is about.
    pub subject: CompactString,
    /// Whose it is.
    pub who: Who,
    /// The lead or deal.
    pub entity: &'a EntityId,
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub observed: Values,
    /// What is wanted.
    pub norm: Values,
}

impl Wrong<'_> {
    /// RAISED, now.
    pub fn raise(self, desk: &mut Desk) {
        let (manager, department) = desk.named(self.who);
        let alert = Alert {
            id: alert_id(&desk.tenant, self.rule, &self.subject, desk.now),
            tenant: desk.tenant.clone(),
            rule: self.rule,
            severity: self.severity,
            level: 0,
            status: Status::Raised,
            subject: self.subject,
            at: desk.now,
            anchor_at: desk.now,
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
        if desk.raise(alert.id) {
            desk.fact(desk.now, self.who, 1, Measure::Violation(self.rule));
            desk.out.push(Effect::Alert(Box::new(alert)));
        }
    }
}
