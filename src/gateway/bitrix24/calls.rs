//! Owns the statistics of calls: each row is a leg of a call, and is sent again when it changes.
//!
//! Rows appear when a call has ended; recordings and votes are added later without a date. So the rows of the last day are
//! read again every ten minutes, and those of the last three days once a day. All of them are remembered: what an earlier
//! version knew and a later one has lost is kept.

use super::events::{digest, digest_of, entity};
use super::pages::{self, List};
use super::portal::{Again, CallRow, Outcome, Portal, kind_of, read};
use super::value::Row;
use crate::domain::source::Topic;
use crate::domain::time::{Span, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How often the rows of the last day are read again.
const DAY_EVERY: Span = Span(600_000);

/// For how long rows are remembered.
const REMEMBERED: Span = Span(4 * 86_400_000);

/// Pages of one step.
const PAGES: usize = 25;

impl Portal {
    /// Sets the position to the newest row of a call that ended before `started`, so that only later ones are read.
    pub(super) fn begin_calls(&mut self, started: Timestamp) -> Outcome<()> {
        let list = List::CALLS;
        let Some(rows) = read!(pages::newest(&mut self.client, &list)) else { return Ok(Ok(())) };
        let zone = self.client.zone().clone();
        let ended = |row: &&Value| {
            let row = Row(row);
            let length = (row.decimal("CALL_DURATION").unwrap_or(0.0) * 1000.0) as i64;
            row.time("CALL_START_DATE", &zone).is_none_or(|start| start.0 + length < started.0)
        };
        let last = list.last_of_rows(&rows, ended);
        let position = self.memory.calls.change();
        (position.begun, position.last) = (true, last);
        Ok(Ok(()))
    }

    /// Reads new rows; returns whether there are more.
    pub(super) fn read_calls(&mut self) -> Outcome<bool> {
        let last = self.memory.calls.get().last;
        let found = read!(pages::after(&mut self.client, &List::CALLS, &Map::new(), last, PAGES));
        let highest = found.rows.last().map_or(last, |row| List::CALLS.id_of(row));
        read!(self.report_calls(&found.rows, None));
        if highest > last {
            self.memory.calls.change().last = highest;
        }
        Ok(Ok(found.more))
    }

    /// Reads the next rows of the last day or of the last three days again, if it is time; returns whether there are more.
    ///
    /// The position is stored, so neither an exhausted budget nor a restart makes it begin again.
    pub(super) fn read_calls_again(&mut self) -> Outcome<bool> {
        let Some(again) = self.memory.calls.get().again.or_else(|| self.next_again()) else { return Ok(Ok(false)) };
        if self.memory.call_rows.iter().next_back().is_none_or(|(id, _)| id <= again.after) {
            // There are only new rows.
            self.end_again(again);
            return Ok(Ok(false));
        }
        let found = read!(self.again(|portal| {
            let found = read!(pages::after(&mut portal.client, &List::CALLS, &Map::new(), again.after, PAGES));
            read!(portal.report_calls(&found.rows, None));
            Ok(Ok(found))
        }));
        let after = found.rows.last().map_or(again.after, |row| List::CALLS.id_of(row));
        let position = self.memory.calls.change();
        // The newest rows are among them.
        position.last = position.last.max(after);
        position.again = Some(Again { after, ..again });
        if !found.more {
            self.end_again(again);
        }
        Ok(Ok(found.more))
    }

    fn end_again(&mut self, again: Again) {
        if self.memory.backfill.get().is_over() {
            let now = self.client.portal_now();
            self.forget_calls_before(now.0 - REMEMBERED.0);
        }
        let position = self.memory.calls.change();
        (position.again, position.day) = (None, again.began);
        if again.days {
            position.days = again.began;
        }
    }

    /// What is to be read again, if it is time.
    fn next_again(&self) -> Option<Again> {
        let began = self.client.portal_now().0;
        let position = self.memory.calls.get();
        let (day, days) = (began - position.day >= DAY_EVERY.0, began - position.days >= Span::DAY.0);
        let since = began - if days { 3 * Span::DAY.0 } else { Span::DAY.0 };
        let first = self.memory.call_rows.iter().find(|(_, row)| row.start >= since).map(|(id, _)| id);
        let after = first.map_or(u64::MAX, |first| first - 1);
        (day || days).then_some(Again { began, days, after })
    }

    /// Reports rows. Votes are dated `noticed`, or at the end of their calls in a back-fill.
    pub(super) fn report_calls(&mut self, rows: &[Value], backfill: Option<Timestamp>) -> Outcome<()> {
        let fresh: Vec<&Value> = rows.iter().filter(|row| self.is_fresh(row)).collect();
        let activity = |row: &&&Value| match Row(row).text("CRM_ENTITY_TYPE").as_deref() {
            Some("LEAD" | "DEAL") => None,
            _ => Row(row).number("CRM_ACTIVITY_ID"),
        };
        let mut activities: Vec<u64> = fresh.iter().filter_map(|row| activity(&row)).collect();
        activities.sort_unstable();
        activities.dedup();
        let entities = read!(self.entities_of(&activities));
        for row in fresh {
            let entity = activity(&&row).and_then(|id| entities.get(&id).copied());
            self.report_call(Row(row), entity, backfill);
        }
        Ok(Ok(()))
    }

    fn is_fresh(&self, row: &Value) -> bool {
        let known = self.memory.call_rows.get(List::CALLS.id_of(row));
        known.is_none_or(|known| known.raw != digest_of(&row.to_string()))
    }

    /// The leads and deals of activities: their owner, else what they are bound to.
    pub(super) fn entities_of(&mut self, activities: &[u64]) -> Outcome<BTreeMap<u64, (u64, u64)>> {
        if activities.is_empty() {
            return Ok(Ok(BTreeMap::new()));
        }
        let list = List::ACTIVITIES;
        let rows = match pages::of_ids(&mut self.client, &list, "ID", activities)? {
            Ok(rows) => rows,
            // Without activities, calls are reported without the deal.
            Err(super::answer::Failure::Busy(kind, wait)) => return Ok(Err(super::answer::Failure::Busy(kind, wait))),
            Err(super::answer::Failure::OverTime) => return Ok(Err(super::answer::Failure::OverTime)),
            Err(_) => Vec::new(),
        };
        let mut entities = BTreeMap::new();
        let mut others = Vec::new();
        for row in &rows {
            match owner_of(Row(row)) {
                Some(entity) => _ = entities.insert(list.id_of(row), entity),
                None => others.push(list.id_of(row)),
            }
        }
        if !others.is_empty() {
            entities.extend(read!(self.bindings(&others)));
        }
        Ok(Ok(entities))
    }

    fn report_call(&mut self, row: Row<'_>, by_activity: Option<(u64, u64)>, backfill: Option<Timestamp>) {
        let zone = self.client.zone().clone();
        let (Some(id), Some(start)) = (row.number("ID"), row.time("CALL_START_DATE", &zone)) else { return };
        let known = self.memory.call_rows.get(id).cloned();
        let before = known.clone().unwrap_or_default();
        let seconds = row.decimal("CALL_DURATION").unwrap_or(0.0).clamp(0.0, 86_400.0);
        let end = Timestamp(start.0 + (seconds * 1000.0) as i64);
        let call = row.text("CALL_ID").unwrap_or_else(|| format!("b24:{id}"));
        let kind = row.number("CALL_TYPE").unwrap_or(1);
        let code = row.text("CALL_FAILED_CODE");
        let outcome = outcome(code.as_deref(), seconds);
        let named = match (row.text("CRM_ENTITY_TYPE").as_deref(), row.number("CRM_ENTITY_ID")) {
            (Some("LEAD"), Some(id)) => Some((1, id)),
            (Some("DEAL"), Some(id)) => Some((2, id)),
            _ => by_activity,
        };
        let entity_of = named.or(before.entity);
        let recording = row.text("CALL_RECORD_URL").or(before.recording);
        let manager = row.id("PORTAL_USER_ID").or(before.manager);
        let session = row.text("SESSION_ID").filter(|id| id != "0").or(before.session);
        let reported_as =
            known.as_ref().map_or_else(|| self.name_of(id, &call, start.0, end.0), |row| row.reported_as.clone());
        let payload = json!({
            "call_id": reported_as,
            "leg_id": id.to_string(),
            "session_id": session,
            "direction": if matches!(kind, 2 | 3) { "INBOUND" } else { "OUTBOUND" },
            "phone": row.text("PHONE_NUMBER"),
            "manager_id": manager,
            "entity": entity_of.and_then(|(of, id)| Some(entity(kind_of(of)?, id))),
            "line": row.text("PORTAL_NUMBER"),
            "started_at": start.to_string(),
            "talk_seconds": if outcome == "ANSWERED" { seconds } else { 0.0 },
            "outcome": outcome,
            "recording_url": recording,
            // A robot that announces something is no conversation.
            "answered_by": (kind == 5 && outcome == "ANSWERED").then_some("IVR"),
        });
        let digest = digest(&payload);
        if digest != before.digest {
            self.events.push(Topic::Telephony, format!("b24:vx:{id}:{digest}"), end, "call_ended", payload);
        }
        let vote = row.number("CALL_VOTE").filter(|vote| (1..=5).contains(vote)).unwrap_or(0);
        if vote > 0
            && vote != before.vote
            && let Some(manager) = &manager
        {
            let at = if backfill.is_some() { end } else { self.client.portal_now() };
            let verdict = match vote {
                4 | 5 => "SUCCESS",
                3 => "NEUTRAL",
                _ => "FAILURE",
            };
            let payload = json!({"interaction_id": reported_as, "manager_id": manager, "reviewer_id": "bitrix24",
                "score": vote * 20, "verdict": verdict});
            self.events.crm(format!("b24:vote:{id}:{vote}"), at, "interaction_reviewed", payload);
        }
        let raw = digest_of(&row.0.to_string());
        let (start, end) = (start.0, end.0);
        let row = CallRow {
            call,
            reported_as,
            start,
            end,
            raw,
            digest,
            vote,
            entity: entity_of,
            recording,
            manager,
            session,
        };
        self.calls_by_name.entry(row.call.clone()).or_default().insert(id);
        self.memory.call_rows.insert(id, row);
    }

    /// The id of the call that a row belongs to: `CALL_ID`, or one of its own if another call has that.
    fn name_of(&self, id: u64, call: &str, start: i64, end: i64) -> String {
        let earliest = self.calls_by_name.get(call).and_then(|ids| ids.range(..id).next());
        match earliest.and_then(|first| self.memory.call_rows.get(*first)) {
            Some(first) if start > first.end || end < first.start => format!("{call}/{id}"),
            _ => call.to_owned(),
        }
    }

    /// Whether a call has a row: a message about its beginning comes too late.
    pub(super) fn has_call(&self, call: &str) -> bool {
        self.calls_by_name.contains_key(call)
    }
}

/// The lead or deal that owns an activity.
pub(super) fn owner_of(row: Row<'_>) -> Option<(u64, u64)> {
    let (kind, id) = (row.number("OWNER_TYPE_ID")?, row.number("OWNER_ID")?);
    matches!(kind, 1 | 2).then_some((kind, id))
}

/// The outcome of a call by the code of its end. Codes are texts: `603-S`, `OTHER`.
fn outcome(code: Option<&str>, seconds: f64) -> &'static str {
    match code {
        Some("200") => "ANSWERED",
        Some("304" | "603-S" | "480") => "NO_ANSWER",
        Some("603") => "REJECTED",
        Some("486") => "BUSY",
        None if seconds > 0.0 => "ANSWERED",
        None => "NO_ANSWER",
        Some(_) => "FAILED",
    }
}
