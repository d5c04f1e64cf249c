//! Generates arbitrary events for tests: every payload, every field present or absent, any text, the full value ranges.

use crate::codec::check;
use crate::domain::event::{
    ActivityKind, ActivityPlanned, Amount, AnsweredBy, Call, CallEnd, CallOutcome, Channel, Contact, Created,
    CrmPayload, Direction, Event, Message, Outcome, Payload, Snapshot, StageChanged, TermsOffered, Verdict,
};
use crate::domain::id::{
    ActivityId, CallId, DepartmentId, EntityId, EntityKind, EventId, LegId, ManagerId, MessageId, PipelineId,
    SessionId, SourceId, StageId, TenantId, ThreadId,
};
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

/// An event that every encoding can represent.
pub(super) fn event() -> impl Strategy<Value = Event> {
    (text(), time(), of(text()), payload(), 0..=Span::DAY.0).prop_map(|(tenant, at, id, mut payload, duration)| {
        // Decoding would drop other starts of calls.
        if let Payload::Call(call) = &mut payload
            && let Some(end) = &mut call.end
        {
            end.started_at = end.started_at.and_then(|_| Timestamp::checked(at.0 - duration));
        }
        Event { tenant: TenantId(tenant), at, id: id.map(EventId), payload }
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        4 => crm().prop_map(|payload| Payload::Crm(Box::new(payload))),
        1 => call().prop_map(|call| Payload::Call(Box::new(call))),
        1 => message().prop_map(|message| Payload::Message(Box::new(message))),
    ]
}

fn crm() -> impl Strategy<Value = CrmPayload> {
    prop_oneof![
        lead_created().prop_map(CrmPayload::LeadCreated),
        deal_created().prop_map(CrmPayload::DealCreated),
        stage_changed().prop_map(CrmPayload::StageChanged),
        (entity(), text()).prop_map(|(entity, manager)| CrmPayload::Assigned { entity, manager: ManagerId(manager) }),
        (entity(), outcome(), of(any_text())).prop_map(|(entity, outcome, reason)| CrmPayload::Closed {
            entity,
            outcome,
            reason
        }),
        (entity(), of(text())).prop_map(|(entity, stage)| CrmPayload::Reopened { entity, stage: stage.map(StageId) }),
        entity().prop_map(|entity| CrmPayload::Deleted { entity }),
        (entity(), of(contact())).prop_map(|(entity, contact)| CrmPayload::ContactLinked { entity, contact }),
        terms_offered().prop_map(CrmPayload::TermsOffered),
        activity_planned().prop_map(CrmPayload::ActivityPlanned),
        (entity(), of(text()), of(text()), activity()).prop_map(|(entity, activity, manager, kind)| {
            let (activity, manager) = (activity.map(ActivityId), manager.map(ManagerId));
            CrmPayload::ActivityCompleted { entity, activity, manager, kind }
        }),
        (entity(), text())
            .prop_map(|(entity, activity)| CrmPayload::ActivityCancelled { entity, activity: ActivityId(activity) }),
        (text(), text(), percent(), verdict()).prop_map(|(interaction, manager, score, verdict)| {
            CrmPayload::InteractionReviewed { interaction, manager: ManagerId(manager), score, verdict }
        }),
        (text(), entity()).prop_map(|(id, into)| CrmPayload::Merged { entity: EntityId { kind: into.kind, id }, into }),
        (text(), text()).prop_map(|(alert, manager)| CrmPayload::AlertTaken { alert, manager: ManagerId(manager) }),
        (text(), of(text())).prop_map(|(interaction, manager)| CrmPayload::InteractionDismissed {
            interaction,
            manager: manager.map(ManagerId),
        }),
        (text(), erasable(), erasable(), any::<bool>(), of(any_text())).prop_map(
            |(manager, department, grade, active, name)| CrmPayload::ManagerUpserted {
                manager: ManagerId(manager),
                department: department.map(DepartmentId),
                grade,
                active,
                name,
            }
        ),
        (text(), of(any_text()), erasable(), erasable()).prop_map(|(department, name, parent, head)| {
            CrmPayload::DepartmentUpserted {
                department: DepartmentId(department),
                name,
                parent: parent.map(DepartmentId),
                head: head.map(ManagerId),
            }
        }),
        snapshot().prop_map(|snapshot| CrmPayload::Snapshot(Box::new(snapshot))),
    ]
}

fn lead_created() -> impl Strategy<Value = Created> {
    (text(), of(text()), of(text()), of(text()), of(text()), contacts()).prop_map(
        |(id, manager, pipeline, stage, source, contacts)| Created {
            id,
            lead: None,
            manager: manager.map(ManagerId),
            pipeline: pipeline.map(PipelineId),
            stage: stage.map(StageId),
            source: source.map(SourceId),
            amount: Amount::default(),
            contacts,
        },
    )
}

fn deal_created() -> impl Strategy<Value = Created> {
    (lead_created(), of(text()), amount()).prop_map(|(created, lead, amount)| Created {
        lead,
        source: None,
        amount,
        ..created
    })
}

fn stage_changed() -> impl Strategy<Value = StageChanged> {
    (entity(), of(text()), of(text()), text(), texts()).prop_map(|(entity, pipeline, from, to, filled_fields)| {
        StageChanged {
            entity,
            pipeline: pipeline.map(PipelineId),
            from: from.map(StageId),
            to: StageId(to),
            filled_fields,
        }
    })
}

fn activity_planned() -> impl Strategy<Value = ActivityPlanned> {
    (entity(), text(), of(text()), activity(), of(time())).prop_map(|(entity, activity, manager, kind, deadline)| {
        let (activity, manager) = (ActivityId(activity), manager.map(ManagerId));
        ActivityPlanned { entity, activity, manager, kind, deadline }
    })
}

fn terms_offered() -> impl Strategy<Value = TermsOffered> {
    let months = of(0..=i64::from(i32::MAX));
    (text(), of(text()), of(percent()), months, of(percent()), of(text()), amount()).prop_map(
        |(deal, manager, discount_percent, installment_months, prepayment_percent, approved_by, amount)| TermsOffered {
            deal,
            manager: manager.map(ManagerId),
            discount_percent,
            installment_months,
            prepayment_percent,
            approved_by: approved_by.map(ManagerId),
            amount,
        },
    )
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let rest = (of(outcome()), of(any_text()), of(time()), of(time()), texts());
    (entity(), lead_created(), of(text()), amount(), rest).prop_map(
        |(entity, created, lead, amount, (outcome, reason, created_at, stage_entered_at, filled_fields))| Snapshot {
            lead: lead.filter(|_| entity.kind == EntityKind::Deal),
            entity,
            manager: created.manager,
            source: created.source,
            pipeline: created.pipeline,
            stage: created.stage,
            contacts: created.contacts,
            amount,
            outcome,
            reason,
            created_at,
            stage_entered_at,
            filled_fields,
        },
    )
}

fn call() -> impl Strategy<Value = Call> {
    (text(), of(text()), direction(), of(any_text()), of(text()), of(entity()), of(call_end())).prop_map(
        |(id, session, direction, phone, manager, entity, end)| Call {
            id: CallId(id),
            session: session.map(SessionId),
            direction,
            phone: phone.unwrap_or_default(),
            manager: manager.map(ManagerId),
            entity,
            end,
        },
    )
}

fn call_end() -> impl Strategy<Value = CallEnd> {
    let talk = prop_oneof![0..=7_200_000_i64, 0..=1_000_000_000_000_000_i64];
    let outcome = select(CallOutcome::ALL.to_vec());
    let answered_by = of(select(AnsweredBy::ALL.to_vec()));
    (of(text()), of(time()), of(time()), talk, outcome, answered_by, of(any_text())).prop_map(
        |(leg, started_at, answered_at, talk, outcome, answered_by, recording_url)| CallEnd {
            leg: leg.map(LegId),
            started_at,
            answered_at,
            talk: Span(talk),
            outcome,
            answered_by,
            recording_url,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let tail = (of(contact()), of(text()), of(entity()), any::<bool>());
    (text(), direction(), of(text()), of(text()), channel(), tail).prop_map(
        |(id, direction, thread, in_reply_to, channel, (contact, manager, entity, automatic))| Message {
            id: MessageId(id),
            direction,
            thread: thread.map(ThreadId),
            in_reply_to: in_reply_to.map(MessageId),
            channel,
            contact,
            manager: manager.map(ManagerId),
            entity,
            automatic,
        },
    )
}

/// Simple ids, numbers and arbitrary characters, without blanks around them; never empty.
fn text() -> impl Strategy<Value = CompactString> {
    prop_oneof![
        (1..100_000_u32).prop_map(|number| CompactString::from(format!("id-{number}"))),
        any::<u64>().prop_map(|number| CompactString::from(number.to_string())),
        any_text()
            .prop_map(|text| check::trimmed(&text).into())
            .prop_filter("a text", |text: &CompactString| !text.is_empty()),
    ]
}

/// A text, an empty one that takes a value away, or none.
fn erasable() -> impl Strategy<Value = Option<CompactString>> {
    of(prop_oneof![4 => text(), 1 => Just(CompactString::default())])
}

/// Arbitrary characters, at least one.
fn any_text() -> impl Strategy<Value = CompactString> {
    prop::collection::vec(any::<char>(), 1..40).prop_map(|chars| chars.into_iter().collect())
}

fn texts() -> impl Strategy<Value = Vec<CompactString>> {
    prop::collection::vec(any_text(), 0..3)
}

/// Any timestamp that RFC 3339 can represent.
fn time() -> impl Strategy<Value = Timestamp> {
    let whole = *Timestamp::VALID.start()..=*Timestamp::VALID.end() - 2 * Span::DAY.0;
    prop_oneof![1_700_000_000_000..1_800_000_000_000_i64, whole].prop_map(Timestamp)
}

/// Multiples of 1/8, which every JSON library reads exactly.
fn percent() -> impl Strategy<Value = f64> {
    (0..=800_u16).prop_map(|eighths| f64::from(eighths) / 8.0)
}

fn entity() -> impl Strategy<Value = EntityId> {
    (select(EntityKind::ALL.to_vec()), text()).prop_map(|(kind, id)| EntityId { kind, id })
}

fn contact() -> impl Strategy<Value = Contact> {
    prop_oneof![
        any_text().prop_map(Contact::Phone),
        any_text().prop_map(Contact::Email),
        (any_text(), channel()).prop_map(|(handle, channel)| Contact::Handle { handle, channel }),
    ]
}

fn contacts() -> impl Strategy<Value = Vec<Contact>> {
    prop::collection::vec(contact(), 0..3)
}

fn amount() -> impl Strategy<Value = Amount> {
    let code = any_text().prop_map(|text| check::currency(&text));
    let currency = prop_oneof![of(select(vec!["RUB".into(), "KZT".into()])), code];
    (of(any::<i64>()), currency).prop_map(|(minor, currency)| Amount { minor, currency })
}

fn channel() -> impl Strategy<Value = Channel> {
    select(Channel::ALL.to_vec())
}

fn direction() -> impl Strategy<Value = Direction> {
    select(Direction::ALL.to_vec())
}

fn outcome() -> impl Strategy<Value = Outcome> {
    select(Outcome::ALL.to_vec())
}

fn activity() -> impl Strategy<Value = ActivityKind> {
    select(ActivityKind::ALL.to_vec())
}

fn verdict() -> impl Strategy<Value = Verdict> {
    select(vec![Verdict::Success, Verdict::Failure, Verdict::Neutral])
}
