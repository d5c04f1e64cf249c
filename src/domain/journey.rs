//! Owns the journey of one lead or deal: who has it, where it stands, how it was touched, how it ended.
//!
//! What is counted of a journey is derived from its state: after each change `publish` compares what should be counted
//! with what was, and states the difference as facts. So a hand-over, a reopening or a deletion needs no code of its
//! own to move or take back figures. Rules hear of each change and keep their clocks beside the journey.

mod clocks;
mod stage_history;

pub use clocks::{ClockWording, Clocks, JourneyChange, RuleClock};
pub use stage_history::{Limit, StageEntry};

use super::alert::Resolution;
use super::effect::{ManagerIx, Measure};
use super::event::{Amount, EventOrder, Outcome};
use super::id::{EntityId, EntityKind, PipelineId, SourceId};
use super::indexed_arena::Keyed;
use super::lazy_box::{LazyBox, StaticDefault};
use super::norms::Scope;
use super::rule::first_response_late::Acts;
use super::rule::{Act, Evaluation};
use super::small_index_vec::SmallIndexVec;
use super::tenant_context::TenantContext;
use super::time::{Maybe, Timestamp};
use super::violation::ActViolation;
use compact_str::{CompactString, format_compact};
use stage_history::StageHistory;
use std::sync::Arc;

/// One lead or deal. There are millions: what most do not have is [`LazyBox`], and reads as if it were there.
#[derive(Debug)]
pub struct Journey {
    /// Which one.
    pub id: EntityId,
    /// Its number inside the tenant, in order of arrival.
    pub number: u32,
    /// The responsible.
    pub who: ManagerIx,
    /// Present deals that name this lead.
    pub named_by: u32,
    /// Its past is known: its first stage came from its own creation or after it.
    begun: bool,
    /// The first event about it, or [`UNHEARD`].
    heard: EventOrder,
    created: Maybe,
    /// Where it came from.
    pub source: Option<SourceId>,
    /// What deals have.
    pub sale: LazyBox<Sale>,
    /// Numbers of the contacts it has.
    pub contacts: SmallIndexVec,
    dealings: LazyBox<Dealings>,
    ends: LazyBox<Ends>,
    stage_history: LazyBox<StageHistory>,
    clocks: Clocks,
    counted: Counted,
    counted_rarely: LazyBox<CountedRarely>,
}

/// Where a journey stands of which nothing was heard yet: no event has this place.
const UNHEARD: EventOrder = EventOrder { at: Timestamp::MIN, rank: u8::MAX, offset: i64::MIN, source: u8::MAX };

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
    first_touch: Option<(Timestamp, ManagerIx)>,
    first_contact: Option<Timestamp>,
    first_talk: Option<Timestamp>,
    /// Numbers of the contacts that demand something in its name.
    pending_contacts: SmallIndexVec,
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
    by: ManagerIx,
}

/// What of a journey is counted at present, all of it for `who`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counted {
    who: ManagerIx,
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
    closing: Option<(Timestamp, ManagerIx, Measure)>,
    amount: Option<(Timestamp, ManagerIx, Measure)>,
    /// Spots that a deal reached, when, and whether it went on.
    reached: Vec<(u32, Timestamp, bool)>,
}

impl StaticDefault for Sale {
    fn static_default() -> &'static Self {
        static EMPTY: Sale = Sale { lead_source: None, lead: None, amount: Amount { minor: None, currency: None } };
        &EMPTY
    }
}

impl StaticDefault for Dealings {
    fn static_default() -> &'static Self {
        static EMPTY: Dealings = Dealings {
            touches: Vec::new(),
            first_touch: None,
            first_contact: None,
            first_talk: None,
            pending_contacts: SmallIndexVec::NONE,
        };
        &EMPTY
    }
}

impl StaticDefault for Ends {
    fn static_default() -> &'static Self {
        &Ends { deleted: None, closing: None, first_closed: None }
    }
}

impl StaticDefault for CountedRarely {
    fn static_default() -> &'static Self {
        static EMPTY: CountedRarely = CountedRarely { closing: None, amount: None, reached: Vec::new() };
        &EMPTY
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
            who: ManagerIx::NONE,
            named_by: 0,
            begun: false,
            heard: UNHEARD,
            created: Maybe::UNKNOWN,
            source: None,
            sale: LazyBox::default(),
            contacts: SmallIndexVec::NONE,
            dealings: LazyBox::default(),
            ends: LazyBox::default(),
            stage_history: LazyBox::default(),
            clocks: Clocks::default(),
            counted: Counted::default(),
            counted_rarely: LazyBox::default(),
        }
    }

    /// The first event about it; `None`: as if it had never been heard of.
    pub fn heard(&self) -> Option<EventOrder> {
        (self.heard != UNHEARD).then_some(self.heard)
    }

    /// The first event about it came.
    pub fn hear(&mut self, order: EventOrder) {
        self.heard = order;
    }

    /// When it was created, if that is known.
    pub fn created(&self) -> Option<Timestamp> {
        self.created.get()
    }

    /// Numbers of the contacts that demand something in its name.
    pub fn pending_contacts(&self) -> &[u32] {
        &self.dealings.pending_contacts
    }

    /// A contact demands something in its name.
    pub fn owe(&mut self, contact: u32) {
        if !self.pending_contacts().contains(&contact) {
            self.dealings.pending_contacts.push(contact);
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
    pub fn recency(&self) -> (Timestamp, Option<EventOrder>, u32) {
        (self.created().unwrap_or(Timestamp::MIN), self.heard(), self.number)
    }

    /// The norms of a clock that starts now.
    pub fn scope(&self, context: &mut TenantContext) -> Arc<Scope> {
        self.scope_for(context, self.who)
    }

    /// The norms of a clock that starts now, where `who` has it.
    pub fn scope_for(&self, context: &mut TenantContext, who: ManagerIx) -> Arc<Scope> {
        let source = self.source.as_ref().or(self.sale.lead_source.as_ref());
        context.scope(who, self.pipeline().map(PipelineId::as_str), source.map(SourceId::as_str))
    }

    /// The creation became known. `watched`: the clocks that count from it run.
    pub fn born(&mut self, context: &mut TenantContext, at: Timestamp, watched: bool) {
        if self.created().is_none() {
            self.created = at.into();
            self.change(context, JourneyChange::Born { at, watched });
        }
    }

    /// A manager turned to the customer, at `at`; `talk`: it was a conversation.
    pub fn touch(&mut self, context: &mut TenantContext, at: Timestamp, talk: bool) {
        if talk {
            self.dealings.first_talk = Some(self.dealings.first_talk.map_or(at, |first| first.min(at)));
        }
        let place = self.dealings.touches.partition_point(|touch| *touch <= at);
        self.dealings.touches.insert(place, at);
        if self.dealings.first_touch.is_none_or(|(first, _)| at < first) {
            self.dealings.first_touch = Some((at, self.who));
        }
        self.change(context, JourneyChange::Touch { at });
    }

    /// There was contact both ways, at `at`; `talk`: it was a conversation.
    pub fn contact(&mut self, context: &mut TenantContext, at: Timestamp, talk: bool) {
        if talk && self.dealings.first_talk.is_none_or(|first| at < first) {
            self.dealings.first_talk = Some(at);
            self.change(context, JourneyChange::Talk);
        }
        if self.dealings.first_contact.is_none_or(|first| at < first) {
            self.dealings.first_contact = Some(at);
            self.change(context, JourneyChange::Contact);
        }
    }

    /// It was closed now. The same outcome again changes nothing, another one replaces the closing.
    pub fn close(&mut self, context: &mut TenantContext, outcome: Outcome, reason: Option<&CompactString>) {
        if self.ends.closing.is_some_and(|closing| closing.outcome == outcome) {
            return;
        }
        let was_open = self.ends.closing.is_none();
        self.judge(context, &Act::Closed { outcome, reason }, self.who);
        self.arrive_at_end(context, outcome);
        self.ends.closing = Some(Closing { at: context.now, outcome, by: self.who });
        let first = self.ends.first_closed.is_none();
        if first {
            self.ends.first_closed = Some((context.now, !self.dealings.touches.is_empty()));
        }
        if was_open {
            self.order(context, false);
            self.leave(context, context.now, Resolution::Closed);
            self.change(context, JourneyChange::Closed { first });
        }
    }

    /// It was opened again, in the stage where it stood.
    pub fn reopen(&mut self, context: &mut TenantContext) {
        if self.ends.taken().and_then(|ends| ends.closing.take()).is_some() {
            self.order(context, true);
            self.stay(context, context.now);
            self.change(context, JourneyChange::Reopened);
        }
    }

    /// It was deleted.
    pub fn delete(&mut self, context: &mut TenantContext) {
        self.leave(context, context.now, Resolution::Deleted);
        self.ends.deleted = Some((context.now, !self.dealings.touches.is_empty()));
        self.change(context, JourneyChange::Deleted);
    }

    /// It got another responsible.
    pub fn assign(&mut self, context: &mut TenantContext, who: ManagerIx) {
        self.who = who;
        self.change(context, JourneyChange::Assigned);
    }

    /// Other norms are in force.
    pub fn reload(&mut self, context: &mut TenantContext) {
        self.reload_stay(context);
        self.change(context, JourneyChange::Reloaded);
        self.publish(context);
    }

    /// Its timer went off.
    pub fn ring(&mut self, context: &mut TenantContext) {
        self.ring_stay(context.now);
        self.change(context, JourneyChange::Rung);
        self.publish(context);
    }

    /// Judges what somebody did to it.
    pub fn judge(&mut self, context: &mut TenantContext, act: &Act<'_>, who: ManagerIx) {
        if !context.acts {
            return;
        }
        let scope = self.scope(context);
        for (rule, params) in &scope.rules {
            let Evaluation::Act(find) = rule.definition().evaluation else { continue };
            for finding in find(act, self, params, &scope) {
                let stage_ix = finding.part.as_ref().map(|part| context.stage_ix(self.pipeline(), Some(part)));
                if stage_ix.is_some_and(|stage_ix| !self.stage_history.tell_once(*rule, stage_ix)) {
                    continue;
                }
                let subject = match &finding.part {
                    Some(part) => format_compact!("{}/{part}", self.id),
                    None => format_compact!("{}", self.id),
                };
                let severity = params.severity.unwrap_or_default();
                let (observed, norm, entity) = (finding.observed, finding.norm, &self.id);
                ActViolation { rule: *rule, subject, who, entity, severity, observed, norm }.raise(context);
            }
        }
    }

    /// States what is counted of it now and was not before, and the other way round.
    pub fn publish(&mut self, context: &mut TenantContext) {
        let (new, rare) = self.countable(context);
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
        let standing = |stage_ix: fn(&Counted) -> Option<u32>, measure: fn(u32) -> Measure| {
            let fact = |counted: &Counted| stage_ix(counted).map(|stage_ix| (created, counted.who, measure(stage_ix)));
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
                    context.fact(at, who, times, measure);
                }
            }
        }
        if (&old_rare.reached, old.who) != (&rare.reached, new.who) {
            for (reached, who, times) in [(&old_rare.reached, old.who, -1), (&rare.reached, new.who, 1)] {
                for (stage_ix, at, passed) in reached {
                    context.fact(*at, who, times, Measure::StageReached(*stage_ix));
                    if *passed {
                        context.fact(*at, who, times, Measure::StagePassed(*stage_ix));
                    }
                }
            }
        }
    }

    fn countable(&self, context: &mut TenantContext) -> (Counted, CountedRarely) {
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
            let currency = context.currency(self.sale.amount.currency.as_ref());
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
            open: outcome.is_none().then(|| context.stage_ix(self.pipeline(), self.stage())),
            overdue,
        };
        let reached = if self.id.kind == EntityKind::Deal { self.stage_history.reached(won) } else { Vec::new() };
        (counted, CountedRarely { closing, amount, reached })
    }

    /// Tells every rule of a change.
    fn change(&mut self, context: &mut TenantContext, change: JourneyChange) {
        let mut clocks = std::mem::take(&mut self.clocks);
        for follow in clocks::FOLLOWERS.iter() {
            follow(&mut clocks, self, context, change);
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
