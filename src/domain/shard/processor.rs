//! Owns one shard: holds events until the watermark of their tenant passes them, then applies them in event order,
//! interleaved with timers.
//!
//! Invariants. The watermark of a tenant never decreases and never passes `until`. At watermark W, every held event of the
//! tenant dated at or before W and every timer due at or before W has been processed; at the same instant, events come
//! before timers. The result does not depend on the arrival order of events, unless one is late (dated at or before W on
//! arrival), nor on the events of other tenants.
//!
//! **Work per epoch.** Only active tenants are looked at: those that hold events, or whose watermark events move. The
//! others follow the clock of the shard, and a queue has their next timers; or their watermark stays until the next event.
//!
//! **Restore.** Each tenant resumes at the last watermark at which it had output. An event that the previous owner read was
//! applied if it is dated up to that watermark; otherwise it was held, and is held again. Until the sources are read as
//! far as before, no watermark moves: events that were held must not become late.

use crate::domain::effect::Effect;
use crate::domain::event::progress::Progress;
use crate::domain::event::reject::Reason;
use crate::domain::event::{Event, EventKind, EventOrder};
use crate::domain::id::{EntityId, TenantId};
use crate::domain::mem::seeded::SeededMap;
use crate::domain::norms::Norms;
use crate::domain::shard::admission::{Admission, AdmissionLimits, LimitsUsed, ProcessCounts};
use crate::domain::shard::held_events::{HeldChanges, HeldEvents, HeldKey};
use crate::domain::shard::refused_offsets::RefusedOffsets;
use crate::domain::shard::tenant_clock::{Course, MarkFlaw, Now, TenantClock, Timeouts};
use crate::domain::source::{Offset, PerTopic, Source, Topic};
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
    /// Whether the watermark of a tenant without events follows the wall clock.
    pub follows_clock: bool,
    /// When silent sources count no longer.
    pub timeouts: Timeouts,
    /// Whether progress marks are passed over, because all events are known from the beginning.
    pub ignores_marks: bool,
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
            timeouts: Timeouts::default(),
            ignores_marks: false,
            max_future_skew: Some(Span(5 * Span::MINUTE.0)),
            until: None,
            memory: Memory::default(),
        }
    }
}

/// The progress of a shard's sources at the end of an epoch.
#[derive(Clone, Debug, Default)]
pub struct ShardProgress {
    /// The wall clock when the epoch was closed. `None` if there is none: then no watermark follows it, and none is bound
    /// by it.
    pub wall: Option<Timestamp>,
    /// Whether the wall clock is wrong: no watermark follows it then.
    pub clock_is_wrong: bool,
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
    /// Whether everything was read that it contained `idle_after` ago.
    pub current: bool,
    /// Whether it was read to the end of a bounded run.
    pub ended: bool,
    /// The offset up to which it was read (exclusive); 0 if unknown.
    pub position: Offset,
}

impl SourceProgress {
    /// The progress of a source without offsets.
    pub fn of(source: Source, ended: bool) -> Self {
        Self { source, current: ended, ended, position: Offset(0) }
    }

    /// Whether it may have unread messages that are old.
    fn is_behind(&self) -> bool {
        !self.current && !self.ended
    }
}

/// The checkpoint of a shard: together with its tenants, everything needed to resume in another process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardCheckpoint {
    /// The watermark of all tenants, in state that was written before each tenant had its own; otherwise `MIN`.
    pub watermark: Timestamp,
    /// The offset up to which each source was read. Messages before it were handled, or are held.
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
    /// Event time of the tenants that follow the wall clock.
    clock: Timestamp,
    /// The highest event time seen of each source.
    seen: BTreeMap<Source, Timestamp>,
    /// The offsets up to which the previous owner read each source, and the watermark of tenants without one of their own.
    read: BTreeMap<Source, Offset>,
    resumed: Timestamp,
    refused: RefusedOffsets,
    admission: Admission,
    /// At this number of ranges of refused offsets, those that can be joined are.
    join_refused_at: usize,
    held: HeldEvents,
    tenants: Vec<TenantState>,
    by_id: SeededMap<TenantId, u32>,
    /// The tenants to look at in the next epoch.
    active: Vec<u32>,
    /// The tenants that follow the clock, by their next timer; stale entries are skipped.
    timers: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// Tenants with new effects since the last advance.
    dirty: Vec<u32>,
    counts: Counts,
}

/// A tenant of a shard.
#[derive(Debug)]
struct TenantState {
    tenant: Tenant,
    time: TenantTime,
    /// Events dated up to this instant were applied by the previous owner.
    resumed: Timestamp,
    held: BinaryHeap<Reverse<HeldKey>>,
    held_changes: HeldChanges,
    is_active: bool,
    /// Its entry in the queue of timers.
    scheduled: Timestamp,
    /// What was published last: watermark, whether it follows the clock, whether there is a back-fill.
    published: (Timestamp, bool, bool),
}

/// The time of a tenant, at the end of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantTime {
    /// Its watermark and what that follows from.
    pub clock: TenantClock,
    /// Whether it follows the clock of its shard from now on.
    pub follows_clock: bool,
    /// Whether a source sends past events.
    pub is_backfilling: bool,
    /// Whether its progress marks have changed, which must be stored.
    pub marks_changed: bool,
}

impl TenantTime {
    /// The time of a tenant that was restored, until the sources have been read.
    pub fn restored(clock: TenantClock) -> Self {
        let is_backfilling = clock.marks.iter().any(|mark| mark.backfill);
        Self { clock, follows_clock: false, is_backfilling, marks_changed: false }
    }

    /// The watermark; `clock`: that of the tenants of the shard that follow the wall clock.
    pub fn watermark(&self, clock: Timestamp) -> Timestamp {
        let own = self.clock.watermark;
        if self.follows_clock { own.max(clock) } else { own }
    }

    /// Whether a status or row of this date belongs to the past that a back-fill reports.
    pub fn is_historic(&self, at: Timestamp) -> bool {
        self.is_backfilling || at <= self.clock.backfilled_until
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
    /// Progress marks that were below the last one of their source.
    pub marks_below: u64,
    /// Contacts, plans and legs of calls that were left out, because there are as many as there may be.
    pub left_out: u64,
    /// Stages and currencies whose figures are summed up as `other`, when they are first used.
    pub summed_up: [u64; 2],
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
    /// Held events that were stored, or need not be any longer.
    pub held: HeldChanges,
}

/// The time of a shard at the end of an epoch.
#[derive(Debug, Default)]
pub struct ShardTime {
    /// The watermark of all tenants that follow the wall clock.
    pub clock: Timestamp,
    /// The tenants whose time has changed, or that have effects; those with new marks must be stored.
    pub tenants: Vec<(TenantId, TenantTime)>,
}

impl ShardProcessor {
    /// An empty shard.
    pub fn new(norms: Arc<Norms>, timing: Timing, codec: PayloadCodec) -> Self {
        Self {
            timing,
            norms,
            codec,
            clock: Timestamp::MIN,
            seen: BTreeMap::new(),
            read: BTreeMap::new(),
            resumed: Timestamp::MIN,
            refused: RefusedOffsets::default(),
            join_refused_at: FEW_RANGES,
            admission: Admission::default(),
            held: HeldEvents::new(timing.memory.durable),
            tenants: Vec::new(),
            by_id: SeededMap::default(),
            active: Vec::new(),
            timers: BinaryHeap::new(),
            dirty: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Restores a shard from a checkpoint, without its tenants.
    pub fn restore(norms: Arc<Norms>, timing: Timing, codec: PayloadCodec, checkpoint: ShardCheckpoint) -> Self {
        let ShardCheckpoint { watermark, read, refused, next: _ } = checkpoint;
        Self { read, resumed: watermark, refused, ..Self::new(norms, timing, codec) }
    }

    /// Admits events only within these limits, together with the other shards of the process.
    pub fn limit(&mut self, limits: AdmissionLimits, process: Arc<ProcessCounts>) {
        self.admission.share(limits, process);
    }

    /// How much of each limit is used.
    pub fn limits_used(&self) -> LimitsUsed {
        self.admission.used()
    }

    /// Adds a tenant that was restored up to the watermark of `clock`.
    pub fn adopt(&mut self, tenant: Tenant, clock: TenantClock) {
        self.admission.add(tenant.id(), tenant.managers().cloned(), tenant.departments().cloned());
        let ix = self.add_tenant(tenant);
        self.tenants[ix as usize].resume(clock);
        self.activate(ix);
        self.dirty.push(ix);
    }

    /// Adds the time of a tenant without applied events.
    pub fn adopt_clock(&mut self, tenant: &TenantId, clock: TenantClock) {
        let ix = self.restored_ix(tenant);
        self.tenants[ix as usize].resume(clock);
        self.activate(ix);
    }

    /// Holds an event that was stored while it was held. It is not held again when it is read again.
    pub fn adopt_held(&mut self, order: EventOrder, event: Event) {
        let Some(source) = Source::from_id(order.source) else { return };
        let ix = self.restored_ix(&event.tenant);
        let key = self.held.adopt(source, order.offset, event, ix);
        self.tenants[ix as usize].held.push(Reverse(key));
        self.activate(ix);
    }

    fn restored_ix(&mut self, tenant: &TenantId) -> u32 {
        if !self.by_id.contains_key(tenant) {
            self.admission.add(tenant, std::iter::empty(), std::iter::empty());
        }
        self.tenant_ix(tenant)
    }

    /// The norms in force.
    pub fn norms(&self) -> &Arc<Norms> {
        &self.norms
    }

    /// Applies new norms, to each tenant from its watermark on.
    pub fn reload(&mut self, norms: Arc<Norms>) {
        self.norms = norms;
        for ix in 0..self.tenants.len() as u32 {
            let watermark = self.watermark_of(ix);
            let TenantState { tenant, .. } = &mut self.tenants[ix as usize];
            if tenant.is_unused() {
                *tenant = Tenant::new(tenant.id().clone(), Arc::clone(&self.norms), self.timing.memory, self.codec);
                continue;
            }
            tenant.reload(Arc::clone(&self.norms), watermark);
            self.schedule(ix);
            self.dirty.push(ix);
        }
    }

    /// The highest watermark of its tenants.
    pub fn watermark(&self) -> Timestamp {
        let watermarks = (0..self.tenants.len() as u32).map(|ix| self.watermark_of(ix));
        watermarks.max().unwrap_or(Timestamp::MIN)
    }

    /// Number of events that wait for the watermark of their tenant.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the counts since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// The lowest offset of each source that has a held event that is not stored: before it, every event was applied or
    /// stored. Known only where state is durable; nothing else needs it.
    pub fn lowest_held(&self) -> impl Iterator<Item = (Source, Offset)> {
        self.held.offsets().lowest()
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
        ShardCheckpoint { watermark: self.resumed, read, next, refused: self.refused.clone() }
    }

    /// Keeps the number of ranges of refused offsets in proportion to that of held events.
    fn join_refused(&mut self, progress: &[SourceProgress]) {
        if self.refused.len() < self.join_refused_at {
            return;
        }
        let Self { refused, held, .. } = self;
        refused.join(|source, after, before| {
            let read = progress.iter().find(|progress| progress.source == source);
            // What is still to be read again may have been held.
            read.is_none_or(|read| read.position <= before) || held.offsets().any_between(source, after, before)
        });
        self.join_refused_at = FEW_RANGES.max(2 * self.refused.len());
    }

    /// Whether the previous owner has read a message: unless it was held, it has been handled.
    pub fn was_read(&self, source: Source, offset: Offset) -> bool {
        self.read.get(&source).is_some_and(|read| offset < *read)
    }

    /// Whether the previous owner has handled an event of a tenant.
    fn was_handled(&self, source: Source, offset: Offset, tenant: Option<u32>, at: Timestamp) -> bool {
        let resumed = tenant.map_or(self.resumed, |ix| self.tenants[ix as usize].resumed.max(self.resumed));
        self.was_read(source, offset)
            && (at <= resumed || self.refused.contains(source, offset) || self.held.is_adopted(source, offset))
    }

    /// The report on a lead or deal as of the watermark.
    pub fn entity_report(&self, tenant: &TenantId, entity: &EntityId) -> Option<EntityReport> {
        let ix = *self.by_id.get(tenant)?;
        self.tenants[ix as usize].tenant.entity_report(entity, self.watermark_of(ix))
    }

    /// The state of a tenant that must be persisted in addition to its events.
    pub fn mark_of(&self, tenant: &TenantId) -> Option<TenantMark> {
        Some(self.tenants[*self.by_id.get(tenant)? as usize].tenant.mark())
    }

    /// The sources to pause while there is a backlog: many events are held, and these sources are ahead of the slowest one
    /// with unread messages. In a backlog all sources are read at the same message rate, but their messages are not
    /// equally dense in event time. Without a backlog nothing is paused, whatever a tenant holds.
    pub fn sources_to_pause(&self, progress: &[SourceProgress]) -> Vec<Source> {
        if self.held.len() < MAX_HELD {
            return Vec::new();
        }
        let seen = |progress: &SourceProgress| self.seen_of(progress.source);
        let behind = progress.iter().filter(|progress| progress.is_behind());
        let Some(slowest) = behind.map(seen).min() else { return Vec::new() };
        progress.iter().filter(|progress| seen(progress) > slowest).map(|progress| progress.source).collect()
    }

    /// The highest event time seen of a source.
    fn seen_of(&self, source: Source) -> Timestamp {
        self.seen.get(&source).copied().unwrap_or(Timestamp::MIN)
    }

    /// Adds an event that arrived at wall-clock time `wall`, or rejects it.
    pub fn arrive(&mut self, source: Source, offset: Offset, event: Event, wall: Timestamp) -> Result<(), Reason> {
        let (at, known) = (event.at, self.by_id.get(&event.tenant).copied());
        if self.was_handled(source, offset, known, at) {
            return Ok(());
        }
        if self.timing.max_future_skew.is_some_and(|skew| at > wall.saturating_add(skew)) {
            return self.refuse(source, offset, Reason::Future);
        }
        let watermark = known.map_or(Timestamp::MIN, |ix| self.watermark_of(ix));
        if at < watermark.saturating_sub(self.timing.memory.correction_horizon) {
            return Err(Reason::TooLate);
        }
        if let Err(reason) = self.admission.admit(&event) {
            return self.refuse(source, offset, reason);
        }
        self.counts.late += u64::from(at <= watermark);
        let seen = self.seen.entry(source).or_insert(at);
        *seen = at.max(*seen);
        let ix = known.unwrap_or_else(|| self.tenant_ix(&event.tenant));
        self.activate(ix);
        let state = &mut self.tenants[ix as usize];
        state.time.clock.see(clock_topic(source, event.payload.topic()), at, wall);
        state.held.push(Reverse(self.held.insert(source, offset, event, ix, wall)));
        Ok(())
    }

    /// Takes a progress mark that arrived in a topic at wall-clock time `wall`, or rejects it.
    pub fn progress(
        &mut self,
        (source, offset): (Source, Offset),
        topic: Topic,
        progress: Progress,
        wall: Timestamp,
    ) -> Result<(), Reason> {
        // Marks that were read are stored with the position of their source.
        if self.timing.ignores_marks || self.was_read(source, offset) {
            return Ok(());
        }
        if self.timing.max_future_skew.is_some_and(|skew| progress.up_to > wall.saturating_add(skew)) {
            return Err(Reason::Future);
        }
        self.admission.admit_tenant(&progress.tenant)?;
        let ix = self.tenant_ix(&progress.tenant);
        self.activate(ix);
        let state = &mut self.tenants[ix as usize];
        match state.time.clock.mark(clock_topic(source, topic), progress, wall) {
            Ok(()) => state.time.marks_changed = true,
            Err(MarkFlaw::Below) => self.counts.marks_below += 1,
            Err(MarkFlaw::TooMany) => return Err(Reason::OverLimit),
        }
        Ok(())
    }

    /// Remembers that an event was refused, in case it is read again.
    fn refuse(&mut self, source: Source, offset: Offset, reason: Reason) -> Result<(), Reason> {
        if self.timing.memory.durable {
            self.refused.insert(source, offset);
        }
        Err(reason)
    }

    /// Advances the watermarks of the tenants, and processes everything that they pass. Returns the time of the shard.
    pub fn advance(&mut self, progress: &ShardProgress, into: &mut Vec<Effects>) -> ShardTime {
        let now = self.now(progress);
        let is_reread = |progress: &SourceProgress| {
            progress.is_behind() && self.read.get(&progress.source).is_some_and(|read| progress.position < *read)
        };
        let is_rereading = progress.close.is_none() && progress.sources.iter().any(is_reread);
        if let Some(wall) = now.wall.filter(|_| now.follows_clock) {
            self.clock = self.clock.max(wall.saturating_sub(now.allowed_lateness));
        }
        if !is_rereading {
            self.held.forget_adopted();
        }
        let mut active = std::mem::take(&mut self.active);
        if progress.close.is_some() {
            active = (0..self.tenants.len() as u32).collect();
        }
        for ix in active {
            self.correct(ix);
            let course = (!is_rereading).then(|| self.move_watermark(ix, &now, progress.close));
            self.process(ix);
            let state = &mut self.tenants[ix as usize];
            state.is_active = !matches!(course, Some(Course::Clock | Course::Stays(_))) || !state.held.is_empty();
            if state.is_active {
                self.active.push(ix);
            } else if progress.close.is_none() && course == Some(Course::Clock) {
                state.time.follows_clock = true;
                self.schedule(ix);
            }
            self.dirty.push(ix);
        }
        self.run_timers_of_followers();
        if let Some(wall) = progress.wall {
            self.store_held(wall);
        }
        self.take_effects(into)
    }

    /// The instant for which the watermarks of an epoch are computed.
    fn now(&self, progress: &ShardProgress) -> Now {
        let feeds = |source: Source, topic: Topic| match source {
            Source::Topic(own) => own == topic,
            Source::Rerouted => true,
            Source::Files => topic == FILES,
        };
        let of = |topic| progress.sources.iter().filter(move |progress| feeds(progress.source, topic));
        Now {
            wall: progress.wall,
            current: PerTopic::from_fn(|topic| of(topic).all(|progress| progress.current)),
            unread: PerTopic::from_fn(|topic| {
                of(topic).filter(|progress| progress.is_behind()).map(|progress| self.seen_of(progress.source)).min()
            }),
            ended: PerTopic::from_fn(|topic| of(topic).all(|progress| progress.ended)),
            allowed_lateness: self.timing.allowed_lateness,
            follows_clock: self.timing.follows_clock && !progress.clock_is_wrong,
        }
    }

    /// Moves the watermark of a tenant. Returns where it goes.
    fn move_watermark(&mut self, ix: u32, now: &Now, close: Option<Timestamp>) -> Course {
        let state = &mut self.tenants[ix as usize];
        let course = state.time.clock.course(now, &self.timing.timeouts);
        state.time.is_backfilling = state.time.clock.is_backfilling(now, &self.timing.timeouts);
        let to = close.unwrap_or(match course {
            Course::Events(at) | Course::Stays(at) => at,
            Course::Clock => self.clock,
        });
        let to = self.timing.until.map_or(to, |until| to.min(until));
        state.time.clock.watermark = state.time.clock.watermark.max(to);
        course
    }

    /// Applies the held events and fires the timers of a tenant up to its watermark.
    fn process(&mut self, ix: u32) {
        let state = &mut self.tenants[ix as usize];
        let watermark = state.time.clock.watermark;
        while let Some(key) = state.next_held(watermark) {
            let Some(event) = state.take_held(key, &mut self.held) else { continue };
            let kind = event.payload.kind();
            let is_with = |next: &HeldKey| (next.at, next.topic) == (key.at, key.topic);
            if kind == EventKind::StageChanged && state.next_held(key.at).is_some_and(|next| is_with(&next)) {
                // Moves of one instant may form a chain.
                let mut together = vec![(key.order(), event)];
                while let Some(next) = state.next_held(key.at).filter(is_with) {
                    together.extend(state.take_held(next, &mut self.held).map(|event| (next.order(), event)));
                }
                for (kind, taken) in state.tenant.apply_together(together) {
                    self.counts.add(kind, taken);
                }
                continue;
            }
            let taken = state.tenant.apply(key.order(), event);
            self.counts.add(kind, taken);
        }
        if state.tenant.next_timer().is_some_and(|next| next <= watermark) {
            state.tenant.run_timers(watermark);
        }
        self.schedule(ix);
    }

    /// Applies the late events of a tenant that arrived since the last advance, in one batch.
    fn correct(&mut self, ix: u32) {
        let state = &mut self.tenants[ix as usize];
        let watermark = state.time.clock.watermark;
        let mut late = Vec::new();
        while let Some(key) = state.next_held(watermark) {
            late.extend(state.take_held(key, &mut self.held).map(|event| (key.order(), event)));
        }
        if !late.is_empty() {
            for (kind, taken) in state.tenant.correct(late, watermark) {
                self.counts.add(kind, taken);
            }
        }
    }

    /// Fires the timers of the tenants that follow the clock.
    fn run_timers_of_followers(&mut self) {
        while let Some(Reverse((at, ix))) = self.timers.peek().copied().filter(|next| next.0.0 <= self.clock) {
            self.timers.pop();
            let state = &mut self.tenants[ix as usize];
            if state.scheduled == at && state.time.follows_clock {
                state.scheduled = Timestamp::MAX;
                state.time.clock.watermark = state.time.clock.watermark.max(self.clock);
                state.tenant.run_timers(self.clock);
                self.schedule(ix);
                self.dirty.push(ix);
            }
        }
    }

    /// Takes the effects of this epoch, and the time of the tenants for which it has changed.
    fn take_effects(&mut self, into: &mut Vec<Effects>) -> ShardTime {
        let mut time = ShardTime { clock: self.clock, tenants: Vec::new() };
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for ix in dirty.drain(..) {
            let state = &mut self.tenants[ix as usize];
            let tenant = &mut state.tenant;
            self.counts.left_out += tenant.take_left_out();
            self.counts.summed_up.iter_mut().zip(tenant.take_summed_up()).for_each(|(sum, n)| *sum += n);
            self.admission.names_used(tenant.names_used());
            let mut effects = Vec::new();
            tenant.take_effects(&mut effects);
            let durable = self.timing.memory.durable;
            let changelog = if durable { tenant.take_changelog() } else { Changelog::default() };
            let held = std::mem::take(&mut state.held_changes);
            let has_effects = !effects.is_empty() || !changelog.is_empty() || !held.is_empty();
            if has_effects {
                into.push(Effects { tenant: tenant.id().clone(), effects, changelog, held });
            }
            let own = &mut state.time;
            let published = (own.clock.watermark, own.follows_clock, own.is_backfilling);
            if has_effects || own.marks_changed || published != state.published {
                state.published = published;
                time.tenants.push((tenant.id().clone(), own.clone()));
                own.marks_changed = false;
            }
        }
        self.dirty = dirty;
        time
    }

    /// Stores the events that have been held for long.
    fn store_held(&mut self, wall: Timestamp) {
        let Self { held, tenants, dirty, codec, .. } = self;
        held.store_due(wall, |ix, order, event| {
            tenants[ix as usize].held_changes.store(order, event, *codec);
            dirty.push(ix);
        });
    }

    /// The watermark of a tenant.
    fn watermark_of(&self, ix: u32) -> Timestamp {
        self.tenants[ix as usize].time.watermark(self.clock)
    }

    /// Looks at a tenant in the next epoch.
    fn activate(&mut self, ix: u32) {
        let watermark = self.watermark_of(ix);
        let state = &mut self.tenants[ix as usize];
        if !std::mem::replace(&mut state.is_active, true) {
            state.time.clock.watermark = watermark;
            (state.time.follows_clock, state.scheduled) = (false, Timestamp::MAX);
            self.active.push(ix);
        }
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
        self.tenants.push(TenantState::new(tenant));
        ix
    }

    /// Schedules the next timer of a tenant that follows the clock, if it is earlier than the one scheduled.
    fn schedule(&mut self, ix: u32) {
        let state = &mut self.tenants[ix as usize];
        let next = state.tenant.next_timer().filter(|next| state.time.follows_clock && *next < state.scheduled);
        if let Some(next) = next {
            state.scheduled = next;
            self.timers.push(Reverse((next, ix)));
        }
    }
}

impl TenantState {
    fn new(tenant: Tenant) -> Self {
        Self {
            tenant,
            time: TenantTime::default(),
            resumed: Timestamp::MIN,
            held: BinaryHeap::new(),
            held_changes: HeldChanges::default(),
            is_active: false,
            scheduled: Timestamp::MAX,
            published: (Timestamp::MIN, false, false),
        }
    }

    fn resume(&mut self, clock: TenantClock) {
        (self.resumed, self.time) = (clock.watermark, TenantTime::restored(clock));
    }

    /// The next held event dated up to `until`.
    fn next_held(&self, until: Timestamp) -> Option<HeldKey> {
        self.held.peek().map(|Reverse(key)| *key).filter(|key| key.at <= until)
    }

    /// Takes the next held event.
    fn take_held(&mut self, key: HeldKey, held: &mut HeldEvents) -> Option<Event> {
        self.held.pop();
        let (event, is_stored) = held.take(key)?;
        if is_stored {
            self.held_changes.release(key.order());
        }
        Some(event)
    }
}

/// The files of a replay are one topic.
const FILES: Topic = Topic::Crm;

/// The topic to whose part of the watermark an event belongs.
fn clock_topic(source: Source, topic: Topic) -> Topic {
    if source == Source::Files { FILES } else { topic }
}
