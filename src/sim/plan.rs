//! Owns what is simulated: which companies, how many customers turn to them, and the habits of their managers, each
//! bad one with one vice. Promises that habits are measured in parts of the norms: who is late is late by a fifth at
//! least, and who is in time leaves a quarter of it. Refuses to throw dice.

use super::shift::Shift;
use crate::domain::id::{DepartmentId, ManagerId, TenantId};
use crate::domain::time::{Span, Timestamp};
use compact_str::{CompactString, format_compact};

/// A simulated sales floor.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that chance decides.
    pub seed: u64,
    /// The first event; customers turn in from then on.
    pub start: Timestamp,
    /// When the staff work.
    pub shift: Shift,
    /// Who takes part.
    pub companies: Vec<Company>,
    /// What the staff know to be wanted of them: habits are measured in parts of it.
    pub norm: Norm,
    /// How many times faster than in life customers and calls go by; 1 for a demonstration. Only what is late on
    /// purpose takes its time.
    pub pace: u32,
    /// What customers and managers do with each other.
    pub mix: Mix,
    /// Whether [`Simulation::owed`](super::Simulation::owed) is kept; it grows as long as the simulation runs.
    pub keeps_owed: bool,
}

/// A simulated company.
#[derive(Clone, Debug)]
pub struct Company {
    /// Its id.
    pub tenant: TenantId,
    /// Its managers; without any nothing happens in it.
    pub staff: Vec<Member>,
    /// How many leads come in on a working day of nine hours.
    pub leads_per_day: u64,
    /// How many strangers ring on such a day.
    pub callers_per_day: u64,
    /// How many leads come in at once at the start, with a part of their story before them: the work in hand.
    pub stock: u32,
    /// Whether its CRM sends whole leads and deals whenever they change, and never says what changed.
    pub snapshots: bool,
}

/// A simulated manager.
#[derive(Clone, Debug)]
pub struct Member {
    /// The manager's id.
    pub id: ManagerId,
    /// Where the manager works.
    pub department: DepartmentId,
    /// The manager's grade.
    pub grade: CompactString,
    /// How the manager works.
    pub habit: Habit,
}

/// What the staff know to be wanted of them, in working time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// From a lead to the first touch.
    pub first_response: Span,
    /// From a missed call to the call back.
    pub call_back: Span,
    /// From a customer's message to the answer.
    pub reply: Span,
}

impl Norm {
    /// The norms of [`norms_yaml`](super::norms_yaml): 15 minutes, 30 minutes, an hour.
    pub const DEMO: Self =
        Self { first_response: Span(15 * Span::MINUTE.0), call_back: Span(30 * Span::MINUTE.0), reply: Span::HOUR };
}

/// How a manager works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Habit {
    /// Answers at once and sells well.
    Brisk,
    /// Takes more time and misses more calls, but keeps every norm.
    Average,
    /// Answers most leads and many messages too late.
    AnswersLate,
    /// Misses most calls and returns few of them in time.
    IgnoresCalls,
    /// Lets leads, messages and deals lie; some leads are never answered.
    LetsLie,
    /// Turns most leads down without a call, and often without a reason.
    DisqualifiesFast,
    /// Sells by discounts that nobody allowed.
    GivesDiscounts,
}

impl Habit {
    /// Whether the manager violates norms on purpose.
    pub fn is_vice(self) -> bool {
        !matches!(self, Self::Brisk | Self::Average)
    }

    /// The habit in numbers.
    pub(super) const fn traits(self) -> Traits {
        let average = Traits {
            prompt: (20, 70),
            answers_late: 0,
            abandons: 0,
            replies_late: 0,
            misses: 30,
            ignores: 0,
            turns_down: 0,
            discounts: 0,
            converts: 33,
            slowness: 1,
            score: (60, 90),
        };
        match self {
            Self::Brisk => Traits { prompt: (5, 35), misses: 15, converts: 45, score: (75, 100), ..average },
            Self::Average => average,
            Self::AnswersLate => {
                Traits { answers_late: 70, replies_late: 40, converts: 22, score: (40, 75), ..average }
            }
            Self::IgnoresCalls => Traits { misses: 75, ignores: 75, converts: 25, score: (35, 75), ..average },
            Self::LetsLie => Traits {
                answers_late: 35,
                abandons: 30,
                replies_late: 50,
                converts: 15,
                slowness: 6,
                score: (30, 70),
                ..average
            },
            Self::DisqualifiesFast => Traits { turns_down: 60, converts: 12, score: (20, 60), ..average },
            Self::GivesDiscounts => Traits { discounts: 75, converts: 50, score: (50, 85), ..average },
        }
    }
}

/// A habit in numbers: chances and parts of norms in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// The part of a norm that an act in time takes.
    pub(super) prompt: (i64, i64),
    /// Leads answered too late.
    pub(super) answers_late: u32,
    /// Leads never answered.
    pub(super) abandons: u32,
    /// Messages answered too late.
    pub(super) replies_late: u32,
    /// Calls missed.
    pub(super) misses: u32,
    /// Missed calls not returned in time.
    pub(super) ignores: u32,
    /// Leads turned down untouched.
    pub(super) turns_down: u32,
    /// Offers beyond the policy.
    pub(super) discounts: u32,
    /// Leads that become deals.
    pub(super) converts: u32,
    /// How many times longer than others everything else takes.
    pub(super) slowness: i64,
    /// Scores of reviews.
    pub(super) score: (i64, i64),
}

/// What customers and managers do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// A little of everything: short stories, soon over.
    Varied,
    /// As in call centres: 60 % of the events are calls, 20 % messages, 20 % the CRM's.
    Telephony,
}

/// A mix in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    /// Rounds in a lead's story.
    pub(super) lead_rounds: (i64, i64),
    /// Rounds in each stage of a deal.
    pub(super) deal_rounds: (i64, i64),
    /// How many rounds in a hundred are calls by the manager.
    pub(super) dials: u32,
    /// Calls by the customer.
    pub(super) rings: u32,
    /// Questions by the customer.
    pub(super) asks: u32,
    /// Letters by the manager; the rest are meetings.
    pub(super) writes: u32,
}

impl Mix {
    /// The mix in numbers.
    pub(super) const fn weights(self) -> Weights {
        match self {
            Self::Varied => {
                Weights { lead_rounds: (1, 3), deal_rounds: (0, 2), dials: 30, rings: 25, asks: 25, writes: 12 }
            }
            Self::Telephony => {
                Weights { lead_rounds: (3, 8), deal_rounds: (1, 3), dials: 39, rings: 29, asks: 21, writes: 10 }
            }
        }
    }
}

/// Monday, 10:00 in Moscow.
pub(super) const MONDAY: Timestamp = Timestamp(1_772_434_800_000);
const NINE_HOURS: u64 = 9 * 3600;
/// What a lead of a load, and the strangers that come with it, amount to on average.
const EVENTS_PER_LEAD: u64 = 32;
/// A stranger rings for every so many leads of a load.
const LEADS_PER_CALLER: u64 = 4;
/// How long a lead of a load is in hand at pace 1, in seconds.
const IN_HAND: u64 = 7200;
/// How many leads a manager of a load has in hand.
const LEADS_IN_HAND: u64 = 4;

impl Plan {
    /// Two companies of Moscow with three departments and thirteen managers, on a Monday from 10:00. Every vice is
    /// there, and shows within the hour.
    pub fn demo(seed: u64) -> Self {
        use Habit::{AnswersLate, Average, Brisk, DisqualifiesFast, GivesDiscounts, IgnoresCalls, LetsLie};
        let romashka = [
            ("anna", "moscow", Brisk),
            ("boris", "moscow", Average),
            ("vera", "moscow", AnswersLate),
            ("gleb", "moscow", IgnoresCalls),
            ("daria", "petersburg", Brisk),
            ("egor", "petersburg", Average),
            ("zhanna", "petersburg", LetsLie),
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
            keeps_owed: true,
        }
    }

    /// `tenants` companies of equal size with `managers` each, and an even rate of events by day and night. One manager
    /// in ten has a vice; one company in ten sends snapshots.
    ///
    /// `events_per_second` is of event time, over all companies, and holds to about a tenth once the first few minutes
    /// (divided by the pace) are over. The higher it is, the faster everything in time goes by ([`Plan::pace`]), so
    /// that a manager has a handful of leads in hand at every rate. What is late on purpose is late by [`Plan::norm`];
    /// for alerts in a short run make that short, in the plan and in the norms.
    pub fn load(seed: u64, tenants: u32, managers: u32, events_per_second: u32) -> Self {
        let (tenants, managers) = (u64::from(tenants.max(1)), u64::from(managers.max(1)));
        let events = u64::from(events_per_second.max(1));
        let leads_per_day = (events * NINE_HOURS / EVENTS_PER_LEAD / tenants).max(1);
        let in_hand = leads_per_day * IN_HAND / NINE_HOURS;
        let pace = (in_hand / (managers * LEADS_IN_HAND)).clamp(1, 100_000);
        let crew = |tenant| Company {
            tenant: format_compact!("tenant-{tenant}").as_str().into(),
            staff: (1..=managers).map(|manager| member(tenant, manager, (tenant - 1) * managers + manager)).collect(),
            leads_per_day,
            callers_per_day: leads_per_day / LEADS_PER_CALLER,
            stock: u32::try_from(in_hand / pace).unwrap_or(u32::MAX),
            snapshots: tenant % 10 == 0,
        };
        Self {
            seed,
            start: MONDAY,
            shift: Shift::Always,
            companies: (1..=tenants).map(crew).collect(),
            norm: Norm::DEMO,
            pace: pace as u32,
            mix: Mix::Telephony,
            keeps_owed: false,
        }
    }
}

/// A company of the demonstration: in each department of four a lead a minute, and two strangers on the phone.
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
    Company { tenant: tenant.into(), staff, leads_per_day, callers_per_day, stock: 0, snapshots: false }
}

/// A manager of a load: of ten, one has a vice.
fn member(tenant: u64, manager: u64, number: u64) -> Member {
    const VICES: [Habit; 5] =
        [Habit::AnswersLate, Habit::IgnoresCalls, Habit::LetsLie, Habit::DisqualifiesFast, Habit::GivesDiscounts];
    let habit = match number % 10 {
        0..5 => Habit::Brisk,
        5..9 => Habit::Average,
        _ => VICES[(number / 10 % 5) as usize],
    };
    Member {
        id: format_compact!("m{tenant}-{manager}").as_str().into(),
        department: format_compact!("department-{}", manager.div_ceil(12)).as_str().into(),
        grade: if habit == Habit::Brisk { "senior" } else { "middle" }.into(),
        habit,
    }
}
