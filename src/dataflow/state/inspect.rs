//! Inspects the state records of a shard without restoring it: record counts per tenant, and all faults.

use super::loader::{RebuildError, StateLoader, TenantRecords};
use super::restore::RestoreContext;
use crate::codec::state::{PACKING, StateDigest, StateKey, TenantRecord};
use crate::domain::event::Payload;
use crate::domain::id::TenantId;
use crate::domain::shard::partitioner::shard as shard_of;
use crate::domain::shard::tenant_clock::TenantClock;
use crate::domain::source::ShardId;
use crate::domain::tenant::changelog::{self, AppliedEvent};
use crate::domain::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The state records of one tenant, counted.
#[derive(Debug, PartialEq, Eq)]
pub struct Holding<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// The number of applied events.
    pub events: usize,
    /// The number of held events.
    pub held: usize,
    /// The last watermark at which it had output.
    pub watermark: Option<Timestamp>,
    /// The number of ongoing violations of window rules.
    pub open: usize,
    /// The number of its damaged records.
    pub damaged: usize,
    /// Its tenant record; `None` if it is missing or damaged.
    pub state: Option<&'a TenantRecord>,
}

impl StateLoader {
    /// The number of records, not counting replaced ones.
    pub fn live(&self) -> usize {
        let tenants: usize = self.tenants.values().map(TenantRecords::count).sum();
        usize::from(self.shard.is_some()) + tenants + self.norms.len() + self.flaws.len()
    }

    /// The digest of the applied events found, including damaged ones.
    pub fn digest(&self) -> StateDigest {
        self.digest
    }

    /// The number of damaged records.
    pub fn damaged(&self) -> usize {
        self.flaws.len()
    }

    /// The record counts of each tenant, in order of tenant ids.
    pub fn holdings(&self) -> Vec<Holding<'_>> {
        let mut damaged = BTreeMap::<TenantId, usize>::new();
        for tenant in self.damaged_keys().filter_map(|key| key.tenant().cloned()) {
            *damaged.entry(tenant).or_default() += 1;
        }
        for (tenant, _) in self.tenants.iter().filter(|(_, records)| records.count() > 0) {
            damaged.entry(tenant.clone()).or_default();
        }
        let holding = |(tenant, damaged)| {
            let records = self.tenants.get(&tenant);
            let violations = records.into_iter().flat_map(|records| records.violations.values());
            Holding {
                events: records.map_or(0, |records| records.events.len()),
                held: records.map_or(0, |records| records.held.len()),
                watermark: self.watermark_of(records),
                open: violations.filter(|(_, violation)| !violation.ended).count(),
                damaged,
                state: records.and_then(|records| records.state.as_ref()),
                tenant,
            }
        };
        damaged.into_iter().map(holding).collect()
    }

    /// Whether a record with this key says something about time: the checkpoint, or the time of a tenant.
    pub fn is_about_time(key: &[u8]) -> bool {
        matches!(StateKey::read(key), Some(StateKey::Shard | StateKey::Clock(_)))
    }

    /// The time of a tenant; `None` if the shard has no state of it.
    pub fn clock(&self, tenant: &TenantId) -> Option<&TenantClock> {
        self.tenants.get(tenant)?.clock.as_ref()
    }

    /// The watermark of a tenant with these records; a state of an earlier layout has one for all tenants.
    fn watermark_of(&self, records: Option<&TenantRecords>) -> Option<Timestamp> {
        let own = records.and_then(|records| records.clock.as_ref()).map(|clock| clock.watermark);
        let of_all = self.shard.as_ref().map(|shard| shard.checkpoint.watermark);
        own.max(of_all).filter(|at| *at > Timestamp::MIN)
    }

    /// The applied events of a tenant in event order, each with its payload; `None` if the payload cannot be decoded.
    pub fn history(&self, tenant: &TenantId) -> Vec<(&AppliedEvent, Option<Payload>)> {
        let mut events: Vec<_> =
            self.tenants.get(tenant).into_iter().flat_map(|records| records.events.values()).collect();
        events.sort_unstable_by_key(|event| event.order);
        events
            .into_iter()
            .map(|event| (event, (PACKING.unpack)(changelog::topic(event.order), &event.packed)))
            .collect()
    }

    /// All faults in the records of `shard`, one of `shards` shards. The shard can be restored only if there are none.
    pub fn faults(&self, shard: ShardId, shards: u32, context: &RestoreContext) -> Vec<RebuildError> {
        let mut faults: Vec<_> = self.flaws().collect();
        faults.extend(self.digest_mismatch());
        faults.extend(self.unreadable());
        let damaged_keys: Vec<StateKey> = self.damaged_keys().collect();
        let mut norm_versions = BTreeSet::new();
        for Holding { tenant, state, events, open, .. } in self.holdings() {
            let home = shard_of(tenant.as_str(), shards);
            if home != shard {
                faults.push(RebuildError::WrongShard(tenant.clone(), home));
            }
            match state {
                Some(state) if state.norm_versions.is_empty() => {
                    faults.push(RebuildError::Missing(format!("norms of tenant {tenant}")));
                }
                Some(state) => norm_versions.extend(state.norm_versions.iter().map(|(_, norms)| norms)),
                None if damaged_keys.contains(&StateKey::Tenant(tenant.clone())) => {}
                // What waits for the watermark, and the time itself, need no record of the tenant.
                None if events + open == 0 => {}
                None => faults.push(RebuildError::Missing(format!("tenant {tenant}, referred to by other records"))),
            }
        }
        let mut known = Vec::new();
        faults.extend(norm_versions.into_iter().filter_map(|name| self.norms_of(name, context, &mut known).err()));
        faults
    }

    /// The error if the applied events do not match the digest in the shard record.
    pub(super) fn digest_mismatch(&self) -> Option<RebuildError> {
        let Some(shard) = &self.shard else {
            let damaged = self.damaged_keys().any(|key| key == StateKey::Shard);
            return (self.live() > 0 && !damaged).then(|| RebuildError::Missing("shard checkpoint".into()));
        };
        (shard.digest != self.digest).then_some(RebuildError::Incomplete(shard.digest, self.digest))
    }

    /// Intact events whose payload cannot be decoded by this version.
    fn unreadable(&self) -> impl Iterator<Item = RebuildError> {
        let unknown = |event: &&AppliedEvent| (PACKING.unpack)(changelog::topic(event.order), &event.packed).is_none();
        self.tenants.iter().flat_map(move |(tenant, records)| {
            let error =
                move |event: &AppliedEvent| RebuildError::unreadable(tenant, (event.order.source, event.order.offset));
            records.events.values().filter(unknown).map(error)
        })
    }

    /// The keys of the damaged records.
    pub(super) fn damaged_keys(&self) -> impl Iterator<Item = StateKey> {
        self.flaws.keys().filter_map(|key| StateKey::read(key))
    }
}
