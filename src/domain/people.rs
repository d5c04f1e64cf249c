//! Owns the managers of a tenant: their numbers, and which department and grade each had at which instant.
//!
//! Records keep their place in the order of effect, so a past instant can be looked at again: a correction must be judged
//! by the department of then.

use super::effect::{Effect, ManagerIx, ManagerUpdate};
use super::event::EventOrder;
use super::id::{DepartmentId, ManagerId, UNKNOWN};
use super::time::Timestamp;
use compact_str::CompactString;
use rustc_hash::FxHashMap;

/// The managers of a tenant; number 0 is nobody.
#[derive(Debug, Default)]
pub struct People {
    numbers: FxHashMap<ManagerId, ManagerIx>,
    members: Vec<ManagerHistory>,
}

#[derive(Debug)]
struct ManagerHistory {
    id: ManagerId,
    /// In order of effect; before the first, nothing was known of him.
    records: Vec<(EventOrder, ManagerRecord)>,
}

/// What `manager_upserted` says of a manager: it replaces the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerRecord {
    /// Where he works; `None` is `unknown`.
    pub department: Option<DepartmentId>,
    /// The grade that terms policies look at.
    pub grade: Option<CompactString>,
    /// Whether he still works.
    pub active: bool,
}

const UNHEARD: ManagerRecord = ManagerRecord { department: None, grade: None, active: true };

impl People {
    /// The number of a manager, announced on first sight.
    pub fn number(&mut self, id: &ManagerId, out: &mut Vec<Effect>) -> ManagerIx {
        if let Some(who) = self.numbers.get(id) {
            return *who;
        }
        let who = ManagerIx(self.members.len() as u32 + 1);
        self.numbers.insert(id.clone(), who);
        self.members.push(ManagerHistory { id: id.clone(), records: Vec::new() });
        // Nothing of him could be judged before.
        self.announce(who, Timestamp::MIN, out);
        who
    }

    /// Takes over a manager's record. `horizon`: nothing dated before it can come any more.
    pub fn upsert(
        &mut self,
        id: &ManagerId,
        record: ManagerRecord,
        order: EventOrder,
        horizon: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let who = self.number(id, out);
        let Some(member) = self.members.get_mut(who.0 as usize - 1) else { return };
        let before = member.records.last().map_or(UNHEARD, |(_, record)| record.clone());
        // Also one that repeats the one before it: an earlier one may come late and stand between them.
        let place = member.records.partition_point(|(other, _)| *other < order);
        member.records.insert(place, (order, record));
        member.records.dedup_by(|later, earlier| later.1 == earlier.1 && later.0.at < horizon);
        if member.records.last().is_some_and(|(_, record)| *record != before) {
            self.announce(who, order.at, out);
        }
    }

    fn announce(&self, who: ManagerIx, known: Timestamp, out: &mut Vec<Effect>) {
        if let Some(member) = self.member(who) {
            let ManagerRecord { department, active, .. } =
                member.records.last().map_or(&UNHEARD, |(_, record)| record).clone();
            out.push(Effect::ManagerUpdate(Box::new(ManagerUpdate {
                known,
                who,
                id: member.id.clone(),
                department,
                active,
            })));
        }
    }

    /// The id of a manager; nobody has none.
    pub fn id(&self, who: ManagerIx) -> Option<&ManagerId> {
        Some(&self.member(who)?.id)
    }

    /// The number of a manager who is known.
    pub fn find(&self, id: &ManagerId) -> Option<ManagerIx> {
        self.numbers.get(id).copied()
    }

    /// Whether what was said of a manager at this place is a record of its own: not what the one before said.
    pub fn stands(&self, id: &ManagerId, order: EventOrder) -> bool {
        let member = self.find(id).and_then(|who| self.member(who));
        member.is_some_and(|member| member.records.iter().any(|(from, _)| *from == order))
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
        let records = &self.member(who)?.records;
        Some(&records.iter().rev().find(|(from, _)| *from <= order)?.1)
    }

    fn member(&self, who: ManagerIx) -> Option<&ManagerHistory> {
        self.members.get((who.0 as usize).checked_sub(1)?)
    }
}
