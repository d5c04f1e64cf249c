//! Owns the rule clocks of one lead or deal, and the changes that rules react to.

use crate::domain::alert::{Resolution, Values};
use crate::domain::context::{TenantContext, Timer};
use crate::domain::id::StageId;
use crate::domain::journey::{Journey, Limit};
use crate::domain::lifecycle::{State, Violation, ViolationContext};
use crate::domain::mem::lazy_box::{LazyBox, StaticDefault};
use crate::domain::norms::Scope;
use crate::domain::rule::first_response_late::FirstResponse;
use crate::domain::rule::{Evaluation, Rule};
use crate::domain::time::{Maybe, Span, Timestamp};
use compact_str::{CompactString, format_compact};
use std::sync::{Arc, LazyLock};

/// A change of a lead or deal, as passed to the rules. The journey already includes the change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JourneyChange {
    /// The creation became known.
    Created {
        /// Event time of the creation.
        at: Timestamp,
        /// Whether clocks run from it: it is not earlier than the tenant's first event.
        watched: bool,
    },
    /// A touch.
    Touch {
        /// Event time of the touch.
        at: Timestamp,
    },
    /// A conversation earlier than all known before.
    Talk,
    /// A two-way contact earlier than all known before.
    Contact,
    /// An open entity was closed.
    Closed {
        /// Whether it is the first closing.
        first: bool,
    },
    /// A closed entity was reopened.
    Reopened,
    /// The entity was deleted.
    Deleted,
    /// Another manager was assigned.
    Assigned,
    /// A stay in a stage started: by a move or by reopening.
    StageEntered {
        /// When.
        at: Timestamp,
    },
    /// The stay in a stage ended: by a move, closing or deletion.
    StageLeft {
        /// When.
        at: Timestamp,
        /// The resolution of violations of that stay.
        resolution: Resolution,
    },
    /// New norms are in force.
    Reloaded,
    /// A timer fired.
    TimerFired,
}

type JourneyRule = fn(&mut Clocks, &Journey, &mut TenantContext, JourneyChange);

/// The handlers of the rules with journey clocks, in rule order.
pub(super) static JOURNEY_RULES: LazyLock<Vec<JourneyRule>> = LazyLock::new(|| {
    let handler = |rule: &Rule| match rule.definition().evaluation {
        Evaluation::Journey(handler) => Some(handler),
        _ => None,
    };
    Rule::ALL.iter().filter_map(handler).collect()
});

/// The clocks of one lead or deal.
#[derive(Debug, Default)]
pub struct Clocks {
    /// The first-response clock; it also feeds figures when the rule is off.
    pub response: Option<Box<FirstResponse>>,
    /// The latest touch (or creation or reopening) of an open entity, even if no rule uses it.
    pub idle_since: Maybe,
    rule_clocks: LazyBox<Vec<RuleClock>>,
}

impl StaticDefault for Vec<RuleClock> {
    fn static_default() -> &'static Self {
        static EMPTY: Vec<RuleClock> = Vec::new();
        &EMPTY
    }
}

/// A running or resolved clock of a rule.
#[derive(Debug)]
pub struct RuleClock {
    /// The rule.
    pub rule: Rule,
    /// The scope at its start.
    pub scope: Arc<Scope>,
    /// The stage, for clocks about a stage.
    pub stage: Option<StageId>,
    /// Time already counted before the anchor, where several stays are added up.
    pub before: Span,
    /// The time allowed.
    pub limit: Span,
    /// The pending or actual violation.
    pub violation: Violation,
}

/// How a rule fills the alerts of its clocks.
#[derive(Clone, Copy, Debug)]
pub struct ClockWording {
    /// The rule.
    pub rule: Rule,
    /// Computes `observed` between an anchor and an instant.
    pub observe: fn(&Journey, &RuleClock, Timestamp, Timestamp) -> Values,
    /// Computes `norm`.
    pub norm: fn(&RuleClock) -> Values,
}

/// Maximum number of resolved clocks kept per rule, so that late evidence can still retract them.
const MAX_RESOLVED: usize = 64;

impl Clocks {
    /// Starts a clock with deadline `due`.
    pub fn start(
        &mut self,
        context: &mut TenantContext,
        journey: &Journey,
        rule: Rule,
        scope: Arc<Scope>,
        anchor: Timestamp,
        due: Timestamp,
    ) {
        let violation = Violation::new(anchor, due);
        let rule_clock = RuleClock { rule, scope, stage: None, before: Span::ZERO, limit: Span::ZERO, violation };
        self.start_with(context, journey, rule_clock);
    }

    /// Starts a clock.
    pub fn start_with(&mut self, context: &mut TenantContext, journey: &Journey, rule_clock: RuleClock) {
        context.set_timer(rule_clock.violation.due, Timer::Journey(journey.ix));
        if self.rule_clocks.is_empty() {
            // Most have one clock at a time.
            self.rule_clocks.reserve_exact(1);
        }
        self.rule_clocks.push(rule_clock);
    }

    /// Whether a rule has a clock that runs or a violation that is open.
    pub fn is_active(&self, rule: Rule) -> bool {
        let is_current = |rule_clock: &RuleClock| matches!(rule_clock.violation.state, State::Waiting | State::Open);
        self.rule_clocks.iter().any(|rule_clock| rule_clock.rule == rule && is_current(rule_clock))
    }

    /// All running and resolved clocks, except the first response.
    pub fn rule_clocks(&self) -> &[RuleClock] {
        &self.rule_clocks
    }

    /// Applies a function to every clock of a rule, then drops the finished ones.
    pub fn for_each(
        &mut self,
        wording: &ClockWording,
        journey: &Journey,
        context: &mut TenantContext,
        mut apply: impl FnMut(&mut Violation, &mut TenantContext, &ViolationContext<'_>),
    ) {
        let Some(all) = self.rule_clocks.existing_mut() else { return };
        let mut resolved = 0;
        for rule_clock in all.iter_mut().rev().filter(|rule_clock| rule_clock.rule == wording.rule) {
            let mut violation = rule_clock.violation.clone();
            with_context(wording, journey, rule_clock, |violation_context| {
                apply(&mut violation, context, violation_context)
            });
            rule_clock.violation = violation;
            resolved += usize::from(rule_clock.violation.state == State::Resolved);
            if resolved > MAX_RESOLVED && rule_clock.violation.state == State::Resolved {
                rule_clock.violation.state = State::Averted;
            }
        }
        all.retain(|rule_clock| {
            rule_clock.rule != wording.rule || !matches!(rule_clock.violation.state, State::Averted | State::Retracted)
        });
    }

    /// Applies new norms to the clocks of a rule; `due` computes the deadline from the anchor.
    pub fn reload(
        &mut self,
        wording: &ClockWording,
        journey: &Journey,
        context: &mut TenantContext,
        scope: &Arc<Scope>,
        due: impl Fn(Timestamp) -> Option<Timestamp>,
    ) {
        self.for_each(wording, journey, context, |violation, context, violation_context| {
            if violation.state != State::Resolved
                && !violation.reload(context, violation_context, due(violation.anchor))
            {
                violation.state = State::Averted;
            }
        });
        let is_current =
            |rule_clock: &&mut RuleClock| matches!(rule_clock.violation.state, State::Waiting | State::Open);
        let all = self.rule_clocks.existing_mut().into_iter().flatten();
        for rule_clock in all.filter(|rule_clock| rule_clock.rule == wording.rule).filter(is_current) {
            rule_clock.scope = Arc::clone(scope);
        }
    }

    /// Replaces the limit of the clocks of a rule.
    pub fn set_stay_limit(&mut self, rule: Rule, limit: &Limit) {
        let all = self.rule_clocks.existing_mut().into_iter().flatten();
        for rule_clock in all.filter(|rule_clock| rule_clock.rule == rule) {
            (rule_clock.before, rule_clock.limit) = (limit.before, limit.limit);
        }
    }

    /// Default handling of timers and assignments.
    pub fn handle_common_change(
        &mut self,
        wording: &ClockWording,
        journey: &Journey,
        context: &mut TenantContext,
        change: JourneyChange,
    ) {
        match change {
            JourneyChange::TimerFired => {
                self.for_each(wording, journey, context, |violation, context, violation_context| {
                    if violation.on_timer(context, violation_context) {
                        violation.fire(context, violation_context);
                    }
                })
            }
            JourneyChange::Assigned => {
                self.for_each(wording, journey, context, |violation, context, violation_context| {
                    violation.reassign(context, violation_context.rule, violation_context.holder);
                })
            }
            _ => {}
        }
    }
}

fn with_context(
    wording: &ClockWording,
    journey: &Journey,
    rule_clock: &RuleClock,
    apply: impl FnOnce(&ViolationContext<'_>),
) {
    let (clock, severity, escalate_after) = ViolationContext::of(rule_clock.scope.rules.get(&wording.rule));
    let subject: CompactString = match &rule_clock.stage {
        Some(stage) => format_compact!("{}/{stage}", journey.id),
        None => format_compact!("{}", journey.id),
    };
    apply(&ViolationContext {
        rule: wording.rule,
        subject,
        who: journey.who,
        holder: journey.who,
        entity: Some(&journey.id),
        interaction: None,
        scope: &rule_clock.scope,
        clock,
        severity,
        escalate_after,
        observe: &|anchor, until| (wording.observe)(journey, rule_clock, anchor, until),
        norm: &|| (wording.norm)(rule_clock),
        timer: Timer::Journey(journey.ix),
    });
}
