//! Owns the disturbances of the way: disorder and repetition, as adaptors of any stream of events. Promises that
//! disorder stays inside its lateness and that nothing is lost; a seed disturbs alike every time.

use super::random::Dice;
use crate::domain::event::Event;
use crate::domain::time::{Span, Timestamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What can happen to events on their way.
pub trait Disturb: Iterator<Item = Event> + Sized {
    /// Delivers every event up to `lateness` (at most 49 days) after its time, in the order of delivery. An event is
    /// always less than `lateness` older than the newest before it, so none is late.
    ///
    /// The events must come in order of their time.
    fn shuffled(self, lateness: Span, seed: u64) -> Shuffled<Self> {
        Shuffled {
            events: self,
            lateness,
            dice: Dice::new(seed, 1),
            newest: Timestamp::MIN,
            count: 0,
            order: BinaryHeap::new(),
            held: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Sends a share of the events (0 to 1) twice, one copy behind the other.
    fn duplicated(self, rate: f64, seed: u64) -> Duplicated<Self> {
        let share = (rate.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
        Duplicated { events: self, share, dice: Dice::new(seed, 2), again: None }
    }
}

impl<I: Iterator<Item = Event>> Disturb for I {}

/// See [`Disturb::shuffled`].
#[derive(Debug)]
pub struct Shuffled<I> {
    events: I,
    lateness: Span,
    dice: Dice,
    /// The time of the last event taken in: none to come is delivered before.
    newest: Timestamp,
    count: u64,
    /// What is on its way: by the time of its delivery, in places of `held`.
    order: BinaryHeap<Reverse<(Timestamp, u64, u32)>>,
    held: Vec<Option<Event>>,
    free: Vec<u32>,
}

impl<I: Iterator<Item = Event>> Shuffled<I> {
    fn send(&mut self, event: Event) {
        self.newest = event.at;
        self.count += 1;
        let delivery = event.at.saturating_add(self.dice.span_below(self.lateness));
        let place = self.free.pop().unwrap_or(self.held.len() as u32);
        if place as usize == self.held.len() {
            self.held.push(None);
        }
        self.held[place as usize] = Some(event);
        self.order.push(Reverse((delivery, self.count, place)));
    }

    fn deliver(&mut self) -> Option<Event> {
        let Reverse((_, _, place)) = self.order.pop()?;
        self.free.push(place);
        self.held[place as usize].take()
    }
}

impl<I: Iterator<Item = Event>> Iterator for Shuffled<I> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if self.order.peek().is_some_and(|Reverse((delivery, _, _))| *delivery <= self.newest) {
                return self.deliver();
            }
            match self.events.next() {
                Some(event) => self.send(event),
                None => return self.deliver(),
            }
        }
    }
}

/// See [`Disturb::duplicated`].
#[derive(Debug)]
pub struct Duplicated<I> {
    events: I,
    share: u32,
    dice: Dice,
    again: Option<Event>,
}

impl<I: Iterator<Item = Event>> Iterator for Duplicated<I> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.again.take() {
            return Some(event);
        }
        let event = self.events.next()?;
        if self.dice.rarely(self.share) {
            self.again = Some(event.clone());
        }
        Some(event)
    }
}
