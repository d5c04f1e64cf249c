//! Owns the events of a shard that wait for the watermark of their tenant.
//!
//! **Long waits.** An event that waits for longer than [`STORE_AFTER`] is written to the state. Then the committed offset
//! can move on, and a restart does not read again what one slow source holds back. The stored event is removed when it is
//! applied. (*Alternative considered*: to store every held event at once would double the state records of ordinary
//! events, which wait for seconds.)
//!
//! **Size.** An event is measured when an epoch ends and it is still held: packed, with its id and [`ROOM`], which is
//! about the memory that it needs. The size follows from the event alone, so a restored shard measures the same. (*Alternative considered*: to measure on arrival
//! packs every event once more; in a backlog most are applied in the epoch in which they arrive.)
//!
//! **Spill.** When the held events of a process take more memory than their share, those of the tenant with the most go to
//! a store outside memory, the latest first. They are written to the state at the same time, so nothing else about them
//! has to be remembered. They are read back in event order when the watermark passes them. The output does not depend on
//! which events are spilled.

use crate::domain::event::{Event, EventOrder};
use crate::domain::id::{EventId, TenantId};
use crate::domain::shard::held_offsets::HeldOffsets;
use crate::domain::shard::spill::HeldMemory;
use crate::domain::source::{Offset, Source, Topic};
use crate::domain::tenant::changelog::{PackedEvents, PayloadCodec, SourceOffset};
use crate::domain::time::{Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long an event is held before it is stored.
const STORE_AFTER: Span = Span(30_000);
/// How often such events are looked for. It costs a walk over the held events.
const CHECK_INTERVAL: Span = Span(2_000);
/// The most events that are stored in one epoch for waiting, and the most that are spilled.
const MAX_STORED_AT_ONCE: usize = 10_000;
/// The same in bytes.
const MAX_BYTES_AT_ONCE: usize = 8 << 20;
/// The memory that an event needs besides its packed payload and its id, in bytes.
pub(super) const ROOM: usize = 448;
/// How much is read back at once, in bytes.
const READ_BACK: usize = 1 << 20;

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
    codec: PayloadCodec,
    slots: Vec<Option<Held>>,
    free: Vec<u32>,
    /// The slots of events that arrived since the last measurement.
    unmeasured: Vec<u32>,
    /// Offsets of held events that are not stored.
    offsets: HeldOffsets,
    /// When events that wait for long were last looked for.
    checked: Timestamp,
    /// Stored events that were restored, and may be read again: those from `next` on.
    adopted: BTreeSet<(Source, Offset)>,
    next: BTreeMap<Source, Offset>,
    memory: Arc<HeldMemory>,
    /// What the events of this shard take in memory, in bytes.
    used: usize,
    /// The place of spilled events.
    place: Option<u64>,
    /// The number of spilled events.
    spilled: usize,
}

/// A held event in memory.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) event: Event,
    source: Source,
    offset: Offset,
    /// The index of its tenant.
    tenant: u32,
    /// The wall clock when it arrived.
    since: Timestamp,
    pub(super) is_stored: bool,
    /// Its size in bytes; 0: not measured yet.
    pub(super) size: u32,
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
    pub(super) fn new(durable: bool, codec: PayloadCodec) -> Self {
        let (slots, free, unmeasured, offsets, adopted, next, memory) = Default::default();
        let (checked, used, place, spilled) = (Timestamp::MIN, 0, None, 0);
        Self { durable, codec, slots, free, unmeasured, offsets, checked, adopted, next, memory, used, place, spilled }
    }

    /// Shares memory with the other shards of the process.
    pub(super) fn share(&mut self, memory: Arc<HeldMemory>) {
        self.close();
        memory.add(self.used);
        self.memory = memory;
    }

    /// Restored events are not read again if they are before these offsets.
    pub(super) fn reread_from(&mut self, next: BTreeMap<Source, Offset>) {
        self.next = next;
    }

    /// Number of held events.
    pub(super) fn len(&self) -> usize {
        self.in_memory() + self.spilled
    }

    /// Number of held events in memory.
    pub(super) fn in_memory(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether the state is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.durable
    }

    /// What held events take in memory, in the whole process.
    pub(super) fn memory(&self) -> &HeldMemory {
        &self.memory
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
        let key = self.place(Held { event, source, offset, tenant, since, is_stored: false, size: 0 });
        self.unmeasured.push(key.slot);
        key
    }

    /// Holds an event that is stored.
    pub(super) fn adopt(&mut self, source: Source, offset: Offset, event: Event, tenant: u32) -> HeldKey {
        if self.next.get(&source).is_none_or(|next| offset >= *next) {
            self.adopted.insert((source, offset));
        }
        let key = self.place(Held { event, source, offset, tenant, since: Timestamp::MIN, is_stored: true, size: 0 });
        self.unmeasured.push(key.slot);
        key
    }

    /// Whether an event was restored as a held one.
    pub(super) fn is_adopted(&self, source: Source, offset: Offset) -> bool {
        self.adopted.contains(&(source, offset))
    }

    /// No restored event will be read again.
    pub(super) fn forget_adopted(&mut self) {
        self.adopted.clear();
        self.next.clear();
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

    /// An event in memory.
    pub(super) fn get(&self, key: HeldKey) -> Option<&Event> {
        Some(&self.slots.get(key.slot as usize)?.as_ref()?.event)
    }

    /// Takes an event out of memory.
    pub(super) fn take(&mut self, key: HeldKey) -> Option<Held> {
        let held = self.slots.get_mut(key.slot as usize)?.take()?;
        self.free.push(key.slot);
        if self.durable && !held.is_stored {
            self.offsets.release(key.source, key.offset);
        }
        self.used -= held.size as usize;
        self.memory.subtract(held.size as usize);
        Some(held)
    }

    /// The number of events that [`Self::measure`] would look at.
    pub(super) fn unmeasured(&self) -> usize {
        self.unmeasured.len()
    }

    /// Measures the events that have arrived and are still held; calls `add` with the index of their tenant and their size
    /// in bytes.
    pub(super) fn measure(&mut self, mut add: impl FnMut(u32, usize)) {
        let (mut packed, mut used) = (Vec::new(), 0);
        for slot in self.unmeasured.drain(..) {
            let Some(held) = self.slots[slot as usize].as_mut().filter(|held| held.size == 0) else { continue };
            packed.clear();
            (self.codec.pack)(&held.event.payload, &mut packed);
            held.size = size_of(held.event.id.as_ref(), &packed);
            used += held.size as usize;
            add(held.tenant, held.size as usize);
        }
        self.used += used;
        self.memory.add(used);
        if self.slots.len() == self.free.len() {
            // A large number of events leaves large lists.
            (self.slots, self.free) = Default::default();
        }
    }

    /// Packs the first of these events, as many as are spilled at once.
    pub(super) fn pack(&self, keys: impl Iterator<Item = HeldKey>) -> PackedEvents {
        let (mut packed, mut size, enough) = (PackedEvents::default(), 0, self.memory.excess().min(MAX_BYTES_AT_ONCE));
        for key in keys.take(MAX_STORED_AT_ONCE) {
            let Some(Some(held)) = self.slots.get(key.slot as usize) else { break };
            if size >= enough || held.size == 0 {
                break;
            }
            let Held { event, .. } = held;
            packed.append(key.order(), event.id.clone(), |bytes| (self.codec.pack)(&event.payload, bytes));
            size += held.size as usize;
        }
        packed
    }

    /// Writes events of a tenant to the spill; `false` if that is not possible.
    pub(super) fn write(&mut self, tenant: u32, events: &PackedEvents) -> bool {
        let Some(spill) = self.memory.spill() else { return false };
        let place = *self.place.get_or_insert_with(|| spill.open());
        let is_written = spill.write(place, tenant, events);
        self.spilled += if is_written { events.len() } else { 0 };
        is_written
    }

    /// Reads the first spilled events of a tenant back into memory, dated up to `until`. Returns their keys and sizes, and
    /// the position of the first event that remains.
    pub(super) fn read_back(
        &mut self,
        (id, tenant): (&TenantId, u32),
        until: Timestamp,
    ) -> (Vec<(HeldKey, usize)>, Option<EventOrder>) {
        let (Some(spill), Some(place)) = (self.memory.spill(), self.place) else { return (Vec::new(), None) };
        let (events, first) = spill.take(place, tenant, until, READ_BACK);
        let mut keys = Vec::new();
        for (order, event_id, packed) in events.iter() {
            let Some(source) = Source::from_id(order.source) else { continue };
            let (payload, size) = (self.codec.unpack_trusted(order, packed), size_of(event_id, packed));
            let event = Event { tenant: id.clone(), at: order.at, id: event_id.cloned(), payload };
            let (offset, since, is_stored) = (order.offset, Timestamp::MIN, self.durable);
            keys.push((self.place(Held { event, source, offset, tenant, since, is_stored, size }), size as usize));
        }
        let size = keys.iter().map(|(_, size)| size).sum();
        self.used += size;
        self.memory.add(size);
        self.spilled -= keys.len();
        (keys, first)
    }

    /// Calls `store` for the events that have waited for long and are not stored, with the index of their tenant.
    pub(super) fn store_due(&mut self, wall: Timestamp, mut store: impl FnMut(u32, EventOrder, &Event)) {
        if !self.durable || wall < self.checked.saturating_add(CHECK_INTERVAL) {
            return;
        }
        self.checked = wall;
        let is_due = |held: &&mut Held| !held.is_stored && held.since <= wall.saturating_sub(STORE_AFTER);
        let mut bytes = 0;
        for held in self.slots.iter_mut().flatten().filter(is_due).take(MAX_STORED_AT_ONCE) {
            held.is_stored = true;
            self.offsets.release(held.source, held.offset);
            let Held { event, source, offset, tenant, .. } = held;
            store(*tenant, EventOrder::of(event.at, event.payload.topic(), *source, *offset), event);
            bytes += held.size as usize;
            if bytes >= MAX_BYTES_AT_ONCE {
                break;
            }
        }
    }

    /// The offsets of held events that are not stored.
    pub(super) fn offsets(&self) -> &HeldOffsets {
        &self.offsets
    }

    /// Leaves the shared memory and drops what was spilled.
    fn close(&mut self) {
        self.memory.subtract(self.used);
        if let (Some(place), Some(spill)) = (self.place.take(), self.memory.spill()) {
            spill.close(place);
        }
    }
}

impl Drop for HeldEvents {
    fn drop(&mut self) {
        self.close();
    }
}

/// The size of an event, in bytes.
fn size_of(id: Option<&EventId>, packed: &[u8]) -> u32 {
    let size = packed.len() + id.map_or(0, |id| id.as_str().len()) + ROOM;
    u32::try_from(size).unwrap_or(u32::MAX)
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
