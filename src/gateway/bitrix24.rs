//! Reads a Bitrix24 portal through an incoming webhook.
//!
//! ```text
//!  webhooks of the portal ──▶ hints ──▶ targeted reads ─┐
//!  every `sweep`: history by id, objects by the time of  ├──▶ events ──▶ portion
//!  their change, calls by id, activities, chats, …  ─────┤
//!  once: the past, month by month  ──────────────────────┘
//! ```
//!
//! - **Truth** is what the interface answers. A webhook only says what to ask for, so one that is lost, doubled or late
//!   changes nothing but the delay.
//! - **Positions** follow the clock of the portal (`time.date_start`), and the ids of its rows.
//! - **Ids** of events are made of the ids of rows, so reading a row twice gives one event.
//! - **A portion** contains what was reported and the positions after it. If a request fails in between, what was already
//!   made stays in the reader and is part of the next portion.

mod activities;
mod answer;
mod backfill;
mod budget;
mod calls;
mod chats;
mod client;
mod contacts;
mod deletions;
mod events;
mod hints;
mod history;
mod inspect;
mod legs;
mod memory;
mod objects;
mod pages;
mod people;
mod portal;
mod progress;
mod query;
mod settings;
mod transport;
mod value;
mod webhook;

pub use activities::OWN_TITLE;
pub use answer::Received;
pub use inspect::{Findings, Inspector};
pub use memory::Unreadable;
pub use progress::Progress as BackfillProgress;
pub use settings::{Budget, Fields, Settings};
pub use transport::{Http, Transport};
pub use webhook::{InvalidWebhook, Webhook};

use crate::domain::event::progress::Progress;
use crate::domain::id::EntityKind;
use crate::domain::source::Topic;
use crate::domain::time::{Span, Timestamp};
use crate::gateway::source::{
    Clock, Cursors, Hint, MAX_PORTION_EVENTS, Next, Outgoing, Portion, ReadError, Reader, Stop, Watch,
};
use answer::Failure;
use backfill::Done;
use budget::Share;
use client::Client;
use events::Events;
use hints::Wanted;
use legs::{Leg, Legs};
use portal::{COMPANY, CONTACT, Memory, Outcome, Portal};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How often people are read.
const PEOPLE_EVERY: Span = Span(600_000);

/// How long a part of a sweep may be busy before the others do not wait for it.
const BROKEN_AFTER: Span = Span(600_000);

/// How often open plans are asked for, and the known objects are compared.
const HOURLY: Span = Span(3_600_000);

/// A part of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Users,
    Departments,
    History(EntityKind),
    Changed(EntityKind),
    Contacts(u64),
    Calls,
    CallsAgain,
    NewActivities,
    ChangedActivities,
    Chats,
    Plans,
    Compare(EntityKind),
    Suspects,
}

impl Unit {
    /// Whether it may take very many steps, during which other units have their turn.
    fn is_long(self) -> bool {
        matches!(
            self,
            Self::Changed(_)
                | Self::Contacts(_)
                | Self::ChangedActivities
                | Self::CallsAgain
                | Self::Chats
                | Self::Plans
                | Self::Compare(_)
        )
    }

    fn leg(self) -> Leg {
        match self {
            Self::Users => Leg::People,
            Self::Departments => Leg::Departments,
            Self::History(EntityKind::Lead) => Leg::LeadHistory,
            Self::History(EntityKind::Deal) => Leg::DealHistory,
            Self::Changed(EntityKind::Lead) => Leg::Leads,
            Self::Changed(EntityKind::Deal) => Leg::Deals,
            Self::Contacts(CONTACT) => Leg::Contacts,
            Self::Contacts(_) => Leg::Companies,
            Self::Calls => Leg::Calls,
            Self::CallsAgain => Leg::CallsAgain,
            Self::NewActivities | Self::ChangedActivities => Leg::Activities,
            Self::Chats => Leg::Chats,
            Self::Plans => Leg::Plans,
            Self::Compare(_) | Self::Suspects => Leg::Deletions,
        }
    }
}

/// A sweep that is under way.
#[derive(Debug)]
struct Sweep {
    /// The clock of the portal before its first request.
    began: Timestamp,
    /// The same on the clock of this machine.
    began_here: Timestamp,
    units: VecDeque<Unit>,
    /// How many units in a row had to wait for the budget.
    waiting: usize,
    /// How many units in a row were not completed.
    unfinished: usize,
    /// The legs of the parts that were left to the next sweep.
    left: BTreeSet<Leg>,
}

/// Reads one portal.
pub struct Bitrix24 {
    portal: Portal,
    clock: Arc<dyn Clock>,
    watch: Arc<dyn Watch>,
    sweep: Option<Sweep>,
    /// When the last sweep began, on the clock of this machine.
    swept_at: Option<Timestamp>,
    marks: Vec<(Topic, Progress)>,
    /// Events that a portion had no room for.
    rest: VecDeque<Outgoing>,
    /// The back-fill waits for the budget until then.
    backfill_at: Timestamp,
    /// A sweep has ended since the last step of the back-fill.
    filling_is_next: bool,
    /// The last step was for hints: the next one is not.
    hinted: bool,
    /// Parts of sweeps that have only been busy since an instant.
    busy: Vec<(Unit, Timestamp)>,
    warned: bool,
}

impl Bitrix24 {
    /// A reader that continues where `cursors` say.
    pub fn new(
        settings: Settings,
        cursors: &Cursors,
        transport: Box<dyn Transport>,
        clock: Arc<dyn Clock>,
        watch: Arc<dyn Watch>,
    ) -> Result<Self, Unreadable> {
        let memory = Memory::load(cursors)?;
        let mut client = Client::new(&settings, transport, Arc::clone(&clock), Arc::clone(&watch));
        let known = memory.known.get();
        if let Some(host) = &known.host
            && known.renamed_from.as_deref() == Some(settings.webhook.host())
        {
            client.use_host(host);
        }
        let mut portal = Portal {
            events: Events::new(&settings),
            legs: Legs::new(settings.source(), Arc::clone(&watch)),
            settings,
            client,
            memory,
            recent: HashMap::new(),
            contacts_reported: HashMap::new(),
            suspects: BTreeSet::new(),
            compared: BTreeMap::new(),
            compare_at: [0; 2],
            refused_since: None,
            calls_by_name: HashMap::new(),
        };
        portal.index_calls();
        Ok(Self {
            portal,
            clock,
            watch,
            sweep: None,
            swept_at: None,
            marks: Vec::new(),
            rest: VecDeque::new(),
            backfill_at: Timestamp::MIN,
            filling_is_next: false,
            hinted: false,
            busy: Vec::new(),
            warned: false,
        })
    }

    /// Learns the clock of the portal; and the general facts, when the portal is read for the first time.
    fn begin(&mut self) -> Result<(), ReadError> {
        let portal = &mut self.portal;
        let is_known = portal.memory.known.get().started.is_some();
        if is_known && portal.client.knows_clock() {
            return Ok(());
        }
        let mode = portal.client.call("crm.settings.mode.get", &json!({}))?;
        if !portal.client.knows_clock() {
            // Errors say no time; a batch always does.
            let any = query::Command { method: "crm.settings.mode.get", params: json!({}) };
            portal.client.batch(&[any], 1)?;
        }
        if is_known {
            return Ok(());
        }
        let started = portal.client.began();
        // 1: with leads. A portal without the method has leads.
        let without_leads = mode.is_ok_and(|mode| value::whole(&mode.result) == Some(2));
        let backfill = portal.settings.backfill_from.filter(|from| *from < started);
        let known = portal.memory.known.change();
        (known.started, known.without_leads) = (Some(started.0), without_leads);
        known.covered_from = Some(backfill.unwrap_or(started).0);
        let record = portal.memory.backfill.change();
        (record.from, record.until) = (backfill.map(|from| from.0), started.0);
        if let Some(from) = backfill {
            // Before its first event, so that no event of today moves the watermark past the past.
            self.mark(&Topic::ALL, Timestamp(from.0 - 1000), true);
        }
        Ok(())
    }

    /// Sets the positions of a unit's leg, if they are not set.
    fn begin_unit(&mut self, unit: Unit) -> Outcome<()> {
        let portal = &mut self.portal;
        let started = Timestamp(portal.memory.known.get().started.unwrap_or_default());
        match unit {
            Unit::History(kind) if !portal.memory.history[portal::index(kind)].get().begun => {
                portal.begin_history(kind, started)
            }
            Unit::Calls if !portal.memory.calls.get().begun => portal.begin_calls(started),
            Unit::NewActivities if !portal.memory.activities.get().begun => portal.begin_activities(started),
            _ => Ok(Ok(())),
        }
    }

    fn run(&mut self, unit: Unit) -> Outcome<bool> {
        portal::read!(self.begin_unit(unit));
        let portal = &mut self.portal;
        let first = portal.settings.backfill_from.map(|from| from.0).or(portal.memory.known.get().started);
        let people_at = match portal.memory.known.get().people {
            true => portal.client.portal_now(),
            false => Timestamp(first.unwrap_or_default()),
        };
        let done = match unit {
            Unit::Users => {
                portal.read_mode()?;
                portal.read_users(people_at)?
            }
            Unit::Departments => portal.read_departments(people_at)?,
            Unit::History(kind) => return portal.read_history(kind),
            Unit::Changed(kind) => return portal.read_changed(kind),
            Unit::Contacts(type_id) => return portal.read_changed_contacts(type_id),
            Unit::Calls => return portal.read_calls(),
            Unit::CallsAgain => return portal.read_calls_again(),
            Unit::NewActivities => return portal.read_new_activities(),
            Unit::ChangedActivities => return portal.read_changed_activities(),
            Unit::Chats => return portal.read_open_sessions(),
            Unit::Plans => return portal.read_plans(),
            Unit::Compare(kind) => return portal.compare(kind),
            Unit::Suspects => portal.read_suspects()?,
        };
        Ok(done.map(|()| matches!(unit, Unit::Suspects) && !self.portal.suspects.is_empty()))
    }

    fn begin_sweep(&mut self) {
        let portal = &mut self.portal;
        let now = portal.client.portal_now();
        let regular = portal.memory.regular.get().clone();
        let is_due = |last: i64, every: Span| now.0 - last >= every.0;
        let mut units = VecDeque::new();
        if is_due(regular.people, PEOPLE_EVERY) {
            units.extend([Unit::Users, Unit::Departments]);
        }
        let kinds = portal.kinds();
        units.extend(kinds.iter().map(|kind| Unit::History(*kind)));
        units.extend(kinds.iter().map(|kind| Unit::Changed(*kind)));
        units.extend([Unit::Contacts(CONTACT), Unit::Contacts(COMPANY), Unit::Calls, Unit::CallsAgain]);
        units.extend([Unit::NewActivities, Unit::ChangedActivities, Unit::Chats]);
        if is_due(regular.plans, HOURLY) {
            units.push_back(Unit::Plans);
        }
        // While the past is being filled in, most objects of a range are not known yet.
        let is_filled = portal.memory.backfill.get().is_over();
        if is_filled && is_due(regular.deletions, HOURLY) {
            units.extend(kinds.iter().map(|kind| Unit::Compare(*kind)));
        }
        units.push_back(Unit::Suspects);
        portal.legs.begin(now);
        if regular.sessions_after > 0 {
            // The others were read before this sweep.
            portal.legs.unfinished(Leg::Chats);
        }
        let (began_here, left) = (self.clock.now(), BTreeSet::new());
        self.sweep = Some(Sweep { began: now, began_here, units, waiting: 0, unfinished: 0, left });
    }

    /// Does the next part of a sweep; the time to wait if all of its parts wait for the budget.
    fn step_sweep(&mut self) -> Result<Option<Duration>, ReadError> {
        let now = self.portal.client.portal_now();
        let Some(unit) = self.sweep.as_mut().and_then(|sweep| sweep.units.pop_front()) else {
            self.end_sweep();
            return Ok(None);
        };
        let leg = unit.leg();
        if !self.portal.legs.is_on(leg, now) {
            return Ok(None);
        }
        let answer = match self.run(unit) {
            Ok(answer) => answer,
            Err(error) => {
                self.sweep.iter_mut().for_each(|sweep| sweep.units.push_front(unit));
                return Err(error);
            }
        };
        let answer = self.patient(unit, answer, now);
        let usable = self.portal.legs.usable(leg, answer);
        let Some(sweep) = &mut self.sweep else { return Ok(None) };
        let mut wait = None;
        match usable {
            Ok(Some(true)) if unit.is_long() => {
                // It continues after the others have had their turn.
                sweep.units.push_back(unit);
                (sweep.waiting, sweep.unfinished) = (0, sweep.unfinished + 1);
            }
            Ok(more) => {
                (sweep.waiting, sweep.unfinished) = (0, 0);
                if more == Some(true) {
                    sweep.units.push_front(unit);
                }
            }
            Err(failure) => {
                sweep.units.push_back(unit);
                (sweep.waiting, sweep.unfinished) = (sweep.waiting + 1, sweep.unfinished + 1);
                if sweep.waiting >= sweep.units.len() {
                    sweep.waiting = 0;
                    wait = Some(match failure {
                        Failure::OverTime => self.portal.client.rest(METHODS),
                        _ => Duration::from_secs(5),
                    });
                }
            }
        }
        self.give_way();
        Ok(wait.map(|wait| wait.min(self.until_sweep()).max(Duration::from_secs(1))))
    }

    /// A part that has only been busy for a long time is broken: its leg rests, so that the others need not wait for it.
    fn patient<T>(&mut self, unit: Unit, answer: Result<T, Failure>, now: Timestamp) -> Result<T, Failure> {
        let since = self.busy.iter().find(|(of, _)| *of == unit).map(|(_, since)| *since);
        match (answer, since) {
            (Err(Failure::Busy(kind, _)), Some(since)) if now.0 - since.0 >= BROKEN_AFTER.0 => {
                Err(Failure::Wrong(kind.to_owned()))
            }
            (Err(failure @ Failure::Busy(..)), None) => {
                self.busy.push((unit, now));
                Err(failure)
            }
            (Err(failure @ Failure::Busy(..)), Some(_)) => Err(failure),
            (answer, _) => {
                self.busy.retain(|(of, _)| *of != unit);
                answer
            }
        }
    }

    /// Ends a sweep of which only parts are left that wait or take long, when the next one is due: the other parts must
    /// not wait for them. The first sweep is completed, because a back-fill begins where it ends.
    fn give_way(&mut self) {
        let is_due = self.portal.memory.known.get().swept && self.until_sweep().is_zero();
        let Some(sweep) = self.sweep.as_mut().filter(|sweep| is_due && sweep.unfinished >= sweep.units.len()) else {
            return;
        };
        let left: BTreeSet<Leg> = sweep.units.drain(..).map(Unit::leg).collect();
        left.iter().for_each(|leg| self.portal.legs.unfinished(*leg));
        sweep.left = left;
    }

    /// The time until the next sweep is due.
    fn until_sweep(&self) -> Duration {
        let now = self.clock.now();
        let due = self.swept_at.map_or(now, |at| at.saturating_add(self.portal.settings.sweep));
        Duration::from_millis(u64::try_from(due.0 - now.0).unwrap_or(0))
    }

    fn end_sweep(&mut self) {
        let Some(sweep) = self.sweep.take() else { return };
        self.filling_is_next = true;
        let portal = &mut self.portal;
        let regular = portal.memory.regular.get().clone();
        let now = sweep.began.0;
        let is_due = |last: i64, every: Span| now - last >= every.0;
        let is_done = |leg: Leg| !sweep.left.contains(&leg);
        let people = is_due(regular.people, PEOPLE_EVERY) && is_done(Leg::People) && is_done(Leg::Departments);
        let plans = is_due(regular.plans, HOURLY) && is_done(Leg::Plans);
        let is_filled = portal.memory.backfill.get().is_over();
        let deletions = is_filled && is_due(regular.deletions, HOURLY) && is_done(Leg::Deletions);
        let gaps = is_due(regular.gaps, Span(30 * 60_000));
        let record = portal.memory.regular.change();
        if people {
            record.people = now;
        }
        if plans {
            record.plans = now;
        }
        if deletions {
            record.deletions = now;
        }
        if gaps {
            record.gaps = now;
        }
        let up_to = Timestamp(now - 1000);
        for leg in [Leg::Leads, Leg::Deals, Leg::LeadHistory, Leg::DealHistory, Leg::Calls, Leg::Activities, Leg::Chats]
        {
            portal.legs.read_up_to(leg, up_to);
        }
        let topics = portal.legs.complete();
        let is_first = !portal.memory.known.get().swept;
        if is_first {
            let known = portal.memory.known.change();
            (known.people, known.swept) = (true, true);
        }
        let backfill = portal.memory.backfill.get();
        let (from, is_over) = (backfill.from, backfill.is_over());
        if is_over {
            self.mark(&topics, up_to, false);
        } else if is_first && let Some(from) = from {
            // Topics that cannot be read are not part of the back-fill, and must not hold back the others.
            let others: Vec<Topic> = Topic::ALL.iter().copied().filter(|topic| !topics.contains(topic)).collect();
            self.mark(&others, Timestamp(from - 1000), false);
        }
        let took = self.clock.now().0 - sweep.began_here.0;
        self.watch.swept(Duration::from_millis(u64::try_from(took).unwrap_or(0)));
    }

    fn mark(&mut self, topics: &[Topic], up_to: Timestamp, backfill: bool) {
        let settings = &self.portal.settings;
        let mark = |topic: &Topic| {
            let (tenant, source) = (settings.tenant.clone(), settings.source().into());
            (*topic, Progress { tenant, source, up_to, backfill })
        };
        self.marks.extend(topics.iter().map(mark));
    }

    /// Does the next part of the back-fill; the time to wait for the budget.
    fn step_backfill(&mut self) -> Result<Option<Duration>, ReadError> {
        let portal = &mut self.portal;
        portal.client.use_share(Share::Backfill);
        let rest = portal.client.rest(METHODS);
        if !rest.is_zero() {
            portal.client.use_share(Share::Live);
            return Ok(Some(rest.max(Duration::from_secs(1))));
        }
        portal.client.use_share(Share::Begun);
        let done = match portal.memory.backfill.get().begun {
            true => portal.step_backfill(),
            false => portal.begin_backfill().map(|begun| begun.map(|()| Done::Part)),
        };
        portal.client.use_share(Share::Live);
        match done? {
            Ok(Done::Part) => Ok(None),
            Ok(Done::Month(up_to)) => {
                let share = portal.memory.backfill.get().share();
                let topics = portal.legs.complete();
                tracing::info!(source = portal.settings.source(), %up_to, percent = (share * 100.0).round(), "back-fill");
                self.watch.backfilled(up_to, share);
                self.mark(&topics, up_to, true);
                if share >= 1.0 {
                    // The first mark of the next sweep ends it.
                    self.swept_at = None;
                }
                Ok(None)
            }
            Err(Failure::OverTime) => {
                portal.client.use_share(Share::Backfill);
                let rest = portal.client.rest(METHODS);
                portal.client.use_share(Share::Live);
                Ok(Some(rest.max(Duration::from_secs(1))))
            }
            Err(_) => Ok(Some(Duration::from_secs(10))),
        }
    }

    /// Does the next part of a sweep or of the back-fill.
    fn regular(&mut self) -> Result<Next, ReadError> {
        let now = self.clock.now();
        // A sweep that takes longer than the time between two of them leaves the back-fill a step.
        if self.sweep.is_none() && self.until_sweep().is_zero() && !(self.filling_is_next && self.may_fill(now)) {
            self.swept_at = Some(now);
            self.begin_sweep();
        }
        if self.sweep.is_some() {
            return match self.step_sweep()? {
                Some(wait) if self.may_fill(now) => self.fill(wait),
                wait => Ok(wait.map_or(Next::AtOnce, Next::Within)),
            };
        }
        match self.portal.memory.backfill.get().is_over() {
            true => Ok(Next::Within(self.until_sweep())),
            false => self.fill(self.until_sweep()),
        }
    }

    /// Whether the back-fill can go on.
    fn may_fill(&self, now: Timestamp) -> bool {
        self.portal.memory.known.get().swept && !self.portal.memory.backfill.get().is_over() && self.backfill_at <= now
    }

    /// Does the next part of the back-fill if the budget allows it; `until` is when something else is due.
    fn fill(&mut self, until: Duration) -> Result<Next, ReadError> {
        let now = self.clock.now();
        self.filling_is_next = false;
        if self.backfill_at > now {
            let wait = Duration::from_millis(u64::try_from(self.backfill_at.0 - now.0).unwrap_or(0));
            return Ok(Next::Within(wait.min(until)));
        }
        Ok(match self.step_backfill()? {
            Some(wait) => {
                self.backfill_at = now.saturating_add(Span(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)));
                Next::Within(wait.min(until))
            }
            None => Next::AtOnce,
        })
    }

    /// Takes what was made so far.
    fn portion(&mut self, finished_hints: usize, next: Next) -> Portion {
        let made = self.portal.events.len();
        self.rest.extend(self.portal.events.take(made));
        let room = MAX_PORTION_EVENTS.min(self.rest.len());
        let events: Vec<Outgoing> = self.rest.drain(..room).collect();
        if !self.rest.is_empty() {
            return Portion { events, next: Next::AtOnce, ..Portion::default() };
        }
        if let Some(host) = self.portal.client.take_renamed() {
            let configured = self.portal.settings.webhook.host().to_owned();
            let known = self.portal.memory.known.change();
            (known.host, known.renamed_from) = (Some(host), Some(configured));
        }
        let (marks, cursors) = (std::mem::take(&mut self.marks), self.portal.memory.drain());
        Portion { events, marks, cursors, finished_hints, next }
    }

    /// Warns once of a back-fill that cannot be made.
    fn check_backfill(&mut self) {
        let (wanted, record) = (self.portal.settings.backfill_from, self.portal.memory.backfill.get());
        let Some(wanted) = wanted else { return };
        let started = self.portal.memory.known.get().started;
        if self.warned || record.from == Some(wanted.0) || started.is_none_or(|started| wanted.0 >= started) {
            return;
        }
        self.warned = true;
        let (source, from) = (self.portal.settings.source(), wanted);
        tracing::error!(source, %from, "{}", BACKFILL_REFUSED);
    }
}

/// Why a back-fill is refused.
pub const BACKFILL_REFUSED: &str = "backfill_from is ignored: this source was already read without it, or from another date, \
    and what is older than its events would come too late. To begin again, use a new name for the source and a new tenant, \
    or reset the tenant with `funnelwatch state reset` and delete the records of the source in the topic of the gateway";

/// The methods that cost time.
const METHODS: &[&str] = &[
    "crm.item.list",
    "crm.stagehistory.list",
    "crm.item.productrow.list",
    "crm.activity.list",
    "crm.activity.binding.list",
    "voximplant.statistic.get",
    "imopenlines.session.history.get",
];

impl Reader for Bitrix24 {
    fn step(&mut self, hints: &[Hint], stop: &Stop) -> Result<Portion, ReadError> {
        self.portal.client.obey(stop);
        if !self.rest.is_empty() {
            return Ok(self.portion(0, Next::AtOnce));
        }
        if stop.is_set() {
            return Ok(Portion::default());
        }
        self.begin()?;
        if !self.marks.is_empty() {
            return Ok(self.portion(0, Next::AtOnce));
        }
        self.check_backfill();
        // Hints that never end must not keep the sweeps and the back-fill waiting: every other step is theirs.
        let takes_hints = !hints.is_empty() && self.portal.memory.known.get().swept;
        self.hinted = takes_hints && !self.hinted;
        if self.hinted {
            self.portal.report_calls_of(hints);
            // What cannot be read now is found by the next sweep.
            let _ = self.portal.read_wanted(&Wanted::of(hints))?;
            let portion = self.portion(hints.len(), Next::AtOnce);
            return Ok(portion);
        }
        let next = self.regular()?;
        Ok(self.portion(0, if takes_hints { Next::AtOnce } else { next }))
    }
}
