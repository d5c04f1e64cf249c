//! Owns what is told of the records of a shard without rebuilding it: what there is of whom, and all that is wrong.

use super::{RebuildError, RestoreContext, StateLoader};
use crate::codec::state::{PACKING, StateDigest, StateKey, TenantRecord};
use crate::domain::changelog::{self, AppliedEvent};
use crate::domain::event::Payload;
use crate::domain::id::TenantId;
use crate::domain::partitioner::shard as shard_of;
use std::collections::{BTreeMap, BTreeSet};

/// What there is of a tenant.
#[derive(Debug, PartialEq, Eq)]
pub struct Holding<'a> {
    /// Which.
    pub tenant: TenantId,
    /// Applied events.
    pub events: usize,
    /// Violations of window rules that last.
    pub open: usize,
    /// Records of it that are of no use.
    pub damaged: usize,
    /// What does not follow from its events; `None`: that record is missing or damaged.
    pub state: Option<&'a TenantRecord>,
}

impl StateLoader {
    /// How many records there are, less those that others replaced.
    pub fn live(&self) -> usize {
        let shard = usize::from(self.shard.is_some());
        let events: usize = self.events.values().map(|events| events.len()).sum();
        shard + events + self.tenants.len() + self.violation_keys.len() + self.norms.len() + self.flaws.len()
    }

    /// How many applied events there are, damaged ones among them.
    pub fn digest(&self) -> StateDigest {
        self.digest
    }

    /// How many records are of no use.
    pub fn damaged(&self) -> usize {
        self.flaws.len()
    }

    /// What there is of each tenant, in order of their ids.
    pub fn holdings(&self) -> Vec<Holding<'_>> {
        let mut damaged = BTreeMap::<TenantId, usize>::new();
        for tenant in self.flawed().filter_map(|key| key.tenant().cloned()) {
            *damaged.entry(tenant).or_default() += 1;
        }
        let events = self.events.iter().filter(|(_, events)| !events.is_empty()).map(|(tenant, _)| tenant);
        let violations = self.violations.iter().filter(|(_, all)| !all.is_empty()).map(|(tenant, _)| tenant);
        for tenant in self.tenants.keys().chain(events).chain(violations) {
            damaged.entry(tenant.clone()).or_default();
        }
        let holding = |(tenant, damaged)| Holding {
            events: self.events.get(&tenant).map_or(0, |events| events.len()),
            open: self.violations.get(&tenant).map_or(0, |all| all.values().filter(|one| !one.over).count()),
            damaged,
            state: self.tenants.get(&tenant),
            tenant,
        };
        damaged.into_iter().map(holding).collect()
    }

    /// The applied events of a tenant in order of effect, with what happened; `None` where that cannot be read.
    pub fn history(&self, tenant: &TenantId) -> Vec<(&AppliedEvent, Option<Payload>)> {
        let mut kept: Vec<_> = self.events.get(tenant).into_iter().flat_map(|events| events.values()).collect();
        kept.sort_unstable_by_key(|kept| kept.order);
        kept.into_iter().map(|kept| (kept, (PACKING.unpack)(changelog::topic(kept.order), &kept.packed))).collect()
    }

    /// All that is wrong with the records of this one of so many shards. Only if it is nothing can it be rebuilt.
    pub fn faults(&self, shard: u32, shards: u32, plan: &RestoreContext) -> Vec<RebuildError> {
        let mut faults: Vec<_> = self.flaws().collect();
        faults.extend(self.miscounted());
        faults.extend(self.unreadable());
        let flawed: Vec<StateKey> = self.flawed().collect();
        let mut norm_versions = BTreeSet::new();
        for Holding { tenant, state, .. } in self.holdings() {
            let home = shard_of(tenant.as_str(), shards);
            if home != shard {
                faults.push(RebuildError::Misplaced(tenant.clone(), home));
            }
            match state {
                Some(state) if state.norm_versions.is_empty() => {
                    faults.push(RebuildError::Missing(format!("the norms of tenant {tenant}")));
                }
                Some(state) => norm_versions.extend(state.norm_versions.iter().map(|(_, norms)| norms)),
                None if flawed.contains(&StateKey::Tenant(tenant.clone())) => {}
                None => faults.push(RebuildError::Missing(format!("tenant {tenant}, only of what it has"))),
            }
        }
        let mut known = Vec::new();
        faults.extend(norm_versions.into_iter().filter_map(|name| self.norms_of(name, plan, &mut known).err()));
        faults
    }

    /// Whether the applied events are not those that the shard is said to consist of.
    pub(super) fn miscounted(&self) -> Option<RebuildError> {
        let Some(shard) = &self.shard else {
            let told = self.flawed().any(|key| key == StateKey::Shard);
            return (self.live() > 0 && !told).then(|| RebuildError::Missing("where the shard stands".into()));
        };
        (shard.digest != self.digest).then_some(RebuildError::Incomplete(shard.digest, self.digest))
    }

    /// Events whose bytes are whole, and of which this program makes nothing.
    fn unreadable(&self) -> impl Iterator<Item = RebuildError> {
        let unknown = |kept: &&AppliedEvent| (PACKING.unpack)(changelog::topic(kept.order), &kept.packed).is_none();
        self.events.iter().flat_map(move |(tenant, events)| {
            let error =
                move |kept: &AppliedEvent| RebuildError::unreadable(tenant, (kept.order.source, kept.order.offset));
            events.values().filter(unknown).map(error)
        })
    }

    /// What the damaged records are of.
    pub(super) fn flawed(&self) -> impl Iterator<Item = StateKey> {
        self.flaws.keys().filter_map(|key| StateKey::read(key))
    }
}
