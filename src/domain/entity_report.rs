//! Owns what is told of one lead or deal to whoever asks *why did it fire?*, or *why not yet?*: where it stands, the clocks
//! that run or ran on it, and what happened to it. Promises to hold no phone, address, name or other text of a customer.

use super::alert::{Severity, Value, Values};
use super::event::{Call, CallOutcome, CrmPayload, Direction, EventKind, Message, Outcome, Payload};
use super::id::{DepartmentId, EntityId, ManagerId, PipelineId, StageId};
use super::norms::{Clock, Scope};
use super::rule::Rule;
use super::time::{Span, Timestamp};
use super::violation::{State, Violation, ViolationContext};
use compact_str::CompactString;
use uuid::Uuid;

/// One lead or deal, its clocks and its history.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityReport {
    /// Which.
    pub entity: EntityId,
    /// Event time up to which everything is in it.
    pub at: Timestamp,
    /// The responsible.
    pub manager: Option<ManagerId>,
    /// His department; `unknown` if he has none.
    pub department: Option<DepartmentId>,
    /// Its pipeline.
    pub pipeline: Option<PipelineId>,
    /// Its present stage.
    pub stage: Option<StageId>,
    /// Since when it has been there.
    pub stage_since: Option<Timestamp>,
    /// Its creation, if that is known.
    pub created_at: Option<Timestamp>,
    /// How and when it was closed, if it is.
    pub closed: Option<(Outcome, Timestamp)>,
    /// When it was deleted, if it is.
    pub deleted_at: Option<Timestamp>,
    /// The lead that a deal grew from.
    pub lead: Option<CompactString>,
    /// Its contacts, as alerts name them: `contact:KEY`.
    pub contacts: Vec<CompactString>,
    /// The dates of the touches, in order.
    pub touches: Vec<Timestamp>,
    /// Its clocks, in order of their anchors.
    pub clocks: Vec<ClockState>,
    /// What happened to it, in order of effect.
    pub history: Vec<HistoryEntry>,
}

/// A clock of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockState {
    /// The rule.
    pub rule: Rule,
    /// What it is about, as in an alert.
    pub subject: CompactString,
    /// When it started.
    pub anchor: Timestamp,
    /// Its deadline; `None`: no norm, or its time never comes.
    pub due: Option<Timestamp>,
    /// What time it counts.
    pub clock: Clock,
    /// The calendar that business time is counted on.
    pub calendar: Option<CompactString>,
    /// What is allowed.
    pub within: Option<Span>,
    /// What it has counted: up to now, or to the act that stopped it.
    pub counted: Span,
    /// The act that stopped it.
    pub stopped_at: Option<Timestamp>,
    /// Where it stands.
    pub status: ClockStatus,
    /// The alert that came of it, with its level, severity and next escalation.
    pub alert: Option<ClockAlert>,
}

/// An alert that came of a clock.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockAlert {
    /// Its id.
    pub id: Uuid,
    /// How often it was escalated.
    pub level: u32,
    /// How much it matters by now.
    pub severity: Severity,
    /// When it will be escalated next, if it lasts.
    pub next_escalation: Option<Timestamp>,
}

/// Where a clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStatus {
    /// It runs towards its deadline, if it has one.
    Running,
    /// It ran out, and goes on: there is an alert.
    Overdue,
    /// It was stopped in time, or before anybody was told.
    Stopped,
    /// There was an alert; it is over.
    Resolved,
    /// There was an alert; it was taken back.
    Retracted,
}

impl ClockStatus {
    /// The name for readers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Overdue => "overdue",
            Self::Stopped => "stopped",
            Self::Resolved => "resolved",
            Self::Retracted => "retracted",
        }
    }
}

/// An event of its history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// Its date.
    pub at: Timestamp,
    /// Which event it was.
    pub kind: EventKind,
    /// Who did it, or was named by it.
    pub manager: Option<ManagerId>,
    /// What of it rules look at.
    pub details: Values,
}

impl ClockState {
    /// A clock with a violation that came, or may come, of it. `before`: what it counted before its anchor.
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
        let (clock, severity, steps) = ViolationContext::of(norm);
        let status = match violation.state {
            State::Waiting if stopped.is_none() => ClockStatus::Running,
            State::Waiting | State::Averted => ClockStatus::Stopped,
            State::Open => ClockStatus::Overdue,
            State::Resolved => ClockStatus::Resolved,
            State::Retracted => ClockStatus::Retracted,
        };
        let told = !matches!(violation.state, State::Waiting | State::Averted);
        let level = violation.level();
        let next = steps.get(level as usize).filter(|_| violation.state == State::Open);
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
            alert: told.then(|| ClockAlert {
                id,
                level,
                severity: severity.raised(level),
                next_escalation: next.and_then(|after| scope.deadline(clock, violation.due, after.span)),
            }),
        }
    }
}

impl HistoryEntry {
    /// What is told of an event.
    pub(super) fn of(at: Timestamp, payload: &Payload) -> Self {
        let mut details = Values::new();
        let manager = match payload {
            Payload::Crm(payload) => crm(payload, &mut details),
            Payload::Call(call) => {
                call_details(call, &mut details);
                call.manager.clone()
            }
            Payload::Message(message) => {
                message_details(message, &mut details);
                message.manager.clone()
            }
        };
        Self { at, kind: payload.kind(), manager, details }
    }
}

/// Adds what there is.
fn add(details: &mut Values, key: &'static str, text: Option<&str>) {
    details.extend(text.map(|text| (key, Value::Text(text.into()))));
}

fn crm(payload: &CrmPayload, details: &mut Values) -> Option<ManagerId> {
    match payload {
        CrmPayload::LeadCreated(created) | CrmPayload::DealCreated(created) => {
            add(details, "pipeline_id", created.pipeline.as_ref().map(PipelineId::as_str));
            add(details, "stage_id", created.stage.as_ref().map(StageId::as_str));
            add(details, "source_id", created.source.as_ref().map(|source| source.as_str()));
            add(details, "lead_id", created.lead.as_deref());
            details.push(("contacts", (created.contacts.len() as i64).into()));
            created.manager.clone()
        }
        CrmPayload::Snapshot(snapshot) => {
            add(details, "pipeline_id", snapshot.pipeline.as_ref().map(PipelineId::as_str));
            add(details, "stage_id", snapshot.stage.as_ref().map(StageId::as_str));
            add(details, "source_id", snapshot.source.as_ref().map(|source| source.as_str()));
            add(details, "lead_id", snapshot.lead.as_deref());
            add(details, "outcome", snapshot.outcome.map(Outcome::name));
            snapshot.manager.clone()
        }
        CrmPayload::StageChanged(change) => {
            add(details, "pipeline_id", change.pipeline.as_ref().map(PipelineId::as_str));
            add(details, "from_stage_id", change.from.as_ref().map(StageId::as_str));
            add(details, "to_stage_id", Some(change.to.as_str()));
            if !change.filled_fields.is_empty() {
                add(details, "filled_fields", Some(&change.filled_fields.join(",")));
            }
            None
        }
        CrmPayload::Assigned { manager, .. } => Some(manager.clone()),
        CrmPayload::Closed { outcome, reason, .. } => {
            add(details, "outcome", Some(outcome.name()));
            details.push(("reason_given", i64::from(reason.is_some()).into()));
            None
        }
        CrmPayload::Reopened { stage, .. } => {
            add(details, "stage_id", stage.as_ref().map(StageId::as_str));
            None
        }
        CrmPayload::TermsOffered(terms) => {
            details.extend(terms.discount_percent.map(|percent| ("discount_percent", percent.into())));
            details.extend(terms.installment_months.map(|months| ("installment_months", months.into())));
            details.extend(terms.prepayment_percent.map(|percent| ("prepayment_percent", percent.into())));
            add(details, "approved_by", terms.approved_by.as_ref().map(ManagerId::as_str));
            terms.manager.clone()
        }
        CrmPayload::ActivityCompleted { manager, kind, .. } => {
            add(details, "activity", Some(kind.name()));
            manager.clone()
        }
        CrmPayload::InteractionReviewed { manager, .. } | CrmPayload::ManagerUpserted { manager, .. } => {
            Some(manager.clone())
        }
        CrmPayload::Deleted { .. } | CrmPayload::ContactLinked { .. } => None,
    }
}

fn call_details(call: &Call, details: &mut Values) {
    add(details, "direction", Some(if call.direction == Direction::Inbound { "inbound" } else { "outbound" }));
    let Some(end) = &call.end else { return };
    let outcome = match end.outcome {
        CallOutcome::Answered => "answered",
        CallOutcome::NoAnswer => "no_answer",
        CallOutcome::Busy => "busy",
        CallOutcome::Rejected => "rejected",
        CallOutcome::Voicemail => "voicemail",
        CallOutcome::Failed => "failed",
    };
    add(details, "outcome", Some(outcome));
    details.push(("talk_seconds", end.talk.into()));
    if let Some(started) = end.started_at {
        add(details, "started_at", Some(&started.to_string()));
    }
}

fn message_details(message: &Message, details: &mut Values) {
    add(details, "channel", Some(message.channel.name()));
    details.push(("automatic", i64::from(message.automatic).into()));
}
