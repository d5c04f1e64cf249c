//! Owns the journey of one lead or deal: who has it, where it stands, how it was touched, how it ended.
//!
//! What is counted of a journey is derived from its state: after each change `publish` compares what should be counted
//! with what was, and states the difference as facts. So a hand-over, a reopening or a deletion needs no code of its
//! own to move or take back figures. Rules hear of each change and keep their clocks beside the journey.

mod clocks;
mod course;

pub use clocks::{Change, Clocks, Running, Tell};
pub use course::{Arrival, Limit};

use super::alert::Resolution;
use super::desk::Desk;
use super::effect::{Measure, Who};
use super::event::{Amount, Outcome, Turn};
use super::few::Few;
use super::id::{EntityId, EntityKind, PipelineId, SourceId};
use super::norms::Scope;
use super::rare::{Blank, Rare};
use super::register::Keyed;
use super::rule::first_response_late::Acts;
use super::rule::{Deed, Watch};
use super::time::{Maybe, Timestamp};
use super::violation::Wrong;
use compact_str::{CompactString, format_compact};
use course::Course;
use std::sync::Arc;

/// One lead or deal. There are millions: what most do not have is [`Rare`], and reads as if it were there.
#[derive(Debug)]
pub struct Journey {
    /// Which one.
    pub id: EntityId,
    /// Its number inside the tenant, in order of arrival.
    pub number: u32,
    /// The responsible.
    pub who: Who,
    /// Present deals that name this lead.
    pub named_by: u32,
    /// Its past is known: its first stage came from its own creation or after it.
    begun: bool,
    /// The first event about it, or [`UNHEARD`].
    heard: Turn,
    created: Maybe,
    /// Where it came from.
    pub source: Option<SourceId>,
    /// What deals have.
    pub sale: Rare<Sale>,
    /// Numbers of the contacts it has.
    pub contacts: Few,
    dealings: Rare<Dealings>,
    ends: Rare<Ends>,
    course: Rare<Course>,
    clocks: Clocks,
    counted: Counted,
    counted_rarely: Rare<CountedRarely>,
}

/// Where a journey stands of which nothing was heard yet: no event has this place.
const UNHEARD: Turn = Turn { at: Timestamp::MIN, rank: u8::MAX, offset: i64::MIN, feed: u8::MAX };

/// What deals have, and seldom leads.
#[derive(Debug, Default)]
pub struct Sale {
    /// The source of a deal's lead, which counts for a deal that has none of its own.
    pub lead_source: Option<SourceId>,
    /// The lead that a deal grew from: the first that was named.
    pub lead: Option<CompactString>,
    /// A deal's last known amount.
    pub amount: Amount,
}

/// What went on with the customer.
#[derive(Debug, Default)]
struct Dealings {
    /// The dates of all touches, in order.
    touches: Vec<Timestamp>,
    /// The earliest dated, and who was responsible when it became known.
    first_touch: Option<(Timestamp, Who)>,
    first_contact: Option<Timestamp>,
    first_talk: Option<Timestamp>,
    /// Numbers of the contacts that demand something in its name.
    debts: Few,
}

/// How it ended.
#[derive(Debug, Default)]
struct Ends {
    /// The deletion, which is for good, and whether a touch was known by then.
    deleted: Option<(Timestamp, bool)>,
    closing: Option<Closing>,
    /// The first closing, and whether a touch was known by then.
    first_closed: Option<(Timestamp, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Closing {
    at: Timestamp,
    outcome: Outcome,
    by: Who,
}

/// What of a journey is counted at present, all of it for `who`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counted {
    who: Who,
    received: bool,
    converted: bool,
    awaiting: bool,
    stuck: bool,
    /// The spots.
    open: Option<u32>,
    overdue: Option<u32>,
}

/// What more is counted of closed ones, and of deals that move.
#[derive(Debug, Default, PartialEq)]
struct CountedRarely {
    closing: Option<(Timestamp, Who, Measure)>,
    amount: Option<(Timestamp, Who, Measure)>,
    /// Spots that a deal reached, when, and whether it went on.
    reached: Vec<(u32, Timestamp, bool)>,
}

impl Blank for Sale {
    fn blank() -> &'static Self {
        static BLANK: Sale = Sale { lead_source: None, lead: None, amount: Amount { minor: None, currency: None } };
        &BLANK
    }
}

impl Blank for Dealings {
    fn blank() -> &'static Self {
        static BLANK: Dealings = Dealings {
            touches: Vec::new(),
            first_touch: None,
            first_contact: None,
            first_talk: None,
            debts: Few::NONE,
        };
        &BLANK
    }
}

impl Blank for Ends {
    fn blank() -> &'static Self {
        &Ends { deleted: None, closing: None, first_closed: None }
    }
}

impl Blank for CountedRarely {
    fn blank() -> &'static Self {
        static BLANK: CountedRarely = CountedRarely { closing: None, amount: None, reached: Vec::new() };
        &BLANK
    }
}

impl Keyed for Journey {
    type Key = EntityId;
    fn key(&self) -> &EntityId {
        &self.id
    }
}

impl Journey {
    /// One that was not heard of yet.
    pub fn new(id: EntityId, number: u32) -> Self {
        Self {
            id,
            number,
            who: Who::NOBODY,
            named_by: 0,
            begun: false,
            heard: UNHEARD,
            created: Maybe::UNKNOWN,
            source: None,
            sale: Rare::default(),
            contacts: Few::NONE,
            dealings: Rare::default(),
            ends: Rare::default(),
            course: Rare::default(),
            clocks: Clocks::default(),
            counted: Counted::default(),
            counted_rarely: Rare::default(),
        }
    }

    /// The first event about it; `None`: as if it had never been heard of.
    pub fn heard(&self) -> Option<Turn> {
        (self.heard != UNHEARD).then_some(self.heard)
    }

    /// The first event about it came.
    pub fn hear(&mut self, turn: Turn) {
        self.heard = turn;
    }

    /// When it was created, if that is known.
    pub fn created(&self) -> Option<Timestamp> {
        self.created.get()
    }

    /// Numbers of the contacts that demand something in its name.
    pub fn debts(&self) -> &[u32] {
        &self.dealings.debts
    }

    /// A contact demands something in its name.
    pub fn owe(&mut self, contact: u32) {
        if !self.debts().contains(&contact) {
            self.dealings.debts.push(contact);
        }
    }

    /// Neither closed nor deleted.
    pub fn open(&self) -> bool {
        self.ends.closing.is_none() && !self.deleted()
    }

    /// Deleted for good.
    pub fn deleted(&self) -> bool {
        self.ends.deleted.is_some()
    }

    /// How it is closed at present.
    pub fn outcome(&self) -> Option<Outcome> {
        self.ends.closing.map(|closing| closing.outcome)
    }

    /// How it is closed at present, and since when.
    pub fn closed(&self) -> Option<(Outcome, Timestamp)> {
        self.ends.closing.map(|closing| (closing.outcome, closing.at))
    }

    /// When it was deleted.
    pub fn deleted_at(&self) -> Option<Timestamp> {
        self.ends.deleted.map(|(at, _)| at)
    }

    /// Its clocks.
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// The dates of the touches so far, in order.
    pub fn touches(&self) -> &[Timestamp] {
        &self.dealings.touches
    }

    /// The date of the first conversation.
    pub fn talked(&self) -> Option<Timestamp> {
        self.dealings.first_talk
    }

    /// Whether a first response to it is waited for: leads, and deals without lead.
    pub fn waits_for_response(&self) -> bool {
        self.id.kind == EntityKind::Lead || self.sale.lead.is_none()
    }

    /// The order in which the primary entity of a contact is chosen: the most recently created wins.
    pub fn recency(&self) -> (Timestamp, Option<Turn>, u32) {
        (self.created().unwrap_or(Timestamp::MIN), self.heard(), self.number)
    }

    /// The norms of a clock that starts now.
    pub fn scope(&self, desk: &mut Desk) -> Arc<Scope> {
        self.scope_for(desk, self.who)
    }

    /// The norms of a clock that starts now, where `who` has it.
    pub fn scope_for(&self, desk: &mut Desk, who: Who) -> Arc<Scope> {
        let source = self.source.as_ref().or(self.sale.lead_source.as_ref());
        desk.scope(who, self.pipeline().map(PipelineId::as_str), source.map(SourceId::as_str))
    }

    /// The creation became known. `watched`: the clocks that count from it run.
    pub fn born(&mut self, desk: &mut Desk, at: Timestamp, watched: bool) {
        if self.created().is_none() {
            self.created = at.into();
            self.change(desk, Change::Born { at, watched });
        }
    }

    /// A manager turned to the customer, at `at`; `talk`: it was a conversation.
    pub fn touch(&mut self, desk: &mut Desk, at: Timestamp, talk: bool) {
        if talk {
            self.dealings.first_talk = Some(self.dealings.first_talk.map_or(at, |first| first.min(at)));
        }
        let place = self.dealings.touches.partition_point(|touch| *touch <= at);
        self.dealings.touches.insert(place, at);
        if self.dealings.first_touch.is_none_or(|(first, _)| at < first) {
            self.dealings.first_touch = Some((at, self.who));
        }
        self.change(desk, Change::Touch { at });
    }

    /// There was contact both ways, at `at`; `talk`: it was a conversation.
    pub fn contact(&mut self, desk: &mut Desk, at: Timestamp, talk: bool) {
        if talk && self.dealings.first_talk.is_none_or(|first| at < first) {
            self.dealings.first_talk = Some(at);
            self.change(desk, Change::Talk);
        }
        if self.dealings.first_contact.is_none_or(|first| at < first) {
            self.dealings.first_contact = Some(at);
            self.change(desk, Change::Contact);
        }
    }

    /// It was closed now. The same outcome again changes nothing, another one replaces the closing.
    pub fn close(&mut self, desk: &mut Desk, outcome: Outcome, reason: Option<&CompactString>) {
        if self.ends.closing.is_some_and(|closing| closing.outcome == outcome) {
            return;
        }
        let was_open = self.ends.closing.is_none();
        self.judge(desk, &Deed::Closed { outcome, reason }, self.who);
        self.arrive_at_end(desk, outcome);
        self.ends.closing = Some(Closing { at: desk.now, outcome, by: self.who });
        let first = self.ends.first_closed.is_none();
        if first {
            self.ends.first_closed = Some((desk.now, !self.dealings.touches.is_empty()));
        }
        if was_open {
            self.turn(desk, false);
            self.leave(desk, desk.now, Resolution::Closed);
            self.change(desk, Change::Closed { first });
        }
    }

    /// It was opened again, in the stage where it stood.
    pub fn reopen(&mut self, desk: &mut Desk) {
        if self.ends.taken().and_then(|ends| ends.closing.take()).is_some() {
            self.turn(desk, true);
            self.stay(desk, desk.now);
            self.change(desk, Change::Reopened);
        }
    }

    /// It was deleted.
    pub fn delete(&mut self, desk: &mut Desk) {
        self.leave(desk, desk.now, Resolution::Deleted);
        self.ends.deleted = Some((desk.now, !self.dealings.touches.is_empty()));
        self.change(desk, Change::Deleted);
    }

    /// It got another responsible.
    pub fn assign(&mut self, desk: &mut Desk, who: Who) {
        self.who = who;
        self.change(desk, Change::Assigned);
    }

    /// Other norms are in force.
    pub fn reload(&mut self, desk: &mut Desk) {
        self.reload_stay(desk);
        self.change(desk, Change::Reloaded);
        self.publish(desk);
    }

    /// Its timer went off.
    pub fn ring(&mut self, desk: &mut Desk) {
        self.ring_stay(desk.now);
        self.change(desk, Change::Rung);
        self.publish(desk);
    }

    /// Judges what somebody did to it.
    pub fn judge(&mut self, desk: &mut Desk, deed: &Deed<'_>, who: Who) {
        if !desk.deeds {
            return;
        }
        let scope = self.scope(desk);
        for (rule, params) in &scope.rules {
            let Watch::Deed(find) = rule.definition().watch else { continue };
            for finding in find(deed, self, params, &scope) {
                let spot = finding.part.as_ref().map(|part| desk.spot(self.pipeline(), Some(part)));
                if spot.is_some_and(|spot| !self.course.tell_once(*rule, spot)) {
                    continue;
                }
                let subject = match &finding.part {
                    Some(part) => format_compact!("{}/{part}", self.id),
                    None => format_compact!("{}", self.id),
                };
                let severity = params.severity.unwrap_or_default();
                let (observed, norm, entity) = (finding.observed, finding.norm, &self.id);
                Wrong { rule: *rule, subject, who, entity, severity, observed, norm }.raise(desk);
            }
        }
    }

    /// States what is counted of it now and was not before, and the other way round.
    pub fn publish(&mut self, desk: &mut Desk) {
        let (new, rare) = self.countable(desk);
        if self.counted == new && *self.counted_rarely == rare {
            return;
        }
        let old = std::mem::replace(&mut self.counted, new);
        let old_rare = match self.counted_rarely.taken() {
            Some(place) => std::mem::replace(place, rare),
            None if rare == CountedRarely::default() => rare,
            None => std::mem::replace(&mut *self.counted_rarely, rare),
        };
        let rare = &*self.counted_rarely;
        let is_deal = self.id.kind == EntityKind::Deal;
        let (received, converted) = match self.id.kind {
            EntityKind::Lead => (Measure::LeadReceived, Measure::LeadConverted),
            EntityKind::Deal => (Measure::DealReceived, Measure::DealConverted),
        };
        // A creation that is known stays as it is, so one date holds for what was counted and for what is.
        let created = self.created().unwrap_or_default();
        let flag = |is: fn(&Counted) -> bool, measure: Measure| {
            let fact = |counted: &Counted| is(counted).then_some((created, counted.who, measure));
            (fact(&old), fact(&new))
        };
        let standing = |spot: fn(&Counted) -> Option<u32>, measure: fn(u32) -> Measure| {
            let fact = |counted: &Counted| spot(counted).map(|spot| (created, counted.who, measure(spot)));
            (fact(&old), fact(&new))
        };
        let open_deal = |(old, new)| if is_deal { (old, new) } else { (None, None) };
        for (old, new) in [
            flag(|counted| counted.received, received),
            flag(|counted| counted.converted, converted),
            flag(|counted| counted.awaiting, Measure::Awaiting),
            standing(|counted| counted.open, Measure::Open),
            open_deal(flag(|counted| counted.open.is_some(), Measure::OpenDeal)),
            standing(|counted| counted.overdue, Measure::Overdue),
            flag(|counted| counted.overdue.is_some() && counted.stuck, Measure::Stuck),
            (old_rare.closing, rare.closing),
            (old_rare.amount, rare.amount),
        ] {
            if old != new {
                for ((at, who, measure), times) in
                    old.into_iter().map(|fact| (fact, -1)).chain(new.into_iter().map(|fact| (fact, 1)))
                {
                    desk.fact(at, who, times, measure);
                }
            }
        }
        if (&old_rare.reached, old.who) != (&rare.reached, new.who) {
            for (reached, who, times) in [(&old_rare.reached, old.who, -1), (&rare.reached, new.who, 1)] {
                for (spot, at, passed) in reached {
                    desk.fact(*at, who, times, Measure::StageReached(*spot));
                    if *passed {
                        desk.fact(*at, who, times, Measure::StagePassed(*spot));
                    }
                }
            }
        }
    }

    fn countable(&self, desk: &mut Desk) -> (Counted, CountedRarely) {
        if self.deleted() || self.heard().is_none() {
            return Default::default();
        }
        let outcome = self.outcome();
        let converted = match self.id.kind {
            EntityKind::Lead => outcome == Some(Outcome::Converted) || self.named_by > 0,
            EntityKind::Deal => outcome == Some(Outcome::Won),
        };
        let received = self.created().is_some();
        let awaits = self.clocks.response.as_ref().is_some_and(|response| response.awaits());
        let measure = match (self.id.kind, outcome) {
            (EntityKind::Lead, Some(Outcome::Converted)) => Some(Measure::LeadClosedConverted),
            (EntityKind::Lead, Some(Outcome::Disqualified)) => Some(Measure::LeadDisqualified),
            (EntityKind::Deal, Some(Outcome::Won)) => Some(Measure::DealWon),
            (EntityKind::Deal, Some(Outcome::Lost)) => Some(Measure::DealLost),
            _ => None,
        };
        let closing = self.ends.closing.and_then(|closing| Some((closing.at, closing.by, measure?)));
        let amount = closing.filter(|closing| closing.2 == Measure::DealWon).and_then(|(at, by, _)| {
            let currency = desk.currency(self.sale.amount.currency.as_ref());
            Some((at, by, Measure::AmountWon { currency, minor: self.sale.amount.minor? }))
        });
        let (overdue, stuck) = self.overdue().unzip();
        let won = outcome == Some(Outcome::Won);
        let counted = Counted {
            who: self.who,
            received,
            converted: received && converted,
            awaiting: received && awaits && self.ends.first_closed.is_none(),
            stuck: stuck.unwrap_or_default() && self.id.kind == EntityKind::Deal,
            open: outcome.is_none().then(|| desk.spot(self.pipeline(), self.stage())),
            overdue,
        };
        let reached = if self.id.kind == EntityKind::Deal { self.course.reached(won) } else { Vec::new() };
        (counted, CountedRarely { closing, amount, reached })
    }

    /// Tells every rule of a change.
    fn change(&mut self, desk: &mut Desk, change: Change) {
        let mut clocks = std::mem::take(&mut self.clocks);
        for follow in clocks::FOLLOWERS.iter() {
            follow(&mut clocks, self, desk, change);
        }
        self.clocks = clocks;
    }

    /// What is known of its acts.
    pub fn acts(&self) -> Acts {
        let (Dealings { first_touch, first_contact, .. }, Ends { first_closed, deleted, .. }) =
            (&*self.dealings, &*self.ends);
        Acts { touch: *first_touch, contact: *first_contact, closed: *first_closed, deleted: *deleted }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::first_response_late::FirstResponse;
    use super::*;

    /// There are millions of them: whoever adds a field that few need puts it into one of the boxes.
    #[test]
    fn an_open_lead_is_small() {
        assert_eq!((size_of::<Journey>(), size_of::<FirstResponse>()), (208, 80));
    }
}
