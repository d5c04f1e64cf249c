//! Owns the moves of a journey through its stages.

use crate::domain::alert::Resolution;
use crate::domain::change::{Act, JourneyChange, Move};
use crate::domain::context::{TenantContext, Timer};
use crate::domain::event::{ActivityKind, Outcome};
use crate::domain::id::{PipelineId, StageId, UNKNOWN};
use crate::domain::index::StageIx;
use crate::domain::journey::Journey;
use crate::domain::journey::stage_history::{Limit, OpenChange, StageVisit, Stay};
use crate::domain::mem::short::Short;
use crate::domain::norms::{Pipeline, Stage};
use crate::domain::rule::Rule;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use std::sync::Arc;

/// How many filled fields of a lead or deal are kept.
const MAX_FILLED_FIELDS: usize = 1000;

/// The entry of an entity into a stage.
#[derive(Clone, Copy, Debug)]
pub struct StageEntry<'a> {
    /// The pipeline, if named.
    pub pipeline: Option<&'a PipelineId>,
    /// The stage.
    pub stage: &'a StageId,
    /// The previous stage, if named.
    pub from: Option<&'a StageId>,
    /// Event time of the entry.
    pub at: Timestamp,
    /// Whether it is a move; otherwise the stage was only observed (creation, reopening, snapshot).
    pub moved: bool,
}

/// The index of a stage in a pipeline.
fn stage_index(pipeline: &Pipeline, stage: &StageId) -> Option<usize> {
    pipeline.stages.iter().position(|other| other.id == *stage)
}

impl Journey {
    /// The current pipeline.
    pub fn pipeline(&self) -> Option<&PipelineId> {
        self.stage_history.pipeline.as_ref()
    }

    /// The current stage.
    pub fn stage(&self) -> Option<&StageId> {
        self.stage_history.stage.as_ref()
    }

    /// Sets the pipeline without changing the stage.
    pub fn set_pipeline(&mut self, pipeline: &PipelineId) {
        self.stage_history.pipeline = Some(pipeline.clone());
    }

    /// Marks the past as completely known, because the creation event was seen.
    pub fn set_past_known(&mut self) {
        self.past_known = true;
    }

    /// Marks fields as filled; further ones than [`MAX_FILLED_FIELDS`] are not.
    pub fn fill_fields(&mut self, fields: &[CompactString]) {
        let filled = &mut self.stage_history.fields;
        for field in fields {
            if filled.len() < MAX_FILLED_FIELDS
                && let Err(at) = filled.binary_search(field)
            {
                filled.insert(at, field.clone());
            }
        }
    }

    /// Marks an activity as completed.
    pub fn complete_activity(&mut self, kind: ActivityKind) {
        self.stage_history.activities |= 1 << kind as u8;
    }

    /// Whether a field is filled.
    pub fn is_filled(&self, field: &str) -> bool {
        self.stage_history.fields.binary_search_by(|filled| filled.as_str().cmp(field)).is_ok()
    }

    /// Whether an activity of a kind was completed.
    pub fn is_completed(&self, kind: &str) -> bool {
        let done = |known: &ActivityKind| self.stage_history.activities & (1 << *known as u8) != 0;
        ActivityKind::named(kind).is_some_and(|known| done(&known))
    }

    /// When the current stage was entered.
    pub fn stage_since(&self) -> Option<Timestamp> {
        self.stage_history.visits.last().map(|visit| visit.since)
    }

    /// Enters a stage.
    pub fn enter_stage(&mut self, context: &mut TenantContext, entry: StageEntry<'_>) {
        let norms = Arc::clone(&context.norms);
        let StageEntry { stage, from, at, .. } = entry;
        let waited = self.is_waiting();
        let named = self.name_pipeline(context, entry.pipeline);
        let id = entry.pipeline.or(self.stage_history.pipeline.as_ref()).cloned();
        let pipeline = id.as_ref().and_then(|id| norms.pipelines.get(id));
        let first = self.stage_history.stage.is_none();
        let same_pipeline = id == self.stage_history.pipeline;
        let previous = self.stage_history.stage.clone();
        if let Some(from) = from {
            let stage_ix = context.stage_ix(self.stage_history.pipeline.as_ref().or(id.as_ref()), Some(from));
            self.stage_history.visit(stage_ix, None);
        }
        if same_pipeline && self.stage_history.stage.as_ref() == Some(stage) {
            if named {
                self.restart_stay(context);
            }
            return;
        }
        let to = pipeline.and_then(|pipeline| stage_index(pipeline, stage));
        // The move is judged by the norms of the target pipeline.
        self.stage_history.pipeline.clone_from(&id);
        if first && !self.past_known {
            self.stage_history.past = Some((from.cloned(), stage.clone()));
        }
        if let (Some(id), Some(pipeline), true) = (&id, pipeline, first) {
            self.assume_past(context, id, pipeline);
        }
        if let (Some(id), Some(pipeline), Some(to), true) = (&id, pipeline, to, entry.moved) {
            let previous = previous.as_ref().filter(|_| same_pipeline);
            let from =
                previous.or(from.filter(|_| first && same_pipeline)).and_then(|from| stage_index(pipeline, from));
            let skips = !first || entry.from.is_some();
            self.record_move(context, id, (from, to), None, skips);
        }
        self.leave_stage(context, at, Resolution::LeftStage);
        self.stage_history.stage = Some(stage.clone());
        let stage_ix = context.stage_ix(self.stage_history.pipeline.as_ref(), Some(stage));
        self.stage_history.visit(stage_ix, Some(at));
        if let (Some(id), Some(pipeline), Some(to)) = (&id, pipeline, to) {
            self.stage_history.reach(context, id, pipeline, to, at);
        }
        let (scope, open_changes) = (self.scope(context), self.stage_history.open_changes.len());
        self.stage_history.visits.push_short(StageVisit { stage_ix, since: at, scope, open_changes });
        if self.open() {
            let reopened = self.stage_history.open_changes.last().map_or(at, |open_change| open_change.at.max(at));
            self.start_stay(context, reopened);
            self.record_wait(context, waited, at);
        }
    }

    /// Treats a won or converted outcome as a move past the last stage.
    pub fn enter_end(&mut self, context: &mut TenantContext, outcome: Outcome) {
        if !matches!(outcome, Outcome::Won | Outcome::Converted)
            || (self.stage_history.stage.is_none() && !self.past_known)
        {
            return;
        }
        let norms = Arc::clone(&context.norms);
        let Some(id) = self.stage_history.pipeline.clone() else { return };
        if let Some(pipeline) = norms.pipelines.get(&id) {
            let to = pipeline.stages.len();
            self.record_move(context, &id, (None, to), Some(outcome), true);
        }
    }

    /// Records a move between stages, by index, as an act.
    fn record_move(
        &mut self,
        context: &mut TenantContext,
        id: &PipelineId,
        (from, to): (Option<usize>, usize),
        end: Option<Outcome>,
        skips: bool,
    ) {
        if !context.acts {
            return;
        }
        let norms = Arc::clone(&context.norms);
        let stages = norms.pipelines.get(id).map_or(&[][..], |pipeline| &pipeline.stages);
        let mut was_visited = |stage: &Stage| {
            let stage_ix = context.stage_ix(Some(id), Some(&stage.id));
            self.stage_history.visited.iter().any(|(visited, _)| *visited == stage_ix)
        };
        let visited = stages.iter().map(&mut was_visited).collect();
        let step = Move { pipeline: id.clone(), from, to, end, skips, visited, norms: Arc::clone(&norms) };
        context.record_act(self.who, Act::Moved(step));
    }

    /// Assumes that all stages before the first known one were visited, and reached before all windows.
    fn assume_past(&mut self, context: &mut TenantContext, id: &PipelineId, pipeline: &Pipeline) {
        let Some((from, first)) = &self.stage_history.past else { return };
        let known = from.as_ref().and_then(|from| stage_index(pipeline, from)).map(|from| from + 1);
        let known = known.or(stage_index(pipeline, first)).unwrap_or_default();
        for stage in &pipeline.stages[..known] {
            let stage_ix = context.stage_ix(Some(id), Some(&stage.id));
            self.stage_history.visit(stage_ix, None);
        }
        if let Some(last) = known.checked_sub(1) {
            self.stage_history.reach(context, id, pipeline, last, Timestamp::MIN);
        }
    }

    /// Sets the pipeline, if it is named for the first time, and moves the history so far to it. Returns `true` if this
    /// happened and there is a current stage.
    fn name_pipeline(&mut self, context: &mut TenantContext, named: Option<&PipelineId>) -> bool {
        let (None, Some(id)) = (&self.stage_history.pipeline, named) else { return false };
        self.stage_history.pipeline = Some(id.clone());
        if self.stage_history.visited.is_empty() {
            return false;
        }
        let norms = Arc::clone(&context.norms);
        let pipeline = norms.pipelines.get(id);
        let reindex = |context: &mut TenantContext, stage_ix: StageIx| {
            let stage = context
                .stage_name(stage_ix)
                .filter(|(pipeline, _)| pipeline.as_str() == UNKNOWN)
                .map(|(_, stage)| stage.clone());
            stage.map(|stage| (context.stage_ix(Some(id), Some(&stage)), stage))
        };
        if let Some(pipeline) = pipeline {
            self.assume_past(context, id, pipeline);
        }
        for index in 0..self.stage_history.visited.len() {
            let (stage_ix, entered) = self.stage_history.visited[index];
            let Some((stage_ix, stage)) = reindex(context, stage_ix) else { continue };
            self.stage_history.visited[index].0 = stage_ix;
            if let Some(pipeline) = pipeline
                && let (Some(to), Some(at)) = (stage_index(pipeline, &stage), entered)
            {
                self.stage_history.reach(context, id, pipeline, to, at);
            }
        }
        let scope = self.scope(context);
        self.stage_history.summed = None;
        for index in 0..self.stage_history.visits.len() {
            if let Some((stage_ix, _)) = reindex(context, self.stage_history.visits[index].stage_ix) {
                self.stage_history.visits[index].stage_ix = stage_ix;
            }
        }
        let open_changes = self.stage_history.open_changes.len();
        if let Some(visit) = self.stage_history.visits.last_mut() {
            (visit.scope, visit.open_changes) = (scope, open_changes);
        }
        self.stage_history.stage.is_some()
    }

    /// Sets the pipeline, if it was unknown, without leaving the stage.
    pub fn set_first_pipeline(&mut self, context: &mut TenantContext, named: Option<&PipelineId>) {
        if self.name_pipeline(context, named) {
            self.restart_stay(context);
        }
    }

    /// Restarts the current stay in a pipeline known only now.
    fn restart_stay(&mut self, context: &mut TenantContext) {
        let waited = self.is_waiting();
        if let Some(since) = self.stage_history.stay.as_ref().map(|stay| stay.since) {
            self.start_stay(context, since);
            self.record_wait(context, waited, since);
        }
    }

    /// Records that a wait for the customer began or ended.
    fn record_wait(&mut self, context: &mut TenantContext, waited: bool, at: Timestamp) {
        match (waited, self.is_waiting()) {
            (false, true) => context.record_change(JourneyChange::WaitStarted { at }),
            (true, false) => self.end_wait(context, at),
            _ => {}
        }
    }

    fn end_wait(&mut self, context: &mut TenantContext, at: Timestamp) {
        self.stage_history.waited_until = at.into();
        context.record_change(JourneyChange::WaitEnded { at });
    }

    /// Applies new norms to the current stay.
    pub(super) fn reload_stay(&mut self, context: &mut TenantContext) {
        let scope = self.scope(context);
        if let Some(visit) = self.stage_history.existing_mut().and_then(|stage_history| stage_history.visits.last_mut())
        {
            visit.scope = scope;
        }
        let waited = self.is_waiting();
        if let Some(since) = self.stage_history.stay.as_ref().map(|stay| stay.since) {
            self.start_stay(context, since);
        }
        // A wait that the new norms begin is no change of the entity: rules handle it as they handle other norms.
        if waited && !self.is_waiting() {
            self.end_wait(context, context.now);
        }
    }

    /// Starts a stay in the current stage.
    pub(super) fn start_stay(&mut self, context: &mut TenantContext, since: Timestamp) {
        let Some(stage) = self.stage_history.stage.clone() else { return };
        let norms = Arc::clone(&context.norms);
        let stage_ix = context.stage_ix(self.stage_history.pipeline.as_ref(), Some(&stage));
        let configured = self.stage_history.pipeline.as_ref().and_then(|id| norms.pipelines.get(id));
        let configured = configured.and_then(|pipeline| Some(&pipeline.stages[stage_index(pipeline, &stage)?]));
        let limit = configured.and_then(|stage| stage.max_time).and_then(|max| {
            let (scope, limit) = (self.scope(context), max.span);
            let clock = scope.clock(Rule::StageOverdue);
            let before = self.stage_history.time_spent(stage_ix, since);
            let due = if before >= limit { since } else { scope.deadline(clock, since, Span(limit.0 - before.0))? };
            context.set_timer(due, Timer::Journey(self.ix));
            Some(Limit { scope, due, before, limit })
        });
        let (early, waiting) = configured.map(|stage| (stage.early, stage.waiting)).unwrap_or_default();
        self.stage_history.stay = Some(Stay { stage_ix, since, limit, early, waiting, overdue: false });
        context.record_change(JourneyChange::StageEntered { at: since });
    }

    /// Records a closing or reopening.
    pub(super) fn record_open_change(&mut self, context: &mut TenantContext, open: bool) {
        let reopened = open.then(|| self.scope(context));
        self.stage_history.open_changes.push_short(OpenChange { at: context.now, reopened });
    }

    /// Ends the current stay, if any. Called for closed entities too: a move dated before the deadline may become known
    /// late.
    pub(super) fn leave_stage(&mut self, context: &mut TenantContext, at: Timestamp, resolution: Resolution) {
        if let Some(stage_history) = self.stage_history.existing_mut() {
            stage_history.stay = None;
        }
        context.record_change(JourneyChange::StageLeft { at, resolution });
    }

    /// Whether it is open, in a stage in which the customer is to act.
    pub fn is_waiting(&self) -> bool {
        self.stage_history.stay.as_ref().is_some_and(|stay| stay.waiting)
    }

    /// When it last left such a stage for another one, while open.
    pub fn waited_until(&self) -> Option<Timestamp> {
        self.stage_history.waited_until.get()
    }

    /// The limit of the current stay, if the stage has one.
    pub fn stay_limit(&self) -> Option<Limit> {
        self.stage_history.stay.as_ref()?.limit.clone()
    }

    /// If the current stay is overdue: the stage, and whether it is an early one.
    pub(super) fn overdue(&self) -> Option<(StageIx, bool)> {
        self.stage_history.stay.as_ref().filter(|stay| stay.overdue).map(|stay| (stay.stage_ix, stay.early))
    }

    /// Marks the current stay as overdue if its deadline has passed.
    pub(super) fn update_overdue(&mut self, now: Timestamp) {
        if let Some(stay) = self.stage_history.existing_mut().and_then(|stage_history| stage_history.stay.as_mut()) {
            stay.overdue |= stay.limit.as_ref().is_some_and(|limit| limit.due <= now);
        }
    }
}
