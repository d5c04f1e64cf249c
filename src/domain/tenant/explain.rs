//! Builds the report on one lead or deal. Read-only.

use crate::domain::alert::alert_id;
use crate::domain::event::Position;
use crate::domain::id::EntityId;
use crate::domain::identity::LastNumber;
use crate::domain::index::ContactIx;
use crate::domain::journey::Journey;
use crate::domain::journey::clocks::RuleClock;
use crate::domain::lifecycle::Violation;
use crate::domain::norms::{Clock, Scope};
use crate::domain::pending_replies::DemandKind;
use crate::domain::pending_replies::demand::Demand;
use crate::domain::rule::Rule;
use crate::domain::tenant::entity_report::{ClockState, ClockStatus, EntityReport, HistoryEntry};
use crate::domain::tenant::{CALLS, MESSAGES, Tenant, cases, select};
use crate::domain::time::{Span, Timestamp};
use compact_str::{CompactString, format_compact};
use std::collections::BTreeSet;

impl Tenant {
    /// The report on a lead or deal as of `at`; `None` if it has no events or has expired.
    pub fn entity_report(&self, entity: &EntityId, at: Timestamp) -> Option<EntityReport> {
        let journey = &self.journeys[self.journeys.find(entity)?];
        journey.first_event()?;
        let (manager, department) = self.context.manager_and_department(journey.who);
        let mut clocks: Vec<ClockState> = self.response_clocks(journey, at);
        clocks.extend(journey.clocks().rule_clocks().iter().map(|clock| self.rule_clock(journey, clock, at)));
        clocks.extend(journey.pending_contacts().iter().flat_map(|ix| self.demand_clocks(*ix, journey, at)));
        clocks.sort_by_key(|clock| (clock.anchor, clock.rule));
        Some(EntityReport {
            entity: entity.clone(),
            at,
            manager,
            department,
            pipeline: journey.pipeline().cloned(),
            stage: journey.stage().cloned(),
            stage_since: journey.stage_since(),
            created_at: journey.created(),
            closed: journey.closed(),
            deleted_at: journey.deleted_at(),
            merged_into: journey.survivor().map(|survivor| self.journeys[survivor].id.clone()),
            merged: self.absorbed_ids(journey).cloned().collect(),
            lead: journey.sale.lead.clone(),
            contacts: journey.contacts.iter().map(|ix| self.contact_name(*ix)).collect(),
            touches: journey.touches().collect(),
            clocks,
            history: self.history(journey),
        })
    }

    /// The entities whose histories it has taken over.
    fn absorbed_ids(&self, journey: &Journey) -> impl Iterator<Item = &EntityId> {
        journey.absorbed().iter().map(|absorbed| &self.journeys[*absorbed].id)
    }

    /// The first-response clocks of an entity whose creation is known: one, and those that ended with a hand-over.
    pub(super) fn response_clocks(&self, journey: &Journey, at: Timestamp) -> Vec<ClockState> {
        let Some(response) = &journey.clocks().response else { return Vec::new() };
        let (rule, subject, anchor) = (Rule::FirstResponseLate, journey.id.subject(None), response.created);
        let stopped = response.answered().or(journey.closed().map(|(_, at)| at)).or(journey.deleted_at());
        let state = |violation: &Violation, scope: &Scope, stopped| {
            let id = alert_id(self.id(), rule, &subject, violation.anchor);
            ClockState::of(rule, subject.clone(), id, scope, violation, (Span::ZERO, None), (stopped, at))
        };
        let ended = response.ended_clocks().iter();
        let mut clocks: Vec<_> = ended.map(|clock| state(&clock.violation, &clock.scope, Some(clock.ended))).collect();
        if let Some(violation) = &response.violation {
            clocks.push(state(violation, &response.scope, stopped));
            return clocks;
        }
        clocks.push(ClockState {
            rule,
            subject,
            anchor,
            due: None,
            clock: Clock::Wall,
            calendar: None,
            within: None,
            counted: (stopped.unwrap_or(at) - anchor).max(Span::ZERO),
            stopped_at: stopped,
            status: if stopped.is_some() { ClockStatus::Stopped } else { ClockStatus::Running },
            alert: None,
        });
        clocks
    }

    pub(super) fn rule_clock(&self, journey: &Journey, clock: &RuleClock, at: Timestamp) -> ClockState {
        let subject = journey.id.subject(clock.part.as_deref());
        let id = alert_id(self.id(), clock.rule, &subject, clock.violation.anchor);
        let limit = (clock.before, Some(clock.limit).filter(|limit| *limit > Span::ZERO));
        ClockState::of(clock.rule, subject, id, &clock.scope, &clock.violation, limit, (None, at))
    }

    /// `contact:KEY` of a contact.
    fn contact_name(&self, ix: ContactIx) -> CompactString {
        let key = self.context.contact_keys.key(&self.contacts[ix].normalized);
        format_compact!("contact:{key}")
    }

    /// The demand clocks of a contact since the first event of the lead or deal, or of one that was merged into it.
    fn demand_clocks(&self, contact: ContactIx, journey: &Journey, now: Timestamp) -> Vec<ClockState> {
        let pending = &self.contacts[contact].pending;
        let all = journey.absorbed().iter().map(|absorbed| &self.journeys[*absorbed]).chain([journey]);
        let since = all.filter_map(|journey| journey.first_event()).min().map(Position::at);
        let mut states = Vec::new();
        for kind in [CALLS, MESSAGES] {
            let Some(pending_replies) = select(kind, &pending.calls, &pending.messages) else { continue };
            for (demand, settled, violation) in pending_replies.clocks() {
                if let Some(violation) = violation.filter(|_| Some(demand.at) >= since) {
                    states.push(self.demand_clock((contact, kind), demand, violation, (settled, now)));
                }
            }
        }
        states
    }

    /// The clock of what a contact waits for.
    pub(super) fn demand_clock(
        &self,
        (contact, kind): (ContactIx, DemandKind),
        demand: &Demand,
        violation: &Violation,
        times: (Option<Timestamp>, Timestamp),
    ) -> ClockState {
        let subject = self.contact_name(contact);
        let id = alert_id(self.id(), kind.rule, &subject, demand.at);
        ClockState::of(kind.rule, subject, id, &demand.scope, violation, (Span::ZERO, None), times)
    }

    /// The events of an entity: those of its case that name it or one that was merged into it, and calls and messages that
    /// name no entity but share a contact, call or thread with it.
    fn history(&self, journey: &Journey) -> Vec<HistoryEntry> {
        let names: Vec<&EntityId> = self.absorbed_ids(journey).chain([&journey.id]).collect();
        let Some(case) = self.cases.of_entity(&journey.id) else { return Vec::new() };
        let mut entries: Vec<_> = self.cases.events(case).collect();
        entries.sort_by_key(|(order, _)| *order);
        let mut known = BTreeSet::new();
        let mut history = Vec::new();
        let mut keys = Vec::new();
        for (order, packed) in entries {
            let payload = self.codec.unpack_trusted(order, packed);
            let (mut names_it, mut names_any) = (false, false);
            payload.each_entity(|kind, id| {
                names_any = true;
                names_it |= names.iter().any(|name| kind == name.kind && *id == name.id);
            });
            cases::keys(
                &payload,
                self.context.norms.country,
                self.ignores(&payload),
                &mut LastNumber::default(),
                &mut keys,
            );
            let linked = !names_any && keys.iter().any(|key| known.contains(key));
            if names_it || linked {
                known.extend(keys.iter().copied());
                history.push(HistoryEntry::of(order.at, &payload));
            }
        }
        history
    }
}
