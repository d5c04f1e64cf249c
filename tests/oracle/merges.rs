//! Merged entities: the survivor has the history of both, known from the merge on.

use std::collections::BTreeSet;

use super::history::{Act, Entity, TenantHistory};
use super::identity::{EntityId, Kind};
use super::rules::Ending;
use super::steps::{Plan, Term};

impl TenantHistory {
    /// The entity that stands for this one at a moment.
    pub fn survivor_at<'a>(&'a self, id: &'a EntityId, moment: usize) -> &'a EntityId {
        let mut id = id;
        while let Some((into, _)) = self.survivor_of(id).filter(|(_, since)| *since <= moment) {
            id = into;
        }
        id
    }

    fn survivor_of(&self, id: &EntityId) -> Option<&(EntityId, usize)> {
        self.entities.get(id)?.survivor.as_ref()
    }

    /// The leads that a deal names at a moment: its own, and those of the deals that it took over.
    pub fn named_by<'a>(&'a self, deal: &'a Entity, moment: usize) -> impl Iterator<Item = &'a EntityId> {
        let own = deal.names.iter().filter(move |(_, since)| *since <= moment);
        own.map(move |(lead, _)| self.survivor_at(lead, moment))
    }

    /// The leads that a present deal names.
    pub fn leads_named(&self) -> BTreeSet<&EntityId> {
        let present = self.entities.values().filter(|deal| deal.deleted.is_none());
        present.flat_map(|deal| self.named_by(deal, usize::MAX)).collect()
    }

    pub(super) fn merge(&mut self, id: &EntityId, into: &EntityId, at: i64, moment: usize) {
        // Into itself or in a circle: nothing.
        let into = self.survivor_at(into, moment).clone();
        if into == *id || self.entity(id, at, moment).is_none() {
            return;
        }
        let taken_over = self.entity(&into, at, moment).is_some();
        let plans: Vec<Plan> = self.entities[id].open_plans().cloned().collect();
        let entity = self.entities.get_mut(id).unwrap();
        entity.deleted = Some((at, moment));
        entity.merged = true;
        self.end_plans(id, at, moment, "merged");
        if taken_over {
            self.entities.get_mut(id).unwrap().survivor = Some((into.clone(), moment));
            self.take_over(id, &into, plans, at, moment);
        }
    }

    fn take_over(&mut self, id: &EntityId, into: &EntityId, plans: Vec<Plan>, at: i64, moment: usize) {
        for tied in self.threads.values_mut() {
            if tied == id {
                *tied = into.clone();
            }
        }
        for of in self.entities_by_contact.values_mut().filter(|of| of.contains_key(id)) {
            of.entry(into.clone()).or_insert(moment);
        }
        let other = self.entities[id].clone();
        for call in other.touches.iter().chain(&other.conversations).filter_map(|act| act.call.clone()) {
            self.acted_on.entry(call).or_default().insert(into.clone());
        }
        let names = other.names.clone();
        let survivor = self.entities.get_mut(into).unwrap();
        survivor.fields.extend(other.fields);
        survivor.activities.extend(other.activities);
        let untouched = survivor.standing_touches().next().is_none();
        take_acts(&mut survivor.touches, &other.touches, moment);
        take_acts(&mut survivor.conversations, &other.conversations, moment);
        take_acts(&mut survivor.heard, &other.heard, moment);
        take_acts(&mut survivor.two_way_contacts, &other.two_way_contacts, moment);
        // What the customer wrote after a touch of either.
        let touched = survivor.standing_touches().map(|act| act.origin).min();
        let after = |act: &&Act| touched.is_some_and(|touched| touched < act.origin);
        let heard: Vec<Act> = survivor.heard.iter().filter(after).cloned().collect();
        take_acts(&mut survivor.two_way_contacts, &heard, moment);
        // The last touch of both.
        let last = survivor.standing_touches().map(|act| act.date).max();
        if untouched && survivor.open_changes.is_empty() && survivor.left_waiting.is_none() && last.is_some() {
            survivor.idle_since = None;
        }
        let first_seen = self.first_seen;
        let later = |last: &i64| self.entities[into].idle_since.is_none_or(|since| *last.max(&first_seen) > since);
        if let Some(last) = last.filter(later) {
            self.idle_from(into, last, moment, true);
        }
        self.take_plans(into, plans, moment);
        // Deals that name it name the survivor; a deal goes on naming what the other named.
        if id.kind == Kind::Deal {
            let survivor = self.entities.get_mut(into).unwrap();
            if survivor.lead.is_none()
                && let Some(lead) = &other.lead
            {
                survivor.lead = Some(lead.clone());
            }
            survivor.names.extend(names.into_iter().map(|(lead, _)| (lead, moment)));
        } else if self.entities[into].is_open() && self.is_named_by_a_deal(id) {
            self.close(into, super::decode::Outcome::Converted, None, at, moment);
        }
    }

    /// Whether a present deal names this lead itself or one that was merged into it.
    fn is_named_by_a_deal(&self, lead: &EntityId) -> bool {
        let mut deals = self.entities.values().filter(|deal| deal.deleted.is_none());
        deals.any(|deal| {
            deal.names.iter().any(|(named, _)| {
                // Up to this lead, not beyond.
                let mut named = named;
                while named != lead {
                    match self.survivor_of(named) {
                        Some((into, _)) => named = into,
                        None => return false,
                    }
                }
                true
            })
        })
    }

    /// For the rule `next_step_missing` dated when they were made, for `next_step_overdue` known at the merge.
    fn take_plans(&mut self, into: &EntityId, plans: Vec<Plan>, moment: usize) {
        let scope = self.scope_of(into);
        let survivor = self.entities.get_mut(into).unwrap();
        if !survivor.is_open() {
            return;
        }
        for plan in plans {
            if survivor.open_plans().any(|own| own.activity == plan.activity) {
                continue;
            }
            let term = Term { deadline: plan.deadline(), moment, scope: scope.clone(), end: None };
            let end = Ending::new(plan.made, moment, "planned");
            survivor.bare_since = None;
            survivor.bare.iter_mut().for_each(|bare| bare.ends.push(end));
            survivor.plans.push(Plan { terms: vec![term], ..plan });
        }
    }
}

/// Takes over the acts of another entity; one that both had stays one.
fn take_acts(own: &mut Vec<Act>, other: &[Act], moment: usize) {
    let mut standing: Vec<&Act> = other.iter().filter(|act| act.gone.is_none()).collect();
    standing.sort_by_key(|act| (act.date, act.origin));
    for act in standing {
        let one_call = |own: &Act| act.call.is_some() && own.call == act.call;
        let same =
            |own: &&mut Act| own.gone.is_none() && (one_call(own) || own.call.is_none() && own.origin == act.origin);
        match own.iter_mut().find(same) {
            Some(own) if own.date <= act.date => continue,
            Some(own) => own.gone = Some(moment),
            None => {}
        }
        own.push(Act { moment, ..act.clone() });
    }
}
