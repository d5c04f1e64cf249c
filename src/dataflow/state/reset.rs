//! Builds the records that reset a tenant or a shard to empty state. The rest of the shard is unchanged, and the last
//! record is the shard's own, as in every transaction.

use super::loader::{RebuildError, StateLoader, TenantRecords};
use crate::codec::state::{Records, SHARD, ShardRecord, StateKey, source};
use crate::domain::id::TenantId;
use crate::domain::scoreboard::TargetChange;
use crate::domain::time::Timestamp;

/// The number of records removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovedRecords {
    /// Applied events.
    pub events: usize,
    /// Tenant records: the state of the tenant, and its time.
    pub tenants: usize,
    /// Violations of window rules, including past ones.
    pub violations: usize,
    /// Violations of window rules and targets that are ongoing.
    pub open: usize,
    /// Records of targets: days, managers, closed periods, violations, and closings whose events were dropped.
    pub targets: usize,
    /// Norms records.
    pub norms: usize,
    /// Damaged records of any kind; not included in the other counts.
    pub damaged: usize,
    /// Shard records.
    pub shards: usize,
}

impl RemovedRecords {
    /// The total.
    pub fn records(&self) -> usize {
        self.events + self.tenants + self.violations + self.targets + self.norms + self.damaged + self.shards
    }
}

impl StateLoader {
    /// The records that reset a tenant: tombstones for its records and an updated shard record. Fails if the shard's
    /// digest does not match, because the digest without the tenant is unknown then.
    pub fn reset_tenant(&self, tenant: &TenantId, now: Timestamp) -> Result<(Records, RemovedRecords), RebuildError> {
        if let Some(fault) = self.digest_mismatch() {
            return Err(fault);
        }
        let Some(shard) = &self.shard else { return Err(RebuildError::Missing("shard checkpoint".into())) };
        let (mut records, mut removed) = (Records::default(), RemovedRecords::default());
        if let Some(tenant_records) = self.tenants.get(tenant) {
            remove_tenant(tenant, tenant_records, &mut records, &mut removed);
        }
        for key in self.flaws.keys() {
            if StateKey::read(key).is_some_and(|key| key.tenant() == Some(tenant)) {
                records.tombstone(key);
                removed.damaged += 1;
            }
        }
        let mut digest = self.digest;
        records.iter().filter(|(key, _)| source(key).is_some()).for_each(|(key, _)| digest.remove(key));
        records.shard(&ShardRecord { digest, written: now, ..shard.clone() });
        Ok((records, removed))
    }

    /// The records that reset the shard: tombstones for all its records, damaged or not.
    pub fn reset_shard(&self) -> (Records, RemovedRecords) {
        let (mut records, mut removed) = (Records::default(), RemovedRecords::default());
        let mut tenants: Vec<_> = self.tenants.iter().collect();
        tenants.sort_unstable_by_key(|(tenant, _)| *tenant);
        for (tenant, tenant_records) in tenants {
            remove_tenant(tenant, tenant_records, &mut records, &mut removed);
        }
        for id in self.norms.keys() {
            records.remove_norms(id);
            removed.norms += 1;
        }
        for key in self.flaws.keys() {
            removed.damaged += 1;
            if key != SHARD {
                records.tombstone(key);
            }
        }
        removed.shards = usize::from(self.shard.is_some());
        if removed.records() > 0 {
            records.tombstone(SHARD);
        }
        (records, removed)
    }
}

/// Adds the tombstones of a tenant's records.
fn remove_tenant(
    tenant: &TenantId,
    tenant_records: &TenantRecords,
    records: &mut Records,
    removed: &mut RemovedRecords,
) {
    for event in tenant_records.events.keys() {
        records.remove_applied(tenant, *event);
    }
    for event in tenant_records.held.keys() {
        records.remove_held(tenant, *event);
    }
    if tenant_records.clock.is_some() {
        records.remove_clock(tenant);
        removed.tenants += 1;
    }
    let mut violations: Vec<_> = tenant_records.violations.values().collect();
    violations.sort_unstable_by_key(|(key, _)| key);
    for (key, violation) in &violations {
        records.violation(tenant, key, None);
        removed.open += usize::from(!violation.ended);
    }
    let mut targets: Vec<_> = tenant_records.targets.iter().collect();
    targets.sort_unstable_by_key(|(key, _)| *key);
    for (key, change) in &targets {
        records.tombstone(key);
        removed.open += usize::from(matches!(change, TargetChange::Violation(_, Some(record)) if !record.ended));
    }
    let mut closings: Vec<_> = tenant_records.closings.keys().collect();
    closings.sort_unstable();
    closings.iter().for_each(|entity| records.closing(tenant, entity, None));
    removed.targets += targets.len() + closings.len();
    if tenant_records.state.is_some() {
        records.remove_tenant(tenant);
        removed.tenants += 1;
    }
    removed.events += tenant_records.events.len() + tenant_records.held.len();
    removed.violations += violations.len();
}
