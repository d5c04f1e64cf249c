//! Owns the alerts that are open, as they are committed: what services are told that ask instead of subscribing.
//!
//! A shard comes with its open alerts, whether it was restored or has just begun, and goes with them. In between the view
//! follows what is committed, status by status, in the order of commits. An act that is wrong in itself (RAISED) is never open.

use super::epoch::EpochOutput;
use super::live_state::{LiveState, lock};
use crate::domain::alert::{Alert, Status};
use crate::domain::id::TenantId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// The open alerts of the tenants of this process.
#[derive(Debug)]
pub struct OpenAlertsView {
    board: Arc<LiveState>,
    tenants: Mutex<BTreeMap<TenantId, TenantAlerts>>,
}

/// The open alerts of one tenant.
#[derive(Debug)]
struct TenantAlerts {
    shard: u32,
    open: OpenAlerts<Arc<Alert>>,
}

/// Open alerts, each by its last status.
#[derive(Debug)]
pub(super) struct OpenAlerts<A>(BTreeMap<Uuid, A>);

impl<A> Default for OpenAlerts<A> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<A> OpenAlerts<A> {
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

impl OpenAlertsView {
    /// A view without alerts; the board says which shard a tenant belongs to.
    pub fn new(board: Arc<LiveState>) -> Self {
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
    pub fn committed(&self, made: &EpochOutput) {
        let adopted = made.adopted.iter().flat_map(|(shard, open)| open.iter().map(move |alert| (Some(*shard), alert)));
        let told = made.alerts.iter().map(|alert| (None, alert));
        let mut tenants = lock(&self.tenants);
        // A shard that was lost may have gone with an epoch that was never committed, and come back since.
        tenants.retain(|_, tenant| made.adopted.iter().all(|(shard, _)| *shard != tenant.shard));
        for (shard, alert) in adopted.chain(told) {
            // Whoever has left the board meanwhile leaves the view soon.
            let Some(shard) = shard.or_else(|| self.board.shard_of(&alert.tenant)) else { continue };
            let fresh = || TenantAlerts { shard, open: OpenAlerts::default() };
            let tenant = tenants.entry(alert.tenant.clone()).or_insert_with(fresh);
            tenant.open.take(alert.id, alert.status, || Arc::new(alert.clone()));
        }
        if !made.revoked.is_empty() {
            tenants.retain(|_, tenant| !made.revoked.contains(&tenant.shard));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::live_state::TenantFigures;
    use super::*;
    use crate::config::parse_norms;
    use crate::domain::alert::{Severity, alert_id};
    use crate::domain::rule::Rule;
    use crate::domain::scoreboard::Scoreboard;
    use crate::domain::time::Timestamp;

    fn alert(tenant: &str, subject: &str, status: Status, at: i64) -> Alert {
        let rule = Rule::FirstResponseLate;
        Alert {
            id: alert_id(&tenant.into(), rule, subject, Timestamp(0)),
            tenant: tenant.into(),
            rule,
            severity: Severity::Warning,
            level: 0,
            status,
            subject: subject.into(),
            at: Timestamp(at),
            anchor_at: Timestamp(0),
            due_at: None,
            manager: None,
            department: None,
            entity: None,
            interaction: None,
            window: None,
            observed: Vec::new(),
            norm: Vec::new(),
            resolution: None,
        }
    }

    /// A view of tenant `a` in shard 0 and tenant `b` in shard 1.
    fn view() -> OpenAlertsView {
        let board = Arc::new(LiveState::default());
        let norms = Arc::new(parse_norms("test", "").unwrap_or_else(|problems| panic!("{problems}")).norms);
        for (shard, tenant) in (0..).zip(["a", "b"]) {
            let scoreboard = Scoreboard::new(tenant.into(), Arc::clone(&norms));
            let figures = TenantFigures { shard, at: Timestamp(0), scoreboard, reviews: BTreeMap::new() };
            board.enter(tenant.into(), figures);
        }
        OpenAlertsView::new(board)
    }

    fn shown(view: &OpenAlertsView) -> Vec<String> {
        let of = |tenant: &str| view.alerts(&tenant.into());
        let alerts = ["a", "b"].into_iter().flat_map(of);
        alerts.map(|alert| format!("{} {} {}", alert.subject, alert.status.name(), alert.at.0)).collect()
    }

    #[test]
    fn what_is_open_is_shown_as_it_was_told_last() {
        let view = view();
        let commit = |alerts| view.committed(&EpochOutput { alerts, ..EpochOutput::default() });
        commit(vec![
            alert("a", "1", Status::Firing, 5),
            alert("a", "2", Status::Firing, 4),
            alert("a", "3", Status::Raised, 4),
            alert("b", "4", Status::Firing, 6),
        ]);
        assert_eq!(shown(&view), ["2 FIRING 4", "1 FIRING 5", "4 FIRING 6"], "by their instants");
        commit(vec![alert("a", "2", Status::Escalated, 7), alert("b", "4", Status::Retracted, 7)]);
        assert_eq!(shown(&view), ["1 FIRING 5", "2 ESCALATED 7"]);
        commit(vec![alert("a", "1", Status::Resolved, 8), alert("a", "1", Status::Resolved, 9)]);
        assert_eq!(shown(&view), ["2 ESCALATED 7"]);
    }

    #[test]
    fn a_shard_comes_and_goes_with_its_alerts() {
        let view = view();
        let open = |tenant, at| vec![alert(tenant, "1", Status::Firing, at)];
        view.committed(&EpochOutput { adopted: vec![(0, open("a", 1)), (1, open("b", 1))], ..EpochOutput::default() });
        assert_eq!(shown(&view), ["1 FIRING 1"; 2]);
        // What is told in the epoch that it comes with is newer, what is told in the one that it goes with is gone.
        let alerts = vec![alert("b", "2", Status::Firing, 3)];
        view.committed(&EpochOutput { alerts, revoked: vec![1], ..EpochOutput::default() });
        assert_eq!(shown(&view), ["1 FIRING 1"]);
        let alerts = vec![alert("b", "1", Status::Escalated, 4)];
        view.committed(&EpochOutput { adopted: vec![(1, open("b", 1))], alerts, ..EpochOutput::default() });
        assert_eq!(shown(&view), ["1 FIRING 1", "1 ESCALATED 4"]);
    }

    #[test]
    fn a_shard_whose_going_was_never_committed_comes_back_without_what_ended_meanwhile() {
        let view = view();
        let alerts = vec![alert("a", "ended elsewhere", Status::Firing, 1), alert("b", "1", Status::Firing, 1)];
        view.committed(&EpochOutput { alerts, ..EpochOutput::default() });
        view.committed(&EpochOutput { adopted: vec![(0, Vec::new())], ..EpochOutput::default() });
        assert_eq!(shown(&view), ["1 FIRING 1"]);
    }
}
