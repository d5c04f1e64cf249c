//! Owns `neglected`: an open lead or deal that nobody turns to.
//!
//! The clock runs from the latest touch, else from the creation, and never from before the first event seen of the
//! tenant. Every touch ends one clock and starts the next; those that were told are kept, as a call that becomes known at
//! its end may show that they were wrong.

use super::super::alert::{Resolution, Values};
use super::super::journey::{ClockWording, Clocks, Journey, JourneyChange, RuleClock};
use super::super::norms::Scope;
use super::super::tenant_context::TenantContext;
use super::super::time::{Maybe, Timestamp};
use super::super::violation::State;
use super::{Definition, Evaluation, Parameter, Rule, Wording};

/// The rule.
pub const RULE: Definition = Definition {
    about: [
        "an open lead or deal had no touch for too long",
        "к открытому лиду или сделке слишком долго никто не обращался",
    ],
    why: [
        "A customer whom nobody turns to buys elsewhere, and the pipeline shows a deal that is dead already.",
        "Клиент, о котором забыли, покупает у других, а в воронке числится уже мёртвая сделка.",
    ],
    subjects: &["lead:ID", "deal:ID"],
    takes: &[Parameter::Within, Parameter::Clock, Parameter::Entities],
    observed: &["idle_seconds"],
    norm: &["within_seconds", "clock"],
    wording: Wording {
        lasting: [
            "nobody has turned to {subject} for {idle_seconds} ({clock} time); the norm is {within_seconds}",
            "{subject}: никто не обращался {idle_seconds} ({clock} время) при норме {within_seconds}",
        ],
        settled: [
            "somebody turned to {subject} after {idle_seconds} ({clock} time); the norm is {within_seconds}",
            "{subject}: обратились через {idle_seconds} ({clock} время) при норме {within_seconds}",
        ],
    },
    evaluation: Evaluation::Journey(follow),
};

const TELL: ClockWording = ClockWording { rule: Rule::Neglected, observe, norm };

fn follow(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, change: JourneyChange) {
    let watched = |at: Timestamp, context: &TenantContext| at.max(context.first_event.unwrap_or(at));
    let latest = clocks.idle_since.get();
    match change {
        JourneyChange::Touch { at } => {
            let anchor = watched(at, context);
            // The first touch goes before the creation, whatever its date.
            let first = journey.touches().len() == 1 && journey.acts().closed.is_none();
            clocks.each(&TELL, journey, context, |violation, context, violation_context| {
                if anchor > violation.anchor || first {
                    violation.settle(context, violation_context, Resolution::Responded, at.max(violation.anchor));
                }
            });
            if journey.open() && (first || latest.is_none_or(|latest| anchor > latest)) {
                start(clocks, journey, context, anchor);
            }
        }
        JourneyChange::Born { at, .. } if journey.open() && latest.is_none() && journey.touches().is_empty() => {
            start(clocks, journey, context, watched(at, context));
        }
        JourneyChange::Reopened => start(clocks, journey, context, context.now),
        JourneyChange::Closed { .. } | JourneyChange::Deleted => {
            clocks.idle_since = Maybe::UNKNOWN;
            let deleted = change == JourneyChange::Deleted;
            let resolution = if deleted { Resolution::Deleted } else { Resolution::Closed };
            clocks.each(&TELL, journey, context, |violation, context, violation_context| {
                // What was over before stays as it was told.
                if violation.state != State::Resolved {
                    violation.settle(context, violation_context, resolution, context.now);
                }
            });
        }
        JourneyChange::Reloaded => {
            let scope = journey.scope(context);
            let due = |anchor| scope.due(Rule::Neglected, anchor).filter(|_| watches(&scope, journey));
            clocks.reload(&TELL, journey, context, &scope, due);
            if let Some(anchor) = clocks.idle_since.get().filter(|_| !clocks.runs(Rule::Neglected)) {
                start(clocks, journey, context, anchor);
            }
        }
        _ => clocks.look_after(&TELL, journey, context, change),
    }
}

fn start(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, anchor: Timestamp) {
    clocks.idle_since = anchor.into();
    let scope = journey.scope(context);
    if watches(&scope, journey)
        && let Some(due) = scope.due(Rule::Neglected, anchor)
    {
        clocks.start(context, journey, Rule::Neglected, scope, anchor, due);
    }
}

/// Whether the norm is about leads, or deals.
fn watches(scope: &Scope, journey: &Journey) -> bool {
    let entities = scope.rules.get(&Rule::Neglected).and_then(|norm| norm.entities.as_ref());
    entities.is_none_or(|entities| entities.contains(&journey.id.kind))
}

fn observe(_: &Journey, running: &RuleClock, anchor: Timestamp, until: Timestamp) -> Values {
    vec![("idle_seconds", running.scope.counted(Rule::Neglected, anchor, until).into())]
}

fn norm(running: &RuleClock) -> Values {
    running.scope.within(Rule::Neglected)
}
