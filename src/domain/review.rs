//! Owns review sampling: which of a manager's interactions of a day somebody listens to or reads, and which of these
//! requests wait for their review.
//!
//! **The sample.** Of the day's conversations of at least `min_talk` and its sent messages (not the automatic ones: nobody
//! reviews a robot), those with the lowest HMAC-SHA-256 of their id: uniform, whatever the volume; the same in every
//! replay; and nobody who does not have the key can tell beforehand which it will be. Only that many are kept.
//!
//! **The day** is that of the calendar of the manager's department, in its time zone; without a calendar it is UTC's. An
//! interaction belongs to the day in which it became known, a call to that of its end, so that a day is complete when it
//! ends: its sample is made in its last millisecond, after all events of that instant. Norm and calendar are those of
//! the department that the manager is in at the first interaction of the day; they stay to its end. When he comes to
//! another time zone, the next day begins where that one ended: no day is sampled twice.
//!
//! **Late events** take part in a day that runs and never change a sample that was made. Whose an interaction is stays
//! as it was when it became known, also if a late event shows somebody else.
//!
//! **Requests** are open until a review comes, or until it would be as late as an event that is refused.

use super::calendar::Calendar;
use super::effect::{Effect, ManagerIx};
use super::event::{Channel, Direction, EventOrder, Outcome};
use super::id::{DepartmentId, EntityId, ManagerId, PipelineId, StageId, TenantId};
use super::identity;
use super::indexed_arena::IndexedArena;
use super::journey::Journey;
use super::norms::ReviewSampling;
use super::tenant_context::{TenantContext, Timer};
use super::time::{Span, Timestamp};
use compact_str::CompactString;
use jiff::civil::Date;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// A call or message that somebody is asked to review.
#[derive(Clone, Debug, PartialEq)]
pub struct ReviewRequest {
    /// The company.
    pub tenant: TenantId,
    /// Whose it is.
    pub manager: ManagerId,
    /// His department when the day ends, `unknown` if none.
    pub department: DepartmentId,
    /// The call or message.
    pub interaction: CompactString,
    /// What it is.
    pub medium: Medium,
    /// Its date: a call's start.
    pub at: Timestamp,
    /// The day that it was picked from.
    pub day: Date,
    /// The end of that day.
    pub requested_at: Timestamp,
    /// The primary lead or deal, and how it stood at the end of the day.
    pub about: Option<About>,
}

/// What is reviewed.
#[derive(Clone, PartialEq)]
pub enum Medium {
    /// A conversation.
    Call {
        /// Who called whom.
        direction: Direction,
        /// Time talked.
        talk: Span,
        /// Where the recording lies; nowhere else does it leave the program.
        recording_url: Option<CompactString>,
    },
    /// A message sent.
    Message {
        /// By what means.
        channel: Channel,
    },
}

/// The recording's link is not shown.
impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { direction, talk, recording_url } => f
                .debug_struct("Call")
                .field("direction", direction)
                .field("talk", talk)
                .field("recording_url", &recording_url.as_ref().map(|_| "(link)"))
                .finish(),
            Self::Message { channel } => f.debug_struct("Message").field("channel", channel).finish(),
        }
    }
}

impl Medium {
    /// The name in requests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Call { .. } => "call",
            Self::Message { .. } => "message",
        }
    }
}

/// A lead or deal as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Which one.
    pub entity: EntityId,
    /// How it ended.
    pub ending: Ending,
    /// Where it stands.
    pub pipeline: Option<PipelineId>,
    /// Where it stands.
    pub stage: Option<StageId>,
}

/// How a lead or deal ended so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Not yet.
    Open,
    /// It was closed.
    Closed(Outcome),
    /// It was deleted.
    Deleted,
}

impl Ending {
    /// The name in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed(outcome) => outcome.name(),
            Self::Deleted => "deleted",
        }
    }
}

/// A conversation or a message sent, as it becomes known.
#[derive(Clone, Debug)]
pub struct Interaction<'a> {
    /// The call or message.
    pub id: &'a CompactString,
    /// Its date.
    pub at: Timestamp,
    /// The number of its primary entity.
    pub entity: Option<u32>,
    /// What it is.
    pub medium: Medium,
}

/// Picks the interactions of one tenant.
#[derive(Debug)]
pub struct Sampler {
    secret: String,
    /// How long a request waits.
    patience: Span,
    managers: FxHashMap<ManagerIx, Manager>,
    open: FxHashMap<CompactString, (ManagerId, Timestamp)>,
    /// The requests that were made, in order; those that are over are among them.
    asked: VecDeque<(Timestamp, CompactString)>,
    /// The late events that are put into their places, and up to where everything was processed before.
    late: (BTreeSet<EventOrder>, Timestamp),
}

/// The days of one manager.
#[derive(Debug, Default)]
struct Manager {
    running: Option<Day>,
    /// The last day that is over, and its end.
    over: Option<(Date, Timestamp)>,
}

/// A day that runs.
#[derive(Debug)]
struct Day {
    date: Date,
    begin: Timestamp,
    end: Timestamp,
    /// `None`: nothing is picked.
    norm: Option<ReviewSampling>,
    /// The lowest so far, by hash; a call and a message may have the same id.
    picked: BTreeMap<([u8; 32], &'static str), Pick>,
}

#[derive(Debug)]
struct Pick {
    interaction: CompactString,
    medium: Medium,
    at: Timestamp,
    entity: Option<u32>,
}

/// The calendar of those who have none.
static UTC: LazyLock<Arc<Calendar>> = LazyLock::new(|| {
    let utc = Calendar::new("UTC", "UTC", Default::default(), BTreeMap::new(), BTreeSet::new());
    Arc::new(utc.expect("a calendar without hours"))
});

impl Sampler {
    /// One that has seen nothing. `None` where the norms ask for no reviews anywhere.
    pub fn new(context: &TenantContext, patience: Span) -> Option<Self> {
        let norms = &context.norms;
        norms.layers().any(|layer| layer.review_sampling.per_day.is_some()).then(|| Self {
            secret: norms.secret(&context.tenant).into(),
            patience,
            managers: FxHashMap::default(),
            open: FxHashMap::default(),
            asked: VecDeque::new(),
            late: (BTreeSet::new(), Timestamp::MIN),
        })
    }

    /// Events of these places come late, after everything up to `upto` was processed: of what is played again only they
    /// are news.
    pub fn correct(&mut self, late: Vec<EventOrder>, upto: Timestamp) {
        self.late = (late.into_iter().collect(), upto);
    }

    /// An interaction of a manager became known.
    pub fn consider(&mut self, context: &mut TenantContext, who: ManagerIx, interaction: Interaction<'_>) {
        let late = context.is_replaying();
        if who == ManagerIx::NONE || (late && !self.late.0.contains(&context.order)) {
            return;
        }
        let processed = if late { self.late.1 } else { Timestamp::MIN };
        let manager = self.managers.entry(who).or_default();
        if manager.running.is_none() {
            let Some(day) = Day::begin(context, who, manager.over).filter(|day| day.last() > processed) else { return };
            context.wake(day.last(), Timer::Reviews(who));
            manager.running = Some(day);
        }
        let running = manager.running.as_mut().filter(|day| day.begin <= context.now && context.now < day.end);
        let Some((day, norm)) = running.and_then(|day| day.norm.map(|norm| (day, norm))) else { return };
        if matches!(interaction.medium, Medium::Call { talk, .. } if talk < norm.min_talk) {
            return;
        }
        let key = (identity::digest(interaction.id, &self.secret), interaction.medium.name());
        let full = day.picked.len() >= norm.per_day as usize;
        if full && day.picked.last_key_value().is_none_or(|(highest, _)| key > *highest) {
            return;
        }
        // An id that comes again is the same interaction: the first that became known stands.
        day.picked.entry(key).or_insert_with(|| Pick {
            interaction: interaction.id.clone(),
            medium: interaction.medium,
            at: interaction.at,
            entity: interaction.entity,
        });
        if day.picked.len() > norm.per_day as usize {
            day.picked.pop_last();
        }
    }

    /// A manager's day ends: its sample is made.
    pub fn ring(&mut self, context: &mut TenantContext, who: ManagerIx, journeys: &IndexedArena<Journey>) {
        let Some(manager) = self.managers.get_mut(&who) else { return };
        let Some(day) = manager.running.take_if(|day| day.last() <= context.now) else { return };
        manager.over = Some((day.date, day.end));
        self.forget(context);
        let (Some(manager), Some(department)) = context.named(who) else { return };
        for pick in day.picked.into_values() {
            let about = pick.entity.map(|entity| About::of(&journeys[entity]));
            let opened = (manager.clone(), day.end);
            if self.open.insert(pick.interaction.clone(), opened).is_some() {
                context.out.push(Effect::ReviewOver { manager: manager.clone(), answered: false });
            }
            self.asked.push_back((day.end, pick.interaction.clone()));
            context.out.push(Effect::Review(Box::new(ReviewRequest {
                tenant: context.tenant.clone(),
                manager: manager.clone(),
                department: department.clone(),
                interaction: pick.interaction,
                medium: pick.medium,
                at: pick.at,
                day: day.date,
                requested_at: day.end,
                about,
            })));
        }
    }

    /// A review came.
    pub fn answer(&mut self, context: &mut TenantContext, interaction: &CompactString) {
        if let Some((manager, _)) = self.open.remove(interaction) {
            context.out.push(Effect::ReviewOver { manager, answered: true });
        }
    }

    /// Lets go of the requests that waited too long.
    fn forget(&mut self, context: &mut TenantContext) {
        let oldest = context.now.saturating_sub(self.patience);
        while self.asked.front().is_some_and(|(asked, _)| *asked < oldest) {
            let Some((asked, interaction)) = self.asked.pop_front() else { return };
            if self.open.get(&interaction).is_some_and(|(_, opened)| *opened == asked)
                && let Some((manager, _)) = self.open.remove(&interaction)
            {
                context.out.push(Effect::ReviewOver { manager, answered: false });
            }
        }
    }
}

impl Day {
    /// The day of a manager that runs now.
    fn begin(context: &mut TenantContext, who: ManagerIx, over: Option<(Date, Timestamp)>) -> Option<Self> {
        let scope = context.scope(who, None, None);
        let calendar = scope.calendar.as_ref().unwrap_or(&UTC);
        let mut date = calendar.day(context.now);
        // Where clocks were put back over midnight, some instants after it still have the date of the day before.
        if calendar.day_end(date) <= context.now {
            date = date.tomorrow().ok()?;
        }
        let mut begin = date.yesterday().map_or(Timestamp::MIN, |yesterday| calendar.day_end(yesterday));
        if let Some((last, ended)) = over {
            if date <= last {
                date = last.tomorrow().ok()?;
            }
            begin = begin.max(ended);
        }
        let (end, norm, picked) = (calendar.day_end(date), scope.review_sampling, BTreeMap::new());
        (begin <= context.now).then_some(Self { date, begin, end, norm, picked })
    }

    /// The instant after which nothing of it can become known.
    fn last(&self) -> Timestamp {
        Timestamp(self.end.0 - 1)
    }
}

impl About {
    fn of(journey: &Journey) -> Self {
        let ending = match journey.outcome() {
            _ if journey.deleted() => Ending::Deleted,
            Some(outcome) => Ending::Closed(outcome),
            None => Ending::Open,
        };
        let (pipeline, stage) = (journey.pipeline().cloned(), journey.stage().cloned());
        Self { entity: journey.id.clone(), ending, pipeline, stage }
    }
}
