//! The report on one lead or deal: its state, its clocks and its history.
//!
//! It answers *why did it fire?* and *why not yet?*, and contains no phone number, address, name or other personal data
//! of a customer.

use crate::domain::alert::{Severity, Value, Values};
use crate::domain::event::{Call, CrmPayload, EventKind, Message, Outcome, Payload};
use crate::domain::id::{ActivityId, DepartmentId, EntityId, ManagerId, PipelineId, StageId};
use crate::domain::lifecycle::{State, Violation};
use crate::domain::named::named_enum;
use crate::domain::norms::{Clock, Scope};
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use uuid::Uuid;

/// One lead or deal, its clocks and its history.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityReport {
    /// The lead or deal.
    pub entity: EntityId,
    /// The watermark: event time up to which the report is complete.
    pub at: Timestamp,
    /// The responsible manager.
    pub manager: Option<ManagerId>,
    /// The manager's department; `unknown` if there is none.
    pub department: Option<DepartmentId>,
    /// Its pipeline.
    pub pipeline: Option<PipelineId>,
    /// Its current stage.
    pub stage: Option<StageId>,
    /// When it entered the stage.
    pub stage_since: Option<Timestamp>,
    /// When it was created, if known.
    pub created_at: Option<Timestamp>,
    /// Outcome and time of the closing, if it is closed.
    pub closed: Option<(Outcome, Timestamp)>,
    /// When it was deleted or merged into another one, if it was.
    pub deleted_at: Option<Timestamp>,
    /// The lead or deal that has taken over its history, if it was merged.
    pub merged_into: Option<EntityId>,
    /// The leads or deals whose histories it has taken over.
    pub merged: Vec<EntityId>,
    /// The lead that a deal originates from.
    pub lead: Option<CompactString>,
    /// Its contacts, as alerts name them: `contact:KEY`.
    pub contacts: Vec<CompactString>,
    /// Event times of the touches, in order.
    pub touches: Vec<Timestamp>,
    /// Its clocks, ordered by anchor.
    pub clocks: Vec<ClockState>,
    /// Its events, in event order.
    pub history: Vec<HistoryEntry>,
}

/// A clock of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockState {
    /// The rule.
    pub rule: Rule,
    /// The subject, as in an alert.
    pub subject: CompactString,
    /// When it started.
    pub anchor: Timestamp,
    /// The deadline; `None` without a norm, or if the calendar never reaches it.
    pub due: Option<Timestamp>,
    /// Whether it counts business or wall time.
    pub clock: Clock,
    /// The calendar of business time.
    pub calendar: Option<CompactString>,
    /// The time allowed.
    pub within: Option<Span>,
    /// The time counted, up to now or to the act that stopped it.
    pub counted: Span,
    /// The act that stopped it.
    pub stopped_at: Option<Timestamp>,
    /// Its status.
    pub status: ClockStatus,
    /// The alert, if one was published.
    pub alert: Option<ClockAlert>,
}

/// The alert of a clock.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockAlert {
    /// Its id.
    pub id: Uuid,
    /// Number of escalations.
    pub level: u32,
    /// The current severity.
    pub severity: Severity,
    /// When it will be escalated next, if it stays open.
    pub next_escalation: Option<Timestamp>,
}

named_enum! {
    /// The status of a clock.
    pub enum ClockStatus, named "in the API" {
        /// It is running; the deadline, if any, is in the future.
        Running = "running",
        /// It is running and its deadline is near.
        DueSoon = "due_soon",
        /// It is running past its deadline; the alert is open.
        Overdue = "overdue",
        /// It was stopped in time, or before an alert was published.
        Stopped = "stopped",
        /// The alert was resolved.
        Resolved = "resolved",
        /// The alert was retracted.
        Retracted = "retracted",
    }
}

/// An event in the history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// Event time.
    pub at: Timestamp,
    /// The kind of event.
    pub kind: EventKind,
    /// The manager named by the event.
    pub manager: Option<ManagerId>,
    /// The attributes that rules use.
    pub details: Values,
}

impl ClockState {
    /// The state of a clock with a pending or actual violation. `before`: time counted before the anchor.
    pub(super) fn of(
        rule: Rule,
        subject: CompactString,
        id: Uuid,
        scope: &Scope,
        violation: &Violation,
        (before, limit): (Span, Option<Span>),
        (stopped, now): (Option<Timestamp>, Timestamp),
    ) -> Self {
        let norm = scope.rules.get(&rule);
        let clock = scope.clock(rule);
        let status = match violation.state {
            State::Waiting if stopped.is_none() => ClockStatus::Running,
            State::Waiting | State::Averted | State::CalledOff => ClockStatus::Stopped,
            State::DueSoon => ClockStatus::DueSoon,
            State::Open => ClockStatus::Overdue,
            State::Resolved => ClockStatus::Resolved,
            State::Retracted => ClockStatus::Retracted,
        };
        let published = !matches!(violation.state, State::Waiting | State::Averted);
        let level = violation.level();
        let end = stopped.unwrap_or(now).max(violation.anchor);
        Self {
            rule,
            subject,
            anchor: violation.anchor,
            due: Some(violation.due),
            clock,
            calendar: scope
                .calendar
                .as_ref()
                .filter(|_| clock == Clock::Business)
                .map(|calendar| calendar.name().into()),
            within: limit.or(norm.and_then(|norm| norm.within).map(|within| within.span)),
            counted: Span(before.0 + scope.elapsed(clock, violation.anchor, end).0),
            stopped_at: stopped,
            status,
            alert: published.then(|| ClockAlert {
                id,
                level,
                severity: violation.severity(scope.severity(rule)),
                next_escalation: violation.next_escalation(rule, scope),
            }),
        }
    }
}

impl HistoryEntry {
    pub(super) fn of(at: Timestamp, payload: &Payload) -> Self {
        let mut details = Values::new();
        if let Payload::Crm(payload) = payload {
            crm_details(payload, &mut details);
        } else if let Payload::Call(call) = payload {
            call_details(call, &mut details);
        } else if let Payload::Message(message) = payload {
            message_details(message, &mut details);
        }
        Self { at, kind: payload.kind(), manager: payload.manager().cloned(), details }
    }
}

/// Adds a text, if there is one.
fn add(details: &mut Values, key: &'static str, text: Option<&str>) {
    details.extend(text.map(|text| (key, Value::Text(text.into()))));
}

fn crm_details(payload: &CrmPayload, details: &mut Values) {
    match payload {
        CrmPayload::LeadCreated(created) | CrmPayload::DealCreated(created) => {
            add(details, "pipeline_id", created.pipeline.as_ref().map(PipelineId::as_str));
            add(details, "stage_id", created.stage.as_ref().map(StageId::as_str));
            add(details, "source_id", created.source.as_ref().map(|source| source.as_str()));
            add(details, "lead_id", created.lead.as_deref());
            details.push(("contacts", (created.contacts.len() as i64).into()));
        }
        CrmPayload::Snapshot(snapshot) => {
            add(details, "pipeline_id", snapshot.pipeline.as_ref().map(PipelineId::as_str));
            add(details, "stage_id", snapshot.stage.as_ref().map(StageId::as_str));
            add(details, "source_id", snapshot.source.as_ref().map(|source| source.as_str()));
            add(details, "lead_id", snapshot.lead.as_deref());
            add(details, "outcome", snapshot.outcome.map(Outcome::name));
        }
        CrmPayload::StageChanged(change) => {
            add(details, "pipeline_id", change.pipeline.as_ref().map(PipelineId::as_str));
            add(details, "from_stage_id", change.from.as_ref().map(StageId::as_str));
            add(details, "to_stage_id", Some(change.to.as_str()));
            if !change.filled_fields.is_empty() {
                add(details, "filled_fields", Some(&change.filled_fields.join(",")));
            }
        }
        CrmPayload::Closed { outcome, reason, .. } => {
            add(details, "outcome", Some(outcome.name()));
            details.push(("reason_given", i64::from(reason.is_some()).into()));
        }
        CrmPayload::Reopened { stage, .. } => {
            add(details, "stage_id", stage.as_ref().map(StageId::as_str));
        }
        CrmPayload::TermsOffered(terms) => {
            details.extend(terms.discount_percent.map(|percent| ("discount_percent", percent.into())));
            details.extend(terms.installment_months.map(|months| ("installment_months", months.into())));
            details.extend(terms.prepayment_percent.map(|percent| ("prepayment_percent", percent.into())));
            add(details, "approved_by", terms.approved_by.as_ref().map(ManagerId::as_str));
        }
        CrmPayload::Merged { entity, into } => {
            add(details, "merged", Some(&entity.to_string()));
            add(details, "into", Some(&into.to_string()));
        }
        CrmPayload::ActivityPlanned(planned) => {
            add(details, "activity", Some(planned.kind.name()));
            add(details, "activity_id", Some(planned.activity.as_str()));
            add(details, "deadline", planned.deadline.map(|deadline| deadline.to_string()).as_deref());
        }
        CrmPayload::ActivityCompleted { kind, activity, .. } => {
            add(details, "activity", Some(kind.name()));
            add(details, "activity_id", activity.as_ref().map(ActivityId::as_str));
        }
        CrmPayload::ActivityCancelled { activity, .. } => add(details, "activity_id", Some(activity.as_str())),
        CrmPayload::Assigned { .. }
        | CrmPayload::Deleted { .. }
        | CrmPayload::ContactLinked { .. }
        | CrmPayload::InteractionReviewed { .. }
        | CrmPayload::InteractionDismissed { .. }
        | CrmPayload::AlertTaken { .. }
        | CrmPayload::ManagerUpserted { .. }
        | CrmPayload::DepartmentUpserted { .. } => {}
    }
}

fn call_details(call: &Call, details: &mut Values) {
    add(details, "direction", Some(call.direction.name()));
    let Some(end) = &call.end else { return };
    add(details, "outcome", Some(end.outcome.name()));
    details.push(("talk_seconds", end.talk.into()));
    if let Some(started) = end.started_at {
        add(details, "started_at", Some(&started.to_string()));
    }
}

fn message_details(message: &Message, details: &mut Values) {
    add(details, "channel", Some(message.channel.name()));
    details.push(("automatic", i64::from(message.automatic).into()));
}
