//! Owns corrections: applies late events.
//!
//! **Guarantee.** After a late event, figures, open alerts and clocks are the same as if it had arrived in time. The
//! affected cases are replayed twice from their logs, without and with the late event, and the difference is emitted.
//! So no rule and no figure needs code for late events.
//!
//! An alert that turns out to be wrong is RETRACTED. Missing statuses are published now, with the dates that they
//! should have had. Correct statuses are not published again. Past slide boundaries of windows are not evaluated again.

use crate::domain::alert::{Alert, Resolution, Status};
use crate::domain::context::TenantContext;
use crate::domain::effect::Effect;
use crate::domain::event::{CrmPayload, Event, EventKind, EventOrder, Payload};
use crate::domain::figures::pane::{Fact, Measure};
use crate::domain::id::{EntityId, ManagerId};
use crate::domain::identity;
use crate::domain::index::{ContactIx, JourneyIx, ManagerIx};
use crate::domain::journey::Journey;
use crate::domain::rule::source_silent::Silences;
use crate::domain::source::Topic;
use crate::domain::tenant::cases::{self, Entry};
use crate::domain::tenant::{Taken, Tenant};
use crate::domain::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// A log entry and its decoded payload.
pub(super) struct ReplayedEvent {
    pub(super) entry: Entry,
    pub(super) payload: Payload,
}

type CaseLogs = BTreeMap<u32, Vec<ReplayedEvent>>;

#[derive(Default)]
struct LateEvents {
    /// The events, each with its case.
    entries: Vec<(Option<u32>, ReplayedEvent)>,
    /// Their source topics and event times.
    topics: Vec<(Topic, Timestamp)>,
    /// The managers whose records they contain.
    upserted: Vec<ManagerId>,
}

/// The output of one or more replays.
#[derive(Default)]
struct ReplayOutput {
    facts: BTreeMap<(Timestamp, ManagerIx, Measure), i32>,
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
        let affected = self.affected_cases(&late, first_event);
        let corrected = self.silences.as_ref().and_then(|silences| silences.corrected(&late.topics));
        if let Some(sampler) = &mut self.sampler {
            sampler.begin_correction(late.entries.iter().map(|(_, event)| event.entry.order).collect(), upto);
        }
        let suspended = self.context.suspend();
        let (before, logs) = self.replay_without(affected, corrected.is_some(), upto);
        self.context.first_event = Some(first_event);
        let (after, mut passthrough) = self.replay_with(late, logs, corrected, upto);
        self.context.resume(suspended);
        self.context.effects.append(&mut passthrough);
        self.emit_difference(before, after, earliest, upto);
        taken
    }

    /// Records late events and joins the cases that they connect. Also returns what becomes of each.
    fn register_late(&mut self, events: Vec<(EventOrder, Event)>) -> (LateEvents, Vec<(EventKind, Taken)>) {
        let (mut late, mut taken, mut keys) = (LateEvents::default(), Vec::new(), Vec::new());
        for (order, event) in events {
            let topic = event.payload.topic();
            if event.id.as_ref().is_some_and(|id| !self.duplicates.insert_late(topic, id, event.at)) {
                taken.push((event.payload.kind(), Taken::Duplicate));
                continue;
            }
            taken.push((event.payload.kind(), self.taken(&event.payload)));
            late.topics.push((topic, event.at));
            if let Payload::Crm(payload) = &event.payload
                && let CrmPayload::ManagerUpserted { manager, .. } = &**payload
            {
                late.upserted.push(manager.clone());
            }
            cases::keys(&event.payload, self.context.norms.country, self.ignores(&event.payload), &mut keys);
            let case = self.cases.join(&keys);
            self.record(order, event.id, &event.payload);
            let entry = Entry { order, packed: self.packed.as_slice().into() };
            late.entries.push((case, ReplayedEvent { entry, payload: event.payload }));
        }
        (late, taken)
    }

    /// The cases to replay: those of the late events, those that name a manager with a late record, and all of them if
    /// the tenant's first event changes.
    fn affected_cases(&mut self, late: &LateEvents, first_event: Timestamp) -> BTreeSet<u32> {
        let cases = late.entries.iter().filter_map(|(case, _)| *case);
        let mut affected: BTreeSet<u32> = cases.map(|case| self.cases.root(case)).collect();
        if self.context.first_event != Some(first_event) {
            self.changelog.mark_changed = true;
            affected.extend(self.cases.matching(|_| true));
        }
        if !late.upserted.is_empty() {
            let codec = self.codec;
            let names_upserted = |(order, packed): (EventOrder, &[u8])| {
                let payload = codec.unpack_trusted(order, packed);
                payload.manager().is_some_and(|manager| late.upserted.contains(manager))
            };
            affected.extend(self.cases.matching(|log| log.iter().any(names_upserted)));
        }
        affected
    }

    /// Replays the affected cases without the late events, and takes their logs; also the silences, if they change.
    fn replay_without(
        &mut self,
        affected: BTreeSet<u32>,
        silences_change: bool,
        upto: Timestamp,
    ) -> (ReplayOutput, CaseLogs) {
        let (mut before, mut logs) = (ReplayOutput::default(), CaseLogs::new());
        for case in affected {
            let log = self.take_log(case);
            self.replay(&log, upto);
            before.collect_from(&mut self.context, &mut Vec::new());
            self.context.drop_timers();
            logs.insert(case, log);
        }
        if let Some(silences) = self.silences.as_mut().filter(|_| silences_change) {
            silences.replay(&mut self.context, upto);
            before.collect_from(&mut self.context, &mut Vec::new());
            self.context.drop_timers();
        }
        (before, logs)
    }

    /// Replays the affected cases and the silences with the late events. Also returns the effects that are emitted
    /// without a comparison.
    fn replay_with(
        &mut self,
        late: LateEvents,
        mut logs: CaseLogs,
        corrected: Option<Silences>,
        upto: Timestamp,
    ) -> (ReplayOutput, Vec<Effect>) {
        for (case, event) in late.entries {
            match case {
                Some(case) => logs.entry(self.cases.root(case)).or_default().push(event),
                None => {
                    self.context.advance_to(event.entry.order);
                    self.dispatch(&event.payload);
                    self.cases.log(None, event.entry.order, &event.entry.packed);
                }
            }
        }
        let (mut after, mut passthrough) = (ReplayOutput::default(), Vec::new());
        after.collect_from(&mut self.context, &mut passthrough);
        for (case, mut log) in logs {
            log.sort_by_key(|event| event.entry.order);
            self.replay(&log, upto);
            after.collect_from(&mut self.context, &mut passthrough);
            if self.cases.put_log(case, log.into_iter().map(|event| event.entry).collect()) {
                self.schedule_expiry(Some(case), upto);
            }
        }
        if let Some(mut corrected) = corrected {
            self.silences.iter().for_each(|silences| silences.avert(&mut self.context, &late.topics));
            corrected.replay(&mut self.context, upto);
            after.collect_from(&mut self.context, &mut passthrough);
            self.silences = Some(corrected);
        }
        (after, passthrough)
    }

    /// Takes and decodes the log of a case, in event order.
    pub(super) fn take_log(&mut self, case: u32) -> Vec<ReplayedEvent> {
        let codec = self.codec;
        let decode = |entry: Entry| ReplayedEvent { payload: codec.unpack_trusted(entry.order, &entry.packed), entry };
        self.cases.take_log(case).into_iter().map(decode).collect()
    }

    /// Resets a case and replays it from its log.
    fn replay(&mut self, log: &[ReplayedEvent], upto: Timestamp) {
        let (journeys, contacts) = self.indices_named_by(log.iter().map(|event| &event.payload));
        for ix in journeys {
            let journey = &mut self.journeys[ix];
            *journey = Journey::new(journey.id.clone(), ix);
        }
        for ix in contacts {
            self.calls.remove_contact(ix);
            let contact_state = &mut self.contacts[ix];
            contact_state.entities.clear();
            contact_state.open_entities = 0;
            if let Some(pending) = contact_state.pending.existing_mut() {
                (pending.calls, pending.messages) = (None, None);
            }
        }
        for event in log {
            self.clear_event_state(&event.payload);
        }
        if let [(_, initial), _, ..] = self.norm_versions.as_slice() {
            self.set_norms(Arc::clone(initial));
        }
        let mut version_ix = 1;
        for ReplayedEvent { entry, payload } in log {
            self.replay_norm_versions(&mut version_ix, entry.order.at, log);
            self.fire_timers(Timestamp(entry.order.at.0 - 1));
            self.begin_event(entry.order);
            self.dispatch(payload);
        }
        self.replay_norm_versions(&mut version_ix, Timestamp::MAX, log);
        self.fire_timers(upto);
    }

    /// Applies the norms that came into force before `until`.
    fn replay_norm_versions(&mut self, version_ix: &mut usize, until: Timestamp, log: &[ReplayedEvent]) {
        while let Some((at, norms)) = self.norm_versions.get(*version_ix).filter(|(at, _)| *at < until).cloned() {
            *version_ix += 1;
            self.fire_timers(at);
            let (journeys, contacts) = self.indices_named_by(log.iter().map(|event| &event.payload));
            self.apply_norms(norms, at, journeys, contacts);
            self.fire_timers(at);
        }
    }

    /// The indices of the journeys and contacts that events name.
    pub(super) fn indices_named_by<'a>(
        &self,
        log: impl IntoIterator<Item = &'a Payload>,
    ) -> (BTreeSet<JourneyIx>, BTreeSet<ContactIx>) {
        let (mut journeys, mut contacts) = (BTreeSet::new(), BTreeSet::new());
        for payload in log.into_iter().filter(|payload| !self.ignores(payload)) {
            payload.each_entity(|kind, id| journeys.extend(self.journeys.find(&EntityId { kind, id: id.clone() })));
            payload.each_contact(|contact| {
                let forms = identity::normal_forms(contact, self.context.norms.country);
                contacts.extend(forms.filter_map(|form| self.contacts.find(&form)));
            });
        }
        (journeys, contacts)
    }

    /// Emits the facts and alerts by which `after` differs from `before`.
    fn emit_difference(&mut self, before: ReplayOutput, after: ReplayOutput, earliest: Timestamp, upto: Timestamp) {
        let mut facts = after.facts;
        for (key, times) in before.facts {
            *facts.entry(key).or_default() -= times;
        }
        for ((at, who, measure), times) in facts.into_iter().filter(|(_, times)| *times != 0) {
            self.context.effects.push(Effect::Fact(Fact { known: upto, at, who, times, measure }));
        }
        let mut alerts = Vec::new();
        let published = by_id(before.alerts);
        let mut expected = by_id(after.alerts);
        for (id, published) in &published {
            let Some(last) = published.last().filter(|last| last.status != Status::Retracted) else { continue };
            if expected.contains_key(id) {
                continue;
            }
            let started = published.first().map_or(last.at, |first| first.at);
            let template = after.averted.iter().find(|averted| averted.id == *id).unwrap_or(last);
            let alert = Alert {
                status: Status::Retracted,
                resolution: Some(Resolution::LateEvidence),
                at: started.max(earliest),
                severity: last.severity,
                level: last.level,
                ..template.clone()
            };
            alerts.push(alert);
        }
        for (id, statuses) in &mut expected {
            let published = published.get(id).map(Vec::as_slice).unwrap_or_default();
            let unchanged = statuses.last() == published.last();
            let last = statuses.last().cloned();
            statuses.retain(|status| !published.contains(status));
            // The last status published must be the current one, even if it was published before.
            if (!statuses.is_empty() || !unchanged) && statuses.last() != last.as_ref() {
                statuses.extend(last);
            }
            alerts.append(statuses);
        }
        alerts.sort_by_key(|alert| alert.at);
        self.context.effects.extend(alerts.into_iter().map(|alert| Effect::Alert(Box::new(alert))));
    }
}

impl ReplayOutput {
    /// Collects the output of a replay. Effects that are not compared go to `passthrough`.
    fn collect_from(&mut self, context: &mut TenantContext, passthrough: &mut Vec<Effect>) {
        let (effects, averted) = context.take_replay_output();
        self.averted.extend(averted);
        for effect in effects {
            match effect {
                Effect::Fact(fact) => *self.facts.entry((fact.at, fact.who, fact.measure)).or_default() += fact.times,
                Effect::Alert(alert) => self.alerts.push(*alert),
                Effect::ManagerUpdate(_)
                | Effect::StageDeclaration(_)
                | Effect::Currency(..)
                | Effect::Review(_)
                | Effect::ReviewOver { .. } => passthrough.push(effect),
            }
        }
    }
}

fn by_id(alerts: Vec<Alert>) -> BTreeMap<Uuid, Vec<Alert>> {
    let mut by_id = BTreeMap::<Uuid, Vec<Alert>>::new();
    for alert in alerts {
        by_id.entry(alert.id).or_default().push(alert);
    }
    by_id
}
