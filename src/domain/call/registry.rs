//! Owns the calls of a tenant by their ids, and decides which records belong to one call.
//!
//! - All records with one call id belong to one call; once one of them names a session, to the call of that session (the
//!   first session named). A call id that equals another call's session id joins nothing.
//! - Inbound legs of one number that overlap in time, both without a session, are counted as one call. Overlap is
//!   transitive. Legs that only touch (one ends when the other starts) do not overlap, and a leg without length overlaps
//!   only what strictly contains it.
//!
//! Legs arrive in the order of their ends. So a new leg can only overlap the latest legs of its number, which are kept as
//! disjoint blocks; joining a block costs a constant on average. Only if a leg leaves a counted call (it is replaced, or
//! its session becomes known), the counted call is divided again.

use crate::domain::call::{Call, Counted, Leg, MAX_LENGTH};
use crate::domain::event::{Direction, Position};
use crate::domain::id::{CallId, LegId, SessionId};
use crate::domain::index::{ArenaIndex, CallIx, ContactIx};
use crate::domain::mem::recorded::{MapBefore, RecordedMap, merge_maps};
use crate::domain::mem::short::Short;
use crate::domain::time::Timestamp;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

/// The calls of a tenant.
#[derive(Debug, Default)]
pub struct Calls {
    calls: CallSlots,
    by_id: RecordedMap<CallId, CallIx>,
    by_session: RecordedMap<SessionId, CallIx>,
    /// Legs with an id of their own: the call id and the position of the present version.
    by_leg: RecordedMap<LegId, (CallId, Position)>,
    /// The latest blocks of overlapping legs of a number, ordered by end.
    blocks: RecordedMap<ContactIx, Vec<Block>>,
    /// Calls whose counted call has changed.
    changed: Vec<CallIx>,
    /// What counted calls that were joined or divided counted before.
    retired: Vec<Counted>,
}

/// The calls by index, and the indices that are free.
#[derive(Debug, Default)]
struct CallSlots {
    calls: Vec<Call>,
    free: Vec<CallIx>,
    before: Option<SlotsBefore>,
}

/// The before-images of calls.
#[derive(Debug, Default)]
struct SlotsBefore {
    /// `None`: the index was free.
    calls: FxHashMap<CallIx, Option<Box<Call>>>,
    /// Indices that became free. They are not used again while the change can be undone.
    freed: Vec<CallIx>,
}

/// The before-images of what [`Calls`] has of a case.
#[derive(Debug, Default)]
pub struct CallsBefore {
    slots: Option<SlotsBefore>,
    by_id: Option<MapBefore<CallId, CallIx>>,
    by_session: Option<MapBefore<SessionId, CallIx>>,
    by_leg: Option<MapBefore<LegId, (CallId, Position)>>,
    blocks: Option<MapBefore<ContactIx, Vec<Block>>>,
}

/// Blocks kept for a number; more only if all of them are recent enough to be overlapped by a new leg.
const MAX_BLOCKS: usize = 16;

/// The most calls that are counted as one because they overlap; a further one is counted apart.
const MAX_COUNTED: usize = 256;

/// The span of legs that overlap.
#[derive(Clone, Copy, Debug)]
struct Block {
    start: Timestamp,
    end: Timestamp,
    call: CallIx,
}

impl Block {
    fn overlaps(&self, other: &Self) -> bool {
        let contains = |outer: &Self, at: Timestamp| outer.start < at && at < outer.end;
        match (self.start == self.end, other.start == other.end) {
            (true, _) => contains(other, self.start),
            (false, true) => contains(self, other.start),
            (false, false) => self.start < other.end && other.start < self.end,
        }
    }
}

/// The call of a record.
#[derive(Debug)]
pub struct Joined {
    /// The call.
    pub call: CallIx,
    /// A call that turned out to be the same one: its former index, and what it has besides its legs.
    pub absorbed: Option<Box<(CallIx, Call)>>,
}

impl Index<CallIx> for CallSlots {
    type Output = Call;
    fn index(&self, ix: CallIx) -> &Call {
        &self.calls[ix.position() as usize]
    }
}

impl IndexMut<CallIx> for CallSlots {
    fn index_mut(&mut self, ix: CallIx) -> &mut Call {
        let call = &mut self.calls[ix.position() as usize];
        if let Some(before) = &mut self.before {
            before.calls.entry(ix).or_insert_with(|| call.live.then(|| Box::new(call.clone())));
        }
        call
    }
}

impl Index<CallIx> for Calls {
    type Output = Call;
    fn index(&self, ix: CallIx) -> &Call {
        &self.calls[ix]
    }
}

impl IndexMut<CallIx> for Calls {
    fn index_mut(&mut self, ix: CallIx) -> &mut Call {
        &mut self.calls[ix]
    }
}

impl CallSlots {
    /// A new call.
    fn add(&mut self) -> CallIx {
        let call = self.free.pop().unwrap_or_else(|| {
            self.calls.push(Call::default());
            CallIx::new(self.calls.len() as u32 - 1)
        });
        self[call].live = true;
        call
    }

    /// Frees the index of a call.
    fn free(&mut self, call: CallIx) {
        match &mut self.before {
            Some(before) => before.freed.push(call),
            None => self.free.push(call),
        }
    }

    fn restore(&mut self, before: SlotsBefore) {
        for (ix, call) in before.calls {
            if call.is_none() {
                self.free.push(ix);
            }
            self.calls[ix.position() as usize] = call.map_or_else(Call::default, |call| *call);
        }
    }
}

impl CallsBefore {
    /// Empty before-images, with which [`Calls`] records.
    pub fn empty() -> Self {
        Self {
            slots: Some(SlotsBefore::default()),
            by_id: Some(MapBefore::default()),
            by_session: Some(MapBefore::default()),
            by_leg: Some(MapBefore::default()),
            blocks: Some(MapBefore::default()),
        }
    }

    /// Adds those of later changes.
    pub fn merge(&mut self, later: Self) {
        if let (Some(earlier), Some(later)) = (&mut self.slots, later.slots) {
            for (ix, call) in later.calls {
                earlier.calls.entry(ix).or_insert(call);
            }
            earlier.freed.extend(later.freed);
        }
        merge_maps(&mut self.by_id, later.by_id);
        merge_maps(&mut self.by_session, later.by_session);
        merge_maps(&mut self.by_leg, later.by_leg);
        merge_maps(&mut self.blocks, later.blocks);
    }
}

impl Calls {
    /// Exchanges the before-images: with some it records, without any it does not.
    pub fn swap(&mut self, before: &mut CallsBefore) {
        std::mem::swap(&mut self.calls.before, &mut before.slots);
        self.by_id.swap(&mut before.by_id);
        self.by_session.swap(&mut before.by_session);
        self.by_leg.swap(&mut before.by_leg);
        self.blocks.swap(&mut before.blocks);
    }

    /// Returns to before-images.
    pub fn restore(&mut self, before: CallsBefore) {
        let CallsBefore { slots, by_id, by_session, by_leg, blocks } = before;
        slots.into_iter().for_each(|before| self.calls.restore(before));
        by_id.into_iter().for_each(|before| self.by_id.restore(before));
        by_session.into_iter().for_each(|before| self.by_session.restore(before));
        by_leg.into_iter().for_each(|before| self.by_leg.restore(before));
        blocks.into_iter().for_each(|before| self.blocks.restore(before));
    }

    /// Drops before-images that are not needed any more.
    pub fn keep_changes(&mut self, before: CallsBefore) {
        let freed = before.slots.into_iter().flat_map(|slots| slots.freed);
        self.calls.free.extend(freed);
    }

    /// The call of a record with these ids, created if needed.
    pub fn join(&mut self, id: &CallId, session: Option<&SessionId>) -> Joined {
        let alone = |call| Joined { call, absorbed: None };
        let Some(known) = self.by_id.get(id).copied() else {
            let call = session.and_then(|session| self.by_session.get(session).copied());
            let call = call.unwrap_or_else(|| self.calls.add());
            self.by_id.insert(id.clone(), call);
            session.into_iter().for_each(|session| self.set_session(call, session));
            return alone(call);
        };
        let Some(session) = session.filter(|_| !self[known].session) else { return alone(known) };
        self.leave_counted(known);
        match self.by_session.get(session).copied() {
            None => {
                self.set_session(known, session);
                alone(known)
            }
            Some(call) => {
                let rest = self.absorb(call, known);
                self.by_id.insert(id.clone(), call);
                Joined { call, absorbed: Some(Box::new((known, rest))) }
            }
        }
    }

    /// The call with this session id or call id.
    pub fn find(&self, id: &str) -> Option<CallIx> {
        let by_id = || self.by_id.get(&CallId::from(id)).copied();
        self.by_session.get(&SessionId::from(id)).copied().or_else(by_id)
    }

    /// Adds a leg. `leg_id`: its id at the source.
    pub fn add_leg(&mut self, call: CallIx, leg: Leg, leg_id: Option<&LegId>) {
        if let Some(leg_id) = leg_id {
            self.by_leg.insert(leg_id.clone(), (leg.id.clone(), leg.order));
        }
        if !self[call].session
            && leg.direction == Direction::Inbound
            && let Some(contact) = leg.contact
        {
            self.overlap(contact, Block { start: leg.start, end: leg.end, call });
        }
        self[call].starts.iter_mut().filter(|start| start.id == leg.id).for_each(|start| start.ended = true);
        self[call].extend_to(leg.start);
        self[call].legs.push_short(leg);
        self.changed.push(call);
    }

    /// Whether a leg with this id at the source is known, so that a further record is another version of it.
    pub fn is_version(&self, leg_id: Option<&LegId>) -> bool {
        leg_id.is_some_and(|leg_id| self.by_leg.contains_key(leg_id))
    }

    /// Names the leg of a call by its id at the source, if it has none.
    pub fn name_leg(&mut self, leg_id: &LegId, call: CallIx, position: usize) {
        let leg = &mut self[call].legs[position];
        if !std::mem::replace(&mut leg.has_id, true) {
            let version = (leg.id.clone(), leg.order);
            self.by_leg.insert(leg_id.clone(), version);
        }
    }

    /// Removes the version of a leg that is replaced, with its call.
    pub fn take_leg(&mut self, leg_id: &LegId) -> Option<(CallIx, Leg)> {
        let (id, order) = self.by_leg.get(leg_id)?;
        let (call, order) = (*self.by_id.get(id)?, *order);
        let position = self[call].legs.iter().position(|leg| leg.order == order)?;
        self.leave_counted(call);
        let leg = self[call].legs.remove(position);
        self.rejoin_counted(call);
        Some((call, leg))
    }

    /// Marks the counted call of a call as changed.
    pub fn mark_changed(&mut self, call: CallIx) {
        self.changed.push(call);
    }

    /// The start of the first conversation of the counted call of `call` that became known.
    pub fn conversation(&self, call: CallIx) -> Option<Timestamp> {
        let talks = self.counted_with(call).flat_map(|call| self[call].conversations());
        talks.min_by_key(|leg| leg.order).map(|leg| leg.start)
    }

    /// The calls that are counted together with `call`, which is one of them.
    pub fn counted_with(&self, call: CallIx) -> impl Iterator<Item = CallIx> + Clone {
        let head = self.head(call);
        std::iter::once(head).chain(self[head].counted_with.iter().copied())
    }

    /// Recomputes what the changed counted calls count, and calls `emit` with each difference. Returns all calls of the
    /// changed counted calls.
    pub fn recount(&mut self, mut emit: impl FnMut(Counted, i32)) -> Vec<CallIx> {
        let mut heads: Vec<CallIx> =
            std::mem::take(&mut self.changed).into_iter().map(|call| self.head(call)).collect();
        heads.sort_unstable();
        heads.dedup();
        self.retired.drain(..).for_each(|counted| emit(counted, -1));
        let mut members = Vec::new();
        for head in heads {
            let known = members.len();
            members.extend(self.counted_with(head));
            let counted = Counted::of(members[known..].iter().map(|call| &self[*call]));
            let before = std::mem::replace(&mut self[head].counted, counted);
            if before != counted {
                before.into_iter().for_each(|counted| emit(counted, -1));
                counted.into_iter().for_each(|counted| emit(counted, 1));
            }
        }
        members
    }

    /// Removes the call of a record, before its case is replayed or expired.
    pub fn remove(&mut self, id: &CallId, session: Option<&SessionId>, leg: Option<&LegId>) {
        leg.into_iter().for_each(|leg| drop(self.by_leg.remove(leg)));
        let by_id = self.by_id.remove(id);
        for call in by_id.into_iter().chain(session.and_then(|session| self.by_session.remove(session))) {
            if std::mem::take(&mut self[call]).live {
                self.calls.free(call);
            }
        }
    }

    /// Removes the blocks of a number, before its case is replayed or expired.
    pub fn remove_contact(&mut self, contact: ContactIx) {
        self.blocks.remove(&contact);
    }

    fn set_session(&mut self, call: CallIx, session: &SessionId) {
        self[call].session = true;
        self.by_session.get_or_insert_with(session.clone(), || call);
    }

    /// Moves the legs of a call to another one. Returns what it has besides.
    fn absorb(&mut self, into: CallIx, from: CallIx) -> Call {
        let mut absorbed = std::mem::take(&mut self[from]);
        self.calls.free(from);
        let call = &mut self[into];
        call.starts.append(&mut absorbed.starts);
        call.starts.sort_by_key(|start| start.order);
        call.legs.append(&mut absorbed.legs);
        call.legs.sort_by_key(|leg| leg.order);
        call.extend_to(absorbed.since());
        self.changed.push(into);
        absorbed
    }

    /// The call that holds what a counted call counts.
    fn head(&self, mut call: CallIx) -> CallIx {
        while let Some(next) = self[call].counted_in {
            call = next;
        }
        call
    }

    /// Joins a leg with the blocks of its number that it overlaps.
    fn overlap(&mut self, contact: ContactIx, leg: Block) {
        let Self { calls, blocks, changed, retired, .. } = self;
        let blocks = blocks.get_or_insert_with(contact, Vec::new);
        let mut next = blocks.partition_point(|block| block.end <= leg.start);
        let mut joined = leg;
        while let Some(block) = blocks.get(next).copied().filter(|block| block.start <= leg.end) {
            let overlapping = Some(block).filter(|block| block.overlaps(&leg));
            let Some(call) = overlapping.and_then(|block| join_counted(calls, retired, joined.call, block.call)) else {
                next += 1;
                continue;
            };
            blocks.remove(next);
            changed.push(block.call);
            joined = Block { start: block.start.min(joined.start), end: block.end.max(joined.end), call };
        }
        let position = blocks.partition_point(|block| (block.end, block.start) <= (joined.end, joined.start));
        blocks.insert(position, joined);
        let recent = leg.end.saturating_sub(MAX_LENGTH);
        if blocks.len() > MAX_BLOCKS && blocks.first().is_some_and(|block| block.end <= recent) {
            blocks.retain(|block| block.end > recent);
        }
    }

    /// Divides the counted call of `call`, and counts the others together again where they overlap.
    fn leave_counted(&mut self, call: CallIx) {
        let members: Vec<CallIx> = self.counted_with(call).collect();
        for member in &members {
            let state = &mut self[*member];
            (state.counted_in, state.counted_with) = (None, Vec::new());
            let counted = state.counted.take();
            self.retired.extend(counted);
            self.changed.push(*member);
        }
        let legs = members.iter().flat_map(|member| &self[*member].legs);
        let contacts: BTreeSet<ContactIx> = legs.filter_map(|leg| leg.contact).collect();
        for contact in contacts {
            if let Some(blocks) = self.blocks.get_mut(&contact) {
                blocks.retain(|block| !members.contains(&block.call));
            }
        }
        for member in members.into_iter().filter(|member| *member != call) {
            self.rejoin_counted(member);
        }
    }

    /// Counts a call together with those whose legs its legs overlap.
    fn rejoin_counted(&mut self, call: CallIx) {
        if self[call].session {
            return;
        }
        let inbound = self[call].legs.iter().filter(|leg| leg.direction == Direction::Inbound);
        let legs: Vec<_> = inbound.filter_map(|leg| Some((leg.contact?, leg.start, leg.end))).collect();
        for (contact, start, end) in legs {
            self.overlap(contact, Block { start, end, call });
        }
    }
}

/// Counts two calls together. Returns the call that holds what they count; `None`: they would be too many.
fn join_counted(calls: &mut CallSlots, retired: &mut Vec<Counted>, one: CallIx, other: CallIx) -> Option<CallIx> {
    let head = |calls: &CallSlots, mut call: CallIx| {
        while let Some(next) = calls[call].counted_in {
            call = next;
        }
        call
    };
    let (one, other) = (head(calls, one), head(calls, other));
    if one == other {
        return Some(one);
    }
    let size = |call: CallIx| calls[call].counted_with.len();
    if size(one) + size(other) + 2 > MAX_COUNTED {
        return None;
    }
    let (kept, gone) = if size(one) >= size(other) { (one, other) } else { (other, one) };
    let gone_state = &mut calls[gone];
    retired.extend(gone_state.counted.take());
    let members = std::mem::take(&mut gone_state.counted_with);
    gone_state.counted_in = Some(kept);
    let kept_state = &mut calls[kept];
    kept_state.counted_with.push(gone);
    kept_state.counted_with.extend(members);
    Some(kept)
}
