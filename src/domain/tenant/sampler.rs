//! Owns review sampling: selects interactions of each manager and day for review, and tracks the open requests.
//!
//! **The sample** consists of the day's conversations of at least `min_talk` and its sent messages (except automatic
//! ones) with the lowest HMAC-SHA-256 of their id. It is uniform for every volume, the same in every replay, and cannot
//! be predicted without the key. Only the current candidates are kept.
//!
//! **The day** is a day of the calendar of the manager or the manager's department, in its time zone; without a calendar
//! it is a UTC day. An interaction belongs to the day in which it became known (a call to the day of its end), so a day is complete
//! when it ends: the sample is taken in its last millisecond, after all events of that instant. Norm and calendar are
//! those of the manager at the first interaction of the day, and stay fixed until its end. If the manager
//! moves to another time zone, the next day starts where the previous one ended, so no day is sampled twice.
//!
//! **Late events** are included in a day that has not ended, and never change a sample already taken. An interaction
//! stays with the manager it was attributed to when it became known, even if a late event changes the attribution.
//!
//! **Requests** stay open until a review arrives, or until a review would be rejected as too late.

use crate::domain::context::{TenantContext, Timer};
use crate::domain::effect::Effect;
use crate::domain::event::EventOrder;
use crate::domain::id::ManagerId;
use crate::domain::identity::Keyed;
use crate::domain::index::{JourneyIx, ManagerIx};
use crate::domain::journey::{Journey, merge};
use crate::domain::mem::indexed_arena::IndexedArena;
use crate::domain::mem::seeded::SeededMap;
use crate::domain::norms::ReviewSampling;
use crate::domain::review::{About, Ending, Medium, ReviewRequest};
use crate::domain::time::calendar::Calendar;
use crate::domain::time::{Span, Timestamp};
use compact_str::CompactString;
use jiff::civil::Date;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};

/// A conversation or a sent message.
#[derive(Clone, Debug)]
pub(super) struct Interaction<'a> {
    /// The id of the call or message.
    pub id: &'a CompactString,
    /// Event time.
    pub at: Timestamp,
    /// Index of its primary entity.
    pub entity: Option<JourneyIx>,
    /// Its medium.
    pub medium: Medium,
    /// Whether a later record can replace it.
    pub replaceable: bool,
}

#[derive(Debug)]
pub(super) struct Sampler {
    secret: Keyed,
    /// How long a request stays open.
    request_ttl: Span,
    managers: FxHashMap<ManagerIx, Manager>,
    open: SeededMap<CompactString, (ManagerId, Timestamp)>,
    /// All requests in order, including closed ones that have not expired.
    requested: VecDeque<(Timestamp, CompactString)>,
    /// The late events being applied, and the instant up to which everything had been processed before.
    late: (BTreeSet<EventOrder>, Timestamp),
}

/// The days of one manager.
#[derive(Debug, Default)]
struct Manager {
    current: Option<Day>,
    /// The last completed day, and its end.
    last_day: Option<(Date, Timestamp)>,
}

/// A day that has not ended.
#[derive(Debug)]
struct Day {
    date: Date,
    begin: Timestamp,
    end: Timestamp,
    /// `None`: nothing is sampled.
    norm: Option<ReviewSampling>,
    /// The candidates with the lowest hashes; a call and a message may have the same id.
    picked: BTreeMap<([u8; 32], &'static str), Pick>,
}

#[derive(Debug)]
struct Pick {
    interaction: CompactString,
    medium: Medium,
    at: Timestamp,
    entity: Option<JourneyIx>,
    replaceable: bool,
}

/// Maximum number of candidates kept in reserve for others of the day that may still be replaced.
const MAX_RESERVE: usize = 64;

/// The calendar of departments without one.
static UTC: LazyLock<Arc<Calendar>> = LazyLock::new(|| {
    let utc = Calendar::new("UTC", "UTC", Default::default(), BTreeMap::new(), BTreeSet::new());
    Arc::new(utc.expect("a calendar without hours"))
});

impl Sampler {
    /// A sampler without interactions; `None` if the norms request no reviews.
    pub(super) fn new(context: &TenantContext, request_ttl: Span) -> Option<Self> {
        let norms = &context.norms;
        norms.layers().any(|layer| layer.review_sampling.per_day.is_some()).then(|| Self {
            secret: Keyed::new(norms.secret(&context.tenant)),
            request_ttl,
            managers: FxHashMap::default(),
            open: SeededMap::default(),
            requested: VecDeque::new(),
            late: (BTreeSet::new(), Timestamp::MIN),
        })
    }

    /// Starts a correction by the late events at these positions, after everything up to `upto` was processed. During
    /// the replay only these are new.
    pub(super) fn begin_correction(&mut self, late: Vec<EventOrder>, upto: Timestamp) {
        self.late = (late.into_iter().collect(), upto);
    }

    /// Sets the late events of a correction aside.
    pub(super) fn suspend_correction(&mut self) -> (BTreeSet<EventOrder>, Timestamp) {
        std::mem::replace(&mut self.late, (BTreeSet::new(), Timestamp::MIN))
    }

    /// Restores the late events of a correction.
    pub(super) fn resume_correction(&mut self, late: (BTreeSet<EventOrder>, Timestamp)) {
        self.late = late;
    }

    /// Whether the current event is not new: it was considered before, and is replayed.
    fn is_known(&self, context: &TenantContext) -> bool {
        context.is_replaying() && !self.late.0.contains(&context.order)
    }

    /// Considers an interaction of a manager for the sample.
    pub(super) fn consider(&mut self, context: &mut TenantContext, who: ManagerIx, interaction: Interaction<'_>) {
        if who == ManagerIx::NONE || self.is_known(context) {
            return;
        }
        let processed = if context.is_replaying() { self.late.1 } else { Timestamp::MIN };
        let manager = self.managers.entry(who).or_default();
        if manager.current.is_none() {
            let Some(day) = Day::begin(context, who, manager.last_day).filter(|day| day.last_instant() > processed)
            else {
                return;
            };
            context.set_timer(day.last_instant(), Timer::Reviews(who));
            manager.current = Some(day);
        }
        let current = manager.current.as_mut().filter(|day| day.begin <= context.now && context.now < day.end);
        let Some((day, norm)) = current.and_then(|day| day.norm.map(|norm| (day, norm))) else { return };
        if matches!(interaction.medium, Medium::Call { talk, .. } if talk < norm.min_talk) {
            return;
        }
        let key = (self.secret.digest(interaction.id), interaction.medium.name());
        let full = day.picked.len() >= day.capacity(norm);
        if full && !interaction.replaceable && day.picked.last_key_value().is_none_or(|(highest, _)| key > *highest) {
            return;
        }
        // A repeated id is the same interaction; the first one is kept.
        day.picked.entry(key).or_insert_with(|| Pick {
            interaction: interaction.id.clone(),
            medium: interaction.medium,
            at: interaction.at,
            entity: interaction.entity,
            replaceable: interaction.replaceable,
        });
        while day.picked.len() > day.capacity(norm) {
            day.picked.pop_last();
        }
    }

    /// Removes a call that another record has replaced, if its day has not ended.
    pub(super) fn withdraw(&mut self, context: &TenantContext, who: ManagerIx, id: &CompactString, at: Timestamp) {
        if self.is_known(context) {
            return;
        }
        let key = (self.secret.digest(id), Medium::CALL);
        if let Some(day) = self.managers.get_mut(&who).and_then(|manager| manager.current.as_mut())
            && day.picked.get(&key).is_some_and(|pick| pick.at == at)
        {
            day.picked.remove(&key);
        }
    }

    /// Adds the recording of a call that became known later.
    pub(super) fn add_recording(&mut self, who: ManagerIx, id: &CompactString, url: &CompactString) {
        let key = (self.secret.digest(id), Medium::CALL);
        let day = self.managers.get_mut(&who).and_then(|manager| manager.current.as_mut());
        if let Some(Pick { medium: Medium::Call { recording_url, .. }, .. }) =
            day.and_then(|day| day.picked.get_mut(&key))
            && recording_url.is_none()
        {
            *recording_url = Some(url.clone());
        }
    }

    /// Ends a manager's day and requests reviews of its sample.
    pub(super) fn on_timer(&mut self, context: &mut TenantContext, who: ManagerIx, journeys: &IndexedArena<Journey>) {
        let Some(manager) = self.managers.get_mut(&who) else { return };
        let Some(day) = manager.current.take_if(|day| day.last_instant() <= context.now) else { return };
        manager.last_day = Some((day.date, day.end));
        self.expire_requests(context);
        let (Some(manager), Some(department)) = context.manager_and_department(who) else { return };
        let sampled = day.norm.map_or(0, |norm| norm.per_day as usize);
        for pick in day.picked.into_values().take(sampled) {
            let about = pick.entity.map(|entity| about(&journeys[merge::survivor(journeys, entity)]));
            let opened = (manager.clone(), day.end);
            if self.open.insert(pick.interaction.clone(), opened).is_some() {
                let (manager, interaction) = (manager.clone(), pick.interaction.clone());
                context.effects.push(Effect::ReviewOver { manager, interaction, answered: false });
            }
            self.requested.push_back((day.end, pick.interaction.clone()));
            context.effects.push(Effect::Review(Box::new(ReviewRequest {
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

    /// Whether a day of a manager has begun and not ended.
    pub(super) fn has_day(&self, who: ManagerIx) -> bool {
        self.managers.get(&who).is_some_and(|manager| manager.current.is_some())
    }

    /// Forgets the days of a manager, and closes the open requests.
    pub(super) fn forget(&mut self, context: &mut TenantContext, who: ManagerIx, id: &ManagerId) {
        self.managers.remove(&who);
        for (interaction, (manager, _)) in self.open.extract_if(|_, (manager, _)| manager == id) {
            context.effects.push(Effect::ReviewOver { manager, interaction, answered: false });
        }
    }

    /// Closes the request of a review that arrived.
    pub(super) fn answer(&mut self, context: &mut TenantContext, interaction: &CompactString) {
        if let Some((manager, _)) = self.open.remove(interaction) {
            let interaction = interaction.clone();
            context.effects.push(Effect::ReviewOver { manager, interaction, answered: true });
        }
    }

    /// Closes the requests that have been open too long.
    fn expire_requests(&mut self, context: &mut TenantContext) {
        let oldest = context.now.saturating_sub(self.request_ttl);
        while self.requested.front().is_some_and(|(requested, _)| *requested < oldest) {
            let Some((requested, interaction)) = self.requested.pop_front() else { return };
            if self.open.get(&interaction).is_some_and(|(_, opened)| *opened == requested)
                && let Some((manager, _)) = self.open.remove(&interaction)
            {
                context.effects.push(Effect::ReviewOver { manager, interaction, answered: false });
            }
        }
    }
}

impl Day {
    /// How many candidates are kept: those of the sample, and one in reserve for each that may be replaced.
    fn capacity(&self, norm: ReviewSampling) -> usize {
        let replaceable = self.picked.values().filter(|pick| pick.replaceable).count();
        norm.per_day as usize + replaceable.min(MAX_RESERVE)
    }

    /// The current day of a manager.
    fn begin(context: &mut TenantContext, who: ManagerIx, last_day: Option<(Date, Timestamp)>) -> Option<Self> {
        let scope = context.scope(who, None, None);
        let calendar = scope.calendar.as_ref().unwrap_or(&UTC);
        let mut date = calendar.day(context.now);
        // If clocks are set back across midnight, some instants after it still have the previous date.
        if calendar.day_end(date) <= context.now {
            date = date.tomorrow().ok()?;
        }
        let mut begin = date.yesterday().map_or(Timestamp::MIN, |yesterday| calendar.day_end(yesterday));
        if let Some((last, ended)) = last_day {
            if date <= last {
                date = last.tomorrow().ok()?;
            }
            begin = begin.max(ended);
        }
        let (end, norm, picked) = (calendar.day_end(date), scope.review_sampling, BTreeMap::new());
        (begin <= context.now).then_some(Self { date, begin, end, norm, picked })
    }

    fn last_instant(&self) -> Timestamp {
        Timestamp(self.end.0 - 1)
    }
}

/// The state of a lead or deal, for a request.
fn about(journey: &Journey) -> About {
    let ending = match journey.outcome() {
        _ if journey.deleted() => Ending::Deleted,
        Some(outcome) => Ending::Closed(outcome),
        None => Ending::Open,
    };
    let (pipeline, stage) = (journey.pipeline().cloned(), journey.stage().cloned());
    About { entity: journey.id.clone(), ending, pipeline, stage }
}
