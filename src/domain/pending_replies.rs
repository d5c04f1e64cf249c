//! Owns the pending replies of a contact: demands (missed calls, messages) and the settlements that answer them.
//!
//! Definition. A demand is settled by the earliest settlement dated at or after it. Demands with the same settlement
//! form one clock, which runs from the first of them, so a contact has one running clock at a time. All clocks are
//! derived from the two lists: a settlement that becomes known late (a call is known at its end and dated at its start)
//! regroups the demands and corrects the facts and alerts.

use crate::domain::alert::Resolution;
use crate::domain::context::{TenantContext, Timer};
use crate::domain::effect::ManagerIx;
use crate::domain::figures::pane::Measure;
use crate::domain::id::{MessageId, ThreadId};
use crate::domain::journey::Journey;
use crate::domain::lifecycle::{State, Violation, ViolationContext};
use crate::domain::mem::indexed_arena::IndexedArena;
use crate::domain::norms::{Clock, Scope};
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
    pub entity: Option<u32>,
    /// Indices of all entities that it belongs to.
    pub entities: Vec<u32>,
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
    pub entities: Vec<u32>,
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
    pub timer: fn(u32) -> Timer,
}

/// The contact and kind of the demands, and how to name them in alerts.
#[derive(Debug)]
pub struct DemandContext<'a> {
    /// The journeys of the tenant, by index.
    pub journeys: &'a IndexedArena<Journey>,
    /// `contact:KEY`.
    pub subject: &'a CompactString,
    /// Index of the contact.
    pub contact: u32,
    /// The kind of demands.
    pub kind: DemandKind,
}

impl DemandContext<'_> {
    /// The manager currently responsible for a demand: that of its primary entity, else the one that the event names.
    fn responsible(&self, demand: &Demand) -> ManagerIx {
        demand.entity.map_or(ManagerIx::NONE, |entity| self.journeys[entity].who).or(demand.who)
    }

    fn clock(&self, demand: &Demand) -> Clock {
        demand.scope.clock(self.kind.rule)
    }

    /// Calls `apply` with the violation context of `demand`, if the rule is on.
    fn with_violation_context<T>(&self, demand: &Demand, apply: impl FnOnce(&ViolationContext<'_>) -> T) -> Option<T> {
        let norm = demand.scope.rules.get(&self.kind.rule)?;
        let (clock, severity, escalate_after) = ViolationContext::of(Some(norm));
        Some(apply(&ViolationContext {
            rule: self.kind.rule,
            subject: self.subject.clone(),
            who: demand.accountable,
            holder: self.responsible(demand),
            entity: demand.entity.map(|entity| &self.journeys[entity].id),
            interaction: Some(&demand.interaction),
            scope: &demand.scope,
            clock,
            severity,
            escalate_after,
            observe: &|anchor, until| vec![("lag_seconds", demand.scope.elapsed(clock, anchor, until).into())],
            norm: &|| demand.scope.within(self.kind.rule),
            timer: (self.kind.timer)(self.contact),
        }))
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
            let Some(violation) = violation else { continue };
            demand_context.with_violation_context(first, |violation_context| {
                if violation.on_timer(context, violation_context) {
                    evaluate(violation, settled.as_ref(), context, violation_context);
                }
            });
        }
    }

    /// The primary entity and the named manager of the open demand, if there is one.
    pub fn open_demand(&self) -> Option<(Option<u32>, ManagerIx)> {
        let last = self.clocks.last().filter(|clock| clock.settled.is_none())?;
        Some((last.first.entity, last.first.who))
    }

    /// Applies new norms to the open demand.
    pub fn reload(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, scope: &Arc<Scope>) {
        let Some(clock) = self.clocks.last_mut().filter(|clock| clock.settled.is_none()) else { return };
        let due = scope.due(demand_context.kind.rule, clock.first.at);
        let kept = clock.violation.as_mut().and_then(|violation| {
            demand_context.with_violation_context(&clock.first, |violation_context| {
                violation.reload(context, violation_context, due)
            })
        });
        if kept != Some(true) {
            clock.violation = due.map(|due| Violation::new(clock.first.at, due));
        }
        if let Some(due) = due {
            context.set_timer(due, (demand_context.kind.timer)(demand_context.contact));
        }
        let key = clock.first.order_key();
        clock.first.scope = Arc::clone(scope);
        for demand in self.demands.iter_mut().filter(|demand| demand.order_key() == key) {
            demand.scope = Arc::clone(scope);
        }
    }

    /// Moves open demands and alerts to the manager who is responsible now.
    pub fn reassign(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        for clock in &mut self.clocks {
            let to = demand_context.responsible(&clock.first);
            if let Some(violation) = &mut clock.violation {
                violation.reassign(context, demand_context.kind.rule, to);
            }
            if clock.settled.is_none() && clock.holder != to {
                context.emit_fact(clock.first.at, clock.holder, -1, demand_context.kind.waiting);
                context.emit_fact(clock.first.at, to, 1, demand_context.kind.waiting);
                clock.holder = to;
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
        let violation = due.map(|due| {
            context.set_timer(due, (demand_context.kind.timer)(demand_context.contact));
            Violation::new(first.at, due)
        });
        let holder = demand_context.responsible(&first);
        context.emit_fact(first.at, holder, 1, demand_context.kind.waiting);
        Self { violation, settled: None, holder, first }
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
        let (old, scope, from) = (self.settled.take(), &self.first.scope, self.first.at);
        let clock = demand_context.clock(&self.first);
        let mut count = |settlement: Option<&Settlement>, times| {
            if let Some(settlement) =
                settlement.filter(|settlement| settlement.resolution != Resolution::CustomerCalledAgain)
            {
                let lag = scope.elapsed(clock, from, settlement.at);
                context.emit_fact(settlement.at, settlement.who, times, (demand_context.kind.lag)(lag));
            }
        };
        count(old.as_ref(), -1);
        count(settlement.as_ref(), 1);
        match (old.is_some(), settlement.is_some()) {
            (false, true) => context.emit_fact(self.first.at, self.holder, -1, demand_context.kind.waiting),
            (true, false) => context.emit_fact(self.first.at, self.holder, 1, demand_context.kind.waiting),
            _ => {}
        }
        self.settled = settlement;
        if let Some(violation) = &mut self.violation {
            demand_context.with_violation_context(&self.first, |violation_context| {
                evaluate(violation, self.settled.as_ref(), context, violation_context)
            });
        }
    }

    /// Reverts a clock that, by late evidence, never ran.
    fn withdraw(mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        let at = self.first.at;
        if self.settled.is_some() {
            if let Some(settlement) =
                self.settled.as_ref().filter(|settlement| settlement.resolution != Resolution::CustomerCalledAgain)
            {
                let lag = self.first.scope.elapsed(demand_context.clock(&self.first), at, settlement.at);
                context.emit_fact(settlement.at, settlement.who, -1, (demand_context.kind.lag)(lag));
            }
        } else {
            context.emit_fact(at, self.holder, -1, demand_context.kind.waiting);
        }
        if let Some(violation) = self.violation.as_mut().filter(|violation| violation.is_retractable()) {
            demand_context.with_violation_context(&self.first, |violation_context| {
                violation.retract(context, violation_context, at)
            });
        }
    }
}

/// Updates a violation whose deadline has passed after a change of the settlement.
fn evaluate(
    violation: &mut Violation,
    settled: Option<&Settlement>,
    context: &mut TenantContext,
    violation_context: &ViolationContext<'_>,
) {
    match settled {
        Some(settlement) if violation.deadline_passed() => {
            violation.settle(context, violation_context, settlement.resolution, settlement.at)
        }
        None if violation.deadline_passed() && violation.state == State::Waiting => {
            violation.fire(context, violation_context)
        }
        _ => {}
    }
}
