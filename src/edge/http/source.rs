//! Owns what a viewer is answered from: the memory of this process, without what the viewer may not see.
//!
//! **Invariant.** Every answer about a tenant, of the API and of the page, is made of what is returned here. So rows of other
//! departments are left out once, and not by each template.

use super::access::Viewer;
use super::context::EndpointContext;
use crate::dataflow::live::{OpenAlert, TenantSnapshot};
use crate::domain::alert::Alert;
use crate::domain::figures::row::{Row, Subject};
use crate::domain::id::{DepartmentId, EntityId, ManagerId, TenantId};
use crate::domain::rule::Rule;
use crate::domain::source::ShardId;
use crate::domain::tenant::entity_report::EntityReport;
use crate::domain::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// An open alert as the view of open alerts has it.
pub(super) type Open = OpenAlert<Arc<Alert>>;

/// The memory of this process as a viewer sees it.
#[derive(Clone)]
pub(super) struct Source {
    context: EndpointContext,
    pub(super) viewer: Arc<Viewer>,
}

impl Source {
    pub(super) fn new(context: EndpointContext, viewer: Arc<Viewer>) -> Self {
        Self { context, viewer }
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

    /// The report on a lead or deal of a manager whose department the viewer sees.
    pub(super) fn entity_report(&self, tenant: &TenantId, entity: &EntityId) -> Option<EntityReport> {
        self.viewer.sees_tenant(tenant).then_some(())?;
        let report = self.context.live_state.entity_report(tenant, entity)?;
        let department: Option<&DepartmentId> = report.department.as_ref();
        self.viewer.sees_department(department).then_some(report)
    }
}
