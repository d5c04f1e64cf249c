//! Owns merges: two leads or two deals turn out to be one.
//!
//! One of them ends as if it was deleted. The other one, its **survivor**, takes over its contacts, acts, threads and
//! links, and its clocks are judged again with the acts of both. Attributes (manager, stage, source, amount, creation)
//! and the facts of acts stay as they are.
//!
//! Calls and demands keep the entities that they had when they became known; what reads these follows the merge. A
//! demand of a merged entity is therefore settled by its survivor's conversations from the merge on, and not by earlier
//! ones.
//!
//! *Alternative considered.* Rewriting the events of the merged entity and replaying the case, as for a late event, would
//! need no code for histories. But it would also take over the stages and closings, and count acts again for the manager of
//! the survivor.

use crate::domain::context::TenantContext;
use crate::domain::id::{EntityId, EntityKind};
use crate::domain::index::{ContactIx, JourneyIx};
use crate::domain::journey::{Journey, merge};
use crate::domain::mem::small_index_vec::SmallIndexVec;
use crate::domain::pending_replies::PendingReplies;
use crate::domain::tenant::{CALLS, MESSAGES, Tenant};

impl Tenant {
    /// Handles `merged`. An entity that is gone cannot be merged, and none can be merged into itself; a merge into one that
    /// was merged goes on to its survivor.
    pub(super) fn merged(&mut self, entity: &EntityId, into: &EntityId) {
        if entity == into {
            return;
        }
        let Some(gone) = self.journey_ix(entity) else { return };
        let known = self.journey_ix(into).or_else(|| self.journeys.find(into));
        let Some(kept) = known.map(|into| self.survivor(into)).filter(|kept| *kept != gone) else { return };
        if self.journeys[kept].deleted() {
            return self.remove(gone, |journey, context| journey.merge(context, None));
        }
        self.change(gone, |journey, context| journey.merge(context, Some(kept)));
        self.emit_facts(gone);
        self.take_over_contacts(gone, kept);
        self.take_over_history(gone, kept);
        match entity.kind {
            EntityKind::Lead => self.take_over_deals(gone, kept),
            EntityKind::Deal => self.take_over_leads(gone, kept),
        }
        self.emit_facts(kept);
    }

    /// The entity that has taken over the history of `ix`, or `ix` itself.
    pub(super) fn survivor(&self, ix: JourneyIx) -> JourneyIx {
        merge::survivor(&self.journeys, ix)
    }

    /// The entities that stand for these now.
    pub(super) fn survivors(&self, entities: impl Iterator<Item = JourneyIx>) -> Vec<JourneyIx> {
        let mut standing: Vec<JourneyIx> = entities.map(|entity| self.survivor(entity)).collect();
        standing.retain(|entity| !self.journeys[*entity].deleted());
        standing.sort_unstable();
        standing.dedup();
        standing
    }

    /// These entities, and those whose histories they have taken over.
    pub(super) fn with_absorbed(&self, mut entities: Vec<JourneyIx>) -> Vec<JourneyIx> {
        for i in 0..entities.len() {
            entities.extend(self.journeys[entities[i]].absorbed());
        }
        entities
    }

    fn take_over_contacts(&mut self, gone: JourneyIx, kept: JourneyIx) {
        let contacts = self.journeys[gone].contacts.to_vec();
        for contact in contacts {
            let entities = &mut self.contacts[contact].entities;
            *entities = entities.iter().copied().filter(|entity| *entity != gone).collect();
            self.link_contact(kept, contact);
        }
    }

    /// The acts, and what waits for a reply.
    fn take_over_history(&mut self, gone: JourneyIx, kept: JourneyIx) {
        for absorbed in self.journeys[gone].absorbed().to_vec() {
            self.journeys[absorbed].follow_survivor(kept);
            self.journeys[kept].absorb(absorbed);
        }
        let pending: Vec<ContactIx> = self.journeys[gone].pending_contacts().to_vec();
        let history = self.journeys[gone].leave_history();
        let calls = &mut self.calls;
        let talks: Vec<_> = history.calls().filter_map(|call| calls[call].pass_on(gone, kept)).collect();
        self.refresh_lead_source(kept);
        self.change(kept, |journey, context| journey.take_over(context, gone, &history, &talks));
        for contact in pending {
            for kind in [CALLS, MESSAGES] {
                self.with_pending_replies(contact, kind, PendingReplies::reassign);
            }
        }
    }

    /// The deals that named a merged lead name its survivor, and close it.
    fn take_over_deals(&mut self, gone: JourneyIx, kept: JourneyIx) {
        let [from, to] = [gone, kept].map(|ix| self.journeys[ix].id.id.clone());
        let Some(deals) = self.deals_by_lead.remove(&from) else { return };
        for deal in deals.iter() {
            self.journeys[*deal].sale.replace_lead(&from, &to);
            let naming = self.deals_by_lead.get_or_insert_with(to.clone(), SmallIndexVec::default);
            if !naming.contains(deal) {
                naming.push(*deal);
            }
        }
        self.journeys[kept].naming_deals = self.count_naming_deals(&to);
        if deals.iter().any(|deal| !self.journeys[*deal].deleted()) {
            self.convert(Some(kept));
        }
    }

    /// The survivor of a deal names the leads that the deal named.
    fn take_over_leads(&mut self, gone: JourneyIx, kept: JourneyIx) {
        let leads: Vec<_> = self.journeys[gone].sale.leads().cloned().collect();
        for lead in leads {
            let naming = self.deals_by_lead.get_or_insert_with(lead.clone(), SmallIndexVec::default);
            let others = naming.iter().copied().filter(|deal| *deal != gone);
            if naming.contains(&kept) {
                *naming = others.collect();
            } else {
                *naming = others.chain([kept]).collect();
                self.journeys[kept].sale.add_lead(lead.clone());
            }
            if let Some(known) = self.known_lead(&lead) {
                self.journeys[known].naming_deals = self.count_naming_deals(&lead);
                self.emit_facts(known);
            }
        }
    }

    /// Removes an entity for good; the lead of a deal is no longer named by it.
    pub(super) fn remove(&mut self, ix: JourneyIx, remove: impl FnOnce(&mut Journey, &mut TenantContext)) {
        self.change(ix, remove);
        self.emit_facts(ix);
        let leads: Vec<_> = self.journeys[ix].sale.leads().filter_map(|lead| self.known_lead(lead)).collect();
        for known in leads {
            self.journeys[known].naming_deals -= 1;
            self.emit_facts(known);
        }
    }
}
