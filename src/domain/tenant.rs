//! Owns one tenant: applies its events in event-time order, lets its timers go off in between, and returns effects.
//! What an event means to entities stands here, what calls and messages mean in `interactions`, what late events change
//! in `correction`, what is forgotten and how a tenant comes back in `memory`.

mod cases;
mod correction;
mod interactions;
mod log;
mod memory;
mod telling;

use super::desk::{Desk, Timer};
use super::duplicates::Duplicates;
use super::effect::{Effect, Measure, Percent, Who};
use super::event::{
    ActivityKind, Amount, Contact, Created, CrmPayload, Direction, Event, Outcome, Payload, Snapshot, StageChanged,
    TermsOffered, Turn,
};
use super::few::Few;
use super::id::{CallId, EntityId, EntityKind, ManagerId, MessageId, TenantId, ThreadId};
use super::identity;
use super::journey::{Arrival, Journey};
use super::norms::{Norms, Scope};
use super::owed::{Act, Kind, Owed};
use super::people::Record;
use super::rare::{Blank, Rare};
use super::register::{Keyed, Register};
use super::review::Sampler;
use super::rule::Deed;
use super::rule::message_unanswered::KIND as MESSAGES;
use super::rule::missed_call_not_returned::KIND as CALLS;
use super::rule::source_silent::Silences;
use super::state::{Journal, Packing};
use super::terms;
use super::time::{Span, Timestamp};
use cases::Cases;
use compact_str::CompactString;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
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
    /// Whether it is noted what a restored tenant is made of.
    pub durable: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            dedup_window: Span(6 * Span::HOUR.0),
            correction_horizon: Span(7 * Span::DAY.0),
            retention: None,
            durable: false,
        }
    }
}

/// One tenant.
#[derive(Debug)]
pub struct Tenant {
    desk: Desk,
    memory: Memory,
    packing: Packing,
    /// What is to be written since it was last taken.
    journal: Journal,
    /// When to see whether a case is over for long enough.
    fading: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// The last event of each topic among those that are forgotten.
    spoke: [Timestamp; 3],
    /// Bytes of the event that is being kept.
    packed: Vec<u8>,
    duplicates: Duplicates,
    cases: Cases,
    /// The norms, and from when on they were in force.
    eras: Vec<(Timestamp, Arc<Norms>)>,
    /// `None`: nobody asks for it.
    silences: Option<Silences>,
    sampler: Option<Sampler>,
    /// The keys of the event that is being processed.
    keys: Vec<u64>,
    journeys: Register<Journey>,
    contacts: Register<Card>,
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
#[derive(Debug, Default)]
struct Card {
    form: CompactString,
    entities: Few,
    /// Most contacts are owed nothing.
    debt: Rare<Debt>,
}

/// What is owed to a contact.
#[derive(Debug, Default)]
struct Debt {
    /// `contact:KEY`, made when it is first needed.
    subject: Option<CompactString>,
    calls: Option<Box<Owed>>,
    messages: Option<Box<Owed>>,
}

impl Blank for Debt {
    fn blank() -> &'static Self {
        static BLANK: Debt = Debt { subject: None, calls: None, messages: None };
        &BLANK
    }
}

impl Keyed for Card {
    type Key = CompactString;
    fn key(&self) -> &CompactString {
        &self.form
    }
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

impl Tenant {
    /// A tenant that nothing has happened to.
    pub fn new(id: TenantId, norms: Arc<Norms>, memory: Memory, packing: Packing) -> Self {
        let mut desk = Desk::new(id, Arc::clone(&norms));
        Self {
            eras: vec![(Timestamp::MIN, norms)],
            silences: Silences::new(desk.scope(Who::NOBODY, None, None), memory.correction_horizon),
            sampler: Sampler::new(&desk, memory.correction_horizon),
            desk,
            memory,
            packing,
            journal: Journal::default(),
            fading: BinaryHeap::new(),
            spoke: [Timestamp::MIN; 3],
            packed: Vec::new(),
            duplicates: Duplicates::new(memory.dedup_window, memory.correction_horizon),
            cases: Cases::default(),
            keys: Vec::new(),
            journeys: Register::default(),
            contacts: Register::default(),
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
        let fading = self.fading.peek().map(|Reverse((at, _))| *at);
        self.desk.next_timer().into_iter().chain(fading).min()
    }

    /// Hands out the effects so far, in order.
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.desk.out);
    }

    /// Hands out what is to be written.
    pub fn take_journal(&mut self) -> Journal {
        std::mem::take(&mut self.journal)
    }

    /// Applies an event at its turn; timers before it go off first. `false`: it was a duplicate and changed nothing.
    pub fn apply(&mut self, turn: Turn, event: Event) -> bool {
        self.run_timers(Timestamp(event.at.0 - 1));
        let topic = event.payload.topic();
        if event.id.as_ref().is_some_and(|id| !self.duplicates.take(topic, id, event.at)) {
            return false;
        }
        self.take_effect(turn, &event.payload);
        let case = self.cases.join(&self.keys);
        self.keep(turn, event.id, &event.payload);
        if self.cases.log(case, turn, &self.packed) {
            self.fade(case, event.at);
        }
        true
    }

    /// Does what an event in its turn says, and leaves the keys of all that it names in `keys`.
    fn take_effect(&mut self, turn: Turn, payload: &Payload) {
        self.enter(turn);
        if self.desk.first_event.is_none() {
            self.desk.first_event = Some(turn.at);
            self.journal.marked = true;
        }
        if let Some(silences) = &mut self.silences {
            silences.spoke(payload.topic(), &mut self.desk);
        }
        self.step(payload);
        cases::keys(payload, self.desk.norms.country, &mut self.keys);
    }

    /// Goes on to the turn of an event.
    fn enter(&mut self, turn: Turn) {
        if self.desk.now != turn.at {
            self.calls_now.clear();
        }
        self.desk.turn_to(turn);
        self.applied += 1;
    }

    /// Does what an event says.
    fn step(&mut self, payload: &Payload) {
        match payload {
            Payload::Crm(payload) => self.crm(payload),
            Payload::Call(call) => match &call.end {
                None => self.call_started(call),
                Some(end) => self.call_ended(call, end),
            },
            Payload::Message(message) => self.message(message),
        }
    }

    /// Forgets what is kept of an event beside journeys and contacts, to play its case again.
    fn forget(&mut self, payload: &Payload) {
        payload.each_entity(|kind, id| {
            if kind == EntityKind::Lead {
                self.named_unknown.remove(id);
            }
        });
        match payload {
            Payload::Crm(_) => {}
            Payload::Call(call) => {
                self.ended.remove(&call.id);
                self.ringing.remove(&call.id);
            }
            Payload::Message(message) => {
                if let Some(thread) = &message.thread {
                    self.threads.remove(thread);
                    self.asked_in.remove(thread);
                }
                // A reply is named by nobody: one that has the id of a question is not it, nor need it be of its case.
                if message.direction == Direction::Inbound {
                    self.asked_by.remove(&message.id);
                }
            }
        }
    }

    /// Other norms are in force, from `at` on: clocks that run are worked out anew, and what is overdue fires at once.
    pub fn reload(&mut self, norms: Arc<Norms>, at: Timestamp) {
        self.run_timers(at);
        self.eras.push((at, Arc::clone(&norms)));
        self.journal.marked = true;
        self.take_norms(norms, at, self.journeys.numbers(), self.contacts.numbers());
        let (scope, horizon) = (self.desk.scope(Who::NOBODY, None, None), self.memory.correction_horizon);
        self.silences = match self.silences.take() {
            Some(silences) => silences.reload(&mut self.desk, scope),
            None => Silences::new(scope, horizon),
        };
        self.sampler = self.sampler.take().or_else(|| Sampler::new(&self.desk, horizon));
        self.run_timers(at);
    }

    fn take_norms(
        &mut self,
        norms: Arc<Norms>,
        at: Timestamp,
        journeys: impl IntoIterator<Item = u32>,
        contacts: impl IntoIterator<Item = u32>,
    ) {
        self.desk.turn_to(Turn::deadline(at));
        self.desk.set_norms(norms);
        for number in journeys {
            if self.journeys[number].heard().is_some() {
                self.refresh(number);
                self.journeys[number].reload(&mut self.desk);
            }
        }
        for contact in contacts {
            for kind in [CALLS, MESSAGES] {
                let Debt { calls, messages, .. } = &*self.contacts[contact].debt;
                let Some((entity, who)) = either(kind, calls, messages).as_ref().and_then(|owed| owed.waiting()) else {
                    continue;
                };
                let scope = self.scope_of(entity, who);
                self.owed(contact, kind, |owed, desk, debtor| owed.reload(desk, debtor, &scope));
            }
        }
    }

    /// Lets every timer up to and including `until` go off.
    pub fn run_timers(&mut self, until: Timestamp) {
        self.forget_until(until);
        self.ring_timers(until);
    }

    fn ring_timers(&mut self, until: Timestamp) {
        while let Some((at, timer)) = self.desk.due(until) {
            self.desk.turn_to(Turn::deadline(at));
            match timer {
                Timer::Journey(number) => {
                    self.refresh(number);
                    self.journeys[number].ring(&mut self.desk);
                }
                Timer::MissedCalls(number) => self.owed(number, CALLS, |owed, desk, debtor| owed.ring(desk, debtor)),
                Timer::Messages(number) => self.owed(number, MESSAGES, |owed, desk, debtor| owed.ring(desk, debtor)),
                Timer::Silence(topic) => {
                    self.silences.iter_mut().for_each(|silences| silences.ring(topic, &mut self.desk));
                }
                Timer::Reviews(who) => {
                    self.sampler.iter_mut().for_each(|sampler| sampler.ring(&mut self.desk, who, &self.journeys));
                }
            }
        }
    }

    fn crm(&mut self, payload: &CrmPayload) {
        match payload {
            CrmPayload::LeadCreated(created) => self.created(EntityKind::Lead, created),
            CrmPayload::DealCreated(created) => self.created(EntityKind::Deal, created),
            CrmPayload::StageChanged(change) => self.stage_changed(change),
            CrmPayload::Assigned { entity, manager } => {
                let who = self.desk.people.number(manager, &mut self.desk.out);
                if let Some(number) = self.known(entity) {
                    self.assign(number, who);
                    self.publish(number);
                }
            }
            CrmPayload::Closed { entity, outcome, reason } => {
                self.with(entity, |journey, desk| journey.close(desk, *outcome, reason.as_ref()));
            }
            CrmPayload::Reopened { entity, stage } => {
                self.with(entity, |journey, desk| {
                    if let Some(stage) = stage {
                        let at = desk.now;
                        journey.arrive(desk, Arrival { pipeline: None, stage, from: None, at, moved: false });
                    }
                    journey.reopen(desk);
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
            CrmPayload::InteractionReviewed { interaction, manager, score, verdict } => {
                let who = self.desk.people.number(manager, &mut self.desk.out);
                let score_micros = (score * 1e6).round() as i64;
                self.desk.fact(self.desk.now, who, 1, Measure::Review { score_micros, verdict: *verdict });
                self.sampler.iter_mut().for_each(|sampler| sampler.answer(&mut self.desk, interaction));
            }
            CrmPayload::ManagerUpserted { manager, department, grade, active } => {
                let Desk { people, out, turn, .. } = &mut self.desk;
                let record = Record { department: department.clone(), grade: grade.clone(), active: *active };
                let horizon = turn.at.saturating_sub(self.memory.correction_horizon);
                people.upsert(manager, record, *turn, horizon, out);
            }
            CrmPayload::Snapshot(snapshot) => self.snapshot(snapshot),
        }
    }

    fn stage_changed(&mut self, change: &StageChanged) {
        self.with(&change.entity, |journey, desk| {
            journey.fill(&change.filled_fields);
            let (pipeline, from, at) = (change.pipeline.as_ref(), change.from.as_ref(), desk.now);
            journey.arrive(desk, Arrival { pipeline, stage: &change.to, from, at, moved: true });
        });
    }

    /// `lead_created` and `deal_created`: on a known entity, attributes only fill gaps.
    fn created(&mut self, kind: EntityKind, created: &Created) {
        let Some(number) = self.known(&EntityId { kind, id: created.id.clone() }) else { return };
        let who = self.who(created.manager.as_ref());
        let journey = &mut self.journeys[number];
        fill(&mut journey.source, &created.source);
        if created.amount != Amount::default() {
            let amount = &mut journey.sale.amount;
            fill(&mut amount.minor, &created.amount.minor);
            fill(&mut amount.currency, &created.amount.currency);
        }
        if journey.who == Who::NOBODY {
            self.assign(number, who);
        }
        let named = self.name_lead(number, created.lead.as_ref());
        self.link(number, &created.contacts);
        self.refresh(number);
        let (journey, desk) = (&mut self.journeys[number], &mut self.desk);
        journey.in_pipeline(desk, created.pipeline.as_ref());
        journey.begin();
        let at = desk.now;
        if let Some(stage) = created.stage.as_ref().filter(|_| journey.stage().is_none()) {
            journey.arrive(desk, Arrival { pipeline: None, stage, from: None, at, moved: false });
        }
        self.born(number, at);
        self.publish(number);
        self.convert(named);
    }

    /// `lead_snapshot` and `deal_snapshot`: what differs from what is held has happened.
    fn snapshot(&mut self, snapshot: &Snapshot) {
        let Some(number) = self.known(&snapshot.entity) else { return };
        let who = self.who(snapshot.manager.as_ref());
        let journey = &mut self.journeys[number];
        replace(&mut journey.source, &snapshot.source);
        if snapshot.amount != Amount::default() {
            let amount = &mut journey.sale.amount;
            replace(&mut amount.minor, &snapshot.amount.minor);
            replace(&mut amount.currency, &snapshot.amount.currency);
        }
        if who != Who::NOBODY {
            self.assign(number, who);
        }
        let named = self.name_lead(number, snapshot.lead.as_ref());
        self.link(number, &snapshot.contacts);
        self.refresh(number);
        let (journey, desk) = (&mut self.journeys[number], &mut self.desk);
        journey.in_pipeline(desk, snapshot.pipeline.as_ref());
        journey.fill(&snapshot.filled_fields);
        let entered = snapshot.stage_entered_at.unwrap_or(desk.now).min(desk.now);
        let created = journey.created().or(snapshot.created_at.map(|created| created.min(desk.now)));
        let shown = if snapshot.stage.is_some() { entered } else { desk.now };
        if journey.stage().is_none() && created.is_some_and(|created| shown <= created) {
            // It is shown as it was created: there is no past that is not known.
            journey.begin();
        }
        if let Some(stage) = snapshot.stage.clone().or_else(|| journey.stage().cloned()) {
            let at = journey.since().map_or(entered, |since| entered.max(since));
            let moved = journey.stage().is_some();
            let pipeline = snapshot.pipeline.as_ref();
            journey.arrive(desk, Arrival { pipeline, stage: &stage, from: None, at, moved });
        } else if let Some(pipeline) = &snapshot.pipeline {
            journey.set_pipeline(pipeline);
        }
        if let Some(created_at) = snapshot.created_at {
            let at = created_at.min(self.desk.now);
            self.born(number, at);
        }
        let (journey, desk) = (&mut self.journeys[number], &mut self.desk);
        if let Some(outcome) = snapshot.outcome {
            journey.close(desk, outcome, snapshot.reason.as_ref());
        }
        self.publish(number);
        self.convert(named);
    }

    /// The creation of an entity became known. Clocks that count from it run only if it is not earlier than the first
    /// event seen of the tenant: the first sync of a CRM must not set off a thousand alarms.
    fn born(&mut self, number: u32, at: Timestamp) {
        let watched = self.desk.first_event.is_some_and(|first| at >= first);
        self.journeys[number].born(&mut self.desk, at, watched);
    }

    /// A deal names its lead for the first time; returns the lead if it is known.
    fn name_lead(&mut self, number: u32, lead: Option<&CompactString>) -> Option<u32> {
        let lead = lead?;
        let journey = &mut self.journeys[number];
        if journey.id.kind != EntityKind::Deal || journey.sale.lead.is_some() {
            return None;
        }
        journey.sale.lead = Some(lead.clone());
        match self.heard_lead(lead) {
            Some(known) => {
                self.journeys[known].named_by += 1;
                Some(known)
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
        let journey = &mut self.journeys[number];
        if journey.open() {
            journey.close(&mut self.desk, Outcome::Converted, None);
        }
        self.publish(number);
    }

    fn deleted(&mut self, entity: &EntityId) {
        let Some(number) = self.known(entity) else { return };
        let journey = &mut self.journeys[number];
        journey.delete(&mut self.desk);
        let lead = journey.sale.lead.clone();
        self.publish(number);
        if let Some(lead) = lead {
            match self.heard_lead(&lead) {
                Some(known) => {
                    self.journeys[known].named_by -= 1;
                    self.publish(known);
                }
                None => {
                    self.named_unknown.entry(lead).and_modify(|deals| *deals -= 1);
                }
            }
        }
    }

    /// The number of a lead that was heard of.
    fn heard_lead(&self, id: &CompactString) -> Option<u32> {
        let number = self.journeys.find(&EntityId { kind: EntityKind::Lead, id: id.clone() })?;
        self.journeys[number].heard().map(|_| number)
    }

    fn terms(&mut self, terms: &TermsOffered) {
        let Some(number) = self.known(&EntityId { kind: EntityKind::Deal, id: terms.deal.clone() }) else { return };
        let offering = self.who(terms.manager.as_ref());
        let who = offering.or(self.journeys[number].who);
        self.refresh(number);
        let turn = self.desk.turn;
        let grade = self.desk.people.grade(who, turn).map(CompactString::from);
        let deed = Deed::Offered { terms, grade: grade.as_deref() };
        self.journeys[number].judge(&mut self.desk, &deed, who);
        let discount = Percent::new(terms.discount_percent.unwrap_or_default());
        let measure = Measure::Terms { deal: number, special: terms::special(terms), discount };
        self.desk.fact(self.desk.now, who, 1, measure);
        self.publish(number);
    }

    fn activity(&mut self, entity: &EntityId, manager: Option<&ManagerId>, kind: ActivityKind) {
        let Some(number) = self.known(entity) else { return };
        self.journeys[number].complete(kind);
        if matches!(kind, ActivityKind::Meeting | ActivityKind::Demo) {
            let who = self.who(manager).or(self.journeys[number].who);
            let now = self.desk.now;
            self.refresh(number);
            let journey = &mut self.journeys[number];
            journey.touch(&mut self.desk, now, false);
            journey.contact(&mut self.desk, now, false);
            self.desk.fact(now, who, 1, Measure::Touch);
            if kind == ActivityKind::Meeting {
                self.desk.fact(now, who, 1, Measure::Meeting);
            }
        }
        self.publish(number);
    }

    /// The entity's number, created with unknown creation time on first sight; `None` if it was deleted.
    fn known(&mut self, id: &EntityId) -> Option<u32> {
        let number = match self.journeys.find(id) {
            Some(number) => number,
            None => self.journeys.enter(|number| Journey::new(id.clone(), number)),
        };
        let journey = &mut self.journeys[number];
        if journey.heard().is_none() {
            journey.hear(self.desk.turn);
            if id.kind == EntityKind::Lead {
                journey.named_by = self.named_unknown.remove(&id.id).unwrap_or_default();
            }
        }
        (!journey.deleted()).then_some(number)
    }

    /// Takes over the source of a deal's lead as it is now, for norms of clocks that start now.
    fn refresh(&mut self, number: u32) {
        let journey = &self.journeys[number];
        if let (None, Some(lead)) = (&journey.source, &journey.sale.lead) {
            let source = self.heard_lead(lead).and_then(|lead| self.journeys[lead].source.clone());
            self.journeys[number].sale.lead_source = source;
        }
    }

    /// Changes a known entity and counts what differs.
    fn with(&mut self, id: &EntityId, change: impl FnOnce(&mut Journey, &mut Desk)) {
        if let Some(number) = self.known(id) {
            self.refresh(number);
            change(&mut self.journeys[number], &mut self.desk);
            self.publish(number);
        }
    }

    fn publish(&mut self, number: u32) {
        self.journeys[number].publish(&mut self.desk);
    }

    fn publish_all(&mut self, entities: &[u32]) {
        for entity in entities {
            self.publish(*entity);
        }
    }

    /// Another responsible: open alerts and demands go with the work.
    fn assign(&mut self, number: u32, who: Who) {
        if self.journeys[number].who == who {
            return;
        }
        self.journeys[number].assign(&mut self.desk, who);
        for i in 0..self.journeys[number].debts().len() {
            let contact = self.journeys[number].debts()[i];
            for kind in [CALLS, MESSAGES] {
                self.owed(contact, kind, |owed, desk, debtor| owed.hand_over(desk, debtor));
            }
        }
    }

    fn touch_all(&mut self, entities: &[u32], at: Timestamp, talk: bool) {
        for entity in entities {
            self.refresh(*entity);
            self.journeys[*entity].touch(&mut self.desk, at, talk);
        }
        self.publish_all(entities);
    }

    fn link(&mut self, entity: u32, contacts: &[Contact]) {
        for contact in contacts {
            let Some(form) = identity::normal_form(contact, self.desk.norms.country) else { continue };
            let contact = self.contact(form);
            let journey = &mut self.journeys[entity];
            if !journey.contacts.contains(&contact) {
                journey.contacts.push(contact);
                self.contacts[contact].entities.push(entity);
            }
        }
    }

    fn contact(&mut self, form: CompactString) -> u32 {
        match self.contacts.find(&form) {
            Some(number) => number,
            None => self.contacts.enter(|_| Card { form, ..Card::default() }),
        }
    }

    fn who(&mut self, manager: Option<&ManagerId>) -> Who {
        let Desk { people, out, .. } = &mut self.desk;
        manager.map_or(Who::NOBODY, |manager| people.number(manager, out))
    }

    fn responsible(&self, belonging: &Belonging) -> Who {
        belonging.primary.map_or(Who::NOBODY, |primary| self.journeys[primary].who)
    }

    /// The norms of an entity, or without one those of the manager that the event names.
    fn scope_of(&mut self, entity: Option<u32>, manager: Who) -> Arc<Scope> {
        let Some(number) = entity else { return self.desk.scope(manager, None, None) };
        self.refresh(number);
        let journey = &self.journeys[number];
        journey.scope_for(&mut self.desk, journey.who.or(manager))
    }
}

/// That of calls or that of messages.
fn either<T>(kind: Kind, calls: T, messages: T) -> T {
    if kind.rule == MESSAGES.rule { messages } else { calls }
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
