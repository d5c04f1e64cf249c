//! Owns the changelog of a tenant: the encoded events that were applied, and the state that cannot be derived from
//! them.
//!
//! **State is history.** The state of a tenant is determined by its events in event order, the norms in force at the
//! time and the clock. So journeys, contacts, timers, windows and open alerts are not persisted: a tenant is restored
//! by replaying its events without publishing alerts. This costs one record per event and cannot disagree with the
//! rules.
//!
//! The encoding is not defined here; the caller supplies a [`PayloadCodec`].

use crate::domain::effect::ArchivedClosing;
use crate::domain::event::{EventOrder, Payload};
use crate::domain::id::{EntityId, EventId};
use crate::domain::norms::Norms;
use crate::domain::source::{Offset, PerTopic, Topic};
use crate::domain::time::Timestamp;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// The encoding of event payloads.
#[derive(Clone, Copy, Debug)]
pub struct PayloadCodec {
    /// Appends the encoded payload to the buffer.
    pub pack: fn(&Payload, &mut Vec<u8>),
    /// Decodes the output of `pack`; `None` if the bytes are invalid.
    pub unpack: fn(Topic, &[u8]) -> Option<Payload>,
}

impl PayloadCodec {
    /// Decodes bytes that this process has packed, or has unpacked before.
    pub fn unpack_trusted(&self, order: EventOrder, bytes: &[u8]) -> Payload {
        (self.unpack)(topic(order), bytes).expect("valid packed payload")
    }
}

/// The topic of the event at a position.
pub fn topic(order: EventOrder) -> Topic {
    Topic::from_rank(order.rank).expect("events have the rank of a topic")
}

/// The position of an event in its shard: the id of its source, and its offset there.
pub type SourceOffset = (u8, Offset);

/// Encoded events in one buffer.
#[derive(Debug, Default)]
pub struct PackedEvents {
    bytes: Vec<u8>,
    events: Vec<(EventOrder, Option<EventId>, Range<usize>)>,
}

impl PackedEvents {
    /// Appends an event whose payload `pack` writes.
    pub fn append(&mut self, order: EventOrder, id: Option<EventId>, pack: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.bytes.len();
        pack(&mut self.bytes);
        self.events.push((order, id, begin..self.bytes.len()));
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The events with their encoded payloads, in the order in which they were appended.
    pub fn iter(&self) -> impl Iterator<Item = (EventOrder, Option<&EventId>, &[u8])> {
        self.events.iter().map(|(order, id, range)| (*order, id.as_ref(), &self.bytes[range.clone()]))
    }
}

/// The unpersisted changes of a tenant.
#[derive(Debug, Default)]
pub struct Changelog {
    /// Events that were applied.
    pub applied: PackedEvents,
    /// Events that have expired.
    pub expired: Vec<SourceOffset>,
    /// Closings whose cases were dropped; `None`: they do not matter any more.
    pub closings: Vec<(EntityId, Option<ArchivedClosing>)>,
    /// Whether the [`TenantMark`] has changed.
    pub mark_changed: bool,
}

impl Changelog {
    /// Whether there is nothing to persist.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.expired.is_empty() && self.closings.is_empty() && !self.mark_changed
    }
}

/// The state of a tenant that cannot be derived from its events.
#[derive(Clone, Debug)]
pub struct TenantMark {
    /// Event time of the first event.
    pub first_event: Option<Timestamp>,
    /// Event time of the first plan.
    pub first_plan: Option<Timestamp>,
    /// Event time of the last expired event of each topic; `MIN` if there is none.
    pub last_event: PerTopic<Timestamp>,
    /// All versions of the norms, each with the instant from which it applies; the first applies always.
    pub norm_versions: Vec<(Timestamp, Arc<Norms>)>,
    /// Retracted alerts, in order.
    pub retracted: Vec<Uuid>,
}

/// An applied event, as persisted.
#[derive(Debug)]
pub struct AppliedEvent {
    /// Its position in event order.
    pub order: EventOrder,
    /// Its id.
    pub id: Option<EventId>,
    /// The encoded payload.
    pub packed: Box<[u8]>,
}
