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

impl Part {
    /// All events of a case.
    pub(super) fn whole(events: Vec<ReplayedEvent>) -> Self {
        Self { events, timers: Vec::new(), whole: true }
    }
}

impl ReplayedEvent {
    /// Decodes an entry.
    pub(super) fn of(entry: Entry, codec: PayloadCodec) -> Self {
        Self { payload: codec.unpack_trusted(entry.order, &entry.packed), entry }
    }
}

impl Tenant {
    /// Decodes entries.
    pub(super) fn decode(&self, entries: Vec<Entry>) -> Vec<ReplayedEvent> {
        entries.into_iter().map(|entry| ReplayedEvent::of(entry, self.codec)).collect()
    }

    /// Decodes the events of a case, in event order.
    pub(super) fn read_log(&self, case: u32) -> Vec<ReplayedEvent> {
        self.decode(self.cases.entries(case))
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

    /// Replays the undone events of a case.
    pub(super) fn replay_part(&mut self, case: u32, part: &Part, upto: Timestamp) {
        self.apply_again(part, |tenant, event| tenant.apply_event_again(case, event), upto);
    }

    /// The same, and makes them part of the log and the undo log of the case again.
    pub(super) fn keep_part(&mut self, case: u32, part: &Part, upto: Timestamp) {
        let apply = |tenant: &mut Self, event: &ReplayedEvent| {
            let Entry { order, packed } = &event.entry;
            tenant.begin_step(case, order.at);
            tenant.apply_event_again(case, event);
            tenant.cases.log(Some(case), *order, packed);
        };
        self.apply_again(part, apply, upto);
    }

    fn apply_event_again(&mut self, case: u32, event: &ReplayedEvent) {
        self.begin_event(event.entry.order);
        self.begin_recording(Some(case));
        self.note_event(&event.payload);
        self.dispatch(&event.payload);
        self.end_recording();
    }

    /// Resets what a whole case has changed, and goes back to its first norms. Returns the version of the norms that comes
    /// next.
    fn begin_again(&mut self, part: &Part) -> usize {
        part.timers.iter().for_each(|(at, timer)| self.context.set_past_timer(*at, *timer));
        if !part.whole {
            return self.norm_versions.len();
        }
        self.reset(part.events.iter().map(|event| &event.payload));
        if let [(_, initial), _, ..] = self.norm_versions.as_slice() {
            self.set_norms(Arc::clone(initial));
        }
        1
    }

    /// Applies undone events in event order, the norms that came into force meanwhile, and timers up to and including `upto`.
    fn apply_again(&mut self, part: &Part, apply: impl Fn(&mut Self, &ReplayedEvent), upto: Timestamp) {
        let (mut norm_version, events) = (self.begin_again(part), &part.events);
        // Those of another replay, which may have ended at the instant at which this one begins.
        self.calls_now.clear();
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
