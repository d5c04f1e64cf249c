//! Owns the managers of a tenant: their indices, and the history of their names, departments and grades.
//!
//! Records are kept in event order, because a correction must use the department at the time of the event.

use crate::domain::effect::{Effect, ManagerUpdate};
use crate::domain::event::{CrmPayload, EventOrder};
use crate::domain::id::{DepartmentId, ManagerId, UNKNOWN};
use crate::domain::index::ManagerIx;
use crate::domain::mem::seeded::SeededMap;
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// The managers of a tenant; index 0 means no manager.
#[derive(Debug, Default)]
pub struct People {
    by_id: SeededMap<ManagerId, ManagerIx>,
    managers: Vec<ManagerHistory>,
    /// The indices of forgotten managers.
    free: Vec<ManagerIx>,
}

#[derive(Debug)]
struct ManagerHistory {
    id: ManagerId,
    /// The event time of the first event that names the manager.
    seen: Timestamp,
    /// In event order; before the first, department and grade are unknown.
    entries: Vec<ManagerEntry>,
    /// So many of them are final: no late event comes between them, and none repeats the record before it.
    settled: usize,
}

#[derive(Debug)]
struct ManagerEntry {
    order: EventOrder,
    /// Kept, because an earlier event may become known later.
    given: ManagerUpsert,
    record: ManagerRecord,
}

/// The content of `manager_upserted`.
#[derive(Clone, Debug)]
pub struct ManagerUpsert {
    /// The department. Absent: it stays; empty: none any more.
    pub department: Option<DepartmentId>,
    /// The grade that terms policies refer to, likewise.
    pub grade: Option<CompactString>,
    /// Whether the manager is still employed.
    pub active: bool,
    /// The name. Absent: it stays.
    pub name: Option<CompactString>,
}

/// What is known of a manager after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ManagerRecord {
    department: Option<DepartmentId>,
    grade: Option<CompactString>,
    active: bool,
    name: Option<CompactString>,
}

impl ManagerUpsert {
    /// The manager and the content of an event; `None` if it is another one.
    pub fn of(payload: &CrmPayload) -> Option<(&ManagerId, Self)> {
        let CrmPayload::ManagerUpserted { manager, department, grade, active, name } = payload else { return None };
        let (department, grade, name) = (department.clone(), grade.clone(), name.clone());
        Some((manager, Self { department, grade, active: *active, name }))
    }

    fn after(&self, record: &ManagerRecord) -> ManagerRecord {
        let department = self.department.as_ref().or(record.department.as_ref()).filter(|id| !id.as_str().is_empty());
        let grade = self.grade.as_ref().or(record.grade.as_ref()).filter(|grade| !grade.is_empty());
        let name = self.name.as_ref().or(record.name.as_ref()).cloned();
        ManagerRecord { department: department.cloned(), grade: grade.cloned(), active: self.active, name }
    }
}

const UNKNOWN_MANAGER: ManagerRecord = ManagerRecord { department: None, grade: None, active: true, name: None };

impl People {
    /// The index of a manager whom an event of `at` names, declared on first use.
    pub fn intern(&mut self, id: &ManagerId, at: Timestamp, effects: &mut Vec<Effect>) -> ManagerIx {
        if let Some(who) = self.by_id.get(id).copied() {
            let seen = &mut self.managers[who.0 as usize - 1].seen;
            if at < *seen {
                *seen = at;
                self.declare(who, Timestamp::MIN, effects);
            }
            return who;
        }
        let history = ManagerHistory { id: id.clone(), seen: at, entries: Vec::new(), settled: 0 };
        let who = match self.free.pop() {
            Some(who) => {
                self.managers[who.0 as usize - 1] = history;
                who
            }
            None => {
                self.managers.push(history);
                ManagerIx(self.managers.len() as u32)
            }
        };
        self.by_id.insert(id.clone(), who);
        // The declaration applies to all event times.
        self.declare(who, Timestamp::MIN, effects);
        who
    }

    /// Forgets a manager. Returns the index, which is free for another one, and the departments of the records.
    pub fn forget(&mut self, id: &ManagerId) -> Option<(ManagerIx, Vec<DepartmentId>)> {
        let who = self.by_id.remove(id)?;
        let manager = self.managers.get_mut(who.0 as usize - 1)?;
        let entries = std::mem::take(&mut manager.entries);
        (manager.id, manager.settled) = (ManagerId::default(), 0);
        self.free.push(who);
        let departments = entries.into_iter().filter_map(|entry| entry.given.department);
        Some((who, departments.filter(|id| !id.as_str().is_empty()).collect()))
    }

    /// Whether the latest record of a manager says so; `false` without a record.
    pub fn is_active(&self, id: &ManagerId) -> bool {
        let manager = self.find(id).and_then(|who| self.history(who));
        manager.is_some_and(|manager| !manager.entries.is_empty() && manager.latest().active)
    }

    /// Adds to a manager's history. `horizon`: no event dated before it can arrive anymore.
    pub fn upsert(
        &mut self,
        id: &ManagerId,
        given: ManagerUpsert,
        order: EventOrder,
        horizon: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let who = self.intern(id, order.at, effects);
        let Some(manager) = self.managers.get_mut(who.0 as usize - 1) else { return };
        let before = manager.latest().clone();
        manager.insert(order, given);
        manager.forget_repetitions(horizon);
        if *manager.latest() != before {
            self.declare(who, order.at, effects);
        }
    }

    /// Whether such a record changes the department or the grade of a manager from its position on.
    pub fn is_changed_by(&self, id: &ManagerId, given: &ManagerUpsert, order: EventOrder) -> bool {
        let before = self.find(id).and_then(|who| self.record(who, order)).unwrap_or(&UNKNOWN_MANAGER);
        let after = given.after(before);
        (&after.department, &after.grade) != (&before.department, &before.grade)
    }

    fn declare(&self, who: ManagerIx, known: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(manager) = self.history(who) {
            let ManagerRecord { department, active, name, .. } = manager.latest().clone();
            effects.push(Effect::ManagerUpdate(Box::new(ManagerUpdate {
                known,
                who,
                id: manager.id.clone(),
                department,
                active,
                name,
                seen: manager.seen,
            })));
        }
    }

    /// The id of a manager; `None` for no manager.
    pub fn id(&self, who: ManagerIx) -> Option<&ManagerId> {
        Some(&self.history(who)?.id)
    }

    /// The known managers.
    pub fn ids(&self) -> impl Iterator<Item = &ManagerId> {
        self.by_id.keys()
    }

    /// The departments that records of managers name.
    pub fn departments(&self) -> impl Iterator<Item = &DepartmentId> {
        let entries = self.managers.iter().flat_map(|manager| &manager.entries);
        entries.filter_map(|entry| entry.given.department.as_ref()).filter(|id| !id.as_str().is_empty())
    }

    /// The index of a known manager.
    pub fn find(&self, id: &ManagerId) -> Option<ManagerIx> {
        self.by_id.get(id).copied()
    }

    /// Whether the record at this position was kept, that is, differs from the previous one.
    pub fn has_record(&self, id: &ManagerId, order: EventOrder) -> bool {
        let manager = self.find(id).and_then(|who| self.history(who));
        manager.is_some_and(|manager| manager.entries.binary_search_by_key(&order, |entry| entry.order).is_ok())
    }

    /// The department of a manager at an instant, `unknown` if none.
    pub fn department(&self, who: ManagerIx, order: EventOrder) -> &str {
        self.record(who, order).and_then(|record| record.department.as_ref()).map_or(UNKNOWN, DepartmentId::as_str)
    }

    /// The grade of a manager at an instant.
    pub fn grade(&self, who: ManagerIx, order: EventOrder) -> Option<&str> {
        self.record(who, order)?.grade.as_deref()
    }

    fn record(&self, who: ManagerIx, order: EventOrder) -> Option<&ManagerRecord> {
        let entries = &self.history(who)?.entries;
        let known = entries.partition_point(|entry| entry.order <= order);
        Some(&entries[known.checked_sub(1)?].record)
    }

    fn history(&self, who: ManagerIx) -> Option<&ManagerHistory> {
        self.managers.get((who.0 as usize).checked_sub(1)?)
    }
}

impl ManagerHistory {
    fn latest(&self) -> &ManagerRecord {
        self.entries.last().map_or(&UNKNOWN_MANAGER, |entry| &entry.record)
    }

    /// Inserts an event, and computes the records from it on.
    fn insert(&mut self, order: EventOrder, given: ManagerUpsert) {
        let index = self.entries.partition_point(|entry| entry.order < order);
        self.settled = self.settled.min(index);
        self.entries.insert(index, ManagerEntry { order, given, record: UNKNOWN_MANAGER });
        for index in index..self.entries.len() {
            let before = index.checked_sub(1).map_or(&UNKNOWN_MANAGER, |before| &self.entries[before].record);
            self.entries[index].record = self.entries[index].given.after(before);
        }
    }

    /// Removes what repeats the record before it. A late event may still be inserted between those after `horizon`.
    fn forget_repetitions(&mut self, horizon: Timestamp) {
        let (recent, all) = (&self.entries[self.settled..], self.entries.len());
        let newly = recent.partition_point(|entry| entry.order.at < horizon);
        // A removal moves the others: it waits until they are not more than what was settled.
        if newly * 2 < recent.len() {
            return;
        }
        let settled = self.settled + newly;
        let from = self.settled.saturating_sub(1);
        let repeats = |pair: &[ManagerEntry]| pair[0].record == pair[1].record;
        if settled > from && self.entries[from..settled].windows(2).any(repeats) {
            let mut rest = self.entries.split_off(from);
            rest.dedup_by(|later, earlier| later.order.at < horizon && later.record == earlier.record);
            self.entries.append(&mut rest);
        }
        self.settled = settled - (all - self.entries.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::source::{Offset, Source, Topic};

    fn order(at: i64) -> EventOrder {
        EventOrder::of(Timestamp(at), Topic::Crm, Source::Files, Offset(at))
    }

    /// The department and grade of the manager at each instant, after upserts `(at, department, grade)`.
    fn history(horizon: i64, upserts: &[(i64, Option<&str>, Option<&str>)], instants: &[i64]) -> Vec<String> {
        let (mut people, mut effects) = (People::default(), Vec::new());
        let id = ManagerId::from("ann");
        for (at, department, grade) in upserts {
            let (department, grade) = (department.map(DepartmentId::from), grade.map(CompactString::from));
            let given = ManagerUpsert { department, grade, active: true, name: None };
            people.upsert(&id, given, order(*at), Timestamp(horizon), &mut effects);
        }
        let who = people.find(&id).expect("known");
        let at = |at: &i64| {
            let order = order(*at);
            format!("{} {}", people.department(who, order), people.grade(who, order).unwrap_or("-"))
        };
        instants.iter().map(at).collect()
    }

    #[test]
    fn absent_fields_stay_and_empty_ones_are_taken_away() {
        let upserts = [(1, Some("north"), Some("senior")), (2, None, None), (3, Some(""), None), (4, None, Some(""))];
        let known = history(0, &upserts, &[0, 1, 2, 3, 4]);
        assert_eq!(known, ["unknown -", "north senior", "north senior", "unknown senior", "unknown -"]);
    }

    #[test]
    fn a_late_record_counts_for_the_later_ones_that_do_not_name_a_department() {
        let upserts =
            [(1, Some("north"), None), (3, None, Some("senior")), (5, Some("east"), None), (2, Some("south"), None)];
        assert_eq!(history(0, &upserts, &[1, 2, 3, 5]), ["north -", "south -", "south senior", "east senior"]);
        // Without what repeats the record before it, the history is the same.
        let upserts = [(1, Some("north"), None), (2, None, None), (3, Some("north"), None), (8, Some("south"), None)];
        assert_eq!(history(7, &upserts, &[1, 2, 3, 8]), ["north -", "north -", "north -", "south -"]);
    }
}
