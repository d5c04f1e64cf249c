//! Owns one shard: holds events until the watermark passes them, then applies them to the tenants in event order,
//! interleaved with timers.
//!
//! Invariants. The watermark never decreases and never passes `until`. At watermark W, every held event dated at or
//! before W and every timer due at or before W has been processed; at the same instant, events come before timers. The
//! result does not depend on the arrival order of events, unless one is late (dated at or before W on arrival).

use crate::domain::effect::Effect;
use crate::domain::event::reject::Reason;
use crate::domain::event::{Event, EventKind, EventOrder};
use crate::domain::id::{EntityId, TenantId};
use crate::domain::mem::seeded::SeededMap;
use crate::domain::norms::Norms;
use crate::domain::shard::admission::{Admission, AdmissionLimits, LimitsUsed, ProcessCounts};
use crate::domain::shard::held_offsets::HeldOffsets;
use crate::domain::shard::refused_offsets::RefusedOffsets;
use crate::domain::source::{Offset, Source, Topic};
use crate::domain::tenant::changelog::{Changelog, PayloadCodec, TenantMark};
use crate::domain::tenant::entity_report::EntityReport;
use crate::domain::tenant::{Memory, Taken, Tenant};
use crate::domain::time::{Span, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

/// Maximum number of held events of a shard, beyond which the sources that are ahead are paused.
pub const MAX_HELD: usize = 50_000;

/// Below this number of ranges of refused offsets it is not worth while to join any.
const FEW_RANGES: usize = 64;

/// The event-time settings.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Expected out-of-orderness: how far the watermark is behind the highest event time.
    pub allowed_lateness: Span,
    /// Whether the watermark follows the wall clock when every source is idle.
    pub follows_clock: bool,
    /// How far ahead of the wall clock an event may be; `None`: not checked.
    pub max_future_skew: Option<Span>,
    /// Nothing after this instant is processed.
    pub until: Option<Timestamp>,
    /// How long state is kept.
    pub memory: Memory,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            allowed_lateness: Span(10_000),
            follows_clock: true,
            max_future_skew: Some(Span(5 * Span::MINUTE.0)),
            until: None,
            memory: Memory::default(),
        }
    }
}

/// The progress of a shard's sources at the end of an epoch.
#[derive(Clone, Debug, Default)]
pub struct ShardProgress {
    /// The wall clock when the epoch was closed.
    pub wall: Timestamp,
    /// The shard's sources.
    pub sources: Vec<SourceProgress>,
    /// End of the stream: process everything up to this instant.
    pub close: Option<Timestamp>,
}

/// The progress of one source at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceProgress {
    /// The source.
    pub source: Source,
    /// Whether it was read to its end and had no message for the idle timeout.
    pub idle: bool,
    /// The offset up to which it was read (exclusive); 0 if unknown.
    pub position: Offset,
}

impl SourceProgress {
    /// The progress of a source without offsets.
    pub fn of(source: Source, idle: bool) -> Self {
        Self { source, idle, position: Offset(0) }
    }
}

/// The checkpoint of a shard: together with its tenants, everything needed to resume in another process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardCheckpoint {
    /// Event time up to which everything has been processed.
    pub watermark: Timestamp,
    /// The highest event time seen of each source.
    pub seen: BTreeMap<Source, Timestamp>,
    /// The offset up to which each source was read. Messages before it, dated at or before the watermark, were applied.
    pub read: BTreeMap<Source, Offset>,
    /// The offset from which each source must be reread; everything before it has been applied or rejected.
    pub next: BTreeMap<Source, Offset>,
    /// Messages rejected when they arrived, and not for being too late. Only those that would be reread are kept.
    pub refused: RefusedOffsets,
}

/// One shard.
#[derive(Debug)]
pub struct ShardProcessor {
    timing: Timing,
    norms: Arc<Norms>,
    codec: PayloadCodec,
    watermark: Timestamp,
    /// The highest event time seen of each source.
    seen: BTreeMap<Source, Timestamp>,
    /// The offsets up to which the previous owner read each source, and its watermark.
    read: BTreeMap<Source, Offset>,
    resumed: Timestamp,
    refused: RefusedOffsets,
    admission: Admission,
    /// At this number of ranges of refused offsets, those that can be joined are.
    join_refused_at: usize,
    held: BinaryHeap<Reverse<HeldEvent>>,
    held_offsets: HeldOffsets,
    /// The held events, indexed by `HeldEvent::slot`, and the free slots.
    events: Vec<Option<Event>>,
    free_slots: Vec<u32>,
    tenants: Vec<Tenant>,
    by_id: SeededMap<TenantId, u32>,
    /// Tenants by their next timer; stale entries are skipped.
    timers: BinaryHeap<Reverse<(Timestamp, u32)>>,
    scheduled: Vec<Timestamp>,
    /// Tenants with new effects since the last advance.
    dirty: Vec<u32>,
    counts: Counts,
}

/// An event that waits for the watermark. The field order is the event order: event time, topic, offset, source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HeldEvent {
    at: Timestamp,
    topic: Topic,
    offset: Offset,
    source: Source,
    slot: u32,
}

impl HeldEvent {
    fn order(&self) -> EventOrder {
        EventOrder::of(self.at, self.topic, self.source, self.offset)
    }
}

/// Event counts for telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Applied, by [`EventKind`].
    pub applied: [u64; EventKind::ALL.len()],
    /// Ignored as duplicates.
    pub duplicates: u64,
    /// Interactions with ignored contacts.
    pub ignored: u64,
    /// Dated at or before the watermark on arrival.
    pub late: u64,
    /// Contacts, plans and legs of calls that were left out, because there are as many as there may be.
    pub left_out: u64,
}

impl Counts {
    fn add(&mut self, kind: EventKind, taken: Taken) {
        match taken {
            Taken::Applied => self.applied[kind as usize] += 1,
            Taken::Ignored => self.ignored += 1,
            Taken::Duplicate => self.duplicates += 1,
        }
    }
}

/// The effects of one tenant in one epoch, in order.
#[derive(Debug)]
pub struct Effects {
    /// The tenant.
    pub tenant: TenantId,
    /// Its effects.
    pub effects: Vec<Effect>,
    /// Its changelog.
    pub changelog: Changelog,
}

impl ShardProcessor {
    /// An empty shard.
    pub fn new(norms: Arc<Norms>, timing: Timing, codec: PayloadCodec) -> Self {
        Self {
            timing,
            norms,
            codec,
            watermark: Timestamp::MIN,
            seen: BTreeMap::new(),
            read: BTreeMap::new(),
            resumed: Timestamp::MIN,
            refused: RefusedOffsets::default(),
            join_refused_at: FEW_RANGES,
            admission: Admission::default(),
            held: BinaryHeap::new(),
            held_offsets: HeldOffsets::default(),
            events: Vec::new(),
            free_slots: Vec::new(),
            tenants: Vec::new(),
            by_id: SeededMap::default(),
            timers: BinaryHeap::new(),
            scheduled: Vec::new(),
            dirty: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Restores a shard from a checkpoint, without its tenants.
    pub fn restore(norms: Arc<Norms>, timing: Timing, codec: PayloadCodec, checkpoint: ShardCheckpoint) -> Self {
        let ShardCheckpoint { watermark, seen, read, refused, next: _ } = checkpoint;
        Self { watermark, seen, read, resumed: watermark, refused, ..Self::new(norms, timing, codec) }
    }

    /// Admits events only within these limits, together with the other shards of the process.
    pub fn limit(&mut self, limits: AdmissionLimits, process: Arc<ProcessCounts>) {
        self.admission.share(limits, process);
    }

    /// How much of each limit is used.
    pub fn limits_used(&self) -> LimitsUsed {
        self.admission.used()
    }

    /// Adds a tenant that was restored up to the watermark.
    pub fn adopt(&mut self, tenant: Tenant) {
        self.admission.add(tenant.id(), tenant.managers().cloned(), tenant.departments().cloned());
        let ix = self.add_tenant(tenant);
        self.dirty.push(ix);
    }

    /// The norms in force.
    pub fn norms(&self) -> &Arc<Norms> {
        &self.norms
    }

    /// Applies new norms from the watermark on.
    pub fn reload(&mut self, norms: Arc<Norms>) {
        self.norms = norms;
        for ix in 0..self.tenants.len() as u32 {
            self.tenants[ix as usize].reload(Arc::clone(&self.norms), self.watermark);
            self.schedule(ix);
            self.dirty.push(ix);
        }
    }

    /// Event time up to which everything has been processed.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Number of events that wait for the watermark.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the counts since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// The lowest held offset of each source that has one: before it, every event has been applied. Known only where
    /// state is durable; nothing else needs it.
    pub fn lowest_held(&self) -> impl Iterator<Item = (Source, Offset)> {
        self.held_offsets.lowest()
    }

    /// The checkpoint of the shard, with its sources read up to `progress`.
    pub fn checkpoint(&mut self, progress: &[SourceProgress]) -> ShardCheckpoint {
        let lowest: BTreeMap<Source, Offset> = self.lowest_held().collect();
        let mut read = self.read.clone();
        for SourceProgress { source, position, .. } in progress {
            let read = read.entry(*source).or_insert(*position);
            *read = (*read).max(*position);
        }
        let mut next = BTreeMap::new();
        for SourceProgress { source, position, .. } in progress {
            next.insert(*source, lowest.get(source).map_or(*position, |lowest| *lowest.min(position)));
        }
        self.refused.forget_before(&next);
        self.join_refused(progress);
        ShardCheckpoint {
            watermark: self.watermark,
            seen: self.seen.clone(),
            read,
            next,
            refused: self.refused.clone(),
        }
    }

    /// Keeps the number of ranges of refused offsets in proportion to that of held events.
    fn join_refused(&mut self, progress: &[SourceProgress]) {
        if self.refused.len() < self.join_refused_at {
            return;
        }
        let Self { refused, held_offsets, .. } = self;
        refused.join(|source, after, before| {
            let read = progress.iter().find(|progress| progress.source == source);
            // What is still to be read again may have been held.
            read.is_none_or(|read| read.position <= before) || held_offsets.any_between(source, after, before)
        });
        self.join_refused_at = FEW_RANGES.max(2 * self.refused.len());
    }

    /// Whether the previous owner has read a message: unless it was held, it has been handled.
    pub fn was_read(&self, source: Source, offset: Offset) -> bool {
        self.read.get(&source).is_some_and(|read| offset < *read)
    }

    /// The report on a lead or deal as of the watermark.
    pub fn entity_report(&self, tenant: &TenantId, entity: &EntityId) -> Option<EntityReport> {
        self.tenants[*self.by_id.get(tenant)? as usize].entity_report(entity, self.watermark)
    }

    /// The state of a tenant that must be persisted in addition to its events.
    pub fn mark_of(&self, tenant: &TenantId) -> Option<TenantMark> {
        Some(self.tenants[*self.by_id.get(tenant)? as usize].mark())
    }

    /// The sources to pause: too many events are held, and they are ahead of the slowest source. In a backlog all
    /// sources are read at the same message rate, but their messages are not equally dense in event time.
    pub fn sources_to_pause(&self, progress: &[SourceProgress]) -> Vec<Source> {
        if self.held.len() < MAX_HELD {
            return Vec::new();
        }
        let seen = |progress: &SourceProgress| self.seen.get(&progress.source).copied().unwrap_or(Timestamp::MIN);
        let Some(slowest) = progress.iter().filter(|progress| !progress.idle).map(seen).min() else {
            return Vec::new();
        };
        progress.iter().filter(|progress| seen(progress) > slowest).map(|progress| progress.source).collect()
    }

    /// Adds an event that arrived at wall-clock time `wall`, or rejects it.
    pub fn arrive(&mut self, source: Source, offset: Offset, event: Event, wall: Timestamp) -> Result<(), Reason> {
        let at = event.at;
        if self.was_read(source, offset) && (at <= self.resumed || self.refused.contains(source, offset)) {
            return Ok(());
        }
        if self.timing.max_future_skew.is_some_and(|skew| at > wall.saturating_add(skew)) {
            return self.refuse(source, offset, Reason::Future);
        }
        if at < self.watermark.saturating_sub(self.timing.memory.correction_horizon) {
            return Err(Reason::TooLate);
        }
        if let Err(reason) = self.admission.admit(&event) {
            return self.refuse(source, offset, reason);
        }
        self.counts.late += u64::from(at <= self.watermark);
        let seen = self.seen.entry(source).or_insert(at);
        *seen = at.max(*seen);
        let topic = event.payload.topic();
        let slot = match self.free_slots.pop() {
            Some(slot) => {
                self.events[slot as usize] = Some(event);
                slot
            }
            None => {
                self.events.push(Some(event));
                self.events.len() as u32 - 1
            }
        };
        if self.timing.memory.durable {
            self.held_offsets.insert(source, offset);
        }
        self.held.push(Reverse(HeldEvent { at, topic, offset, source, slot }));
        Ok(())
    }

    /// Remembers that an event was refused, in case it is read again.
    fn refuse(&mut self, source: Source, offset: Offset, reason: Reason) -> Result<(), Reason> {
        if self.timing.memory.durable {
            self.refused.insert(source, offset);
        }
        Err(reason)
    }

    /// Advances the watermark and processes everything that it passes.
    pub fn advance(&mut self, shard_progress: &ShardProgress, into: &mut Vec<Effects>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.correct(&mut dirty);
        self.watermark = self.watermark.max(self.next_watermark(shard_progress));
        while let Some(Reverse(held)) = self.held.peek().filter(|Reverse(held)| held.at <= self.watermark).copied() {
            let Some(event) = self.take_held(held) else { continue };
            if event.payload.kind() == EventKind::StageChanged && self.next_is_with(held) {
                self.apply_together(held, event, &mut dirty);
                continue;
            }
            let (ix, kind) = (self.tenant_ix(&event.tenant), event.payload.kind());
            let taken = self.tenants[ix as usize].apply(held.order(), event);
            self.counts.add(kind, taken);
            self.schedule(ix);
            dirty.push(ix);
        }
        while let Some(Reverse((at, ix))) = self.timers.peek().copied().filter(|next| next.0.0 <= self.watermark) {
            self.timers.pop();
            if self.scheduled[ix as usize] == at {
                self.scheduled[ix as usize] = Timestamp::MAX;
                self.tenants[ix as usize].run_timers(self.watermark);
                self.schedule(ix);
                dirty.push(ix);
            }
        }
        dirty.sort_unstable();
        dirty.dedup();
        for ix in dirty {
            let tenant = &mut self.tenants[ix as usize];
            self.counts.left_out += tenant.take_left_out();
            let mut effects = Vec::new();
            tenant.take_effects(&mut effects);
            let changelog = if self.timing.memory.durable { tenant.take_changelog() } else { Changelog::default() };
            if !effects.is_empty() || !changelog.is_empty() {
                into.push(Effects { tenant: tenant.id().clone(), effects, changelog });
            }
        }
    }

    /// Whether the next held event is of the same instant and topic.
    fn next_is_with(&self, held: HeldEvent) -> bool {
        self.held.peek().is_some_and(|Reverse(next)| (next.at, next.topic) == (held.at, held.topic))
    }

    /// Applies a move, and the other events of its instant and topic, because moves of one instant may form a chain.
    fn apply_together(&mut self, held: HeldEvent, event: Event, dirty: &mut Vec<u32>) {
        let mut together: BTreeMap<u32, Vec<(EventOrder, Event)>> = BTreeMap::new();
        together.entry(self.tenant_ix(&event.tenant)).or_default().push((held.order(), event));
        while self.next_is_with(held) {
            let Some(Reverse(next)) = self.held.peek().copied() else { break };
            if let Some(event) = self.take_held(next) {
                together.entry(self.tenant_ix(&event.tenant)).or_default().push((next.order(), event));
            }
        }
        for (ix, events) in together {
            for (kind, taken) in self.tenants[ix as usize].apply_together(events) {
                self.counts.add(kind, taken);
            }
            self.schedule(ix);
            dirty.push(ix);
        }
    }

    /// Applies the late events that arrived since the last advance, in one batch per tenant.
    fn correct(&mut self, dirty: &mut Vec<u32>) {
        let mut late: BTreeMap<u32, Vec<(EventOrder, Event)>> = BTreeMap::new();
        while let Some(Reverse(held)) = self.held.peek().filter(|Reverse(held)| held.at <= self.watermark).copied() {
            let Some(event) = self.take_held(held) else { continue };
            let ix = self.tenant_ix(&event.tenant);
            late.entry(ix).or_default().push((held.order(), event));
        }
        for (ix, late) in late {
            for (kind, taken) in self.tenants[ix as usize].correct(late, self.watermark) {
                self.counts.add(kind, taken);
            }
            self.schedule(ix);
            dirty.push(ix);
        }
    }

    fn take_held(&mut self, held: HeldEvent) -> Option<Event> {
        self.held.pop();
        if self.timing.memory.durable {
            self.held_offsets.release(held.source, held.offset);
        }
        self.free_slots.push(held.slot);
        self.events[held.slot as usize].take()
    }

    /// The minimum, over the sources that are not idle, of the highest event time minus the allowed lateness; if all
    /// are idle, the wall clock minus the allowed lateness. While a restored shard still rereads a source, the
    /// watermark does not move, so that events that were held before the restore are not late.
    fn next_watermark(&self, shard_progress: &ShardProgress) -> Timestamp {
        let is_reread = |progress: &SourceProgress| {
            !progress.idle && self.read.get(&progress.source).is_some_and(|read| progress.position < *read)
        };
        if shard_progress.sources.iter().any(is_reread) {
            return self.watermark;
        }
        let source_watermark = |source: &Source| match self.seen.get(source) {
            Some(seen) => seen.saturating_sub(self.timing.allowed_lateness),
            None => Timestamp::MIN,
        };
        let active = shard_progress
            .sources
            .iter()
            .filter(|progress| !progress.idle)
            .map(|progress| source_watermark(&progress.source))
            .min();
        let next = shard_progress.close.or(active).unwrap_or_else(|| {
            if self.timing.follows_clock && !shard_progress.sources.is_empty() {
                shard_progress.wall.saturating_sub(self.timing.allowed_lateness)
            } else {
                shard_progress
                    .sources
                    .iter()
                    .map(|progress| source_watermark(&progress.source))
                    .max()
                    .unwrap_or(Timestamp::MIN)
            }
        });
        self.timing.until.map_or(next, |until| next.min(until))
    }

    fn tenant_ix(&mut self, id: &TenantId) -> u32 {
        if let Some(ix) = self.by_id.get(id) {
            return *ix;
        }
        self.add_tenant(Tenant::new(id.clone(), Arc::clone(&self.norms), self.timing.memory, self.codec))
    }

    fn add_tenant(&mut self, tenant: Tenant) -> u32 {
        let ix = self.tenants.len() as u32;
        self.by_id.insert(tenant.id().clone(), ix);
        self.tenants.push(tenant);
        self.scheduled.push(Timestamp::MAX);
        self.schedule(ix);
        ix
    }

    /// Schedules a tenant's next timer, if it is earlier than the one scheduled.
    fn schedule(&mut self, ix: u32) {
        let scheduled = &mut self.scheduled[ix as usize];
        if let Some(next) = self.tenants[ix as usize].next_timer().filter(|next| next < scheduled) {
            *scheduled = next;
            self.timers.push(Reverse((next, ix)));
        }
    }
}
