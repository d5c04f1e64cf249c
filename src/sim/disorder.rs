//! Iterator adaptors that reorder and duplicate events, as delivery can.
//!
//! Reordering stays within a given lateness and loses nothing. The same seed gives the same result.

use super::random::Random;
use crate::domain::event::Event;
use crate::domain::time::{Span, Timestamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Reordering and duplication of a stream of events.
pub trait Disorder: Iterator<Item = Event> + Sized {
    /// Delays every event by less than `lateness` (at most 49 days) and yields them in order of delivery. An event is
    /// always less than `lateness` older than the newest event before it, so none is late.
    ///
    /// The input must be in order of event time.
    fn shuffled(self, lateness: Span, seed: u64) -> Shuffled<Self> {
        Shuffled {
            events: self,
            lateness,
            random: Random::new(seed, 1),
            newest: Timestamp::MIN,
            count: 0,
            order: BinaryHeap::new(),
            held: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Yields a fraction `rate` (0 to 1) of the events twice, each copy right after the original.
    fn duplicated(self, rate: f64, seed: u64) -> Duplicated<Self> {
        let share = (rate.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
        Duplicated { events: self, share, random: Random::new(seed, 2), repeated: None }
    }
}

impl<I: Iterator<Item = Event>> Disorder for I {}

/// See [`Disorder::shuffled`].
#[derive(Debug)]
pub struct Shuffled<I> {
    events: I,
    lateness: Span,
    random: Random,
    /// Event time of the last event read: no later event is delivered before it.
    newest: Timestamp,
    count: u64,
    /// Delivery time, tie-breaker and index in `held` of each event in flight.
    order: BinaryHeap<Reverse<(Timestamp, u64, u32)>>,
    held: Vec<Option<Event>>,
    free: Vec<u32>,
}

impl<I: Iterator<Item = Event>> Shuffled<I> {
    fn send(&mut self, event: Event) {
        self.newest = event.at;
        self.count += 1;
        let delivery = event.at.saturating_add(self.random.span_below(self.lateness));
        let slot = self.free.pop().unwrap_or(self.held.len() as u32);
        if slot as usize == self.held.len() {
            self.held.push(None);
        }
        self.held[slot as usize] = Some(event);
        self.order.push(Reverse((delivery, self.count, slot)));
    }

    fn deliver(&mut self) -> Option<Event> {
        let Reverse((_, _, slot)) = self.order.pop()?;
        self.free.push(slot);
        self.held[slot as usize].take()
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

/// See [`Disorder::duplicated`].
#[derive(Debug)]
pub struct Duplicated<I> {
    events: I,
    share: u32,
    random: Random,
    repeated: Option<Event>,
}

impl<I: Iterator<Item = Event>> Iterator for Duplicated<I> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.repeated.take() {
            return Some(event);
        }
        let event = self.events.next()?;
        if self.random.chance_fraction(self.share) {
            self.repeated = Some(event.clone());
        }
        Some(event)
    }
}
