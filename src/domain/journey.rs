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
use super::id::{EntityId, EntityKind, PipelineId, SourceId, StageId};
use super::norms::Scope;
use super::rule::first_response_late::Acts;
use super::rule::{Deed, Watch};
use super::time::Timestamp;
use super::violation::Wrong;
use compact_str::{CompactString, format_compact};
use course::Way;
use std::sync::Arc;

/// One lead or deal.
#[derive(Debug)]
pub struct Journey {
    /// Which one.
    pub id: EntityId,
    /// Its number inside the tenant, in order of arrival.
    pub number: u32,
    /// The first event about it; `None`: as if it had never been heard of.
    pub heard: Option<Turn>,
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
    /// The source of a deal's lead, which counts for a deal that has none of its own.
    pub lead_source: Option<SourceId>,
    /// The lead that a deal grew from: the first that was named.
    pub lead: Option<CompactString>,
    /// A deal's last known amount.
    pub amount: Amount,
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
    /// The dates of all touches, in order.
    touches: Vec<Timestamp>,
    /// The earliest dated, and who was responsible when it became known.
    first_touch: Option<(Timestamp, Who)>,
    first_contact: Option<Timestamp>,
    first_talk: Option<Timestamp>,
    course: Way,
    /// Its past is known: its first stage came from its own creation or after it.
    begun: bool,
    clocks: Clocks,
    counted: Counted,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Closing {
    at: Timestamp,
    outcome: Outcome,
    by: Who,
}

/// What of a journey is counted at present.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counted {
    received: Option<(Timestamp, Who)>,
    converted: Option<(Timestamp, Who)>,
    awaiting: Option<(Timestamp, Who)>,
    open: Option<(u32, Who)>,
    overdue: Option<(u32, Who)>,
    stuck: bool,
    closing: Option<(Timestamp, Who, Measure)>,
    amount: Option<(Timestamp, Who, Measure)>,
    /// Spots that a deal reached, when, and whether it went on.
    reached: Vec<(u32, Timestamp, bool)>,
    reached_by: Who,
}

impl Journey {
    /// One that was not heard of yet.
    pub fn new(id: EntityId, number: u32) -> Self {
        Self {
            id,
            number,
            heard: None,
            created: None,
            who: Who::NOBODY,
            pipeline: None,
            stage: None,
            source: None,
            lead_source: None,
            lead: None,
            amount: Amount::default(),
            contacts: Vec::new(),
            debts: Vec::new(),
            named_by: 0,
            deleted: None,
            closing: None,
            first_closed: None,
            touches: Vec::new(),
            first_touch: None,
            first_contact: None,
            first_talk: None,
            course: Way::default(),
            begun: false,
            clocks: Clocks::default(),
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

    /// How it is closed at present.
    pub fn outcome(&self) -> Option<Outcome> {
        self.closing.map(|closing| closing.outcome)
    }

    /// The dates of the touches so far, in order.
    pub fn touches(&self) -> &[Timestamp] {
        &self.touches
    }

    /// The date of the first conversation.
    pub fn talked(&self) -> Option<Timestamp> {
        self.first_talk
    }

    /// Whether a first response to it is waited for: leads, and deals without lead.
    pub fn waits_for_response(&self) -> bool {
        self.id.kind == EntityKind::Lead || self.lead.is_none()
    }

    /// The order in which the primary entity of a contact is chosen: the most recently created wins.
    pub fn recency(&self) -> (Timestamp, Option<Turn>, u32) {
        (self.created.unwrap_or(Timestamp::MIN), self.heard, self.number)
    }

    /// The norms of a clock that starts now.
    pub fn scope(&self, desk: &mut Desk) -> Arc<Scope> {
        self.scope_for(desk, self.who)
    }

    /// The norms of a clock that starts now, where `who` has it.
    pub fn scope_for(&self, desk: &mut Desk, who: Who) -> Arc<Scope> {
        let source = self.source.as_ref().or(self.lead_source.as_ref());
        desk.scope(who, self.pipeline.as_ref().map(PipelineId::as_str), source.map(SourceId::as_str))
    }

    /// The creation became known. `watched`: the clocks that count from it run.
    pub fn born(&mut self, desk: &mut Desk, at: Timestamp, watched: bool) {
        if self.created.is_none() {
            self.created = Some(at);
            self.change(desk, Change::Born { at, watched });
        }
    }

    /// A manager turned to the customer, at `at`; `talk`: it was a conversation.
    pub fn touch(&mut self, desk: &mut Desk, at: Timestamp, talk: bool) {
        if talk {
            self.first_talk = Some(self.first_talk.map_or(at, |first| first.min(at)));
        }
        let place = self.touches.partition_point(|touch| *touch <= at);
        self.touches.insert(place, at);
        if self.first_touch.is_none_or(|(first, _)| at < first) {
            self.first_touch = Some((at, self.who));
        }
        self.change(desk, Change::Touch { at });
    }

    /// There was contact both ways, at `at`; `talk`: it was a conversation.
    pub fn contact(&mut self, desk: &mut Desk, at: Timestamp, talk: bool) {
        if talk && self.first_talk.is_none_or(|first| at < first) {
            self.first_talk = Some(at);
            self.change(desk, Change::Talk);
        }
        if self.first_contact.is_none_or(|first| at < first) {
            self.first_contact = Some(at);
            self.change(desk, Change::Contact);
        }
    }

    /// It was closed now. The same outcome again changes nothing, another one replaces the closing.
    pub fn close(&mut self, desk: &mut Desk, outcome: Outcome, reason: Option<&CompactString>) {
        if self.closing.is_some_and(|closing| closing.outcome == outcome) {
            return;
        }
        let was_open = self.closing.is_none();
        self.judge(desk, &Deed::Closed { outcome, reason }, self.who);
        self.arrive_at_end(desk, outcome);
        self.closing = Some(Closing { at: desk.now, outcome, by: self.who });
        let first = self.first_closed.is_none();
        if first {
            self.first_closed = Some((desk.now, !self.touches.is_empty()));
        }
        if was_open {
            self.turn(desk, false);
            self.leave(desk, desk.now, Resolution::Closed);
            self.change(desk, Change::Closed { first });
        }
    }

    /// It was opened again, in the stage where it stood.
    pub fn reopen(&mut self, desk: &mut Desk) {
        if self.closing.take().is_some() {
            self.turn(desk, true);
            self.stay(desk, desk.now);
            self.change(desk, Change::Reopened);
        }
    }

    /// It was deleted.
    pub fn delete(&mut self, desk: &mut Desk) {
        self.leave(desk, desk.now, Resolution::Deleted);
        self.deleted = Some((desk.now, !self.touches.is_empty()));
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
                let spot = finding.part.as_ref().map(|part| desk.spot(self.pipeline.as_ref(), Some(part)));
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
        let new = self.countable(desk);
        if self.counted == new {
            return;
        }
        let old = std::mem::replace(&mut self.counted, new);
        let new = &self.counted;
        let (received, converted) = match self.id.kind {
            EntityKind::Lead => (Measure::LeadReceived, Measure::LeadConverted),
            EntityKind::Deal => (Measure::DealReceived, Measure::DealConverted),
        };
        let with = |measure| move |(at, who): (Timestamp, Who)| (at, who, measure);
        let created = self.created.unwrap_or_default();
        let standing = |measure: fn(u32) -> Measure| move |(spot, who)| (created, who, measure(spot));
        let deal = |open: Option<(u32, Who)>| {
            open.filter(|_| self.id.kind == EntityKind::Deal).map(|(_, who)| (created, who, Measure::OpenDeal))
        };
        let stuck = |counted: &Counted| {
            counted.overdue.filter(|_| counted.stuck).map(|(_, who)| (created, who, Measure::Stuck))
        };
        for (old, new) in [
            (old.received.map(with(received)), new.received.map(with(received))),
            (old.converted.map(with(converted)), new.converted.map(with(converted))),
            (old.awaiting.map(with(Measure::Awaiting)), new.awaiting.map(with(Measure::Awaiting))),
            (old.open.map(standing(Measure::Open)), new.open.map(standing(Measure::Open))),
            (deal(old.open), deal(new.open)),
            (old.overdue.map(standing(Measure::Overdue)), new.overdue.map(standing(Measure::Overdue))),
            (stuck(&old), stuck(new)),
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
        if (&old.reached, old.reached_by) != (&new.reached, new.reached_by) {
            for (counted, times) in [(&old, -1), (new, 1)] {
                for (spot, at, passed) in &counted.reached {
                    desk.fact(*at, counted.reached_by, times, Measure::StageReached(*spot));
                    if *passed {
                        desk.fact(*at, counted.reached_by, times, Measure::StagePassed(*spot));
                    }
                }
            }
        }
    }

    fn countable(&self, desk: &mut Desk) -> Counted {
        if self.deleted() || self.heard.is_none() {
            return Counted::default();
        }
        let outcome = self.closing.map(|closing| closing.outcome);
        let converted = match self.id.kind {
            EntityKind::Lead => outcome == Some(Outcome::Converted) || self.named_by > 0,
            EntityKind::Deal => outcome == Some(Outcome::Won),
        };
        let received = self.created.map(|created| (created, self.who));
        let awaits = self.clocks.response.as_ref().is_some_and(|response| response.awaits());
        let measure = match (self.id.kind, outcome) {
            (EntityKind::Lead, Some(Outcome::Converted)) => Some(Measure::LeadClosedConverted),
            (EntityKind::Lead, Some(Outcome::Disqualified)) => Some(Measure::LeadDisqualified),
            (EntityKind::Deal, Some(Outcome::Won)) => Some(Measure::DealWon),
            (EntityKind::Deal, Some(Outcome::Lost)) => Some(Measure::DealLost),
            _ => None,
        };
        let closing = self.closing.and_then(|closing| Some((closing.at, closing.by, measure?)));
        let amount = closing.filter(|closing| closing.2 == Measure::DealWon).and_then(|(at, by, _)| {
            let currency = desk.currency(self.amount.currency.as_ref());
            Some((at, by, Measure::AmountWon { currency, minor: self.amount.minor? }))
        });
        let (overdue, stuck) = self.overdue().unzip();
        let won = outcome == Some(Outcome::Won);
        Counted {
            received,
            converted: received.filter(|_| converted),
            awaiting: received.filter(|_| awaits && self.first_closed.is_none()),
            open: self.closing.is_none().then(|| (desk.spot(self.pipeline.as_ref(), self.stage.as_ref()), self.who)),
            overdue: overdue.map(|spot| (spot, self.who)),
            stuck: stuck.unwrap_or_default() && self.id.kind == EntityKind::Deal,
            closing,
            amount,
            reached: if self.id.kind == EntityKind::Deal { self.course.reached(won) } else { Vec::new() },
            reached_by: self.who,
        }
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
        Acts { touch: self.first_touch, contact: self.first_contact, closed: self.first_closed, deleted: self.deleted }
    }
}
