//! Owns when a manager is forgotten: when no kept event names the manager, unless the latest record says that the manager is
//! active.
//!
//! **Inactive** managers, by their latest record, are forgotten `retention` after it and after their last review, once all
//! cases that name them have expired: nothing of them is open then. Managers without a record are known only by events,
//! and are forgotten with the last one; a restored tenant would not know them either. Active managers stay.
//!
//! **Departments** go with the last manager record that names them, unless a `department_upserted` describes them:
//! nothing says of a department that it is closed, so what is described or named is kept.
//!
//! The index of a forgotten manager is used again. That is sound, because every fact, clock or timer with this index
//! follows from an event that names the manager. Forgetting happens at instants of event time, between events.

use crate::domain::context::TenantContext;
use crate::domain::effect::Effect;
use crate::domain::event::{CrmPayload, Payload};
use crate::domain::id::{DepartmentId, ManagerId, UNKNOWN};
use crate::domain::mem::seeded::SeededMap;
use crate::domain::tenant::Tenant;
use crate::domain::tenant::cases::Entry;
use crate::domain::time::{Span, Timestamp};
use std::collections::BTreeSet;

impl Tenant {
    /// An event was applied that may name a manager.
    pub(super) fn name_manager(&mut self, at: Timestamp, payload: &Payload) {
        let Some(retention) = self.memory.retention else { return };
        if let Some(manager) = payload.manager() {
            self.named.add_event(manager);
        } else if let Some(manager) = loosely_named(payload) {
            self.named.add_loose(manager, at);
            self.named.check(manager, at.saturating_add(retention));
        }
    }

    /// An event of a case expired at `at`.
    pub(super) fn release_manager(&mut self, at: Timestamp, payload: &Payload) {
        let (Some(manager), Some(retention)) = (payload.manager(), self.memory.retention) else { return };
        if let Some(last) = self.named.remove_event(manager) {
            self.named.check(manager, last.saturating_add(retention).max(at));
        }
    }

    /// Forgets the managers that are due at or before `until`.
    pub(super) fn forget_managers(&mut self, until: Timestamp) {
        let Some(retention) = self.memory.retention.filter(|_| !self.named.is_replaying) else { return };
        let (mut forgotten, mut departments) = (SeededMap::default(), BTreeSet::new());
        while let Some((at, manager, events, last)) = self.named.take_due(until) {
            if events > 0 || self.context.people.is_active(&manager) {
                continue;
            }
            let is_sampled = self
                .context
                .people
                .find(&manager)
                .is_some_and(|who| self.sampler.as_ref().is_some_and(|sampler| sampler.has_day(who)));
            let due = last.saturating_add(retention);
            if is_sampled || due > at {
                self.named.check(&manager, if is_sampled { at.saturating_add(Span::HOUR) } else { due });
                continue;
            }
            self.named.remove(&manager);
            self.forget_manager(at, &manager, &mut departments);
            forgotten.insert(manager, at);
        }
        if !forgotten.is_empty() {
            self.forget_records(&forgotten);
            self.forget_departments(until, departments);
        }
    }

    fn forget_manager(&mut self, at: Timestamp, manager: &ManagerId, departments: &mut BTreeSet<DepartmentId>) {
        let Some((who, named)) = self.context.people.forget(manager) else { return };
        departments.extend(named);
        self.context.forget_scopes();
        self.sampler.iter_mut().for_each(|sampler| sampler.forget(&mut self.context, who, manager));
        self.context.effects.push(Effect::ManagerForgotten { known: at, who, id: manager.clone() });
    }

    /// Expires the records of managers that were forgotten, each at its instant.
    fn forget_records(&mut self, forgotten: &SeededMap<ManagerId, Timestamp>) {
        let codec = self.codec;
        let is_of_them = |entry: &mut Entry| {
            let Payload::Crm(payload) = codec.unpack_trusted(entry.order, &entry.packed) else { return false };
            let CrmPayload::ManagerUpserted { manager, .. } = &*payload else { return false };
            forgotten.get(manager).is_some_and(|at| entry.order.at <= *at)
        };
        for entry in self.cases.take_loose(is_of_them) {
            self.forget_event(entry.order);
        }
    }

    /// Forgets those of the departments that nothing names any more.
    fn forget_departments(&mut self, at: Timestamp, mut departments: BTreeSet<DepartmentId>) {
        let TenantContext { people, departments: described, effects, .. } = &mut self.context;
        for id in people.departments().chain(described.ids()) {
            departments.remove(id);
        }
        // Facts without a manager count there.
        departments.remove(&DepartmentId::from(UNKNOWN));
        effects.extend(departments.into_iter().map(|id| Effect::DepartmentForgotten { known: at, id }));
    }
}

/// The manager whom an event without a case names.
fn loosely_named(payload: &Payload) -> Option<&ManagerId> {
    let Payload::Crm(payload) = payload else { return None };
    match &**payload {
        CrmPayload::ManagerUpserted { manager, .. } | CrmPayload::InteractionReviewed { manager, .. } => Some(manager),
        _ => None,
    }
}
