//! Owns the cases of a tenant: which leads, deals, contacts, calls and threads have to do with each other, and the log of
//! all events about them.
//!
//! A case is a connected component: two things that one event names belong together from then on. What a case is like
//! follows from its log alone (and from the managers of then, the norms and the clock), so a late event is put into its
//! place in the log and the case is played again. Things are known by hashes; two that collide share a case, which costs
//! time and changes nothing.

use super::super::event::{CrmPayload, Direction, Payload, Turn};
use super::super::id::{EntityKind, ManagerId};
use super::super::identity::{self, Country};
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};

/// The cases of one tenant.
#[derive(Debug, Default)]
pub(super) struct Cases {
    by_key: FxHashMap<u64, u32>,
    cases: Vec<Case>,
}

#[derive(Debug)]
struct Case {
    /// The case that it became part of; its own number, if none.
    parent: u32,
    log: Vec<Entry>,
}

/// An event that took effect.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its place in the order of effect.
    pub turn: Turn,
    /// What happened.
    pub payload: Payload,
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
            let number = *self.by_key.entry(*key).or_insert_with(|| joined.unwrap_or(next));
            if number == next {
                self.cases.push(Case { parent: next, log: Vec::new() });
            }
            let root = self.root(number);
            joined = Some(joined.map_or(root, |other| self.unite(other, root)));
        }
        joined
    }

    /// The case that a case became part of.
    pub(super) fn root(&mut self, mut number: u32) -> u32 {
        while self.cases[number as usize].parent != number {
            let parent = self.cases[number as usize].parent;
            self.cases[number as usize].parent = self.cases[parent as usize].parent;
            number = parent;
        }
        number
    }

    /// Adds an event to the log of a case.
    pub(super) fn log(&mut self, case: u32, entry: Entry) {
        let log = &mut self.cases[case as usize].log;
        if log.is_empty() {
            // Many cases have one event.
            log.reserve_exact(1);
        }
        log.push(entry);
    }

    /// Takes the log of a case out, in order of effect.
    pub(super) fn take(&mut self, case: u32) -> Vec<Entry> {
        let mut log = std::mem::take(&mut self.cases[case as usize].log);
        log.sort_by_key(|entry| entry.turn);
        log
    }

    /// Puts a log back.
    pub(super) fn put(&mut self, case: u32, log: Vec<Entry>) {
        self.cases[case as usize].log = log;
    }

    /// The cases whose log fits.
    pub(super) fn which(&self, fits: impl Fn(&[Entry]) -> bool) -> impl Iterator<Item = u32> {
        let numbered = self.cases.iter().enumerate();
        numbered.filter(move |(_, case)| !case.log.is_empty() && fits(&case.log)).map(|(number, _)| number as u32)
    }

    /// The larger log takes in the smaller, so that an event moves seldom.
    fn unite(&mut self, one: u32, other: u32) -> u32 {
        if one == other {
            return one;
        }
        let size = |case: u32| self.cases[case as usize].log.len();
        let (kept, gone) = if size(one) >= size(other) { (one, other) } else { (other, one) };
        let mut log = std::mem::take(&mut self.cases[gone as usize].log);
        self.cases[kept as usize].log.append(&mut log);
        self.cases[gone as usize].parent = kept;
        kept
    }
}
