//! What is simulated: companies, arrival rates, and the habits of managers, each bad habit breaking one kind of norm.
//!
//! Habits are measured in fractions of the norms: a late act is late by at least a fifth of its norm, an act in time
//! leaves at least a quarter of it. Nothing here is random.

use super::shift::Shift;
use crate::domain::id::{DepartmentId, ManagerId, TenantId};
use crate::domain::time::{Span, Timestamp};
use compact_str::{CompactString, format_compact};

/// The plan of a simulation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Seed of all random choices.
    pub seed: u64,
    /// Event time of the first event; customers arrive from then on.
    pub start: Timestamp,
    /// Working hours.
    pub shift: Shift,
    /// The companies.
    pub companies: Vec<Company>,
    /// The deadlines that habits are measured against.
    pub norm: Norm,
    /// How many times faster than in reality customers and calls proceed; 1 in the demo. Deliberate delays are not
    /// shortened.
    pub pace: u32,
    /// The mix of interactions.
    pub mix: Mix,
    /// Whether [`Simulation::expected`](super::Simulation::expected) is recorded; it grows for as long as the
    /// simulation runs.
    pub keeps_expected: bool,
}

/// A simulated company.
#[derive(Clone, Debug)]
pub struct Company {
    /// The tenant id.
    pub tenant: TenantId,
    /// The managers; a company without managers produces no events.
    pub staff: Vec<Member>,
    /// New leads per working day of nine hours.
    pub leads_per_day: u64,
    /// Calls from unknown numbers per working day.
    pub callers_per_day: u64,
    /// How many leads are in progress at the start, each with only a part of its story left.
    pub backlog: u32,
    /// Whether the CRM sends snapshots of leads and deals instead of changes.
    pub snapshots: bool,
}

/// A simulated manager.
#[derive(Clone, Debug)]
pub struct Member {
    /// The manager's id.
    pub id: ManagerId,
    /// The manager's department.
    pub department: DepartmentId,
    /// The manager's grade.
    pub grade: CompactString,
    /// The manager's habit.
    pub habit: Habit,
}

/// The deadlines that the staff know, in working time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// From a new lead to the first touch.
    pub first_response: Span,
    /// From a missed call to the call back.
    pub call_back: Span,
    /// From a customer's message to the reply.
    pub reply: Span,
    /// From the deadline of a planned activity to its completion.
    pub next_step: Span,
}

impl Norm {
    /// The norms of [`norms_yaml`](super::norms_yaml): 15 minutes, 30 minutes, an hour, 15 minutes.
    pub const DEMO: Self = Self {
        first_response: Span(15 * Span::MINUTE.0),
        call_back: Span(30 * Span::MINUTE.0),
        reply: Span::HOUR,
        next_step: Span(15 * Span::MINUTE.0),
    };
}

/// How a manager works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Habit {
    /// Responds at once and converts well.
    Brisk,
    /// Takes more time and misses more calls, but keeps every norm.
    Average,
    /// Responds to most leads and many messages too late, and is late for meetings.
    AnswersLate,
    /// Misses most calls and returns few of them in time, and is late for meetings.
    IgnoresCalls,
    /// Neglects leads, messages and deals; some leads never get a response, some meetings do not take place.
    Neglects,
    /// Disqualifies most leads without a call, and often without a reason.
    DisqualifiesFast,
    /// Gives discounts without approval.
    GivesDiscounts,
}

impl Habit {
    /// Whether a manager with this habit violates norms deliberately.
    pub fn breaks_norms(self) -> bool {
        !matches!(self, Self::Brisk | Self::Average)
    }

    pub(super) const fn traits(self) -> Traits {
        let average = Traits {
            prompt: (20, 70),
            answers_late: 0,
            abandons: 0,
            replies_late: 0,
            misses_plans: 0,
            misses: 30,
            ignores: 0,
            disqualifies_untouched: 0,
            discounts: 0,
            converts: 33,
            slowness: 1,
            score: (60, 90),
        };
        match self {
            Self::Brisk => Traits { prompt: (5, 35), misses: 15, converts: 45, score: (75, 100), ..average },
            Self::Average => average,
            Self::AnswersLate => Traits {
                answers_late: 70,
                replies_late: 40,
                misses_plans: 50,
                converts: 22,
                score: (40, 75),
                ..average
            },
            Self::IgnoresCalls => {
                Traits { misses_plans: 40, misses: 75, ignores: 75, converts: 25, score: (35, 75), ..average }
            }
            Self::Neglects => Traits {
                answers_late: 35,
                abandons: 30,
                replies_late: 50,
                misses_plans: 70,
                converts: 15,
                slowness: 6,
                score: (30, 70),
                ..average
            },
            Self::DisqualifiesFast => Traits { disqualifies_untouched: 60, converts: 12, score: (20, 60), ..average },
            Self::GivesDiscounts => Traits { discounts: 75, converts: 50, score: (50, 85), ..average },
        }
    }
}

/// A habit in numbers: probabilities and fractions of norms, in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// The fraction of a norm that an act in time takes: minimum and maximum.
    pub(super) prompt: (i64, i64),
    /// Leads responded to too late.
    pub(super) answers_late: u32,
    /// Leads never responded to.
    pub(super) abandons: u32,
    /// Messages replied to too late.
    pub(super) replies_late: u32,
    /// Planned activities done too late, or never.
    pub(super) misses_plans: u32,
    /// Inbound calls missed.
    pub(super) misses: u32,
    /// Missed calls not returned in time.
    pub(super) ignores: u32,
    /// Leads disqualified without any touch.
    pub(super) disqualifies_untouched: u32,
    /// Offers that exceed the policy.
    pub(super) discounts: u32,
    /// Leads converted to deals.
    pub(super) converts: u32,
    /// How many times longer everything else takes.
    pub(super) slowness: i64,
    /// Review scores: minimum and maximum.
    pub(super) score: (i64, i64),
}

/// The mix of interactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// All kinds, in short stories.
    Varied,
    /// As in call centers: 60 % of the events are calls, 20 % messages, 20 % from the CRM.
    Telephony,
}

/// A mix in numbers. A round is one interaction; its kinds are in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    /// Rounds per lead: minimum and maximum.
    pub(super) lead_rounds: (i64, i64),
    /// Rounds per stage of a deal: minimum and maximum.
    pub(super) deal_rounds: (i64, i64),
    /// Calls by the manager.
    pub(super) outbound_calls: u32,
    /// Calls by the customer.
    pub(super) inbound_calls: u32,
    /// Messages by the customer.
    pub(super) questions: u32,
    /// Messages by the manager. The rest are meetings.
    pub(super) messages: u32,
}

impl Mix {
    pub(super) const fn weights(self) -> Weights {
        match self {
            Self::Varied => Weights {
                lead_rounds: (1, 3),
                deal_rounds: (0, 2),
                outbound_calls: 30,
                inbound_calls: 25,
                questions: 25,
                messages: 12,
            },
            Self::Telephony => Weights {
                lead_rounds: (3, 8),
                deal_rounds: (1, 3),
                outbound_calls: 39,
                inbound_calls: 29,
                questions: 21,
                messages: 10,
            },
        }
    }
}

/// Monday, 10:00 in Moscow.
pub(super) const MONDAY: Timestamp = Timestamp(1_772_434_800_000);
const NINE_HOURS: u64 = 9 * 3600;
/// Average events per lead of a load, including those of the unknown callers.
const EVENTS_PER_LEAD: u64 = 33;
/// Leads per unknown caller in a load.
const LEADS_PER_CALLER: u64 = 4;
/// Average duration of a lead of a load at pace 1, in seconds.
const LEAD_SECONDS: u64 = 7200;
/// Concurrent leads per manager in a load.
const LEADS_PER_MANAGER: u64 = 4;

impl Plan {
    /// Two companies in Moscow with three departments and thirteen managers, on a Monday from 10:00. Every bad habit
    /// occurs and causes violations within the hour.
    pub fn demo(seed: u64) -> Self {
        use Habit::{AnswersLate, Average, Brisk, DisqualifiesFast, GivesDiscounts, IgnoresCalls, Neglects};
        let romashka = [
            ("anna", "moscow", Brisk),
            ("boris", "moscow", Average),
            ("vera", "moscow", AnswersLate),
            ("gleb", "moscow", IgnoresCalls),
            ("daria", "petersburg", Brisk),
            ("egor", "petersburg", Average),
            ("zhanna", "petersburg", Neglects),
            ("ilya", "petersburg", GivesDiscounts),
        ];
        let northwind = [
            ("olga", "field", Brisk),
            ("pavel", "field", Average),
            ("roman", "field", DisqualifiesFast),
            ("svetlana", "field", IgnoresCalls),
            ("timur", "field", AnswersLate),
        ];
        let mut companies = vec![company("romashka", &romashka), company("northwind", &northwind)];
        companies[1].snapshots = true;
        Self {
            seed,
            start: MONDAY,
            shift: Shift::Moscow,
            companies,
            norm: Norm::DEMO,
            pace: 1,
            mix: Mix::Varied,
            keeps_expected: true,
        }
    }

    /// `tenants` companies of equal size with `managers` each, and an even rate of events around the clock. One manager
    /// in ten has a bad habit; one company in ten sends snapshots.
    ///
    /// `events_per_second` is in event time, over all companies, and accurate to about 10 % after the first few minutes
    /// (divided by the pace). The higher it is, the faster stories proceed ([`Plan::pace`]), so that a manager has a
    /// handful of concurrent leads at every rate. Deliberate delays are measured in [`Plan::norm`]: to get alerts in a
    /// short run, shorten it in the plan and in the norms.
    pub fn load(seed: u64, tenants: u32, managers: u32, events_per_second: u32) -> Self {
        let (tenants, managers) = (u64::from(tenants.max(1)), u64::from(managers.max(1)));
        let events = u64::from(events_per_second.max(1));
        let leads_per_day = (events * NINE_HOURS / EVENTS_PER_LEAD / tenants).max(1);
        let concurrent_leads = leads_per_day * LEAD_SECONDS / NINE_HOURS;
        let pace = (concurrent_leads / (managers * LEADS_PER_MANAGER)).clamp(1, 100_000);
        let company = |tenant| Company {
            tenant: format_compact!("tenant-{tenant}").as_str().into(),
            staff: (1..=managers).map(|manager| member(tenant, manager, (tenant - 1) * managers + manager)).collect(),
            leads_per_day,
            callers_per_day: leads_per_day / LEADS_PER_CALLER,
            backlog: u32::try_from(concurrent_leads / pace).unwrap_or(u32::MAX),
            snapshots: tenant % 10 == 0,
        };
        Self {
            seed,
            start: MONDAY,
            shift: Shift::Always,
            companies: (1..=tenants).map(company).collect(),
            norm: Norm::DEMO,
            pace: pace as u32,
            mix: Mix::Telephony,
            keeps_expected: false,
        }
    }
}

/// A company of the demo: for every four managers one lead and two unknown callers a minute.
fn company(tenant: &str, staff: &[(&str, &str, Habit)]) -> Company {
    let staff: Vec<Member> = staff
        .iter()
        .map(|&(id, department, habit)| Member {
            id: id.into(),
            department: department.into(),
            grade: if habit == Habit::Brisk { "senior" } else { "middle" }.into(),
            habit,
        })
        .collect();
    let leads_per_day = 9 * 60 * staff.len() as u64 / 4;
    let callers_per_day = 2 * leads_per_day;
    Company { tenant: tenant.into(), staff, leads_per_day, callers_per_day, backlog: 0, snapshots: false }
}

/// A manager of a load: one in ten has a bad habit.
fn member(tenant: u64, manager: u64, index: u64) -> Member {
    const BAD_HABITS: [Habit; 5] =
        [Habit::AnswersLate, Habit::IgnoresCalls, Habit::Neglects, Habit::DisqualifiesFast, Habit::GivesDiscounts];
    let habit = match index % 10 {
        0..5 => Habit::Brisk,
        5..9 => Habit::Average,
        _ => BAD_HABITS[(index / 10 % 5) as usize],
    };
    Member {
        id: format_compact!("m{tenant}-{manager}").as_str().into(),
        department: format_compact!("department-{}", manager.div_ceil(12)).as_str().into(),
        grade: if habit == Habit::Brisk { "senior" } else { "middle" }.into(),
        habit,
    }
}
