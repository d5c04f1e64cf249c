//! Owns the context in which the rules of a tenant run: current event time, norms, managers, timers and pending
//! effects. It is passed as an argument, so that journeys and contacts do not depend on each other.

pub mod departments;
pub mod origins;
pub mod people;

use crate::domain::alert::{Alert, Status};
use crate::domain::change::{Act, Change, JourneyChange};
use crate::domain::context::departments::Departments;
use crate::domain::context::origins::Origins;
use crate::domain::context::people::People;
use crate::domain::effect::{Effect, StageDeclaration};
use crate::domain::event::{EventOrder, Position};
use crate::domain::figures::pane::{Fact, Measure};
use crate::domain::figures::table::{MAX_CURRENCIES, MAX_STAGES};
use crate::domain::id::{DepartmentId, ManagerId, PipelineId, StageId, TenantId, UNKNOWN};
use crate::domain::identity::{IgnoredContacts, Keyed};
use crate::domain::index::{ArenaIndex, ContactIx, CurrencyIx, JourneyIx, ManagerIx, StageIx};
use crate::domain::mem::seeded::{SeededMap, SeededSet};
use crate::domain::norms::{Norms, Scope, ScopeQuery};
use crate::domain::source::Topic;
use crate::domain::time::Timestamp;
use compact_str::CompactString;
use rustc_hash::FxHashSet;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use uuid::Uuid;

/// The target of a timer. Timers due at the same instant fire in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The clocks of the journey with this index.
    Journey(JourneyIx),
    /// The missed calls of the contact with this index, from the one with this date on.
    MissedCalls(ContactIx, Timestamp),
    /// The unanswered messages of the contact with this index, from the one with this date on.
    Messages(ContactIx, Timestamp),
    /// The silence of a source topic.
    Silence(Topic),
    /// The end of a manager's day, when interactions are sampled for review.
    Reviews(ManagerIx),
}

/// The manager if an override names the manager, department, pipeline and source.
type ScopeCacheKey = (ManagerIx, CompactString, CompactString, CompactString);

/// The context in which the rules of a tenant run.
#[derive(Debug)]
pub struct TenantContext {
    /// The tenant.
    pub tenant: TenantId,
    /// The current event time.
    pub now: Timestamp,
    /// The position of the current event or timer in event order.
    pub order: EventOrder,
    /// The position of the event applied last; breaks ties between acts with the same date.
    pub position: Position,
    /// The norms in force.
    pub norms: Arc<Norms>,
    /// The function that makes keys of contacts.
    pub contact_keys: Keyed,
    /// The contacts of the tenant that are not customers; `None` if there are none.
    pub ignored_contacts: Option<Arc<IgnoredContacts>>,
    /// Whether texts return missed calls under any of the norms.
    pub texts_return: bool,
    /// Whether leads need a next step under any of the norms.
    pub leads_need_steps: bool,
    /// Whether the norms contain any act rule: without one, no acts are recorded.
    pub acts: bool,
    /// The managers.
    pub people: People,
    /// The departments.
    pub departments: Departments,
    /// Event time of the tenant's first event; what happened before is unknown.
    pub first_event: Option<Timestamp>,
    /// Event time of the tenant's first plan; before it nobody is expected to plan.
    pub first_plan: Option<Timestamp>,
    /// Effects emitted and not yet taken.
    pub effects: Vec<Effect>,
    /// What facts are counted for, while that is asked.
    pub origins: Option<Box<Origins>>,
    /// Changes of the current journey to which the rules have not reacted yet.
    changes: Vec<Change>,
    timers: Timers,
    scopes: SeededMap<ScopeCacheKey, Arc<Scope>>,
    /// The single scope of norms without overrides.
    only_scope: Option<Arc<Scope>>,
    /// The managers that overrides name.
    named_managers: FxHashSet<ManagerId>,
    stages: Interner<StageIx, (PipelineId, StageId)>,
    currencies: Interner<CurrencyIx, CompactString>,
    /// How many stages and currencies were first used beyond their bounds: their figures are summed up as `other`.
    pub summed_up: [u64; 2],
    /// Act violations raised at the current instant; duplicates are suppressed.
    raised: Vec<Uuid>,
    /// During a replay: alerts that were averted.
    averted: Option<Vec<Alert>>,
    /// Retracted alerts: nothing more is published about them.
    retracted: Retracted,
    /// While a case is recorded: the statuses that it publishes.
    statuses: Option<Vec<Alert>>,
}

/// Maximum number of retracted alerts that are remembered.
const MAX_RETRACTED: usize = 1000;

/// The last retracted alerts.
#[derive(Debug, Default)]
struct Retracted {
    in_order: VecDeque<Uuid>,
    ids: SeededSet<Uuid>,
}

impl Retracted {
    /// Adds an alert, and forgets the first one if there are too many. Returns `false` if it was there.
    fn insert(&mut self, alert: Uuid) -> bool {
        let new = self.ids.insert(alert);
        if new {
            if self.in_order.len() == MAX_RETRACTED {
                self.in_order.pop_front().map(|first| self.ids.remove(&first));
            }
            self.in_order.push_back(alert);
        }
        new
    }
}

type Timers = BinaryHeap<Reverse<(Timestamp, Timer)>>;

/// The part of the context that is set aside during a replay.
#[derive(Debug)]
pub struct SuspendedContext {
    now: Timestamp,
    order: EventOrder,
    effects: Vec<Effect>,
    timers: Timers,
    raised: Vec<Uuid>,
    averted: Option<Vec<Alert>>,
}

/// Assigns indices in order of first appearance.
#[derive(Debug)]
struct Interner<I, T> {
    indices: SeededMap<T, I>,
    items: Vec<T>,
}

impl<I: ArenaIndex, T: Clone + Eq + std::hash::Hash> Interner<I, T> {
    fn new() -> Self {
        Self { indices: SeededMap::default(), items: Vec::new() }
    }

    /// The index of `item`, and whether it is new.
    fn intern(&mut self, item: T) -> (I, bool) {
        if let Some(ix) = self.indices.get(&item) {
            return (*ix, false);
        }
        let ix = I::new(self.items.len() as u32);
        self.items.push(item.clone());
        self.indices.insert(item, ix);
        (ix, true)
    }
}

impl TenantContext {
    /// The context of a tenant without events.
    pub fn new(tenant: TenantId, norms: Arc<Norms>, acts: bool) -> Self {
        let named_managers = norms.named_managers(&tenant);
        Self {
            contact_keys: Keyed::new(norms.secret(&tenant)),
            ignored_contacts: norms.ignored_contacts(&tenant).cloned(),
            texts_return: norms.texts_return(),
            leads_need_steps: norms.leads_need_steps(),
            tenant,
            now: Timestamp::MIN,
            order: EventOrder::deadline(Timestamp::MIN),
            position: Position::MIN,
            acts,
            norms,
            people: People::default(),
            departments: Departments::default(),
            first_event: None,
            first_plan: None,
            effects: Vec::new(),
            origins: None,
            changes: Vec::new(),
            timers: BinaryHeap::new(),
            scopes: SeededMap::default(),
            only_scope: None,
            named_managers,
            stages: Interner::new(),
            currencies: Interner::new(),
            raised: Vec::new(),
            averted: None,
            retracted: Retracted::default(),
            summed_up: [0; 2],
            statuses: None,
        }
    }

    /// Replaces the norms.
    pub fn set_norms(&mut self, norms: Arc<Norms>, acts: bool) {
        self.acts = acts;
        self.contact_keys = Keyed::new(norms.secret(&self.tenant));
        self.ignored_contacts = norms.ignored_contacts(&self.tenant).cloned();
        self.texts_return = norms.texts_return();
        self.leads_need_steps = norms.leads_need_steps();
        self.named_managers = norms.named_managers(&self.tenant);
        self.norms = norms;
        self.scopes.clear();
        self.only_scope = None;
    }

    /// Advances to an event or a timer.
    pub fn advance_to(&mut self, order: EventOrder) {
        if self.now != order.at {
            self.raised.clear();
        }
        self.now = order.at;
        self.order = order;
        self.origins.iter_mut().for_each(|origins| origins.current = Default::default());
    }

    /// Marks an act violation as raised. Returns `false` if the same one was raised at this instant.
    pub fn mark_raised(&mut self, alert: Uuid) -> bool {
        let new = !self.raised.contains(&alert);
        if new {
            self.raised.push(alert);
        }
        new
    }

    /// Sets the current state aside for a replay.
    pub fn suspend(&mut self) -> SuspendedContext {
        let averted = self.averted.replace(Vec::new());
        let (effects, timers) = (std::mem::take(&mut self.effects), std::mem::take(&mut self.timers));
        let raised = std::mem::take(&mut self.raised);
        SuspendedContext { now: self.now, order: self.order, effects, timers, raised, averted }
    }

    /// Whether a replay is running.
    pub fn is_replaying(&self) -> bool {
        self.averted.is_some()
    }

    /// Records an alert that was averted during the replay.
    pub fn record_averted(&mut self, alert: Alert) {
        self.averted.get_or_insert_default().push(alert);
    }

    /// Discards the timers of the replay without the late event.
    pub fn drop_timers(&mut self) {
        self.timers.clear();
    }

    /// Takes the effects of the replay, and the alerts that were averted in it.
    pub fn take_replay_output(&mut self) -> (Vec<Effect>, Vec<Alert>) {
        self.raised.clear();
        (std::mem::take(&mut self.effects), self.averted.as_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Ends the replay and restores the state set aside. Timers set by the replay are kept.
    pub fn resume(&mut self, mut suspended: SuspendedContext) {
        suspended.timers.append(&mut self.timers);
        self.timers = suspended.timers;
        self.effects = suspended.effects;
        self.now = suspended.now;
        self.order = suspended.order;
        self.raised = suspended.raised;
        self.averted = suspended.averted;
    }

    /// The manager and the manager's department, as named by an alert; both `None` without a manager.
    pub fn manager_and_department(&self, who: ManagerIx) -> (Option<ManagerId>, Option<DepartmentId>) {
        let manager = self.people.id(who).cloned();
        let department = manager.is_some().then(|| self.people.department(who, self.order).into());
        (manager, department)
    }

    /// The retracted alerts, in order.
    pub fn retracted(&self) -> impl Iterator<Item = Uuid> {
        self.retracted.in_order.iter().copied()
    }

    /// Remembers that an alert was retracted. Returns `false` if that is known.
    pub fn mark_retracted(&mut self, alert: Uuid) -> bool {
        self.retracted.insert(alert)
    }

    /// Emits an alert, unless it was retracted. In a replay, alerts are compared and not published yet.
    pub fn emit_alert(&mut self, alert: Alert) {
        self.statuses.iter_mut().for_each(|statuses| statuses.push(alert.clone()));
        let published = match alert.status {
            _ if self.is_replaying() => true,
            Status::Retracted => self.mark_retracted(alert.id),
            _ => !self.retracted.ids.contains(&alert.id),
        };
        if published {
            self.effects.push(Effect::Alert(Box::new(alert)));
        }
    }

    /// Emits a fact dated `at`.
    pub fn emit_fact(&mut self, at: Timestamp, who: ManagerIx, times: i32, measure: Measure) {
        self.origins.iter_mut().for_each(|origins| origins.note_fact());
        self.effects.push(Effect::Fact(Fact { known: self.now, at, who, times, measure }));
    }

    /// Emits an effect as it is.
    pub fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Records a change of the current journey.
    pub fn record_change(&mut self, change: JourneyChange) {
        self.changes.push(Change::State(change));
    }

    /// Records an act on the current journey by a manager.
    pub fn record_act(&mut self, who: ManagerIx, act: Act) {
        self.changes.push(Change::Act(Box::new(act), who));
    }

    /// Takes the recorded changes, in order. [`Self::recycle_changes`] returns the allocation.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Reuses the allocation of handled changes.
    pub fn recycle_changes(&mut self, mut changes: Vec<Change>) {
        changes.clear();
        self.changes = changes;
    }

    /// Begins to record the statuses that are published.
    pub fn record_statuses(&mut self) {
        self.statuses = Some(Vec::new());
    }

    /// Takes the recorded statuses and ends the recording.
    pub fn take_statuses(&mut self) -> Vec<Alert> {
        self.statuses.take().unwrap_or_default()
    }

    /// Sets a timer that had fired at `at` and is undone.
    pub fn set_past_timer(&mut self, at: Timestamp, timer: Timer) {
        self.timers.push(Reverse((at, timer)));
    }

    /// Sets a timer for `at`, or for now if that is past.
    pub fn set_timer(&mut self, at: Timestamp, timer: Timer) {
        self.timers.push(Reverse((at.max(self.now), timer)));
    }

    /// The instant of the next timer.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Removes and returns the next timer, if it is due at or before `until`.
    pub fn pop_due(&mut self, until: Timestamp) -> Option<(Timestamp, Timer)> {
        if self.next_timer()? > until {
            return None;
        }
        self.timers.pop().map(|Reverse(due)| due)
    }

    /// The scope of a clock that starts now, by the manager and the manager's department, the pipeline and the source.
    pub fn scope(&mut self, who: ManagerIx, pipeline: Option<&str>, source: Option<&str>) -> Arc<Scope> {
        if let Some(scope) = &self.only_scope {
            return Arc::clone(scope);
        }
        let tenant = self.tenant.as_str();
        let department = self.people.department(who, self.order);
        let manager = if self.named_managers.is_empty() { None } else { self.people.id(who) };
        let manager = manager.filter(|id| self.named_managers.contains(*id)).map(ManagerId::as_str);
        let query = ScopeQuery { tenant, department, manager, pipeline, source };
        if self.norms.overrides.is_empty() {
            return Arc::clone(self.only_scope.insert(self.norms.shared_scope(query)));
        }
        let key = (
            manager.map_or(ManagerIx::NONE, |_| who),
            CompactString::from(department),
            CompactString::from(pipeline.unwrap_or_default()),
            CompactString::from(source.unwrap_or_default()),
        );
        Arc::clone(self.scopes.entry(key).or_insert_with(|| self.norms.shared_scope(query)))
    }

    /// Forgets the norms by manager: an index may be of another one now.
    pub fn forget_scopes(&mut self) {
        self.scopes.clear();
        self.only_scope = None;
    }

    /// The index of a pipeline stage, declared on first use.
    pub fn stage_ix(&mut self, pipeline: Option<&PipelineId>, stage: Option<&StageId>) -> StageIx {
        let pipeline = pipeline.cloned().unwrap_or_else(|| UNKNOWN.into());
        let stage = stage.cloned().unwrap_or_else(|| UNKNOWN.into());
        let (ix, new) = self.stages.intern((pipeline.clone(), stage.clone()));
        if new {
            self.summed_up[0] += u64::from(ix.0 as usize >= MAX_STAGES);
            self.effects.push(Effect::StageDeclaration(Box::new(StageDeclaration { ix, pipeline, stage })));
        }
        ix
    }

    /// Whether an index is that of a pipeline stage.
    pub fn is_stage(&self, ix: StageIx, pipeline: Option<&PipelineId>, stage: Option<&StageId>) -> bool {
        let (pipeline, stage) = (pipeline.map_or(UNKNOWN, PipelineId::as_str), stage.map_or(UNKNOWN, StageId::as_str));
        self.stage_name(ix).is_some_and(|(of, name)| name.as_str() == stage && of.as_str() == pipeline)
    }

    /// The pipeline and stage of an index.
    pub fn stage_name(&self, ix: StageIx) -> Option<&(PipelineId, StageId)> {
        self.stages.items.get(ix.0 as usize)
    }

    /// The numbers of stages and currencies that were used.
    pub fn names_used(&self) -> [usize; 2] {
        [self.stages.items.len(), self.currencies.items.len()]
    }

    /// The code of a currency that was used.
    pub fn currency_code(&self, ix: CurrencyIx) -> CompactString {
        self.currencies.items.get(ix.0 as usize).cloned().unwrap_or_default()
    }

    /// The index of a currency, declared on first use.
    pub fn currency(&mut self, code: Option<&CompactString>) -> CurrencyIx {
        let code = code.cloned().unwrap_or_else(|| UNKNOWN.into());
        let (ix, new) = self.currencies.intern(code.clone());
        if new {
            self.summed_up[1] += u64::from(ix.0 as usize >= MAX_CURRENCIES);
            self.effects.push(Effect::Currency(ix, code));
        }
        ix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_retracted_alerts_are_remembered() {
        let mut retracted = Retracted::default();
        let ids = || (0..MAX_RETRACTED as u128 + 2).map(Uuid::from_u128);
        assert!(ids().all(|alert| retracted.insert(alert)));
        assert!(!retracted.insert(Uuid::from_u128(2)), "the third one");
        assert!(retracted.in_order.iter().copied().eq(ids().skip(2)));
        assert_eq!(retracted.ids.len(), MAX_RETRACTED);
        assert!(retracted.insert(Uuid::from_u128(0)), "the first one was forgotten");
    }
}
