//! Owns the pending replies of a contact: demands (missed calls, messages) and the settlements that answer them.
//!
//! Definition. A demand is settled by the earliest settlement dated at or after it. Demands with the same settlement
//! form one clock, which runs from the first of them, so a contact has one running clock at a time. All clocks are
//! derived from the two lists: a settlement that becomes known late (a call is known at its end and dated at its start)
//! regroups the demands and corrects the facts and alerts.

use crate::domain::alert::Resolution;
use crate::domain::context::{TenantContext, Timer};
use crate::domain::figures::pane::Measure;
use crate::domain::id::{MessageId, ThreadId};
use crate::domain::index::{ContactIx, JourneyIx, ManagerIx};
use crate::domain::journey::Journey;
use crate::domain::lifecycle::{Description, Key, State, Subject, Violation};
use crate::domain::mem::indexed_arena::IndexedArena;
use crate::domain::norms::Scope;
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use std::sync::Arc;

/// A missed call or a message that requires a reply.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Event time: the end of the call, or the receipt of the message.
    pub at: Timestamp,
    /// Sequence number of the event; breaks ties between equal dates.
    pub order: u64,
    /// The call or message.
    pub interaction: CompactString,
    /// Index of the primary entity.
    pub entity: Option<JourneyIx>,
    /// Indices of all entities that it belongs to.
    pub entities: Vec<JourneyIx>,
    /// The thread of a message.
    pub thread: Option<ThreadId>,
    /// The manager that the event names.
    pub who: ManagerIx,
    /// The manager on its alerts: responsible for the primary entity at that time, else named by the event.
    pub accountable: ManagerIx,
    /// The scope at that time.
    pub scope: Arc<Scope>,
}

/// A touch or conversation that settles demands.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// Event time.
    pub at: Timestamp,
    /// Sequence number of the event; breaks ties between equal dates. `u64::MAX`: it settles all demands of its date.
    pub order: u64,
    /// The resolution of the violation that it ends.
    pub resolution: Resolution,
    /// The manager that the lag is counted for.
    pub who: ManagerIx,
    /// What a demand must share with it; `None`: it was directed at the contact itself.
    pub reach: Option<Arc<Reach>>,
}

/// How a settlement with another contact can settle a demand; one match is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// A message in the demand's thread.
    pub thread: Option<ThreadId>,
    /// A message in reply to the demand.
    pub reply: Option<MessageId>,
    /// A conversation with one of the demand's entities.
    pub entities: Vec<JourneyIx>,
}

impl Demand {
    fn order_key(&self) -> (Timestamp, u64) {
        (self.at, self.order)
    }
}

impl Settlement {
    /// Whether it is dated at or after a demand.
    fn follows(&self, demand: &Demand) -> bool {
        (self.at, self.order) >= demand.order_key()
    }
}

impl Reach {
    fn covers(&self, demand: &Demand) -> bool {
        (self.thread.is_some() && self.thread == demand.thread)
            || self.reply.as_ref().is_some_and(|reply| reply.0 == demand.interaction)
            || self.entities.iter().any(|entity| demand.entities.contains(entity))
    }
}

/// The demands of one kind of one contact.
#[derive(Clone, Debug, Default)]
pub struct PendingReplies {
    demands: Vec<Demand>,
    settlements: Vec<Settlement>,
    clocks: Vec<DemandClock>,
}

/// One clock: the demands that share a settlement.
#[derive(Clone, Debug)]
struct DemandClock {
    first: Demand,
    settled: Option<Settlement>,
    violation: Option<Violation>,
    /// The manager whose waiting contacts include it.
    holder: ManagerIx,
}

/// The parameters that differ between the two kinds of demands.
#[derive(Clone, Copy, Debug)]
pub struct DemandKind {
    /// The rule that applies.
    pub rule: Rule,
    /// The gauge of waiting contacts.
    pub waiting: Measure,
    /// The measure of the reply lag.
    pub lag: fn(Span) -> Measure,
    /// The timer of a contact's clocks.
    pub timer: fn(ContactIx) -> Timer,
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
    fn responsible(&self, demand: &Demand) -> ManagerIx {
        demand.entity.map_or(ManagerIx::NONE, |entity| self.journeys[entity].who).or(demand.who)
    }

    /// What a violation by the clock of `first` is about, if the rule is on.
    fn subject(&'a self, first: &'a Demand) -> Option<FirstDemand<'a>> {
        first.scope.rules.contains_key(&self.kind.rule).then_some(FirstDemand { first, context: self })
    }

    /// Starts the possible violation by the clock of `first`.
    fn start(&self, context: &mut TenantContext, first: &Demand, due: Option<Timestamp>) -> Option<Violation> {
        let (due, subject) = due.zip(self.subject(first))?;
        Some(Violation::start(context, &subject, first.at, due))
    }
}

/// The first demand of a clock, as the subject of alerts.
struct FirstDemand<'a> {
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
            timer: (context.kind.timer)(context.contact),
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

impl PendingReplies {
    /// The clocks: first demand, event time of the settlement, and violation.
    pub fn clocks(&self) -> impl Iterator<Item = (&Demand, Option<Timestamp>, Option<&Violation>)> {
        self.clocks.iter().map(|clock| {
            (&clock.first, clock.settled.as_ref().map(|settlement| settlement.at), clock.violation.as_ref())
        })
    }

    /// Adds a demand.
    pub fn add_demand(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, demand: Demand) {
        let index = self.demands.partition_point(|other| other.order_key() <= demand.order_key());
        self.demands.insert(index, demand);
        self.regroup(context, demand_context);
    }

    /// Adds a settlement; ignored if there are no demands.
    pub fn add_settlement(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        settlement: Settlement,
    ) {
        if self.demands.is_empty() {
            return;
        }
        let index =
            self.settlements.partition_point(|other| (other.at, other.order) <= (settlement.at, settlement.order));
        self.settlements.insert(index, settlement);
        self.regroup(context, demand_context);
    }

    /// Handles a timer.
    pub fn on_timer(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        for DemandClock { first, settled, violation, .. } in &mut self.clocks {
            if let (Some(violation), Some(subject)) = (violation, demand_context.subject(first))
                && violation.on_timer(context, &subject)
            {
                evaluate(violation, settled.as_ref(), context, &subject);
            }
        }
    }

    /// The primary entity and the named manager of the open demand, if there is one.
    pub fn open_demand(&self) -> Option<(Option<JourneyIx>, ManagerIx)> {
        let last = self.clocks.last().filter(|clock| clock.settled.is_none())?;
        Some((last.first.entity, last.first.who))
    }

    /// Applies new norms to the open demand.
    pub fn reload(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, scope: &Arc<Scope>) {
        let Some(clock) = self.clocks.last_mut().filter(|clock| clock.settled.is_none()) else { return };
        let due = scope.due(demand_context.kind.rule, clock.first.at);
        let kept = match (&mut clock.violation, demand_context.subject(&clock.first)) {
            (Some(violation), Some(subject)) => violation.reload(context, &subject, due),
            _ => false,
        };
        let key = clock.first.order_key();
        clock.first.scope = Arc::clone(scope);
        if !kept {
            clock.violation = demand_context.start(context, &clock.first, due);
        }
        for demand in self.demands.iter_mut().filter(|demand| demand.order_key() == key) {
            demand.scope = Arc::clone(scope);
        }
    }

    /// Moves open demands and alerts to the manager who is responsible now.
    pub fn reassign(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        for clock in &mut self.clocks {
            if let (Some(violation), Some(subject)) = (&mut clock.violation, demand_context.subject(&clock.first)) {
                violation.reassign(context, &subject);
            }
            let to = demand_context.responsible(&clock.first);
            if clock.settled.is_none() && clock.holder != to {
                clock.count_waiting(context, demand_context, -1);
                clock.holder = to;
                clock.count_waiting(context, demand_context, 1);
            }
        }
    }

    /// Drops the clocks settled before `horizon`; no event can correct them anymore.
    pub fn expire(&mut self, horizon: Timestamp) {
        let expired = |clock: &DemandClock| clock.settled.as_ref().is_some_and(|settlement| settlement.at < horizon);
        if !self.clocks.iter().any(expired) {
            return;
        }
        self.clocks.retain(|clock| !expired(clock));
        match self.clocks.first() {
            Some(first) => {
                let from = first.first.at;
                self.demands.retain(|demand| demand.at >= from);
                self.settlements.retain(|settlement| settlement.at >= from);
            }
            None => *self = Self::default(),
        }
    }

    /// Recomputes the clocks and emits the differences.
    fn regroup(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        let before = std::mem::take(&mut self.clocks);
        let settled_before: Vec<(Demand, Settlement)> =
            before.iter().filter_map(|clock| Some((clock.first.clone(), clock.settled.clone()?))).collect();
        let mut before = before.into_iter().peekable();
        let mut rest = self.demands.as_slice();
        while let Some(first) = rest.first() {
            let settles = |settlement: &&Settlement| {
                let pending = rest.iter().take_while(|demand| settlement.follows(demand));
                settlement.follows(first)
                    && settlement.reach.as_ref().is_none_or(|reach| pending.clone().any(|d| reach.covers(d)))
            };
            let settled = self.settlements.iter().find(settles).cloned();
            let group = settled
                .as_ref()
                .map_or(rest.len(), |settlement| rest.partition_point(|demand| settlement.follows(demand)));
            rest = &rest[group..];
            while let Some(stale) = before.next_if(|clock| clock.first.order_key() < first.order_key()) {
                stale.withdraw(context, demand_context);
            }
            let mut clock = match before.next_if(|clock| clock.first.order_key() == first.order_key()) {
                Some(clock) => clock,
                None => {
                    // A demand that was settled before does not fire, even if its settlement turns out to belong to
                    // another.
                    let was_settled = |(from, settlement): &(Demand, Settlement)| {
                        from.order_key() <= first.order_key() && settlement.follows(first)
                    };
                    DemandClock::start(context, demand_context, first.clone(), !settled_before.iter().any(was_settled))
                }
            };
            clock.settle(context, demand_context, settled);
            self.clocks.push(clock);
        }
        for stale in before {
            stale.withdraw(context, demand_context);
        }
    }
}

impl DemandClock {
    fn start(context: &mut TenantContext, demand_context: &DemandContext<'_>, first: Demand, watched: bool) -> Self {
        let due = first.scope.due(demand_context.kind.rule, first.at).filter(|_| watched);
        let violation = demand_context.start(context, &first, due);
        let clock = Self { violation, settled: None, holder: demand_context.responsible(&first), first };
        clock.count_waiting(context, demand_context, 1);
        clock
    }

    /// Replaces the settlement, if it differs.
    fn settle(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        settlement: Option<Settlement>,
    ) {
        if self.settled == settlement {
            return;
        }
        let was_settled = self.settled.is_some();
        self.count_lag(context, demand_context, -1);
        self.settled = settlement;
        self.count_lag(context, demand_context, 1);
        match (was_settled, self.settled.is_some()) {
            (false, true) => self.count_waiting(context, demand_context, -1),
            (true, false) => self.count_waiting(context, demand_context, 1),
            _ => {}
        }
        if let (Some(violation), Some(subject)) = (&mut self.violation, demand_context.subject(&self.first)) {
            evaluate(violation, self.settled.as_ref(), context, &subject);
        }
    }

    /// Reverts a clock that, by late evidence, never ran.
    fn withdraw(mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        match self.settled {
            Some(_) => self.count_lag(context, demand_context, -1),
            None => self.count_waiting(context, demand_context, -1),
        }
        if let (Some(violation), Some(subject)) = (&mut self.violation, demand_context.subject(&self.first)) {
            violation.retract(context, &subject, self.first.at);
        }
    }

    /// Counts the contact as waiting for its holder.
    fn count_waiting(&self, context: &mut TenantContext, demand_context: &DemandContext<'_>, times: i32) {
        context.emit_fact(self.first.at, self.holder, times, demand_context.kind.waiting);
    }

    /// Counts the lag of the reply, if there is one; that a customer calls again is none.
    fn count_lag(&self, context: &mut TenantContext, demand_context: &DemandContext<'_>, times: i32) {
        if let Some(Settlement { at, who, resolution, .. }) = self.settled
            && resolution != Resolution::CustomerCalledAgain
        {
            let lag = self.first.scope.counted(demand_context.kind.rule, self.first.at, at);
            context.emit_fact(at, who, times, (demand_context.kind.lag)(lag));
        }
    }
}

/// Updates a violation whose deadline has passed after a change of the settlement.
fn evaluate(
    violation: &mut Violation,
    settled: Option<&Settlement>,
    context: &mut TenantContext,
    subject: &FirstDemand<'_>,
) {
    match settled {
        Some(settlement) if violation.deadline_passed() => {
            violation.settle(context, subject, settlement.resolution, settlement.at)
        }
        None if violation.deadline_passed() && violation.state == State::Waiting => violation.fire(context, subject),
        _ => {}
    }
}
