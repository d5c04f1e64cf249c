//! Owns the figures of one tenant: windows per manager, cohorts, what stands now; and makes rows of them.
//!
//! Only managers have panes. A department's figures are those of its managers of this instant, a tenant's those of all,
//! so both are sums made when a row is asked for, and a manager who changes department takes his figures along.
//!
//! Whether a manager's figures are as they should be is decided in `scoreboard/judge.rs`.

mod window_evaluator;
mod window_violation;

use super::alert::Alert;
use super::effect::{Effect, Fact, ManagerIx, ManagerUpdate, Measure, Percent, StageDeclaration};
use super::id::{DepartmentId, ManagerId, TenantId, UNKNOWN};
use super::norms::{Norms, Window};
use super::row::{ByStage, Figures, NowFigures, Row, Subject, Terms, WindowFigures};
use super::rule::Rule;
use super::time::{Span, Timestamp};
use super::window::{PaneAggregate, SlidingWindow};
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
    /// By number; 0 is nobody.
    members: Vec<ManagerFigures>,
    /// Every department that ever was: one that everybody left still has rows, with nothing in them.
    departments: BTreeSet<DepartmentId>,
    stages: Vec<StageDeclaration>,
    currencies: Vec<CompactString>,
    judge: WindowEvaluator,
}

#[derive(Debug)]
struct ManagerFigures {
    id: ManagerId,
    department: Option<DepartmentId>,
    sliding: Vec<SlidingWindow>,
    now: CurrentFigures,
    /// Offers in order of their date: they are few, and distinct deals cannot be kept by adding and subtracting.
    offers: VecDeque<Offer>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Offer {
    at: Timestamp,
    deal: u32,
    special: bool,
    discount: Percent,
}

/// What stands now.
#[derive(Clone, Debug, Default)]
struct CurrentFigures {
    /// Waits for a first response, by their beginning.
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
        let nobody = ManagerFigures::new(UNKNOWN.into(), &windows);
        Self {
            judge: WindowEvaluator::new(norms, &tenant),
            tenant,
            windows,
            members: vec![nobody],
            departments: BTreeSet::from([UNKNOWN.into()]),
            stages: Vec::new(),
            currencies: Vec::new(),
        }
    }

    /// Takes an effect in, after judging the slide boundaries before it; alerts that have come of either go to `alerts`.
    pub fn take(&mut self, effect: Effect, alerts: &mut Vec<Alert>) {
        match effect {
            Effect::Fact(fact) => {
                self.judge_until(fact.known.saturating_sub(Span(1)), alerts);
                self.count(&fact);
                self.judge.mark_dirty(fact.who);
            }
            Effect::ManagerUpdate(person) => {
                self.judge_until(person.known.saturating_sub(Span(1)), alerts);
                self.person(*person);
            }
            Effect::StageDeclaration(stage_ix) => self.stage_ix(*stage_ix),
            Effect::Currency(_, code) => self.currencies.push(code),
            Effect::Alert(alert) => alerts.push(*alert),
            // Requests are counted where they are published.
            Effect::Review(_) | Effect::ReviewOver { .. } => {}
        }
    }

    /// Takes in an effect of a past that is lived again: what was judged then is not judged again.
    pub fn recall(&mut self, effect: Effect) {
        match effect {
            Effect::Fact(fact) => self.count(&fact),
            Effect::ManagerUpdate(person) => self.person(*person),
            Effect::StageDeclaration(stage_ix) => self.stage_ix(*stage_ix),
            Effect::Currency(_, code) => self.currencies.push(code),
            Effect::Alert(_) | Effect::Review(_) | Effect::ReviewOver { .. } => {}
        }
    }

    /// Other norms are in force; the windows are the same.
    pub fn reload(&mut self, norms: Arc<Norms>) {
        let members = (0..self.members.len() as u32).map(ManagerIx);
        self.judge.reload(norms, &self.tenant, members);
    }

    /// The norms in force.
    pub fn norms(&self) -> &Arc<Norms> {
        &self.judge.norms
    }

    /// Every department that ever was, `unknown` among them.
    pub fn departments(&self) -> impl Iterator<Item = &DepartmentId> {
        self.departments.iter()
    }

    fn person(&mut self, person: ManagerUpdate) {
        let number = person.who.0 as usize;
        while self.members.len() <= number {
            self.members.push(ManagerFigures::new(person.id.clone(), &self.windows));
        }
        let before = self.members[number].department();
        self.members[number].department = person.department;
        let after = self.members[number].department();
        if before != after {
            self.departments.insert(after.clone());
            self.judge.shift(person.who, before, after);
        }
    }

    fn stage_ix(&mut self, stage_ix: StageDeclaration) {
        debug_assert_eq!(stage_ix.number as usize, self.stages.len(), "spots are announced in order");
        self.stages.push(stage_ix);
    }

    fn count(&mut self, fact: &Fact) {
        let member = &mut self.members[fact.who.0 as usize];
        let times = i64::from(fact.times);
        match fact.measure {
            Measure::Awaiting => add(&mut member.now.awaiting, fact.at, times),
            Measure::Open(stage_ix) => add(&mut member.now.open, stage_ix, times),
            Measure::Overdue(stage_ix) => add(&mut member.now.overdue, stage_ix, times),
            Measure::OpenDeal => member.now.open_deals += times,
            Measure::Stuck => member.now.stuck_deals += times,
            Measure::OpenAlert(rule) => add(&mut member.now.open_alerts, rule, times),
            Measure::Unreturned => member.now.unreturned += times,
            Measure::Unanswered => member.now.unanswered += times,
            Measure::Terms { deal, special, discount } => {
                let offer = Offer { at: fact.at, deal, special, discount };
                let place = member.offers.partition_point(|other| other.at < offer.at);
                if times > 0 {
                    member.offers.insert(place, offer);
                } else if let Some(gone) = member.offers.range(place..).position(|other| *other == offer) {
                    member.offers.remove(place + gone);
                }
            }
            _ => member.sliding.iter_mut().for_each(|window| window.count(fact)),
        }
    }

    /// Every row at `at`: managers, departments and the tenant, each over every window and now. Rows with nothing in them
    /// are among them: in a compacted topic they replace what stood there before.
    pub fn rows(&mut self, at: Timestamp, into: &mut Vec<Row>) {
        for index in 0..self.windows.len() {
            self.window_rows(index, at, into);
        }
        self.now_rows(at, into);
    }

    /// The rows of one window at `at`.
    pub fn window_rows(&mut self, index: usize, at: Timestamp, into: &mut Vec<Row>) {
        let window = self.windows[index];
        self.members.iter_mut().for_each(|member| member.advance(&self.windows, index, at));
        let mut departments: BTreeMap<DepartmentId, (PaneAggregate, Vec<&Offer>)> = self.each_department();
        for (number, member) in self.members.iter().enumerate() {
            let total = member.sliding[index].total();
            let (aggregate, offers) = departments.entry(member.department()).or_default();
            aggregate.merge(total, 1);
            offers.extend(member.offers(window, at));
            if number > 0 {
                let figures = self.spell(total, terms(member.offers(window, at)));
                self.push(into, Subject::Manager(member.id.clone()), member.department.clone(), at, window, figures);
            }
        }
        let mut tenant = (PaneAggregate::default(), Vec::new());
        for (id, (aggregate, offers)) in departments {
            tenant.0.merge(&aggregate, 1);
            tenant.1.extend(&offers);
            let figures = self.spell(&aggregate, terms(offers));
            self.push(into, Subject::Department(id), None, at, window, figures);
        }
        let figures = self.spell(&tenant.0, terms(tenant.1));
        self.push(into, Subject::Tenant, None, at, window, figures);
    }

    /// The `now` rows at `at`.
    pub fn now_rows(&self, at: Timestamp, into: &mut Vec<Row>) {
        let mut departments: BTreeMap<DepartmentId, CurrentFigures> = self.each_department();
        let mut tenant = CurrentFigures::default();
        let row = |subject, department, standing: &CurrentFigures| {
            let figures = Figures::Now(Box::new(self.now_figures(standing, at)));
            Row { tenant: self.tenant.clone(), subject, department, at, figures }
        };
        for (number, member) in self.members.iter().enumerate() {
            tenant.merge(&member.now);
            departments.entry(member.department()).or_default().merge(&member.now);
            if number > 0 {
                into.push(row(Subject::Manager(member.id.clone()), member.department.clone(), &member.now));
            }
        }
        for (id, standing) in departments {
            into.push(row(Subject::Department(id), None, &standing));
        }
        into.push(row(Subject::Tenant, None, &tenant));
    }

    fn each_department<T: Default>(&self) -> BTreeMap<DepartmentId, T> {
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

    fn spell(&self, aggregate: &PaneAggregate, terms: Terms) -> WindowFigures {
        let name = |currency: u32| self.currencies.get(currency as usize).cloned().unwrap_or_default();
        let amount_won = aggregate.amounts().map(|(currency, minor)| (name(currency), minor)).collect();
        let mut stage_conversion = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (stage_ix, share) in aggregate.stages() {
            if let Some(stage_ix) = self.stages.get(stage_ix as usize) {
                stage_conversion.entry(stage_ix.pipeline.clone()).or_default().insert(stage_ix.stage.clone(), share);
            }
        }
        WindowFigures { terms, amount_won, stage_conversion, ..aggregate.figures() }
    }

    fn now_figures(&self, standing: &CurrentFigures, at: Timestamp) -> NowFigures {
        let by_stage = |counts: &BTreeMap<u32, i64>| {
            let mut spelled = ByStage::new();
            for (stage_ix, n) in counts {
                if let Some(stage_ix) = self.stages.get(*stage_ix as usize) {
                    spelled.entry(stage_ix.pipeline.clone()).or_default().insert(stage_ix.stage.clone(), *n);
                }
            }
            spelled
        };
        NowFigures {
            awaiting_first_response: standing.awaiting.values().sum(),
            oldest_wait_seconds: standing.awaiting.keys().next().map(|since| (at - *since).seconds()),
            open: by_stage(&standing.open),
            overdue: by_stage(&standing.overdue),
            open_alerts: standing.open_alerts.clone(),
            unreturned_calls: standing.unreturned,
            unanswered_messages: standing.unanswered,
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

    /// Lets go of what one of the windows no longer covers at `at`, and none of them any more.
    fn advance(&mut self, windows: &[Window], index: usize, at: Timestamp) {
        self.sliding[index].advance(at);
        if !self.offers.is_empty() {
            let longest = windows.iter().map(|window| SlidingWindow::since(*window, at)).min();
            while self.offers.front().is_some_and(|offer| Some(offer.at) < longest) {
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

/// Adds to a count and lets go of it at zero.
fn add<K: Ord + Copy>(counts: &mut BTreeMap<K, i64>, key: K, times: i64) {
    let count = counts.entry(key).or_default();
    *count += times;
    if *count == 0 {
        counts.remove(&key);
    }
}

/// Distinct deals with terms among these offers, those with special ones, and the mean discount over offers.
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
