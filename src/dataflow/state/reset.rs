//! Owns what is to be written so that a tenant, or a shard, begins anew. Promises that the rest of a shard stays as it was,
//! and that the last record is the shard's own, as in every transaction.

use super::{RebuildError, StateLoader};
use crate::codec::state::{Records, SHARD, ShardRecord, StateKey};
use crate::domain::id::TenantId;
use crate::domain::time::Timestamp;

/// How many records go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Applied events.
    pub events: usize,
    /// Tenants.
    pub tenants: usize,
    /// Violations of window rules; those that are over among them.
    pub violations: usize,
    /// Of these, how many last.
    pub open: usize,
    /// Norms.
    pub norms: usize,
    /// Damaged records of any kind; they count here only.
    pub damaged: usize,
    /// Where the shard stands.
    pub shards: usize,
}

impl Gone {
    /// All of them.
    pub fn records(&self) -> usize {
        self.events + self.tenants + self.violations + self.norms + self.damaged + self.shards
    }
}

impl StateLoader {
    /// What makes a tenant begin anew: its records go, and the shard is without them. An error: the shard itself is not in
    /// order, so nobody knows what it would be without the tenant.
    pub fn without_tenant(&self, tenant: &TenantId, now: Timestamp) -> Result<(Records, Gone), RebuildError> {
        if let Some(fault) = self.miscounted() {
            return Err(fault);
        }
        let Some(shard) = &self.shard else { return Err(RebuildError::Missing("where the shard stands".into())) };
        let (mut records, mut gone) = (Records::default(), Gone::default());
        self.bury_tenant(tenant, &mut records, &mut gone);
        for key in self.flaws.keys() {
            if StateKey::read(key).is_some_and(|key| key.tenant() == Some(tenant)) {
                records.bury(key);
                gone.damaged += 1;
            }
        }
        let mut digest = self.digest;
        let events =
            records.iter().map(|(key, _)| key).filter(|key| matches!(StateKey::read(key), Some(StateKey::Event(..))));
        events.for_each(|key| digest.remove(key));
        records.shard(&ShardRecord { checkpoint: shard.checkpoint.clone(), digest, written: now });
        Ok((records, gone))
    }

    /// What makes the shard begin anew: all its records go, whatever is wrong with them.
    pub fn without_all(&self) -> (Records, Gone) {
        let (mut records, mut gone) = (Records::default(), Gone::default());
        let mut tenants: Vec<&TenantId> = self.tenants.keys().chain(self.events.keys()).collect();
        tenants.extend(self.violations.keys());
        tenants.sort_unstable();
        tenants.dedup();
        for tenant in tenants {
            self.bury_tenant(tenant, &mut records, &mut gone);
        }
        for id in self.norms.keys() {
            records.no_norms(id);
            gone.norms += 1;
        }
        for key in self.flaws.keys() {
            gone.damaged += 1;
            if key != SHARD {
                records.bury(key);
            }
        }
        gone.shards = usize::from(self.shard.is_some());
        if gone.records() > 0 {
            records.bury(SHARD);
        }
        (records, gone)
    }

    fn bury_tenant(&self, tenant: &TenantId, records: &mut Records, gone: &mut Gone) {
        for source in self.events.get(tenant).into_iter().flat_map(|events| events.keys()) {
            records.gone(tenant, *source);
            gone.events += 1;
        }
        for (key, violation) in self.violations.get(tenant).into_iter().flatten() {
            records.violation(tenant, key, None);
            gone.violations += 1;
            gone.open += usize::from(!violation.over);
        }
        if self.tenants.contains_key(tenant) {
            records.no_tenant(tenant);
            gone.tenants += 1;
        }
    }
}
