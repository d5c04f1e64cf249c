//! Owns the life cycle of a violation that lasts: waiting for its deadline, FIRING, ESCALATED, RESOLVED or RETRACTED.
//!
//! A rule says what is charged and when it ends; here is how it is told. Statuses are dated at the instant at which
//! they can be decided (the desk's now), what is observed is measured to the date of the act.

use super::alert::{Alert, Resolution, Severity, Status, Values, alert_id};
use super::desk::{Desk, Timer};
use super::effect::{Effect, Measure, Who};
use super::id::EntityId;
use super::norms::{Clock, Length, Scope};
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
    level: u32,
    /// When it began and whose it was: what a retraction takes back.
    began: (Timestamp, Who),
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
#[derive(Debug)]
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
    /// Where the clock started.
    pub scope: &'a Scope,
    /// What time the rule counts.
    pub clock: Clock,
    /// The severity at level 0.
    pub severity: Severity,
    /// When it escalates, after the deadline.
    pub escalate_after: &'a [Length],
    /// What `observed` calls the time that passed.
    pub measured: &'static str,
    /// The norm as alerts show it.
    pub norm: Values,
    /// What wakes it.
    pub timer: Timer,
}

impl Violation {
    /// One that begins at `due` unless something averts it; wakes the charge's timer then.
    pub fn new(anchor: Timestamp, due: Timestamp) -> Self {
        Self { anchor, due, state: State::Waiting, level: 0, began: (due, Who::NOBODY), holder: Who::NOBODY }
    }

    /// The deadline passed: FIRING.
    pub fn fire(&mut self, desk: &mut Desk, charge: &Charge<'_>) {
        self.state = State::Open;
        self.began = (desk.now, charge.who);
        self.holder = charge.holder;
        desk.fact(desk.now, charge.who, 1, Measure::Violation(charge.rule));
        desk.fact(self.anchor, charge.holder, 1, Measure::OpenAlert(charge.rule));
        self.tell(desk, charge, Status::Firing, desk.now, None);
        self.plan(desk, charge);
    }

    /// A timer went off while it lasts: ESCALATED for every step that is due.
    pub fn escalate(&mut self, desk: &mut Desk, charge: &Charge<'_>) {
        while self.state == State::Open && self.next_step(charge).is_some_and(|step| step <= desk.now) {
            self.level += 1;
            self.tell(desk, charge, Status::Escalated, desk.now, None);
            self.plan(desk, charge);
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
        desk.fact(self.began.0, self.began.1, -1, Measure::Violation(charge.rule));
        self.tell(desk, charge, Status::Retracted, act, Some(Resolution::LateEvidence));
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
        let manager = desk.people.id(charge.who).cloned();
        let alert = Alert {
            id: alert_id(&desk.tenant, charge.rule, &charge.subject, self.anchor),
            tenant: desk.tenant.clone(),
            rule: charge.rule,
            severity: charge.severity.raised(self.level),
            level: self.level,
            status,
            subject: charge.subject.clone(),
            // A late act is dated before the deadline that it is decided after.
            at: desk.now.max(self.due),
            anchor_at: self.anchor,
            due_at: Some(self.due),
            department: manager.is_some().then(|| desk.people.department(charge.who).into()),
            manager,
            entity: charge.entity.cloned(),
            interaction: charge.interaction.cloned(),
            window: None,
            observed: vec![(charge.measured, charge.scope.elapsed(charge.clock, self.anchor, until).into())],
            norm: charge.norm.clone(),
            resolution,
        };
        desk.out.push(Effect::Alert(Box::new(alert)));
    }
}
