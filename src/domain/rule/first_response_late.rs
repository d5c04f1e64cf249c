//! Owns the rule `first_response_late`.
//!
//! The alert uses what the norm calls a response (any touch, or two-way contact); the figures use the earliest touch. The
//! state is part of the journey (`journey/response.rs`), because figures need it too.

use crate::domain::alert::{Resolution, Values};
use crate::domain::change::JourneyChange;
use crate::domain::context::TenantContext;
use crate::domain::journey::Journey;
use crate::domain::journey::clocks::Clocks;
use crate::domain::journey::response::{Acts, FirstResponse};
use crate::domain::lifecycle::{State, Violation};
use crate::domain::norms::{ClockStart, Response, Scope};
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
    takes: &[Parameter::Within, Parameter::WarnBefore, Parameter::Clock, Parameter::Response, Parameter::From],
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
        due_soon: [
            "{subject} has waited for a response for {lag_seconds} ({clock} time); the norm is {within_seconds}",
            "{subject}: ждёт ответа {lag_seconds} ({clock} время) при норме {within_seconds}",
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
        let violation = start(journey, context, &scope, anchor(journey, &scope, at));
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
        JourneyChange::HandedOver => hand_over(response, journey, context),
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
        | JourneyChange::Planned { .. }
        | JourneyChange::PlanEnded { .. }
        | JourneyChange::StageLeft { .. }
        | JourneyChange::StageEntered { .. }
        | JourneyChange::WaitStarted { .. }
        | JourneyChange::WaitEnded { .. } => {}
    }
}

/// The instant from which the clock counts; `None` until the entity is assigned, if the clock starts then.
fn anchor(journey: &Journey, scope: &Scope, created: Timestamp) -> Option<Timestamp> {
    if starts_with_assignment(scope) { journey.assigned_at() } else { Some(created) }
}

/// Starts a clock; `None` without a norm, or if the deadline never comes.
fn start(
    journey: &Journey,
    context: &mut TenantContext,
    scope: &Scope,
    anchor: Option<Timestamp>,
) -> Option<Violation> {
    let anchor = anchor?;
    let due = scope.due(Rule::FirstResponseLate, anchor)?;
    Some(Violation::start(context, &CLOCK.subject(journey, scope), anchor, due))
}

/// Before the response, a hand-over starts the clock again, if the norm of the manager who takes over says so. The clock
/// that ran until then was still in time, or its alert ends.
fn hand_over(response: &mut FirstResponse, journey: &Journey, context: &mut TenantContext) {
    let scope = journey.scope(context);
    let acts = journey.acts();
    let answered = response.scopes().chain([&*scope]).any(|scope| answer(scope, acts).is_some());
    if !starts_with_assignment(&scope) || answered || acts.closed.or(acts.deleted).is_some() {
        return;
    }
    if let Some(violation) = &mut response.violation {
        violation.settle(context, &CLOCK.subject(journey, &response.scope), Resolution::Reassigned, context.now);
    }
    let violation = start(journey, context, &scope, journey.assigned_at());
    response.hand_over(context.now, journey.previous_manager(), scope, violation);
}

/// Recomputes lag, judgement and violation after an act.
fn recompute(response: &mut FirstResponse, journey: &Journey, context: &mut TenantContext) {
    let acts = journey.acts();
    if journey.is_merged() {
        // One history has one lag: that of the survivor.
        response.withdraw(context);
    } else {
        response.recompute(context, journey.who, acts, journey.human_response());
    }
    update_violation(response, journey, context);
    for clock in response.ended_clocks_mut() {
        if let Some(act) = answer(&clock.scope, acts) {
            let (act, subject) = (act.max(clock.violation.anchor), CLOCK.subject(journey, &clock.scope));
            clock.violation.settle(context, &subject, Resolution::Responded, act);
        }
    }
}

/// A timer of the entity fired: the deadline, an escalation, or one of another rule.
fn on_timer(response: &mut FirstResponse, journey: &Journey, context: &mut TenantContext) {
    let Some(violation) = &mut response.violation else { return };
    let passed = violation.deadline_passed();
    if passed && violation.state != State::Open {
        return;
    }
    let subject = CLOCK.subject(journey, &response.scope);
    violation.on_timer(context, &subject);
    violation.warn_in_time(context, &subject);
    if !passed && violation.deadline_passed() {
        recompute(response, journey, context);
    }
}

/// Applies new norms while the entity waits.
fn reload(response: &mut FirstResponse, journey: &Journey, context: &mut TenantContext) {
    let scope = journey.scope(context);
    let anchor = anchor(journey, &scope, response.created).filter(|_| journey.acts().closed.is_none());
    let subject = CLOCK.subject(journey, &response.scope);
    let kept = response.violation.as_mut().is_some_and(|violation| {
        let same = anchor.filter(|anchor| *anchor == violation.anchor);
        violation.reload(context, &subject, &scope, same.and_then(|anchor| scope.due(Rule::FirstResponseLate, anchor)))
    });
    if !kept {
        response.violation = start(journey, context, &scope, anchor);
    }
    response.set_scope(scope);
    recompute(response, journey, context);
}

fn update_violation(response: &mut FirstResponse, journey: &Journey, context: &mut TenantContext) {
    let acts = journey.acts();
    let Some(violation) = &mut response.violation else { return };
    let answer = answer(&response.scope, acts).map(|at| at.max(violation.anchor));
    let in_time = answer.filter(|answer| *answer <= violation.due);
    let closed = acts.closed.or(acts.deleted).map(|(at, _)| at);
    let resolution = if acts.closed.is_some() { Resolution::Closed } else { journey.removal() };
    let subject = CLOCK.subject(journey, &response.scope);
    match (violation.state, violation.deadline_passed(), in_time, answer, closed) {
        // The act that ends the wait may become known together with a creation whose deadline has passed.
        (State::Waiting, _, Some(act), ..) => violation.avert(context, &subject, act),
        (State::DueSoon | State::CalledOff, _, Some(act), ..) => {
            violation.settle(context, &subject, Resolution::Responded, act)
        }
        (State::DueSoon, _, None, _, Some(act)) => violation.settle(context, &subject, resolution, act),
        (State::Waiting | State::DueSoon, true, None, None, None) => violation.fire(context, &subject),
        (State::Waiting, true, None, Some(act), _) => violation.avert(context, &subject, act),
        (State::Waiting, _, None, _, Some(act)) => violation.avert(context, &subject, act),
        (State::Open | State::Resolved, _, Some(act), ..) => violation.retract(context, &subject, act),
        (State::Open, _, None, Some(act), _) => violation.resolve(context, &subject, Resolution::Responded, act),
        (State::Open, _, None, None, Some(act)) => violation.resolve(context, &subject, resolution, act),
        _ => {}
    }
}

/// The date of what the norm calls a response.
fn answer(scope: &Scope, acts: Acts) -> Option<Timestamp> {
    match kind(scope) {
        Response::Attempt => acts.touch.map(|(touch, _)| touch),
        Response::Conversation => acts.contact,
    }
}

/// Whether the clock starts with the assignment.
fn starts_with_assignment(scope: &Scope) -> bool {
    scope.rules.get(&Rule::FirstResponseLate).and_then(|norm| norm.from) == Some(ClockStart::Assigned)
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
