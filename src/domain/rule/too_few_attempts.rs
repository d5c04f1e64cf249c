//! Owns `too_few_attempts`: a lead with too few touches and no conversation.
//!
//! The count at the deadline uses the dates of the touches. The touch that completes the required number, or the first
//! conversation, ends the violation; either may become known late.

use crate::domain::alert::{Resolution, Value, Values};
use crate::domain::change::JourneyChange;
use crate::domain::context::TenantContext;
use crate::domain::id::EntityKind;
use crate::domain::journey::Journey;
use crate::domain::journey::clocks::{Clocks, RuleClock};
use crate::domain::norms::Scope;
use crate::domain::rule::Rule;
use crate::domain::rule::clock::{ClockRule, ClockSubject};
use crate::domain::rule::definition::{Definition, Evaluation, Parameter, Wording};
use crate::domain::time::Timestamp;

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Too few attempts", "Мало попыток связаться"],
    about: [
        "an open lead had fewer touches than required and no conversation",
        "по открытому лиду было меньше попыток связаться, чем нужно, и ни одного разговора",
    ],
    why: [
        "Most leads are reached at the third to sixth attempt; a manager who tries once and waits loses leads that were \
         already paid for.",
        "До большинства клиентов дозваниваются с третьей–шестой попытки; кто пробует один раз и ждёт, теряет уже \
         оплаченные лиды.",
    ],
    subjects: &["lead:ID"],
    takes: &[Parameter::Within, Parameter::WarnBefore, Parameter::Clock, Parameter::Attempts],
    observed: &["touches"],
    norm: &["within_seconds", "clock", "attempts"],
    wording: Wording {
        lasting: [
            "{subject} got {touches} of {attempts} attempts within {within_seconds} ({clock} time) and no conversation",
            "{subject}: попыток {touches} из {attempts} за {within_seconds} ({clock} время), разговора не было",
        ],
        settled: [
            "{subject} was reached or got its {attempts} attempts only after {within_seconds} ({clock} time)",
            "{subject}: до клиента дозвонились или сделали нужное число попыток ({attempts}) позже срока \
             {within_seconds} ({clock} время)",
        ],
        due_soon: [
            "{subject} has had {touches} of {attempts} attempts and no conversation; the norm is {within_seconds} ({clock} time)",
            "{subject}: попыток {touches} из {attempts}, разговора не было; срок {within_seconds} ({clock} время)",
        ],
    },
    evaluation: Evaluation::Journey(on_change),
};

const CLOCK: ClockRule = ClockRule { rule: Rule::TooFewAttempts, observe, norm };

fn on_change(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, change: JourneyChange) {
    match change {
        JourneyChange::Created { at, watched: true }
            if journey.id.kind == EntityKind::Lead && journey.acts().closed.is_none() =>
        {
            let scope = journey.scope(context);
            if let Some(due) = scope.due(Rule::TooFewAttempts, at) {
                CLOCK.start(clocks, journey, context, RuleClock::new(Rule::TooFewAttempts, scope, at, due));
            }
        }
        JourneyChange::Touch { .. }
        | JourneyChange::TouchMoved { .. }
        | JourneyChange::Talk
        | JourneyChange::Closed { first: true }
        | JourneyChange::Deleted => {}
        JourneyChange::Reloaded => {
            let scope = journey.scope(context);
            let due = |anchor| scope.due(Rule::TooFewAttempts, anchor);
            CLOCK.reload(clocks, journey, context, &scope, due);
            let watched = journey.id.kind == EntityKind::Lead && clocks.response.is_some();
            let ended = journey.acts().closed.is_some() || journey.deleted() || completed_at(journey, &scope).is_some();
            if let Some((at, due)) = journey.created().and_then(|at| Some((at, due(at)?)))
                && watched
                && !ended
                && !clocks.is_active(Rule::TooFewAttempts)
            {
                CLOCK.start(clocks, journey, context, RuleClock::new(Rule::TooFewAttempts, scope, at, due));
            }
            return;
        }
        _ => return CLOCK.handle_common_change(clocks, journey, context, change),
    }
    CLOCK.for_each(clocks, journey, context, |violation, context, subject| {
        match (completed_at(journey, subject.scope), change) {
            (_, JourneyChange::Closed { .. }) => violation.settle(context, subject, Resolution::Closed, context.now),
            (_, JourneyChange::Deleted) => violation.settle(context, subject, journey.removal(), context.now),
            (Some(act), _) => violation.settle(context, subject, Resolution::Responded, act),
            _ => {}
        }
    });
}

/// The date of the touch that completed the required number, or of the first conversation.
fn completed_at(journey: &Journey, scope: &Scope) -> Option<Timestamp> {
    let last = usize::try_from(attempts(scope) - 1).ok()?;
    journey.touch_at(last).into_iter().chain(journey.first_talk()).min()
}

fn attempts(scope: &Scope) -> i64 {
    scope.rules.get(&Rule::TooFewAttempts).and_then(|norm| norm.attempts).unwrap_or(1)
}

/// The touches dated up to `until`.
fn observe(clock: &ClockSubject<'_>, _: Timestamp, until: Timestamp) -> Values {
    let touches = clock.journey.touches_until(until);
    vec![("touches", Value::Count(touches as i64))]
}

fn norm(clock: &ClockSubject<'_>) -> Values {
    let mut norm = clock.scope.within(Rule::TooFewAttempts);
    norm.push(("attempts", Value::Count(attempts(clock.scope))));
    norm
}
