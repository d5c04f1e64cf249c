//! Writes the state records of a shard, epoch by epoch.

use crate::codec::state::{self, Records, ShardRecord, StateDigest, TenantRecord};
use crate::domain::norms::Norms;
use crate::domain::shard::processor::{Effects, ShardProcessor, SourceProgress};
use crate::domain::tenant::changelog::TenantMark;
use crate::domain::time::Timestamp;
use std::sync::Arc;

/// Norms in use by this process, with their record id.
pub(super) type NormsWithId = (Arc<Norms>, String);

/// Which records of a shard are stored: the digest of its applied events, and the norms.
#[derive(Debug, Default)]
pub(crate) struct StateWriter {
    pub(super) digest: StateDigest,
    pub(super) norms: Vec<NormsWithId>,
}

impl StateWriter {
    /// The number of events stored for the shard.
    pub(crate) fn entries(&self) -> u64 {
        self.digest.applied
    }

    /// Writes the state changes of a tenant.
    pub(crate) fn write(&mut self, processor: &ShardProcessor, effects: &Effects, records: &mut Records) {
        let Effects { tenant, changelog, held, .. } = effects;
        for (order, id, packed) in changelog.applied.iter() {
            self.digest.add(records.applied(tenant, order, id, packed));
        }
        for source in &changelog.expired {
            self.digest.remove(records.remove_applied(tenant, *source));
        }
        for (entity, closing) in &changelog.closings {
            records.closing(tenant, entity, closing.as_ref());
        }
        for (order, id, packed) in held.stored.iter() {
            self.digest.add(records.held(tenant, order, id, packed));
        }
        for source in &held.released {
            self.digest.remove(records.remove_held(tenant, *source));
        }
        if !changelog.mark_changed {
            return;
        }
        if let Some(mark) = processor.mark_of(tenant) {
            let TenantMark { first_event, first_plan, last_event, norm_versions, retracted } = mark;
            let norm_versions =
                norm_versions.into_iter().map(|(since, norms)| (since, self.id_of(&norms, records))).collect();
            records.tenant(tenant, &TenantRecord { first_event, first_plan, last_event, norm_versions, retracted });
        } else {
            records.remove_tenant(tenant);
        }
    }

    /// The shard record at the end of an epoch; `written` is the wall clock of the epoch.
    pub(crate) fn checkpoint(
        &self,
        processor: &mut ShardProcessor,
        progress: &[SourceProgress],
        written: Timestamp,
    ) -> ShardRecord {
        // The edge adds the logs, and whether rows follow.
        let checkpoint = processor.checkpoint(progress);
        ShardRecord { checkpoint, digest: self.digest, written, ..ShardRecord::default() }
    }

    /// The record id of norms; writes the record if the shard does not have it yet.
    fn id_of(&mut self, norms: &Arc<Norms>, records: &mut Records) -> String {
        if let Some((_, id)) = self.norms.iter().find(|(known, _)| Arc::ptr_eq(known, norms)) {
            return id.clone();
        }
        let id = state::norms_id(&norms.document);
        records.norms(&id, &norms.document);
        self.norms.push((Arc::clone(norms), id.clone()));
        id
    }
}
