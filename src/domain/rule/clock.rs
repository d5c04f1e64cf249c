//! Owns the handling of the clocks that rules keep in a journey: start, timers, reassignment and new norms.

use crate::domain::alert::Values;
use crate::domain::change::JourneyChange;
use crate::domain::context::{TenantContext, Timer};
use crate::domain::journey::Journey;
use crate::domain::journey::clocks::{Clocks, RuleClock};
use crate::domain::lifecycle::{State, Violation, ViolationContext};
use crate::domain::norms::Scope;
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use compact_str::{CompactString, format_compact};
use std::sync::Arc;

/// A rule with clocks, and the evidence in its alerts.
#[derive(Clone, Copy, Debug)]
pub struct ClockRule {
    /// The rule.
    pub rule: Rule,
    /// Computes `observed` between an anchor and an instant.
    pub observe: fn(&Journey, &RuleClock, Timestamp, Timestamp) -> Values,
    /// Computes `norm`.
    pub norm: fn(&RuleClock) -> Values,
}

/// Maximum number of resolved clocks kept per rule, so that late evidence can still retract them.
const MAX_RESOLVED: usize = 64;

impl ClockRule {
    /// Starts a clock with deadline `due`.
    pub fn start(
        &self,
        clocks: &mut Clocks,
        journey: &Journey,
        context: &mut TenantContext,
        scope: Arc<Scope>,
        anchor: Timestamp,
        due: Timestamp,
    ) {
        let violation = Violation::new(anchor, due);
        let rule_clock =
            RuleClock { rule: self.rule, scope, stage: None, before: Span::ZERO, limit: Span::ZERO, violation };
        start(clocks, journey, context, rule_clock);
    }

    /// Applies a function to every clock of a rule, then drops the finished ones.
    pub fn for_each(
        &self,
        clocks: &mut Clocks,
        journey: &Journey,
        context: &mut TenantContext,
        mut apply: impl FnMut(&mut Violation, &mut TenantContext, &ViolationContext<'_>),
    ) {
        let Some(all) = clocks.rule_clocks_mut() else { return };
        let mut resolved = 0;
        for rule_clock in all.iter_mut().rev().filter(|rule_clock| rule_clock.rule == self.rule) {
            let mut violation = rule_clock.violation.clone();
            self.with_context(journey, rule_clock, |violation_context| {
                apply(&mut violation, context, violation_context)
            });
            rule_clock.violation = violation;
            resolved += usize::from(rule_clock.violation.state == State::Resolved);
            if resolved > MAX_RESOLVED && rule_clock.violation.state == State::Resolved {
                rule_clock.violation.state = State::Averted;
            }
        }
        all.retain(|rule_clock| {
            rule_clock.rule != self.rule || !matches!(rule_clock.violation.state, State::Averted | State::Retracted)
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
        self.for_each(clocks, journey, context, |violation, context, violation_context| {
            if violation.state != State::Resolved
                && !violation.reload(context, violation_context, due(violation.anchor))
            {
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
            JourneyChange::TimerFired => {
                self.for_each(clocks, journey, context, |violation, context, violation_context| {
                    if violation.on_timer(context, violation_context) {
                        violation.fire(context, violation_context);
                    }
                })
            }
            JourneyChange::Assigned => {
                self.for_each(clocks, journey, context, |violation, context, violation_context| {
                    violation.reassign(context, violation_context.rule, violation_context.holder);
                })
            }
            _ => {}
        }
    }

    fn with_context(&self, journey: &Journey, rule_clock: &RuleClock, apply: impl FnOnce(&ViolationContext<'_>)) {
        let (clock, severity, escalate_after) = ViolationContext::of(rule_clock.scope.rules.get(&self.rule));
        let subject: CompactString = match &rule_clock.stage {
            Some(stage) => format_compact!("{}/{stage}", journey.id),
            None => format_compact!("{}", journey.id),
        };
        apply(&ViolationContext {
            rule: self.rule,
            subject,
            who: journey.who,
            holder: journey.who,
            entity: Some(&journey.id),
            interaction: None,
            scope: &rule_clock.scope,
            clock,
            severity,
            escalate_after,
            observe: &|anchor, until| (self.observe)(journey, rule_clock, anchor, until),
            norm: &|| (self.norm)(rule_clock),
            timer: Timer::Journey(journey.ix),
        });
    }
}

/// Starts a clock and sets its timer.
pub fn start(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, rule_clock: RuleClock) {
    context.set_timer(rule_clock.violation.due, Timer::Journey(journey.ix));
    clocks.add(rule_clock);
}
