//! Owns the alerts that are open, as they are committed: what services are told that ask instead of subscribing.
//!
//! A shard comes with its open alerts, whether it was restored or has just begun, and goes with them. In between the view
//! follows what is committed, status by status, in the order of commits. An act that is wrong in itself (RAISED) is never open.

use super::board::{Board, lock};
use super::epoch::Yield;
use crate::domain::alert::{Alert, Status};
use crate::domain::id::TenantId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// The open alerts of the tenants of this process.
#[derive(Debug)]
pub struct View {
    board: Arc<Board>,
    tenants: Mutex<BTreeMap<TenantId, Tenant>>,
}

/// The open alerts of one tenant.
#[derive(Debug)]
struct Tenant {
    shard: u32,
    open: Open<Arc<Alert>>,
}

/// Open alerts, each by its last status.
#[derive(Debug)]
pub(super) struct Open<A>(BTreeMap<Uuid, A>);

impl<A> Default for Open<A> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<A> Open<A> {
    /// Takes in a status.
    pub(super) fn take(&mut self, id: Uuid, status: Status, alert: impl FnOnce() -> A) {
        match status {
            Status::Firing | Status::Escalated => drop(self.0.insert(id, alert())),
            Status::Resolved | Status::Retracted => drop(self.0.remove(&id)),
            Status::Raised => {}
        }
    }

    /// What is open.
    pub(super) fn into_values(self) -> impl Iterator<Item = A> {
        self.0.into_values()
    }
}

impl View {
    /// A view without alerts; the board says which shard a tenant belongs to.
    pub fn new(board: Arc<Board>) -> Self {
        Self { board, tenants: Mutex::default() }
    }

    /// The open alerts of a tenant, by their instant.
    pub fn alerts(&self, tenant: &TenantId) -> Vec<Arc<Alert>> {
        let tenants = lock(&self.tenants);
        let open = tenants.get(tenant).into_iter().flat_map(|tenant| tenant.open.0.values());
        let mut alerts: Vec<_> = open.cloned().collect();
        alerts.sort_by_key(|alert| (alert.at, alert.id));
        alerts
    }

    /// An epoch was committed.
    pub fn committed(&self, made: &Yield) {
        let adopted = made.adopted.iter().flat_map(|(shard, open)| open.iter().map(move |alert| (Some(*shard), alert)));
        let told = made.alerts.iter().map(|alert| (None, alert));
        let mut tenants = lock(&self.tenants);
        for (shard, alert) in adopted.chain(told) {
            // Whoever has left the board meanwhile leaves the view soon.
            let Some(shard) = shard.or_else(|| self.board.shard_of(&alert.tenant)) else { continue };
            let fresh = || Tenant { shard, open: Open::default() };
            let tenant = tenants.entry(alert.tenant.clone()).or_insert_with(fresh);
            tenant.open.take(alert.id, alert.status, || Arc::new(alert.clone()));
        }
        if !made.revoked.is_empty() {
            tenants.retain(|_, tenant| !made.revoked.contains(&tenant.shard));
        }
    }
}
