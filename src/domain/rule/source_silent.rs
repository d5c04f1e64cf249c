//! Owns `source_silent`: a source topic without events while other topics of the tenant are active. Also owns the state
//! of this rule, [`Silences`]: it belongs to the whole tenant and to no case.
//!
//! **Definition.** Only topics with at least one event are watched. A silence is the time between an event of a topic (the
//! anchor) and its next event, if that comes after the deadline. The alert fires at the deadline or at the first later
//! event of another topic, whichever comes last, unless the topic itself has had an event by then; events of one instant
//! are all counted before this is decided. The calendar is the tenant's without a department. No manager is accountable.
//!
//! **Runs.** Only gaps longer than the norm matter. So the events of a topic are kept as runs [first, last] without such
//! gaps: a topic without silences is a single run, however many events it has. An event inside a run changes nothing and
//! costs one comparison; the deadline is computed only when that of an earlier event has passed.
//!
//! **Corrections.** A late event lies in a run, extends one, joins two, or starts its own. So the runs are always exactly
//! those of the events in order. They are replayed, run by run, through the same code that handles live events: once
//! without the late event and once with it, as a case is from its log, and the difference is emitted in the same way. This
//! needs no individual events: deadlines are monotonic in their anchors, so if a deadline passes while another topic is in
//! a run, that topic has had an event since the anchor.
//!
//! **Memory.** Runs that no late event can reach any more are dropped. Of each topic one run that began before the horizon
//! is kept: without the dropped runs a replayed silence may begin later than it did, but still before the horizon, and
//! equally without and with the late event, so the difference is the same.

use crate::domain::alert::Resolution;
use crate::domain::context::{TenantContext, Timer};
use crate::domain::event::EventOrder;
use crate::domain::index::ManagerIx;
use crate::domain::lifecycle::{Description, Key, State, Subject, Violation};
use crate::domain::norms::Scope;
use crate::domain::rule::Rule;
use crate::domain::rule::definition::{Definition, Evaluation, Parameter, Wording};
use crate::domain::source::{PerTopic, Topic};
use crate::domain::time::{Span, Timestamp};
use compact_str::format_compact;
use std::sync::Arc;

/// The rule.
pub const RULE: Definition = Definition {
    title: ["Source silent", "Источник молчит"],
    about: [
        "no events come from a source topic of a tenant while its other topics are active",
        "от одного источника событий компании ничего не приходит, хотя другие работают",
    ],
    why: [
        "A broken integration looks like a quiet day: no missed calls, no unanswered messages, nothing overdue.",
        "Оборвавшаяся интеграция выглядит как спокойный день: ни пропущенных звонков, ни сообщений без ответа, ни просрочек.",
    ],
    subjects: &["topic:NAME"],
    takes: &[Parameter::Within, Parameter::Clock],
    observed: &["silent_seconds"],
    norm: &["within_seconds", "clock"],
    wording: Wording {
        lasting: [
            "no events from {subject} for {silent_seconds} ({clock} time) while other sources are active; the norm is \
             {within_seconds}",
            "{subject}: нет событий {silent_seconds} ({clock} время) при норме {within_seconds}, хотя другие источники работают",
        ],
        settled: [
            "{subject} has events again after {silent_seconds} ({clock} time) of silence; the norm is {within_seconds}",
            "{subject}: события снова приходят, перерыв был {silent_seconds} ({clock} время) при норме {within_seconds}",
        ],
        due_soon: [""; 2],
    },
    evaluation: Evaluation::Topics,
};

/// The state of this rule for a tenant, by source topic.
#[derive(Clone, Debug)]
pub struct Silences {
    scope: Arc<Scope>,
    /// The correction horizon: how late an event may be.
    horizon: Span,
    tracks: PerTopic<Track>,
}

/// The state of one topic.
#[derive(Clone, Debug)]
struct Track {
    /// Up to this instant an event of the topic only extends its run (fast path).
    fast_until: Timestamp,
    /// When its timer fires; in the past: its deadline has been judged.
    timer_at: Timestamp,
    /// Its deadline has passed, and no other topic has had an event since its last one.
    awaits_others: bool,
    /// In order; the last one may be extended.
    runs: Vec<Run>,
    violation: Option<Violation>,
}

struct Silence<'a> {
    topic: Topic,
    scope: &'a Scope,
}

impl Subject for Silence<'_> {
    fn key(&self) -> Key<'_> {
        let (rule, timer, nobody) = (Rule::SourceSilent, Timer::Silence(self.topic), ManagerIx::NONE);
        Key { rule, scope: self.scope, accountable: nobody, holder: nobody, timer }
    }

    fn describe(&self, anchor: Timestamp, until: Timestamp) -> Description {
        let (rule, scope) = (Rule::SourceSilent, self.scope);
        Description {
            name: format_compact!("topic:{}", self.topic.name()),
            severity: scope.severity(rule),
            observed: vec![("silent_seconds", scope.counted(rule, anchor, until).into())],
            norm: scope.within(rule),
            ..Description::default()
        }
    }
}

/// A sequence of events without a gap longer than the norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: Timestamp,
    last: Timestamp,
}

impl Run {
    fn new(at: Timestamp) -> Self {
        Self { first: at, last: at }
    }
}

impl Track {
    const SILENT: Self = Self {
        fast_until: Timestamp::MIN,
        timer_at: Timestamp::MIN,
        awaits_others: false,
        runs: Vec::new(),
        violation: None,
    };
}

impl Silences {
    /// The state before any event. `None` if the rule is off.
    pub fn new(scope: Arc<Scope>, horizon: Span) -> Option<Self> {
        scope.rules.get(&Rule::SourceSilent)?.within?;
        Some(Self { scope, horizon, tracks: PerTopic::from_fn(|_| Track::SILENT) })
    }

    /// Records an event of a topic, in event order.
    pub fn record_event(&mut self, topic: Topic, context: &mut TenantContext) {
        let track = &mut self.tracks[topic];
        if context.now <= track.fast_until
            && let Some(run) = track.runs.last_mut()
        {
            run.last = context.now;
            return;
        }
        match track.runs.last_mut() {
            Some(run) if in_time(&self.scope, run.last, context.now) => run.last = context.now,
            _ => {
                track.runs.push(Run::new(context.now));
                self.prune(topic, context.now.saturating_sub(self.horizon));
            }
        }
        self.on_run_extended(topic, context);
    }

    /// A timer of a topic fired.
    pub fn on_timer(&mut self, topic: Topic, context: &mut TenantContext) {
        let Some(run) = self.tracks[topic].runs.last().copied() else { return };
        let now = context.now;
        // "Since" means later in event order, in which topics have ranks within an instant.
        let others_active = Topic::ALL.into_iter().any(|other| {
            let latest = self.tracks[other].runs.last();
            latest.is_some_and(|other_run| (other_run.last, other) > (run.last, topic))
        });
        let track = &mut self.tracks[topic];
        if let Some(violation) = &mut track.violation {
            violation.on_timer(context, &Silence { topic, scope: &self.scope });
            return;
        }
        if now < track.timer_at {
            return;
        }
        match self.scope.due(Rule::SourceSilent, run.last) {
            None => track.timer_at = Timestamp::MAX,
            Some(due) if due > now => {
                track.timer_at = due;
                context.set_timer(due, Timer::Silence(topic));
            }
            Some(due) if others_active => {
                let mut violation = Violation::new(run.last, due);
                violation.fire(context, &Silence { topic, scope: &self.scope });
                track.violation = Some(violation);
                track.awaits_others = false;
            }
            Some(_) => track.awaits_others = true,
        }
        self.update_fast_path();
    }

    /// Applies new norms: open silences are judged by them, past ones stay as they were judged. `None` if the rule is off
    /// now.
    pub fn reload(mut self, context: &mut TenantContext, scope: Arc<Scope>) -> Option<Self> {
        let on = scope.rules.get(&Rule::SourceSilent).and_then(|norm| norm.within).is_some();
        for topic in Topic::ALL {
            let track = &mut self.tracks[topic];
            let Some(last) = track.runs.last().map(|run| run.last) else { continue };
            let due = scope.due(Rule::SourceSilent, last);
            if let Some(violation) = &mut track.violation {
                violation.reload(context, &Silence { topic, scope: &self.scope }, &scope, due);
            }
            // A silence that begins again is found by its timer like any other.
            let is_open = |violation: &mut Violation| violation.state == State::Open;
            track.violation = track.violation.take_if(is_open);
            (track.runs, track.awaits_others) = (vec![Run::new(last)], false);
            track.timer_at = due.unwrap_or(Timestamp::MAX);
            if on && track.violation.is_none() && track.timer_at < Timestamp::MAX {
                context.set_timer(track.timer_at, Timer::Silence(topic));
            }
        }
        self.scope = scope;
        self.update_fast_path();
        on.then_some(self)
    }

    /// Ends all silences now: the tenant is forgotten.
    pub fn end(&mut self, context: &mut TenantContext) {
        for topic in Topic::ALL {
            if let Some(mut violation) =
                self.tracks[topic].violation.take_if(|violation| violation.state == State::Open)
            {
                let silence = Silence { topic, scope: &self.scope };
                violation.resolve(context, &silence, Resolution::Disabled, context.now);
            }
        }
    }

    /// The state with these late events inserted; `None` if they all lie in runs and change nothing.
    pub fn corrected(&self, late: &[(Topic, Timestamp)]) -> Option<Self> {
        let mut corrected = self.clone();
        let inserted = late.iter().filter(|(topic, at)| corrected.insert(*topic, *at)).count();
        (inserted > 0).then_some(corrected)
    }

    /// Replays all runs from the beginning, up to the watermark `upto`.
    pub fn replay(&mut self, context: &mut TenantContext, upto: Timestamp) {
        let mut runs: Vec<(Run, Topic)> = Vec::new();
        for topic in Topic::ALL {
            let track = std::mem::replace(&mut self.tracks[topic], Track::SILENT);
            runs.extend(track.runs.into_iter().map(|run| (run, topic)));
        }
        runs.sort_by_key(|(run, topic)| (run.first, *topic));
        for (run, topic) in runs {
            self.fire_timers(context, Timestamp(run.first.0 - 1));
            context.advance_to(EventOrder::before(run.first, topic));
            self.tracks[topic].runs.push(run);
            self.on_run_extended(topic, context);
        }
        self.fire_timers(context, upto);
    }

    /// Marks the silences that these late events, in order, prove never to have happened.
    pub fn avert(&self, context: &mut TenantContext, late: &[(Topic, Timestamp)]) {
        for (topic, at) in late {
            let runs = &self.tracks[*topic].runs;
            let before = runs[..runs.partition_point(|run| run.last < *at)].last();
            let due = before.and_then(|run| self.scope.due(Rule::SourceSilent, run.last).zip(Some(run.last)));
            if let Some((due, anchor)) = due.filter(|(due, _)| at <= due) {
                let silence = Silence { topic: *topic, scope: &self.scope };
                Violation::new(anchor, due).avert(context, &silence, *at);
            }
        }
    }

    /// Handles an event that starts a run, or extends one beyond the fast path.
    fn on_run_extended(&mut self, topic: Topic, context: &mut TenantContext) {
        let now = context.now;
        let track = &mut self.tracks[topic];
        if let Some(mut violation) = track.violation.take() {
            violation.resolve(context, &Silence { topic, scope: &self.scope }, Resolution::Recovered, now);
        }
        track.awaits_others = false;
        if track.timer_at < now
            && let Some(run) = track.runs.last()
        {
            track.timer_at = self.scope.due(Rule::SourceSilent, run.last).unwrap_or(Timestamp::MAX);
            if track.timer_at < Timestamp::MAX {
                context.set_timer(track.timer_at, Timer::Silence(topic));
            }
        }
        // Whether waiting topics have an event at this very instant is known only after all its events.
        for other in Topic::ALL.into_iter().filter(|other| self.tracks[*other].awaits_others) {
            context.set_timer(now, Timer::Silence(other));
        }
        self.update_fast_path();
    }

    /// Recomputes the fast path: while a topic waits for others, every event matters.
    fn update_fast_path(&mut self) {
        let any_waiting = self.tracks.iter().any(|(_, track)| track.awaits_others);
        for track in self.tracks.values_mut() {
            track.fast_until = if any_waiting { Timestamp::MIN } else { track.timer_at };
        }
    }

    /// Inserts a late event; `false` if it lies in a run.
    fn insert(&mut self, topic: Topic, at: Timestamp) -> bool {
        let runs = &mut self.tracks[topic].runs;
        let next = runs.partition_point(|run| run.first <= at);
        let (before, after) = runs.split_at_mut(next);
        let (before, after) = (before.last_mut(), after.first_mut());
        if before.as_ref().is_some_and(|run| at <= run.last) {
            return false;
        }
        let before = before.filter(|run| in_time(&self.scope, run.last, at));
        let after = after.filter(|run| in_time(&self.scope, at, run.first));
        match (before, after) {
            (Some(before), Some(after)) => {
                before.last = after.last;
                runs.remove(next);
            }
            (Some(before), None) => before.last = at,
            (None, Some(after)) => after.first = at,
            (None, None) => runs.insert(next, Run::new(at)),
        }
        true
    }

    /// Drops the runs of a topic before the last one that began before `horizon`, once they are the majority.
    fn prune(&mut self, topic: Topic, horizon: Timestamp) {
        let runs = &mut self.tracks[topic].runs;
        let expired = runs.partition_point(|run| run.first < horizon).saturating_sub(1);
        if expired > runs.len() / 2 {
            runs.drain(..expired);
        }
    }

    fn fire_timers(&mut self, context: &mut TenantContext, until: Timestamp) {
        while let Some((at, timer)) = context.pop_due(until) {
            context.advance_to(EventOrder::deadline(at));
            if let Timer::Silence(topic) = timer {
                self.on_timer(topic, context);
            }
        }
    }
}

/// Whether an event at `at` meets the deadline of the one at `from`.
fn in_time(scope: &Scope, from: Timestamp, at: Timestamp) -> bool {
    scope.due(Rule::SourceSilent, from).is_none_or(|due| at <= due)
}
