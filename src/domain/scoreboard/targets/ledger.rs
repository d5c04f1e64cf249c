//! Owns the figures that targets are set for: per manager, local day and currency, for the running and the previous quarter.
//!
//! They are counted whether a target names them or not, so that a new target is right at once.
//!
//! **Days** begin at the local midnights of all calendars that managers of the tenant can have, and of UTC, so that every
//! period begins and ends between days. A calendar in another time zone that a reload adds divides the days from then on.
//!
//! **State.** The figures of a day follow from the events that are kept. Before events are dropped, all days that changed
//! since the last time are stored, each with the instant up to which it includes what was known; a replay adds only what
//! became known later. So an event costs no record, and days are stored about once per `retention`. A late event changes
//! what became known before: the days that it changes are stored at once.

use super::stored::{DayRecord, Membership, PersonRecord, TargetChange};
use crate::domain::effect::ManagerUpdate;
use crate::domain::id::{DepartmentId, ManagerId, UNKNOWN};
use crate::domain::index::ManagerIx;
use crate::domain::norms::Norms;
use crate::domain::norms::targets::{Per, TargetFigure, day, day_around, midnight};
use crate::domain::time::calendar::Calendar;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// The slot of facts without a manager.
pub(super) const NOBODY: usize = 0;

/// Something to count.
#[derive(Clone, Debug)]
pub(super) struct Counted<'a> {
    pub(super) slot: usize,
    pub(super) at: Timestamp,
    pub(super) known: Timestamp,
    pub(super) figure: TargetFigure,
    /// Of amounts.
    pub(super) currency: Option<&'a CompactString>,
    pub(super) times: i128,
}

#[derive(Debug)]
pub(super) struct Ledger {
    /// The calendars whose local days are counted, besides UTC.
    calendars: Vec<Arc<Calendar>>,
    people: Vec<Person>,
    by_id: BTreeMap<ManagerId, usize>,
    /// The slots of each department at present, active or not.
    members: BTreeMap<DepartmentId, BTreeSet<usize>>,
    /// The slots of the managers that have an index.
    slots: Vec<usize>,
    free: Vec<usize>,
    /// The day that was counted last.
    day: Range<Timestamp>,
    /// What is dated earlier is not counted any more.
    since: Timestamp,
    /// Everything known up to this instant is stored, if it is not kept.
    flushed: Timestamp,
    /// Whether all changed days are to be stored.
    flush: bool,
    /// Days to be stored at once.
    urgent: BTreeSet<(usize, Timestamp)>,
    /// Managers to be stored.
    changed: BTreeSet<usize>,
    removed: Vec<TargetChange>,
}

/// A manager, also one that was forgotten as long as there are figures.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) id: ManagerId,
    pub(super) seen: Option<Timestamp>,
    /// Whether the tenant has forgotten the manager.
    pub(super) is_forgotten: bool,
    /// In time order, at most one a day.
    pub(super) history: Vec<Membership>,
    /// The last change that was stored before a restore.
    loaded_until: Timestamp,
    /// By their first instants.
    days: BTreeMap<Timestamp, Day>,
}

#[derive(Debug, Default)]
struct Day {
    counts: [i32; TargetFigure::ALL.len()],
    amounts: Vec<(CompactString, i128)>,
    /// What was known up to this instant is stored; `None`: nothing is.
    stored: Option<Timestamp>,
    has_changed: bool,
}

impl Day {
    fn sum(&self, figure: TargetFigure, currency: Option<&CompactString>) -> i128 {
        match figure {
            TargetFigure::AmountWon => {
                let of_currency = self.amounts.iter().filter(|(code, _)| Some(code) == currency);
                of_currency.map(|(_, minor)| minor).sum()
            }
            figure => i128::from(self.counts[figure as usize]),
        }
    }

    fn count(&mut self, counted: &Counted<'_>) {
        self.has_changed = true;
        match (counted.figure, counted.currency) {
            (TargetFigure::AmountWon, Some(currency)) => {
                match self.amounts.iter_mut().find(|(code, _)| code == currency) {
                    Some((_, minor)) => *minor += counted.times,
                    None => self.amounts.push((currency.clone(), counted.times)),
                }
            }
            (TargetFigure::AmountWon, None) => {}
            (figure, _) => self.counts[figure as usize] += counted.times as i32,
        }
    }

    fn record(&self, known: Timestamp) -> DayRecord {
        let counts = TargetFigure::ALL.iter().map(|figure| (*figure, i64::from(self.counts[*figure as usize])));
        DayRecord { known, counts: counts.filter(|(_, n)| *n != 0).collect(), amounts: self.amounts.clone() }
    }
}

impl Person {
    fn new(id: ManagerId) -> Self {
        let (seen, is_forgotten, loaded_until) = (None, true, Timestamp::MIN);
        Self { id, seen, is_forgotten, history: Vec::new(), loaded_until, days: BTreeMap::new() }
    }

    /// The department and whether the manager is active, at an instant; by default the present one.
    pub(super) fn membership(&self, at: Option<Timestamp>) -> (&str, bool) {
        let known = at.map_or(self.history.len(), |at| self.history.partition_point(|entry| entry.from <= at));
        let entry = self.history[..known].last();
        let department = entry.and_then(|entry| entry.department.as_ref()).map_or(UNKNOWN, DepartmentId::as_str);
        (department, entry.is_some_and(|entry| entry.active))
    }

    /// The departments the manager was in.
    pub(super) fn departments(&self) -> BTreeSet<DepartmentId> {
        let known = self.history.iter().map(|entry| entry.department.clone().unwrap_or_else(|| UNKNOWN.into()));
        known.chain(self.history.is_empty().then(|| UNKNOWN.into())).collect()
    }

    /// A figure between two instants, each the beginning of a day.
    pub(super) fn sum(&self, figure: TargetFigure, currency: Option<&CompactString>, days: Range<Timestamp>) -> i128 {
        if days.start >= days.end {
            return 0;
        }
        self.days.range(days).map(|(_, day)| day.sum(figure, currency)).sum()
    }
}

impl Ledger {
    pub(super) fn new(norms: &Norms, tenant: &str) -> Self {
        let mut ledger = Self {
            calendars: Vec::new(),
            people: vec![Person::new(ManagerId::default())],
            by_id: BTreeMap::from([(ManagerId::default(), NOBODY)]),
            members: BTreeMap::from([(UNKNOWN.into(), BTreeSet::from([NOBODY]))]),
            slots: vec![NOBODY],
            free: Vec::new(),
            day: Timestamp::MAX..Timestamp::MIN,
            since: Timestamp::MIN,
            flushed: Timestamp::MIN,
            flush: false,
            urgent: BTreeSet::new(),
            changed: BTreeSet::new(),
            removed: Vec::new(),
        };
        ledger.set_norms(norms, tenant);
        ledger
    }

    /// Days begin at the midnights of these norms from now on.
    pub(super) fn set_norms(&mut self, norms: &Norms, tenant: &str) {
        let mut calendars: BTreeMap<&str, &Arc<Calendar>> = BTreeMap::new();
        for calendar in norms.calendars_of_managers(tenant) {
            calendars.entry(calendar.zone_name()).or_insert(calendar);
        }
        self.calendars = calendars.into_values().cloned().collect();
        self.day = Timestamp::MAX..Timestamp::MIN;
    }

    /// The slot of a manager with an index.
    pub(super) fn slot(&self, who: ManagerIx) -> usize {
        self.slots.get(who.0 as usize).copied().unwrap_or(NOBODY)
    }

    /// The slot of a manager by id; nobody has the empty one.
    pub(super) fn find(&self, id: &ManagerId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The slot of a manager by id, who is added if there is none.
    pub(super) fn find_or_add(&mut self, id: &ManagerId) -> usize {
        if let Some(slot) = self.find(id) {
            return slot;
        }
        let person = Person::new(id.clone());
        let slot = match self.free.pop() {
            Some(slot) => {
                self.people[slot] = person;
                slot
            }
            None => {
                self.people.push(person);
                self.people.len() - 1
            }
        };
        self.by_id.insert(id.clone(), slot);
        self.members.entry(UNKNOWN.into()).or_default().insert(slot);
        slot
    }

    /// Replaces the memberships of a manager.
    fn change_history(&mut self, slot: usize, change: impl FnOnce(&mut Vec<Membership>)) {
        let before = DepartmentId::from(self.people[slot].membership(None).0);
        change(&mut self.people[slot].history);
        let after = self.people[slot].membership(None).0;
        if before.as_str() != after {
            let after = after.into();
            self.leave(&before, slot);
            self.members.entry(after).or_default().insert(slot);
        }
    }

    fn leave(&mut self, department: &DepartmentId, slot: usize) {
        if let Some(members) = self.members.get_mut(department) {
            members.remove(&slot);
            if members.is_empty() {
                self.members.remove(department);
            }
        }
    }

    pub(super) fn person(&self, slot: usize) -> &Person {
        &self.people[slot]
    }

    /// All slots in the order of ids, nobody first.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        self.by_id.values().copied()
    }

    /// The slots of a department at present.
    pub(super) fn members(&self, department: &DepartmentId) -> impl Iterator<Item = usize> {
        self.members.get(department).into_iter().flatten().copied()
    }

    /// Whether facts of a date are still counted.
    pub(super) fn covers(&self, at: Timestamp) -> bool {
        at >= self.since
    }

    /// Whether what applied until this instant does not matter any more.
    pub(super) fn is_past(&self, at: Timestamp) -> bool {
        at < self.since
    }

    /// A manager became known or changed; in a replay, what was stored includes changes up to its last one. Returns the slot.
    pub(super) fn update(&mut self, update: &ManagerUpdate, is_replay: bool) -> usize {
        let slot = self.find_or_add(&update.id);
        let index = update.who.0 as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, NOBODY);
        }
        self.slots[index] = slot;
        let person = &mut self.people[slot];
        let returns = std::mem::replace(&mut person.is_forgotten, false) && !is_replay;
        let seen = person.seen.map_or(update.seen, |seen| seen.min(update.seen));
        let from = update.known.max(if returns { update.seen } else { seen });
        let entry = Membership { from, department: update.department.clone(), active: update.active };
        let is_known = is_replay && from <= person.loaded_until;
        let last = person.history.last();
        let has_changed =
            !is_known && last.is_none_or(|last| (&last.department, last.active) != (&entry.department, entry.active));
        if has_changed || person.seen != Some(seen) {
            person.seen = Some(seen);
            self.changed.insert(slot);
        }
        if has_changed {
            // Only what applies when a day ends is ever asked for.
            let after = self.day_of(Timestamp(from.0.max(*Timestamp::VALID.start()) - 1));
            self.change_history(slot, |history| {
                history.truncate(history.partition_point(|earlier| earlier.from <= after));
                history.push(entry);
            });
        }
        slot
    }

    /// The tenant has forgotten a manager: the index is of another one from now on.
    pub(super) fn forget(&mut self, who: ManagerIx) {
        let slot = self.slot(who);
        if slot != NOBODY {
            self.people[slot].is_forgotten = true;
            self.slots[who.0 as usize] = NOBODY;
        }
    }

    /// Counts. `is_late`: it became known by a late event.
    pub(super) fn count(&mut self, counted: &Counted<'_>, is_late: bool) {
        if !self.covers(counted.at) {
            return;
        }
        let start = self.day_of(counted.at);
        if is_late {
            self.urgent.insert((counted.slot, start));
        }
        let day = self.people[counted.slot].days.entry(start).or_default();
        if counted.times != 0 {
            day.count(counted);
        }
    }

    /// Counts in a replay after a restore, unless what was stored includes it.
    pub(super) fn replay(&mut self, counted: &Counted<'_>) {
        let start = self.day_of(counted.at);
        let day = self.people[counted.slot].days.entry(start).or_default();
        if day.stored.is_none_or(|known| counted.known > known) {
            day.count(counted);
        }
    }

    /// Events up to this one are dropped.
    pub(super) fn expire(&mut self, last: Timestamp) {
        self.flush |= last > self.flushed;
    }

    fn day_of(&mut self, at: Timestamp) -> Timestamp {
        if !self.day.contains(&at) {
            let (mut start, mut end) = day_around(None, at);
            for calendar in &self.calendars {
                let (begins, ends) = day_around(Some(calendar), at);
                (start, end) = (start.max(begins), end.min(ends));
            }
            self.day = start..end;
        }
        self.day.start
    }

    /// The days are complete only from this instant on.
    pub(super) fn complete_since(&self) -> Timestamp {
        self.people[NOBODY].seen.unwrap_or(Timestamp::MIN)
    }

    /// Sets from when on the days are complete, unless that is stored.
    pub(super) fn set_complete_since(&mut self, since: Timestamp) {
        let seen = &mut self.people[NOBODY].seen;
        if seen.is_none() {
            *seen = Some(since);
            self.changed.insert(NOBODY);
        }
    }

    /// Takes over a stored day or manager.
    pub(super) fn load(&mut self, change: &TargetChange) {
        match change {
            TargetChange::Day(id, start, Some(record)) => {
                let slot = self.find_or_add(id);
                let day = self.people[slot].days.entry(*start).or_default();
                day.stored = Some(record.known);
                record.counts.iter().for_each(|(figure, n)| day.counts[*figure as usize] = *n as i32);
                day.amounts.clone_from(&record.amounts);
            }
            TargetChange::Person(id, Some(record)) => {
                let slot = self.find_or_add(id);
                self.change_history(slot, |history| history.clone_from(&record.history));
                let person = &mut self.people[slot];
                person.seen = Some(record.seen);
                person.loaded_until = record.history.last().map_or(Timestamp::MIN, |last| last.from);
            }
            _ => {}
        }
    }

    /// Drops the figures before the previous quarter.
    pub(super) fn forget_past(&mut self, at: Timestamp) {
        // The quarter of the zone that is the last one to begin it.
        let begun = at.saturating_sub(Span::DAY);
        if begun.0 < *Timestamp::VALID.start() {
            return;
        }
        let previous = Per::Quarter.first_day(Per::Quarter.index(day(None, begun)) - 1);
        let since = midnight(None, previous).saturating_sub(Span::DAY);
        if since <= self.since {
            return;
        }
        self.since = since;
        for slot in 0..self.people.len() {
            let person = &mut self.people[slot];
            let kept = person.days.split_off(&since);
            for (start, day) in std::mem::replace(&mut person.days, kept) {
                if day.stored.is_some() {
                    self.removed.push(TargetChange::Day(person.id.clone(), start, None));
                }
            }
            let obsolete = person.history.partition_point(|entry| entry.from < since).saturating_sub(1);
            if obsolete > 0 {
                person.history.drain(..obsolete);
                self.changed.insert(slot);
            }
            self.release(slot);
        }
    }

    /// Removes a manager who was forgotten, unless there are figures or the manager changed within the quarters that are
    /// kept. The slot is of another manager then.
    pub(super) fn release(&mut self, slot: usize) {
        let person = &mut self.people[slot];
        let is_needed = !person.days.is_empty() || person.history.last().is_some_and(|last| last.from >= self.since);
        let is_free = self.by_id.get(&person.id) != Some(&slot);
        if slot == NOBODY || !person.is_forgotten || is_needed || is_free {
            return;
        }
        let department = DepartmentId::from(person.membership(None).0);
        let id = std::mem::replace(person, Person::new(ManagerId::default())).id;
        self.leave(&department, slot);
        self.by_id.remove(&id);
        self.changed.remove(&slot);
        self.removed.push(TargetChange::Person(id, None));
        self.free.push(slot);
    }

    /// What is to be stored at the end of an epoch, of which everything known up to `at` was counted.
    pub(super) fn take_changes(&mut self, at: Timestamp, into: &mut Vec<TargetChange>) {
        into.append(&mut self.removed);
        for slot in std::mem::take(&mut self.changed) {
            let Person { id, seen, history, .. } = &self.people[slot];
            let record = seen.map(|seen| PersonRecord { seen, history: history.clone() });
            into.push(TargetChange::Person(id.clone(), record));
        }
        let urgent = std::mem::take(&mut self.urgent);
        if std::mem::take(&mut self.flush) {
            self.flushed = at;
            for person in &mut self.people {
                for (start, day) in person.days.iter_mut().filter(|(_, day)| day.has_changed) {
                    store(&person.id, *start, day, at, into);
                }
            }
        }
        for (slot, start) in urgent {
            let person = &mut self.people[slot];
            if let Some(day) = person.days.get_mut(&start) {
                store(&person.id, start, day, at, into);
            }
        }
    }

    /// Deletes all that is stored.
    pub(super) fn delete(&mut self, into: &mut Vec<TargetChange>) {
        into.append(&mut self.removed);
        for person in &self.people {
            let stored = person.days.iter().filter(|(_, day)| day.stored.is_some());
            into.extend(stored.map(|(start, _)| TargetChange::Day(person.id.clone(), *start, None)));
            if person.seen.is_some() {
                into.push(TargetChange::Person(person.id.clone(), None));
            }
        }
        self.changed.clear();
    }
}

fn store(id: &ManagerId, start: Timestamp, day: &mut Day, at: Timestamp, into: &mut Vec<TargetChange>) {
    if day.stored != Some(at) || day.has_changed {
        (day.stored, day.has_changed) = (Some(at), false);
        into.push(TargetChange::Day(id.clone(), start, Some(day.record(at))));
    }
}
