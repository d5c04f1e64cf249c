//! Owns `source_silent`: a source topic from which nothing comes any more, though the tenant's others speak. And the
//! state of that rule, [`Silences`]: it is about a whole tenant and in no case, so it keeps its own.
//!
//! Definition. Only topics that spoke at least once are watched. A silence is the time between an event of a topic (the
//! anchor) and its next one, if that comes after the deadline. It is told from the deadline on, or from the first later
//! event of another topic, whichever comes last, if the topic itself has not spoken by then: at one instant all who speak
//! have spoken. The calendar is that of the tenant without department. It is nobody's.
//!
//! **Runs.** What matters of a topic are the gaps that are longer than the norm. So a topic's events are kept as runs,
//! [first, last], in which no gap is too long: a topic that speaks as it should is one run, whatever its number of
//! events. An event in a run says nothing new, and costs one comparison: the deadline is worked out only when the one of
//! an earlier event has passed.
//!
//! **Corrections.** A late event lies in a run, makes one longer, joins two, or is one of its own: so the runs are exactly
//! those of the events in order, whatever came late. They are played from the beginning of one to the next to the same
//! code that watches live, without the late event and with it, as a case is from its log, and the difference is told as
//! that of cases is. That needs no events: deadlines grow with their anchors, so where one passes while another topic is
//! in a run, that topic has spoken since the anchor.
//!
//! **Memory.** Runs that no late event can reach any more are forgotten. Of each topic one stays that began before the
//! horizon: a silence that is played without what is forgotten may begin later than it did, but before the horizon, so
//! alike without the late event and with it, and the difference is the same.

use super::super::alert::Resolution;
use super::super::effect::ManagerIx;
use super::super::event::{EventOrder, Topic};
use super::super::norms::Scope;
use super::super::tenant_context::{TenantContext, Timer};
use super::super::time::{Span, Timestamp};
use super::super::violation::{State, Violation, ViolationContext};
use super::{Definition, Evaluation, Parameter, Rule, Wording};
use compact_str::format_compact;
use std::sync::Arc;

/// The rule.
pub const RULE: Definition = Definition {
    about: [
        "nothing comes from a source topic of a tenant, though its others speak",
        "от одного источника событий компании ничего не приходит, хотя другие работают",
    ],
    why: [
        "An integration that broke off looks like a quiet day: no missed calls, no unanswered letters, nothing overdue.",
        "Оборвавшаяся интеграция выглядит как спокойный день: ни пропущенных звонков, ни писем без ответа, ни просрочек.",
    ],
    subjects: &["topic:NAME"],
    takes: &[Parameter::Within, Parameter::Clock],
    observed: &["silent_seconds"],
    norm: &["within_seconds", "clock"],
    wording: Wording {
        lasting: [
            "nothing has come from {subject} for {silent_seconds} ({clock} time), though other sources speak; the norm is \
             {within_seconds}",
            "{subject}: нет событий {silent_seconds} ({clock} время) при норме {within_seconds}, хотя другие источники работают",
        ],
        settled: [
            "{subject} speaks again after {silent_seconds} ({clock} time) of silence; the norm is {within_seconds}",
            "{subject}: события снова приходят, перерыв был {silent_seconds} ({clock} время) при норме {within_seconds}",
        ],
    },
    evaluation: Evaluation::Topics,
};

/// The source topics of a tenant, as this rule watches them.
#[derive(Clone, Debug)]
pub struct Silences {
    scope: Arc<Scope>,
    /// How far back a late event may correct.
    horizon: Span,
    tracks: [Track; 3],
}

/// One topic.
#[derive(Clone, Debug)]
struct Track {
    /// Up to here an event of the topic makes its run longer, and nothing else.
    calm: Timestamp,
    /// When its timer goes off; past: its deadline has been judged.
    look: Timestamp,
    /// Its deadline has passed, and no other topic has spoken since its last event.
    alone: bool,
    /// In order; the last one may go on.
    runs: Vec<Run>,
    violation: Option<Violation>,
}

/// Events between which no gap was too long.
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
    const SILENT: Self =
        Self { calm: Timestamp::MIN, look: Timestamp::MIN, alone: false, runs: Vec::new(), violation: None };
}

impl Silences {
    /// Nobody has spoken. `None` where the rule is off.
    pub fn new(scope: Arc<Scope>, horizon: Span) -> Option<Self> {
        scope.rules.get(&Rule::SourceSilent)?.within?;
        Some(Self { scope, horizon, tracks: [Track::SILENT; 3] })
    }

    /// An event of a topic came in its turn.
    pub fn record_event(&mut self, topic: Topic, context: &mut TenantContext) {
        let track = &mut self.tracks[topic as usize];
        if context.now <= track.calm
            && let Some(run) = track.runs.last_mut()
        {
            run.last = context.now;
            return;
        }
        match track.runs.last_mut() {
            Some(run) if reaches(&self.scope, run.last, context.now) => run.last = context.now,
            _ => {
                track.runs.push(Run::new(context.now));
                self.forget(topic, context.now.saturating_sub(self.horizon));
            }
        }
        self.heard(topic, context);
    }

    /// A timer of a topic went off.
    pub fn ring(&mut self, topic: Topic, context: &mut TenantContext) {
        let Some(run) = self.tracks[topic as usize].runs.last().copied() else { return };
        let now = context.now;
        // Since: later in the order of effect, in which topics have their ranks at one instant.
        let accompanied = Topic::ALL.into_iter().any(|other| {
            let spoke = self.tracks[other as usize].runs.last();
            spoke.is_some_and(|other_run| (other_run.last, other) > (run.last, topic))
        });
        let track = &mut self.tracks[topic as usize];
        if let Some(violation) = &mut track.violation {
            charged(&self.scope, topic, |violation_context| violation.ring(context, violation_context));
            return;
        }
        if now < track.look {
            return;
        }
        match self.scope.due(Rule::SourceSilent, run.last) {
            None => track.look = Timestamp::MAX,
            Some(due) if due > now => {
                track.look = due;
                context.wake(due, Timer::Silence(topic));
            }
            Some(due) if accompanied => {
                let mut violation = Violation::new(run.last, due);
                charged(&self.scope, topic, |violation_context| {
                    if violation.ring(context, violation_context) {
                        violation.fire(context, violation_context);
                    }
                });
                track.violation = Some(violation);
                track.alone = false;
            }
            Some(_) => track.alone = true,
        }
        self.calm();
    }

    /// Other norms are in force: silences that last are judged by them, and what is past stays as it was judged. `None`
    /// where the rule is off now.
    pub fn reload(mut self, context: &mut TenantContext, scope: Arc<Scope>) -> Option<Self> {
        let on = scope.rules.get(&Rule::SourceSilent).and_then(|norm| norm.within).is_some();
        for topic in Topic::ALL {
            let track = &mut self.tracks[topic as usize];
            let Some(last) = track.runs.last().map(|run| run.last) else { continue };
            let due = scope.due(Rule::SourceSilent, last);
            if let Some(violation) = &mut track.violation {
                charged(&self.scope, topic, |violation_context| violation.reload(context, violation_context, due));
            }
            // One that begins again is found by its timer, as any other.
            let lasts = |violation: &mut Violation| violation.state == State::Open;
            track.violation = track.violation.take_if(lasts);
            (track.runs, track.alone) = (vec![Run::new(last)], false);
            track.look = due.unwrap_or(Timestamp::MAX);
            if on && track.violation.is_none() && track.look < Timestamp::MAX {
                context.wake(track.look, Timer::Silence(topic));
            }
        }
        self.scope = scope;
        self.calm();
        on.then_some(self)
    }

    /// As it will be when these events have taken their place; `None` if they lie in runs, and nothing changes.
    pub fn corrected(&self, late: &[(Topic, Timestamp)]) -> Option<Self> {
        let mut corrected = self.clone();
        let news = late.iter().filter(|(topic, at)| corrected.insert(*topic, *at)).count();
        (news > 0).then_some(corrected)
    }

    /// Plays all runs again, up to where everything was processed, as if nothing had been heard before.
    pub fn play(&mut self, context: &mut TenantContext, upto: Timestamp) {
        let mut runs: Vec<(Run, Topic)> = Vec::new();
        for topic in Topic::ALL {
            let track = std::mem::replace(&mut self.tracks[topic as usize], Track::SILENT);
            runs.extend(track.runs.into_iter().map(|run| (run, topic)));
        }
        runs.sort_by_key(|(run, topic)| (run.first, *topic));
        for (run, topic) in runs {
            self.ring_all(context, Timestamp(run.first.0 - 1));
            context.advance_to(EventOrder { at: run.first, rank: topic as u8, offset: 0, source: 0 });
            self.tracks[topic as usize].runs.push(run);
            self.heard(topic, context);
        }
        self.ring_all(context, upto);
    }

    /// Notes what late events, in order, say of silences that never were.
    pub fn avert(&self, context: &mut TenantContext, late: &[(Topic, Timestamp)]) {
        for (topic, at) in late {
            let runs = &self.tracks[*topic as usize].runs;
            let before = runs[..runs.partition_point(|run| run.last < *at)].last();
            let due = before.and_then(|run| self.scope.due(Rule::SourceSilent, run.last).zip(Some(run.last)));
            if let Some((due, anchor)) = due.filter(|(due, _)| at <= due) {
                charged(&self.scope, *topic, |violation_context| {
                    Violation::new(anchor, due).avert(context, violation_context, *at)
                });
            }
        }
    }

    /// A run began or goes on where that could not be foreseen.
    fn heard(&mut self, topic: Topic, context: &mut TenantContext) {
        let now = context.now;
        let track = &mut self.tracks[topic as usize];
        if let Some(mut violation) = track.violation.take() {
            charged(&self.scope, topic, |violation_context| {
                violation.resolve(context, violation_context, Resolution::Recovered, now)
            });
        }
        track.alone = false;
        if track.look < now
            && let Some(run) = track.runs.last()
        {
            track.look = self.scope.due(Rule::SourceSilent, run.last).unwrap_or(Timestamp::MAX);
            if track.look < Timestamp::MAX {
                context.wake(track.look, Timer::Silence(topic));
            }
        }
        // Whether those who were alone speak at this very instant is known after its events.
        for other in Topic::ALL.into_iter().filter(|other| self.tracks[*other as usize].alone) {
            context.wake(now, Timer::Silence(other));
        }
        self.calm();
    }

    /// While a topic is alone every event matters.
    fn calm(&mut self) {
        let alone = self.tracks.iter().any(|track| track.alone);
        for track in &mut self.tracks {
            track.calm = if alone { Timestamp::MIN } else { track.look };
        }
    }

    /// Puts a late event into its place; `false` if it lies in a run.
    fn insert(&mut self, topic: Topic, at: Timestamp) -> bool {
        let runs = &mut self.tracks[topic as usize].runs;
        let next = runs.partition_point(|run| run.first <= at);
        let (before, after) = runs.split_at_mut(next);
        let (before, after) = (before.last_mut(), after.first_mut());
        if before.as_ref().is_some_and(|run| at <= run.last) {
            return false;
        }
        let before = before.filter(|run| reaches(&self.scope, run.last, at));
        let after = after.filter(|run| reaches(&self.scope, at, run.first));
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

    /// Forgets the runs of a topic that ended before one that began before `horizon`, once they are most of them.
    fn forget(&mut self, topic: Topic, horizon: Timestamp) {
        let runs = &mut self.tracks[topic as usize].runs;
        let old = runs.partition_point(|run| run.first < horizon).saturating_sub(1);
        if old > runs.len() / 2 {
            runs.drain(..old);
        }
    }

    fn ring_all(&mut self, context: &mut TenantContext, until: Timestamp) {
        while let Some((at, timer)) = context.due(until) {
            context.advance_to(EventOrder::deadline(at));
            if let Timer::Silence(topic) = timer {
                self.ring(topic, context);
            }
        }
    }
}

/// Whether an event comes by the deadline of the one before it.
fn reaches(scope: &Scope, from: Timestamp, at: Timestamp) -> bool {
    scope.due(Rule::SourceSilent, from).is_none_or(|due| at <= due)
}

/// Works on the violation of a topic.
fn charged<T>(scope: &Scope, topic: Topic, work: impl FnOnce(&ViolationContext<'_>) -> T) -> T {
    let (clock, severity, escalate_after) = ViolationContext::of(scope.rules.get(&Rule::SourceSilent));
    work(&ViolationContext {
        rule: Rule::SourceSilent,
        subject: format_compact!("topic:{}", topic.name()),
        who: ManagerIx::NONE,
        holder: ManagerIx::NONE,
        entity: None,
        interaction: None,
        scope,
        clock,
        severity,
        escalate_after,
        observe: &|anchor, until| vec![("silent_seconds", scope.elapsed(clock, anchor, until).into())],
        norm: &|| scope.within(Rule::SourceSilent),
        timer: Timer::Silence(topic),
    })
}
