//! Owns the pending replies of a contact: demands (missed calls, messages) and the settlements that answer them.
//!
//! Definition. A demand is settled by the earliest settlement dated at or after it, or **ends** on its own before that: it
//! is dismissed, or its entity is closed. Demands with the same settlement form one clock, which runs from the first of
//! them, so a contact has one running clock at a time; a demand that ends on its own while the clock runs leaves it. All
//! clocks are derived from the two lists: a settlement that becomes known late (a call is known at its end and dated at
//! its start) regroups the demands and corrects the facts and alerts.
//!
//! A missed call that turns out to be a leg of a conversation is **withdrawn**: it never was a demand.
//!
//! The history of a contact is divided into **segments**, wherever nothing waits: an act dated in one of them changes
//! nothing in the others. So the cost of an act depends on what waits at its date and not on the length of the history. If
//! a change lets a wait reach into the next segment, the two are merged, and divided again where that is possible.

mod clock;
pub mod demand;
mod segment;
#[cfg(test)]
mod tests;

pub use clock::{DemandContext, DemandKind};

use crate::domain::context::TenantContext;
use crate::domain::event::Position;
use crate::domain::index::{CallIx, JourneyIx, ManagerIx};
use crate::domain::lifecycle::Violation;
use crate::domain::mem::recorded::Recorded;
use crate::domain::mem::short::Short;
use crate::domain::norms::Scope;
use crate::domain::time::Timestamp;
use demand::{Counts, Demand, DemandKey, Settlement};
use segment::{Counted, Length, Segment};
use std::collections::VecDeque;
use std::sync::Arc;

/// The demands of one kind of one contact.
#[derive(Debug, Default)]
pub struct PendingReplies {
    /// Ordered by date; a clock runs in the last one only. All but the first start with a clock.
    segments: VecDeque<Segment>,
    /// Demands up to this key are dismissed, even if they begin to count only later.
    dismissed: Option<DemandKey>,
    /// Set while changes are recorded.
    recorded: Option<Box<RecordedSegments>>,
}

/// The segments that have changed, as they were.
#[derive(Debug)]
struct RecordedSegments {
    /// All segments from this start on have changed or are new.
    from: Timestamp,
    segments: Vec<Segment>,
    /// Another segment, which only became longer, and its length before.
    extended: Option<(Timestamp, Length)>,
}

/// The before-image of the demands of a contact.
#[derive(Debug)]
pub struct PendingBefore {
    dismissed: Option<DemandKey>,
    changed: RecordedSegments,
}

/// What a change can affect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Affected {
    /// Clocks and the figures.
    Clocks,
    /// The figures only.
    Figures,
}

impl PendingReplies {
    /// The clocks: first demand, event time of the settlement, and violation.
    pub fn clocks(&self) -> impl Iterator<Item = (&Demand, Option<Timestamp>, Option<&Violation>)> {
        self.segments.iter().flat_map(|segment| &segment.clocks).map(|clock| {
            (&clock.first, clock.settled.as_ref().map(|settlement| settlement.at), clock.violation.as_ref())
        })
    }

    /// Records a segment and those after it, before they change. What has expired is not recorded: no event can reach it.
    fn record(&mut self, position: usize) {
        let Some(recorded) = &mut self.recorded else { return };
        let Some(from) = self.segments.get(position).map(|segment| segment.start) else { return };
        let until = self.segments.partition_point(|segment| segment.start < recorded.from);
        if position < until {
            let mut changed: Vec<Segment> = self.segments.range(position..until).cloned().collect();
            if let Some(extended) = recorded.extended.take_if(|(start, _)| *start >= from) {
                shorten(&mut changed, extended);
            }
            recorded.segments.splice(0..0, changed);
            recorded.from = from;
        }
    }

    /// Records a segment before a demand or a settlement is added. `is_appended`: it comes after all others and changes
    /// nothing else. A segment can have very many of these, so if it is the last one, only its length is recorded.
    fn record_addition(&mut self, position: usize, is_appended: bool) {
        if !is_appended || position + 1 < self.segments.len() {
            return self.record(position);
        }
        let (Some(recorded), Some(segment)) = (&mut self.recorded, self.segments.get(position)) else { return };
        if segment.start < recorded.from && recorded.extended.is_none() {
            recorded.extended = Some((segment.start, segment.length()));
        }
    }

    /// Removes everything, if changes are recorded. Returns whether they are.
    pub fn clear_recorded(&mut self) -> bool {
        let is_recorded = self.recorded.is_some();
        if is_recorded {
            self.reset();
        }
        is_recorded
    }

    /// Adds a demand.
    pub fn add_demand(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, mut demand: Demand) {
        if Some(demand.key()) <= self.dismissed {
            demand.counts = Counts::NOT;
        }
        let at = demand.at;
        let changed = if self.segments.back().is_none_or(|last| last.ends_before(&demand)) {
            self.segments.push_short(Segment::new(demand));
            if let Some(recorded) = &mut self.recorded {
                recorded.from = recorded.from.min(at);
            }
            true
        } else {
            let index = self.position(at);
            let segment = &self.segments[index];
            let unchanged = segment.is_unchanged_by_demand(&demand, demand_context.kind.waiting);
            let last = segment.is_followed_by_demand(&demand);
            self.record_addition(index, unchanged && last);
            self.segments[index].add_demand(demand);
            !unchanged
        };
        if changed {
            self.update(context, demand_context, at, Affected::Clocks);
        }
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
        if !ending.is_empty() {
            self.record(self.segments.len() - 1);
        }
        let Some(last) = self.segments.back_mut().filter(|_| !ending.is_empty()) else { return false };
        for demand in last.demands.iter_mut().filter(|demand| ending.binary_search(&demand.key()).is_ok()) {
            demand.ended = Some(Box::new(end.clone()));
        }
        let start = last.start;
        self.update(context, demand_context, start, Affected::Clocks);
        true
    }

    /// Ends the pending demands up to `key` by a dismissal. Returns whether there was one.
    pub fn dismiss(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        dismissal: &Settlement,
        key: DemandKey,
    ) -> bool {
        let before = self.dismissed;
        self.dismissed = before.max(Some(key));
        let ended = self.dismiss_first(context, demand_context, dismissal, key);
        let ended = ended.unwrap_or_else(|| self.end(context, demand_context, dismissal, |demand| demand.key() <= key));
        // What a replaced act had settled still counts in the figures, and no more.
        let from = before.map_or(0, |(at, _)| self.position(at));
        let mut concerned = self.segments.range(from..).take_while(|segment| segment.start <= key.0);
        let first = concerned.position(|segment| segment.may_end(before, key));
        let from = first.map_or(self.segments.len(), |first| from + first);
        self.record(from);
        let mut changed = Vec::new();
        for segment in self.segments.range_mut(from..).take_while(|segment| segment.start <= key.0) {
            changed.extend(segment.end_between(before, key, dismissal).then_some(segment.start));
        }
        self.update_each(context, demand_context, changed, Affected::Figures);
        ended
    }

    /// The same if only the running clock ends and the next one starts, or if nothing ends: then the cost does not depend on how
    /// many wait. `None`: nothing was done.
    fn dismiss_first(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        dismissal: &Settlement,
        key: DemandKey,
    ) -> Option<bool> {
        let last = self.segments.back_mut()?;
        last.derive_plain();
        if last.waits_only_after(key) {
            return Some(false);
        }
        let head = last.head(key, dismissal)?;
        self.record(self.segments.len() - 1);
        self.segments.back_mut()?.end_head(context, demand_context, dismissal, head);
        Some(true)
    }

    /// Sets the call of a demand.
    pub fn set_call(&mut self, key: DemandKey, call: CallIx) {
        self.change_demand(key, |demand| demand.call = Some(call));
    }

    /// Adds an entity that a demand belongs to.
    pub fn add_entity(&mut self, key: DemandKey, entity: JourneyIx) {
        self.change_demand(key, |demand| demand.entities.push(entity));
    }

    fn change_demand(&mut self, key: DemandKey, change: impl Fn(&mut Demand)) {
        if let Some(segment) = self.segment_mut(key.0) {
            segment.change_demand(key, change);
        }
    }

    /// Counts or does not count the lags of what a call settled. `since`: the date of its first leg.
    pub fn set_reply(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        (call, since): (CallIx, Timestamp),
        reply: bool,
    ) {
        let changed = self.change_since(since, |segment| segment.set_reply((call, since), reply));
        self.update_each(context, demand_context, changed, Affected::Figures);
    }

    /// Withdraws demands at once, because acts, whose dates stand beside the keys, show that they never were any.
    pub fn withdraw(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        withdrawn: &[(DemandKey, Timestamp)],
    ) {
        let mut changed = Vec::new();
        for (key, act) in withdrawn {
            let Some(segment) = self.segment_mut(key.0) else { continue };
            if let Some(position) = segment.clocks.iter().position(|clock| clock.first.key() == *key) {
                segment.clocks.remove(position).withdraw(context, demand_context, key.0.max(*act));
            }
            if self.replace_counts(*key, |_| Some(Counts::NOT), Position::MIN) {
                changed.push(key.0);
            }
        }
        self.update_each(context, demand_context, changed, Affected::Clocks);
    }

    /// Removes a demand that does not count.
    pub fn remove(&mut self, key: DemandKey) {
        let position = self.position(key.0);
        self.record(position.saturating_sub(1));
        let Some(segment) = self.segments.get_mut(position).filter(|segment| segment.find(key).is_some()) else {
            return;
        };
        segment.demands.retain(|demand| demand.key() != key);
        if segment.demands.is_empty() {
            let removed = self.segments.remove(position).unwrap_or_default();
            if let Some(previous) = position.checked_sub(1).and_then(|previous| self.segments.get_mut(previous)) {
                previous.append(removed);
                previous.measure();
            }
        }
    }

    /// Changes what counts a demand, if `counts` returns something else than now.
    pub fn set_counts(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        key: DemandKey,
        counts: impl Fn(&Demand) -> Option<Counts>,
        position: Position,
    ) {
        if self.replace_counts(key, counts, position) {
            self.update(context, demand_context, key.0, Affected::Clocks);
        }
    }

    fn replace_counts(
        &mut self,
        key: DemandKey,
        counts: impl Fn(&Demand) -> Option<Counts>,
        position: Position,
    ) -> bool {
        let Some(demand) = self.find(key) else { return false };
        let dismissed = Some(key) <= self.dismissed && !demand.counts.alerts;
        let Some(counts) = counts(demand).filter(|counts| *counts != demand.counts && !dismissed) else { return false };
        let Some(demand) = self.segment_mut(key.0).and_then(|segment| segment.find_mut(key)) else { return false };
        if counts.alerts && !demand.counts.alerts {
            demand.opened = position;
        }
        demand.counts = counts;
        true
    }

    /// Marks what a leg that started at `at` settled as replaced.
    pub fn replace_act(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        act: ((CallIx, Position), Timestamp),
    ) {
        let (_, at) = act;
        if self.segment_mut(at).is_some_and(|segment| segment.replace_act(act)) {
            self.update(context, demand_context, at, Affected::Figures);
        }
    }

    /// Replaces the index of a call, whose first leg started at `since`, and that turned out to be part of another.
    pub fn replace_call(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        (from, since): (CallIx, Timestamp),
        to: CallIx,
    ) {
        let changed = self.change_since(since, |segment| segment.replace_call(from, to));
        self.update_each(context, demand_context, changed, Affected::Clocks);
    }

    /// The demands that nothing has ended yet.
    pub fn pending(&self) -> impl Iterator<Item = &Demand> {
        self.segments.back().into_iter().flat_map(Segment::pending)
    }

    /// The demand with this key, if nothing has ended it yet.
    pub fn find_pending(&self, key: DemandKey) -> Option<&Demand> {
        let last = self.segments.back()?;
        last.find(key).filter(|demand| last.waits(demand))
    }

    /// The demand with this key.
    pub fn find(&self, key: DemandKey) -> Option<&Demand> {
        self.segments.get(self.position(key.0))?.find(key)
    }

    /// Whether the demand with this key counts and does not wait any more.
    pub fn has_ended(&self, key: DemandKey) -> bool {
        let Some(demand) = self.find(key) else { return true };
        let last = self.segments.back().filter(|last| last.start <= key.0);
        demand.counts.alerts && !last.is_some_and(|last| last.waits(demand))
    }

    /// Adds a settlement; ignored if there are no demands.
    pub fn add_settlement(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        settlement: Settlement,
    ) {
        let (at, position) = (settlement.at, self.position(settlement.at));
        let Some(segment) = self.segments.get_mut(position) else { return };
        let (unchanged, last) = (segment.is_unchanged_by(&settlement), segment.is_followed_by(&settlement));
        self.record_addition(position, unchanged && last);
        self.segments[position].add_settlement(settlement);
        if !unchanged {
            self.update(context, demand_context, at, Affected::Clocks);
        }
    }

    /// Handles the timer of a clock whose first demand has this date.
    pub fn on_timer(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, first: Timestamp) {
        let clocks = self.segment_mut(first).into_iter().flat_map(|segment| segment.clocks_of(first));
        clocks.for_each(|clock| clock.on_timer(context, demand_context));
    }

    /// The primary entity and the named manager of the open demand, if there is one.
    pub fn open_demand(&self) -> Option<(Option<JourneyIx>, ManagerIx)> {
        let running = self.segments.back()?.running()?;
        Some((running.first.entity, running.first.who))
    }

    /// Applies new norms to the open demand.
    pub fn reload(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>, scope: &Arc<Scope>) {
        self.record(self.segments.len().saturating_sub(1));
        let Some(segment) = self.segments.back_mut() else { return };
        let Some(clock) = segment.running_mut() else { return };
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
        segment.change_demand(key, |demand| demand.scope = Arc::clone(scope));
    }

    /// Moves open demands and alerts to the manager who is responsible now.
    pub fn reassign(&mut self, context: &mut TenantContext, demand_context: &DemandContext<'_>) {
        self.record(self.segments.len().saturating_sub(1));
        let Some(segment) = self.segments.back_mut() else { return };
        for clock in &mut segment.clocks {
            if let (Some(violation), Some(subject)) = (&mut clock.violation, demand_context.subject(&clock.first)) {
                violation.reassign(context, &subject);
            }
        }
        let start = segment.start;
        self.update(context, demand_context, start, Affected::Figures);
    }

    /// Drops the clocks settled before `horizon`; no event can correct them anymore.
    pub fn expire(&mut self, demand_context: &DemandContext<'_>, horizon: Timestamp) {
        while self.segments.front().is_some_and(|segment| segment.ended_before(horizon)) {
            self.segments.pop_front();
        }
        match self.segments.front_mut() {
            Some(first) => first.expire(demand_context, horizon),
            None => self.dismissed = None,
        }
    }

    /// The position of the segment to which a date belongs.
    fn position(&self, at: Timestamp) -> usize {
        self.segments.partition_point(|segment| segment.start <= at).saturating_sub(1)
    }

    fn segment_mut(&mut self, at: Timestamp) -> Option<&mut Segment> {
        let position = self.position(at);
        self.record(position);
        self.segments.get_mut(position)
    }

    /// Applies a change to the segments from a date on. Returns the starts of those that it has changed.
    fn change_since(&mut self, since: Timestamp, mut change: impl FnMut(&mut Segment) -> bool) -> Vec<Timestamp> {
        let from = self.position(since);
        self.record(from);
        let changed = |segment: &mut Segment| change(segment).then_some(segment.start);
        self.segments.iter_mut().skip(from).filter_map(changed).collect()
    }

    fn update_each(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        mut dates: Vec<Timestamp>,
        affected: Affected,
    ) {
        dates.sort_unstable();
        dates.dedup();
        dates.into_iter().for_each(|at| self.update(context, demand_context, at, affected));
    }

    /// Derives clocks and figures again after a change at a date, and emits the differences.
    fn update(
        &mut self,
        context: &mut TenantContext,
        demand_context: &DemandContext<'_>,
        at: Timestamp,
        affected: Affected,
    ) {
        let position = self.position(at);
        self.record(position.saturating_sub(1));
        let merged = self.merge_from(position);
        let Some(segment) = self.segments.get_mut(position) else { return };
        let mut segment = std::mem::take(segment);
        if merged || affected == Affected::Clocks {
            segment.regroup(context, demand_context, self.segments.range(position + 1..));
        }
        let before = std::mem::take(&mut segment.counted);
        let mut parts = segment.split();
        if parts.is_empty() && (position == 0 || !segment.clocks.is_empty()) {
            recount(context, demand_context, &before, std::slice::from_mut(&mut segment));
            self.segments[position] = segment;
            return;
        }
        parts.push(segment);
        parts.reverse();
        recount(context, demand_context, &before, &mut parts);
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        let mut next = position + 1;
        match position.checked_sub(1).filter(|_| first.clocks.is_empty()) {
            Some(previous) => {
                self.segments[previous].append(first);
                self.segments[previous].measure();
                self.segments.remove(position);
                next = position;
            }
            None => self.segments[position] = first,
        }
        parts.enumerate().for_each(|(index, part)| self.segments.insert(next + index, part));
    }

    /// Merges a segment with those after it whose clocks or figures it shares. Returns whether there was one.
    fn merge_from(&mut self, position: usize) -> bool {
        let mut merged = false;
        while self.segments.len() > position + 1 {
            self.segments[position].measure_ahead();
            if self.segments[position].ends_before_next(&self.segments[position + 1]) {
                break;
            }
            let next = self.segments.remove(position + 1).unwrap_or_default();
            self.segments[position].append(next);
            merged = true;
        }
        merged
    }
}

impl Recorded for PendingReplies {
    type Before = PendingBefore;

    fn begin_recording(&mut self) -> PendingBefore {
        self.recorded = Some(Box::new(RecordedSegments::NONE));
        PendingBefore { dismissed: self.dismissed, changed: RecordedSegments::NONE }
    }

    fn end_recording(&mut self, before: &mut PendingBefore) {
        if let Some(recorded) = self.recorded.take() {
            before.changed = *recorded;
        }
    }

    fn reset(&mut self) {
        self.record(0);
        self.recorded.iter_mut().for_each(|recorded| recorded.from = Timestamp::MIN);
        self.segments.clear();
        self.dismissed = None;
    }

    fn restore(&mut self, before: PendingBefore) {
        let PendingBefore { dismissed, changed } = before;
        self.segments.truncate(self.segments.partition_point(|segment| segment.start < changed.from));
        changed.extended.into_iter().for_each(|extended| shorten(self.segments.make_contiguous(), extended));
        self.segments.extend(changed.segments);
        self.dismissed = dismissed;
    }

    fn merge(earlier: &mut PendingBefore, later: PendingBefore) {
        let (earlier, mut later) = (&mut earlier.changed, later.changed);
        if later.from < earlier.from {
            // What had not changed earlier was the same then.
            later.segments.truncate(later.segments.partition_point(|segment| segment.start < earlier.from));
            if let Some(extended) = earlier.extended.take_if(|(start, _)| *start >= later.from) {
                shorten(&mut later.segments, extended);
            }
            earlier.segments.splice(0..0, later.segments);
            let from = std::mem::replace(&mut earlier.from, later.from);
            later.extended = later.extended.filter(|(start, _)| *start < from);
        }
        let extended = later.extended.filter(|(start, _)| *start < earlier.from);
        earlier.extended = earlier.extended.take().or(extended);
    }
}

impl RecordedSegments {
    const NONE: Self = Self { from: Timestamp::MAX, segments: Vec::new(), extended: None };
}

/// Returns the segment with this start to its length before.
fn shorten(segments: &mut [Segment], (start, length): (Timestamp, Length)) {
    if let Ok(position) = segments.binary_search_by_key(&start, |segment| segment.start) {
        segments[position].shorten(length);
    }
}

/// Emits the difference between the facts that the parts of a segment count and those that it counted before.
fn recount(context: &mut TenantContext, demand_context: &DemandContext<'_>, before: &[Counted], parts: &mut [Segment]) {
    parts.iter_mut().for_each(|part| part.counted = part.facts(demand_context));
    let facts = || parts.iter().flat_map(|part| &part.counted);
    let same = before.iter().zip(facts()).take_while(|(old, new)| old == new).count();
    for (at, who, measure) in &before[same..] {
        context.emit_fact(*at, *who, -1, *measure);
    }
    for (at, who, measure) in facts().skip(same) {
        context.emit_fact(*at, *who, 1, *measure);
    }
}
