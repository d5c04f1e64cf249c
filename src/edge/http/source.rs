//! Owns what a viewer is answered from: the memory of this process, without what the viewer may not see.
//!
//! **Invariant.** Every answer about a tenant, of the API and of the page, is made of what is returned here. So rows of other
//! departments are left out once, and not by each template.

use super::access::Viewer;
use super::context::EndpointContext;
use crate::dataflow::live::{
    CoursePoints, FigureMember, FigureQuery, NotListed, OpenAlert, RequestedReview, TenantSnapshot,
};
use crate::domain::alert::Alert;
use crate::domain::figures::row::{Row, Subject};
use crate::domain::id::{DepartmentId, EntityId, ManagerId, TenantId};
use crate::domain::review::ReviewRequest;
use crate::domain::rule::Rule;
use crate::domain::source::ShardId;
use crate::domain::tenant::entity_report::EntityReport;
use crate::domain::tenant::listing::{GivenReview, OpenPlan, RunningClock};
use crate::domain::time::Timestamp;
use crate::edge::deliveries::Told;
use compact_str::CompactString;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// An open alert as the view of open alerts has it.
pub(super) type Open = OpenAlert<Arc<Alert>>;

/// The memory of this process as a viewer sees it.
#[derive(Clone)]
pub(super) struct Source {
    context: EndpointContext,
    pub(super) viewer: Arc<Viewer>,
}

impl Source {
    pub(super) fn new(context: &EndpointContext, viewer: &Arc<Viewer>) -> Self {
        Self { context: context.clone(), viewer: Arc::clone(viewer) }
    }

    /// The tenants, each with its shard, its watermark, and whether there is a back-fill.
    pub(super) fn tenants(&self) -> Vec<(TenantId, ShardId, Timestamp, bool)> {
        let mut tenants = self.context.live_state.tenants();
        tenants.retain(|(tenant, ..)| self.viewer.sees_tenant(tenant));
        tenants
    }

    /// Whether there is a tenant that the viewer sees.
    pub(super) fn contains(&self, tenant: &TenantId) -> bool {
        self.viewer.sees_tenant(tenant) && self.context.live_state.contains_tenant(tenant)
    }

    /// A tenant as of now. Blocks while it is summed up.
    pub(super) fn snapshot(&self, tenant: &TenantId) -> Option<TenantSnapshot> {
        let viewer = Some(&self.viewer).filter(|viewer| viewer.sees_tenant(tenant))?;
        let mut snapshot = self.context.live_state.snapshot(tenant)?;
        if viewer.sees_all_departments() {
            return Some(snapshot);
        }
        snapshot.rows.retain(|row| viewer.sees_row(row));
        snapshot.departments.retain(|id| viewer.sees_department(Some(id)));
        snapshot.described.retain(|id, _| viewer.sees_department(Some(id)));
        let manager_of = |row: &Row| match &row.subject {
            Subject::Manager(id) => Some(id.clone()),
            Subject::Tenant | Subject::Department(_) => None,
        };
        let seen: BTreeSet<ManagerId> = snapshot.rows.iter().filter_map(manager_of).collect();
        snapshot.names.retain(|id, _| seen.contains(id));
        snapshot.reviews.retain(|id, _| seen.contains(id));
        Some(snapshot)
    }

    /// The open alerts of a tenant in order of their instants.
    pub(super) fn alerts(&self, tenant: &TenantId) -> Vec<Open> {
        if !self.viewer.sees_tenant(tenant) {
            return Vec::new();
        }
        let mut alerts = self.context.open_alerts.alerts(tenant);
        alerts.retain(|open| self.sees_alert(&open.alert));
        alerts
    }

    /// Whether the viewer sees an alert. That a source is silent concerns everybody.
    fn sees_alert(&self, alert: &Alert) -> bool {
        alert.rule == Rule::SourceSilent || self.viewer.sees_department(alert.department.as_ref())
    }

    /// An open alert that the viewer sees.
    pub(super) fn alert(&self, tenant: &TenantId, id: Uuid) -> Option<Open> {
        self.viewer.sees_tenant(tenant).then_some(())?;
        self.context.open_alerts.alert(tenant, id).filter(|open| self.sees_alert(&open.alert))
    }

    /// The alerts of which somebody was informed, with what was sent to whom.
    pub(super) fn told(&self, tenant: &TenantId) -> Vec<Arc<Told>> {
        if !self.viewer.sees_tenant(tenant) {
            return Vec::new();
        }
        let mut told = self.context.deliveries.of(tenant);
        told.retain(|told| told.rule == Rule::SourceSilent || self.viewer.sees_department(told.department.as_ref()));
        told
    }

    /// The clocks that run as of the watermark.
    pub(super) fn running_clocks(&self, tenant: &TenantId) -> Option<(Timestamp, Vec<RunningClock>)> {
        self.viewer.sees_tenant(tenant).then_some(())?;
        let (at, mut clocks) = self.context.live_state.running_clocks(tenant)?;
        clocks.retain(|clock| self.viewer.sees_department(clock.department.as_ref()));
        Some((at, clocks))
    }

    /// The open plans as of the watermark.
    pub(super) fn open_plans(&self, tenant: &TenantId) -> Option<(Timestamp, Vec<OpenPlan>)> {
        self.viewer.sees_tenant(tenant).then_some(())?;
        let (at, mut plans) = self.context.live_state.open_plans(tenant)?;
        plans.retain(|plan| self.viewer.sees_department(plan.department.as_ref()));
        Some((at, plans))
    }

    /// The members of a figure, the latest first.
    pub(super) fn members(&self, tenant: &TenantId, query: &FigureQuery<'_>) -> Result<Vec<FigureMember>, NotListed> {
        if !self.viewer.sees_tenant(tenant) {
            return Err(NotListed::UnknownTenant);
        }
        let mut members = self.context.live_state.members(tenant, query)?;
        members.retain(|member| self.viewer.sees_department(Some(&member.department)));
        Ok(members)
    }

    /// What was picked for review in the last days, and the reviews that are known.
    pub(super) fn reviews(&self, tenant: &TenantId) -> Option<(Vec<RequestedReview>, Vec<GivenReview>)> {
        self.viewer.sees_tenant(tenant).then_some(())?;
        let (mut requests, mut given) = self.context.live_state.reviews(tenant)?;
        requests.retain(|requested| self.viewer.sees_department(Some(&requested.request.department)));
        given.retain(|review| self.viewer.sees_department(Some(&review.department)));
        Some((requests, given))
    }

    /// A call or message that was picked for review.
    pub(super) fn requested(&self, tenant: &TenantId, interaction: &str) -> Option<ReviewRequest> {
        let mut requests = self.reviews(tenant)?.0.into_iter().map(|requested| requested.request);
        requests.find(|request| request.interaction == interaction)
    }

    /// The course of a figure over the day; the inner `None`: there is no such figure. Whether the viewer sees the subject is
    /// said by [`Self::snapshot`].
    pub(super) fn course(&self, tenant: &TenantId, subject: &Subject, name: &str) -> Option<Option<CoursePoints>> {
        self.viewer.sees_tenant(tenant).then_some(())?;
        self.context.live_state.course(tenant, subject, name)
    }

    /// The courses of a figure of all managers, for the rows that [`Self::snapshot`] returns.
    pub(super) fn courses(&self, tenant: &TenantId, name: &str) -> BTreeMap<Subject, Vec<f64>> {
        if self.viewer.sees_tenant(tenant) { self.context.live_state.courses(tenant, name) } else { BTreeMap::new() }
    }

    /// The normal forms of the numbers and addresses of a lead or deal, for those who may see them.
    pub(super) fn contacts_of(&self, tenant: &TenantId, entity: &EntityId) -> Option<Vec<CompactString>> {
        self.viewer.sees_contacts().then_some(())?;
        self.entity_report(tenant, entity)?;
        Some(self.context.live_state.contacts_of(tenant, entity))
    }

    /// The same for whom an open alert is about.
    pub(super) fn contacts_of_alert(&self, tenant: &TenantId, id: Uuid) -> Option<Vec<CompactString>> {
        self.viewer.sees_contacts().then_some(())?;
        let alert = self.alert(tenant, id)?.alert;
        let live_state = &self.context.live_state;
        if alert.subject.starts_with("contact:") {
            return Some(live_state.contact_named(tenant, &alert.subject).into_iter().collect());
        }
        Some(alert.entity.as_ref().map(|entity| live_state.contacts_of(tenant, entity)).unwrap_or_default())
    }

    /// The report on a lead or deal of a manager whose department the viewer sees.
    pub(super) fn entity_report(&self, tenant: &TenantId, entity: &EntityId) -> Option<EntityReport> {
        self.viewer.sees_tenant(tenant).then_some(())?;
        let report = self.context.live_state.entity_report(tenant, entity)?;
        let department: Option<&DepartmentId> = report.department.as_ref();
        self.viewer.sees_department(department).then_some(report)
    }
}
