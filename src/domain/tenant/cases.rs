//! Owns the cases of a tenant: which leads, deals, contacts, calls and threads have to do with each other, and the log of
//! all events about them.
//!
//! A case is a connected component: two things that one event names belong together from then on. What a case is like
//! follows from its log alone (and from the managers of then, the norms and the clock), so a late event is put into its
//! place in the log and the case is played again. Things are known by hashes; two that collide share a case, which costs
//! time and changes nothing.
//!
//! Events that name nothing of the kind (about managers, and reviews) are kept beside the cases.

use super::super::chunked_arena::ChunkedArena;
use super::super::event::{CrmPayload, Direction, EventOrder, Payload};
use super::super::id::{EntityId, EntityKind, ManagerId};
use super::super::identity::{self, Country};
use super::super::time::Timestamp;
use super::event_log::Log;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};

/// The cases of one tenant.
#[derive(Debug, Default)]
pub(super) struct Cases {
    by_key: FxHashMap<CaseKey, u32>,
    cases: ChunkedArena<Case>,
    /// How many cases have a log.
    alive: usize,
    /// Events of no case.
    loose: Vec<Entry>,
}

#[derive(Debug)]
struct Case {
    /// The case that it became part of; its own number, if none.
    parent: u32,
    /// How many events its log has.
    count: u32,
    /// The latest event.
    last: Timestamp,
    log: Log,
}

/// The hash of what an event named, in halves: so a number has its place beside it without a gap.
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

/// An event that took effect, taken out of its log.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its place in the order of effect.
    pub order: EventOrder,
    /// What happened, packed: most of it is never looked at again.
    pub packed: Box<[u8]>,
}

/// What an event can name.
#[derive(Hash)]
enum Thing<'a> {
    Entity(EntityKind, &'a str),
    Contact(&'a str),
    Call(&'a str),
    Thread(&'a str),
    Message(&'a str),
}

impl Thing<'_> {
    fn key(&self) -> u64 {
        let mut hasher = FxHasher::default();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// The keys of all that an event names; none for events about managers and reviews, which no case is made of.
pub(super) fn keys(payload: &Payload, country: Country, into: &mut Vec<u64>) {
    into.clear();
    payload.each_entity(|kind, id| into.push(Thing::Entity(kind, id).key()));
    match payload {
        Payload::Crm(_) => {}
        Payload::Call(call) => into.push(Thing::Call(call.id.as_str()).key()),
        Payload::Message(message) => {
            into.extend(message.thread.as_ref().map(|thread| Thing::Thread(thread.as_str()).key()));
            let linked = match message.direction {
                Direction::Inbound => Some(&message.id),
                Direction::Outbound => message.in_reply_to.as_ref(),
            };
            into.extend(linked.map(|id| Thing::Message(id.as_str()).key()));
        }
    }
    payload.each_contact(|contact| {
        into.extend(identity::normal_form(contact, country).map(|form| Thing::Contact(&form).key()));
    });
}

/// Whether an event names a manager.
pub(super) fn names(payload: &Payload, manager: &ManagerId) -> bool {
    let named = match payload {
        Payload::Crm(payload) => match &**payload {
            CrmPayload::LeadCreated(created) | CrmPayload::DealCreated(created) => created.manager.as_ref(),
            CrmPayload::Snapshot(snapshot) => snapshot.manager.as_ref(),
            CrmPayload::Assigned { manager, .. } => Some(manager),
            CrmPayload::TermsOffered(terms) => terms.manager.as_ref(),
            CrmPayload::ActivityCompleted { manager, .. } => manager.as_ref(),
            _ => None,
        },
        Payload::Call(call) => call.manager.as_ref(),
        Payload::Message(message) => message.manager.as_ref(),
    };
    named == Some(manager)
}

impl Cases {
    /// The case that all these keys belong to from now on; `None` without keys.
    pub(super) fn join(&mut self, keys: &[u64]) -> Option<u32> {
        let mut joined: Option<u32> = None;
        for key in keys {
            let next = self.cases.len() as u32;
            let number = *self.by_key.entry((*key).into()).or_insert_with(|| joined.unwrap_or(next));
            if number == next {
                self.cases.push(Case { parent: next, count: 0, last: Timestamp::MIN, log: Log::default() });
            }
            let root = self.root(number);
            joined = Some(joined.map_or(root, |other| self.unite(other, root)));
        }
        joined
    }

    /// The case that a case became part of.
    pub(super) fn root(&mut self, mut number: u32) -> u32 {
        while self.cases[number].parent != number {
            let parent = self.cases[number].parent;
            self.cases[number].parent = self.cases[parent].parent;
            number = parent;
        }
        number
    }

    /// Adds an event to the log of a case, or to those of none. `true`: it is the first one of its case.
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
        self.alive += usize::from(first);
        first
    }

    /// The log of the case that an entity belongs to.
    pub(super) fn log_of(&self, entity: &EntityId) -> Option<&Log> {
        let mut number = *self.by_key.get(&Thing::Entity(entity.kind, &entity.id).key().into())?;
        while self.cases[number].parent != number {
            number = self.cases[number].parent;
        }
        Some(&self.cases[number].log)
    }

    /// Takes the log of a case out, in order of effect.
    pub(super) fn take(&mut self, case: u32) -> Vec<Entry> {
        let Case { log, count, .. } = &mut self.cases[case];
        let log = std::mem::take(log);
        self.alive -= usize::from(std::mem::take(count) > 0);
        let entry = |(order, packed): (EventOrder, &[u8])| Entry { order, packed: packed.into() };
        let mut entries: Vec<Entry> = log.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.order);
        entries
    }

    /// Puts a log back. `true`: it is the first one of its case.
    pub(super) fn put(&mut self, case: u32, entries: Vec<Entry>) -> bool {
        let Case { log, last, count, .. } = &mut self.cases[case];
        self.alive += usize::from(!entries.is_empty());
        let first = *last == Timestamp::MIN && !entries.is_empty();
        *last = entries.iter().map(|entry| entry.order.at).max().unwrap_or(*last);
        *count = entries.len() as u32;
        *log = Log::default();
        entries.iter().for_each(|entry| log.push(entry.order, &entry.packed));
        first
    }

    /// The cases whose log fits.
    pub(super) fn which(&self, fits: impl Fn(&Log) -> bool) -> impl Iterator<Item = u32> {
        let numbered = self.cases.iter().enumerate();
        numbered.filter(move |(_, case)| case.count > 0 && fits(&case.log)).map(|(number, _)| number as u32)
    }

    /// The latest event of a case; `None`: it became part of another, or is forgotten.
    pub(super) fn last(&self, case: u32) -> Option<Timestamp> {
        let found = self.cases.get(case)?;
        (found.parent == case && found.count > 0).then_some(found.last)
    }

    /// Takes the events of no case out for which `over` says so.
    pub(super) fn take_loose(&mut self, over: impl FnMut(&mut Entry) -> bool) -> Vec<Entry> {
        self.loose.extract_if(.., over).collect()
    }

    /// Forgets a case whose log was taken, and the keys that were in it.
    pub(super) fn forget(&mut self, keys: impl IntoIterator<Item = u64>) {
        for key in keys {
            self.by_key.remove(&key.into());
        }
    }

    /// Gives the places of cases that are no more to others, once they are most of them: `moved` hears of each that
    /// has another number now.
    pub(super) fn compact(&mut self, mut moved: impl FnMut(u32, u32)) -> bool {
        if self.cases.len() < 1024 || self.cases.len() < 2 * self.alive {
            return false;
        }
        let roots: Vec<u32> = (0..self.cases.len() as u32).map(|case| self.root(case)).collect();
        let mut numbers = vec![u32::MAX; self.cases.len()];
        let mut kept = ChunkedArena::default();
        for (number, case) in std::mem::take(&mut self.cases).into_iter().enumerate() {
            if case.parent as usize == number && case.count > 0 {
                let next = kept.len() as u32;
                numbers[number] = next;
                moved(number as u32, next);
                kept.push(Case { parent: next, ..case });
            }
        }
        self.by_key.retain(|_, number| {
            *number = numbers[roots[*number as usize] as usize];
            *number != u32::MAX
        });
        self.by_key.shrink_to_fit();
        self.cases = kept;
        true
    }

    /// The larger log takes in the smaller, so that an event moves seldom.
    fn unite(&mut self, one: u32, other: u32) -> u32 {
        if one == other {
            return one;
        }
        let size = |case: u32| self.cases[case].count;
        let (kept, gone) = if size(one) >= size(other) { (one, other) } else { (other, one) };
        let Case { log, count, last, parent } = &mut self.cases[gone];
        *parent = kept;
        let (log, count, last) = (std::mem::take(log), std::mem::take(count), *last);
        let into = &mut self.cases[kept];
        self.alive -= usize::from(count > 0 && into.count > 0);
        into.log.append(log);
        into.count += count;
        into.last = last.max(into.last);
        kept
    }
}
