//! Owns when a tenant archives closings, and what becomes of them: kept when a case is dropped, attached to the new case of
//! an entity, dropped when they do not matter any more.

use crate::domain::effect::{ArchivedClosing, Effect};
use crate::domain::id::EntityId;
use crate::domain::index::JourneyIx;
use crate::domain::tenant::Tenant;
use crate::domain::tenant::past_closings::expiry;
use crate::domain::time::{Span, Timestamp};
use std::collections::BTreeMap;

impl Tenant {
    /// Takes over past closings before a restore.
    pub(super) fn load_past_closings(&mut self, closings: BTreeMap<EntityId, ArchivedClosing>) {
        let horizon = self.memory.correction_horizon;
        closings.into_iter().for_each(|(entity, closing)| self.past_closings.insert(entity, closing, horizon));
    }

    /// The case of a journey is dropped at `at`: keeps its closing, if targets count it.
    pub(super) fn archive_closing(&mut self, ix: JourneyIx, at: Timestamp) {
        let journey = &self.journeys[ix];
        let past = self.past_closings.by_entity.get(&journey.id);
        let horizon = self.memory.correction_horizon;
        let kept = journey.archive(past, &self.context).filter(|closing| expiry(closing.at, horizon) > at);
        if kept.as_ref() == past {
            return;
        }
        let entity = journey.id.clone();
        match &kept {
            Some(closing) => self.past_closings.insert(entity.clone(), closing.clone(), horizon),
            None => drop(self.past_closings.by_entity.remove(&entity)),
        }
        if self.memory.durable {
            self.changelog.closings.push((entity, kept));
        }
    }

    /// Events up to `last` are dropped: what they counted for targets is to be stored.
    pub(super) fn emit_expired(&mut self, last: Timestamp) {
        self.context.emit(Effect::Expired { last });
    }

    /// Emits what the past closing of an entity changes, if it has one.
    pub(super) fn emit_past(&mut self, ix: JourneyIx) {
        if let Some(archived) = self.past_closings.by_entity.get(&self.journeys[ix].id) {
            self.journeys[ix].emit_past(archived, &mut self.context);
        }
    }

    /// An entity is reopened: its past closing does not stand any more.
    pub(super) fn void_past(&mut self, ix: JourneyIx) {
        if self.past_closings.by_entity.contains_key(&self.journeys[ix].id) {
            self.journeys[ix].void_past();
        }
    }

    /// Drops the past closings that do not matter any more at `until`.
    pub(super) fn drop_past_closings(&mut self, until: Timestamp) {
        while let Some((expiry, entity)) = self.past_closings.expiries.first().filter(|(at, _)| *at <= until).cloned() {
            self.past_closings.expiries.pop_first();
            let is_used = self.journeys.find(&entity).is_some_and(|ix| self.journeys[ix].first_event().is_some());
            if is_used {
                self.past_closings.expiries.insert((expiry.max(until).saturating_add(Span::DAY), entity));
            } else if self.past_closings.by_entity.remove(&entity).is_some() && self.memory.durable {
                self.changelog.closings.push((entity, None));
            }
        }
    }

    /// The tenant is forgotten: so are its past closings.
    pub(super) fn forget_past_closings(&mut self) {
        let mut entities: Vec<_> = std::mem::take(&mut self.past_closings).by_entity.into_keys().collect();
        entities.sort();
        self.changelog.closings.extend(entities.into_iter().map(|entity| (entity, None)));
    }
}
