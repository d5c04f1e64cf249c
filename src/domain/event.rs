//! Owns the vocabulary of events: what the CRM, the telephone system and the mailboxes tell, decoded.
//!
//! One type per payload of the three topics; fields that no rule or figure uses (comments, names, lines) are checked
//! by the codec and not kept. Absent and empty are the same: `None`.

use super::id::{
    CallId, DepartmentId, EntityId, EntityKind, EventId, ManagerId, MessageId, PipelineId, SourceId, StageId, TenantId,
    ThreadId,
};
use super::time::{Span, Timestamp};
use compact_str::CompactString;

/// The source topics, in the order in which their events take effect at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `crm.events`
    Crm,
    /// `telephony.events`
    Telephony,
    /// `email.events`
    Email,
}

impl Topic {
    /// Every source topic, in order.
    pub const ALL: [Self; 3] = [Self::Crm, Self::Telephony, Self::Email];

    /// The default topic name, also used in subjects (`topic:NAME`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Crm => "crm.events",
            Self::Telephony => "telephony.events",
            Self::Email => "email.events",
        }
    }
}

/// The place of an event in the order of effect: event time, topic, and where it stands in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventOrder {
    /// Event time.
    pub at: Timestamp,
    /// The rank of its topic; deadlines come after all events of their instant.
    pub rank: u8,
    /// Its offset or line.
    pub offset: i64,
    /// Which of the sources of one topic it came from.
    pub source: u8,
}

impl EventOrder {
    /// The place of what falls due at an instant: after its events.
    pub fn deadline(at: Timestamp) -> Self {
        Self { at, rank: u8::MAX, offset: i64::MAX, source: u8::MAX }
    }
}

/// One event of a tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The company it happened in; never empty.
    pub tenant: TenantId,
    /// Event time (`occurred_at`).
    pub at: Timestamp,
    /// Unique inside tenant and topic; without it an event is never a duplicate.
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
    /// Shows every lead and deal that it names.
    pub fn each_entity(&self, mut show: impl FnMut(EntityKind, &CompactString)) {
        match self {
            Self::Crm(payload) => payload.each_entity(show),
            Self::Call(call) => call.entity.iter().for_each(|entity| show(entity.kind, &entity.id)),
            Self::Message(message) => message.entity.iter().for_each(|entity| show(entity.kind, &entity.id)),
        }
    }

    /// Which of the events it is.
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

    /// Shows every phone and address that it names.
    pub fn each_contact(&self, mut show: impl FnMut(&Contact)) {
        match self {
            Self::Crm(payload) => payload.contacts().iter().for_each(show),
            Self::Call(call) => show(&Contact::Phone(call.phone.clone())),
            Self::Message(message) => message.contact.iter().for_each(show),
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
        /// Which event it is; the discriminant is its place in [`EventKind::ALL`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind {
            $(#[doc = concat!("`", $name, "`")] $kind,)*
        }

        impl EventKind {
            /// Every kind, topic by topic.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// What it is called in events: the key that it stands under.
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
    ContactLinked Crm "contact_linked"
    TermsOffered Crm "terms_offered"
    ActivityCompleted Crm "activity_completed"
    InteractionReviewed Crm "interaction_reviewed"
    ManagerUpserted Crm "manager_upserted"
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
    /// A lead came in.
    LeadCreated(Created),
    /// A deal was opened.
    DealCreated(Created),
    /// An entity moved to a stage.
    StageChanged(StageChanged),
    /// An entity got a responsible manager.
    Assigned {
        /// Which entity.
        entity: EntityId,
        /// The new responsible.
        manager: ManagerId,
    },
    /// An entity was closed.
    Closed {
        /// Which entity.
        entity: EntityId,
        /// How it ended.
        outcome: Outcome,
        /// Why, in the CRM's words.
        reason: Option<CompactString>,
    },
    /// A closed entity was opened again.
    Reopened {
        /// Which entity.
        entity: EntityId,
        /// The stage it was placed in.
        stage: Option<StageId>,
    },
    /// An entity was deleted for good.
    Deleted {
        /// Which entity.
        entity: EntityId,
    },
    /// A phone or an address was linked to an entity.
    ContactLinked {
        /// Which entity.
        entity: EntityId,
        /// The phone or address; without one nothing is linked.
        contact: Option<Contact>,
    },
    /// Terms were offered to the customer.
    TermsOffered(TermsOffered),
    /// A planned activity was completed.
    ActivityCompleted {
        /// For which entity.
        entity: EntityId,
        /// By whom.
        manager: Option<ManagerId>,
        /// What it was.
        kind: ActivityKind,
    },
    /// A reviewer judged a call or a message.
    InteractionReviewed {
        /// The call or message.
        interaction: CompactString,
        /// Whose it was.
        manager: ManagerId,
        /// 0 to 100.
        score: f64,
        /// Success, failure or neither.
        verdict: Verdict,
    },
    /// The whole record of a manager; replaces the one before.
    ManagerUpserted {
        /// Which manager.
        manager: ManagerId,
        /// The department; `None` is the `unknown` one.
        department: Option<DepartmentId>,
        /// The grade that terms policies look at.
        grade: Option<CompactString>,
        /// Whether the manager still works.
        active: bool,
    },
    /// The whole current lead or deal, from sources that say only that something changed.
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
            Self::ContactLinked { .. } => EventKind::ContactLinked,
            Self::TermsOffered(_) => EventKind::TermsOffered,
            Self::ActivityCompleted { .. } => EventKind::ActivityCompleted,
            Self::InteractionReviewed { .. } => EventKind::InteractionReviewed,
            Self::ManagerUpserted { .. } => EventKind::ManagerUpserted,
            Self::Snapshot(snapshot) => match snapshot.entity.kind {
                EntityKind::Lead => EventKind::LeadSnapshot,
                EntityKind::Deal => EventKind::DealSnapshot,
            },
        }
    }

    fn each_entity(&self, mut show: impl FnMut(EntityKind, &CompactString)) {
        use EntityKind::{Deal, Lead};
        match self {
            Self::LeadCreated(created) => show(Lead, &created.id),
            Self::DealCreated(created) => {
                show(Deal, &created.id);
                created.lead.iter().for_each(|lead| show(Lead, lead));
            }
            Self::Snapshot(snapshot) => {
                show(snapshot.entity.kind, &snapshot.entity.id);
                snapshot.lead.iter().for_each(|lead| show(Lead, lead));
            }
            Self::StageChanged(change) => show(change.entity.kind, &change.entity.id),
            Self::TermsOffered(terms) => show(Deal, &terms.deal),
            Self::Assigned { entity, .. }
            | Self::Closed { entity, .. }
            | Self::Reopened { entity, .. }
            | Self::Deleted { entity }
            | Self::ContactLinked { entity, .. }
            | Self::ActivityCompleted { entity, .. } => show(entity.kind, &entity.id),
            Self::InteractionReviewed { .. } | Self::ManagerUpserted { .. } => {}
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

/// `lead_created` and `deal_created`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Created {
    /// The lead's or deal's id.
    pub id: CompactString,
    /// The lead that a deal grew from.
    pub lead: Option<CompactString>,
    /// The responsible.
    pub manager: Option<ManagerId>,
    /// The pipeline.
    pub pipeline: Option<PipelineId>,
    /// The stage it was created in.
    pub stage: Option<StageId>,
    /// Where a lead came from.
    pub source: Option<SourceId>,
    /// A deal's amount.
    pub amount: Amount,
    /// Phones and addresses.
    pub contacts: Vec<Contact>,
}

/// Money as events give it: either part may be missing.
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
    /// The stage before.
    pub from: Option<StageId>,
    /// The new stage.
    pub to: StageId,
    /// The CRM fields that are filled by now.
    pub filled_fields: Vec<CompactString>,
}

/// `terms_offered`.
#[derive(Clone, Debug, PartialEq)]
pub struct TermsOffered {
    /// For which deal.
    pub deal: CompactString,
    /// By whom.
    pub manager: Option<ManagerId>,
    /// Discount, 0 to 100.
    pub discount_percent: Option<f64>,
    /// Length of an instalment plan in months.
    pub installment_months: Option<i64>,
    /// Part to be paid before, 0 to 100.
    pub prepayment_percent: Option<f64>,
    /// Who allowed it.
    pub approved_by: Option<ManagerId>,
    /// The amount it is about.
    pub amount: Amount,
}

/// `lead_snapshot` and `deal_snapshot`.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Which entity.
    pub entity: EntityId,
    /// The lead that a deal grew from.
    pub lead: Option<CompactString>,
    /// The responsible.
    pub manager: Option<ManagerId>,
    /// Where it came from.
    pub source: Option<SourceId>,
    /// The pipeline.
    pub pipeline: Option<PipelineId>,
    /// The stage.
    pub stage: Option<StageId>,
    /// Phones and addresses.
    pub contacts: Vec<Contact>,
    /// A deal's amount.
    pub amount: Amount,
    /// How it ended, if it did.
    pub outcome: Option<Outcome>,
    /// Why, in the CRM's words.
    pub reason: Option<CompactString>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it entered its stage.
    pub stage_entered_at: Option<Timestamp>,
    /// The CRM fields that are filled.
    pub filled_fields: Vec<CompactString>,
}

/// Payloads of `TelephonyEvent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which call.
    pub id: CallId,
    /// Who called whom.
    pub direction: Direction,
    /// The customer's number as the telephone system spells it; may be empty.
    pub phone: CompactString,
    /// Who spoke or should have.
    pub manager: Option<ManagerId>,
    /// The entity, where the source knows it.
    pub entity: Option<EntityId>,
    /// `None` for `call_started`.
    pub end: Option<CallEnd>,
}

/// What `call_ended` adds.
#[derive(Clone, Debug, PartialEq)]
pub struct CallEnd {
    /// The call's start; missing: its end.
    pub started_at: Option<Timestamp>,
    /// Time talked.
    pub talk: Span,
    /// How it ended.
    pub outcome: CallOutcome,
    /// Where the recording lies; never in an alert, a log line or a label.
    pub recording_url: Option<CompactString>,
}

/// Payloads of `MessageEvent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Which message.
    pub id: MessageId,
    /// Sent by a manager (outbound) or received from the customer (inbound).
    pub direction: Direction,
    /// The thread it stands in.
    pub thread: Option<ThreadId>,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
    /// By what means.
    pub channel: Channel,
    /// The customer's address.
    pub contact: Option<Contact>,
    /// Who wrote or received it.
    pub manager: Option<ManagerId>,
    /// The entity, where the source knows it.
    pub entity: Option<EntityId>,
    /// Autoreply, robot or newsletter: counted, but neither a touch nor a question.
    pub automatic: bool,
}

/// How a customer can be reached, as the source spells it.
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

/// Who called or wrote to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the customer.
    Inbound,
    /// To the customer.
    Outbound,
}

/// How a lead or a deal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// A deal was won.
    Won,
    /// Lost.
    Lost,
    /// A lead became a deal.
    Converted,
    /// A lead was turned down.
    Disqualified,
}

impl Outcome {
    /// The name in events and norms.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Won => "WON",
            Self::Lost => "LOST",
            Self::Converted => "CONVERTED",
            Self::Disqualified => "DISQUALIFIED",
        }
    }
}

/// Kinds of completed activities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActivityKind {
    /// A meeting: a touch, and contact both ways.
    Meeting,
    /// A demonstration: a touch, and contact both ways.
    Demo,
    /// A proposal was sent.
    Proposal,
    /// An invoice was sent.
    Invoice,
    /// A task was done.
    Task,
    /// The customer's needs were found out.
    NeedsAnalysis,
    /// Anything else.
    Other,
}

impl ActivityKind {
    /// Every kind, in order.
    pub const ALL: [Self; 7] =
        [Self::Meeting, Self::Demo, Self::Proposal, Self::Invoice, Self::Task, Self::NeedsAnalysis, Self::Other];

    /// The name in events and norms.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meeting => "MEETING",
            Self::Demo => "DEMO",
            Self::Proposal => "PROPOSAL",
            Self::Invoice => "INVOICE",
            Self::Task => "TASK",
            Self::NeedsAnalysis => "NEEDS_ANALYSIS",
            Self::Other => "OTHER",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallOutcome {
    /// Somebody, or something, took the call.
    Answered,
    /// Nobody did.
    NoAnswer,
    /// The line was busy.
    Busy,
    /// It was turned down.
    Rejected,
    /// A machine took it.
    Voicemail,
    /// It could not be put through.
    Failed,
}

/// Written channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// E-mail.
    Email,
    /// A chat on a site or in the CRM.
    Chat,
    /// A text message.
    Sms,
    /// A messenger.
    Messenger,
}

impl Channel {
    /// Every channel, in order.
    pub const ALL: [Self; 4] = [Self::Email, Self::Chat, Self::Sms, Self::Messenger];

    /// The name in events, norms and figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "EMAIL",
            Self::Chat => "CHAT",
            Self::Sms => "SMS",
            Self::Messenger => "MESSENGER",
        }
    }
}

/// A reviewer's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// A case to learn from.
    Success,
    /// A case to avoid.
    Failure,
    /// Neither.
    Neutral,
}
