//! Owns activities: mails, text messages, plans, and the sessions of open lines.
//!
//! | activity | events |
//! | --- | --- |
//! | a mail, a text message | one message |
//! | a meeting, a call, a task, a to-do that is open | a plan, again at each change |
//! | one of these that is completed | `activity_completed`, once |
//! | a call of the telephony | none: the statistics of calls report it |
//! | a session of an open line | its messages, see `chats` |

use super::answer::Failure;
use super::calls::owner_of;
use super::events::entity;
use super::memory::Mark;
use super::pages::{self, List, PAGE};
use super::portal::{Outcome, Plan, Portal, Session, kind_of, read};
use super::query::Command;
use super::value::{Row, Zone};
use crate::domain::source::Topic;
use crate::domain::time::{Span, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What the titles of the to-dos and tasks begin with that `notify` makes. They are nobody's work, and no plan of a manager.
pub const OWN_TITLE: &str = "funnelwatch: ";

/// Pages of one step.
const PAGES: usize = 25;

/// Open plans that one step asks for.
const PLANS: usize = 10 * PAGE;

/// What an activity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Mail,
    Text,
    Plan(&'static str),
    Session,
}

/// Which activities a step of a back-fill reports: an activity is reported in the month of its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dated {
    /// Not in a back-fill: all of them.
    Any,
    /// Messages, by their time of sending.
    Sent,
    /// Open plans and sessions, by their creation.
    Created,
    /// Completed activities, by their last change.
    Updated,
}

impl Portal {
    /// Sets the position to the newest activity.
    pub(super) fn begin_activities(&mut self, started: Timestamp) -> Outcome<()> {
        let list = List::ACTIVITIES;
        let Some(rows) = read!(pages::newest(&mut self.client, &list)) else { return Ok(Ok(())) };
        let zone = self.client.zone().clone();
        let before = |row: &&Value| Row(row).time("CREATED", &zone).is_none_or(|at| at < started);
        let last = list.last_of_rows(&rows, before);
        let position = self.memory.activities.change();
        (position.begun, position.last) = (true, last);
        self.memory.activities_changed.change().since = started.0;
        Ok(Ok(()))
    }

    /// Reads activities that are new; returns whether there are more.
    pub(super) fn read_new_activities(&mut self) -> Outcome<bool> {
        let list = List::ACTIVITIES;
        let mut position = self.memory.activities.get().clone();
        let found = read!(pages::after(&mut self.client, &list, &Map::new(), position.last, PAGES));
        read!(self.report_activities(&found.rows, Dated::Any));
        position.last = found.rows.last().map_or(position.last, |row| list.id_of(row));
        self.memory.activities.set(position);
        Ok(Ok(found.more))
    }

    /// Reads activities that have changed; returns whether there are more.
    pub(super) fn read_changed_activities(&mut self) -> Outcome<bool> {
        self.each_changed(&List::ACTIVITIES, "LAST_UPDATED", |portal, rows| portal.report_activities(&rows, Dated::Any))
    }

    /// Reads activities by id; those that are gone are cancelled if they were planned.
    pub(super) fn read_activities(&mut self, ids: &BTreeSet<u64>) -> Outcome<()> {
        let ids: Vec<u64> = ids.iter().copied().collect();
        let rows = read!(pages::of_ids(&mut self.client, &List::ACTIVITIES, "ID", &ids));
        let found: BTreeSet<u64> = rows.iter().map(|row| List::ACTIVITIES.id_of(row)).collect();
        read!(self.report_activities(&rows, Dated::Any));
        let missing: Vec<u64> = ids.into_iter().filter(|id| !found.contains(id)).collect();
        self.cancel_missing(&missing)
    }

    /// Asks for the next open plans by id, all of them once an hour; returns whether there are more.
    ///
    /// The position is stored, so neither an exhausted budget nor a restart makes it begin again.
    pub(super) fn read_plans(&mut self) -> Outcome<bool> {
        let after = self.memory.regular.get().plans_after;
        let mut ids: Vec<u64> = self.memory.plans.after(after).map(|(id, _)| id).take(PLANS + 1).collect();
        let more = ids.len() > PLANS;
        ids.truncate(PLANS);
        let last = ids.last().copied().unwrap_or(0);
        read!(self.again(|portal| portal.read_activities(&ids.into_iter().collect())));
        self.memory.regular.change().plans_after = if more { last } else { 0 };
        Ok(Ok(more))
    }

    /// Cancels the plans of activities that do not exist any more: only `get` proves it.
    fn cancel_missing(&mut self, ids: &[u64]) -> Outcome<()> {
        let planned: Vec<u64> = ids.iter().copied().filter(|id| self.memory.plans.get(*id).is_some()).collect();
        let command = |id: &u64| Command { method: "crm.activity.get", params: json!({"id": id}) };
        let commands: Vec<Command> = planned.iter().map(command).collect();
        for (id, answer) in planned.into_iter().zip(self.client.batch(&commands, PAGE)?) {
            match answer {
                Err(Failure::NotFound) => self.cancel(id),
                Ok(_) | Err(Failure::NoRight(_) | Failure::NoMethod | Failure::Wrong(_)) => {}
                Err(failure) => return Ok(Err(failure)),
            }
        }
        Ok(Ok(()))
    }

    fn cancel(&mut self, id: u64) {
        let Some(plan) = self.memory.plans.remove(id) else { return };
        let Some(kind) = kind_of(plan.entity.0) else { return };
        let at = self.client.portal_now();
        let payload = json!({"entity": entity(kind, plan.entity.1), "activity_id": id.to_string()});
        self.events.crm(format!("b24:gone:act:{id}"), at, "activity_cancelled", payload);
    }

    /// Reports activities.
    pub(super) fn report_activities(&mut self, rows: &[Value], dated: Dated) -> Outcome<()> {
        let mut others = Vec::new();
        for row in rows.iter().map(Row) {
            if sort_of(row).is_some() && owner_of(row).is_none() {
                others.extend(row.number("ID").filter(|id| !self.memory.activity_marks.has(*id, Mark::Known)));
            }
        }
        let bound = if others.is_empty() { Default::default() } else { read!(self.bindings(&others)) };
        for row in rows.iter().map(Row) {
            let (Some(id), Some(sort)) = (row.number("ID"), sort_of(row)) else { continue };
            let entity = owner_of(row).or_else(|| bound.get(&id).copied());
            let completed = row.flag("COMPLETED");
            match (sort, dated) {
                (Sort::Mail | Sort::Text, Dated::Any | Dated::Sent) => self.report_message(id, row, sort, entity),
                (Sort::Session, Dated::Any | Dated::Created) => self.note_session(row, entity),
                (Sort::Plan(kind), Dated::Any) => self.report_plan(id, row, kind, entity, completed),
                (Sort::Plan(kind), Dated::Created) if !completed => self.report_plan(id, row, kind, entity, false),
                (Sort::Plan(kind), Dated::Updated) if completed => self.report_plan(id, row, kind, entity, true),
                _ => {}
            }
        }
        Ok(Ok(()))
    }

    fn report_message(&mut self, id: u64, row: Row<'_>, sort: Sort, of: Option<(u64, u64)>) {
        if self.memory.activity_marks.has(id, Mark::Known) {
            return;
        }
        let zone = self.client.zone().clone();
        let Some(at) = row.time("START_TIME", &zone).or_else(|| row.time("CREATED", &zone)) else { return };
        let inbound = row.number("DIRECTION") == Some(1);
        let settings = row.row("SETTINGS");
        let headers = settings.map(Headers::of).unwrap_or_default();
        let event_id = format!("b24:act:{id}");
        let parent = row.number("PARENT_ID").map(|id| format!("b24:act:{id}"));
        let (channel, key) = if sort == Sort::Mail { ("EMAIL", "email") } else { ("SMS", "phone") };
        let communications = row.list("COMMUNICATIONS").into_iter().map(Row);
        let contact = communications.filter_map(|of| of.text("VALUE")).next();
        let contact = contact.or_else(|| settings.and_then(|settings| address(settings, inbound)));
        let automatic = headers.automatic || settings.is_some_and(|settings| settings.flag("IS_BATCH_EMAIL"));
        let payload = json!({
            "message_id": headers.message_id.clone().unwrap_or_else(|| event_id.clone()),
            "thread_id": row.id("THREAD_ID"),
            "in_reply_to": headers.in_reply_to.or(parent.filter(|_| headers.message_id.is_none())),
            "channel": channel,
            "contact": contact.map(|value| json!({key: value})),
            "manager_id": row.id("RESPONSIBLE_ID").or_else(|| row.id("AUTHOR_ID")),
            "entity": of.and_then(|(kind, id)| Some(entity(kind_of(kind)?, id))),
            "automatic": automatic,
        });
        let name = if inbound { "message_received" } else { "message_sent" };
        self.events.push(Topic::Email, event_id, at, name, payload);
        self.memory.activity_marks.set(id, Mark::Known, true);
    }

    fn report_plan(&mut self, id: u64, row: Row<'_>, kind: &str, of: Option<(u64, u64)>, completed: bool) {
        let zone = self.client.zone().clone();
        let known = self.memory.plans.get(id).cloned();
        let Some(of) = of.or(known.as_ref().map(|plan| plan.entity)) else { return };
        let (Some(of_kind), Some(updated)) = (kind_of(of.0), row.time("LAST_UPDATED", &zone)) else { return };
        let was_ended = self.memory.activity_marks.has(id, Mark::Ended);
        let event_id = format!("b24:act:{id}:{}", row.text("LAST_UPDATED").unwrap_or_default());
        let mut payload = json!({
            "entity": entity(of_kind, of.1),
            "activity_id": id.to_string(),
            "manager_id": row.id("RESPONSIBLE_ID"),
            "kind": kind,
        });
        if completed {
            self.memory.plans.remove(id);
            self.memory.activity_marks.set(id, Mark::Ended, true);
            if !was_ended {
                self.events.crm(event_id, updated, "activity_completed", payload);
            }
            return;
        }
        if known.is_some_and(|plan| plan.updated == updated.0) {
            return;
        }
        payload["deadline"] = deadline(row, &zone).map(|at| at.to_string()).into();
        let is_first = self.memory.plans.get(id).is_none() && !was_ended;
        let at = row.time("CREATED", &zone).filter(|_| is_first).unwrap_or(updated);
        self.memory.activity_marks.set(id, Mark::Ended, false);
        self.memory.plans.insert(id, Plan { entity: of, updated: updated.0 });
        self.events.crm(event_id, at, "activity_planned", payload);
    }

    fn note_session(&mut self, row: Row<'_>, entity: Option<(u64, u64)>) {
        let zone = self.client.zone().clone();
        let Some(id) = session_of(row) else { return };
        let updated = row.time("LAST_UPDATED", &zone).unwrap_or(Timestamp(0)).0;
        let before = self.memory.sessions.get(id).cloned().unwrap_or_default();
        if before.updated == updated && before.updated != 0 {
            return;
        }
        let session = Session {
            entity: entity.or(before.entity),
            last: before.last,
            ended: row.flag("COMPLETED"),
            read: false,
            updated,
        };
        self.memory.sessions.insert(id, session);
    }
}

/// What an activity is; `None` if it is none of ours.
fn sort_of(row: Row<'_>) -> Option<Sort> {
    let provider = row.text("PROVIDER_ID").unwrap_or_default().to_ascii_uppercase();
    let is_ours = |name: &str| row.text(name).is_some_and(|text| text.eq_ignore_ascii_case("funnelwatch"));
    if is_ours("ORIGINATOR_ID") || is_ours("ORIGIN_ID") {
        return None;
    }
    let sort = match (provider.as_str(), row.number("TYPE_ID")) {
        ("IMOPENLINES_SESSION", _) => Some(Sort::Session),
        ("CRM_EMAIL", _) | ("", Some(4)) => Some(Sort::Mail),
        ("CRM_SMS" | "SMS", _) => Some(Sort::Text),
        ("VOXIMPLANT_CALL", _) => None,
        ("CRM_TODO", _) | ("CRM_TASKS_TASK" | "TASKS", _) => Some(Sort::Plan("TASK")),
        ("CRM_MEETING", _) => Some(Sort::Plan("MEETING")),
        (_, Some(1)) => Some(Sort::Plan("MEETING")),
        // A call that somebody has planned, not one of the telephony.
        (_, Some(2)) => {
            let of_telephony = row.text("ORIGIN_ID").is_some_and(|origin| origin.starts_with("VI_"));
            (!of_telephony).then_some(Sort::Plan("OTHER"))
        }
        (_, Some(3)) => Some(Sort::Plan("TASK")),
        (_, Some(4)) => Some(Sort::Mail),
        _ => None,
    };
    // A mail or a text message of a customer may begin with these words, too.
    let is_own = || row.text("SUBJECT").is_some_and(|title| title.trim_start().starts_with(OWN_TITLE.trim_end()));
    sort.filter(|sort| !matches!(sort, Sort::Plan(_)) || !is_own())
}

/// The deadline of a plan; the year 9999 is none.
fn deadline(row: Row<'_>, zone: &Zone) -> Option<Timestamp> {
    const NONE: Span = Span(253_370_764_800_000);
    row.time("DEADLINE", zone).filter(|at| at.0 < NONE.0)
}

/// The session of an open line that an activity stands for.
pub(super) fn session_of(row: Row<'_>) -> Option<u64> {
    let params = row.row("PROVIDER_PARAMS").or_else(|| row.row("SETTINGS"));
    row.number("ASSOCIATED_ENTITY_ID").or_else(|| params.and_then(|params| params.number("SESSION_ID")))
}

/// The address of the customer in a mail.
fn address(settings: Row<'_>, inbound: bool) -> Option<String> {
    let meta = settings.row("EMAIL_META");
    let field = |name: &str| meta.and_then(|meta| meta.text(name));
    if inbound { field("replyTo").or_else(|| field("from")) } else { field("to") }
}

/// The headers of a mail that a portal repeats.
#[derive(Debug, Default)]
struct Headers {
    message_id: Option<String>,
    in_reply_to: Option<String>,
    automatic: bool,
}

impl Headers {
    fn of(settings: Row<'_>) -> Self {
        let headers = settings.row("MESSAGE_HEADERS").or_else(|| settings.row("EMAIL_META"));
        let Some(fields) = headers.and_then(|headers| headers.0.as_object()) else { return Self::default() };
        let field = |name: &str| {
            let found = fields.iter().find(|(key, _)| super::value::plain_name(&key.replace('-', "")) == name);
            found.and_then(|(_, value)| super::value::text(value))
        };
        let submitted = field("autosubmitted").is_some_and(|value| !value.eq_ignore_ascii_case("no"));
        let bulk = field("precedence").is_some_and(|value| ["bulk", "list", "auto_reply"].contains(&value.as_str()));
        Self { message_id: field("messageid"), in_reply_to: field("inreplyto"), automatic: submitted || bulk }
    }
}
