//! Owns the stage history of a lead or deal: stages visited and reached, the time spent in each, and the current stay.
//!
//! Definition. The time in a stage is the sum of all stays in it while the entity is open, each measured by the norms
//! of that stay. It is computed from all visits, closings and reopenings known so far, because a snapshot may date a
//! move before a closing. Naming the pipeline for the first time, with the stage unchanged, is not a move. What
//! happened before the first event of an entity is unknown and assumed to be correct.

use crate::domain::context::TenantContext;
use crate::domain::id::{PipelineId, StageId};
use crate::domain::index::StageIx;
use crate::domain::mem::lazy_box::StaticDefault;
use crate::domain::mem::short::Short;
use crate::domain::norms::{Pipeline, Scope};
use crate::domain::rule::Rule;
use crate::domain::time::{Maybe, Span, Timestamp};
use compact_str::CompactString;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The stages of an entity. Leads of sources without stages have none and allocate nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct StageHistory {
    pub(super) pipeline: Option<PipelineId>,
    pub(super) stage: Option<StageId>,
    /// If the first stage did not come with the creation: the stage before, if it was named, and that first stage.
    pub(super) past: Option<(Option<StageId>, StageId)>,
    /// Stages visited, and when each was first entered, if known.
    pub(super) visited: Vec<(StageIx, Option<Timestamp>)>,
    /// Stages reached: when the stage or a later one was first reached (`MIN`: before all windows), and whether the
    /// next one was reached too.
    pub(super) reached: Vec<(StageIx, Timestamp, bool)>,
    /// Visits in order, and closings and reopenings in order.
    pub(super) visits: Vec<StageVisit>,
    pub(super) open_changes: Vec<OpenChange>,
    /// Sums over the first visits; `None` as long as there are few.
    pub(super) summed: Option<Box<SummedVisits>>,
    pub(super) stay: Option<Stay>,
    /// When it last left a stage in which the customer is to act, while open.
    pub(super) waited_until: Maybe,
    /// The filled fields, sorted.
    pub(super) fields: Vec<CompactString>,
    /// Bit set of completed activities, by kind.
    pub(super) activities: u8,
    /// Act violations already raised; each is raised once per stage.
    pub(super) raised: Vec<(Rule, StageIx)>,
}

impl StaticDefault for StageHistory {
    const DEFAULT: &'static Self = &Self {
        pipeline: None,
        stage: None,
        past: None,
        visited: Vec::new(),
        reached: Vec::new(),
        visits: Vec::new(),
        open_changes: Vec::new(),
        summed: None,
        stay: None,
        waited_until: Maybe::UNKNOWN,
        fields: Vec::new(),
        activities: 0,
        raised: Vec::new(),
    };
}

/// The most stays that ended and are not summed up.
const MAX_UNSUMMED: usize = 64;

/// The time spent in each stage during the first visits.
#[derive(Clone, Debug, Default)]
pub(super) struct SummedVisits {
    /// Their number.
    visits: usize,
    /// When the last of them ended.
    last: Timestamp,
    by_stage: BTreeMap<StageIx, Span>,
}

#[derive(Clone, Debug)]
pub(super) struct StageVisit {
    pub(super) stage_ix: StageIx,
    pub(super) since: Timestamp,
    pub(super) scope: Arc<Scope>,
    /// Number of open changes known at that time.
    pub(super) open_changes: usize,
}

/// A closing, or a reopening with the scope at that time.
#[derive(Clone, Debug)]
pub(super) struct OpenChange {
    pub(super) at: Timestamp,
    pub(super) reopened: Option<Arc<Scope>>,
}

/// The stay of an open entity in its current stage.
#[derive(Clone, Debug)]
pub(super) struct Stay {
    pub(super) stage_ix: StageIx,
    pub(super) since: Timestamp,
    pub(super) limit: Option<Limit>,
    pub(super) early: bool,
    /// The customer is to act.
    pub(super) waiting: bool,
    pub(super) overdue: bool,
}

/// The time limit of the current stay.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The scope at the start of the stay.
    pub scope: Arc<Scope>,
    /// The deadline.
    pub due: Timestamp,
    /// Time spent in earlier stays in the same stage.
    pub before: Span,
    /// The limit of the stage, over all stays.
    pub limit: Span,
}

impl StageHistory {
    /// Marks an act violation as raised for a stage. Returns `false` if it was raised before.
    pub(super) fn mark_raised(&mut self, rule: Rule, stage_ix: StageIx) -> bool {
        let new = !self.raised.contains(&(rule, stage_ix));
        if new {
            self.raised.push_short((rule, stage_ix));
        }
        new
    }

    /// The stages reached at a known instant, and whether the entity moved on from there or was won.
    pub(super) fn reached(&self, won: bool) -> Vec<(StageIx, Timestamp, bool)> {
        let known = self.reached.iter().filter(|(_, at, _)| *at > Timestamp::MIN);
        known.map(|(stage_ix, at, passed)| (*stage_ix, *at, *passed || won)).collect()
    }

    pub(super) fn visit(&mut self, stage_ix: StageIx, entered: Option<Timestamp>) {
        match self.visited.iter_mut().find(|(visited, _)| *visited == stage_ix) {
            Some((_, known)) => *known = known.or(entered),
            None => self.visited.push_short((stage_ix, entered)),
        }
    }

    /// Marks the stage at `index` of a pipeline, and all stages before it, as reached.
    pub(super) fn reach(
        &mut self,
        context: &mut TenantContext,
        id: &PipelineId,
        pipeline: &Pipeline,
        index: usize,
        at: Timestamp,
    ) {
        let mut before: Option<usize> = None;
        for stage in pipeline.stages.iter().take(index + 1) {
            let stage_ix = context.stage_ix(Some(id), Some(&stage.id));
            if let Some(before) = before {
                self.reached[before].2 = true;
            }
            before = Some(match self.reached.iter().position(|(reached, ..)| *reached == stage_ix) {
                Some(known) => {
                    self.reached[known].1 = self.reached[known].1.min(at);
                    known
                }
                None => {
                    self.reached.push_short((stage_ix, at, false));
                    self.reached.len() - 1
                }
            });
        }
    }

    /// The time spent open in a stage before `until`.
    pub(super) fn time_spent(&mut self, stage_ix: StageIx, until: Timestamp) -> Span {
        self.sum_up();
        let summed = self.summed.as_deref().filter(|summed| summed.last <= until);
        let earlier = summed.and_then(|summed| summed.by_stage.get(&stage_ix)).copied().unwrap_or_default();
        let rest = summed.map_or(0, |summed| summed.visits)..self.visits.len();
        let stays = rest.filter(|index| self.visits[*index].stage_ix == stage_ix);
        stays.fold(earlier, |sum, index| Span(sum.0 + self.stay_time(index, until).0))
    }

    /// Adds up the stays that ended, so that a move does not look at all moves before it. Nothing changes them: later
    /// closings and reopenings are dated after them.
    fn sum_up(&mut self) {
        let from = self.summed.as_deref().map_or(0, |summed| summed.visits);
        if self.visits.len() - from <= MAX_UNSUMMED {
            return;
        }
        let mut summed = self.summed.take().unwrap_or_default();
        for index in from..self.visits.len() - 1 {
            let (visit, left) = (&self.visits[index], self.visits[index + 1].since);
            let time = self.stay_time(index, left);
            let sum = summed.by_stage.entry(visit.stage_ix).or_default();
            *sum = Span(sum.0 + time.0);
            (summed.visits, summed.last) = (index + 1, summed.last.max(left));
        }
        self.summed = Some(summed);
    }

    /// The time of one stay while open, before `until`.
    fn stay_time(&self, index: usize, until: Timestamp) -> Span {
        let visit = &self.visits[index];
        let left = self.visits.get(index + 1).map_or(until, |next| next.since.min(until));
        // From the last closing before the stay on; what was before it does not matter.
        let is_closing = |index: &usize| self.open_changes[*index].reopened.is_none();
        let known = self.open_changes.partition_point(|open_change| open_change.at <= visit.since);
        let first = (0..known).rev().find(is_closing).unwrap_or_default();
        let changes = self.open_changes.iter().enumerate().skip(first).take_while(|(_, change)| change.at < left);
        let (mut time, mut opened) = (Span::ZERO, Some((Timestamp::MIN, &visit.scope)));
        for (index, open_change) in changes {
            match (opened, &open_change.reopened) {
                (Some((from, scope)), None) => {
                    time = Span(time.0 + counted_time(scope, from.max(visit.since), open_change.at).0);
                    opened = None;
                }
                // A visit recorded after the reopening keeps its own scope.
                (None, Some(scope)) => {
                    let scope = if index < visit.open_changes { &visit.scope } else { scope };
                    opened = Some((open_change.at, scope));
                }
                _ => {}
            }
        }
        opened.map_or(time, |(from, scope)| Span(time.0 + counted_time(scope, from.max(visit.since), left).0))
    }
}

/// The time that `stage_overdue` counts.
fn counted_time(scope: &Scope, from: Timestamp, to: Timestamp) -> Span {
    if from < to { scope.counted(Rule::StageOverdue, from, to) } else { Span::ZERO }
}
