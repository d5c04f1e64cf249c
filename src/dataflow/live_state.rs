//! Owns what readers outside the graph look at: one scoreboard a tenant and one floor a shard, each behind its own lock.
//!
//! A reader sees one tenant at one instant; it holds up only that tenant's worker, and only while rows are summed or one
//! lead's dossier is written down. (A question that travels with an epoch would need no lock, but an answer would then take
//! an epoch, and none would come while reading rests.) A lock that nobody else wants costs a worker some 20 ns, once a shard
//! and epoch.

use super::state::ShardState;
use crate::domain::entity_report::EntityReport;
use crate::domain::id::{DepartmentId, EntityId, ManagerId, TenantId};
use crate::domain::norms::Norms;
use crate::domain::row::Row;
use crate::domain::scoreboard::Scoreboard;
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The live figures of all tenants of this process.
#[derive(Debug, Default)]
pub struct LiveState {
    tenants: Mutex<BTreeMap<TenantId, Arc<Mutex<TenantFigures>>>>,
    shards: Mutex<BTreeMap<u32, Arc<Mutex<ShardState>>>>,
}

/// A tenant's figures, and up to when they are right.
#[derive(Debug)]
pub struct TenantFigures {
    /// The shard that the tenant belongs to.
    pub shard: u32,
    /// The watermark of the last epoch that was counted.
    pub at: Timestamp,
    /// The figures.
    pub scoreboard: Scoreboard,
    /// The review requests of each manager.
    pub reviews: BTreeMap<ManagerId, ReviewCounts>,
}

/// What became of the review requests of a manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReviewCounts {
    /// Those that wait for their review.
    pub open: i64,
    /// Those that got it.
    pub answered: u64,
}

impl LiveState {
    /// Puts up a tenant.
    pub fn enter(&self, tenant: TenantId, figures: TenantFigures) -> Arc<Mutex<TenantFigures>> {
        let figures = Arc::new(Mutex::new(figures));
        lock(&self.tenants).insert(tenant, Arc::clone(&figures));
        figures
    }

    /// Shows a shard to whoever asks about its leads and deals.
    pub(super) fn open(&self, shard: u32, shard_state: ShardState) -> Arc<Mutex<ShardState>> {
        let shard_state = Arc::new(Mutex::new(shard_state));
        lock(&self.shards).insert(shard, Arc::clone(&shard_state));
        shard_state
    }

    /// Takes down a shard and its tenants.
    pub fn leave(&self, shard: u32) {
        lock(&self.shards).remove(&shard);
        lock(&self.tenants).retain(|_, figures| lock(figures).shard != shard);
    }

    /// Every row of every tenant, each tenant at its own watermark.
    pub fn rows(&self) -> Vec<Row> {
        self.snapshots().into_iter().flat_map(|snapshot| snapshot.rows).collect()
    }

    /// The tenants, each with its shard and its watermark.
    pub fn tenants(&self) -> Vec<(TenantId, u32, Timestamp)> {
        let tenants = lock(&self.tenants).clone();
        let each = |(tenant, figures): (TenantId, Arc<Mutex<TenantFigures>>)| {
            let figures = lock(&figures);
            (tenant, figures.shard, figures.at)
        };
        tenants.into_iter().map(each).collect()
    }

    /// The shard of a tenant, if it is here.
    pub fn shard_of(&self, tenant: &TenantId) -> Option<u32> {
        let figures = lock(&self.tenants).get(tenant).cloned()?;
        Some(lock(&figures).shard)
    }

    /// Whether a tenant is here.
    pub fn holds(&self, tenant: &TenantId) -> bool {
        lock(&self.tenants).contains_key(tenant)
    }

    /// All that is to be seen of a tenant, if it is here.
    pub fn snapshot(&self, tenant: &TenantId) -> Option<TenantSnapshot> {
        let figures = lock(&self.tenants).get(tenant).cloned()?;
        Some(TenantSnapshot::of(tenant.clone(), &mut lock(&figures)))
    }

    /// What is known of a lead or deal, up to its shard's watermark. The shard's worker waits while it is written down.
    pub fn entity_report(&self, tenant: &TenantId, entity: &EntityId) -> Option<EntityReport> {
        let shard_state = lock(&self.shards).get(&self.shard_of(tenant)?).cloned()?;
        lock(&shard_state).processor.entity_report(tenant, entity)
    }

    /// All that is to be seen of every tenant, each at its own watermark.
    pub fn snapshots(&self) -> Vec<TenantSnapshot> {
        let tenants = lock(&self.tenants).clone();
        tenants.into_iter().map(|(tenant, figures)| TenantSnapshot::of(tenant, &mut lock(&figures))).collect()
    }
}

/// What is to be seen of a tenant at one instant.
#[derive(Debug)]
pub struct TenantSnapshot {
    /// Whose.
    pub tenant: TenantId,
    /// Every row; none before the first watermark.
    pub rows: Vec<Row>,
    /// The norms in force.
    pub norms: Arc<Norms>,
    /// The departments that norms may differ in.
    pub departments: Vec<DepartmentId>,
    /// The review requests of every manager who has had one.
    pub reviews: BTreeMap<ManagerId, ReviewCounts>,
}

impl TenantSnapshot {
    fn of(tenant: TenantId, figures: &mut TenantFigures) -> Self {
        let mut rows = Vec::new();
        let TenantFigures { at, scoreboard, reviews, .. } = figures;
        if *at > Timestamp::MIN {
            scoreboard.rows(*at, &mut rows);
        }
        Self {
            tenant,
            rows,
            norms: Arc::clone(scoreboard.norms()),
            departments: scoreboard.departments().cloned().collect(),
            reviews: reviews.clone(),
        }
    }
}

/// Locks, also after another holder panicked: the panic ends the process by itself.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
