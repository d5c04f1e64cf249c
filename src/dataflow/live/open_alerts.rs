//! Owns the view of open alerts as committed, for clients that query instead of subscribing to the alert topic.
//!
//! An assigned shard adds its restored open alerts, if any, and a revoked shard removes them. In between the view
//! applies every committed status in commit order. A single act that violates a norm (RAISED) is never open;
//! a warning (DUE_SOON) is, although it is no violation yet.

use super::live_state::{LiveState, lock};
use crate::dataflow::epoch::EpochOutput;
use crate::domain::alert::{Alert, AlertTaken, Status};
use crate::domain::id::TenantId;
use crate::domain::source::ShardId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// The open alerts of the tenants of this process.
#[derive(Debug)]
pub struct OpenAlertsView {
    live_state: Arc<LiveState>,
    tenants: Mutex<BTreeMap<TenantId, TenantAlerts>>,
}

/// The open alerts of one tenant, by alert id.
#[derive(Debug)]
struct TenantAlerts {
    shard: ShardId,
    open: BTreeMap<Uuid, OpenAlert<Arc<Alert>>>,
}

/// An open alert.
#[derive(Clone, Debug)]
pub struct OpenAlert<A> {
    /// Its last status.
    pub alert: A,
    /// Who takes care of it.
    pub taken: Option<AlertTaken>,
}

/// Applies a status to open alerts, by alert id. Who takes care of an alert does so until its end.
pub(crate) fn update_open<A>(
    open: &mut BTreeMap<Uuid, OpenAlert<A>>,
    id: Uuid,
    status: Status,
    alert: impl FnOnce() -> A,
) {
    let Some(is_open) = status.is_open() else { return };
    let taken = open.remove(&id).and_then(|known| known.taken);
    if is_open {
        open.insert(id, OpenAlert { alert: alert(), taken });
    }
}

/// Records who takes care of an alert. Returns it if the alert is not open.
pub(crate) fn take_open<A>(open: &mut BTreeMap<Uuid, OpenAlert<A>>, taken: AlertTaken) -> Option<AlertTaken> {
    let Some(known) = open.get_mut(&taken.alert) else { return Some(taken) };
    known.taken = Some(taken);
    None
}

impl OpenAlertsView {
    /// An empty view. `live_state` is used to look up the shard of a tenant.
    pub fn new(live_state: Arc<LiveState>) -> Self {
        Self { live_state, tenants: Mutex::default() }
    }

    /// The open alerts of a tenant in order of their instants.
    pub fn alerts(&self, tenant: &TenantId) -> Vec<OpenAlert<Arc<Alert>>> {
        let tenants = lock(&self.tenants);
        let open = tenants.get(tenant).into_iter().flat_map(|tenant| tenant.open.values());
        let mut alerts: Vec<_> = open.cloned().collect();
        alerts.sort_by_key(|open| (open.alert.at, open.alert.id));
        alerts
    }

    /// An open alert of a tenant.
    pub fn alert(&self, tenant: &TenantId, id: Uuid) -> Option<OpenAlert<Arc<Alert>>> {
        lock(&self.tenants).get(tenant)?.open.get(&id).cloned()
    }

    /// Removes all alerts: no shard is read any more.
    pub fn clear(&self) {
        lock(&self.tenants).clear();
    }

    /// Applies a committed epoch.
    pub fn committed(&self, output: &EpochOutput) {
        let restored =
            output.restored.iter().flat_map(|(shard, open)| open.iter().map(move |alert| (Some(*shard), alert)));
        let emitted = output.alerts.iter().map(|alert| (None, alert));
        let mut tenants = lock(&self.tenants);
        // A shard may be revoked in an epoch that is never committed, and then be assigned again.
        tenants.retain(|_, tenant| output.restored.iter().all(|(shard, _)| *shard != tenant.shard));
        for (shard, alert) in restored.chain(emitted) {
            // A tenant that is no longer in the live state is about to be removed from this view, too, or was forgotten.
            let known = || tenants.get(&alert.tenant).map(|tenant| tenant.shard);
            let Some(shard) = shard.or_else(|| self.live_state.shard_of(&alert.tenant)).or_else(known) else {
                continue;
            };
            let new_tenant = || TenantAlerts { shard, open: BTreeMap::new() };
            let tenant = tenants.entry(alert.tenant.clone()).or_insert_with(new_tenant);
            update_open(&mut tenant.open, alert.id, alert.status, || Arc::new(alert.clone()));
            if tenant.open.is_empty() {
                tenants.remove(&alert.tenant);
            }
        }
        for taken in &output.taken {
            if let Some(tenant) = tenants.get_mut(&taken.tenant) {
                take_open(&mut tenant.open, taken.clone());
            }
        }
        if !output.revoked.is_empty() {
            tenants.retain(|_, tenant| !output.revoked.contains(&tenant.shard));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_norms;
    use crate::dataflow::live::TenantFigures;
    use crate::domain::rule::Rule;
    use crate::domain::shard::processor::TenantTime;
    use crate::domain::time::Timestamp;

    fn alert(tenant: &str, subject: &str, status: Status, at: i64) -> Alert {
        let at = Timestamp(at);
        Alert { status, at, ..Alert::sample(tenant, Rule::FirstResponseLate, subject, Timestamp(0)) }
    }

    /// A view of tenant `a` in shard 0 and tenant `b` in shard 1.
    fn view() -> OpenAlertsView {
        let live_state = Arc::new(LiveState::default());
        let norms = Arc::new(parse_norms("test", "").unwrap_or_else(|problems| panic!("{problems}")).norms);
        for (shard, tenant) in (0..).map(ShardId).zip(["a", "b"]) {
            live_state
                .insert_tenant(tenant.into(), TenantFigures::new(shard, TenantTime::default(), tenant.into(), &norms));
        }
        OpenAlertsView::new(live_state)
    }

    fn shown(view: &OpenAlertsView) -> Vec<String> {
        let of = |tenant: &str| view.alerts(&tenant.into());
        let alerts = ["a", "b"].into_iter().flat_map(of);
        let show = |OpenAlert { alert, taken }: OpenAlert<Arc<Alert>>| {
            let by = taken.map(|taken| format!(" by {}", taken.manager)).unwrap_or_default();
            format!("{} {} {}{by}", alert.subject, alert.status.name(), alert.at.0)
        };
        alerts.map(show).collect()
    }

    /// A manager takes care of the alert about this subject.
    fn taken(tenant: &str, subject: &str, manager: &str) -> AlertTaken {
        let alert = alert(tenant, subject, Status::Firing, 0).id;
        AlertTaken { tenant: tenant.into(), alert, manager: manager.into(), at: Timestamp(1) }
    }

    #[test]
    fn an_alert_is_taken_until_it_ends() {
        let view = view();
        let commit = |alerts, taken| view.committed(&EpochOutput { alerts, taken, ..EpochOutput::default() });
        let fire = |at| alert("a", "1", Status::Firing, at);
        commit(vec![fire(1)], vec![taken("a", "1", "ann"), taken("a", "2", "ann"), taken("b", "1", "ann")]);
        assert_eq!(shown(&view), ["1 FIRING 1 by ann"], "only what is open can be taken");
        commit(vec![alert("a", "1", Status::Escalated, 2), alert("a", "2", Status::Firing, 3)], Vec::new());
        assert_eq!(shown(&view), ["1 ESCALATED 2 by ann", "2 FIRING 3"], "a later status is taken too");
        commit(Vec::new(), vec![taken("a", "1", "bob")]);
        assert_eq!(shown(&view), ["1 ESCALATED 2 by bob", "2 FIRING 3"], "the last one counts");
        commit(vec![alert("a", "1", Status::Resolved, 4), fire(5)], Vec::new());
        assert_eq!(shown(&view), ["2 FIRING 3", "1 FIRING 5"], "it ended with the alert");
    }

    #[test]
    fn the_last_alert_of_a_forgotten_tenant_ends() {
        let view = view();
        let commit = |alerts| view.committed(&EpochOutput { alerts, ..EpochOutput::default() });
        commit(vec![alert("a", "1", Status::Firing, 1)]);
        view.live_state.remove_tenant(&"a".into());
        commit(vec![alert("a", "1", Status::Resolved, 2)]);
        assert_eq!((shown(&view), lock(&view.tenants).len()), (Vec::new(), 0));
    }

    #[test]
    fn a_restored_alert_is_taken() {
        let view = view();
        let restored = vec![(ShardId(0), vec![alert("a", "1", Status::Firing, 1)])];
        view.committed(&EpochOutput { restored, taken: vec![taken("a", "1", "ann")], ..EpochOutput::default() });
        assert_eq!(shown(&view), ["1 FIRING 1 by ann"]);
    }

    #[test]
    fn open_alerts_are_shown_with_their_last_status() {
        let view = view();
        let commit = |alerts| view.committed(&EpochOutput { alerts, ..EpochOutput::default() });
        commit(vec![
            alert("a", "1", Status::Firing, 5),
            alert("a", "2", Status::Firing, 4),
            alert("a", "3", Status::Raised, 4),
            alert("b", "4", Status::Firing, 6),
        ]);
        assert_eq!(shown(&view), ["2 FIRING 4", "1 FIRING 5", "4 FIRING 6"], "in order of their instants");
        commit(vec![alert("a", "2", Status::Escalated, 7), alert("b", "4", Status::Retracted, 7)]);
        assert_eq!(shown(&view), ["1 FIRING 5", "2 ESCALATED 7"]);
        commit(vec![alert("a", "1", Status::Resolved, 8), alert("a", "1", Status::Resolved, 9)]);
        assert_eq!(shown(&view), ["2 ESCALATED 7"]);
    }

    #[test]
    fn a_shard_is_added_and_removed_with_its_alerts() {
        let view = view();
        let open = |tenant, at| vec![alert(tenant, "1", Status::Firing, at)];
        view.committed(&EpochOutput {
            restored: vec![(ShardId(0), open("a", 1)), (ShardId(1), open("b", 1))],
            ..EpochOutput::default()
        });
        assert_eq!(shown(&view), ["1 FIRING 1"; 2]);
        // Alerts of the epoch that adds a shard are newer than the restored ones. Alerts of the epoch that removes a
        // shard are dropped.
        let alerts = vec![alert("b", "2", Status::Firing, 3)];
        view.committed(&EpochOutput { alerts, revoked: vec![ShardId(1)], ..EpochOutput::default() });
        assert_eq!(shown(&view), ["1 FIRING 1"]);
        let alerts = vec![alert("b", "1", Status::Escalated, 4)];
        view.committed(&EpochOutput { restored: vec![(ShardId(1), open("b", 1))], alerts, ..EpochOutput::default() });
        assert_eq!(shown(&view), ["1 FIRING 1", "1 ESCALATED 4"]);
    }

    #[test]
    fn a_shard_revoked_without_a_commit_returns_without_alerts_resolved_meanwhile() {
        let view = view();
        let alerts = vec![alert("a", "ended elsewhere", Status::Firing, 1), alert("b", "1", Status::Firing, 1)];
        view.committed(&EpochOutput { alerts, ..EpochOutput::default() });
        view.committed(&EpochOutput { restored: vec![(ShardId(0), Vec::new())], ..EpochOutput::default() });
        assert_eq!(shown(&view), ["1 FIRING 1"]);
    }
}
