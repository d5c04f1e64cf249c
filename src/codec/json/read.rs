//! Reads events from the scanner: the keys of each payload and the types of their values.
//!
//! Values that the domain does not keep are validated as well. So a message stays valid or invalid when a later version
//! starts to keep them.

use super::scan::Scanner;
use super::value::{self, fields};
use crate::codec::check::{self, Envelope, required};
use crate::codec::reject::{Flaw, Read};
use crate::domain::event::reject::Reason;
use crate::domain::event::{
    Amount, Call, CallEnd, Created, CrmPayload, Direction, Event, Message, Payload, Snapshot, StageChanged,
    TermsOffered,
};
use crate::domain::id::{
    CallId, DepartmentId, EntityKind, ManagerId, MessageId, PipelineId, SourceId, StageId, ThreadId,
};

/// Reads an event of any topic.
pub(super) fn event(scanner: &mut Scanner<'_>) -> Read<Event> {
    let mut envelope = Envelope::default();
    let mut payload = None;
    scanner.object(|scanner, key| {
        match key {
            "event_id" => envelope.id = value::text(scanner)?,
            "tenant_id" => envelope.tenant = value::text(scanner)?,
            "occurred_at" => envelope.at = value::time(scanner)?,
            "source" => value::string(scanner)?,
            case => {
                let Some(read) = reader(case) else { return Ok(false) };
                if !scanner.absent()? && payload.replace(read(scanner)?).is_some() {
                    return Err(Flaw::new(Reason::SeveralPayloads, "more than one payload"));
                }
            }
        }
        Ok(true)
    })?;
    envelope.with_payload(payload)
}

type Reader = fn(&mut Scanner<'_>) -> Read<Payload>;

/// The reader for a payload key.
fn reader(case: &str) -> Option<Reader> {
    Some(match case {
        "lead_created" => lead_created,
        "deal_created" => deal_created,
        "stage_changed" => stage_changed,
        "assigned" => assigned,
        "closed" => closed,
        "reopened" => reopened,
        "deleted" => deleted,
        "contact_linked" => contact_linked,
        "terms_offered" => terms_offered,
        "activity_completed" => activity_completed,
        "interaction_reviewed" => interaction_reviewed,
        "manager_upserted" => manager_upserted,
        "lead_snapshot" => |scanner| snapshot(scanner, EntityKind::Lead),
        "deal_snapshot" => |scanner| snapshot(scanner, EntityKind::Deal),
        "call_started" => call_started,
        "call_ended" => call_ended,
        "message_received" => |scanner| message(scanner, Direction::Inbound),
        "message_sent" => |scanner| message(scanner, Direction::Outbound),
        _ => return None,
    })
}

fn crm(payload: CrmPayload) -> Payload {
    Payload::Crm(Box::new(payload))
}

fn lead_created(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep {
        lead_id: text, manager_id: text, pipeline_id: text, stage_id: text, source_id: text, contacts: contacts,
    } check {});
    Ok(crm(CrmPayload::LeadCreated(Created {
        id: required(lead_id, "lead_id")?,
        lead: None,
        manager: manager_id.map(ManagerId),
        pipeline: pipeline_id.map(PipelineId),
        stage: stage_id.map(StageId),
        source: source_id.map(SourceId),
        amount: Amount::default(),
        contacts: contacts.unwrap_or_default(),
    })))
}

fn deal_created(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep {
        deal_id: text, lead_id: text, manager_id: text, pipeline_id: text, stage_id: text, amount_minor: integer,
        currency: text, contacts: contacts,
    } check {});
    Ok(crm(CrmPayload::DealCreated(Created {
        id: required(deal_id, "deal_id")?,
        lead: lead_id,
        manager: manager_id.map(ManagerId),
        pipeline: pipeline_id.map(PipelineId),
        stage: stage_id.map(StageId),
        source: None,
        amount: Amount { minor: amount_minor, currency },
        contacts: contacts.unwrap_or_default(),
    })))
}

fn stage_changed(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep {
        entity: entity, pipeline_id: text, from_stage_id: text, to_stage_id: text, filled_fields: texts,
    } check { changed_by: string });
    Ok(crm(CrmPayload::StageChanged(StageChanged {
        entity: required(entity, "entity")?,
        pipeline: pipeline_id.map(PipelineId),
        from: from_stage_id.map(StageId),
        to: StageId(required(to_stage_id, "to_stage_id")?),
        filled_fields: filled_fields.unwrap_or_default(),
    })))
}

fn assigned(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep { entity: entity, manager_id: text } check { previous_manager_id: string });
    Ok(crm(CrmPayload::Assigned {
        entity: required(entity, "entity")?,
        manager: ManagerId(required(manager_id, "manager_id")?),
    }))
}

fn closed(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep { entity: entity, outcome: name, reason: text } check {
        deal_id: string, closed_by: string,
    });
    Ok(crm(CrmPayload::Closed { entity: required(entity, "entity")?, outcome: required(outcome, "outcome")?, reason }))
}

fn reopened(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep { entity: entity, stage_id: text } check {});
    Ok(crm(CrmPayload::Reopened { entity: required(entity, "entity")?, stage: stage_id.map(StageId) }))
}

fn deleted(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep { entity: entity } check {});
    Ok(crm(CrmPayload::Deleted { entity: required(entity, "entity")? }))
}

fn contact_linked(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep { entity: entity, contact: contact } check {});
    Ok(crm(CrmPayload::ContactLinked { entity: required(entity, "entity")?, contact }))
}

fn terms_offered(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep {
        deal_id: text, manager_id: text, discount_percent: number, installment_months: integer,
        prepayment_percent: number, approved_by: text, amount_minor: integer, currency: text,
    } check {});
    Ok(crm(CrmPayload::TermsOffered(TermsOffered {
        deal: required(deal_id, "deal_id")?,
        manager: manager_id.map(ManagerId),
        discount_percent: check::percent(discount_percent, "discount_percent")?,
        installment_months: check::months(installment_months)?,
        prepayment_percent: check::percent(prepayment_percent, "prepayment_percent")?,
        approved_by: approved_by.map(ManagerId),
        amount: Amount { minor: amount_minor, currency },
    })))
}

fn activity_completed(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep { entity: entity, manager_id: text, kind: name } check {});
    Ok(crm(CrmPayload::ActivityCompleted {
        entity: required(entity, "entity")?,
        manager: manager_id.map(ManagerId),
        kind: required(kind, "kind")?,
    }))
}

fn interaction_reviewed(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep {
        interaction_id: text, manager_id: text, reviewer_id: text, score: number, verdict: name,
    } check { checklist: checklist, comment: string });
    required(reviewer_id, "reviewer_id")?;
    Ok(crm(CrmPayload::InteractionReviewed {
        interaction: required(interaction_id, "interaction_id")?,
        manager: ManagerId(required(manager_id, "manager_id")?),
        score: check::percent(score, "score")?.unwrap_or_default(),
        verdict: required(verdict, "verdict")?,
    }))
}

fn manager_upserted(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep { manager_id: text, department_id: text, grade: text, active: flag } check {
        name: string,
    });
    Ok(crm(CrmPayload::ManagerUpserted {
        manager: ManagerId(required(manager_id, "manager_id")?),
        department: department_id.map(DepartmentId),
        grade,
        active: active.unwrap_or_default(),
    }))
}

fn snapshot(scanner: &mut Scanner<'_>, kind: EntityKind) -> Read<Payload> {
    fields!(scanner, keep {
        lead_id: text, deal_id: text, manager_id: text, source_id: text, pipeline_id: text, stage_id: text,
        contacts: contacts, amount_minor: integer, currency: text, outcome: name, reason: text, created_at: time,
        stage_entered_at: time, filled_fields: texts,
    } check {});
    let (entity, lead) = check::snapshot_of(kind, lead_id, deal_id)?;
    Ok(crm(CrmPayload::Snapshot(Box::new(Snapshot {
        entity,
        lead,
        manager: manager_id.map(ManagerId),
        source: source_id.map(SourceId),
        pipeline: pipeline_id.map(PipelineId),
        stage: stage_id.map(StageId),
        contacts: contacts.unwrap_or_default(),
        amount: Amount { minor: amount_minor, currency },
        outcome,
        reason,
        created_at,
        stage_entered_at,
        filled_fields: filled_fields.unwrap_or_default(),
    }))))
}

fn call_started(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep { call_id: text, direction: name, phone: text, manager_id: text, entity: entity } check {
        line: string,
    });
    Ok(Payload::Call(Box::new(Call {
        id: CallId(required(call_id, "call_id")?),
        direction: required(direction, "direction")?,
        phone: phone.unwrap_or_default(),
        manager: manager_id.map(ManagerId),
        entity,
        end: None,
    })))
}

fn call_ended(scanner: &mut Scanner<'_>) -> Read<Payload> {
    fields!(scanner, keep {
        call_id: text, direction: name, phone: text, manager_id: text, entity: entity, started_at: time,
        talk_seconds: number, outcome: name, recording_url: text,
    } check { line: string, answered_at: time });
    Ok(Payload::Call(Box::new(Call {
        id: CallId(required(call_id, "call_id")?),
        direction: required(direction, "direction")?,
        phone: phone.unwrap_or_default(),
        manager: manager_id.map(ManagerId),
        entity,
        end: Some(CallEnd {
            started_at,
            talk: check::talk(talk_seconds)?,
            outcome: required(outcome, "outcome")?,
            recording_url,
        }),
    })))
}

fn message(scanner: &mut Scanner<'_>, direction: Direction) -> Read<Payload> {
    fields!(scanner, keep {
        message_id: text, thread_id: text, in_reply_to: text, channel: name, contact: contact, manager_id: text,
        entity: entity, automatic: flag,
    } check {});
    Ok(Payload::Message(Box::new(Message {
        id: MessageId(required(message_id, "message_id")?),
        direction,
        thread: thread_id.map(ThreadId),
        in_reply_to: in_reply_to.map(MessageId),
        channel: required(channel, "channel")?,
        contact,
        manager: manager_id.map(ManagerId),
        entity,
        automatic: automatic.unwrap_or_default(),
    })))
}
