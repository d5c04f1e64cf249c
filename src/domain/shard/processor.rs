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
//! **Too many held events.** If a tenant holds more than [`Timing::max_held`], its watermark passes the oldest of them,
//! whatever it waits for: up to `allowed_lateness` before the wall clock, which no watermark passes. A restored shard does
//! the same, because the size of an event follows from the event, and the watermark is stored with what it has passed.
//!
//! **Too much output.** The output of an epoch is one transaction. If much is due at once, watermarks stop on the way, at
//! an instant up to which everything is processed, and go on in the next epoch ([`ShardProcessor::limit_output`]). Not
//! divided are: what follows from one instant of a tenant; a correction; new norms, which apply at one watermark; and the
//! end of the stream. To divide them, the state would have to contain how far an instant was processed.
//!
//! **Restore.** Each tenant resumes at the last watermark at which it had output. An event that the previous owner read was
//! applied if it is dated up to that watermark; otherwise it was held, and is held again. Until the sources are read as
//! far as before, no watermark moves: events that were held must not become late.
//!
//! **Forgotten tenants.** `tenant/forgetting.rs` makes a tenant one without events, at an instant of event time. Its time
//! stays until no message of it can be read again after a restart: a message would be taken for the first one of a new
//! tenant if the watermark that it is behind were unknown. Then its place is free for another tenant.

mod forgotten;
mod restored;
mod too_much;

use crate::domain::effect::Effect;
use crate::domain::event::progress::Progress;
use crate::domain::event::reject::Reason;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{EntityId, TenantId};
use crate::domain::mem::seeded::SeededMap;
use crate::domain::norms::Norms;
use crate::domain::shard::admission::{Admission, AdmissionLimits, Limited, LimitsUsed, ProcessCounts};
use crate::domain::shard::held_events::{HeldChanges, HeldEvents, HeldKey};
use crate::domain::shard::output_room::{self, OutputRoom};
use crate::domain::shard::refused_offsets::RefusedOffsets;
use crate::domain::shard::spill::HeldMemory;
use crate::domain::shard::tenant_clock::{Course, MarkFlaw, Now, TenantClock, Timeouts};
use crate::domain::shard::tenant_held::TenantHeld;
use crate::domain::source::{Offset, PerTopic, Source, Topic};
use crate::domain::tenant::changelog::{Changelog, PayloadCodec, TenantMark};
use crate::domain::tenant::entity_report::EntityReport;
use crate::domain::tenant::{Memory, Taken, Tenant};
use crate::domain::time::{Span, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

/// Maximum number of held events of a shard in memory, beyond which the sources that are ahead are paused.
pub const MAX_HELD: usize = 50_000;

/// This many restored events are measured, and spilled if they are too many, at once.
const ADOPTED_AT_ONCE: usize = 4096;

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
    /// The size of the held events of a tenant, in bytes, beyond which its watermark passes the oldest of them; `None`:
    /// unbounded.
    pub max_held: Option<usize>,
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
            max_held: None,
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
    /// The size of the output of an epoch, in bytes, beyond which watermarks stop.
    max_output: usize,
    /// The size of that of the last epoch, in bytes.
    output: usize,
    tenants: Vec<TenantState>,
    /// The places in it of tenants that were removed.
    free: Vec<u32>,
    /// Tenants to remove if no event follows, each with the offsets before which its messages are.
    forgotten: BTreeMap<u32, BTreeMap<Source, Offset>>,
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
    held: TenantHeld,
    /// The effects of this epoch that were taken from the tenant to see how many there are.
    effects: Vec<Effect>,
    /// Whether its watermark waits for a progress mark that is not in the messages to be read.
    waits_for_mark: bool,
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
    /// Held events that the watermark passed because there were too many of their tenant.
    pub passed_early: u64,
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
    /// Whether the tenant has no events: it is new, or was forgotten.
    pub is_unused: bool,
}

/// The time of a shard at the end of an epoch.
#[derive(Debug, Default)]
pub struct ShardTime {
    /// The watermark of all tenants that follow the wall clock.
    pub clock: Timestamp,
    /// The tenants whose time has changed, or that have effects; those with new marks must be stored.
    pub tenants: Vec<(TenantId, TenantTime)>,
    /// The tenants that were forgotten and whose time need not be known any longer.
    pub removed: Vec<TenantId>,
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
            held: HeldEvents::new(timing.memory.durable, codec),
            max_output: usize::MAX,
            output: 0,
            tenants: Vec::new(),
            free: Vec::new(),
            forgotten: BTreeMap::new(),
            by_id: SeededMap::default(),
            active: Vec::new(),
            timers: BinaryHeap::new(),
            dirty: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Admits events only within these limits, together with the other shards of the process.
    pub fn limit(&mut self, limits: AdmissionLimits, process: Arc<ProcessCounts>) {
        self.admission.share(limits, process);
    }

    /// Shares the memory for held events with the other shards of the process; before the shard holds any.
    pub fn share_held(&mut self, memory: Arc<HeldMemory>) {
        self.held.share(memory);
    }

    /// Stops watermarks in an epoch when its output is larger than this, in bytes. They go on in the next one. What follows
    /// from one instant of a tenant is never divided, nor is the end of the stream.
    pub fn limit_output(&mut self, bytes: usize) {
        self.max_output = bytes;
    }

    /// About the size of the output of the last epoch, in bytes; 0 if it is not limited.
    pub fn output(&self) -> usize {
        self.output
    }

    /// How much of each limit is used.
    pub fn limits_used(&self) -> LimitsUsed {
        let mut used = self.admission.used();
        if let Some(max) = self.timing.max_held {
            let sizes = self.active.iter().map(|ix| self.tenants[*ix as usize].held.size());
            used[Limited::TenantHeld as usize] = sizes.max().unwrap_or_default() as f64 / max.max(1) as f64;
        }
        used
    }

    /// The norms in force.
    pub fn norms(&self) -> &Arc<Norms> {
        &self.norms
    }

    /// Applies new norms, to each tenant from its watermark on.
    pub fn reload(&mut self, norms: Arc<Norms>) {
        self.norms = norms;
        for ix in self.known() {
            let watermark = self.watermark_of(ix);
            let TenantState { tenant, time, .. } = &mut self.tenants[ix as usize];
            if tenant.is_unused() {
                *tenant = Tenant::new(tenant.id().clone(), Arc::clone(&self.norms), self.timing.memory, self.codec);
                tenant.resume_forgetting(time.clock.latest_mark(), watermark);
                continue;
            }
            tenant.reload(Arc::clone(&self.norms), watermark);
            self.schedule(ix);
            self.dirty.push(ix);
        }
    }

    /// The highest watermark of its tenants.
    pub fn watermark(&self) -> Timestamp {
        let watermarks = self.by_id.values().map(|ix| self.watermark_of(*ix));
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

    /// A tenant, and its watermark.
    pub fn tenant(&mut self, tenant: &TenantId) -> Option<(&mut Tenant, Timestamp)> {
        let ix = *self.by_id.get(tenant)?;
        let at = self.watermark_of(ix);
        Some((&mut self.tenants[ix as usize].tenant, at))
    }

    /// The state of a tenant that must be persisted in addition to its events; `None` if it has no events.
    pub fn mark_of(&self, tenant: &TenantId) -> Option<TenantMark> {
        let tenant = &self.tenants[*self.by_id.get(tenant)? as usize].tenant;
        (!tenant.is_unused()).then(|| tenant.mark())
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
        state.held.push(self.held.insert(source, offset, event, ix, wall));
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
        let up_to = progress.up_to;
        match state.time.clock.mark(clock_topic(source, topic), progress, wall) {
            Ok(()) => {
                state.time.marks_changed = true;
                state.tenant.keep_since(up_to);
            }
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
        if !is_rereading {
            self.held.forget_adopted();
        }
        let mut active = std::mem::take(&mut self.active);
        if progress.close.is_some() {
            active = self.known();
        }
        let mut room = OutputRoom::new(if progress.close.is_some() { usize::MAX } else { self.max_output });
        let clock = now.wall.filter(|_| now.follows_clock).map(|wall| wall.saturating_sub(now.allowed_lateness));
        self.output = self.run_timers_of_followers(clock, room.part(active.len() + 1));
        room.take(self.output);
        for (index, ix) in active.iter().enumerate() {
            let most = room.part(active.len() - index);
            let output = self.advance_tenant(*ix, (&now, progress.close), is_rereading, most);
            room.take(output);
            self.output += output;
        }
        self.measure_held();
        let may_pass = !is_rereading && progress.close.is_none();
        let bound = now.bound().min(self.timing.until.unwrap_or(Timestamp::MAX));
        if may_pass {
            self.pass_beyond_bound(bound);
        }
        if let Some(wall) = progress.wall {
            self.store_held(wall);
        }
        self.spill_held();
        if may_pass {
            self.pass_beyond_memory(bound);
        }
        let mut time = self.take_effects(progress, into);
        if !is_rereading {
            time.removed = self.remove_forgotten();
        }
        time
    }

    /// Advances the watermark of a tenant, and processes what it passes. Returns the size of the output, which is not much
    /// larger than `most`, in bytes.
    fn advance_tenant(
        &mut self,
        ix: u32,
        (now, close): (&Now, Option<Timestamp>),
        is_rereading: bool,
        most: usize,
    ) -> usize {
        self.correct(ix);
        let state = &mut self.tenants[ix as usize];
        // Twice as much as it sends, so that nothing accumulates.
        let most = most.max(state.held.arrived().saturating_mul(2));
        state.held.begin_epoch();
        let (course, to) = match is_rereading {
            true => (None, state.time.clock.watermark),
            false => {
                let (course, to) = self.course(ix, now, close);
                (Some(course), to)
            }
        };
        let output = self.process(ix, to, most);
        let state = &mut self.tenants[ix as usize];
        let is_there = state.held.is_empty() && state.time.clock.watermark >= to;
        state.is_active = !is_there || !matches!(course, Some(Course::Clock | Course::Stays(_)));
        if state.is_active {
            self.active.push(ix);
        } else if close.is_none() && course == Some(Course::Clock) {
            state.time.follows_clock = true;
            self.schedule(ix);
        }
        self.dirty.push(ix);
        output
    }

    /// The highest event time seen of a source.
    fn seen_of(&self, source: Source) -> Timestamp {
        self.seen.get(&source).copied().unwrap_or(Timestamp::MIN)
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

    /// Where the watermark of a tenant goes, and up to which instant now.
    fn course(&mut self, ix: u32, now: &Now, close: Option<Timestamp>) -> (Course, Timestamp) {
        let (clock, timeouts) = (self.clock, &self.timing.timeouts);
        let state = &mut self.tenants[ix as usize];
        let course = state.time.clock.course(now, timeouts);
        state.time.is_backfilling = state.time.clock.is_backfilling(now, timeouts);
        state.waits_for_mark = state.time.clock.waits_for_mark(course, now, timeouts);
        let to = close.unwrap_or(match course {
            Course::Events(at) | Course::Stays(at) => at,
            Course::Clock => clock,
        });
        let to = self.timing.until.map_or(to, |until| to.min(until));
        (course, to.max(state.time.clock.watermark))
    }

    /// Applies the held events and fires the timers of a tenant, instant by instant, up to `until` or until the output is
    /// larger than `most`. Moves the watermark accordingly. Returns the size of the output, in bytes.
    fn process(&mut self, ix: u32, until: Timestamp, most: usize) -> usize {
        let (mut output, mut reached) = (0, until);
        while let Some(at) = self.next_instant(ix, until) {
            if output >= most {
                reached = Timestamp(at.0 - 1);
                break;
            }
            output += self.process_instant(ix, at);
        }
        let clock = &mut self.tenants[ix as usize].time.clock;
        clock.watermark = clock.watermark.max(reached);
        self.schedule(ix);
        output
    }

    /// The next instant up to `until` at which a tenant has a held event or a timer.
    fn next_instant(&mut self, ix: u32, until: Timestamp) -> Option<Timestamp> {
        let state = &mut self.tenants[ix as usize];
        let event = state.next_held(ix, until, &mut self.held).map(|key| key.at);
        event.into_iter().chain(state.tenant.next_timer()).min().filter(|at| *at <= until)
    }

    /// Applies the held events of an instant, then fires its timers. Returns the size of the output, in bytes.
    fn process_instant(&mut self, ix: u32, at: Timestamp) -> usize {
        let Self { tenants, held, counts, .. } = self;
        let state = &mut tenants[ix as usize];
        let mut output = 0;
        while let Some(key) = state.next_held(ix, at, held) {
            let Some((event, size)) = state.held.take(key, held) else { continue };
            output += output_room::of_event(size);
            let kind = event.payload.kind();
            let is_with = |next: &HeldKey| (next.at, next.topic) == (key.at, key.topic);
            if kind == EventKind::StageChanged && state.next_held(ix, at, held).is_some_and(|next| is_with(&next)) {
                // Moves of one instant may form a chain.
                let mut together = vec![(key.order(), event)];
                while let Some(next) = state.next_held(ix, at, held).filter(is_with) {
                    together.extend(state.held.take(next, held).map(|(event, size)| {
                        output += output_room::of_event(size);
                        (next.order(), event)
                    }));
                }
                for (kind, taken) in state.tenant.apply_together(together) {
                    counts.add(kind, taken);
                }
                continue;
            }
            let taken = state.tenant.apply(key.order(), event);
            counts.add(kind, taken);
        }
        state.run_timers(at);
        output + if self.max_output == usize::MAX { 0 } else { state.take_output() }
    }

    /// Applies the late events of a tenant that arrived since the last advance, in one batch.
    fn correct(&mut self, ix: u32) {
        let Self { tenants, held, counts, .. } = self;
        let state = &mut tenants[ix as usize];
        let watermark = state.time.clock.watermark;
        let mut late = Vec::new();
        while let Some(key) = state.next_held(ix, watermark, held) {
            late.extend(state.held.take(key, held).map(|(event, _)| (key.order(), event)));
        }
        if !late.is_empty() {
            for (kind, taken) in state.tenant.correct(late, watermark) {
                counts.add(kind, taken);
            }
        }
    }

    /// Advances the clock of the shard to `until`, and fires the timers of the tenants that follow it, instant by instant,
    /// until the output is larger than `most`. Returns its size, in bytes.
    fn run_timers_of_followers(&mut self, until: Option<Timestamp>, most: usize) -> usize {
        let until = until.map_or(self.clock, |until| until.max(self.clock));
        let (mut output, mut reached) = (0, until);
        while let Some(Reverse((at, ix))) = self.timers.peek().copied().filter(|next| next.0.0 <= until) {
            if output >= most {
                reached = Timestamp(at.0 - 1);
                break;
            }
            self.timers.pop();
            let state = &mut self.tenants[ix as usize];
            if state.scheduled == at && state.time.follows_clock {
                state.scheduled = Timestamp::MAX;
                state.run_timers(at);
                output += if self.max_output == usize::MAX { 0 } else { state.take_output() };
                self.schedule(ix);
                self.dirty.push(ix);
            }
        }
        self.clock = self.clock.max(reached);
        output
    }

    /// Takes the effects of this epoch, and the time of the tenants for which it has changed.
    fn take_effects(&mut self, progress: &ShardProgress, into: &mut Vec<Effects>) -> ShardTime {
        let mut time = ShardTime { clock: self.clock, ..ShardTime::default() };
        let (mut forgotten, mut changed) = (BTreeSet::new(), BTreeSet::new());
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for ix in dirty.drain(..) {
            let state = &mut self.tenants[ix as usize];
            let tenant = &mut state.tenant;
            self.counts.left_out += tenant.take_left_out();
            self.counts.summed_up.iter_mut().zip(tenant.take_summed_up()).for_each(|(sum, n)| *sum += n);
            self.admission.names_used(tenant.names_used());
            let mut effects = std::mem::take(&mut state.effects);
            tenant.take_effects(&mut effects);
            let durable = self.timing.memory.durable;
            let changelog = if durable { tenant.take_changelog() } else { Changelog::default() };
            let held = std::mem::take(&mut state.held.changes);
            for effect in effects.iter().filter(|effect| effect.forgets()) {
                forgotten.extend(matches!(effect, Effect::Forgotten(_)).then_some(ix));
                changed.insert(ix);
            }
            let has_effects = !effects.is_empty() || !changelog.is_empty() || !held.is_empty();
            if has_effects {
                let is_unused = tenant.is_unused();
                into.push(Effects { tenant: tenant.id().clone(), effects, changelog, held, is_unused });
            }
            let own = &mut state.time;
            if own.follows_clock {
                own.clock.watermark = own.clock.watermark.max(self.clock);
            }
            let published = (own.clock.watermark, own.follows_clock, own.is_backfilling);
            if has_effects || own.marks_changed || published != state.published {
                state.published = published;
                time.tenants.push((tenant.id().clone(), own.clone()));
                own.marks_changed = false;
            }
        }
        self.dirty = dirty;
        changed.into_iter().for_each(|ix| self.admit_anew(ix));
        for ix in forgotten {
            let read = progress.sources.iter().map(|progress| (progress.source, progress.position)).collect();
            self.forgotten.insert(ix, read);
        }
        time
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
        let next = self.tenants.len() as u32;
        let ix = self.free.pop().unwrap_or(next);
        self.by_id.insert(tenant.id().clone(), ix);
        let state = TenantState::new(tenant);
        if ix == next {
            self.tenants.push(state);
        } else {
            self.tenants[ix as usize] = state;
        }
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
            held: TenantHeld::default(),
            effects: Vec::new(),
            waits_for_mark: false,
            is_active: false,
            scheduled: Timestamp::MAX,
            published: (Timestamp::MIN, false, false),
        }
    }

    fn resume(&mut self, clock: TenantClock) {
        self.tenant.resume_forgetting(clock.latest_mark(), clock.watermark);
        (self.resumed, self.time) = (clock.watermark, TenantTime::restored(clock));
    }

    /// The next held event dated up to `until`; `ix`: its own index.
    fn next_held(&mut self, ix: u32, until: Timestamp, held: &mut HeldEvents) -> Option<HeldKey> {
        self.held.next(until, (self.tenant.id(), ix), held)
    }

    /// Fires the timers due at `at` or before.
    fn run_timers(&mut self, at: Timestamp) {
        if self.tenant.next_timer().is_some_and(|next| next <= at) {
            self.tenant.run_timers(at);
        }
    }

    /// Takes the effects of the tenant since the last call, and returns the size of their records, in bytes.
    fn take_output(&mut self) -> usize {
        let from = self.effects.len();
        self.tenant.take_effects(&mut self.effects);
        self.effects[from..].iter().map(output_room::of_effect).sum()
    }
}

/// The files of a replay are one topic.
const FILES: Topic = Topic::Crm;

/// The topic to whose part of the watermark an event belongs.
fn clock_topic(source: Source, topic: Topic) -> Topic {
    if source == Source::Files { FILES } else { topic }
}
