//! Owns `too_few_attempts`: a lead wants more than one try.
//!
//! The count at the deadline goes by the dates of the touches. The touch that makes the number full, or the first
//! conversation, ends it; either may become known only after it was over.

use super::super::alert::{Resolution, Value, Values};
use super::super::id::EntityKind;
use super::super::journey::{ClockWording, Clocks, Journey, JourneyChange, RuleClock};
use super::super::norms::Scope;
use super::super::tenant_context::TenantContext;
use super::super::time::Timestamp;
use super::{Definition, Evaluation, Parameter, Rule, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    about: [
        "an open lead had fewer touches than wanted and no conversation",
        "открытому лиду уделили меньше попыток, чем нужно, а разговора не было",
    ],
    why: [
        "Most leads are reached at the third to sixth try; a manager who tries once and waits loses those that cost the \
         most to win.",
        "До большинства клиентов дозваниваются с третьей–шестой попытки; кто пробует один раз и ждёт, теряет уже \
         оплаченные лиды.",
    ],
    subjects: &["lead:ID"],
    takes: &[Parameter::Within, Parameter::Clock, Parameter::Attempts],
    observed: &["touches"],
    norm: &["within_seconds", "clock", "attempts"],
    wording: Wording {
        lasting: [
            "{subject} got {touches} of {attempts} attempts within {within_seconds} ({clock} time) and no conversation",
            "{subject}: попыток {touches} из {attempts} за {within_seconds} ({clock} время), разговора не было",
        ],
        settled: [
            "{subject} was reached or got its {attempts} attempts only after {within_seconds} ({clock} time)",
            "{subject}: до клиента дозвонились или набрали {attempts} попытки позже, чем за {within_seconds} \
             ({clock} время)",
        ],
    },
    evaluation: Evaluation::Journey(follow),
};

const TELL: ClockWording = ClockWording { rule: Rule::TooFewAttempts, observe, norm };

fn follow(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, change: JourneyChange) {
    match change {
        JourneyChange::Born { at, watched: true }
            if journey.id.kind == EntityKind::Lead && journey.acts().closed.is_none() =>
        {
            let scope = journey.scope(context);
            if let Some(due) = scope.due(Rule::TooFewAttempts, at) {
                clocks.start(context, journey, Rule::TooFewAttempts, scope, at, due);
            }
        }
        JourneyChange::Touch { .. }
        | JourneyChange::Talk
        | JourneyChange::Closed { first: true }
        | JourneyChange::Deleted => {}
        JourneyChange::Reloaded => {
            let scope = journey.scope(context);
            let due = |anchor| scope.due(Rule::TooFewAttempts, anchor);
            clocks.reload(&TELL, journey, context, &scope, due);
            let watched = journey.id.kind == EntityKind::Lead && clocks.response.is_some();
            let over = journey.acts().closed.is_some() || journey.deleted() || enough(journey, &scope).is_some();
            if let Some((at, due)) = journey.created().and_then(|at| Some((at, due(at)?)))
                && watched
                && !over
                && !clocks.runs(Rule::TooFewAttempts)
            {
                clocks.start(context, journey, Rule::TooFewAttempts, scope, at, due);
            }
            return;
        }
        _ => return clocks.look_after(&TELL, journey, context, change),
    }
    clocks.each(&TELL, journey, context, |violation, context, violation_context| {
        match (enough(journey, violation_context.scope), change) {
            (Some(act), JourneyChange::Born { .. } | JourneyChange::Touch { .. } | JourneyChange::Talk) => {
                violation.settle(context, violation_context, Resolution::Responded, act);
            }
            (_, JourneyChange::Closed { .. }) => {
                violation.settle(context, violation_context, Resolution::Closed, context.now)
            }
            (_, JourneyChange::Deleted) => {
                violation.settle(context, violation_context, Resolution::Deleted, context.now)
            }
            _ => {}
        }
    });
}

/// The date of the touch that made the number full, or of the first conversation.
fn enough(journey: &Journey, scope: &Scope) -> Option<Timestamp> {
    let last = usize::try_from(attempts(scope) - 1).ok()?;
    journey.touches().get(last).copied().into_iter().chain(journey.talked()).min()
}

fn attempts(scope: &Scope) -> i64 {
    scope.rules.get(&Rule::TooFewAttempts).and_then(|norm| norm.attempts).unwrap_or(1)
}

/// The touches by their dates.
fn observe(journey: &Journey, _: &RuleClock, _: Timestamp, until: Timestamp) -> Values {
    let touches = journey.touches().partition_point(|touch| *touch <= until);
    vec![("touches", Value::Count(touches as i64))]
}

fn norm(running: &RuleClock) -> Values {
    let mut norm = running.scope.within(Rule::TooFewAttempts);
    norm.push(("attempts", Value::Count(attempts(&running.scope))));
    norm
}
