//! How a shard resumes from its state: its checkpoint, its tenants, and the events that it held.

use super::{ADOPTED_AT_ONCE, ShardCheckpoint, ShardProcessor, Timing};
use crate::domain::event::{Event, EventOrder};
use crate::domain::id::TenantId;
use crate::domain::norms::Norms;
use crate::domain::shard::tenant_clock::TenantClock;
use crate::domain::source::Source;
use crate::domain::tenant::Tenant;
use crate::domain::tenant::changelog::PayloadCodec;
use std::sync::Arc;

impl ShardProcessor {
    /// Restores a shard from a checkpoint, without its tenants.
    pub fn restore(norms: Arc<Norms>, timing: Timing, codec: PayloadCodec, checkpoint: ShardCheckpoint) -> Self {
        let ShardCheckpoint { watermark, read, refused, next } = checkpoint;
        let mut shard = Self { read, resumed: watermark, refused, ..Self::new(norms, timing, codec) };
        shard.held.reread_from(next);
        shard
    }

    /// Adds a tenant that was restored up to the watermark of `clock`.
    pub fn adopt(&mut self, tenant: Tenant, clock: TenantClock) {
        self.admission.add(tenant.id(), tenant.managers().cloned(), tenant.departments().cloned());
        let ix = self.add_tenant(tenant);
        self.tenants[ix as usize].resume(clock);
        self.activate(ix);
        self.dirty.push(ix);
    }

    /// Adds the time of a tenant without applied events.
    pub fn adopt_clock(&mut self, tenant: &TenantId, clock: TenantClock) {
        let ix = self.restored_ix(tenant);
        self.tenants[ix as usize].resume(clock);
        self.forgotten.insert(ix, self.read.clone());
        self.activate(ix);
    }

    /// Holds an event that was stored while it was held. It is not held again when it is read again.
    pub fn adopt_held(&mut self, order: EventOrder, event: Event) {
        let Some(source) = Source::from_id(order.source) else { return };
        let ix = self.restored_ix(&event.tenant);
        let key = self.held.adopt(source, order.offset, event, ix);
        self.tenants[ix as usize].held.push(key);
        self.activate(ix);
        if self.held.unmeasured() >= ADOPTED_AT_ONCE {
            self.measure_held();
            self.spill_held();
        }
    }

    fn restored_ix(&mut self, tenant: &TenantId) -> u32 {
        if !self.by_id.contains_key(tenant) {
            self.admission.add(tenant, std::iter::empty(), std::iter::empty());
        }
        self.tenant_ix(tenant)
    }
}
