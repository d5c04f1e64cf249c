//! Owns the managers of a tenant: their indices, and the history of their departments and grades.
//!
//! Records are kept in event order, because a correction must use the department at the time of the event.

use crate::domain::effect::{Effect, ManagerUpdate};
use crate::domain::event::EventOrder;
use crate::domain::id::{DepartmentId, ManagerId, UNKNOWN};
use crate::domain::index::ManagerIx;
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use rustc_hash::FxHashMap;

/// The managers of a tenant; index 0 means no manager.
#[derive(Debug, Default)]
pub struct People {
    by_id: FxHashMap<ManagerId, ManagerIx>,
    managers: Vec<ManagerHistory>,
}

#[derive(Debug)]
struct ManagerHistory {
    id: ManagerId,
    /// In event order; before the first, department and grade are unknown.
    records: Vec<(EventOrder, ManagerRecord)>,
}

/// The content of `manager_upserted`, which replaces the previous record completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerRecord {
    /// The department; `None` is `unknown`.
    pub department: Option<DepartmentId>,
    /// The grade that terms policies refer to.
    pub grade: Option<CompactString>,
    /// Whether the manager is still employed.
    pub active: bool,
}

const UNKNOWN_MANAGER: ManagerRecord = ManagerRecord { department: None, grade: None, active: true };

impl People {
    /// The index of a manager, declared on first use.
    pub fn intern(&mut self, id: &ManagerId, effects: &mut Vec<Effect>) -> ManagerIx {
        if let Some(who) = self.by_id.get(id) {
            return *who;
        }
        let who = ManagerIx(self.managers.len() as u32 + 1);
        self.by_id.insert(id.clone(), who);
        self.managers.push(ManagerHistory { id: id.clone(), records: Vec::new() });
        // The declaration applies to all event times.
        self.declare(who, Timestamp::MIN, effects);
        who
    }

    /// Adds a manager's record. `horizon`: no event dated before it can arrive anymore.
    pub fn upsert(
        &mut self,
        id: &ManagerId,
        record: ManagerRecord,
        order: EventOrder,
        horizon: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let who = self.intern(id, effects);
        let Some(manager) = self.managers.get_mut(who.0 as usize - 1) else { return };
        let before = manager.records.last().map_or(UNKNOWN_MANAGER, |(_, record)| record.clone());
        // A repeated record is kept too, because a late one may still be inserted between the two.
        let index = manager.records.partition_point(|(other, _)| *other < order);
        manager.records.insert(index, (order, record));
        let settled = manager.records.partition_point(|(other, _)| other.at < horizon);
        if manager.records[..settled].windows(2).any(|pair| pair[0].1 == pair[1].1) {
            manager.records.dedup_by(|later, earlier| later.0.at < horizon && later.1 == earlier.1);
        }
        if manager.records.last().is_some_and(|(_, record)| *record != before) {
            self.declare(who, order.at, effects);
        }
    }

    fn declare(&self, who: ManagerIx, known: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(manager) = self.history(who) {
            let ManagerRecord { department, active, .. } =
                manager.records.last().map_or(&UNKNOWN_MANAGER, |(_, record)| record).clone();
            effects.push(Effect::ManagerUpdate(Box::new(ManagerUpdate {
                known,
                who,
                id: manager.id.clone(),
                department,
                active,
            })));
        }
    }

    /// The id of a manager; `None` for no manager.
    pub fn id(&self, who: ManagerIx) -> Option<&ManagerId> {
        Some(&self.history(who)?.id)
    }

    /// The index of a known manager.
    pub fn find(&self, id: &ManagerId) -> Option<ManagerIx> {
        self.by_id.get(id).copied()
    }

    /// Whether the record at this position was kept, that is, differs from the previous one.
    pub fn has_record(&self, id: &ManagerId, order: EventOrder) -> bool {
        let manager = self.find(id).and_then(|who| self.history(who));
        manager.is_some_and(|manager| manager.records.iter().rev().any(|(from, _)| *from == order))
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
        let records = &self.history(who)?.records;
        Some(&records.iter().rev().find(|(from, _)| *from <= order)?.1)
    }

    fn history(&self, who: ManagerIx) -> Option<&ManagerHistory> {
        self.managers.get((who.0 as usize).checked_sub(1)?)
    }
}
