//! Owns the course of a lead or deal through its pipeline: stages visited and reached, the time spent in each, and the
//! stay in the present one.
//!
//! Definition. The time in a stage is the sum over all stays in it while the entity is open, each on the clock of its own
//! norms. It is worked out from the places and turnings known so far, as a snapshot may date a move before a closing. A
//! pipeline that is named for the first time while the stage stays is no move. What was before an entity was first
//! heard of is unknown, and is taken for well done.

use super::super::alert::Resolution;
use super::super::event::{ActivityKind, Outcome};
use super::super::id::{PipelineId, StageId, UNKNOWN};
use super::super::lazy_box::StaticDefault;
use super::super::norms::{Pipeline, Scope, Stage};
use super::super::rule::{Act, Move, Rule};
use super::super::tenant_context::{TenantContext, Timer};
use super::super::time::{Span, Timestamp};
use super::{Journey, JourneyChange};
use compact_str::CompactString;
use std::sync::Arc;

/// Where an entity has been. Most leads of sources without stages have no course, and pay nothing for it.
#[derive(Debug, Default)]
pub(super) struct StageHistory {
    pipeline: Option<PipelineId>,
    stage: Option<StageId>,
    /// Of a first stage that did not come from its creation: that stage, and the one before if it was named.
    past: Option<(Option<StageId>, StageId)>,
    /// Spots that it was in, and when it entered them first, if that was told.
    visited: Vec<(u32, Option<Timestamp>)>,
    /// The first instant at which it reached a spot or one after it (`MIN`: before all windows), and whether it reached
    /// the next one too.
    reached: Vec<(u32, Timestamp, bool)>,
    /// Where it was, in order; and when it was closed and opened again.
    places: Vec<StageVisit>,
    turnings: Vec<OpenChange>,
    stay: Option<Stay>,
    fields: Vec<CompactString>,
    /// A bit for each kind of activity completed.
    activities: u8,
    /// What rules tell once of a spot.
    told: Vec<(Rule, u32)>,
}

impl StaticDefault for StageHistory {
    fn static_default() -> &'static Self {
        static NOWHERE: StageHistory = StageHistory {
            pipeline: None,
            stage: None,
            past: None,
            visited: Vec::new(),
            reached: Vec::new(),
            places: Vec::new(),
            turnings: Vec::new(),
            stay: None,
            fields: Vec::new(),
            activities: 0,
            told: Vec::new(),
        };
        &NOWHERE
    }
}

/// A stage that it came to.
#[derive(Debug)]
struct StageVisit {
    stage_ix: u32,
    since: Timestamp,
    scope: Arc<Scope>,
    /// How many turnings were known then.
    turnings: usize,
}

/// A closing, or a reopening with the norms of that moment.
#[derive(Debug)]
struct OpenChange {
    at: Timestamp,
    reopened: Option<Arc<Scope>>,
}

/// The stay in the present stage of an open entity.
#[derive(Debug)]
struct Stay {
    stage_ix: u32,
    since: Timestamp,
    limit: Option<Limit>,
    early: bool,
    overdue: bool,
}

/// The limit of the present stay.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The norms where the stay began.
    pub scope: Arc<Scope>,
    /// When it has lasted too long.
    pub due: Timestamp,
    /// How much of the limit earlier stays had taken.
    pub before: Span,
    /// The limit.
    pub limit: Span,
}

/// How an entity came to a stage.
#[derive(Clone, Copy, Debug)]
pub struct StageEntry<'a> {
    /// The pipeline, if it is named.
    pub pipeline: Option<&'a PipelineId>,
    /// The stage.
    pub stage: &'a StageId,
    /// The stage before, if it is named.
    pub from: Option<&'a StageId>,
    /// When.
    pub at: Timestamp,
    /// Whether somebody moved it; otherwise it was just there (created, reopened, seen in a snapshot).
    pub moved: bool,
}

impl StageHistory {
    /// Notes what a rule tells once of a spot. `false`: it was told.
    pub(super) fn tell_once(&mut self, rule: Rule, stage_ix: u32) -> bool {
        let new = !self.told.contains(&(rule, stage_ix));
        if new {
            self.told.push((rule, stage_ix));
        }
        new
    }

    /// The spots reached at a known instant, and whether it went on from there or was won.
    pub(super) fn reached(&self, won: bool) -> Vec<(u32, Timestamp, bool)> {
        let known = self.reached.iter().filter(|(_, at, _)| *at > Timestamp::MIN);
        known.map(|(stage_ix, at, passed)| (*stage_ix, *at, *passed || won)).collect()
    }

    fn visit(&mut self, stage_ix: u32, entered: Option<Timestamp>) {
        match self.visited.iter_mut().find(|(visited, _)| *visited == stage_ix) {
            Some((_, known)) => *known = known.or(entered),
            None => self.visited.push((stage_ix, entered)),
        }
    }

    /// It reached the stage at `place` of a pipeline and all before it.
    fn reach(
        &mut self,
        context: &mut TenantContext,
        id: &PipelineId,
        pipeline: &Pipeline,
        place: usize,
        at: Timestamp,
    ) {
        let mut before: Option<usize> = None;
        for stage in pipeline.stages.iter().take(place + 1) {
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
                    self.reached.push((stage_ix, at, false));
                    self.reached.len() - 1
                }
            });
        }
    }

    /// The time in a spot before `until`, while it was open.
    fn spent(&self, stage_ix: u32, until: Timestamp) -> Span {
        let mut spent = Span::ZERO;
        for (index, place) in self.places.iter().enumerate().filter(|(_, place)| place.stage_ix == stage_ix) {
            let left = self.places.get(index + 1).map_or(until, |next| next.since.min(until));
            let mut opened: Option<(Timestamp, &Arc<Scope>)> = Some((Timestamp::MIN, &place.scope));
            let closings =
                self.turnings.iter().enumerate().map(|(index, turning)| (index, turning.at, &turning.reopened));
            for (index, at, reopened) in closings.chain([(usize::MAX, until, &None)]) {
                match (opened, reopened) {
                    (Some((from, scope)), None) => {
                        spent = Span(spent.0 + counted(scope, from.max(place.since), at.min(left)).0);
                        opened = None;
                    }
                    // Who hears of the place after the reopening goes by the norms of then.
                    (None, Some(scope)) => {
                        opened = Some((at, if index < place.turnings { &place.scope } else { scope }))
                    }
                    _ => {}
                }
            }
        }
        spent
    }
}

/// The time that `stage_overdue` counts.
fn counted(scope: &Scope, from: Timestamp, to: Timestamp) -> Span {
    if from < to { scope.counted(Rule::StageOverdue, from, to) } else { Span::ZERO }
}

/// The place of a stage in a pipeline.
fn place(pipeline: &Pipeline, stage: &StageId) -> Option<usize> {
    pipeline.stages.iter().position(|other| other.id == *stage)
}

impl Journey {
    /// The pipeline where it stands.
    pub fn pipeline(&self) -> Option<&PipelineId> {
        self.stage_history.pipeline.as_ref()
    }

    /// The stage where it stands.
    pub fn stage(&self) -> Option<&StageId> {
        self.stage_history.stage.as_ref()
    }

    /// It is in this pipeline, whatever its stage.
    pub fn set_pipeline(&mut self, pipeline: &PipelineId) {
        self.stage_history.pipeline = Some(pipeline.clone());
    }

    /// Its creation event was seen: what comes from now on is all there is.
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// Fields that are filled by now.
    pub fn fill(&mut self, fields: &[CompactString]) {
        for field in fields {
            if !self.stage_history.fields.contains(field) {
                self.stage_history.fields.push(field.clone());
            }
        }
    }

    /// An activity that was completed.
    pub fn complete(&mut self, kind: ActivityKind) {
        self.stage_history.activities |= 1 << kind as u8;
    }

    /// Whether a field is filled.
    pub fn is_filled(&self, field: &str) -> bool {
        self.stage_history.fields.iter().any(|filled| filled == field)
    }

    /// Whether an activity of a kind was completed.
    pub fn is_completed(&self, kind: &str) -> bool {
        let done = |known: &ActivityKind| self.stage_history.activities & (1 << *known as u8) != 0;
        ActivityKind::ALL.into_iter().find(|known| known.name() == kind).is_some_and(|known| done(&known))
    }

    /// When it came to the stage where it stands, for stage dates of snapshots.
    pub fn since(&self) -> Option<Timestamp> {
        self.stage_history.places.last().map(|place| place.since)
    }

    /// It came to a stage.
    pub fn arrive(&mut self, context: &mut TenantContext, arrival: StageEntry<'_>) {
        let norms = Arc::clone(&context.norms);
        let StageEntry { stage, from, at, .. } = arrival;
        let named = self.name_pipeline(context, arrival.pipeline);
        let id = arrival.pipeline.or(self.stage_history.pipeline.as_ref()).cloned();
        let pipeline = id.as_ref().and_then(|id| norms.pipelines.get(id));
        let first = self.stage_history.stage.is_none();
        let same_pipeline = id == self.stage_history.pipeline;
        let held = self.stage_history.stage.clone();
        if let Some(from) = from {
            let stage_ix = context.stage_ix(self.stage_history.pipeline.as_ref().or(id.as_ref()), Some(from));
            self.stage_history.visit(stage_ix, None);
        }
        if same_pipeline && self.stage_history.stage.as_ref() == Some(stage) {
            if named {
                self.stay_on(context);
            }
            return;
        }
        let to = pipeline.and_then(|pipeline| place(pipeline, stage));
        // The norms of the pipeline that it comes to judge how it came there.
        self.stage_history.pipeline.clone_from(&id);
        if first && !self.begun {
            self.stage_history.past = Some((from.cloned(), stage.clone()));
        }
        if let (Some(id), Some(pipeline), true) = (&id, pipeline, first) {
            self.take_past(context, id, pipeline);
        }
        if let (Some(id), Some(pipeline), Some(to), true) = (&id, pipeline, to, arrival.moved) {
            let held = held.as_ref().filter(|_| same_pipeline);
            let from = held.or(from.filter(|_| first && same_pipeline)).and_then(|from| place(pipeline, from));
            let skips = !first || arrival.from.is_some();
            self.moved(context, id, Move { pipeline, from, to, end: None, skips, visited: &[] });
        }
        self.leave(context, at, Resolution::LeftStage);
        self.stage_history.stage = Some(stage.clone());
        let stage_ix = context.stage_ix(self.stage_history.pipeline.as_ref(), Some(stage));
        self.stage_history.visit(stage_ix, Some(at));
        if let (Some(id), Some(pipeline), Some(to)) = (&id, pipeline, to) {
            self.stage_history.reach(context, id, pipeline, to, at);
        }
        let (scope, turnings) = (self.scope(context), self.stage_history.turnings.len());
        self.stage_history.places.push(StageVisit { stage_ix, since: at, scope, turnings });
        if self.open() {
            let reopened = self.stage_history.turnings.last().map_or(at, |turning| turning.at.max(at));
            self.stay(context, reopened);
        }
    }

    /// A good end is a move past the last stage.
    pub fn arrive_at_end(&mut self, context: &mut TenantContext, outcome: Outcome) {
        if !matches!(outcome, Outcome::Won | Outcome::Converted) || (self.stage_history.stage.is_none() && !self.begun)
        {
            return;
        }
        let norms = Arc::clone(&context.norms);
        let Some(id) = self.stage_history.pipeline.clone() else { return };
        if let Some(pipeline) = norms.pipelines.get(&id) {
            let to = pipeline.stages.len();
            self.moved(context, &id, Move { pipeline, from: None, to, end: Some(outcome), skips: true, visited: &[] });
        }
    }

    fn moved(&mut self, context: &mut TenantContext, id: &PipelineId, step: Move<'_>) {
        if context.acts {
            let mut has_visited = |stage: &Stage| {
                let stage_ix = context.stage_ix(Some(id), Some(&stage.id));
                self.stage_history.visited.iter().any(|(visited, _)| *visited == stage_ix)
            };
            let visited: Vec<bool> = step.pipeline.stages.iter().map(&mut has_visited).collect();
            self.judge(context, &Act::Moved(Move { visited: &visited, ..step }), self.who);
        }
    }

    /// What was before the first stage is unknown: it counts as visited, and as reached before all windows.
    fn take_past(&mut self, context: &mut TenantContext, id: &PipelineId, pipeline: &Pipeline) {
        let Some((from, first)) = &self.stage_history.past else { return };
        let known = from.as_ref().and_then(|from| place(pipeline, from)).map(|from| from + 1);
        let known = known.or(place(pipeline, first)).unwrap_or_default();
        for stage in &pipeline.stages[..known] {
            let stage_ix = context.stage_ix(Some(id), Some(&stage.id));
            self.stage_history.visit(stage_ix, None);
        }
        if let Some(last) = known.checked_sub(1) {
            self.stage_history.reach(context, id, pipeline, last, Timestamp::MIN);
        }
    }

    /// Its pipeline is named for the first time: what it did so far was done there. `true`: it stands in a stage.
    fn name_pipeline(&mut self, context: &mut TenantContext, named: Option<&PipelineId>) -> bool {
        let (None, Some(id)) = (&self.stage_history.pipeline, named) else { return false };
        self.stage_history.pipeline = Some(id.clone());
        if self.stage_history.visited.is_empty() {
            return false;
        }
        let norms = Arc::clone(&context.norms);
        let pipeline = norms.pipelines.get(id);
        let respot = |context: &mut TenantContext, stage_ix: u32| {
            let stage = context
                .stage_name(stage_ix)
                .filter(|(pipeline, _)| pipeline.as_str() == UNKNOWN)
                .map(|(_, stage)| stage.clone());
            stage.map(|stage| (context.stage_ix(Some(id), Some(&stage)), stage))
        };
        if let Some(pipeline) = pipeline {
            self.take_past(context, id, pipeline);
        }
        for index in 0..self.stage_history.visited.len() {
            let (stage_ix, entered) = self.stage_history.visited[index];
            let Some((stage_ix, stage)) = respot(context, stage_ix) else { continue };
            self.stage_history.visited[index].0 = stage_ix;
            if let Some(pipeline) = pipeline
                && let (Some(place), Some(at)) = (place(pipeline, &stage), entered)
            {
                self.stage_history.reach(context, id, pipeline, place, at);
            }
        }
        let scope = self.scope(context);
        for index in 0..self.stage_history.places.len() {
            if let Some((stage_ix, _)) = respot(context, self.stage_history.places[index].stage_ix) {
                self.stage_history.places[index].stage_ix = stage_ix;
            }
        }
        let turnings = self.stage_history.turnings.len();
        if let Some(place) = self.stage_history.places.last_mut() {
            (place.scope, place.turnings) = (scope, turnings);
        }
        self.stage_history.stage.is_some()
    }

    /// Takes over the name of its pipeline, if it had none, while it stays where it is.
    pub fn in_pipeline(&mut self, context: &mut TenantContext, named: Option<&PipelineId>) {
        if self.name_pipeline(context, named) {
            self.stay_on(context);
        }
    }

    /// The stay goes on under a limit that only now is known.
    fn stay_on(&mut self, context: &mut TenantContext) {
        if let Some(since) = self.stage_history.stay.as_ref().map(|stay| stay.since) {
            self.stay(context, since);
        }
    }

    /// Other norms are in force.
    pub(super) fn reload_stay(&mut self, context: &mut TenantContext) {
        let scope = self.scope(context);
        if let Some(place) = self.stage_history.taken().and_then(|stage_history| stage_history.places.last_mut()) {
            place.scope = scope;
        }
        self.stay_on(context);
    }

    /// Begins a stay in the present stage.
    pub(super) fn stay(&mut self, context: &mut TenantContext, since: Timestamp) {
        let Some(stage) = self.stage_history.stage.clone() else { return };
        let norms = Arc::clone(&context.norms);
        let stage_ix = context.stage_ix(self.stage_history.pipeline.as_ref(), Some(&stage));
        let listed = self.stage_history.pipeline.as_ref().and_then(|id| norms.pipelines.get(id));
        let listed = listed.and_then(|pipeline| Some(&pipeline.stages[place(pipeline, &stage)?]));
        let limit = listed.and_then(|stage| stage.max_time).and_then(|max| {
            let (scope, limit) = (self.scope(context), max.span);
            let clock = scope.clock(Rule::StageOverdue);
            let before = self.stage_history.spent(stage_ix, since);
            let due = if before >= limit { since } else { scope.deadline(clock, since, Span(limit.0 - before.0))? };
            context.wake(due, Timer::Journey(self.number));
            Some(Limit { scope, due, before, limit })
        });
        let early = listed.is_some_and(|stage| stage.early);
        self.stage_history.stay = Some(Stay { stage_ix, since, limit, early, overdue: false });
        self.change(context, JourneyChange::Came { at: since });
    }

    /// It was closed, or opened again.
    pub(super) fn order(&mut self, context: &mut TenantContext, open: bool) {
        let reopened = open.then(|| self.scope(context));
        self.stage_history.turnings.push(OpenChange { at: context.now, reopened });
    }

    /// Ends the stay, if there is one; also of a closed one it may become known only now that it had left in time.
    pub(super) fn leave(&mut self, context: &mut TenantContext, at: Timestamp, resolution: Resolution) {
        if let Some(stage_history) = self.stage_history.taken() {
            stage_history.stay = None;
        }
        self.change(context, JourneyChange::Left { at, resolution });
    }

    /// The limit of the present stay, if the stage has one.
    pub fn stay_limit(&self) -> Option<Limit> {
        self.stage_history.stay.as_ref()?.limit.clone()
    }

    /// Whether it has been in its stage for too long, where, and whether that stage counts as early.
    pub(super) fn overdue(&self) -> Option<(u32, bool)> {
        self.stage_history.stay.as_ref().filter(|stay| stay.overdue).map(|stay| (stay.stage_ix, stay.early))
    }

    pub(super) fn ring_stay(&mut self, now: Timestamp) {
        if let Some(stay) = self.stage_history.taken().and_then(|stage_history| stage_history.stay.as_mut()) {
            stay.overdue |= stay.limit.as_ref().is_some_and(|limit| limit.due <= now);
        }
    }
}
