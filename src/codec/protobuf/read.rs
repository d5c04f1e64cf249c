//! Converts the generated protobuf messages to events.

use crate::codec::check::{self, required};
use crate::codec::names::{Name, Named};
use crate::codec::proto;
use crate::codec::reject::{Flaw, Read};
use crate::domain::event::{
    Amount, Call, CallEnd, Contact, Created, CrmPayload, Direction, Message, Payload, Snapshot, StageChanged,
    TermsOffered,
};
use crate::domain::id::{
    CallId, DepartmentId, EntityId, EntityKind, ManagerId, MessageId, PipelineId, SourceId, StageId, ThreadId,
};
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use proto::{crm_event, message_event, telephony_event, well_known};

/// A payload of `CrmEvent`.
pub(super) fn crm(payload: crm_event::Payload) -> Read<Payload> {
    use crm_event::Payload as Case;
    let (case, read) = match payload {
        Case::LeadCreated(message) => ("lead_created", lead_created(message)),
        Case::DealCreated(message) => ("deal_created", deal_created(message)),
        Case::StageChanged(message) => ("stage_changed", stage_changed(message)),
        Case::Assigned(message) => ("assigned", assigned(message)),
        Case::Closed(message) => ("closed", closed(message)),
        Case::Reopened(message) => ("reopened", reopened(message)),
        Case::Deleted(message) => ("deleted", deleted(message)),
        Case::ContactLinked(message) => ("contact_linked", contact_linked(message)),
        Case::TermsOffered(message) => ("terms_offered", terms_offered(message)),
        Case::ActivityCompleted(message) => ("activity_completed", activity_completed(message)),
        Case::InteractionReviewed(message) => ("interaction_reviewed", interaction_reviewed(message)),
        Case::ManagerUpserted(message) => ("manager_upserted", manager_upserted(message)),
        Case::LeadSnapshot(message) => ("lead_snapshot", snapshot(message, EntityKind::Lead)),
        Case::DealSnapshot(message) => ("deal_snapshot", snapshot(message, EntityKind::Deal)),
    };
    read.map(|payload| Payload::Crm(Box::new(payload))).map_err(|flaw| flaw.within(case))
}

fn lead_created(message: proto::LeadCreated) -> Read<CrmPayload> {
    Ok(CrmPayload::LeadCreated(Created {
        id: id(message.lead_id, "lead_id")?,
        lead: None,
        manager: text(message.manager_id).map(ManagerId),
        pipeline: text(message.pipeline_id).map(PipelineId),
        stage: text(message.stage_id).map(StageId),
        source: text(message.source_id).map(SourceId),
        amount: Amount::default(),
        contacts: contacts(message.contacts)?,
    }))
}

fn deal_created(message: proto::DealCreated) -> Read<CrmPayload> {
    Ok(CrmPayload::DealCreated(Created {
        id: id(message.deal_id, "deal_id")?,
        lead: text(message.lead_id),
        manager: text(message.manager_id).map(ManagerId),
        pipeline: text(message.pipeline_id).map(PipelineId),
        stage: text(message.stage_id).map(StageId),
        source: None,
        amount: Amount { minor: message.amount_minor, currency: text(message.currency) },
        contacts: contacts(message.contacts)?,
    }))
}

fn stage_changed(message: proto::StageChanged) -> Read<CrmPayload> {
    Ok(CrmPayload::StageChanged(StageChanged {
        entity: entity(message.entity)?,
        pipeline: text(message.pipeline_id).map(PipelineId),
        from: text(message.from_stage_id).map(StageId),
        to: StageId(id(message.to_stage_id, "to_stage_id")?),
        filled_fields: texts(message.filled_fields),
    }))
}

fn assigned(message: proto::Assigned) -> Read<CrmPayload> {
    Ok(CrmPayload::Assigned {
        entity: entity(message.entity)?,
        manager: ManagerId(id(message.manager_id, "manager_id")?),
    })
}

fn closed(message: proto::Closed) -> Read<CrmPayload> {
    Ok(CrmPayload::Closed {
        entity: entity(message.entity)?,
        outcome: required_enum(message.outcome, "outcome")?,
        reason: text(message.reason),
    })
}

fn reopened(message: proto::Reopened) -> Read<CrmPayload> {
    Ok(CrmPayload::Reopened { entity: entity(message.entity)?, stage: text(message.stage_id).map(StageId) })
}

fn deleted(message: proto::Deleted) -> Read<CrmPayload> {
    Ok(CrmPayload::Deleted { entity: entity(message.entity)? })
}

fn contact_linked(message: proto::ContactLinked) -> Read<CrmPayload> {
    Ok(CrmPayload::ContactLinked {
        entity: entity(message.entity)?,
        contact: contact(message.contact).map_err(|flaw| flaw.within("contact"))?,
    })
}

fn terms_offered(message: proto::TermsOffered) -> Read<CrmPayload> {
    Ok(CrmPayload::TermsOffered(TermsOffered {
        deal: id(message.deal_id, "deal_id")?,
        manager: text(message.manager_id).map(ManagerId),
        discount_percent: check::percent(message.discount_percent, "discount_percent")?,
        installment_months: check::months(message.installment_months.map(i64::from))?,
        prepayment_percent: check::percent(message.prepayment_percent, "prepayment_percent")?,
        approved_by: text(message.approved_by).map(ManagerId),
        amount: Amount { minor: message.amount_minor, currency: text(message.currency) },
    }))
}

fn activity_completed(message: proto::ActivityCompleted) -> Read<CrmPayload> {
    Ok(CrmPayload::ActivityCompleted {
        entity: entity(message.entity)?,
        manager: text(message.manager_id).map(ManagerId),
        kind: required_enum(message.kind, "kind")?,
    })
}

fn interaction_reviewed(message: proto::InteractionReviewed) -> Read<CrmPayload> {
    id(message.reviewer_id, "reviewer_id")?;
    Ok(CrmPayload::InteractionReviewed {
        interaction: id(message.interaction_id, "interaction_id")?,
        manager: ManagerId(id(message.manager_id, "manager_id")?),
        score: check::percent(Some(message.score), "score")?.unwrap_or_default(),
        verdict: required_enum(message.verdict, "verdict")?,
    })
}

fn manager_upserted(message: proto::ManagerUpserted) -> Read<CrmPayload> {
    Ok(CrmPayload::ManagerUpserted {
        manager: ManagerId(id(message.manager_id, "manager_id")?),
        department: text(message.department_id).map(DepartmentId),
        grade: text(message.grade),
        active: message.active,
    })
}

fn snapshot(message: proto::Snapshot, kind: EntityKind) -> Read<CrmPayload> {
    let (entity, lead) = check::snapshot_of(kind, text(message.lead_id), text(message.deal_id))?;
    Ok(CrmPayload::Snapshot(Box::new(Snapshot {
        entity,
        lead,
        manager: text(message.manager_id).map(ManagerId),
        source: text(message.source_id).map(SourceId),
        pipeline: text(message.pipeline_id).map(PipelineId),
        stage: text(message.stage_id).map(StageId),
        contacts: contacts(message.contacts)?,
        amount: Amount { minor: message.amount_minor, currency: text(message.currency) },
        outcome: named(message.outcome).map_err(|flaw| flaw.within("outcome"))?,
        reason: text(message.reason),
        created_at: time(message.created_at).map_err(|flaw| flaw.within("created_at"))?,
        stage_entered_at: time(message.stage_entered_at).map_err(|flaw| flaw.within("stage_entered_at"))?,
        filled_fields: texts(message.filled_fields),
    })))
}

/// A payload of `TelephonyEvent`.
pub(super) fn call(payload: telephony_event::Payload) -> Read<Payload> {
    let (case, read) = match payload {
        telephony_event::Payload::CallStarted(message) => ("call_started", call_started(message)),
        telephony_event::Payload::CallEnded(message) => ("call_ended", call_ended(message)),
    };
    read.map(|call| Payload::Call(Box::new(call))).map_err(|flaw| flaw.within(case))
}

fn call_started(message: proto::CallStarted) -> Read<Call> {
    Ok(Call {
        id: CallId(id(message.call_id, "call_id")?),
        direction: required_enum(message.direction, "direction")?,
        phone: message.phone.into(),
        manager: text(message.manager_id).map(ManagerId),
        entity: optional_entity(message.entity)?,
        end: None,
    })
}

fn call_ended(message: proto::CallEnded) -> Read<Call> {
    time(message.answered_at).map_err(|flaw| flaw.within("answered_at"))?;
    Ok(Call {
        id: CallId(id(message.call_id, "call_id")?),
        direction: required_enum(message.direction, "direction")?,
        phone: message.phone.into(),
        manager: text(message.manager_id).map(ManagerId),
        entity: optional_entity(message.entity)?,
        end: Some(CallEnd {
            started_at: time(message.started_at).map_err(|flaw| flaw.within("started_at"))?,
            talk: check::talk(Some(message.talk_seconds))?,
            outcome: required_enum(message.outcome, "outcome")?,
            recording_url: text(message.recording_url),
        }),
    })
}

/// A payload of `MessageEvent`.
pub(super) fn message(payload: message_event::Payload) -> Read<Payload> {
    let (case, read) = match payload {
        message_event::Payload::MessageReceived(message) => ("message_received", directed(message, Direction::Inbound)),
        message_event::Payload::MessageSent(message) => ("message_sent", directed(message, Direction::Outbound)),
    };
    read.map(|message| Payload::Message(Box::new(message))).map_err(|flaw| flaw.within(case))
}

fn directed(message: proto::WrittenMessage, direction: Direction) -> Read<Message> {
    Ok(Message {
        id: MessageId(id(message.message_id, "message_id")?),
        direction,
        thread: text(message.thread_id).map(ThreadId),
        in_reply_to: text(message.in_reply_to).map(MessageId),
        channel: required_enum(message.channel, "channel")?,
        contact: contact(message.contact).map_err(|flaw| flaw.within("contact"))?,
        manager: text(message.manager_id).map(ManagerId),
        entity: optional_entity(message.entity)?,
        automatic: message.automatic,
    })
}

/// A string, if it is not empty.
pub(super) fn text(text: String) -> Option<CompactString> {
    (!text.is_empty()).then(|| text.into())
}

fn texts(texts: Vec<String>) -> Vec<CompactString> {
    texts.into_iter().filter_map(text).collect()
}

fn id(value: String, field: &str) -> Read<CompactString> {
    required(text(value), field)
}

/// A timestamp, truncated to milliseconds.
pub(super) fn time(time: Option<well_known::Timestamp>) -> Read<Option<Timestamp>> {
    let Some(time) = time else { return Ok(None) };
    let out_of_range = || Flaw::bad_value("timestamp out of range: expected years 1 to 9998");
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000).ok_or_else(out_of_range)?;
    let millis = time.seconds.checked_mul(1000).and_then(|millis| millis.checked_add(i64::from(nanos / 1_000_000)));
    millis.and_then(Timestamp::checked).map(Some).ok_or_else(out_of_range)
}

fn named<T: Name>(number: i32) -> Read<Option<T>> {
    match T::from_number(number) {
        Named::Absent => Ok(None),
        Named::Known(value) => Ok(Some(value)),
        Named::Unknown => Err(Flaw::bad_value("unknown enum value")),
    }
}

/// The value of a required enum.
fn required_enum<T: Name>(number: i32, field: &str) -> Read<T> {
    required(named(number).map_err(|flaw| flaw.within(field))?, field)
}

fn optional_entity(entity: Option<proto::Entity>) -> Read<Option<EntityId>> {
    let Some(entity) = entity else { return Ok(None) };
    named(entity.kind)
        .map_err(|flaw| flaw.within("kind"))
        .and_then(|kind| check::entity(kind, text(entity.id)))
        .map_err(|flaw| flaw.within("entity"))
}

fn entity(entity: Option<proto::Entity>) -> Read<EntityId> {
    required(optional_entity(entity)?, "entity")
}

fn contact(contact: Option<proto::Contact>) -> Read<Option<Contact>> {
    use proto::contact::Address;
    let Some(contact) = contact else { return Ok(None) };
    let channel = named(contact.channel).map_err(|flaw| flaw.within("channel"))?;
    match contact.address {
        None => Ok(None),
        Some(Address::Phone(phone)) => check::contact(text(phone), None, None, channel),
        Some(Address::Email(email)) => check::contact(None, text(email), None, channel),
        Some(Address::Handle(handle)) => check::contact(None, None, text(handle), channel),
    }
}

fn contacts(contacts: Vec<proto::Contact>) -> Read<Vec<Contact>> {
    contacts
        .into_iter()
        .filter_map(|message| contact(Some(message)).transpose())
        .collect::<Read<_>>()
        .map_err(|flaw| flaw.within("contacts"))
}
