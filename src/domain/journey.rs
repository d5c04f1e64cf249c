//! Owns the journey of one lead or deal: who has it, where it stands, how it was touched, how it ended.
//!
//! What is counted of a journey is derived from its state: after each change `publish` compares what should be counted
//! with what was, and states the difference as facts. So a hand-over, a reopening or a deletion needs no code of its
//! own to move or take back figures.

use super::desk::Desk;
use super::effect::{Measure, StateKey, Who};
use super::event::Outcome;
use super::id::{EntityId, EntityKind, PipelineId, SourceId, StageId};
use super::rule::first_response_late::{Acts, FirstResponse, Of};
use super::time::Timestamp;
use compact_str::CompactString;

/// One lead or deal.
#[derive(Debug)]
pub struct Journey {
    /// Which one.
    pub id: EntityId,
    /// Its number inside the tenant, in order of appearance.
    pub number: u32,
    /// When it was created, if that is known.
    pub created: Option<Timestamp>,
    /// The responsible.
    pub who: Who,
    /// Where it stands.
    pub pipeline: Option<PipelineId>,
    /// Where it stands.
    pub stage: Option<StageId>,
    /// Where it came from.
    pub source: Option<SourceId>,
    /// The lead that a deal grew from: the first that was named.
    pub lead: Option<CompactString>,
    /// A deal's last known amount in minor units.
    pub amount_minor: Option<i64>,
    /// Its currency.
    pub currency: Option<CompactString>,
    /// Numbers of the contacts it has.
    pub contacts: Vec<u32>,
    /// Numbers of the contacts that demand something in its name.
    pub debts: Vec<u32>,
    /// Present deals that name this lead.
    pub named_by: u32,
    /// The deletion, which is for good, and whether a touch was known by then.
    deleted: Option<(Timestamp, bool)>,
    closing: Option<Closing>,
    /// The first closing, and whether a touch was known by then.
    first_closed: Option<(Timestamp, bool)>,
    touches: u32,
    /// The earliest dated, and who was responsible when it became known.
    first_touch: Option<(Timestamp, Who)>,
    first_contact: Option<Timestamp>,
    response: Option<Box<FirstResponse>>,
    counted: Counted,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Closing {
    at: Timestamp,
    outcome: Outcome,
    by: Who,
}

/// What of a journey is counted at present.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counted {
    received: Option<(Timestamp, Who)>,
    converted: Option<(Timestamp, Who)>,
    awaiting: Option<(Timestamp, Who)>,
    open: Option<(u32, Who)>,
    closing: Option<(Timestamp, Who, Measure)>,
    amount: Option<(Timestamp, Who, Measure)>,
}

impl Journey {
    /// One that was just heard of.
    pub fn new(id: EntityId, number: u32) -> Self {
        Self {
            id,
            number,
            created: None,
            who: Who::NOBODY,
            pipeline: None,
            stage: None,
            source: None,
            lead: None,
            amount_minor: None,
            currency: None,
            contacts: Vec::new(),
            debts: Vec::new(),
            named_by: 0,
            deleted: None,
            closing: None,
            first_closed: None,
            touches: 0,
            first_touch: None,
            first_contact: None,
            response: None,
            counted: Counted::default(),
        }
    }

    /// Neither closed nor deleted.
    pub fn open(&self) -> bool {
        self.closing.is_none() && !self.deleted()
    }

    /// Deleted for good.
    pub fn deleted(&self) -> bool {
        self.deleted.is_some()
    }

    /// Whether a manager has turned to the customer.
    pub fn touched(&self) -> bool {
        self.touches > 0
    }

    /// The order in which the primary entity of a contact is chosen: the most recently created wins.
    pub fn recency(&self) -> (Timestamp, u32) {
        (self.created.unwrap_or(Timestamp::MIN), self.number)
    }

    /// The creation became known. `watched`: its first-response clock runs; `source` is the lead's, for a deal with
    /// none of its own.
    pub fn born(&mut self, desk: &mut Desk, at: Timestamp, watched: bool, source: Option<&SourceId>) {
        if self.created.is_some() {
            return;
        }
        self.created = Some(at);
        if watched && (self.id.kind == EntityKind::Lead || self.lead.is_none()) {
            let source = self.source.as_ref().or(source).map(SourceId::as_str);
            let scope = desk.scope(self.who, self.pipeline.as_ref().map(PipelineId::as_str), source);
            self.response = Some(Box::new(FirstResponse::start(desk, self.of(), at, scope)));
            self.review(desk);
        }
    }

    /// A manager turned to the customer, at `at`.
    pub fn touch(&mut self, desk: &mut Desk, at: Timestamp) {
        self.touches += 1;
        if self.first_touch.is_none_or(|(first, _)| at < first) {
            self.first_touch = Some((at, self.who));
            self.review(desk);
        }
    }

    /// There was contact both ways, at `at`.
    pub fn contact(&mut self, desk: &mut Desk, at: Timestamp) {
        if self.first_contact.is_none_or(|first| at < first) {
            self.first_contact = Some(at);
            self.review(desk);
        }
    }

    /// It was closed now. The same outcome again changes nothing, another one replaces the closing.
    pub fn close(&mut self, desk: &mut Desk, outcome: Outcome) {
        if self.closing.is_some_and(|closing| closing.outcome == outcome) {
            return;
        }
        self.closing = Some(Closing { at: desk.now, outcome, by: self.who });
        if self.first_closed.is_none() {
            self.first_closed = Some((desk.now, self.touched()));
            self.review(desk);
        }
    }

    /// It was opened again.
    pub fn reopen(&mut self) {
        self.closing = None;
    }

    /// It was deleted.
    pub fn delete(&mut self, desk: &mut Desk) {
        self.deleted = Some((desk.now, self.touched()));
        self.review(desk);
    }

    /// It got another responsible.
    pub fn assign(&mut self, desk: &mut Desk, who: Who) {
        self.who = who;
        if let Some(response) = &mut self.response {
            response.hand_over(desk, who);
        }
    }

    /// Its first-response timer went off.
    pub fn ring_first_response(&mut self, desk: &mut Desk) {
        let acts = self.acts();
        if let Some(mut response) = self.response.take() {
            response.ring(desk, self.of(), acts);
            self.response = Some(response);
        }
        desk.touched(StateKey::Entity(self.id.clone()));
    }

    /// States what is counted of it now and was not before, and the other way round.
    pub fn publish(&mut self, desk: &mut Desk) {
        let new = self.countable(desk);
        let old = std::mem::replace(&mut self.counted, new);
        desk.touched(StateKey::Entity(self.id.clone()));
        if old == new {
            return;
        }
        let (received, converted) = match self.id.kind {
            EntityKind::Lead => (Measure::LeadReceived, Measure::LeadConverted),
            EntityKind::Deal => (Measure::DealReceived, Measure::DealConverted),
        };
        let with = |measure| move |(at, who): (Timestamp, Who)| (at, who, measure);
        let created = self.created.unwrap_or(desk.now);
        for (old, new) in [
            (old.received.map(with(received)), new.received.map(with(received))),
            (old.converted.map(with(converted)), new.converted.map(with(converted))),
            (old.awaiting.map(with(Measure::Awaiting)), new.awaiting.map(with(Measure::Awaiting))),
            (
                old.open.map(|(spot, who)| (created, who, Measure::Open(spot))),
                new.open.map(|(spot, who)| (created, who, Measure::Open(spot))),
            ),
            (old.closing, new.closing),
            (old.amount, new.amount),
        ] {
            if old != new {
                for ((at, who, measure), times) in
                    old.into_iter().map(|fact| (fact, -1)).chain(new.into_iter().map(|fact| (fact, 1)))
                {
                    desk.fact(at, who, times, measure);
                }
            }
        }
    }

    fn countable(&self, desk: &mut Desk) -> Counted {
        if self.deleted() {
            return Counted::default();
        }
        let outcome = self.closing.map(|closing| closing.outcome);
        let converted = match self.id.kind {
            EntityKind::Lead => outcome == Some(Outcome::Converted) || self.named_by > 0,
            EntityKind::Deal => outcome == Some(Outcome::Won),
        };
        let received = self.created.map(|created| (created, self.who));
        let awaits = self.response.as_ref().is_some_and(|response| response.awaits()) && self.first_closed.is_none();
        let measure = match (self.id.kind, outcome) {
            (EntityKind::Lead, Some(Outcome::Converted)) => Some(Measure::LeadClosedConverted),
            (EntityKind::Lead, Some(Outcome::Disqualified)) => Some(Measure::LeadDisqualified),
            (EntityKind::Deal, Some(Outcome::Won)) => Some(Measure::DealWon),
            (EntityKind::Deal, Some(Outcome::Lost)) => Some(Measure::DealLost),
            _ => None,
        };
        let closing = self.closing.and_then(|closing| Some((closing.at, closing.by, measure?)));
        let amount = closing.filter(|closing| closing.2 == Measure::DealWon).and_then(|(at, by, _)| {
            let currency = desk.currency(self.currency.as_ref());
            Some((at, by, Measure::AmountWon { currency, minor: self.amount_minor? }))
        });
        Counted {
            received,
            converted: received.filter(|_| converted),
            awaiting: received.filter(|_| awaits),
            open: self.closing.is_none().then(|| (desk.spot(self.pipeline.as_ref(), self.stage.as_ref()), self.who)),
            closing,
            amount,
        }
    }

    fn review(&mut self, desk: &mut Desk) {
        let acts = self.acts();
        if let Some(mut response) = self.response.take() {
            response.review(desk, self.of(), acts);
            self.response = Some(response);
        }
    }

    fn acts(&self) -> Acts {
        Acts { touch: self.first_touch, contact: self.first_contact, closed: self.first_closed, deleted: self.deleted }
    }

    fn of(&self) -> Of<'_> {
        Of { entity: &self.id, number: self.number, who: self.who }
    }
}
