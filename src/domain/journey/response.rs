//! Owns the first response of a lead or deal: its lag, and whether it was within the norm.
//!
//! Both are recomputed from the dated acts known so far, so an act that becomes known late (a call becomes known at its
//! end) corrects earlier results. They use the earliest dated touch, as the figures are defined.

use crate::domain::context::TenantContext;
use crate::domain::figures::pane::Measure;
use crate::domain::index::ManagerIx;
use crate::domain::lifecycle::Violation;
use crate::domain::norms::{Clock, Scope};
use crate::domain::time::Timestamp;
use std::sync::Arc;

/// The first-response clock of an entity whose creation is known.
#[derive(Clone, Debug)]
pub struct FirstResponse {
    /// When the clock started.
    pub anchor: Timestamp,
    /// The norms in force when it started.
    pub scope: Arc<Scope>,
    /// The pending or actual violation; `None` without a norm, or if the deadline never comes.
    pub violation: Option<Violation>,
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

impl FirstResponse {
    /// A clock without an answer.
    pub fn new(anchor: Timestamp, scope: Arc<Scope>, violation: Option<Violation>) -> Self {
        Self { anchor, scope, violation, lag: None, judged: None }
    }

    /// Whether the entity has had no touch yet.
    pub fn awaits(&self) -> bool {
        self.lag.is_none()
    }

    /// When the first response was given.
    pub fn answered(&self) -> Option<Timestamp> {
        self.lag.as_ref().map(|lag| lag.at)
    }

    /// Recomputes the lag and the judgement after an act; `responsible`: who is accountable for a deadline missed now.
    pub fn recompute(&mut self, context: &mut TenantContext, responsible: ManagerIx, acts: Acts) {
        let response = acts.touch.map(|(touch, who)| (touch.max(self.anchor), who));
        self.update_lag(context, response);
        self.update_judgement(context, responsible, acts);
    }

    fn update_lag(&mut self, context: &mut TenantContext, response: Option<(Timestamp, ManagerIx)>) {
        let changed =
            |response: &(Timestamp, ManagerIx)| self.lag.as_ref().is_none_or(|lag| (lag.at, lag.who) != *response);
        if response.as_ref().map_or(self.lag.is_none(), |response| !changed(response)) {
            return;
        }
        if let Some(old) = self.lag.take() {
            context.emit_fact(old.at, old.who, -1, old.measure);
        }
        let Some((at, who)) = response else { return };
        let wall = self.scope.elapsed(Clock::Wall, self.anchor, at);
        let business = self.scope.elapsed(Clock::Business, self.anchor, at);
        let measure = Measure::FirstResponse { wall, business };
        context.emit_fact(at, who, 1, measure);
        self.lag = Some(Box::new(Lag { at, who, measure }));
    }

    fn update_judgement(&mut self, context: &mut TenantContext, responsible: ManagerIx, acts: Acts) {
        let Some((due, passed)) = self.violation.as_ref().map(|violation| (violation.due, violation.deadline_passed()))
        else {
            return;
        };
        let stopped = acts.closed.or(acts.deleted);
        let open_at = |touch| stopped.is_none_or(|(at, touched)| touch < at || (touch == at && touched));
        let verdict = match (acts.touch, stopped) {
            (Some((touch, who)), _) if touch <= due && open_at(touch) => Some((touch.max(self.anchor), who, true)),
            (_, Some((at, _))) if at <= due => None,
            _ if passed => Some((due, responsible, false)),
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
}
