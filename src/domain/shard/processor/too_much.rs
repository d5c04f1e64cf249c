//! What a shard does with held events that are too many: it pauses sources, stores, spills or passes events.

use super::{MAX_HELD, ShardProcessor, SourceProgress};
use crate::domain::shard::held_events::HeldKey;
use crate::domain::shard::spill::HeldMemory;
use crate::domain::shard::tenant_held::TenantHeld;
use crate::domain::source::Source;
use crate::domain::time::Timestamp;
use std::cmp::Reverse;

/// The most that is passed at once because a tenant holds too much, in bytes, unless it sends more.
const PASSED_AT_ONCE: usize = 8 << 20;

/// About how much is spilled in one epoch, in bytes.
const SPILLED_AT_ONCE: usize = 8 << 20;

impl ShardProcessor {
    /// The sources to pause while there is a backlog: many events are held, and these sources are ahead of the slowest one
    /// with unread messages. In a backlog all sources are read at the same message rate, but their messages are not
    /// equally dense in event time. Without a backlog nothing is paused, whatever a tenant holds. Nor do events count that
    /// wait for a progress mark which is still to be sent: reading the others does not help them.
    pub fn sources_to_pause(&self, progress: &[SourceProgress]) -> Vec<Source> {
        if self.held.in_memory() < MAX_HELD {
            return Vec::new();
        }
        let waiting = self.active.iter().map(|ix| &self.tenants[*ix as usize]).filter(|state| state.waits_for_mark);
        let waiting: usize = waiting.map(|state| state.held.in_memory()).sum();
        if self.held.in_memory() - waiting < MAX_HELD {
            return Vec::new();
        }
        let seen = |progress: &SourceProgress| self.seen_of(progress.source);
        let behind = progress.iter().filter(|progress| progress.is_behind());
        let Some(slowest) = behind.map(seen).min() else { return Vec::new() };
        progress.iter().filter(|progress| seen(progress) > slowest).map(|progress| progress.source).collect()
    }

    /// Measures the events that have arrived and are still held.
    pub(super) fn measure_held(&mut self) {
        let Self { held, tenants, .. } = self;
        held.measure(|ix, size| tenants[ix as usize].held.add_size(size));
    }

    /// The watermark of a tenant that holds more than it may passes the oldest events, those dated up to `until`.
    pub(super) fn pass_beyond_bound(&mut self, until: Timestamp) {
        let Some(max) = self.timing.max_held else { return };
        let active = std::mem::take(&mut self.active);
        active.iter().for_each(|ix| self.pass_oldest(*ix, until, |held, _| held.size() > max));
        self.active = active;
    }

    /// Likewise for the tenants with the most events in memory, if the process has too many there, which cannot be spilled.
    pub(super) fn pass_beyond_memory(&mut self, until: Timestamp) {
        if !self.held.memory().is_exceeded() {
            return;
        }
        let mut largest = self.active.clone();
        largest.sort_by_cached_key(|ix| Reverse(self.tenants[*ix as usize].held.size_in_memory()));
        largest.into_iter().for_each(|ix| self.pass_oldest(ix, until, |_, memory| memory.is_exceeded()));
    }

    /// Moves the watermark of a tenant past its oldest held events, whatever it waits for, while `is_too_much`.
    fn pass_oldest(&mut self, ix: u32, until: Timestamp, is_too_much: impl Fn(&TenantHeld, &HeldMemory) -> bool) {
        let held = &self.tenants[ix as usize].held;
        let (most, size) = (PASSED_AT_ONCE.max(held.arrived().saturating_mul(2)), held.size());
        loop {
            let state = &mut self.tenants[ix as usize];
            if size - state.held.size() >= most || !is_too_much(&state.held, self.held.memory()) {
                return;
            }
            let (before, next) = (state.held.len(), state.next_held(ix, until, &mut self.held));
            let Some(HeldKey { at, .. }) = next else { return };
            self.process(ix, at, usize::MAX);
            self.counts.passed_early += (before - self.tenants[ix as usize].held.len()) as u64;
        }
    }

    /// Writes held events to the spill, if the process holds too much in memory.
    pub(super) fn spill_held(&mut self) {
        if !self.held.memory().is_full() {
            return;
        }
        let Self { held, tenants, active, dirty, .. } = self;
        let mut largest: Vec<(usize, u32)> =
            active.iter().map(|ix| (tenants[*ix as usize].held.size_in_memory(), *ix)).collect();
        largest.sort_unstable_by_key(|(size, ix)| (Reverse(*size), *ix));
        let mut spilled = 0;
        for (size, ix) in largest {
            if size == 0 || spilled >= SPILLED_AT_ONCE || held.memory().excess() == 0 {
                return;
            }
            let of_tenant = &mut tenants[ix as usize].held;
            if !of_tenant.spill(ix, held) {
                return;
            }
            spilled += size - of_tenant.size_in_memory();
            dirty.push(ix);
        }
    }

    /// Stores the events that have been held for long.
    pub(super) fn store_held(&mut self, wall: Timestamp) {
        let Self { held, tenants, dirty, codec, .. } = self;
        held.store_due(wall, |ix, order, event| {
            tenants[ix as usize].held.changes.store(order, event, *codec);
            dirty.push(ix);
        });
    }
}
