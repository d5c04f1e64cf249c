//! Owns the first response: its lag, whether it was within the norm, and `first_response_late`.
//!
//! All three are worked out anew from the dated acts known so far, so an act that becomes known late (a call is known at
//! its end) corrects what was said before.
//!
//! The lag and the judgement go by the earliest dated touch, as the figures are defined; the alert goes by what the
//! norm calls a response (any touch, or contact both ways).

use super::super::alert::Resolution;
use super::super::effect::{ManagerIx, Measure};
use super::super::id::EntityId;
use super::super::journey::{Clocks, Journey, JourneyChange};
use super::super::norms::{Clock, Response, Scope};
use super::super::tenant_context::{TenantContext, Timer};
use super::super::time::Timestamp;
use super::super::violation::{State, Violation, ViolationContext};
use super::{Definition, Evaluation, Parameter, Rule, Wording};
use compact_str::format_compact;
use std::sync::Arc;

/// The rule.
pub const RULE: Definition = Definition {
    about: [
        "a lead, or a deal without lead, had no response by its deadline",
        "на лид (или сделку без лида) не отреагировали вовремя",
    ],
    why: [
        "Most leads go to whoever answers first, and a lead that nobody turned to is lost in silence.",
        "Чаще всего клиент достаётся тому, кто ответил первым; лид, к которому никто не обратился, теряется молча.",
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
    evaluation: Evaluation::Journey(follow),
};

/// The first-response clock of an entity whose creation is known.
#[derive(Clone, Debug)]
pub struct FirstResponse {
    anchor: Timestamp,
    scope: Arc<Scope>,
    /// `None` without a norm, or where the deadline never comes.
    violation: Option<Violation>,
    /// Boxed, as whoever waits has none.
    lag: Option<Box<Lag>>,
    judged: Option<Judged>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Lag {
    at: Timestamp,
    who: ManagerIx,
    measure: Measure,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Judged {
    at: Timestamp,
    who: ManagerIx,
    within: bool,
}

/// What is known of an entity's acts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acts {
    /// The earliest dated touch, and who was responsible when it became known.
    pub touch: Option<(Timestamp, ManagerIx)>,
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
struct Of<'a> {
    entity: &'a EntityId,
    number: u32,
    who: ManagerIx,
}

/// Looks after the clock.
fn follow(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, change: JourneyChange) {
    let of = Of { entity: &journey.id, number: journey.number, who: journey.who };
    if let JourneyChange::Born { watched: true, at } = change
        && journey.waits_for_response()
    {
        let scope = journey.scope(context);
        clocks.response = Some(Box::new(FirstResponse::start(context, of, at, scope)));
    }
    let Some(response) = &mut clocks.response else { return };
    match change {
        JourneyChange::Rung => response.ring(context, of, journey.acts()),
        JourneyChange::Assigned => response.hand_over(context, of.who),
        JourneyChange::Reloaded => {
            if response.awaits() && journey.open() {
                let scope = journey.scope(context);
                response.reload(context, of, scope, journey.acts());
            }
        }
        JourneyChange::Born { .. }
        | JourneyChange::Touch { .. }
        | JourneyChange::Contact
        | JourneyChange::Closed { .. }
        | JourneyChange::Deleted => {
            response.review(context, of, journey.acts());
        }
        JourneyChange::Talk | JourneyChange::Reopened | JourneyChange::Left { .. } | JourneyChange::Came { .. } => {}
    }
}

impl FirstResponse {
    fn start(context: &mut TenantContext, of: Of<'_>, anchor: Timestamp, scope: Arc<Scope>) -> Self {
        let violation = scope.due(Rule::FirstResponseLate, anchor).map(|due| {
            context.wake(due, Timer::Journey(of.number));
            Violation::new(anchor, due)
        });
        Self { anchor, scope, violation, lag: None, judged: None }
    }

    /// Whether nobody has turned to the entity yet.
    pub fn awaits(&self) -> bool {
        self.lag.is_none()
    }

    /// When its clock started.
    pub fn anchor(&self) -> Timestamp {
        self.anchor
    }

    /// The norms where it started.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What may come of it; `None` without a norm.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// The first response.
    pub fn answered(&self) -> Option<Timestamp> {
        self.lag.as_ref().map(|lag| lag.at)
    }

    /// Works everything out anew after an act.
    fn review(&mut self, context: &mut TenantContext, of: Of<'_>, acts: Acts) {
        let response = acts.touch.map(|(touch, who)| (touch.max(self.anchor), who));
        self.review_lag(context, response);
        self.review_judgement(context, of, acts);
        self.review_violation(context, of, acts);
    }

    /// A timer went off: the deadline, an escalation, or somebody else's.
    fn ring(&mut self, context: &mut TenantContext, of: Of<'_>, acts: Acts) {
        let Some(violation) = &mut self.violation else { return };
        if violation.passed() && violation.state != State::Open {
            return;
        }
        let passed = violation.passed();
        charged(&self.scope, of, |violation_context| violation.ring(context, violation_context));
        if !passed && violation.passed() {
            self.review(context, of, acts);
        }
    }

    /// Other norms are in force while the entity waits.
    fn reload(&mut self, context: &mut TenantContext, of: Of<'_>, scope: Arc<Scope>, acts: Acts) {
        let due = scope.due(Rule::FirstResponseLate, self.anchor).filter(|_| acts.closed.is_none());
        match &mut self.violation {
            Some(violation) => {
                if !charged(&self.scope, of, |violation_context| violation.reload(context, violation_context, due)) {
                    self.violation = None;
                }
            }
            None => self.violation = due.map(|due| Violation::new(self.anchor, due)),
        }
        if let Some(due) = due {
            context.wake(due, Timer::Journey(of.number));
        }
        self.scope = scope;
        self.review(context, of, acts);
    }

    /// The responsible changed.
    fn hand_over(&mut self, context: &mut TenantContext, to: ManagerIx) {
        if let Some(violation) = &mut self.violation {
            violation.hand_over(context, Rule::FirstResponseLate, to);
        }
    }

    fn review_lag(&mut self, context: &mut TenantContext, response: Option<(Timestamp, ManagerIx)>) {
        let new =
            |response: &(Timestamp, ManagerIx)| self.lag.as_ref().is_none_or(|lag| (lag.at, lag.who) != *response);
        let Some((at, who)) = response.filter(new) else { return };
        if let Some(old) = &self.lag {
            context.fact(old.at, old.who, -1, old.measure);
        }
        let wall = self.scope.elapsed(Clock::Wall, self.anchor, at);
        let business = self.scope.elapsed(Clock::Business, self.anchor, at);
        let measure = Measure::FirstResponse { wall, business };
        context.fact(at, who, 1, measure);
        self.lag = Some(Box::new(Lag { at, who, measure }));
    }

    fn review_judgement(&mut self, context: &mut TenantContext, of: Of<'_>, acts: Acts) {
        let Some((due, passed)) = self.violation.as_ref().map(|violation| (violation.due, violation.passed())) else {
            return;
        };
        let stopped = acts.closed.or(acts.deleted);
        let open_at = |touch| stopped.is_none_or(|(at, touched)| touch < at || (touch == at && touched));
        let verdict = match (acts.touch, stopped) {
            (Some((touch, who)), _) if touch <= due && open_at(touch) => Some((touch.max(self.anchor), who, true)),
            (_, Some((at, _))) if at <= due => None,
            _ if passed => Some((due, of.who, false)),
            _ => None,
        };
        // Who missed a deadline is settled at the deadline, whoever has the lead now.
        let same = |judged: Judged, (at, who, within): (Timestamp, ManagerIx, bool)| {
            (judged.at, judged.within) == (at, within) && (!within || judged.who == who)
        };
        if self.judged.map_or(verdict.is_none(), |judged| verdict.is_some_and(|verdict| same(judged, verdict))) {
            return;
        }
        if let Some(old) = self.judged.take() {
            context.fact(old.at, old.who, -1, Measure::FirstResponseJudged { within: old.within });
        }
        if let Some((at, who, within)) = verdict {
            context.fact(at, who, 1, Measure::FirstResponseJudged { within });
            self.judged = Some(Judged { at, who, within });
        }
    }

    fn review_violation(&mut self, context: &mut TenantContext, of: Of<'_>, acts: Acts) {
        let Some(violation) = &mut self.violation else { return };
        let wanted = match response(&self.scope) {
            Response::Attempt => acts.touch.map(|(touch, _)| touch),
            Response::Conversation => acts.contact,
        };
        let response = wanted.map(|act| act.max(self.anchor));
        let in_time = response.filter(|response| *response <= violation.due);
        let closed = acts.closed.or(acts.deleted).map(|(at, _)| at);
        let resolution = if acts.closed.is_some() { Resolution::Closed } else { Resolution::Deleted };
        charged(&self.scope, of, |violation_context| {
            match (violation.state, violation.passed(), in_time, response, closed) {
                // What ends the wait may become known together with a creation whose deadline is over.
                (State::Waiting, _, Some(act), ..) => violation.avert(context, violation_context, act),
                (State::Waiting, true, None, None, None) => violation.fire(context, violation_context),
                (State::Waiting, true, None, Some(act), _) => violation.avert(context, violation_context, act),
                (State::Waiting, _, None, _, Some(act)) => violation.avert(context, violation_context, act),
                (State::Open | State::Resolved, _, Some(act), ..) => violation.retract(context, violation_context, act),
                (State::Open, _, None, Some(act), _) => {
                    violation.resolve(context, violation_context, Resolution::Responded, act)
                }
                (State::Open, _, None, None, Some(act)) => {
                    violation.resolve(context, violation_context, resolution, act)
                }
                _ => {}
            }
        });
    }
}

fn response(scope: &Scope) -> Response {
    scope.rules.get(&Rule::FirstResponseLate).and_then(|norm| norm.response).unwrap_or_default()
}

fn charged<T>(scope: &Scope, of: Of<'_>, work: impl FnOnce(&ViolationContext<'_>) -> T) -> T {
    let (clock, severity, escalate_after) = ViolationContext::of(scope.rules.get(&Rule::FirstResponseLate));
    work(&ViolationContext {
        rule: Rule::FirstResponseLate,
        subject: format_compact!("{}", of.entity),
        who: of.who,
        holder: of.who,
        entity: Some(of.entity),
        interaction: None,
        scope,
        clock,
        severity,
        escalate_after,
        observe: &|anchor, until| vec![("lag_seconds", scope.elapsed(clock, anchor, until).into())],
        norm: &|| {
            let mut norm = scope.within(Rule::FirstResponseLate);
            norm.push(("response", response(scope).name().into()));
            norm
        },
        timer: Timer::Journey(of.number),
    })
}
