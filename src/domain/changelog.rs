//! Owns what of a tenant outlives its process: the events that took effect, as bytes, and the little that does not
//! follow from them.
//!
//! **State is history.** What a tenant is like follows from its events in their order, the norms of then and the clock.
//! So nothing else is kept of journeys, contacts, timers, windows and open alerts: a tenant is restored by living its
//! history again, in silence. It costs one record an event, and cannot disagree with the rules.
//!
//! How an event becomes bytes is not decided here: whoever makes a floor hands a [`PayloadCodec`] in.

use super::event::{EventOrder, Payload, Topic};
use super::id::EventId;
use super::norms::Norms;
use super::time::Timestamp;
use std::ops::Range;
use std::sync::Arc;

/// How what happened becomes bytes, and what happened again.
#[derive(Clone, Copy, Debug)]
pub struct PayloadCodec {
    /// Appends the bytes of a payload.
    pub pack: fn(&Payload, &mut Vec<u8>),
    /// The payload of bytes that `pack` made; `None`: they are not such.
    pub unpack: fn(Topic, &[u8]) -> Option<Payload>,
}

impl PayloadCodec {
    /// The payload of bytes that were packed in this process, or were unpacked in it before.
    pub fn recall(&self, order: EventOrder, bytes: &[u8]) -> Payload {
        (self.unpack)(topic(order), bytes).expect("it was packed here")
    }
}

/// The topic of an event by its place.
pub fn topic(order: EventOrder) -> Topic {
    Topic::ALL[usize::from(order.rank).min(Topic::ALL.len() - 1)]
}

/// Where an event stands in its shard: the number of its source, and its offset there.
pub type SourceOffset = (u8, i64);

/// What is to be written of a tenant, so that it can be restored.
#[derive(Debug, Default)]
pub struct Changelog {
    bytes: Vec<u8>,
    kept: Vec<(EventOrder, Option<EventId>, Range<usize>)>,
    /// Events that nothing follows from any more.
    pub gone: Vec<SourceOffset>,
    /// What does not follow from events has changed.
    pub marked: bool,
}

impl Changelog {
    /// An event took effect.
    pub fn keep(&mut self, order: EventOrder, id: Option<EventId>, packed: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(packed);
        self.kept.push((order, id, begin..self.bytes.len()));
    }

    /// The events that took effect.
    pub fn kept(&self) -> impl Iterator<Item = (EventOrder, Option<&EventId>, &[u8])> {
        self.kept.iter().map(|(order, id, range)| (*order, id.as_ref(), &self.bytes[range.clone()]))
    }

    /// Nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.gone.is_empty() && !self.marked
    }
}

/// What does not follow from a tenant's events.
#[derive(Clone, Debug)]
pub struct TenantMark {
    /// The first event seen of the tenant.
    pub first_event: Option<Timestamp>,
    /// The last event of each topic among those that are gone; `MIN` if there is none.
    pub last_event: [Timestamp; 3],
    /// The norms, and from when on they were in force; the first ones always were.
    pub norm_versions: Vec<(Timestamp, Arc<Norms>)>,
}

/// An event as it was kept.
#[derive(Debug)]
pub struct AppliedEvent {
    /// Its place in the order of effect.
    pub order: EventOrder,
    /// Its id.
    pub id: Option<EventId>,
    /// What happened.
    pub packed: Box<[u8]>,
}
