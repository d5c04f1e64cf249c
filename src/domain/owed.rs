//! Owns what is owed to a contact: demands (missed calls, messages) and the acts that settle them.
//!
//! Definition. A demand is settled by the earliest act dated at or after it. Demands that the same act settles form one
//! clock, which runs from the first of them: there is one clock per contact at a time. Everything is derived from the
//! two lists, so an act that becomes known late (a call is known at its end and dated at its start) regroups the
//! demands and corrects what was said before.

use super::alert::Resolution;
use super::desk::{Desk, Timer};
use super::effect::{Measure, Who};
use super::id::{MessageId, ThreadId};
use super::journey::Journey;
use super::norms::{Clock, Scope};
use super::register::Register;
use super::rule::Rule;
use super::time::{Span, Timestamp};
use super::violation::{Charge, State, Violation};
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
    pub who: Who,
    /// The manager on its alerts: the primary entity's responsible when it came in, else the one that the event names.
    pub charged: Who,
    /// The norms where it came in.
    pub scope: Arc<Scope>,
}

/// An act that settles demands.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// Its date.
    pub at: Timestamp,
    /// Its place in the order of effect, which breaks ties of dates; the highest: it settles what it ties with.
    pub order: u64,
    /// How it ends a violation.
    pub resolution: Resolution,
    /// Whose lag it is.
    pub who: Who,
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

impl Act {
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
pub struct Owed {
    demands: Vec<Demand>,
    acts: Vec<Act>,
    clocks: Vec<Running>,
}

/// One clock: the demands that one act settles.
#[derive(Clone, Debug)]
struct Running {
    first: Demand,
    settled: Option<Act>,
    violation: Option<Violation>,
    /// Among whose unanswered contacts it counts.
    holder: Who,
}

/// What the two kinds of demands differ in.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
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
pub struct Debtor<'a> {
    /// The journeys of the tenant, by number.
    pub journeys: &'a Register<Journey>,
    /// `contact:KEY`.
    pub subject: &'a CompactString,
    /// The contact's number.
    pub contact: u32,
    /// Which demands.
    pub kind: Kind,
}

impl Debtor<'_> {
    /// The responsible for a demand now: that of its primary entity, else the manager that it names.
    fn responsible(&self, demand: &Demand) -> Who {
        demand.entity.map_or(Who::NOBODY, |entity| self.journeys[entity].who).or(demand.who)
    }

    fn clock(&self, demand: &Demand) -> Clock {
        demand.scope.clock(self.kind.rule)
    }

    /// Works on the violation that runs from `demand`; nothing where no rule watches.
    fn charged<T>(&self, demand: &Demand, work: impl FnOnce(&Charge<'_>) -> T) -> Option<T> {
        let norm = demand.scope.rules.get(&self.kind.rule)?;
        let (clock, severity, escalate_after) = Charge::of(Some(norm));
        Some(work(&Charge {
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

impl Owed {
    /// Its clocks: the first demand of each, the act that settled it, and what came or may come of it.
    pub fn clocks(&self) -> impl Iterator<Item = (&Demand, Option<Timestamp>, Option<&Violation>)> {
        self.clocks
            .iter()
            .map(|clock| (&clock.first, clock.settled.as_ref().map(|act| act.at), clock.violation.as_ref()))
    }

    /// A demand came in.
    pub fn demand(&mut self, desk: &mut Desk, debtor: &Debtor<'_>, demand: Demand) {
        let position = self.demands.partition_point(|other| other.place() <= demand.place());
        self.demands.insert(position, demand);
        self.regroup(desk, debtor);
    }

    /// An act became known. Without demands there is nothing that it could settle.
    pub fn act(&mut self, desk: &mut Desk, debtor: &Debtor<'_>, act: Act) {
        if self.demands.is_empty() {
            return;
        }
        let position = self.acts.partition_point(|other| (other.at, other.order) <= (act.at, act.order));
        self.acts.insert(position, act);
        self.regroup(desk, debtor);
    }

    /// A timer went off.
    pub fn ring(&mut self, desk: &mut Desk, debtor: &Debtor<'_>) {
        for Running { first, settled, violation, .. } in &mut self.clocks {
            let Some(violation) = violation else { continue };
            debtor.charged(first, |charge| {
                if violation.ring(desk, charge) {
                    judge(violation, settled.as_ref(), desk, charge);
                }
            });
        }
    }

    /// The demand that waits, if one does: its primary entity, and the manager that it names.
    pub fn waiting(&self) -> Option<(Option<u32>, Who)> {
        let last = self.clocks.last().filter(|clock| clock.settled.is_none())?;
        Some((last.first.entity, last.first.who))
    }

    /// Other norms are in force for the demand that waits.
    pub fn reload(&mut self, desk: &mut Desk, debtor: &Debtor<'_>, scope: &Arc<Scope>) {
        let Some(clock) = self.clocks.last_mut().filter(|clock| clock.settled.is_none()) else { return };
        let due = scope.due(debtor.kind.rule, clock.first.at);
        let keeps = clock
            .violation
            .as_mut()
            .and_then(|violation| debtor.charged(&clock.first, |charge| violation.reload(desk, charge, due)));
        if keeps != Some(true) {
            clock.violation = due.map(|due| Violation::new(clock.first.at, due));
        }
        if let Some(due) = due {
            desk.wake(due, (debtor.kind.timer)(debtor.contact));
        }
        let place = clock.first.place();
        clock.first.scope = Arc::clone(scope);
        for demand in self.demands.iter_mut().filter(|demand| demand.place() == place) {
            demand.scope = Arc::clone(scope);
        }
    }

    /// A responsible changed: what waits goes with the work.
    pub fn hand_over(&mut self, desk: &mut Desk, debtor: &Debtor<'_>) {
        for clock in &mut self.clocks {
            let to = debtor.responsible(&clock.first);
            if let Some(violation) = &mut clock.violation {
                violation.hand_over(desk, debtor.kind.rule, to);
            }
            if clock.settled.is_none() && clock.holder != to {
                desk.fact(clock.first.at, clock.holder, -1, debtor.kind.waiting);
                desk.fact(clock.first.at, to, 1, debtor.kind.waiting);
                clock.holder = to;
            }
        }
    }

    /// Forgets the clocks that were settled before `horizon`: nothing that comes in now can correct them.
    pub fn forget(&mut self, horizon: Timestamp) {
        let over = |clock: &Running| clock.settled.as_ref().is_some_and(|act| act.at < horizon);
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
    fn regroup(&mut self, desk: &mut Desk, debtor: &Debtor<'_>) {
        let before = std::mem::take(&mut self.clocks);
        let over: Vec<(Demand, Act)> =
            before.iter().filter_map(|clock| Some((clock.first.clone(), clock.settled.clone()?))).collect();
        let mut before = before.into_iter().peekable();
        let mut rest = self.demands.as_slice();
        while let Some(first) = rest.first() {
            let settles = |act: &&Act| {
                let pending = rest.iter().take_while(|demand| act.follows(demand));
                act.follows(first) && act.reach.as_ref().is_none_or(|reach| pending.clone().any(|d| reach.covers(d)))
            };
            let settled = self.acts.iter().find(settles).cloned();
            let group = settled.as_ref().map_or(rest.len(), |act| rest.partition_point(|demand| act.follows(demand)));
            rest = &rest[group..];
            while let Some(gone) = before.next_if(|clock| clock.first.place() < first.place()) {
                gone.vanish(desk, debtor);
            }
            let mut clock = match before.next_if(|clock| clock.first.place() == first.place()) {
                Some(clock) => clock,
                None => {
                    // What was answered is not asked about again, even if the answer turns out to have been another's.
                    let was_over = |(from, act): &(Demand, Act)| from.place() <= first.place() && act.follows(first);
                    Running::start(desk, debtor, first.clone(), !over.iter().any(was_over))
                }
            };
            clock.settle(desk, debtor, settled);
            self.clocks.push(clock);
        }
        for gone in before {
            gone.vanish(desk, debtor);
        }
    }
}

impl Running {
    fn start(desk: &mut Desk, debtor: &Debtor<'_>, first: Demand, watched: bool) -> Self {
        let due = first.scope.due(debtor.kind.rule, first.at).filter(|_| watched);
        let violation = due.map(|due| {
            desk.wake(due, (debtor.kind.timer)(debtor.contact));
            Violation::new(first.at, due)
        });
        let holder = debtor.responsible(&first);
        desk.fact(first.at, holder, 1, debtor.kind.waiting);
        Self { violation, settled: None, holder, first }
    }

    /// Takes over the act that settles it, if that is another one than before.
    fn settle(&mut self, desk: &mut Desk, debtor: &Debtor<'_>, act: Option<Act>) {
        if self.settled == act {
            return;
        }
        let (old, scope, from) = (self.settled.take(), &self.first.scope, self.first.at);
        let clock = debtor.clock(&self.first);
        let mut count = |act: Option<&Act>, times| {
            if let Some(act) = act.filter(|act| act.resolution != Resolution::CustomerCalledAgain) {
                let lag = scope.elapsed(clock, from, act.at);
                desk.fact(act.at, act.who, times, (debtor.kind.lag)(lag));
            }
        };
        count(old.as_ref(), -1);
        count(act.as_ref(), 1);
        match (old.is_some(), act.is_some()) {
            (false, true) => desk.fact(self.first.at, self.holder, -1, debtor.kind.waiting),
            (true, false) => desk.fact(self.first.at, self.holder, 1, debtor.kind.waiting),
            _ => {}
        }
        self.settled = act;
        if let Some(violation) = &mut self.violation {
            debtor.charged(&self.first, |charge| judge(violation, self.settled.as_ref(), desk, charge));
        }
    }

    /// Late evidence shows that no clock ran from here.
    fn vanish(mut self, desk: &mut Desk, debtor: &Debtor<'_>) {
        let at = self.first.at;
        if self.settled.is_some() {
            if let Some(act) = self.settled.as_ref().filter(|act| act.resolution != Resolution::CustomerCalledAgain) {
                let lag = self.first.scope.elapsed(debtor.clock(&self.first), at, act.at);
                desk.fact(act.at, act.who, -1, (debtor.kind.lag)(lag));
            }
        } else {
            desk.fact(at, self.holder, -1, debtor.kind.waiting);
        }
        if let Some(violation) = self.violation.as_mut().filter(|violation| violation.told()) {
            debtor.charged(&self.first, |charge| violation.retract(desk, charge, at));
        }
    }
}

/// Brings a violation whose deadline is over in line with the act that settles its clock.
fn judge(violation: &mut Violation, settled: Option<&Act>, desk: &mut Desk, charge: &Charge<'_>) {
    match settled {
        Some(act) if violation.passed() => violation.settle(desk, charge, act.resolution, act.at),
        None if violation.passed() && violation.state == State::Waiting => violation.fire(desk, charge),
        _ => {}
    }
}
