//! Owns calls and messages: to whom each belongs, whom it touches, what it asks and what it answers.
//!
//! An interaction belongs to the entity that it names, else to that of its thread, else to every open entity that has the
//! contact (the most recently created being the primary one), else to the contact alone.

use super::super::alert::Resolution;
use super::super::effect::{ManagerIx, Measure};
use super::super::event::{Call, CallEnd, CallOutcome, Direction, Message};
use super::super::id::{EntityId, ThreadId};
use super::super::identity;
use super::super::pending_replies::{Demand, DemandContext, DemandKind, PendingReplies, Reach, Settlement};
use super::super::review::{Interaction, Medium};
use super::super::rule::Rule;
use super::super::tenant_context::TenantContext;
use super::super::time::Timestamp;
use super::{Attempt, Belonging, CALLS, ContactPending, MESSAGES, Tenant, either};
use compact_str::{CompactString, format_compact};
use std::sync::Arc;

impl Tenant {
    /// An outbound `call_started` is an attempt at its own instant.
    pub(super) fn call_started(&mut self, call: &Call) {
        if self.ended.contains(&call.id) || self.ringing.contains_key(&call.id) {
            return;
        }
        let belonging = self.belonging_of_call(call);
        let outbound = call.direction == Direction::Outbound;
        if outbound {
            let who = self.who(call.manager.as_ref());
            let now = self.context.now;
            self.touch_all(&belonging.entities, now, false);
            self.context.fact(now, who.or(self.responsible(&belonging)), 1, Measure::Touch);
            self.settle_calls(&belonging, who, now, Resolution::Returned);
        } else {
            self.publish_all(&belonging.entities);
        }
        let touched = if outbound { belonging.entities } else { Vec::new() };
        self.ringing.insert(call.id.clone(), Attempt { outbound, touched });
    }

    /// `call_ended` decides what a call was. It is known at its end and dated at its start.
    pub(super) fn call_ended(&mut self, call: &Call, end: &CallEnd) {
        if !self.ended.insert(call.id.clone()) {
            return;
        }
        let Attempt { outbound: attempted, touched } = self.ringing.remove(&call.id).unwrap_or_default();
        let now = self.context.now;
        let started = end.started_at.unwrap_or(now).min(now);
        let answered = end.outcome == CallOutcome::Answered && end.talk >= self.context.norms.min_talk;
        let belonging = self.belonging_of_call(call);
        let manager = self.who(call.manager.as_ref());
        let who = manager.or(self.responsible(&belonging));
        self.context.fact(started, who, 1, Measure::Call { direction: call.direction, answered });
        if answered {
            self.context.fact(started, who, 1, Measure::Talk(end.talk));
            if let Some(sampler) = &mut self.sampler {
                let (direction, talk, recording_url) = (call.direction, end.talk, end.recording_url.clone());
                let medium = Medium::Call { direction, talk, recording_url };
                let interaction = Interaction { id: &call.id.0, at: started, entity: belonging.primary, medium };
                sampler.consider(&mut self.context, who, interaction);
            }
        }
        // An entity that joins the call only at its end gets its touch now.
        let joined: Vec<u32> = belonging.entities.iter().copied().filter(|entity| !touched.contains(entity)).collect();
        if call.direction == Direction::Outbound || answered {
            self.touch_all(&joined, started, answered);
            if !attempted {
                self.context.fact(started, who, 1, Measure::Touch);
            }
        }
        if answered {
            let mut met = [touched, joined].concat();
            met.retain(|entity| !self.journeys[*entity].deleted());
            for entity in &met {
                self.journeys[*entity].contact(&mut self.context, started, true);
            }
            let asking = met.iter().flat_map(|entity| self.journeys[*entity].pending_contacts().to_vec()).collect();
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

    fn missed(&mut self, belonging: &Belonging, call: &Call, manager: ManagerIx) {
        let Some(contact) = belonging.contact else { return };
        let scope = self.scope_of(belonging.primary, manager);
        let demand = Demand {
            at: self.context.now,
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
        self.demand(contact, CALLS, demand);
        let calls: Vec<Settlement> =
            self.calls_now.iter().filter(|(whose, _)| *whose == contact).map(|c| c.1.clone()).collect();
        for act in calls {
            self.pending_replies(contact, CALLS, |pending_replies, context, demand_context| {
                pending_replies.act(context, demand_context, act)
            });
        }
    }

    pub(super) fn message(&mut self, message: &Message) {
        let belonging = self.belonging_of_message(message);
        let manager = self.who(message.manager.as_ref());
        let who = manager.or(self.responsible(&belonging));
        let now = self.context.now;
        match message.direction {
            Direction::Outbound => {
                self.context.fact(now, who, 1, Measure::MessageSent(message.channel));
                if !message.automatic {
                    self.touch_all(&belonging.entities, now, false);
                    self.context.fact(now, who, 1, Measure::Touch);
                    if let Some(sampler) = &mut self.sampler {
                        let medium = Medium::Message { channel: message.channel };
                        let interaction = Interaction { id: &message.id.0, at: now, entity: belonging.primary, medium };
                        sampler.consider(&mut self.context, who, interaction);
                    }
                    let in_thread = message.thread.as_ref().and_then(|thread| self.asked_in.get(thread));
                    let replied_to = message.in_reply_to.as_ref().and_then(|reply| self.asked_by.get(reply));
                    let asking = in_thread.into_iter().flatten().chain(replied_to).copied().collect();
                    let (thread, reply) = (message.thread.clone(), message.in_reply_to.clone());
                    let reach = Reach { thread, reply, entities: Vec::new() };
                    self.settle_messages(&belonging, asking, reach, manager, now);
                }
            }
            Direction::Inbound => {
                self.context.fact(now, who, 1, Measure::MessageReceived(message.channel));
                if !message.automatic {
                    for entity in &belonging.entities {
                        let journey = &mut self.journeys[*entity];
                        if !journey.touches().is_empty() {
                            journey.contact(&mut self.context, now, false);
                        }
                    }
                    self.asked(&belonging, message, manager);
                }
            }
        }
        self.publish_all(&belonging.entities);
    }

    fn asked(&mut self, belonging: &Belonging, message: &Message, manager: ManagerIx) {
        let Some(contact) = belonging.contact else { return };
        let scope = self.scope_of(belonging.primary, manager);
        let channels = scope.rules.get(&Rule::MessageUnanswered).and_then(|norm| norm.channels.as_ref());
        if channels.is_some_and(|channels| !channels.contains(&message.channel)) {
            return;
        }
        let demand = Demand {
            at: self.context.now,
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
    fn settle_calls(&mut self, belonging: &Belonging, manager: ManagerIx, at: Timestamp, resolution: Resolution) {
        let Some(contact) = belonging.contact else { return };
        let who = self.responsible(belonging).or(manager);
        let act = Settlement { at, order: u64::MAX, resolution, who, reach: None };
        if at == self.context.now {
            self.calls_now.push((contact, act.clone()));
        }
        self.pending_replies(contact, CALLS, |pending_replies, context, demand_context| {
            pending_replies.act(context, demand_context, act)
        });
    }

    /// A message sent, or a conversation, settles the messages of the contact, and of those who were `asking` as far
    /// as it reaches them.
    fn settle_messages(
        &mut self,
        belonging: &Belonging,
        mut asking: Vec<u32>,
        reach: Reach,
        manager: ManagerIx,
        at: Timestamp,
    ) {
        let act = Settlement {
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
            self.pending_replies(contact, MESSAGES, |pending_replies, context, demand_context| {
                pending_replies.act(context, demand_context, act.clone())
            });
        }
        if let Some(contact) = belonging.contact {
            self.pending_replies(contact, MESSAGES, |pending_replies, context, demand_context| {
                pending_replies.act(context, demand_context, Settlement { reach: None, ..act })
            });
        }
    }

    /// A demand of a contact came in.
    fn demand(&mut self, contact: u32, kind: DemandKind, demand: Demand) {
        let horizon = self.memory.retention.map(|retention| self.context.now.saturating_sub(retention));
        let ContactPending { calls, messages, .. } = &mut *self.contacts[contact].pending;
        either(kind, calls, messages).get_or_insert_default();
        self.pending_replies(contact, kind, |pending_replies, context, demand_context| {
            horizon.into_iter().for_each(|horizon| pending_replies.forget(horizon));
            pending_replies.demand(context, demand_context, demand);
        });
    }

    /// Works on what is owed to a contact, if anything is or was.
    pub(super) fn pending_replies(
        &mut self,
        contact: u32,
        kind: DemandKind,
        work: impl FnOnce(&mut PendingReplies, &mut TenantContext, &DemandContext<'_>),
    ) {
        static NONE: CompactString = CompactString::const_new("");
        let Some(ContactPending { subject, calls, messages }) = self.contacts[contact].pending.taken() else { return };
        let subject = subject.as_ref().unwrap_or(&NONE);
        let Some(pending_replies) = either(kind, calls, messages) else { return };
        work(pending_replies, &mut self.context, &DemandContext { journeys: &self.journeys, subject, contact, kind });
    }

    /// Notes in every entity that a contact demands something in its name.
    fn owe(&mut self, contact: u32, belonging: &Belonging) {
        let contact_state = &mut self.contacts[contact];
        if contact_state.pending.subject.is_none() {
            let secret = self.context.norms.secret(&self.context.tenant);
            contact_state.pending.subject =
                Some(format_compact!("contact:{}", identity::key(&contact_state.form, secret)));
        }
        for entity in &belonging.entities {
            self.journeys[*entity].owe(contact);
        }
    }

    fn belonging_of_call(&mut self, call: &Call) -> Belonging {
        let form = identity::phone(&call.phone, self.context.norms.country);
        let contact = form.map(|form| self.contact(form));
        self.belonging(call.entity.as_ref(), None, contact)
    }

    fn belonging_of_message(&mut self, message: &Message) -> Belonging {
        let contact = message.contact.as_ref();
        let form = contact.and_then(|contact| identity::normal_form(contact, self.context.norms.country));
        let contact = form.map(|form| self.contact(form));
        let belonging = self.belonging(message.entity.as_ref(), message.thread.as_ref(), contact);
        if let (Some(thread), Some(primary)) = (&message.thread, belonging.primary)
            && !self.threads.contains_key(thread)
        {
            self.threads.insert(thread.clone(), primary);
        }
        belonging
    }

    fn belonging(&mut self, entity: Option<&EntityId>, thread: Option<&ThreadId>, contact: Option<u32>) -> Belonging {
        let named = entity.and_then(|entity| self.known(entity));
        let tied = || thread.and_then(|thread| self.threads.get(thread).copied());
        let one = named.or_else(|| tied().filter(|entity| !self.journeys[*entity].deleted()));
        if let Some(entity) = one {
            return Belonging { entities: vec![entity], primary: Some(entity), contact };
        }
        let mut entities: Vec<u32> = contact
            .map(|contact| &*self.contacts[contact].entities)
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|entity| self.journeys[*entity].open())
            .collect();
        entities.sort_unstable();
        let primary = entities.iter().copied().max_by_key(|entity| self.journeys[*entity].recency());
        Belonging { entities, primary, contact }
    }
}
