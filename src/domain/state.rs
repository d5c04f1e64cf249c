//! Owns what of a tenant outlives its process: the events that took effect, as bytes, and the little that does not
//! follow from them.
//!
//! **State is history.** What a tenant is like follows from its events in their order, the norms of then and the clock.
//! So nothing else is kept of journeys, contacts, timers, windows and open alerts: a tenant is restored by living its
//! history again, in silence. It costs one record an event, and cannot disagree with the rules.
//!
//! How an event becomes bytes is not decided here: whoever makes a floor hands a [`Packing`] in.

use super::event::{Payload, Topic, Turn};
use super::id::EventId;
use super::norms::Norms;
use super::time::Timestamp;
use std::ops::Range;
use std::sync::Arc;

/// How what happened becomes bytes, and what happened again.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// Appends the bytes of a payload.
    pub pack: fn(&Payload, &mut Vec<u8>),
    /// The payload of bytes that `pack` made; `None`: they are not such.
    pub unpack: fn(Topic, &[u8]) -> Option<Payload>,
}

impl Packing {
    /// The payload of bytes that were packed in this process, or were unpacked in it before.
    pub fn recall(&self, turn: Turn, bytes: &[u8]) -> Payload {
        (self.unpack)(topic(turn), bytes).expect("it was packed here")
    }
}

/// The topic of an event by its place.
pub fn topic(turn: Turn) -> Topic {
    Topic::ALL[usize::from(turn.rank).min(Topic::ALL.len() - 1)]
}

/// Where an event stands in its shard: the number of its source, and its offset there.
pub type Source = (u8, i64);

/// What is to be written of a tenant, so that it can be restored.
#[derive(Debug, Default)]
pub struct Journal {
    bytes: Vec<u8>,
    kept: Vec<(Turn, Option<EventId>, Range<usize>)>,
    /// Events that nothing follows from any more.
    pub gone: Vec<Source>,
    /// What does not follow from events has changed.
    pub marked: bool,
}

impl Journal {
    /// An event took effect.
    pub fn keep(&mut self, turn: Turn, id: Option<EventId>, packed: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(packed);
        self.kept.push((turn, id, begin..self.bytes.len()));
    }

    /// The events that took effect.
    pub fn kept(&self) -> impl Iterator<Item = (Turn, Option<&EventId>, &[u8])> {
        self.kept.iter().map(|(turn, id, range)| (*turn, id.as_ref(), &self.bytes[range.clone()]))
    }

    /// Nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.gone.is_empty() && !self.marked
    }
}

/// What does not follow from a tenant's events.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The first event seen of the tenant.
    pub first_event: Option<Timestamp>,
    /// The last event of each topic among those that are gone; `MIN` if there is none.
    pub spoke: [Timestamp; 3],
    /// The norms, and from when on they were in force; the first ones always were.
    pub eras: Vec<(Timestamp, Arc<Norms>)>,
}

/// An event as it was kept.
#[derive(Debug)]
pub struct Kept {
    /// Its place in the order of effect.
    pub turn: Turn,
    /// Its id.
    pub id: Option<EventId>,
    /// What happened.
    pub packed: Box<[u8]>,
}
