//! Owns the cases of a tenant: groups of linked leads, deals, contacts, calls and threads, each with its event log.
//!
//! A case is a connected component: an event links everything it names. The state of a case depends only on its log
//! (and on the managers at the time, the norms and the clock), so a late event is inserted into the log and the case is
//! replayed. Members are identified by hashes with a seed of the process; a collision merges two cases, which costs time and
//! changes no result.
//!
//! Events without members (manager records and reviews) are kept outside the cases.

use crate::domain::alert::Alert;
use crate::domain::event::{CrmPayload, Direction, EventOrder, Payload};
use crate::domain::id::{EntityId, EntityKind, reply_key};
use crate::domain::identity::{self, Country, LastNumber};
use crate::domain::mem::chunked_arena::ChunkedArena;
use crate::domain::mem::seeded;
use crate::domain::tenant::event_log::Log;
use crate::domain::tenant::undo_log::UndoLog;
use crate::domain::time::Timestamp;
use rustc_hash::FxHashMap;
use std::hash::{Hash, Hasher};

#[derive(Debug, Default)]
pub(super) struct Cases {
    by_key: FxHashMap<CaseKey, u32>,
    cases: ChunkedArena<Case>,
    /// Number of cases with a log.
    with_log: usize,
    /// Number of cases with an undo log.
    with_undo_log: usize,
    /// Events without a case.
    loose: Vec<Entry>,
    /// How many of them were kept when they were looked at last.
    loose_kept: usize,
    /// How often events went from one case to another.
    version: u64,
}

#[derive(Debug)]
struct Case {
    /// The case that this one was merged into, or its own index (union-find).
    parent: u32,
    /// Number of events in the log.
    count: u32,
    /// Event time of the latest event.
    last: Timestamp,
    log: Log,
    /// What its last events have changed, if it has many.
    undo: Option<Box<UndoLog>>,
}

impl Case {
    const fn new(ix: u32) -> Self {
        Self { parent: ix, count: 0, last: Timestamp::MIN, log: Log::EMPTY, undo: None }
    }

    /// Its events, in no order.
    fn events(&self) -> impl Iterator<Item = (EventOrder, &[u8])> {
        let absorbed = self.undo.iter().flat_map(|undo| undo.logs());
        absorbed.chain([&self.log]).flat_map(Log::iter)
    }
}

/// The hash of a case member, split so that a map entry with a `u32` value needs no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CaseKey([u32; 2]);

impl From<u64> for CaseKey {
    fn from(key: u64) -> Self {
        Self([(key >> 32) as u32, key as u32])
    }
}

impl Hash for CaseKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.0[0]) << 32 | u64::from(self.0[1]));
    }
}

/// An applied event, taken from a log.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its position in event order.
    pub order: EventOrder,
    /// The encoded payload; most payloads are never decoded again.
    pub packed: Box<[u8]>,
}

/// Something that links events into a case.
#[derive(Hash)]
enum CaseMember<'a> {
    Entity(EntityKind, &'a str),
    Contact(&'a str),
    Call(&'a str),
    Session(&'a str),
    Leg(&'a str),
    Thread(&'a str),
    Message(&'a str),
}

impl CaseMember<'_> {
    fn key(&self) -> u64 {
        seeded::hash(self)
    }
}

/// Computes the keys of the case members that an event names; none for manager records and reviews. An interaction with
/// an ignored contact concerns no entity and no contact.
pub(super) fn keys(payload: &Payload, country: Country, ignored: bool, number: &mut LastNumber, into: &mut Vec<u64>) {
    into.clear();
    if !ignored {
        payload.each_entity(|kind, id| into.push(CaseMember::Entity(kind, id).key()));
    }
    match payload {
        Payload::Call(call) => {
            into.push(CaseMember::Call(reply_key(call.id.as_str())).key());
            into.extend(call.session.as_ref().map(|session| CaseMember::Session(reply_key(session.as_str())).key()));
            let leg = call.end.as_ref().and_then(|end| end.leg.as_ref());
            into.extend(leg.map(|leg| CaseMember::Leg(leg.as_str()).key()));
        }
        Payload::Message(message) => {
            into.extend(message.thread.as_ref().map(|thread| CaseMember::Thread(thread.as_str()).key()));
            let linked = match message.direction {
                Direction::Inbound => Some(&message.id),
                Direction::Outbound => message.in_reply_to.as_ref(),
            };
            into.extend(linked.map(|id| CaseMember::Message(id.reply_key()).key()));
        }
        Payload::Crm(payload) => {
            if let CrmPayload::InteractionDismissed { interaction, .. } = &**payload {
                let id = reply_key(interaction);
                let members = [CaseMember::Call(id), CaseMember::Session(id), CaseMember::Message(id)];
                into.extend(members.iter().map(CaseMember::key));
            }
        }
    }
    if ignored {
        return;
    }
    if let Payload::Call(call) = payload {
        return into.extend(number.phones(&call.phone, country).map(|form| CaseMember::Contact(form).key()));
    }
    payload.each_contact(|contact| {
        into.extend(identity::normal_forms(contact, country).map(|form| CaseMember::Contact(&form).key()));
    });
}

impl Cases {
    /// Merges the cases of all keys and returns the result; `None` without keys.
    pub(super) fn join(&mut self, keys: &[u64]) -> Option<u32> {
        let mut joined: Option<u32> = None;
        for key in keys {
            let next = self.cases.len() as u32;
            let ix = *self.by_key.entry((*key).into()).or_insert_with(|| joined.unwrap_or(next));
            if ix == next {
                self.cases.push(Case::new(next));
            }
            let root = self.root(ix);
            joined = Some(joined.map_or(root, |other| self.merge(other, root)));
        }
        joined
    }

    /// The case that `ix` was merged into.
    pub(super) fn root(&mut self, mut ix: u32) -> u32 {
        while self.cases[ix].parent != ix {
            let parent = self.cases[ix].parent;
            self.cases[ix].parent = self.cases[parent].parent;
            ix = parent;
        }
        ix
    }

    /// Adds an event to the log of a case, or to the events without a case. Returns `true` if it is the first of its
    /// case.
    pub(super) fn log(&mut self, case: Option<u32>, order: EventOrder, packed: &[u8]) -> bool {
        let Some(case) = case else {
            self.loose.push(Entry { order, packed: packed.into() });
            return false;
        };
        let Case { log, last, count, .. } = &mut self.cases[case];
        *last = order.at.max(*last);
        *count += 1;
        log.push(order, packed);
        let first = *count == 1;
        self.with_log += usize::from(first);
        first
    }

    /// The case of an entity.
    pub(super) fn of_entity(&self, entity: &EntityId) -> Option<u32> {
        self.of_key(CaseMember::Entity(entity.kind, &entity.id).key())
    }

    /// The case of a contact.
    pub(super) fn of_contact(&self, normalized: &str) -> Option<u32> {
        self.of_key(CaseMember::Contact(normalized).key())
    }

    fn of_key(&self, key: u64) -> Option<u32> {
        let mut ix = *self.by_key.get(&key.into())?;
        while self.cases[ix].parent != ix {
            ix = self.cases[ix].parent;
        }
        Some(ix)
    }

    /// The different cases of keys, as far as they have events.
    pub(super) fn of_keys(&self, keys: &[u64]) -> Vec<u32> {
        let mut cases: Vec<u32> = keys.iter().filter_map(|key| self.of_key(*key)).collect();
        cases.sort_unstable();
        cases.dedup();
        cases.retain(|case| self.cases[*case].count > 0);
        cases
    }

    /// Whether [`Self::of_keys`] finds at most one case.
    pub(super) fn have_at_most_one(&self, keys: &[u64]) -> bool {
        let cases = || keys.iter().filter_map(|key| self.of_key(*key)).filter(|case| self.cases[*case].count > 0);
        keys.len() < 2 || cases().next().is_none_or(|first| cases().all(|case| case == first))
    }

    /// The events of a case, in no order.
    pub(super) fn events(&self, case: u32) -> impl Iterator<Item = (EventOrder, &[u8])> {
        self.cases[case].events()
    }

    /// The events of a case, in event order.
    pub(super) fn entries(&self, case: u32) -> Vec<Entry> {
        sorted(self.events(case))
    }

    /// The number of events of a case.
    pub(super) fn count(&self, case: u32) -> usize {
        self.cases[case].count as usize
    }

    /// The length in bytes of the log of a case.
    pub(super) fn log_length(&self, case: u32) -> usize {
        self.cases[case].log.length()
    }

    /// Whether a case has an undo log.
    pub(super) fn has_undo_logs(&self) -> bool {
        self.with_undo_log > 0
    }

    /// The undo log of a case.
    pub(super) fn undo_log(&mut self, case: u32) -> Option<&mut UndoLog> {
        self.cases[case].undo.as_deref_mut()
    }

    /// The cases with an undo log.
    pub(super) fn with_undo_logs(&self) -> Vec<u32> {
        let all = self.cases.iter().enumerate();
        all.filter(|(_, case)| case.undo.is_some()).map(|(ix, _)| ix as u32).collect()
    }

    /// Takes the undo log of a case.
    pub(super) fn take_undo_log(&mut self, case: u32) -> Option<Box<UndoLog>> {
        let undo = self.cases[case].undo.take();
        self.with_undo_log -= usize::from(undo.is_some());
        undo
    }

    /// Sets the undo log of a case, which has none.
    pub(super) fn set_undo_log(&mut self, case: u32, undo: Box<UndoLog>) {
        self.cases[case].undo = Some(undo);
        self.with_undo_log += 1;
    }

    /// Adds events to the log of a case that its undo log kept apart; they are counted already.
    pub(super) fn append(&mut self, case: u32, logs: Vec<Log>) {
        logs.into_iter().for_each(|log| self.cases[case].log.append(log));
    }

    /// Merges a case that has no undo log into one that has, at an event or late event of `date`.
    pub(super) fn absorb(&mut self, kept: u32, gone: u32, date: Timestamp, statuses: Vec<Alert>) {
        let (log, count, last) = self.redirect(gone, kept);
        let into = &mut self.cases[kept];
        into.count += count;
        into.last = last.max(into.last);
        if let Some(undo) = &mut into.undo {
            undo.absorb(date, log, statuses);
        }
    }

    /// Takes the events that were added to the log of a case since it had this length, and those of `absorbed`, in event
    /// order.
    pub(super) fn take_since(&mut self, case: u32, length: usize, absorbed: Vec<Log>) -> Vec<Entry> {
        let Case { log, count, .. } = &mut self.cases[case];
        let mut taken = log.split_off(length);
        absorbed.into_iter().for_each(|log| taken.append(log));
        let entries = sorted(taken.iter());
        let had_log = *count > 0;
        *count -= entries.len() as u32;
        self.with_log -= usize::from(had_log && *count == 0);
        entries
    }

    /// Takes the log of a case that has no undo log, in event order.
    pub(super) fn take_log(&mut self, case: u32) -> Vec<Entry> {
        let entries = self.entries(case);
        self.remove_log(case);
        entries
    }

    /// Removes the log of a case that has no undo log.
    pub(super) fn remove_log(&mut self, case: u32) {
        let Case { log, count, last, .. } = &mut self.cases[case];
        (*log, *last) = (Log::EMPTY, Timestamp::MIN);
        self.with_log -= usize::from(std::mem::take(count) > 0);
    }

    /// The cases with events.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> {
        let indexed = self.cases.iter().enumerate();
        indexed.filter(|(_, case)| case.count > 0).map(|(ix, _)| ix as u32)
    }

    /// Event time of the latest event of a case; `None` if the case was merged into another or expired.
    pub(super) fn last_event_at(&self, case: u32) -> Option<Timestamp> {
        let found = self.cases.get(case)?;
        (found.parent == case && found.count > 0).then_some(found.last)
    }

    /// The first case from `next` on that has events.
    pub(super) fn next_with_events(&self, next: u32) -> Option<u32> {
        (next..self.cases.len() as u32).find(|case| self.cases[*case].count > 0)
    }

    /// How often events went from one case to another.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The events without a case, in no order.
    pub(super) fn loose(&self) -> impl Iterator<Item = (EventOrder, &[u8])> {
        self.loose.iter().map(|entry| (entry.order, &*entry.packed))
    }

    /// Whether no case has a log.
    pub(super) fn is_empty(&self) -> bool {
        self.with_log == 0
    }

    /// Removes and returns the events without a case that are `obsolete`.
    pub(super) fn take_loose(&mut self, obsolete: impl FnMut(&mut Entry) -> bool) -> Vec<Entry> {
        let taken = self.loose.extract_if(.., obsolete).collect();
        self.loose_kept = self.loose.len();
        taken
    }

    /// Whether there are twice as many events without a case as were kept when they were looked at last. To look at them
    /// only then costs each event the same.
    pub(super) fn has_many_loose(&self) -> bool {
        self.loose.len() > 2 * self.loose_kept
    }

    /// Removes the keys of a case whose log was taken.
    pub(super) fn remove_keys(&mut self, keys: impl IntoIterator<Item = u64>) {
        for key in keys {
            self.by_key.remove(&key.into());
        }
    }

    /// Reclaims the slots of merged and expired cases, once they are the majority. Calls `moved` with the old and the
    /// new index of each remaining case.
    pub(super) fn compact(&mut self, mut moved: impl FnMut(u32, u32)) -> bool {
        if self.cases.len() < 1024 || self.cases.len() < 2 * self.with_log {
            return false;
        }
        self.version += 1;
        let roots: Vec<u32> = (0..self.cases.len() as u32).map(|case| self.root(case)).collect();
        let mut new_ix = vec![u32::MAX; self.cases.len()];
        let mut kept = ChunkedArena::default();
        for (ix, case) in std::mem::take(&mut self.cases).into_iter().enumerate() {
            if case.parent as usize == ix && case.count > 0 {
                let next = kept.len() as u32;
                new_ix[ix] = next;
                moved(ix as u32, next);
                kept.push(Case { parent: next, ..case });
            }
        }
        self.by_key.retain(|_, ix| {
            *ix = new_ix[roots[*ix as usize] as usize];
            *ix != u32::MAX
        });
        self.by_key.shrink_to_fit();
        self.cases = kept;
        true
    }

    /// Merges two cases: the smaller log is appended to the larger one, so events are rarely copied.
    fn merge(&mut self, one: u32, other: u32) -> u32 {
        if one == other {
            return one;
        }
        let size = |case: u32| self.cases[case].count;
        let (kept, gone) = if size(one) >= size(other) { (one, other) } else { (other, one) };
        let (log, count, last) = self.redirect(gone, kept);
        let into = &mut self.cases[kept];
        into.log.append(log);
        into.count += count;
        into.last = last.max(into.last);
        kept
    }

    /// Lets a case be found in place of another one. Returns the log, the number of events and the last date of the other.
    fn redirect(&mut self, gone: u32, kept: u32) -> (Log, u32, Timestamp) {
        self.version += 1;
        let Case { log, count, last, parent, .. } = &mut self.cases[gone];
        *parent = kept;
        let taken = (std::mem::take(log), std::mem::take(count), *last);
        self.with_log -= usize::from(taken.1 > 0 && self.cases[kept].count > 0);
        taken
    }
}

/// Events in event order.
fn sorted<'a>(events: impl Iterator<Item = (EventOrder, &'a [u8])>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = events.map(|(order, packed)| Entry { order, packed: packed.into() }).collect();
    entries.sort_by_key(|entry| entry.order);
    entries
}
