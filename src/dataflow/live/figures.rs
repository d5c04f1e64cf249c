//! Owns the figures of one tenant: its scoreboard, the counts of its review requests, and its departments.

use crate::domain::alert::Alert;
use crate::domain::effect::{DepartmentUpdate, Effect};
use crate::domain::id::{DepartmentId, ManagerId, TenantId};
use crate::domain::norms::Norms;
use crate::domain::review::ReviewRequest;
use crate::domain::scoreboard::Scoreboard;
use crate::domain::shard::processor::TenantTime;
use crate::domain::source::ShardId;
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A tenant's figures and their watermark.
#[derive(Debug)]
pub struct TenantFigures {
    /// The shard of the tenant.
    pub shard: ShardId,
    /// The watermark of the last epoch included in the figures.
    pub at: Timestamp,
    /// The aggregated facts.
    pub scoreboard: Scoreboard,
    /// Review requests by manager.
    pub reviews: BTreeMap<ManagerId, ReviewCounts>,
    /// The departments that were described.
    pub departments: BTreeMap<DepartmentId, DepartmentUpdate>,
    /// The time of the tenant.
    pub time: TenantTime,
}

/// The numbers of review requests of a manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReviewCounts {
    /// Requests that wait for a review.
    pub open: i64,
    /// Requests that were reviewed since this process has the tenant.
    pub answered: u64,
}

impl TenantFigures {
    /// Empty figures of a tenant at its watermark.
    pub fn new(shard: ShardId, time: TenantTime, tenant: TenantId, norms: &Arc<Norms>) -> Self {
        let scoreboard = Scoreboard::new(tenant, Arc::clone(norms));
        let at = time.clock.watermark;
        Self { shard, at, scoreboard, reviews: BTreeMap::new(), departments: BTreeMap::new(), time }
    }

    /// Applies an effect. Alerts and review requests are appended to `alerts` and `requests`.
    pub(crate) fn apply(&mut self, effect: Effect, alerts: &mut Vec<Alert>, requests: &mut Vec<ReviewRequest>) {
        match effect {
            Effect::Review(request) => {
                self.reviews_of(request.manager.clone()).open += 1;
                requests.push(*request);
            }
            Effect::ReviewOver { manager, answered } => {
                let reviews = self.reviews_of(manager);
                reviews.open -= 1;
                reviews.answered += u64::from(answered);
            }
            Effect::DepartmentUpdate(update) => drop(self.departments.insert(update.id.clone(), *update)),
            Effect::ManagerForgotten { ref id, .. } => {
                self.reviews.remove(id);
                self.scoreboard.apply(effect, alerts);
            }
            effect => self.scoreboard.apply(effect, alerts),
        }
    }

    /// Applies an effect of an earlier process, which has published what follows from it.
    pub(crate) fn replay(&mut self, effect: Effect) {
        match effect {
            Effect::Review(request) => self.reviews_of(request.manager).open += 1,
            Effect::ReviewOver { manager, .. } => self.reviews_of(manager).open -= 1,
            Effect::DepartmentUpdate(update) => drop(self.departments.insert(update.id.clone(), *update)),
            effect => self.scoreboard.replay(effect),
        }
    }

    fn reviews_of(&mut self, manager: ManagerId) -> &mut ReviewCounts {
        self.reviews.entry(manager).or_default()
    }
}
