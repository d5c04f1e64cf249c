//! Owns one segment of the pending replies of a contact: demands and settlements that do not change those of another
//! segment, and the clocks and facts that follow from them.

use crate::domain::context::TenantContext;
use crate::domain::event::Position;
use crate::domain::figures::pane::Measure;
use crate::domain::index::{CallIx, ManagerIx};
use crate::domain::mem::short::Short;
use crate::domain::pending_replies::clock::{DemandClock, DemandContext};
use crate::domain::pending_replies::demand::{Counts, Demand, DemandKey, FEW_DEMANDS, Settlement, Shared};
use crate::domain::time::Timestamp;
use std::ops::Range;

/// A fact that is counted at present.
pub(super) type Counted = (Timestamp, ManagerIx, Measure);

/// A demand that starts a clock, with the settlement or the end of its own that ends the clock.
pub(super) type Group<'a> = (&'a Demand, Option<Settlement>);

/// Demands and settlements of a period, and what follows from them.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// The demands and settlements from this date on belong to it, until the next segment starts.
    pub(super) start: Timestamp,
    /// Ordered by key.
    pub(super) demands: Vec<Demand>,
    /// Ordered by turn.
    settlements: Vec<Settlement>,
    /// Ordered by the turns of their first demands.
    pub(super) clocks: Vec<DemandClock>,
    /// The facts that it counts at present, in the order of the demands.
    pub(super) counted: Vec<Counted>,
    extent: Extent,
    /// All demands are ordinary, their turns are in the order of their keys, and no settlement was replaced. If it is not set,
    /// this may still be so.
    is_plain: bool,
    /// What its demands have in common with settlements; `None`: to be derived when it is needed.
    shared: Option<Box<Shared>>,
}

/// How far the clocks and figures of a segment reach.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// The date at which the last clock ended, or the last wait in the figures; `None` while one runs.
    ended: Option<Timestamp>,
    /// The date of the last demand or settlement.
    last: Timestamp,
    /// The lowest and the highest `opened` of the demands that start a clock.
    opened: (Position, Position),
}

/// How many demands and settlements a segment has, and the date of the last of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    demands: usize,
    settlements: usize,
    last: Timestamp,
}

impl Segment {
    /// A segment that starts with a demand. Its clocks and facts are to be derived.
    pub(super) fn new(demand: Demand) -> Self {
        Self { start: demand.at, demands: vec![demand], ..Self::default() }
    }

    /// Whether a demand starts a segment of its own: it has a clock, and neither changes this one nor is changed by it.
    pub(super) fn ends_before(&self, demand: &Demand) -> bool {
        demand.counts.alerts && self.extent.is_before(demand.at, demand.opened)
    }

    /// Whether the next segment neither changes it nor is changed by it.
    pub(super) fn ends_before_next(&self, next: &Self) -> bool {
        self.extent.is_before(next.start, next.extent.opened.0)
    }

    /// Whether a settlement comes after all others.
    pub(super) fn is_followed_by(&self, settlement: &Settlement) -> bool {
        self.settlements.last().is_none_or(|last| last.turn() <= settlement.turn())
    }

    /// Whether a demand comes after all others.
    pub(super) fn is_followed_by_demand(&self, demand: &Demand) -> bool {
        self.demands.last().is_some_and(|last| last.key() <= demand.key())
    }

    pub(super) fn length(&self) -> Length {
        Length { demands: self.demands.len(), settlements: self.settlements.len(), last: self.extent.last }
    }

    /// Removes what was appended since it had this length.
    pub(super) fn shorten(&mut self, length: Length) {
        self.demands.truncate(length.demands);
        self.settlements.truncate(length.settlements);
        self.extent.last = length.last;
        self.shared = None;
    }

    /// Whether the last clock ended before a date, and nothing but an end can be after it.
    pub(super) fn ended_before(&self, at: Timestamp) -> bool {
        let recent = self.clocks.is_empty() && self.extent.last >= at;
        !recent && self.extent.ended.is_some_and(|ended| ended < at)
    }

    /// The clock that runs.
    pub(super) fn running(&self) -> Option<&DemandClock> {
        self.clocks.last().filter(|clock| clock.settled.is_none())
    }

    /// The same, to change it.
    pub(super) fn running_mut(&mut self) -> Option<&mut DemandClock> {
        self.clocks.last_mut().filter(|clock| clock.settled.is_none())
    }

    /// The clocks whose first demand has this date.
    pub(super) fn clocks_of(&mut self, first: Timestamp) -> impl Iterator<Item = &mut DemandClock> {
        let from = if self.is_plain { self.clocks.partition_point(|clock| clock.first.at < first) } else { 0 };
        let until = if self.is_plain { Timestamp(first.0.saturating_add(1)) } else { Timestamp::MAX };
        let clocks = self.clocks[from..].iter_mut().take_while(move |clock| clock.first.at < until);
        clocks.filter(move |clock| clock.first.at == first)
    }

    /// The demands that nothing has ended yet.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Demand> {
        let first = self.running().filter(|_| self.is_plain).and_then(|clock| self.position(clock.first.key()));
        self.demands[first.unwrap_or_default()..].iter().filter(|demand| self.waits(demand))
    }

    /// Whether nothing has ended one of its demands yet.
    pub(super) fn waits(&self, demand: &Demand) -> bool {
        let counts = demand.ended.is_none() && demand.counts.alerts;
        counts && self.running().is_some_and(|clock| demand.turn() >= clock.first.turn())
    }

    fn position(&self, key: DemandKey) -> Option<usize> {
        self.demands.binary_search_by_key(&key, Demand::key).ok()
    }

    /// The number of demands up to a key.
    fn position_after(&self, key: DemandKey) -> usize {
        self.demands.partition_point(|demand| demand.key() <= key)
    }

    /// The demand with this key.
    pub(super) fn find(&self, key: DemandKey) -> Option<&Demand> {
        self.position(key).map(|position| &self.demands[position])
    }

    /// Changes the demand with this key, also where a clock starts with it.
    pub(super) fn change_demand(&mut self, key: DemandKey, change: impl Fn(&mut Demand)) {
        let of_clocks = self.clocks.iter_mut().map(|clock| &mut clock.first).filter(|demand| demand.key() == key);
        of_clocks.for_each(&change);
        if let Some(position) = self.position(key) {
            change(&mut self.demands[position]);
            self.shared.iter_mut().for_each(|shared| shared.add(&self.demands[position]));
        }
    }

    /// Adds a demand.
    pub(super) fn add_demand(&mut self, demand: Demand) {
        self.extent.last = self.extent.last.max(demand.at);
        self.shared.iter_mut().for_each(|shared| shared.add(&demand));
        let index = self.position_after(demand.key());
        let is_last = index == self.demands.len() && self.demands.last().is_none_or(|last| last.turn() < demand.turn());
        self.is_plain &= is_last && demand.is_ordinary();
        self.demands.reserve_short();
        self.demands.insert(index, demand);
    }

    /// Whether a further demand changes neither clocks nor facts.
    pub(super) fn is_unchanged_by_demand(&self, demand: &Demand, waiting: Measure) -> bool {
        demand.is_ordinary() && (demand.counts == Counts::NOT || self.joins_the_wait(demand, waiting))
    }

    /// Whether a demand waits together with those before it, and for the same settlement.
    fn joins_the_wait(&self, demand: &Demand, waiting: Measure) -> bool {
        let counted = self.counted.last().is_some_and(|(_, _, measure)| *measure == waiting);
        counted
            && self.extent.last < demand.at
            && self.running().is_some_and(|clock| clock.first.turn() < demand.turn())
    }

    /// The demand with this key, to change it.
    pub(super) fn find_mut(&mut self, key: DemandKey) -> Option<&mut Demand> {
        self.is_plain = false;
        self.position(key).map(|position| &mut self.demands[position])
    }

    /// The demands after one key and up to another.
    fn between(&self, from: Option<DemandKey>, until: DemandKey) -> Range<usize> {
        let start = from.map_or(0, |key| self.position_after(key));
        start..self.position_after(until).max(start)
    }

    /// Whether one of the demands after one key and up to another has not ended on its own.
    pub(super) fn may_end(&self, from: Option<DemandKey>, until: DemandKey) -> bool {
        self.demands[self.between(from, until)].iter().any(|demand| demand.ended.is_none())
    }

    /// Ends these demands on their own; returns whether there was one. What follows from it is to be derived.
    pub(super) fn end_between(&mut self, from: Option<DemandKey>, until: DemandKey, end: &Settlement) -> bool {
        let range = self.between(from, until);
        let mut any = false;
        for demand in self.demands[range].iter_mut().filter(|demand| demand.ended.is_none()) {
            (demand.ended, any) = (Some(Box::new(end.clone())), true);
        }
        any
    }

    /// Finds out whether it is plain, unless that is known.
    pub(super) fn derive_plain(&mut self) {
        self.is_plain =
            self.is_plain || self.is_ordinary() && self.demands.is_sorted_by(|one, next| one.turn() < next.turn());
    }

    /// Whether no demand up to a key waits, as far as that can be said without looking at each of them.
    pub(super) fn waits_only_after(&self, key: DemandKey) -> bool {
        self.running().is_none_or(|clock| self.is_plain && clock.first.key() > key)
    }

    /// The demands up to a key that wait, if their end changes nothing but the running clock, and the demand with which the
    /// next clock starts. Of many that wait, each may end by itself: so this must not look at the others.
    pub(super) fn head(&self, until: DemandKey, end: &Settlement) -> Option<(Range<usize>, usize)> {
        let first = &self.running().filter(|_| self.is_plain)?.first;
        if self.settlements.last().is_some_and(|last| last.at >= first.at) {
            return None;
        }
        let from = self.position(first.key()).filter(|_| first.key() <= until)?;
        let range = from..self.position_after(until);
        let next = range.end + self.demands[range.end..].iter().position(|demand| self.waits(demand))?;
        let is_passed = |demand: &Demand| {
            demand.ended.as_ref().map_or(demand.counts == Counts::NOT, |ended| ended.key() <= end.key())
        };
        let is_alone = self.demands[range.start..next].iter().all(|demand| self.waits(demand) || is_passed(demand));
        (is_alone && self.demands[next].key() <= end.key()).then_some((range, next))
    }

    /// Ends the demands that [`Self::head`] has found. The next clock starts.
    pub(super) fn end_head(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        end: &Settlement,
        (range, next): (Range<usize>, usize),
    ) {
        for demand in self.demands[range].iter_mut().filter(|demand| demand.ended.is_none() && demand.counts.alerts) {
            demand.ended = Some(Box::new(end.clone()));
        }
        if let Some(clock) = self.running_mut() {
            clock.settle(context, demand_context, Some(end.clone()));
        }
        let first = self.demands[next].clone();
        self.extent.opened.1 = self.extent.opened.1.max(first.opened);
        let fact = wait(demand_context, &first);
        self.clocks.push_short(DemandClock::start(context, demand_context, first, true));
        if let Some(last) = self.counted.last_mut().filter(|last| **last != fact) {
            let (at, who, measure) = std::mem::replace(last, fact);
            context.emit_fact(at, who, -1, measure);
            context.emit_fact(fact.0, fact.1, 1, fact.2);
        }
    }

    /// Adds a settlement.
    pub(super) fn add_settlement(&mut self, settlement: Settlement) {
        self.extent.last = self.extent.last.max(settlement.at);
        let index = self.settlements.partition_point(|other| other.turn() <= settlement.turn());
        self.settlements.reserve_short();
        self.settlements.insert(index, settlement);
    }

    /// Whether a further settlement changes neither clocks nor facts.
    pub(super) fn is_unchanged_by(&mut self, settlement: &Settlement) -> bool {
        self.extent.is_before(settlement.at, Position::MAX) || !self.may_be_settled_by(settlement)
    }

    /// Whether a settlement can settle one of the demands.
    fn may_be_settled_by(&mut self, settlement: &Settlement) -> bool {
        let Some(reach) = &settlement.reach else { return true };
        if self.demands.len() <= FEW_DEMANDS {
            return self.demands.iter().any(|demand| settlement.settles_by(demand, reach));
        }
        let shared = self.shared.get_or_insert_with(|| Box::new(Shared::of(&self.demands)));
        shared.may_settle(settlement, reach)
    }

    /// Counts or does not count the lags of what a call, whose first leg is dated `since`, settled. Returns whether it had
    /// settled something.
    pub(super) fn set_reply(&mut self, (call, since): (CallIx, Timestamp), reply: bool) -> bool {
        let from = self.settlements.partition_point(|settlement| settlement.at < since);
        let of_clocks = self.clocks.iter_mut().filter_map(|clock| clock.settled.as_mut());
        let of_call = |settlement: &&mut Settlement| settlement.act.is_some_and(|(other, _)| other == call);
        let mut found = false;
        for settlement in self.settlements[from..].iter_mut().chain(of_clocks).filter(of_call) {
            (settlement.reply, found) = (reply, true);
        }
        found
    }

    /// Marks what a leg that started at `at` settled as replaced. Returns whether facts can change.
    pub(super) fn replace_act(&mut self, (act, at): ((CallIx, Position), Timestamp)) -> bool {
        let from = self.settlements.partition_point(|settlement| settlement.at < at);
        let of_date = self.settlements[from..].iter_mut().take_while(|settlement| settlement.at == at);
        let mut replaced = Vec::new();
        for settlement in of_date.filter(|settlement| settlement.act == Some(act)) {
            settlement.replaced = true;
            self.is_plain = false;
            replaced.push(settlement.clone());
        }
        replaced.iter().any(|settlement| self.may_be_settled_by(settlement))
    }

    /// Replaces the index of a call. Returns whether it was there.
    pub(super) fn replace_call(&mut self, from: CallIx, to: CallIx) -> bool {
        let of_demands = self.demands.iter_mut().map(|demand| &mut demand.call);
        let of_clocks = self.clocks.iter_mut().map(|clock| &mut clock.first.call);
        let mut found = false;
        for call in of_demands.chain(of_clocks).filter(|call| **call == Some(from)) {
            (*call, found) = (Some(to), true);
        }
        for (call, _) in self.settlements.iter_mut().filter_map(|settlement| settlement.act.as_mut()) {
            if *call == from {
                (*call, found) = (to, true);
            }
        }
        found
    }

    /// Appends the next segment.
    pub(super) fn append(&mut self, mut next: Self) {
        self.demands.append(&mut next.demands);
        self.settlements.append(&mut next.settlements);
        self.clocks.append(&mut next.clocks);
        self.counted.append(&mut next.counted);
        self.is_plain = false;
        self.shared = None;
    }

    /// Derives how far the clocks will reach that follow from the demands and settlements.
    pub(super) fn measure_ahead(&mut self) {
        self.extent = self.extent_of(self.groups().iter().map(|(first, end)| (*first, end.as_ref())));
    }

    /// Derives how far its clocks reach.
    pub(super) fn measure(&mut self) {
        self.is_plain = false;
        self.extent = self.extent_of(self.clocks.iter().map(|clock| (&clock.first, clock.settled.as_ref())));
    }

    fn extent_of<'a>(&self, clocks: impl Iterator<Item = (&'a Demand, Option<&'a Settlement>)>) -> Extent {
        let mut extent = Extent::NONE;
        for (first, settled) in clocks {
            extent.add_end(settled);
            extent.opened = (extent.opened.0.min(first.opened), extent.opened.1.max(first.opened));
        }
        if !self.is_ordinary() {
            self.figure_groups().iter().for_each(|(_, settled)| extent.add_end(settled.as_ref()));
        }
        let last = self.demands.last().map(|demand| demand.at).max(self.settlements.last().map(|last| last.at));
        extent.last = last.unwrap_or(self.start);
        extent
    }

    /// The groups of the clocks.
    pub(super) fn groups(&self) -> Vec<Group<'_>> {
        let mut demands: Vec<&Demand> = self.demands.iter().filter(|demand| demand.counts.alerts).collect();
        demands.sort_by_key(|demand| demand.turn());
        group(demands, |_| true, &self.settlements)
    }

    /// The groups of the figures, which follow what stands; clocks follow also what was replaced since.
    fn figure_groups(&self) -> Vec<Group<'_>> {
        let demands = self.demands.iter().filter(|demand| demand.counts.figures).collect();
        group(demands, |settlement| !settlement.replaced, &self.settlements)
    }

    /// Whether the figures count what the clocks do.
    fn is_ordinary(&self) -> bool {
        !self.settlements.iter().any(|settlement| settlement.replaced) && self.demands.iter().all(Demand::is_ordinary)
    }

    /// Recomputes the clocks and emits the differences. `later`: the segments after it.
    pub(super) fn regroup<'a>(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        later: impl Iterator<Item = &'a Self> + Clone,
    ) {
        let before = std::mem::take(&mut self.clocks);
        let settled_before: Vec<(Demand, Settlement)> =
            before.iter().filter_map(|clock| Some((clock.first.clone(), clock.settled.clone()?))).collect();
        let mut before = before.into_iter().peekable();
        let mut clocks = Vec::new();
        for (first, settled) in self.groups() {
            while let Some(stale) = before.next_if(|clock| clock.first.turn() < first.turn()) {
                let act = self.settled_at(&stale.first, later.clone());
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
            clocks.push_short(clock);
        }
        for stale in before {
            let act = self.settled_at(&stale.first, later.clone());
            stale.withdraw(context, demand_context, act);
        }
        self.clocks = clocks;
    }

    /// The date of the earliest settlement that a demand can have; its own date if there is none.
    fn settled_at<'a>(&self, demand: &Demand, later: impl Iterator<Item = &'a Self>) -> Timestamp {
        let settlements = self.settlements.iter().chain(later.flat_map(|segment| &segment.settlements));
        let settlement = settlements.into_iter().find(|settlement| settlement.settles(demand));
        settlement.map_or(demand.at, |settlement| settlement.at)
    }

    /// Divides it where no clock and no wait in the figures reaches from one side to the other. Returns the parts after
    /// the first, from the last to the first, without their facts.
    pub(super) fn split(&mut self) -> Vec<Self> {
        let starts = self.starts_of_parts();
        self.shared = None;
        let mut parts = Vec::new();
        for index in starts.into_iter().rev() {
            let demands = self.demands.split_off(index);
            let (start, first) = (demands[0].at, demands[0].key());
            let from = self.settlements.partition_point(|settlement| settlement.at < start);
            let settlements = self.settlements.split_off(from);
            let clocks =
                self.clocks.split_off(self.clocks.iter().take_while(|clock| clock.first.key() < first).count());
            let mut part = Self { start, demands, settlements, clocks, ..Self::default() };
            part.measure();
            parts.push(part);
        }
        self.measure();
        parts
    }

    /// The positions of the demands with which a part of its own starts; each starts a clock.
    fn starts_of_parts(&self) -> Vec<usize> {
        if self.demands.len() < 2 {
            return Vec::new();
        }
        // Each wait: the demand that starts it, its end, and the event with which its clock began.
        let end = |end: Option<&Settlement>| end.map_or(Timestamp::MAX, |end| end.at);
        let of_clock = |clock: &DemandClock| (clock.first.key(), end(clock.settled.as_ref()), Some(clock.first.opened));
        let mut waits: Vec<_> = self.clocks.iter().map(of_clock).collect();
        if !self.is_ordinary() {
            waits
                .extend(self.figure_groups().iter().map(|(first, settled)| (first.key(), end(settled.as_ref()), None)));
        }
        waits.sort_unstable();
        let mut opened_from = vec![Position::MAX; waits.len() + 1];
        for (index, (_, _, opened)) in waits.iter().enumerate().rev() {
            opened_from[index] = opened_from[index + 1].min(opened.unwrap_or(Position::MAX));
        }
        let (mut passed, mut starts, mut before) = (0, Vec::new(), Extent::NONE);
        // The clock that a demand which began to count later belongs to can be that of a later demand.
        let mut covered = (Timestamp::MIN, Position::MIN);
        for (index, demand) in self.demands.iter().enumerate() {
            while let Some((_, end, opened)) = waits.get(passed).filter(|(first, _, _)| *first < demand.key()) {
                before.ended = before.ended.max(Some(*end));
                before.opened.1 = before.opened.1.max(opened.unwrap_or(Position::MIN));
                passed += 1;
            }
            let mut own = waits[passed..].iter().take_while(|(first, _, _)| *first == demand.key());
            let is_first = own.any(|(_, _, opened)| opened.is_some());
            if index > 0 && is_first && covered < demand.key() && before.is_before(demand.at, opened_from[passed]) {
                starts.push(index);
            }
            before.last = demand.at;
            if demand.opened > demand.order && demand.counts.alerts {
                covered = covered.max(self.first_of(demand));
            }
        }
        starts
    }

    /// The key of the first demand of the clock to which a demand belongs, if that is not its own.
    fn first_of(&self, demand: &Demand) -> DemandKey {
        let earlier = self.clocks.iter().take_while(|clock| clock.first.turn() < demand.turn());
        let joined = earlier.filter(|clock| clock.includes(demand)).map(|clock| clock.first.key());
        joined.min().unwrap_or(demand.key())
    }

    /// Drops the clocks settled before `horizon`, and what is older than the others.
    pub(super) fn expire(&mut self, demand_context: &DemandContext<'_>, horizon: Timestamp) {
        let expired = |clock: &DemandClock| clock.settled.as_ref().is_some_and(|settlement| settlement.at < horizon);
        let Some(from) = self.clocks.iter().find(|clock| !expired(clock)).map(|clock| clock.first.at) else { return };
        if self.clocks.iter().any(expired) {
            self.clocks.retain(|clock| !expired(clock));
            self.demands.retain(|demand| demand.at >= from);
            self.settlements.retain(|settlement| settlement.at >= from);
            self.shared = None;
            self.counted = self.facts(demand_context);
            self.measure();
        }
    }

    /// What it counts: lags of replies, and a wait.
    pub(super) fn facts(&self, demand_context: &DemandContext<'_>) -> Vec<Counted> {
        let DemandContext { kind, .. } = demand_context;
        let fact = |first: &Demand, settled: Option<&Settlement>| match settled {
            None => Some(wait(demand_context, first)),
            Some(settlement) if settlement.reply => {
                let lag = first.scope.counted(kind.rule, first.at, settlement.at);
                Some((settlement.at, settlement.who, (kind.lag)(lag)))
            }
            Some(_) => None,
        };
        if self.is_ordinary() {
            return self.clocks.iter().filter_map(|clock| fact(&clock.first, clock.settled.as_ref())).collect();
        }
        self.figure_groups().iter().filter_map(|(first, settled)| fact(first, settled.as_ref())).collect()
    }
}

impl Default for Extent {
    fn default() -> Self {
        Self::NONE
    }
}

impl Extent {
    /// That of no demand.
    const NONE: Self =
        Self { ended: Some(Timestamp::MIN), last: Timestamp::MIN, opened: (Position::MAX, Position::MIN) };

    fn add_end(&mut self, settled: Option<&Settlement>) {
        self.ended = self.ended.zip(settled).map(|(ended, settled)| ended.max(settled.at));
    }

    /// Whether demands from a date on, of which the first began to count with the event `opened`, are apart.
    fn is_before(&self, start: Timestamp, opened: Position) -> bool {
        self.ended.is_some_and(|ended| ended < start) && self.last < start && self.opened.1 < opened
    }
}

/// The fact of a clock that runs.
fn wait(demand_context: &DemandContext<'_>, first: &Demand) -> Counted {
    (first.at, demand_context.responsible(first), demand_context.kind.waiting)
}

/// The first of the demands that share an end, with that end, for each end in turn.
fn group<'a>(
    mut rest: Vec<&'a Demand>,
    counts: impl Fn(&Settlement) -> bool,
    settlements: &[Settlement],
) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    let elsewhere = settlements.iter().any(|settlement| settlement.reach.is_some());
    let shared = |rest: &[&Demand]| (elsewhere && rest.len() > FEW_DEMANDS).then(|| Shared::of(rest.iter().copied()));
    let mut of_rest = shared(&rest);
    while let Some(first) = rest.first().copied() {
        let from = settlements.partition_point(|settlement| settlement.at < first.at);
        let may_settle = |settlement: &&Settlement| {
            let known = of_rest.as_ref().zip(settlement.reach.as_deref());
            known.is_none_or(|(shared, reach)| shared.may_settle(settlement, reach)) && counts(settlement)
        };
        let end = end_of(first, &rest, settlements[from..].iter().filter(may_settle));
        match &end {
            None => rest.clear(),
            Some(end) if first.ends_by(end) => rest.retain(|demand| {
                demand.key() != first.key() && demand.ended.as_ref().is_none_or(|ended| ended.key() > end.key())
            }),
            Some(settlement) => {
                rest.retain(|demand| !settlement.settles(demand));
                of_rest = shared(&rest);
            }
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
        let reach = settlement.reach.as_ref();
        reach.is_none_or(|reach| rest.iter().any(|demand| settlement.settles_by(demand, reach)))
    };
    let settlement = settlements.find(|settlement| settlement.settles(first) && reaches(settlement));
    let ended = first.ended.as_deref();
    settlement.into_iter().chain(ended).min_by_key(|end| end.key()).cloned()
}
