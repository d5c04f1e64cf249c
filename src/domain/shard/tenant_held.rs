//! The held events of a tenant in event order, in memory and in the spill as one queue.

use crate::domain::event::{Event, EventOrder};
use crate::domain::id::TenantId;
use crate::domain::shard::held_events::{Held, HeldChanges, HeldEvents, HeldKey};
use crate::domain::time::Timestamp;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The held events of a tenant.
#[derive(Debug, Default)]
pub(super) struct TenantHeld {
    /// Those in memory.
    queue: BinaryHeap<Reverse<HeldKey>>,
    /// The number of spilled ones, and the position of the first of them.
    spilled: usize,
    first_spilled: Option<EventOrder>,
    /// The size of all that were measured, of those in memory, and of those that were measured in this epoch, in bytes.
    size: usize,
    size_in_memory: usize,
    arrived: usize,
    /// What the state does not have yet.
    pub(super) changes: HeldChanges,
}

impl TenantHeld {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of events.
    pub(super) fn len(&self) -> usize {
        self.in_memory() + self.spilled
    }

    /// The number of events in memory.
    pub(super) fn in_memory(&self) -> usize {
        self.queue.len()
    }

    /// The events in memory, in no order.
    pub(super) fn keys(&self) -> impl Iterator<Item = HeldKey> {
        self.queue.iter().map(|Reverse(key)| *key)
    }

    /// The size of all events that were measured, in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The same of those in memory.
    pub(super) fn size_in_memory(&self) -> usize {
        self.size_in_memory
    }

    /// The size of what was measured since the last call of [`Self::begin_epoch`], in bytes.
    pub(super) fn arrived(&self) -> usize {
        self.arrived
    }

    /// What is measured from now on arrives in the next epoch.
    pub(super) fn begin_epoch(&mut self) {
        self.arrived = 0;
    }

    /// An event is held from now on.
    pub(super) fn push(&mut self, key: HeldKey) {
        self.queue.push(Reverse(key));
    }

    /// An event was measured.
    pub(super) fn add_size(&mut self, size: usize) {
        self.size += size;
        self.size_in_memory += size;
        self.arrived += size;
    }

    /// The next event dated up to `until`. `whose`: the tenant and its index.
    pub(super) fn next(&mut self, until: Timestamp, whose: (&TenantId, u32), held: &mut HeldEvents) -> Option<HeldKey> {
        let first = self.queue.peek().map(|Reverse(key)| *key);
        let is_next = |spilled: EventOrder| spilled.at <= until && first.is_none_or(|first| spilled < first.order());
        if self.first_spilled.is_some_and(is_next) {
            let (keys, first_spilled) = held.read_back(whose, until);
            self.first_spilled = first_spilled;
            self.spilled -= keys.len();
            self.size_in_memory += keys.iter().map(|(_, size)| size).sum::<usize>();
            self.queue.extend(keys.into_iter().map(|(key, _)| Reverse(key)));
        }
        self.queue.peek().map(|Reverse(key)| *key).filter(|key| key.at <= until)
    }

    /// Takes the event that [`Self::next`] has returned, with its size in bytes; 0 if it was not measured.
    pub(super) fn take(&mut self, key: HeldKey, held: &mut HeldEvents) -> Option<(Event, usize)> {
        self.queue.pop();
        let Held { event, is_stored, size, .. } = held.take(key)?;
        let size = size as usize;
        self.size -= size;
        self.size_in_memory -= size;
        if is_stored {
            self.changes.release(key.order());
        }
        Some((event, size))
    }

    /// Moves events from memory to the spill, the latest first; `false` if that is not possible. `tenant`: its index.
    pub(super) fn spill(&mut self, tenant: u32, held: &mut HeldEvents) -> bool {
        let mut keys = std::mem::take(&mut self.queue).into_vec();
        // The latest come first.
        keys.sort_unstable();
        let events = held.pack(keys.iter().map(|Reverse(key)| *key));
        let is_written = !events.is_empty() && held.write(tenant, &events);
        if is_written {
            let mut written = 0;
            for ((order, id, packed), Reverse(key)) in events.iter().zip(&keys) {
                written += 1;
                self.first_spilled = Some(self.first_spilled.map_or(order, |first| first.min(order)));
                let Some(Held { is_stored, size, .. }) = held.take(*key) else { continue };
                self.size_in_memory -= size as usize;
                if held.is_durable() && !is_stored {
                    self.changes.stored.append(order, id.cloned(), |bytes| bytes.extend_from_slice(packed));
                }
            }
            keys.drain(..written);
            self.spilled += written;
        }
        self.queue = keys.into();
        is_written
    }
}
