//! Owns calls and messages as far as they have something in common: which entities they belong to, and the demands for a
//! reply. `telephony` handles calls, `messages` messages.
//!
//! An interaction belongs to the entity that it names, else to the entity of its thread, else to every open entity with
//! the contact (the most recently created one is primary), else to the contact only. A contact of very many open entities
//! (a switchboard, an aggregator) does not show which of them is meant: its calls and messages belong to the contact only.

use crate::domain::alert::Resolution;
use crate::domain::context::TenantContext;
use crate::domain::figures::pane::Measure;
use crate::domain::id::{EntityId, ThreadId, reply_key};
use crate::domain::index::{ContactIx, JourneyIx, ManagerIx};
use crate::domain::mem::small_index_vec::SmallIndexVec;
use crate::domain::pending_replies::demand::{Demand, DemandKey, Settlement};
use crate::domain::pending_replies::{DemandContext, DemandKind, PendingReplies};
use crate::domain::tenant::contacts::ContactPending;
use crate::domain::tenant::{Attribution, CALLS, MESSAGES, Tenant, select};
use crate::domain::time::Timestamp;
use compact_str::{CompactString, format_compact};

impl Tenant {
    pub(super) fn demand(&mut self, contact: ContactIx, kind: DemandKind, demand: Demand) {
        let horizon = self.memory.retention.map(|retention| self.context.now.saturating_sub(retention));
        let ContactPending { calls, messages, .. } = &mut *self.contacts[contact].pending;
        select(kind, calls, messages).get_or_insert_default();
        self.with_pending_replies(contact, kind, |pending_replies, context, demand_context| {
            horizon.into_iter().for_each(|horizon| pending_replies.expire(demand_context, horizon));
            pending_replies.add_demand(context, demand_context, demand);
        });
    }

    pub(super) fn settle(&mut self, contact: ContactIx, kind: DemandKind, settlement: Settlement) {
        self.with_pending_replies(contact, kind, |pending_replies, context, demand_context| {
            pending_replies.add_settlement(context, demand_context, settlement)
        });
    }

    /// Handles the timer of a clock whose first demand has the date `first`.
    pub(super) fn demand_timer(&mut self, contact: ContactIx, kind: DemandKind, first: Timestamp) {
        self.with_pending_replies(contact, kind, |pending_replies, context, demand_context| {
            pending_replies.on_timer(context, demand_context, first);
        });
    }

    /// Whether one of these contacts has pending replies.
    pub(super) fn any_awaits(&self, contacts: &[ContactIx], others: &[ContactIx]) -> bool {
        contacts.iter().chain(others).any(|contact| self.contacts[*contact].pending.exists())
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
        self.context.origins.iter_mut().for_each(|origins| origins.current.contact = Some(subject.clone()));
        let Some(pending_replies) = select(kind, calls, messages) else { return };
        apply(pending_replies, &mut self.context, &DemandContext { journeys: &self.journeys, subject, contact, kind });
    }

    /// Handles `interaction_dismissed`: nobody waits for a reply to the call or message any more, nor to earlier ones of
    /// the contact. A dismissal that comes before its interaction takes effect with it.
    pub(super) fn dismissed(&mut self, interaction: &CompactString, who: ManagerIx) {
        let call = self.calls.find(interaction).or_else(|| self.calls.find(reply_key(interaction)));
        let message = self.received.get(reply_key(interaction)).copied();
        if call.is_none() && message.is_none() {
            self.dismissed_early.get_or_insert_with(reply_key(interaction).into(), || who);
            return;
        }
        let of_call = call.and_then(|call| {
            let found = self.dismissible(call);
            if found.is_none() {
                self.calls[call].dismissed_early.get_or_insert(who);
            }
            found
        });
        let of_call = of_call.map(|(contact, key)| (contact, CALLS, key));
        let of_message = message.map(|(contact, key)| (contact, MESSAGES, key));
        for (contact, kind, key) in of_call.into_iter().chain(of_message) {
            if self.dismiss(contact, kind, key, who) {
                break;
            }
        }
    }

    /// Ends the pending demands of a contact up to and including one. Returns whether there was one.
    pub(super) fn dismiss(&mut self, contact: ContactIx, kind: DemandKind, key: DemandKey, who: ManagerIx) -> bool {
        let ContactPending { calls, messages, .. } = &mut *self.contacts[contact].pending;
        select(kind, calls, messages).get_or_insert_default();
        let end = self.own_end(Resolution::Dismissed);
        let (mut ended, mut accountable) = (false, ManagerIx::NONE);
        self.with_pending_replies(contact, kind, |pending_replies, context, demand_context| {
            let first = pending_replies.find_pending(key).or_else(|| pending_replies.pending().next());
            accountable = first.map_or(ManagerIx::NONE, |demand| demand.accountable);
            ended = pending_replies.dismiss(context, demand_context, &end, key);
        });
        if ended {
            self.context.emit_fact(self.context.now, who.or(accountable), 1, Measure::Dismissed);
        }
        ended
    }

    /// The end of a demand by itself, now.
    pub(super) fn own_end(&self, resolution: Resolution) -> Settlement {
        Settlement {
            at: self.context.now,
            order: self.context.position,
            resolution,
            who: ManagerIx::NONE,
            reach: None,
            act: None,
            text: false,
            reply: matches!(resolution, Resolution::Returned | Resolution::Answered),
            replaced: false,
        }
    }

    /// Registers the contact as pending with each of its entities.
    pub(super) fn add_pending_contact(&mut self, contact: ContactIx, entities: &[JourneyIx]) {
        let contact_state = &mut self.contacts[contact];
        if contact_state.pending.subject.is_none() {
            contact_state.pending.subject =
                Some(format_compact!("contact:{}", self.context.contact_keys.key(&contact_state.normalized)));
        }
        for entity in entities {
            let entity = self.survivor(*entity);
            self.journeys[entity].add_pending_contact(contact);
        }
    }

    /// The entities and the contact that an interaction belongs to.
    pub(super) fn attribute(
        &mut self,
        entity: Option<&EntityId>,
        thread: Option<&ThreadId>,
        contact: Option<ContactIx>,
    ) -> Attribution {
        let named = entity.and_then(|entity| self.journey_ix(entity));
        let by_thread =
            || thread.and_then(|thread| self.entity_by_thread.get(thread)).map(|entity| self.survivor(*entity));
        let entity_ix = named.or_else(|| by_thread().filter(|entity| !self.journeys[*entity].deleted()));
        if let Some(entity) = entity_ix {
            self.note_entity(entity);
            return Attribution { named, entities: [entity].into_iter().collect(), primary: Some(entity), contact };
        }
        let limit = self.context.norms.shared_contact_limit;
        let mut entities: SmallIndexVec<JourneyIx> = contact
            .filter(|contact| self.contacts[*contact].open_entities <= limit)
            .map(|contact| &*self.contacts[contact].entities)
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|entity| self.journeys[*entity].open())
            .collect();
        entities.sort_unstable();
        let primary = entities.iter().copied().max_by_key(|entity| self.journeys[*entity].recency());
        primary.into_iter().for_each(|entity| self.note_entity(entity));
        Attribution { named, entities, primary, contact }
    }
}
