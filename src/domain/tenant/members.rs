//! Owns what stands behind a figure: the facts that count in it, and what each is counted for.
//!
//! Facts are not kept. They follow from the events of a case, so each case is replayed as of the instant of the figure, and
//! what the replay changes is undone. So the members of a figure are those that it counts, whatever rule or late event made it
//! count them. *Alternative considered*: a list of all facts of the longest window. It would take about as much memory as the
//! events themselves, for a question that is asked rarely.

use crate::domain::alert::Alert;
use crate::domain::context::origins::Origin;
use crate::domain::effect::Effect;
use crate::domain::event::{CrmPayload, EventOrder, Payload};
use crate::domain::figures::pane::{Fact, Measure};
use crate::domain::id::{DepartmentId, EntityId, ManagerId};
use crate::domain::index::{JourneyIx, ManagerIx};
use crate::domain::tenant::Tenant;
use crate::domain::tenant::replay::Part;
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;

/// A fact that counts, and what it is counted for.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The date of the fact.
    pub at: Timestamp,
    /// The manager it counts for.
    pub manager: Option<ManagerId>,
    /// The manager's department now; `unknown` if there is none.
    pub department: DepartmentId,
    /// What is counted.
    pub measure: Measure,
    /// What it is counted for.
    pub origin: Origin,
}

/// How far the cases of a tenant were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    next: u32,
    version: Option<u64>,
}

/// What remains to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// Nothing.
    Nothing,
    /// Other cases.
    Cases,
    /// Everything: cases were joined meanwhile.
    Everything,
}

impl Tenant {
    /// Adds the facts that are `wanted` and count as of `at`, of the next cases with about `most` events. Cases without an event
    /// since `since` have none.
    pub fn facts_behind(
        &mut self,
        scan: &mut Scan,
        (since, at, most): (Timestamp, Timestamp, usize),
        wanted: &dyn Fn(&Fact) -> bool,
        into: &mut Vec<Member>,
    ) -> Remaining {
        if scan.version.is_some_and(|version| version != self.cases.version()) {
            return Remaining::Everything;
        }
        scan.version = Some(self.cases.version());
        let mut left = most;
        while let Some(case) = self.cases.next_with_events(scan.next) {
            if left == 0 {
                return Remaining::Cases;
            }
            scan.next = case + 1;
            if self.cases.last_event_at(case).is_some_and(|last| last >= since) {
                left = left.saturating_sub(self.cases.count(case).max(1));
                self.facts_of_case(case, at, wanted, into);
            }
        }
        Remaining::Nothing
    }

    /// Adds the reviews that are `wanted` and count as of `at`.
    pub fn reviews_behind(&self, at: Timestamp, wanted: &dyn Fn(&Fact) -> bool, into: &mut Vec<Member>) {
        for (order, packed) in self.cases.loose() {
            let Payload::Crm(payload) = self.codec.unpack_trusted(order, packed) else { continue };
            let CrmPayload::InteractionReviewed { interaction, manager, score, verdict } = &*payload else { continue };
            let Some(who) = self.context.people.find(manager).filter(|_| order.at <= at) else { continue };
            let measure = Measure::Review { score_micros: (score * 1e6).round() as i64, verdict: *verdict };
            if wanted(&Fact { known: order.at, at: order.at, who, times: 1, measure }) {
                let origin = Origin { interaction: Some(interaction.clone()), ..Origin::default() };
                into.push(self.member(at, (order.at, who, measure), origin));
            }
        }
    }

    fn facts_of_case(&mut self, case: u32, at: Timestamp, wanted: &dyn Fn(&Fact) -> bool, into: &mut Vec<Member>) {
        let mut events = self.read_log(case);
        events.retain(|event| event.entry.order.at <= at);
        // What a nested replay needs would be lost otherwise; it is built again with the next event.
        self.discard_undo_log(case);
        self.context.origins = Some(Box::default());
        let effects = self.effects_of(case, &Part::whole(events), at);
        let Some(origins) = self.context.origins.take() else { return };
        let mut counted: BTreeMap<(Timestamp, ManagerIx, Measure), Vec<Origin>> = BTreeMap::new();
        let mut origins = origins.of_facts.into_iter();
        for (index, effect) in effects.iter().enumerate() {
            let Effect::Fact(fact) = effect else { continue };
            let origin = origins.next().unwrap_or_default();
            if !wanted(fact) {
                continue;
            }
            let origin = of_alert(&effects[index..], fact.measure).unwrap_or(origin);
            let of_key = counted.entry((fact.at, fact.who, fact.measure)).or_default();
            for _ in 0..fact.times {
                of_key.push(origin.clone());
            }
            for _ in fact.times..0 {
                let same = of_key.iter().rposition(|known| *known == origin);
                if let Some(position) = same.or(of_key.len().checked_sub(1)) {
                    of_key.remove(position);
                }
            }
        }
        for (key, of_key) in counted {
            for origin in of_key {
                into.push(self.member(at, key, origin));
            }
        }
    }

    fn member(&self, at: Timestamp, fact: (Timestamp, ManagerIx, Measure), origin: Origin) -> Member {
        let (dated, who, measure) = fact;
        let department = self.context.people.department(who, EventOrder::deadline(at)).into();
        Member { at: dated, manager: self.context.people.id(who).cloned(), department, measure, origin }
    }

    /// Notes that what follows is about a lead or deal, if that is asked.
    pub(super) fn note_entity(&mut self, entity: JourneyIx) {
        if let Some(origins) = &mut self.context.origins {
            origins.current.entity = Some(self.journeys[entity].id.clone());
        }
    }

    /// Notes what an event is about, if that is asked.
    pub(super) fn note_event(&mut self, payload: &Payload) {
        let Some(origins) = &mut self.context.origins else { return };
        let current = &mut origins.current;
        *current = Origin::default();
        payload.each_entity(|kind, id| {
            current.entity.get_or_insert_with(|| EntityId { kind, id: id.clone() });
        });
        current.interaction = match payload {
            Payload::Call(call) => Some(call.id.0.clone()),
            Payload::Message(message) => Some(message.id.0.clone()),
            Payload::Crm(payload) => match &**payload {
                CrmPayload::ActivityPlanned(planned) => Some(planned.activity.0.clone()),
                CrmPayload::ActivityCompleted { activity, .. } => activity.as_ref().map(|id| id.0.clone()),
                CrmPayload::InteractionDismissed { interaction, .. } => Some(interaction.clone()),
                _ => None,
            },
        };
    }
}

/// What the alert is about that follows a fact of its violation.
fn of_alert(effects: &[Effect], measure: Measure) -> Option<Origin> {
    let (Measure::Violation(rule) | Measure::OpenAlert(rule) | Measure::DueSoon(rule)) = measure else { return None };
    // Up to two current counts and the violation come before their alert.
    effects.iter().skip(1).take(3).find_map(|effect| match effect {
        Effect::Alert(alert) if alert.rule == rule => Some(origin_of(alert)),
        _ => None,
    })
}

fn origin_of(alert: &Alert) -> Origin {
    let contact = alert.subject.starts_with("contact:").then(|| alert.subject.clone());
    Origin { entity: alert.entity.clone(), contact, interaction: alert.interaction.clone() }
}
