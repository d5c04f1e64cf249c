//! Owns the figures of one tenant: its scoreboard, the counts of its review requests, and its departments.

use super::history::History;
use crate::domain::alert::Alert;
use crate::domain::effect::{DepartmentUpdate, Effect};
use crate::domain::id::{DepartmentId, ManagerId, TenantId};
use crate::domain::norms::Norms;
use crate::domain::review::ReviewRequest;
use crate::domain::scoreboard::Scoreboard;
use crate::domain::shard::processor::TenantTime;
use crate::domain::source::ShardId;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
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
    /// The requests of the last days, by interaction.
    pub requests: BTreeMap<CompactString, RequestedReview>,
    /// The course of the day.
    pub history: History,
    /// The departments that were described.
    pub departments: BTreeMap<DepartmentId, DepartmentUpdate>,
    /// The time of the tenant.
    pub time: TenantTime,
}

/// A call or message that was picked for review.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestedReview {
    /// The request.
    pub request: ReviewRequest,
    /// Whether it was reviewed; `None`: it waits for a review.
    pub answered: Option<bool>,
}

/// For how long requests are shown.
const SHOWN_FOR: Span = Span(7 * Span::DAY.0);

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
        let (reviews, requests, history, departments) = Default::default();
        Self { shard, at, scoreboard, reviews, requests, history, departments, time }
    }

    /// Applies an effect. Alerts and review requests are appended to `alerts` and `requests`.
    pub(crate) fn apply(&mut self, effect: Effect, alerts: &mut Vec<Alert>, requests: &mut Vec<ReviewRequest>) {
        match effect {
            Effect::Review(request) => {
                self.add_request(&request);
                requests.push(*request);
            }
            Effect::ReviewOver { manager, interaction, answered } => {
                self.end_request(&interaction, answered);
                let reviews = self.reviews_of(manager);
                reviews.open -= 1;
                reviews.answered += u64::from(answered);
            }
            Effect::DepartmentUpdate(update) => drop(self.departments.insert(update.id.clone(), *update)),
            Effect::ManagerForgotten { ref id, .. } => {
                self.reviews.remove(id);
                self.requests.retain(|_, requested| requested.request.manager != *id);
                self.scoreboard.apply(effect, alerts);
            }
            effect => self.scoreboard.apply(effect, alerts),
        }
    }

    /// Applies an effect of an earlier process, which has published what follows from it.
    pub(crate) fn replay(&mut self, effect: Effect) {
        match effect {
            Effect::Review(request) => self.add_request(&request),
            Effect::ReviewOver { manager, interaction, answered } => {
                self.end_request(&interaction, answered);
                self.reviews_of(manager).open -= 1;
            }
            Effect::DepartmentUpdate(update) => drop(self.departments.insert(update.id.clone(), *update)),
            effect => self.scoreboard.replay(effect),
        }
    }

    fn add_request(&mut self, request: &ReviewRequest) {
        self.reviews_of(request.manager.clone()).open += 1;
        let oldest = request.requested_at.saturating_sub(SHOWN_FOR);
        self.requests.retain(|_, known| known.request.requested_at >= oldest);
        let requested = RequestedReview { request: request.clone(), answered: None };
        self.requests.insert(request.interaction.clone(), requested);
    }

    fn end_request(&mut self, interaction: &CompactString, answered: bool) {
        if let Some(requested) = self.requests.get_mut(interaction) {
            requested.answered = Some(answered);
        }
    }

    fn reviews_of(&mut self, manager: ManagerId) -> &mut ReviewCounts {
        self.reviews.entry(manager).or_default()
    }
}
