//! Owns `neglected`: an open lead or deal that nobody turns to.
//!
//! The clock runs from the latest touch, else from the creation, and never from before the first event seen of the
//! tenant. Every touch ends one clock and starts the next; those that were told are kept, as a call that becomes known at
//! its end may show that they were wrong.

use super::super::alert::{Resolution, Values};
use super::super::desk::Desk;
use super::super::journey::{Change, Clocks, Journey, Running, Tell};
use super::super::norms::Scope;
use super::super::time::{Maybe, Timestamp};
use super::super::violation::State;
use super::{Definition, Parameter, Rule, Watch, Wording};

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
    watch: Watch::Journey(follow),
};

const TELL: Tell = Tell { rule: Rule::Neglected, observe, norm };

fn follow(clocks: &mut Clocks, journey: &Journey, desk: &mut Desk, change: Change) {
    let watched = |at: Timestamp, desk: &Desk| at.max(desk.first_event.unwrap_or(at));
    let latest = clocks.idle_since.get();
    match change {
        Change::Touch { at } => {
            let anchor = watched(at, desk);
            // The first touch goes before the creation, whatever its date.
            let first = journey.touches().len() == 1 && journey.acts().closed.is_none();
            clocks.each(&TELL, journey, desk, |violation, desk, charge| {
                if anchor > violation.anchor || first {
                    violation.settle(desk, charge, Resolution::Responded, at.max(violation.anchor));
                }
            });
            if journey.open() && (first || latest.is_none_or(|latest| anchor > latest)) {
                start(clocks, journey, desk, anchor);
            }
        }
        Change::Born { at, .. } if journey.open() && latest.is_none() && journey.touches().is_empty() => {
            start(clocks, journey, desk, watched(at, desk));
        }
        Change::Reopened => start(clocks, journey, desk, desk.now),
        Change::Closed { .. } | Change::Deleted => {
            clocks.idle_since = Maybe::UNKNOWN;
            let deleted = change == Change::Deleted;
            let resolution = if deleted { Resolution::Deleted } else { Resolution::Closed };
            clocks.each(&TELL, journey, desk, |violation, desk, charge| {
                // What was over before stays as it was told.
                if violation.state != State::Resolved {
                    violation.settle(desk, charge, resolution, desk.now);
                }
            });
        }
        Change::Reloaded => {
            let scope = journey.scope(desk);
            let due = |anchor| scope.due(Rule::Neglected, anchor).filter(|_| watches(&scope, journey));
            clocks.reload(&TELL, journey, desk, &scope, due);
            if let Some(anchor) = clocks.idle_since.get().filter(|_| !clocks.runs(Rule::Neglected)) {
                start(clocks, journey, desk, anchor);
            }
        }
        _ => clocks.look_after(&TELL, journey, desk, change),
    }
}

fn start(clocks: &mut Clocks, journey: &Journey, desk: &mut Desk, anchor: Timestamp) {
    clocks.idle_since = anchor.into();
    let scope = journey.scope(desk);
    if watches(&scope, journey)
        && let Some(due) = scope.due(Rule::Neglected, anchor)
    {
        clocks.start(desk, journey, Rule::Neglected, scope, anchor, due);
    }
}

/// Whether the norm is about leads, or deals.
fn watches(scope: &Scope, journey: &Journey) -> bool {
    let entities = scope.rules.get(&Rule::Neglected).and_then(|norm| norm.entities.as_ref());
    entities.is_none_or(|entities| entities.contains(&journey.id.kind))
}

fn observe(_: &Journey, running: &Running, anchor: Timestamp, until: Timestamp) -> Values {
    vec![("idle_seconds", running.scope.counted(Rule::Neglected, anchor, until).into())]
}

fn norm(running: &Running) -> Values {
    running.scope.within(Rule::Neglected)
}
