//! Owns `next_step_overdue`: a planned activity that is still open after its deadline.
//!
//! Each open plan with a deadline has a clock, whose anchor is the deadline. Another deadline ends the clock and starts
//! one that runs from the new deadline, even if that has passed.

use crate::domain::alert::{Resolution, Values};
use crate::domain::change::JourneyChange;
use crate::domain::context::TenantContext;
use crate::domain::journey::Journey;
use crate::domain::journey::clocks::{Clocks, RuleClock};
use crate::domain::rule::Rule;
use crate::domain::rule::clock::{ClockRule, ClockSubject};
use crate::domain::rule::definition::{Definition, Evaluation, Parameter, Wording};
use crate::domain::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Next step overdue", "Следующий шаг просрочен"],
    about: ["a planned activity was not done by its deadline", "запланированное дело не сделано к сроку"],
    why: [
        "A promised call or meeting that does not happen costs trust, and a list of overdue tasks hides the urgent one.",
        "Обещанный и не сделанный звонок стоит доверия, а за списком просроченных дел не видно срочного.",
    ],
    subjects: &["lead:ID/ACTIVITY", "deal:ID/ACTIVITY"],
    takes: &[Parameter::Within, Parameter::WarnBefore, Parameter::Clock],
    observed: &["overdue_seconds"],
    norm: &["within_seconds", "clock"],
    wording: Wording {
        lasting: [
            "{subject} has been overdue for {overdue_seconds} ({clock} time); the norm is {within_seconds}",
            "{subject}: дело просрочено на {overdue_seconds} ({clock} время) при норме {within_seconds}",
        ],
        settled: [
            "{subject} is off the list, {overdue_seconds} after its deadline ({clock} time); the norm is {within_seconds}",
            "{subject}: дело снято с контроля через {overdue_seconds} после срока ({clock} время) при норме {within_seconds}",
        ],
        due_soon: [
            "{subject} is not done yet, {overdue_seconds} after its deadline ({clock} time); the norm is {within_seconds}",
            "{subject}: дело не сделано, после срока прошло {overdue_seconds} ({clock} время) при норме {within_seconds}",
        ],
    },
    evaluation: Evaluation::Journey(on_change),
};

const CLOCK: ClockRule = ClockRule { rule: Rule::NextStepOverdue, observe, norm };

fn on_change(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, change: JourneyChange) {
    match change {
        JourneyChange::Planned { .. } => {
            end(clocks, journey, context, Resolution::Rescheduled);
            start(clocks, journey, context);
        }
        JourneyChange::PlanEnded { resolution } => end(clocks, journey, context, resolution),
        JourneyChange::Closed { .. } => CLOCK.end_all(clocks, journey, context, Resolution::Closed),
        JourneyChange::Deleted => CLOCK.end_all(clocks, journey, context, journey.removal()),
        JourneyChange::Reloaded => {
            let scope = journey.scope(context);
            CLOCK.reload(clocks, journey, context, &scope, |anchor| scope.due(Rule::NextStepOverdue, anchor));
            start(clocks, journey, context);
        }
        _ => CLOCK.handle_common_change(clocks, journey, context, change),
    }
}

/// Ends the clocks whose plan is not open any more, or has another deadline.
fn end(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, resolution: Resolution) {
    CLOCK.for_each(clocks, journey, context, |violation, context, subject| {
        let deadline = subject.part.and_then(|activity| journey.plan(&activity.into())).flatten();
        if deadline != Some(violation.anchor) {
            violation.settle(context, subject, resolution, context.now);
        }
    });
}

/// Starts the clocks of the plans that have none.
fn start(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext) {
    let current = clocks.rule_clocks().iter().filter(|clock| clock.rule == Rule::NextStepOverdue && clock.is_current());
    let watched: BTreeSet<&str> = current.filter_map(|clock| clock.part.as_deref()).collect();
    let unwatched = journey.dated_plans().filter(|(activity, _)| !watched.contains(activity.as_str()));
    let (unwatched, scope): (Vec<_>, _) = (unwatched.collect(), journey.scope(context));
    for (activity, deadline) in unwatched {
        if let Some(due) = scope.due(Rule::NextStepOverdue, deadline) {
            let clock = RuleClock::new(Rule::NextStepOverdue, Arc::clone(&scope), deadline, due);
            CLOCK.start(clocks, journey, context, RuleClock { part: Some(activity.0.clone()), ..clock });
        }
    }
}

fn observe(clock: &ClockSubject<'_>, anchor: Timestamp, until: Timestamp) -> Values {
    vec![("overdue_seconds", clock.scope.counted(Rule::NextStepOverdue, anchor, until).into())]
}

fn norm(clock: &ClockSubject<'_>) -> Values {
    clock.scope.within(Rule::NextStepOverdue)
}
