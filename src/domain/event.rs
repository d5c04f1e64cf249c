//! Owns the decoded events of the CRM, the telephone system and the mailboxes.
//!
//! One type per payload of the three topics. Fields that no rule or figure uses (comments, names, lines) are validated by
//! the codec and dropped. Absent and empty values are the same: `None`.

pub mod progress;
pub mod reject;
pub mod repair;

use crate::domain::id::{
    ActivityId, CallId, DepartmentId, EntityId, EntityKind, EventId, LegId, ManagerId, MessageId, PipelineId,
    SessionId, SourceId, StageId, TenantId, ThreadId,
};
use crate::domain::named::named_enum;
use crate::domain::source::{Offset, Source, Topic};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;

/// The position of an event in event order: event time, topic rank, offset and source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventOrder {
    /// Event time.
    pub at: Timestamp,
    /// [`Topic::rank`] of its topic; deadlines come after all events of their instant.
    pub rank: u8,
    /// Its offset, or line in a file.
    pub offset: Offset,
    /// [`Source::id`] of the source it was read from.
    pub source: u8,
}

impl EventOrder {
    /// The position of an event of `topic`, read from `source` at `offset`.
    pub fn of(at: Timestamp, topic: Topic, source: Source, offset: Offset) -> Self {
        Self { at, rank: topic.rank(), offset, source: source.id() }
    }

    /// The position of an instant in the life of a topic: before all of its events at that instant.
    pub fn before(at: Timestamp, topic: Topic) -> Self {
        Self { at, rank: topic.rank(), offset: Offset(0), source: 0 }
    }

    /// The position of deadlines at an instant: after all its events.
    pub fn deadline(at: Timestamp) -> Self {
        Self { at, rank: u8::MAX, offset: Offset(i64::MAX), source: u8::MAX }
    }
}

/// An [`EventOrder`] in 16 bytes, for state that is kept.
///
/// Positions of events that arrived late lie between those of the others, as if the events had arrived in time. So what
/// two entities have from different events stays comparable, however often each of them is replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position([u64; 2]);

impl Position {
    /// Moves the earliest valid event time above 0; the latest one then has 49 bits.
    const SHIFT: i64 = 1 << 48;
    /// Before every event.
    pub const MIN: Self = Self([0; 2]);
    /// After every event.
    pub const MAX: Self = Self([u64::MAX; 2]);

    /// The event time.
    pub fn at(self) -> Timestamp {
        Timestamp((self.0[0] >> 8) as i64 - Self::SHIFT)
    }

    /// The lowest position after this one.
    pub fn next(self) -> Self {
        let [instant, within] = self.0;
        Self([instant, within.saturating_add(1)])
    }
}

impl From<EventOrder> for Position {
    fn from(order: EventOrder) -> Self {
        /// The highest offset of 56 bits.
        const MAX_OFFSET: i64 = (1 << 56) - 1;
        let instant = order.at.0.saturating_add(Self::SHIFT).clamp(0, MAX_OFFSET) as u64;
        let offset = order.offset.0.clamp(0, MAX_OFFSET) as u64;
        Self([instant << 8 | u64::from(order.rank), offset << 8 | u64::from(order.source)])
    }
}

/// One event of a tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The tenant; never empty.
    pub tenant: TenantId,
    /// Event time (`occurred_at`).
    pub at: Timestamp,
    /// Unique within tenant and topic; an event without id is never a duplicate.
    pub id: Option<EventId>,
    /// What happened.
    pub payload: Payload,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// From `crm.events`.
    Crm(Box<CrmPayload>),
    /// From `telephony.events`.
    Call(Box<Call>),
    /// From `email.events`.
    Message(Box<Message>),
}

impl Payload {
    /// Calls `visit` for every lead and deal that the payload references.
    pub fn each_entity(&self, mut visit: impl FnMut(EntityKind, &CompactString)) {
        match self {
            Self::Crm(payload) => payload.each_entity(visit),
            Self::Call(call) => call.entity.iter().for_each(|entity| visit(entity.kind, &entity.id)),
            Self::Message(message) => message.entity.iter().for_each(|entity| visit(entity.kind, &entity.id)),
        }
    }

    /// The kind of the event.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Crm(payload) => payload.kind(),
            Self::Call(call) if call.end.is_none() => EventKind::CallStarted,
            Self::Call(_) => EventKind::CallEnded,
            Self::Message(message) => match message.direction {
                Direction::Inbound => EventKind::MessageReceived,
                Direction::Outbound => EventKind::MessageSent,
            },
        }
    }

    /// Calls `visit` for every phone and address that the payload contains.
    pub fn each_contact(&self, mut visit: impl FnMut(&Contact)) {
        match self {
            Self::Crm(payload) => payload.contacts().iter().for_each(visit),
            Self::Call(call) => visit(&Contact::Phone(call.phone.clone())),
            Self::Message(message) => message.contact.iter().for_each(visit),
        }
    }

    /// The manager who is or becomes responsible, or who acted; `None` for reviews and manager records.
    pub fn manager(&self) -> Option<&ManagerId> {
        match self {
            Self::Crm(payload) => match &**payload {
                CrmPayload::LeadCreated(created) | CrmPayload::DealCreated(created) => created.manager.as_ref(),
                CrmPayload::Snapshot(snapshot) => snapshot.manager.as_ref(),
                CrmPayload::Assigned { manager, .. } => Some(manager),
                CrmPayload::TermsOffered(terms) => terms.manager.as_ref(),
                CrmPayload::ActivityPlanned(planned) => planned.manager.as_ref(),
                CrmPayload::ActivityCompleted { manager, .. } | CrmPayload::InteractionDismissed { manager, .. } => {
                    manager.as_ref()
                }
                _ => None,
            },
            Self::Call(call) => call.manager.as_ref(),
            Self::Message(message) => message.manager.as_ref(),
        }
    }

    /// The move of an entity to another stage, if it is one.
    pub fn stage_changed(&self) -> Option<&StageChanged> {
        match self {
            Self::Crm(payload) => match &**payload {
                CrmPayload::StageChanged(change) => Some(change),
                _ => None,
            },
            Self::Call(_) | Self::Message(_) => None,
        }
    }

    /// The topic that carries this payload.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Crm(_) => Topic::Crm,
            Self::Call(_) => Topic::Telephony,
            Self::Message(_) => Topic::Email,
        }
    }
}

macro_rules! event_kinds {
    ($($kind:ident $topic:ident $name:literal)*) => {
        /// The kind of an event; the discriminant is its index in [`EventKind::ALL`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind {
            $(#[doc = concat!("`", $name, "`")] $kind,)*
        }

        impl EventKind {
            /// Every kind, topic by topic.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The key of the payload in events.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The topic that carries it.
            pub const fn topic(self) -> Topic {
                match self { $(Self::$kind => Topic::$topic,)* }
            }
        }
    };
}

event_kinds! {
    LeadCreated Crm "lead_created"
    DealCreated Crm "deal_created"
    StageChanged Crm "stage_changed"
    Assigned Crm "assigned"
    Closed Crm "closed"
    Reopened Crm "reopened"
    Deleted Crm "deleted"
    Merged Crm "merged"
    ContactLinked Crm "contact_linked"
    TermsOffered Crm "terms_offered"
    ActivityPlanned Crm "activity_planned"
    ActivityCompleted Crm "activity_completed"
    ActivityCancelled Crm "activity_cancelled"
    InteractionReviewed Crm "interaction_reviewed"
    InteractionDismissed Crm "interaction_dismissed"
    AlertTaken Crm "alert_taken"
    ManagerUpserted Crm "manager_upserted"
    DepartmentUpserted Crm "department_upserted"
    LeadSnapshot Crm "lead_snapshot"
    DealSnapshot Crm "deal_snapshot"
    CallStarted Telephony "call_started"
    CallEnded Telephony "call_ended"
    MessageReceived Email "message_received"
    MessageSent Email "message_sent"
}

/// Payloads of `CrmEvent`.
#[derive(Clone, Debug, PartialEq)]
pub enum CrmPayload {
    /// A lead was created.
    LeadCreated(Created),
    /// A deal was created.
    DealCreated(Created),
    /// An entity moved to a stage.
    StageChanged(StageChanged),
    /// The responsible manager of an entity was set.
    Assigned {
        /// Which entity.
        entity: EntityId,
        /// The new responsible manager.
        manager: ManagerId,
    },
    /// An entity was closed.
    Closed {
        /// Which entity.
        entity: EntityId,
        /// The outcome.
        outcome: Outcome,
        /// The reason, as in the CRM.
        reason: Option<CompactString>,
    },
    /// A closed entity was reopened.
    Reopened {
        /// Which entity.
        entity: EntityId,
        /// The stage it was placed in.
        stage: Option<StageId>,
    },
    /// An entity was deleted permanently.
    Deleted {
        /// Which entity.
        entity: EntityId,
    },
    /// An entity turned out to be the same as another one, which takes over its history.
    Merged {
        /// Which entity.
        entity: EntityId,
        /// The one that remains; of the same kind.
        into: EntityId,
    },
    /// A phone or an address was linked to an entity.
    ContactLinked {
        /// Which entity.
        entity: EntityId,
        /// The phone or address; `None` links nothing.
        contact: Option<Contact>,
    },
    /// Terms were offered to the customer.
    TermsOffered(TermsOffered),
    /// An activity was planned, or its plan was changed.
    ActivityPlanned(ActivityPlanned),
    /// An activity was completed.
    ActivityCompleted {
        /// Which entity.
        entity: EntityId,
        /// The plan that it ends.
        activity: Option<ActivityId>,
        /// The manager who completed it.
        manager: Option<ManagerId>,
        /// The kind of activity.
        kind: ActivityKind,
    },
    /// A planned activity was cancelled.
    ActivityCancelled {
        /// Which entity.
        entity: EntityId,
        /// The plan that it ends.
        activity: ActivityId,
    },
    /// A call or message was reviewed.
    InteractionReviewed {
        /// The call or message.
        interaction: CompactString,
        /// The manager of the call or message.
        manager: ManagerId,
        /// The score, 0 to 100.
        score: f64,
        /// Success, failure or neither.
        verdict: Verdict,
    },
    /// A call or message needs no answer.
    InteractionDismissed {
        /// The message, the whole call, or one of its legs.
        interaction: CompactString,
        /// The manager who dismissed it.
        manager: Option<ManagerId>,
    },
    /// Somebody takes care of an alert.
    AlertTaken {
        /// Its `alert_id`.
        alert: CompactString,
        /// Who takes care of it.
        manager: ManagerId,
    },
    /// The record of a manager.
    ManagerUpserted {
        /// Which manager.
        manager: ManagerId,
        /// The department; `None`: unchanged, empty: none any more.
        department: Option<DepartmentId>,
        /// The grade, used by terms policies; likewise.
        grade: Option<CompactString>,
        /// Whether the manager is active.
        active: bool,
        /// The name; `None` keeps the previous one.
        name: Option<CompactString>,
    },
    /// What is known about a department; what is absent stays as it was.
    DepartmentUpserted {
        /// Which department.
        department: DepartmentId,
        /// The name.
        name: Option<CompactString>,
        /// The department above it; an empty id: none.
        parent: Option<DepartmentId>,
        /// Who heads it; an empty id: nobody.
        head: Option<ManagerId>,
    },
    /// The complete current state of a lead or deal, from sources that report only that something changed.
    Snapshot(Box<Snapshot>),
}

impl CrmPayload {
    fn kind(&self) -> EventKind {
        match self {
            Self::LeadCreated(_) => EventKind::LeadCreated,
            Self::DealCreated(_) => EventKind::DealCreated,
            Self::StageChanged(_) => EventKind::StageChanged,
            Self::Assigned { .. } => EventKind::Assigned,
            Self::Closed { .. } => EventKind::Closed,
            Self::Reopened { .. } => EventKind::Reopened,
            Self::Deleted { .. } => EventKind::Deleted,
            Self::Merged { .. } => EventKind::Merged,
            Self::ContactLinked { .. } => EventKind::ContactLinked,
            Self::TermsOffered(_) => EventKind::TermsOffered,
            Self::ActivityPlanned(_) => EventKind::ActivityPlanned,
            Self::ActivityCompleted { .. } => EventKind::ActivityCompleted,
            Self::ActivityCancelled { .. } => EventKind::ActivityCancelled,
            Self::InteractionReviewed { .. } => EventKind::InteractionReviewed,
            Self::InteractionDismissed { .. } => EventKind::InteractionDismissed,
            Self::AlertTaken { .. } => EventKind::AlertTaken,
            Self::ManagerUpserted { .. } => EventKind::ManagerUpserted,
            Self::DepartmentUpserted { .. } => EventKind::DepartmentUpserted,
            Self::Snapshot(snapshot) => match snapshot.entity.kind {
                EntityKind::Lead => EventKind::LeadSnapshot,
                EntityKind::Deal => EventKind::DealSnapshot,
            },
        }
    }

    fn each_entity(&self, mut visit: impl FnMut(EntityKind, &CompactString)) {
        use EntityKind::{Deal, Lead};
        match self {
            Self::LeadCreated(created) => visit(Lead, &created.id),
            Self::DealCreated(created) => {
                visit(Deal, &created.id);
                created.lead.iter().for_each(|lead| visit(Lead, lead));
            }
            Self::Snapshot(snapshot) => {
                visit(snapshot.entity.kind, &snapshot.entity.id);
                snapshot.lead.iter().for_each(|lead| visit(Lead, lead));
            }
            Self::StageChanged(change) => visit(change.entity.kind, &change.entity.id),
            Self::TermsOffered(terms) => visit(Deal, &terms.deal),
            Self::Merged { entity, into } => [entity, into].iter().for_each(|id| visit(id.kind, &id.id)),
            Self::ActivityPlanned(planned) => visit(planned.entity.kind, &planned.entity.id),
            Self::Assigned { entity, .. }
            | Self::Closed { entity, .. }
            | Self::Reopened { entity, .. }
            | Self::Deleted { entity }
            | Self::ContactLinked { entity, .. }
            | Self::ActivityCompleted { entity, .. }
            | Self::ActivityCancelled { entity, .. } => visit(entity.kind, &entity.id),
            Self::InteractionReviewed { .. }
            | Self::InteractionDismissed { .. }
            | Self::AlertTaken { .. }
            | Self::ManagerUpserted { .. }
            | Self::DepartmentUpserted { .. } => {}
        }
    }

    fn contacts(&self) -> &[Contact] {
        match self {
            Self::LeadCreated(created) | Self::DealCreated(created) => &created.contacts,
            Self::Snapshot(snapshot) => &snapshot.contacts,
            Self::ContactLinked { contact, .. } => contact.as_slice(),
            _ => &[],
        }
    }
}

impl From<Snapshot> for CrmPayload {
    fn from(snapshot: Snapshot) -> Self {
        Self::Snapshot(Box::new(snapshot))
    }
}

/// `lead_created` and `deal_created`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Created {
    /// The lead's or deal's id.
    pub id: CompactString,
    /// The lead that the deal originated from.
    pub lead: Option<CompactString>,
    /// The responsible manager.
    pub manager: Option<ManagerId>,
    /// The pipeline.
    pub pipeline: Option<PipelineId>,
    /// The initial stage.
    pub stage: Option<StageId>,
    /// The source of a lead.
    pub source: Option<SourceId>,
    /// A deal's amount.
    pub amount: Amount,
    /// Phones and addresses.
    pub contacts: Vec<Contact>,
}

/// An amount of money as in events: either part may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Amount {
    /// In minor units (kopecks, cents).
    pub minor: Option<i64>,
    /// ISO 4217 code.
    pub currency: Option<CompactString>,
}

/// `stage_changed`.
#[derive(Clone, Debug, PartialEq)]
pub struct StageChanged {
    /// Which entity.
    pub entity: EntityId,
    /// The pipeline of the new stage.
    pub pipeline: Option<PipelineId>,
    /// The previous stage.
    pub from: Option<StageId>,
    /// The new stage.
    pub to: StageId,
    /// The CRM fields that are filled.
    pub filled_fields: Vec<CompactString>,
}

/// `activity_planned`.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivityPlanned {
    /// Which entity.
    pub entity: EntityId,
    /// The activity; a second event with the same id changes its plan.
    pub activity: ActivityId,
    /// The manager who planned it.
    pub manager: Option<ManagerId>,
    /// The kind of activity.
    pub kind: ActivityKind,
    /// When it is to be done by.
    pub deadline: Option<Timestamp>,
}

/// `terms_offered`.
#[derive(Clone, Debug, PartialEq)]
pub struct TermsOffered {
    /// The deal.
    pub deal: CompactString,
    /// The manager who offered them.
    pub manager: Option<ManagerId>,
    /// Discount in percent, 0 to 100.
    pub discount_percent: Option<f64>,
    /// Instalment plan in months.
    pub installment_months: Option<i64>,
    /// Prepayment in percent, 0 to 100.
    pub prepayment_percent: Option<f64>,
    /// The manager who approved the terms.
    pub approved_by: Option<ManagerId>,
    /// The amount of the deal in the offer.
    pub amount: Amount,
}

/// `lead_snapshot` and `deal_snapshot`.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Which entity.
    pub entity: EntityId,
    /// The lead that the deal originated from.
    pub lead: Option<CompactString>,
    /// The responsible manager.
    pub manager: Option<ManagerId>,
    /// The source.
    pub source: Option<SourceId>,
    /// The pipeline.
    pub pipeline: Option<PipelineId>,
    /// The stage.
    pub stage: Option<StageId>,
    /// Phones and addresses.
    pub contacts: Vec<Contact>,
    /// A deal's amount.
    pub amount: Amount,
    /// The outcome, if closed.
    pub outcome: Option<Outcome>,
    /// The closing reason, as in the CRM.
    pub reason: Option<CompactString>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it entered the stage.
    pub stage_entered_at: Option<Timestamp>,
    /// The CRM fields that are filled.
    pub filled_fields: Vec<CompactString>,
}

/// Payloads of `TelephonyEvent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which call, or leg of one.
    pub id: CallId,
    /// The whole call, if the source reports its legs.
    pub session: Option<SessionId>,
    /// Inbound or outbound.
    pub direction: Direction,
    /// The customer's number as the telephone system writes it; may be empty.
    pub phone: CompactString,
    /// The manager who took or should have taken the call.
    pub manager: Option<ManagerId>,
    /// The entity, if the source knows it.
    pub entity: Option<EntityId>,
    /// `None` for `call_started`.
    pub end: Option<CallEnd>,
}

/// Additional fields of `call_ended`.
#[derive(Clone, Debug, PartialEq)]
pub struct CallEnd {
    /// The leg; a later record with the same id replaces it.
    pub leg: Option<LegId>,
    /// The start: at most 24 hours before the end, and not after it. `None`: unknown.
    pub started_at: Option<Timestamp>,
    /// When somebody or something answered.
    pub answered_at: Option<Timestamp>,
    /// Talk time; computed from `answered_at` if the source does not report it.
    pub talk: Span,
    /// The outcome of the call.
    pub outcome: CallOutcome,
    /// Who answered; `None` is a person.
    pub answered_by: Option<AnsweredBy>,
    /// URL of the recording; never part of an alert, a log line or a label.
    pub recording_url: Option<CompactString>,
}

/// Payloads of `MessageEvent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Which message.
    pub id: MessageId,
    /// Sent by a manager (outbound) or received from the customer (inbound).
    pub direction: Direction,
    /// The thread that it belongs to.
    pub thread: Option<ThreadId>,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
    /// The channel.
    pub channel: Channel,
    /// The customer's address.
    pub contact: Option<Contact>,
    /// The manager who wrote or received it.
    pub manager: Option<ManagerId>,
    /// The entity, if the source knows it.
    pub entity: Option<EntityId>,
    /// An automatic reply, robot message or newsletter: counted, but neither a touch nor a demand.
    pub automatic: bool,
}

/// A contact of a customer as the source writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contact {
    /// A phone number.
    Phone(CompactString),
    /// An e-mail address.
    Email(CompactString),
    /// A name inside another channel.
    Handle {
        /// The name.
        handle: CompactString,
        /// The channel.
        channel: Channel,
    },
}

named_enum! {
    /// The direction of a call or message.
    pub enum Direction, named "in entity reports" {
        /// From the customer.
        Inbound = "inbound",
        /// To the customer.
        Outbound = "outbound",
    }

    /// The outcome of a lead or deal.
    pub enum Outcome, named "in events and norms" {
        /// A deal was won.
        Won = "WON",
        /// A deal was lost.
        Lost = "LOST",
        /// A lead became a deal.
        Converted = "CONVERTED",
        /// A lead was disqualified.
        Disqualified = "DISQUALIFIED",
    }

    /// Kinds of completed activities.
    pub enum ActivityKind, named "in events and norms" {
        /// A meeting: a touch and two-way contact.
        Meeting = "MEETING",
        /// A demonstration: a touch and two-way contact.
        Demo = "DEMO",
        /// A proposal was sent.
        Proposal = "PROPOSAL",
        /// An invoice was sent.
        Invoice = "INVOICE",
        /// A task was done.
        Task = "TASK",
        /// The customer's needs were analyzed.
        NeedsAnalysis = "NEEDS_ANALYSIS",
        /// Anything else.
        Other = "OTHER",
    }

    /// The outcome of a call.
    pub enum CallOutcome, named "in entity reports" {
        /// The call was answered.
        Answered = "answered",
        /// The call was not answered.
        NoAnswer = "no_answer",
        /// The line was busy.
        Busy = "busy",
        /// The call was rejected.
        Rejected = "rejected",
        /// Voicemail answered.
        Voicemail = "voicemail",
        /// The call could not be connected.
        Failed = "failed",
    }

    /// Who answered a call.
    pub enum AnsweredBy, named "in entity reports" {
        /// A person.
        Person = "person",
        /// A waiting queue.
        Queue = "queue",
        /// A voice menu.
        Ivr = "ivr",
        /// Voicemail or an answering machine.
        Voicemail = "voicemail",
    }

    /// Written channels.
    pub enum Channel, named "in events, norms and figures" {
        /// E-mail.
        Email = "EMAIL",
        /// A chat on a website or in the CRM.
        Chat = "CHAT",
        /// A text message.
        Sms = "SMS",
        /// A messenger.
        Messenger = "MESSENGER",
    }
}

/// A reviewer's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// A good example.
    Success,
    /// A bad example.
    Failure,
    /// Neither.
    Neutral,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order() -> impl Strategy<Value = EventOrder> {
        let near = |middle: i64| middle - 1..=middle + 1;
        let at = prop_oneof![near(0), near(1_772_409_600_000), Timestamp::VALID.clone()];
        (at, 0..5u8, prop_oneof![near(1), near(i64::from(u32::MAX))], 0..5u8).prop_map(|(at, rank, offset, source)| {
            EventOrder { at: Timestamp(at), rank, offset: Offset(offset), source }
        })
    }

    proptest! {
        #[test]
        fn positions_follow_event_order(orders in prop::collection::vec(order(), 2..20)) {
            for pair in orders.windows(2) {
                prop_assert_eq!(Position::from(pair[0]).cmp(&pair[1].into()), pair[0].cmp(&pair[1]));
                prop_assert_eq!(Position::from(pair[0]).at(), pair[0].at);
                prop_assert!(Position::from(pair[0]) < EventOrder::deadline(pair[0].at).into());
                prop_assert!(Position::from(pair[0]) > Position::MIN && Position::from(pair[0]) < Position::MAX);
                prop_assert!(Position::from(pair[0]).next() > pair[0].into());
            }
        }
    }
}
