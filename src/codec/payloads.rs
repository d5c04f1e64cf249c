//! Owns the table of payloads: the fields of each and the domain value that they make up. Every format derives the
//! reader and the writer of its events from it.

/// Passes the table to the macro `$format`, which generates the code of one format.
///
/// - A topic: its domain payload, its protobuf message with the oneof, the numbers reserved for its payloads, and its
///   variant in the oneof of `Applied`. A payload can contain another type that has rows of its own (`or`).
/// - A row: the field of the oneof, which is also the key in JSON, and its variant.
/// - A field, in the order in which fields are checked and written: its name, the type of its value (a function of the
///   format, which also has a bound in `codec::limits`), a function of `codec::check` that completes it, and the variable that holds it.
/// - `check`: fields that are validated and dropped. `absent`: variables without a field. `fixed`: a required field
///   that is checked first and not kept, with the value that is written instead.
/// - The domain value, which is used as an expression for reading and as a pattern for writing.
macro_rules! payloads {
    ($format:ident) => {
        $format! {
            Crm: Payload::Crm = CrmEvent(crm_event) 10..=39, Crm => {
                CrmPayload or Snapshot {
                    lead_created = LeadCreated(LeadCreated) {
                        lead_id: id required id,
                        manager_id: id optional manager,
                        pipeline_id: id optional pipeline,
                        stage_id: id optional stage,
                        source_id: id optional source,
                        contacts: contacts or_default contacts,
                    } absent {
                        lead, amount
                    } => [CrmPayload::LeadCreated(Created { id, lead, manager, pipeline, stage, source, amount, contacts })]

                    deal_created = DealCreated(DealCreated) {
                        deal_id: id required id,
                        lead_id: id optional lead,
                        manager_id: id optional manager,
                        pipeline_id: id optional pipeline,
                        stage_id: id optional stage,
                        amount_minor: integer optional minor,
                        currency: currency optional currency,
                        contacts: contacts or_default contacts,
                    } absent {
                        source
                    } => [CrmPayload::DealCreated(Created {
                        id, lead, manager, pipeline, stage, source, amount: Amount { minor, currency }, contacts,
                    })]

                    stage_changed = StageChanged(StageChanged) {
                        entity: entity required entity,
                        pipeline_id: id optional pipeline,
                        from_stage_id: id optional from,
                        to_stage_id: id required to,
                        filled_fields: texts or_default filled_fields,
                    } check {
                        changed_by: actor
                    } => [CrmPayload::StageChanged(StageChanged { entity, pipeline, from, to, filled_fields })]

                    assigned = Assigned(Assigned) {
                        entity: entity required entity,
                        manager_id: id required manager,
                    } check {
                        previous_manager_id: any_id
                    } => [CrmPayload::Assigned { entity, manager }]

                    closed = Closed(Closed) {
                        entity: entity required entity,
                        outcome: name required outcome,
                        reason: text optional reason,
                    } check {
                        deal_id: any_id, closed_by: actor
                    } => [CrmPayload::Closed { entity, outcome, reason }]

                    reopened = Reopened(Reopened) {
                        entity: entity required entity,
                        stage_id: id optional stage,
                    } => [CrmPayload::Reopened { entity, stage }]

                    deleted = Deleted(Deleted) {
                        entity: entity required entity,
                    } => [CrmPayload::Deleted { entity }]

                    merged = Merged(Merged) {
                        entity: entity required entity,
                        into: entity required into,
                    } => [CrmPayload::Merged { entity, into }]

                    contact_linked = ContactLinked(ContactLinked) {
                        entity: entity required entity,
                        contact: contact optional contact,
                    } => [CrmPayload::ContactLinked { entity, contact }]

                    terms_offered = TermsOffered(TermsOffered) {
                        deal_id: id required deal,
                        manager_id: id optional manager,
                        discount_percent: number percent discount_percent,
                        installment_months: integer months installment_months,
                        prepayment_percent: number percent prepayment_percent,
                        approved_by: id optional approved_by,
                        amount_minor: integer optional minor,
                        currency: currency optional currency,
                    } => [CrmPayload::TermsOffered(TermsOffered {
                        deal, manager, discount_percent, installment_months, prepayment_percent, approved_by,
                        amount: Amount { minor, currency },
                    })]

                    activity_planned = ActivityPlanned(ActivityPlanned) {
                        entity: entity required entity,
                        activity_id: id required activity,
                        manager_id: id optional manager,
                        kind: name required kind,
                        deadline: time date deadline,
                    } => [CrmPayload::ActivityPlanned(ActivityPlanned { entity, activity, manager, kind, deadline })]

                    activity_completed = ActivityCompleted(ActivityCompleted) {
                        entity: entity required entity,
                        manager_id: id optional manager,
                        kind: name required kind,
                        activity_id: id optional activity,
                    } => [CrmPayload::ActivityCompleted { entity, activity, manager, kind }]

                    activity_cancelled = ActivityCancelled(ActivityCancelled) {
                        entity: entity required entity,
                        activity_id: id required activity,
                    } => [CrmPayload::ActivityCancelled { entity, activity }]

                    interaction_reviewed = InteractionReviewed(InteractionReviewed) {
                        interaction_id: message_id required interaction,
                        manager_id: id required manager,
                        reviewer_id: id required reviewer,
                        score: number score score,
                        verdict: name required verdict,
                    } check {
                        checklist: checklist, comment: note
                    } fixed {
                        reviewer_id: reviewer = UNKNOWN
                    } => [CrmPayload::InteractionReviewed { interaction, manager, score, verdict }]

                    interaction_dismissed = InteractionDismissed(InteractionDismissed) {
                        interaction_id: message_id required interaction,
                        manager_id: id optional manager,
                    } check {
                        reason: string
                    } => [CrmPayload::InteractionDismissed { interaction, manager }]

                    alert_taken = AlertTaken(AlertTaken) {
                        alert_id: id required alert,
                        manager_id: id required manager,
                    } => [CrmPayload::AlertTaken { alert, manager }]

                    manager_upserted = ManagerUpserted(ManagerUpserted) {
                        manager_id: id required manager,
                        department_id: erasable_id optional department,
                        grade: erasable_text optional grade,
                        active: flag or_true active,
                        name: free_text optional name,
                    } => [CrmPayload::ManagerUpserted { manager, department, grade, active, name }]

                    department_upserted = DepartmentUpserted(DepartmentUpserted) {
                        department_id: id required department,
                        name: free_text optional name,
                        parent_id: erasable_id optional parent,
                        head_manager_id: erasable_id optional head,
                    } => [CrmPayload::DepartmentUpserted { department, name, parent, head }]
                }

                Snapshot {
                    lead_snapshot = LeadSnapshot(Snapshot) {
                        lead_id: id required id,
                        manager_id: id optional manager,
                        source_id: id optional source,
                        pipeline_id: id optional pipeline,
                        stage_id: id optional stage,
                        contacts: contacts or_default contacts,
                        amount_minor: integer optional minor,
                        currency: currency optional currency,
                        outcome: name optional outcome,
                        reason: text optional reason,
                        created_at: time date created_at,
                        stage_entered_at: time date stage_entered_at,
                        filled_fields: texts or_default filled_fields,
                    } check {
                        deal_id: any_id
                    } absent {
                        lead
                    } => [Snapshot {
                        entity: EntityId { kind: EntityKind::Lead, id }, lead, manager, source, pipeline, stage, contacts,
                        amount: Amount { minor, currency }, outcome, reason, created_at, stage_entered_at,
                        filled_fields,
                    }]

                    deal_snapshot = DealSnapshot(Snapshot) {
                        deal_id: id required id,
                        lead_id: id optional lead,
                        manager_id: id optional manager,
                        source_id: id optional source,
                        pipeline_id: id optional pipeline,
                        stage_id: id optional stage,
                        contacts: contacts or_default contacts,
                        amount_minor: integer optional minor,
                        currency: currency optional currency,
                        outcome: name optional outcome,
                        reason: text optional reason,
                        created_at: time date created_at,
                        stage_entered_at: time date stage_entered_at,
                        filled_fields: texts or_default filled_fields,
                    } => [Snapshot {
                        entity: EntityId { kind: EntityKind::Deal, id }, lead, manager, source, pipeline, stage, contacts,
                        amount: Amount { minor, currency }, outcome, reason, created_at, stage_entered_at,
                        filled_fields,
                    }]
                }
            }

            Telephony: Payload::Call = TelephonyEvent(telephony_event) 40..=49, Telephony => {
                Call {
                    call_started = CallStarted(CallStarted) {
                        call_id: id required id,
                        session_id: id optional session,
                        direction: name required direction,
                        phone: phone or_default phone,
                        manager_id: id optional manager,
                        entity: entity optional entity,
                    } check {
                        line: note
                    } => [Call { id, session, direction, phone, manager, entity, end: None }]

                    call_ended = CallEnded(CallEnded) {
                        call_id: id required id,
                        session_id: id optional session,
                        leg_id: id optional leg,
                        direction: name required direction,
                        phone: phone or_default phone,
                        manager_id: id optional manager,
                        entity: entity optional entity,
                        started_at: time date started_at,
                        answered_at: time date answered_at,
                        talk_seconds: number talk talk,
                        outcome: name required outcome,
                        answered_by: name optional answered_by,
                        recording_url: link optional recording_url,
                    } check {
                        line: note
                    } => [Call {
                        id, session, direction, phone, manager, entity,
                        end: Some(CallEnd { leg, started_at, answered_at, talk, outcome, answered_by, recording_url }),
                    }]
                }
            }

            Email: Payload::Message = MessageEvent(message_event) 50..=59, Message => {
                Message {
                    message_received = MessageReceived(WrittenMessage) {
                        message_id: message_id required id,
                        thread_id: thread_id optional thread,
                        in_reply_to: message_id optional in_reply_to,
                        channel: name required channel,
                        contact: contact optional contact,
                        manager_id: id optional manager,
                        entity: entity optional entity,
                        automatic: flag or_default automatic,
                    } => [Message {
                        direction: Direction::Inbound, id, thread, in_reply_to, channel, contact, manager, entity,
                        automatic,
                    }]

                    message_sent = MessageSent(WrittenMessage) {
                        message_id: message_id required id,
                        thread_id: thread_id optional thread,
                        in_reply_to: message_id optional in_reply_to,
                        channel: name required channel,
                        contact: contact optional contact,
                        manager_id: id optional manager,
                        entity: entity optional entity,
                        automatic: flag or_default automatic,
                    } => [Message {
                        direction: Direction::Outbound, id, thread, in_reply_to, channel, contact, manager, entity,
                        automatic,
                    }]
                }
            }
        }
    };
}

pub(super) use payloads;

// The names in the table.
pub(super) use super::proto::{crm_event, message_event, telephony_event};
pub(super) use crate::domain::event::{
    ActivityPlanned, Amount, Call, CallEnd, Created, CrmPayload, Direction, Message, Payload, Snapshot, StageChanged,
    TermsOffered,
};
pub(super) use crate::domain::id::{EntityId, EntityKind, UNKNOWN};
