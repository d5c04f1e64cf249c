//! Owns `stage_overdue`: a lead or deal that stays too long in its stage.
//!
//! The time of all stays in a stage is added up, so leaving and returning does not reset it. Returning to a stage that is
//! already overdue fires at once, with a new anchor. The stay itself is part of the journey, because figures need it too.

use crate::domain::alert::Values;
use crate::domain::change::JourneyChange;
use crate::domain::context::TenantContext;
use crate::domain::journey::Journey;
use crate::domain::journey::clocks::{Clocks, RuleClock};
use crate::domain::journey::stage_history::Limit;
use crate::domain::rule::Rule;
use crate::domain::rule::clock::{ClockRule, ClockSubject};
use crate::domain::rule::definition::{Definition, Evaluation, Parameter, Wording};
use crate::domain::time::{Span, Timestamp};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Stage overdue", "Слишком долго на этапе"],
    about: [
        "a lead or deal has been in its stage for longer than the stage's `max_time`",
        "лид или сделка слишком долго на одном этапе (`max_time` этапа)",
    ],
    why: [
        "A deal that does not move is a deal that nobody works on; the longer it stays, the less likely it is to be won.",
        "Сделка, которая не движется, — это сделка, которой никто не занимается; чем дольше она стоит, тем меньше шансов.",
    ],
    subjects: &["lead:ID/STAGE", "deal:ID/STAGE"],
    takes: &[Parameter::WarnBefore, Parameter::Clock],
    observed: &["time_in_stage_seconds"],
    norm: &["max_time_seconds", "clock"],
    wording: Wording {
        lasting: [
            "{subject} has been in its stage for {time_in_stage_seconds} ({clock} time); the limit is {max_time_seconds}",
            "{subject}: на этапе {time_in_stage_seconds} ({clock} время) при норме {max_time_seconds}",
        ],
        settled: [
            "{subject} left its stage after {time_in_stage_seconds} ({clock} time); the limit is {max_time_seconds}",
            "{subject}: этап пройден за {time_in_stage_seconds} ({clock} время) при норме {max_time_seconds}",
        ],
        due_soon: [
            "{subject} has been in its stage for {time_in_stage_seconds} ({clock} time); the limit is {max_time_seconds}",
            "{subject}: на этапе {time_in_stage_seconds} ({clock} время) при норме {max_time_seconds}",
        ],
    },
    evaluation: Evaluation::Journey(on_change),
};

const CLOCK: ClockRule = ClockRule { rule: Rule::StageOverdue, observe, norm };

fn on_change(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, change: JourneyChange) {
    match change {
        // A stay that continues in a pipeline known only now keeps its clock, or starts it now.
        JourneyChange::StageEntered { at } if !clocks.is_active(Rule::StageOverdue) => {
            let Some(Limit { scope, due, before, limit }) = journey.stay_limit() else { return };
            if scope.rules.contains_key(&Rule::StageOverdue) {
                let (stage, clock) = (journey.stage(), RuleClock::new(Rule::StageOverdue, scope, at, due));
                let part = stage.map(|stage| stage.0.clone());
                CLOCK.start(clocks, journey, context, RuleClock { part, before, limit, ..clock });
            }
        }
        JourneyChange::StageLeft { at, resolution } => {
            CLOCK.for_each(clocks, journey, context, |violation, context, subject| {
                violation.settle(context, subject, resolution, at);
            })
        }
        JourneyChange::Reloaded => {
            let Some(limit) = journey.stay_limit() else {
                let scope = journey.scope(context);
                return CLOCK.reload(clocks, journey, context, &scope, |_| None);
            };
            let on = limit.scope.rules.contains_key(&Rule::StageOverdue);
            CLOCK.reload(clocks, journey, context, &limit.scope, |_| Some(limit.due).filter(|_| on));
            let all = clocks.rule_clocks_mut().into_iter().flatten();
            for rule_clock in all.filter(|rule_clock| rule_clock.rule == Rule::StageOverdue) {
                (rule_clock.before, rule_clock.limit) = (limit.before, limit.limit);
            }
        }
        _ => CLOCK.handle_common_change(clocks, journey, context, change),
    }
}

/// The time of all stays in the stage.
fn observe(clock: &ClockSubject<'_>, anchor: Timestamp, until: Timestamp) -> Values {
    let stay = clock.scope.counted(Rule::StageOverdue, anchor, until);
    vec![("time_in_stage_seconds", Span(clock.before.0 + stay.0).into())]
}

fn norm(clock: &ClockSubject<'_>) -> Values {
    let counted = clock.scope.clock(Rule::StageOverdue);
    vec![("max_time_seconds", clock.limit.into()), ("clock", counted.name().into())]
}
