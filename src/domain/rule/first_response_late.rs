//! Owns the first response: its lag, whether it was within the norm, and the rule `first_response_late`.
//!
//! All three are recomputed from the dated acts known so far, so an act that becomes known late (a call becomes known at
//! its end) corrects earlier results.
//!
//! The lag and the within-norm figure use the earliest dated touch, as the figures are defined. The alert uses what the
//! norm calls a response (any touch, or two-way contact).

use crate::domain::alert::Resolution;
use crate::domain::context::{TenantContext, Timer};
use crate::domain::effect::{ManagerIx, Measure};
use crate::domain::id::EntityId;
use crate::domain::journey::{Clocks, Journey, JourneyChange};
use crate::domain::lifecycle::{State, Violation, ViolationContext};
use crate::domain::norms::{Clock, Response, Scope};
use crate::domain::rule::{Definition, Evaluation, Parameter, Rule, Wording};
use crate::domain::time::Timestamp;
use compact_str::format_compact;
use std::sync::Arc;

/// The rule.
pub const RULE: Definition = Definition {
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

/// The first-response clock of an entity whose creation is known.
#[derive(Clone, Debug)]
pub struct FirstResponse {
    anchor: Timestamp,
    scope: Arc<Scope>,
    /// `None` without a norm, or if the deadline never comes.
    violation: Option<Violation>,
    /// Boxed, because waiting entities have none.
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

/// The acts known of an entity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acts {
    /// The earliest dated touch, and who was responsible when it became known.
    pub touch: Option<(Timestamp, ManagerIx)>,
    /// The earliest dated two-way contact.
    pub contact: Option<Timestamp>,
    /// The first closing, and whether a touch was known by then: an answer in the same millisecond counts if it comes
    /// first in event order.
    pub closed: Option<(Timestamp, bool)>,
    /// The deletion, and whether a touch was known by then.
    pub deleted: Option<(Timestamp, bool)>,
}

/// The entity that a clock belongs to.
#[derive(Clone, Copy, Debug)]
struct ClockOwner<'a> {
    entity: &'a EntityId,
    ix: u32,
    who: ManagerIx,
}

/// Updates the clock after a change of the journey.
fn on_change(clocks: &mut Clocks, journey: &Journey, context: &mut TenantContext, change: JourneyChange) {
    let owner = ClockOwner { entity: &journey.id, ix: journey.ix, who: journey.who };
    if let JourneyChange::Created { watched: true, at } = change
        && journey.waits_for_response()
    {
        let scope = journey.scope(context);
        clocks.response = Some(Box::new(FirstResponse::start(context, owner, at, scope)));
    }
    let Some(response) = &mut clocks.response else { return };
    match change {
        JourneyChange::TimerFired => response.on_timer(context, owner, journey.acts()),
        JourneyChange::Assigned => response.reassign(context, owner.who),
        JourneyChange::Reloaded => {
            if response.awaits() && journey.open() {
                let scope = journey.scope(context);
                response.reload(context, owner, scope, journey.acts());
            }
        }
        JourneyChange::Created { .. }
        | JourneyChange::Touch { .. }
        | JourneyChange::Contact
        | JourneyChange::Closed { .. }
        | JourneyChange::Deleted => {
            response.recompute(context, owner, journey.acts());
        }
        JourneyChange::Talk
        | JourneyChange::Reopened
        | JourneyChange::StageLeft { .. }
        | JourneyChange::StageEntered { .. } => {}
    }
}

impl FirstResponse {
    fn start(context: &mut TenantContext, owner: ClockOwner<'_>, anchor: Timestamp, scope: Arc<Scope>) -> Self {
        let violation = scope.due(Rule::FirstResponseLate, anchor).map(|due| {
            context.set_timer(due, Timer::Journey(owner.ix));
            Violation::new(anchor, due)
        });
        Self { anchor, scope, violation, lag: None, judged: None }
    }

    /// Whether the entity has had no touch yet.
    pub fn awaits(&self) -> bool {
        self.lag.is_none()
    }

    /// When its clock started.
    pub fn anchor(&self) -> Timestamp {
        self.anchor
    }

    /// The norms in force when it started.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Its possible violation; `None` without a norm.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// When the first response was given.
    pub fn answered(&self) -> Option<Timestamp> {
        self.lag.as_ref().map(|lag| lag.at)
    }

    /// Recomputes lag, judgement and violation after an act.
    fn recompute(&mut self, context: &mut TenantContext, owner: ClockOwner<'_>, acts: Acts) {
        let response = acts.touch.map(|(touch, who)| (touch.max(self.anchor), who));
        self.update_lag(context, response);
        self.update_judgement(context, owner, acts);
        self.update_violation(context, owner, acts);
    }

    /// A timer of the entity fired: the deadline, an escalation, or one of another rule.
    fn on_timer(&mut self, context: &mut TenantContext, owner: ClockOwner<'_>, acts: Acts) {
        let Some(violation) = &mut self.violation else { return };
        if violation.deadline_passed() && violation.state != State::Open {
            return;
        }
        let passed = violation.deadline_passed();
        with_context(&self.scope, owner, |violation_context| violation.on_timer(context, violation_context));
        if !passed && violation.deadline_passed() {
            self.recompute(context, owner, acts);
        }
    }

    /// Applies new norms while the entity waits.
    fn reload(&mut self, context: &mut TenantContext, owner: ClockOwner<'_>, scope: Arc<Scope>, acts: Acts) {
        let due = scope.due(Rule::FirstResponseLate, self.anchor).filter(|_| acts.closed.is_none());
        match &mut self.violation {
            Some(violation) => {
                if !with_context(&self.scope, owner, |violation_context| {
                    violation.reload(context, violation_context, due)
                }) {
                    self.violation = None;
                }
            }
            None => self.violation = due.map(|due| Violation::new(self.anchor, due)),
        }
        if let Some(due) = due {
            context.set_timer(due, Timer::Journey(owner.ix));
        }
        self.scope = scope;
        self.recompute(context, owner, acts);
    }

    /// The responsible manager changed.
    fn reassign(&mut self, context: &mut TenantContext, to: ManagerIx) {
        if let Some(violation) = &mut self.violation {
            violation.reassign(context, Rule::FirstResponseLate, to);
        }
    }

    fn update_lag(&mut self, context: &mut TenantContext, response: Option<(Timestamp, ManagerIx)>) {
        let changed =
            |response: &(Timestamp, ManagerIx)| self.lag.as_ref().is_none_or(|lag| (lag.at, lag.who) != *response);
        let Some((at, who)) = response.filter(changed) else { return };
        if let Some(old) = &self.lag {
            context.emit_fact(old.at, old.who, -1, old.measure);
        }
        let wall = self.scope.elapsed(Clock::Wall, self.anchor, at);
        let business = self.scope.elapsed(Clock::Business, self.anchor, at);
        let measure = Measure::FirstResponse { wall, business };
        context.emit_fact(at, who, 1, measure);
        self.lag = Some(Box::new(Lag { at, who, measure }));
    }

    fn update_judgement(&mut self, context: &mut TenantContext, owner: ClockOwner<'_>, acts: Acts) {
        let Some((due, passed)) = self.violation.as_ref().map(|violation| (violation.due, violation.deadline_passed()))
        else {
            return;
        };
        let stopped = acts.closed.or(acts.deleted);
        let open_at = |touch| stopped.is_none_or(|(at, touched)| touch < at || (touch == at && touched));
        let verdict = match (acts.touch, stopped) {
            (Some((touch, who)), _) if touch <= due && open_at(touch) => Some((touch.max(self.anchor), who, true)),
            (_, Some((at, _))) if at <= due => None,
            _ if passed => Some((due, owner.who, false)),
            _ => None,
        };
        // The manager accountable for a missed deadline is fixed at the deadline, even if responsibility changed since.
        let same = |judged: Judged, (at, who, within): (Timestamp, ManagerIx, bool)| {
            (judged.at, judged.within) == (at, within) && (!within || judged.who == who)
        };
        if self.judged.map_or(verdict.is_none(), |judged| verdict.is_some_and(|verdict| same(judged, verdict))) {
            return;
        }
        if let Some(old) = self.judged.take() {
            context.emit_fact(old.at, old.who, -1, Measure::FirstResponseJudged { within: old.within });
        }
        if let Some((at, who, within)) = verdict {
            context.emit_fact(at, who, 1, Measure::FirstResponseJudged { within });
            self.judged = Some(Judged { at, who, within });
        }
    }

    fn update_violation(&mut self, context: &mut TenantContext, owner: ClockOwner<'_>, acts: Acts) {
        let Some(violation) = &mut self.violation else { return };
        let act = match response(&self.scope) {
            Response::Attempt => acts.touch.map(|(touch, _)| touch),
            Response::Conversation => acts.contact,
        };
        let response = act.map(|at| at.max(self.anchor));
        let in_time = response.filter(|response| *response <= violation.due);
        let closed = acts.closed.or(acts.deleted).map(|(at, _)| at);
        let resolution = if acts.closed.is_some() { Resolution::Closed } else { Resolution::Deleted };
        with_context(&self.scope, owner, |violation_context| {
            match (violation.state, violation.deadline_passed(), in_time, response, closed) {
                // The act that ends the wait may become known together with a creation whose deadline has passed.
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

fn with_context<T>(scope: &Scope, owner: ClockOwner<'_>, work: impl FnOnce(&ViolationContext<'_>) -> T) -> T {
    let (clock, severity, escalate_after) = ViolationContext::of(scope.rules.get(&Rule::FirstResponseLate));
    work(&ViolationContext {
        rule: Rule::FirstResponseLate,
        subject: format_compact!("{}", owner.entity),
        who: owner.who,
        holder: owner.who,
        entity: Some(owner.entity),
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
        timer: Timer::Journey(owner.ix),
    })
}
