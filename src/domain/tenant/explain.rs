//! Builds the report on one lead or deal. Read-only.

use crate::domain::alert::alert_id;
use crate::domain::id::EntityId;
use crate::domain::identity;
use crate::domain::journey::Journey;
use crate::domain::lifecycle::Violation;
use crate::domain::norms::Clock;
use crate::domain::pending_replies::{Demand, DemandKind, PendingReplies};
use crate::domain::rule::Rule;
use crate::domain::tenant::cases;
use crate::domain::tenant::entity_report::{ClockState, ClockStatus, EntityReport, HistoryEntry};
use crate::domain::tenant::{CALLS, MESSAGES, Tenant, select};
use crate::domain::time::{Span, Timestamp};
use compact_str::{CompactString, format_compact};
use std::collections::BTreeSet;

impl Tenant {
    /// The report on a lead or deal as of `at`; `None` if it has no events or has expired.
    pub fn entity_report(&self, entity: &EntityId, at: Timestamp) -> Option<EntityReport> {
        let journey = &self.journeys[self.journeys.find(entity)?];
        journey.first_event()?;
        let (manager, department) = self.context.manager_and_department(journey.who);
        let mut clocks = Vec::new();
        if let Some(response) = &journey.clocks().response {
            let subject = format_compact!("{entity}");
            let id = |anchor| alert_id(self.id(), Rule::FirstResponseLate, &subject, anchor);
            let anchor = response.anchor;
            let stopped = response.answered().or(journey.closed().map(|(_, at)| at)).or(journey.deleted_at());
            clocks.push(match response.violation.as_ref() {
                Some(violation) => {
                    let limit = (Span::ZERO, None);
                    let (scope, subject) = (&response.scope, subject.clone());
                    ClockState::of(Rule::FirstResponseLate, subject, id(anchor), scope, violation, limit, (stopped, at))
                }
                None => ClockState {
                    rule: Rule::FirstResponseLate,
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
                },
            });
        }
        for clock in journey.clocks().rule_clocks() {
            let subject: CompactString = match &clock.stage {
                Some(stage) => format_compact!("{entity}/{stage}"),
                None => format_compact!("{entity}"),
            };
            let id = alert_id(self.id(), clock.rule, &subject, clock.violation.anchor);
            let limit = (clock.before, Some(clock.limit).filter(|limit| *limit > Span::ZERO));
            clocks.push(ClockState::of(clock.rule, subject, id, &clock.scope, &clock.violation, limit, (None, at)));
        }
        let name = |ix: u32| {
            let key = identity::key(&self.contacts[ix].normalized, self.context.norms.secret(self.id()));
            format_compact!("contact:{key}")
        };
        for ix in journey.pending_contacts() {
            let (subject, pending) = (name(*ix), &self.contacts[*ix].pending);
            for kind in [CALLS, MESSAGES] {
                let pending_replies = select(kind, &pending.calls, &pending.messages).as_deref();
                clocks.extend(
                    pending_replies
                        .into_iter()
                        .flat_map(|pending_replies| self.demands(pending_replies, kind, &subject, journey, at)),
                );
            }
        }
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
            lead: journey.sale.lead.clone(),
            contacts: journey.contacts.iter().map(|ix| name(*ix)).collect(),
            touches: journey.touches().to_vec(),
            clocks,
            history: self.history(entity),
        })
    }

    /// The demand clocks of a contact since the first event of the lead or deal.
    fn demands(
        &self,
        pending_replies: &PendingReplies,
        kind: DemandKind,
        subject: &CompactString,
        journey: &Journey,
        now: Timestamp,
    ) -> Vec<ClockState> {
        let since = journey.first_event().map(|order| order.at);
        let of = pending_replies.clocks().filter(|(demand, ..)| Some(demand.at) >= since);
        let state = |(demand, settled, violation): (&Demand, _, Option<&Violation>)| {
            let id = alert_id(self.id(), kind.rule, subject, demand.at);
            let limit = (Span::ZERO, None);
            Some(ClockState::of(kind.rule, subject.clone(), id, &demand.scope, violation?, limit, (settled, now)))
        };
        of.filter_map(state).collect()
    }

    /// The events of an entity: those of its case that name it, and calls and messages that name no entity but share a
    /// contact, call or thread with it.
    fn history(&self, entity: &EntityId) -> Vec<HistoryEntry> {
        let Some(log) = self.cases.log_of(entity) else { return Vec::new() };
        let mut entries: Vec<_> = log.iter().collect();
        entries.sort_by_key(|(order, _)| *order);
        let mut known = BTreeSet::new();
        let mut history = Vec::new();
        let mut keys = Vec::new();
        for (order, packed) in entries {
            let payload = self.codec.unpack_trusted(order, packed);
            let (mut names_it, mut names_any) = (false, false);
            payload.each_entity(|kind, id| {
                names_any = true;
                names_it |= kind == entity.kind && *id == entity.id;
            });
            cases::keys(&payload, self.context.norms.country, &mut keys);
            let linked = !names_any && keys.iter().any(|key| known.contains(key));
            if names_it || linked {
                known.extend(keys.iter().copied());
                history.push(HistoryEntry::of(order.at, &payload));
            }
        }
        history
    }
}
