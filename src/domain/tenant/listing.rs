//! Owns the lists over all leads, deals and contacts of a tenant: clocks that run, open plans; and the numbers and addresses of
//! customers, for those who may see them. Read-only.

use crate::domain::event::{CrmPayload, EventOrder, Payload, Verdict};
use crate::domain::id::{ActivityId, DepartmentId, EntityId, ManagerId};
use crate::domain::index::ManagerIx;
use crate::domain::tenant::entity_report::{ClockState, ClockStatus};
use crate::domain::tenant::{CALLS, MESSAGES, Tenant, select};
use crate::domain::time::Timestamp;
use compact_str::CompactString;

/// A clock that runs, of a lead, a deal or a contact.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningClock {
    /// The lead or deal.
    pub entity: Option<EntityId>,
    /// The responsible manager.
    pub manager: Option<ManagerId>,
    /// The manager's department; `unknown` if there is none.
    pub department: Option<DepartmentId>,
    /// The clock.
    pub clock: ClockState,
}

/// A planned activity that is neither completed nor cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPlan {
    /// The lead or deal.
    pub entity: EntityId,
    /// The activity.
    pub activity: ActivityId,
    /// When the plan was made.
    pub made: Timestamp,
    /// Its deadline.
    pub deadline: Option<Timestamp>,
    /// The manager responsible for the lead or deal.
    pub manager: Option<ManagerId>,
    /// The manager's department; `unknown` if there is none.
    pub department: Option<DepartmentId>,
}

/// A review that was given.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenReview {
    /// When.
    pub at: Timestamp,
    /// The reviewed call or message.
    pub interaction: CompactString,
    /// The manager.
    pub manager: ManagerId,
    /// The manager's department now; `unknown` if there is none.
    pub department: DepartmentId,
    /// The score, 0 to 100.
    pub score: f64,
    /// Success, failure or neither.
    pub verdict: Verdict,
}

impl Tenant {
    /// The reviews that are kept.
    pub fn given_reviews(&self) -> Vec<GivenReview> {
        let given = self.cases.loose().filter_map(|(order, packed)| {
            let Payload::Crm(payload) = self.codec.unpack_trusted(order, packed) else { return None };
            let CrmPayload::InteractionReviewed { interaction, manager, score, verdict } = *payload else {
                return None;
            };
            let who = self.context.people.find(&manager).unwrap_or(ManagerIx::NONE);
            let department = self.context.people.department(who, EventOrder::deadline(Timestamp::MAX)).into();
            Some(GivenReview { at: order.at, interaction, manager, department, score, verdict })
        });
        given.collect()
    }

    /// The clocks with a deadline that run as of `at`, and those of open alerts.
    pub fn running_clocks(&self, at: Timestamp) -> Vec<RunningClock> {
        let mut clocks = Vec::new();
        for ix in self.journeys.indices() {
            let journey = &self.journeys[ix];
            if journey.first_event().is_none() || journey.deleted() {
                continue;
            }
            let of_rules = journey.clocks().rule_clocks().iter().map(|clock| self.rule_clock(journey, clock, at));
            let of_journey = self.response_clocks(journey, at).into_iter().chain(of_rules);
            self.add_running(&mut clocks, Some(&journey.id), journey.who, of_journey);
        }
        for ix in self.contacts.indices() {
            let pending = &self.contacts[ix].pending;
            for kind in [CALLS, MESSAGES] {
                let Some(pending_replies) = select(kind, &pending.calls, &pending.messages) else { continue };
                for (demand, settled, violation) in pending_replies.clocks() {
                    let Some(violation) = violation.filter(|_| settled.is_none()) else { continue };
                    let entity = demand.entity.map(|entity| &self.journeys[entity]);
                    let who = entity.map_or(demand.accountable, |journey| journey.who);
                    let clock = self.demand_clock((ix, kind), demand, violation, (settled, at));
                    let entity = entity.map(|journey| &journey.id);
                    self.add_running(&mut clocks, entity, who, [clock].into_iter());
                }
            }
        }
        clocks
    }

    fn add_running(
        &self,
        clocks: &mut Vec<RunningClock>,
        entity: Option<&EntityId>,
        who: ManagerIx,
        states: impl Iterator<Item = ClockState>,
    ) {
        let is_running = |clock: &ClockState| {
            matches!(clock.status, ClockStatus::Running | ClockStatus::DueSoon | ClockStatus::Overdue)
                && clock.due.is_some()
        };
        for clock in states.filter(is_running) {
            let (manager, department) = self.context.manager_and_department(who);
            clocks.push(RunningClock { entity: entity.cloned(), manager, department, clock });
        }
    }

    /// The planned activities that are neither completed nor cancelled.
    pub fn open_plans(&self) -> Vec<OpenPlan> {
        let mut plans = Vec::new();
        for ix in self.journeys.indices() {
            let journey = &self.journeys[ix];
            if journey.first_event().is_none() || journey.deleted() {
                continue;
            }
            for (activity, made, deadline) in journey.open_plans() {
                let (manager, department) = self.context.manager_and_department(journey.who);
                let (entity, activity) = (journey.id.clone(), activity.clone());
                plans.push(OpenPlan { entity, activity, made, deadline, manager, department });
            }
        }
        plans
    }

    /// The normal forms of the contacts of a lead or deal.
    pub fn contacts_of(&self, entity: &EntityId) -> Vec<CompactString> {
        let journey = self.journeys.find(entity).map(|ix| &self.journeys[ix]);
        let contacts = journey.into_iter().flat_map(|journey| journey.contacts.iter());
        contacts.map(|ix| self.contacts[*ix].normalized.clone()).collect()
    }

    /// The normal form of a contact that is or was waited with, named as in alerts: `contact:KEY`.
    pub fn contact_named(&self, subject: &str) -> Option<CompactString> {
        let contacts = self.contacts.indices().map(|ix| &self.contacts[ix]);
        let mut named = contacts.filter(|contact| contact.pending.subject.as_deref() == Some(subject));
        named.next().map(|contact| contact.normalized.clone())
    }
}
