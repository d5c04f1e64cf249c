//! Owns the clocks that rules keep of one lead or deal, and the changes that rules hear of.

use super::super::alert::{Resolution, Values};
use super::super::id::StageId;
use super::super::lazy_box::{LazyBox, StaticDefault};
use super::super::norms::Scope;
use super::super::rule::first_response_late::FirstResponse;
use super::super::rule::{Evaluation, Rule};
use super::super::tenant_context::{TenantContext, Timer};
use super::super::time::{Maybe, Span, Timestamp};
use super::super::violation::{State, Violation, ViolationContext};
use super::{Journey, Limit};
use compact_str::{CompactString, format_compact};
use std::sync::{Arc, LazyLock};

/// What happened to a lead or deal, as its rules hear of it. The journey is as it is after the change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JourneyChange {
    /// Its creation became known. `watched`: clocks that count from it run.
    Born {
        /// When it was created.
        at: Timestamp,
        /// Whether it is not earlier than the first event seen of the tenant.
        watched: bool,
    },
    /// A manager turned to the customer.
    Touch {
        /// The date of the act.
        at: Timestamp,
    },
    /// An earlier conversation than known before.
    Talk,
    /// An earlier contact both ways than known before.
    Contact,
    /// It was closed, having been open.
    Closed {
        /// For the first time.
        first: bool,
    },
    /// It was opened again.
    Reopened,
    /// It was deleted.
    Deleted,
    /// It got another responsible.
    Assigned,
    /// It came to a stage, or was opened again in it.
    Came {
        /// When.
        at: Timestamp,
    },
    /// It left its stage, or was closed in it.
    Left {
        /// When.
        at: Timestamp,
        /// How that ends what was wrong with the stay.
        resolution: Resolution,
    },
    /// Other norms are in force.
    Reloaded,
    /// A timer went off.
    Rung,
}

type JourneyRule = fn(&mut Clocks, &Journey, &mut TenantContext, JourneyChange);

/// The rules that keep clocks, in order.
pub(super) static FOLLOWERS: LazyLock<Vec<JourneyRule>> = LazyLock::new(|| {
    let follow = |rule: &Rule| match rule.definition().evaluation {
        Evaluation::Journey(follow) => Some(follow),
        _ => None,
    };
    Rule::ALL.iter().filter_map(follow).collect()
});

/// The clocks of one lead or deal.
#[derive(Debug, Default)]
pub struct Clocks {
    /// The first response: it is counted also where no rule watches.
    pub response: Option<Box<FirstResponse>>,
    /// Since when nobody has turned to it, while it is open; whether or not a rule watches.
    pub idle_since: Maybe,
    running: LazyBox<Vec<RuleClock>>,
}

impl StaticDefault for Vec<RuleClock> {
    fn static_default() -> &'static Self {
        static EMPTY: Vec<RuleClock> = Vec::new();
        &EMPTY
    }
}

/// A clock of a rule.
#[derive(Debug)]
pub struct RuleClock {
    /// Whose.
    pub rule: Rule,
    /// The norms where it started.
    pub scope: Arc<Scope>,
    /// The stage that it is about, if it is.
    pub stage: Option<StageId>,
    /// What it counted before its anchor, where several stretches count together.
    pub before: Span,
    /// How much is allowed.
    pub limit: Span,
    /// What may come of it.
    pub violation: Violation,
}

/// How a rule tells of its clocks.
#[derive(Clone, Copy, Debug)]
pub struct ClockWording {
    /// The rule.
    pub rule: Rule,
    /// What is observed between an anchor and an instant.
    pub observe: fn(&Journey, &RuleClock, Timestamp, Timestamp) -> Values,
    /// What is wanted.
    pub norm: fn(&RuleClock) -> Values,
}

/// Clocks that were told of and are kept for late evidence, per rule.
const KEPT: usize = 64;

impl Clocks {
    /// Starts a clock that falls due at `due`.
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
        let running = RuleClock { rule, scope, stage: None, before: Span::ZERO, limit: Span::ZERO, violation };
        self.start_with(context, journey, running);
    }

    /// Starts a clock.
    pub fn start_with(&mut self, context: &mut TenantContext, journey: &Journey, running: RuleClock) {
        context.wake(running.violation.due, Timer::Journey(journey.number));
        if self.running.is_empty() {
            // Most have one clock at a time.
            self.running.reserve_exact(1);
        }
        self.running.push(running);
    }

    /// Whether a clock of a rule runs, or its violation lasts.
    pub fn runs(&self, rule: Rule) -> bool {
        let lasts = |running: &RuleClock| matches!(running.violation.state, State::Waiting | State::Open);
        self.running.iter().any(|running| running.rule == rule && lasts(running))
    }

    /// Those that run or were told of, but for the first response.
    pub fn running(&self) -> &[RuleClock] {
        &self.running
    }

    /// Works on every clock of a rule, and lets go of those of which nothing can come any more.
    pub fn each(
        &mut self,
        tell: &ClockWording,
        journey: &Journey,
        context: &mut TenantContext,
        mut work: impl FnMut(&mut Violation, &mut TenantContext, &ViolationContext<'_>),
    ) {
        let Some(all) = self.running.taken() else { return };
        let mut told = 0;
        for running in all.iter_mut().rev().filter(|running| running.rule == tell.rule) {
            let mut violation = running.violation.clone();
            charged(tell, journey, running, |violation_context| work(&mut violation, context, violation_context));
            running.violation = violation;
            told += usize::from(running.violation.state == State::Resolved);
            if told > KEPT && running.violation.state == State::Resolved {
                running.violation.state = State::Averted;
            }
        }
        all.retain(|running| {
            running.rule != tell.rule || !matches!(running.violation.state, State::Averted | State::Retracted)
        });
    }

    /// Other norms are in force, by which a clock of a rule falls due at `due`.
    pub fn reload(
        &mut self,
        tell: &ClockWording,
        journey: &Journey,
        context: &mut TenantContext,
        scope: &Arc<Scope>,
        due: impl Fn(Timestamp) -> Option<Timestamp>,
    ) {
        self.each(tell, journey, context, |violation, context, violation_context| {
            if violation.state != State::Resolved
                && !violation.reload(context, violation_context, due(violation.anchor))
            {
                violation.state = State::Averted;
            }
        });
        let lasts = |running: &&mut RuleClock| matches!(running.violation.state, State::Waiting | State::Open);
        let all = self.running.taken().into_iter().flatten();
        for running in all.filter(|running| running.rule == tell.rule).filter(lasts) {
            running.scope = Arc::clone(scope);
        }
    }

    /// The limit of a stay is another one.
    pub fn relimit(&mut self, rule: Rule, limit: &Limit) {
        let all = self.running.taken().into_iter().flatten();
        for running in all.filter(|running| running.rule == rule) {
            (running.before, running.limit) = (limit.before, limit.limit);
        }
    }

    /// What most clocks do when a timer goes off or another responsible is named.
    pub fn look_after(
        &mut self,
        tell: &ClockWording,
        journey: &Journey,
        context: &mut TenantContext,
        change: JourneyChange,
    ) {
        match change {
            JourneyChange::Rung => self.each(tell, journey, context, |violation, context, violation_context| {
                if violation.ring(context, violation_context) {
                    violation.fire(context, violation_context);
                }
            }),
            JourneyChange::Assigned => self.each(tell, journey, context, |violation, context, violation_context| {
                violation.hand_over(context, violation_context.rule, violation_context.holder);
            }),
            _ => {}
        }
    }
}

fn charged(tell: &ClockWording, journey: &Journey, running: &RuleClock, work: impl FnOnce(&ViolationContext<'_>)) {
    let (clock, severity, escalate_after) = ViolationContext::of(running.scope.rules.get(&tell.rule));
    let subject: CompactString = match &running.stage {
        Some(stage) => format_compact!("{}/{stage}", journey.id),
        None => format_compact!("{}", journey.id),
    };
    work(&ViolationContext {
        rule: tell.rule,
        subject,
        who: journey.who,
        holder: journey.who,
        entity: Some(&journey.id),
        interaction: None,
        scope: &running.scope,
        clock,
        severity,
        escalate_after,
        observe: &|anchor, until| (tell.observe)(journey, running, anchor, until),
        norm: &|| (tell.norm)(running),
        timer: Timer::Journey(journey.number),
    });
}
