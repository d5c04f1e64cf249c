//! Owns the journey of one lead or deal: its manager, stage, touches and outcome.
//!
//! The facts of a journey are derived from its state: after each change `emit_facts` compares the current counts with
//! the previous ones and emits the difference. So reassignment, reopening and deletion need no code to move or revert
//! figures. Each change is recorded in the context for the rules, which keep their clocks in the journey.

mod acts;
mod assignments;
pub mod clocks;
mod contact_history;
mod counts;
mod facts;
pub mod merge;
mod merges;
mod open_plans;
mod past;
mod plans;
pub mod response;
pub mod stage_history;
pub mod stages;

use crate::domain::alert::Resolution;
use crate::domain::change::{Act, JourneyChange};
use crate::domain::context::TenantContext;
use crate::domain::effect::PastClosing;
use crate::domain::event::{Amount, Outcome, Position};
use crate::domain::id::{EntityId, EntityKind, PipelineId, SourceId};
use crate::domain::index::{ContactIx, JourneyIx, ManagerIx, StageIx};
use crate::domain::journey::assignments::{Assignment, Assignments};
use crate::domain::journey::clocks::Clocks;
use crate::domain::journey::contact_history::ContactHistory;
use crate::domain::journey::counts::{Counted, CountedRarely};
use crate::domain::journey::merges::Merges;
use crate::domain::journey::open_plans::Plans;
use crate::domain::journey::stage_history::StageHistory;
use crate::domain::mem::indexed_arena::Keyed;
use crate::domain::mem::lazy_box::{LazyBox, StaticDefault};
use crate::domain::mem::recorded::Recorded;
use crate::domain::mem::short::Short;
use crate::domain::mem::small_index_vec::SmallIndexVec;
use crate::domain::norms::Scope;
use crate::domain::rule::Rule;
use crate::domain::time::{Maybe, Timestamp};
use compact_str::CompactString;
use std::sync::Arc;

/// One lead or deal. There are millions of them, so rarely used parts are in a [`LazyBox`].
#[derive(Clone, Debug)]
pub struct Journey {
    /// The lead or deal.
    pub id: EntityId,
    /// Its index within the tenant.
    pub ix: JourneyIx,
    /// The responsible manager.
    pub who: ManagerIx,
    /// Number of deals that name this lead, without deleted ones.
    pub naming_deals: u32,
    /// Whether the past is completely known: the creation event was seen before the first stage.
    past_known: bool,
    /// The position of the first event about it; [`Position::MAX`] if there is none.
    first_event: Position,
    created: Maybe,
    /// Its source (channel or campaign).
    pub source: Option<SourceId>,
    /// Attributes of deals.
    pub sale: LazyBox<Sale>,
    /// Indices of its contacts.
    pub contacts: SmallIndexVec<ContactIx>,
    contact_history: LazyBox<ContactHistory>,
    assignments: LazyBox<Assignments>,
    end_state: LazyBox<EndState>,
    stage_history: LazyBox<StageHistory>,
    plans: LazyBox<Plans>,
    clocks: Clocks,
    counted: Counted,
    counted_rarely: LazyBox<CountedRarely>,
}

/// Attributes of deals; leads rarely have them.
#[derive(Clone, Debug, Default)]
pub struct Sale {
    /// The source of a deal's lead; used if the deal has no source itself.
    pub lead_source: Option<SourceId>,
    /// The lead that a deal originates from: the first one named.
    pub lead: Option<CompactString>,
    /// The leads that deals merged into this one named, if they are others.
    pub other_leads: Vec<CompactString>,
    /// A deal's last known amount.
    pub amount: Amount,
}

impl Sale {
    /// The leads that the deal names, by its own events and by those of deals merged into it.
    pub fn leads(&self) -> impl Iterator<Item = &CompactString> {
        self.lead.iter().chain(&self.other_leads)
    }
}

#[derive(Clone, Debug, Default)]
struct EndState {
    /// The deletion, which is final, and whether a touch was known by then.
    deleted: Option<(Timestamp, bool)>,
    closing: Option<Closing>,
    /// The first closing, and whether a touch was known by then.
    first_closed: Option<(Timestamp, bool)>,
    merges: Merges,
    /// Whether a closing whose case was dropped does not stand any more, and what it changes in the figures of targets.
    past_void: bool,
    past: Vec<PastClosing>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Closing {
    at: Timestamp,
    outcome: Outcome,
    by: ManagerIx,
    /// The outcome that closed it, before another one replaced it.
    first: Outcome,
    /// Whether it was no lost opportunity: disqualified for one of the `excluded_reasons`.
    excluded: bool,
}

impl StaticDefault for Sale {
    const DEFAULT: &'static Self = &Self {
        lead_source: None,
        lead: None,
        other_leads: Vec::new(),
        amount: Amount { minor: None, currency: None },
    };
}

impl StaticDefault for EndState {
    const DEFAULT: &'static Self = &Self {
        deleted: None,
        closing: None,
        first_closed: None,
        merges: Merges::NONE,
        past_void: false,
        past: Vec::new(),
    };
}

impl Keyed for Journey {
    type Key = EntityId;
    type Index = JourneyIx;
    fn key(&self) -> &EntityId {
        &self.id
    }
}

impl Recorded for Journey {
    type Before = Self;
    fn begin_recording(&mut self) -> Self {
        self.clone()
    }
    fn end_recording(&mut self, _: &mut Self) {}
    fn reset(&mut self) {
        *self = Self::new(self.id.clone(), self.ix);
    }
    fn restore(&mut self, before: Self) {
        *self = before;
    }
    fn merge(_: &mut Self, _: Self) {}
}

impl Journey {
    /// A journey without events.
    pub fn new(id: EntityId, ix: JourneyIx) -> Self {
        Self {
            id,
            ix,
            who: ManagerIx::NONE,
            naming_deals: 0,
            past_known: false,
            first_event: Position::MAX,
            created: Maybe::UNKNOWN,
            source: None,
            sale: LazyBox::default(),
            contacts: SmallIndexVec::EMPTY,
            contact_history: LazyBox::default(),
            assignments: LazyBox::default(),
            end_state: LazyBox::default(),
            stage_history: LazyBox::default(),
            plans: LazyBox::default(),
            clocks: Clocks::default(),
            counted: Counted::default(),
            counted_rarely: LazyBox::default(),
        }
    }

    /// The position of the first event about it, if any.
    pub fn first_event(&self) -> Option<Position> {
        Some(self.first_event).filter(|position| *position != Position::MAX)
    }

    /// Sets the first event about it.
    pub fn set_first_event(&mut self, position: Position) {
        self.first_event = position;
    }

    /// Event time of the creation, if known.
    pub fn created(&self) -> Option<Timestamp> {
        self.created.get()
    }

    /// Indices of its contacts with demands.
    pub fn pending_contacts(&self) -> &[ContactIx] {
        &self.contact_history.pending_contacts
    }

    /// Registers a contact with a demand.
    pub fn add_pending_contact(&mut self, contact: ContactIx) {
        if !self.pending_contacts().contains(&contact) {
            self.contact_history.pending_contacts.push(contact);
        }
    }

    /// Whether it is neither closed nor deleted.
    pub fn open(&self) -> bool {
        self.end_state.closing.is_none() && !self.deleted()
    }

    /// Whether it is deleted.
    pub fn deleted(&self) -> bool {
        self.end_state.deleted.is_some()
    }

    /// The current outcome, if closed.
    pub fn outcome(&self) -> Option<Outcome> {
        self.end_state.closing.map(|closing| closing.outcome)
    }

    /// The current outcome and its event time, if closed.
    pub fn closed(&self) -> Option<(Outcome, Timestamp)> {
        self.end_state.closing.map(|closing| (closing.outcome, closing.at))
    }

    /// The outcome that closed it, even if another one has replaced it.
    pub fn closed_as(&self) -> Option<Outcome> {
        self.end_state.closing.map(|closing| closing.first)
    }

    /// When it was deleted.
    pub fn deleted_at(&self) -> Option<Timestamp> {
        self.end_state.deleted.map(|(at, _)| at)
    }

    /// The rule clocks.
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Whether a first response is required: for leads, and for deals without a lead.
    pub fn waits_for_response(&self) -> bool {
        self.id.kind == EntityKind::Lead || self.sale.lead.is_none()
    }

    /// The sort key by which the primary entity of a contact is chosen: the most recently created wins.
    pub fn recency(&self) -> (Timestamp, Option<Position>, JourneyIx) {
        (self.created().unwrap_or(Timestamp::MIN), self.first_event(), self.ix)
    }

    /// The scope of a clock that starts now.
    pub fn scope(&self, context: &mut TenantContext) -> Arc<Scope> {
        self.scope_for(context, self.who)
    }

    /// The scope of a clock that starts now, if `who` is responsible.
    pub fn scope_for(&self, context: &mut TenantContext, who: ManagerIx) -> Arc<Scope> {
        let source = self.source.as_ref().or(self.sale.lead_source.as_ref());
        context.scope(who, self.pipeline().map(PipelineId::as_str), source.map(SourceId::as_str))
    }

    /// Records the creation. `watched`: the clocks that count from it run.
    pub fn record_creation(&mut self, context: &mut TenantContext, at: Timestamp, watched: bool) {
        if self.created().is_none() {
            self.created = at.into();
            context.record_change(JourneyChange::Created { at, watched });
        }
    }

    /// Closes it now. The same outcome again changes nothing; another one replaces the closing.
    pub fn close(&mut self, context: &mut TenantContext, outcome: Outcome, reason: Option<&CompactString>) {
        if self.end_state.closing.is_some_and(|closing| closing.outcome == outcome) {
            return;
        }
        let first_outcome = self.end_state.closing.map_or(outcome, |closing| closing.first);
        let was_open = self.end_state.closing.is_none();
        if context.acts {
            context.record_act(self.who, Act::Closed { outcome, reason: reason.cloned() });
        }
        self.enter_end(context, outcome);
        let excluded = outcome == Outcome::Disqualified && reason.is_some_and(|reason| context.norms.excludes(reason));
        let closing = Closing { at: context.now, outcome, by: self.who, first: first_outcome, excluded };
        self.end_state.closing = Some(closing);
        let first = self.end_state.first_closed.is_none();
        if first {
            self.end_state.first_closed = Some((context.now, self.touched()));
        }
        if was_open {
            self.record_open_change(context, false);
            self.leave_stage(context, context.now, Resolution::Closed);
            self.drop_plans();
            context.record_change(JourneyChange::Closed { first });
        }
    }

    /// Reopens it in its last stage.
    pub fn reopen(&mut self, context: &mut TenantContext) {
        if self.end_state.existing_mut().and_then(|end_state| end_state.closing.take()).is_some() {
            self.record_open_change(context, true);
            self.start_stay(context, context.now);
            self.need_plan_since(context.now);
            context.record_change(JourneyChange::Reopened);
        }
    }

    /// Deletes it.
    pub fn delete(&mut self, context: &mut TenantContext) {
        self.leave_stage(context, context.now, self.removal());
        self.end_state.deleted = Some((context.now, self.touched()));
        context.record_change(JourneyChange::Deleted);
    }

    /// Assigns another manager. [`Self::hand_over`] follows, once the attributes that select the norms are known.
    pub fn assign(&mut self, context: &mut TenantContext, who: ManagerIx) {
        if context.position != self.first_event {
            self.contact_history.reassigned.push_short((context.position, self.who));
        }
        self.who = who;
        context.record_change(JourneyChange::Assigned);
    }

    /// Records that the manager who was assigned is responsible since `at`.
    pub fn hand_over(&mut self, context: &mut TenantContext, at: Timestamp) {
        let scope = self.scope(context);
        self.assignments.push(Assignment { at, who: self.who, known: context.position, scope });
        context.record_change(JourneyChange::HandedOver);
    }

    /// When the responsible manager was assigned.
    pub fn assigned_at(&self) -> Option<Timestamp> {
        self.assignments.last().map(|assignment| assignment.at)
    }

    /// The manager who was responsible before.
    pub fn previous_manager(&self) -> ManagerIx {
        self.assignments.previous().map_or(ManagerIx::NONE, |assignment| assignment.who)
    }

    /// Applies new norms.
    pub fn reload(&mut self, context: &mut TenantContext) {
        self.reload_stay(context);
        context.record_change(JourneyChange::Reloaded);
    }

    /// Handles a timer.
    pub fn on_timer(&mut self, context: &mut TenantContext) {
        self.update_overdue(context.now);
        context.record_change(JourneyChange::TimerFired);
    }

    /// Updates the rule clocks, which rules compute from the rest of the journey.
    pub fn update_clocks(&mut self, update: impl FnOnce(&mut Clocks, &Self)) {
        let mut clocks = std::mem::take(&mut self.clocks);
        update(&mut clocks, self);
        self.clocks = clocks;
    }

    /// Marks an act violation as raised for a stage. Returns `false` if it was raised before.
    pub fn mark_raised(&mut self, rule: Rule, stage_ix: StageIx) -> bool {
        self.stage_history.mark_raised(rule, stage_ix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::journey::response::FirstResponse;

    /// There are millions of journeys: rarely used fields belong into one of the boxes.
    #[test]
    fn an_open_lead_is_small() {
        assert_eq!((size_of::<Journey>(), size_of::<FirstResponse>()), (224, 88));
    }
}
