//! Converts events to their protobuf messages.

use crate::codec::names::Name;
use crate::codec::proto;
use crate::domain::event::{
    Amount, Call, CallEnd, Contact, Created, CrmPayload, Direction, Event, Message, Payload, Snapshot,
};
use crate::domain::id::{EntityId, EntityKind, UNKNOWN};
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use proto::{crm_event, message_event, telephony_event, well_known};

/// Writes an event as a bare message of its topic.
pub fn encode_event(event: &Event, out: &mut Vec<u8>) {
    let event_id = event.id.as_ref().map(ToString::to_string).unwrap_or_default();
    let tenant_id = event.tenant.to_string();
    let occurred_at = Some(time(event.at));
    let source = String::new();
    match &event.payload {
        Payload::Crm(payload) => {
            let payload = Some(crm(payload));
            write(&proto::CrmEvent { event_id, tenant_id, occurred_at, source, payload }, out);
        }
        Payload::Call(payload) => {
            let payload = Some(call(payload));
            write(&proto::TelephonyEvent { event_id, tenant_id, occurred_at, source, payload }, out);
        }
        Payload::Message(payload) => {
            let payload = Some(message(payload));
            write(&proto::MessageEvent { event_id, tenant_id, occurred_at, source, payload }, out);
        }
    }
}

/// Writes a payload as a message of its topic, without the envelope.
pub fn pack(payload: &Payload, out: &mut Vec<u8>) {
    match payload {
        Payload::Crm(payload) => {
            write(&proto::CrmEvent { payload: Some(crm(payload)), ..Default::default() }, out);
        }
        Payload::Call(payload) => {
            write(&proto::TelephonyEvent { payload: Some(call(payload)), ..Default::default() }, out);
        }
        Payload::Message(payload) => {
            write(&proto::MessageEvent { payload: Some(message(payload)), ..Default::default() }, out);
        }
    }
}

/// Writes a message.
pub(super) fn write(message: &impl prost::Message, out: &mut Vec<u8>) {
    message.encode(out).expect("a Vec grows as needed");
}

fn crm(payload: &CrmPayload) -> crm_event::Payload {
    use crm_event::Payload as Case;
    match payload {
        CrmPayload::LeadCreated(created) => Case::LeadCreated(lead_created(created)),
        CrmPayload::DealCreated(created) => Case::DealCreated(deal_created(created)),
        CrmPayload::StageChanged(changed) => Case::StageChanged(proto::StageChanged {
            entity: Some(entity(&changed.entity)),
            pipeline_id: text(&changed.pipeline),
            from_stage_id: text(&changed.from),
            to_stage_id: changed.to.to_string(),
            changed_by: String::new(),
            filled_fields: texts(&changed.filled_fields),
        }),
        CrmPayload::Assigned { entity: id, manager } => Case::Assigned(proto::Assigned {
            entity: Some(entity(id)),
            manager_id: manager.to_string(),
            previous_manager_id: String::new(),
        }),
        CrmPayload::Closed { entity: id, outcome, reason } => Case::Closed(proto::Closed {
            entity: Some(entity(id)),
            outcome: outcome.number(),
            reason: text(reason),
            deal_id: String::new(),
            closed_by: String::new(),
        }),
        CrmPayload::Reopened { entity: id, stage } => {
            Case::Reopened(proto::Reopened { entity: Some(entity(id)), stage_id: text(stage) })
        }
        CrmPayload::Deleted { entity: id } => Case::Deleted(proto::Deleted { entity: Some(entity(id)) }),
        CrmPayload::ContactLinked { entity: id, contact: linked } => Case::ContactLinked(proto::ContactLinked {
            entity: Some(entity(id)),
            contact: linked.as_ref().map(contact),
        }),
        CrmPayload::TermsOffered(terms) => Case::TermsOffered(proto::TermsOffered {
            deal_id: terms.deal.to_string(),
            manager_id: text(&terms.manager),
            discount_percent: terms.discount_percent,
            installment_months: terms.installment_months.and_then(|months| months.try_into().ok()),
            prepayment_percent: terms.prepayment_percent,
            approved_by: text(&terms.approved_by),
            amount_minor: terms.amount.minor,
            currency: text(&terms.amount.currency),
        }),
        CrmPayload::ActivityCompleted { entity: id, manager, kind } => {
            Case::ActivityCompleted(proto::ActivityCompleted {
                entity: Some(entity(id)),
                manager_id: text(manager),
                kind: kind.number(),
            })
        }
        CrmPayload::InteractionReviewed { interaction, manager, score, verdict } => {
            Case::InteractionReviewed(proto::InteractionReviewed {
                interaction_id: interaction.to_string(),
                manager_id: manager.to_string(),
                // The domain does not keep the reviewer, but the field is required.
                reviewer_id: UNKNOWN.into(),
                score: *score,
                verdict: verdict.number(),
                checklist: Vec::new(),
                comment: String::new(),
            })
        }
        CrmPayload::ManagerUpserted { manager, department, grade, active } => {
            Case::ManagerUpserted(proto::ManagerUpserted {
                manager_id: manager.to_string(),
                name: String::new(),
                department_id: text(department),
                grade: text(grade),
                active: *active,
            })
        }
        CrmPayload::Snapshot(state) => match state.entity.kind {
            EntityKind::Lead => Case::LeadSnapshot(snapshot(state)),
            EntityKind::Deal => Case::DealSnapshot(snapshot(state)),
        },
    }
}

fn lead_created(created: &Created) -> proto::LeadCreated {
    proto::LeadCreated {
        lead_id: created.id.to_string(),
        manager_id: text(&created.manager),
        pipeline_id: text(&created.pipeline),
        stage_id: text(&created.stage),
        source_id: text(&created.source),
        contacts: contacts(&created.contacts),
    }
}

fn deal_created(created: &Created) -> proto::DealCreated {
    let Amount { minor, currency } = &created.amount;
    proto::DealCreated {
        deal_id: created.id.to_string(),
        lead_id: text(&created.lead),
        manager_id: text(&created.manager),
        pipeline_id: text(&created.pipeline),
        stage_id: text(&created.stage),
        amount_minor: *minor,
        currency: text(currency),
        contacts: contacts(&created.contacts),
    }
}

fn snapshot(snapshot: &Snapshot) -> proto::Snapshot {
    let id = snapshot.entity.id.to_string();
    let (lead_id, deal_id) = match snapshot.entity.kind {
        EntityKind::Lead => (id, String::new()),
        EntityKind::Deal => (text(&snapshot.lead), id),
    };
    proto::Snapshot {
        lead_id,
        deal_id,
        manager_id: text(&snapshot.manager),
        source_id: text(&snapshot.source),
        pipeline_id: text(&snapshot.pipeline),
        stage_id: text(&snapshot.stage),
        contacts: contacts(&snapshot.contacts),
        amount_minor: snapshot.amount.minor,
        currency: text(&snapshot.amount.currency),
        outcome: snapshot.outcome.map(Name::number).unwrap_or_default(),
        reason: text(&snapshot.reason),
        created_at: snapshot.created_at.map(time),
        stage_entered_at: snapshot.stage_entered_at.map(time),
        filled_fields: texts(&snapshot.filled_fields),
    }
}

fn call(call: &Call) -> telephony_event::Payload {
    match &call.end {
        None => telephony_event::Payload::CallStarted(proto::CallStarted {
            call_id: call.id.to_string(),
            direction: call.direction.number(),
            phone: call.phone.to_string(),
            manager_id: text(&call.manager),
            entity: call.entity.as_ref().map(entity),
            line: String::new(),
        }),
        Some(end) => telephony_event::Payload::CallEnded(call_ended(call, end)),
    }
}

fn call_ended(call: &Call, end: &CallEnd) -> proto::CallEnded {
    proto::CallEnded {
        call_id: call.id.to_string(),
        direction: call.direction.number(),
        phone: call.phone.to_string(),
        manager_id: text(&call.manager),
        entity: call.entity.as_ref().map(entity),
        line: String::new(),
        started_at: end.started_at.map(time),
        answered_at: None,
        talk_seconds: end.talk.seconds(),
        outcome: end.outcome.number(),
        recording_url: text(&end.recording_url),
    }
}

fn message(message: &Message) -> message_event::Payload {
    let written = proto::WrittenMessage {
        message_id: message.id.to_string(),
        thread_id: text(&message.thread),
        in_reply_to: text(&message.in_reply_to),
        channel: message.channel.number(),
        contact: message.contact.as_ref().map(contact),
        manager_id: text(&message.manager),
        entity: message.entity.as_ref().map(entity),
        automatic: message.automatic,
    };
    match message.direction {
        Direction::Inbound => message_event::Payload::MessageReceived(written),
        Direction::Outbound => message_event::Payload::MessageSent(written),
    }
}

/// A string; empty if absent.
pub(super) fn text(value: &Option<impl ToString>) -> String {
    value.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn texts(texts: &[CompactString]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// A timestamp.
pub(super) fn time(at: Timestamp) -> well_known::Timestamp {
    let nanos = at.0.rem_euclid(1000) * 1_000_000;
    well_known::Timestamp { seconds: at.0.div_euclid(1000), nanos: i32::try_from(nanos).unwrap_or_default() }
}

fn entity(entity: &EntityId) -> proto::Entity {
    proto::Entity { kind: entity.kind.number(), id: entity.id.to_string() }
}

fn contact(contact: &Contact) -> proto::Contact {
    use proto::contact::Address;
    let (address, channel) = match contact {
        Contact::Phone(phone) => (Address::Phone(phone.to_string()), 0),
        Contact::Email(email) => (Address::Email(email.to_string()), 0),
        Contact::Handle { handle, channel } => (Address::Handle(handle.to_string()), channel.number()),
    };
    proto::Contact { address: Some(address), channel }
}

fn contacts(contacts: &[Contact]) -> Vec<proto::Contact> {
    contacts.iter().map(contact).collect()
}
