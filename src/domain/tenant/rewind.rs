//! Owns the use of undo logs: what the events and timers of a case change is recorded, and undone for a late event.
//!
//! A late event costs in proportion to what comes after its date in its case, and not to the length of the case. Cases of a
//! few events have no undo log: all of their events are undone, by a reset of what they name.
//!
//! An undo log is no part of the state. A case without one gets it with its next event: after a restart, a reload of norms,
//! or a late event that changes all of the case. Only these, and an event that makes the tenant begin earlier, cost in
//! proportion to the whole case.

use crate::domain::alert::Alert;
use crate::domain::context::Timer;
use crate::domain::effect::Effect;
use crate::domain::mem::indexed_arena::IndexedArena;
use crate::domain::tenant::Tenant;
use crate::domain::tenant::contacts::ContactState;
use crate::domain::tenant::event_log::Log;
use crate::domain::tenant::replay::Part;
use crate::domain::tenant::sampler::Sampler;
use crate::domain::tenant::undo_log::{Absorbed, BeforeImages, Step, UndoLog};
use crate::domain::time::Timestamp;

impl Tenant {
    /// The case of the event whose keys are in `keys`, and which is dated `date`: all cases that the keys name are merged.
    pub(super) fn join_cases(&mut self, date: Timestamp) -> Option<u32> {
        if self.cases.has_undo_logs() {
            self.merge_recorded_cases(date);
        }
        self.cases.join(&self.keys)
    }

    /// Merges the cases of the keys if one of them has an undo log.
    fn merge_recorded_cases(&mut self, date: Timestamp) {
        if self.cases.have_at_most_one(&self.keys) {
            return;
        }
        let cases = self.cases.of_keys(&self.keys);
        let recorded = cases.iter().copied().filter(|case| self.cases.undo_log(*case).is_some());
        let Some(kept) = recorded.collect::<Vec<_>>().into_iter().max_by_key(|case| self.cases.count(*case)) else {
            return;
        };
        for gone in cases.into_iter().filter(|case| *case != kept) {
            let statuses = match self.cases.undo_log(gone) {
                Some(undo) => undo.take_statuses(),
                None => self.statuses_of(gone, date),
            };
            self.discard_undo_log(gone);
            self.cases.absorb(kept, gone, date, statuses);
        }
    }

    /// The statuses that a case has published before a date, found by a replay whose changes are undone. Of a late event,
    /// which undoes the case in any case, they are not needed.
    fn statuses_of(&mut self, case: u32, date: Timestamp) -> Vec<Alert> {
        if self.context.now > date {
            return Vec::new();
        }
        let part = Part::whole(self.read_log(case));
        let effects = self.effects_of(case, &part, Timestamp(date.0 - 1));
        let statuses = effects.into_iter().filter_map(|effect| match effect {
            Effect::Alert(alert) => Some(*alert),
            _ => None,
        });
        statuses.collect()
    }

    /// The effects of events of a case, which has no undo log, and of timers up to and including `upto`, found by a replay
    /// whose changes are undone.
    pub(super) fn effects_of(&mut self, case: u32, part: &Part, upto: Timestamp) -> Vec<Effect> {
        let suspended = self.context.suspend();
        let late = self.sampler.as_mut().map(Sampler::suspend_correction);
        let (position, counts) = (self.context.position, (self.left_out, self.context.summed_up));
        let (chains, calls_now) = (std::mem::take(&mut self.chains), std::mem::take(&mut self.calls_now));
        let mut before = BeforeImages::empty();
        self.swap_before(&mut before);
        self.replay_part(case, part, upto);
        self.swap_before(&mut before);
        self.restore_before(before);
        let (effects, _) = self.context.take_replay_output();
        self.context.drop_timers();
        (self.chains, self.calls_now) = (chains, calls_now);
        self.context.position = position;
        (self.left_out, self.context.summed_up) = counts;
        self.context.resume(suspended);
        self.sampler.iter_mut().zip(late).for_each(|(sampler, late)| sampler.resume_correction(late));
        // Later facts refer to what was first named here.
        effects.iter().filter(|effect| effect.declares()).cloned().for_each(|effect| self.context.emit(effect));
        effects
    }

    /// Begins a step of the undo log of a case before an event, if that is due; also the undo log, if the case has become
    /// long.
    pub(super) fn begin_step(&mut self, case: u32, at: Timestamp) {
        let events = self.memory.undo_events;
        if self.cases.undo_log(case).is_none() {
            // The replay of a late event has set aside what a replay within it would need.
            if self.context.is_replaying() || self.cases.count(case) < events {
                return;
            }
            let since = self.norm_versions.last().map_or(Timestamp::MIN, |(since, _)| *since);
            if self.cases.last_event_at(case).max(Some(since)) >= Some(at) {
                return;
            }
            let statuses = self.statuses_of(case, at);
            self.cases.set_undo_log(case, Box::new(UndoLog::new(statuses)));
        }
        let (log_length, horizon) = (self.cases.log_length(case), at.saturating_sub(self.memory.correction_horizon));
        let Some(undo) = self.cases.undo_log(case) else { return };
        if undo.is_step_due(at, events) {
            undo.last_step().into_iter().for_each(|step| end_step(&mut self.contacts, step));
            undo.begin_step(at, log_length);
            undo.merge_steps();
            if !self.context.is_replaying() {
                undo.forget(horizon).into_iter().for_each(|step| self.calls.keep_changes(step.before.calls));
            }
        }
        undo.count_event(at);
    }

    /// Begins to record what an event or a timer of a case changes, if the case has an undo log.
    pub(super) fn begin_recording(&mut self, case: Option<u32>) {
        let Some(case) = case else { return };
        let Some(mut undo) = self.cases.take_undo_log(case) else { return };
        if let Some(step) = undo.last_step() {
            self.swap_before(&mut step.before);
        }
        self.context.record_statuses();
        self.recording = Some((case, undo));
    }

    /// Records a timer that fires.
    pub(super) fn record_timer(&mut self, at: Timestamp, timer: Timer) {
        let step = self.recording.as_mut().and_then(|(_, undo)| undo.last_step());
        step.into_iter().for_each(|step| step.timers.push((at, timer)));
    }

    /// Ends what [`Self::begin_recording`] began.
    pub(super) fn end_recording(&mut self) {
        let Some((case, mut undo)) = self.recording.take() else { return };
        if let Some(step) = undo.last_step() {
            self.swap_before(&mut step.before);
        }
        undo.add_statuses(self.context.take_statuses());
        self.cases.set_undo_log(case, undo);
    }

    /// The case of a timer, if there are undo logs.
    pub(super) fn recorded_case_of(&self, timer: Timer) -> Option<u32> {
        if !self.cases.has_undo_logs() {
            return None;
        }
        match timer {
            Timer::Journey(ix) => self.cases.of_entity(&self.journeys[ix].id),
            Timer::MissedCalls(ix, _) | Timer::Messages(ix, _) => self.cases.of_contact(&self.contacts[ix].normalized),
            Timer::Silence(_) | Timer::Reviews(_) => None,
        }
    }

    /// Discards all undo logs, before the norms change.
    pub(super) fn discard_undo_logs(&mut self) {
        for case in self.cases.with_undo_logs() {
            self.discard_undo_log(case);
        }
    }

    /// Discards the undo log of a case, if it has one.
    pub(super) fn discard_undo_log(&mut self, case: u32) {
        let Some(undo) = self.cases.take_undo_log(case) else { return };
        let (steps, logs) = undo.into_parts();
        for mut step in steps {
            end_step(&mut self.contacts, &mut step);
            self.calls.keep_changes(step.before.calls);
        }
        self.cases.append(case, logs);
    }

    /// Undoes what a case has done from a date on, or all of it. Returns the events to be applied again.
    pub(super) fn rewind(&mut self, case: u32, date: Timestamp) -> Part {
        let steps = self.cases.undo_log(case).map(|undo| undo.take_steps(date)).unwrap_or_default();
        let Some((from, log_length)) = steps.last().map(|step| (step.from, step.log_length)) else {
            self.discard_undo_log(case);
            let entries = self.cases.take_log(case);
            return Part::whole(self.decode(entries));
        };
        let timers = steps.into_iter().flat_map(|step| self.undo(step)).collect();
        let absorbed: Vec<Log> = self.cases.undo_log(case).map_or_else(Vec::new, |undo| {
            undo.begin_step(from, log_length);
            undo.take_absorbed(date).into_iter().map(|Absorbed { log, .. }| log).collect()
        });
        self.reset_events_of(&absorbed);
        let entries = self.cases.take_since(case, log_length, absorbed);
        Part { events: self.decode(entries), timers, whole: false }
    }

    /// Resets what the events of cases name that were merged into another one.
    fn reset_events_of(&mut self, logs: &[Log]) {
        let codec = self.codec;
        for log in logs {
            let events: Vec<_> = log.iter().map(|(order, packed)| codec.unpack_trusted(order, packed)).collect();
            self.reset(events.iter());
        }
    }

    /// Undoes the replay of a part that is not the whole case, so that it can be applied again.
    pub(super) fn rewind_replay(&mut self, case: u32) {
        let step = self.cases.undo_log(case).and_then(|undo| {
            let step = undo.take_step()?;
            undo.begin_step(step.from, step.log_length);
            Some(step)
        });
        step.into_iter().for_each(|step| drop(self.undo(step)));
    }

    /// Undoes a step. Returns the timers that had fired in it.
    fn undo(&mut self, step: Step) -> Vec<(Timestamp, Timer)> {
        self.restore_before(step.before);
        step.timers
    }

    fn swap_before(&mut self, before: &mut BeforeImages) {
        self.journeys.swap(&mut before.journeys);
        self.contacts.swap(&mut before.contacts);
        self.calls.swap(&mut before.calls);
        self.dismissed_early.swap(&mut before.dismissed_early);
        self.entity_by_thread.swap(&mut before.entity_by_thread);
        self.contacts_by_thread.swap(&mut before.contacts_by_thread);
        self.received.swap(&mut before.received);
        self.deals_by_lead.swap(&mut before.deals_by_lead);
    }

    fn restore_before(&mut self, before: BeforeImages) {
        let BeforeImages { journeys, contacts, calls, .. } = before;
        journeys.into_iter().for_each(|before| self.journeys.restore(before));
        contacts.into_iter().for_each(|mut before| {
            self.contacts.end_recording(&mut before);
            self.contacts.restore(before);
        });
        self.calls.restore(calls);
        before.dismissed_early.into_iter().for_each(|before| self.dismissed_early.restore(before));
        before.entity_by_thread.into_iter().for_each(|before| self.entity_by_thread.restore(before));
        before.contacts_by_thread.into_iter().for_each(|before| self.contacts_by_thread.restore(before));
        before.received.into_iter().for_each(|before| self.received.restore(before));
        before.deals_by_lead.into_iter().for_each(|before| self.deals_by_lead.restore(before));
    }
}

/// Completes the before-images of a step.
fn end_step(contacts: &mut IndexedArena<ContactState>, step: &mut Step) {
    step.before.contacts.iter_mut().for_each(|before| contacts.end_recording(before));
}
