//! Owns the back-fill: the past is read month by month, the oldest first, and in each month all legs, so that the processor
//! can judge it in order. After each month a progress mark is due. It stops and continues at any point.
//!
//! It begins when the source is first read: from then on, what is new is read live, beside it. What the portal does not
//! keep is not reported: earlier responsible managers, the history of earlier funnels, plans that were changed.

use super::activities::Dated;
use super::answer::Failure;
use super::legs::Leg;
use super::objects::Because;
use super::pages::{self, List, MARGIN, PAGE};
use super::portal::{Backfill, Outcome, Portal, index, items, read, type_id};
use super::value::Row;
use crate::domain::id::EntityKind;
use crate::domain::time::{Span, Timestamp};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A part of a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Objects that are older than the back-fill: those that have changed since, or (`true`) that are still open.
    Existing(EntityKind, bool),
    Created(EntityKind),
    History(EntityKind),
    Updated(EntityKind),
    Calls,
    Activities(Dated),
    Sessions,
}

impl Phase {
    fn leg(self) -> Leg {
        match self {
            Self::Existing(EntityKind::Lead, _) | Self::Created(EntityKind::Lead) | Self::Updated(EntityKind::Lead) => {
                Leg::Leads
            }
            Self::Existing(..) | Self::Created(_) | Self::Updated(_) => Leg::Deals,
            Self::History(EntityKind::Lead) => Leg::LeadHistory,
            Self::History(EntityKind::Deal) => Leg::DealHistory,
            Self::Calls => Leg::Calls,
            Self::Activities(_) => Leg::Activities,
            Self::Sessions => Leg::Chats,
        }
    }
}

const PHASES: &[Phase] = &[
    Phase::Existing(EntityKind::Lead, false),
    Phase::Existing(EntityKind::Lead, true),
    Phase::Existing(EntityKind::Deal, false),
    Phase::Existing(EntityKind::Deal, true),
    Phase::Created(EntityKind::Lead),
    Phase::Created(EntityKind::Deal),
    Phase::History(EntityKind::Lead),
    Phase::History(EntityKind::Deal),
    Phase::Updated(EntityKind::Lead),
    Phase::Updated(EntityKind::Deal),
    Phase::Calls,
    Phase::Activities(Dated::Sent),
    Phase::Activities(Dated::Created),
    Phase::Activities(Dated::Updated),
    Phase::Sessions,
];

/// Pages of one step.
const PAGES: usize = 20;

/// What a step of a back-fill has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// A part of a month.
    Part,
    /// A whole month, up to this instant: a mark is due.
    Month(Timestamp),
}

impl Portal {
    /// Begins the back-fill that is configured, beside the live positions, which are set.
    pub(super) fn begin_backfill(&mut self) -> Outcome<()> {
        let mut backfill = self.memory.backfill.get().clone();
        let from = Timestamp(backfill.from.unwrap_or(backfill.until));
        backfill.month = from.0;
        for kind in [EntityKind::Lead, EntityKind::Deal] {
            let (list, phase) = (List::history(type_id(kind)), Phase::History(kind));
            if self.kinds().contains(&kind) && !self.memory.history[index(kind)].get().begun {
                // It could not be read in the first sweep.
                let begun = self.begin_history(kind, Timestamp(backfill.until))?;
                read!(Ok(self.settle(phase, backfill.month, begun)));
            }
            let end = self.memory.history[index(kind)].get().last;
            let first = self.history_before(&list, "CREATED_TIME", from, end)?;
            backfill.history[index(kind)] = read!(Ok(self.settle(phase, backfill.month, first))).unwrap_or(end);
            backfill.history_end[index(kind)] = end;
        }
        if !self.memory.calls.get().begun {
            let begun = self.begin_calls(Timestamp(backfill.until))?;
            read!(Ok(self.settle(Phase::Calls, backfill.month, begun)));
        }
        let end = self.memory.calls.get().last;
        let first = self.history_before(&List::CALLS, "CALL_START_DATE", from, end)?;
        backfill.calls = read!(Ok(self.settle(Phase::Calls, backfill.month, first))).unwrap_or(end);
        backfill.calls_end = end;
        backfill.begun = true;
        self.memory.backfill.set(backfill);
        Ok(Ok(()))
    }

    /// What a phase has answered; `None` if it is left out, because it cannot be read; the failure if it is to be asked again.
    ///
    /// A portal that is busy answers later, and a right that was lost is given back. What was refused from the beginning is
    /// left out, and so is what has failed for a day.
    fn settle<T>(&mut self, phase: Phase, month: i64, answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
        let failure = match answer {
            Ok(value) => {
                self.refused_since = None;
                return Ok(Some(value));
            }
            Err(failure) => failure,
        };
        let (leg, now) = (phase.leg(), self.client.portal_now());
        let may_recover = match failure {
            Failure::OverTime => return Err(failure),
            Failure::Busy(..) => true,
            Failure::NoMethod => false,
            _ => self.legs.was_usable(leg),
        };
        let since = *self.refused_since.get_or_insert(now);
        if may_recover && now.0 - since.0 < Span::DAY.0 {
            return Err(Failure::Busy("refused", None));
        }
        self.refused_since = None;
        let (source, month, why) = (self.settings.source(), Timestamp(month), failure.name());
        tracing::warn!(source, %month, leg = leg.name(), why, "back-fill: left out, because it cannot be read");
        Ok(None)
    }

    /// Does the next part of the back-fill.
    pub(super) fn step_backfill(&mut self) -> Outcome<Done> {
        let position = self.memory.backfill.get().clone();
        let Some(phase) = PHASES.get(position.phase) else {
            let (_, next) = self.client.zone().month(Timestamp(position.month));
            let end = Timestamp(next.0.min(position.until));
            let backfill = self.memory.backfill.change();
            (backfill.month, backfill.phase, backfill.after) = (end.0, 0, 0);
            backfill.over = end.0 >= backfill.until;
            return Ok(Ok(Done::Month(Timestamp(end.0 - 1000))));
        };
        let answer = self.step_phase(*phase, &position)?;
        let next = read!(Ok(self.settle(*phase, position.month, answer))).flatten();
        let backfill = self.memory.backfill.change();
        match next {
            Some(after) => backfill.after = after,
            None => (backfill.phase, backfill.after) = (backfill.phase + 1, 0),
        }
        Ok(Ok(Done::Part))
    }

    /// Does a part of a phase; returns the position within it, or `None` if it is complete.
    fn step_phase(&mut self, phase: Phase, position: &Backfill) -> Outcome<Option<u64>> {
        let (_, next) = self.client.zone().month(Timestamp(position.month));
        let (from, end) = (Timestamp(position.month), Timestamp(next.0.min(position.until)));
        let is_first = position.from == Some(position.month);
        match phase {
            Phase::Existing(kind, _) | Phase::Created(kind) | Phase::Updated(kind) | Phase::History(kind)
                if !self.kinds().contains(&kind) =>
            {
                Ok(Ok(None))
            }
            Phase::Existing(..) if !is_first => Ok(Ok(None)),
            Phase::Existing(kind, open) => self.fill_existing(kind, open, from, position.after),
            Phase::Created(kind) => {
                let within = |row: Row<'_>, portal: &Self| row.time("createdTime", portal.client.zone());
                self.fill_objects(kind, ("createdTime", from, end), position.after, Because::Created, within)
            }
            Phase::Updated(kind) => {
                let within = |row: Row<'_>, portal: &Self| row.time("updatedTime", portal.client.zone());
                self.fill_objects(kind, ("updatedTime", from, end), position.after, Because::Updated, within)
            }
            Phase::History(kind) => self.fill_history(kind, position, end),
            Phase::Calls => self.fill_calls(position, end),
            Phase::Activities(dated) => self.fill_activities(dated, from, end, position.after),
            Phase::Sessions => {
                let open: Vec<u64> = self.open_sessions().into_iter().take(2 * PAGE).collect();
                let left = self.open_sessions().len() - open.len();
                read!(self.read_sessions(&open));
                // Sessions that are still open stay in the list, for the sweeps.
                let read = self.open_sessions().len();
                Ok(Ok((left > 0 && read < open.len() + left).then_some(position.after + 1)))
            }
        }
    }

    fn fill_objects(
        &mut self,
        kind: EntityKind,
        (field, from, end): (&str, Timestamp, Timestamp),
        after: u64,
        because: Because,
        date: impl Fn(Row<'_>, &Self) -> Option<Timestamp>,
    ) -> Outcome<Option<u64>> {
        let filter = self.window(field, from, end);
        let found = read!(pages::after(&mut self.client, &items(kind), &filter, after, PAGES));
        let last = found.rows.last().map_or(after, |row| items(kind).id_of(row));
        let mut rows = found.rows;
        rows.retain(|row| date(Row(row), self).is_some_and(|at| at >= from && at < end));
        if because == Because::Updated {
            // What was reported live, or by its history, is not older than what was read here.
            rows.retain(|row| !self.recent.contains_key(&(type_id(kind), items(kind).id_of(row))));
        }
        let prepared = read!(self.prepare(kind, rows, because));
        self.report(kind, &prepared, because, &BTreeSet::new());
        Ok(Ok(found.more.then_some(last)))
    }

    fn fill_existing(&mut self, kind: EntityKind, open: bool, from: Timestamp, after: u64) -> Outcome<Option<u64>> {
        let zone = self.client.zone().clone();
        let mut filter = Map::from_iter([("<createdTime".to_owned(), zone.bound(from.saturating_add(MARGIN)).into())]);
        if open {
            filter.insert("=stageSemanticId".into(), "P".into());
        } else {
            filter.insert(">=updatedTime".into(), zone.bound(from.saturating_sub(MARGIN)).into());
        }
        let found = read!(pages::after(&mut self.client, &items(kind), &filter, after, PAGES));
        let last = found.rows.last().map_or(after, |row| items(kind).id_of(row));
        let mut rows = found.rows;
        rows.retain(|row| {
            let row = Row(row);
            let is_old = row.time("createdTime", &zone).is_some_and(|at| at < from);
            let changed = row.time("updatedTime", &zone).is_some_and(|at| at >= from);
            is_old && changed != open
        });
        let prepared = read!(self.prepare(kind, rows, Because::Existed(from)));
        self.report(kind, &prepared, Because::Existed(from), &BTreeSet::new());
        Ok(Ok(found.more.then_some(last)))
    }

    fn fill_history(&mut self, kind: EntityKind, position: &Backfill, end: Timestamp) -> Outcome<Option<u64>> {
        let list = List::history(type_id(kind));
        let (after, limit) = (position.history[index(kind)], position.history_end[index(kind)]);
        let found = read!(self.rows_until(&list, "CREATED_TIME", after, limit, end, position.until));
        read!(self.report_history(kind, &found.0, Because::Created));
        self.memory.backfill.change().history[index(kind)] = found.1;
        Ok(Ok(found.2.then_some(position.after + 1)))
    }

    fn fill_calls(&mut self, position: &Backfill, end: Timestamp) -> Outcome<Option<u64>> {
        let list = List::CALLS;
        let found =
            read!(self.rows_until(&list, "CALL_START_DATE", position.calls, position.calls_end, end, position.until));
        read!(self.report_calls(&found.0, Some(end)));
        self.memory.backfill.change().calls = found.1;
        self.forget_calls_before(end.0 - 45 * 86_400_000);
        Ok(Ok(found.2.then_some(position.after + 1)))
    }

    /// Rows in the order of their ids up to the last one of a page that is dated before `end`; the new position; whether
    /// there are more of them.
    fn rows_until(
        &mut self,
        list: &List,
        date: &str,
        after: u64,
        limit: u64,
        end: Timestamp,
        until: i64,
    ) -> Outcome<(Vec<Value>, u64, bool)> {
        if after >= limit {
            return Ok(Ok((Vec::new(), after, false)));
        }
        let filter = Map::new();
        let found = read!(pages::after(&mut self.client, list, &filter, after, PAGES));
        let zone = self.client.zone().clone();
        let mut rows = found.rows;
        let count = rows.len();
        rows.retain(|row| list.id_of(row) <= limit);
        let (mut more, is_last_month) = (found.more && rows.len() == count, end.0 >= until);
        if !is_last_month {
            let before = |row: &Value| Row(row).time(date, &zone).is_none_or(|at| at < end);
            let keep = rows.iter().rposition(before).map_or(0, |at| at + 1);
            more &= keep == rows.len();
            rows.truncate(keep);
        }
        let last = rows.last().map_or(after, |row| list.id_of(row));
        Ok(Ok((rows, last, more && last > after)))
    }

    fn fill_activities(&mut self, dated: Dated, from: Timestamp, end: Timestamp, after: u64) -> Outcome<Option<u64>> {
        let field = match dated {
            Dated::Sent => "START_TIME",
            Dated::Updated => "LAST_UPDATED",
            Dated::Created | Dated::Any => "CREATED",
        };
        let filter = self.window(field, from, end);
        let found = read!(pages::after(&mut self.client, &List::ACTIVITIES, &filter, after, PAGES));
        let last = found.rows.last().map_or(after, |row| List::ACTIVITIES.id_of(row));
        let zone = self.client.zone().clone();
        let mut rows = found.rows;
        rows.retain(|row| Row(row).time(field, &zone).is_some_and(|at| at >= from && at < end));
        read!(self.report_activities(&rows, dated));
        Ok(Ok(found.more.then_some(last)))
    }

    /// A filter for a window of time, widened.
    fn window(&self, field: &str, from: Timestamp, end: Timestamp) -> Map<String, Value> {
        let zone = self.client.zone();
        Map::from_iter([
            (format!(">={field}"), zone.bound(from.saturating_sub(MARGIN)).into()),
            (format!("<{field}"), zone.bound(end.saturating_add(MARGIN)).into()),
        ])
    }
}
