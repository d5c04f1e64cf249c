//! Owns one tenant: applies its events in event-time order, lets its timers go off in between, and returns effects.
//! What an event means to entities stands here, what calls and messages mean in `interactions`, what late events change
//! in `correction`, what is forgotten and how a tenant comes back in `memory`.

mod cases;
mod correction;
mod event_log;
mod explain;
mod interactions;
mod persistence;

use super::changelog::{Changelog, PayloadCodec};
use super::duplicates::Duplicates;
use super::effect::{Effect, ManagerIx, Measure, Percent};
use super::event::{
    ActivityKind, Amount, Contact, Created, CrmPayload, Direction, Event, EventOrder, Outcome, Payload, Snapshot,
    StageChanged, TermsOffered,
};
use super::id::{CallId, EntityId, EntityKind, ManagerId, MessageId, TenantId, ThreadId};
use super::identity;
use super::indexed_arena::{IndexedArena, Keyed};
use super::journey::{Journey, StageEntry};
use super::lazy_box::{LazyBox, StaticDefault};
use super::norms::{Norms, Scope};
use super::pending_replies::{DemandKind, PendingReplies, Settlement};
use super::people::ManagerRecord;
use super::review::Sampler;
use super::rule::Act;
use super::rule::message_unanswered::KIND as MESSAGES;
use super::rule::missed_call_not_returned::KIND as CALLS;
use super::rule::source_silent::Silences;
use super::small_index_vec::SmallIndexVec;
use super::tenant_context::{TenantContext, Timer};
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
    context: TenantContext,
    memory: Memory,
    packing: PayloadCodec,
    /// What is to be written since it was last taken.
    changelog: Changelog,
    /// When to see whether a case is over for long enough.
    fading: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// The last event of each topic among those that are forgotten.
    last_event: [Timestamp; 3],
    /// Bytes of the event that is being kept.
    packed: Vec<u8>,
    duplicates: Duplicates,
    cases: Cases,
    /// The norms, and from when on they were in force.
    norm_versions: Vec<(Timestamp, Arc<Norms>)>,
    /// `None`: nobody asks for it.
    silences: Option<Silences>,
    sampler: Option<Sampler>,
    /// The keys of the event that is being processed.
    keys: Vec<u64>,
    journeys: IndexedArena<Journey>,
    contacts: IndexedArena<ContactState>,
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
    calls_now: Vec<(u32, Settlement)>,
    /// How many events were applied: the order of effect.
    applied: u64,
    /// Deals that name leads which are not known.
    named_unknown: FxHashMap<CompactString, u32>,
}

/// A phone or an address, and what is owed to it.
#[derive(Debug, Default)]
struct ContactState {
    form: CompactString,
    entities: SmallIndexVec,
    /// Most contacts are owed nothing.
    pending: LazyBox<ContactPending>,
}

/// What is owed to a contact.
#[derive(Debug, Default)]
struct ContactPending {
    /// `contact:KEY`, made when it is first needed.
    subject: Option<CompactString>,
    calls: Option<Box<PendingReplies>>,
    messages: Option<Box<PendingReplies>>,
}

impl StaticDefault for ContactPending {
    fn static_default() -> &'static Self {
        static EMPTY: ContactPending = ContactPending { subject: None, calls: None, messages: None };
        &EMPTY
    }
}

impl Keyed for ContactState {
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
    pub fn new(id: TenantId, norms: Arc<Norms>, memory: Memory, packing: PayloadCodec) -> Self {
        let mut context = TenantContext::new(id, Arc::clone(&norms));
        Self {
            norm_versions: vec![(Timestamp::MIN, norms)],
            silences: Silences::new(context.scope(ManagerIx::NONE, None, None), memory.correction_horizon),
            sampler: Sampler::new(&context, memory.correction_horizon),
            context,
            memory,
            packing,
            changelog: Changelog::default(),
            fading: BinaryHeap::new(),
            last_event: [Timestamp::MIN; 3],
            packed: Vec::new(),
            duplicates: Duplicates::new(memory.dedup_window, memory.correction_horizon),
            cases: Cases::default(),
            keys: Vec::new(),
            journeys: IndexedArena::default(),
            contacts: IndexedArena::default(),
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
        &self.context.tenant
    }

    /// The instant of its next timer.
    pub fn next_timer(&self) -> Option<Timestamp> {
        let fading = self.fading.peek().map(|Reverse((at, _))| *at);
        self.context.next_timer().into_iter().chain(fading).min()
    }

    /// Hands out the effects so far, in order.
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.context.out);
    }

    /// Hands out what is to be written.
    pub fn take_changelog(&mut self) -> Changelog {
        std::mem::take(&mut self.changelog)
    }

    /// Applies an event at its turn; timers before it go off first. `false`: it was a duplicate and changed nothing.
    pub fn apply(&mut self, order: EventOrder, event: Event) -> bool {
        self.run_timers(Timestamp(event.at.0 - 1));
        let topic = event.payload.topic();
        if event.id.as_ref().is_some_and(|id| !self.duplicates.take(topic, id, event.at)) {
            return false;
        }
        self.take_effect(order, &event.payload);
        let case = self.cases.join(&self.keys);
        self.keep(order, event.id, &event.payload);
        if self.cases.log(case, order, &self.packed) {
            self.fade(case, event.at);
        }
        true
    }

    /// Does what an event in its turn says, and leaves the keys of all that it names in `keys`.
    fn take_effect(&mut self, order: EventOrder, payload: &Payload) {
        self.enter(order);
        if self.context.first_event.is_none() {
            self.context.first_event = Some(order.at);
            self.changelog.marked = true;
        }
        if let Some(silences) = &mut self.silences {
            silences.record_event(payload.topic(), &mut self.context);
        }
        self.step(payload);
        cases::keys(payload, self.context.norms.country, &mut self.keys);
    }

    /// Goes on to the turn of an event.
    fn enter(&mut self, order: EventOrder) {
        if self.context.now != order.at {
            self.calls_now.clear();
        }
        self.context.advance_to(order);
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
        self.norm_versions.push((at, Arc::clone(&norms)));
        self.changelog.marked = true;
        self.take_norms(norms, at, self.journeys.numbers(), self.contacts.numbers());
        let (scope, horizon) = (self.context.scope(ManagerIx::NONE, None, None), self.memory.correction_horizon);
        self.silences = match self.silences.take() {
            Some(silences) => silences.reload(&mut self.context, scope),
            None => Silences::new(scope, horizon),
        };
        self.sampler = self.sampler.take().or_else(|| Sampler::new(&self.context, horizon));
        self.run_timers(at);
    }

    fn take_norms(
        &mut self,
        norms: Arc<Norms>,
        at: Timestamp,
        journeys: impl IntoIterator<Item = u32>,
        contacts: impl IntoIterator<Item = u32>,
    ) {
        self.context.advance_to(EventOrder::deadline(at));
        self.context.set_norms(norms);
        for number in journeys {
            if self.journeys[number].heard().is_some() {
                self.refresh(number);
                self.journeys[number].reload(&mut self.context);
            }
        }
        for contact in contacts {
            for kind in [CALLS, MESSAGES] {
                let ContactPending { calls, messages, .. } = &*self.contacts[contact].pending;
                let Some((entity, who)) =
                    either(kind, calls, messages).as_ref().and_then(|pending_replies| pending_replies.waiting())
                else {
                    continue;
                };
                let scope = self.scope_of(entity, who);
                self.pending_replies(contact, kind, |pending_replies, context, demand_context| {
                    pending_replies.reload(context, demand_context, &scope)
                });
            }
        }
    }

    /// Lets every timer up to and including `until` go off.
    pub fn run_timers(&mut self, until: Timestamp) {
        self.forget_until(until);
        self.ring_timers(until);
    }

    fn ring_timers(&mut self, until: Timestamp) {
        while let Some((at, timer)) = self.context.due(until) {
            self.context.advance_to(EventOrder::deadline(at));
            match timer {
                Timer::Journey(number) => {
                    self.refresh(number);
                    self.journeys[number].ring(&mut self.context);
                }
                Timer::MissedCalls(number) => {
                    self.pending_replies(number, CALLS, |pending_replies, context, demand_context| {
                        pending_replies.ring(context, demand_context)
                    })
                }
                Timer::Messages(number) => {
                    self.pending_replies(number, MESSAGES, |pending_replies, context, demand_context| {
                        pending_replies.ring(context, demand_context)
                    })
                }
                Timer::Silence(topic) => {
                    self.silences.iter_mut().for_each(|silences| silences.ring(topic, &mut self.context));
                }
                Timer::Reviews(who) => {
                    self.sampler.iter_mut().for_each(|sampler| sampler.ring(&mut self.context, who, &self.journeys));
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
                let who = self.context.people.number(manager, &mut self.context.out);
                if let Some(number) = self.known(entity) {
                    self.assign(number, who);
                    self.publish(number);
                }
            }
            CrmPayload::Closed { entity, outcome, reason } => {
                self.with(entity, |journey, context| journey.close(context, *outcome, reason.as_ref()));
            }
            CrmPayload::Reopened { entity, stage } => {
                self.with(entity, |journey, context| {
                    if let Some(stage) = stage {
                        let at = context.now;
                        journey.arrive(context, StageEntry { pipeline: None, stage, from: None, at, moved: false });
                    }
                    journey.reopen(context);
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
                let who = self.context.people.number(manager, &mut self.context.out);
                let score_micros = (score * 1e6).round() as i64;
                self.context.fact(self.context.now, who, 1, Measure::Review { score_micros, verdict: *verdict });
                self.sampler.iter_mut().for_each(|sampler| sampler.answer(&mut self.context, interaction));
            }
            CrmPayload::ManagerUpserted { manager, department, grade, active } => {
                let TenantContext { people, out, order, .. } = &mut self.context;
                let record = ManagerRecord { department: department.clone(), grade: grade.clone(), active: *active };
                let horizon = order.at.saturating_sub(self.memory.correction_horizon);
                people.upsert(manager, record, *order, horizon, out);
            }
            CrmPayload::Snapshot(snapshot) => self.snapshot(snapshot),
        }
    }

    fn stage_changed(&mut self, change: &StageChanged) {
        self.with(&change.entity, |journey, context| {
            journey.fill(&change.filled_fields);
            let (pipeline, from, at) = (change.pipeline.as_ref(), change.from.as_ref(), context.now);
            journey.arrive(context, StageEntry { pipeline, stage: &change.to, from, at, moved: true });
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
        if journey.who == ManagerIx::NONE {
            self.assign(number, who);
        }
        let named = self.name_lead(number, created.lead.as_ref());
        self.link(number, &created.contacts);
        self.refresh(number);
        let (journey, context) = (&mut self.journeys[number], &mut self.context);
        journey.in_pipeline(context, created.pipeline.as_ref());
        journey.begin();
        let at = context.now;
        if let Some(stage) = created.stage.as_ref().filter(|_| journey.stage().is_none()) {
            journey.arrive(context, StageEntry { pipeline: None, stage, from: None, at, moved: false });
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
        if who != ManagerIx::NONE {
            self.assign(number, who);
        }
        let named = self.name_lead(number, snapshot.lead.as_ref());
        self.link(number, &snapshot.contacts);
        self.refresh(number);
        let (journey, context) = (&mut self.journeys[number], &mut self.context);
        journey.in_pipeline(context, snapshot.pipeline.as_ref());
        journey.fill(&snapshot.filled_fields);
        let entered = snapshot.stage_entered_at.unwrap_or(context.now).min(context.now);
        let created = journey.created().or(snapshot.created_at.map(|created| created.min(context.now)));
        let shown = if snapshot.stage.is_some() { entered } else { context.now };
        if journey.stage().is_none() && created.is_some_and(|created| shown <= created) {
            // It is shown as it was created: there is no past that is not known.
            journey.begin();
        }
        if let Some(stage) = snapshot.stage.clone().or_else(|| journey.stage().cloned()) {
            let at = journey.since().map_or(entered, |since| entered.max(since));
            let moved = journey.stage().is_some();
            let pipeline = snapshot.pipeline.as_ref();
            journey.arrive(context, StageEntry { pipeline, stage: &stage, from: None, at, moved });
        } else if let Some(pipeline) = &snapshot.pipeline {
            journey.set_pipeline(pipeline);
        }
        if let Some(created_at) = snapshot.created_at {
            let at = created_at.min(self.context.now);
            self.born(number, at);
        }
        let (journey, context) = (&mut self.journeys[number], &mut self.context);
        if let Some(outcome) = snapshot.outcome {
            journey.close(context, outcome, snapshot.reason.as_ref());
        }
        self.publish(number);
        self.convert(named);
    }

    /// The creation of an entity became known. Clocks that count from it run only if it is not earlier than the first
    /// event seen of the tenant: the first sync of a CRM must not set off a thousand alarms.
    fn born(&mut self, number: u32, at: Timestamp) {
        let watched = self.context.first_event.is_some_and(|first| at >= first);
        self.journeys[number].born(&mut self.context, at, watched);
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
            journey.close(&mut self.context, Outcome::Converted, None);
        }
        self.publish(number);
    }

    fn deleted(&mut self, entity: &EntityId) {
        let Some(number) = self.known(entity) else { return };
        let journey = &mut self.journeys[number];
        journey.delete(&mut self.context);
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
        let order = self.context.order;
        let grade = self.context.people.grade(who, order).map(CompactString::from);
        let act = Act::Offered { terms, grade: grade.as_deref() };
        self.journeys[number].judge(&mut self.context, &act, who);
        let discount = Percent::new(terms.discount_percent.unwrap_or_default());
        let measure = Measure::Terms { deal: number, special: terms::special(terms), discount };
        self.context.fact(self.context.now, who, 1, measure);
        self.publish(number);
    }

    fn activity(&mut self, entity: &EntityId, manager: Option<&ManagerId>, kind: ActivityKind) {
        let Some(number) = self.known(entity) else { return };
        self.journeys[number].complete(kind);
        if matches!(kind, ActivityKind::Meeting | ActivityKind::Demo) {
            let who = self.who(manager).or(self.journeys[number].who);
            let now = self.context.now;
            self.refresh(number);
            let journey = &mut self.journeys[number];
            journey.touch(&mut self.context, now, false);
            journey.contact(&mut self.context, now, false);
            self.context.fact(now, who, 1, Measure::Touch);
            if kind == ActivityKind::Meeting {
                self.context.fact(now, who, 1, Measure::Meeting);
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
            journey.hear(self.context.order);
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
    fn with(&mut self, id: &EntityId, change: impl FnOnce(&mut Journey, &mut TenantContext)) {
        if let Some(number) = self.known(id) {
            self.refresh(number);
            change(&mut self.journeys[number], &mut self.context);
            self.publish(number);
        }
    }

    fn publish(&mut self, number: u32) {
        self.journeys[number].publish(&mut self.context);
    }

    fn publish_all(&mut self, entities: &[u32]) {
        for entity in entities {
            self.publish(*entity);
        }
    }

    /// Another responsible: open alerts and demands go with the work.
    fn assign(&mut self, number: u32, who: ManagerIx) {
        if self.journeys[number].who == who {
            return;
        }
        self.journeys[number].assign(&mut self.context, who);
        for i in 0..self.journeys[number].pending_contacts().len() {
            let contact = self.journeys[number].pending_contacts()[i];
            for kind in [CALLS, MESSAGES] {
                self.pending_replies(contact, kind, |pending_replies, context, demand_context| {
                    pending_replies.hand_over(context, demand_context)
                });
            }
        }
    }

    fn touch_all(&mut self, entities: &[u32], at: Timestamp, talk: bool) {
        for entity in entities {
            self.refresh(*entity);
            self.journeys[*entity].touch(&mut self.context, at, talk);
        }
        self.publish_all(entities);
    }

    fn link(&mut self, entity: u32, contacts: &[Contact]) {
        for contact in contacts {
            let Some(form) = identity::normal_form(contact, self.context.norms.country) else { continue };
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
            None => self.contacts.enter(|_| ContactState { form, ..ContactState::default() }),
        }
    }

    fn who(&mut self, manager: Option<&ManagerId>) -> ManagerIx {
        let TenantContext { people, out, .. } = &mut self.context;
        manager.map_or(ManagerIx::NONE, |manager| people.number(manager, out))
    }

    fn responsible(&self, belonging: &Belonging) -> ManagerIx {
        belonging.primary.map_or(ManagerIx::NONE, |primary| self.journeys[primary].who)
    }

    /// The norms of an entity, or without one those of the manager that the event names.
    fn scope_of(&mut self, entity: Option<u32>, manager: ManagerIx) -> Arc<Scope> {
        let Some(number) = entity else { return self.context.scope(manager, None, None) };
        self.refresh(number);
        let journey = &self.journeys[number];
        journey.scope_for(&mut self.context, journey.who.or(manager))
    }
}

/// That of calls or that of messages.
fn either<T>(kind: DemandKind, calls: T, messages: T) -> T {
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
