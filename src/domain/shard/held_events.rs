//! Owns the events that wait for the watermark of their tenant.
//!
//! **Long waits.** An event that waits for longer than [`STORE_AFTER`] is written to the state. Then the committed offset
//! can move on, and a restart does not read again what one slow source holds back. The stored event is removed when it is
//! applied. (*Alternative considered*: to store every held event at once would double the state records of ordinary
//! events, which wait for seconds.)

use crate::domain::event::{Event, EventOrder};
use crate::domain::shard::held_offsets::HeldOffsets;
use crate::domain::source::{Offset, Source, Topic};
use crate::domain::tenant::changelog::{PackedEvents, PayloadCodec, SourceOffset};
use crate::domain::time::{Span, Timestamp};
use std::collections::BTreeSet;

/// How long an event is held before it is stored.
const STORE_AFTER: Span = Span(30_000);
/// How often such events are looked for. It costs a walk over the held events.
const CHECK_INTERVAL: Span = Span(2_000);
/// The most events that are stored in one epoch.
const MAX_STORED_AT_ONCE: usize = 10_000;

/// Where a held event is. The field order is the event order: event time, topic, offset, source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HeldKey {
    pub(super) at: Timestamp,
    pub(super) topic: Topic,
    offset: Offset,
    source: Source,
    slot: u32,
}

impl HeldKey {
    pub(super) fn order(&self) -> EventOrder {
        EventOrder::of(self.at, self.topic, self.source, self.offset)
    }
}

/// The held events of a shard.
#[derive(Debug)]
pub(super) struct HeldEvents {
    /// Whether the state is durable; otherwise offsets do not matter.
    durable: bool,
    slots: Vec<Option<Held>>,
    free: Vec<u32>,
    /// Offsets of held events that are not stored.
    offsets: HeldOffsets,
    /// When events that wait for long were last looked for.
    checked: Timestamp,
    /// Stored events that were restored, and may be read again.
    adopted: BTreeSet<(Source, Offset)>,
}

#[derive(Debug)]
struct Held {
    event: Event,
    source: Source,
    offset: Offset,
    /// The index of its tenant.
    tenant: u32,
    /// The wall clock when it arrived.
    since: Timestamp,
    is_stored: bool,
}

/// The changes of the stored held events of a tenant.
#[derive(Debug, Default)]
pub struct HeldChanges {
    /// The events to store.
    pub stored: PackedEvents,
    /// Events that need not be stored any longer.
    pub released: Vec<SourceOffset>,
}

impl HeldEvents {
    pub(super) fn new(durable: bool) -> Self {
        let (slots, free, offsets, adopted) = Default::default();
        Self { durable, slots, free, offsets, checked: Timestamp::MIN, adopted }
    }

    /// Number of held events.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Holds an event of the tenant with this index that arrived at `since`.
    pub(super) fn insert(
        &mut self,
        source: Source,
        offset: Offset,
        event: Event,
        tenant: u32,
        since: Timestamp,
    ) -> HeldKey {
        if self.durable {
            self.offsets.insert(source, offset);
        }
        self.place(Held { event, source, offset, tenant, since, is_stored: false })
    }

    /// Holds an event that is stored.
    pub(super) fn adopt(&mut self, source: Source, offset: Offset, event: Event, tenant: u32) -> HeldKey {
        self.adopted.insert((source, offset));
        self.place(Held { event, source, offset, tenant, since: Timestamp::MIN, is_stored: true })
    }

    /// Whether an event was restored as a held one.
    pub(super) fn is_adopted(&self, source: Source, offset: Offset) -> bool {
        self.adopted.contains(&(source, offset))
    }

    /// No restored event will be read again.
    pub(super) fn forget_adopted(&mut self) {
        self.adopted.clear();
    }

    fn place(&mut self, held: Held) -> HeldKey {
        let Held { source, offset, .. } = held;
        let (at, topic) = (held.event.at, held.event.payload.topic());
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(held);
                slot
            }
            None => {
                self.slots.push(Some(held));
                self.slots.len() as u32 - 1
            }
        };
        HeldKey { at, topic, offset, source, slot }
    }

    /// Takes an event, and whether it is stored.
    pub(super) fn take(&mut self, key: HeldKey) -> Option<(Event, bool)> {
        let Held { event, is_stored, .. } = self.slots.get_mut(key.slot as usize)?.take()?;
        self.free.push(key.slot);
        if self.durable && !is_stored {
            self.offsets.release(key.source, key.offset);
        }
        Some((event, is_stored))
    }

    /// Calls `store` for the events that have waited for long and are not stored, with the index of their tenant.
    pub(super) fn store_due(&mut self, wall: Timestamp, mut store: impl FnMut(u32, EventOrder, &Event)) {
        if !self.durable || wall < self.checked.saturating_add(CHECK_INTERVAL) {
            return;
        }
        self.checked = wall;
        let is_due = |held: &&mut Held| !held.is_stored && held.since <= wall.saturating_sub(STORE_AFTER);
        for held in self.slots.iter_mut().flatten().filter(is_due).take(MAX_STORED_AT_ONCE) {
            held.is_stored = true;
            self.offsets.release(held.source, held.offset);
            let Held { event, source, offset, tenant, .. } = held;
            store(*tenant, EventOrder::of(event.at, event.payload.topic(), *source, *offset), event);
        }
    }

    /// The offsets of held events that are not stored.
    pub(super) fn offsets(&self) -> &HeldOffsets {
        &self.offsets
    }
}

impl HeldChanges {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.released.is_empty()
    }

    pub(super) fn store(&mut self, order: EventOrder, event: &Event, codec: PayloadCodec) {
        self.stored.append(order, event.id.clone(), |bytes| (codec.pack)(&event.payload, bytes));
    }

    pub(super) fn release(&mut self, order: EventOrder) {
        self.released.push((order.source, order.offset));
    }
}
