//! Owns the handling of the clocks that rules keep in a journey: start, timers, reassignment and new norms.

use crate::domain::alert::{Resolution, Values};
use crate::domain::change::JourneyChange;
use crate::domain::context::{TenantContext, Timer};
use crate::domain::journey::Journey;
use crate::domain::journey::clocks::{Clocks, RuleClock};
use crate::domain::lifecycle::{Description, Key, State, Subject, Violation};
use crate::domain::norms::Scope;
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use std::sync::Arc;

/// A rule with clocks, and the evidence in its alerts.
#[derive(Debug)]
pub struct ClockRule {
    /// The rule.
    pub rule: Rule,
    /// Computes `observed` between an anchor and an instant.
    pub observe: fn(&ClockSubject<'_>, Timestamp, Timestamp) -> Values,
    /// Computes `norm`.
    pub norm: fn(&ClockSubject<'_>) -> Values,
}

/// A clock of a lead or deal, as the subject of alerts.
#[derive(Debug)]
pub struct ClockSubject<'a> {
    /// The rule.
    pub rule: &'a ClockRule,
    /// The lead or deal.
    pub journey: &'a Journey,
    /// The scope at the start of the clock.
    pub scope: &'a Scope,
    /// The part of the lead or deal that it is about: a stage or a planned activity.
    pub part: Option<&'a str>,
    /// Time already counted before the anchor, where several stays are added up.
    pub before: Span,
    /// The time allowed in the stage.
    pub limit: Span,
}

impl Subject for ClockSubject<'_> {
    fn key(&self) -> Key<'_> {
        let (who, timer) = (self.journey.who, Timer::Journey(self.journey.ix));
        Key { rule: self.rule.rule, scope: self.scope, accountable: who, holder: who, timer }
    }

    fn describe(&self, anchor: Timestamp, until: Timestamp) -> Description {
        let ClockRule { rule, observe, norm } = self.rule;
        Description {
            name: self.journey.id.subject(self.part),
            severity: self.scope.severity(*rule),
            entity: Some(self.journey.id.clone()),
            observed: observe(self, anchor, until),
            norm: norm(self),
            ..Description::default()
        }
    }
}

/// Maximum number of ended clocks with alerts kept per rule, so that late evidence can still retract them.
const MAX_RESOLVED: usize = 64;

impl ClockRule {
    /// Starts a clock.
    pub fn start(&self, clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, mut clock: RuleClock) {
        let (violation, subject) = self.split(journey, &mut clock);
        violation.schedule(context, &subject);
        clocks.add(clock);
    }

    /// Applies a function to every clock of a rule, then drops the finished ones.
    pub fn for_each(
        &self,
        clocks: &mut Clocks,
        journey: &Journey,
        context: &mut TenantContext,
        mut apply: impl FnMut(&mut Violation, &mut TenantContext, &ClockSubject<'_>),
    ) {
        let Some(all) = clocks.rule_clocks_mut() else { return };
        let mut resolved = 0;
        for rule_clock in all.iter_mut().rev().filter(|rule_clock| rule_clock.rule == self.rule) {
            let (violation, subject) = self.split(journey, rule_clock);
            apply(violation, context, &subject);
            let over = matches!(violation.state, State::CalledOff | State::Resolved);
            resolved += usize::from(over);
            if resolved > MAX_RESOLVED && over {
                violation.state = State::Averted;
            }
        }
        all.retain(|rule_clock| {
            rule_clock.rule != self.rule || !matches!(rule_clock.violation.state, State::Averted | State::Retracted)
        });
    }

    /// Ends every clock of a rule now.
    pub fn end_all(&self, clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, resolution: Resolution) {
        self.for_each(clocks, journey, context, |violation, context, subject| {
            violation.settle(context, subject, resolution, context.now);
        });
    }

    /// Settles every clock of a rule by an act dated `at`; a clock that starts later is settled at its anchor.
    pub fn settle_all(
        &self,
        clocks: &mut Clocks,
        journey: &Journey,
        context: &mut TenantContext,
        (resolution, at): (Resolution, Timestamp),
    ) {
        self.for_each(clocks, journey, context, |violation, context, subject| {
            violation.settle(context, subject, resolution, at.max(violation.anchor));
        });
    }

    /// Applies new norms to the clocks of a rule; `due` computes the deadline from the anchor.
    pub fn reload(
        &self,
        clocks: &mut Clocks,
        journey: &Journey,
        context: &mut TenantContext,
        scope: &Arc<Scope>,
        due: impl Fn(Timestamp) -> Option<Timestamp>,
    ) {
        self.for_each(clocks, journey, context, |violation, context, subject| {
            if violation.is_current() && !violation.reload(context, subject, scope, due(violation.anchor)) {
                violation.state = State::Averted;
            }
        });
        let all = clocks.rule_clocks_mut().into_iter().flatten();
        for rule_clock in
            all.filter(|rule_clock| rule_clock.rule == self.rule).filter(|rule_clock| rule_clock.is_current())
        {
            rule_clock.scope = Arc::clone(scope);
        }
    }

    /// Default handling of timers and assignments.
    pub fn handle_common_change(
        &self,
        clocks: &mut Clocks,
        journey: &Journey,
        context: &mut TenantContext,
        change: JourneyChange,
    ) {
        match change {
            JourneyChange::TimerFired => self.for_each(clocks, journey, context, |violation, context, subject| {
                if violation.on_timer(context, subject) {
                    violation.fire(context, subject);
                } else {
                    violation.warn_in_time(context, subject);
                }
            }),
            JourneyChange::Assigned => self.for_each(clocks, journey, context, |violation, context, subject| {
                violation.reassign(context, subject);
            }),
            _ => {}
        }
    }

    /// What an alert about the whole lead or deal is about.
    pub fn subject<'a>(&'a self, journey: &'a Journey, scope: &'a Scope) -> ClockSubject<'a> {
        ClockSubject { rule: self, journey, scope, part: None, before: Span::ZERO, limit: Span::ZERO }
    }

    /// The violation of a clock, and what it is about.
    fn split<'a>(&'a self, journey: &'a Journey, clock: &'a mut RuleClock) -> (&'a mut Violation, ClockSubject<'a>) {
        let RuleClock { scope, part, before, limit, violation, .. } = clock;
        let subject =
            ClockSubject { part: part.as_deref(), before: *before, limit: *limit, ..self.subject(journey, scope) };
        (violation, subject)
    }
}
