//! Owns the simulated sales floor: companies, managers with habits and customers with stories, as a stream of events.
//! Promises the same events for the same plan, on every platform and in every build, in order of their time, endless,
//! in memory bounded by the customers at hand; and it knows what must come out ([`Simulation::owed`]). Refuses the
//! clock, files and the network: whoever wants events at the right moment waits for it.
//!
//! ```text
//!  Plan ──► sources (roll call, leads, strangers) ──► customers ──► one queue of turns ──► Event
//!           by company, at the bustle of the hour     by script     by time
//! ```

mod agenda;
mod customer;
mod disorder;
mod expected;
mod plan;
mod random;
mod script;
mod shift;
#[cfg(test)]
mod tests;

pub use disorder::{Disturb, Duplicated, Shuffled};
pub use expected::{ExpectedAlert, Subject};
pub use plan::{Company, Habit, Member, Mix, Norm, Plan};
pub use shift::Shift;

use crate::domain::event::Event;
use crate::domain::time::Timestamp;
use agenda::{Agenda, ScheduledStep};
use customer::{Customer, Phase};
use random::Dice;
use script::{Books, Scene};

/// Norms that fit [`Plan::demo`], as a document of the configuration: prompt managers keep them all.
pub fn norms_yaml() -> &'static str {
    include_str!("sim/norms.yaml")
}

/// A sales floor at work: an endless stream of events in order of their time.
#[derive(Debug)]
pub struct Simulation {
    plan: Plan,
    books: Books,
    sources: Vec<ArrivalProcess>,
    customers: Vec<Customer>,
    /// Places in `customers` whose stories are over.
    free: Vec<u32>,
    /// The turns of sources, and behind the sources of customers.
    agenda: Agenda,
}

/// Where new things come from.
#[derive(Clone, Copy, Debug)]
struct ArrivalProcess {
    company: u32,
    kind: ArrivalKind,
    /// How many came: managers take them by turns.
    count: u32,
}

#[derive(Clone, Copy, Debug)]
enum ArrivalKind {
    /// Managers are presented, one a millisecond; this one is next.
    RollCall(u32),
    /// Leads of the work in hand, of which so many are left, this many microseconds apart on average.
    Stock(u32, i64),
    /// Leads, this many microseconds apart on average.
    Leads(i64),
    /// Calls by strangers, likewise.
    Strangers(i64),
}

const WORKDAY_MICROS: u64 = 9 * 3600 * 1_000_000;
/// The work in hand comes in over this time, at pace 1.
const STOCK_MICROS: i64 = 25 * 60 * 1_000_000;

impl Simulation {
    /// Opens the floor.
    pub fn new(plan: Plan) -> Self {
        let dice = Dice::new(plan.seed, 0);
        let books = Books { dice, events: 0, customers: 0, calls: 0, messages: 0, owed: Vec::new() };
        let mut floor = Self {
            books,
            sources: Vec::new(),
            customers: Vec::new(),
            free: Vec::new(),
            agenda: Agenda::default(),
            plan,
        };
        floor.open();
        floor
    }

    /// What must come out under the norms of the plan, of all that happened so far: every violation that a manager
    /// committed on purpose, in the order in which they were decided on. Empty unless the plan keeps it.
    pub fn owed(&self) -> &[ExpectedAlert] {
        &self.books.owed
    }

    /// The plan that is played.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many customers have a story that is not over.
    pub fn live(&self) -> usize {
        self.customers.len() - self.free.len()
    }

    fn open(&mut self) {
        let start = self.plan.start.0 * 1000;
        let apart = |per_day| i64::try_from(WORKDAY_MICROS / per_day).map_or(i64::MAX, |mean| mean.max(1));
        let mut sources = Vec::new();
        for (company, number) in self.plan.companies.iter().zip(0..) {
            if company.staff.is_empty() {
                continue;
            }
            let presented = start + company.staff.len() as i64 * 1000;
            let mut source = |kind, micros| sources.push((ArrivalProcess { company: number, kind, count: 0 }, micros));
            source(ArrivalKind::RollCall(0), start);
            if company.leads_per_day > 0 {
                let mean = apart(company.leads_per_day);
                source(ArrivalKind::Leads(mean), presented + self.books.dice.wait(mean));
            }
            if company.callers_per_day > 0 {
                let mean = apart(company.callers_per_day);
                source(ArrivalKind::Strangers(mean), presented + self.books.dice.wait(mean));
            }
            if company.stock > 0 {
                let mean = STOCK_MICROS / i64::from(self.plan.pace.max(1)) / i64::from(company.stock);
                source(ArrivalKind::Stock(company.stock, mean), presented + self.books.dice.wait(mean));
            }
        }
        for (who, (source, micros)) in (0..).zip(sources) {
            self.sources.push(source);
            self.agenda.enter(ScheduledStep { micros, who });
        }
    }

    /// The source's turn: its event, if it has one now, and when its next turn is.
    fn draw(&mut self, who: u32, micros: i64) -> (Option<Event>, Option<i64>) {
        let ArrivalProcess { company, kind, count } = self.sources[who as usize];
        let (mean, phase) = match kind {
            ArrivalKind::RollCall(member) => return self.roll_call(who, member, micros),
            ArrivalKind::Stock(left, mean) => {
                self.sources[who as usize].kind = ArrivalKind::Stock(left - 1, mean);
                let next = (left > 1).then(|| micros + self.books.dice.wait(mean));
                return (Some(self.enter(company, left, Phase::Lead, micros, true)), next);
            }
            ArrivalKind::Leads(mean) => (mean, Phase::Lead),
            ArrivalKind::Strangers(mean) => (mean, Phase::Stranger),
        };
        let next = Some(micros.saturating_add(self.books.dice.wait(mean)));
        let bustle = self.plan.shift.bustle(Timestamp(micros / 1000));
        let comes = bustle == 100 || self.books.dice.chance(bustle);
        if !comes {
            return (None, next);
        }
        self.sources[who as usize].count = count.wrapping_add(1);
        (Some(self.enter(company, count, phase, micros, false)), next)
    }

    fn roll_call(&mut self, who: u32, member: u32, micros: i64) -> (Option<Event>, Option<i64>) {
        let company = &self.plan.companies[self.sources[who as usize].company as usize];
        let mut scene = Scene { plan: &self.plan, company, books: &mut self.books, now: Timestamp(micros / 1000) };
        let event = scene.present(&company.staff[member as usize]);
        self.sources[who as usize].kind = ArrivalKind::RollCall(member + 1);
        let more = (member as usize + 1) < company.staff.len();
        (Some(event), more.then_some(micros + 1000))
    }

    /// A customer turns in.
    fn enter(&mut self, company: u32, count: u32, phase: Phase, micros: i64, in_hand: bool) -> Event {
        let member = count % self.plan.companies[company as usize].staff.len() as u32;
        self.books.customers += 1;
        let dice = &mut self.books.dice;
        let mut customer = Customer::new(self.books.customers, company, member, phase, dice);
        let (low, high) = self.plan.mix.weights().lead_rounds;
        customer.rounds = dice.between(low, high) as u8;
        if in_hand {
            customer.rounds = dice.between(0, i64::from(customer.rounds)) as u8;
        }
        let place = self.free.pop().unwrap_or(self.customers.len() as u32);
        if place as usize == self.customers.len() {
            self.customers.push(customer);
        } else {
            self.customers[place as usize] = customer;
        }
        let (event, next) = self.play(place, micros);
        self.come_again(place, next);
        event
    }

    fn play(&mut self, place: u32, micros: i64) -> (Event, Option<i64>) {
        let customer = &mut self.customers[place as usize];
        let company = &self.plan.companies[customer.company as usize];
        let mut scene = Scene { plan: &self.plan, company, books: &mut self.books, now: Timestamp(micros / 1000) };
        let (event, next) = scene.play(customer);
        (event, next.map(|next| next.0 * 1000))
    }

    /// Reads a customer whose turn comes soon, to no purpose but that the memory has sent it by then. With half a
    /// million customers at hand a fifth of all time would be spent waiting for it.
    fn fetch_ahead(&self) {
        let place = self.agenda.soon().and_then(|who| who.checked_sub(self.sources.len() as u32));
        if let Some(place) = place {
            std::hint::black_box(self.customers[place as usize].company);
        }
    }

    /// Enters the customer's next turn, or forgets a customer whose story is over.
    fn come_again(&mut self, place: u32, next: Option<i64>) {
        match next {
            Some(micros) => self.agenda.enter(ScheduledStep { micros, who: place + self.sources.len() as u32 }),
            None => self.free.push(place),
        }
    }
}

impl Iterator for Simulation {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let ScheduledStep { micros, who } = self.agenda.next()?;
            self.fetch_ahead();
            if let Some(place) = who.checked_sub(self.sources.len() as u32) {
                let (event, next) = self.play(place, micros);
                self.come_again(place, next);
                return Some(event);
            }
            let (event, next) = self.draw(who, micros);
            if let Some(micros) = next {
                self.agenda.enter(ScheduledStep { micros, who });
            }
            if event.is_some() {
                return event;
            }
        }
    }
}
