//! Owns the figures of one tenant (sliding windows per manager, cohorts, current values) and builds rows from them.
//!
//! Only managers have panes. A department's figures are the sums over its current managers, a tenant's the sums over all
//! managers. Both are computed when a row is requested, and a manager who changes department takes their figures along.
//!
//! Window rules are evaluated in `scoreboard/window_evaluator.rs`.

mod window_evaluator;
mod window_violation;

use crate::domain::alert::Alert;
use crate::domain::effect::{Effect, Fact, ManagerIx, ManagerUpdate, StageDeclaration};
use crate::domain::figures::pane::PaneAggregate;
use crate::domain::figures::pane::{Measure, Percent};
use crate::domain::figures::row::{Figures, Row, Subject};
use crate::domain::figures::table::{ByStage, NowFigures, Terms, WindowFigures};
use crate::domain::figures::window::SlidingWindow;
use crate::domain::id::{DepartmentId, ManagerId, TenantId, UNKNOWN};
use crate::domain::norms::Norms;
use crate::domain::rule::Rule;
use crate::domain::time::window::Window;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
pub use window_violation::{LastStatus, WindowViolation, WindowViolationKey};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use window_evaluator::WindowEvaluator;

/// The figures of one tenant.
#[derive(Debug)]
pub struct Scoreboard {
    tenant: TenantId,
    windows: Vec<Window>,
    /// By [`ManagerIx`]; index 0 holds facts without a manager.
    managers: Vec<ManagerFigures>,
    /// Every department ever seen: one without managers still has rows, with empty figures.
    departments: BTreeSet<DepartmentId>,
    stages: Vec<StageDeclaration>,
    currencies: Vec<CompactString>,
    evaluator: WindowEvaluator,
}

#[derive(Debug)]
struct ManagerFigures {
    id: ManagerId,
    department: Option<DepartmentId>,
    sliding: Vec<SlidingWindow>,
    now: CurrentFigures,
    /// Offers by date. They are kept one by one, because a count of distinct deals cannot be maintained by adding and
    /// subtracting panes; there are few of them.
    offers: VecDeque<Offer>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Offer {
    at: Timestamp,
    deal: u32,
    special: bool,
    discount: Percent,
}

/// Current values, independent of windows.
#[derive(Clone, Debug, Default)]
struct CurrentFigures {
    /// Entities that wait for a first response, by the start of the wait.
    awaiting: BTreeMap<Timestamp, i64>,
    open: BTreeMap<u32, i64>,
    overdue: BTreeMap<u32, i64>,
    open_deals: i64,
    stuck_deals: i64,
    open_alerts: BTreeMap<Rule, i64>,
    unreturned: i64,
    unanswered: i64,
}

impl Scoreboard {
    /// An empty scoreboard with the windows of these norms.
    pub fn new(tenant: TenantId, norms: Arc<Norms>) -> Self {
        let windows = norms.windows.clone();
        let unassigned = ManagerFigures::new(UNKNOWN.into(), &windows);
        Self {
            evaluator: WindowEvaluator::new(norms, &tenant),
            tenant,
            windows,
            managers: vec![unassigned],
            departments: BTreeSet::from([UNKNOWN.into()]),
            stages: Vec::new(),
            currencies: Vec::new(),
        }
    }

    /// Applies an effect, after judging the slide boundaries before it; alerts of both are appended to `alerts`.
    pub fn apply(&mut self, effect: Effect, alerts: &mut Vec<Alert>) {
        match effect {
            Effect::Fact(fact) => {
                self.judge_until(fact.known.saturating_sub(Span(1)), alerts);
                self.count(&fact);
                self.evaluator.mark_dirty(fact.who);
            }
            Effect::ManagerUpdate(update) => {
                self.judge_until(update.known.saturating_sub(Span(1)), alerts);
                self.update_manager(*update);
            }
            Effect::StageDeclaration(stage) => self.declare_stage(*stage),
            Effect::Currency(_, code) => self.currencies.push(code),
            Effect::Alert(alert) => alerts.push(*alert),
            // Review requests are counted where they are published.
            Effect::Review(_) | Effect::ReviewOver { .. } => {}
        }
    }

    /// Applies an effect of a replay after a restore: counts it, but does not judge boundaries or emit alerts again.
    pub fn replay(&mut self, effect: Effect) {
        match effect {
            Effect::Fact(fact) => self.count(&fact),
            Effect::ManagerUpdate(update) => self.update_manager(*update),
            Effect::StageDeclaration(stage) => self.declare_stage(*stage),
            Effect::Currency(_, code) => self.currencies.push(code),
            Effect::Alert(_) | Effect::Review(_) | Effect::ReviewOver { .. } => {}
        }
    }

    /// Applies new norms; the windows must be the same.
    pub fn reload(&mut self, norms: Arc<Norms>) {
        let managers = (0..self.managers.len() as u32).map(ManagerIx);
        self.evaluator.reload(norms, &self.tenant, managers);
    }

    /// The norms in force.
    pub fn norms(&self) -> &Arc<Norms> {
        &self.evaluator.norms
    }

    /// Every department ever seen, including `unknown`.
    pub fn departments(&self) -> impl Iterator<Item = &DepartmentId> {
        self.departments.iter()
    }

    fn update_manager(&mut self, update: ManagerUpdate) {
        let index = update.who.0 as usize;
        while self.managers.len() <= index {
            self.managers.push(ManagerFigures::new(update.id.clone(), &self.windows));
        }
        let before = self.managers[index].department();
        self.managers[index].department = update.department;
        let after = self.managers[index].department();
        if before != after {
            self.departments.insert(after.clone());
            self.evaluator.change_department(update.who, before, after);
        }
    }

    fn declare_stage(&mut self, stage: StageDeclaration) {
        debug_assert_eq!(stage.ix as usize, self.stages.len(), "stages are declared in index order");
        self.stages.push(stage);
    }

    fn count(&mut self, fact: &Fact) {
        let manager = &mut self.managers[fact.who.0 as usize];
        let times = i64::from(fact.times);
        match fact.measure {
            Measure::Awaiting => add(&mut manager.now.awaiting, fact.at, times),
            Measure::Open(stage_ix) => add(&mut manager.now.open, stage_ix, times),
            Measure::Overdue(stage_ix) => add(&mut manager.now.overdue, stage_ix, times),
            Measure::OpenDeal => manager.now.open_deals += times,
            Measure::Stuck => manager.now.stuck_deals += times,
            Measure::OpenAlert(rule) => add(&mut manager.now.open_alerts, rule, times),
            Measure::Unreturned => manager.now.unreturned += times,
            Measure::Unanswered => manager.now.unanswered += times,
            Measure::Terms { deal, special, discount } => {
                let offer = Offer { at: fact.at, deal, special, discount };
                let start = manager.offers.partition_point(|other| other.at < offer.at);
                if times > 0 {
                    manager.offers.insert(start, offer);
                } else if let Some(retracted) = manager.offers.range(start..).position(|other| *other == offer) {
                    manager.offers.remove(start + retracted);
                }
            }
            _ => manager.sliding.iter_mut().for_each(|window| window.count(fact)),
        }
    }

    /// All rows at `at`: managers, departments and the tenant, each for every window and `now`. Empty rows are included:
    /// in a compacted topic they replace the previous ones.
    pub fn rows(&mut self, at: Timestamp, into: &mut Vec<Row>) {
        for index in 0..self.windows.len() {
            self.window_rows(index, at, into);
        }
        self.now_rows(at, into);
    }

    /// The rows of one window at `at`.
    pub fn window_rows(&mut self, index: usize, at: Timestamp, into: &mut Vec<Row>) {
        let window = self.windows[index];
        self.managers.iter_mut().for_each(|manager| manager.advance(&self.windows, index, at));
        let mut departments: BTreeMap<DepartmentId, (PaneAggregate, Vec<&Offer>)> = self.default_per_department();
        for (manager_ix, manager) in self.managers.iter().enumerate() {
            let total = manager.sliding[index].total();
            let (aggregate, offers) = departments.entry(manager.department()).or_default();
            aggregate.merge(total, 1);
            offers.extend(manager.offers(window, at));
            if manager_ix > 0 {
                let figures = self.window_figures(total, terms(manager.offers(window, at)));
                self.push(into, Subject::Manager(manager.id.clone()), manager.department.clone(), at, window, figures);
            }
        }
        let mut tenant = (PaneAggregate::default(), Vec::new());
        for (id, (aggregate, offers)) in departments {
            tenant.0.merge(&aggregate, 1);
            tenant.1.extend(&offers);
            let figures = self.window_figures(&aggregate, terms(offers));
            self.push(into, Subject::Department(id), None, at, window, figures);
        }
        let figures = self.window_figures(&tenant.0, terms(tenant.1));
        self.push(into, Subject::Tenant, None, at, window, figures);
    }

    /// The `now` rows at `at`.
    pub fn now_rows(&self, at: Timestamp, into: &mut Vec<Row>) {
        let mut departments: BTreeMap<DepartmentId, CurrentFigures> = self.default_per_department();
        let mut tenant = CurrentFigures::default();
        let row = |subject, department, current: &CurrentFigures| {
            let figures = Figures::Now(Box::new(self.now_figures(current, at)));
            Row { tenant: self.tenant.clone(), subject, department, at, figures }
        };
        for (manager_ix, manager) in self.managers.iter().enumerate() {
            tenant.merge(&manager.now);
            departments.entry(manager.department()).or_default().merge(&manager.now);
            if manager_ix > 0 {
                into.push(row(Subject::Manager(manager.id.clone()), manager.department.clone(), &manager.now));
            }
        }
        for (id, current) in departments {
            into.push(row(Subject::Department(id), None, &current));
        }
        into.push(row(Subject::Tenant, None, &tenant));
    }

    fn default_per_department<T: Default>(&self) -> BTreeMap<DepartmentId, T> {
        self.departments.iter().map(|id| (id.clone(), T::default())).collect()
    }

    fn push(
        &self,
        into: &mut Vec<Row>,
        subject: Subject,
        department: Option<DepartmentId>,
        at: Timestamp,
        window: Window,
        figures: WindowFigures,
    ) {
        let figures = Figures::Window(window, Box::new(figures));
        into.push(Row { tenant: self.tenant.clone(), subject, department, at, figures });
    }

    fn window_figures(&self, aggregate: &PaneAggregate, terms: Terms) -> WindowFigures {
        let name = |currency: u32| self.currencies.get(currency as usize).cloned().unwrap_or_default();
        let amount_won = aggregate.amounts().map(|(currency, minor)| (name(currency), minor)).collect();
        let mut stage_conversion = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (stage_ix, share) in aggregate.stages() {
            if let Some(stage) = self.stages.get(stage_ix as usize) {
                stage_conversion.entry(stage.pipeline.clone()).or_default().insert(stage.stage.clone(), share);
            }
        }
        WindowFigures { terms, amount_won, stage_conversion, ..aggregate.figures() }
    }

    fn now_figures(&self, current: &CurrentFigures, at: Timestamp) -> NowFigures {
        let by_stage = |counts: &BTreeMap<u32, i64>| {
            let mut by_name = ByStage::new();
            for (stage_ix, n) in counts {
                if let Some(stage) = self.stages.get(*stage_ix as usize) {
                    by_name.entry(stage.pipeline.clone()).or_default().insert(stage.stage.clone(), *n);
                }
            }
            by_name
        };
        NowFigures {
            awaiting_first_response: current.awaiting.values().sum(),
            oldest_wait_seconds: current.awaiting.keys().next().map(|since| (at - *since).seconds()),
            open: by_stage(&current.open),
            overdue: by_stage(&current.overdue),
            open_alerts: current.open_alerts.clone(),
            unreturned_calls: current.unreturned,
            unanswered_messages: current.unanswered,
        }
    }
}

impl ManagerFigures {
    fn new(id: ManagerId, windows: &[Window]) -> Self {
        let sliding = windows.iter().map(|window| SlidingWindow::new(*window)).collect();
        Self { id, department: None, sliding, now: CurrentFigures::default(), offers: VecDeque::new() }
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
    fn offers(&self, window: Window, at: Timestamp) -> impl Iterator<Item = &Offer> {
        let since = SlidingWindow::since(window, at);
        self.offers.range(self.offers.partition_point(|offer| offer.at < since)..)
    }

    fn department(&self) -> DepartmentId {
        self.department.clone().unwrap_or_else(|| UNKNOWN.into())
    }
}

impl CurrentFigures {
    fn merge(&mut self, other: &Self) {
        other.awaiting.iter().for_each(|(since, n)| add(&mut self.awaiting, *since, *n));
        other.open.iter().for_each(|(stage_ix, n)| add(&mut self.open, *stage_ix, *n));
        other.overdue.iter().for_each(|(stage_ix, n)| add(&mut self.overdue, *stage_ix, *n));
        other.open_alerts.iter().for_each(|(rule, n)| add(&mut self.open_alerts, *rule, *n));
        self.unreturned += other.unreturned;
        self.unanswered += other.unanswered;
    }
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
fn terms<'a>(offers: impl IntoIterator<Item = &'a Offer>) -> Terms {
    let mut deals = BTreeMap::<u32, bool>::new();
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
