//! Owns what readers outside the graph look at: one scoreboard a tenant and one floor a shard, each behind its own lock.
//!
//! A reader sees one tenant at one instant; it holds up only that tenant's worker, and only while rows are summed or one
//! lead's dossier is written down. (A question that travels with an epoch would need no lock, but an answer would then take
//! an epoch, and none would come while reading rests.) A lock that nobody else wants costs a worker some 20 ns, once a shard
//! and epoch.

use super::state::Post;
use crate::domain::dossier::Dossier;
use crate::domain::id::{DepartmentId, EntityId, ManagerId, TenantId};
use crate::domain::norms::Norms;
use crate::domain::row::Row;
use crate::domain::scoreboard::Scoreboard;
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The live figures of all tenants of this process.
#[derive(Debug, Default)]
pub struct Board {
    tenants: Mutex<BTreeMap<TenantId, Arc<Mutex<Standing>>>>,
    shards: Mutex<BTreeMap<u32, Arc<Mutex<Post>>>>,
}

/// A tenant's figures, and up to when they are right.
#[derive(Debug)]
pub struct Standing {
    /// The shard that the tenant belongs to.
    pub shard: u32,
    /// The watermark of the last epoch that was counted.
    pub at: Timestamp,
    /// The figures.
    pub scoreboard: Scoreboard,
    /// The review requests of each manager.
    pub reviews: BTreeMap<ManagerId, Requests>,
}

/// What became of the review requests of a manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Those that wait for their review.
    pub open: i64,
    /// Those that got it.
    pub answered: u64,
}

impl Board {
    /// Puts up a tenant.
    pub fn enter(&self, tenant: TenantId, standing: Standing) -> Arc<Mutex<Standing>> {
        let standing = Arc::new(Mutex::new(standing));
        lock(&self.tenants).insert(tenant, Arc::clone(&standing));
        standing
    }

    /// Shows a shard to whoever asks about its leads and deals.
    pub(super) fn open(&self, shard: u32, post: Post) -> Arc<Mutex<Post>> {
        let post = Arc::new(Mutex::new(post));
        lock(&self.shards).insert(shard, Arc::clone(&post));
        post
    }

    /// Takes down a shard and its tenants.
    pub fn leave(&self, shard: u32) {
        lock(&self.shards).remove(&shard);
        lock(&self.tenants).retain(|_, standing| lock(standing).shard != shard);
    }

    /// Every row of every tenant, each tenant at its own watermark.
    pub fn rows(&self) -> Vec<Row> {
        self.surveys().into_iter().flat_map(|survey| survey.rows).collect()
    }

    /// The tenants, each with its shard and its watermark.
    pub fn tenants(&self) -> Vec<(TenantId, u32, Timestamp)> {
        let tenants = lock(&self.tenants).clone();
        let each = |(tenant, standing): (TenantId, Arc<Mutex<Standing>>)| {
            let standing = lock(&standing);
            (tenant, standing.shard, standing.at)
        };
        tenants.into_iter().map(each).collect()
    }

    /// The shard of a tenant, if it is here.
    pub fn shard_of(&self, tenant: &TenantId) -> Option<u32> {
        let standing = lock(&self.tenants).get(tenant).cloned()?;
        Some(lock(&standing).shard)
    }

    /// Whether a tenant is here.
    pub fn holds(&self, tenant: &TenantId) -> bool {
        lock(&self.tenants).contains_key(tenant)
    }

    /// All that is to be seen of a tenant, if it is here.
    pub fn survey(&self, tenant: &TenantId) -> Option<Survey> {
        let standing = lock(&self.tenants).get(tenant).cloned()?;
        Some(Survey::of(tenant.clone(), &mut lock(&standing)))
    }

    /// What is known of a lead or deal, up to its shard's watermark. The shard's worker waits while it is written down.
    pub fn dossier(&self, tenant: &TenantId, entity: &EntityId) -> Option<Dossier> {
        let post = lock(&self.shards).get(&self.shard_of(tenant)?).cloned()?;
        lock(&post).floor.dossier(tenant, entity)
    }

    /// All that is to be seen of every tenant, each at its own watermark.
    pub fn surveys(&self) -> Vec<Survey> {
        let tenants = lock(&self.tenants).clone();
        tenants.into_iter().map(|(tenant, standing)| Survey::of(tenant, &mut lock(&standing))).collect()
    }
}

/// What is to be seen of a tenant at one instant.
#[derive(Debug)]
pub struct Survey {
    /// Whose.
    pub tenant: TenantId,
    /// Every row; none before the first watermark.
    pub rows: Vec<Row>,
    /// The norms in force.
    pub norms: Arc<Norms>,
    /// The departments that norms may differ in.
    pub departments: Vec<DepartmentId>,
    /// The review requests of every manager who has had one.
    pub reviews: BTreeMap<ManagerId, Requests>,
}

impl Survey {
    fn of(tenant: TenantId, standing: &mut Standing) -> Self {
        let mut rows = Vec::new();
        let Standing { at, scoreboard, reviews, .. } = standing;
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
