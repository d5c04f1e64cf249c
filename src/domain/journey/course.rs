//! Owns the course of a lead or deal through its pipeline: stages visited and reached, the time spent in each, and the
//! stay in the present one.
//!
//! Definition. The time in a stage is the sum over all stays in it while the entity is open, each on the clock of its own
//! norms. It is worked out from the places and turnings known so far, as a snapshot may date a move before a closing. A
//! pipeline that is named for the first time while the stage stays is no move. What was before an entity was first
//! heard of is unknown, and is taken for well done.

use super::super::alert::Resolution;
use super::super::desk::{Desk, Timer};
use super::super::event::{ActivityKind, Outcome};
use super::super::id::{PipelineId, StageId, UNKNOWN};
use super::super::norms::{Pipeline, Scope, Stage};
use super::super::rare::Blank;
use super::super::rule::{Deed, Move, Rule};
use super::super::time::{Span, Timestamp};
use super::{Change, Journey};
use compact_str::CompactString;
use std::sync::Arc;

/// Where an entity has been. Most leads of sources without stages have no course, and pay nothing for it.
#[derive(Debug, Default)]
pub(super) struct Course {
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
    places: Vec<Place>,
    turnings: Vec<Turning>,
    stay: Option<Stay>,
    fields: Vec<CompactString>,
    /// A bit for each kind of activity completed.
    activities: u8,
    /// What rules tell once of a spot.
    told: Vec<(Rule, u32)>,
}

impl Blank for Course {
    fn blank() -> &'static Self {
        static NOWHERE: Course = Course {
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
struct Place {
    spot: u32,
    since: Timestamp,
    scope: Arc<Scope>,
    /// How many turnings were known then.
    turnings: usize,
}

/// A closing, or a reopening with the norms of that moment.
#[derive(Debug)]
struct Turning {
    at: Timestamp,
    reopened: Option<Arc<Scope>>,
}

/// The stay in the present stage of an open entity.
#[derive(Debug)]
struct Stay {
    spot: u32,
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
pub struct Arrival<'a> {
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

impl Course {
    /// Notes what a rule tells once of a spot. `false`: it was told.
    pub(super) fn tell_once(&mut self, rule: Rule, spot: u32) -> bool {
        let new = !self.told.contains(&(rule, spot));
        if new {
            self.told.push((rule, spot));
        }
        new
    }

    /// The spots reached at a known instant, and whether it went on from there or was won.
    pub(super) fn reached(&self, won: bool) -> Vec<(u32, Timestamp, bool)> {
        let known = self.reached.iter().filter(|(_, at, _)| *at > Timestamp::MIN);
        known.map(|(spot, at, passed)| (*spot, *at, *passed || won)).collect()
    }

    fn visit(&mut self, spot: u32, entered: Option<Timestamp>) {
        match self.visited.iter_mut().find(|(visited, _)| *visited == spot) {
            Some((_, known)) => *known = known.or(entered),
            None => self.visited.push((spot, entered)),
        }
    }

    /// It reached the stage at `place` of a pipeline and all before it.
    fn reach(&mut self, desk: &mut Desk, id: &PipelineId, pipeline: &Pipeline, place: usize, at: Timestamp) {
        let mut before: Option<usize> = None;
        for stage in pipeline.stages.iter().take(place + 1) {
            let spot = desk.spot(Some(id), Some(&stage.id));
            if let Some(before) = before {
                self.reached[before].2 = true;
            }
            before = Some(match self.reached.iter().position(|(reached, ..)| *reached == spot) {
                Some(known) => {
                    self.reached[known].1 = self.reached[known].1.min(at);
                    known
                }
                None => {
                    self.reached.push((spot, at, false));
                    self.reached.len() - 1
                }
            });
        }
    }

    /// The time in a spot before `until`, while it was open.
    fn spent(&self, spot: u32, until: Timestamp) -> Span {
        let mut spent = Span::ZERO;
        for (index, place) in self.places.iter().enumerate().filter(|(_, place)| place.spot == spot) {
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
        self.course.pipeline.as_ref()
    }

    /// The stage where it stands.
    pub fn stage(&self) -> Option<&StageId> {
        self.course.stage.as_ref()
    }

    /// It is in this pipeline, whatever its stage.
    pub fn set_pipeline(&mut self, pipeline: &PipelineId) {
        self.course.pipeline = Some(pipeline.clone());
    }

    /// Its creation event was seen: what comes from now on is all there is.
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// Fields that are filled by now.
    pub fn fill(&mut self, fields: &[CompactString]) {
        for field in fields {
            if !self.course.fields.contains(field) {
                self.course.fields.push(field.clone());
            }
        }
    }

    /// An activity that was completed.
    pub fn complete(&mut self, kind: ActivityKind) {
        self.course.activities |= 1 << kind as u8;
    }

    /// Whether a field is filled.
    pub fn is_filled(&self, field: &str) -> bool {
        self.course.fields.iter().any(|filled| filled == field)
    }

    /// Whether an activity of a kind was completed.
    pub fn is_completed(&self, kind: &str) -> bool {
        let done = |known: &ActivityKind| self.course.activities & (1 << *known as u8) != 0;
        ActivityKind::ALL.into_iter().find(|known| known.name() == kind).is_some_and(|known| done(&known))
    }

    /// When it came to the stage where it stands, for stage dates of snapshots.
    pub fn since(&self) -> Option<Timestamp> {
        self.course.places.last().map(|place| place.since)
    }

    /// It came to a stage.
    pub fn arrive(&mut self, desk: &mut Desk, arrival: Arrival<'_>) {
        let norms = Arc::clone(&desk.norms);
        let Arrival { stage, from, at, .. } = arrival;
        let named = self.name_pipeline(desk, arrival.pipeline);
        let id = arrival.pipeline.or(self.course.pipeline.as_ref()).cloned();
        let pipeline = id.as_ref().and_then(|id| norms.pipelines.get(id));
        let first = self.course.stage.is_none();
        let same_pipeline = id == self.course.pipeline;
        let held = self.course.stage.clone();
        if let Some(from) = from {
            let spot = desk.spot(self.course.pipeline.as_ref().or(id.as_ref()), Some(from));
            self.course.visit(spot, None);
        }
        if same_pipeline && self.course.stage.as_ref() == Some(stage) {
            if named {
                self.stay_on(desk);
            }
            return;
        }
        let to = pipeline.and_then(|pipeline| place(pipeline, stage));
        // The norms of the pipeline that it comes to judge how it came there.
        self.course.pipeline.clone_from(&id);
        if first && !self.begun {
            self.course.past = Some((from.cloned(), stage.clone()));
        }
        if let (Some(id), Some(pipeline), true) = (&id, pipeline, first) {
            self.take_past(desk, id, pipeline);
        }
        if let (Some(id), Some(pipeline), Some(to), true) = (&id, pipeline, to, arrival.moved) {
            let held = held.as_ref().filter(|_| same_pipeline);
            let from = held.or(from.filter(|_| first && same_pipeline)).and_then(|from| place(pipeline, from));
            let skips = !first || arrival.from.is_some();
            self.moved(desk, id, Move { pipeline, from, to, end: None, skips, visited: &[] });
        }
        self.leave(desk, at, Resolution::LeftStage);
        self.course.stage = Some(stage.clone());
        let spot = desk.spot(self.course.pipeline.as_ref(), Some(stage));
        self.course.visit(spot, Some(at));
        if let (Some(id), Some(pipeline), Some(to)) = (&id, pipeline, to) {
            self.course.reach(desk, id, pipeline, to, at);
        }
        let (scope, turnings) = (self.scope(desk), self.course.turnings.len());
        self.course.places.push(Place { spot, since: at, scope, turnings });
        if self.open() {
            let reopened = self.course.turnings.last().map_or(at, |turning| turning.at.max(at));
            self.stay(desk, reopened);
        }
    }

    /// A good end is a move past the last stage.
    pub fn arrive_at_end(&mut self, desk: &mut Desk, outcome: Outcome) {
        if !matches!(outcome, Outcome::Won | Outcome::Converted) || (self.course.stage.is_none() && !self.begun) {
            return;
        }
        let norms = Arc::clone(&desk.norms);
        let Some(id) = self.course.pipeline.clone() else { return };
        if let Some(pipeline) = norms.pipelines.get(&id) {
            let to = pipeline.stages.len();
            self.moved(desk, &id, Move { pipeline, from: None, to, end: Some(outcome), skips: true, visited: &[] });
        }
    }

    fn moved(&mut self, desk: &mut Desk, id: &PipelineId, step: Move<'_>) {
        if desk.deeds {
            let mut has_visited = |stage: &Stage| {
                let spot = desk.spot(Some(id), Some(&stage.id));
                self.course.visited.iter().any(|(visited, _)| *visited == spot)
            };
            let visited: Vec<bool> = step.pipeline.stages.iter().map(&mut has_visited).collect();
            self.judge(desk, &Deed::Moved(Move { visited: &visited, ..step }), self.who);
        }
    }

    /// What was before the first stage is unknown: it counts as visited, and as reached before all windows.
    fn take_past(&mut self, desk: &mut Desk, id: &PipelineId, pipeline: &Pipeline) {
        let Some((from, first)) = &self.course.past else { return };
        let known = from.as_ref().and_then(|from| place(pipeline, from)).map(|from| from + 1);
        let known = known.or(place(pipeline, first)).unwrap_or_default();
        for stage in &pipeline.stages[..known] {
            let spot = desk.spot(Some(id), Some(&stage.id));
            self.course.visit(spot, None);
        }
        if let Some(last) = known.checked_sub(1) {
            self.course.reach(desk, id, pipeline, last, Timestamp::MIN);
        }
    }

    /// Its pipeline is named for the first time: what it did so far was done there. `true`: it stands in a stage.
    fn name_pipeline(&mut self, desk: &mut Desk, named: Option<&PipelineId>) -> bool {
        let (None, Some(id)) = (&self.course.pipeline, named) else { return false };
        self.course.pipeline = Some(id.clone());
        if self.course.visited.is_empty() {
            return false;
        }
        let norms = Arc::clone(&desk.norms);
        let pipeline = norms.pipelines.get(id);
        let respot = |desk: &mut Desk, spot: u32| {
            let stage = desk
                .spot_name(spot)
                .filter(|(pipeline, _)| pipeline.as_str() == UNKNOWN)
                .map(|(_, stage)| stage.clone());
            stage.map(|stage| (desk.spot(Some(id), Some(&stage)), stage))
        };
        if let Some(pipeline) = pipeline {
            self.take_past(desk, id, pipeline);
        }
        for index in 0..self.course.visited.len() {
            let (spot, entered) = self.course.visited[index];
            let Some((spot, stage)) = respot(desk, spot) else { continue };
            self.course.visited[index].0 = spot;
            if let Some(pipeline) = pipeline
                && let (Some(place), Some(at)) = (place(pipeline, &stage), entered)
            {
                self.course.reach(desk, id, pipeline, place, at);
            }
        }
        let scope = self.scope(desk);
        for index in 0..self.course.places.len() {
            if let Some((spot, _)) = respot(desk, self.course.places[index].spot) {
                self.course.places[index].spot = spot;
            }
        }
        let turnings = self.course.turnings.len();
        if let Some(place) = self.course.places.last_mut() {
            (place.scope, place.turnings) = (scope, turnings);
        }
        self.course.stage.is_some()
    }

    /// Takes over the name of its pipeline, if it had none, while it stays where it is.
    pub fn in_pipeline(&mut self, desk: &mut Desk, named: Option<&PipelineId>) {
        if self.name_pipeline(desk, named) {
            self.stay_on(desk);
        }
    }

    /// The stay goes on under a limit that only now is known.
    fn stay_on(&mut self, desk: &mut Desk) {
        if let Some(since) = self.course.stay.as_ref().map(|stay| stay.since) {
            self.stay(desk, since);
        }
    }

    /// Other norms are in force.
    pub(super) fn reload_stay(&mut self, desk: &mut Desk) {
        let scope = self.scope(desk);
        if let Some(place) = self.course.taken().and_then(|course| course.places.last_mut()) {
            place.scope = scope;
        }
        self.stay_on(desk);
    }

    /// Begins a stay in the present stage.
    pub(super) fn stay(&mut self, desk: &mut Desk, since: Timestamp) {
        let Some(stage) = self.course.stage.clone() else { return };
        let norms = Arc::clone(&desk.norms);
        let spot = desk.spot(self.course.pipeline.as_ref(), Some(&stage));
        let listed = self.course.pipeline.as_ref().and_then(|id| norms.pipelines.get(id));
        let listed = listed.and_then(|pipeline| Some(&pipeline.stages[place(pipeline, &stage)?]));
        let limit = listed.and_then(|stage| stage.max_time).and_then(|max| {
            let (scope, limit) = (self.scope(desk), max.span);
            let clock = scope.clock(Rule::StageOverdue);
            let before = self.course.spent(spot, since);
            let due = if before >= limit { since } else { scope.deadline(clock, since, Span(limit.0 - before.0))? };
            desk.wake(due, Timer::Journey(self.number));
            Some(Limit { scope, due, before, limit })
        });
        let early = listed.is_some_and(|stage| stage.early);
        self.course.stay = Some(Stay { spot, since, limit, early, overdue: false });
        self.change(desk, Change::Came { at: since });
    }

    /// It was closed, or opened again.
    pub(super) fn turn(&mut self, desk: &mut Desk, open: bool) {
        let reopened = open.then(|| self.scope(desk));
        self.course.turnings.push(Turning { at: desk.now, reopened });
    }

    /// Ends the stay, if there is one; also of a closed one it may become known only now that it had left in time.
    pub(super) fn leave(&mut self, desk: &mut Desk, at: Timestamp, resolution: Resolution) {
        if let Some(course) = self.course.taken() {
            course.stay = None;
        }
        self.change(desk, Change::Left { at, resolution });
    }

    /// The limit of the present stay, if the stage has one.
    pub fn stay_limit(&self) -> Option<Limit> {
        self.course.stay.as_ref()?.limit.clone()
    }

    /// Whether it has been in its stage for too long, where, and whether that stage counts as early.
    pub(super) fn overdue(&self) -> Option<(u32, bool)> {
        self.course.stay.as_ref().filter(|stay| stay.overdue).map(|stay| (stay.spot, stay.early))
    }

    pub(super) fn ring_stay(&mut self, now: Timestamp) {
        if let Some(stay) = self.course.taken().and_then(|course| course.stay.as_mut()) {
            stay.overdue |= stay.limit.as_ref().is_some_and(|limit| limit.due <= now);
        }
    }
}
