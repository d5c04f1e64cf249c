//! Owns what becomes of two leads or deals that turn out to be one: what the merged one leaves, and what its survivor
//! takes over.
//!
//! The acts of both keep their dates, and the positions at which they became known. So a lag counts for
//! the manager who was responsible for the survivor at that time, and rules judge the survivor as if all acts had been its
//! own. An act that both had, such as a call to a contact of both, is one act.

use crate::domain::alert::Resolution;
use crate::domain::change::JourneyChange;
use crate::domain::context::TenantContext;
use crate::domain::index::{CallIx, JourneyIx};
use crate::domain::journey::acts::is_earlier;
use crate::domain::journey::contact_history::{ContactHistory, Touch};
use crate::domain::journey::open_plans::Plans;
use crate::domain::journey::{Journey, Sale};
use crate::domain::mem::indexed_arena::IndexedArena;
use crate::domain::mem::lazy_box::LazyBox;
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// The history that a merged entity leaves.
#[derive(Debug)]
pub struct History {
    acts: LazyBox<ContactHistory>,
    fields: Vec<CompactString>,
    activities: u8,
    plans: LazyBox<Plans>,
}

/// The entity that has taken over the history of `ix`, or `ix` itself.
pub fn survivor(journeys: &IndexedArena<Journey>, ix: JourneyIx) -> JourneyIx {
    journeys[ix].survivor().unwrap_or(ix)
}

impl History {
    /// The calls that made its touches.
    pub fn calls(&self) -> impl Iterator<Item = CallIx> {
        self.acts.touches.iter().filter_map(|touch| touch.call)
    }
}

impl Sale {
    /// Adds a lead that the deal names because of another deal.
    pub fn add_lead(&mut self, lead: CompactString) {
        match &self.lead {
            None => self.lead = Some(lead),
            Some(_) => self.other_leads.push(lead),
        }
    }

    /// Replaces a lead that was merged into another one.
    pub fn replace_lead(&mut self, from: &CompactString, to: &CompactString) {
        for lead in self.lead.iter_mut().chain(&mut self.other_leads).filter(|lead| *lead == from) {
            lead.clone_from(to);
        }
        let Self { lead, other_leads, .. } = self;
        other_leads.retain(|other| lead.as_ref() != Some(other));
        other_leads.sort_unstable();
        other_leads.dedup();
    }
}

impl Journey {
    /// Whether it was merged into another one.
    pub fn is_merged(&self) -> bool {
        self.end_state.merges.merged
    }

    /// The entity that has taken over its history.
    pub fn survivor(&self) -> Option<JourneyIx> {
        self.end_state.merges.survivor
    }

    /// The entities whose histories it has taken over.
    pub fn absorbed(&self) -> &[JourneyIx] {
        &self.end_state.merges.absorbed
    }

    /// The resolution of alerts that end because it is gone.
    pub fn removal(&self) -> Resolution {
        if self.is_merged() { Resolution::Merged } else { Resolution::Deleted }
    }

    /// Ends it, because it turned out to be another one; `survivor`: the one that takes over its history.
    pub fn merge(&mut self, context: &mut TenantContext, survivor: Option<JourneyIx>) {
        let merges = &mut self.end_state.merges;
        (merges.merged, merges.survivor) = (true, survivor);
        self.delete(context);
    }

    /// Follows its survivor, which was merged too.
    pub fn follow_survivor(&mut self, survivor: JourneyIx) {
        self.end_state.merges.survivor = Some(survivor);
    }

    /// Adds an entity whose history it has, by way of another one.
    pub fn absorb(&mut self, absorbed: JourneyIx) {
        self.end_state.merges.absorbed.push(absorbed);
    }

    /// Takes its history out of it.
    pub fn leave_history(&mut self) -> History {
        History {
            acts: std::mem::take(&mut self.contact_history),
            fields: self.stage_history.fields.clone(),
            activities: self.stage_history.activities,
            plans: std::mem::take(&mut self.plans),
        }
    }

    /// Takes over the history of an entity that was merged into this one. `talks`: the first conversations of its calls
    /// that this one had no part in.
    pub fn take_over(
        &mut self,
        context: &mut TenantContext,
        merged: JourneyIx,
        history: &History,
        talks: &[Timestamp],
    ) {
        let (first_talk, first_contact) = (self.first_talk(), self.first_contact());
        history.acts.touches.iter().for_each(|touch| self.take_over_touch(context, *touch));
        let acts = &mut *self.contact_history;
        acts.was_touched |= history.acts.was_touched;
        acts.talks.extend(talks);
        acts.talks.sort_unstable();
        acts.asked.extend(&history.acts.asked);
        acts.asked.sort_unstable_by_key(|(_, position)| *position);
        acts.asked.dedup();
        let touched = acts.touches.iter().map(|touch| touch.known).min();
        let answer = touched.and_then(|known| acts.asked.iter().find(|(_, position)| *position > known));
        let exchanges = [acts.first_exchange, history.acts.first_exchange, answer.map(|(at, _)| *at)];
        acts.first_exchange = exchanges.into_iter().flatten().min();
        history.acts.pending_contacts.iter().for_each(|contact| self.add_pending_contact(*contact));
        if !history.fields.is_empty() || history.activities != 0 {
            self.fill_fields(&history.fields);
            self.stage_history.activities |= history.activities;
        }
        self.take_over_plans(context, &history.plans);
        self.absorb(merged);
        if is_earlier(self.first_talk(), first_talk) {
            context.record_change(JourneyChange::Talk);
        }
        self.record_contact(context, first_contact);
    }

    /// Takes over a touch. If both had it, from different legs of one call, the earlier date counts.
    fn take_over_touch(&mut self, context: &mut TenantContext, touch: Touch) {
        let acts = &mut *self.contact_history;
        let same = |own: &Touch| own.call == touch.call && (own.call.is_some() || own.known == touch.known);
        let Some(position) = acts.touches.iter().position(same) else {
            let first = !std::mem::replace(&mut acts.was_touched, true);
            acts.insert_touch(touch);
            return context.record_change(JourneyChange::Touch { at: touch.at, first });
        };
        let own = acts.touches[position];
        let known = own.known.min(touch.known);
        if touch.at < own.at {
            acts.touches.remove(position);
            acts.insert_touch(Touch { known, ..touch });
            context.record_change(JourneyChange::TouchMoved { from: own.at });
        } else {
            acts.touches[position].known = known;
        }
    }
}
