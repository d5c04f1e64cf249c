//! What a shard does with tenants that were forgotten: it counts again what is known of them, and removes them.

use super::{ShardProcessor, TenantState};
use crate::domain::id::TenantId;
use crate::domain::source::{Offset, Source};
use crate::domain::tenant::Tenant;
use std::collections::BTreeMap;
use std::sync::Arc;

impl ShardProcessor {
    /// Counts what is known of a tenant after something of it was forgotten: what its kept and its held events name.
    pub(super) fn admit_anew(&mut self, ix: u32) {
        let TenantState { tenant, held, .. } = &self.tenants[ix as usize];
        self.admission.remove(tenant.id());
        self.admission.add(tenant.id(), tenant.managers().cloned(), tenant.departments().cloned());
        let held = held.keys().filter_map(|key| self.held.get(key));
        held.for_each(|event| self.admission.add_event(event));
    }

    /// Removes the tenants that were forgotten and had no event since, once no message of them can be read again.
    pub(super) fn remove_forgotten(&mut self) -> Vec<TenantId> {
        if self.forgotten.is_empty() {
            return Vec::new();
        }
        let lowest: BTreeMap<Source, Offset> = self.lowest_held().collect();
        let is_settled = |(source, read): (&Source, &Offset)| lowest.get(source).is_none_or(|lowest| lowest >= read);
        let mut removed = Vec::new();
        for (ix, read) in std::mem::take(&mut self.forgotten) {
            let state = &mut self.tenants[ix as usize];
            if !state.tenant.is_unused() || state.tenant.next_timer().is_some() {
                continue;
            }
            if state.is_active || !read.iter().all(is_settled) {
                self.forgotten.insert(ix, read);
                continue;
            }
            let id = state.tenant.id().clone();
            *state = TenantState::new(Tenant::new(
                TenantId::default(),
                Arc::clone(&self.norms),
                self.timing.memory,
                self.codec,
            ));
            self.free.push(ix);
            self.by_id.remove(&id);
            self.admission.remove(&id);
            removed.push(id);
        }
        removed
    }

    /// The tenants.
    pub(super) fn known(&self) -> Vec<u32> {
        let mut known: Vec<u32> = self.by_id.values().copied().collect();
        known.sort_unstable();
        known
    }
}
