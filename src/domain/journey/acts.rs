//! Owns the dated acts of a journey: touches, conversations and other two-way contact.
//!
//! Acts of calls can be corrected: a leg that becomes known late dates a touch back, and a record that replaces another
//! one can take a touch or a conversation away. So each is kept with its date.

use crate::domain::call::Reached;
use crate::domain::change::JourneyChange;
use crate::domain::context::TenantContext;
use crate::domain::event::Position;
use crate::domain::index::{CallIx, ManagerIx};
use crate::domain::journey::Journey;
use crate::domain::journey::contact_history::{ContactHistory, Touch};
use crate::domain::journey::response::{Acts, HumanResponse};
use crate::domain::mem::short::Short;
use crate::domain::time::Timestamp;

impl Journey {
    /// Dates of all touches so far, in order.
    pub fn touches(&self) -> impl ExactSizeIterator<Item = Timestamp> + DoubleEndedIterator + '_ {
        self.contact_history.touches.iter().map(|touch| touch.at)
    }

    /// Whether there was a touch.
    pub fn touched(&self) -> bool {
        !self.contact_history.touches.is_empty()
    }

    /// The date of the touch with this index, in order of dates.
    pub fn touch_at(&self, index: usize) -> Option<Timestamp> {
        self.contact_history.touches.get(index).map(|touch| touch.at)
    }

    /// The number of touches dated up to `until`.
    pub fn touches_until(&self, until: Timestamp) -> usize {
        self.contact_history.touches.partition_point(|touch| touch.at <= until)
    }

    /// Date of the first conversation.
    pub fn first_talk(&self) -> Option<Timestamp> {
        self.contact_history.talks.first().copied()
    }

    /// Date of the first two-way contact.
    pub(super) fn first_contact(&self) -> Option<Timestamp> {
        self.first_talk().into_iter().chain(self.contact_history.first_exchange).min()
    }

    /// Records a touch dated `at`, made by a manager.
    pub fn touch(&mut self, context: &mut TenantContext, at: Timestamp, by: ManagerIx) {
        self.add_touch(context, at, None, by);
    }

    /// Records a message of the customer, which is two-way contact once there was a touch.
    pub fn ask(&mut self, context: &mut TenantContext) {
        if self.touched() {
            self.exchange(context, context.now);
        } else {
            self.contact_history.asked.push_short((context.now, context.position));
        }
    }

    /// Records two-way contact that is not a call, dated `at`.
    pub fn exchange(&mut self, context: &mut TenantContext, at: Timestamp) {
        let before = self.first_contact();
        let first = self.contact_history.first_exchange;
        self.contact_history.first_exchange = Some(first.map_or(at, |first| first.min(at)));
        self.record_contact(context, before);
    }

    /// Replaces what it has from a call.
    pub fn reach(&mut self, context: &mut TenantContext, call: CallIx, before: Option<Reached>, now: Option<Reached>) {
        let (touched, touch) =
            (before.map(|reached| (reached.touch, reached.who)), now.map(|reached| (reached.touch, reached.who)));
        let (talked, talk) = (before.and_then(|reached| reached.talk), now.and_then(|reached| reached.talk));
        let (first_talk, first_contact) = (self.first_talk(), self.first_contact());
        if talked != talk {
            let talks = &mut self.contact_history.talks;
            talked.and_then(|old| talks.iter().position(|known| *known == old)).map(|position| talks.remove(position));
            if let Some(new) = talk {
                talks.reserve_short();
                talks.insert(talks.partition_point(|known| *known <= new), new);
            }
        }
        match (touched, touch) {
            (None, Some((at, by))) => self.add_touch(context, at, Some(call), by),
            (Some((from, old)), Some((at, by))) if from == at => {
                let touch = self.contact_history.touches.iter_mut().find(|touch| touch.call == Some(call));
                if let Some(touch) = touch.filter(|_| old != by) {
                    touch.by = by;
                    context.record_change(JourneyChange::ActsWithdrawn);
                }
            }
            (Some((from, _)), Some((at, by))) => {
                self.remove_touch(call);
                self.contact_history.insert_touch(Touch { at, known: context.position, call: Some(call), by });
                context.record_change(JourneyChange::TouchMoved { from });
            }
            (Some(_), None) => {
                self.remove_touch(call);
                context.record_change(JourneyChange::ActsWithdrawn);
            }
            _ => {}
        }
        if self.first_contact() != first_contact && !is_earlier(self.first_contact(), first_contact) {
            context.record_change(JourneyChange::ActsWithdrawn);
        }
        if touched.is_some() && is_earlier(self.first_talk(), first_talk) {
            context.record_change(JourneyChange::Talk);
        }
        self.record_contact(context, first_contact);
    }

    /// The touches, contacts, closing and deletion that the first-response rule needs.
    pub fn acts(&self) -> Acts {
        let end_state = &*self.end_state;
        let first = self.contact_history.touches.first();
        Acts {
            touch: first.map(|touch| (touch.at, self.responsible_at(touch.known))),
            contact: self.first_contact(),
            closed: end_state.first_closed,
            deleted: end_state.deleted,
        }
    }

    /// The first touch, but not before the creation: when, by whom, and the last assignment before it; `None` if nobody was
    /// responsible.
    pub fn human_response(&self) -> Option<HumanResponse<'_>> {
        let touch = self.contact_history.touches.first()?;
        let at = self.created().map_or(touch.at, |created| touch.at.max(created));
        Some((at, touch.by, self.assignments.before(at, touch.known)?))
    }

    fn add_touch(&mut self, context: &mut TenantContext, at: Timestamp, call: Option<CallIx>, by: ManagerIx) {
        let first = !std::mem::replace(&mut self.contact_history.was_touched, true);
        self.contact_history.insert_touch(Touch { at, known: context.position, call, by });
        context.record_change(JourneyChange::Touch { at, first });
    }

    fn remove_touch(&mut self, call: CallIx) {
        let touches = &mut self.contact_history.touches;
        if let Some(position) = touches.iter().position(|touch| touch.call == Some(call)) {
            touches.remove(position);
        }
    }

    /// Replaces the index of a call that turned out to be part of another.
    pub fn replace_call(&mut self, from: CallIx, to: CallIx) {
        for touch in self.contact_history.touches.iter_mut().filter(|touch| touch.call == Some(from)) {
            touch.call = Some(to);
        }
    }

    /// The manager who was responsible when the event at a position took effect.
    fn responsible_at(&self, position: Position) -> ManagerIx {
        if position < self.first_event {
            return ManagerIx::NONE;
        }
        let later = self.contact_history.reassigned.iter().find(|(reassigned, _)| *reassigned > position);
        later.map_or(self.who, |(_, before)| *before)
    }

    pub(super) fn record_contact(&self, context: &mut TenantContext, before: Option<Timestamp>) {
        if is_earlier(self.first_contact(), before) {
            context.record_change(JourneyChange::Contact);
        }
    }
}

impl ContactHistory {
    pub(super) fn insert_touch(&mut self, touch: Touch) {
        let position = self.touches.partition_point(|other| other.at <= touch.at);
        self.touches.reserve_short();
        self.touches.insert(position, touch);
    }
}

/// Whether a date is known now and was not, or is earlier than it was.
pub(super) fn is_earlier(now: Option<Timestamp>, before: Option<Timestamp>) -> bool {
    now.is_some_and(|now| before.is_none_or(|before| now < before))
}
