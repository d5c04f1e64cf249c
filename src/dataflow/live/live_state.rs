//! Owns the state that readers outside the graph access: one scoreboard per tenant and one shard processor per shard,
//! each behind its own lock.
//!
//! A reader gets a consistent view of one tenant. It blocks only that tenant's worker, and only while rows are computed
//! or an entity report is built. (A query that travels through the graph with an epoch would need no lock, but an
//! answer would take an epoch, and there would be none while reading is paused.) An uncontended lock costs a worker
//! some 20 ns per shard and epoch.

use super::figures::{RequestedReview, ReviewCounts, TenantFigures};
use crate::domain::effect::DepartmentUpdate;
use crate::domain::figures::row::{Row, Subject};
use crate::domain::id::{DepartmentId, EntityId, ManagerId, TenantId};
use crate::domain::norms::Norms;
use crate::domain::shard::processor::ShardProcessor;
use crate::domain::shard::tenant_clock::Mark;
use crate::domain::source::ShardId;
use crate::domain::tenant::Tenant;
use crate::domain::tenant::entity_report::EntityReport;
use crate::domain::tenant::listing::{GivenReview, OpenPlan, RunningClock};
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The points of the course of a figure, each with its value if there is one.
pub type CoursePoints = Vec<(Timestamp, Option<f64>)>;

/// The live figures and shards of this process.
#[derive(Debug, Default)]
pub struct LiveState {
    tenants: Mutex<BTreeMap<TenantId, Arc<Mutex<TenantFigures>>>>,
    shards: Mutex<BTreeMap<ShardId, Arc<Mutex<ShardProcessor>>>>,
}

impl LiveState {
    /// Adds a tenant.
    pub fn insert_tenant(&self, tenant: TenantId, figures: TenantFigures) -> Arc<Mutex<TenantFigures>> {
        let figures = Arc::new(Mutex::new(figures));
        lock(&self.tenants).insert(tenant, Arc::clone(&figures));
        figures
    }

    /// Removes a tenant that was forgotten.
    pub(crate) fn remove_tenant(&self, tenant: &TenantId) {
        lock(&self.tenants).remove(tenant);
    }

    /// Adds a shard, so that entity reports can be built from it.
    pub(crate) fn insert_shard(&self, shard: ShardId, processor: ShardProcessor) -> Arc<Mutex<ShardProcessor>> {
        let processor = Arc::new(Mutex::new(processor));
        lock(&self.shards).insert(shard, Arc::clone(&processor));
        processor
    }

    /// Removes a shard and its tenants.
    pub fn remove_shard(&self, shard: ShardId) {
        lock(&self.shards).remove(&shard);
        lock(&self.tenants).retain(|_, figures| lock(figures).shard != shard);
    }

    /// Removes all shards and tenants.
    pub(crate) fn clear(&self) {
        lock(&self.shards).clear();
        lock(&self.tenants).clear();
    }

    /// All rows of all tenants, each tenant at its own watermark.
    pub fn rows(&self) -> Vec<Row> {
        self.snapshots().into_iter().flat_map(|snapshot| snapshot.rows).collect()
    }

    /// All tenants, each with its shard, its watermark, and whether there is a back-fill.
    pub fn tenants(&self) -> Vec<(TenantId, ShardId, Timestamp, bool)> {
        let tenants = lock(&self.tenants).clone();
        let describe = |(tenant, figures): (TenantId, Arc<Mutex<TenantFigures>>)| {
            let figures = lock(&figures);
            (tenant, figures.shard, figures.at, figures.time.is_backfilling)
        };
        tenants.into_iter().map(describe).collect()
    }

    /// The shard of a tenant; `None` if this process does not have the tenant.
    pub fn shard_of(&self, tenant: &TenantId) -> Option<ShardId> {
        let figures = lock(&self.tenants).get(tenant).cloned()?;
        Some(lock(&figures).shard)
    }

    /// Whether this process has the tenant.
    pub fn contains_tenant(&self, tenant: &TenantId) -> bool {
        lock(&self.tenants).contains_key(tenant)
    }

    /// A snapshot of a tenant; `None` if this process does not have the tenant.
    pub fn snapshot(&self, tenant: &TenantId) -> Option<TenantSnapshot> {
        let figures = lock(&self.tenants).get(tenant).cloned()?;
        Some(TenantSnapshot::of(tenant.clone(), &mut lock(&figures)))
    }

    /// Reads a tenant of which events were applied, as of its watermark. Blocks the shard's worker meanwhile.
    pub(super) fn with_tenant<T>(
        &self,
        tenant: &TenantId,
        read: impl FnOnce(&mut Tenant, Timestamp) -> T,
    ) -> Option<T> {
        let processor = lock(&self.shards).get(&self.shard_of(tenant)?).cloned()?;
        let mut processor = lock(&processor);
        let (tenant, at) = processor.tenant(tenant)?;
        Some(read(tenant, at))
    }

    /// The figures of a tenant.
    pub(super) fn figures_of(&self, tenant: &TenantId) -> Option<Arc<Mutex<TenantFigures>>> {
        lock(&self.tenants).get(tenant).cloned()
    }

    /// The clocks of a tenant that run. Blocks the shard's worker while they are listed.
    pub fn running_clocks(&self, tenant: &TenantId) -> Option<(Timestamp, Vec<RunningClock>)> {
        self.with_tenant(tenant, |tenant, at| (at, tenant.running_clocks(at)))
    }

    /// The open plans of a tenant, likewise.
    pub fn open_plans(&self, tenant: &TenantId) -> Option<(Timestamp, Vec<OpenPlan>)> {
        self.with_tenant(tenant, |tenant, at| (at, tenant.open_plans()))
    }

    /// The normal forms of the numbers and addresses of a lead or deal, likewise.
    pub fn contacts_of(&self, tenant: &TenantId, entity: &EntityId) -> Vec<CompactString> {
        self.with_tenant(tenant, |tenant, _| tenant.contacts_of(entity)).unwrap_or_default()
    }

    /// The normal form of the contact that alerts name `contact:KEY`, likewise.
    pub fn contact_named(&self, tenant: &TenantId, subject: &str) -> Option<CompactString> {
        self.with_tenant(tenant, |tenant, _| tenant.contact_named(subject)).flatten()
    }

    /// The calls and messages of a tenant that were picked for review in the last days, and the reviews that are known.
    pub fn reviews(&self, tenant: &TenantId) -> Option<(Vec<RequestedReview>, Vec<GivenReview>)> {
        let figures = self.figures_of(tenant)?;
        let requests = lock(&figures).requests.values().cloned().collect();
        let given = self.with_tenant(tenant, |tenant, _| tenant.given_reviews()).unwrap_or_default();
        Some((requests, given))
    }

    /// The course of a figure over the day; the inner `None`: there is no such figure.
    pub fn course(&self, tenant: &TenantId, subject: &Subject, name: &str) -> Option<Option<CoursePoints>> {
        let figures = self.figures_of(tenant)?;
        let course = lock(&figures).history.course(subject, name);
        Some(course)
    }

    /// The courses of a figure of all managers over the day.
    pub fn courses(&self, tenant: &TenantId, name: &str) -> BTreeMap<Subject, Vec<f64>> {
        self.figures_of(tenant).map(|figures| lock(&figures).history.of_managers(name)).unwrap_or_default()
    }

    /// The report on a lead or deal as of the tenant's watermark. Blocks the shard's worker while it is built.
    pub fn entity_report(&self, tenant: &TenantId, entity: &EntityId) -> Option<EntityReport> {
        let processor = lock(&self.shards).get(&self.shard_of(tenant)?).cloned()?;
        lock(&processor).entity_report(tenant, entity)
    }

    /// Snapshots of all tenants, each at its own watermark.
    pub fn snapshots(&self) -> Vec<TenantSnapshot> {
        let tenants = lock(&self.tenants).clone();
        tenants.into_iter().map(|(tenant, figures)| TenantSnapshot::of(tenant, &mut lock(&figures))).collect()
    }
}

/// A consistent snapshot of a tenant.
#[derive(Debug)]
pub struct TenantSnapshot {
    /// The tenant.
    pub tenant: TenantId,
    /// All rows; empty before the first watermark.
    pub rows: Vec<Row>,
    /// The norms in force.
    pub norms: Arc<Norms>,
    /// The departments of the tenant, for looking up norms.
    pub departments: Vec<DepartmentId>,
    /// Review requests by manager.
    pub reviews: BTreeMap<ManagerId, ReviewCounts>,
    /// The names of managers, as far as they are known.
    pub names: BTreeMap<ManagerId, String>,
    /// The departments that were described.
    pub described: BTreeMap<DepartmentId, DepartmentUpdate>,
    /// Contacts of more open entities than the limit.
    pub shared_contacts: i64,
    /// Its shard.
    pub shard: ShardId,
    /// Event time up to which everything was processed.
    pub watermark: Timestamp,
    /// The progress marks of its sources.
    pub marks: Vec<Mark>,
    /// Whether a source sends past events.
    pub is_backfilling: bool,
}

impl TenantSnapshot {
    fn of(tenant: TenantId, figures: &mut TenantFigures) -> Self {
        let mut rows = Vec::new();
        let TenantFigures { shard, at, scoreboard, reviews, departments, time, .. } = figures;
        if *at > Timestamp::MIN {
            scoreboard.rows(*at, &mut rows);
            rows.iter_mut().for_each(|row| row.historic = time.is_historic(row.at));
        }
        Self {
            tenant,
            rows,
            norms: Arc::clone(scoreboard.norms()),
            departments: scoreboard.departments().cloned().collect(),
            reviews: reviews.clone(),
            names: scoreboard.names().map(|(id, name)| (id.clone(), name.into())).collect(),
            described: departments.clone(),
            shared_contacts: scoreboard.shared_contacts(),
            shard: *shard,
            watermark: *at,
            marks: time.clock.marks.clone(),
            is_backfilling: time.is_backfilling,
        }
    }
}

/// Locks a mutex and ignores poisoning: a panic terminates the process anyway.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
