//! What the shards of a process share to keep held events: how much memory they take, and where those go that are too
//! many for it. The domain does no I/O; the edge implements [`HeldSpill`].

use crate::domain::event::EventOrder;
use crate::domain::tenant::changelog::PackedEvents;
use crate::domain::time::Timestamp;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A store of held events outside memory. It need not outlive the process: durable state has its own records of them.
pub trait HeldSpill: Debug + Send + Sync {
    /// The number of a new place for the events of one shard.
    fn open(&self) -> u64;

    /// Drops a place with its events.
    fn close(&self, place: u64);

    /// Writes events of a tenant; `false` if that is not possible: then none is written.
    fn write(&self, place: u64, tenant: u32, events: &PackedEvents) -> bool;

    /// Removes the first events of a tenant, in event order: dated up to `until`, about so many bytes of them, and at least
    /// one if there is any. Also returns the position of the first one that remains. Panics if the store is damaged.
    fn take(&self, place: u64, tenant: u32, until: Timestamp, bytes: usize) -> (PackedEvents, Option<EventOrder>);
}

/// The memory for held events of a process.
#[derive(Debug)]
pub struct HeldMemory {
    /// Above this number of bytes, events are written to the spill.
    share: usize,
    spill: Option<Box<dyn HeldSpill>>,
    /// What the held events of all shards take, in bytes.
    used: AtomicUsize,
}

/// No bound, and no spill.
impl Default for HeldMemory {
    fn default() -> Self {
        Self { share: usize::MAX, spill: None, used: AtomicUsize::new(0) }
    }
}

impl HeldMemory {
    /// A share of this number of bytes, beyond which events go to `spill`.
    pub fn new(share: usize, spill: Box<dyn HeldSpill>) -> Self {
        Self { share, spill: Some(spill), used: AtomicUsize::new(0) }
    }

    /// What the held events of all shards take in memory, in bytes.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    pub(super) fn spill(&self) -> Option<&dyn HeldSpill> {
        self.spill.as_deref()
    }

    pub(super) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }

    /// Whether events should be spilled.
    pub(super) fn is_full(&self) -> bool {
        self.used() > self.share
    }

    /// How much should be spilled, in bytes: with some room, so that not every epoch spills a little.
    pub(super) fn excess(&self) -> usize {
        self.used().saturating_sub(self.share / 4 * 3)
    }

    /// Whether spilling does not help.
    pub(super) fn is_exceeded(&self) -> bool {
        self.used() > self.share.saturating_mul(2)
    }
}
