//! Owns the state of one tenant: applies its events in event order, fires timers in between, and returns effects.
//!
//! This file handles CRM events, except for `activities` and `merge`; `telephony` handles calls, `messages` written
//! messages, `chains` several moves at one instant, `correction` late events, `persistence` expiry and restore,
//! `forgetting` the end of the tenant, `managers` that of managers, `timers` what is due in between.

mod activities;
mod archive;
mod cases;
mod chains;
pub mod changelog;
mod contacts;
mod correction;
mod counts;
pub mod duplicates;
pub mod entity_report;
mod event_log;
mod explain;
mod forgetting;
mod interactions;
pub mod listing;
mod managers;
pub mod members;
mod merge;
mod messages;
mod named_managers;
mod past_closings;
mod persistence;
mod replay;
mod rewind;
mod sampler;
mod telephony;
mod timers;
mod undo_log;

use crate::domain::alert::AlertTaken;
use crate::domain::call::registry::Calls;
use crate::domain::change::Act;
use crate::domain::context::TenantContext;
use crate::domain::context::people::ManagerUpsert;
use crate::domain::effect::{DepartmentUpdate, Effect};
use crate::domain::event::{
    Amount, Contact, Created, CrmPayload, Direction, Event, EventKind, EventOrder, Outcome, Payload, Snapshot,
    StageChanged, TermsOffered,
};
use crate::domain::figures::pane::{Measure, Percent};
use crate::domain::id::{DepartmentId, EntityId, EntityKind, ManagerId, StageId, TenantId, ThreadId, reply_key};
use crate::domain::identity::{self, LastNumber};
use crate::domain::index::{ContactIx, JourneyIx, ManagerIx};
use crate::domain::journey::Journey;
use crate::domain::journey::stages::StageEntry;
use crate::domain::mem::indexed_arena::IndexedArena;
use crate::domain::mem::recorded::RecordedMap;
use crate::domain::mem::small_index_vec::SmallIndexVec;
use crate::domain::norms::{Norms, Scope};
use crate::domain::pending_replies::demand::{ActNow, DemandKey};
use crate::domain::pending_replies::{DemandKind, PendingReplies};
use crate::domain::rule::message_unanswered::KIND as MESSAGES;
use crate::domain::rule::missed_call_not_returned::KIND as CALLS;
use crate::domain::rule::source_silent::Silences;
use crate::domain::rule::{catalog, terms};
use crate::domain::source::PerTopic;
use crate::domain::tenant::changelog::{Changelog, PayloadCodec};
use crate::domain::tenant::duplicates::Duplicates;
use crate::domain::tenant::sampler::Sampler;
use crate::domain::time::{Span, Timestamp};
use cases::Cases;
use chains::{Chains, Turn};
use compact_str::CompactString;
use contacts::{ContactPending, ContactState};
use named_managers::NamedManagers;
use past_closings::PastClosings;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use undo_log::UndoLog;
use uuid::Uuid;

/// How many contacts a lead or deal may have.
const MAX_CONTACTS: usize = 64;

/// How long state is kept.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// A second event with the same id within this span is a duplicate.
    pub dedup_window: Span,
    /// Maximum lateness of an event that is still applied as a correction.
    pub correction_horizon: Span,
    /// How long finished cases are kept; `None`: forever.
    pub retention: Option<Span>,
    /// How long a tenant without events is kept, if nothing of it is open; `None`: forever. Not less than `retention`.
    pub tenant_retention: Option<Span>,
    /// Whether a changelog is kept from which the tenant can be restored.
    pub durable: bool,
    /// A case with as many events keeps an undo log, in steps of as many events.
    pub undo_events: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            dedup_window: Span(6 * Span::HOUR.0),
            correction_horizon: Span(7 * Span::DAY.0),
            retention: None,
            tenant_retention: None,
            durable: false,
            undo_events: 64,
        }
    }
}

/// The state of one tenant.
#[derive(Debug)]
pub struct Tenant {
    context: TenantContext,
    memory: Memory,
    codec: PayloadCodec,
    /// Changes since the changelog was last taken.
    changelog: Changelog,
    /// When to check whether a case can be expired, by case.
    retention_timers: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// The latest expired event of each topic.
    last_event: PerTopic<Timestamp>,
    /// The latest event or progress mark; `MIN` if there was none.
    last: Timestamp,
    /// When to check whether the tenant can be forgotten.
    forget_at: Option<Timestamp>,
    /// The managers that kept events name.
    named: NamedManagers,
    /// Scratch buffer: the encoded event.
    packed: Vec<u8>,
    duplicates: Duplicates,
    cases: Cases,
    /// All versions of the norms, each with the instant from which it applies.
    norm_versions: Vec<(Timestamp, Arc<Norms>)>,
    /// `None`: the rule is off.
    silences: Option<Silences>,
    sampler: Option<Sampler>,
    /// Scratch buffer: the case keys of the event being processed.
    keys: Vec<u64>,
    /// The number of the call being processed.
    number: LastNumber,
    journeys: IndexedArena<Journey>,
    contacts: IndexedArena<ContactState>,
    calls: Calls,
    /// Dismissals whose call or message has not come yet, by its id in the form in which replies are compared.
    dismissed_early: RecordedMap<CompactString, ManagerIx>,
    entity_by_thread: RecordedMap<ThreadId, JourneyIx>,
    /// Contacts with inbound messages, by thread.
    contacts_by_thread: RecordedMap<ThreadId, Vec<ContactIx>>,
    /// Received messages by id, in the form in which replies are compared: the contact, and the key of its demand.
    received: RecordedMap<CompactString, (ContactIx, DemandKey)>,
    /// Settlements of missed calls at the current instant. A call that starts in the millisecond in which
    /// another is missed returns it, in either order, because many sources only have whole seconds.
    calls_now: Vec<ActNow>,
    chains: Chains,
    /// Contacts, plans and legs of calls that were left out, because there are as many as there may be.
    left_out: u64,
    /// The deals that name a lead, by its id.
    deals_by_lead: RecordedMap<CompactString, SmallIndexVec<JourneyIx>>,
    past_closings: PastClosings,
    /// The case whose changes are recorded now, and its undo log.
    recording: Option<(u32, Box<UndoLog>)>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was applied.
    Applied,
    /// It is an interaction with an ignored contact.
    Ignored,
    /// It is a duplicate.
    Duplicate,
}

/// The entities and the contact that an interaction belongs to.
#[derive(Debug, Default)]
struct Attribution {
    /// The entity that it names.
    named: Option<JourneyIx>,
    entities: SmallIndexVec<JourneyIx>,
    primary: Option<JourneyIx>,
    contact: Option<ContactIx>,
}

impl Tenant {
    /// A tenant without events.
    pub fn new(id: TenantId, norms: Arc<Norms>, memory: Memory, codec: PayloadCodec) -> Self {
        let acts = catalog::judges_acts(&norms);
        let mut context = TenantContext::new(id, Arc::clone(&norms), acts);
        Self {
            norm_versions: vec![(Timestamp::MIN, norms)],
            silences: Silences::new(context.scope(ManagerIx::NONE, None, None), memory.correction_horizon),
            sampler: Sampler::new(&context, memory.correction_horizon),
            context,
            memory,
            codec,
            changelog: Changelog::default(),
            retention_timers: BinaryHeap::new(),
            last_event: PerTopic::from_fn(|_| Timestamp::MIN),
            last: Timestamp::MIN,
            forget_at: None,
            named: NamedManagers::default(),
            packed: Vec::new(),
            duplicates: Duplicates::new(memory.dedup_window, memory.correction_horizon),
            cases: Cases::default(),
            keys: Vec::new(),
            number: LastNumber::default(),
            journeys: IndexedArena::default(),
            contacts: IndexedArena::default(),
            calls: Calls::default(),
            dismissed_early: RecordedMap::default(),
            entity_by_thread: RecordedMap::default(),
            contacts_by_thread: RecordedMap::default(),
            received: RecordedMap::default(),
            calls_now: Vec::new(),
            chains: Chains::default(),
            left_out: 0,
            deals_by_lead: RecordedMap::default(),
            past_closings: PastClosings::default(),
            recording: None,
        }
    }

    /// The tenant's id.
    pub fn id(&self) -> &TenantId {
        &self.context.tenant
    }

    /// Whether nothing was applied to it.
    pub fn is_unused(&self) -> bool {
        self.context.first_event.is_none()
    }

    /// The known managers.
    pub fn managers(&self) -> impl Iterator<Item = &ManagerId> {
        self.context.people.ids()
    }

    /// The index of a manager in facts.
    pub fn who(&self, manager: &ManagerId) -> Option<ManagerIx> {
        self.context.people.find(manager)
    }

    /// The departments that events named.
    pub fn departments(&self) -> impl Iterator<Item = &DepartmentId> {
        self.context.people.departments().chain(self.context.departments.ids())
    }

    /// Moves the pending effects to `into`, in order.
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.context.effects);
    }

    /// Takes the changes since the last call.
    pub fn take_changelog(&mut self) -> Changelog {
        std::mem::take(&mut self.changelog)
    }

    /// Fires the timers before an event and applies it. Several moves of one instant are applied by
    /// [`Self::apply_together`].
    pub fn apply(&mut self, order: EventOrder, event: Event) -> Taken {
        self.forget_before(order.at);
        if self.is_new(&event) { self.apply_new(order, event) } else { Taken::Duplicate }
    }

    /// Applies events of one instant, in event order. Returns what became of each.
    pub fn apply_together(&mut self, events: Vec<(EventOrder, Event)>) -> Vec<(EventKind, Taken)> {
        if let Some((order, _)) = events.first() {
            self.forget_before(order.at);
        }
        let new: Vec<bool> = events.iter().map(|(_, event)| self.is_new(event)).collect();
        let of_new = events.iter().zip(&new).filter(|(_, new)| **new).map(|((_, event), _)| &event.payload);
        self.chains.collect(of_new);
        let mut taken = Vec::with_capacity(events.len());
        for ((order, event), new) in events.into_iter().zip(new) {
            let kind = event.payload.kind();
            taken.push((kind, if new { self.apply_new(order, event) } else { Taken::Duplicate }));
        }
        self.chains.clear();
        taken
    }

    /// Records the id of an event; returns `false` if it is a duplicate.
    fn is_new(&mut self, event: &Event) -> bool {
        event.id.as_ref().is_none_or(|id| self.duplicates.insert(event.payload.topic(), id, event.at))
    }

    /// Fires the timers before an event that is no duplicate, and applies it.
    fn apply_new(&mut self, order: EventOrder, event: Event) -> Taken {
        self.run_timers(Timestamp(event.at.0 - 1));
        let case = self.process(order, &event.payload);
        self.record(order, event.id, &event.payload);
        if self.cases.log(case, order, &self.packed) {
            self.schedule_expiry(case, event.at);
        }
        self.taken(&event.payload)
    }

    fn taken(&self, payload: &Payload) -> Taken {
        if self.ignores(payload) { Taken::Ignored } else { Taken::Applied }
    }

    /// Whether it is an interaction with an ignored contact: it is an event of its topic, and nothing else.
    fn ignores(&self, payload: &Payload) -> bool {
        let Some(ignored) = &self.context.ignored_contacts else { return false };
        let country = self.context.norms.country;
        match payload {
            Payload::Crm(_) => false,
            Payload::Call(call) => identity::phones(&call.phone, country).any(|form| ignored.contains(&form)),
            Payload::Message(message) => {
                let contact = message.contact.iter();
                contact.flat_map(|contact| identity::normal_forms(contact, country)).any(|form| ignored.contains(&form))
            }
        }
    }

    /// Processes an event that is next in event order. Returns its case.
    fn process(&mut self, order: EventOrder, payload: &Payload) -> Option<u32> {
        let ignored = self.ignores(payload);
        cases::keys(payload, self.context.norms.country, ignored, &mut self.number, &mut self.keys);
        let case = self.join_cases(order.at);
        case.into_iter().for_each(|case| self.begin_step(case, order.at));
        self.begin_event(order);
        if self.context.first_event.is_none() {
            self.context.first_event = Some(order.at);
            self.context.effects.push(Effect::FirstEvent(order.at));
            self.changelog.mark_changed = true;
        }
        if self.context.first_plan.is_none() && payload.kind() == EventKind::ActivityPlanned {
            self.first_planned();
        }
        if let Some(silences) = &mut self.silences {
            silences.record_event(payload.topic(), &mut self.context);
        }
        self.begin_recording(case);
        self.dispatch(payload);
        self.end_recording();
        case
    }

    fn begin_event(&mut self, order: EventOrder) {
        if self.context.now != order.at {
            self.calls_now.clear();
        }
        self.context.advance_to(order);
        self.context.position = order.into();
    }

    fn dispatch(&mut self, payload: &Payload) {
        if self.ignores(payload) {
            return;
        }
        match payload {
            Payload::Crm(payload) => self.crm(payload),
            Payload::Call(call) => match &call.end {
                None => self.call_started(call),
                Some(end) => self.call_ended(call, end),
            },
            Payload::Message(message) => self.message(message),
        }
    }

    /// Clears the state of an event outside journeys and contacts, before its case is replayed or expired.
    fn clear_event_state(&mut self, payload: &Payload) {
        if self.ignores(payload) {
            return;
        }
        payload.each_entity(|kind, id| {
            if kind == EntityKind::Lead {
                self.deals_by_lead.remove(id);
            }
        });
        match payload {
            Payload::Call(call) => {
                let leg = call.end.as_ref().and_then(|end| end.leg.as_ref());
                self.calls.remove(&call.id, call.session.as_ref(), leg);
            }
            Payload::Message(message) => {
                if let Some(thread) = &message.thread {
                    self.entity_by_thread.remove(thread);
                    self.contacts_by_thread.remove(thread);
                }
                // Only inbound messages are registered by id: an outbound message with the same id may be of another
                // case.
                if message.direction == Direction::Inbound {
                    self.received.remove(message.id.reply_key());
                }
            }
            Payload::Crm(payload) => {
                if let CrmPayload::InteractionDismissed { interaction, .. } = &**payload {
                    self.dismissed_early.remove(reply_key(interaction));
                }
            }
        }
    }

    /// Applies new norms from `at` on: running clocks are recomputed, and overdue ones fire immediately.
    pub fn reload(&mut self, norms: Arc<Norms>, at: Timestamp) {
        self.run_timers(at);
        self.discard_undo_logs();
        self.norm_versions.push((at, Arc::clone(&norms)));
        self.changelog.mark_changed = true;
        self.apply_norms(norms, at, self.journeys.indices(), self.contacts.indices());
        let (scope, horizon) = (self.context.scope(ManagerIx::NONE, None, None), self.memory.correction_horizon);
        self.silences = match self.silences.take() {
            Some(silences) => silences.reload(&mut self.context, scope),
            None => Silences::new(scope, horizon),
        };
        self.sampler = self.sampler.take().or_else(|| Sampler::new(&self.context, horizon));
        self.run_timers(at);
    }

    fn set_norms(&mut self, norms: Arc<Norms>) {
        let acts = catalog::judges_acts(&norms);
        self.context.set_norms(norms, acts);
    }

    fn apply_norms(
        &mut self,
        norms: Arc<Norms>,
        at: Timestamp,
        journeys: impl IntoIterator<Item = JourneyIx>,
        contacts: impl IntoIterator<Item = ContactIx>,
    ) {
        self.context.advance_to(EventOrder::deadline(at));
        self.set_norms(norms);
        for ix in journeys {
            if self.journeys[ix].first_event().is_some() {
                self.refresh_lead_source(ix);
                self.change(ix, Journey::reload);
                self.emit_facts(ix);
            }
        }
        for contact in contacts {
            for kind in [CALLS, MESSAGES] {
                let ContactPending { calls, messages, .. } = &*self.contacts[contact].pending;
                let Some((entity, who)) =
                    select(kind, calls, messages).as_ref().and_then(|pending_replies| pending_replies.open_demand())
                else {
                    continue;
                };
                let scope = self.scope_of(entity, who);
                self.with_pending_replies(contact, kind, |pending_replies, context, demand_context| {
                    pending_replies.reload(context, demand_context, &scope)
                });
            }
        }
    }

    fn crm(&mut self, payload: &CrmPayload) {
        match payload {
            CrmPayload::LeadCreated(created) => self.created(EntityKind::Lead, created),
            CrmPayload::DealCreated(created) => self.created(EntityKind::Deal, created),
            CrmPayload::StageChanged(change) => self.stage_changed(change),
            CrmPayload::Assigned { entity, manager } => {
                let who = self.context.people.intern(manager, self.context.now, &mut self.context.effects);
                if let Some(ix) = self.journey_ix(entity) {
                    if self.assign(ix, who) {
                        self.hand_over(ix, self.context.now);
                    }
                    self.emit_facts(ix);
                }
            }
            CrmPayload::Closed { entity, outcome, reason } => {
                if let Some(ix) = self.journey_ix(entity) {
                    self.refresh_lead_source(ix);
                    self.close(ix, *outcome, reason.as_ref());
                    self.emit_facts(ix);
                }
            }
            CrmPayload::Reopened { entity, stage } => self.reopened(entity, stage.as_ref()),
            CrmPayload::Deleted { entity } => self.deleted(entity),
            CrmPayload::Merged { entity, into } => self.merged(entity, into),
            CrmPayload::ContactLinked { entity, contact } => {
                if let Some(ix) = self.journey_ix(entity) {
                    self.link_contacts(ix, contact.as_slice());
                    self.emit_facts(ix);
                }
            }
            CrmPayload::TermsOffered(terms) => self.terms_offered(terms),
            CrmPayload::ActivityPlanned(planned) => self.activity_planned(planned),
            CrmPayload::ActivityCompleted { entity, activity, manager, kind } => {
                self.activity_completed(entity, activity.as_ref(), manager.as_ref(), *kind);
            }
            CrmPayload::ActivityCancelled { entity, activity } => self.activity_cancelled(entity, activity),
            CrmPayload::InteractionReviewed { interaction, manager, score, verdict } => {
                let who = self.context.people.intern(manager, self.context.now, &mut self.context.effects);
                let score_micros = (score * 1e6).round() as i64;
                self.context.emit_fact(self.context.now, who, 1, Measure::Review { score_micros, verdict: *verdict });
                self.sampler.iter_mut().for_each(|sampler| sampler.answer(&mut self.context, interaction));
            }
            CrmPayload::ManagerUpserted { .. } => {
                let Some((manager, given)) = ManagerUpsert::of(payload) else { return };
                let TenantContext { people, effects, order, .. } = &mut self.context;
                let horizon = order.at.saturating_sub(self.memory.correction_horizon);
                people.upsert(manager, given, *order, horizon, effects);
            }
            CrmPayload::DepartmentUpserted { department, name, parent, head } => {
                let TenantContext { departments, effects, order, .. } = &mut self.context;
                let (id, name, parent, head) = (department.clone(), name.clone(), parent.clone(), head.clone());
                departments.upsert(DepartmentUpdate { id, name, parent, head }, *order, effects);
            }
            CrmPayload::InteractionDismissed { interaction, manager } => {
                let who = self.manager_ix(manager.as_ref());
                self.dismissed(interaction, who);
            }
            CrmPayload::AlertTaken { alert, manager } => self.alert_taken(alert, manager),
            CrmPayload::Snapshot(snapshot) => self.snapshot(snapshot),
        }
    }

    /// Applies a move, or in its place the chain of moves that contains it.
    fn stage_changed(&mut self, change: &StageChanged) {
        if self.chains.is_empty() {
            return self.move_stage(change);
        }
        let ix = self.journeys.find(&change.entity);
        match self.chains.turn(&change.entity, ix.and_then(|ix| self.journeys[ix].stage())) {
            Turn::Alone => self.move_stage(change),
            Turn::Chain(moves) => moves.iter().for_each(|change| self.move_stage(change)),
            Turn::Over => {}
        }
    }

    fn move_stage(&mut self, change: &StageChanged) {
        self.update_journey(&change.entity, |journey, context| {
            journey.fill_fields(&change.filled_fields);
            let (pipeline, from, at) = (change.pipeline.as_ref(), change.from.as_ref(), context.now);
            journey.enter_stage(context, StageEntry { pipeline, stage: &change.to, from, at, moved: true });
        });
    }

    fn reopened(&mut self, entity: &EntityId, stage: Option<&StageId>) {
        let Some(ix) = self.journey_ix(entity) else { return };
        self.refresh_lead_source(ix);
        if let Some(stage) = stage {
            let entry = StageEntry { pipeline: None, stage, from: None, at: self.context.now, moved: false };
            self.change(ix, |journey, context| journey.enter_stage(context, entry));
        }
        self.change(ix, Journey::reopen);
        self.void_past(ix);
        self.emit_facts(ix);
    }

    /// Handles `lead_created` and `deal_created`; on a known entity, attributes only fill gaps.
    fn created(&mut self, kind: EntityKind, created: &Created) {
        let Some(ix) = self.journey_ix(&EntityId { kind, id: created.id.clone() }) else { return };
        let who = self.manager_ix(created.manager.as_ref());
        let journey = &mut self.journeys[ix];
        fill(&mut journey.source, &created.source);
        if created.amount != Amount::default() {
            let amount = &mut journey.sale.amount;
            fill(&mut amount.minor, &created.amount.minor);
            fill(&mut amount.currency, &created.amount.currency);
        }
        let assigned = journey.who == ManagerIx::NONE && self.assign(ix, who);
        let lead = self.name_lead(ix, created.lead.as_ref());
        self.link_contacts(ix, &created.contacts);
        self.refresh_lead_source(ix);
        self.change(ix, |journey, context| journey.set_first_pipeline(context, created.pipeline.as_ref()));
        let (journey, at) = (&mut self.journeys[ix], self.context.now);
        journey.set_past_known();
        if let Some(stage) = created.stage.as_ref().filter(|_| journey.stage().is_none()) {
            let entry = StageEntry { pipeline: None, stage, from: None, at, moved: false };
            self.change(ix, |journey, context| journey.enter_stage(context, entry));
        }
        if assigned {
            self.hand_over(ix, at);
        }
        self.record_creation(ix, at);
        self.emit_facts(ix);
        self.convert(lead);
    }

    /// Handles `lead_snapshot` and `deal_snapshot`; each difference from the current state is applied as a change.
    fn snapshot(&mut self, snapshot: &Snapshot) {
        let Some(ix) = self.journey_ix(&snapshot.entity) else { return };
        let who = self.manager_ix(snapshot.manager.as_ref());
        let journey = &mut self.journeys[ix];
        replace(&mut journey.source, &snapshot.source);
        if snapshot.amount != Amount::default() {
            let amount = &mut journey.sale.amount;
            replace(&mut amount.minor, &snapshot.amount.minor);
            replace(&mut amount.currency, &snapshot.amount.currency);
        }
        let first = journey.who == ManagerIx::NONE && journey.created().is_none();
        let assigned = who != ManagerIx::NONE && self.assign(ix, who);
        let lead = self.name_lead(ix, snapshot.lead.as_ref());
        self.link_contacts(ix, &snapshot.contacts);
        self.refresh_lead_source(ix);
        self.change(ix, |journey, context| journey.set_first_pipeline(context, snapshot.pipeline.as_ref()));
        let (journey, now) = (&mut self.journeys[ix], self.context.now);
        journey.fill_fields(&snapshot.filled_fields);
        let entered = snapshot.stage_entered_at.unwrap_or(now).min(now);
        let created_at = snapshot.created_at.map(|created| created.min(now));
        let created = journey.created().or(created_at);
        let stage_date = if snapshot.stage.is_some() { entered } else { now };
        if journey.stage().is_none() && created.is_some_and(|created| stage_date <= created) {
            // The snapshot shows the entity as it was created, so its whole past is known.
            journey.set_past_known();
        }
        if let Some(stage) = snapshot.stage.clone().or_else(|| journey.stage().cloned()) {
            let at = journey.stage_since().map_or(entered, |since| entered.max(since));
            let moved = journey.stage().is_some();
            let entry = StageEntry { pipeline: snapshot.pipeline.as_ref(), stage: &stage, from: None, at, moved };
            self.change(ix, |journey, context| journey.enter_stage(context, entry));
        } else if let Some(pipeline) = &snapshot.pipeline {
            journey.set_pipeline(pipeline);
        }
        if assigned {
            // The first manager known is taken for the one that it was created with.
            self.hand_over(ix, created_at.filter(|_| first).unwrap_or(now));
        }
        if let Some(at) = created_at {
            self.record_creation(ix, at);
        }
        // A deal names its lead before it is closed.
        self.convert(lead);
        if let Some(outcome) = snapshot.outcome {
            self.close(ix, outcome, snapshot.reason.as_ref());
        }
        self.emit_facts(ix);
    }

    /// Records the creation of an entity. Clocks that count from it run only if it is not earlier than the tenant's
    /// first event, so that the initial sync of a CRM does not fire thousands of alerts.
    fn record_creation(&mut self, ix: JourneyIx, at: Timestamp) {
        let watched = self.context.first_event.is_some_and(|first| at >= first);
        self.change(ix, |journey, context| journey.record_creation(context, at, watched));
    }

    /// Records the first lead that a deal names; returns the lead if it is known.
    fn name_lead(&mut self, ix: JourneyIx, lead: Option<&CompactString>) -> Option<JourneyIx> {
        let lead = lead?;
        let journey = &self.journeys[ix];
        if journey.id.kind != EntityKind::Deal || journey.sale.lead.is_some() {
            return None;
        }
        let known = self.known_lead(lead);
        let lead = known.map_or(lead, |known| &self.journeys[known].id.id).clone();
        self.deals_by_lead.get_or_insert_with(lead.clone(), SmallIndexVec::default).push(ix);
        self.journeys[ix].sale.lead = Some(lead);
        let known = known?;
        self.journeys[known].naming_deals += 1;
        Some(known)
    }

    /// Closes an entity; messages that belonged to it need no answer any more.
    fn close(&mut self, ix: JourneyIx, outcome: Outcome, reason: Option<&CompactString>) {
        let was_open = self.journeys[ix].open();
        self.change(ix, |journey, context| journey.close(context, outcome, reason));
        if was_open {
            self.end_messages(ix);
        }
    }

    /// Closes a lead as converted, if it is open, because a deal names it.
    fn convert(&mut self, lead: Option<JourneyIx>) {
        let Some(ix) = lead else { return };
        if self.journeys[ix].open() {
            self.change(ix, |lead, context| lead.close(context, Outcome::Converted, None));
        }
        self.emit_facts(ix);
    }

    fn deleted(&mut self, entity: &EntityId) {
        let Some(ix) = self.journey_ix(entity) else { return };
        self.remove(ix, Journey::delete);
    }

    /// The index of a lead that has events, or of the one that it was merged into.
    fn known_lead(&self, id: &CompactString) -> Option<JourneyIx> {
        let ix = self.journeys.find(&EntityId { kind: EntityKind::Lead, id: id.clone() })?;
        self.journeys[ix].first_event().map(|_| self.survivor(ix))
    }

    fn terms_offered(&mut self, terms: &TermsOffered) {
        let Some(ix) = self.journey_ix(&EntityId { kind: EntityKind::Deal, id: terms.deal.clone() }) else { return };
        let offering = self.manager_ix(terms.manager.as_ref());
        let who = offering.or(self.journeys[ix].who);
        self.refresh_lead_source(ix);
        let order = self.context.order;
        let grade = self.context.people.grade(who, order).map(CompactString::from);
        if self.context.acts {
            self.change(ix, |_, context| context.record_act(who, Act::Offered { terms: terms.clone(), grade }));
        }
        let discount = Percent::new(terms.discount_percent.unwrap_or_default());
        let measure = Measure::Terms { deal: ix, special: terms::special(terms), discount };
        self.context.emit_fact(self.context.now, who, 1, measure);
        self.emit_facts(ix);
    }

    /// Handles `alert_taken`. Which alerts are open is decided where they are kept.
    fn alert_taken(&mut self, alert: &str, manager: &ManagerId) {
        let TenantContext { tenant, effects, now, .. } = &mut self.context;
        if let Ok(alert) = Uuid::parse_str(alert) {
            let taken = AlertTaken { tenant: tenant.clone(), alert, manager: manager.clone(), at: *now };
            effects.push(Effect::AlertTaken(Box::new(taken)));
        }
    }

    /// The index of an entity's journey, created with unknown creation time if needed; `None` if it was deleted.
    fn journey_ix(&mut self, id: &EntityId) -> Option<JourneyIx> {
        let ix = match self.journeys.find(id) {
            Some(ix) => ix,
            None => self.journeys.insert(|ix| Journey::new(id.clone(), ix)),
        };
        if self.journeys[ix].first_event().is_none() {
            self.journeys[ix].set_first_event(self.context.position);
            if id.kind == EntityKind::Lead {
                self.journeys[ix].naming_deals = self.count_naming_deals(&id.id);
            }
        }
        (!self.journeys[ix].deleted()).then_some(ix)
    }

    /// The number of deals that name a lead, without deleted ones.
    fn count_naming_deals(&self, lead: &CompactString) -> u32 {
        let deals = self.deals_by_lead.get(lead).into_iter().flat_map(|deals| deals.iter());
        deals.filter(|deal| !self.journeys[**deal].deleted()).count() as u32
    }

    /// Copies the current source of a deal's lead to the deal; it selects the norms of clocks that start now.
    fn refresh_lead_source(&mut self, ix: JourneyIx) {
        let journey = &self.journeys[ix];
        if let (None, Some(lead)) = (&journey.source, &journey.sale.lead) {
            let source = self.known_lead(lead).and_then(|lead| self.journeys[lead].source.clone());
            self.journeys[ix].sale.lead_source = source;
        }
    }

    /// Applies a change to an entity and emits the resulting facts.
    fn update_journey(&mut self, id: &EntityId, change: impl FnOnce(&mut Journey, &mut TenantContext)) {
        if let Some(ix) = self.journey_ix(id) {
            self.refresh_lead_source(ix);
            self.change(ix, change);
            self.emit_facts(ix);
        }
    }

    /// Applies one change to a journey, then lets the rules react to it.
    fn change(&mut self, ix: JourneyIx, change: impl FnOnce(&mut Journey, &mut TenantContext)) {
        self.note_entity(ix);
        let journey = &mut self.journeys[ix];
        let was_open = journey.open();
        change(journey, &mut self.context);
        catalog::react(journey, &mut self.context);
        if journey.open() != was_open {
            self.count_open(ix);
        }
    }

    /// Counts an entity that was opened or closed for its contacts.
    fn count_open(&mut self, ix: JourneyIx) {
        let times = if self.journeys[ix].open() { 1 } else { -1 };
        for contact in self.journeys[ix].contacts.iter() {
            self.contacts[*contact].count_open(times, &mut self.context);
        }
    }

    fn emit_facts(&mut self, ix: JourneyIx) {
        self.note_entity(ix);
        self.journeys[ix].emit_facts(&mut self.context);
        self.emit_past(ix);
    }

    fn emit_all_facts(&mut self, entities: &[JourneyIx]) {
        for entity in entities {
            self.emit_facts(*entity);
        }
    }

    /// Assigns a manager; open alerts and demands move to that manager. Returns `false` if it is the present one.
    fn assign(&mut self, ix: JourneyIx, who: ManagerIx) -> bool {
        if self.journeys[ix].who == who {
            return false;
        }
        self.change(ix, |journey, context| journey.assign(context, who));
        for i in 0..self.journeys[ix].pending_contacts().len() {
            let contact = self.journeys[ix].pending_contacts()[i];
            for kind in [CALLS, MESSAGES] {
                self.with_pending_replies(contact, kind, PendingReplies::reassign);
            }
        }
        true
    }

    /// The norms of the manager who was assigned apply from `at` on.
    fn hand_over(&mut self, ix: JourneyIx, at: Timestamp) {
        self.refresh_lead_source(ix);
        self.change(ix, |journey, context| journey.hand_over(context, at));
    }

    fn touch_all(&mut self, entities: &[JourneyIx], at: Timestamp, by: ManagerIx) {
        for entity in entities {
            self.refresh_lead_source(*entity);
            self.change(*entity, |journey, context| journey.touch(context, at, by));
        }
        self.emit_all_facts(entities);
    }

    fn link_contacts(&mut self, entity: JourneyIx, contacts: &[Contact]) {
        for contact in contacts {
            for form in identity::normal_forms(contact, self.context.norms.country) {
                let contact = self.contact_ix(form);
                self.link_contact(entity, contact);
            }
        }
    }

    fn link_contact(&mut self, entity: JourneyIx, contact: ContactIx) {
        let journey = &mut self.journeys[entity];
        if journey.contacts.contains(&contact) {
            return;
        }
        if journey.contacts.len() >= MAX_CONTACTS {
            self.left_out += 1;
        } else {
            journey.contacts.push(contact);
            self.contacts[contact].entities.push(entity);
            if journey.open() {
                self.contacts[contact].count_open(1, &mut self.context);
            }
        }
    }

    fn contact_ix(&mut self, normalized: CompactString) -> ContactIx {
        match self.contacts.find(&normalized) {
            Some(ix) => ix,
            None => self.contacts.insert(|_| ContactState { normalized, ..ContactState::default() }),
        }
    }

    fn manager_ix(&mut self, manager: Option<&ManagerId>) -> ManagerIx {
        let TenantContext { people, effects, now, .. } = &mut self.context;
        manager.map_or(ManagerIx::NONE, |manager| people.intern(manager, *now, effects))
    }

    fn responsible(&self, attribution: &Attribution) -> ManagerIx {
        attribution.primary.map_or(ManagerIx::NONE, |primary| self.journeys[primary].who)
    }

    /// The scope of an entity, or without one the scope of the manager that the event names.
    fn scope_of(&mut self, entity: Option<JourneyIx>, manager: ManagerIx) -> Arc<Scope> {
        let Some(ix) = entity.map(|entity| self.survivor(entity)) else {
            return self.context.scope(manager, None, None);
        };
        self.refresh_lead_source(ix);
        let journey = &self.journeys[ix];
        journey.scope_for(&mut self.context, journey.who.or(manager))
    }
}

/// Selects the value for calls or the one for messages.
fn select<T>(kind: DemandKind, calls: T, messages: T) -> T {
    if kind.rule == MESSAGES.rule { messages } else { calls }
}

/// Sets a missing value.
fn fill<T: Clone>(held: &mut Option<T>, given: &Option<T>) {
    if held.is_none() {
        held.clone_from(given);
    }
}

/// Overwrites a value, if one is given.
fn replace<T: Clone>(held: &mut Option<T>, given: &Option<T>) {
    if given.is_some() {
        held.clone_from(given);
    }
}
