//! Fuzzes a shard with any events, order and watermarks: nothing panics, and the final result is the same as in order.
//!
//! With `TELL=1` in the environment the events are printed.

#![no_main]

use funnelwatch::codec::json;
use funnelwatch::codec::state::PACKING;
use funnelwatch::config::parse_norms;
use funnelwatch::domain::alert::{Alert, Resolution, Status, alert_id};
use funnelwatch::domain::effect::Effect;
use funnelwatch::domain::event::{
    ActivityKind, ActivityPlanned, Amount, AnsweredBy, Call, CallEnd, CallOutcome, Channel, Contact, Created,
    CrmPayload, Direction, Event, Message, Outcome, Payload, Snapshot, StageChanged, TermsOffered, Verdict,
};
use funnelwatch::domain::figures::pane::{Fact, Measure};
use funnelwatch::domain::figures::row::Row;
use funnelwatch::domain::id::{ActivityId, CallId, EntityId, ManagerId, MessageId, TenantId};
use funnelwatch::domain::index::StageIx;
use funnelwatch::domain::norms::Norms;
use funnelwatch::domain::scoreboard::Scoreboard;
use funnelwatch::domain::shard::processor::{Effects, ShardProcessor, ShardProgress, Timing};
use funnelwatch::domain::source::{Offset, Source};
use funnelwatch::domain::tenant::Memory;
use funnelwatch::domain::time::{Span, Timestamp};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Monday 2026-03-02, 08:00 UTC.
const BASE: i64 = 1_772_438_400_000;
/// The maximum number of events.
const MAX_EVENTS: usize = 40;

#[derive(Arbitrary, Debug)]
struct Input {
    norms: u8,
    events: Vec<EventSpec>,
}

#[derive(Arbitrary, Debug)]
struct EventSpec {
    /// Quarters of an hour after the previous event.
    after: u8,
    /// Quarters of an hour until it is delivered.
    late: u8,
    /// Whether the watermark then moves to the time of delivery.
    moves: bool,
    /// Whether it is delivered twice.
    twice: bool,
    other_tenant: bool,
    payload: PayloadSpec,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Lead,
    Deal,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Entity {
    kind: Kind,
    id: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum ContactSpec {
    Phone(u8),
    Email(u8),
    Handle(u8),
    Missing,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Attributes {
    entity: Entity,
    lead: Option<u8>,
    manager: Option<u8>,
    pipeline: Option<u8>,
    stage: Option<u8>,
    source: Option<bool>,
    amount: Option<u8>,
    contact: Option<ContactSpec>,
}

#[derive(Arbitrary, Debug)]
enum PayloadSpec {
    Created(Attributes),
    Snapshot {
        attributes: Attributes,
        outcome: Option<u8>,
        created_before: Option<u8>,
        entered_before: Option<u8>,
        filled: bool,
    },
    Moved {
        entity: Entity,
        pipeline: Option<u8>,
        from: Option<u8>,
        to: u8,
        filled: bool,
    },
    Assigned {
        entity: Entity,
        manager: u8,
    },
    Closed {
        entity: Entity,
        outcome: u8,
        reason: bool,
    },
    Reopened {
        entity: Entity,
        stage: Option<u8>,
    },
    Deleted {
        entity: Entity,
    },
    Merged {
        entity: Entity,
        into: Entity,
    },
    Linked {
        entity: Entity,
        contact: ContactSpec,
    },
    Terms {
        deal: u8,
        manager: Option<u8>,
        discount: Option<u8>,
        months: Option<u8>,
        prepayment: Option<u8>,
        boss: bool,
    },
    Activity {
        entity: Entity,
        plan: Option<bool>,
        manager: Option<u8>,
        kind: u8,
    },
    Planned {
        entity: Entity,
        plan: bool,
        manager: Option<u8>,
        kind: u8,
        /// Quarters of an hour from now.
        deadline: Option<i8>,
    },
    Cancelled {
        entity: Entity,
        plan: bool,
    },
    Reviewed {
        manager: u8,
        score: u8,
        good: bool,
    },
    Manager {
        manager: u8,
        department: Option<bool>,
        senior: bool,
        active: bool,
    },
    Dismissed {
        interaction: u8,
        manager: Option<u8>,
    },
    CallStarted {
        call: u8,
        session: Option<u8>,
        outbound: bool,
        phone: u8,
        manager: Option<u8>,
        entity: Option<Entity>,
    },
    CallEnded {
        call: u8,
        session: Option<u8>,
        leg: Option<u8>,
        outbound: bool,
        phone: u8,
        manager: Option<u8>,
        entity: Option<Entity>,
        /// Quarters of an hour.
        began_before: Option<u8>,
        answered_before: Option<u8>,
        talk: u8,
        outcome: u8,
        answered_by: Option<u8>,
        recorded: bool,
    },
    Message {
        id: u8,
        outbound: bool,
        thread: Option<bool>,
        reply: Option<u8>,
        channel: u8,
        contact: ContactSpec,
        manager: Option<u8>,
        entity: Option<Entity>,
        automatic: bool,
    },
}

const QUARTER: i64 = 15 * Span::MINUTE.0;
const STAGES: [&str; 4] = ["NEW", "NEEDS", "OFFER", "ELSEWHERE"];
const MANAGERS: [&str; 3] = ["ann", "bob", "eve"];
/// One of them is also the id of a call.
const SESSIONS: [&str; 3] = ["s1", "s2", "c1"];
const OUTCOMES_OF_CALLS: [CallOutcome; 4] =
    [CallOutcome::Answered, CallOutcome::Answered, CallOutcome::NoAnswer, CallOutcome::Voicemail];
const OUTCOMES: [Outcome; 4] = [Outcome::Won, Outcome::Lost, Outcome::Converted, Outcome::Disqualified];

fn pick<T: Clone>(list: &[T], index: u8) -> T {
    list[index as usize % list.len()].clone()
}

fn named<T: From<&'static str>>(list: &[&'static str], index: Option<u8>) -> Option<T> {
    index.map(|index| pick(list, index).into())
}

fn manager(index: Option<u8>) -> Option<ManagerId> {
    named(&MANAGERS, index)
}

fn pipeline<T: From<&'static str>>(index: Option<u8>) -> Option<T> {
    named(&["inbound", "sales", "renewal"], index)
}

impl Entity {
    fn id(self) -> EntityId {
        match self.kind {
            Kind::Lead => EntityId::lead(pick(&["1", "2", "3"], self.id)),
            Kind::Deal => EntityId::deal(pick(&["1", "2"], self.id)),
        }
    }
}

impl ContactSpec {
    fn contact(self) -> Option<Contact> {
        match self {
            Self::Phone(index) => Some(Contact::Phone(phone(index).into())),
            Self::Email(index) => Some(Contact::Email(pick(&["ivan@example.com", "olga@example.com"], index).into())),
            Self::Handle(index) => {
                Some(Contact::Handle { handle: pick(&["@ivan", "@olga"], index).into(), channel: Channel::Chat })
            }
            Self::Missing => None,
        }
    }
}

fn phone(index: u8) -> &'static str {
    pick(&["+78121234567", "8 812 123-45-67", "+79161112233", "8 916 1112233; +78121234567", "anonymous"], index)
}

fn percent(value: Option<u8>) -> Option<f64> {
    value.map(|value| f64::from(value % 101))
}

impl Attributes {
    fn amount(&self) -> Amount {
        Amount {
            minor: self.amount.map(|amount| i64::from(amount) * 100_000),
            currency: self.amount.map(|amount| pick(&["RUB", "EUR"], amount).into()),
        }
    }

    fn contacts(&self) -> Vec<Contact> {
        self.contact.and_then(ContactSpec::contact).into_iter().collect()
    }

    fn lead(&self) -> Option<&'static str> {
        matches!(self.entity.kind, Kind::Deal).then(|| named(&["1", "2", "3"], self.lead)).flatten()
    }

    fn created(&self) -> CrmPayload {
        let id = self.entity.id();
        let is_lead = matches!(self.entity.kind, Kind::Lead);
        let created = Created {
            lead: self.lead().map(Into::into),
            id: id.id,
            manager: manager(self.manager),
            pipeline: pipeline(self.pipeline),
            stage: named(&STAGES, self.stage),
            source: self.source.filter(|_| is_lead).map(|web| if web { "WEB" } else { "ADS" }.into()),
            amount: if is_lead { Amount::default() } else { self.amount() },
            contacts: self.contacts(),
        };
        if is_lead { CrmPayload::LeadCreated(created) } else { CrmPayload::DealCreated(created) }
    }
}

impl PayloadSpec {
    fn payload(&self, at: Timestamp) -> Payload {
        let before = |quarters: u8| Timestamp(at.0 - i64::from(quarters) * QUARTER);
        let fields = |filled: bool| if filled { vec!["budget".into()] } else { Vec::new() };
        let crm = |payload| Payload::Crm(Box::new(payload));
        let direction = |outbound| if outbound { Direction::Outbound } else { Direction::Inbound };
        match *self {
            Self::Created(ref attributes) => crm(attributes.created()),
            Self::Snapshot { ref attributes, outcome, created_before, entered_before, filled } => {
                let entity = attributes.entity.id();
                crm(CrmPayload::Snapshot(Box::new(Snapshot {
                    lead: attributes.lead().map(Into::into),
                    entity,
                    manager: manager(attributes.manager),
                    source: attributes.source.map(|web| if web { "WEB" } else { "ADS" }.into()),
                    pipeline: pipeline(attributes.pipeline),
                    stage: named(&STAGES, attributes.stage),
                    contacts: attributes.contacts(),
                    amount: attributes.amount(),
                    outcome: outcome.map(|outcome| pick(&OUTCOMES, outcome)),
                    reason: None,
                    created_at: created_before.map(before),
                    stage_entered_at: entered_before.map(before),
                    filled_fields: fields(filled),
                })))
            }
            Self::Moved { entity, pipeline: index, from, to, filled } => crm(CrmPayload::StageChanged(StageChanged {
                entity: entity.id(),
                pipeline: pipeline(index),
                from: named(&STAGES, from),
                to: pick(&STAGES, to).into(),
                filled_fields: fields(filled),
            })),
            Self::Assigned { entity, manager } => {
                crm(CrmPayload::Assigned { entity: entity.id(), manager: pick(&MANAGERS, manager).into() })
            }
            Self::Closed { entity, outcome, reason } => crm(CrmPayload::Closed {
                entity: entity.id(),
                outcome: pick(&OUTCOMES, outcome),
                reason: reason.then(|| "spam".into()),
            }),
            Self::Reopened { entity, stage } => {
                crm(CrmPayload::Reopened { entity: entity.id(), stage: named(&STAGES, stage) })
            }
            Self::Deleted { entity } => crm(CrmPayload::Deleted { entity: entity.id() }),
            Self::Merged { entity, into } => {
                let entity = entity.id();
                crm(CrmPayload::Merged { into: EntityId { kind: entity.kind, ..into.id() }, entity })
            }
            Self::Linked { entity, contact } => {
                crm(CrmPayload::ContactLinked { entity: entity.id(), contact: contact.contact() })
            }
            Self::Terms { deal, manager: by, discount, months, prepayment, boss } => {
                crm(CrmPayload::TermsOffered(TermsOffered {
                    deal: pick(&["1", "2"], deal).into(),
                    manager: manager(by),
                    discount_percent: percent(discount),
                    installment_months: months.map(i64::from),
                    prepayment_percent: percent(prepayment),
                    approved_by: boss.then(|| "boss".into()),
                    amount: Amount::default(),
                }))
            }
            Self::Activity { entity, plan, manager: by, kind } => crm(CrmPayload::ActivityCompleted {
                entity: entity.id(),
                activity: plan.map(plan_id),
                manager: manager(by),
                kind: pick(&ActivityKind::ALL, kind),
            }),
            Self::Planned { entity, plan, manager: by, kind, deadline } => {
                crm(CrmPayload::ActivityPlanned(ActivityPlanned {
                    entity: entity.id(),
                    activity: plan_id(plan),
                    manager: manager(by),
                    kind: pick(&ActivityKind::ALL, kind),
                    deadline: deadline.map(|quarters| Timestamp(at.0 + i64::from(quarters) * QUARTER)),
                }))
            }
            Self::Cancelled { entity, plan } => {
                crm(CrmPayload::ActivityCancelled { entity: entity.id(), activity: plan_id(plan) })
            }
            Self::Reviewed { manager, score, good } => crm(CrmPayload::InteractionReviewed {
                interaction: "call".into(),
                manager: pick(&MANAGERS, manager).into(),
                score: f64::from(score % 101),
                verdict: if good { Verdict::Success } else { Verdict::Failure },
            }),
            Self::Dismissed { interaction, manager: by } => crm(CrmPayload::InteractionDismissed {
                interaction: pick(&["m1", "m2", "c1", "c2", "s1", "s2"], interaction).into(),
                manager: manager(by),
            }),
            Self::Manager { manager, department, senior, active } => crm(CrmPayload::ManagerUpserted {
                manager: pick(&MANAGERS, manager).into(),
                department: department.map(|north| if north { "north" } else { "south" }.into()),
                grade: senior.then(|| "senior".into()),
                active,
                name: None,
            }),
            Self::CallStarted { call, session, outbound, phone: index, manager: by, entity } => {
                Payload::Call(Box::new(Call {
                    id: call_id(call),
                    session: named(&SESSIONS, session),
                    direction: direction(outbound),
                    phone: phone(index).into(),
                    manager: manager(by),
                    entity: entity.map(Entity::id),
                    end: None,
                }))
            }
            Self::CallEnded {
                call,
                session,
                leg,
                outbound,
                phone: index,
                manager: by,
                entity,
                began_before,
                answered_before,
                talk,
                outcome,
                answered_by,
                recorded,
            } => Payload::Call(Box::new(Call {
                id: call_id(call),
                session: named(&SESSIONS, session),
                direction: direction(outbound),
                phone: phone(index).into(),
                manager: manager(by),
                entity: entity.map(Entity::id),
                end: Some(CallEnd {
                    leg: named(&["l1", "l2"], leg),
                    started_at: began_before.map(|quarters| before(quarters % 97)),
                    answered_at: answered_before.map(before),
                    talk: Span(i64::from(talk) * 1000),
                    outcome: pick(&OUTCOMES_OF_CALLS, outcome),
                    answered_by: answered_by.map(|by| pick(&AnsweredBy::ALL, by)),
                    recording_url: recorded.then(|| "https://pbx/call".into()),
                }),
            })),
            Self::Message { id, outbound, thread, reply, channel, contact, manager: by, entity, automatic } => {
                Payload::Message(Box::new(Message {
                    id: message_id(id),
                    direction: direction(outbound),
                    thread: thread.map(|one| if one { "one" } else { "two" }.into()),
                    in_reply_to: reply.map(message_id),
                    channel: pick(&Channel::ALL, channel),
                    contact: contact.contact(),
                    manager: manager(by),
                    entity: entity.map(Entity::id),
                    automatic,
                }))
            }
        }
    }
}

fn call_id(index: u8) -> CallId {
    pick(&["c1", "c2", "c3", "c4"], index).into()
}

fn plan_id(second: bool) -> ActivityId {
    if second { "a2" } else { "a1" }.into()
}

fn message_id(index: u8) -> MessageId {
    pick(&["m1", "m2", "m3", "m4"], index).into()
}

/// Without window rules, because past boundaries are not judged again.
const NORMS: [&str; 5] = [
    "
norms:
  first_response_late: {within: 30m, warn_before: 10m, escalate_after: [1h, 3h]}
  too_few_attempts: {within: 4h, warn_before: 2h, attempts: 2}
  neglected: {within: 5h, warn_before: 1h}
  next_step_missing: {within: 2h, warn_before: 1h, entities: [lead, deal], escalate_after: [1h]}
  next_step_overdue: {within: 30m, warn_before: 1h, escalate_after: [1h]}
  disqualified_without_reason: {}
  disqualified_without_contact: {min_touches: 2}
  missed_call_not_returned: {within: 30m, warn_before: 10m, escalate_after: [1h]}
  message_unanswered: {within: 1h, warn_before: 40m, escalate_after: [2h]}
  source_silent: {within: 2h, escalate_after: [1h, 3h]}
",
    "
calendars:
  office:
    timezone: Europe/Moscow
    week: {mon: ['09:00-18:00'], tue: ['09:00-13:00', '14:00-18:00'], wed: ['09:00-18:00'], thu: ['20:00-24:00']}
calendar: office
norms:
  first_response_late: {within: 30m, clock: business, response: conversation, escalate_after: [1h]}
  too_few_attempts: {within: 2h, clock: business, attempts: 2}
  neglected: {within: 3h, clock: business, escalate_after: [1h]}
  stage_overdue: {clock: business, escalate_after: [1h]}
  next_step_missing: {within: 1h, clock: business}
  next_step_overdue: {within: 1h, clock: business}
  missed_call_not_returned: {within: 30m, clock: business}
  message_unanswered: {within: 1h, clock: business, channels: [EMAIL, CHAT]}
  source_silent: {within: 2h, clock: business, severity: critical, escalate_after: [1h]}
  stage_skipped: {}
pipelines:
  inbound: {entity: lead, stages: [{id: NEW, max_time: 1h}, {id: NEEDS, max_time: 2h}, {id: OFFER}]}
  sales: {entity: deal, stages: [{id: NEW, max_time: 1h, early: true}, {id: NEEDS, max_time: 2h}, {id: OFFER}]}
",
    "
pipelines:
  inbound: {entity: lead, stages: [{id: NEW}, {id: NEEDS, required: true}, {id: OFFER, requires: {fields: [budget]}}]}
  sales:
    entity: deal
    stages:
      - {id: NEW, required: true, max_time: 1h}
      - {id: NEEDS, required: true, max_time: 3h}
      - {id: OFFER, requires: {fields: [budget], activities: [MEETING]}, max_time: 1h}
norms:
  stage_skipped: {}
  stage_requirements_unmet: {}
  stage_reverted: {}
  stage_overdue: {escalate_after: [1h]}
  source_silent: {within: 8h}
  disqualified_without_reason: {applies_to: [DISQUALIFIED, LOST], allowed_reasons: [spam]}
  terms:
    approvers: [boss]
    policies:
      - {pipeline: sales, grade: senior, max_discount_percent: 15, max_installment_months: 6, min_prepayment_percent: 30}
      - {amount_minor_below: 10000000, max_discount_percent: 5, max_installment_months: 0, min_prepayment_percent: 100}
",
    "
pipelines:
  inbound: {entity: lead, stages: [{id: NEW, max_time: 2h}, {id: NEEDS, required: true}, {id: OFFER}]}
  renewal: {entity: deal, stages: [{id: NEW}, {id: NEEDS, max_time: 1h}, {id: OFFER, requires: {activities: [DEMO]}}]}
norms:
  first_response_late: {within: 1h, severity: critical}
  stage_overdue: {}
  stage_skipped: {}
  stage_requirements_unmet: {}
  stage_reverted: {severity: info}
  source_silent: {within: 15m}
  terms: {policies: [{max_discount_percent: 10, max_installment_months: 3, min_prepayment_percent: 50}]}
  neglected: {within: 2h, entities: [deal]}
  missed_call_not_returned: {within: 1h}
  message_unanswered: {within: 1h}
overrides:
  - when: {department: north}
    norms:
      first_response_late: {within: 15m}
      missed_call_not_returned: {enabled: false}
      source_silent: {within: 1h}
      stage_overdue: {escalate_after: [15m]}
  - when: {pipeline: sales}
    norms: {neglected: {within: 8h}, message_unanswered: {within: 4h}}
  - when: {source_id: WEB}
    norms: {first_response_late: {within: 2h}, missed_call_not_returned: {within: 15m, enabled: true}}
",
    "
conversation_needs_manager: true
shared_contact_limit: 1
ignored_contacts: [olga@example.com]
norms:
  first_response_late: {within: 30m}
  missed_call_not_returned: {within: 1h, min_ring: 20m, text_returns: true, escalate_after: [1h]}
  message_unanswered: {within: 1h, quiet_after_close: 2h, escalate_after: [1h]}
  neglected: {within: 5h}
",
];

fn norms(index: u8) -> Arc<Norms> {
    static READ: OnceLock<Vec<Arc<Norms>>> = OnceLock::new();
    let read = READ.get_or_init(|| {
        let read = |text: &&str| {
            let text = format!("windows: [{{size: 1h, slide: 5m}}, {{size: 24h, slide: 1h}}]\n{text}");
            Arc::new(parse_norms("norms", &text).unwrap_or_else(|problems| panic!("{problems}")).norms)
        };
        NORMS.iter().map(read).collect()
    });
    pick(read, index)
}

/// A shard and all its output.
struct Run {
    processor: ShardProcessor,
    norms: Arc<Norms>,
    tenants: BTreeMap<TenantId, TenantRun>,
}

struct TenantRun {
    scoreboard: Scoreboard,
    managers: Vec<String>,
    stages: Vec<String>,
    currencies: Vec<String>,
    facts: BTreeMap<String, i32>,
    alerts: BTreeMap<String, Vec<Alert>>,
}

impl Run {
    /// `undo_events`: the events of a step of an undo log.
    fn new(norms: Arc<Norms>, undo_events: usize) -> Self {
        let memory = Memory { correction_horizon: Span(10_000 * Span::DAY.0), undo_events, ..Memory::default() };
        let timing = Timing { memory, max_future_skew: None, ..Timing::default() };
        Self { processor: ShardProcessor::new(Arc::clone(&norms), timing, PACKING), norms, tenants: BTreeMap::new() }
    }

    fn arrive(&mut self, offset: usize, event: &Event) {
        let scoreboard = || Scoreboard::new(event.tenant.clone(), Arc::clone(&self.norms));
        self.tenants.entry(event.tenant.clone()).or_insert_with(|| TenantRun::new(scoreboard()));
        let source = Source::Topic(event.payload.topic());
        self.processor.arrive(source, Offset(offset as i64), event.clone(), event.at).expect("nothing is too late");
    }

    fn advance(&mut self, to: Timestamp) {
        let mut outputs = Vec::new();
        self.processor.advance(&ShardProgress { close: Some(to), ..ShardProgress::default() }, &mut outputs);
        for Effects { tenant, effects, .. } in outputs {
            let tenant_run = self.tenants.get_mut(&tenant).expect("a known tenant");
            effects.into_iter().for_each(|effect| tenant_run.apply(effect));
        }
    }

    fn rows(&mut self) -> BTreeMap<String, Row> {
        let at = self.processor.watermark();
        let mut rows = Vec::new();
        self.tenants.values_mut().for_each(|tenant_run| tenant_run.scoreboard.rows(at, &mut rows));
        let name = |row: &Row| format!("{} {} {}", row.tenant, row.subject, row.figures.window());
        rows.into_iter().map(|row| (name(&row), row)).collect()
    }
}

impl TenantRun {
    fn new(scoreboard: Scoreboard) -> Self {
        let managers = vec!["nobody".into()];
        let (stages, currencies, facts, alerts) = Default::default();
        Self { scoreboard, managers, stages, currencies, facts, alerts }
    }

    fn apply(&mut self, effect: Effect) {
        match &effect {
            Effect::Fact(fact) => {
                let name = self.name(fact);
                let times = self.facts.entry(name.clone()).or_default();
                *times += fact.times;
                if *times == 0 {
                    self.facts.remove(&name);
                }
            }
            Effect::ManagerUpdate(update) => {
                let index = update.who.0 as usize;
                assert!(index <= self.managers.len(), "managers are announced in order");
                if index == self.managers.len() {
                    self.managers.push(update.id.to_string());
                }
            }
            Effect::StageDeclaration(stage) => self.stages.push(format!("{}/{}", stage.pipeline, stage.stage)),
            Effect::Currency(_, code) => self.currencies.push(code.to_string()),
            Effect::Alert(_)
            | Effect::AlertTaken(_)
            | Effect::FirstEvent(_)
            | Effect::Expired { .. }
            | Effect::PastClosing(_)
            | Effect::Review(_)
            | Effect::Forgotten(_)
            | Effect::ManagerForgotten { .. }
            | Effect::DepartmentForgotten { .. }
            | Effect::ReviewOver { .. }
            | Effect::DepartmentUpdate(_) => {}
        }
        let mut alerts = Vec::new();
        self.scoreboard.apply(effect, &mut alerts);
        for alert in alerts {
            assert_eq!(alert.id, alert_id(&alert.tenant, alert.rule, &alert.subject, alert.anchor_at));
            let name = format!("{} {} since {}", alert.rule.name(), alert.subject, alert.anchor_at);
            self.alerts.entry(name).or_default().push(alert);
        }
    }

    /// The name of a fact without indexes, which depend on the order of arrival.
    fn name(&self, fact: &Fact) -> String {
        let stage = |index: StageIx| &self.stages[index.0 as usize];
        let measure = match fact.measure {
            Measure::StageReached(index) => format!("StageReached {}", stage(index)),
            Measure::StagePassed(index) => format!("StagePassed {}", stage(index)),
            Measure::Open(index) => format!("Open {}", stage(index)),
            Measure::Overdue(index) => format!("Overdue {}", stage(index)),
            Measure::AmountWon { currency, minor } => {
                format!("AmountWon {minor} {}", self.currencies[currency.0 as usize])
            }
            Measure::Terms { special, discount, .. } => format!("Terms {special} {}", discount.get()),
            other => format!("{other:?}"),
        };
        format!("{measure} of {} at {}", self.managers[fact.who.0 as usize], fact.at)
    }
}

fuzz_target!(|input: Input| {
    let mut at = BASE;
    let mut events: Vec<(Event, &EventSpec)> = Vec::new();
    for (index, spec) in input.events.iter().take(MAX_EVENTS).enumerate() {
        at += i64::from(spec.after % 32) * QUARTER;
        let payload = spec.payload.payload(Timestamp(at));
        let tenant = if spec.other_tenant { "globex" } else { "acme" };
        let event = Event { tenant: tenant.into(), at: Timestamp(at), id: Some(format!("{index}").into()), payload };
        events.push((event, spec));
    }
    let Some((last, _)) = events.last() else { return };
    let end = last.at + Span(26 * Span::HOUR.0);

    let mut in_order = Run::new(norms(input.norms), usize::MAX);
    for (index, (event, _)) in events.iter().enumerate() {
        in_order.arrive(index, event);
    }
    in_order.advance(end);

    let mut order: Vec<(i64, usize)> = Vec::new();
    for (index, (event, spec)) in events.iter().enumerate() {
        order.push((event.at.0 + i64::from(spec.late % 64) * QUARTER, index));
    }
    order.sort_unstable();
    let mut in_disorder = Run::new(norms(input.norms), 1 + usize::from(input.norms >> 6));
    let print = std::env::var_os("TELL").is_some();
    if print {
        eprintln!("norms {}", NORMS[input.norms as usize % NORMS.len()]);
    }
    for (due, index) in order {
        let (event, spec) = &events[index];
        if print {
            let mut line = Vec::new();
            json::encode_event(event, &mut line);
            let late = if event.at <= in_disorder.processor.watermark() { "late " } else { "" };
            let twice = if spec.twice { " (and again)" } else { "" };
            let moves = if spec.moves { format!("\nwatermark {}", Timestamp(due)) } else { String::new() };
            eprintln!("{late}{}{twice}{moves}", String::from_utf8_lossy(&line));
        }
        in_disorder.arrive(index, event);
        if spec.moves {
            in_disorder.advance(Timestamp(due));
        }
        if spec.twice {
            in_disorder.arrive(index, event);
        }
    }
    in_disorder.advance(end);
    compare(&mut in_order, &mut in_disorder);
});

/// Whether it takes the alert or the warning back.
fn withdraws(alert: &Alert) -> bool {
    alert.resolution == Some(Resolution::LateEvidence)
}

/// Checks the order of statuses of every alert in a run with events in order.
fn check_status_order(tenant_run: &TenantRun) {
    for (name, alerts) in &tenant_run.alerts {
        let mut before: Option<&Alert> = None;
        for alert in alerts {
            let right = match before {
                None => matches!(alert.status, Status::Raised | Status::Firing | Status::DueSoon),
                Some(before) if withdraws(alert) && before.status == Status::Averted => !withdraws(before),
                Some(before) => before.status.successors().contains(&alert.status),
            };
            assert!(right, "{name}: invalid order of statuses: {alerts:#?}");
            assert!(before.is_none_or(|before| before.at <= alert.at), "{name}: timestamps decrease: {alerts:#?}");
            before = Some(alert);
        }
    }
}

fn is_warning(alert: &Alert) -> bool {
    matches!(alert.status, Status::DueSoon | Status::Averted)
}

fn compare(in_order: &mut Run, in_disorder: &mut Run) {
    let (expected, found) = (in_order.rows(), in_disorder.rows());
    for (tenant, expected) in &in_order.tenants {
        let found = &in_disorder.tenants[tenant];
        check_status_order(expected);
        let lacking: Vec<_> = expected.facts.iter().filter(|(name, n)| found.facts.get(*name) != Some(n)).collect();
        let wrong: Vec<_> = found.facts.iter().filter(|(name, n)| expected.facts.get(*name) != Some(n)).collect();
        assert!(lacking.is_empty() && wrong.is_empty(), "{tenant}: in order {lacking:#?}, in disorder {wrong:#?}");
        for (name, alerts) in &expected.alerts {
            let actual = found.alerts.get(name).map(Vec::as_slice).unwrap_or_default();
            let (wanted, last) = (alerts.last().expect("a status"), actual.last());
            let fired = actual.iter().any(|alert| !is_warning(alert));
            let retracted = last.is_some_and(|last| last.status == Status::Retracted);
            // What an alert said before it was retracted depends on the order.
            if withdraws(wanted) || last != Some(wanted) && (retracted || is_warning(wanted) && fired) {
                assert!(last.is_none_or(withdraws), "{name}: {wanted:#?}\n{actual:#?}");
                continue;
            }
            assert_eq!(Some(wanted), last, "{name}: in order {alerts:#?}, in disorder {actual:#?}");
            // A warning is not published after the violation.
            for alert in alerts.iter().filter(|alert| !fired || !is_warning(alert)) {
                assert!(actual.contains(alert), "{name}: missing: {alert:#?}\nfound: {actual:#?}");
            }
        }
        for (name, actual) in found.alerts.iter().filter(|(name, _)| !expected.alerts.contains_key(*name)) {
            assert!(actual.last().is_some_and(withdraws), "{name}: {actual:#?}");
        }
    }
    // An empty row of a manager may be missing.
    for (name, expected) in &expected {
        if let Some(found) = found.get(name) {
            assert_eq!(expected, found, "{name}: in order, in disorder");
        }
    }
}
