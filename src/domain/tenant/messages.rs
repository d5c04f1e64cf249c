//! Owns how written messages take effect: touches, answers, and the demands of customers who wait for one.
//!
//! A message that needs no answer any more, because the lead or deal that it belonged to is closed, ends without one. A
//! lead that became a deal passes the wait on to its deals.

use crate::domain::alert::Resolution;
use crate::domain::call::Parties;
use crate::domain::event::{Direction, Message, Outcome};
use crate::domain::figures::pane::Measure;
use crate::domain::id::{EntityKind, MessageId};
use crate::domain::identity;
use crate::domain::index::{ContactIx, JourneyIx, ManagerIx};
use crate::domain::journey::Journey;
use crate::domain::norms::Scope;
use crate::domain::pending_replies::demand::{Counts, Demand, Reach, Settlement};
use crate::domain::review::Medium;
use crate::domain::rule::Rule;
use crate::domain::tenant::sampler::Interaction;
use crate::domain::tenant::{Attribution, MESSAGES, Tenant};
use std::sync::Arc;

/// How many contacts that asked in a thread an answer in it can reach.
const MAX_ASKING: usize = 256;

impl Tenant {
    pub(super) fn message(&mut self, message: &Message) {
        let attribution = self.attribute_message(message);
        let manager = self.manager_ix(message.manager.as_ref());
        let who = manager.or(self.responsible(&attribution));
        let now = self.context.now;
        match message.direction {
            Direction::Outbound => {
                self.context.emit_fact(now, who, 1, Measure::MessageSent(message.channel));
                if !message.automatic {
                    self.message_sent(&attribution, message, manager);
                }
            }
            Direction::Inbound => {
                self.context.emit_fact(now, who, 1, Measure::MessageReceived(message.channel));
                let dismissed = self.register_received(&attribution, message);
                if !message.automatic {
                    for entity in &attribution.entities {
                        self.change(*entity, Journey::ask);
                    }
                    self.message_received(&attribution, message, manager);
                }
                if let (Some(who), Some(contact)) = (dismissed, attribution.contact) {
                    self.dismiss(contact, MESSAGES, (now, self.context.position), who);
                }
            }
        }
        self.emit_all_facts(&attribution.entities);
    }

    /// A message that a person sent is a touch, and an answer to the contact, in the thread, and to the message that it
    /// replies to. Where the norm says so, it returns missed calls.
    fn message_sent(&mut self, attribution: &Attribution, message: &Message, manager: ManagerIx) {
        let (now, who) = (self.context.now, manager.or(self.responsible(attribution)));
        self.touch_all(&attribution.entities, now, who);
        self.context.emit_fact(now, who, 1, Measure::Touch);
        if let Some(sampler) = &mut self.sampler {
            let medium = Medium::Message { channel: message.channel };
            let interaction =
                Interaction { id: &message.id.0, at: now, entity: attribution.primary, medium, replaceable: false };
            sampler.consider(&mut self.context, who, interaction);
        }
        let in_thread = message.thread.as_ref().and_then(|thread| self.contacts_by_thread.get(thread));
        let reply = message.in_reply_to.as_ref().map(MessageId::reply_key);
        let replied_to = reply.and_then(|reply| self.received.get(reply)).map(|(contact, _)| contact);
        let asking = in_thread.into_iter().flatten().chain(replied_to).copied().collect();
        let (thread, reply) = (message.thread.clone(), message.in_reply_to.clone());
        let accountable = self.responsible(attribution).or(manager);
        let contacts: Vec<ContactIx> = attribution.contact.into_iter().collect();
        let answer = Settlement { who: accountable, ..self.own_end(Resolution::Answered) };
        self.settle_messages(&contacts, asking, Reach { thread, reply, ..Reach::default() }, answer);
        if self.context.texts_return {
            let settlement = Settlement { who: accountable, text: true, ..self.own_end(Resolution::Returned) };
            self.settle_missed(&Parties::of(attribution.contact, None, &[]), &settlement);
        }
    }

    fn message_received(&mut self, attribution: &Attribution, message: &Message, manager: ManagerIx) {
        let Some(contact) = attribution.contact else { return };
        let scope = self.scope_of(attribution.primary, manager);
        let channels = scope.rules.get(&Rule::MessageUnanswered).and_then(|norm| norm.channels.as_ref());
        let listed = channels.is_none_or(|channels| channels.contains(&message.channel));
        if !listed || self.is_quiet(attribution, contact, &scope) {
            return;
        }
        let demand = Demand {
            at: self.context.now,
            order: self.context.position,
            interaction: message.id.0.clone(),
            entity: attribution.primary,
            who: manager,
            accountable: self.responsible(attribution).or(manager),
            scope,
            entities: attribution.entities.to_vec(),
            thread: message.thread.clone(),
            open: attribution.entities.iter().any(|entity| self.journeys[*entity].open()),
            call: None,
            ended: None,
            counts: Counts::ALL,
            opened: self.context.position,
        };
        self.add_pending_contact(contact, &attribution.entities);
        if let Some(thread) = &message.thread {
            let asking = self.contacts_by_thread.get_or_insert_with(thread.clone(), Vec::new);
            let known = asking.contains(&contact);
            if !known && asking.len() < MAX_ASKING {
                asking.push(contact);
            } else if !known {
                self.left_out += 1;
            }
        }
        self.demand(contact, MESSAGES, demand);
    }

    /// Registers the id of a received message for replies and dismissals. Returns the manager of a dismissal that came
    /// before it.
    fn register_received(&mut self, attribution: &Attribution, message: &Message) -> Option<ManagerIx> {
        let contact = attribution.contact?;
        let id = message.id.reply_key();
        self.received.insert(id.into(), (contact, (self.context.now, self.context.position)));
        self.dismissed_early.remove(id)
    }

    /// Whether a message needs no answer because the contact's last entity was closed a short time ago.
    fn is_quiet(&self, attribution: &Attribution, contact: ContactIx, scope: &Scope) -> bool {
        let since = self.context.now.saturating_sub(scope.quiet_after_close());
        if since == self.context.now {
            return false;
        }
        let having = &*self.contacts[contact].entities;
        let mut last = None;
        for entity in attribution.entities.iter().chain(having).filter(|entity| !self.journeys[**entity].deleted()) {
            match self.journeys[*entity].closed() {
                None => return false,
                Some((_, at)) => last = last.max(Some(at)),
            }
        }
        last.is_some_and(|closed| closed >= since)
    }

    /// A sent message or a conversation settles the messages of contacts, and those of the contacts in `asking` that
    /// `reach` covers.
    pub(super) fn settle_messages(
        &mut self,
        contacts: &[ContactIx],
        mut asking: Vec<ContactIx>,
        reach: Reach,
        settlement: Settlement,
    ) {
        if !self.any_awaits(contacts, &asking) {
            return;
        }
        let settlement = Settlement { reach: Some(Arc::new(reach)), ..settlement };
        asking.sort_unstable();
        asking.dedup();
        asking.retain(|contact| !contacts.contains(contact));
        for contact in asking {
            self.settle(contact, MESSAGES, settlement.clone());
        }
        for contact in contacts {
            self.settle(*contact, MESSAGES, Settlement { reach: None, ..settlement.clone() });
        }
    }

    /// Ends the pending messages that belonged to an entity that has just been closed, unless it became a deal. A message
    /// that belonged to several entities ends with the last of them.
    pub(super) fn end_messages(&mut self, closed: JourneyIx) {
        if self.journeys[closed].closed_as() == Some(Outcome::Converted) {
            return;
        }
        let end = self.own_end(Resolution::Closed);
        let concerned: Vec<JourneyIx> = self.converted_leads(closed).chain([closed]).collect();
        for entity in concerned {
            for contact in self.journeys[entity].pending_contacts().to_vec() {
                let finished = |entities: &[JourneyIx]| entities.iter().all(|entity| self.is_finished(*entity));
                let belongs = |demand: &Demand| demand.entities.iter().any(|of| self.survivor(*of) == entity);
                let messages = self.contacts[contact].pending.messages.as_ref();
                let ending: Vec<_> = messages
                    .into_iter()
                    .flat_map(|messages| messages.pending())
                    .filter(|demand| demand.open && belongs(demand) && finished(&demand.entities))
                    .map(Demand::key)
                    .collect();
                if !ending.is_empty() {
                    self.with_pending_replies(contact, MESSAGES, |pending_replies, context, demand_context| {
                        pending_replies.end(context, demand_context, &end, |demand| ending.contains(&demand.key()));
                    });
                }
            }
        }
    }

    /// Whether nobody waits for an answer about an entity any more. A lead that became a deal is finished when all deals
    /// that name it are.
    fn is_finished(&self, entity: JourneyIx) -> bool {
        let journey = &self.journeys[self.survivor(entity)];
        match journey.closed_as() {
            _ if journey.deleted() => true,
            None => false,
            Some(Outcome::Converted) => {
                let deals = self.deals_by_lead.get(&journey.id.id).filter(|_| journey.id.kind == EntityKind::Lead);
                let standing = deals.into_iter().flat_map(|deals| deals.iter().map(|deal| &self.journeys[*deal]));
                let mut standing = standing.filter(|deal| !deal.deleted()).peekable();
                standing.peek().is_some()
                    && standing.all(|deal| deal.closed_as().is_some_and(|outcome| outcome != Outcome::Converted))
            }
            Some(_) => true,
        }
    }

    /// The leads that a deal names and that became deals.
    pub(super) fn converted_leads(&self, deal: JourneyIx) -> impl Iterator<Item = JourneyIx> {
        let leads = self.journeys[deal].sale.leads().filter_map(|id| self.known_lead(id));
        leads.filter(|lead| self.journeys[*lead].closed_as() == Some(Outcome::Converted))
    }

    fn attribute_message(&mut self, message: &Message) -> Attribution {
        let contact = message.contact.as_ref();
        let form = contact.and_then(|contact| identity::normal_forms(contact, self.context.norms.country).next());
        let contact = form.map(|form| self.contact_ix(form));
        let attribution = self.attribute(message.entity.as_ref(), message.thread.as_ref(), contact);
        if let (Some(thread), Some(primary)) = (&message.thread, attribution.primary)
            && !self.entity_by_thread.contains_key(thread)
        {
            self.entity_by_thread.insert(thread.clone(), primary);
        }
        attribution
    }
}
