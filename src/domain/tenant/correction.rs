//! Owns corrections: applies late events.
//!
//! **Guarantee.** After a late event, figures, open alerts and clocks are the same as if it had arrived in time. The
//! affected cases are undone from its date on and replayed twice, without and with the late event, and the difference is
//! emitted. So no rule and no figure needs code for late events.
//!
//! An alert that turns out to be wrong is RETRACTED. Missing statuses are published now, with the dates that they
//! should have had. Correct statuses are not published again. Past slide boundaries of windows are not evaluated again.
//!
//! **Exception.** A reader may delete a retracted alert, so nothing is published after a RETRACTED, even if another late
//! event shows that it was right after all; figures are corrected all the same. The ids are part of the state, because
//! the retractions by late events do not follow from the events in order.

use crate::domain::alert::{Alert, Resolution, Status};
use crate::domain::context::TenantContext;
use crate::domain::context::people::ManagerUpsert;
use crate::domain::effect::{Effect, PastClosing};
use crate::domain::event::{Event, EventKind, EventOrder, Payload};
use crate::domain::figures::pane::{Fact, Measure};
use crate::domain::id::ManagerId;
use crate::domain::index::ManagerIx;
use crate::domain::rule::source_silent::Silences;
use crate::domain::source::Topic;
use crate::domain::tenant::cases::{self, Entry};
use crate::domain::tenant::replay::{Part, ReplayedEvent};
use crate::domain::tenant::{Taken, Tenant};
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The undone events of cases.
type Parts = BTreeMap<u32, Part>;

#[derive(Default)]
struct LateEvents {
    /// The events, each with its case.
    entries: Vec<(Option<u32>, ReplayedEvent)>,
    /// Their source topics and event times.
    topics: Vec<(Topic, Timestamp)>,
    /// The managers whose department or grade they change, each with the earliest date.
    upserted: BTreeMap<ManagerId, Timestamp>,
    /// The earliest plan among them.
    first_plan: Option<Timestamp>,
}

/// The output of one or more replays.
#[derive(Default)]
struct ReplayOutput {
    /// How often, and the sum of the instants at which they became known: a target's stored figures include what was known
    /// at an instant.
    facts: BTreeMap<(Timestamp, ManagerIx, Measure), (i32, i128)>,
    /// Likewise the past closings that count, without when they became known.
    past: BTreeMap<PastClosing, i64>,
    /// The statuses of alerts before the part that was replayed.
    earlier: BTreeMap<Uuid, Vec<Alert>>,
    alerts: Vec<Alert>,
    averted: Vec<Alert>,
}

impl Tenant {
    /// Applies late events, dated at or before `upto`, the instant up to which everything has been processed. Returns
    /// what became of each.
    pub fn correct(&mut self, late: Vec<(EventOrder, Event)>, upto: Timestamp) -> Vec<(EventKind, Taken)> {
        let (mut late, taken) = self.register_late(late);
        let Some(earliest) = late.topics.iter().map(|(_, at)| *at).min() else { return taken };
        late.topics.sort_by_key(|(topic, at)| (*at, *topic));
        let first_event = self.context.first_event.map_or(earliest, |first| first.min(earliest));
        let first_plan = self.context.first_plan.into_iter().chain(late.first_plan).min();
        let affected = self.affected_cases(&late, first_event, first_plan);
        let corrected = self.silences.as_ref().and_then(|silences| silences.corrected(&late.topics));
        if let Some(sampler) = &mut self.sampler {
            sampler.begin_correction(late.entries.iter().map(|(_, event)| event.entry.order).collect(), upto);
        }
        let suspended = self.context.suspend();
        let (mut before, parts) = self.replay_without(affected, corrected.is_some(), upto);
        let begins_earlier = self.context.first_event != Some(first_event);
        (self.context.first_event, self.context.first_plan) = (Some(first_event), first_plan);
        let (after, mut passthrough) = self.replay_with(late, parts, &mut before, corrected, upto);
        self.context.resume(suspended);
        self.context.effects.append(&mut passthrough);
        if begins_earlier {
            self.context.effects.push(Effect::FirstEvent(first_event));
        }
        self.emit_difference(before, after, earliest, upto);
        taken
    }

    /// Records late events and joins the cases that they connect. Also returns what becomes of each.
    fn register_late(&mut self, events: Vec<(EventOrder, Event)>) -> (LateEvents, Vec<(EventKind, Taken)>) {
        let (mut late, mut taken) = (LateEvents::default(), Vec::new());
        for (order, event) in events {
            let topic = event.payload.topic();
            if event.id.as_ref().is_some_and(|id| !self.duplicates.insert_late(topic, id, event.at)) {
                taken.push((event.payload.kind(), Taken::Duplicate));
                continue;
            }
            taken.push((event.payload.kind(), self.taken(&event.payload)));
            late.topics.push((topic, event.at));
            if event.payload.kind() == EventKind::ActivityPlanned {
                late.first_plan = late.first_plan.into_iter().chain([event.at]).min();
            }
            if let Payload::Crm(payload) = &event.payload
                && let Some((manager, given)) = ManagerUpsert::of(payload)
                && self.context.people.is_changed_by(manager, &given, order)
            {
                let since = late.upserted.entry(manager.clone()).or_insert(event.at);
                *since = event.at.min(*since);
            }
            let ignored = self.ignores(&event.payload);
            cases::keys(&event.payload, self.context.norms.country, ignored, &mut self.number, &mut self.keys);
            let case = self.join_cases(event.at);
            self.record(order, event.id, &event.payload);
            let entry = Entry { order, packed: self.packed.as_slice().into() };
            late.entries.push((case, ReplayedEvent { entry, payload: event.payload }));
        }
        (late, taken)
    }

    /// The cases to replay, each with the date from which on: those of the late events, those that name a manager whom a late
    /// record changes, and all of them if the tenant's first event or first plan changes.
    fn affected_cases(
        &mut self,
        late: &LateEvents,
        first_event: Timestamp,
        first_plan: Option<Timestamp>,
    ) -> BTreeMap<u32, Timestamp> {
        let mut affected = BTreeMap::new();
        let mut add = |case: u32, date: Timestamp| {
            let since = affected.entry(case).or_insert(date);
            *since = date.min(*since);
        };
        for (case, event) in &late.entries {
            case.iter().for_each(|case| add(self.cases.root(*case), event.entry.order.at));
        }
        if (self.context.first_event, self.context.first_plan) != (Some(first_event), first_plan) {
            self.changelog.mark_changed = true;
            self.cases.all().for_each(|case| add(case, Timestamp::MIN));
        }
        if !late.upserted.is_empty() {
            for case in self.cases.all() {
                self.upserted_since(case, late).into_iter().for_each(|since| add(case, since));
            }
        }
        affected
    }

    /// The date of the earliest late record of a manager whom the events of a case name, if something happened in the case
    /// since then, or can have happened.
    fn upserted_since(&self, case: u32, late: &LateEvents) -> Option<Timestamp> {
        let payloads: Vec<Payload> =
            self.cases.events(case).map(|(order, packed)| self.codec.unpack_trusted(order, packed)).collect();
        let upserted = payloads.iter().filter_map(|payload| late.upserted.get(payload.manager()?).copied());
        let since = upserted.min()?;
        let goes_on = || {
            let (journeys, contacts) = self.indices_named_by(&payloads);
            self.is_active(&journeys, &contacts)
        };
        (self.cases.last_event_at(case) >= Some(since) || goes_on()).then_some(since)
    }

    /// Undoes the affected cases, and replays them without the late events; also the silences, if they change. Returns what
    /// was undone.
    fn replay_without(
        &mut self,
        affected: BTreeMap<u32, Timestamp>,
        silences_change: bool,
        upto: Timestamp,
    ) -> (ReplayOutput, Parts) {
        let (mut before, mut parts) = (ReplayOutput::default(), Parts::new());
        let mut effects = Vec::new();
        for (case, date) in affected {
            let part = self.rewind(case, date);
            self.replay_part(case, &part, upto);
            before.collect_from(&mut self.context, &mut effects);
            self.context.drop_timers();
            if !part.whole {
                self.rewind_replay(case);
            }
            parts.insert(case, part);
        }
        if let Some(silences) = self.silences.as_mut().filter(|_| silences_change) {
            silences.replay(&mut self.context, upto);
            before.collect_from(&mut self.context, &mut effects);
            self.context.drop_timers();
        }
        // Later facts refer to what was first named here.
        effects.into_iter().filter(Effect::declares).for_each(|effect| self.context.emit(effect));
        (before, parts)
    }

    /// Replays the affected cases and the silences with the late events. Also returns the effects that are emitted
    /// without a comparison.
    fn replay_with(
        &mut self,
        late: LateEvents,
        mut parts: Parts,
        before: &mut ReplayOutput,
        corrected: Option<Silences>,
        upto: Timestamp,
    ) -> (ReplayOutput, Vec<Effect>) {
        let new: Vec<u32> =
            parts.iter().filter(|(_, part)| part.whole && part.events.is_empty()).map(|(case, _)| *case).collect();
        for (case, event) in late.entries {
            match case {
                Some(case) => {
                    let part = parts.entry(self.cases.root(case));
                    part.or_insert_with(|| Part::whole(Vec::new())).events.push(event);
                }
                None => {
                    self.context.advance_to(event.entry.order);
                    self.dispatch(&event.payload);
                    self.cases.log(None, event.entry.order, &event.entry.packed);
                }
            }
        }
        let (mut after, mut passthrough) = (ReplayOutput::default(), Vec::new());
        after.collect_from(&mut self.context, &mut passthrough);
        for (case, mut part) in parts {
            part.events.sort_by_key(|event| event.entry.order);
            let known = after.alerts.len();
            self.keep_part(case, &part, upto);
            after.collect_from(&mut self.context, &mut passthrough);
            if !part.whole {
                self.add_earlier_statuses(case, before, &mut after, known);
            }
        }
        new.into_iter().for_each(|case| self.schedule_expiry(Some(case), upto));
        if let Some(mut corrected) = corrected {
            self.silences.iter().for_each(|silences| silences.avert(&mut self.context, &late.topics));
            corrected.replay(&mut self.context, upto);
            after.collect_from(&mut self.context, &mut passthrough);
            self.silences = Some(corrected);
        }
        (after, passthrough)
    }

    /// Adds the statuses of alerts that precede what was undone of a case, to what both replays have emitted. `known`: how
    /// many statuses `after` had before the replay.
    fn add_earlier_statuses(&mut self, case: u32, before: &mut ReplayOutput, after: &mut ReplayOutput, known: usize) {
        let Some(undo) = self.cases.undo_log(case) else { return };
        let mut later = BTreeMap::<Uuid, usize>::new();
        for alert in &after.alerts[known..] {
            *later.entry(alert.id).or_default() += 1;
        }
        for alert in &before.alerts {
            later.entry(alert.id).or_default();
        }
        for (alert, later) in later {
            let statuses = undo.statuses(alert);
            let earlier = &statuses[..statuses.len().saturating_sub(later)];
            if !earlier.is_empty() {
                before.earlier.insert(alert, earlier.to_vec());
                after.earlier.insert(alert, earlier.to_vec());
            }
        }
    }

    /// Emits the facts and alerts by which `after` differs from `before`.
    fn emit_difference(&mut self, before: ReplayOutput, after: ReplayOutput, earliest: Timestamp, upto: Timestamp) {
        let mut facts = after.facts;
        for (key, (times, known)) in before.facts {
            let fact = facts.entry(key).or_default();
            *fact = (fact.0 - times, fact.1 - known);
        }
        // A fact that became known at another instant is published with no times, for the targets.
        let is_changed = |measure: Measure, (times, known)| times != 0 || known != 0 && measure.counts_for_targets();
        for ((at, who, measure), change) in
            facts.into_iter().filter(|((.., measure), change)| is_changed(*measure, *change))
        {
            self.context.effects.push(Effect::Fact(Fact { known: upto, at, who, times: change.0, measure }));
        }
        let mut past = after.past;
        for (key, times) in before.past {
            *past.entry(key).or_default() -= times;
        }
        for (key, times) in past {
            self.context.effects.push(Effect::PastClosing(Box::new(PastClosing { times, known: upto, ..key })));
        }
        let (mut alerts, mut published) = (Vec::new(), by_id(before.earlier, before.alerts));
        let (mut statuses, expected) = (Vec::new(), by_id(after.earlier, after.alerts));
        for (id, expected) in expected {
            let published = published.remove(&id).unwrap_or_default();
            let is_retracted = |last: Option<&Alert>| last.is_some_and(|last| last.status == Status::Retracted);
            if is_retracted(published.last()) {
                // Nothing follows a retraction.
                self.changelog.mark_changed |= !is_retracted(expected.last()) && self.context.mark_retracted(id);
                continue;
            }
            let averted = after.averted.iter().find(|averted| averted.id == id);
            statuses.extend(corrected(published, expected, averted, earliest));
        }
        for (id, published) in published {
            let averted = after.averted.iter().find(|averted| averted.id == id);
            alerts.extend(withdrawn(&published, averted, earliest));
        }
        alerts.append(&mut statuses);
        alerts.sort_by_key(|alert| alert.at);
        self.changelog.mark_changed |= alerts.iter().any(|alert| alert.status == Status::Retracted);
        alerts.into_iter().for_each(|alert| self.context.emit_alert(alert));
    }
}

impl ReplayOutput {
    /// Collects the output of a replay. Effects that are not compared go to `passthrough`.
    fn collect_from(&mut self, context: &mut TenantContext, passthrough: &mut Vec<Effect>) {
        let (effects, averted) = context.take_replay_output();
        self.averted.extend(averted);
        for effect in effects {
            match effect {
                Effect::Fact(fact) => {
                    let (times, known) = self.facts.entry((fact.at, fact.who, fact.measure)).or_default();
                    *times += fact.times;
                    *known += i128::from(fact.times) * i128::from(fact.known.0);
                }
                Effect::PastClosing(past) => {
                    let times = past.times;
                    let past = PastClosing { times: 0, known: Timestamp::MIN, ..*past };
                    *self.past.entry(past).or_default() += times;
                }
                Effect::Alert(alert) => self.alerts.push(*alert),
                Effect::AlertTaken(_)
                | Effect::ManagerUpdate(_)
                | Effect::DepartmentUpdate(_)
                | Effect::StageDeclaration(_)
                | Effect::Currency(..)
                | Effect::FirstEvent(_)
                | Effect::Expired { .. }
                | Effect::Review(_)
                | Effect::Forgotten(_)
                | Effect::ManagerForgotten { .. }
                | Effect::DepartmentForgotten { .. }
                | Effect::ReviewOver { .. } => passthrough.push(effect),
            }
        }
    }
}

/// The statuses to publish of one alert, so that the last one is that of the correct sequence `expected`. `averted`: how
/// it ended before anything was published, if it did.
fn corrected(
    published: Vec<Alert>,
    mut expected: Vec<Alert>,
    averted: Option<&Alert>,
    earliest: Timestamp,
) -> Vec<Alert> {
    let last = expected.last().cloned();
    if published.iter().any(is_of_violation) {
        // A warning is not published after the violation.
        let begins = expected.iter().position(is_of_violation).unwrap_or(expected.len());
        let warnings: Vec<_> = expected.drain(..begins).collect();
        if expected.is_empty() {
            return postponed_or_withdrawn(&published, warnings, averted, earliest);
        }
    }
    let unchanged = last.as_ref() == published.last();
    let mut missing: Vec<_> = expected.iter().filter(|status| !published.contains(status)).cloned().collect();
    // The last status published must be the current one, even if it was published before.
    if (!missing.is_empty() || !unchanged) && missing.last() != last.as_ref() {
        missing.extend(last);
    }
    match (published.last(), missing.first()) {
        // Where the first one cannot follow, the alert begins again.
        (Some(last), Some(next)) if !may_follow(next, last, &published) => expected,
        _ => missing,
    }
}

/// Whether readers accept a status after those published.
fn may_follow(next: &Alert, last: &Alert, published: &[Alert]) -> bool {
    let step = |alert: &Alert| (alert.status, alert.level);
    last.status.successors().contains(&next.status) || published.iter().any(|alert| step(alert) == step(next))
}

/// What follows a published violation if only its warnings are correct: the warning, if the wait goes on until a later
/// deadline, else what takes it back.
fn postponed_or_withdrawn(
    published: &[Alert],
    warnings: Vec<Alert>,
    averted: Option<&Alert>,
    earliest: Timestamp,
) -> Vec<Alert> {
    let settled = |alert: &&Alert| alert.status == Status::Averted && alert.resolution != Some(Resolution::Disabled);
    let template = averted.or(warnings.iter().find(settled));
    let withdrawn = withdrawn(published, template, earliest);
    match (withdrawn, warnings.last()) {
        (Some(withdrawn), Some(warning)) if warning.status == Status::DueSoon => {
            let at = withdrawn.at.min(warning.at);
            vec![Alert { status: Status::Resolved, at, ..withdrawn }, warning.clone()]
        }
        (withdrawn, _) => withdrawn.into_iter().collect(),
    }
}

fn is_of_violation(alert: &Alert) -> bool {
    !alert.status.is_of_warning()
}

/// The status that takes an alert back: RETRACTED, or AVERTED if only a warning was published. It says what `template`
/// says, else what the last status said.
fn withdrawn(published: &[Alert], template: Option<&Alert>, earliest: Timestamp) -> Option<Alert> {
    let last = published.last()?;
    let late = Some(Resolution::LateEvidence);
    let status = match last.status {
        Status::Retracted => return None,
        Status::Averted if last.resolution == late => return None,
        Status::DueSoon | Status::Averted => Status::Averted,
        _ => Status::Retracted,
    };
    let first = published.iter().find(|alert| status == Status::Averted || is_of_violation(alert)).unwrap_or(last);
    Some(Alert {
        status,
        resolution: late,
        at: first.at.max(earliest),
        severity: last.severity,
        level: last.level,
        ..template.unwrap_or(last).clone()
    })
}

/// Statuses by alert, after the earlier ones.
fn by_id(earlier: BTreeMap<Uuid, Vec<Alert>>, alerts: Vec<Alert>) -> BTreeMap<Uuid, Vec<Alert>> {
    let mut by_id = earlier;
    for alert in alerts {
        by_id.entry(alert.id).or_default().push(alert);
    }
    by_id
}
