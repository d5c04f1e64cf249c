//! Owns the rule `first_response_late`.
//!
//! The alert uses what the norm calls a response (any touch, or two-way contact); the figures use the earliest touch. The
//! state is part of the journey (`journey/response.rs`), because figures need it too.

use crate::domain::alert::{Resolution, Values};
use crate::domain::change::JourneyChange;
use crate::domain::context::TenantContext;
use crate::domain::journey::Journey;
use crate::domain::journey::clocks::Clocks;
use crate::domain::journey::response::FirstResponse;
use crate::domain::lifecycle::{State, Violation};
use crate::domain::norms::{Response, Scope};
use crate::domain::rule::Rule;
use crate::domain::rule::clock::{ClockRule, ClockSubject};
use crate::domain::rule::definition::{Definition, Evaluation, Parameter, Wording};
use crate::domain::time::Timestamp;

/// The rule.
pub const RULE: Definition = Definition {
    title: ["First response late", "Поздний первый ответ"],
    about: [
        "a lead, or a deal without a lead, had no response by its deadline",
        "на лид (или сделку без лида) не отреагировали вовремя",
    ],
    why: [
        "Most leads go to the company that answers first, and a lead that nobody contacts is lost silently.",
        "Чаще всего клиент достаётся тому, кто ответил первым; лид, с которым никто не связался, теряется незаметно.",
    ],
    subjects: &["lead:ID", "deal:ID"],
    takes: &[Parameter::Within, Parameter::Clock, Parameter::Response],
    observed: &["lag_seconds"],
    norm: &["within_seconds", "clock", "response"],
    wording: Wording {
        lasting: [
            "{subject} had no response within {within_seconds} ({clock} time): {lag_seconds} so far",
            "{subject}: нет ответа за {within_seconds} ({clock} время), прошло {lag_seconds}",
        ],
        settled: [
            "{subject} got its first response after {lag_seconds}; the norm is {within_seconds} ({clock} time)",
            "{subject}: первый ответ через {lag_seconds} при норме {within_seconds} ({clock} время)",
        ],
    },
    evaluation: Evaluation::Journey(on_change),
};

const CLOCK: ClockRule = ClockRule { rule: Rule::FirstResponseLate, observe, norm };

/// Updates the clock after a change of the journey.
fn on_change(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, change: JourneyChange) {
    if let JourneyChange::Created { watched: true, at } = change
        && journey.waits_for_response()
    {
        let scope = journey.scope(context);
        let subject = CLOCK.subject(journey, &scope);
        let due = scope.due(Rule::FirstResponseLate, at);
        let violation = due.map(|due| Violation::start(context, &subject, at, due));
        clocks.response = Some(Box::new(FirstResponse::new(at, scope, violation)));
    }
    let Some(response) = &mut clocks.response else { return };
    match change {
        JourneyChange::TimerFired => on_timer(response, journey, context),
        JourneyChange::Assigned => {
            if let Some(violation) = &mut response.violation {
                violation.reassign(context, &CLOCK.subject(journey, &response.scope));
            }
        }
        JourneyChange::Reloaded => {
            if response.awaits() && journey.open() {
                reload(response, journey, context);
            }
        }
        JourneyChange::Created { .. }
        | JourneyChange::Touch { .. }
        | JourneyChange::TouchMoved { .. }
        | JourneyChange::ActsWithdrawn
        | JourneyChange::Contact
        | JourneyChange::Closed { .. }
        | JourneyChange::Deleted => recompute(response, journey, context),
        JourneyChange::Talk
        | JourneyChange::Reopened
        | JourneyChange::StageLeft { .. }
        | JourneyChange::StageEntered { .. } => {}
    }
}

/// Recomputes lag, judgement and violation after an act.
fn recompute(response: &mut FirstResponse, journey: &Journey, context: &mut TenantContext) {
    response.recompute(context, journey.who, journey.acts());
    update_violation(response, journey, context);
}

/// A timer of the entity fired: the deadline, an escalation, or one of another rule.
fn on_timer(response: &mut FirstResponse, journey: &Journey, context: &mut TenantContext) {
    let Some(violation) = &mut response.violation else { return };
    let passed = violation.deadline_passed();
    if passed && violation.state != State::Open {
        return;
    }
    violation.on_timer(context, &CLOCK.subject(journey, &response.scope));
    if !passed && violation.deadline_passed() {
        recompute(response, journey, context);
    }
}

/// Applies new norms while the entity waits.
fn reload(response: &mut FirstResponse, journey: &Journey, context: &mut TenantContext) {
    let scope = journey.scope(context);
    let due = scope.due(Rule::FirstResponseLate, response.anchor).filter(|_| journey.acts().closed.is_none());
    let subject = CLOCK.subject(journey, &response.scope);
    let kept = response.violation.as_mut().is_some_and(|violation| violation.reload(context, &subject, due));
    if !kept {
        let subject = CLOCK.subject(journey, &scope);
        response.violation = due.map(|due| Violation::start(context, &subject, response.anchor, due));
    }
    response.scope = scope;
    recompute(response, journey, context);
}

fn update_violation(response: &mut FirstResponse, journey: &Journey, context: &mut TenantContext) {
    let (acts, anchor) = (journey.acts(), response.anchor);
    let Some(violation) = &mut response.violation else { return };
    let act = match kind(&response.scope) {
        Response::Attempt => acts.touch.map(|(touch, _)| touch),
        Response::Conversation => acts.contact,
    };
    let answer = act.map(|at| at.max(anchor));
    let in_time = answer.filter(|answer| *answer <= violation.due);
    let closed = acts.closed.or(acts.deleted).map(|(at, _)| at);
    let resolution = if acts.closed.is_some() { Resolution::Closed } else { Resolution::Deleted };
    let subject = CLOCK.subject(journey, &response.scope);
    match (violation.state, violation.deadline_passed(), in_time, answer, closed) {
        // The act that ends the wait may become known together with a creation whose deadline has passed.
        (State::Waiting, _, Some(act), ..) => violation.avert(context, &subject, act),
        (State::Waiting, true, None, None, None) => violation.fire(context, &subject),
        (State::Waiting, true, None, Some(act), _) => violation.avert(context, &subject, act),
        (State::Waiting, _, None, _, Some(act)) => violation.avert(context, &subject, act),
        (State::Open | State::Resolved, _, Some(act), ..) => violation.retract(context, &subject, act),
        (State::Open, _, None, Some(act), _) => violation.resolve(context, &subject, Resolution::Responded, act),
        (State::Open, _, None, None, Some(act)) => violation.resolve(context, &subject, resolution, act),
        _ => {}
    }
}

/// What the norm calls a response.
fn kind(scope: &Scope) -> Response {
    scope.rules.get(&Rule::FirstResponseLate).and_then(|norm| norm.response).unwrap_or_default()
}

fn observe(clock: &ClockSubject<'_>, anchor: Timestamp, until: Timestamp) -> Values {
    vec![("lag_seconds", clock.scope.counted(Rule::FirstResponseLate, anchor, until).into())]
}

fn norm(clock: &ClockSubject<'_>) -> Values {
    let mut norm = clock.scope.within(Rule::FirstResponseLate);
    norm.push(("response", kind(clock.scope).name().into()));
    norm
}
