//! Owns corrections: what a late event changes.
//!
//! **Promise.** After a late event everything stands as if it had come in time: figures, open alerts, clocks. The cases
//! that it touches are played twice from their logs, without it and with it, and the difference is told. So no rule
//! and no figure has code of its own for late events.
//!
//! What was told of an alert that turns out to be wrong is RETRACTED; statuses that should have been told are told now,
//! with the dates that they should have had. Nothing that was right is told again. Judgements at slide boundaries that
//! are past are not made anew.

use super::super::alert::{Alert, Resolution, Status};
use super::super::effect::{Effect, Fact, ManagerIx, Measure};
use super::super::event::{CrmPayload, Event, EventKind, EventOrder, Payload};
use super::super::id::{EntityId, ManagerId};
use super::super::identity;
use super::super::journey::Journey;
use super::super::tenant_context::TenantContext;
use super::super::time::Timestamp;
use super::Tenant;
use super::cases::{self, Entry};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// An event of a log, and what it says.
pub(super) struct ReplayedEvent {
    pub(super) entry: Entry,
    pub(super) payload: Payload,
}

/// What was told in a past as it was played.
#[derive(Default)]
struct ReplayOutput {
    facts: BTreeMap<(Timestamp, ManagerIx, Measure), i32>,
    alerts: Vec<Alert>,
    averted: Vec<Alert>,
}

impl Tenant {
    /// Applies events that are dated at or before `upto`, up to where everything was processed. Returns what
    /// those were that were known already.
    pub fn correct(&mut self, late: Vec<(EventOrder, Event)>, upto: Timestamp) -> Vec<EventKind> {
        let mut duplicates = Vec::new();
        let mut entries: Vec<(Option<u32>, ReplayedEvent)> = Vec::new();
        let mut upserted: Vec<ManagerId> = Vec::new();
        let mut keys = Vec::new();
        let mut earliest = upto;
        let mut last_event = Vec::new();
        let mut orders = Vec::new();
        for (order, event) in late {
            let topic = event.payload.topic();
            if event.id.as_ref().is_some_and(|id| !self.duplicates.take_late(topic, id, event.at)) {
                duplicates.push(event.payload.kind());
                continue;
            }
            earliest = earliest.min(event.at);
            last_event.push((topic, event.at));
            orders.push(order);
            if let Payload::Crm(payload) = &event.payload
                && let CrmPayload::ManagerUpserted { manager, .. } = &**payload
            {
                upserted.push(manager.clone());
            }
            cases::keys(&event.payload, self.context.norms.country, &mut keys);
            let case = self.cases.join(&keys);
            self.keep(order, event.id, &event.payload);
            let entry = Entry { order, packed: self.packed.as_slice().into() };
            entries.push((case, ReplayedEvent { entry, payload: event.payload }));
        }
        if last_event.is_empty() {
            return duplicates;
        }
        let mut affected: BTreeSet<u32> = BTreeSet::new();
        for case in entries.iter().filter_map(|(case, _)| *case) {
            affected.insert(self.cases.root(case));
        }
        let first = self.context.first_event.map_or(earliest, |first| first.min(earliest));
        if self.context.first_event != Some(first) {
            self.changelog.marked = true;
            affected.extend(self.cases.which(|_| true));
        }
        if !upserted.is_empty() {
            let packing = self.packing;
            let named = |(order, packed): (EventOrder, &[u8])| {
                let payload = packing.recall(order, packed);
                upserted.iter().any(|manager| cases::names(&payload, manager))
            };
            affected.extend(self.cases.which(|log| log.iter().any(named)));
        }

        last_event.sort_by_key(|(topic, at)| (*at, *topic));
        let mut silences = self.silences.as_ref().and_then(|silences| silences.corrected(&last_event));
        if let Some(sampler) = &mut self.sampler {
            sampler.correct(orders, upto);
        }

        let aside = self.context.put_aside();
        let mut before = ReplayOutput::default();
        let mut logs: BTreeMap<u32, Vec<ReplayedEvent>> = BTreeMap::new();
        for case in affected {
            let log = self.recall(case);
            self.play(&log, upto);
            before.take_in(&mut self.context, &mut Vec::new());
            self.context.drop_timers();
            logs.insert(case, log);
        }
        if let Some(silences) = self.silences.as_mut().filter(|_| silences.is_some()) {
            silences.play(&mut self.context, upto);
            before.take_in(&mut self.context, &mut Vec::new());
            self.context.drop_timers();
        }
        self.context.first_event = Some(first);
        for (case, told) in entries {
            match case {
                Some(case) => {
                    let case = self.cases.root(case);
                    logs.entry(case).or_default().push(told);
                }
                None => {
                    self.context.advance_to(told.entry.order);
                    self.step(&told.payload);
                    self.cases.log(None, told.entry.order, &told.entry.packed);
                }
            }
        }
        let mut after = ReplayOutput::default();
        let mut news = Vec::new();
        after.take_in(&mut self.context, &mut news);
        for (case, mut log) in logs {
            log.sort_by_key(|told| told.entry.order);
            self.play(&log, upto);
            after.take_in(&mut self.context, &mut news);
            if self.cases.put(case, log.into_iter().map(|told| told.entry).collect()) {
                self.fade(Some(case), upto);
            }
        }
        if let Some(mut corrected) = silences.take() {
            self.silences.iter().for_each(|silences| silences.avert(&mut self.context, &last_event));
            corrected.play(&mut self.context, upto);
            after.take_in(&mut self.context, &mut news);
            self.silences = Some(corrected);
        }
        self.context.take_up(aside);
        self.context.out.append(&mut news);
        self.tell_difference(before, after, earliest, upto);
        duplicates
    }

    /// Takes the log of a case out, in order of effect.
    pub(super) fn recall(&mut self, case: u32) -> Vec<ReplayedEvent> {
        let packing = self.packing;
        let told = |entry: Entry| ReplayedEvent { payload: packing.recall(entry.order, &entry.packed), entry };
        self.cases.take(case).into_iter().map(told).collect()
    }

    /// Plays a case again from its log, as if nothing of it had been heard of.
    fn play(&mut self, log: &[ReplayedEvent], upto: Timestamp) {
        let (journeys, contacts) = self.numbers(log.iter().map(|told| &told.payload));
        for number in journeys {
            let journey = &mut self.journeys[number];
            *journey = Journey::new(journey.id.clone(), number);
        }
        for number in contacts {
            let contact_state = &mut self.contacts[number];
            contact_state.entities.clear();
            if let Some(pending) = contact_state.pending.taken() {
                (pending.calls, pending.messages) = (None, None);
            }
        }
        for told in log {
            self.forget(&told.payload);
        }
        let (_, first) = &self.norm_versions[0];
        if self.norm_versions.len() > 1 {
            self.context.set_norms(Arc::clone(first));
        }
        let mut era = 1;
        for ReplayedEvent { entry, payload } in log {
            self.play_norm_versions(&mut era, entry.order.at, log);
            self.ring_timers(Timestamp(entry.order.at.0 - 1));
            self.enter(entry.order);
            self.step(payload);
        }
        self.play_norm_versions(&mut era, Timestamp::MAX, log);
        self.ring_timers(upto);
    }

    /// Lets norms come into force that did so before `until`.
    fn play_norm_versions(&mut self, era: &mut usize, until: Timestamp, log: &[ReplayedEvent]) {
        while let Some((at, norms)) = self.norm_versions.get(*era).filter(|(at, _)| *at < until).cloned() {
            *era += 1;
            self.ring_timers(at);
            let (journeys, contacts) = self.numbers(log.iter().map(|told| &told.payload));
            self.take_norms(norms, at, journeys, contacts);
            self.ring_timers(at);
        }
    }

    /// The numbers of the journeys and contacts that events name.
    pub(super) fn numbers<'a>(&self, log: impl IntoIterator<Item = &'a Payload>) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let (mut journeys, mut contacts) = (BTreeSet::new(), BTreeSet::new());
        for payload in log {
            payload.each_entity(|kind, id| journeys.extend(self.journeys.find(&EntityId { kind, id: id.clone() })));
            payload.each_contact(|contact| {
                let form = identity::normal_form(contact, self.context.norms.country);
                contacts.extend(form.and_then(|form| self.contacts.find(&form)));
            });
        }
        (journeys, contacts)
    }

    fn tell_difference(&mut self, before: ReplayOutput, after: ReplayOutput, earliest: Timestamp, upto: Timestamp) {
        let mut facts = after.facts;
        for (key, times) in before.facts {
            *facts.entry(key).or_default() -= times;
        }
        for ((at, who, measure), times) in facts.into_iter().filter(|(_, times)| *times != 0) {
            self.context.out.push(Effect::Fact(Fact { known: upto, at, who, times, measure }));
        }
        let mut alerts = Vec::new();
        let told = by_id(before.alerts);
        let mut wanted = by_id(after.alerts);
        for (id, told) in &told {
            let Some(last) = told.last().filter(|last| last.status != Status::Retracted) else { continue };
            if wanted.contains_key(id) {
                continue;
            }
            let begun = told.first().map_or(last.at, |first| first.at);
            let shown = after.averted.iter().find(|averted| averted.id == *id).unwrap_or(last);
            let alert = Alert {
                status: Status::Retracted,
                resolution: Some(Resolution::LateEvidence),
                at: begun.max(earliest),
                severity: last.severity,
                level: last.level,
                ..shown.clone()
            };
            alerts.push(alert);
        }
        for (id, statuses) in &mut wanted {
            let told = told.get(id).map(Vec::as_slice).unwrap_or_default();
            let unchanged = statuses.last() == told.last();
            let last = statuses.last().cloned();
            statuses.retain(|status| !told.contains(status));
            // What is told last is what stands, also if it was told before.
            if (!statuses.is_empty() || !unchanged) && statuses.last() != last.as_ref() {
                statuses.extend(last);
            }
            alerts.append(statuses);
        }
        alerts.sort_by_key(|alert| alert.at);
        self.context.out.extend(alerts.into_iter().map(|alert| Effect::Alert(Box::new(alert))));
    }
}

impl ReplayOutput {
    /// Takes in what came of a case; names go to `news`.
    fn take_in(&mut self, context: &mut TenantContext, news: &mut Vec<Effect>) {
        let (effects, averted) = context.take_played();
        self.averted.extend(averted);
        for effect in effects {
            match effect {
                Effect::Fact(fact) => *self.facts.entry((fact.at, fact.who, fact.measure)).or_default() += fact.times,
                Effect::Alert(alert) => self.alerts.push(*alert),
                Effect::ManagerUpdate(_)
                | Effect::StageDeclaration(_)
                | Effect::Currency(..)
                | Effect::Review(_)
                | Effect::ReviewOver { .. } => news.push(effect),
            }
        }
    }
}

fn by_id(alerts: Vec<Alert>) -> BTreeMap<Uuid, Vec<Alert>> {
    let mut lives = BTreeMap::<Uuid, Vec<Alert>>::new();
    for alert in alerts {
        lives.entry(alert.id).or_default().push(alert);
    }
    lives
}
