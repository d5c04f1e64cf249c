//! Simulates sales departments (companies, managers with habits, customers with stories) as a stream of events.
//!
//! The stream is endless and ordered by event time. The same plan gives the same events on every platform and in every
//! build. Memory is bounded by the number of active customers. [`Simulation::expected`] lists the alerts that the
//! events must cause. The simulation uses no wall clock, files or network: pacing is up to the caller.
//!
//! ```text
//!  Plan ──► arrivals (managers, leads, unknown callers) ──► customers ──► queue of steps ──► Event
//!           per company, at the hourly arrival rate         scripted      by event time
//! ```

mod agenda;
mod calls;
mod customer;
mod disorder;
mod expected;
mod plan;
pub mod portal;
mod random;
mod script;
mod shift;
#[cfg(test)]
mod tests;

pub use disorder::{Disorder, Duplicated, Shuffled};
pub use expected::{ExpectedAlert, Subject};
pub use plan::{Company, Habit, Member, Mix, Norm, Plan};
pub use shift::Shift;

use crate::domain::event::Event;
use crate::domain::time::Timestamp;
use agenda::{Agenda, ScheduledStep};
use customer::{Customer, Phase};
use random::Random;
use script::{SharedState, StepContext};

/// A norms document for [`Plan::demo`]: prompt managers keep all of its norms.
pub fn norms_yaml() -> &'static str {
    include_str!("sim/norms.yaml")
}

/// An endless stream of events in order of event time.
#[derive(Debug)]
pub struct Simulation {
    plan: Plan,
    shared: SharedState,
    sources: Vec<ArrivalProcess>,
    customers: Vec<Customer>,
    /// Indexes in `customers` whose stories have ended.
    free: Vec<u32>,
    /// The steps to come. Actors are numbered: first `sources`, then `customers`.
    agenda: Agenda,
}

/// A process that creates customers or announces managers.
#[derive(Clone, Copy, Debug)]
struct ArrivalProcess {
    company: u32,
    kind: ArrivalKind,
    /// Arrivals so far; they are assigned to managers round-robin.
    count: u32,
}

#[derive(Clone, Copy, Debug)]
enum ArrivalKind {
    /// Announces the managers, one per millisecond: index of the next one.
    ManagerAnnouncements(u32),
    /// Leads that are already in progress at the start: how many are left, mean interarrival time in microseconds.
    Backlog(u32, i64),
    /// New leads: mean interarrival time in microseconds.
    Leads(i64),
    /// Calls from unknown numbers: mean interarrival time in microseconds.
    UnknownCallers(i64),
}

const WORKDAY_MICROS: u64 = 9 * 3600 * 1_000_000;
/// The backlog arrives within this time, at pace 1.
const BACKLOG_MICROS: i64 = 25 * 60 * 1_000_000;

impl Simulation {
    /// Starts a simulation.
    pub fn new(plan: Plan) -> Self {
        let random = Random::new(plan.seed, 0);
        let shared = SharedState { random, events: 0, customers: 0, calls: 0, messages: 0, expected: Vec::new() };
        let mut simulation = Self {
            shared,
            sources: Vec::new(),
            customers: Vec::new(),
            free: Vec::new(),
            agenda: Agenda::default(),
            plan,
        };
        simulation.schedule_arrivals();
        simulation
    }

    /// The alerts that the events so far must cause under the plan's norms: every deliberate violation, in the order in
    /// which the simulation decided on it. Empty unless [`Plan::keeps_expected`] is set.
    pub fn expected(&self) -> &[ExpectedAlert] {
        &self.shared.expected
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many customers have a story in progress.
    pub fn active_customers(&self) -> usize {
        self.customers.len() - self.free.len()
    }

    fn schedule_arrivals(&mut self) {
        let start = self.plan.start.0 * 1000;
        let mean_gap = |per_day| i64::try_from(WORKDAY_MICROS / per_day).map_or(i64::MAX, |mean| mean.max(1));
        let mut sources = Vec::new();
        for (company, index) in self.plan.companies.iter().zip(0..) {
            if company.staff.is_empty() {
                continue;
            }
            let announced = start + company.staff.len() as i64 * 1000;
            let mut source = |kind, micros| sources.push((ArrivalProcess { company: index, kind, count: 0 }, micros));
            source(ArrivalKind::ManagerAnnouncements(0), start);
            if company.leads_per_day > 0 {
                let mean = mean_gap(company.leads_per_day);
                source(ArrivalKind::Leads(mean), announced + self.shared.random.arrival_gap(mean));
            }
            if company.callers_per_day > 0 {
                let mean = mean_gap(company.callers_per_day);
                source(ArrivalKind::UnknownCallers(mean), announced + self.shared.random.arrival_gap(mean));
            }
            if company.backlog > 0 {
                let mean = BACKLOG_MICROS / i64::from(self.plan.pace.max(1)) / i64::from(company.backlog);
                source(ArrivalKind::Backlog(company.backlog, mean), announced + self.shared.random.arrival_gap(mean));
            }
        }
        for (actor, (source, micros)) in (0..).zip(sources) {
            self.sources.push(source);
            self.agenda.schedule(ScheduledStep { micros, actor });
        }
    }

    /// Runs one step of an arrival process: its event, if any, and when its next step is due.
    fn poll_source(&mut self, actor: u32, micros: i64) -> (Option<Event>, Option<i64>) {
        let ArrivalProcess { company, kind, count } = self.sources[actor as usize];
        let (mean, phase) = match kind {
            ArrivalKind::ManagerAnnouncements(member) => return self.announce_next_manager(actor, member, micros),
            ArrivalKind::Backlog(left, mean) => {
                self.sources[actor as usize].kind = ArrivalKind::Backlog(left - 1, mean);
                let next = (left > 1).then(|| micros + self.shared.random.arrival_gap(mean));
                return (Some(self.add_customer(company, left, Phase::Lead, micros, true)), next);
            }
            ArrivalKind::Leads(mean) => (mean, Phase::Lead),
            ArrivalKind::UnknownCallers(mean) => (mean, Phase::UnknownCaller),
        };
        let next = Some(micros.saturating_add(self.shared.random.arrival_gap(mean)));
        let arrival_percent = self.plan.shift.arrival_percent(Timestamp(micros / 1000));
        let arrives = arrival_percent == 100 || self.shared.random.chance(arrival_percent);
        if !arrives {
            return (None, next);
        }
        self.sources[actor as usize].count = count.wrapping_add(1);
        (Some(self.add_customer(company, count, phase, micros, false)), next)
    }

    fn announce_next_manager(&mut self, actor: u32, member: u32, micros: i64) -> (Option<Event>, Option<i64>) {
        let company = &self.plan.companies[self.sources[actor as usize].company as usize];
        let mut context =
            StepContext { plan: &self.plan, company, shared: &mut self.shared, now: Timestamp(micros / 1000) };
        let event = context.announce(&company.staff[member as usize]);
        self.sources[actor as usize].kind = ArrivalKind::ManagerAnnouncements(member + 1);
        let more = (member as usize + 1) < company.staff.len();
        (Some(event), more.then_some(micros + 1000))
    }

    /// Adds a customer and runs the first step of its story.
    fn add_customer(&mut self, company: u32, count: u32, phase: Phase, micros: i64, from_backlog: bool) -> Event {
        let member = count % self.plan.companies[company as usize].staff.len() as u32;
        self.shared.customers += 1;
        let random = &mut self.shared.random;
        let mut customer = Customer::new(self.shared.customers, company, member, phase, random);
        let (low, high) = self.plan.mix.weights().lead_rounds;
        customer.rounds = random.between(low, high) as u8;
        if from_backlog {
            customer.rounds = random.between(0, i64::from(customer.rounds)) as u8;
        }
        let slot = self.free.pop().unwrap_or(self.customers.len() as u32);
        if slot as usize == self.customers.len() {
            self.customers.push(customer);
        } else {
            self.customers[slot as usize] = customer;
        }
        let (event, next) = self.run_step(slot, micros);
        self.schedule_next(slot, next);
        event
    }

    fn run_step(&mut self, slot: u32, micros: i64) -> (Event, Option<i64>) {
        let customer = &mut self.customers[slot as usize];
        let company = &self.plan.companies[customer.company as usize];
        let mut context =
            StepContext { plan: &self.plan, company, shared: &mut self.shared, now: Timestamp(micros / 1000) };
        let (event, next) = context.run_step(customer);
        (event, next.map(|next| next.0 * 1000))
    }

    /// Prefetches a customer whose step is due soon. With half a million active customers, a fifth of the time would
    /// otherwise go to cache misses.
    fn prefetch(&self) {
        let slot = self.agenda.peek_ahead().and_then(|actor| actor.checked_sub(self.sources.len() as u32));
        if let Some(slot) = slot {
            std::hint::black_box(self.customers[slot as usize].company);
        }
    }

    /// Schedules the customer's next step, or frees its slot if the story has ended.
    fn schedule_next(&mut self, slot: u32, next: Option<i64>) {
        match next {
            Some(micros) => self.agenda.schedule(ScheduledStep { micros, actor: slot + self.sources.len() as u32 }),
            None => self.free.push(slot),
        }
    }
}

impl Iterator for Simulation {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let ScheduledStep { micros, actor } = self.agenda.next()?;
            self.prefetch();
            if let Some(slot) = actor.checked_sub(self.sources.len() as u32) {
                let (event, next) = self.run_step(slot, micros);
                self.schedule_next(slot, next);
                return Some(event);
            }
            let (event, next) = self.poll_source(actor, micros);
            if let Some(micros) = next {
                self.agenda.schedule(ScheduledStep { micros, actor });
            }
            if event.is_some() {
                return event;
            }
        }
    }
}
