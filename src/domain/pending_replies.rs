//! Owns what is owed to a contact: demands (missed calls, messages) and the acts that settle them.
//!
//! Definition. A demand is settled by the earliest act dated at or after it. Demands that the same act settles form one
//! clock, which runs from the first of them: there is one clock per contact at a time. Everything is derived from the
//! two lists, so an act that becomes known late (a call is known at its end and dated at its start) regroups the
//! demands and corrects what was said before.

use super::alert::Resolution;
use super::effect::{ManagerIx, Measure};
use super::id::{MessageId, ThreadId};
use super::indexed_arena::IndexedArena;
use super::journey::Journey;
use super::norms::{Clock, Scope};
use super::rule::Rule;
use super::tenant_context::{TenantContext, Timer};
use super::time::{Span, Timestamp};
use super::violation::{State, Violation, ViolationContext};
use compact_str::CompactString;
use std::sync::Arc;

/// A missed call or a message that wants an answer.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The call's end, or when the message came.
    pub at: Timestamp,
    /// Its place in the order of effect, which breaks ties of dates.
    pub order: u64,
    /// The call or message.
    pub interaction: CompactString,
    /// The number of the primary entity.
    pub entity: Option<u32>,
    /// The numbers of all entities that it belongs to.
    pub entities: Vec<u32>,
    /// The thread of a message.
    pub thread: Option<ThreadId>,
    /// The manager that the event names.
    pub who: ManagerIx,
    /// The manager on its alerts: the primary entity's responsible when it came in, else the one that the event names.
    pub charged: ManagerIx,
    /// The norms where it came in.
    pub scope: Arc<Scope>,
}

/// An act that settles demands.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// Its date.
    pub at: Timestamp,
    /// Its place in the order of effect, which breaks ties of dates; the highest: it settles what it ties with.
    pub order: u64,
    /// How it ends a violation.
    pub resolution: Resolution,
    /// Whose lag it is.
    pub who: ManagerIx,
    /// By what it reaches the contact; `None`: it was an act towards the contact itself.
    pub reach: Option<Arc<Reach>>,
}

/// What an act towards somebody else must share with a demand to settle it.
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
    fn place(&self) -> (Timestamp, u64) {
        (self.at, self.order)
    }
}

impl Settlement {
    /// Whether it comes at or after a demand.
    fn follows(&self, demand: &Demand) -> bool {
        (self.at, self.order) >= demand.place()
    }
}

impl Reach {
    fn covers(&self, demand: &Demand) -> bool {
        (self.thread.is_some() && self.thread == demand.thread)
            || self.reply.as_ref().is_some_and(|reply| reply.0 == demand.interaction)
            || self.entities.iter().any(|entity| demand.entities.contains(entity))
    }
}

/// The demands of one contact.
#[derive(Clone, Debug, Default)]
pub struct PendingReplies {
    demands: Vec<Demand>,
    acts: Vec<Settlement>,
    clocks: Vec<DemandClock>,
}

/// One clock: the demands that one act settles.
#[derive(Clone, Debug)]
struct DemandClock {
    first: Demand,
    settled: Option<Settlement>,
    violation: Option<Violation>,
    /// Among whose unanswered contacts it counts.
    holder: ManagerIx,
}

/// What the two kinds of demands differ in.
#[derive(Clone, Copy, Debug)]
pub struct DemandKind {
    /// The rule that watches them.
    pub rule: Rule,
    /// The gauge of contacts that wait.
    pub waiting: Measure,
    /// The lag that an act by the staff is counted as.
    pub lag: fn(Span) -> Measure,
    /// What wakes the clocks of a contact.
    pub timer: fn(u32) -> Timer,
}

/// Whose clocks they are, and how to tell it.
#[derive(Debug)]
pub struct DemandContext<'a> {
    /// The journeys of the tenant, by number.
    pub journeys: &'a IndexedArena<Journey>,
    /// `contact:KEY`.
    pub subject: &'a CompactString,
    /// The contact's number.
    pub contact: u32,
    /// Which demands.
    pub kind: DemandKind,
}

impl DemandContext<'_> {
    /// The responsible for a demand now: that of its primary entity, else the manager that it names.
    fn responsible(&self, demand: &Demand) -> ManagerIx {
        demand.entity.map_or(ManagerIx::NONE, |entity| self.journeys[entity].who).or(demand.who)
    }

    fn clock(&self, demand: &Demand) -> Clock {
        demand.scope.clock(self.kind.rule)
    }

    /// Works on the violation that runs from `demand`; nothing where no rule watches.
    fn charged<T>(&self, demand: &Demand, work: impl FnOnce(&ViolationContext<'_>) -> T) -> Option<T> {
        let norm = demand.scope.rules.get(&self.kind.rule)?;
        let (clock, severity, escalate_after) = ViolationContext::of(Some(norm));
        Some(work(&ViolationContext {
            rule: self.kind.rule,
            subject: self.subject.clone(),
            who: demand.charged,
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
    /// Its clocks: the first demand of each, the act that settled it, and what came or may come of it.
    pub fn clocks(&self) -> impl Iterator<Item = (&Demand, Option<Timestamp>, Option<&Violation>)> {
        self.clocks
            .iter()
            .map(|clock| (&clock.first, clock.settled.as_ref().map(|act| act.at), clock.violation.as_ref()))
    }

    /// A demand came in.
    pub fn demand(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, demand: Demand) {
        let position = self.demands.partition_point(|other| other.place() <= demand.place());
        self.demands.insert(position, demand);
        self.regroup(context, demand_context);
    }

    /// An act became known. Without demands there is nothing that it could settle.
    pub fn act(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, act: Settlement) {
        if self.demands.is_empty() {
            return;
        }
        let position = self.acts.partition_point(|other| (other.at, other.order) <= (act.at, act.order));
        self.acts.insert(position, act);
        self.regroup(context, demand_context);
    }

    /// A timer went off.
    pub fn ring(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        for DemandClock { first, settled, violation, .. } in &mut self.clocks {
            let Some(violation) = violation else { continue };
            demand_context.charged(first, |violation_context| {
                if violation.ring(context, violation_context) {
                    judge(violation, settled.as_ref(), context, violation_context);
                }
            });
        }
    }

    /// The demand that waits, if one does: its primary entity, and the manager that it names.
    pub fn waiting(&self) -> Option<(Option<u32>, ManagerIx)> {
        let last = self.clocks.last().filter(|clock| clock.settled.is_none())?;
        Some((last.first.entity, last.first.who))
    }

    /// Other norms are in force for the demand that waits.
    pub fn reload(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, scope: &Arc<Scope>) {
        let Some(clock) = self.clocks.last_mut().filter(|clock| clock.settled.is_none()) else { return };
        let due = scope.due(demand_context.kind.rule, clock.first.at);
        let keeps = clock.violation.as_mut().and_then(|violation| {
            demand_context.charged(&clock.first, |violation_context| violation.reload(context, violation_context, due))
        });
        if keeps != Some(true) {
            clock.violation = due.map(|due| Violation::new(clock.first.at, due));
        }
        if let Some(due) = due {
            context.wake(due, (demand_context.kind.timer)(demand_context.contact));
        }
        let place = clock.first.place();
        clock.first.scope = Arc::clone(scope);
        for demand in self.demands.iter_mut().filter(|demand| demand.place() == place) {
            demand.scope = Arc::clone(scope);
        }
    }

    /// A responsible changed: what waits goes with the work.
    pub fn hand_over(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        for clock in &mut self.clocks {
            let to = demand_context.responsible(&clock.first);
            if let Some(violation) = &mut clock.violation {
                violation.hand_over(context, demand_context.kind.rule, to);
            }
            if clock.settled.is_none() && clock.holder != to {
                context.fact(clock.first.at, clock.holder, -1, demand_context.kind.waiting);
                context.fact(clock.first.at, to, 1, demand_context.kind.waiting);
                clock.holder = to;
            }
        }
    }

    /// Forgets the clocks that were settled before `horizon`: nothing that comes in now can correct them.
    pub fn forget(&mut self, horizon: Timestamp) {
        let over = |clock: &DemandClock| clock.settled.as_ref().is_some_and(|act| act.at < horizon);
        if !self.clocks.iter().any(over) {
            return;
        }
        self.clocks.retain(|clock| !over(clock));
        match self.clocks.first() {
            Some(first) => {
                let from = first.first.at;
                self.demands.retain(|demand| demand.at >= from);
                self.acts.retain(|act| act.at >= from);
            }
            None => *self = Self::default(),
        }
    }

    /// Derives the clocks anew and tells what differs.
    fn regroup(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        let before = std::mem::take(&mut self.clocks);
        let over: Vec<(Demand, Settlement)> =
            before.iter().filter_map(|clock| Some((clock.first.clone(), clock.settled.clone()?))).collect();
        let mut before = before.into_iter().peekable();
        let mut rest = self.demands.as_slice();
        while let Some(first) = rest.first() {
            let settles = |act: &&Settlement| {
                let pending = rest.iter().take_while(|demand| act.follows(demand));
                act.follows(first) && act.reach.as_ref().is_none_or(|reach| pending.clone().any(|d| reach.covers(d)))
            };
            let settled = self.acts.iter().find(settles).cloned();
            let group = settled.as_ref().map_or(rest.len(), |act| rest.partition_point(|demand| act.follows(demand)));
            rest = &rest[group..];
            while let Some(gone) = before.next_if(|clock| clock.first.place() < first.place()) {
                gone.vanish(context, demand_context);
            }
            let mut clock = match before.next_if(|clock| clock.first.place() == first.place()) {
                Some(clock) => clock,
                None => {
                    // What was answered is not asked about again, even if the answer turns out to have been another's.
                    let was_over =
                        |(from, act): &(Demand, Settlement)| from.place() <= first.place() && act.follows(first);
                    DemandClock::start(context, demand_context, first.clone(), !over.iter().any(was_over))
                }
            };
            clock.settle(context, demand_context, settled);
            self.clocks.push(clock);
        }
        for gone in before {
            gone.vanish(context, demand_context);
        }
    }
}

impl DemandClock {
    fn start(context: &mut TenantContext, demand_context: &DemandContext<'_>, first: Demand, watched: bool) -> Self {
        let due = first.scope.due(demand_context.kind.rule, first.at).filter(|_| watched);
        let violation = due.map(|due| {
            context.wake(due, (demand_context.kind.timer)(demand_context.contact));
            Violation::new(first.at, due)
        });
        let holder = demand_context.responsible(&first);
        context.fact(first.at, holder, 1, demand_context.kind.waiting);
        Self { violation, settled: None, holder, first }
    }

    /// Takes over the act that settles it, if that is another one than before.
    fn settle(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, act: Option<Settlement>) {
        if self.settled == act {
            return;
        }
        let (old, scope, from) = (self.settled.take(), &self.first.scope, self.first.at);
        let clock = demand_context.clock(&self.first);
        let mut count = |act: Option<&Settlement>, times| {
            if let Some(act) = act.filter(|act| act.resolution != Resolution::CustomerCalledAgain) {
                let lag = scope.elapsed(clock, from, act.at);
                context.fact(act.at, act.who, times, (demand_context.kind.lag)(lag));
            }
        };
        count(old.as_ref(), -1);
        count(act.as_ref(), 1);
        match (old.is_some(), act.is_some()) {
            (false, true) => context.fact(self.first.at, self.holder, -1, demand_context.kind.waiting),
            (true, false) => context.fact(self.first.at, self.holder, 1, demand_context.kind.waiting),
            _ => {}
        }
        self.settled = act;
        if let Some(violation) = &mut self.violation {
            demand_context.charged(&self.first, |violation_context| {
                judge(violation, self.settled.as_ref(), context, violation_context)
            });
        }
    }

    /// Late evidence shows that no clock ran from here.
    fn vanish(mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        let at = self.first.at;
        if self.settled.is_some() {
            if let Some(act) = self.settled.as_ref().filter(|act| act.resolution != Resolution::CustomerCalledAgain) {
                let lag = self.first.scope.elapsed(demand_context.clock(&self.first), at, act.at);
                context.fact(act.at, act.who, -1, (demand_context.kind.lag)(lag));
            }
        } else {
            context.fact(at, self.holder, -1, demand_context.kind.waiting);
        }
        if let Some(violation) = self.violation.as_mut().filter(|violation| violation.told()) {
            demand_context.charged(&self.first, |violation_context| violation.retract(context, violation_context, at));
        }
    }
}

/// Brings a violation whose deadline is over in line with the act that settles its clock.
fn judge(
    violation: &mut Violation,
    settled: Option<&Settlement>,
    context: &mut TenantContext,
    violation_context: &ViolationContext<'_>,
) {
    match settled {
        Some(act) if violation.passed() => violation.settle(context, violation_context, act.resolution, act.at),
        None if violation.passed() && violation.state == State::Waiting => violation.fire(context, violation_context),
        _ => {}
    }
}
