//! Owns one shard of the sales floor: holds events until the watermark passes them, then drives its tenants in
//! event-time order together with their timers.
//!
//! Invariants. The watermark never goes back and never passes `until`. At watermark W every held event dated at or
//! before W and every timer due at or before W has been processed; at one instant events go before timers. What is
//! done does not depend on the order in which events arrived, unless one is late (dated at or before W on arrival).

use super::changelog::{Changelog, PayloadCodec, TenantMark};
use super::effect::Effect;
use super::entity_report::EntityReport;
use super::event::{Event, EventKind, EventOrder, Topic};
use super::id::{EntityId, TenantId};
use super::norms::Norms;
use super::reject::Reason;
use super::tenant::{Memory, Tenant};
use super::time::{Span, Timestamp};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

/// When a shard holds more events, those of its sources that are ahead rest.
pub const HELD: usize = 50_000;

/// A source partition of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The shard's partition of a source topic.
    Topic(Topic),
    /// The shard's partition of `funnelwatch.rerouted`.
    Rerouted,
    /// The files of a replay.
    Files,
}

impl Source {
    /// Its number in the order of effect and in kept records.
    pub fn number(self) -> u8 {
        match self {
            Self::Topic(topic) => topic as u8,
            Self::Rerouted => 3,
            Self::Files => 4,
        }
    }

    /// The source of this number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            3 => Some(Self::Rerouted),
            4 => Some(Self::Files),
            number => Topic::ALL.get(usize::from(number)).copied().map(Self::Topic),
        }
    }
}

/// How event time is kept.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How much disorder is expected.
    pub allowed_lateness: Span,
    /// Whether the watermark follows the wall clock when every source is idle.
    pub follows_clock: bool,
    /// How far ahead of the wall clock an event may be; `None`: no wall clock is looked at.
    pub max_future_skew: Option<Span>,
    /// Nothing after this instant is processed.
    pub until: Option<Timestamp>,
    /// How long things are remembered.
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

/// What an epoch tells a shard about time.
#[derive(Clone, Debug, Default)]
pub struct ShardProgress {
    /// The wall clock when the epoch was closed.
    pub wall: Timestamp,
    /// The shard's sources.
    pub sources: Vec<SourceProgress>,
    /// The stream is over: process all up to here.
    pub close: Option<Timestamp>,
}

/// How far a source of a shard has come at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceProgress {
    /// Which source.
    pub source: Source,
    /// It was read to its end, and has been silent for long enough.
    pub idle: bool,
    /// Up to which offset it was read; 0 where that is not known.
    pub position: i64,
}

impl SourceProgress {
    /// A source whose offsets do not matter.
    pub fn of(source: Source, idle: bool) -> Self {
        Self { source, idle, position: 0 }
    }
}

/// Where a shard stands: with its tenants, all that is needed to go on elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardCheckpoint {
    /// Up to where everything has been processed.
    pub watermark: Timestamp,
    /// The highest event time seen of each source.
    pub seen: BTreeMap<Source, Timestamp>,
    /// Up to which offset each source was read. What lies before it and is dated at or before the watermark was applied.
    pub read: BTreeMap<Source, i64>,
    /// From which offset on each source is to be read again: before it everything has been applied or refused.
    pub next: BTreeMap<Source, i64>,
    /// What was refused for its date, though it is dated after the watermark: by source and offset. Only what would be
    /// read again is among it.
    pub refused: BTreeSet<(Source, i64)>,
}

/// One shard.
#[derive(Debug)]
pub struct ShardProcessor {
    timing: Timing,
    norms: Arc<Norms>,
    packing: PayloadCodec,
    watermark: Timestamp,
    /// The highest event time seen of each source.
    seen: BTreeMap<Source, Timestamp>,
    /// Up to where each source was read by whoever had the shard before, and how far it had come then.
    read: BTreeMap<Source, i64>,
    resumed: Timestamp,
    refused: BTreeSet<(Source, i64)>,
    held: BinaryHeap<Reverse<HeldEvent>>,
    /// The events that `held` orders; free places are in `free`.
    events: Vec<Option<Event>>,
    free: Vec<u32>,
    tenants: Vec<Tenant>,
    by_id: FxHashMap<TenantId, u32>,
    /// Tenants by their next timer; entries that no longer hold are skipped.
    timers: BinaryHeap<Reverse<(Timestamp, u32)>>,
    planned: Vec<Timestamp>,
    /// Tenants that something came of between two moves of the watermark.
    touched: Vec<u32>,
    counts: Counts,
}

/// The order of effect: event time, topic, offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HeldEvent {
    at: Timestamp,
    topic: Topic,
    offset: i64,
    source: Source,
    place: u32,
}

impl HeldEvent {
    fn order(&self) -> EventOrder {
        EventOrder { at: self.at, rank: self.topic as u8, offset: self.offset, source: self.source.number() }
    }
}

/// What happened to events, for telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Applied, by [`EventKind`].
    pub applied: [u64; EventKind::ALL.len()],
    /// Known already.
    pub duplicates: u64,
    /// Dated at or before the watermark on arrival.
    pub late: u64,
}

/// The effects of one tenant in one epoch, in order.
#[derive(Debug)]
pub struct Effects {
    /// Whose.
    pub tenant: TenantId,
    /// What.
    pub effects: Vec<Effect>,
    /// What is to be written of the tenant.
    pub changelog: Changelog,
}

impl ShardProcessor {
    /// An empty shard.
    pub fn new(norms: Arc<Norms>, timing: Timing, packing: PayloadCodec) -> Self {
        Self {
            timing,
            norms,
            packing,
            watermark: Timestamp::MIN,
            seen: BTreeMap::new(),
            read: BTreeMap::new(),
            resumed: Timestamp::MIN,
            refused: BTreeSet::new(),
            held: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            tenants: Vec::new(),
            by_id: FxHashMap::default(),
            timers: BinaryHeap::new(),
            planned: Vec::new(),
            touched: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// A shard as somebody left it, without its tenants.
    pub fn restore(norms: Arc<Norms>, timing: Timing, packing: PayloadCodec, checkpoint: ShardCheckpoint) -> Self {
        let ShardCheckpoint { watermark, seen, read, refused, next: _ } = checkpoint;
        Self { watermark, seen, read, resumed: watermark, refused, ..Self::new(norms, timing, packing) }
    }

    /// Takes in a tenant that was restored up to the watermark.
    pub fn adopt(&mut self, tenant: Tenant) {
        let number = self.enter(tenant);
        self.touched.push(number);
    }

    /// The norms in force.
    pub fn norms(&self) -> &Arc<Norms> {
        &self.norms
    }

    /// Other norms are in force from the watermark on.
    pub fn reload(&mut self, norms: Arc<Norms>) {
        self.norms = norms;
        for number in 0..self.tenants.len() as u32 {
            self.tenants[number as usize].reload(Arc::clone(&self.norms), self.watermark);
            self.plan(number);
            self.touched.push(number);
        }
    }

    /// Up to where everything has been processed.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// How many events wait for the watermark.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The counts since they were last taken.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// The lowest offset of each source that is still held: before it, everything has been applied.
    pub fn lowest_held(&self) -> BTreeMap<Source, i64> {
        let mut lowest = BTreeMap::new();
        for Reverse(held) in &self.held {
            let offset = lowest.entry(held.source).or_insert(held.offset);
            *offset = held.offset.min(*offset);
        }
        lowest
    }

    /// Where it stands, having read this far. Below the lowest offset that is held nothing is read again: `lowest` is what
    /// [`Self::lowest_held`] says.
    pub fn checkpoint(&mut self, progress: &[SourceProgress], lowest: &BTreeMap<Source, i64>) -> ShardCheckpoint {
        let mut read = self.read.clone();
        for SourceProgress { source, position, .. } in progress {
            let read = read.entry(*source).or_insert(*position);
            *read = (*read).max(*position);
        }
        let mut next = BTreeMap::new();
        for SourceProgress { source, position, .. } in progress {
            next.insert(*source, lowest.get(source).map_or(*position, |lowest| *lowest.min(position)));
        }
        self.refused.retain(|(source, offset)| next.get(source).is_some_and(|next| next < offset));
        ShardCheckpoint {
            watermark: self.watermark,
            seen: self.seen.clone(),
            read,
            next,
            refused: self.refused.clone(),
        }
    }

    /// Whether a message was read by whoever had the shard before: if it was no event to hold, it has been dealt with.
    pub fn was_read(&self, source: Source, offset: i64) -> bool {
        self.read.get(&source).is_some_and(|read| offset < *read)
    }

    /// What is known of a lead or deal, up to the watermark.
    pub fn entity_report(&self, tenant: &TenantId, entity: &EntityId) -> Option<EntityReport> {
        self.tenants[*self.by_id.get(tenant)? as usize].entity_report(entity, self.watermark)
    }

    /// What is to be written of a tenant beside its events.
    pub fn mark_of(&self, tenant: &TenantId) -> Option<TenantMark> {
        Some(self.tenants[*self.by_id.get(tenant)? as usize].mark())
    }

    /// The sources that are to rest: much is held, and they are ahead of the one that holds it back. In a backlog the
    /// sources of a shard come at one pace of messages, but their messages are not equally far apart in event time.
    pub fn sources_to_pause(&self, progress: &[SourceProgress]) -> Vec<Source> {
        if self.held.len() < HELD {
            return Vec::new();
        }
        let seen = |progress: &SourceProgress| self.seen.get(&progress.source).copied().unwrap_or(Timestamp::MIN);
        let Some(behind) = progress.iter().filter(|progress| !progress.idle).map(seen).min() else { return Vec::new() };
        progress.iter().filter(|progress| seen(progress) > behind).map(|progress| progress.source).collect()
    }

    /// Takes in an event that arrived when the wall clock showed `wall`.
    pub fn arrive(&mut self, source: Source, offset: i64, event: Event, wall: Timestamp) -> Result<(), Reason> {
        let at = event.at;
        if self.was_read(source, offset) && (at <= self.resumed || self.refused.contains(&(source, offset))) {
            return Ok(());
        }
        if self.timing.max_future_skew.is_some_and(|skew| at > wall.saturating_add(skew)) {
            self.refused.insert((source, offset));
            return Err(Reason::Future);
        }
        if at <= self.watermark {
            if at < self.watermark.saturating_sub(self.timing.memory.correction_horizon) {
                return Err(Reason::TooLate);
            }
            self.counts.late += 1;
        }
        let seen = self.seen.entry(source).or_insert(at);
        *seen = at.max(*seen);
        let topic = event.payload.topic();
        let place = match self.free.pop() {
            Some(place) => {
                self.events[place as usize] = Some(event);
                place
            }
            None => {
                self.events.push(Some(event));
                self.events.len() as u32 - 1
            }
        };
        self.held.push(Reverse(HeldEvent { at, topic, offset, source, place }));
        Ok(())
    }

    /// Moves the watermark and processes all that it passes.
    pub fn advance(&mut self, shard_progress: &ShardProgress, into: &mut Vec<Effects>) {
        let mut touched = std::mem::take(&mut self.touched);
        self.correct(&mut touched);
        self.watermark = self.watermark.max(self.next_watermark(shard_progress));
        while let Some(Reverse(held)) = self.held.peek().filter(|Reverse(held)| held.at <= self.watermark).copied() {
            let Some(event) = self.take_held(held) else { continue };
            let (number, kind) = (self.tenant(&event.tenant), event.payload.kind());
            if self.tenants[number as usize].apply(held.order(), event) {
                self.counts.applied[kind as usize] += 1;
            } else {
                self.counts.duplicates += 1;
            }
            self.plan(number);
            touched.push(number);
        }
        while let Some(Reverse((at, number))) = self.timers.peek().copied().filter(|next| next.0.0 <= self.watermark) {
            self.timers.pop();
            if self.planned[number as usize] == at {
                self.planned[number as usize] = Timestamp::MAX;
                self.tenants[number as usize].run_timers(self.watermark);
                self.plan(number);
                touched.push(number);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for number in touched {
            let tenant = &mut self.tenants[number as usize];
            let mut effects = Vec::new();
            tenant.take_effects(&mut effects);
            let changelog = if self.timing.memory.durable { tenant.take_changelog() } else { Changelog::default() };
            if !effects.is_empty() || !changelog.is_empty() {
                into.push(Effects { tenant: tenant.id().clone(), effects, changelog });
            }
        }
    }

    /// Applies late events: to each tenant those that have come since the last time, together.
    fn correct(&mut self, touched: &mut Vec<u32>) {
        let mut late: BTreeMap<u32, Vec<(EventOrder, Event)>> = BTreeMap::new();
        while let Some(Reverse(held)) = self.held.peek().filter(|Reverse(held)| held.at <= self.watermark).copied() {
            let Some(event) = self.take_held(held) else { continue };
            let number = self.tenant(&event.tenant);
            late.entry(number).or_default().push((held.order(), event));
        }
        for (number, late) in late {
            late.iter().for_each(|(_, event)| self.counts.applied[event.payload.kind() as usize] += 1);
            for kind in self.tenants[number as usize].correct(late, self.watermark) {
                self.counts.applied[kind as usize] -= 1;
                self.counts.duplicates += 1;
            }
            self.plan(number);
            touched.push(number);
        }
    }

    fn take_held(&mut self, held: HeldEvent) -> Option<Event> {
        self.held.pop();
        self.free.push(held.place);
        self.events[held.place as usize].take()
    }

    /// The minimum over the sources that are not idle of what they have seen less the lateness; when all are idle, the
    /// wall clock less the lateness. As long as one of them is read again by whoever took the shard over, it stands
    /// still: what was held there is not late.
    fn next_watermark(&self, shard_progress: &ShardProgress) -> Timestamp {
        let again = |progress: &SourceProgress| {
            !progress.idle && self.read.get(&progress.source).is_some_and(|read| progress.position < *read)
        };
        if shard_progress.sources.iter().any(again) {
            return self.watermark;
        }
        let mark = |source: &Source| match self.seen.get(source) {
            Some(seen) => seen.saturating_sub(self.timing.allowed_lateness),
            None => Timestamp::MIN,
        };
        let busy = shard_progress
            .sources
            .iter()
            .filter(|progress| !progress.idle)
            .map(|progress| mark(&progress.source))
            .min();
        let next = shard_progress.close.or(busy).unwrap_or_else(|| {
            if self.timing.follows_clock && !shard_progress.sources.is_empty() {
                shard_progress.wall.saturating_sub(self.timing.allowed_lateness)
            } else {
                shard_progress.sources.iter().map(|progress| mark(&progress.source)).max().unwrap_or(Timestamp::MIN)
            }
        });
        self.timing.until.map_or(next, |until| next.min(until))
    }

    fn tenant(&mut self, id: &TenantId) -> u32 {
        if let Some(number) = self.by_id.get(id) {
            return *number;
        }
        self.enter(Tenant::new(id.clone(), Arc::clone(&self.norms), self.timing.memory, self.packing))
    }

    fn enter(&mut self, tenant: Tenant) -> u32 {
        let number = self.tenants.len() as u32;
        self.by_id.insert(tenant.id().clone(), number);
        self.tenants.push(tenant);
        self.planned.push(Timestamp::MAX);
        self.plan(number);
        number
    }

    /// Enters a tenant's next timer, if it is earlier than the one that is entered.
    fn plan(&mut self, number: u32) {
        let planned = &mut self.planned[number as usize];
        if let Some(next) = self.tenants[number as usize].next_timer().filter(|next| next < planned) {
            *planned = next;
            self.timers.push(Reverse((next, number)));
        }
    }
}
