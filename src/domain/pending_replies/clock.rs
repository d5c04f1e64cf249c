//! Owns the clock of demands that share a settlement, and its violation.

use crate::domain::context::{TenantContext, Timer};
use crate::domain::figures::pane::Measure;
use crate::domain::index::{ContactIx, ManagerIx};
use crate::domain::journey::{Journey, merge};
use crate::domain::lifecycle::{Description, Key, State, Subject, Violation};
use crate::domain::mem::indexed_arena::IndexedArena;
use crate::domain::pending_replies::demand::{Demand, Settlement};
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;

/// The parameters that differ between the two kinds of demands.
#[derive(Clone, Copy, Debug)]
pub struct DemandKind {
    /// The rule that applies.
    pub rule: Rule,
    /// The gauge of waiting contacts.
    pub waiting: Measure,
    /// The measure of the reply lag.
    pub lag: fn(Span) -> Measure,
    /// The timer of a contact's clock, by the date of the clock's first demand.
    pub timer: fn(ContactIx, Timestamp) -> Timer,
}

/// The contact and kind of the demands, and how to name them in alerts.
#[derive(Debug)]
pub struct DemandContext<'a> {
    /// The journeys of the tenant, by index.
    pub journeys: &'a IndexedArena<Journey>,
    /// `contact:KEY`.
    pub subject: &'a CompactString,
    /// Index of the contact.
    pub contact: ContactIx,
    /// The kind of demands.
    pub kind: DemandKind,
}

impl<'a> DemandContext<'a> {
    /// The manager currently responsible for a demand: that of its primary entity, else the one that the event names.
    pub(super) fn responsible(&self, demand: &Demand) -> ManagerIx {
        let entity = demand.entity.map(|entity| merge::survivor(self.journeys, entity));
        entity.map_or(ManagerIx::NONE, |entity| self.journeys[entity].who).or(demand.who)
    }

    /// What a violation by the clock of `first` is about, if the rule is on.
    pub(super) fn subject(&'a self, first: &'a Demand) -> Option<FirstDemand<'a>> {
        first.scope.rules.contains_key(&self.kind.rule).then_some(FirstDemand { first, context: self })
    }

    /// Starts the possible violation by the clock of `first`.
    pub(super) fn start(
        &self,
        context: &mut TenantContext,
        first: &Demand,
        due: Option<Timestamp>,
    ) -> Option<Violation> {
        let (due, subject) = due.zip(self.subject(first))?;
        Some(Violation::start(context, &subject, first.at, due))
    }
}

/// The first demand of a clock, as the subject of alerts.
pub(super) struct FirstDemand<'a> {
    first: &'a Demand,
    context: &'a DemandContext<'a>,
}

impl Subject for FirstDemand<'_> {
    fn key(&self) -> Key<'_> {
        let Self { first, context } = self;
        Key {
            rule: context.kind.rule,
            scope: &first.scope,
            accountable: first.accountable,
            holder: context.responsible(first),
            timer: (context.kind.timer)(context.contact, first.at),
        }
    }

    fn describe(&self, anchor: Timestamp, until: Timestamp) -> Description {
        let Self { first, context } = self;
        let (rule, scope) = (context.kind.rule, &first.scope);
        Description {
            name: context.subject.clone(),
            severity: scope.severity(rule),
            entity: first.entity.map(|entity| context.journeys[entity].id.clone()),
            interaction: Some(first.interaction.clone()),
            observed: vec![("lag_seconds", scope.counted(rule, anchor, until).into())],
            norm: scope.within(rule),
            ..Description::default()
        }
    }
}

/// One clock: the demands that share a settlement.
#[derive(Clone, Debug)]
pub(super) struct DemandClock {
    pub(super) first: Demand,
    pub(super) settled: Option<Settlement>,
    pub(super) violation: Option<Violation>,
}

impl DemandClock {
    pub(super) fn start(
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        first: Demand,
        watched: bool,
    ) -> Self {
        let due = first.scope.due(demand_context.kind.rule, first.at).filter(|_| watched);
        let violation = demand_context.start(context, &first, due);
        Self { violation, settled: None, first }
    }

    /// Whether a later demand has no clock of its own because of this one.
    pub(super) fn includes(&self, demand: &Demand) -> bool {
        match &self.settled {
            None => true,
            Some(end) if end.is_own_end() => demand.ended.as_ref().is_some_and(|ended| ended.key() <= end.key()),
            Some(settlement) => settlement.settles(demand),
        }
    }

    /// Replaces the settlement, if it differs.
    pub(super) fn settle(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        settlement: Option<Settlement>,
    ) {
        if self.settled == settlement {
            return;
        }
        self.settled = settlement;
        if let (Some(violation), Some(subject)) = (&mut self.violation, demand_context.subject(&self.first)) {
            evaluate(violation, self.settled.as_ref(), context, &subject);
        }
    }

    /// Reverts a clock that, by late evidence dated `act`, never ran.
    pub(super) fn withdraw(mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, act: Timestamp) {
        if let (Some(violation), Some(subject)) = (&mut self.violation, demand_context.subject(&self.first)) {
            match violation.state {
                State::Waiting => violation.avert(context, &subject, act),
                _ => violation.retract(context, &subject, act),
            }
        }
    }

    /// Handles a timer.
    pub(super) fn on_timer(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        if let (Some(violation), Some(subject)) = (&mut self.violation, demand_context.subject(&self.first)) {
            if violation.on_timer(context, &subject) {
                evaluate(violation, self.settled.as_ref(), context, &subject);
            } else if self.settled.is_none() {
                violation.warn_in_time(context, &subject);
            }
        }
    }
}

/// Updates a violation after a change of the settlement, if a warning was published or the deadline has passed: until
/// then a settlement can still turn out to belong to another demand.
fn evaluate(
    violation: &mut Violation,
    settled: Option<&Settlement>,
    context: &mut TenantContext,
    subject: &FirstDemand<'_>,
) {
    match settled {
        Some(settlement) if violation.deadline_passed() || violation.state != State::Waiting => {
            violation.settle(context, subject, settlement.resolution, settlement.at)
        }
        None if !violation.deadline_passed() && violation.state == State::CalledOff => violation.warn(context, subject),
        None if violation.deadline_passed() && matches!(violation.state, State::Waiting | State::DueSoon) => {
            violation.fire(context, subject)
        }
        _ => {}
    }
}
