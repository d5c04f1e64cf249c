//! Owns the first response of a lead or deal: its lags, and whether it was within the norm.
//!
//! Both are recomputed from the dated acts known so far, so an act that becomes known late (a call becomes known at its
//! end) corrects earlier results. They use the earliest dated touch, as the figures are defined.
//!
//! The lag counts from the creation. The clock of the norm may start again with each manager; the clocks that ended with a
//! hand-over are kept, because a touch is judged by the clock that ran at its date.

use crate::domain::context::TenantContext;
use crate::domain::figures::pane::Measure;
use crate::domain::index::ManagerIx;
use crate::domain::journey::assignments::Assignment;
use crate::domain::lifecycle::Violation;
use crate::domain::mem::lazy_box::{LazyBox, StaticDefault};
use crate::domain::norms::{Clock, Scope};
use crate::domain::time::Timestamp;
use std::sync::Arc;

/// The first response to an entity whose creation is known.
#[derive(Clone, Debug)]
pub struct FirstResponse {
    /// The creation.
    pub created: Timestamp,
    /// The norms in force when the clock started, or at the creation if there is none.
    pub scope: Arc<Scope>,
    /// The pending or actual violation; `None` without a norm or a manager to whom it applies, or if the deadline never
    /// comes.
    pub violation: Option<Violation>,
    earlier: LazyBox<Earlier>,
    /// Boxed, because waiting entities have none.
    lag: Option<Box<Lag>>,
    judged: Option<Judged>,
}

/// What came before the last hand-over.
#[derive(Clone, Debug, Default)]
struct Earlier {
    /// The norms at the creation.
    created: Option<Arc<Scope>>,
    /// The clocks, in order.
    clocks: Vec<EndedClock>,
}

/// A clock that ended with a hand-over.
#[derive(Clone, Debug)]
pub struct EndedClock {
    /// The norms in force when it started.
    pub scope: Arc<Scope>,
    /// The violation, which may be retracted.
    pub violation: Violation,
    /// When it ended.
    pub ended: Timestamp,
    /// The manager who is accountable if its deadline was missed.
    accountable: ManagerIx,
}

/// Maximum number of ended clocks kept, so that late evidence can still retract their alerts.
const MAX_ENDED: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Lag {
    at: Timestamp,
    who: ManagerIx,
    measure: Measure,
    human: Option<HumanLag>,
}

/// The lag from an assignment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct HumanLag {
    at: Timestamp,
    who: ManagerIx,
    since: Timestamp,
    measure: Measure,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Judged {
    at: Timestamp,
    who: ManagerIx,
    within: bool,
}

/// The first touch, who made it, and the last assignment before it.
pub type HumanResponse<'a> = (Timestamp, ManagerIx, &'a Assignment);

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

impl StaticDefault for Earlier {
    const DEFAULT: &'static Self = &Self { created: None, clocks: Vec::new() };
}

impl FirstResponse {
    /// A clock without an answer.
    pub fn new(created: Timestamp, scope: Arc<Scope>, violation: Option<Violation>) -> Self {
        Self { created, scope, violation, earlier: LazyBox::default(), lag: None, judged: None }
    }

    /// Whether the entity has had no touch yet.
    pub fn awaits(&self) -> bool {
        self.lag.is_none()
    }

    /// When the first response was given.
    pub fn answered(&self) -> Option<Timestamp> {
        self.lag.as_ref().map(|lag| lag.at)
    }

    /// The clocks that ended with a hand-over, in order.
    pub fn ended_clocks(&self) -> &[EndedClock] {
        &self.earlier.clocks
    }

    /// The norms of the clocks so far.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        let current = self.violation.as_ref().map(|_| &*self.scope);
        self.ended_clocks().iter().map(|clock| &*clock.scope).chain(current)
    }

    /// The clocks that ended, mutable.
    pub fn ended_clocks_mut(&mut self) -> &mut [EndedClock] {
        self.earlier.existing_mut().map_or(&mut [], |earlier| &mut earlier.clocks)
    }

    /// Replaces the clock at a hand-over at `at`; `before`: the manager who was responsible until then.
    pub fn hand_over(&mut self, at: Timestamp, before: ManagerIx, scope: Arc<Scope>, violation: Option<Violation>) {
        let scope = std::mem::replace(&mut self.scope, scope);
        self.earlier.created.get_or_insert_with(|| Arc::clone(&scope));
        if let Some(violation) = std::mem::replace(&mut self.violation, violation) {
            let missed = self.judged.filter(|judged| !judged.within && judged.at == violation.due);
            let accountable = missed.map_or(before, |judged| judged.who);
            let clocks = &mut self.earlier.clocks;
            if clocks.len() == MAX_ENDED {
                clocks.remove(0);
            }
            clocks.push(EndedClock { scope, violation, ended: at, accountable });
        }
    }

    /// Applies the norms of a scope from now on.
    pub fn set_scope(&mut self, scope: Arc<Scope>) {
        if let Some(earlier) = self.earlier.existing_mut() {
            earlier.created = Some(Arc::clone(&scope));
        }
        self.scope = scope;
    }

    /// Recomputes the lags and the judgement after an act; `responsible`: who is accountable for a deadline missed now.
    pub fn recompute(
        &mut self,
        context: &mut TenantContext,
        responsible: ManagerIx,
        acts: Acts,
        human: Option<HumanResponse<'_>>,
    ) {
        let response = acts.touch.map(|(touch, who)| (touch.max(self.created), who));
        self.update_lag(context, response);
        self.update_human_lag(context, human);
        self.update_judgement(context, responsible, acts);
    }

    /// Withdraws the lag and the judgement: what the entity had is another one's history.
    pub fn withdraw(&mut self, context: &mut TenantContext) {
        self.update_lag(context, None);
        self.replace_judgement(context, None);
    }

    fn update_lag(&mut self, context: &mut TenantContext, response: Option<(Timestamp, ManagerIx)>) {
        let changed =
            |response: &(Timestamp, ManagerIx)| self.lag.as_ref().is_none_or(|lag| (lag.at, lag.who) != *response);
        if response.as_ref().map_or(self.lag.is_none(), |response| !changed(response)) {
            return;
        }
        let human = self.lag.take().and_then(|old| {
            context.emit_fact(old.at, old.who, -1, old.measure);
            old.human
        });
        let Some((at, who)) = response else {
            human.into_iter().for_each(|human| context.emit_fact(human.at, human.who, -1, human.measure));
            return;
        };
        let scope = self.earlier.created.as_ref().unwrap_or(&self.scope);
        let wall = scope.elapsed(Clock::Wall, self.created, at);
        let business = scope.elapsed(Clock::Business, self.created, at);
        let measure = Measure::FirstResponse { wall, business };
        context.emit_fact(at, who, 1, measure);
        self.lag = Some(Box::new(Lag { at, who, measure, human }));
    }

    /// Counts the lag of the first touch from the last assignment before it.
    fn update_human_lag(&mut self, context: &mut TenantContext, response: Option<HumanResponse<'_>>) {
        let Some(lag) = &mut self.lag else { return };
        let known = lag.human.as_ref().map(|human| (human.at, human.who, human.since));
        if known == response.map(|(at, who, assignment)| (at, who, assignment.at)) {
            return;
        }
        if let Some(old) = lag.human.take() {
            context.emit_fact(old.at, old.who, -1, old.measure);
        }
        let Some((at, who, Assignment { at: since, scope, .. })) = response else { return };
        let wall = scope.elapsed(Clock::Wall, *since, at);
        let business = scope.elapsed(Clock::Business, *since, at);
        let measure = Measure::HumanResponse { wall, business };
        context.emit_fact(at, who, 1, measure);
        lag.human = Some(HumanLag { at, who, since: *since, measure });
    }

    fn update_judgement(&mut self, context: &mut TenantContext, responsible: ManagerIx, acts: Acts) {
        let Some(violation) = &self.violation else { return };
        let verdict = self.verdict(violation, responsible, acts);
        // The manager accountable for a missed deadline is fixed at the deadline, even if responsibility changed since.
        let same = |judged: Judged, (at, who, within): (Timestamp, ManagerIx, bool)| {
            (judged.at, judged.within) == (at, within) && (!within || judged.who == who)
        };
        if self.judged.map_or(verdict.is_none(), |judged| verdict.is_some_and(|verdict| same(judged, verdict))) {
            return;
        }
        self.replace_judgement(context, verdict);
    }

    fn replace_judgement(&mut self, context: &mut TenantContext, verdict: Option<(Timestamp, ManagerIx, bool)>) {
        if let Some(old) = self.judged.take() {
            context.emit_fact(old.at, old.who, -1, Measure::FirstResponseJudged { within: old.within });
        }
        if let Some((at, who, within)) = verdict {
            context.emit_fact(at, who, 1, Measure::FirstResponseJudged { within });
            self.judged = Some(Judged { at, who, within });
        }
    }

    /// The touch is judged by the clock that ran at its date. Without a touch, the last missed deadline counts.
    fn verdict(
        &self,
        violation: &Violation,
        responsible: ManagerIx,
        acts: Acts,
    ) -> Option<(Timestamp, ManagerIx, bool)> {
        let stopped = acts.closed.or(acts.deleted);
        let open_at = |touch| stopped.is_none_or(|(at, touched)| touch < at || (touch == at && touched));
        let ended = self.ended_clocks().iter().rev();
        let ended = ended.map(|clock| (&clock.violation, clock.accountable, clock.ended));
        let mut clocks = std::iter::once((violation, responsible, Timestamp::MAX)).chain(ended);
        let missed =
            |(clock, who, _): (&Violation, ManagerIx, _)| clock.deadline_passed().then_some((clock.due, who, false));
        let Some((touch, who)) = acts.touch.filter(|(touch, _)| open_at(*touch)) else {
            let before_stop = |due: Timestamp| stopped.is_none_or(|(at, _)| due < at);
            return clocks.filter_map(missed).find(|(due, ..)| before_stop(*due));
        };
        let touch = touch.max(self.created);
        let clock = clocks.find(|(clock, _, ended)| clock.anchor <= touch && touch <= *ended)?;
        if touch <= clock.0.due { Some((touch, who, true)) } else { missed(clock) }
    }
}
