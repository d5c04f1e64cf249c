//! Owns one tenant: applies its events in event-time order, lets its timers go off in between, and returns effects.
//!
//! Here is decided to whom an interaction belongs: to the entity it names, else to that of its thread, else to every
//! open entity that has the contact (the most recently created being the primary one), else to the contact alone.

use super::alert::Resolution;
use super::desk::{Desk, Timer};
use super::duplicates::Duplicates;
use super::effect::{Effect, Measure, StateKey, Who};
use super::event::{
    ActivityKind, Amount, Call, CallEnd, CallOutcome, Contact, Created, CrmPayload, Direction, Event, Message, Outcome,
    Payload, Snapshot, TermsOffered,
};
use super::id::{CallId, EntityId, EntityKind, ManagerId, MessageId, PipelineId, SourceId, TenantId, ThreadId};
use super::identity;
use super::journey::Journey;
use super::norms::{Norms, Scope};
use super::owed::{Act, Debtor, Demand, Kind, Owed, Reach};
use super::rule::{Rule, missed_call_not_returned};
use super::time::{Span, Timestamp};
use compact_str::{CompactString, format_compact};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// How long things are remembered.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// A second event with the same id inside this span is a duplicate.
    pub dedup_window: Span,
    /// How far back a late event may correct.
    pub correction_horizon: Span,
    /// How long what is settled is kept; `None`: for ever.
    pub retention: Option<Span>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { dedup_window: Span(6 * Span::HOUR.0), correction_horizon: Span(7 * Span::DAY.0), retention: None }
    }
}

/// One tenant.
#[derive(Debug)]
pub struct Tenant {
    desk: Desk,
    memory: Memory,
    duplicates: Duplicates,
    /// The first event seen of the tenant: what lies before it is unknown.
    first_event: Option<Timestamp>,
    journeys: Vec<Journey>,
    by_id: FxHashMap<EntityId, u32>,
    contacts: Vec<Card>,
    by_form: FxHashMap<CompactString, u32>,
    /// Calls that ended: each counts once.
    ended: FxHashSet<CallId>,
    /// Calls that began and have not ended.
    ringing: FxHashMap<CallId, Attempt>,
    threads: FxHashMap<ThreadId, u32>,
    /// Contacts that asked something, by the thread it stands in and by the message's own id.
    asked_in: FxHashMap<ThreadId, Vec<u32>>,
    asked_by: FxHashMap<MessageId, u32>,
    /// Calls that began at the instant that is being processed: one that starts in the millisecond in which a call is
    /// missed returns it, whichever of the two came first. Many sources know whole seconds only.
    calls_now: Vec<(u32, Act)>,
    /// How many events were applied: the order of effect.
    applied: u64,
    /// Deals that name leads which are not known.
    named_unknown: FxHashMap<CompactString, u32>,
}

/// A phone or an address, and what is owed to it.
#[derive(Debug)]
struct Card {
    form: CompactString,
    /// `contact:KEY`, made when it is first needed.
    subject: Option<CompactString>,
    entities: Vec<u32>,
    /// Boxed, as most contacts owe and are owed nothing.
    calls: Option<Box<Owed>>,
    messages: Option<Box<Owed>>,
}

/// What is remembered of a call that has not ended: the entities that the attempt touched. An inbound call is none.
#[derive(Debug, Default)]
struct Attempt {
    outbound: bool,
    touched: Vec<u32>,
}

/// To whom an interaction belongs.
#[derive(Debug, Default)]
struct Belonging {
    entities: Vec<u32>,
    primary: Option<u32>,
    contact: Option<u32>,
}

/// Unanswered messages as demands. No rule watches them yet: they feed the reply lag and the gauge.
const MESSAGES: Kind =
    Kind { rule: Rule::MessageUnanswered, waiting: Measure::Unanswered, lag: Measure::Reply, timer: None };

impl Tenant {
    /// A tenant that nothing has happened to.
    pub fn new(id: TenantId, norms: Arc<Norms>, memory: Memory) -> Self {
        Self {
            desk: Desk::new(id, norms),
            memory,
            duplicates: Duplicates::new(memory.dedup_window),
            first_event: None,
            journeys: Vec::new(),
            by_id: FxHashMap::default(),
            contacts: Vec::new(),
            by_form: FxHashMap::default(),
            ended: FxHashSet::default(),
            ringing: FxHashMap::default(),
            threads: FxHashMap::default(),
            asked_in: FxHashMap::default(),
            asked_by: FxHashMap::default(),
            calls_now: Vec::new(),
            applied: 0,
            named_unknown: FxHashMap::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &TenantId {
        &self.desk.tenant
    }

    /// The instant of its next timer.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.desk.next_timer()
    }

    /// Hands out the effects so far, in order.
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.desk.out);
    }

    /// Applies an event; timers before it go off first. `false`: it was a duplicate and changed nothing.
    pub fn apply(&mut self, event: &Event) -> bool {
        self.run_timers(Timestamp(event.at.0 - 1));
        if self.desk.now != event.at {
            self.calls_now.clear();
        }
        self.desk.now = event.at;
        let topic = event.payload.topic();
        if event.id.as_ref().is_some_and(|id| !self.duplicates.take(topic, id, event.at)) {
            return false;
        }
        self.applied += 1;
        self.first_event.get_or_insert(event.at);
        match &event.payload {
            Payload::Crm(payload) => self.crm(payload),
            Payload::Call(call) => match &call.end {
                None => self.call_started(call),
                Some(end) => self.call_ended(call, end),
            },
            Payload::Message(message) => self.message(message),
        }
        true
    }

    /// Lets every timer up to and including `until` go off.
    pub fn run_timers(&mut self, until: Timestamp) {
        while let Some((at, timer)) = self.desk.due(until) {
            self.desk.now = at;
            match timer {
                Timer::FirstResponse(number) => {
                    self.journeys[number as usize].ring_first_response(&mut self.desk);
                }
                Timer::MissedCalls(number) => {
                    self.owed(number, missed_call_not_returned::KIND, |owed, desk, debtor| owed.ring(desk, debtor));
                }
            }
        }
    }

    fn crm(&mut self, payload: &CrmPayload) {
        match payload {
            CrmPayload::LeadCreated(created) => self.created(EntityKind::Lead, created),
            CrmPayload::DealCreated(created) => self.created(EntityKind::Deal, created),
            CrmPayload::StageChanged(change) => {
                self.with(&change.entity, |journey, _| {
                    journey.stage = Some(change.to.clone());
                    if change.pipeline.is_some() {
                        journey.pipeline.clone_from(&change.pipeline);
                    }
                });
            }
            CrmPayload::Assigned { entity, manager } => {
                let who = self.desk.people.number(manager, &mut self.desk.out);
                if let Some(number) = self.known(entity) {
                    self.assign(number, who);
                    self.publish(number);
                }
            }
            CrmPayload::Closed { entity, outcome, .. } => {
                self.with(entity, |journey, desk| journey.close(desk, *outcome));
            }
            CrmPayload::Reopened { entity, stage } => {
                self.with(entity, |journey, _| {
                    journey.reopen();
                    if stage.is_some() {
                        journey.stage.clone_from(stage);
                    }
                });
            }
            CrmPayload::Deleted { entity } => self.deleted(entity),
            CrmPayload::ContactLinked { entity, contact } => {
                if let Some(number) = self.known(entity) {
                    self.link(number, contact.as_slice());
                    self.publish(number);
                }
            }
            CrmPayload::TermsOffered(terms) => self.terms(terms),
            CrmPayload::ActivityCompleted { entity, manager, kind } => self.activity(entity, manager.as_ref(), *kind),
            CrmPayload::InteractionReviewed { manager, score, verdict, .. } => {
                let who = self.desk.people.number(manager, &mut self.desk.out);
                let score_micros = (score * 1e6).round() as i64;
                self.desk.fact(self.desk.now, who, 1, Measure::Review { score_micros, verdict: *verdict });
            }
            CrmPayload::ManagerUpserted { manager, department, grade, active } => {
                let Desk { people, out, .. } = &mut self.desk;
                people.upsert(manager, department.as_ref(), grade.as_ref(), *active, out);
            }
            CrmPayload::Snapshot(snapshot) => self.snapshot(snapshot),
        }
    }

    /// `lead_created` and `deal_created`: on a known entity, attributes only fill gaps.
    fn created(&mut self, kind: EntityKind, created: &Created) {
        let Some(number) = self.known(&EntityId { kind, id: created.id.clone() }) else { return };
        let who = self.who(created.manager.as_ref());
        let journey = &mut self.journeys[number as usize];
        fill(&mut journey.pipeline, &created.pipeline);
        fill(&mut journey.stage, &created.stage);
        fill(&mut journey.source, &created.source);
        fill(&mut journey.amount_minor, &created.amount.minor);
        fill(&mut journey.currency, &created.amount.currency);
        if journey.who == Who::NOBODY {
            self.assign(number, who);
        }
        let named = self.name_lead(number, created.lead.as_ref());
        self.link(number, &created.contacts);
        self.born(number, self.desk.now);
        self.publish(number);
        self.convert(named);
    }

    /// `lead_snapshot` and `deal_snapshot`: what differs from what is held has happened.
    fn snapshot(&mut self, snapshot: &Snapshot) {
        let Some(number) = self.known(&snapshot.entity) else { return };
        let who = self.who(snapshot.manager.as_ref());
        let journey = &mut self.journeys[number as usize];
        replace(&mut journey.pipeline, &snapshot.pipeline);
        replace(&mut journey.stage, &snapshot.stage);
        replace(&mut journey.source, &snapshot.source);
        set_amount(journey, &snapshot.amount);
        if who != Who::NOBODY {
            self.assign(number, who);
        }
        let named = self.name_lead(number, snapshot.lead.as_ref());
        self.link(number, &snapshot.contacts);
        if let Some(created_at) = snapshot.created_at {
            self.born(number, created_at.min(self.desk.now));
        }
        if let Some(outcome) = snapshot.outcome {
            self.journeys[number as usize].close(&mut self.desk, outcome);
        }
        self.publish(number);
        self.convert(named);
    }

    /// The creation of an entity became known. Clocks that count from it run only if it is not earlier than the first
    /// event seen of the tenant: the first sync of a CRM must not set off a thousand alarms.
    fn born(&mut self, number: u32, at: Timestamp) {
        let source = self.lead_source(number);
        let watched = self.first_event.is_some_and(|first| at >= first);
        self.journeys[number as usize].born(&mut self.desk, at, watched, source.as_ref());
    }

    /// A deal names its lead for the first time; returns the lead if it is known.
    fn name_lead(&mut self, number: u32, lead: Option<&CompactString>) -> Option<u32> {
        let lead = lead?;
        let journey = &mut self.journeys[number as usize];
        if journey.id.kind != EntityKind::Deal || journey.lead.is_some() {
            return None;
        }
        journey.lead = Some(lead.clone());
        match self.by_id.get(&EntityId { kind: EntityKind::Lead, id: lead.clone() }) {
            Some(known) => {
                self.journeys[*known as usize].named_by += 1;
                Some(*known)
            }
            None => {
                *self.named_unknown.entry(lead.clone()).or_default() += 1;
                None
            }
        }
    }

    /// A lead was named by a deal: if it is open, it is converted.
    fn convert(&mut self, lead: Option<u32>) {
        let Some(number) = lead else { return };
        let journey = &mut self.journeys[number as usize];
        if journey.open() {
            journey.close(&mut self.desk, Outcome::Converted);
        }
        self.publish(number);
    }

    fn deleted(&mut self, entity: &EntityId) {
        let Some(number) = self.known(entity) else { return };
        let journey = &mut self.journeys[number as usize];
        journey.delete(&mut self.desk);
        let lead = journey.lead.clone();
        self.publish(number);
        if let Some(lead) = lead {
            match self.by_id.get(&EntityId { kind: EntityKind::Lead, id: lead.clone() }) {
                Some(known) => {
                    let known = *known;
                    self.journeys[known as usize].named_by -= 1;
                    self.publish(known);
                }
                None => {
                    self.named_unknown.entry(lead).and_modify(|deals| *deals -= 1);
                }
            }
        }
    }

    fn terms(&mut self, terms: &TermsOffered) {
        let Some(number) = self.known(&EntityId { kind: EntityKind::Deal, id: terms.deal.clone() }) else { return };
        let offering = self.who(terms.manager.as_ref());
        let who = offering.or(self.journeys[number as usize].who);
        let special = terms.discount_percent.is_some_and(|discount| discount > 0.0)
            || terms.installment_months.is_some_and(|months| months > 0)
            || terms.prepayment_percent.is_some_and(|prepayment| prepayment < 100.0);
        let discount_percent = terms.discount_percent.unwrap_or_default();
        self.desk.fact(self.desk.now, who, 1, Measure::Terms { deal: number, special, discount_percent });
        self.publish(number);
    }

    fn activity(&mut self, entity: &EntityId, manager: Option<&ManagerId>, kind: ActivityKind) {
        let Some(number) = self.known(entity) else { return };
        if matches!(kind, ActivityKind::Meeting | ActivityKind::Demo) {
            let who = self.who(manager).or(self.journeys[number as usize].who);
            let now = self.desk.now;
            let journey = &mut self.journeys[number as usize];
            journey.touch(&mut self.desk, now);
            journey.contact(&mut self.desk, now);
            self.desk.fact(now, who, 1, Measure::Touch);
            if kind == ActivityKind::Meeting {
                self.desk.fact(now, who, 1, Measure::Meeting);
            }
        }
        self.publish(number);
    }

    /// An outbound `call_started` is an attempt at its own instant.
    fn call_started(&mut self, call: &Call) {
        if self.ended.contains(&call.id) || self.ringing.contains_key(&call.id) {
            return;
        }
        let belonging = self.belonging_of_call(call);
        let outbound = call.direction == Direction::Outbound;
        self.desk.touched(StateKey::Call(call.id.0.clone()));
        if outbound {
            let who = self.who(call.manager.as_ref());
            let now = self.desk.now;
            self.touch_all(&belonging.entities, now);
            self.desk.fact(now, who.or(self.responsible(&belonging)), 1, Measure::Touch);
            self.settle_calls(&belonging, who, now, Resolution::Returned);
        } else {
            self.publish_all(&belonging.entities);
        }
        let touched = if outbound { belonging.entities } else { Vec::new() };
        self.ringing.insert(call.id.clone(), Attempt { outbound, touched });
    }

    /// `call_ended` decides what a call was. It is known at its end and dated at its start.
    fn call_ended(&mut self, call: &Call, end: &CallEnd) {
        if !self.ended.insert(call.id.clone()) {
            return;
        }
        let Attempt { outbound: attempted, touched } = self.ringing.remove(&call.id).unwrap_or_default();
        self.desk.touched(StateKey::Call(call.id.0.clone()));
        let now = self.desk.now;
        let started = end.started_at.unwrap_or(now).min(now);
        let answered = end.outcome == CallOutcome::Answered && end.talk >= self.desk.norms.min_talk;
        let belonging = self.belonging_of_call(call);
        let manager = self.who(call.manager.as_ref());
        let who = manager.or(self.responsible(&belonging));
        self.desk.fact(started, who, 1, Measure::Call { direction: call.direction, answered });
        if answered {
            self.desk.fact(started, who, 1, Measure::Talk(end.talk));
        }
        // An entity that joins the call only at its end gets its touch now.
        let joined: Vec<u32> = belonging.entities.iter().copied().filter(|entity| !touched.contains(entity)).collect();
        if call.direction == Direction::Outbound || answered {
            self.touch_all(&joined, started);
            if !attempted {
                self.desk.fact(started, who, 1, Measure::Touch);
            }
        }
        if answered {
            let mut met = [touched, joined].concat();
            met.retain(|entity| !self.journeys[*entity as usize].deleted());
            for entity in &met {
                self.journeys[*entity as usize].contact(&mut self.desk, started);
            }
            let asking = met.iter().flat_map(|entity| self.journeys[*entity as usize].debts.clone()).collect();
            let reach = Reach { entities: met, ..Reach::default() };
            self.settle_messages(&belonging, asking, reach, manager, started);
        }
        match (call.direction, answered) {
            (Direction::Outbound, _) if !attempted => {
                self.settle_calls(&belonging, manager, started, Resolution::Returned);
            }
            (Direction::Inbound, true) => {
                self.settle_calls(&belonging, manager, started, Resolution::CustomerCalledAgain);
            }
            (Direction::Inbound, false) => self.missed(&belonging, call, manager),
            (Direction::Outbound, _) => {}
        }
        self.publish_all(&belonging.entities);
    }

    fn missed(&mut self, belonging: &Belonging, call: &Call, manager: Who) {
        let Some(contact) = belonging.contact else { return };
        let scope = self.scope_of(belonging.primary, manager);
        let demand = Demand {
            at: self.desk.now,
            order: self.applied,
            interaction: call.id.0.clone(),
            entity: belonging.primary,
            who: manager,
            charged: self.responsible(belonging).or(manager),
            scope,
            entities: Vec::new(),
            thread: None,
        };
        self.owe(contact, belonging);
        self.demand(contact, missed_call_not_returned::KIND, demand);
        let calls: Vec<Act> =
            self.calls_now.iter().filter(|(whose, _)| *whose == contact).map(|c| c.1.clone()).collect();
        for act in calls {
            self.owed(contact, missed_call_not_returned::KIND, |owed, desk, debtor| owed.act(desk, debtor, act));
        }
    }

    fn message(&mut self, message: &Message) {
        let belonging = self.belonging_of_message(message);
        let manager = self.who(message.manager.as_ref());
        let who = manager.or(self.responsible(&belonging));
        let now = self.desk.now;
        match message.direction {
            Direction::Outbound => {
                self.desk.fact(now, who, 1, Measure::MessageSent(message.channel));
                if !message.automatic {
                    self.touch_all(&belonging.entities, now);
                    self.desk.fact(now, who, 1, Measure::Touch);
                    let in_thread = message.thread.as_ref().and_then(|thread| self.asked_in.get(thread));
                    let replied_to = message.in_reply_to.as_ref().and_then(|reply| self.asked_by.get(reply));
                    let asking = in_thread.into_iter().flatten().chain(replied_to).copied().collect();
                    let (thread, reply) = (message.thread.clone(), message.in_reply_to.clone());
                    let reach = Reach { thread, reply, entities: Vec::new() };
                    self.settle_messages(&belonging, asking, reach, manager, now);
                }
            }
            Direction::Inbound => {
                self.desk.fact(now, who, 1, Measure::MessageReceived(message.channel));
                if !message.automatic {
                    for entity in &belonging.entities {
                        let journey = &mut self.journeys[*entity as usize];
                        if journey.touched() {
                            journey.contact(&mut self.desk, now);
                        }
                    }
                    self.asked(&belonging, message, manager);
                }
            }
        }
        self.publish_all(&belonging.entities);
    }

    fn asked(&mut self, belonging: &Belonging, message: &Message, manager: Who) {
        let Some(contact) = belonging.contact else { return };
        let scope = self.scope_of(belonging.primary, manager);
        let channels = scope.rules.get(&Rule::MessageUnanswered).and_then(|norm| norm.channels.as_ref());
        if channels.is_some_and(|channels| !channels.contains(&message.channel)) {
            return;
        }
        let demand = Demand {
            at: self.desk.now,
            order: self.applied,
            interaction: message.id.0.clone(),
            entity: belonging.primary,
            who: manager,
            charged: self.responsible(belonging).or(manager),
            scope,
            entities: belonging.entities.clone(),
            thread: message.thread.clone(),
        };
        self.owe(contact, belonging);
        if let Some(thread) = &message.thread {
            let asking = self.asked_in.entry(thread.clone()).or_default();
            if !asking.contains(&contact) {
                asking.push(contact);
            }
        }
        self.asked_by.insert(message.id.clone(), contact);
        self.demand(contact, MESSAGES, demand);
    }

    /// An act towards the customer, or a conversation with him, settles his missed calls.
    fn settle_calls(&mut self, belonging: &Belonging, manager: Who, at: Timestamp, resolution: Resolution) {
        let Some(contact) = belonging.contact else { return };
        let who = self.responsible(belonging).or(manager);
        let act = Act { at, order: u64::MAX, resolution, who, reach: None };
        if at == self.desk.now {
            self.calls_now.push((contact, act.clone()));
        }
        self.owed(contact, missed_call_not_returned::KIND, |owed, desk, debtor| owed.act(desk, debtor, act));
    }

    /// A message sent, or a conversation, settles the messages of the contact, and of those who were `asking` as far
    /// as it reaches them.
    fn settle_messages(
        &mut self,
        belonging: &Belonging,
        mut asking: Vec<u32>,
        reach: Reach,
        manager: Who,
        at: Timestamp,
    ) {
        let act = Act {
            at,
            order: self.applied,
            resolution: Resolution::Answered,
            who: self.responsible(belonging).or(manager),
            reach: Some(Arc::new(reach)),
        };
        asking.sort_unstable();
        asking.dedup();
        asking.retain(|contact| Some(*contact) != belonging.contact);
        for contact in asking {
            self.owed(contact, MESSAGES, |owed, desk, debtor| owed.act(desk, debtor, act.clone()));
        }
        if let Some(contact) = belonging.contact {
            self.owed(contact, MESSAGES, |owed, desk, debtor| owed.act(desk, debtor, Act { reach: None, ..act }));
        }
    }

    /// A demand of a contact came in.
    fn demand(&mut self, contact: u32, kind: Kind, demand: Demand) {
        let horizon = self.memory.retention.map(|retention| self.desk.now.saturating_sub(retention));
        let card = &mut self.contacts[contact as usize];
        let owed = if kind.rule == MESSAGES.rule { &mut card.messages } else { &mut card.calls };
        owed.get_or_insert_default();
        self.owed(contact, kind, |owed, desk, debtor| {
            horizon.into_iter().for_each(|horizon| owed.forget(horizon));
            owed.demand(desk, debtor, demand);
        });
    }

    /// Works on what is owed to a contact, if anything is or was.
    fn owed(&mut self, contact: u32, kind: Kind, work: impl FnOnce(&mut Owed, &mut Desk, &Debtor<'_>)) {
        static NONE: CompactString = CompactString::const_new("");
        let Card { form, subject, calls, messages, .. } = &mut self.contacts[contact as usize];
        let subject = subject.as_ref().unwrap_or(&NONE);
        let owed = if kind.rule == MESSAGES.rule { messages } else { calls };
        let Some(owed) = owed else { return };
        self.desk.touched(StateKey::Contact(form.clone()));
        work(owed, &mut self.desk, &Debtor { journeys: &self.journeys, subject, contact, kind });
    }

    /// Notes in every entity that a contact demands something in its name.
    fn owe(&mut self, contact: u32, belonging: &Belonging) {
        let card = &mut self.contacts[contact as usize];
        if card.subject.is_none() {
            let norms = &self.desk.norms;
            let secret = norms.privacy_key.as_deref().unwrap_or(self.desk.tenant.as_str());
            card.subject = Some(format_compact!("contact:{}", identity::key(&card.form, secret)));
        }
        for entity in &belonging.entities {
            let debts = &mut self.journeys[*entity as usize].debts;
            if !debts.contains(&contact) {
                debts.push(contact);
            }
        }
    }

    fn belonging_of_call(&mut self, call: &Call) -> Belonging {
        let form = identity::phone(&call.phone, self.desk.norms.country);
        let contact = form.map(|form| self.contact(form));
        self.belonging(call.entity.as_ref(), None, contact)
    }

    fn belonging_of_message(&mut self, message: &Message) -> Belonging {
        let contact = message.contact.as_ref();
        let form = contact.and_then(|contact| identity::normal_form(contact, self.desk.norms.country));
        let contact = form.map(|form| self.contact(form));
        let belonging = self.belonging(message.entity.as_ref(), message.thread.as_ref(), contact);
        if let (Some(thread), Some(primary)) = (&message.thread, belonging.primary)
            && !self.threads.contains_key(thread)
        {
            self.threads.insert(thread.clone(), primary);
            self.desk.touched(StateKey::Thread(thread.0.clone()));
        }
        belonging
    }

    fn belonging(&mut self, entity: Option<&EntityId>, thread: Option<&ThreadId>, contact: Option<u32>) -> Belonging {
        let named = entity.and_then(|entity| self.known(entity));
        let tied = || thread.and_then(|thread| self.threads.get(thread).copied());
        let one = named.or_else(|| tied().filter(|entity| !self.journeys[*entity as usize].deleted()));
        if let Some(entity) = one {
            return Belonging { entities: vec![entity], primary: Some(entity), contact };
        }
        let mut entities: Vec<u32> = contact
            .map(|contact| self.contacts[contact as usize].entities.as_slice())
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|entity| self.journeys[*entity as usize].open())
            .collect();
        entities.sort_unstable();
        let primary = entities.iter().copied().max_by_key(|entity| self.journeys[*entity as usize].recency());
        Belonging { entities, primary, contact }
    }

    /// The entity's number, created with unknown creation time on first sight; `None` if it was deleted.
    fn known(&mut self, id: &EntityId) -> Option<u32> {
        if let Some(number) = self.by_id.get(id) {
            return (!self.journeys[*number as usize].deleted()).then_some(*number);
        }
        let number = self.journeys.len() as u32;
        let mut journey = Journey::new(id.clone(), number);
        if id.kind == EntityKind::Lead {
            journey.named_by = self.named_unknown.remove(&id.id).unwrap_or_default();
        }
        self.by_id.insert(id.clone(), number);
        self.journeys.push(journey);
        Some(number)
    }

    /// Changes a known entity and counts what differs.
    fn with(&mut self, id: &EntityId, change: impl FnOnce(&mut Journey, &mut Desk)) {
        if let Some(number) = self.known(id) {
            change(&mut self.journeys[number as usize], &mut self.desk);
            self.publish(number);
        }
    }

    fn publish(&mut self, number: u32) {
        self.journeys[number as usize].publish(&mut self.desk);
    }

    fn publish_all(&mut self, entities: &[u32]) {
        for entity in entities {
            self.publish(*entity);
        }
    }

    /// Another responsible: open alerts and demands go with the work.
    fn assign(&mut self, number: u32, who: Who) {
        if self.journeys[number as usize].who == who {
            return;
        }
        self.journeys[number as usize].assign(&mut self.desk, who);
        for i in 0..self.journeys[number as usize].debts.len() {
            let contact = self.journeys[number as usize].debts[i];
            for kind in [missed_call_not_returned::KIND, MESSAGES] {
                self.owed(contact, kind, |owed, desk, debtor| owed.hand_over(desk, debtor));
            }
        }
    }

    fn touch_all(&mut self, entities: &[u32], at: Timestamp) {
        for entity in entities {
            self.journeys[*entity as usize].touch(&mut self.desk, at);
        }
        self.publish_all(entities);
    }

    fn link(&mut self, entity: u32, contacts: &[Contact]) {
        for contact in contacts {
            let Some(form) = identity::normal_form(contact, self.desk.norms.country) else { continue };
            let contact = self.contact(form);
            let journey = &mut self.journeys[entity as usize];
            if !journey.contacts.contains(&contact) {
                journey.contacts.push(contact);
                self.contacts[contact as usize].entities.push(entity);
            }
        }
    }

    fn contact(&mut self, form: CompactString) -> u32 {
        let next = self.contacts.len() as u32;
        let number = *self.by_form.entry(form.clone()).or_insert(next);
        if number == next {
            self.contacts.push(Card { form, subject: None, entities: Vec::new(), calls: None, messages: None });
        }
        number
    }

    fn who(&mut self, manager: Option<&ManagerId>) -> Who {
        let Desk { people, out, .. } = &mut self.desk;
        manager.map_or(Who::NOBODY, |manager| people.number(manager, out))
    }

    fn responsible(&self, belonging: &Belonging) -> Who {
        belonging.primary.map_or(Who::NOBODY, |primary| self.journeys[primary as usize].who)
    }

    /// The norms of an entity, or without one those of the manager that the event names.
    fn scope_of(&mut self, entity: Option<u32>, manager: Who) -> Arc<Scope> {
        let Some(number) = entity else { return self.desk.scope(manager, None, None) };
        let lead_source = self.lead_source(number);
        let journey = &self.journeys[number as usize];
        let source = journey.source.as_ref().or(lead_source.as_ref());
        let pipeline = journey.pipeline.as_ref().map(PipelineId::as_str);
        self.desk.scope(journey.who.or(manager), pipeline, source.map(SourceId::as_str))
    }

    /// The source of a deal's lead.
    fn lead_source(&self, deal: u32) -> Option<SourceId> {
        let lead = self.journeys[deal as usize].lead.clone()?;
        let number = self.by_id.get(&EntityId { kind: EntityKind::Lead, id: lead })?;
        self.journeys[*number as usize].source.clone()
    }
}

fn fill<T: Clone>(held: &mut Option<T>, given: &Option<T>) {
    if held.is_none() {
        held.clone_from(given);
    }
}

fn replace<T: Clone>(held: &mut Option<T>, given: &Option<T>) {
    if given.is_some() {
        held.clone_from(given);
    }
}

fn set_amount(journey: &mut Journey, amount: &Amount) {
    replace(&mut journey.amount_minor, &amount.minor);
    replace(&mut journey.currency, &amount.currency);
}
