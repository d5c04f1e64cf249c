//! Owns `neglected`: an open lead or deal without touches for too long.
//!
//! The clock runs from the latest touch, or from the creation if there is none, but never from before the tenant's first
//! event. Every touch ends one clock and starts the next. Clocks that have fired are kept, because a call becomes known
//! only at its end and may retract them.
//!
//! In a stage in which the customer is to act there is no clock. A new one starts when the entity leaves the stage.

use crate::domain::alert::{Resolution, Values};
use crate::domain::change::JourneyChange;
use crate::domain::context::TenantContext;
use crate::domain::journey::Journey;
use crate::domain::journey::clocks::{Clocks, RuleClock};
use crate::domain::norms::Scope;
use crate::domain::rule::Rule;
use crate::domain::rule::clock::{ClockRule, ClockSubject};
use crate::domain::rule::definition::{Definition, Evaluation, Parameter, Wording};
use crate::domain::time::{Maybe, Timestamp};

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Customer neglected", "Клиент без внимания"],
    about: [
        "an open lead or deal had no touch for too long",
        "по открытому лиду или сделке слишком долго никто не связывался с клиентом",
    ],
    why: [
        "A customer whom nobody contacts buys elsewhere, while the pipeline still shows a deal that is already dead.",
        "Клиент, о котором забыли, покупает у других, а в воронке числится уже мёртвая сделка.",
    ],
    subjects: &["lead:ID", "deal:ID"],
    takes: &[Parameter::Within, Parameter::WarnBefore, Parameter::Clock, Parameter::Entities],
    observed: &["idle_seconds"],
    norm: &["within_seconds", "clock"],
    wording: Wording {
        lasting: [
            "nobody has contacted {subject} for {idle_seconds} ({clock} time); the norm is {within_seconds}",
            "{subject}: никто не связывался {idle_seconds} ({clock} время) при норме {within_seconds}",
        ],
        settled: [
            "{subject} was contacted after {idle_seconds} ({clock} time); the norm is {within_seconds}",
            "{subject}: связались через {idle_seconds} ({clock} время) при норме {within_seconds}",
        ],
        due_soon: [
            "nobody has contacted {subject} for {idle_seconds} ({clock} time); the norm is {within_seconds}",
            "{subject}: никто не связывался {idle_seconds} ({clock} время) при норме {within_seconds}",
        ],
    },
    evaluation: Evaluation::Journey(on_change),
};

const CLOCK: ClockRule = ClockRule { rule: Rule::Neglected, observe, norm };

fn on_change(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, change: JourneyChange) {
    let anchor_of = |at: Timestamp, context: &TenantContext| at.max(context.first_event.unwrap_or(at));
    let latest = clocks.idle_since.get();
    // The latest touch, or the end of a wait for the customer.
    let cared_for = |context: &TenantContext| {
        journey.touches().next_back().max(journey.waited_until()).map(|at| anchor_of(at, context))
    };
    match change {
        JourneyChange::Touch { at, first } => {
            let anchor = anchor_of(at, context);
            // The first touch replaces the creation as the anchor, whatever its date.
            let first = first && journey.acts().closed.is_none() && journey.waited_until().is_none();
            CLOCK.for_each(clocks, journey, context, |violation, context, subject| {
                if anchor > violation.anchor || first {
                    violation.settle(context, subject, Resolution::Responded, at.max(violation.anchor));
                }
            });
            if runs(journey) && (first || latest.is_none_or(|latest| anchor > latest)) {
                start(clocks, journey, context, anchor);
            }
        }
        JourneyChange::TouchMoved { from } => {
            let was_last = latest == Some(anchor_of(from, context));
            if let (Some(last), Some(latest)) = (cared_for(context), latest)
                && (last > latest || last < latest && was_last)
            {
                CLOCK.for_each(clocks, journey, context, |violation, context, subject| {
                    if violation.anchor == latest {
                        violation.settle(context, subject, Resolution::Responded, last.max(latest));
                    }
                });
                start(clocks, journey, context, last);
            }
        }
        JourneyChange::Created { at, .. } if runs(journey) && latest.is_none() && !journey.touched() => {
            start(clocks, journey, context, anchor_of(at, context));
        }
        JourneyChange::Reopened if runs(journey) => start(clocks, journey, context, context.now),
        JourneyChange::WaitStarted { at } => {
            clocks.idle_since = Maybe::UNKNOWN;
            CLOCK.settle_all(clocks, journey, context, (Resolution::Waiting, at));
        }
        JourneyChange::WaitEnded { at } => {
            let anchor = cared_for(context).unwrap_or(at);
            start(clocks, journey, context, anchor);
        }
        JourneyChange::Closed { .. } | JourneyChange::Deleted => {
            clocks.idle_since = Maybe::UNKNOWN;
            let deleted = change == JourneyChange::Deleted;
            let resolution = if deleted { journey.removal() } else { Resolution::Closed };
            CLOCK.for_each(clocks, journey, context, |violation, context, subject| {
                // A violation that has already ended stays as published.
                if violation.is_current() {
                    violation.settle(context, subject, resolution, context.now);
                }
            });
        }
        JourneyChange::Reloaded => {
            let scope = journey.scope(context);
            let due = |anchor| scope.due(Rule::Neglected, anchor).filter(|_| runs(journey) && applies(&scope, journey));
            CLOCK.reload(clocks, journey, context, &scope, due);
            if journey.is_waiting() {
                clocks.idle_since = Maybe::UNKNOWN;
            }
            if let Some(anchor) = clocks.idle_since.get().filter(|_| !clocks.is_active(Rule::Neglected)) {
                start(clocks, journey, context, anchor);
            }
        }
        _ => CLOCK.handle_common_change(clocks, journey, context, change),
    }
}

fn start(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, anchor: Timestamp) {
    clocks.idle_since = anchor.into();
    let scope = journey.scope(context);
    if applies(&scope, journey)
        && let Some(due) = scope.due(Rule::Neglected, anchor)
    {
        CLOCK.start(clocks, journey, context, RuleClock::new(Rule::Neglected, scope, anchor, due));
    }
}

/// Whether the entity can be neglected now.
fn runs(journey: &Journey) -> bool {
    journey.open() && !journey.is_waiting()
}

/// Whether the norm applies to this kind of entity.
fn applies(scope: &Scope, journey: &Journey) -> bool {
    let entities = scope.rules.get(&Rule::Neglected).and_then(|norm| norm.entities.as_ref());
    entities.is_none_or(|entities| entities.contains(&journey.id.kind))
}

fn observe(clock: &ClockSubject<'_>, anchor: Timestamp, until: Timestamp) -> Values {
    vec![("idle_seconds", clock.scope.counted(Rule::Neglected, anchor, until).into())]
}

fn norm(clock: &ClockSubject<'_>) -> Values {
    clock.scope.within(Rule::Neglected)
}
