//! Calls and their legs: which legs were one call, as known at a moment, and the figures that count calls.
//!
//! Legs with one `session_id` are one call, else those with one `call_id`; for settling and counting also inbound legs of
//! one number that overlap and have no session.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Attribution, CallFact, Fact, TenantHistory};
use super::identity::EntityId;
use super::readings;

/// A `call_started`.
#[derive(Clone, Debug)]
pub struct Start {
    pub moment: usize,
    pub at: i64,
    pub call: String,
    pub outbound: bool,
    /// The first of its `call_id`, before any end; others matter for repairs only.
    pub counts: bool,
    pub number: Option<String>,
    pub entities: Vec<EntityId>,
    pub named: Option<EntityId>,
    pub primary: Option<EntityId>,
    /// The event's manager.
    pub manager: Option<String>,
    /// For touches: the event's manager, else the responsible.
    pub actor: Option<String>,
}

/// A `call_ended` that was no duplicate.
#[derive(Clone, Debug)]
pub struct Leg {
    pub moment: usize,
    /// Known until this moment: then another version replaced it.
    pub gone: Option<usize>,
    pub call: String,
    pub leg_id: Option<String>,
    /// It replaced another version.
    pub replaces: bool,
    pub outbound: bool,
    pub number: Option<String>,
    pub start: i64,
    pub end: i64,
    /// When it stopped ringing.
    pub rang_until: i64,
    pub outcome: String,
    pub talk_seconds: f64,
    pub conversation: bool,
    pub manager: Option<String>,
    pub actor: Option<String>,
    pub attribution: Attribution,
    /// The entities that it belongs to, and those that it names, with the moments when this became known.
    pub belongs: Vec<(EntityId, usize)>,
    pub named: Vec<(EntityId, usize)>,
}

impl Leg {
    fn stands(&self, moment: usize) -> bool {
        self.moment <= moment && self.gone.is_none_or(|gone| gone > moment)
    }

    /// An inbound leg that was no conversation.
    pub fn missed(&self) -> bool {
        !self.outbound && !self.conversation
    }

    pub fn belongs_at(&self, moment: usize) -> impl Iterator<Item = &EntityId> {
        self.belongs.iter().filter(move |(_, since)| *since <= moment).map(|(id, _)| id)
    }

    fn overlaps(&self, other: &Leg) -> bool {
        // Legs of length zero overlap only what strictly contains them.
        self.start < other.end && other.start < self.end
    }
}

/// What identifies a call at a moment: its session, else its `call_id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Call(String),
    Session(String),
}

#[derive(Default, Debug)]
pub struct Calls {
    pub starts: Vec<Start>,
    pub legs: Vec<Leg>,
    /// The first session named for a `call_id`, and when.
    sessions: BTreeMap<String, (usize, String)>,
    calls_by_session: BTreeMap<String, BTreeSet<String>>,
    /// The indexes of the starts and legs of a `call_id`, and of the legs of a number.
    starts_by_call: BTreeMap<String, Vec<usize>>,
    legs_by_call: BTreeMap<String, Vec<usize>>,
    legs_by_number: BTreeMap<String, Vec<usize>>,
}

/// One call as known at a moment.
pub struct Group<'a> {
    pub legs: Vec<&'a Leg>,
    pub starts: Vec<&'a Start>,
    /// The starts of legs that have not ended.
    pub ringing: Vec<&'a Start>,
}

impl Calls {
    pub fn name_session(&mut self, call: &str, session: Option<&String>, moment: usize) {
        if let Some(session) = session
            && !self.sessions.contains_key(call)
        {
            self.sessions.insert(call.to_owned(), (moment, session.clone()));
            self.calls_by_session.entry(session.clone()).or_default().insert(call.to_owned());
        }
    }

    pub fn push_start(&mut self, start: Start) {
        self.starts_by_call.entry(start.call.clone()).or_default().push(self.starts.len());
        self.starts.push(start);
    }

    pub fn push_leg(&mut self, leg: Leg) {
        let index = self.legs.len();
        self.legs_by_call.entry(leg.call.clone()).or_default().push(index);
        if let Some(number) = &leg.number {
            self.legs_by_number.entry(number.clone()).or_default().push(index);
        }
        self.legs.push(leg);
    }

    /// The starts of a `call_id`, in order of moments.
    pub fn starts_of(&self, call: &str) -> impl Iterator<Item = &Start> {
        self.starts_by_call.get(call).into_iter().flatten().map(|index| &self.starts[*index])
    }

    /// The legs of a `call_id`, replaced ones too, in order of moments.
    pub fn legs_of(&self, call: &str) -> impl Iterator<Item = &Leg> {
        self.legs_by_call.get(call).into_iter().flatten().map(|index| &self.legs[*index])
    }

    fn legs_of_number(&self, number: &str) -> impl Iterator<Item = &Leg> {
        self.legs_by_number.get(number).into_iter().flatten().map(|index| &self.legs[*index])
    }

    /// The index of the leg that an event reported.
    pub fn leg_of_moment(&self, moment: usize) -> Option<usize> {
        self.legs.binary_search_by_key(&moment, |leg| leg.moment).ok()
    }

    /// The `call_id`s of a call.
    pub fn calls_of<'a>(&'a self, key: &'a Key, moment: usize) -> BTreeSet<&'a str> {
        let calls = match key {
            Key::Call(call) => vec![call],
            Key::Session(session) => self.calls_by_session.get(session).into_iter().flatten().collect(),
        };
        calls.into_iter().map(String::as_str).filter(|call| self.is_of(call, key, moment)).collect()
    }

    pub fn key(&self, call: &str, moment: usize) -> Key {
        match self.sessions.get(call) {
            Some((since, session)) if *since <= moment => Key::Session(session.clone()),
            _ => Key::Call(call.to_owned()),
        }
    }

    fn is_of(&self, call: &str, key: &Key, moment: usize) -> bool {
        match (self.sessions.get(call), key) {
            (Some((since, session)), _) if *since <= moment => matches!(key, Key::Session(own) if own == session),
            (_, Key::Call(own)) => own == call,
            (_, Key::Session(_)) => false,
        }
    }

    pub fn group(&self, key: &Key, moment: usize) -> Group<'_> {
        let ended = |call: &str| self.legs_of(call).any(|leg| leg.moment <= moment);
        let calls = self.calls_of(key, moment);
        let starts = calls.iter().flat_map(|call| self.starts_of(call));
        let mut starts: Vec<&Start> = starts.filter(|start| start.counts && start.moment <= moment).collect();
        starts.sort_by_key(|start| start.moment);
        let legs = calls.iter().flat_map(|call| self.legs_of(call));
        let mut legs: Vec<&Leg> = legs.filter(|leg| leg.stands(moment)).collect();
        legs.sort_by_key(|leg| leg.moment);
        Group { legs, ringing: starts.iter().filter(|start| !ended(&start.call)).copied().collect(), starts }
    }

    /// The legs of the call and of those that overlap it: inbound, of one number, without session; transitive.
    pub fn component(&self, key: &Key, moment: usize) -> (BTreeSet<Key>, Vec<&Leg>) {
        let mut keys = BTreeSet::from([key.clone()]);
        let mut legs: Vec<&Leg> = self.group(key, moment).legs;
        let mut next = 0;
        while next < legs.len() {
            let leg = legs[next];
            next += 1;
            let Some(number) = leg.number.as_ref().filter(|_| !leg.outbound) else { continue };
            if matches!(self.key(&leg.call, moment), Key::Session(_)) {
                continue;
            }
            for other in self.legs_of_number(number) {
                if other.stands(moment) && !other.outbound && leg.overlaps(other) {
                    let key = self.key(&other.call, moment);
                    if matches!(key, Key::Call(_)) && keys.insert(key.clone()) {
                        legs.extend(self.group(&key, moment).legs);
                    }
                }
            }
        }
        (keys, legs)
    }

    /// The keys of all calls with a standing leg of this number.
    pub fn keys_of_number(&self, number: &str, moment: usize) -> BTreeSet<Key> {
        let legs = self.legs_of_number(number).filter(|leg| leg.stands(moment));
        legs.map(|leg| self.key(&leg.call, moment)).collect()
    }

    /// Whether an id is the session or a `call_id` of this call.
    pub fn is_named(&self, key: &Key, id: &str, moment: usize) -> bool {
        let same = |own: &str| super::contacts::message_key(own) == id;
        matches!(key, Key::Session(session) if same(session))
            || self
                .calls_of(key, moment)
                .into_iter()
                .any(|call| same(call) && self.legs_of(call).any(|leg| leg.moment <= moment))
    }

    /// The keys of all calls at a moment.
    pub fn keys(&self, moment: usize) -> BTreeSet<Key> {
        self.keys_since(0, moment)
    }

    /// The keys of the calls with a standing leg or a start reported after `since`.
    pub fn keys_since(&self, since: usize, moment: usize) -> BTreeSet<Key> {
        let legs = &self.legs[self.legs.partition_point(|leg| leg.moment <= since)..];
        let starts = &self.starts[self.starts.partition_point(|start| start.moment <= since)..];
        let ended = legs.iter().filter(|leg| leg.stands(moment)).map(|leg| &leg.call);
        let started = starts.iter().filter(|start| start.moment <= moment).map(|start| &start.call);
        ended.chain(started).map(|call| self.key(call, moment)).collect()
    }

    /// The instant of the `call_started` of a call that ended then.
    pub fn started(&self, call: &str, end: i64) -> Option<i64> {
        let fits = |start: &&Start| start.at < end && end - start.at <= 24 * 3_600_000;
        self.starts_of(call).find(fits).map(|start| start.at)
    }
}

impl<'a> Group<'a> {
    /// The direction of the earliest leg as far as known.
    pub fn outbound(&self) -> bool {
        self.earliest().is_some_and(|(_, _, outbound)| outbound)
    }

    /// Start, moment and direction of the earliest leg.
    pub fn earliest(&self) -> Option<(i64, usize, bool)> {
        let ended = self.legs.iter().map(|leg| (leg.start, leg.moment, leg.outbound));
        let ringing = self.ringing.iter().map(|start| (start.at, start.moment, start.outbound));
        let ringing = ringing.filter(|_| readings::A_STARTED_LEG_COUNTS_FOR_THE_DIRECTION);
        ended.chain(ringing).min_by_key(|(start, moment, _)| (*start, *moment))
    }

    /// From the earliest start of its legs to the latest end of ringing.
    pub fn ring(&self) -> i64 {
        let until = self.legs.iter().map(|leg| leg.rang_until).max();
        until.zip(self.earliest()).map_or(0, |(until, (start, _, _))| until - start)
    }

    /// The earliest missed leg in order of effect that has a number.
    pub fn first_missed(&self) -> Option<&'a Leg> {
        self.legs.iter().copied().filter(|leg| leg.missed() && leg.number.is_some()).min_by_key(|leg| leg.moment)
    }

    pub fn conversations(&self) -> impl Iterator<Item = &'a Leg> {
        self.legs.iter().copied().filter(|leg| leg.conversation)
    }

    /// The outbound `call_started` of a leg, which was the attempt that its end does not repeat.
    pub fn attempt(&self, leg: &Leg) -> Option<&'a Start> {
        let first = self.legs.iter().filter(|other| other.call == leg.call).map(|other| other.moment).min();
        let is_own = first == Some(leg.moment) && readings::THE_END_OF_A_STARTED_CALL_IS_NO_SECOND_ATTEMPT;
        self.starts.iter().copied().find(|start| is_own && start.outbound && start.call == leg.call)
    }

    /// The starts that are known as legs.
    fn started_legs(&self) -> impl Iterator<Item = &'a Start> {
        self.starts.iter().copied().filter(|start| start.outbound || readings::AN_INBOUND_START_BELONGS)
    }

    /// Every number on a leg, and when it became known.
    pub fn numbers(&self) -> BTreeMap<&'a str, usize> {
        let legs = self.legs.iter().filter_map(|leg| Some((leg.number.as_deref()?, leg.moment)));
        let starts = self.started_legs().filter_map(|start| Some((start.number.as_deref()?, start.moment)));
        earliest(legs.chain(starts))
    }

    pub fn entities(&self, moment: usize) -> BTreeSet<&'a EntityId> {
        let of_starts = self.started_legs().flat_map(|start| &start.entities);
        self.legs.iter().flat_map(|leg| leg.belongs_at(moment)).chain(of_starts).collect()
    }

    /// Every entity that a leg names, and when this became known.
    pub fn names(&self, moment: usize) -> BTreeMap<&'a EntityId, usize> {
        let legs = self.legs.iter().flat_map(|leg| &leg.named).filter(|(_, since)| *since <= moment);
        let starts = self.started_legs().filter_map(|start| Some((start.named.as_ref()?, start.moment)));
        earliest(legs.map(|(id, since)| (id, *since)).chain(starts))
    }

    /// The touches that the call makes: of each entity, the earliest (date, moment), and the `call_id` of its leg.
    pub fn touches(&self, moment: usize) -> BTreeMap<EntityId, (i64, usize, String)> {
        let mut touches: BTreeMap<EntityId, (i64, usize, String)> = BTreeMap::new();
        let mut touch = |id: &EntityId, date: i64, moment: usize, call: &str| {
            let new = (date, moment, call.to_owned());
            touches.entry(id.clone()).and_modify(|old| *old = old.clone().min(new.clone())).or_insert(new);
        };
        for start in self.starts.iter().filter(|start| start.outbound) {
            start.entities.iter().for_each(|id| touch(id, start.at, start.moment, &start.call));
        }
        for leg in &self.legs {
            let attempted = |id: &EntityId| self.attempt(leg).is_some_and(|start| start.entities.contains(id));
            // An attempt touches its own entities, a conversation those of every leg.
            let own = leg.belongs_at(moment).filter(|_| leg.outbound);
            let every = self.entities(moment).into_iter().filter(|_| leg.conversation);
            own.chain(every).filter(|id| !attempted(id)).for_each(|id| touch(id, leg.start, leg.moment, &leg.call));
        }
        touches
    }
}

fn earliest<T: Ord>(all: impl Iterator<Item = (T, usize)>) -> BTreeMap<T, usize> {
    let mut earliest = BTreeMap::new();
    all.for_each(|(one, since)| {
        let known = earliest.entry(one).or_insert(since);
        *known = since.min(*known);
    });
    earliest
}

/// Every call with an ended leg, and the touch of every call that makes one, as known at the end of the history.
pub fn facts(history: &TenantHistory) -> (Vec<Fact<CallFact>>, Vec<Fact<()>>) {
    let calls = &history.calls;
    let (mut counted, mut touches) = (Vec::new(), Vec::new());
    let mut done: BTreeSet<Key> = BTreeSet::new();
    for key in calls.keys(usize::MAX) {
        let group = calls.group(&key, usize::MAX);
        let attempts = group.starts.iter().filter(|start| start.outbound);
        let attempts = attempts.map(|start| (start.at, start.moment, &start.actor));
        let legs = group.legs.iter().filter(|leg| (leg.outbound || leg.conversation) && group.attempt(leg).is_none());
        let legs = legs.map(|leg| (leg.start, leg.moment, &leg.actor));
        if let Some((date, _, who)) = attempts.chain(legs).min_by_key(|(date, moment, _)| (*date, *moment)) {
            touches.push(Fact { date, who: who.clone(), value: () });
        }
        if done.contains(&key) {
            continue;
        }
        let (keys, mut legs) = calls.component(&key, usize::MAX);
        let starts: Vec<(i64, usize, bool)> =
            keys.iter().filter_map(|key| calls.group(key, usize::MAX).earliest()).collect();
        done.extend(keys);
        if legs.is_empty() {
            continue;
        }
        legs.sort_by_key(|leg| (leg.start, leg.moment));
        let (date, _, outbound) = *starts.iter().min_by_key(|(start, moment, _)| (*start, *moment)).unwrap();
        let talks: Vec<&&Leg> = legs.iter().filter(|leg| leg.conversation).collect();
        let longest = talks.iter().fold(None::<&Leg>, |longest, leg| match longest {
            Some(longest) if longest.talk_seconds >= leg.talk_seconds => Some(longest),
            _ => Some(leg),
        });
        let who = longest
            .and_then(|leg| leg.manager.clone())
            .or_else(|| legs.iter().find_map(|leg| leg.manager.clone()))
            .or_else(|| legs.iter().find_map(|leg| leg.actor.clone()));
        let talk_seconds = talks.iter().map(|leg| leg.talk_seconds).sum();
        counted.push(Fact { date, who, value: CallFact { outbound, conversation: !talks.is_empty(), talk_seconds } });
    }
    (counted, touches)
}
