//! Owns what a call is: its legs, as the telephone system reports them, and what follows from all of them.
//!
//! One caller who rings five phones is one call, although the exchange reports five records. Records with one session id
//! are **legs** of one call; without a session id, those with one call id are. Which records belong together is decided
//! in [`registry`].
//!
//! Everything that a call counts is derived from the legs that are known: its date and direction are those of its earliest
//! leg, it is a conversation if one of its legs is, and its talk time is the sum over its conversations. So a leg that is
//! reported late, or replaced, moves the figures, and needs no code of its own.
//!
//! A **counted call** can consist of several calls: without sessions, inbound legs of one number that overlap in time are
//! counted once, and a conversation in one of them answers the others.

pub mod registry;

use crate::domain::event::{AnsweredBy, CallOutcome, Direction, Position};
use crate::domain::id::CallId;
use crate::domain::index::{CallIx, ContactIx, JourneyIx, ManagerIx};
use crate::domain::mem::short::Short;
use crate::domain::mem::small_index_vec::SmallIndexVec;
use crate::domain::time::{Span, Timestamp};

/// The longest plausible call. An earlier start is taken for an error of the source.
pub const MAX_LENGTH: Span = Span(24 * Span::HOUR.0);

/// A leg that has ended.
#[derive(Clone, Debug)]
pub struct Leg {
    /// The id that its record has.
    pub id: CallId,
    /// The position of its event.
    pub order: Position,
    /// When it started.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// When it stopped ringing.
    pub rang_until: Timestamp,
    /// Inbound or outbound.
    pub direction: Direction,
    /// The outcome.
    pub outcome: CallOutcome,
    /// Talk time.
    pub talk: Span,
    /// Whether a customer and a manager talked.
    pub conversation: bool,
    /// Whether the source has named a recording.
    pub recorded: bool,
    /// Whether the source has an id for it.
    pub has_id: bool,
    /// The manager that it names.
    pub manager: ManagerIx,
    /// The manager who was responsible for its primary entity when it became known.
    pub responsible: ManagerIx,
    /// The number, if it has a normal form.
    pub contact: Option<ContactIx>,
    /// The entity that it names.
    pub named: Option<JourneyIx>,
    /// The primary entity.
    pub primary: Option<JourneyIx>,
    /// The entities that it belongs to.
    pub entities: SmallIndexVec<JourneyIx>,
}

/// A leg that has started, or has been dialled.
#[derive(Clone, Debug)]
pub struct Start {
    /// The id that its record has.
    pub id: CallId,
    /// The position of its event.
    pub order: Position,
    /// When.
    pub at: Timestamp,
    /// Inbound or outbound.
    pub direction: Direction,
    /// The manager that it names, else the responsible one.
    pub who: ManagerIx,
    /// The number, if it has a normal form.
    pub contact: Option<ContactIx>,
    /// The entity that it names.
    pub named: Option<JourneyIx>,
    /// The entities that it belongs to.
    pub entities: SmallIndexVec<JourneyIx>,
    /// Whether a leg with its id has ended.
    pub ended: bool,
}

/// The most legs of a call that are conversations, and the most that are not: what the call counts is derived from all of
/// them at each further one. A call that rings at all telephones of a department has one for each.
const MAX_LEGS: usize = 256;

/// A call: one session, or one call id without a session.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Whether the slot is in use.
    live: bool,
    /// Whether the source names the session.
    session: bool,
    /// Its starts, in the order of effect.
    pub starts: Vec<Start>,
    /// The date of its first act, replaced legs included.
    since: Option<Timestamp>,
    /// Its legs that have ended, in the order of effect.
    pub legs: Vec<Leg>,
    /// Another call that it is counted with, towards the one that holds `counted_with` and `counted`.
    counted_in: Option<CallIx>,
    /// The other calls of the counted call.
    counted_with: Vec<CallIx>,
    /// What the counted call counts at present.
    counted: Option<Counted>,
    /// The touch that it counts at present, and for which manager.
    pub touch: Option<(Timestamp, ManagerIx)>,
    /// The touches and conversations that its entities have from it at present.
    pub reached: Vec<Reached>,
    /// The demand for a reply that it has opened.
    pub demand: Option<CallDemand>,
    /// Missed legs before this position open no demand: the call turned out to need no reply.
    pub missed_from: Position,
    /// The manager of a dismissal that came before the demand; it takes effect with the demand.
    pub dismissed_early: Option<ManagerIx>,
}

/// What a counted call counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The start of its earliest leg.
    pub at: Timestamp,
    /// The manager.
    pub who: ManagerIx,
    /// The direction of its earliest leg.
    pub direction: Direction,
    /// Whether it is a conversation.
    pub answered: bool,
    /// Talk time of its conversations.
    pub talk: Span,
}

/// What an entity has from a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The entity.
    pub entity: JourneyIx,
    /// The date of the touch.
    pub touch: Timestamp,
    /// The manager of the leg that makes it.
    pub who: ManagerIx,
    /// The start of the first conversation.
    pub talk: Option<Timestamp>,
}

/// The demand that a missed leg opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallDemand {
    /// The contact that called.
    pub contact: ContactIx,
    /// The end of the leg, and the position of its event.
    pub key: (Timestamp, Position),
    /// The position of the version of the leg that stands now.
    pub leg: Position,
    /// Whether the call turned out to need no reply.
    pub withdrawn: bool,
}

impl Leg {
    /// When a leg stops ringing: at its end, or when a machine answers it. Waiting in a queue is ringing.
    pub fn rang_until(
        end: Timestamp,
        answered_at: Option<Timestamp>,
        answered_by: Option<AnsweredBy>,
        outcome: CallOutcome,
    ) -> Timestamp {
        let machine =
            matches!(answered_by, Some(AnsweredBy::Ivr | AnsweredBy::Voicemail)) || outcome == CallOutcome::Voicemail;
        let plausible = |answered: &Timestamp| *answered <= end && end - *answered <= MAX_LENGTH;
        answered_at.filter(|answered| machine && plausible(answered)).unwrap_or(end)
    }

    /// Whether a record repeats this leg. Such a record only fills what was absent.
    pub fn repeats(&self, other: &Self) -> bool {
        (&self.id, self.start, self.end, self.outcome, self.talk, self.manager)
            == (&other.id, other.start, other.end, other.outcome, other.talk, other.manager)
    }

    /// The position by which the earliest leg is found.
    fn position(&self) -> (Timestamp, Position) {
        (self.start, self.order)
    }

    /// The manager that it names, else the responsible one.
    pub fn who(&self) -> ManagerIx {
        self.manager.or(self.responsible)
    }

    /// Whether it was missed by a customer with a usable number.
    pub fn missed(&self) -> bool {
        self.direction == Direction::Inbound && !self.conversation && self.contact.is_some()
    }

    fn touches(&self) -> bool {
        self.conversation || self.direction == Direction::Outbound
    }
}

impl Call {
    /// The start, position and direction of the earliest leg known, whether it has ended or not.
    fn earliest(&self) -> Option<(Timestamp, Position, Direction)> {
        let ended = self.legs.iter().map(|leg| (leg.start, leg.order, leg.direction));
        let running = self.starts.iter().filter(|start| !start.ended);
        let running = running.map(|start| (start.at, start.order, start.direction));
        ended.chain(running).min_by_key(|(at, order, _)| (*at, *order))
    }

    /// Whether it has as many starts as it may have.
    pub fn is_full_of_starts(&self) -> bool {
        self.starts.len() >= MAX_LEGS
    }

    /// Whether it has as many legs as it may have: missed ones if the leg is missed, else conversations.
    pub fn is_full_of(&self, leg: &Leg) -> bool {
        let alike = self.legs.iter().filter(|other| other.conversation == leg.conversation);
        self.legs.len() >= MAX_LEGS && alike.count() >= MAX_LEGS
    }

    /// Adds a start.
    pub fn add_start(&mut self, start: Start) {
        self.extend_to(start.at);
        self.starts.push_short(start);
    }

    fn extend_to(&mut self, at: Timestamp) {
        self.since = self.since.into_iter().chain([at]).min();
    }

    /// The date of its first act: what it settled is dated then or later.
    pub fn since(&self) -> Timestamp {
        self.since.unwrap_or(Timestamp::MAX)
    }

    /// The direction of the earliest leg known.
    pub fn direction(&self) -> Direction {
        self.earliest().map_or(Direction::Inbound, |(_, _, direction)| direction)
    }

    /// Its conversations.
    pub fn conversations(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(|leg| leg.conversation)
    }

    /// The first start of the call with this id before `end`, if it is plausible.
    pub fn started(&self, id: &CallId, end: Timestamp) -> Option<Timestamp> {
        let plausible = |start: &&Start| start.id == *id && start.at < end && end - start.at <= MAX_LENGTH;
        self.starts.iter().find(plausible).map(|start| start.at)
    }

    /// Whether a record with this id is known.
    pub fn knows(&self, id: &CallId) -> bool {
        self.starts.iter().any(|start| start.id == *id) || self.legs.iter().any(|leg| leg.id == *id)
    }

    /// From the earliest start of its legs until the last of them stopped ringing.
    pub fn ring(&self) -> Span {
        let last = self.legs.iter().map(|leg| leg.rang_until).max();
        self.earliest().zip(last).map_or(Span::ZERO, |((first, ..), last)| (last - first).max(Span::ZERO))
    }

    /// The first missed leg with a usable number, in the order of effect.
    pub fn first_missed(&self) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.missed())
    }

    /// The missed leg that opens a demand.
    pub fn opening(&self) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.missed() && leg.order >= self.missed_from)
    }

    /// The earliest leg that is a touch, and its manager.
    pub fn earliest_touch(&self) -> Option<(Timestamp, ManagerIx)> {
        let started = self.attempts().map(|start| (start.at, start.order, start.who));
        let ended = self.legs.iter().filter(|leg| leg.touches() && self.attempt(leg).is_none());
        let ended = ended.map(|leg| (leg.start, leg.order, leg.who()));
        started.chain(ended).min_by_key(|(at, order, _)| (*at, *order)).map(|(at, _, who)| (at, who))
    }

    /// The entities that it reaches: an attempt touches those of its own leg, a conversation those of every leg. `survivor`:
    /// the entity that stands for one now.
    pub fn reaches(&self, survivor: impl Fn(JourneyIx) -> JourneyIx) -> Vec<Reached> {
        let mut reached: Vec<Reached> = Vec::new();
        let talk = self.conversations().map(|leg| leg.start).min();
        let mut add = |entity: JourneyIx, by: Option<(Timestamp, ManagerIx)>| {
            let Some((touch, who)) = by else { return };
            let entity = survivor(entity);
            match reached.iter_mut().find(|known| known.entity == entity) {
                Some(known) if touch < known.touch => (known.touch, known.who) = (touch, who),
                Some(_) => {}
                None => reached.push_short(Reached { entity, touch, who, talk }),
            }
        };
        for start in self.attempts() {
            start.entities.iter().for_each(|entity| add(*entity, Some((start.at, start.who))));
        }
        for leg in &self.legs {
            let attempt = self.attempt(leg);
            let attempted = |entity: &JourneyIx| {
                let same = |other: &JourneyIx| survivor(*other) == survivor(*entity);
                attempt.is_some_and(|start| start.entities.iter().any(same))
            };
            let mut add_leg = |entity: &JourneyIx| add(*entity, (!attempted(entity)).then_some((leg.start, leg.who())));
            if leg.direction == Direction::Outbound {
                leg.entities.iter().for_each(&mut add_leg);
            }
            if leg.conversation {
                self.parties().entities.iter().for_each(add_leg);
            }
        }
        reached
    }

    /// Passes what an entity has from it to the one that has taken over its history. Returns the start of its first
    /// conversation if that one had no part in it.
    pub fn pass_on(&mut self, from: JourneyIx, to: JourneyIx) -> Option<Timestamp> {
        let position = self.reached.iter().position(|reached| reached.entity == from)?;
        let passed = self.reached.remove(position);
        if let Some(known) = self.reached.iter_mut().find(|reached| reached.entity == to) {
            known.touch = known.touch.min(passed.touch);
            return None;
        }
        self.reached.push_short(Reached { entity: to, ..passed });
        passed.talk
    }

    /// The outbound starts.
    fn attempts(&self) -> impl Iterator<Item = &Start> {
        self.starts.iter().filter(|start| start.direction == Direction::Outbound)
    }

    /// The outbound start of a leg: the attempt, which the end of the leg does not repeat.
    pub fn attempt(&self, leg: &Leg) -> Option<&Start> {
        let first = self.legs.iter().find(|other| other.id == leg.id);
        let is_first = first.is_none_or(|first| first.order == leg.order);
        self.attempts().find(|start| is_first && start.id == leg.id)
    }

    /// The numbers of its legs, and the entities that they name and that they belong to.
    pub fn parties(&self) -> Parties {
        let mut parties = Parties::default();
        self.attempts().for_each(|start| parties.add(start.contact, start.named, &start.entities));
        self.legs.iter().for_each(|leg| parties.extend(leg));
        parties
    }
}

/// Whom a call concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parties {
    /// Numbers.
    pub contacts: SmallIndexVec<ContactIx>,
    /// Entities that it names.
    pub named: SmallIndexVec<JourneyIx>,
    /// Entities that it belongs to.
    pub entities: SmallIndexVec<JourneyIx>,
}

impl Parties {
    /// Those of one leg.
    pub fn of(contact: Option<ContactIx>, named: Option<JourneyIx>, entities: &[JourneyIx]) -> Self {
        Self {
            contacts: contact.into_iter().collect(),
            named: named.into_iter().collect(),
            entities: entities.iter().copied().collect(),
        }
    }

    /// Adds those of a leg.
    pub fn extend(&mut self, leg: &Leg) {
        self.add(leg.contact, leg.named, &leg.entities);
    }

    fn add(&mut self, contact: Option<ContactIx>, named: Option<JourneyIx>, entities: &[JourneyIx]) {
        contact.into_iter().for_each(|contact| self.contacts.insert(contact));
        named.into_iter().for_each(|entity| self.named.insert(entity));
        entities.iter().for_each(|entity| self.entities.insert(*entity));
    }

    /// Those that are not among `known`.
    pub fn without(&self, known: &Self) -> Self {
        Self {
            contacts: self.contacts.without(&known.contacts),
            named: self.named.without(&known.named),
            entities: self.entities.without(&known.entities),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty() && self.named.is_empty() && self.entities.is_empty()
    }
}

impl Counted {
    /// What calls count together; `None` without legs.
    fn of<'a>(calls: impl Iterator<Item = &'a Call> + Clone) -> Option<Self> {
        let legs = calls.clone().flat_map(|call| &call.legs);
        let at = legs.clone().map(|leg| leg.start).min()?;
        let (.., direction) = calls.filter_map(Call::earliest).min_by_key(|(at, order, _)| (*at, *order))?;
        let conversations = legs.clone().filter(|leg| leg.conversation);
        let longest = conversations.clone().min_by_key(|leg| (std::cmp::Reverse(leg.talk), leg.position()));
        let first = |manager: fn(&Leg) -> ManagerIx| {
            let with = legs.clone().filter(move |leg| manager(leg) != ManagerIx::NONE);
            with.min_by_key(|leg| leg.position()).map_or(ManagerIx::NONE, manager)
        };
        let named = longest.map_or(ManagerIx::NONE, |leg| leg.manager);
        Some(Self {
            at,
            who: named.or(first(|leg| leg.manager)).or(first(|leg| leg.responsible)),
            direction,
            answered: longest.is_some(),
            talk: Span(conversations.map(|leg| leg.talk.0).fold(0, i64::saturating_add)),
        })
    }
}
