//! Owns the stage history: each row becomes a move, a closing or a reopening, dated as the row is.
//!
//! A row says neither the stage before it nor who moved the object. The stage before is that of the row before in the same
//! funnel: rows of earlier funnels disappear from the interface. The mover is known only of the newest row.

use super::events::entity;
use super::memory::Mark;
use super::objects::{Because, Semantic, meaning, outcome, stage};
use super::pages::{self, List, PAGE};
use super::portal::{Outcome, Portal, index, items, read, type_id};
use super::value::Row;
use crate::domain::id::EntityKind;
use crate::domain::time::{Span, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Gaps below the position are looked at in every sweep for this long.
const RECENT_GAPS: Span = Span(30 * 60_000);

/// They are forgotten after this time.
const OLD_GAPS: Span = Span::DAY;

/// Pages of one step.
const PAGES: usize = 25;

impl Portal {
    /// Sets the position to the newest row before `started`.
    pub(super) fn begin_history(&mut self, kind: EntityKind, started: Timestamp) -> Outcome<()> {
        let list = List::history(type_id(kind));
        let Some(rows) = read!(pages::newest(&mut self.client, &list)) else { return Ok(Ok(())) };
        let zone = self.client.zone().clone();
        // What happens meanwhile is read from the position on.
        let before = |row: &&Value| Row(row).time("CREATED_TIME", &zone).is_none_or(|at| at < started);
        let last = list.last_of_rows(&rows, before);
        let last = match rows.iter().filter(before).count() {
            0 if rows.len() >= PAGE => read!(self.history_before(&list, "CREATED_TIME", started, last)),
            _ => last,
        };
        let position = self.memory.history[index(kind)].change();
        (position.begun, position.last) = (true, last);
        Ok(Ok(()))
    }

    /// Reads the rows after the position; returns whether there are more.
    pub(super) fn read_history(&mut self, kind: EntityKind) -> Outcome<bool> {
        let list = List::history(type_id(kind));
        let now = self.client.portal_now().0;
        let mut position = self.memory.history[index(kind)].get().clone();
        position.forget_before(now - OLD_GAPS.0);
        let regular = self.memory.regular.get().gaps;
        let since = if now - regular >= RECENT_GAPS.0 { 0 } else { now - RECENT_GAPS.0 };
        let from = position.from(since);
        let found = read!(pages::after(&mut self.client, &list, &Map::new(), from, PAGES));
        let ids: BTreeSet<u64> = found.rows.iter().map(|row| list.id_of(row)).collect();
        let new = position.read(&ids, now);
        let rows: Vec<Value> = found.rows.into_iter().filter(|row| new.contains(&list.id_of(row))).collect();
        read!(self.report_history(kind, &rows, Because::Changed));
        self.memory.history[index(kind)].set(position);
        Ok(Ok(found.more))
    }

    /// Reports rows, with the objects that they belong to.
    pub(super) fn report_history(&mut self, kind: EntityKind, rows: &[Value], because: Because) -> Outcome<()> {
        if rows.is_empty() {
            return Ok(Ok(()));
        }
        let list = List::history(type_id(kind));
        let owner = |row: &Value| Row(row).number("OWNER_ID").unwrap_or(0);
        let owners: BTreeSet<u64> = rows.iter().map(owner).collect();
        let moved_owners: BTreeSet<u64> =
            rows.iter().filter(|row| Row(row).number("TYPE_ID") != Some(1)).map(owner).collect();
        let ids: Vec<u64> = owners.iter().copied().collect();
        let objects = read!(pages::of_ids(&mut self.client, &items(kind), "id", &ids));
        let ids: Vec<u64> = moved_owners.into_iter().collect();
        let mut past: BTreeMap<u64, BTreeMap<u64, Value>> = BTreeMap::new();
        let read_past = read!(pages::of_ids(&mut self.client, &list, "OWNER_ID", &ids));
        for row in read_past.into_iter().chain(rows.iter().cloned()) {
            past.entry(owner(&row)).or_default().insert(list.id_of(&row), row);
        }
        let by_id: BTreeMap<u64, Value> =
            objects.iter().map(|object| (items(kind).id_of(object), object.clone())).collect();
        let prepared = match because {
            Because::Changed => Some(read!(self.prepare(kind, objects, because))),
            _ => None,
        };
        let mut moved = BTreeSet::new();
        for row in rows {
            let id = list.id_of(row);
            let none = BTreeMap::new();
            let before = past.get(&owner(row)).unwrap_or(&none);
            if Row(row).number("TYPE_ID") == Some(5) {
                moved.insert(owner(row));
            }
            self.report_row(kind, id, Row(row), before, by_id.get(&owner(row)));
        }
        if let Some(prepared) = prepared {
            self.report(kind, &prepared, because, &moved);
        }
        Ok(Ok(()))
    }

    fn report_row(
        &mut self,
        kind: EntityKind,
        id: u64,
        row: Row<'_>,
        rows: &BTreeMap<u64, Value>,
        object: Option<&Value>,
    ) {
        let zone = self.client.zone().clone();
        let (Some(owner), Some(at)) = (row.number("OWNER_ID"), row.time("CREATED_TIME", &zone)) else { return };
        let Some(stage) = stage(row) else { return };
        let marks = &mut self.memory.objects[index(kind)];
        let previous = rows.range(..id).next_back().map(|(_, row)| Row(row));
        let had_ended = previous.map_or(marks.has(owner, Mark::Ended), |row| meaning(row) != Semantic::Open);
        let meaning = meaning(row);
        let is_newest = rows.range(id + 1..).next().is_none();
        marks.set(owner, Mark::Known, true);
        if is_newest {
            marks.set(owner, Mark::Ended, meaning != Semantic::Open);
        }
        let mover = object.map(Row).filter(|object| is_newest && object.time("movedTime", &zone) == Some(at));
        let mover = mover.and_then(|object| object.id("movedBy"));
        let filled = object.map(|object| self.filled(object)).unwrap_or_default();
        let event_id = format!("b24:sh:{}:{id}", type_id(kind));
        let entity = entity(kind, owner);
        if let Some(outcome) = outcome(kind, meaning) {
            let reason = object.filter(|_| meaning == Semantic::Failure).and_then(|object| self.reason(object));
            let payload = json!({"entity": entity, "outcome": outcome, "reason": reason, "closed_by": mover});
            return self.events.crm(event_id, at, "closed", payload);
        }
        if had_ended && row.number("TYPE_ID") != Some(1) {
            let payload = json!({"entity": entity, "stage_id": stage});
            return self.events.crm(event_id, at, "reopened", payload);
        }
        let funnel = row.number("CATEGORY_ID").unwrap_or(0);
        let same = |row: &Row<'_>| row.number("CATEGORY_ID").unwrap_or(0) == funnel;
        let from = (row.number("TYPE_ID") != Some(1))
            .then(|| rows.range(..id).rev().map(|(_, row)| Row(row)).find(same).and_then(super::objects::stage))
            .flatten();
        let payload = json!({
            "entity": entity,
            "pipeline_id": self.pipeline(kind, funnel),
            "from_stage_id": from,
            "to_stage_id": stage,
            "changed_by": mover,
            "filled_fields": filled,
        });
        self.events.crm(event_id, at, "stage_changed", payload);
    }

    /// The first row whose date is not before `from`, less one: where a back-fill begins to read.
    pub(super) fn history_before(&mut self, list: &List, date: &str, from: Timestamp, last: u64) -> Outcome<u64> {
        let zone = self.client.zone().clone();
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = low + (high - low) / 2;
            let filter = Map::from_iter([(format!(">{}", list.id), Value::from(middle))]);
            let command = list.command(filter, &[(list.id, "ASC")], -1);
            let reply = match self.client.batch(&[command], 1)?.pop() {
                Some(Ok(reply)) => reply,
                Some(Err(failure)) => return Ok(Err(failure)),
                None => break,
            };
            let rows = list.rows(reply.result);
            let first = rows.iter().min_by_key(|row| list.id_of(row));
            match first {
                Some(row) if Row(row).time(date, &zone).is_some_and(|at| at < from) => {
                    low = list.id_of(row).max(middle + 1)
                }
                _ => high = middle,
            }
        }
        Ok(Ok(low))
    }
}
