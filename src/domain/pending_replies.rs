//! Owns the pending replies of a contact: demands (missed calls, messages) and the settlements that answer them.
//!
//! Definition. A demand is settled by the earliest settlement dated at or after it, or **ends** on its own before that: it
//! is dismissed, or its entity is closed. Demands with the same settlement form one clock, which runs from the first of
//! them, so a contact has one running clock at a time; a demand that ends on its own while the clock runs leaves it. All
//! clocks are derived from the two lists: a settlement that becomes known late (a call is known at its end and dated at
//! its start) regroups the demands and corrects the facts and alerts.
//!
//! A missed call that turns out to be a leg of a conversation is **withdrawn**: it never was a demand.

use crate::domain::alert::Resolution;
use crate::domain::context::{TenantContext, Timer};
use crate::domain::figures::pane::Measure;
use crate::domain::id::{MessageId, ThreadId, reply_key};
use crate::domain::index::{CallIx, ContactIx, JourneyIx, ManagerIx};
use crate::domain::journey::{Journey, merge};
use crate::domain::lifecycle::{Description, Key, State, Subject, Violation};
use crate::domain::mem::indexed_arena::IndexedArena;
use crate::domain::norms::Scope;
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use std::sync::Arc;

/// What identifies a demand among those of its contact, and orders them: its event time and sequence number.
pub type DemandKey = (Timestamp, u64);

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
    /// Whether it belonged to an open entity.
    pub open: bool,
    /// The call of a missed leg. An attempt to call within the same call does not settle it.
    pub call: Option<CallIx>,
    /// How it ended on its own.
    pub ended: Option<Box<Settlement>>,
    /// What counts it.
    pub counts: Counts,
    /// Sequence number of the event with which it began to count: its clock does not replace one that runs already.
    pub opened: u64,
}

/// Whether a demand counts. What settles it is known in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// It has a clock and alerts.
    pub alerts: bool,
    /// It is part of the figures.
    pub figures: bool,
}

impl Counts {
    /// An ordinary demand.
    pub const ALL: Self = Self { alerts: true, figures: true };
    /// No demand: the call rang too short so far, or was a leg of a conversation.
    pub const NOT: Self = Self { alerts: false, figures: false };
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
    /// The call that it is part of, and the sequence number of the leg.
    pub act: Option<(CallIx, u64)>,
    /// Whether it is a text, which returns missed calls only where the norm says so.
    pub text: bool,
    /// Whether the lag until it is counted: it is a reply, and not the customer's own act or a decision not to reply.
    pub reply: bool,
    /// Whether it was replaced: it still has settled what it settled, but figures do not count it.
    pub replaced: bool,
}

/// A call that settles missed calls at the current instant.
#[derive(Debug)]
pub struct ActNow {
    /// The contacts that it was directed at.
    pub contacts: Vec<ContactIx>,
    /// The entities that have one of them, or that it names.
    pub entities: Vec<JourneyIx>,
    /// How it settles demands.
    pub settlement: Settlement,
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
    /// A conversation with a deal that one of the demand's leads became since.
    pub leads: Vec<JourneyIx>,
}

impl Demand {
    /// What identifies it among the demands of its contact, and orders them.
    pub fn key(&self) -> DemandKey {
        (self.at, self.order)
    }

    /// The order in which clocks run.
    fn turn(&self) -> (u64, Timestamp, u64) {
        (self.opened, self.at, self.order)
    }

    /// Whether it has not ended on its own before a settlement.
    fn waits_at(&self, settlement: &Settlement) -> bool {
        self.ended.as_ref().is_none_or(|ended| ended.key() > settlement.key())
    }

    /// Whether this is how it ended on its own.
    fn ends_by(&self, end: &Settlement) -> bool {
        self.ended.as_deref() == Some(end)
    }
}

impl Settlement {
    /// The order in which acts of one date settle: the order of effect.
    fn turn(&self) -> (Timestamp, u64) {
        (self.at, self.act.map_or(self.order, |(_, leg)| leg))
    }

    fn key(&self) -> (Timestamp, u64) {
        (self.at, self.order)
    }

    /// Whether it is dated at or after a demand.
    fn follows(&self, demand: &Demand) -> bool {
        self.key() >= demand.key()
    }

    /// Whether it settles a demand of its contact.
    fn settles(&self, demand: &Demand) -> bool {
        self.follows(demand)
            && self.act.is_none_or(|(call, _)| demand.call != Some(call))
            && (!self.text || demand.scope.text_returns())
    }

    /// Whether it is the end of one demand, and not of all that wait.
    fn is_own_end(&self) -> bool {
        matches!(self.resolution, Resolution::Closed | Resolution::Dismissed)
    }
}

impl Reach {
    fn covers(&self, demand: &Demand) -> bool {
        (self.thread.is_some() && self.thread == demand.thread)
            || self.reply.as_ref().is_some_and(|reply| reply.reply_key() == reply_key(&demand.interaction))
            || self.entities.iter().any(|entity| demand.entities.contains(entity))
            || demand.open && self.leads.iter().any(|lead| demand.entities.contains(lead))
    }
}

/// The demands of one kind of one contact.
#[derive(Clone, Debug, Default)]
pub struct PendingReplies {
    demands: Vec<Demand>,
    settlements: Vec<Settlement>,
    clocks: Vec<DemandClock>,
    /// Demands up to this key are dismissed, even if they begin to count only later.
    dismissed: Option<DemandKey>,
    /// The facts that it counts at present, in the order of the demands.
    counted: Vec<(Timestamp, ManagerIx, Measure)>,
}

/// One clock: the demands that share a settlement.
#[derive(Clone, Debug)]
struct DemandClock {
    first: Demand,
    settled: Option<Settlement>,
    violation: Option<Violation>,
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
        let entity = demand.entity.map(|entity| merge::survivor(self.journeys, entity));
        entity.map_or(ManagerIx::NONE, |entity| self.journeys[entity].who).or(demand.who)
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
    pub fn add_demand(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, mut demand: Demand) {
        if Some(demand.key()) <= self.dismissed {
            demand.counts = Counts::NOT;
        }
        let index = self.demands.partition_point(|other| other.key() <= demand.key());
        self.demands.insert(index, demand);
        self.regroup(context, demand_context);
    }

    /// Ends each pending demand that `ends` selects, on its own. Returns whether there was one.
    pub fn end(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        end: &Settlement,
        mut ends: impl FnMut(&Demand) -> bool,
    ) -> bool {
        let ending: Vec<_> = self.pending().filter(|demand| ends(demand)).map(Demand::key).collect();
        let ended = !ending.is_empty();
        for demand in self.demands.iter_mut().filter(|demand| ending.contains(&demand.key())) {
            demand.ended = Some(Box::new(end.clone()));
        }
        if ended {
            self.regroup(context, demand_context);
        }
        ended
    }

    /// Ends the pending demands up to `key` by a dismissal. Returns whether there was one.
    pub fn dismiss(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        dismissal: &Settlement,
        key: DemandKey,
    ) -> bool {
        self.dismissed = self.dismissed.max(Some(key));
        let ended = self.end(context, demand_context, dismissal, |demand| demand.key() <= key);
        // What a replaced act had settled still counts in the figures, and no more.
        for demand in self.demands.iter_mut().filter(|demand| demand.key() <= key && demand.ended.is_none()) {
            demand.ended = Some(Box::new(dismissal.clone()));
        }
        self.recount(context, demand_context);
        ended
    }

    /// Sets the call of a demand.
    pub fn set_call(&mut self, key: DemandKey, call: CallIx) {
        let of_clocks = self.clocks.iter_mut().map(|clock| &mut clock.first);
        for demand in self.demands.iter_mut().chain(of_clocks).filter(|demand| demand.key() == key) {
            demand.call = Some(call);
        }
    }

    /// Adds an entity that a demand belongs to.
    pub fn add_entity(&mut self, key: DemandKey, entity: JourneyIx) {
        let of_clocks = self.clocks.iter_mut().map(|clock| &mut clock.first);
        for demand in self.demands.iter_mut().chain(of_clocks).filter(|demand| demand.key() == key) {
            demand.entities.push(entity);
        }
    }

    /// Counts or does not count the lags of what a call settled.
    pub fn set_reply(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        call: CallIx,
        reply: bool,
    ) {
        let of_clocks = self.clocks.iter_mut().filter_map(|clock| clock.settled.as_mut());
        let of_call = |settlement: &&mut Settlement| settlement.act.is_some_and(|(other, _)| other == call);
        self.settlements.iter_mut().chain(of_clocks).filter(of_call).for_each(|settlement| settlement.reply = reply);
        self.recount(context, demand_context);
    }

    /// Withdraws demands at once, because acts, whose dates stand beside the keys, show that they never were any.
    pub fn withdraw(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        withdrawn: &[(DemandKey, Timestamp)],
    ) {
        let mut changed = false;
        for (key, act) in withdrawn {
            if let Some(position) = self.clocks.iter().position(|clock| clock.first.key() == *key) {
                self.clocks.remove(position).withdraw(context, demand_context, key.0.max(*act));
            }
            changed |= self.replace_counts(*key, |_| Some(Counts::NOT), 0);
        }
        if changed {
            self.regroup(context, demand_context);
        }
    }

    /// Removes a demand that does not count.
    pub fn remove(&mut self, key: (Timestamp, u64)) {
        self.demands.retain(|demand| demand.key() != key);
    }

    /// Changes what counts a demand, if `counts` returns something else than now.
    pub fn set_counts(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        key: DemandKey,
        counts: impl Fn(&Demand) -> Option<Counts>,
        applied: u64,
    ) {
        if self.replace_counts(key, counts, applied) {
            self.regroup(context, demand_context);
        }
    }

    fn replace_counts(&mut self, key: DemandKey, counts: impl Fn(&Demand) -> Option<Counts>, applied: u64) -> bool {
        let Some(demand) = self.demands.iter_mut().find(|demand| demand.key() == key) else { return false };
        let dismissed = Some(demand.key()) <= self.dismissed && !demand.counts.alerts;
        let Some(counts) = counts(demand).filter(|counts| *counts != demand.counts && !dismissed) else { return false };
        if counts.alerts && !demand.counts.alerts {
            demand.opened = applied;
        }
        demand.counts = counts;
        true
    }

    /// Marks what a leg settled as replaced.
    pub fn replace_act(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, act: (CallIx, u64)) {
        for settlement in self.settlements.iter_mut().filter(|settlement| settlement.act == Some(act)) {
            settlement.replaced = true;
        }
        self.recount(context, demand_context);
    }

    /// Replaces the index of a call that turned out to be part of another.
    pub fn replace_call(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        from: CallIx,
        to: CallIx,
    ) {
        let of_demands = self.demands.iter_mut().map(|demand| &mut demand.call);
        let of_clocks = self.clocks.iter_mut().map(|clock| &mut clock.first.call);
        for call in of_demands.chain(of_clocks).filter(|call| **call == Some(from)) {
            *call = Some(to);
        }
        for (call, _) in self.settlements.iter_mut().filter_map(|settlement| settlement.act.as_mut()) {
            if *call == from {
                *call = to;
            }
        }
        self.regroup(context, demand_context);
    }

    /// The demands that nothing has ended yet.
    pub fn pending(&self) -> impl Iterator<Item = &Demand> {
        let since = self.clocks.last().filter(|clock| clock.settled.is_none()).map(|clock| clock.first.turn());
        let counts = |demand: &&Demand| demand.ended.is_none() && demand.counts.alerts;
        let waits = move |demand: &&Demand| since.is_some_and(|since| demand.turn() >= since);
        self.demands.iter().filter(counts).filter(waits)
    }

    /// The demand with this key.
    pub fn find(&self, key: (Timestamp, u64)) -> Option<&Demand> {
        self.demands.iter().find(|demand| demand.key() == key)
    }

    /// Whether the demand with this key counts and does not wait any more.
    pub fn has_ended(&self, key: (Timestamp, u64)) -> bool {
        let counts = self.find(key).is_none_or(|demand| demand.counts.alerts);
        counts && !self.pending().any(|demand| demand.key() == key)
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
        let index = self.settlements.partition_point(|other| other.turn() <= settlement.turn());
        self.settlements.insert(index, settlement);
        self.regroup(context, demand_context);
    }

    /// Handles a timer.
    pub fn on_timer(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        for DemandClock { first, settled, violation, .. } in &mut self.clocks {
            if let (Some(violation), Some(subject)) = (violation, demand_context.subject(first)) {
                if violation.on_timer(context, &subject) {
                    evaluate(violation, settled.as_ref(), context, &subject);
                } else if settled.is_none() {
                    violation.warn_in_time(context, &subject);
                }
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
            (Some(violation), Some(subject)) => violation.reload(context, &subject, scope, due),
            _ => false,
        };
        let key = clock.first.key();
        clock.first.scope = Arc::clone(scope);
        if !kept {
            clock.violation = demand_context.start(context, &clock.first, due);
        }
        for demand in self.demands.iter_mut().filter(|demand| demand.key() == key) {
            demand.scope = Arc::clone(scope);
        }
    }

    /// Moves open demands and alerts to the manager who is responsible now.
    pub fn reassign(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        for clock in &mut self.clocks {
            if let (Some(violation), Some(subject)) = (&mut clock.violation, demand_context.subject(&clock.first)) {
                violation.reassign(context, &subject);
            }
        }
        self.recount(context, demand_context);
    }

    /// Drops the clocks settled before `horizon`; no event can correct them anymore.
    pub fn expire(&mut self, demand_context: &DemandContext<'_>, horizon: Timestamp) {
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
                self.counted = self.facts(demand_context);
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
        let mut demands: Vec<&Demand> = self.demands.iter().filter(|demand| demand.counts.alerts).collect();
        demands.sort_by_key(|demand| demand.turn());
        let groups = group(demands, |_| true, &self.settlements);
        for (first, settled) in groups {
            while let Some(stale) = before.next_if(|clock| clock.first.turn() < first.turn()) {
                let act = self.settled_at(&stale.first);
                stale.withdraw(context, demand_context, act);
            }
            let mut clock = match before.next_if(|clock| clock.first.key() == first.key()) {
                Some(clock) => clock,
                None => {
                    // A demand that was settled before does not fire, even if its settlement turns out to belong to
                    // another.
                    let was_settled = |(from, settlement): &(Demand, Settlement)| {
                        from.turn() <= first.turn() && settlement.settles(first) && !settlement.is_own_end()
                    };
                    DemandClock::start(context, demand_context, first.clone(), !settled_before.iter().any(was_settled))
                }
            };
            clock.settle(context, demand_context, settled);
            self.clocks.push(clock);
        }
        for stale in before {
            let act = self.settled_at(&stale.first);
            stale.withdraw(context, demand_context, act);
        }
        self.recount(context, demand_context);
    }

    /// The date of the earliest settlement that a demand can have; its own date if there is none.
    fn settled_at(&self, demand: &Demand) -> Timestamp {
        let settlement = self.settlements.iter().find(|settlement| settlement.settles(demand));
        settlement.map_or(demand.at, |settlement| settlement.at)
    }

    /// Emits the difference between the facts that it counts and those that it counted before.
    fn recount(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        let facts = self.facts(demand_context);
        let same = self.counted.iter().zip(&facts).take_while(|(old, new)| old == new).count();
        for (at, who, measure) in &self.counted[same..] {
            context.emit_fact(*at, *who, -1, *measure);
        }
        for (at, who, measure) in &facts[same..] {
            context.emit_fact(*at, *who, 1, *measure);
        }
        self.counted = facts;
    }

    /// What it counts: lags of replies, and a wait. Figures follow what stands; clocks also what was replaced since.
    fn facts(&self, demand_context: &DemandContext<'_>) -> Vec<(Timestamp, ManagerIx, Measure)> {
        let DemandContext { kind, .. } = demand_context;
        let fact = |first: &Demand, settled: Option<&Settlement>| match settled {
            None => Some((first.at, demand_context.responsible(first), kind.waiting)),
            Some(settlement) if settlement.reply => {
                let lag = first.scope.counted(kind.rule, first.at, settlement.at);
                Some((settlement.at, settlement.who, (kind.lag)(lag)))
            }
            Some(_) => None,
        };
        let replaced = self.settlements.iter().any(|settlement| settlement.replaced);
        let ordinary = |demand: &Demand| demand.counts.alerts == demand.counts.figures && demand.opened <= demand.order;
        if !replaced && self.demands.iter().all(ordinary) {
            return self.clocks.iter().filter_map(|clock| fact(&clock.first, clock.settled.as_ref())).collect();
        }
        let demands = self.demands.iter().filter(|demand| demand.counts.figures).collect();
        let groups = group(demands, |settlement| !settlement.replaced, &self.settlements);
        groups.iter().filter_map(|(first, settled)| fact(first, settled.as_ref())).collect()
    }
}

/// The first of the demands that share an end, with that end, for each end in turn.
fn group<'a>(
    mut rest: Vec<&'a Demand>,
    counts: impl Fn(&Settlement) -> bool,
    settlements: &[Settlement],
) -> Vec<(&'a Demand, Option<Settlement>)> {
    let mut groups = Vec::new();
    while let Some(first) = rest.first().copied() {
        let end = end_of(first, &rest, settlements.iter().filter(|settlement| counts(settlement)));
        match &end {
            None => rest.clear(),
            Some(end) if first.ends_by(end) => rest.retain(|demand| {
                demand.key() != first.key() && demand.ended.as_ref().is_none_or(|ended| ended.key() > end.key())
            }),
            Some(settlement) => rest.retain(|demand| !settlement.settles(demand)),
        }
        groups.push((first, end));
    }
    groups
}

/// How and when the wait for the first of the demands `rest` ends: by the earliest settlement, or on its own before that.
fn end_of<'a>(
    first: &'a Demand,
    rest: &[&Demand],
    mut settlements: impl Iterator<Item = &'a Settlement>,
) -> Option<Settlement> {
    let reaches = |settlement: &Settlement| {
        let covered = |demand: &&Demand, reach: &Reach| {
            settlement.settles(demand) && demand.waits_at(settlement) && reach.covers(demand)
        };
        settlement.reach.as_ref().is_none_or(|reach| rest.iter().any(|demand| covered(demand, reach)))
    };
    let settlement = settlements.find(|settlement| settlement.settles(first) && reaches(settlement));
    let ended = first.ended.as_deref();
    settlement.into_iter().chain(ended).min_by_key(|end| end.key()).cloned()
}

impl DemandClock {
    fn start(context: &mut TenantContext, demand_context: &DemandContext<'_>, first: Demand, watched: bool) -> Self {
        let due = first.scope.due(demand_context.kind.rule, first.at).filter(|_| watched);
        let violation = demand_context.start(context, &first, due);
        Self { violation, settled: None, first }
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
        self.settled = settlement;
        if let (Some(violation), Some(subject)) = (&mut self.violation, demand_context.subject(&self.first)) {
            evaluate(violation, self.settled.as_ref(), context, &subject);
        }
    }

    /// Reverts a clock that, by late evidence dated `act`, never ran.
    fn withdraw(mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, act: Timestamp) {
        if let (Some(violation), Some(subject)) = (&mut self.violation, demand_context.subject(&self.first)) {
            match violation.state {
                State::Waiting => violation.avert(context, &subject, act),
                _ => violation.retract(context, &subject, act),
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
