//! Owns `next_step_missing`: an open lead or deal for which nothing is planned.
//!
//! The clock runs from the end of the last plan, otherwise from the creation or the reopening, but never from before the
//! first plan seen of the tenant: until a company plans in its CRM, nothing is missing. The journeys that are without a
//! plan at that instant get a timer for it, so that a restored or replayed clock starts under the same norms.
//!
//! In a stage in which the customer is to act there is no clock. A new one starts when the entity leaves the stage.

use crate::domain::alert::{Resolution, Values};
use crate::domain::change::JourneyChange;
use crate::domain::context::{TenantContext, Timer};
use crate::domain::journey::Journey;
use crate::domain::journey::clocks::{Clocks, RuleClock};
use crate::domain::rule::Rule;
use crate::domain::rule::clock::{ClockRule, ClockSubject};
use crate::domain::rule::definition::{Definition, Evaluation, Parameter, Wording};
use crate::domain::time::Timestamp;

/// The rule.
pub const RULE: Definition = Definition {
    title: ["No next step", "Нет следующего шага"],
    about: [
        "nothing has been planned for an open lead or deal for too long",
        "по открытому лиду или сделке слишком долго ничего не запланировано",
    ],
    why: [
        "A deal without a next step is not being worked on: nobody will remember it on the day when it could be won.",
        "Сделкой без следующего шага никто не занимается: в день, когда её можно было выиграть, о ней не вспомнят.",
    ],
    subjects: &["lead:ID", "deal:ID"],
    takes: &[Parameter::Within, Parameter::WarnBefore, Parameter::Clock, Parameter::StepEntities],
    observed: &["idle_seconds"],
    norm: &["within_seconds", "clock"],
    wording: Wording {
        lasting: [
            "nothing has been planned for {subject} for {idle_seconds} ({clock} time); the norm is {within_seconds}",
            "{subject}: следующий шаг не запланирован {idle_seconds} ({clock} время) при норме {within_seconds}",
        ],
        settled: [
            "{subject} has a next step after {idle_seconds} without one ({clock} time); the norm is {within_seconds}",
            "{subject}: следующий шаг запланирован через {idle_seconds} ({clock} время) при норме {within_seconds}",
        ],
        due_soon: [
            "nothing has been planned for {subject} for {idle_seconds} ({clock} time); the norm is {within_seconds}",
            "{subject}: следующий шаг не запланирован {idle_seconds} ({clock} время) при норме {within_seconds}",
        ],
    },
    evaluation: Evaluation::Journey(on_change),
};

const CLOCK: ClockRule = ClockRule { rule: Rule::NextStepMissing, observe, norm };

fn on_change(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, change: JourneyChange) {
    match change {
        JourneyChange::Created { .. }
        | JourneyChange::PlanEnded { .. }
        | JourneyChange::Reopened
        | JourneyChange::WaitEnded { .. } => start_when_planning(clocks, journey, context),
        JourneyChange::WaitStarted { at } => {
            CLOCK.settle_all(clocks, journey, context, (Resolution::Waiting, at));
        }
        JourneyChange::TimerFired => {
            CLOCK.handle_common_change(clocks, journey, context, change);
            if context.first_plan == Some(context.now) {
                start(clocks, journey, context);
            }
        }
        JourneyChange::Planned { at } => CLOCK.settle_all(clocks, journey, context, (Resolution::Planned, at)),
        JourneyChange::Closed { .. } => CLOCK.end_all(clocks, journey, context, Resolution::Closed),
        JourneyChange::Deleted => CLOCK.end_all(clocks, journey, context, journey.removal()),
        JourneyChange::Reloaded => {
            let scope = journey.scope(context);
            let applies = scope.needs_step(journey.id.kind) && !journey.is_waiting();
            let due = |anchor| scope.due(Rule::NextStepMissing, anchor).filter(|_| applies);
            CLOCK.reload(clocks, journey, context, &scope, due);
            start_when_planning(clocks, journey, context);
        }
        _ => CLOCK.handle_common_change(clocks, journey, context, change),
    }
}

/// Starts the clock, if the entity is without a plan: now, or at the first plan of the tenant.
fn start_when_planning(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext) {
    match context.first_plan {
        Some(first) if first < context.now => start(clocks, journey, context),
        Some(first) if journey.is_without_plan() => context.set_timer(first, Timer::Journey(journey.ix)),
        _ => {}
    }
}

fn start(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext) {
    let Some((since, first)) = journey.without_plan_since().zip(context.first_plan) else { return };
    if clocks.is_active(Rule::NextStepMissing) {
        return;
    }
    let (scope, anchor) = (journey.scope(context), since.max(first));
    if scope.needs_step(journey.id.kind)
        && let Some(due) = scope.due(Rule::NextStepMissing, anchor)
    {
        CLOCK.start(clocks, journey, context, RuleClock::new(Rule::NextStepMissing, scope, anchor, due));
    }
}

fn observe(clock: &ClockSubject<'_>, anchor: Timestamp, until: Timestamp) -> Values {
    vec![("idle_seconds", clock.scope.counted(Rule::NextStepMissing, anchor, until).into())]
}

fn norm(clock: &ClockSubject<'_>) -> Values {
    clock.scope.within(Rule::NextStepMissing)
}
