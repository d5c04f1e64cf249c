//! Owns the replay of a case, or of its last events, from its log.

use crate::domain::context::Timer;
use crate::domain::event::Payload;
use crate::domain::id::EntityId;
use crate::domain::identity;
use crate::domain::index::{ContactIx, JourneyIx};
use crate::domain::mem::recorded::Recorded;
use crate::domain::tenant::Tenant;
use crate::domain::tenant::cases::Entry;
use crate::domain::tenant::changelog::PayloadCodec;
use crate::domain::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A log entry and its decoded payload.
#[derive(Debug)]
pub(super) struct ReplayedEvent {
    pub(super) entry: Entry,
    pub(super) payload: Payload,
}

/// The events of a case that were undone, in event order.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) events: Vec<ReplayedEvent>,
    /// The timers that had fired.
    pub(super) timers: Vec<(Timestamp, Timer)>,
    /// Whether these are all events of the case. Then what they have changed is still to be reset.
    pub(super) whole: bool,
}

impl ReplayedEvent {
    /// Decodes an entry.
    pub(super) fn of(entry: Entry, codec: PayloadCodec) -> Self {
        Self { payload: codec.unpack_trusted(entry.order, &entry.packed), entry }
    }
}

impl Tenant {
    /// Takes and decodes the log of a case that has no undo log, in event order.
    pub(super) fn take_log(&mut self, case: u32) -> Vec<ReplayedEvent> {
        let codec = self.codec;
        self.cases.take_log(case).into_iter().map(|entry| ReplayedEvent::of(entry, codec)).collect()
    }

    /// Decodes the events of a case, in event order.
    pub(super) fn read_log(&self, case: u32) -> Vec<ReplayedEvent> {
        let entries = self.cases.events(case).map(|(order, packed)| Entry { order, packed: packed.into() });
        let mut events: Vec<_> = entries.map(|entry| ReplayedEvent::of(entry, self.codec)).collect();
        events.sort_by_key(|event| event.entry.order);
        events
    }

    /// Resets what events of a case have changed.
    pub(super) fn reset<'a>(&mut self, events: impl Iterator<Item = &'a Payload> + Clone) {
        let (journeys, contacts) = self.indices_named_by(events.clone());
        for ix in journeys {
            self.journeys[ix].reset();
        }
        for ix in contacts {
            self.calls.remove_contact(ix);
            self.contacts[ix].reset();
        }
        events.for_each(|payload| self.clear_event_state(payload));
    }

    /// Resets a case and replays it from its log.
    pub(super) fn replay_whole(&mut self, events: &[ReplayedEvent], upto: Timestamp) {
        self.reset(events.iter().map(|event| &event.payload));
        if let [(_, initial), _, ..] = self.norm_versions.as_slice() {
            self.set_norms(Arc::clone(initial));
        }
        self.apply_again(events, 1, |tenant, event| tenant.apply_event_again(event, None), upto);
    }

    /// Replays the undone events of a case.
    pub(super) fn replay_part(&mut self, case: u32, part: &Part, upto: Timestamp) {
        if part.whole {
            return self.replay_whole(&part.events, upto);
        }
        self.set_past_timers(part);
        let norm_versions = self.norm_versions.len();
        let apply = |tenant: &mut Self, event: &ReplayedEvent| tenant.apply_event_again(event, Some(case));
        self.apply_again(&part.events, norm_versions, apply, upto);
    }

    /// The same, and makes them part of the log and the undo log of the case again.
    pub(super) fn keep_part(&mut self, case: u32, part: &Part, upto: Timestamp) {
        let mut norm_version = self.norm_versions.len();
        if part.whole {
            self.reset(part.events.iter().map(|event| &event.payload));
            if let [(_, initial), _, ..] = self.norm_versions.as_slice() {
                self.set_norms(Arc::clone(initial));
            }
            norm_version = 1;
        }
        self.set_past_timers(part);
        let apply = |tenant: &mut Self, event: &ReplayedEvent| {
            let Entry { order, packed } = &event.entry;
            tenant.begin_step(case, order.at);
            tenant.apply_event_again(event, Some(case));
            tenant.cases.log(Some(case), *order, packed);
        };
        self.apply_again(&part.events, norm_version, apply, upto);
    }

    fn set_past_timers(&mut self, part: &Part) {
        part.timers.iter().for_each(|(at, timer)| self.context.set_past_timer(*at, *timer));
    }

    fn apply_event_again(&mut self, event: &ReplayedEvent, case: Option<u32>) {
        self.begin_event(event.entry.order);
        self.begin_recording(case);
        self.dispatch(&event.payload);
        self.end_recording();
    }

    /// Applies events in event order, the norms from this version on, and timers up to and including `upto`.
    fn apply_again(
        &mut self,
        events: &[ReplayedEvent],
        mut norm_version: usize,
        apply: impl Fn(&mut Self, &ReplayedEvent),
        upto: Timestamp,
    ) {
        for instant in events.chunk_by(|event, next| event.entry.order.at == next.entry.order.at) {
            let at = instant[0].entry.order.at;
            self.replay_norm_versions(&mut norm_version, at, events);
            self.fire_timers(Timestamp(at.0 - 1));
            self.chains.collect(instant.iter().map(|event| &event.payload));
            instant.iter().for_each(|event| apply(self, event));
        }
        self.chains.clear();
        self.replay_norm_versions(&mut norm_version, Timestamp::MAX, events);
        self.fire_timers(upto);
    }

    /// Applies the norms that came into force before `until`.
    fn replay_norm_versions(&mut self, version: &mut usize, until: Timestamp, events: &[ReplayedEvent]) {
        while let Some((at, norms)) = self.norm_versions.get(*version).filter(|(at, _)| *at < until).cloned() {
            *version += 1;
            self.fire_timers(at);
            let (journeys, contacts) = self.indices_named_by(events.iter().map(|event| &event.payload));
            self.apply_norms(norms, at, journeys, contacts);
            self.fire_timers(at);
        }
    }

    /// The indices of the journeys and contacts that events name.
    pub(super) fn indices_named_by<'a>(
        &self,
        events: impl IntoIterator<Item = &'a Payload>,
    ) -> (BTreeSet<JourneyIx>, BTreeSet<ContactIx>) {
        let (mut journeys, mut contacts) = (BTreeSet::new(), BTreeSet::new());
        for payload in events.into_iter().filter(|payload| !self.ignores(payload)) {
            payload.each_entity(|kind, id| journeys.extend(self.journeys.find(&EntityId { kind, id: id.clone() })));
            payload.each_contact(|contact| {
                let forms = identity::normal_forms(contact, self.context.norms.country);
                contacts.extend(forms.filter_map(|form| self.contacts.find(&form)));
            });
        }
        (journeys, contacts)
    }
}
