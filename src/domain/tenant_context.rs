//! Owns what every rule of a tenant works with: the instant, the norms, the managers, the timers and the effects so
//! far. It is passed down, so that journeys and contacts need not know each other.

use super::alert::Alert;
use super::effect::{Effect, Fact, ManagerIx, Measure, StageDeclaration};
use super::event::{EventOrder, Topic};
use super::id::{DepartmentId, ManagerId, PipelineId, StageId, TenantId, UNKNOWN};
use super::norms::{Norms, Scope, ScopeQuery};
use super::people::People;
use super::time::Timestamp;
use compact_str::CompactString;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use uuid::Uuid;

/// What a timer wakes. At one instant timers go in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The clocks of the entity of this number.
    Journey(u32),
    /// The missed calls of the contact of this number.
    MissedCalls(u32),
    /// The unanswered messages of the contact of this number.
    Messages(u32),
    /// The silence of a source topic.
    Silence(Topic),
    /// The end of a manager's day: his interactions are picked for review.
    Reviews(ManagerIx),
}

/// Department, pipeline and source.
type ScopeCacheKey = (CompactString, CompactString, CompactString);

/// What every rule of a tenant works with.
#[derive(Debug)]
pub struct TenantContext {
    /// The company.
    pub tenant: TenantId,
    /// The instant that is being processed.
    pub now: Timestamp,
    /// The place of what is being processed in the order of effect.
    pub order: EventOrder,
    /// The norms in force.
    pub norms: Arc<Norms>,
    /// Whether any rule about acts is named in them.
    pub acts: bool,
    /// The managers.
    pub people: People,
    /// The first event seen of the tenant: what lies before it is unknown.
    pub first_event: Option<Timestamp>,
    /// What has come of it so far.
    pub out: Vec<Effect>,
    timers: Timers,
    scopes: FxHashMap<ScopeCacheKey, Arc<Scope>>,
    stages: Numbered<(PipelineId, StageId)>,
    currencies: Numbered<CompactString>,
    /// Acts that were told at the instant that is being processed: of two alike the first is told.
    raised: Vec<Uuid>,
    /// While a past is played again: what was averted in it.
    averted: Option<Vec<Alert>>,
}

type Timers = BinaryHeap<Reverse<(Timestamp, Timer)>>;

/// What is put aside while a past is played again.
#[derive(Debug)]
pub struct SuspendedContext {
    now: Timestamp,
    order: EventOrder,
    out: Vec<Effect>,
    timers: Timers,
}

/// Numbers given in order of appearance.
#[derive(Debug)]
struct Numbered<T> {
    numbers: FxHashMap<T, u32>,
    names: Vec<T>,
}

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    fn new() -> Self {
        Self { numbers: FxHashMap::default(), names: Vec::new() }
    }

    /// The number of `thing`, and whether it is new.
    fn number(&mut self, thing: T) -> (u32, bool) {
        if let Some(number) = self.numbers.get(&thing) {
            return (*number, false);
        }
        let number = self.names.len() as u32;
        self.names.push(thing.clone());
        self.numbers.insert(thing, number);
        (number, true)
    }
}

impl TenantContext {
    /// The desk of a tenant that nothing has happened to.
    pub fn new(tenant: TenantId, norms: Arc<Norms>) -> Self {
        Self {
            tenant,
            now: Timestamp::MIN,
            order: EventOrder::deadline(Timestamp::MIN),
            acts: norms.judges_acts(),
            norms,
            people: People::default(),
            first_event: None,
            out: Vec::new(),
            timers: BinaryHeap::new(),
            scopes: FxHashMap::default(),
            stages: Numbered::new(),
            currencies: Numbered::new(),
            raised: Vec::new(),
            averted: None,
        }
    }

    /// Other norms are in force from now on.
    pub fn set_norms(&mut self, norms: Arc<Norms>) {
        self.acts = norms.judges_acts();
        self.norms = norms;
        self.scopes.clear();
    }

    /// Goes on to an event or a deadline.
    pub fn advance_to(&mut self, order: EventOrder) {
        if self.now != order.at {
            self.raised.clear();
        }
        self.now = order.at;
        self.order = order;
    }

    /// Takes note of an act that is told. `false`: one like it was told at this very instant.
    pub fn raise(&mut self, alert: Uuid) -> bool {
        let new = !self.raised.contains(&alert);
        if new {
            self.raised.push(alert);
        }
        new
    }

    /// Puts the present aside, to play a past again.
    pub fn put_aside(&mut self) -> SuspendedContext {
        self.averted = Some(Vec::new());
        self.raised.clear();
        let (out, timers) = (std::mem::take(&mut self.out), std::mem::take(&mut self.timers));
        SuspendedContext { now: self.now, order: self.order, out, timers }
    }

    /// Whether a past is played again.
    pub fn is_replaying(&self) -> bool {
        self.averted.is_some()
    }

    /// Notes what was averted in the past that is played again.
    pub fn averted(&mut self, alert: Alert) {
        self.averted.get_or_insert_default().push(alert);
    }

    /// Lets go of the timers of a past that did not come true.
    pub fn drop_timers(&mut self) {
        self.timers.clear();
    }

    /// Hands out what came of the past that was played, and what was averted in it.
    pub fn take_played(&mut self) -> (Vec<Effect>, Vec<Alert>) {
        self.raised.clear();
        (std::mem::take(&mut self.out), self.averted.as_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Back to the present; timers of the past that was played last stay.
    pub fn take_up(&mut self, mut aside: SuspendedContext) {
        aside.timers.append(&mut self.timers);
        self.timers = aside.timers;
        self.out = aside.out;
        self.now = aside.now;
        self.order = aside.order;
        self.averted = None;
    }

    /// The manager and his department as an alert names them: nobody has neither.
    pub fn named(&self, who: ManagerIx) -> (Option<ManagerId>, Option<DepartmentId>) {
        let manager = self.people.id(who).cloned();
        let department = manager.is_some().then(|| self.people.department(who, self.order).into());
        (manager, department)
    }

    /// States a fact dated `at`.
    pub fn fact(&mut self, at: Timestamp, who: ManagerIx, times: i32, measure: Measure) {
        self.out.push(Effect::Fact(Fact { known: self.now, at, who, times, measure }));
    }

    /// Wakes `timer` at `at`, or at once if that is past.
    pub fn wake(&mut self, at: Timestamp, timer: Timer) {
        self.timers.push(Reverse((at.max(self.now), timer)));
    }

    /// The instant of the next timer.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next timer if it is due by `until`.
    pub fn due(&mut self, until: Timestamp) -> Option<(Timestamp, Timer)> {
        if self.next_timer()? > until {
            return None;
        }
        self.timers.pop().map(|Reverse(due)| due)
    }

    /// The norms for a clock that starts now: those of the responsible's department, the pipeline and the source.
    pub fn scope(&mut self, who: ManagerIx, pipeline: Option<&str>, source: Option<&str>) -> Arc<Scope> {
        let department = self.people.department(who, self.order);
        if self.norms.overrides.is_empty() {
            // One scope for all: the common case needs no key.
            return Arc::clone(self.scopes.entry(Default::default()).or_insert_with(|| {
                Arc::new(self.norms.scope(ScopeQuery { tenant: self.tenant.as_str(), department, pipeline, source }))
            }));
        }
        let key = (
            CompactString::from(department),
            CompactString::from(pipeline.unwrap_or_default()),
            CompactString::from(source.unwrap_or_default()),
        );
        Arc::clone(self.scopes.entry(key).or_insert_with(|| {
            Arc::new(self.norms.scope(ScopeQuery { tenant: self.tenant.as_str(), department, pipeline, source }))
        }))
    }

    /// The number of a pipeline and stage, announced on first sight.
    pub fn stage_ix(&mut self, pipeline: Option<&PipelineId>, stage: Option<&StageId>) -> u32 {
        let pipeline = pipeline.cloned().unwrap_or_else(|| UNKNOWN.into());
        let stage = stage.cloned().unwrap_or_else(|| UNKNOWN.into());
        let (number, new) = self.stages.number((pipeline.clone(), stage.clone()));
        if new {
            self.out.push(Effect::StageDeclaration(Box::new(StageDeclaration { number, pipeline, stage })));
        }
        number
    }

    /// The pipeline and stage of a number.
    pub fn stage_name(&self, number: u32) -> Option<&(PipelineId, StageId)> {
        self.stages.names.get(number as usize)
    }

    /// The number of a currency, announced on first sight.
    pub fn currency(&mut self, code: Option<&CompactString>) -> u32 {
        let code = code.cloned().unwrap_or_else(|| UNKNOWN.into());
        let (number, new) = self.currencies.number(code.clone());
        if new {
            self.out.push(Effect::Currency(number, code));
        }
        number
    }
}
