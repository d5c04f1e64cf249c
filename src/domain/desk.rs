//! Owns what every rule of a tenant works with: the instant, the norms, the managers, the timers and the effects so
//! far. It is passed down, so that journeys and contacts need not know each other.

use super::effect::{Effect, Fact, Measure, Spot, StateKey, Who};
use super::id::{PipelineId, StageId, TenantId, UNKNOWN};
use super::norms::{Norms, Place, Scope};
use super::people::People;
use super::time::Timestamp;
use compact_str::CompactString;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// What a timer wakes. At one instant timers go in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The first-response clock of the entity of this number.
    FirstResponse(u32),
    /// The missed calls of the contact of this number.
    MissedCalls(u32),
}

/// Department, pipeline and source.
type ScopeKey = (CompactString, CompactString, CompactString);

/// What every rule of a tenant works with.
#[derive(Debug)]
pub struct Desk {
    /// The company.
    pub tenant: TenantId,
    /// The instant that is being processed.
    pub now: Timestamp,
    /// The norms in force.
    pub norms: Arc<Norms>,
    /// The managers.
    pub people: People,
    /// What has come of it so far.
    pub out: Vec<Effect>,
    timers: BinaryHeap<Reverse<(Timestamp, Timer)>>,
    scopes: FxHashMap<ScopeKey, Arc<Scope>>,
    spots: Numbered<(PipelineId, StageId)>,
    currencies: Numbered<CompactString>,
}

/// Numbers given in order of appearance.
#[derive(Debug)]
struct Numbered<T>(FxHashMap<T, u32>);

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    /// The number of `thing`, and whether it is new.
    fn number(&mut self, thing: T) -> (u32, bool) {
        let next = self.0.len() as u32;
        let number = *self.0.entry(thing).or_insert(next);
        (number, number == next)
    }
}

impl Desk {
    /// The desk of a tenant that nothing has happened to.
    pub fn new(tenant: TenantId, norms: Arc<Norms>) -> Self {
        Self {
            tenant,
            now: Timestamp::MIN,
            norms,
            people: People::default(),
            out: Vec::new(),
            timers: BinaryHeap::new(),
            scopes: FxHashMap::default(),
            spots: Numbered(FxHashMap::default()),
            currencies: Numbered(FxHashMap::default()),
        }
    }

    /// States a fact dated `at`.
    pub fn fact(&mut self, at: Timestamp, who: Who, times: i32, measure: Measure) {
        self.out.push(Effect::Fact(Fact { known: self.now, at, who, times, measure }));
    }

    /// Names a state entry that changed.
    pub fn touched(&mut self, key: StateKey) {
        self.out.push(Effect::Touched(key));
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
    pub fn scope(&mut self, who: Who, pipeline: Option<&str>, source: Option<&str>) -> Arc<Scope> {
        let department = self.people.department(who);
        if self.norms.overrides.is_empty() {
            // One scope for all: the common case needs no key.
            return Arc::clone(self.scopes.entry(Default::default()).or_insert_with(|| {
                Arc::new(self.norms.scope(Place { tenant: self.tenant.as_str(), department, pipeline, source }))
            }));
        }
        let key = (
            CompactString::from(department),
            CompactString::from(pipeline.unwrap_or_default()),
            CompactString::from(source.unwrap_or_default()),
        );
        Arc::clone(self.scopes.entry(key).or_insert_with(|| {
            Arc::new(self.norms.scope(Place { tenant: self.tenant.as_str(), department, pipeline, source }))
        }))
    }

    /// The number of a pipeline and stage, announced on first sight.
    pub fn spot(&mut self, pipeline: Option<&PipelineId>, stage: Option<&StageId>) -> u32 {
        let pipeline = pipeline.cloned().unwrap_or_else(|| UNKNOWN.into());
        let stage = stage.cloned().unwrap_or_else(|| UNKNOWN.into());
        let (number, new) = self.spots.number((pipeline.clone(), stage.clone()));
        if new {
            self.out.push(Effect::Spot(Box::new(Spot { number, pipeline, stage })));
        }
        number
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
