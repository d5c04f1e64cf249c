//! Owns the first response: its lag, whether it was within the norm, and `first_response_late`.
//!
//! Why: most leads go to whoever answers first, and a lead that nobody turned to is lost in silence. All three are
//! worked out anew from the dated acts known so far, so an act that becomes known late corrects what was said before.
//!
//! The lag and the judgement go by the earliest dated touch, as the figures are defined; the alert goes by what the
//! norm calls a response (any touch, or contact both ways).

use super::super::alert::{Resolution, Value, Values};
use super::super::desk::{Desk, Timer};
use super::super::effect::{Measure, Who};
use super::super::id::EntityId;
use super::super::norms::{Clock, Response, Scope};
use super::super::time::{Span, Timestamp};
use super::super::violation::{Charge, State, Violation};
use super::{Rule, Wording};
use std::sync::Arc;

/// What a person reads.
pub const WORDING: Wording = Wording {
    lasting: [
        "{subject} had no response within {within} ({clock} time): {lag} so far",
        "{subject}: нет ответа за {within} ({clock} время), прошло {lag}",
    ],
    settled: [
        "{subject} got its first response after {lag}; the norm is {within} ({clock} time)",
        "{subject}: первый ответ через {lag} при норме {within} ({clock} время)",
    ],
};

/// The first-response clock of an entity whose creation is known.
#[derive(Clone, Debug)]
pub struct FirstResponse {
    anchor: Timestamp,
    scope: Arc<Scope>,
    /// `None` without a norm, or where the deadline never comes.
    violation: Option<Violation>,
    /// The deadline passed.
    passed: bool,
    lag: Option<Lag>,
    judged: Option<Judged>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Lag {
    at: Timestamp,
    who: Who,
    measure: Measure,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Judged {
    at: Timestamp,
    who: Who,
    within: bool,
}

/// What is known of an entity's acts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acts {
    /// The earliest dated touch, and who was responsible when it became known.
    pub touch: Option<(Timestamp, Who)>,
    /// The earliest dated contact both ways.
    pub contact: Option<Timestamp>,
    /// The first closing, and whether a touch was known by then: an answer in the millisecond of the closing counts if
    /// it came first.
    pub closed: Option<(Timestamp, bool)>,
    /// The deletion, and whether a touch was known by then.
    pub deleted: Option<(Timestamp, bool)>,
}

/// Whose clock it is.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    /// The entity.
    pub entity: &'a EntityId,
    /// Its number, which timers carry.
    pub number: u32,
    /// Its responsible now.
    pub who: Who,
}

impl FirstResponse {
    /// Starts the clock at the creation.
    pub fn start(desk: &mut Desk, of: Of<'_>, anchor: Timestamp, scope: Arc<Scope>) -> Self {
        let violation = scope.rules.get(&Rule::FirstResponseLate).and_then(|norm| {
            let due = scope.deadline(norm.clock.unwrap_or_default(), anchor, norm.within?.span)?;
            desk.wake(due, Timer::FirstResponse(of.number));
            Some(Violation::new(anchor, due))
        });
        Self { anchor, scope, violation, passed: false, lag: None, judged: None }
    }

    /// Whether nobody has turned to the entity yet.
    pub fn awaits(&self) -> bool {
        self.lag.is_none()
    }

    /// Works everything out anew after an act.
    pub fn review(&mut self, desk: &mut Desk, of: Of<'_>, acts: Acts) {
        let response = acts.touch.map(|(touch, who)| (touch.max(self.anchor), who));
        self.review_lag(desk, response);
        self.review_judgement(desk, of, acts);
        self.review_violation(desk, of, acts);
    }

    /// A timer went off: the deadline, or an escalation.
    pub fn ring(&mut self, desk: &mut Desk, of: Of<'_>, acts: Acts) {
        let Some(violation) = &mut self.violation else { return };
        if !self.passed && violation.due <= desk.now {
            self.passed = true;
            self.review(desk, of, acts);
        } else if violation.state == State::Open {
            let charge = charge(&self.scope, of);
            violation.escalate(desk, &charge);
        }
    }

    /// The responsible changed.
    pub fn hand_over(&mut self, desk: &mut Desk, to: Who) {
        if let Some(violation) = &mut self.violation {
            violation.hand_over(desk, Rule::FirstResponseLate, to);
        }
    }

    fn review_lag(&mut self, desk: &mut Desk, response: Option<(Timestamp, Who)>) {
        let new = |response: &(Timestamp, Who)| self.lag.is_none_or(|lag| (lag.at, lag.who) != *response);
        let Some((at, who)) = response.filter(new) else { return };
        if let Some(old) = self.lag {
            desk.fact(old.at, old.who, -1, old.measure);
        }
        let wall = self.scope.elapsed(Clock::Wall, self.anchor, at);
        let business = self.scope.elapsed(Clock::Business, self.anchor, at);
        let measure = Measure::FirstResponse { wall, business };
        desk.fact(at, who, 1, measure);
        self.lag = Some(Lag { at, who, measure });
    }

    fn review_judgement(&mut self, desk: &mut Desk, of: Of<'_>, acts: Acts) {
        let Some(due) = self.violation.as_ref().map(|violation| violation.due) else { return };
        let stopped = acts.closed.or(acts.deleted);
        let open_at = |touch| stopped.is_none_or(|(at, touched)| touch < at || (touch == at && touched));
        let verdict = match (acts.touch, stopped) {
            (Some((touch, who)), _) if touch <= due && open_at(touch) => Some((touch.max(self.anchor), who, true)),
            (_, Some((at, _))) if at <= due => None,
            _ if self.passed => Some((due, of.who, false)),
            _ => None,
        };
        // Who missed a deadline is settled at the deadline, whoever has the lead now.
        let same = |judged: Judged, (at, who, within): (Timestamp, Who, bool)| {
            (judged.at, judged.within) == (at, within) && (!within || judged.who == who)
        };
        if self.judged.map_or(verdict.is_none(), |judged| verdict.is_some_and(|verdict| same(judged, verdict))) {
            return;
        }
        if let Some(old) = self.judged.take() {
            desk.fact(old.at, old.who, -1, Measure::FirstResponseJudged { within: old.within });
        }
        if let Some((at, who, within)) = verdict {
            desk.fact(at, who, 1, Measure::FirstResponseJudged { within });
            self.judged = Some(Judged { at, who, within });
        }
    }

    fn review_violation(&mut self, desk: &mut Desk, of: Of<'_>, acts: Acts) {
        let Some(violation) = &mut self.violation else { return };
        let charge = charge(&self.scope, of);
        let wanted = match response(&self.scope) {
            Response::Attempt => acts.touch.map(|(touch, _)| touch),
            Response::Conversation => acts.contact,
        };
        let response = wanted.map(|act| act.max(self.anchor));
        let in_time = response.filter(|response| *response <= violation.due);
        if violation.state == State::Waiting && self.passed {
            // A creation that became known after its deadline may come with what ended the wait.
            if response.is_some() || acts.closed.is_some() || acts.deleted.is_some() {
                violation.state = State::Averted;
            } else {
                violation.fire(desk, &charge);
            }
        }
        // A closing or deletion in time, too, may become known late: then there was nothing to judge.
        let ended = acts.closed.or(acts.deleted).map(|(at, _)| at).filter(|at| *at <= violation.due);
        match (violation.state, in_time.or(ended), response, acts.closed) {
            (State::Open | State::Resolved, Some(act), _, _) => violation.retract(desk, &charge, act),
            (State::Open, None, Some(act), _) => violation.resolve(desk, &charge, Resolution::Responded, act),
            (State::Open, None, None, Some((closed, _))) => {
                violation.resolve(desk, &charge, Resolution::Closed, closed);
            }
            (State::Open, ..) if acts.deleted.is_some() => {
                violation.resolve(desk, &charge, Resolution::Deleted, desk.now)
            }
            _ => {}
        }
    }
}

fn response(scope: &Scope) -> Response {
    scope.rules.get(&Rule::FirstResponseLate).and_then(|norm| norm.response).unwrap_or_default()
}

fn charge<'a>(scope: &'a Scope, of: Of<'a>) -> Charge<'a> {
    let norm = scope.rules.get(&Rule::FirstResponseLate);
    let clock = norm.and_then(|norm| norm.clock).unwrap_or_default();
    let within = norm.and_then(|norm| norm.within).unwrap_or_default().span;
    Charge {
        rule: Rule::FirstResponseLate,
        subject: of.entity.to_string().into(),
        who: of.who,
        holder: of.who,
        entity: Some(of.entity),
        interaction: None,
        scope,
        clock,
        severity: norm.and_then(|norm| norm.severity).unwrap_or_default(),
        escalate_after: norm.and_then(|norm| norm.escalate_after.as_deref()).unwrap_or_default(),
        measured: "lag_seconds",
        norm: norm_values(within, clock, response(scope)),
        timer: Timer::FirstResponse(of.number),
    }
}

fn norm_values(within: Span, clock: Clock, response: Response) -> Values {
    vec![("within_seconds", within.into()), ("clock", clock.name().into()), ("response", Value::from(response.name()))]
}
