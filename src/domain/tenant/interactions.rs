//! Owns calls and messages: attributes each to entities, records touches, and opens and settles demands.
//!
//! An interaction belongs to the entity that it names, else to the entity of its thread, else to every open entity with
//! the contact (the most recently created one is primary), else to the contact only.

use crate::domain::alert::Resolution;
use crate::domain::context::TenantContext;
use crate::domain::event::{Call, CallEnd, CallOutcome, Direction, Message};
use crate::domain::figures::pane::Measure;
use crate::domain::id::{EntityId, ThreadId};
use crate::domain::identity;
use crate::domain::index::{ContactIx, JourneyIx, ManagerIx};
use crate::domain::pending_replies::{Demand, DemandContext, DemandKind, PendingReplies, Reach, Settlement};
use crate::domain::review::Medium;
use crate::domain::rule::Rule;
use crate::domain::tenant::sampler::Interaction;
use crate::domain::tenant::{Attempt, Attribution, CALLS, ContactPending, MESSAGES, Tenant, select};
use crate::domain::time::Timestamp;
use compact_str::{CompactString, format_compact};
use std::sync::Arc;

impl Tenant {
    /// Handles `call_started`; an outbound one is a touch at its own event time.
    pub(super) fn call_started(&mut self, call: &Call) {
        if self.ended_calls.contains(&call.id) || self.active_calls.contains_key(&call.id) {
            return;
        }
        let attribution = self.attribute_call(call);
        let outbound = call.direction == Direction::Outbound;
        if outbound {
            let who = self.manager_ix(call.manager.as_ref());
            let now = self.context.now;
            self.touch_all(&attribution.entities, now, false);
            self.context.emit_fact(now, who.or(self.responsible(&attribution)), 1, Measure::Touch);
            self.settle_calls(&attribution, who, now, Resolution::Returned);
        } else {
            self.emit_all_facts(&attribution.entities);
        }
        let touched = if outbound { attribution.entities } else { Vec::new() };
        self.active_calls.insert(call.id.clone(), Attempt { outbound, touched });
    }

    /// Handles `call_ended`, which decides what the call was. The call becomes known at its end and is dated at its
    /// start.
    pub(super) fn call_ended(&mut self, call: &Call, end: &CallEnd) {
        if !self.ended_calls.insert(call.id.clone()) {
            return;
        }
        let Attempt { outbound: attempted, touched } = self.active_calls.remove(&call.id).unwrap_or_default();
        let now = self.context.now;
        let started = end.started_at.unwrap_or(now).min(now);
        let answered = end.outcome == CallOutcome::Answered && end.talk >= self.context.norms.min_talk;
        let attribution = self.attribute_call(call);
        let manager = self.manager_ix(call.manager.as_ref());
        let who = manager.or(self.responsible(&attribution));
        self.context.emit_fact(started, who, 1, Measure::Call { direction: call.direction, answered });
        if answered {
            self.context.emit_fact(started, who, 1, Measure::Talk(end.talk));
            if let Some(sampler) = &mut self.sampler {
                let (direction, talk, recording_url) = (call.direction, end.talk, end.recording_url.clone());
                let medium = Medium::Call { direction, talk, recording_url };
                let interaction = Interaction { id: &call.id.0, at: started, entity: attribution.primary, medium };
                sampler.consider(&mut self.context, who, interaction);
            }
        }
        // Entities that are attributed only at the end of the call get their touch now.
        let joined: Vec<JourneyIx> =
            attribution.entities.iter().copied().filter(|entity| !touched.contains(entity)).collect();
        if call.direction == Direction::Outbound || answered {
            self.touch_all(&joined, started, answered);
            if !attempted {
                self.context.emit_fact(started, who, 1, Measure::Touch);
            }
        }
        if answered {
            let mut reached = [touched, joined].concat();
            reached.retain(|entity| !self.journeys[*entity].deleted());
            for entity in &reached {
                self.change(*entity, |journey, context| journey.contact(context, started, true));
            }
            let asking = reached.iter().flat_map(|entity| self.journeys[*entity].pending_contacts().to_vec()).collect();
            let reach = Reach { entities: reached, ..Reach::default() };
            self.settle_messages(&attribution, asking, reach, manager, started);
        }
        match (call.direction, answered) {
            (Direction::Outbound, _) if !attempted => {
                self.settle_calls(&attribution, manager, started, Resolution::Returned);
            }
            (Direction::Inbound, true) => {
                self.settle_calls(&attribution, manager, started, Resolution::CustomerCalledAgain);
            }
            (Direction::Inbound, false) => self.call_missed(&attribution, call, manager),
            (Direction::Outbound, _) => {}
        }
        self.emit_all_facts(&attribution.entities);
    }

    fn call_missed(&mut self, attribution: &Attribution, call: &Call, manager: ManagerIx) {
        let Some(contact) = attribution.contact else { return };
        let scope = self.scope_of(attribution.primary, manager);
        let demand = Demand {
            at: self.context.now,
            order: self.applied,
            interaction: call.id.0.clone(),
            entity: attribution.primary,
            who: manager,
            accountable: self.responsible(attribution).or(manager),
            scope,
            entities: Vec::new(),
            thread: None,
        };
        self.add_pending_contact(contact, attribution);
        self.demand(contact, CALLS, demand);
        let calls: Vec<Settlement> =
            self.calls_now.iter().filter(|(other, _)| *other == contact).map(|c| c.1.clone()).collect();
        for settlement in calls {
            self.settle(contact, CALLS, settlement);
        }
    }

    pub(super) fn message(&mut self, message: &Message) {
        let attribution = self.attribute_message(message);
        let manager = self.manager_ix(message.manager.as_ref());
        let who = manager.or(self.responsible(&attribution));
        let now = self.context.now;
        match message.direction {
            Direction::Outbound => {
                self.context.emit_fact(now, who, 1, Measure::MessageSent(message.channel));
                if !message.automatic {
                    self.touch_all(&attribution.entities, now, false);
                    self.context.emit_fact(now, who, 1, Measure::Touch);
                    if let Some(sampler) = &mut self.sampler {
                        let medium = Medium::Message { channel: message.channel };
                        let interaction =
                            Interaction { id: &message.id.0, at: now, entity: attribution.primary, medium };
                        sampler.consider(&mut self.context, who, interaction);
                    }
                    let in_thread = message.thread.as_ref().and_then(|thread| self.contacts_by_thread.get(thread));
                    let replied_to = message.in_reply_to.as_ref().and_then(|reply| self.contacts_by_message.get(reply));
                    let asking = in_thread.into_iter().flatten().chain(replied_to).copied().collect();
                    let (thread, reply) = (message.thread.clone(), message.in_reply_to.clone());
                    let reach = Reach { thread, reply, entities: Vec::new() };
                    self.settle_messages(&attribution, asking, reach, manager, now);
                }
            }
            Direction::Inbound => {
                self.context.emit_fact(now, who, 1, Measure::MessageReceived(message.channel));
                if !message.automatic {
                    for entity in &attribution.entities {
                        if !self.journeys[*entity].touches().is_empty() {
                            self.change(*entity, |journey, context| journey.contact(context, now, false));
                        }
                    }
                    self.message_received(&attribution, message, manager);
                }
            }
        }
        self.emit_all_facts(&attribution.entities);
    }

    fn message_received(&mut self, attribution: &Attribution, message: &Message, manager: ManagerIx) {
        let Some(contact) = attribution.contact else { return };
        let scope = self.scope_of(attribution.primary, manager);
        let channels = scope.rules.get(&Rule::MessageUnanswered).and_then(|norm| norm.channels.as_ref());
        if channels.is_some_and(|channels| !channels.contains(&message.channel)) {
            return;
        }
        let demand = Demand {
            at: self.context.now,
            order: self.applied,
            interaction: message.id.0.clone(),
            entity: attribution.primary,
            who: manager,
            accountable: self.responsible(attribution).or(manager),
            scope,
            entities: attribution.entities.clone(),
            thread: message.thread.clone(),
        };
        self.add_pending_contact(contact, attribution);
        if let Some(thread) = &message.thread {
            let asking = self.contacts_by_thread.entry(thread.clone()).or_default();
            if !asking.contains(&contact) {
                asking.push(contact);
            }
        }
        self.contacts_by_message.insert(message.id.clone(), contact);
        self.demand(contact, MESSAGES, demand);
    }

    /// A touch or a conversation settles the missed calls of the contact.
    fn settle_calls(&mut self, attribution: &Attribution, manager: ManagerIx, at: Timestamp, resolution: Resolution) {
        let Some(contact) = attribution.contact else { return };
        let who = self.responsible(attribution).or(manager);
        let settlement = Settlement { at, order: u64::MAX, resolution, who, reach: None };
        if at == self.context.now {
            self.calls_now.push((contact, settlement.clone()));
        }
        self.settle(contact, CALLS, settlement);
    }

    /// A sent message or a conversation settles the messages of the contact, and those of the contacts in `asking` that
    /// `reach` covers.
    fn settle_messages(
        &mut self,
        attribution: &Attribution,
        mut asking: Vec<ContactIx>,
        reach: Reach,
        manager: ManagerIx,
        at: Timestamp,
    ) {
        let settlement = Settlement {
            at,
            order: self.applied,
            resolution: Resolution::Answered,
            who: self.responsible(attribution).or(manager),
            reach: Some(Arc::new(reach)),
        };
        asking.sort_unstable();
        asking.dedup();
        asking.retain(|contact| Some(*contact) != attribution.contact);
        for contact in asking {
            self.settle(contact, MESSAGES, settlement.clone());
        }
        if let Some(contact) = attribution.contact {
            self.settle(contact, MESSAGES, Settlement { reach: None, ..settlement });
        }
    }

    fn demand(&mut self, contact: ContactIx, kind: DemandKind, demand: Demand) {
        let horizon = self.memory.retention.map(|retention| self.context.now.saturating_sub(retention));
        let ContactPending { calls, messages, .. } = &mut *self.contacts[contact].pending;
        select(kind, calls, messages).get_or_insert_default();
        self.with_pending_replies(contact, kind, |pending_replies, context, demand_context| {
            horizon.into_iter().for_each(|horizon| pending_replies.expire(horizon));
            pending_replies.add_demand(context, demand_context, demand);
        });
    }

    fn settle(&mut self, contact: ContactIx, kind: DemandKind, settlement: Settlement) {
        self.with_pending_replies(contact, kind, |pending_replies, context, demand_context| {
            pending_replies.add_settlement(context, demand_context, settlement)
        });
    }

    /// Runs `apply` on the pending replies of a contact, if it has any.
    pub(super) fn with_pending_replies(
        &mut self,
        contact: ContactIx,
        kind: DemandKind,
        apply: impl FnOnce(&mut PendingReplies, &mut TenantContext, &DemandContext<'_>),
    ) {
        static NO_SUBJECT: CompactString = CompactString::const_new("");
        let Some(ContactPending { subject, calls, messages }) = self.contacts[contact].pending.existing_mut() else {
            return;
        };
        let subject = subject.as_ref().unwrap_or(&NO_SUBJECT);
        let Some(pending_replies) = select(kind, calls, messages) else { return };
        apply(pending_replies, &mut self.context, &DemandContext { journeys: &self.journeys, subject, contact, kind });
    }

    /// Registers the contact as pending with each of its entities.
    fn add_pending_contact(&mut self, contact: ContactIx, attribution: &Attribution) {
        let contact_state = &mut self.contacts[contact];
        if contact_state.pending.subject.is_none() {
            let secret = self.context.norms.secret(&self.context.tenant);
            contact_state.pending.subject =
                Some(format_compact!("contact:{}", identity::key(&contact_state.normalized, secret)));
        }
        for entity in &attribution.entities {
            self.journeys[*entity].add_pending_contact(contact);
        }
    }

    fn attribute_call(&mut self, call: &Call) -> Attribution {
        let normalized = identity::phone(&call.phone, self.context.norms.country);
        let contact = normalized.map(|normalized| self.contact_ix(normalized));
        self.attribute(call.entity.as_ref(), None, contact)
    }

    fn attribute_message(&mut self, message: &Message) -> Attribution {
        let contact = message.contact.as_ref();
        let normalized = contact.and_then(|contact| identity::normal_form(contact, self.context.norms.country));
        let contact = normalized.map(|normalized| self.contact_ix(normalized));
        let attribution = self.attribute(message.entity.as_ref(), message.thread.as_ref(), contact);
        if let (Some(thread), Some(primary)) = (&message.thread, attribution.primary)
            && !self.entity_by_thread.contains_key(thread)
        {
            self.entity_by_thread.insert(thread.clone(), primary);
        }
        attribution
    }

    fn attribute(
        &mut self,
        entity: Option<&EntityId>,
        thread: Option<&ThreadId>,
        contact: Option<ContactIx>,
    ) -> Attribution {
        let named = entity.and_then(|entity| self.journey_ix(entity));
        let by_thread = || thread.and_then(|thread| self.entity_by_thread.get(thread).copied());
        let entity_ix = named.or_else(|| by_thread().filter(|entity| !self.journeys[*entity].deleted()));
        if let Some(entity) = entity_ix {
            return Attribution { entities: vec![entity], primary: Some(entity), contact };
        }
        let mut entities: Vec<JourneyIx> = contact
            .map(|contact| &*self.contacts[contact].entities)
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|entity| self.journeys[*entity].open())
            .collect();
        entities.sort_unstable();
        let primary = entities.iter().copied().max_by_key(|entity| self.journeys[*entity].recency());
        Attribution { entities, primary, contact }
    }
}
