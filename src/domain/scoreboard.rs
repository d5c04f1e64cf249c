//! Owns the figures of one tenant: windows per manager, cohorts, what stands now; and makes rows of them.
//!
//! Only managers have panes. A department's figures are those of its managers of this instant, a tenant's those of all,
//! so both are sums made when a row is asked for, and a manager who changes department takes his figures along.

use super::effect::{Fact, Measure, Person, Spot, Who};
use super::id::{DepartmentId, ManagerId, TenantId, UNKNOWN};
use super::norms::Window;
use super::row::{ByStage, Figures, NowFigures, Row, Subject, Terms, WindowFigures};
use super::rule::Rule;
use super::time::Timestamp;
use super::window::{Cell, Rolling};
use compact_str::CompactString;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The figures of one tenant.
#[derive(Debug)]
pub struct Scoreboard {
    tenant: TenantId,
    windows: Vec<Window>,
    /// By number; 0 is nobody.
    members: Vec<Member>,
    /// Every department that ever was: one that everybody left still has rows, with nothing in them.
    departments: BTreeSet<DepartmentId>,
    spots: Vec<Spot>,
    currencies: Vec<CompactString>,
    /// Offers in order of their date: they are few, and distinct deals cannot be kept by adding and subtracting.
    offers: VecDeque<Offer>,
}

#[derive(Debug)]
struct Member {
    id: ManagerId,
    department: Option<DepartmentId>,
    rolling: Vec<Rolling>,
    now: Standing,
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    at: Timestamp,
    who: Who,
    deal: u32,
    special: bool,
    discount_percent: f64,
}

/// What stands now.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// Waits for a first response, by their beginning.
    awaiting: BTreeMap<Timestamp, i64>,
    open: BTreeMap<u32, i64>,
    open_alerts: BTreeMap<Rule, i64>,
    unreturned: i64,
    unanswered: i64,
}

impl Scoreboard {
    /// An empty scoreboard with these windows.
    pub fn new(tenant: TenantId, windows: Vec<Window>) -> Self {
        let nobody = Member::new(UNKNOWN.into(), &windows);
        Self {
            tenant,
            windows,
            members: vec![nobody],
            departments: BTreeSet::from([UNKNOWN.into()]),
            spots: Vec::new(),
            currencies: Vec::new(),
            offers: VecDeque::new(),
        }
    }

    /// Takes over a manager's record.
    pub fn person(&mut self, person: &Person) {
        let number = person.who.0 as usize;
        while self.members.len() <= number {
            self.members.push(Member::new(person.id.clone(), &self.windows));
        }
        self.members[number].department.clone_from(&person.department);
        self.departments.extend(person.department.clone());
    }

    /// Takes over the name of a spot.
    pub fn spot(&mut self, spot: Spot) {
        debug_assert_eq!(spot.number as usize, self.spots.len(), "spots are announced in order");
        self.spots.push(spot);
    }

    /// Takes over the name of a currency.
    pub fn currency(&mut self, code: CompactString) {
        self.currencies.push(code);
    }

    /// Counts a fact.
    pub fn count(&mut self, fact: &Fact) {
        let member = &mut self.members[fact.who.0 as usize];
        let times = i64::from(fact.times);
        match fact.measure {
            Measure::Awaiting => add(&mut member.now.awaiting, fact.at, times),
            Measure::Open(spot) => add(&mut member.now.open, spot, times),
            Measure::OpenAlert(rule) => add(&mut member.now.open_alerts, rule, times),
            Measure::Unreturned => member.now.unreturned += times,
            Measure::Unanswered => member.now.unanswered += times,
            Measure::Terms { deal, special, discount_percent } => {
                let offer = Offer { at: fact.at, who: fact.who, deal, special, discount_percent };
                let place = self.offers.partition_point(|other| other.at <= offer.at);
                self.offers.insert(place, offer);
            }
            _ => member.rolling.iter_mut().for_each(|window| window.count(fact)),
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
        let longest = self.windows.iter().map(|window| Rolling::since(*window, at)).min();
        while self.offers.front().is_some_and(|offer| Some(offer.at) < longest) {
            self.offers.pop_front();
        }
        let since = Rolling::since(window, at);
        let start = self.offers.partition_point(|offer| offer.at < since);
        let offers: Vec<Offer> = self.offers.range(start..).copied().collect();
        let mut departments: BTreeMap<DepartmentId, (Cell, BTreeSet<Who>)> = self.each_department();
        let mut tenant = Cell::default();
        self.members.iter_mut().for_each(|member| member.rolling[index].advance(at));
        for (number, member) in self.members.iter().enumerate() {
            let who = Who(number as u32);
            let total = member.rolling[index].total();
            tenant.merge(total, 1);
            let (department, whose) = departments.entry(member.department()).or_default();
            department.merge(total, 1);
            whose.insert(who);
            if who != Who::NOBODY {
                let figures = self.spell(total, terms(&offers, |offer| offer.who == who));
                self.push(into, Subject::Manager(member.id.clone()), member.department.clone(), at, window, figures);
            }
        }
        for (id, (cell, whose)) in departments {
            let figures = self.spell(&cell, terms(&offers, |offer| whose.contains(&offer.who)));
            self.push(into, Subject::Department(id), None, at, window, figures);
        }
        let figures = self.spell(&tenant, terms(&offers, |_| true));
        self.push(into, Subject::Tenant, None, at, window, figures);
    }

    /// The `now` rows at `at`.
    pub fn now_rows(&self, at: Timestamp, into: &mut Vec<Row>) {
        let mut departments: BTreeMap<DepartmentId, Standing> = self.each_department();
        let mut tenant = Standing::default();
        let row = |subject, department, standing: &Standing| {
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

    fn spell(&self, cell: &Cell, terms: Terms) -> WindowFigures {
        let name = |currency: u32| self.currencies.get(currency as usize).cloned().unwrap_or_default();
        let amount_won = cell.amounts().map(|(currency, minor)| (name(currency), minor)).collect();
        WindowFigures { terms, amount_won, ..cell.figures() }
    }

    fn now_figures(&self, standing: &Standing, at: Timestamp) -> NowFigures {
        let mut open = ByStage::new();
        for (spot, n) in &standing.open {
            if let Some(spot) = self.spots.get(*spot as usize) {
                open.entry(spot.pipeline.clone()).or_default().insert(spot.stage.clone(), *n);
            }
        }
        NowFigures {
            awaiting_first_response: standing.awaiting.values().sum(),
            oldest_wait_seconds: standing.awaiting.keys().next().map(|since| (at - *since).seconds()),
            open,
            overdue: ByStage::new(),
            open_alerts: standing.open_alerts.clone(),
            unreturned_calls: standing.unreturned,
            unanswered_messages: standing.unanswered,
        }
    }
}

impl Member {
    fn new(id: ManagerId, windows: &[Window]) -> Self {
        let rolling = windows.iter().map(|window| Rolling::new(*window)).collect();
        Self { id, department: None, rolling, now: Standing::default() }
    }

    fn department(&self) -> DepartmentId {
        self.department.clone().unwrap_or_else(|| UNKNOWN.into())
    }
}

impl Standing {
    fn merge(&mut self, other: &Self) {
        other.awaiting.iter().for_each(|(since, n)| add(&mut self.awaiting, *since, *n));
        other.open.iter().for_each(|(spot, n)| add(&mut self.open, *spot, *n));
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
fn terms(offers: &[Offer], of: impl Fn(&Offer) -> bool) -> Terms {
    let mut deals = BTreeMap::<u32, bool>::new();
    let (mut n, mut sum) = (0u32, 0.0);
    for offer in offers.iter().filter(|offer| of(offer)) {
        *deals.entry(offer.deal).or_default() |= offer.special;
        n += 1;
        sum += offer.discount_percent;
    }
    Terms {
        offered: deals.len() as i64,
        special: deals.values().filter(|special| **special).count() as i64,
        mean_discount_percent: (n > 0).then(|| sum / f64::from(n)),
    }
}
