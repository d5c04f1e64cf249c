//! Owns the figures of the managers of one tenant: sliding windows, offers and current values.

use crate::domain::effect::{ManagerUpdate, StageDeclaration};
use crate::domain::figures::pane::{Fact, Measure, Percent};
use crate::domain::figures::row::Subject;
use crate::domain::figures::statistics::{Conversion, Ratio};
use crate::domain::figures::table::{ByStage, MAX_STAGES, NowFigures, OTHER, Terms};
use crate::domain::figures::window::{SlidingWindow, WindowSample};
use crate::domain::id::{DepartmentId, ManagerId, TenantId, UNKNOWN};
use crate::domain::index::{JourneyIx, ManagerIx, StageIx};
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use crate::domain::time::window::Window;
use compact_str::CompactString;
use std::collections::{BTreeMap, VecDeque};
use std::ops::AddAssign;

#[derive(Debug)]
pub(super) struct Managers {
    pub(super) tenant: TenantId,
    pub(super) windows: Vec<Window>,
    /// Contacts of more open entities than the limit.
    pub(super) shared_contacts: i64,
    /// By [`ManagerIx`]; index 0 holds facts without a manager.
    pub(super) all: Vec<ManagerFigures>,
    /// What departments have beside the figures of their managers; `None`: what the company has.
    pub(super) others: BTreeMap<Option<DepartmentId>, ManagerFigures>,
}

#[derive(Debug)]
pub(super) struct ManagerFigures {
    pub(super) id: ManagerId,
    /// Whether the manager was forgotten, and the index is free.
    pub(super) is_forgotten: bool,
    pub(super) name: Option<CompactString>,
    pub(super) department: Option<DepartmentId>,
    pub(super) sliding: Vec<SlidingWindow>,
    pub(super) now: CurrentFigures,
    /// Offers by date. They are kept one by one, because a count of distinct deals cannot be maintained by adding and
    /// subtracting panes; there are few of them.
    offers: VecDeque<Offer>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offer {
    at: Timestamp,
    deal: JourneyIx,
    special: bool,
    discount: Percent,
}

/// Current values, independent of windows.
#[derive(Clone, Debug, Default)]
pub(super) struct CurrentFigures {
    /// Entities that wait for a first response, by the start of the wait.
    awaiting: BTreeMap<Timestamp, i64>,
    open: BTreeMap<StageIx, i64>,
    overdue: BTreeMap<StageIx, i64>,
    open_deals: i64,
    stuck_deals: i64,
    pub(super) open_alerts: BTreeMap<Rule, i64>,
    due_soon: BTreeMap<Rule, i64>,
    unreturned: i64,
    unanswered: i64,
    open_plans: i64,
    /// How many of them are due at each deadline.
    deadlines: BTreeMap<Timestamp, i64>,
    without_plan: i64,
}

impl Managers {
    /// A tenant without managers.
    pub(super) fn new(tenant: TenantId, windows: Vec<Window>) -> Self {
        let unassigned = ManagerFigures::new(UNKNOWN.into(), &windows);
        Self { tenant, windows, shared_contacts: 0, all: vec![unassigned], others: BTreeMap::new() }
    }

    /// Applies an update. Returns the departments before and after, if they differ.
    pub(super) fn update(&mut self, update: ManagerUpdate) -> Option<(DepartmentId, DepartmentId)> {
        let index = update.who.0 as usize;
        while self.all.len() <= index {
            self.all.push(ManagerFigures::new(update.id.clone(), &self.windows));
        }
        if self.all[index].is_forgotten {
            self.all[index] = ManagerFigures::new(update.id.clone(), &self.windows);
        }
        let before = self.department(update.who);
        self.all[index].name = update.name;
        self.all[index].department = update.department;
        let after = self.department(update.who);
        (before != after).then_some((before, after))
    }

    /// Forgets a manager with all figures.
    pub(super) fn forget(&mut self, who: ManagerIx) {
        let forgotten = ManagerFigures::new(ManagerId::default(), &self.windows);
        self.all[who.0 as usize] = ManagerFigures { is_forgotten: true, ..forgotten };
    }

    pub(super) fn count(&mut self, fact: &Fact) {
        if fact.measure == Measure::SharedContact {
            self.shared_contacts += i64::from(fact.times);
            return;
        }
        self.all[fact.who.0 as usize].count(fact);
    }

    /// Counts a fact of a department itself, or of the company.
    pub(super) fn count_of(&mut self, subject: &Subject, fact: &Fact) {
        let department = match subject {
            Subject::Department(id) => Some(id.clone()),
            _ => None,
        };
        let Self { others, windows, .. } = self;
        let new = || ManagerFigures { department: department.clone(), ..ManagerFigures::new(UNKNOWN.into(), windows) };
        others.entry(department.clone()).or_insert_with(new).count(fact);
    }

    /// Whether a manager is in a department now: a row sums up nobody else's figures.
    pub(super) fn is_staffed(&self, department: &DepartmentId) -> bool {
        self.all.iter().any(|manager| !manager.is_forgotten && manager.is_in(department))
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = ManagerIx> + use<> {
        (0..self.all.len() as u32).map(ManagerIx)
    }

    pub(super) fn find(&self, id: &ManagerId) -> Option<ManagerIx> {
        self.indices().find(|who| self.id(*who) == id)
    }

    pub(super) fn id(&self, who: ManagerIx) -> &ManagerId {
        &self.all[who.0 as usize].id
    }

    /// The department of a manager, `unknown` if none.
    pub(super) fn department(&self, who: ManagerIx) -> DepartmentId {
        self.all[who.0 as usize].department()
    }

    /// The managers of a department; facts without a manager count as `unknown`.
    pub(super) fn in_department(&self, department: &DepartmentId) -> impl Iterator<Item = ManagerIx> {
        self.indices().filter(move |who| self.all[who.0 as usize].is_in(department))
    }

    /// Moves window `index` of every manager to `at`.
    pub(super) fn advance_all(&mut self, index: usize, at: Timestamp) {
        let all = self.all.iter_mut().chain(self.others.values_mut());
        all.for_each(|manager| manager.advance(&self.windows, index, at));
    }

    /// Moves window `index` of a manager to `at`. Returns when something that it covers leaves it.
    pub(super) fn advance(&mut self, who: ManagerIx, index: usize, at: Timestamp) -> impl Iterator<Item = Timestamp> {
        let manager = &mut self.all[who.0 as usize];
        manager.advance(&self.windows, index, at);
        let window = self.windows[index];
        let offer = manager.offers(window, at).next().map(|offer| window.leaves(offer.at.pane(window.slide)));
        manager.sliding[index].next_expiry().into_iter().chain(offer)
    }

    /// The lead conversion of a department in window `index` at `at`.
    pub(super) fn conversion(&mut self, department: &DepartmentId, index: usize, at: Timestamp) -> Conversion {
        let mut conversion = Conversion::default();
        for manager in self.all.iter_mut().filter(|manager| manager.is_in(department)) {
            manager.advance(&self.windows, index, at);
            conversion += manager.sliding[index].total().lead_conversion();
        }
        conversion
    }

    /// The figures of a manager in window `index` at `at`, beside those of the department.
    pub(super) fn sample(
        &self,
        who: ManagerIx,
        index: usize,
        at: Timestamp,
        department: Conversion,
    ) -> WindowSample<'_> {
        let manager = &self.all[who.0 as usize];
        let offers = terms(manager.offers(self.windows[index], at));
        WindowSample {
            own: manager.sliding[index].total(),
            department,
            special: Ratio { n: offers.offered, k: offers.special },
            stuck: Ratio { n: manager.now.open_deals, k: manager.now.stuck_deals },
        }
    }
}

impl ManagerFigures {
    fn new(id: ManagerId, windows: &[Window]) -> Self {
        let sliding = windows.iter().map(|window| SlidingWindow::new(*window)).collect();
        let (name, department, now, offers) = Default::default();
        Self { id, is_forgotten: false, name, department, sliding, now, offers }
    }

    fn count(&mut self, fact: &Fact) {
        let times = i64::from(fact.times);
        match fact.measure {
            Measure::Awaiting => add(&mut self.now.awaiting, fact.at, times),
            Measure::Open(stage_ix) => add(&mut self.now.open, stage_ix, times),
            Measure::Overdue(stage_ix) => add(&mut self.now.overdue, stage_ix, times),
            Measure::OpenDeal => self.now.open_deals += times,
            Measure::Stuck => self.now.stuck_deals += times,
            Measure::OpenAlert(rule) => add(&mut self.now.open_alerts, rule, times),
            Measure::DueSoon(rule) => add(&mut self.now.due_soon, rule, times),
            Measure::Unreturned => self.now.unreturned += times,
            Measure::Unanswered => self.now.unanswered += times,
            Measure::OpenPlan => self.now.count_plan(fact.at, times),
            Measure::WithoutPlan => self.now.without_plan += times,
            Measure::Terms { deal, special, discount } => {
                let offer = Offer { at: fact.at, deal, special, discount };
                let start = self.offers.partition_point(|other| other.at < offer.at);
                if times > 0 {
                    self.offers.insert(start, offer);
                } else if let Some(retracted) = self.offers.range(start..).position(|other| *other == offer) {
                    self.offers.remove(start + retracted);
                }
            }
            _ => self.sliding.iter_mut().for_each(|window| window.count(fact)),
        }
    }

    fn is_in(&self, department: &DepartmentId) -> bool {
        self.department.as_ref().map_or(UNKNOWN, DepartmentId::as_str) == department.as_str()
    }

    /// Removes panes that window `index` no longer covers at `at`, and offers that no window covers.
    fn advance(&mut self, windows: &[Window], index: usize, at: Timestamp) {
        self.sliding[index].advance(at);
        if !self.offers.is_empty() {
            let oldest = windows.iter().map(|window| SlidingWindow::since(*window, at)).min();
            while self.offers.front().is_some_and(|offer| Some(offer.at) < oldest) {
                self.offers.pop_front();
            }
        }
    }

    /// The offers in a window at `at`.
    pub(super) fn offers(&self, window: Window, at: Timestamp) -> impl Iterator<Item = &Offer> {
        let since = SlidingWindow::since(window, at);
        self.offers.range(self.offers.partition_point(|offer| offer.at < since)..)
    }

    /// The department, `unknown` if none.
    pub(super) fn department(&self) -> DepartmentId {
        self.department.clone().unwrap_or_else(|| UNKNOWN.into())
    }
}

impl CurrentFigures {
    /// The figures at `at`, by the names of the stages.
    pub(super) fn figures(&self, stages: &[StageDeclaration], at: Timestamp) -> NowFigures {
        let by_stage = |counts: &BTreeMap<StageIx, i64>| by_stage(stages, counts.iter().map(|(ix, n)| (*ix, *n)));
        NowFigures {
            awaiting_first_response: self.awaiting.values().sum(),
            oldest_wait_seconds: self.awaiting.keys().next().map(|since| (at - *since).seconds()),
            open: by_stage(&self.open),
            overdue: by_stage(&self.overdue),
            open_alerts: self.open_alerts.clone(),
            due_soon: self.due_soon.clone(),
            unreturned_calls: self.unreturned,
            unanswered_messages: self.unanswered,
            open_plans: self.open_plans,
            overdue_plans: self.overdue_plans(at),
            without_next_step: self.without_plan,
            targets: BTreeMap::new(),
        }
    }

    fn count_plan(&mut self, deadline: Timestamp, times: i64) {
        self.open_plans += times;
        if deadline < Timestamp::MAX {
            add(&mut self.deadlines, deadline, times);
        }
    }

    /// The open plans whose deadline is before `at`.
    fn overdue_plans(&self, at: Timestamp) -> i64 {
        self.deadlines.range(..at).map(|(_, n)| n).sum()
    }

    /// Adds the figures of another manager as of `at`; of the deadlines, only how many have passed.
    pub(super) fn merge(&mut self, other: &Self, at: Timestamp) {
        other.awaiting.iter().for_each(|(since, n)| add(&mut self.awaiting, *since, *n));
        other.open.iter().for_each(|(stage_ix, n)| add(&mut self.open, *stage_ix, *n));
        other.overdue.iter().for_each(|(stage_ix, n)| add(&mut self.overdue, *stage_ix, *n));
        other.open_alerts.iter().for_each(|(rule, n)| add(&mut self.open_alerts, *rule, *n));
        other.due_soon.iter().for_each(|(rule, n)| add(&mut self.due_soon, *rule, *n));
        self.unreturned += other.unreturned;
        self.unanswered += other.unanswered;
        self.open_plans += other.open_plans;
        add(&mut self.deadlines, Timestamp::MIN, other.overdue_plans(at));
        self.without_plan += other.without_plan;
    }
}

/// Values by the names of their pipelines and stages; those beyond [`MAX_STAGES`] are summed up.
pub(super) fn by_stage<V: AddAssign + Default>(
    stages: &[StageDeclaration],
    values: impl IntoIterator<Item = (StageIx, V)>,
) -> ByStage<V> {
    let mut by_stage = ByStage::new();
    for (stage_ix, value) in values {
        let (pipeline, stage) = match stages.get(stage_ix.0 as usize) {
            Some(_) if stage_ix.0 as usize >= MAX_STAGES => (OTHER.into(), OTHER.into()),
            Some(stage) => (stage.pipeline.clone(), stage.stage.clone()),
            None => continue,
        };
        *by_stage.entry(pipeline).or_default().entry(stage).or_default() += value;
    }
    by_stage
}

/// Adds to a count and removes it at zero.
fn add<K: Ord + Copy>(counts: &mut BTreeMap<K, i64>, key: K, times: i64) {
    let count = counts.entry(key).or_default();
    *count += times;
    if *count == 0 {
        counts.remove(&key);
    }
}

/// Distinct deals with terms among these offers, those of them with special terms, and the mean discount per offer.
pub(super) fn terms<'a>(offers: impl IntoIterator<Item = &'a Offer>) -> Terms {
    let mut deals = BTreeMap::<JourneyIx, bool>::new();
    let (mut n, mut sum) = (0u32, 0.0);
    for offer in offers {
        *deals.entry(offer.deal).or_default() |= offer.special;
        n += 1;
        sum += offer.discount.get();
    }
    Terms {
        offered: deals.len() as i64,
        special: deals.values().filter(|special| **special).count() as i64,
        mean_discount_percent: (n > 0).then(|| sum / f64::from(n)),
    }
}
